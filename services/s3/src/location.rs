//! The region of a bucket: chosen when it is made, and told.

use cloud::Context;
use wire::Fault;

use crate::acl::Permission;
use crate::api;
use crate::service::S3;

/// The bucket's document that keeps the name it was made with, where that is another one of its region.
pub(crate) const ALIAS: &str = "location";

/// The region of a bucket that is made at the endpoint of the region `own` with that location constraint. The endpoint of
/// us-east-1 makes buckets anywhere, that of another region its own only.
pub(crate) fn chosen(asked: Option<&str>, own: &str) -> Result<String, Fault> {
    let asked = asked.filter(|c| !c.is_empty());
    let region = match asked {
        Some("EU") => Some("eu-west-1"),
        asked => asked,
    };
    if own != "us-east-1" && region != Some(own) {
        return Err(Fault::sender(
            400,
            "IllegalLocationConstraintException",
            format!(
                "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
                asked.unwrap_or("unspecified")
            ),
        ));
    }
    match region {
        None => Ok(own.to_owned()),
        Some(region) if is_region(region) && (own, region) != ("us-east-1", "us-east-1") => {
            Ok(region.to_owned())
        }
        Some(region) => Err(Fault::sender(
            400,
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
        )
        .field("LocationConstraint", region)),
    }
}

/// Whether AWS has a region of that name
/// (<https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html>).
pub(crate) fn is_region(name: &str) -> bool {
    REGIONS.contains(&name)
}

/// The regions of AWS's partitions.
const REGIONS: [&str; 48] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-isoe-west-1",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "me-west-1",
    "mx-central-1",
    "sa-east-1",
    "sa-west-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-iso-east-1",
    "us-iso-west-1",
    "us-isob-east-1",
    "us-isob-west-1",
    "us-isof-east-1",
    "us-isof-south-1",
    "us-west-1",
    "us-west-2",
];

impl S3 {
    /// `GetBucketLocation`
    pub(crate) async fn location(
        &self,
        ctx: &Context,
        input: api::GetBucketLocationInput,
    ) -> Result<api::GetBucketLocationOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_acl(ctx, &bucket, "s3:GetBucketLocation", Permission::Read)?;
        let region = Some(&bucket.record.region).filter(|r| *r != "us-east-1");
        let asked = bucket.record.documents.get(ALIAS);
        Ok(api::GetBucketLocationOutput {
            location_constraint: asked.or(region).cloned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn an_endpoint_makes_buckets_of_its_region() {
        let code = |asked, own| chosen(asked, own).map_err(|fault| fault.code.to_string());
        assert_eq!(code(None, "us-east-1"), Ok("us-east-1".into()));
        assert_eq!(code(Some(""), "us-east-1"), Ok("us-east-1".into()));
        assert_eq!(code(Some("EU"), "us-east-1"), Ok("eu-west-1".into()));
        assert_eq!(code(Some("EU"), "eu-west-1"), Ok("eu-west-1".into()));
        assert_eq!(code(Some("eu-west-1"), "eu-west-1"), Ok("eu-west-1".into()));
        for asked in ["us-east-1", "nowhere"] {
            let refused = code(Some(asked), "us-east-1");
            assert_eq!(refused, Err("InvalidLocationConstraint".into()), "{asked}");
        }
        for asked in [None, Some("us-east-1"), Some("us-west-2"), Some("EU")] {
            let refused = code(asked, "eu-central-1");
            assert_eq!(refused, Err("IllegalLocationConstraintException".into()));
        }
    }
}
