//! Objects as other services see them.

use std::sync::Arc;

use cloud::ports::{Content, Objects};
use cloud::{Context, Principal};
use futures_util::future::BoxFuture;
use wire::{Body, Bytes, Fault};

use crate::access::of_version;
use crate::acl::Permission;
use crate::api::{ListObjectsV2Input, PutObjectInput};
use crate::fault;
use crate::service::S3;

/// The owner of the port of objects.
pub(crate) struct Port(pub(crate) Arc<S3>);

impl Objects for Port {
    fn get<'a>(
        &'a self,
        account: &'a str,
        bucket: &'a str,
        key: &'a str,
        version: Option<&'a str>,
        limit: u64,
    ) -> BoxFuture<'a, Result<Bytes, Fault>> {
        Box::pin(async move {
            let s3 = &self.0;
            let bucket = s3.buckets.get(bucket, None)?;
            let mut ctx = Context::internal(
                account,
                &bucket.record.region,
                "s3.amazonaws.com",
                s3.cloud.clock.now(),
            );
            ctx.principal = Principal::root(account, &bucket.record.region, None);
            let action = of_version(version, "s3:GetObject", "s3:GetObjectVersion");
            let found = s3.find(&ctx, &bucket, key, version, action, Permission::Read)?;
            let body =
                s3.read_content(&bucket, key, &found.version, 0..found.version.size, None)?;
            Ok(body
                .ok_or_else(fault::operation_aborted)?
                .collect(limit)
                .await?)
        })
    }
    fn list<'a>(
        &'a self,
        account: &'a str,
        bucket: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<String>, Fault>> {
        Box::pin(async move {
            let s3 = &self.0;
            let region = s3.buckets.get(bucket, None)?.record.region.clone();
            let mut ctx =
                Context::internal(account, &region, "s3.amazonaws.com", s3.cloud.clock.now());
            ctx.principal = Principal::root(account, &ctx.region, None);
            let input = ListObjectsV2Input {
                bucket: bucket.to_owned(),
                prefix: Some(prefix.to_owned()),
                start_after: after.map(str::to_owned),
                ..ListObjectsV2Input::default()
            };
            let page = s3.list_objects(&ctx, input).await?;
            let keys = page.contents.into_iter().flatten();
            Ok(keys.filter_map(|object| object.key).collect())
        })
    }
    fn put<'a>(
        &'a self,
        account: &'a str,
        bucket: &'a str,
        key: &'a str,
        content: Content<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let s3 = &self.0;
            let region = s3.buckets.get(bucket, None)?.record.region.clone();
            let mut ctx =
                Context::internal(account, &region, "s3.amazonaws.com", s3.cloud.clock.now());
            ctx.principal = Principal::root(account, &ctx.region, None);
            let input = PutObjectInput {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                body: Body::from(content.bytes),
                content_type: content.media_type.map(str::to_owned),
                content_encoding: content.encoding.map(str::to_owned),
                storage_class: content.storage_class.map(str::to_owned),
                ..PutObjectInput::default()
            };
            s3.put(&ctx, input).await.map(|_| ())
        })
    }
}
