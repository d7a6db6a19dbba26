//! Listing a bucket: current objects and all versions, folded at a delimiter, page by page.
//!
//! A page reads as many rows as it shows: what lies behind a common prefix is skipped, not read.

use cloud::{Context, paging};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use store::{Range, Read};
use wire::{Fault, Timestamp};

use crate::access::{Grant, Question};
use crate::acl::Permission;
use crate::bucket::Bucket;
use crate::object::{Objects, Version, place_of};
use crate::{api, fault};

/// Most rows of a page.
const MAX_KEYS: i32 = 1000;

/// What a page is of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Page<'a> {
    /// Keys begin so.
    pub prefix: &'a str,
    /// Keys are folded behind its first occurrence after the prefix.
    pub delimiter: Option<&'a str>,
    /// Only what lies behind it; a common prefix counts as the key it is.
    pub after: Option<&'a str>,
    /// With `after`: only versions behind the one at that place of that key.
    pub after_place: Option<u64>,
    /// At most as many rows.
    pub limit: usize,
}

/// What a page shows.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// The common prefixes.
    pub prefixes: Vec<String>,
    /// The last key or common prefix, and the place of its version, where there is more.
    pub next: Option<(String, Option<u64>)>,
}

impl<T> Rows<T> {
    fn len(&self) -> usize {
        self.rows.len() + self.prefixes.len()
    }
}

impl Page<'_> {
    /// The common prefix that a key is folded into.
    fn fold<'k>(&self, key: &'k str) -> Option<&'k str> {
        let delimiter = self.delimiter.filter(|d| !d.is_empty())?;
        let rest = key.get(self.prefix.len()..)?;
        let at = rest.find(delimiter)?;
        key.get(..self.prefix.len() + at + delimiter.len())
    }
}

impl Objects {
    /// A page of current objects.
    pub(crate) fn list(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        page: &Page<'_>,
    ) -> Result<Rows<(String, Version)>, Fault> {
        let within = (bucket.account.as_str(), bucket.name.as_str());
        let mut shown = Rows {
            rows: Vec::new(),
            prefixes: Vec::new(),
            next: None,
        };
        let mut range = Range::text(&within, page.prefix);
        if let Some(after) = page.after {
            // A marker that is a common prefix stands for the whole of it.
            range = match page
                .fold(after)
                .filter(|folded| after.starts_with(page.prefix) && *folded == after)
            {
                Some(folded) => range.after_text(&within, folded),
                None => range.after(&(within.0, within.1, after)),
            };
        }
        if page.limit == 0 {
            return Ok(shown);
        }
        let mut rows = read.range(&self.current, range);
        let mut last: Option<String> = None;
        while let Some(row) = rows.next() {
            let ((_, _, key), version) = row?;
            if version.is_delete_marker {
                continue;
            }
            let folded = page.fold(&key).map(str::to_owned);
            if shown.len() == page.limit {
                shown.next = last.map(|last| (last, None));
                break;
            }
            match folded {
                Some(folded) => {
                    rows.skip_text(&within, &folded);
                    last = Some(folded.clone());
                    shown.prefixes.push(folded);
                }
                None => {
                    last = Some(key.clone());
                    shown.rows.push((key, version));
                }
            }
        }
        Ok(shown)
    }

