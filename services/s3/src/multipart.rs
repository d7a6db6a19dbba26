//! Multipart uploads: their record and their parts. Completing one is in `complete`, listing them in `unfinished`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{BlobId, Range, Read, Record, Scope, Store, Table, Tx};
use wire::{Body, Fault};

use crate::access::Question;
use crate::acl::Acl;
use crate::bucket::Bucket;
use crate::checksum::{Algorithm, Announced, Checksum};
use crate::content::{self, Plan};
use crate::data_key::Sealed;
use crate::encryption::{CustomerKey, Encryption};
use crate::object::{Headers, Piece, Retention};
use crate::{announced_checksums, api, fault, requested, set_checksum, set_encryption};

/// The largest number of a part.
pub const MAX_PART: i32 = 10_000;

/// An upload under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Upload {
    /// When it began, milliseconds since 1970.
    pub initiated: i64,
    /// Who began it.
    pub initiator: String,
    /// Who will own the object.
    pub owner: String,
    /// The algorithm of the parts' checksums.
    pub algorithm: Option<Algorithm>,
    /// Whether the object's checksum covers its bytes.
    pub full_object: bool,
    /// As the object will have them.
    pub headers: Headers,
    /// As the object will have them.
    pub metadata: BTreeMap<String, String>,
    /// As the object will have it.
    pub storage_class: Option<String>,
    /// As the object will have them.
    pub tags: Vec<(String, String)>,
    /// As the object will have it.
    pub acl: Option<Acl>,
    /// As the object will have it.
    pub encryption: Encryption,
    /// The key that the parts are encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// As the object will have it.
    pub retention: Option<Retention>,
    /// As the object will have it.
    pub legal_hold: Option<bool>,
    /// Whether the key was deleted since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_overtaken: bool,
}
impl Record for Upload {}

impl Upload {
    /// Its storage class.
    pub fn class(&self) -> &str {
        self.storage_class.as_deref().unwrap_or("STANDARD")
    }
    /// Fails unless a request that belongs to it comes with its customer's key, or without where it has none.
    pub fn check(&self, customer: Option<&CustomerKey>) -> Result<(), Fault> {
        let is_other = customer.is_some() && self.encryption.customer_key_md5().is_some();
        self.encryption.check(customer).map_err(|_| {
            fault::invalid_request(if is_other {
                "The provided encryption parameters did not match the ones used originally."
            } else {
                "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
            })
        })
    }
    /// The algorithm that parts are summed with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm.unwrap_or(Algorithm::Crc64Nvme)
    }
}

/// A part that was uploaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UploadedPart {
    /// Milliseconds since 1970.
    pub modified: i64,
    /// Length in bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    /// The MD5 of its bytes.
    pub md5: [u8; 16],
    /// In base64.
    pub checksum: String,
    /// Its bytes; none for an empty part.
    pub pieces: Vec<Piece>,
}
impl Record for UploadedPart {
    const HOLDS_BLOBS: bool = true;
    fn blobs(&self, visit: &mut dyn FnMut(BlobId)) {
        self.pieces.iter().for_each(|piece| visit(piece.blob.id));
    }
}

/// All uploads under way.
pub struct Uploads {
    /// By account, bucket, key and id.
    pub table: Table<(String, String, String, String), Upload>,
    /// By account, bucket, upload and number.
    pub parts: Table<(String, String, String, u32), UploadedPart>,
}

