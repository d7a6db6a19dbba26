//! The smaller configurations of a bucket, each put, shown and deleted alike.

use cloud::Context;
use wire::Fault;

use crate::acl::Acl;
use crate::bucket::{Bucket, Ownership, PublicAccessBlock, Versioning};
use crate::configuration::{self, Document};
use crate::{api, encryption, fault};

/// A document of the bucket that is not there.
fn not_found(bucket: &Bucket, code: &'static str, message: &'static str) -> Fault {
    Fault::sender(404, code, message).field("BucketName", bucket.name.as_str())
}

impl crate::S3 {
    /// Finds a bucket whose configuration the caller may see or change.
    pub(crate) fn configured(
        &self,
        ctx: &Context,
        name: &str,
        expected: Option<&str>,
        action: &str,
    ) -> Result<std::sync::Arc<Bucket>, Fault> {
        let bucket = self.buckets.get(name, expected)?;
        self.permit(ctx, &bucket, action)?;
        Ok(bucket)
    }

    async fn keep<T: Document>(&self, bucket: &Bucket, document: &T) -> Result<(), Fault> {
        let text = configuration::encode(document);
        self.keep_text(bucket, T::NAME.to_owned(), Some(text)).await
    }

    /// Keeps a bucket's document of that name, or keeps it no longer.
    pub(crate) async fn keep_text(
        &self,
        bucket: &Bucket,
        name: String,
        text: Option<String>,
    ) -> Result<(), Fault> {
        self.buckets
            .change(bucket, |record, _| {
                match text {
                    Some(text) => record.documents.insert(name, text),
                    None => record.documents.remove(&name),
                };
                Ok(())
            })
            .await
    }

    fn kept<T: Document>(&self, bucket: &Bucket) -> Option<T> {
        configuration::decode(bucket.record.documents.get(T::NAME)?)
    }

    // -- versioning ----------------------------------------------------------------------------------------------

