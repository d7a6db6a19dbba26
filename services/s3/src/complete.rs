//! Completing a multipart upload: its parts' blobs become the object's, nothing is copied.

use cloud::Context;
use md5::{Digest, Md5};
use store::Scope;
use wire::Fault;

use crate::checksum::{self, Algorithm, Announced, Checksum};
use crate::condition::WriteConditions;
use crate::encryption::CustomerKey;
use crate::multipart::{Upload, UploadedPart};
use crate::object::{Content, Part, Version};
use crate::put::New;
use crate::{announced_checksums, api, fault, set_checksum};

/// The least length of all parts but the last.
const MIN_PART: u64 = 5 << 20;

fn invalid_part(id: &str, number: i32, etag: &str) -> Fault {
    Fault::sender(
        400,
        "InvalidPart",
        "One or more of the specified parts could not be found.  The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    )
    .field("UploadId", id)
    .field("PartNumber", number.to_string())
    .field("ETag", etag)
}

/// The parts that the request names, in its order.
fn chosen(
    input: &api::CompleteMultipartUploadInput,
    upload: &Upload,
    mut uploaded: std::collections::BTreeMap<u32, UploadedPart>,
) -> Result<Vec<(i32, UploadedPart)>, Fault> {
    let Some(document) = &input.multipart_upload else {
        return Err(fault::invalid_request("You must specify at least one part"));
    };
    let wanted = document.parts.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        return Err(fault::malformed_xml());
    }
    let mut parts: Vec<(i32, UploadedPart)> = Vec::with_capacity(wanted.len());
    for part in wanted {
        let number = part.part_number.ok_or_else(fault::malformed_xml)?;
        if parts.last().is_some_and(|(last, _)| *last >= number) {
            return Err(Fault::sender(
                400,
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            )
            .field("UploadId", input.upload_id.as_str()));
        }
        let etag = part.e_tag.as_deref().unwrap_or_default().trim_matches('"');
        let found = uploaded
            .remove(&number.unsigned_abs())
            .filter(|p| p.etag == etag);
        let found = found.ok_or_else(|| invalid_part(&input.upload_id, number, etag))?;
        let given = announced_checksums!(part);
        for (algorithm, value) in given {
            let Some(value) = value else { continue };
            if upload.algorithm.is_some_and(|own| own != algorithm) {
                let text = format!(
                    "The {} you specified for part {number} did not match what we received.",
                    algorithm.name().to_ascii_lowercase()
                );
                return Err(Fault::sender(400, "BadDigest", text));
            }
            if upload.algorithm.is_none() || value != found.checksum {
                return Err(invalid_part(&input.upload_id, number, etag));
            }
        }
        if upload.algorithm.is_some()
            && !upload.full_object
            && given.iter().all(|(_, value)| value.is_none())
        {
            return Err(fault::invalid_request(format!(
                "The upload was created using a {} checksum. The complete request must include the checksum for each part. It was missing for part {number} in the request.",
                upload.algorithm().name().to_ascii_lowercase()
            )));
        }
        parts.push((number, found));
    }
    let too_small = parts
        .split_last()
        .and_then(|(_, all)| all.iter().find(|(_, p)| p.size < MIN_PART));
    if let Some((number, part)) = too_small {
        return Err(Fault::sender(
            400,
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
        )
        .field("ProposedSize", part.size.to_string())
        .field("MinSizeAllowed", MIN_PART.to_string())
        .field("PartNumber", number.to_string())
        .field("ETag", part.etag.as_str()));
    }
    Ok(parts)
}

/// Fails where the request names another kind of checksum than the upload began with.
fn check_type(input: &api::CompleteMultipartUploadInput, upload: &Upload) -> Result<(), Fault> {
    let began = match upload.algorithm {
        None => "null",
        Some(_) if upload.full_object => "FULL_OBJECT",
        Some(_) => "COMPOSITE",
    };
    match input.checksum_type.as_deref() {
        Some(kind) if kind != began => Err(fault::invalid_request(format!(
            "The upload was created using the {began} checksum mode. The complete request must use the same checksum mode."
        ))),
        _ => Ok(()),
    }
}

/// Compares the checksum that the request announces for the object with the one its parts give.
fn compare(
    input: &api::CompleteMultipartUploadInput,
    upload: &Upload,
    announced: &Announced,
    sum: &Checksum,
) -> Result<(), Fault> {
    let value = announced.value.as_deref();
    let is_same = announced.algorithm == Some(sum.algorithm) && value == Some(sum.value.as_str());
    let is_right = match upload.algorithm {
        // Without a type it counts as one over the parts' checksums, which this upload has not.
        Some(algorithm) if upload.full_object => {
            is_same && (input.checksum_type.is_some() || algorithm == Algorithm::Crc64Nvme)
        }
        // A composite value may come with or without the number of parts.
        _ => {
            is_same
                || announced.algorithm != Some(sum.algorithm)
                || value == sum.value.split('-').next()
        }
    };
    if is_right {
        return Ok(());
    }
    let name = sum.algorithm.name().to_ascii_lowercase();
    let text = format!("The {name} you specified did not match the calculated checksum.");
    Err(Fault::sender(400, "BadDigest", text))
}

