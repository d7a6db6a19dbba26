//! `GetObjectAttributes`.

use cloud::Context;
use wire::Fault;

use crate::access::of_version;
use crate::acl::Permission;
use crate::checksum::Checksum;
use crate::encryption::CustomerKey;
use crate::get::Found;
use crate::put::version_header;
use crate::{api, fault, listing, set_checksum};

impl crate::S3 {
    /// `GetObjectAttributes`
    pub(crate) async fn attributes(
        &self,
        ctx: &Context,
        input: api::GetObjectAttributesInput,
    ) -> Result<api::GetObjectAttributesOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let customer = CustomerKey::presented(
            input.sse_customer_algorithm.as_deref(),
            input.sse_customer_key.as_deref(),
            input.sse_customer_key_md5.as_deref(),
        )?;
        let known = [
            "ETag",
            "Checksum",
            "ObjectParts",
            "StorageClass",
            "ObjectSize",
        ];
        if input.object_attributes.is_empty()
            || input
                .object_attributes
                .iter()
                .any(|a| !known.contains(&a.as_str()))
        {
            return Err(fault::invalid_argument(
                "Invalid attribute name specified.",
                "x-amz-object-attributes",
                input.object_attributes.join(","),
            ));
        }
        let wants = |name: &str| input.object_attributes.iter().any(|a| a == name);
        let id = input.version_id.as_deref();
        let action = of_version(
            id,
            "s3:GetObjectAttributes",
            "s3:GetObjectVersionAttributes",
        );
        let Found { version, .. } =
            self.find(ctx, &bucket, &input.key, id, action, Permission::Read)?;
        version.encryption.check(customer.as_ref())?;
        let mut output = api::GetObjectAttributesOutput {
            last_modified: Some(version.last_modified()),
            version_id: version_header(&bucket, &version),
            e_tag: wants("ETag").then(|| version.etag.clone()),
            storage_class: wants("StorageClass").then(|| version.class().to_owned()),
            object_size: i64::try_from(version.size)
                .ok()
                .filter(|_| wants("ObjectSize")),
            ..Default::default()
        };
        if wants("Checksum")
            && let Some(sum) = &version.checksum
        {
            let mut shown = api::Checksum {
                checksum_type: Some(sum.kind().to_owned()),
                ..Default::default()
            };
            // Without the count of parts that other answers put behind it.
            let plain = Checksum {
                value: sum.value.split('-').next().unwrap_or_default().to_owned(),
                ..sum.clone()
            };
            set_checksum!(shown, Some(&plain));
            output.checksum = Some(shown);
        }
        let has_sums = version.parts.iter().any(|part| part.checksum.is_some());
        if wants("ObjectParts") && !version.parts.is_empty() && !has_sums {
            // Parts without checksums of their own are only counted.
            output.object_parts = Some(api::GetObjectAttributesParts {
                total_parts_count: i32::try_from(version.parts.len()).ok(),
                ..Default::default()
            });
        } else if wants("ObjectParts") && has_sums {
            let max = listing::limit(input.max_parts, "max-parts")?;
            let marker = input.part_number_marker.unwrap_or(0);
            let mut rest = version.parts.iter().filter(|p| p.number > marker);
            let page: Vec<_> = rest.by_ref().take(max as usize).collect();
            let is_truncated = rest.next().is_some();
            let algorithm = version.checksum.as_ref().map(|c| c.algorithm);
            let shown = page.iter().map(|part| {
                let mut shown = api::ObjectPart {
                    part_number: Some(part.number),
                    size: i64::try_from(part.size).ok(),
                    ..Default::default()
                };
                let sum = algorithm.zip(part.checksum.clone());
                let sum = sum.map(|(algorithm, value)| Checksum {
                    algorithm,
                    value,
                    full_object: true,
                });
                set_checksum!(shown, &sum);
                shown
            });
            output.object_parts = Some(api::GetObjectAttributesParts {
                total_parts_count: i32::try_from(version.parts.len()).ok(),
                part_number_marker: Some(marker),
                next_part_number_marker: Some(page.last().map_or(0, |p| p.number)),
                max_parts: Some(max),
                is_truncated: Some(is_truncated),
                parts: Some(shown.collect()),
            });
        }
        Ok(output)
    }
}