    /// `PutBucketVersioning`
    pub(crate) async fn put_versioning(
        &self,
        ctx: &Context,
        input: api::PutBucketVersioningInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketVersioning",
        )?;
        let wanted = &input.versioning_configuration;
        if wanted.mfa_delete.as_deref() == Some("Enabled") {
            return Err(Fault::sender(
                501,
                "NotImplemented",
                "MFA delete needs a device that this region does not have; it cannot be enabled.",
            ));
        }
        let versioning = match wanted.status.as_deref() {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => {
                return Err(Fault::sender(
                    400,
                    "IllegalVersioningConfigurationException",
                    "The Versioning element must be specified",
                ));
            }
        };
        if versioning == Versioning::Suspended && bucket.record.object_lock {
            return Err(fault::invalid_bucket_state(
                "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
            ));
        }
        if versioning == Versioning::Suspended && bucket.replication.is_some() {
            return Err(fault::invalid_bucket_state(
                "A replication configuration is present on this bucket, so you cannot change the versioning state. To change the versioning state, first delete the replication configuration.",
            ));
        }
        self.buckets
            .change(&bucket, |record, _| {
                record.versioning = versioning;
                Ok(())
            })
            .await
    }

    /// `GetBucketVersioning`
    pub(crate) async fn versioning(
        &self,
        ctx: &Context,
        input: api::GetBucketVersioningInput,
    ) -> Result<api::GetBucketVersioningOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetBucketVersioning",
        )?;
        let status = match bucket.record.versioning {
            Versioning::Unversioned => None,
            Versioning::Enabled => Some("Enabled".to_owned()),
            Versioning::Suspended => Some("Suspended".to_owned()),
        };
        Ok(api::GetBucketVersioningOutput {
            status,
            mfa_delete: None,
        })
    }

    // -- ownership and public access -----------------------------------------------------------------------------

    /// `PutBucketOwnershipControls`
    pub(crate) async fn put_ownership(
        &self,
        ctx: &Context,
        input: api::PutBucketOwnershipControlsInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketOwnershipControls",
        )?;
        let [rule] = &input.ownership_controls.rules[..] else {
            return Err(fault::malformed_xml());
        };
        let ownership =
            Ownership::parse(&rule.object_ownership).map_err(|_| fault::malformed_xml())?;
        if ownership == Ownership::BucketOwnerEnforced
            && bucket.record.acl != Acl::private(&bucket.account)
        {
            return Err(Fault::sender(
                400,
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            ));
        }
        self.buckets
            .change(&bucket, |record, _| {
                record.ownership = Some(ownership);
                Ok(())
            })
            .await
    }

    /// `GetBucketOwnershipControls`
    pub(crate) async fn ownership(
        &self,
        ctx: &Context,
        input: api::GetBucketOwnershipControlsInput,
    ) -> Result<api::GetBucketOwnershipControlsOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetBucketOwnershipControls",
        )?;
        let ownership = bucket.record.ownership.ok_or_else(|| {
            not_found(
                &bucket,
                "OwnershipControlsNotFoundError",
                "The bucket ownership controls were not found",
            )
        })?;
        let rules = vec![api::OwnershipControlsRule {
            object_ownership: ownership.name().to_owned(),
        }];
        Ok(api::GetBucketOwnershipControlsOutput {
            ownership_controls: Some(api::OwnershipControls { rules }),
        })
    }

    /// `DeleteBucketOwnershipControls`
    pub(crate) async fn delete_ownership(
        &self,
        ctx: &Context,
        input: api::DeleteBucketOwnershipControlsInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketOwnershipControls",
        )?;
        self.buckets
            .change(&bucket, |record, _| {
                record.ownership = None;
                Ok(())
            })
            .await
    }

    /// `PutPublicAccessBlock`
    pub(crate) async fn put_public_access_block(
        &self,
        ctx: &Context,
        input: api::PutPublicAccessBlockInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketPublicAccessBlock",
        )?;
        let wanted = &input.public_access_block_configuration;
        let block = PublicAccessBlock {
            block_public_acls: wanted.block_public_acls.unwrap_or(false),
            ignore_public_acls: wanted.ignore_public_acls.unwrap_or(false),
            block_public_policy: wanted.block_public_policy.unwrap_or(false),
            restrict_public_buckets: wanted.restrict_public_buckets.unwrap_or(false),
        };
        self.buckets
            .change(&bucket, |record, _| {
                record.public_access_block = Some(block);
                Ok(())
            })
            .await
    }

    /// `GetPublicAccessBlock`
    pub(crate) async fn public_access_block(
        &self,
        ctx: &Context,
        input: api::GetPublicAccessBlockInput,
    ) -> Result<api::GetPublicAccessBlockOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetBucketPublicAccessBlock",
        )?;
        let block = bucket.record.public_access_block.ok_or_else(|| {
            not_found(
                &bucket,
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
            )
        })?;
        let shown = api::PublicAccessBlockConfiguration {
            block_public_acls: Some(block.block_public_acls),
            ignore_public_acls: Some(block.ignore_public_acls),
            block_public_policy: Some(block.block_public_policy),
            restrict_public_buckets: Some(block.restrict_public_buckets),
        };
        Ok(api::GetPublicAccessBlockOutput {
            public_access_block_configuration: Some(shown),
        })
    }

    /// `DeletePublicAccessBlock`
    pub(crate) async fn delete_public_access_block(
        &self,
        ctx: &Context,
        input: api::DeletePublicAccessBlockInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketPublicAccessBlock",
        )?;
        self.buckets
            .change(&bucket, |record, _| {
                record.public_access_block = None;
                Ok(())
            })
            .await
    }

    // -- encryption ----------------------------------------------------------------------------------------------

    /// `PutBucketEncryption`
    pub(crate) async fn put_encryption(
        &self,
        ctx: &Context,
        input: api::PutBucketEncryptionInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutEncryptionConfiguration",
        )?;
        encryption::check(&input.server_side_encryption_configuration)?;
        self.keep(&bucket, &input.server_side_encryption_configuration)
            .await
    }

    /// `GetBucketEncryption`
    pub(crate) async fn encryption(
        &self,
        ctx: &Context,
        input: api::GetBucketEncryptionInput,
    ) -> Result<api::GetBucketEncryptionOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetEncryptionConfiguration",
        )?;
        // Every bucket is encrypted since 2023, whether somebody configured it or not.
        let default = || {
            let by_default = api::ServerSideEncryptionByDefault {
                sse_algorithm: "AES256".into(),
                kms_master_key_id: None,
            };
            let rule = api::ServerSideEncryptionRule {
                apply_server_side_encryption_by_default: Some(by_default),
                bucket_key_enabled: Some(false),
                ..Default::default()
            };
            api::ServerSideEncryptionConfiguration { rules: vec![rule] }
        };
        let mut shown = bucket.encryption.clone().unwrap_or_else(default);
        for rule in &mut shown.rules {
            rule.bucket_key_enabled.get_or_insert(false);
        }
        Ok(api::GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(shown),
        })
    }

    // -- CORS and website ----------------------------------------------------------------------------------------

    /// `PutBucketCors`
    pub(crate) async fn put_cors(
        &self,
        ctx: &Context,
        input: api::PutBucketCorsInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketCORS",
        )?;
        crate::http::cors::check(&input.cors_configuration)?;
        self.keep(&bucket, &input.cors_configuration).await
    }

    /// `GetBucketCors`
    pub(crate) async fn cors(
        &self,
        ctx: &Context,
        input: api::GetBucketCorsInput,
    ) -> Result<api::GetBucketCorsOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetBucketCORS",
        )?;
        match bucket.cors.clone() {
            Some(document) => Ok(api::GetBucketCorsOutput {
                cors_rules: Some(document.cors_rules),
            }),
            None => Err(not_found(
                &bucket,
                "NoSuchCORSConfiguration",
                "The CORS configuration does not exist",
            )),
        }
    }

    /// `PutBucketWebsite`
    pub(crate) async fn put_website(
        &self,
        ctx: &Context,
        input: api::PutBucketWebsiteInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketWebsite",
        )?;
        crate::http::website::check(&input.website_configuration)?;
        self.keep(&bucket, &input.website_configuration).await
    }

    /// `GetBucketWebsite`
    pub(crate) async fn website(
        &self,
        ctx: &Context,
        input: api::GetBucketWebsiteInput,
    ) -> Result<api::GetBucketWebsiteOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetBucketWebsite",
        )?;
        let document = bucket.website.clone().ok_or_else(|| {
            not_found(
                &bucket,
                "NoSuchWebsiteConfiguration",
                "The specified bucket does not have a website configuration",
            )
        })?;
        Ok(api::GetBucketWebsiteOutput {
            redirect_all_requests_to: document.redirect_all_requests_to,
            index_document: document.index_document,
            error_document: document.error_document,
            routing_rules: document.routing_rules,
        })
    }

    // -- documents that are kept ---------------------------------------------------------------------------------

    /// `PutBucketLogging`
    pub(crate) async fn put_logging(
        &self,
        ctx: &Context,
        input: api::PutBucketLoggingInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketLogging",
        )?;
        if let Some(logging) = &input.bucket_logging_status.logging_enabled {
            let target = self
                .buckets
                .find(&logging.target_bucket)
                .filter(|t| t.account == bucket.account);
            if let Some(target) = target {
                let (own, other) = (&bucket.record.region, &target.record.region);
                if own != other {
                    let fault = Fault::sender(
                        403,
                        "CrossLocationLoggingProhibitted",
                        "Cross S3 location logging not allowed. ",
                    );
                    // Where the first region is at home is not told.
                    let fault = match own.as_str() {
                        "us-east-1" => fault,
                        own => fault.field("SourceBucketLocation", own),
                    };
                    return Err(fault.field("TargetBucketLocation", other.as_str()));
                }
            } else {
                let text = match self.buckets.find(&logging.target_bucket) {
                    None => "The target bucket for logging does not exist",
                    Some(_) => {
                        "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group."
                    }
                };
                return Err(Fault::sender(400, "InvalidTargetBucketForLogging", text)
                    .field("TargetBucket", logging.target_bucket.as_str()));
            }
        }
        self.keep(&bucket, &input.bucket_logging_status).await
    }

    /// `GetBucketLogging`
    pub(crate) async fn logging(
        &self,
        ctx: &Context,
        input: api::GetBucketLoggingInput,
    ) -> Result<api::GetBucketLoggingOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetBucketLogging",
        )?;
        let document: Option<api::BucketLoggingStatus> = self.kept(&bucket);
        Ok(api::GetBucketLoggingOutput {
            logging_enabled: document.and_then(|d| d.logging_enabled),
        })
    }

    /// `PutBucketAccelerateConfiguration`
    pub(crate) async fn put_accelerate(
        &self,
        ctx: &Context,
        input: api::PutBucketAccelerateConfigurationInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutAccelerateConfiguration",
        )?;
        if bucket.name.contains('.') {
            return Err(fault::invalid_request(
                "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names",
            ));
        }
        match input.accelerate_configuration.status.as_deref() {
            Some("Enabled" | "Suspended") => {
                self.keep(&bucket, &input.accelerate_configuration).await
            }
            _ => Err(fault::malformed_xml()),
        }
    }

    /// `GetBucketAccelerateConfiguration`
    pub(crate) async fn accelerate(
        &self,
        ctx: &Context,
        input: api::GetBucketAccelerateConfigurationInput,
    ) -> Result<api::GetBucketAccelerateConfigurationOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetAccelerateConfiguration",
        )?;
        let document: Option<api::AccelerateConfiguration> = self.kept(&bucket);
        Ok(api::GetBucketAccelerateConfigurationOutput {
            status: document.and_then(|d| d.status),
            request_charged: None,
        })
    }

    /// `PutBucketRequestPayment`
    pub(crate) async fn put_request_payment(
        &self,
        ctx: &Context,
        input: api::PutBucketRequestPaymentInput,
    ) -> Result<(), Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketRequestPayment",
        )?;
        match input.request_payment_configuration.payer.as_str() {
            "Requester" | "BucketOwner" => {
                self.keep(&bucket, &input.request_payment_configuration)
                    .await
            }
            _ => Err(fault::malformed_xml()),
        }
    }

    /// `GetBucketRequestPayment`
    pub(crate) async fn request_payment(
        &self,
        ctx: &Context,
        input: api::GetBucketRequestPaymentInput,
    ) -> Result<api::GetBucketRequestPaymentOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetBucketRequestPayment",
        )?;
        let document: Option<api::RequestPaymentConfiguration> = self.kept(&bucket);
        let payer = document.map_or_else(|| "BucketOwner".to_owned(), |d| d.payer);
        Ok(api::GetBucketRequestPaymentOutput { payer: Some(payer) })
    }

    /// `GetBucketReplication`
    pub(crate) async fn replication(
        &self,
        ctx: &Context,
        input: api::GetBucketReplicationInput,
    ) -> Result<api::GetBucketReplicationOutput, Fault> {
        let bucket = self.configured(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetReplicationConfiguration",
        )?;
        match bucket.replication.clone() {
            Some(document) => Ok(api::GetBucketReplicationOutput {
                replication_configuration: Some(document),
            }),
            None => Err(not_found(
                &bucket,
                "ReplicationConfigurationNotFoundError",
                "The replication configuration was not found",
            )),
        }
    }

    /// Deletes a document, whether it is there or not.
    pub(crate) async fn delete_document(
        &self,
        ctx: &Context,
        bucket: &str,
        expected: Option<&str>,
        action: &str,
        name: &str,
    ) -> Result<(), Fault> {
        let bucket = self.configured(ctx, bucket, expected, action)?;
        self.keep_text(&bucket, name.to_owned(), None).await
    }
}
