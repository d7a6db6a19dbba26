//! Reading and writing access control lists.

use cloud::Context;
use wire::Fault;

use crate::access::{Grant, Question, of_version};
use crate::acl::{self, Acl, GrantHeaders, Permission};
use crate::get::Found;
use crate::{api, fault, properties};

macro_rules! grant_headers {
    ($input:expr) => {
        GrantHeaders {
            full_control: $input.grant_full_control.as_deref(),
            read: $input.grant_read.as_deref(),
            write: $input.grant_write.as_deref(),
            read_acp: $input.grant_read_acp.as_deref(),
            write_acp: $input.grant_write_acp.as_deref(),
        }
    };
}

/// The list that a request carries, in whichever of the three ways.
fn carried(
    canned: Option<&str>,
    headers: &GrantHeaders<'_>,
    document: Option<&api::AccessControlPolicy>,
    owner: &str,
    bucket_owner: &str,
) -> Result<Acl, Fault> {
    let requested = Acl::requested(canned, headers, owner, bucket_owner)?;
    let is_document = |d: &&api::AccessControlPolicy| d.owner.is_some() || d.grants.is_some();
    match (requested, document.filter(is_document)) {
        (Some(_), Some(_)) => Err(Fault::sender(
            400,
            "UnexpectedContent",
            "This request does not support content",
        )),
        (Some(acl), None) => Ok(acl),
        (None, Some(document)) => Acl::read(document, owner),
        (None, None) if document.is_some() => Err(acl::malformed()),
        (None, None) => Err(Fault::sender(
            400,
            "MissingSecurityHeader",
            "Your request was missing a required header",
        )
        .field("MissingHeaderName", "x-amz-acl")),
    }
}

impl crate::S3 {
    /// `PutBucketAcl`
    pub(crate) async fn put_acl(
        &self,
        ctx: &Context,
        input: api::PutBucketAclInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_acl(ctx, &bucket, "s3:PutBucketAcl", Permission::WriteAcp)?;
        let acl = carried(
            input.acl.as_deref(),
            &grant_headers!(input),
            input.access_control_policy.as_ref(),
            &bucket.account,
            &bucket.account,
        )?;
        if !bucket.has_acls() {
            return Err(properties::acls_unsupported());
        }
        if bucket.public_access_block().block_public_acls && acl.is_public() {
            return Err(fault::access_denied());
        }
        self.buckets
            .change(&bucket, |record, _| {
                record.acl = acl;
                Ok(())
            })
            .await
    }

    /// `GetBucketAcl`
    pub(crate) async fn acl(
        &self,
        ctx: &Context,
        input: api::GetBucketAclInput,
    ) -> Result<api::GetBucketAclOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_acl(ctx, &bucket, "s3:GetBucketAcl", Permission::ReadAcp)?;
        let acl = if bucket.has_acls() {
            bucket.record.acl.clone()
        } else {
            Acl::private(&bucket.account)
        };
        Ok(api::GetBucketAclOutput {
            owner: Some(self.owner(&acl.owner)),
            grants: Some(acl.shown(|account| self.display_name(account))),
        })
    }

    /// `PutObjectAcl`
    pub(crate) async fn put_object_acl(
        &self,
        ctx: &Context,
        input: api::PutObjectAclInput,
    ) -> Result<api::PutObjectAclOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let id = input.version_id.as_deref();
        let found = self.existing(&bucket, &input.key, id, "PUT")?;
        let current = found.version.acl();
        let owner = if bucket.has_acls() {
            found.version.owner.as_str()
        } else {
            bucket.account.as_str()
        };
        let action = of_version(id, "s3:PutObjectAcl", "s3:PutObjectVersionAcl");
        let grant = Some(Grant {
            acl: &current,
            permission: Permission::WriteAcp,
        });
        let question = Question {
            action,
            key: Some(&input.key),
            owner,
            grant,
        };
        self.permit_when(ctx, &bucket, &question, |conditions| {
            crate::tagging::conditions(conditions, "s3:ExistingObjectTag/", &found.version.tags);
            if let Some(acl) = &input.acl {
                conditions.set("s3:x-amz-acl", acl.as_str());
            }
        })?;
        let acl = carried(
            input.acl.as_deref(),
            &grant_headers!(input),
            input.access_control_policy.as_ref(),
            owner,
            &bucket.account,
        )?;
        if !bucket.has_acls() {
            return Err(properties::acls_unsupported());
        }
        if bucket.public_access_block().block_public_acls && acl.is_public() {
            return Err(fault::access_denied());
        }
        let is_default = acl == Acl::private(owner);
        self.amend(&bucket, &input.key, id, |tx, version| {
            version.acl = (!is_default).then_some(acl);
            self.announce(tx, ctx, &bucket, "ObjectAcl:Put", &input.key, version)
        })
        .await?;
        Ok(api::PutObjectAclOutput::default())
    }

    /// `GetObjectAcl`
    pub(crate) async fn object_acl(
        &self,
        ctx: &Context,
        input: api::GetObjectAclInput,
    ) -> Result<api::GetObjectAclOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let id = input.version_id.as_deref();
        let action = of_version(id, "s3:GetObjectAcl", "s3:GetObjectVersionAcl");
        let Found { version, .. } =
            self.find(ctx, &bucket, &input.key, id, action, Permission::ReadAcp)?;
        let acl = if bucket.has_acls() {
            version.acl()
        } else {
            Acl::private(&bucket.account)
        };
        Ok(api::GetObjectAclOutput {
            owner: Some(self.owner(&acl.owner)),
            grants: Some(acl.shown(|account| self.display_name(account))),
            request_charged: None,
        })
    }
}
