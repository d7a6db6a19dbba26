//! What users, groups and roles have in common: a name, policies, tags.

use std::collections::BTreeMap;

use auth::account::{IdKind, mint_id};
use auth::policy::{Policy as Document, PolicyKind};
use cloud::{Arn, Context};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Tx};
use wire::Fault;

use crate::api;
use crate::errors::*;
use crate::service::{ByName, Iam};

/// Policies of a user, group or role.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Policies {
    /// Documents by name.
    #[serde(default)]
    pub(crate) inline: BTreeMap<String, String>,
    /// ARNs in the order of attaching.
    #[serde(default)]
    pub(crate) managed: Vec<String>,
    /// An ARN.
    #[serde(default)]
    pub(crate) boundary: Option<String>,
}

/// A user, group or role.
pub(crate) trait Entity: Record {
    /// As messages call it: `role`.
    const NOUN: &'static str;
    /// As quotas call it: `Role`.
    const KIND: &'static str;
    /// Where they are.
    fn table(iam: &Iam) -> ByName<Self>;
    /// Its policies.
    fn policies(&self) -> &Policies;
    /// Its policies, to change them.
    fn policies_mut(&mut self) -> &mut Policies;
    /// Refuses what only AWS itself may change.
    fn check_modifiable(&self) -> Result<(), Fault> {
        Ok(())
    }
}

/// The key of a name.
pub(crate) fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The ARN of an entity of the caller's account.
pub(crate) fn arn_of(ctx: &Context, resource: impl Into<String>) -> String {
    Arn::global("iam", &ctx.region, &ctx.account, resource).to_string()
}

/// A fresh unique id.
pub(crate) fn new_id(kind: IdKind, account: &str) -> String {
    mint_id(kind, account, &mut |buffer: &mut [u8]| {
        cloud::ids::random(buffer)
    })
}

/// As documents are answered.
pub(crate) fn encoded(document: &str) -> String {
    const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(document, UNRESERVED).to_string()
}

/// Refuses a document that is no policy of that kind.
pub(crate) fn check_document(document: &str, kind: PolicyKind) -> Result<Document, Fault> {
    Document::parse(document, kind).map_err(|e| {
        let is_json = || serde_json::from_str::<serde::de::IgnoredAny>(document).is_ok();
        malformed_policy_document_exception(match kind {
            PolicyKind::Trust if !is_json() => "This policy contains invalid Json".to_owned(),
            _ => e.to_string(),
        })
    })
}

pub(crate) fn missing(noun: &str, name: &str) -> Fault {
    no_such_entity_exception(format!("The {noun} with name {name} cannot be found."))
}

/// A path as AWS wants it: it begins and ends with a slash.
pub(crate) fn path_of(path: Option<String>) -> Result<String, Fault> {
    let path = path.unwrap_or_else(|| "/".into());
    if path.starts_with('/') && path.ends_with('/') && !path.contains("//") {
        return Ok(path);
    }
    Err(Fault::sender(
        400,
        "ValidationError",
        "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
    ))
}

impl Iam {
    /// The entity of that name.
    pub(crate) fn find<E: Entity>(&self, account: &str, name: &str) -> Result<E, Fault> {
        self.cloud
            .store
            .read()
            .get(&E::table(self), &(account, &key(name)))?
            .ok_or_else(|| missing(E::NOUN, name))
    }

    /// The entity of that name, within a transaction.
    pub(crate) fn find_in<E: Entity>(
        &self,
        tx: &Tx<'_>,
        account: &str,
        name: &str,
    ) -> Result<E, Fault> {
        tx.get(&E::table(self), &(account, &key(name)))?
            .ok_or_else(|| missing(E::NOUN, name))
    }

    /// Changes an entity.
    pub(crate) async fn change<E: Entity, R>(
        &self,
        account: &str,
        name: &str,
        f: impl FnOnce(&mut Tx<'_>, &mut E) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        self.transact(account, |tx| {
            let mut entity: E = self.find_in(tx, account, name)?;
            entity.check_modifiable()?;
            let result = f(tx, &mut entity)?;
            tx.put(&E::table(self), &(account, &key(name)), &entity)?;
            Ok(result)
        })
        .await
    }

    /// All rows of an account, by name.
    pub(crate) fn all<V: Record>(&self, table: ByName<V>, account: &str) -> Result<Vec<V>, Fault> {
        let view = self.cloud.store.read();
        Ok(view
            .range(&table, Range::prefix(&(account,)))
            .map(|row| row.map(|(_, v)| v))
            .collect::<Result<_, _>>()?)
    }

    /// Refuses to delete what still has policies.
    pub(crate) fn check_bare<E: Entity>(entity: &E) -> Result<(), Fault> {
        if !entity.policies().managed.is_empty() {
            return Err(delete_conflict_exception(
                "Cannot delete entity, must detach all policies first.",
            ));
        }
        if !entity.policies().inline.is_empty() {
            return Err(delete_conflict_exception(
                "Cannot delete entity, must delete policies first.",
            ));
        }
        Ok(())
    }
}

/// A boundary as answers have it.
pub(crate) fn boundary(policies: &Policies) -> Option<api::AttachedPermissionsBoundary> {
    policies
        .boundary
        .as_ref()
        .map(|arn| api::AttachedPermissionsBoundary {
            permissions_boundary_type: Some("Policy".into()),
            permissions_boundary_arn: Some(arn.clone()),
        })
}
