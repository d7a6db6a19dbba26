//! How other services invoke functions.

use std::sync::Arc;

use bytes::Bytes;
use cloud::ports::{self, FunctionAnswer};
use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use wire::Fault;

use crate::environment::Event;
use crate::invocation::{self, ASYNC_LIMIT, SYNC_LIMIT};
use crate::name::Name;
use crate::state::State;
use crate::{errors, policy, queue};

/// Takes deliveries as asynchronous invocations.
pub struct Functions(pub Arc<State>);

impl Functions {
    fn admit(&self, arn: &Arn, source: &Source) -> Result<Name, Fault> {
        let state = &self.0;
        let name = Name::of_arn(arn).ok_or_else(|| {
            errors::invalid_parameter_value_exception(format!("{arn} is not the ARN of a function"))
        })?;
        state.resolve(&state.cloud.store.read(), &name)?;
        // A role of the same account needs no policy: what the source itself may do is the role's matter.
        if source.role.is_none() && !policy::admits(state, &name, source)? {
            let text = format!(
                "{} is not authorized to perform: lambda:InvokeFunction on resource: {arn}",
                source.service
            );
            return Err(Fault::sender(403, "AccessDeniedException", text).message_key("Message"));
        }
        Ok(name)
    }
}

impl Target for Functions {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            let arn: Arn = delivery.target.parse().map_err(|_| {
                Refusal::Never(errors::invalid_parameter_value_exception(format!(
                    "{} is not an ARN",
                    delivery.target
                )))
            })?;
            let name = self.admit(&arn, &delivery.source).map_err(Refusal::of)?;
            if delivery.payload.len() > ASYNC_LIMIT {
                return Err(Refusal::Never(errors::request_too_large_exception(
                    "the event is larger than 256 KiB",
                )));
            }
            invocation::check_json(delivery.payload.as_bytes()).map_err(Refusal::of)?;
            let payload = delivery.payload.clone().into();
            let trace = delivery.trace.clone();
            let id = cloud::ids::uuid();
            queue::enqueue(&self.0, &name, &id, payload, trace)
                .await
                .map_err(Refusal::Later)?;
            Ok(Receipt { id: Some(id) })
        })
    }

    fn check(&self, target: &Arn, source: &Source) -> Result<(), Fault> {
        self.admit(target, source).map(drop)
    }
}

impl ports::Functions for Functions {
    fn invoke<'a>(
        &'a self,
        function: &'a str,
        payload: Bytes,
        source: &'a Source,
    ) -> BoxFuture<'a, Result<FunctionAnswer, Fault>> {
        Box::pin(async move {
            let state = &self.0;
            let arn: Arn = function.parse().map_err(|_| {
                errors::invalid_parameter_value_exception(format!("{function} is not an ARN"))
            })?;
            let name = self.admit(&arn, source)?;
            if payload.len() > SYNC_LIMIT {
                return Err(errors::request_too_large_exception(
                    "the payload is larger than 6 MiB",
                ));
            }
            let resolved = state.resolve(&state.cloud.store.read(), &name)?;
            let permit = invocation::admit(state, &name, &resolved)?;
            let event = Event {
                id: cloud::ids::uuid(),
                arn: name.full_arn(),
                payload,
                client_context: None,
                trace: None,
            };
            let answer =
                invocation::detached(state.clone(), name, resolved, event, false, permit, None)
                    .await?;
            Ok(FunctionAnswer {
                payload: answer.payload,
                has_failed: answer.has_failed,
                version: answer.version,
            })
        })
    }
}
