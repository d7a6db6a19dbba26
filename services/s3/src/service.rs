//! The service: its tables, and an operation a line, calling down to the nouns.

use std::sync::Arc;

use cloud::{Cloud, Context};
use wire::Fault;

use crate::api::*;
use crate::bucket::{Buckets, Ownership};
use crate::data_key::Masters;
use crate::multipart::Uploads;
use crate::object::Objects;
use crate::port::Port;
use crate::{lifecycle, replication};

/// S3.
pub struct S3 {
    pub(crate) cloud: Cloud,
    pub(crate) buckets: Buckets,
    pub(crate) objects: Objects,
    pub(crate) uploads: Uploads,
    pub(crate) masters: Masters,
}

impl S3 {
    /// Builds the service over a region's state and takes up its jobs and facts.
    pub fn open(cloud: &Cloud) -> Arc<S3> {
        let s3 = Arc::new(S3 {
            cloud: cloud.clone(),
            buckets: Buckets::open(&cloud.store),
            objects: Objects::open(&cloud.store),
            uploads: Uploads::open(&cloud.store),
            masters: Masters::open(&cloud.store),
        });
        let this = s3.clone();
        cloud.after_reset(move || this.buckets.reload());
        let this = s3.clone();
        cloud
            .facts
            .subscribe::<replication::Replicate>(move |fact| {
                let this = this.clone();
                Box::pin(async move { this.replicate(fact).await })
            });
        let this = s3.clone();
        cloud.scheduler.register(lifecycle::JOB, move |job| {
            let this = this.clone();
            Box::pin(async move { this.run_lifecycle(job).await })
        });
        cloud.ports.set_objects(Arc::new(Port(s3.clone())));
        s3
    }

    /// The object ownership of a new bucket that asks for none.
    pub(crate) fn default_ownership(&self) -> Option<Ownership> {
        match self.cloud.config.object_ownership.as_str() {
            "" => None,
            name => Ownership::parse(name).ok(),
        }
    }
}

