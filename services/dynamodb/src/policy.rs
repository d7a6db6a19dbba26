//! Resource policies: kept and read back.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::*;
use crate::errors::{policy_not_found_exception, resource_not_found_exception};
use crate::fault::validation;
use crate::service::Dynamo;
use crate::table::TableRecord;

/// A resource's policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Policy {
    document: String,
    revision: String,
}

impl Record for Policy {}

/// The longest policy, in bytes.
const MAX_POLICY: usize = 20 * 1024;

fn no_policy(arn: &str) -> Fault {
    policy_not_found_exception(format!(
        "Resource-based policy not found for the provided ResourceArn: {arn}"
    ))
}

/// Refuses a change that expects another revision.
fn check_revision(arn: &str, expected: Option<&str>, found: Option<&Policy>) -> Result<(), Fault> {
    let table = arn.rsplit_once('/').map_or(arn, |(_, table)| table);
    let wrong = |detail: String| {
        policy_not_found_exception(format!(
            "Resource-based policy not found for the provided ResourceArn: {detail}"
        ))
    };
    match (expected, found) {
        (None, _) | (Some("NO_POLICY"), None) => Ok(()),
        (Some(expected), Some(policy)) if policy.revision == expected => Ok(()),
        (Some("NO_POLICY"), Some(policy)) => Err(wrong(format!(
            "Requested policy update expecting none to be present for table {table}, but a policy exists with revision id {}.",
            policy.revision
        ))),
        (Some(expected), Some(policy)) => Err(wrong(format!(
            "Requested update for policy with revision id {expected}, but the policy associated to target table {table} has revision id {}.",
            policy.revision
        ))),
        (Some(_), None) => Err(no_policy(arn)),
    }
}

impl Dynamo {
    /// A policy document, if it is one.
    pub fn checked_policy(&self, text: &str) -> Result<String, Fault> {
        if text.len() > MAX_POLICY {
            return Err(validation(
                "Policy size limit exceeded: The resource-based policy exceeds the maximum size of 20 KB",
            ));
        }
        let document: Result<serde_json::Value, _> = serde_json::from_str(text);
        match document {
            Ok(document) if document.get("Statement").is_some() => Ok(text.to_owned()),
            _ => Err(validation(
                "Invalid policy document: Syntax errors in policy",
            )),
        }
    }

    /// Keeps a resource's policy; answers its revision.
    pub fn keep_policy(
        &self,
        tx: &mut Tx<'_>,
        arn: &str,
        account: &str,
        document: &str,
    ) -> Result<String, Fault> {
        let policy = Policy {
            document: document.to_owned(),
            revision: self.cloud.clock.now().millis().to_string(),
        };
        tx.put(&self.policies, &(account, arn), &policy)?;
        Ok(policy.revision)
    }

    /// Forgets the policies of a table and its streams.
    pub fn drop_policies(&self, tx: &mut Tx<'_>, table: &TableRecord) -> Result<(), Fault> {
        let account = table.account.as_str();
        let arn = table.arn();
        let mut found = Vec::new();
        let mut rows = tx.range(&self.policies, Range::text(&(account,), &arn));
        while let Some((_, of)) = rows.next_key()? {
            found.push(of);
        }
        for of in found.iter().filter(|of| {
            of.strip_prefix(&arn)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        }) {
            tx.delete(&self.policies, &(account, of.as_str()));
        }
        Ok(())
    }

    /// The resource must be one of the account's tables or streams.
    fn check_resource(&self, ctx: &Context, arn: &str) -> Result<(), Fault> {
        if arn.contains("/stream/") {
            let found = cloud::ports::TableStreams::find(self, arn)?;
            return match found {
                Some(_) => Ok(()),
                None => Err(resource_not_found_exception(format!(
                    "Requested resource not found: Stream: {arn} not found"
                ))),
            };
        }
        let place = crate::tag::table_of(ctx, arn)?;
        self.resource(ctx, arn).map(|_| ()).map_err(|fault| {
            match fault.is("ResourceNotFoundException") {
                true => crate::catalog::no_table(&place.name),
                false => fault,
            }
        })
    }

    /// `PutResourcePolicy`
    pub async fn put_resource_policy(
        &self,
        ctx: &Context,
        input: PutResourcePolicyInput,
    ) -> Result<PutResourcePolicyOutput, Fault> {
        let arn = &input.resource_arn;
        self.check_resource(ctx, arn)?;
        let document = self.checked_policy(&input.policy)?;
        let account = ctx.account.as_str();
        let scope = ["dynamodb.policies", account, arn];
        let revision = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let found = tx.get(&self.policies, &(account, arn.as_str()))?;
                check_revision(arn, input.expected_revision_id.as_deref(), found.as_ref())?;
                if let Some(policy) = found.filter(|policy| policy.document == document) {
                    return Ok(policy.revision);
                }
                self.keep_policy(tx, arn, account, &document)
            })
            .await?;
        Ok(PutResourcePolicyOutput {
            revision_id: Some(revision),
        })
    }

    /// `GetResourcePolicy`
    pub async fn get_resource_policy(
        &self,
        ctx: &Context,
        input: GetResourcePolicyInput,
    ) -> Result<GetResourcePolicyOutput, Fault> {
        let arn = &input.resource_arn;
        self.check_resource(ctx, arn)?;
        let key = (ctx.account.as_str(), arn.as_str());
        let policy = self.cloud.store.read().get(&self.policies, &key)?;
        let policy = policy.ok_or_else(|| no_policy(arn))?;
        Ok(GetResourcePolicyOutput {
            policy: Some(policy.document),
            revision_id: Some(policy.revision),
        })
    }

    /// `DeleteResourcePolicy`
    pub async fn delete_resource_policy(
        &self,
        ctx: &Context,
        input: DeleteResourcePolicyInput,
    ) -> Result<DeleteResourcePolicyOutput, Fault> {
        let arn = &input.resource_arn;
        self.check_resource(ctx, arn)?;
        let account = ctx.account.as_str();
        let scope = ["dynamodb.policies", account, arn];
        let revision = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let key = (account, arn.as_str());
                let found = tx.get(&self.policies, &key)?;
                check_revision(arn, input.expected_revision_id.as_deref(), found.as_ref())?;
                tx.delete(&self.policies, &key);
                Ok::<_, Fault>(found.map(|policy| policy.revision))
            })
            .await?;
        Ok(DeleteResourcePolicyOutput {
            revision_id: revision,
        })
    }
}
