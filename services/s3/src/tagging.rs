//! Tags of objects and buckets.

use cloud::Context;
use wire::Fault;

use crate::access::{Conditions, Question, of_version};
use crate::bucket::Bucket;
use crate::get::Found;
use crate::{api, fault};

/// Tags by key.
pub type Tags = Vec<(String, String)>;

const MAX_OBJECT_TAGS: usize = 10;
const MAX_BUCKET_TAGS: usize = 50;

fn invalid(message: &str, key: &str) -> Fault {
    Fault::sender(400, "InvalidTag", message.to_owned()).field("TagKey", key)
}

/// What tags are of: S3 refuses its own prefix in other words for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// An object.
    Object,
    /// A bucket.
    Bucket,
    /// A bucket that is being made.
    NewBucket,
}

/// Letters, digits and blanks of any language, and a few signs.
fn is_spelled_well(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c))
}

/// What is wrong with tags.
enum Broken<'a> {
    /// A rule of form.
    Form(Fault),
    /// A key with S3's own prefix.
    Reserved(&'a str),
}

fn check(tags: &Tags, tagged: Tagged) -> Result<(), Fault> {
    look_through(tags).map_err(|broken| match broken {
        Broken::Form(fault) => fault,
        Broken::Reserved(key) => reserved(key, tagged),
    })
}

fn reserved(key: &str, tagged: Tagged) -> Fault {
    match tagged {
        Tagged::Object => invalid("Your TagKey cannot be prefixed with aws:", key),
        Tagged::Bucket => invalid("System tags cannot be added/updated by requester", key),
        Tagged::NewBucket => Fault::sender(
            400,
            "InvalidTag",
            "User-defined tag keys can't start with \"aws:\". This prefix is reserved for system tags. Remove \"aws:\" from your tag keys and try again.",
        ),
    }
}

fn look_through(tags: &Tags) -> Result<(), Broken<'_>> {
    let invalid = |message, key: &str| Broken::Form(invalid(message, key));
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > 128 || !is_spelled_well(key) {
            return Err(invalid("The TagKey you have provided is invalid", key));
        }
        if value.chars().count() > 256 || !is_spelled_well(value) {
            let fault = self::invalid("The TagValue you have provided is invalid", key);
            return Err(Broken::Form(fault.field("TagValue", value.as_str())));
        }
        if key.starts_with("aws:") {
            return Err(Broken::Reserved(key));
        }
        if tags.iter().take(index).any(|(other, _)| other == key) {
            return Err(invalid(
                "Cannot provide multiple Tags with the same key",
                key,
            ));
        }
    }
    Ok(())
}

/// Reads an object's tags from a document.
pub fn object_tags(set: Option<Vec<api::Tag>>) -> Result<Tags, Fault> {
    let set = set.unwrap_or_default();
    let tags: Tags = set.into_iter().map(|t| (t.key, t.value)).collect();
    if tags.len() > MAX_OBJECT_TAGS {
        return Err(Fault::sender(
            400,
            "BadRequest",
            "Object tags cannot be greater than 10",
        ));
    }
    check(&tags, Tagged::Object)?;
    Ok(tags)
}

/// Reads a bucket's tags from a document.
pub fn bucket_tags(set: Option<Vec<api::Tag>>, tagged: Tagged) -> Result<Tags, Fault> {
    let set = set.unwrap_or_default();
    let tags: Tags = set.into_iter().map(|t| (t.key, t.value)).collect();
    if tags.len() > MAX_BUCKET_TAGS {
        return Err(Fault::sender(
            400,
            "BadRequest",
            "Bucket tag count cannot be greater than 50",
        ));
    }
    check(&tags, tagged)?;
    Ok(tags)
}

/// Reads `x-amz-tagging`: a query string.
pub fn read_header(header: &str) -> Result<Tags, Fault> {
    let tags: Tags = form_urlencoded::parse(header.as_bytes())
        .into_owned()
        .collect();
    if tags.len() > MAX_OBJECT_TAGS {
        return Err(Fault::sender(
            400,
            "BadRequest",
            "Object tags cannot be greater than 10",
        ));
    }
    look_through(&tags).map_err(|broken| match broken {
        Broken::Reserved(key) => reserved(key, Tagged::Object),
        Broken::Form(_) => fault::invalid_argument(
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
            "x-amz-tagging",
            header,
        ),
    })?;
    Ok(tags)
}

/// Tags as the API shows them.
pub fn shown(tags: &Tags) -> Vec<api::Tag> {
    tags.iter()
        .map(|(key, value)| api::Tag {
            key: key.clone(),
            value: value.clone(),
        })
        .collect()
}

/// Sets a condition key per tag.
pub fn conditions(conditions: &mut Conditions, prefix: &str, tags: &Tags) {
    for (key, value) in tags {
        conditions.set(&format!("{prefix}{key}"), value.as_str());
    }
}

/// The object that a tagging operation means.
struct Target<'a> {
    bucket: &'a Bucket,
    key: &'a str,
    id: Option<&'a str>,
}