impl crate::api::S3 for S3 {
    async fn abort_multipart_upload(
        &self,
        ctx: &Context,
        input: AbortMultipartUploadInput,
    ) -> Result<AbortMultipartUploadOutput, Fault> {
        self.abort(ctx, input).await
    }
    async fn complete_multipart_upload(
        &self,
        ctx: &Context,
        input: CompleteMultipartUploadInput,
    ) -> Result<CompleteMultipartUploadOutput, Fault> {
        self.complete(ctx, input).await
    }
    async fn copy_object(
        &self,
        ctx: &Context,
        input: CopyObjectInput,
    ) -> Result<CopyObjectOutput, Fault> {
        self.copy(ctx, input).await
    }
    async fn create_bucket(
        &self,
        ctx: &Context,
        input: CreateBucketInput,
    ) -> Result<CreateBucketOutput, Fault> {
        self.create(ctx, input).await
    }
    async fn create_multipart_upload(
        &self,
        ctx: &Context,
        input: CreateMultipartUploadInput,
    ) -> Result<CreateMultipartUploadOutput, Fault> {
        self.create_upload(ctx, input).await
    }
    async fn delete_bucket(
        &self,
        ctx: &Context,
        input: DeleteBucketInput,
    ) -> Result<DeleteBucketOutput, Fault> {
        self.remove(ctx, input).await?;
        Ok(DeleteBucketOutput::default())
    }
    async fn delete_bucket_analytics_configuration(
        &self,
        ctx: &Context,
        input: DeleteBucketAnalyticsConfigurationInput,
    ) -> Result<DeleteBucketAnalyticsConfigurationOutput, Fault> {
        self.delete_named::<AnalyticsConfiguration>(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutAnalyticsConfiguration",
            &input.id,
        )
        .await?;
        Ok(DeleteBucketAnalyticsConfigurationOutput::default())
    }
    async fn delete_bucket_cors(
        &self,
        ctx: &Context,
        input: DeleteBucketCorsInput,
    ) -> Result<DeleteBucketCorsOutput, Fault> {
        self.delete_document(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutBucketCORS",
            "cors",
        )
        .await?;
        Ok(DeleteBucketCorsOutput::default())
    }
    async fn delete_bucket_encryption(
        &self,
        ctx: &Context,
        input: DeleteBucketEncryptionInput,
    ) -> Result<DeleteBucketEncryptionOutput, Fault> {
        self.delete_document(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutEncryptionConfiguration",
            "encryption",
        )
        .await?;
        Ok(DeleteBucketEncryptionOutput::default())
    }
    async fn delete_bucket_intelligent_tiering_configuration(
        &self,
        ctx: &Context,
        input: DeleteBucketIntelligentTieringConfigurationInput,
    ) -> Result<DeleteBucketIntelligentTieringConfigurationOutput, Fault> {
        self.delete_named::<IntelligentTieringConfiguration>(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutIntelligentTieringConfiguration",
            &input.id,
        )
        .await?;
        Ok(DeleteBucketIntelligentTieringConfigurationOutput::default())
    }
    async fn delete_bucket_inventory_configuration(
        &self,
        ctx: &Context,
        input: DeleteBucketInventoryConfigurationInput,
    ) -> Result<DeleteBucketInventoryConfigurationOutput, Fault> {
        self.delete_named::<InventoryConfiguration>(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutInventoryConfiguration",
            &input.id,
        )
        .await?;
        Ok(DeleteBucketInventoryConfigurationOutput::default())
    }
    async fn delete_bucket_lifecycle(
        &self,
        ctx: &Context,
        input: DeleteBucketLifecycleInput,
    ) -> Result<DeleteBucketLifecycleOutput, Fault> {
        self.delete_lifecycle(ctx, input).await?;
        Ok(DeleteBucketLifecycleOutput::default())
    }
    async fn delete_bucket_metrics_configuration(
        &self,
        ctx: &Context,
        input: DeleteBucketMetricsConfigurationInput,
    ) -> Result<DeleteBucketMetricsConfigurationOutput, Fault> {
        self.delete_named::<MetricsConfiguration>(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutMetricsConfiguration",
            &input.id,
        )
        .await?;
        Ok(DeleteBucketMetricsConfigurationOutput::default())
    }
    async fn delete_bucket_ownership_controls(
        &self,
        ctx: &Context,
        input: DeleteBucketOwnershipControlsInput,
    ) -> Result<DeleteBucketOwnershipControlsOutput, Fault> {
        self.delete_ownership(ctx, input).await?;
        Ok(DeleteBucketOwnershipControlsOutput::default())
    }
    async fn delete_bucket_policy(
        &self,
        ctx: &Context,
        input: DeleteBucketPolicyInput,
    ) -> Result<DeleteBucketPolicyOutput, Fault> {
        self.delete_policy(ctx, input).await?;
        Ok(DeleteBucketPolicyOutput::default())
    }
    async fn delete_bucket_replication(
        &self,
        ctx: &Context,
        input: DeleteBucketReplicationInput,
    ) -> Result<DeleteBucketReplicationOutput, Fault> {
        self.delete_document(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutReplicationConfiguration",
            "replication",
        )
        .await?;
        Ok(DeleteBucketReplicationOutput::default())
    }
    async fn delete_bucket_tagging(
        &self,
        ctx: &Context,
        input: DeleteBucketTaggingInput,
    ) -> Result<DeleteBucketTaggingOutput, Fault> {
        self.delete_tags(ctx, input).await?;
        Ok(DeleteBucketTaggingOutput::default())
    }
    async fn delete_bucket_website(
        &self,
        ctx: &Context,
        input: DeleteBucketWebsiteInput,
    ) -> Result<DeleteBucketWebsiteOutput, Fault> {
        self.delete_document(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:DeleteBucketWebsite",
            "website",
        )
        .await?;
        Ok(DeleteBucketWebsiteOutput::default())
    }
    async fn delete_object(
        &self,
        ctx: &Context,
        input: DeleteObjectInput,
    ) -> Result<DeleteObjectOutput, Fault> {
        self.delete(ctx, input).await
    }
    async fn delete_object_tagging(
        &self,
        ctx: &Context,
        input: DeleteObjectTaggingInput,
    ) -> Result<DeleteObjectTaggingOutput, Fault> {
        self.delete_object_tags(ctx, input).await
    }
    async fn delete_objects(
        &self,
        ctx: &Context,
        input: DeleteObjectsInput,
    ) -> Result<DeleteObjectsOutput, Fault> {
        self.delete_many(ctx, input).await
    }
    async fn delete_public_access_block(
        &self,
        ctx: &Context,
        input: DeletePublicAccessBlockInput,
    ) -> Result<DeletePublicAccessBlockOutput, Fault> {
        S3::delete_public_access_block(self, ctx, input).await?;
        Ok(DeletePublicAccessBlockOutput::default())
    }
    async fn get_bucket_accelerate_configuration(
        &self,
        ctx: &Context,
        input: GetBucketAccelerateConfigurationInput,
    ) -> Result<GetBucketAccelerateConfigurationOutput, Fault> {
        self.accelerate(ctx, input).await
    }
    async fn get_bucket_acl(
        &self,
        ctx: &Context,
        input: GetBucketAclInput,
    ) -> Result<GetBucketAclOutput, Fault> {
        self.acl(ctx, input).await
    }
    async fn get_bucket_analytics_configuration(
        &self,
        ctx: &Context,
        input: GetBucketAnalyticsConfigurationInput,
    ) -> Result<GetBucketAnalyticsConfigurationOutput, Fault> {
        let document: AnalyticsConfiguration = self.named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetAnalyticsConfiguration",
            &input.id,
        )?;
        Ok(GetBucketAnalyticsConfigurationOutput {
            analytics_configuration: Some(document),
        })
    }
    async fn get_bucket_cors(
        &self,
        ctx: &Context,
        input: GetBucketCorsInput,
    ) -> Result<GetBucketCorsOutput, Fault> {
        self.cors(ctx, input).await
    }
    async fn get_bucket_encryption(
        &self,
        ctx: &Context,
        input: GetBucketEncryptionInput,
    ) -> Result<GetBucketEncryptionOutput, Fault> {
        self.encryption(ctx, input).await
    }
    async fn get_bucket_intelligent_tiering_configuration(
        &self,
        ctx: &Context,
        input: GetBucketIntelligentTieringConfigurationInput,
    ) -> Result<GetBucketIntelligentTieringConfigurationOutput, Fault> {
        let document: IntelligentTieringConfiguration = self.named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetIntelligentTieringConfiguration",
            &input.id,
        )?;
        Ok(GetBucketIntelligentTieringConfigurationOutput {
            intelligent_tiering_configuration: Some(document),
        })
    }
    async fn get_bucket_inventory_configuration(
        &self,
        ctx: &Context,
        input: GetBucketInventoryConfigurationInput,
    ) -> Result<GetBucketInventoryConfigurationOutput, Fault> {
        let document: InventoryConfiguration = self.named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetInventoryConfiguration",
            &input.id,
        )?;
        Ok(GetBucketInventoryConfigurationOutput {
            inventory_configuration: Some(document),
        })
    }
    async fn get_bucket_lifecycle_configuration(
        &self,
        ctx: &Context,
        input: GetBucketLifecycleConfigurationInput,
    ) -> Result<GetBucketLifecycleConfigurationOutput, Fault> {
        self.lifecycle(ctx, input).await
    }
    async fn get_bucket_location(
        &self,
        ctx: &Context,
        input: GetBucketLocationInput,
    ) -> Result<GetBucketLocationOutput, Fault> {
        self.location(ctx, input).await
    }
    async fn get_bucket_logging(
        &self,
        ctx: &Context,
        input: GetBucketLoggingInput,
    ) -> Result<GetBucketLoggingOutput, Fault> {
        self.logging(ctx, input).await
    }
    async fn get_bucket_metrics_configuration(
        &self,
        ctx: &Context,
        input: GetBucketMetricsConfigurationInput,
    ) -> Result<GetBucketMetricsConfigurationOutput, Fault> {
        let document: MetricsConfiguration = self.named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetMetricsConfiguration",
            &input.id,
        )?;
        Ok(GetBucketMetricsConfigurationOutput {
            metrics_configuration: Some(document),
        })
    }
    async fn get_bucket_notification_configuration(
        &self,
        ctx: &Context,
        input: GetBucketNotificationConfigurationInput,
    ) -> Result<GetBucketNotificationConfigurationOutput, Fault> {
        self.notification(ctx, input).await
    }
    async fn get_bucket_ownership_controls(
        &self,
        ctx: &Context,
        input: GetBucketOwnershipControlsInput,
    ) -> Result<GetBucketOwnershipControlsOutput, Fault> {
        self.ownership(ctx, input).await
    }
    async fn get_bucket_policy(
        &self,
        ctx: &Context,
        input: GetBucketPolicyInput,
    ) -> Result<GetBucketPolicyOutput, Fault> {
        self.policy(ctx, input).await
    }
    async fn get_bucket_policy_status(
        &self,
        ctx: &Context,
        input: GetBucketPolicyStatusInput,
    ) -> Result<GetBucketPolicyStatusOutput, Fault> {
        self.policy_status(ctx, input).await
    }
    async fn get_bucket_replication(
        &self,
        ctx: &Context,
        input: GetBucketReplicationInput,
    ) -> Result<GetBucketReplicationOutput, Fault> {
        self.replication(ctx, input).await
    }
    async fn get_bucket_request_payment(
        &self,
        ctx: &Context,
        input: GetBucketRequestPaymentInput,
    ) -> Result<GetBucketRequestPaymentOutput, Fault> {
        self.request_payment(ctx, input).await
    }
    async fn get_bucket_tagging(
        &self,
        ctx: &Context,
        input: GetBucketTaggingInput,
    ) -> Result<GetBucketTaggingOutput, Fault> {
        self.tags(ctx, input).await
    }
    async fn get_bucket_versioning(
        &self,
        ctx: &Context,
        input: GetBucketVersioningInput,
    ) -> Result<GetBucketVersioningOutput, Fault> {
        self.versioning(ctx, input).await
    }
    async fn get_bucket_website(
        &self,
        ctx: &Context,
        input: GetBucketWebsiteInput,
    ) -> Result<GetBucketWebsiteOutput, Fault> {
        self.website(ctx, input).await
    }
    async fn get_object(
        &self,
        ctx: &Context,
        input: GetObjectInput,
    ) -> Result<GetObjectOutput, Fault> {
        self.get(ctx, input).await
    }
    async fn get_object_acl(
        &self,
        ctx: &Context,
        input: GetObjectAclInput,
    ) -> Result<GetObjectAclOutput, Fault> {
        self.object_acl(ctx, input).await
    }
    async fn get_object_attributes(
        &self,
        ctx: &Context,
        input: GetObjectAttributesInput,
    ) -> Result<GetObjectAttributesOutput, Fault> {
        self.attributes(ctx, input).await
    }
    async fn get_object_legal_hold(
        &self,
        ctx: &Context,
        input: GetObjectLegalHoldInput,
    ) -> Result<GetObjectLegalHoldOutput, Fault> {
        self.legal_hold(ctx, input).await
    }
    async fn get_object_lock_configuration(
        &self,
        ctx: &Context,
        input: GetObjectLockConfigurationInput,
    ) -> Result<GetObjectLockConfigurationOutput, Fault> {
        self.lock(ctx, input).await
    }
    async fn get_object_retention(
        &self,
        ctx: &Context,
        input: GetObjectRetentionInput,
    ) -> Result<GetObjectRetentionOutput, Fault> {
        self.retention(ctx, input).await
    }
    async fn get_object_tagging(
        &self,
        ctx: &Context,
        input: GetObjectTaggingInput,
    ) -> Result<GetObjectTaggingOutput, Fault> {
        self.object_tags(ctx, input).await
    }
    async fn get_public_access_block(
        &self,
        ctx: &Context,
        input: GetPublicAccessBlockInput,
    ) -> Result<GetPublicAccessBlockOutput, Fault> {
        self.public_access_block(ctx, input).await
    }
    async fn head_bucket(
        &self,
        ctx: &Context,
        input: HeadBucketInput,
    ) -> Result<HeadBucketOutput, Fault> {
        self.head(ctx, input).await
    }
    async fn head_object(
        &self,
        ctx: &Context,
        input: HeadObjectInput,
    ) -> Result<HeadObjectOutput, Fault> {
        S3::head_object(self, ctx, input).await
    }
    async fn list_bucket_analytics_configurations(
        &self,
        ctx: &Context,
        input: ListBucketAnalyticsConfigurationsInput,
    ) -> Result<ListBucketAnalyticsConfigurationsOutput, Fault> {
        let (all, next): (Vec<AnalyticsConfiguration>, _) = self.all_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetAnalyticsConfiguration",
            input.continuation_token.as_deref(),
        )?;
        Ok(ListBucketAnalyticsConfigurationsOutput {
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            analytics_configuration_list: Some(all),
        })
    }
    async fn list_bucket_intelligent_tiering_configurations(
        &self,
        ctx: &Context,
        input: ListBucketIntelligentTieringConfigurationsInput,
    ) -> Result<ListBucketIntelligentTieringConfigurationsOutput, Fault> {
        let (all, next): (Vec<IntelligentTieringConfiguration>, _) = self.all_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetIntelligentTieringConfiguration",
            input.continuation_token.as_deref(),
        )?;
        Ok(ListBucketIntelligentTieringConfigurationsOutput {
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            intelligent_tiering_configuration_list: Some(all),
        })
    }
    async fn list_bucket_inventory_configurations(
        &self,
        ctx: &Context,
        input: ListBucketInventoryConfigurationsInput,
    ) -> Result<ListBucketInventoryConfigurationsOutput, Fault> {
        let (all, next): (Vec<InventoryConfiguration>, _) = self.all_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetInventoryConfiguration",
            input.continuation_token.as_deref(),
        )?;
        Ok(ListBucketInventoryConfigurationsOutput {
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            inventory_configuration_list: Some(all),
        })
    }
    async fn list_bucket_metrics_configurations(
        &self,
        ctx: &Context,
        input: ListBucketMetricsConfigurationsInput,
    ) -> Result<ListBucketMetricsConfigurationsOutput, Fault> {
        let (all, next): (Vec<MetricsConfiguration>, _) = self.all_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:GetMetricsConfiguration",
            input.continuation_token.as_deref(),
        )?;
        Ok(ListBucketMetricsConfigurationsOutput {
            is_truncated: Some(next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            metrics_configuration_list: Some(all),
        })
    }
    async fn list_buckets(
        &self,
        ctx: &Context,
        input: ListBucketsInput,
    ) -> Result<ListBucketsOutput, Fault> {
        self.list(ctx, input).await
    }
    async fn list_multipart_uploads(
        &self,
        ctx: &Context,
        input: ListMultipartUploadsInput,
    ) -> Result<ListMultipartUploadsOutput, Fault> {
        self.list_uploads(ctx, input).await
    }
    async fn list_object_versions(
        &self,
        ctx: &Context,
        input: ListObjectVersionsInput,
    ) -> Result<ListObjectVersionsOutput, Fault> {
        self.list_versions(ctx, input).await
    }
    async fn list_objects(
        &self,
        ctx: &Context,
        input: ListObjectsInput,
    ) -> Result<ListObjectsOutput, Fault> {
        self.list_objects_v1(ctx, input).await
    }
    async fn list_objects_v2(
        &self,
        ctx: &Context,
        input: ListObjectsV2Input,
    ) -> Result<ListObjectsV2Output, Fault> {
        S3::list_objects(self, ctx, input).await
    }
    async fn list_parts(
        &self,
        ctx: &Context,
        input: ListPartsInput,
    ) -> Result<ListPartsOutput, Fault> {
        S3::list_parts(self, ctx, input).await
    }
    async fn put_bucket_accelerate_configuration(
        &self,
        ctx: &Context,
        input: PutBucketAccelerateConfigurationInput,
    ) -> Result<PutBucketAccelerateConfigurationOutput, Fault> {
        self.put_accelerate(ctx, input).await?;
        Ok(PutBucketAccelerateConfigurationOutput::default())
    }
    async fn put_bucket_acl(
        &self,
        ctx: &Context,
        input: PutBucketAclInput,
    ) -> Result<PutBucketAclOutput, Fault> {
        self.put_acl(ctx, input).await?;
        Ok(PutBucketAclOutput::default())
    }
    async fn put_bucket_analytics_configuration(
        &self,
        ctx: &Context,
        input: PutBucketAnalyticsConfigurationInput,
    ) -> Result<PutBucketAnalyticsConfigurationOutput, Fault> {
        let (ids, document) = (
            (input.id.as_str(), input.analytics_configuration.id.as_str()),
            &input.analytics_configuration,
        );
        self.put_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutAnalyticsConfiguration",
            ids,
            document,
        )
        .await?;
        Ok(PutBucketAnalyticsConfigurationOutput::default())
    }
    async fn put_bucket_cors(
        &self,
        ctx: &Context,
        input: PutBucketCorsInput,
    ) -> Result<PutBucketCorsOutput, Fault> {
        self.put_cors(ctx, input).await?;
        Ok(PutBucketCorsOutput::default())
    }
    async fn put_bucket_encryption(
        &self,
        ctx: &Context,
        input: PutBucketEncryptionInput,
    ) -> Result<PutBucketEncryptionOutput, Fault> {
        self.put_encryption(ctx, input).await?;
        Ok(PutBucketEncryptionOutput::default())
    }
    async fn put_bucket_intelligent_tiering_configuration(
        &self,
        ctx: &Context,
        input: PutBucketIntelligentTieringConfigurationInput,
    ) -> Result<PutBucketIntelligentTieringConfigurationOutput, Fault> {
        let (ids, document) = (
            (
                input.id.as_str(),
                input.intelligent_tiering_configuration.id.as_str(),
            ),
            &input.intelligent_tiering_configuration,
        );
        self.put_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutIntelligentTieringConfiguration",
            ids,
            document,
        )
        .await?;
        Ok(PutBucketIntelligentTieringConfigurationOutput::default())
    }
    async fn put_bucket_inventory_configuration(
        &self,
        ctx: &Context,
        input: PutBucketInventoryConfigurationInput,
    ) -> Result<PutBucketInventoryConfigurationOutput, Fault> {
        let (ids, document) = (
            (input.id.as_str(), input.inventory_configuration.id.as_str()),
            &input.inventory_configuration,
        );
        let destination = &document.destination.s3_bucket_destination;
        if ids.0 == ids.1 && !destination.bucket.starts_with("arn:") {
            return Err(Fault::sender(
                400,
                "InvalidS3DestinationBucket",
                "Invalid bucket ARN.",
            ));
        }
        self.put_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutInventoryConfiguration",
            ids,
            document,
        )
        .await?;
        Ok(PutBucketInventoryConfigurationOutput::default())
    }
    async fn put_bucket_lifecycle_configuration(
        &self,
        ctx: &Context,
        input: PutBucketLifecycleConfigurationInput,
    ) -> Result<PutBucketLifecycleConfigurationOutput, Fault> {
        self.put_lifecycle(ctx, input).await
    }
    async fn put_bucket_logging(
        &self,
        ctx: &Context,
        input: PutBucketLoggingInput,
    ) -> Result<PutBucketLoggingOutput, Fault> {
        self.put_logging(ctx, input).await?;
        Ok(PutBucketLoggingOutput::default())
    }
    async fn put_bucket_metrics_configuration(
        &self,
        ctx: &Context,
        input: PutBucketMetricsConfigurationInput,
    ) -> Result<PutBucketMetricsConfigurationOutput, Fault> {
        let (ids, document) = (
            (input.id.as_str(), input.metrics_configuration.id.as_str()),
            &input.metrics_configuration,
        );
        self.put_named(
            ctx,
            &input.bucket,
            input.expected_bucket_owner.as_deref(),
            "s3:PutMetricsConfiguration",
            ids,
            document,
        )
        .await?;
        Ok(PutBucketMetricsConfigurationOutput::default())
    }
    async fn put_bucket_notification_configuration(
        &self,
        ctx: &Context,
        input: PutBucketNotificationConfigurationInput,
    ) -> Result<PutBucketNotificationConfigurationOutput, Fault> {
        self.put_notification(ctx, input).await?;
        Ok(PutBucketNotificationConfigurationOutput::default())
    }
    async fn put_bucket_ownership_controls(
        &self,
        ctx: &Context,
        input: PutBucketOwnershipControlsInput,
    ) -> Result<PutBucketOwnershipControlsOutput, Fault> {
        self.put_ownership(ctx, input).await?;
        Ok(PutBucketOwnershipControlsOutput::default())
    }
    async fn put_bucket_policy(
        &self,
        ctx: &Context,
        input: PutBucketPolicyInput,
    ) -> Result<PutBucketPolicyOutput, Fault> {
        self.put_policy(ctx, input).await?;
        Ok(PutBucketPolicyOutput::default())
    }
    async fn put_bucket_replication(
        &self,
        ctx: &Context,
        input: PutBucketReplicationInput,
    ) -> Result<PutBucketReplicationOutput, Fault> {
        self.put_replication(ctx, input).await?;
        Ok(PutBucketReplicationOutput::default())
    }
    async fn put_bucket_request_payment(
        &self,
        ctx: &Context,
        input: PutBucketRequestPaymentInput,
    ) -> Result<PutBucketRequestPaymentOutput, Fault> {
        self.put_request_payment(ctx, input).await?;
        Ok(PutBucketRequestPaymentOutput::default())
    }
    async fn put_bucket_tagging(
        &self,
        ctx: &Context,
        input: PutBucketTaggingInput,
    ) -> Result<PutBucketTaggingOutput, Fault> {
        self.put_tags(ctx, input).await?;
        Ok(PutBucketTaggingOutput::default())
    }
    async fn put_bucket_versioning(
        &self,
        ctx: &Context,
        input: PutBucketVersioningInput,
    ) -> Result<PutBucketVersioningOutput, Fault> {
        self.put_versioning(ctx, input).await?;
        Ok(PutBucketVersioningOutput::default())
    }
    async fn put_bucket_website(
        &self,
        ctx: &Context,
        input: PutBucketWebsiteInput,
    ) -> Result<PutBucketWebsiteOutput, Fault> {
        self.put_website(ctx, input).await?;
        Ok(PutBucketWebsiteOutput::default())
    }
    async fn put_object(
        &self,
        ctx: &Context,
        input: PutObjectInput,
    ) -> Result<PutObjectOutput, Fault> {
        self.put(ctx, input).await
    }
    async fn put_object_acl(
        &self,
        ctx: &Context,
        input: PutObjectAclInput,
    ) -> Result<PutObjectAclOutput, Fault> {
        S3::put_object_acl(self, ctx, input).await
    }
    async fn put_object_legal_hold(
        &self,
        ctx: &Context,
        input: PutObjectLegalHoldInput,
    ) -> Result<PutObjectLegalHoldOutput, Fault> {
        self.put_legal_hold(ctx, input).await
    }
    async fn put_object_lock_configuration(
        &self,
        ctx: &Context,
        input: PutObjectLockConfigurationInput,
    ) -> Result<PutObjectLockConfigurationOutput, Fault> {
        self.put_lock(ctx, input).await
    }
    async fn put_object_retention(
        &self,
        ctx: &Context,
        input: PutObjectRetentionInput,
    ) -> Result<PutObjectRetentionOutput, Fault> {
        self.put_retention(ctx, input).await
    }
    async fn put_object_tagging(
        &self,
        ctx: &Context,
        input: PutObjectTaggingInput,
    ) -> Result<PutObjectTaggingOutput, Fault> {
        self.put_object_tags(ctx, input).await
    }
    async fn put_public_access_block(
        &self,
        ctx: &Context,
        input: PutPublicAccessBlockInput,
    ) -> Result<PutPublicAccessBlockOutput, Fault> {
        S3::put_public_access_block(self, ctx, input).await?;
        Ok(PutPublicAccessBlockOutput::default())
    }
    async fn restore_object(
        &self,
        ctx: &Context,
        input: RestoreObjectInput,
    ) -> Result<RestoreObjectOutput, Fault> {
        self.restore(ctx, input).await
    }
    async fn select_object_content(
        &self,
        ctx: &Context,
        input: SelectObjectContentInput,
    ) -> Result<SelectObjectContentOutput, Fault> {
        self.select(ctx, input).await
    }
    async fn upload_part(
        &self,
        ctx: &Context,
        input: UploadPartInput,
    ) -> Result<UploadPartOutput, Fault> {
        self.put_part(ctx, input).await
    }
    async fn upload_part_copy(
        &self,
        ctx: &Context,
        input: UploadPartCopyInput,
    ) -> Result<UploadPartCopyOutput, Fault> {
        self.copy_part(ctx, input).await
    }
}