    /// A page of all versions, each key's newest first; the flag says which is current.
    pub(crate) fn list_versions(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        page: &Page<'_>,
    ) -> Result<Rows<(String, Version, bool)>, Fault> {
        let within = (bucket.account.as_str(), bucket.name.as_str());
        let mut shown = Rows {
            rows: Vec::new(),
            prefixes: Vec::new(),
            next: None,
        };
        if page.limit == 0 {
            return Ok(shown);
        }
        let mut last: Option<(String, Option<u64>)> = None;
        let full = |shown: &mut Rows<(String, Version, bool)>,
                    last: &Option<(String, Option<u64>)>| {
            let is_full = shown.len() == page.limit;
            if is_full {
                shown.next = last.clone();
            }
            is_full
        };
        // The rest of the key at which the last page ended.
        if let (Some(key), Some(place)) = (page.after, page.after_place)
            && key.starts_with(page.prefix)
            && page.fold(key).is_none()
        {
            let path = (within.0, within.1, key);
            // The version that the last page ended with may be gone since, and the current one older.
            if let Some(version) = self.current(read, bucket, key)?
                && version.seq < place
            {
                last = Some((key.to_owned(), Some(version.seq)));
                shown.rows.push((key.to_owned(), version, true));
            }
            let older = read.range(
                &self.older,
                Range::prefix(&path).after(&(path.0, path.1, path.2, !place)),
            );
            for row in older {
                let (_, version) = row?;
                if full(&mut shown, &last) {
                    return Ok(shown);
                }
                last = Some((key.to_owned(), Some(version.seq)));
                shown.rows.push((key.to_owned(), version, false));
            }
        }
        let mut range = Range::text(&within, page.prefix);
        if let Some(after) = page.after {
            // A marker within a common prefix stands for the whole of it.
            let folded = page.fold(after).filter(|_| after.starts_with(page.prefix));
            range = match folded {
                Some(folded) => range.after_text(&within, folded),
                None => range.after(&(within.0, within.1, after)),
            };
        }
        let mut rows = read.range(&self.current, range);
        while let Some(row) = rows.next() {
            let ((_, _, key), version) = row?;
            let folded = page.fold(&key).map(str::to_owned);
            if let Some(folded) = folded {
                rows.skip_text(&within, &folded);
                if full(&mut shown, &last) {
                    return Ok(shown);
                }
                last = Some((folded.clone(), None));
                shown.prefixes.push(folded);
                continue;
            }
            if full(&mut shown, &last) {
                return Ok(shown);
            }
            last = Some((key.clone(), Some(version.seq)));
            shown.rows.push((key.clone(), version, true));
            for row in read.range(
                &self.older,
                Range::prefix(&(within.0, within.1, key.as_str())),
            ) {
                let (_, version) = row?;
                if full(&mut shown, &last) {
                    return Ok(shown);
                }
                last = Some((key.clone(), Some(version.seq)));
                shown.rows.push((key.clone(), version, false));
            }
        }
        Ok(shown)
    }
}

/// Keys as a listing shows them.
pub(crate) struct Encoding(bool);

/// A text as S3 encodes it in listings, headers and URLs.
pub(crate) fn encoded(text: &str) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b'/');
    utf8_percent_encode(text, SET).to_string()
}

/// Where an object that was made is, as S3 tells it.
pub(crate) fn location(ctx: &Context, bucket: &str, key: &str) -> String {
    let key = encoded(key).replace('/', "%2F");
    format!("{}/{bucket}/{key}", ctx.endpoint())
}

impl Encoding {
    /// By `encoding-type`.
    pub(crate) fn read(encoding: Option<&str>) -> Result<Encoding, Fault> {
        match encoding {
            None => Ok(Encoding(false)),
            Some("url") => Ok(Encoding(true)),
            Some(other) => Err(fault::invalid_argument(
                "Invalid Encoding Method specified in Request",
                "encoding-type",
                other,
            )),
        }
    }
    /// Encodes a key.
    pub(crate) fn text(&self, text: &str) -> String {
        if self.0 {
            encoded(text)
        } else {
            text.to_owned()
        }
    }
    /// Encodes what may be absent.
    pub(crate) fn optional(&self, text: Option<&str>) -> Option<String> {
        text.map(|text| self.text(text))
    }
    /// The common prefixes of a page.
    pub(crate) fn prefixes(&self, prefixes: &[String]) -> Option<Vec<api::CommonPrefix>> {
        Some(
            prefixes
                .iter()
                .map(|p| api::CommonPrefix {
                    prefix: Some(self.text(p)),
                })
                .collect(),
        )
    }
}

/// `max-keys` and its like: at most 1000.
pub(crate) fn limit(asked: Option<i32>, name: &str) -> Result<i32, Fault> {
    natural(asked.unwrap_or(MAX_KEYS), name).map(|n| n.min(MAX_KEYS))
}

/// A number that must not be negative.
pub(crate) fn natural(n: i32, name: &str) -> Result<i32, Fault> {
    if n < 0 {
        return Err(fault::invalid_argument(
            format!("Argument {name} must be an integer between 0 and 2147483647"),
            name,
            n.to_string(),
        ));
    }
    Ok(n)
}