impl crate::S3 {
    /// Tags of objects are granted by policy only, never by a list.
    fn tagged(
        &self,
        ctx: &Context,
        target: &Target<'_>,
        action: &str,
        new: Option<&Tags>,
    ) -> Result<Found, Fault> {
        let view = self.objects.store.read();
        let found = self.look_up(&view, target.bucket, target.key, target.id)?;
        let question = Question {
            action,
            key: Some(target.key),
            owner: &target.bucket.account,
            grant: None,
        };
        self.permit_when(ctx, target.bucket, &question, |c| {
            if let Some(found) = &found {
                conditions(c, "s3:ExistingObjectTag/", &found.version.tags);
            }
            if let Some(new) = new {
                conditions(c, "s3:RequestObjectTag/", new);
                c.set_all(
                    "s3:RequestObjectTagKeys",
                    new.iter().map(|(k, _)| k.clone()).collect(),
                );
            }
        })?;
        match found {
            Some(found) if !found.version.is_delete_marker => Ok(found),
            // Of the current version too: a marker has no tags to be looked for.
            Some(found) => Err(Fault::sender(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
            .field(
                "Method",
                match action {
                    _ if action.starts_with("s3:Get") => "GET",
                    _ if action.starts_with("s3:Put") => "PUT",
                    _ => "DELETE",
                },
            )
            .field("ResourceType", "DeleteMarker")
            .header("x-amz-delete-marker", "true")
            .header("x-amz-version-id", found.version.shown_id().to_owned())),
            None => Err(match target.id {
                Some(id) => fault::no_such_version(target.key, id),
                // AWS's answer to a reader names the bucket too.
                None if action.starts_with("s3:Get") => {
                    fault::no_such_key(&format!("{}/{}", target.bucket.name, target.key))
                }
                None => fault::no_such_key(target.key),
            }),
        }
    }

    async fn set_tags(
        &self,
        ctx: &Context,
        target: &Target<'_>,
        tags: Tags,
    ) -> Result<Option<String>, Fault> {
        let event = if tags.is_empty() {
            "ObjectTagging:Delete"
        } else {
            "ObjectTagging:Put"
        };
        let (bucket, key) = (target.bucket, target.key);
        let version = self
            .amend(bucket, key, target.id, |tx, version| {
                version.tags = tags;
                self.announce(tx, ctx, bucket, event, key, version)
            })
            .await?;
        Ok(crate::put::version_header(bucket, &version))
    }

    /// `PutObjectTagging`
    pub(crate) async fn put_object_tags(
        &self,
        ctx: &Context,
        input: api::PutObjectTaggingInput,
    ) -> Result<api::PutObjectTaggingOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let tags = object_tags(input.tagging.tag_set)?;
        let target = Target {
            bucket: &bucket,
            key: &input.key,
            id: input.version_id.as_deref(),
        };
        let action = of_version(
            target.id,
            "s3:PutObjectTagging",
            "s3:PutObjectVersionTagging",
        );
        self.tagged(ctx, &target, action, Some(&tags))?;
        Ok(api::PutObjectTaggingOutput {
            version_id: self.set_tags(ctx, &target, tags).await?,
        })
    }

    /// `GetObjectTagging`
    pub(crate) async fn object_tags(
        &self,
        ctx: &Context,
        input: api::GetObjectTaggingInput,
    ) -> Result<api::GetObjectTaggingOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let target = Target {
            bucket: &bucket,
            key: &input.key,
            id: input.version_id.as_deref(),
        };
        let action = of_version(
            target.id,
            "s3:GetObjectTagging",
            "s3:GetObjectVersionTagging",
        );
        let found = self.tagged(ctx, &target, action, None)?;
        Ok(api::GetObjectTaggingOutput {
            version_id: crate::put::version_header(&bucket, &found.version),
            tag_set: shown(&found.version.tags),
        })
    }

    /// `DeleteObjectTagging`
    pub(crate) async fn delete_object_tags(
        &self,
        ctx: &Context,
        input: api::DeleteObjectTaggingInput,
    ) -> Result<api::DeleteObjectTaggingOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let target = Target {
            bucket: &bucket,
            key: &input.key,
            id: input.version_id.as_deref(),
        };
        let action = of_version(
            target.id,
            "s3:DeleteObjectTagging",
            "s3:DeleteObjectVersionTagging",
        );
        self.tagged(ctx, &target, action, None)?;
        Ok(api::DeleteObjectTaggingOutput {
            version_id: self.set_tags(ctx, &target, Vec::new()).await?,
        })
    }

    /// `PutBucketTagging`
    pub(crate) async fn put_tags(
        &self,
        ctx: &Context,
        input: api::PutBucketTaggingInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutBucketTagging")?;
        let tags = bucket_tags(input.tagging.tag_set, Tagged::Bucket)?;
        self.buckets
            .change(&bucket, |record, _| {
                record.tags = tags;
                Ok(())
            })
            .await
    }

    /// `GetBucketTagging`
    pub(crate) async fn tags(
        &self,
        ctx: &Context,
        input: api::GetBucketTaggingInput,
    ) -> Result<api::GetBucketTaggingOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:GetBucketTagging")?;
        if bucket.record.tags.is_empty() {
            return Err(
                Fault::sender(404, "NoSuchTagSet", "The TagSet does not exist")
                    .field("BucketName", bucket.name.as_str()),
            );
        }
        Ok(api::GetBucketTaggingOutput {
            tag_set: shown(&bucket.record.tags),
        })
    }

    /// `DeleteBucketTagging`
    pub(crate) async fn delete_tags(
        &self,
        ctx: &Context,
        input: api::DeleteBucketTaggingInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutBucketTagging")?;
        self.buckets
            .change(&bucket, |record, _| {
                record.tags.clear();
                Ok(())
            })
            .await
    }
}
