//! The operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Call, Cloud, Context, Handler, Service};
use wire::{Audit, DecodeError, Fault, Reader, ServiceModel};

use crate::api::*;
use crate::front::Urls;
use crate::state::State;
use crate::target::Functions;
use crate::{
    alias, blame, code_signing, concurrency, destination, event_source, function, invocation,
    layer, policy, provisioned, queue, stream, tag, url, version,
};

/// The service.
pub fn service(cloud: &Cloud) -> Service {
    let state = State::new(cloud);
    cloud
        .targets
        .register("lambda", Arc::new(Functions(state.clone())));
    cloud
        .ports
        .set_functions(Arc::new(Functions(state.clone())));
    queue::start(&state);
    event_source::start(&state);
    provisioned::start(&state);
    let live = state.clone();
    cloud.after_reset(move || live.forget());
    let stopping = state.clone();
    cloud.before_stop(move || Box::pin(async move { stopping.stop().await }));
    let front = Arc::new(Urls(state.clone()));
    Service::new(Typed(Api(Arc::new(Operations(state))))).with_front(front)
}

struct Operations(Arc<State>);

/// Says of errors whose they are.
struct Typed(Api<Operations>);

impl Handler for Typed {
    fn model(&self) -> &'static ServiceModel {
        self.0.model()
    }
    fn call<'a>(
        &'a self,
        operation: usize,
        ctx: &'a Context,
        input: &mut dyn Reader,
        audit: &mut Audit,
    ) -> Result<Call<'a>, DecodeError> {
        let call = self.0.call(operation, ctx, input, audit)?;
        Ok(Box::pin(async move { call.await.map_err(blame::typed) }))
    }
}