impl Uploads {
    /// The tables of a store.
    pub fn open(store: &Store) -> Uploads {
        Uploads {
            table: store.table("s3.uploads"),
            parts: store.table("s3.parts"),
        }
    }
    /// The upload of that id.
    pub fn get(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        key: &str,
        id: &str,
    ) -> Result<Upload, Fault> {
        Read::get(read, &self.table, &(&bucket.account, &bucket.name, key, id))?
            .ok_or_else(|| fault::no_such_upload(id))
    }
    /// All parts of an upload by number.
    pub fn parts(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        id: &str,
    ) -> Result<BTreeMap<u32, UploadedPart>, Fault> {
        let rows = read.range(
            &self.parts,
            Range::prefix(&(&bucket.account, &bucket.name, id)),
        );
        rows.map(|row| {
            row.map(|((_, _, _, number), part)| (number, part))
                .map_err(Fault::from)
        })
        .collect()
    }
    /// Notes in the uploads of a key that it was deleted.
    pub fn overtake(&self, tx: &mut Tx<'_>, bucket: &Bucket, key: &str) -> Result<(), Fault> {
        let path = (&bucket.account, &bucket.name, key);
        let rows: Result<Vec<_>, _> = tx.range(&self.table, Range::prefix(&path)).collect();
        for ((account, bucket, key, id), upload) in rows? {
            let noted = Upload {
                is_overtaken: true,
                ..upload
            };
            tx.put(&self.table, &(account, bucket, key, id), &noted)?;
        }
        Ok(())
    }
    /// Forgets an upload and its parts; `release` says whether their bytes go with them.
    pub fn forget(
        &self,
        tx: &mut Tx<'_>,
        bucket: &Bucket,
        key: &str,
        id: &str,
    ) -> Result<(), Fault> {
        for (number, part) in self.parts(tx, bucket, id)? {
            part.pieces
                .iter()
                .for_each(|piece| tx.release(piece.blob.id));
            tx.delete(&self.parts, &(&bucket.account, &bucket.name, id, number));
        }
        tx.delete(&self.table, &(&bucket.account, &bucket.name, key, id));
        Ok(())
    }
    /// Key, id and beginning of all uploads whose keys begin so.
    pub fn all(
        &self,
        read: &impl Read,
        bucket: &Bucket,
        prefix: &str,
    ) -> Result<Vec<(String, String, i64)>, Fault> {
        let rows = read.range(
            &self.table,
            Range::text(&(&bucket.account, &bucket.name), prefix),
        );
        rows.map(|row| {
            row.map(|((_, _, key, id), upload)| (key, id, upload.initiated))
                .map_err(Fault::from)
        })
        .collect()
    }
    /// Forgets a bucket's uploads, which do not keep it from being deleted.
    pub fn drop_all(&self, tx: &mut Tx<'_>, bucket: &Bucket) -> Result<(), Fault> {
        for (key, id, _) in self.all(tx, bucket, "")? {
            self.forget(tx, bucket, &key, &id)?;
        }
        Ok(())
    }
}

impl crate::S3 {
    /// Whether the caller may look at an upload, or give it up.
    pub(crate) fn permit_part(
        &self,
        ctx: &Context,
        bucket: &Bucket,
        key: &str,
        id: &str,
        action: &str,
    ) -> Result<(), Fault> {
        // Who began an upload may look at it and give it up.
        let upload = self
            .uploads
            .get(&self.objects.store.read(), bucket, key, id)
            .ok();
        let initiator = upload.as_ref().map(|u| u.initiator.as_str());
        let owner = initiator.filter(|i| crate::access::account(ctx) == Some(i));
        let question = Question {
            action,
            key: Some(key),
            owner: owner.unwrap_or(&bucket.account),
            grant: None,
        };
        self.permit_when(ctx, bucket, &question, |_| {})
    }

