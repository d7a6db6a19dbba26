//! Changing what is kept of a version without writing a new one.

use std::sync::Arc;

use store::{Scope, Tx};
use wire::Fault;

use crate::bucket::Bucket;
use crate::fault;
use crate::get::Found;
use crate::object::Version;

impl crate::S3 {
    /// The version of that id or the current one; a delete marker does not count. `method` is the request's.
    pub(crate) fn existing(
        &self,
        bucket: &Bucket,
        key: &str,
        id: Option<&str>,
        method: &'static str,
    ) -> Result<Found, Fault> {
        let view = self.objects.store.read();
        require(self.look_up(&view, bucket, key, id)?, key, id, method)
    }

    /// Changes a version in place, and whatever else `change` does, in one transaction.
    pub(crate) async fn amend(
        &self,
        bucket: &Bucket,
        key: &str,
        id: Option<&str>,
        change: impl FnOnce(&mut Tx<'_>, &mut Version) -> Result<(), Fault> + Send,
    ) -> Result<Version, Fault> {
        let scope = ["s3", &bucket.name];
        self.objects
            .store
            .transact(Scope::new(&scope), |tx| {
                let Found {
                    version,
                    is_current,
                } = require(self.look_up(tx, bucket, key, id)?, key, id, "PUT")?;
                let mut version = Arc::unwrap_or_clone(version);
                change(tx, &mut version)?;
                self.objects.update(tx, bucket, key, &version, is_current)?;
                Ok(version)
            })
            .await
    }
}

fn require(
    found: Option<Found>,
    key: &str,
    id: Option<&str>,
    method: &'static str,
) -> Result<Found, Fault> {
    match (found, id) {
        (Some(found), _) if !found.version.is_delete_marker => Ok(found),
        // Who reads the current version finds none; who changes it is told why.
        (Some(_), id) if id.is_some() || method != "GET" => Err(Fault::sender(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .field("Method", method)
        .field("ResourceType", "DeleteMarker")),
        (None, Some(id)) => Err(fault::no_such_version(key, id)),
        _ => Err(fault::no_such_key(key)),
    }
}
