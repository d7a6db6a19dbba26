//! The operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Cloud, Context, Service};
use wire::Fault;

use crate::api::*;
use crate::state::State;
use crate::target::Functions;
use crate::{function, invocation, policy, queue};

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let state = State::new(cloud);
    cloud
        .targets
        .register("lambda", Arc::new(Functions(state.clone())));
    queue::start(&state);
    let live = state.clone();
    cloud.after_reset(move || live.forget());
    let stopping = state.clone();
    cloud.before_stop(move || Box::pin(async move { stopping.stop().await }));
    Service::new(Api(Arc::new(Operations(state))))
}

struct Operations(Arc<State>);

impl Lambda for Operations {
    async fn add_permission(
        &self,
        ctx: &Context,
        input: AddPermissionInput,
    ) -> Result<AddPermissionOutput, Fault> {
        policy::add(&self.0, ctx, input).await
    }
    async fn create_function(
        &self,
        ctx: &Context,
        input: CreateFunctionInput,
    ) -> Result<CreateFunctionOutput, Fault> {
        function::create(&self.0, ctx, input).await
    }
    async fn delete_function(
        &self,
        ctx: &Context,
        input: DeleteFunctionInput,
    ) -> Result<DeleteFunctionOutput, Fault> {
        function::delete(&self.0, ctx, &input).await?;
        Ok(DeleteFunctionOutput {
            status_code: Some(204),
        })
    }
    async fn get_function(
        &self,
        ctx: &Context,
        input: GetFunctionInput,
    ) -> Result<GetFunctionOutput, Fault> {
        function::get(&self.0, ctx, &input)
    }
    async fn get_function_configuration(
        &self,
        ctx: &Context,
        input: GetFunctionConfigurationInput,
    ) -> Result<GetFunctionConfigurationOutput, Fault> {
        function::get_configuration(
            &self.0,
            ctx,
            &input.function_name,
            input.qualifier.as_deref(),
        )
    }
    async fn get_policy(
        &self,
        ctx: &Context,
        input: GetPolicyInput,
    ) -> Result<GetPolicyOutput, Fault> {
        policy::get(&self.0, ctx, &input)
    }
    async fn invoke(&self, ctx: &Context, input: InvokeInput) -> Result<InvokeOutput, Fault> {
        invocation::invoke(&self.0, ctx, input).await
    }
    async fn list_functions(
        &self,
        ctx: &Context,
        input: ListFunctionsInput,
    ) -> Result<ListFunctionsOutput, Fault> {
        function::list(&self.0, ctx, &input)
    }
    async fn remove_permission(
        &self,
        ctx: &Context,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, Fault> {
        policy::remove(&self.0, ctx, input).await?;
        Ok(RemovePermissionOutput {})
    }
}
