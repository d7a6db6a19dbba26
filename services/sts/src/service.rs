//! The operations, each calling down to its noun.

use std::sync::Arc;

use cloud::{Cloud, Context, PrincipalKind, Service};
use wire::Fault;

use crate::api::{self, GetCallerIdentityInput, GetCallerIdentityOutput};

/// The service.
pub fn service(_cloud: &Cloud) -> Service {
    Service::new(api::Api(Arc::new(Sts)))
}

struct Sts;

impl api::Sts for Sts {
    async fn get_caller_identity(&self, ctx: &Context, _: GetCallerIdentityInput) -> Result<GetCallerIdentityOutput, Fault> {
        if ctx.principal.kind == PrincipalKind::Anonymous {
            return Err(Fault::sender(403, "MissingAuthenticationToken", "Request is missing Authentication Token"));
        }
        Ok(GetCallerIdentityOutput {
            user_id: Some(ctx.principal.id.clone()),
            account: Some(ctx.account.clone()),
            arn: Some(ctx.principal.arn.clone()),
        })
    }
}