    /// `CreateMultipartUpload`
    pub(crate) async fn create_upload(
        &self,
        ctx: &Context,
        input: api::CreateMultipartUploadInput,
    ) -> Result<api::CreateMultipartUploadOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let asked = requested!(input);
        self.permit_new(ctx, &bucket, &input.key, &asked, |_| {})?;
        let mut properties = asked.read(ctx, &bucket, &input.key)?;
        let algorithm = input
            .checksum_algorithm
            .as_deref()
            .map(Algorithm::parse)
            .transpose()?;
        let default_full = algorithm.is_none_or(|a| a == Algorithm::Crc64Nvme);
        let full_object = match (input.checksum_type.as_deref(), algorithm) {
            (None, _) => default_full,
            (Some(_), None) => {
                return Err(fault::invalid_request(
                    "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
                ));
            }
            (Some("FULL_OBJECT"), Some(a)) if a.combines() => true,
            (Some("COMPOSITE"), Some(a)) if a != Algorithm::Crc64Nvme => false,
            (Some(kind), Some(a)) => {
                return Err(fault::invalid_request(format!(
                    "The {kind} checksum type cannot be used with the {} checksum algorithm.",
                    a.name().to_ascii_lowercase()
                )));
            }
        };
        self.seal(&bucket, &mut properties).await?;
        let upload = Upload {
            initiated: self.cloud.clock.now().0,
            initiator: crate::access::account(ctx)
                .unwrap_or(&bucket.account)
                .to_owned(),
            owner: properties.owner,
            algorithm,
            full_object,
            headers: properties.headers,
            metadata: properties.metadata,
            storage_class: properties.storage_class,
            tags: properties.tags,
            acl: properties.acl,
            encryption: properties.encryption,
            sealed: properties.sealed,
            retention: properties.retention,
            legal_hold: properties.legal_hold,
            is_overtaken: false,
        };
        // Ids of one key are listed in the order in which they began.
        let id = format!("{:013x}{}", upload.initiated, cloud::ids::alphanumeric(51));
        let scope = ["s3", &bucket.name];
        self.objects
            .store
            .transact(Scope::new(&scope), |tx| {
                self.buckets.require(tx, &bucket)?;
                tx.put(
                    &self.uploads.table,
                    &(&bucket.account, &bucket.name, &input.key, &id),
                    &upload,
                )?;
                Ok::<_, Fault>(())
            })
            .await?;
        let abort = crate::lifecycle::abort_date(&bucket, &input.key, upload.initiated);
        let mut output = api::CreateMultipartUploadOutput {
            abort_date: abort.as_ref().map(|a| a.0),
            abort_rule_id: abort.map(|a| a.1),
            bucket: Some(bucket.name.clone()),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: algorithm.map(|a| a.name().to_owned()),
            checksum_type: algorithm.map(|_| {
                if full_object {
                    "FULL_OBJECT"
                } else {
                    "COMPOSITE"
                }
                .to_owned()
            }),
            ..Default::default()
        };
        set_encryption!(output, upload.encryption);
        Ok(output)
    }

    /// Takes one part in.
    #[allow(
        clippy::too_many_arguments,
        reason = "what an upload and a copy of a part both know"
    )]
    pub(crate) async fn store_part(
        &self,
        bucket: &Bucket,
        key: &str,
        id: &str,
        number: i32,
        body: Body,
        customer: Option<&CustomerKey>,
        announced: &Announced,
        md5: Option<&str>,
    ) -> Result<(Upload, UploadedPart, Checksum), Fault> {
        if !(1..=MAX_PART).contains(&number) {
            return Err(fault::invalid_argument(
                "Part number must be an integer between 1 and 10000, inclusive",
                "partNumber",
                number.to_string(),
            ));
        }
        let view = self.objects.store.read();
        let upload = self.uploads.get(&view, bucket, key, id)?;
        upload.check(customer)?;
        if let (Some(given), Some(wanted)) = (announced.algorithm, upload.algorithm)
            && given != wanted
        {
            return Err(fault::invalid_request(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                wanted.name().to_ascii_lowercase(),
                given.name().to_ascii_lowercase()
            )));
        }
        // The object's checksum is put together of the upload's own, whatever a part was sent with.
        let kept = upload.algorithm();
        let algorithm = announced.algorithm.unwrap_or(kept);
        let data_key = match &upload.sealed {
            Some(sealed) => Some(self.masters.unseal(&view, bucket, sealed)?),
            None => customer.map(|customer| customer.key.clone()),
        };
        let mut taken = content::take(
            self.objects.store.blobs(),
            body,
            &Plan {
                algorithm,
                also: (algorithm != kept).then_some(kept),
                key: data_key.as_ref(),
                inline: false,
            },
        )
        .await?;
        content::check_md5(md5, &taken.md5, |md5| STANDARD.encode(md5))?;
        announced.check(&taken.checksum)?;
        let etag = if upload.encryption.has_md5_etag() {
            hex::encode(taken.md5)
        } else {
            upload.encryption.etag(&taken.md5)
        };
        let part = UploadedPart {
            modified: self.cloud.clock.now().0,
            size: taken.size,
            etag,
            md5: taken.md5,
            checksum: taken.also.as_ref().unwrap_or(&taken.checksum).clone(),
            pieces: taken.piece().into_iter().collect(),
        };
        let scope = ["s3", &bucket.name];
        self.objects
            .store
            .transact(Scope::new(&scope), |tx| {
                // It may have been completed or aborted meanwhile.
                self.uploads.get(tx, bucket, key, id)?;
                let path = (&bucket.account, &bucket.name, id, number.unsigned_abs());
                if let Some(old) = tx.get(&self.uploads.parts, &path)? {
                    old.pieces
                        .iter()
                        .for_each(|piece| tx.release(piece.blob.id));
                }
                part.pieces.iter().for_each(|piece| tx.link(piece.blob.id));
                tx.put(&self.uploads.parts, &path, &part)?;
                Ok::<_, Fault>(())
            })
            .await?;
        let sum = Checksum {
            algorithm,
            value: std::mem::take(&mut taken.checksum),
            full_object: true,
        };
        drop(taken);
        Ok((upload, part, sum))
    }

    /// `UploadPart`
    pub(crate) async fn put_part(
        &self,
        ctx: &Context,
        mut input: api::UploadPartInput,
    ) -> Result<api::UploadPartOutput, Fault> {
        let body = std::mem::take(&mut input.body);
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_write(ctx, &bucket, "s3:PutObject", &input.key, |_| {})?;
        let customer = CustomerKey::read(
            input.sse_customer_algorithm.as_deref(),
            input.sse_customer_key.as_deref(),
            input.sse_customer_key_md5.as_deref(),
        )?;
        let announced = Announced::read(
            &announced_checksums!(input),
            input.checksum_algorithm.as_deref(),
        )?;
        let (upload, part, sum) = self
            .store_part(
                &bucket,
                &input.key,
                &input.upload_id,
                input.part_number,
                body,
                customer.as_ref(),
                &announced,
                input.content_md5.as_deref(),
            )
            .await?;
        let mut output = api::UploadPartOutput {
            e_tag: Some(format!("\"{}\"", part.etag)),
            ..Default::default()
        };
        set_checksum!(output, Some(&sum));
        set_encryption!(output, upload.encryption);
        Ok(output)
    }

    /// `AbortMultipartUpload`
    pub(crate) async fn abort(
        &self,
        ctx: &Context,
        input: api::AbortMultipartUploadInput,
    ) -> Result<api::AbortMultipartUploadOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit_part(
            ctx,
            &bucket,
            &input.key,
            &input.upload_id,
            "s3:AbortMultipartUpload",
        )?;
        self.abort_upload(ctx, &bucket, &input.key, &input.upload_id)
            .await?;
        Ok(api::AbortMultipartUploadOutput::default())
    }

    /// Forgets an upload.
    pub(crate) async fn abort_upload(
        &self,
        _: &Context,
        bucket: &Bucket,
        key: &str,
        id: &str,
    ) -> Result<(), Fault> {
        let scope = ["s3", &bucket.name];
        self.objects
            .store
            .transact(Scope::new(&scope), |tx| {
                self.uploads.get(tx, bucket, key, id)?;
                self.uploads.forget(tx, bucket, key, id)
            })
            .await
    }
}