impl Version {
    fn checksum_algorithms(&self) -> Option<Vec<String>> {
        self.checksum
            .as_ref()
            .map(|c| vec![c.algorithm.name().to_owned()])
    }
    fn restore_status(&self, asked: &Option<Vec<String>>) -> Option<api::RestoreStatus> {
        let is_asked = asked.iter().flatten().any(|a| a == "RestoreStatus");
        let restored = self.restored.as_ref().filter(|_| is_asked)?;
        Some(api::RestoreStatus {
            is_restore_in_progress: Some(false),
            restore_expiry_date: Some(Timestamp(restored.until)),
        })
    }
    fn shown(
        &self,
        key: String,
        owner: Option<api::Owner>,
        asked: &Option<Vec<String>>,
    ) -> api::Object {
        api::Object {
            key: Some(key),
            last_modified: Some(self.last_modified()),
            e_tag: Some(self.quoted_etag()),
            checksum_algorithm: self.checksum_algorithms(),
            checksum_type: self.checksum.as_ref().map(|c| c.kind().to_owned()),
            size: i64::try_from(self.size).ok(),
            storage_class: Some(self.class().to_owned()),
            owner,
            restore_status: self.restore_status(asked),
        }
    }
}

impl crate::S3 {
    /// Whether the caller may list.
    fn permit_list(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        action: &str,
        page: &Page<'_>,
        max: i32,
    ) -> Result<(), Fault> {
        let grant = Some(Grant {
            acl: &bucket.record.acl,
            permission: Permission::Read,
        });
        let question = Question {
            action,
            key: None,
            owner: &bucket.account,
            grant,
        };
        self.permit_when(ctx, bucket, &question, |conditions| {
            conditions
                .set("s3:prefix", page.prefix)
                .set("s3:max-keys", max.to_string());
            if let Some(delimiter) = page.delimiter {
                conditions.set("s3:delimiter", delimiter);
            }
        })
    }