impl crate::S3 {
    /// `CompleteMultipartUpload`
    pub(crate) async fn complete(
        &self,
        ctx: &Context,
        input: api::CompleteMultipartUploadInput,
    ) -> Result<api::CompleteMultipartUploadOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_write(ctx, &bucket, "s3:PutObject", &input.key, |_| {})?;
        let conditions = WriteConditions {
            matches: input.if_match.as_deref(),
            none_match: input.if_none_match.as_deref(),
        };
        conditions.validate()?;
        let customer = CustomerKey::read(
            input.sse_customer_algorithm.as_deref(),
            input.sse_customer_key.as_deref(),
            input.sse_customer_key_md5.as_deref(),
        )?;
        // The object's own checksum may be a composite one, which is no value of its algorithm's length.
        let sums = announced_checksums!(input);
        let announced = sums.iter().find_map(|(algorithm, value)| {
            Some(Announced {
                algorithm: Some(*algorithm),
                value: Some((*value)?.to_owned()),
            })
        });
        let scope = ["s3", &bucket.name];
        let outcome = self
            .objects
            .store
            .transact(Scope::new(&scope), |tx| {
                let upload = match self.uploads.get(tx, &bucket, &input.key, &input.upload_id) {
                    Ok(upload) => upload,
                    Err(missing) => return self.completed_before(tx, &bucket, &input).ok_or(missing),
                };
                // The parts' key need not come again, but no other may.
                if customer.is_some() {
                    upload.check(customer.as_ref())?;
                }
                let current = self.objects.current(tx, &bucket, &input.key)?;
                conditions.check_upload(current.as_ref(), &input.key, upload.initiated, upload.is_overtaken)?;
                check_type(&input, &upload)?;
                let parts = chosen(&input, &upload, self.uploads.parts(tx, &bucket, &input.upload_id)?)?;
                let mut version = assemble(&upload, &input.upload_id, &parts, self.cloud.clock.now().0);
                if input.mpu_object_size.is_some_and(|size| u64::try_from(size) != Ok(version.size)) {
                    return Err(fault::invalid_request(format!(
                        "The provided 'x-amz-mp-object-size' header value {} does not match what was computed: {}",
                        input.mpu_object_size.unwrap_or_default(),
                        version.size
                    )));
                }
                if let (Some(announced), Some(sum)) = (&announced, &version.checksum) {
                    compare(&input, &upload, announced, sum)?;
                }
                // Of what nobody but the customer can read AWS adds no checksum of its own.
                let is_unread = version.encryption.customer_algorithm().is_some();
                if upload.algorithm.is_none() && (is_unread || !upload.full_object) {
                    version.checksum = None;
                }
                let new = New { version, bytes: None, event: "ObjectCreated:CompleteMultipartUpload" };
                let version = self.write(tx, ctx, &bucket, &input.key, new, &conditions)?;
                self.uploads.forget(tx, &bucket, &input.key, &input.upload_id)?;
                Ok(version)
            })
            .await;
        let version = outcome?;
        let mut output = api::CompleteMultipartUploadOutput {
            location: Some(crate::listing::location(ctx, &bucket.name, &input.key)),
            bucket: Some(bucket.name.clone()),
            key: Some(input.key.clone()),
            expiration: crate::lifecycle::expiration_header(&bucket, &input.key, &version),
            e_tag: Some(version.quoted_etag()),
            checksum_type: version.checksum.as_ref().map(|c| c.kind().to_owned()),
            server_side_encryption: version.encryption.algorithm(),
            version_id: version.id.clone(),
            ssekms_key_id: version.encryption.kms_key(),
            bucket_key_enabled: version.encryption.bucket_key(),
            request_charged: None,
            ..Default::default()
        };
        set_checksum!(output, &version.checksum);
        Ok(output)
    }

    /// A client that did not hear the answer asks again and gets it again.
    fn completed_before(
        &self,
        tx: &store::Tx<'_>,
        bucket: &crate::bucket::Bucket,
        input: &api::CompleteMultipartUploadInput,
    ) -> Option<Version> {
        let current = self.objects.current(tx, bucket, &input.key).ok()?;
        current.filter(|v| v.upload.as_deref() == Some(&input.upload_id))
    }
}

fn assemble(upload: &Upload, id: &str, parts: &[(i32, UploadedPart)], modified: i64) -> Version {
    let mut md5 = Md5::new();
    parts.iter().for_each(|(_, part)| md5.update(part.md5));
    let etag = format!("{}-{}", hex::encode(md5.finalize()), parts.len());
    let sums: Vec<(String, u64)> = parts
        .iter()
        .map(|(_, part)| (part.checksum.clone(), part.size))
        .collect();
    let checksum = checksum::of_parts(upload.algorithm(), upload.full_object, &sums);
    let pieces: Vec<_> = parts
        .iter()
        .flat_map(|(_, part)| part.pieces.clone())
        .collect();
    // Of a checksum that covers all bytes AWS keeps no parts.
    let keeps_sums = upload.algorithm.is_some() && !upload.full_object;
    Version {
        modified,
        upload: Some(id.to_owned()),
        size: parts.iter().map(|(_, part)| part.size).sum(),
        etag,
        content: if pieces.is_empty() {
            Content::Empty
        } else {
            Content::Pieces(pieces)
        },
        owner: upload.owner.clone(),
        headers: upload.headers.clone(),
        metadata: upload.metadata.clone(),
        storage_class: upload.storage_class.clone(),
        checksum,
        encryption: upload.encryption.clone(),
        sealed: upload.sealed.clone(),
        tags: upload.tags.clone(),
        acl: upload.acl.clone(),
        parts: parts
            .iter()
            .map(|(number, part)| Part {
                number: *number,
                size: part.size,
                checksum: keeps_sums.then(|| part.checksum.clone()),
            })
            .collect(),
        retention: upload.retention.clone(),
        legal_hold: upload.legal_hold,
        ..Version::default()
    }
}
