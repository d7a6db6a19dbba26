//! Tags of tables.

use std::sync::Arc;

use cloud::Context;
use wire::Fault;

use crate::api::*;
use crate::catalog::{self, Place};
use crate::errors::resource_not_found_exception;
use crate::fault::{access_denied, validation};
use crate::service::Dynamo;
use crate::table::TableRecord;

/// The table of a resource's ARN.
pub fn table_of(ctx: &Context, arn: &str) -> Result<Place, Fault> {
    let invalid = || {
        validation(format!(
            "Invalid TableArn: Invalid ResourceArn provided as input {arn}"
        ))
    };
    if !arn.starts_with("arn:") {
        return Err(validation(format!(
            "Invalid ResourceArn: ARNs must start with 'arn:': {arn}"
        )));
    }
    let parsed: cloud::Arn = arn.parse().map_err(|_| invalid())?;
    let name = parsed
        .resource
        .strip_prefix("table/")
        .filter(|name| parsed.service == "dynamodb" && !name.is_empty() && !name.contains('/'))
        .ok_or_else(invalid)?;
    if parsed.account != ctx.account {
        return Err(access_denied(format!(
            "User: {} is not authorized to access this resource: {arn}",
            ctx.principal.arn
        )));
    }
    Ok(Place {
        account: parsed.account.clone(),
        region: parsed.region.clone(),
        name: name.to_owned(),
    })
}

/// The error of a resource that is not there.
pub fn no_resource(arn: &str) -> Fault {
    resource_not_found_exception(format!(
        "Requested resource not found: ResourcArn: {arn} not found"
    ))
}

impl Dynamo {
    /// The table of a resource's ARN.
    pub fn resource(&self, ctx: &Context, arn: &str) -> Result<Arc<TableRecord>, Fault> {
        let place = table_of(ctx, arn)?;
        let view = self.cloud.store.read();
        self.catalog
            .find(&view, &place.account, &place.region, &place.name)?
            .ok_or_else(|| no_resource(arn))
    }

    /// `TagResource`
    pub async fn tag_resource(
        &self,
        ctx: &Context,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, Fault> {
        if input.tags.is_empty() {
            return Err(validation(
                "1 validation error detected: Value '[]' at 'tags' failed to satisfy constraint: Member must have length greater than or equal to 1",
            ));
        }
        let place = table_of(ctx, &input.resource_arn)?;
        self.resource(ctx, &input.resource_arn)?;
        let tags = catalog::tags(&input.tags)?;
        self.change_table(&place, |_, table| {
            table.tags.extend(tags);
            if table.tags.len() > 50 {
                return Err(validation(
                    "One or more parameter values were invalid: Too many tags: the limit is 50",
                ));
            }
            Ok(())
        })
        .await?;
        Ok(TagResourceOutput {})
    }

    /// `UntagResource`
    pub async fn untag_resource(
        &self,
        ctx: &Context,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, Fault> {
        if input.tag_keys.is_empty() {
            return Err(validation(
                "1 validation error detected: Value '[]' at 'tagKeys' failed to satisfy constraint: Member must have length greater than or equal to 1",
            ));
        }
        let place = table_of(ctx, &input.resource_arn)?;
        self.resource(ctx, &input.resource_arn)?;
        self.change_table(&place, |_, table| {
            table.tags.retain(|key, _| !input.tag_keys.contains(key));
            Ok(())
        })
        .await?;
        Ok(UntagResourceOutput {})
    }

    /// `ListTagsOfResource`
    pub async fn list_tags_of_resource(
        &self,
        ctx: &Context,
        input: ListTagsOfResourceInput,
    ) -> Result<ListTagsOfResourceOutput, Fault> {
        let table = self.resource(ctx, &input.resource_arn)?;
        // As many as a table can have fit one answer here.
        let tags = table.tags.iter().map(|(key, value)| Tag {
            key: key.clone(),
            value: value.clone(),
        });
        Ok(ListTagsOfResourceOutput {
            tags: Some(tags.collect()),
            next_token: None,
        })
    }
}