    /// `ListObjects`
    pub(crate) async fn list_objects_v1(
        &self,
        ctx: &Context,
        input: api::ListObjectsInput,
    ) -> Result<api::ListObjectsOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let max = limit(input.max_keys, "max-keys")?;
        let encoding = Encoding::read(input.encoding_type.as_deref())?;
        let mut page = Page {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().filter(|d| !d.is_empty()),
            after: None,
            after_place: None,
            limit: max as usize,
        };
        // A marker within a common prefix stands for the whole of it.
        page.after = input.marker.as_deref().filter(|m| !m.is_empty()).map(|m| {
            page.fold(m)
                .filter(|_| m.starts_with(page.prefix))
                .unwrap_or(m)
        });
        self.permit_list(ctx, &bucket, "s3:ListBucket", &page, max)?;
        let shown = self
            .objects
            .list(&self.objects.store.read(), &bucket, &page)?;
        let asked = &input.optional_object_attributes;
        let contents = shown
            .rows
            .iter()
            .map(|(key, v)| v.shown(encoding.text(key), Some(self.owner(&v.owner)), asked))
            .collect();
        Ok(api::ListObjectsOutput {
            is_truncated: Some(shown.next.is_some()),
            marker: Some(encoding.text(input.marker.as_deref().unwrap_or_default())),
            // Without a delimiter the last key itself goes on.
            next_marker: shown
                .next
                .as_ref()
                .filter(|_| page.delimiter.is_some())
                .map(|(key, _)| encoding.text(key)),
            contents: Some(contents),
            name: Some(bucket.name.clone()),
            // Clients decode the prefix of the second version only.
            prefix: Some(page.prefix.to_owned()),
            delimiter: encoding.optional(page.delimiter),
            max_keys: Some(input.max_keys.unwrap_or(max)).map(|n| n.min(max)),
            common_prefixes: encoding.prefixes(&shown.prefixes),
            encoding_type: input.encoding_type.clone(),
            request_charged: None,
        })
    }

    /// `ListObjectsV2`
    pub(crate) async fn list_objects(
        &self,
        ctx: &Context,
        input: api::ListObjectsV2Input,
    ) -> Result<api::ListObjectsV2Output, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let max = limit(input.max_keys, "max-keys")?;
        let encoding = Encoding::read(input.encoding_type.as_deref())?;
        let token = match input.continuation_token.as_deref() {
            None => None,
            Some(token) => {
                match paging::place("ListObjectsV2", token).and_then(|mut place| place.pop()) {
                    Some(place) => Some(place),
                    None => {
                        let message = "The continuation token provided is incorrect";
                        return Err(Fault::sender(400, "InvalidArgument", message)
                            .field("ArgumentName", "continuation-token"));
                    }
                }
            }
        };
        let page = Page {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().filter(|d| !d.is_empty()),
            after: token
                .as_deref()
                .or(input.start_after.as_deref())
                .filter(|m| !m.is_empty()),
            after_place: None,
            limit: max as usize,
        };
        self.permit_list(ctx, &bucket, "s3:ListBucket", &page, max)?;
        let shown = self
            .objects
            .list(&self.objects.store.read(), &bucket, &page)?;
        let asked = &input.optional_object_attributes;
        let with_owner = input.fetch_owner == Some(true);
        let contents = shown
            .rows
            .iter()
            .map(|(key, v)| {
                let owner = with_owner.then(|| self.owner(&v.owner));
                v.shown(encoding.text(key), owner, asked)
            })
            .collect();
        Ok(api::ListObjectsV2Output {
            is_truncated: Some(shown.next.is_some()),
            contents: Some(contents),
            name: Some(bucket.name.clone()),
            prefix: Some(encoding.text(page.prefix)),
            delimiter: encoding.optional(page.delimiter),
            max_keys: Some(max),
            common_prefixes: encoding.prefixes(&shown.prefixes),
            encoding_type: input.encoding_type.clone(),
            key_count: i32::try_from(shown.len()).ok(),
            continuation_token: input.continuation_token.clone(),
            next_continuation_token: shown
                .next
                .map(|(key, _)| paging::token("ListObjectsV2", &[&key])),
            // Where a token says how to go on, it is not told.
            start_after: encoding
                .optional(input.start_after.as_deref().filter(|_| token.is_none())),
            request_charged: None,
        })
    }

    /// `ListObjectVersions`
    pub(crate) async fn list_versions(
        &self,
        ctx: &Context,
        input: api::ListObjectVersionsInput,
    ) -> Result<api::ListObjectVersionsOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let max = limit(input.max_keys, "max-keys")?;
        let encoding = Encoding::read(input.encoding_type.as_deref())?;
        let key_marker = input.key_marker.as_deref().filter(|m| !m.is_empty());
        let id_marker = input.version_id_marker.as_deref().filter(|m| !m.is_empty());
        let view = self.objects.store.read();
        let after_place = match (key_marker, id_marker) {
            (None, Some(_)) => {
                return Err(fault::invalid_argument(
                    "A version-id marker cannot be specified without a key marker.",
                    "version-id-marker",
                    id_marker.unwrap_or_default(),
                ));
            }
            (Some(key), Some(id)) => match place_of(id) {
                Some(place) => Some(place),
                None => self
                    .objects
                    .version(&view, &bucket, key, id)?
                    .map(|(v, _)| v.seq),
            },
            _ => None,
        };
        let page = Page {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().filter(|d| !d.is_empty()),
            after: key_marker,
            after_place,
            limit: max as usize,
        };
        self.permit_list(ctx, &bucket, "s3:ListBucketVersions", &page, max)?;
        let shown = self.objects.list_versions(&view, &bucket, &page)?;
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        let last_id = shown.rows.last().map(|(_, v, _)| v.shown_id().to_owned());
        for (key, v, is_current) in &shown.rows {
            let key = Some(encoding.text(key));
            let version_id = Some(v.shown_id().to_owned());
            let owner = Some(self.owner(&v.owner));
            let (is_latest, last_modified) = (Some(*is_current), Some(v.last_modified()));
            if v.is_delete_marker {
                markers.push(api::DeleteMarkerEntry {
                    owner,
                    key,
                    version_id,
                    is_latest,
                    last_modified,
                });
            } else {
                versions.push(api::ObjectVersion {
                    e_tag: Some(v.quoted_etag()),
                    checksum_algorithm: v.checksum_algorithms(),
                    checksum_type: v.checksum.as_ref().map(|c| c.kind().to_owned()),
                    size: i64::try_from(v.size).ok(),
                    storage_class: Some(v.class().to_owned()),
                    key,
                    version_id,
                    is_latest,
                    last_modified,
                    owner,
                    restore_status: v.restore_status(&input.optional_object_attributes),
                });
            }
        }
        Ok(api::ListObjectVersionsOutput {
            is_truncated: Some(shown.next.is_some()),
            key_marker: Some(encoding.text(key_marker.unwrap_or_default())),
            version_id_marker: Some(id_marker.unwrap_or_default().to_owned()),
            next_key_marker: shown.next.as_ref().map(|(key, _)| encoding.text(key)),
            next_version_id_marker: shown
                .next
                .as_ref()
                .and_then(|(_, place)| place.and(last_id)),
            versions: Some(versions),
            delete_markers: Some(markers),
            name: Some(bucket.name.clone()),
            prefix: Some(encoding.text(page.prefix)),
            delimiter: encoding.optional(page.delimiter),
            max_keys: Some(max),
            common_prefixes: encoding.prefixes(&shown.prefixes),
            encoding_type: input.encoding_type.clone(),
            request_charged: None,
        })
    }
}