impl Lambda for Operations {
    async fn create_event_source_mapping(
        &self,
        ctx: &Context,
        input: CreateEventSourceMappingInput,
    ) -> Result<CreateEventSourceMappingOutput, Fault> {
        event_source::create(&self.0, ctx, input).await
    }
    async fn delete_event_source_mapping(
        &self,
        ctx: &Context,
        input: DeleteEventSourceMappingInput,
    ) -> Result<DeleteEventSourceMappingOutput, Fault> {
        event_source::delete(&self.0, ctx, &input.uuid).await
    }
    async fn get_event_source_mapping(
        &self,
        ctx: &Context,
        input: GetEventSourceMappingInput,
    ) -> Result<GetEventSourceMappingOutput, Fault> {
        event_source::get(&self.0, ctx, &input.uuid)
    }
    async fn list_event_source_mappings(
        &self,
        ctx: &Context,
        input: ListEventSourceMappingsInput,
    ) -> Result<ListEventSourceMappingsOutput, Fault> {
        event_source::list(&self.0, ctx, &input)
    }
    async fn update_event_source_mapping(
        &self,
        ctx: &Context,
        input: UpdateEventSourceMappingInput,
    ) -> Result<UpdateEventSourceMappingOutput, Fault> {
        event_source::update(&self.0, ctx, input).await
    }
    async fn add_layer_version_permission(
        &self,
        ctx: &Context,
        input: AddLayerVersionPermissionInput,
    ) -> Result<AddLayerVersionPermissionOutput, Fault> {
        layer::add_permission(&self.0, ctx, input).await
    }
    async fn add_permission(
        &self,
        ctx: &Context,
        input: AddPermissionInput,
    ) -> Result<AddPermissionOutput, Fault> {
        policy::add(&self.0, ctx, input).await
    }
    async fn create_alias(
        &self,
        ctx: &Context,
        input: CreateAliasInput,
    ) -> Result<CreateAliasOutput, Fault> {
        alias::create(&self.0, ctx, input).await
    }
    async fn create_code_signing_config(
        &self,
        ctx: &Context,
        input: CreateCodeSigningConfigInput,
    ) -> Result<CreateCodeSigningConfigOutput, Fault> {
        code_signing::create(&self.0, ctx, input).await
    }
    async fn create_function(
        &self,
        ctx: &Context,
        input: CreateFunctionInput,
    ) -> Result<CreateFunctionOutput, Fault> {
        function::create(&self.0, ctx, input).await
    }
    async fn create_function_url_config(
        &self,
        ctx: &Context,
        input: CreateFunctionUrlConfigInput,
    ) -> Result<CreateFunctionUrlConfigOutput, Fault> {
        url::create(&self.0, ctx, input).await
    }
    async fn delete_alias(
        &self,
        ctx: &Context,
        input: DeleteAliasInput,
    ) -> Result<DeleteAliasOutput, Fault> {
        alias::delete(&self.0, ctx, &input).await?;
        Ok(DeleteAliasOutput {})
    }
    async fn delete_code_signing_config(
        &self,
        ctx: &Context,
        input: DeleteCodeSigningConfigInput,
    ) -> Result<DeleteCodeSigningConfigOutput, Fault> {
        code_signing::delete(&self.0, ctx, &input).await?;
        Ok(DeleteCodeSigningConfigOutput {})
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
    async fn delete_function_code_signing_config(
        &self,
        ctx: &Context,
        input: DeleteFunctionCodeSigningConfigInput,
    ) -> Result<DeleteFunctionCodeSigningConfigOutput, Fault> {
        code_signing::set_of_function(&self.0, ctx, &input.function_name, None).await?;
        Ok(DeleteFunctionCodeSigningConfigOutput {})
    }
    async fn delete_function_concurrency(
        &self,
        ctx: &Context,
        input: DeleteFunctionConcurrencyInput,
    ) -> Result<DeleteFunctionConcurrencyOutput, Fault> {
        concurrency::delete(&self.0, ctx, &input).await?;
        Ok(DeleteFunctionConcurrencyOutput {})
    }
    async fn delete_function_event_invoke_config(
        &self,
        ctx: &Context,
        input: DeleteFunctionEventInvokeConfigInput,
    ) -> Result<DeleteFunctionEventInvokeConfigOutput, Fault> {
        destination::delete(&self.0, ctx, &input).await?;
        Ok(DeleteFunctionEventInvokeConfigOutput {})
    }
    async fn delete_function_url_config(
        &self,
        ctx: &Context,
        input: DeleteFunctionUrlConfigInput,
    ) -> Result<DeleteFunctionUrlConfigOutput, Fault> {
        url::delete(&self.0, ctx, &input).await?;
        Ok(DeleteFunctionUrlConfigOutput {})
    }
    async fn delete_layer_version(
        &self,
        ctx: &Context,
        input: DeleteLayerVersionInput,
    ) -> Result<DeleteLayerVersionOutput, Fault> {
        layer::delete(&self.0, ctx, &input).await?;
        Ok(DeleteLayerVersionOutput {})
    }
    async fn delete_provisioned_concurrency_config(
        &self,
        ctx: &Context,
        input: DeleteProvisionedConcurrencyConfigInput,
    ) -> Result<DeleteProvisionedConcurrencyConfigOutput, Fault> {
        provisioned::delete(&self.0, ctx, &input).await?;
        Ok(DeleteProvisionedConcurrencyConfigOutput {})
    }
    async fn get_account_settings(
        &self,
        ctx: &Context,
        _: GetAccountSettingsInput,
    ) -> Result<GetAccountSettingsOutput, Fault> {
        concurrency::account_settings(&self.0, ctx)
    }
    async fn get_alias(
        &self,
        ctx: &Context,
        input: GetAliasInput,
    ) -> Result<GetAliasOutput, Fault> {
        alias::get(&self.0, ctx, &input)
    }
    async fn get_code_signing_config(
        &self,
        ctx: &Context,
        input: GetCodeSigningConfigInput,
    ) -> Result<GetCodeSigningConfigOutput, Fault> {
        code_signing::get(&self.0, ctx, &input)
    }
    async fn get_function(
        &self,
        ctx: &Context,
        input: GetFunctionInput,
    ) -> Result<GetFunctionOutput, Fault> {
        function::get(&self.0, ctx, &input)
    }
    async fn get_function_code_signing_config(
        &self,
        ctx: &Context,
        input: GetFunctionCodeSigningConfigInput,
    ) -> Result<GetFunctionCodeSigningConfigOutput, Fault> {
        code_signing::get_of_function(&self.0, ctx, &input.function_name)
    }
    async fn get_function_concurrency(
        &self,
        ctx: &Context,
        input: GetFunctionConcurrencyInput,
    ) -> Result<GetFunctionConcurrencyOutput, Fault> {
        concurrency::get(&self.0, ctx, &input)
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
    async fn get_function_event_invoke_config(
        &self,
        ctx: &Context,
        input: GetFunctionEventInvokeConfigInput,
    ) -> Result<GetFunctionEventInvokeConfigOutput, Fault> {
        destination::get(&self.0, ctx, &input)
    }
    async fn get_function_recursion_config(
        &self,
        ctx: &Context,
        input: GetFunctionRecursionConfigInput,
    ) -> Result<GetFunctionRecursionConfigOutput, Fault> {
        let word = code_signing::recursion(&self.0, ctx, &input.function_name)?;
        Ok(GetFunctionRecursionConfigOutput {
            recursive_loop: Some(word),
        })
    }
    async fn get_function_url_config(
        &self,
        ctx: &Context,
        input: GetFunctionUrlConfigInput,
    ) -> Result<GetFunctionUrlConfigOutput, Fault> {
        url::get(&self.0, ctx, &input)
    }
    async fn get_layer_version(
        &self,
        ctx: &Context,
        input: GetLayerVersionInput,
    ) -> Result<GetLayerVersionOutput, Fault> {
        layer::get(&self.0, ctx, &input)
    }
    async fn get_layer_version_by_arn(
        &self,
        ctx: &Context,
        input: GetLayerVersionByArnInput,
    ) -> Result<GetLayerVersionByArnOutput, Fault> {
        layer::get_by_arn(&self.0, ctx, &input)
    }
    async fn get_layer_version_policy(
        &self,
        ctx: &Context,
        input: GetLayerVersionPolicyInput,
    ) -> Result<GetLayerVersionPolicyOutput, Fault> {
        layer::get_policy(&self.0, ctx, &input)
    }
    async fn get_policy(
        &self,
        ctx: &Context,
        input: GetPolicyInput,
    ) -> Result<GetPolicyOutput, Fault> {
        policy::get(&self.0, ctx, &input)
    }
    async fn get_provisioned_concurrency_config(
        &self,
        ctx: &Context,
        input: GetProvisionedConcurrencyConfigInput,
    ) -> Result<GetProvisionedConcurrencyConfigOutput, Fault> {
        provisioned::get(&self.0, ctx, &input)
    }
    async fn get_runtime_management_config(
        &self,
        ctx: &Context,
        input: GetRuntimeManagementConfigInput,
    ) -> Result<GetRuntimeManagementConfigOutput, Fault> {
        code_signing::runtime_management(&self.0, ctx, &input)
    }
    async fn invoke(&self, ctx: &Context, input: InvokeInput) -> Result<InvokeOutput, Fault> {
        invocation::invoke(&self.0, ctx, input).await
    }
    async fn invoke_async(
        &self,
        ctx: &Context,
        input: InvokeAsyncInput,
    ) -> Result<InvokeAsyncOutput, Fault> {
        invocation::invoke_async(&self.0, ctx, input).await
    }
    async fn invoke_with_response_stream(
        &self,
        ctx: &Context,
        input: InvokeWithResponseStreamInput,
    ) -> Result<InvokeWithResponseStreamOutput, Fault> {
        stream::invoke(&self.0, ctx, input).await
    }
    async fn list_aliases(
        &self,
        ctx: &Context,
        input: ListAliasesInput,
    ) -> Result<ListAliasesOutput, Fault> {
        alias::list(&self.0, ctx, &input)
    }
    async fn list_code_signing_configs(
        &self,
        ctx: &Context,
        _: ListCodeSigningConfigsInput,
    ) -> Result<ListCodeSigningConfigsOutput, Fault> {
        code_signing::list(&self.0, ctx)
    }
    async fn list_function_event_invoke_configs(
        &self,
        ctx: &Context,
        input: ListFunctionEventInvokeConfigsInput,
    ) -> Result<ListFunctionEventInvokeConfigsOutput, Fault> {
        destination::list(&self.0, ctx, &input)
    }
    async fn list_function_url_configs(
        &self,
        ctx: &Context,
        input: ListFunctionUrlConfigsInput,
    ) -> Result<ListFunctionUrlConfigsOutput, Fault> {
        url::list(&self.0, ctx, &input)
    }
    async fn list_functions(
        &self,
        ctx: &Context,
        input: ListFunctionsInput,
    ) -> Result<ListFunctionsOutput, Fault> {
        function::list(&self.0, ctx, &input)
    }
    async fn list_functions_by_code_signing_config(
        &self,
        ctx: &Context,
        input: ListFunctionsByCodeSigningConfigInput,
    ) -> Result<ListFunctionsByCodeSigningConfigOutput, Fault> {
        code_signing::list_functions(&self.0, ctx, &input)
    }
    async fn list_layer_versions(
        &self,
        ctx: &Context,
        input: ListLayerVersionsInput,
    ) -> Result<ListLayerVersionsOutput, Fault> {
        layer::list_versions(&self.0, ctx, &input)
    }
    async fn list_layers(
        &self,
        ctx: &Context,
        input: ListLayersInput,
    ) -> Result<ListLayersOutput, Fault> {
        layer::list(&self.0, ctx, &input)
    }
    async fn list_provisioned_concurrency_configs(
        &self,
        ctx: &Context,
        input: ListProvisionedConcurrencyConfigsInput,
    ) -> Result<ListProvisionedConcurrencyConfigsOutput, Fault> {
        provisioned::list(&self.0, ctx, &input)
    }
    async fn list_tags(
        &self,
        ctx: &Context,
        input: ListTagsInput,
    ) -> Result<ListTagsOutput, Fault> {
        tag::list(&self.0, ctx, &input)
    }
    async fn list_versions_by_function(
        &self,
        ctx: &Context,
        input: ListVersionsByFunctionInput,
    ) -> Result<ListVersionsByFunctionOutput, Fault> {
        version::list(&self.0, ctx, &input)
    }
    async fn publish_layer_version(
        &self,
        ctx: &Context,
        input: PublishLayerVersionInput,
    ) -> Result<PublishLayerVersionOutput, Fault> {
        layer::publish(&self.0, ctx, input).await
    }
    async fn publish_version(
        &self,
        ctx: &Context,
        input: PublishVersionInput,
    ) -> Result<PublishVersionOutput, Fault> {
        version::publish(&self.0, ctx, input).await
    }
    async fn put_function_code_signing_config(
        &self,
        ctx: &Context,
        input: PutFunctionCodeSigningConfigInput,
    ) -> Result<PutFunctionCodeSigningConfigOutput, Fault> {
        let arn = input.code_signing_config_arn;
        let name =
            code_signing::set_of_function(&self.0, ctx, &input.function_name, Some(arn.clone()))
                .await?;
        Ok(PutFunctionCodeSigningConfigOutput {
            code_signing_config_arn: arn,
            function_name: name.function,
        })
    }
    async fn put_function_concurrency(
        &self,
        ctx: &Context,
        input: PutFunctionConcurrencyInput,
    ) -> Result<PutFunctionConcurrencyOutput, Fault> {
        concurrency::put(&self.0, ctx, input).await
    }
    async fn put_function_event_invoke_config(
        &self,
        ctx: &Context,
        input: PutFunctionEventInvokeConfigInput,
    ) -> Result<PutFunctionEventInvokeConfigOutput, Fault> {
        destination::put(&self.0, ctx, input).await
    }
    async fn put_function_recursion_config(
        &self,
        ctx: &Context,
        input: PutFunctionRecursionConfigInput,
    ) -> Result<PutFunctionRecursionConfigOutput, Fault> {
        let word =
            code_signing::set_recursion(&self.0, ctx, &input.function_name, input.recursive_loop)
                .await?;
        Ok(PutFunctionRecursionConfigOutput {
            recursive_loop: Some(word),
        })
    }
    async fn put_provisioned_concurrency_config(
        &self,
        ctx: &Context,
        input: PutProvisionedConcurrencyConfigInput,
    ) -> Result<PutProvisionedConcurrencyConfigOutput, Fault> {
        provisioned::put(&self.0, ctx, input).await
    }
    async fn put_runtime_management_config(
        &self,
        ctx: &Context,
        input: PutRuntimeManagementConfigInput,
    ) -> Result<PutRuntimeManagementConfigOutput, Fault> {
        code_signing::set_runtime_management(&self.0, ctx, input).await
    }
    async fn remove_layer_version_permission(
        &self,
        ctx: &Context,
        input: RemoveLayerVersionPermissionInput,
    ) -> Result<RemoveLayerVersionPermissionOutput, Fault> {
        layer::remove_permission(&self.0, ctx, input).await?;
        Ok(RemoveLayerVersionPermissionOutput {})
    }
    async fn remove_permission(
        &self,
        ctx: &Context,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, Fault> {
        policy::remove(&self.0, ctx, input).await?;
        Ok(RemovePermissionOutput {})
    }
    async fn tag_resource(
        &self,
        ctx: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        tag::add(&self.0, ctx, input).await?;
        Ok(TagResourceOutput {})
    }
    async fn untag_resource(
        &self,
        ctx: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        tag::remove(&self.0, ctx, &input).await?;
        Ok(UntagResourceOutput {})
    }
    async fn update_alias(
        &self,
        ctx: &Context,
        input: UpdateAliasInput,
    ) -> Result<UpdateAliasOutput, Fault> {
        alias::update(&self.0, ctx, input).await
    }
    async fn update_code_signing_config(
        &self,
        ctx: &Context,
        input: UpdateCodeSigningConfigInput,
    ) -> Result<UpdateCodeSigningConfigOutput, Fault> {
        code_signing::update(&self.0, ctx, input).await
    }
    async fn update_function_code(
        &self,
        ctx: &Context,
        input: UpdateFunctionCodeInput,
    ) -> Result<UpdateFunctionCodeOutput, Fault> {
        version::update_code(&self.0, ctx, input).await
    }
    async fn update_function_configuration(
        &self,
        ctx: &Context,
        input: UpdateFunctionConfigurationInput,
    ) -> Result<UpdateFunctionConfigurationOutput, Fault> {
        version::update_configuration(&self.0, ctx, input).await
    }
    async fn update_function_event_invoke_config(
        &self,
        ctx: &Context,
        input: UpdateFunctionEventInvokeConfigInput,
    ) -> Result<UpdateFunctionEventInvokeConfigOutput, Fault> {
        destination::update(&self.0, ctx, input).await
    }
    async fn update_function_url_config(
        &self,
        ctx: &Context,
        input: UpdateFunctionUrlConfigInput,
    ) -> Result<UpdateFunctionUrlConfigOutput, Fault> {
        url::update(&self.0, ctx, input).await
    }
}
