//! Listing what is not finished: uploads and their parts.

use cloud::Context;
use store::{Range, Read};
use wire::{Fault, Timestamp};

use crate::acl::Permission;
use crate::listing::{self, Encoding};
use crate::{account, api, fault, set_checksum};

impl crate::S3 {
    /// `ListParts`
    pub(crate) async fn list_parts(
        &self,
        ctx: &Context,
        input: api::ListPartsInput,
    ) -> Result<api::ListPartsOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_part(
            ctx,
            &bucket,
            &input.key,
            &input.upload_id,
            "s3:ListMultipartUploadParts",
        )?;
        let max = listing::limit(input.max_parts, "max-parts")?;
        let marker = listing::natural(input.part_number_marker.unwrap_or(0), "part-number-marker")?;
        let view = self.objects.store.read();
        let upload = self
            .uploads
            .get(&view, &bucket, &input.key, &input.upload_id)?;
        let path = (&bucket.account, &bucket.name, &input.upload_id);
        let range = Range::prefix(&path).after(&(path.0, path.1, path.2, marker.unsigned_abs()));
        let limit = max as usize;
        let mut rows = view
            .range(&self.uploads.parts, range.limit(limit + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let is_truncated = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().map(|((_, _, _, number), _)| *number);
        let parts = rows.into_iter().map(|((_, _, _, number), part)| {
            let mut shown = api::Part {
                part_number: i32::try_from(number).ok(),
                last_modified: Some(Timestamp(part.modified).whole_second()),
                e_tag: Some(format!("\"{}\"", part.etag)),
                size: i64::try_from(part.size).ok(),
                ..Default::default()
            };
            let sum = upload.algorithm.map(|algorithm| crate::checksum::Checksum {
                algorithm,
                value: part.checksum,
                full_object: true,
            });
            set_checksum!(shown, &sum);
            shown
        });
        let abort = crate::lifecycle::abort_date(&bucket, &input.key, upload.initiated);
        Ok(api::ListPartsOutput {
            abort_date: abort.as_ref().map(|a| a.0),
            abort_rule_id: abort.map(|a| a.1),
            bucket: Some(bucket.name.clone()),
            key: Some(input.key.clone()),
            upload_id: Some(input.upload_id.clone()),
            part_number_marker: Some(marker),
            next_part_number_marker: Some(next.and_then(|n| i32::try_from(n).ok()).unwrap_or(0)),
            max_parts: Some(max),
            is_truncated: Some(is_truncated),
            parts: Some(parts.collect()),
            initiator: Some(account::initiator(&upload.initiator)),
            owner: Some(self.owner(&upload.owner)),
            storage_class: Some(upload.class().to_owned()),
            checksum_algorithm: upload.algorithm.map(|a| a.name().to_owned()),
            checksum_type: upload.algorithm.map(|_| {
                if upload.full_object {
                    "FULL_OBJECT"
                } else {
                    "COMPOSITE"
                }
                .to_owned()
            }),
            ..Default::default()
        })
    }

    /// `ListMultipartUploads`
    pub(crate) async fn list_uploads(
        &self,
        ctx: &Context,
        input: api::ListMultipartUploadsInput,
    ) -> Result<api::ListMultipartUploadsOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_acl(
            ctx,
            &bucket,
            "s3:ListBucketMultipartUploads",
            Permission::Read,
        )?;
        let max = listing::limit(input.max_uploads, "max-uploads")?;
        let encoding = Encoding::read(input.encoding_type.as_deref())?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let delimiter = input.delimiter.as_deref().filter(|d| !d.is_empty());
        let key_marker = input.key_marker.as_deref().filter(|m| !m.is_empty());
        let id_marker = input
            .upload_id_marker
            .as_deref()
            .filter(|m| !m.is_empty() && key_marker.is_some());
        let within = (bucket.account.as_str(), bucket.name.as_str());
        let mut range = Range::text(&within, prefix);
        if let Some(key) = key_marker {
            range = match id_marker {
                Some(id) => range.after(&(within.0, within.1, key, id)),
                None => range.after(&(within.0, within.1, key)),
            };
        }
        let view = self.objects.store.read();
        if let (Some(key), Some(id)) = (key_marker, id_marker)
            && !view.contains(&self.uploads.table, &(within.0, within.1, key, id))?
        {
            return Err(fault::invalid_argument(
                "Invalid uploadId marker",
                "upload-id-marker",
                id,
            ));
        }
        let mut rows = view.range(&self.uploads.table, range);
        let (mut uploads, mut prefixes, mut next, mut last) = (Vec::new(), Vec::new(), None, None);
        let limit = max as usize;
        while let Some(row) = rows.next() {
            let ((_, _, key, id), upload) = row?;
            let folded = delimiter.and_then(|d| {
                let rest = key.get(prefix.len()..)?;
                key.get(..prefix.len() + rest.find(d)? + d.len())
                    .map(str::to_owned)
            });
            // A marker within a common prefix stands for the whole of it.
            let is_passed = |folded| key_marker.is_some_and(|marker| marker.starts_with(folded));
            if folded.as_deref().is_some_and(is_passed) {
                rows.skip_text(&within, folded.as_deref().unwrap_or_default());
                continue;
            }
            if uploads.len() + prefixes.len() >= limit {
                next = last.take();
                break;
            }
            if let Some(folded) = folded {
                rows.skip_text(&within, &folded);
                last = Some((folded.clone(), String::new()));
                prefixes.push(folded);
                continue;
            }
            last = Some((key.clone(), id.clone()));
            uploads.push(api::MultipartUpload {
                upload_id: Some(id),
                key: Some(encoding.text(&key)),
                initiated: Some(Timestamp(upload.initiated).whole_second()),
                storage_class: Some(upload.class().to_owned()),
                owner: Some(self.owner(&upload.owner)),
                initiator: Some(account::initiator(&upload.initiator)),
                checksum_algorithm: upload.algorithm.map(|a| a.name().to_owned()),
                checksum_type: upload.algorithm.map(|_| {
                    if upload.full_object {
                        "FULL_OBJECT"
                    } else {
                        "COMPOSITE"
                    }
                    .to_owned()
                }),
                version_id: None,
            });
        }
        let is_truncated = next.is_some();
        // Where there is no more, the last upload is told none the less.
        let (next_key, next_id) = next
            .or_else(|| last.filter(|(_, id)| !id.is_empty()))
            .unwrap_or_default();
        Ok(api::ListMultipartUploadsOutput {
            bucket: Some(bucket.name.clone()),
            key_marker: Some(encoding.text(key_marker.unwrap_or_default())),
            upload_id_marker: Some(id_marker.unwrap_or_default().to_owned()),
            next_key_marker: Some(encoding.text(&next_key)),
            next_upload_id_marker: Some(next_id),
            prefix: encoding.optional(Some(prefix).filter(|p| !p.is_empty())),
            delimiter: encoding.optional(delimiter),
            max_uploads: Some(max),
            is_truncated: Some(is_truncated),
            uploads: Some(uploads),
            common_prefixes: encoding.prefixes(&prefixes),
            encoding_type: input.encoding_type.clone(),
            request_charged: None,
        })
    }
}
