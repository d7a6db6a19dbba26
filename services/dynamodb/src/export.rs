//! Tables exported to S3, as they were at a time.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::create::{Remains, unique};
use crate::errors::*;
use crate::fault::validation;
use crate::item::{Item, Stored};
use crate::key::{BASE, Row};
use crate::service::Dynamo;
use crate::table;
use crate::tag::table_of;

/// An export.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Export {
    table_id: String,
    /// What the table's items were kept under.
    uid: u64,
    /// The table's history, and the time that is exported.
    history: u64,
    when: i64,
    started: i64,
    ended: Option<i64>,
    token: Option<String>,
    bucket: String,
    owner: Option<String>,
    prefix: Option<String>,
    sse: Option<(String, Option<String>)>,
    manifest: Option<String>,
    items: i64,
    bytes: i64,
    failure: Option<(String, String)>,
}

impl Record for Export {}

/// Where an export is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ExportPlace {
    account: String,
    region: String,
    table: String,
    id: String,
}

/// The job that carries an export out.
pub const EXPORT: &str = "dynamodb.export";
/// Compressed bytes of one data file.
const FILE: usize = 4 * 1024 * 1024;
/// How long a token names one export, in milliseconds.
const TOKEN_LIFE: i64 = 8 * 3_600_000;

impl ExportPlace {
    fn of(arn: &str) -> Option<ExportPlace> {
        let arn: cloud::Arn = arn.parse().ok()?;
        let (table, id) = arn
            .resource
            .strip_prefix("table/")?
            .split_once("/export/")?;
        (arn.service == "dynamodb").then(|| ExportPlace {
            account: arn.account.clone(),
            region: arn.region.clone(),
            table: table.to_owned(),
            id: id.to_owned(),
        })
    }

    fn table_arn(&self) -> String {
        table::arn(&self.account, &self.region, &self.table)
    }

    fn arn(&self) -> String {
        format!("{}/export/{}", self.table_arn(), self.id)
    }

    fn key(&self) -> (&str, &str, &str, &str) {
        (&self.account, &self.region, &self.table, &self.id)
    }
}

fn absent(what: &str) -> Fault {
    Fault::receiver(
        501,
        "NotImplemented",
        format!("{what} are not implemented."),
    )
}

/// A data file that is being filled.
struct DataFile {
    encoder: GzEncoder<Vec<u8>>,
    items: i64,
}

impl DataFile {
    fn new() -> DataFile {
        DataFile {
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            items: 0,
        }
    }

    fn add(&mut self, item: Stored) -> Result<(), Fault> {
        let mut writer = wire::json::JsonWriter::new();
        wire::Encode::encode(&Item::Stored(item), &mut writer);
        for part in [b"{\"Item\":", &writer.finish()[..], b"}\n"] {
            self.encoder.write_all(part)?;
        }
        self.items += 1;
        Ok(())
    }
}

impl Dynamo {
    /// `ExportTableToPointInTime`
    pub async fn export_table_to_point_in_time(
        &self,
        ctx: &Context,
        input: ExportTableToPointInTimeInput,
    ) -> Result<ExportTableToPointInTimeOutput, Fault> {
        if input.export_format.as_deref() == Some("ION") {
            return Err(absent("Exports in the format ION"));
        }
        if input.export_type.as_deref() == Some("INCREMENTAL_EXPORT")
            || input.incremental_export_specification.is_some()
        {
            return Err(absent("Incremental exports"));
        }
        if input.filter_specification.is_some() {
            return Err(absent("Filters of exports"));
        }
        let arn = &input.table_arn;
        let place = table_of(ctx, arn)?;
        let table = self.resource(ctx, arn).map_err(|fault| {
            match fault.is("ResourceNotFoundException") {
                true => table_not_found_exception(format!("Table not found: {arn}")),
                false => fault,
            }
        })?;
        let Some((since, days)) = table.recovery else {
            return Err(crate::recovery::unavailable(&table));
        };
        let now = self.cloud.clock.now().millis();
        let when = input.export_time.map_or(now, Timestamp::millis);
        let earliest = since.max(now - i64::from(days) * 86_400_000);
        if when > now || when < earliest - 999 {
            return Err(invalid_export_time_exception(format!(
                "Invalid export time: {when}. It must be between {earliest} and {now}."
            )));
        }
        let export = Export {
            table_id: table.id.clone(),
            uid: table.uid,
            history: table.recovery_uid,
            when: when.max(earliest),
            started: now,
            token: input.client_token,
            bucket: input.s3_bucket,
            owner: input.s3_bucket_owner,
            prefix: input.s3_prefix,
            sse: input
                .s3_sse_algorithm
                .map(|algorithm| (algorithm, input.s3_sse_kms_key_id)),
            ..Export::default()
        };
        let place = ExportPlace {
            account: place.account,
            region: place.region,
            table: place.name,
            id: format!("{now:014}-{}", cloud::ids::hex(8)),
        };
        let scope = [
            "dynamodb.exports",
            &place.account,
            &place.region,
            &place.table,
        ];
        let payload = serde_json::to_value(&place)?;
        let (place, export) = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let of = (
                    place.account.as_str(),
                    place.region.as_str(),
                    place.table.as_str(),
                );
                if export.token.is_some() {
                    for row in tx.range(&self.exports, Range::prefix(&of)) {
                        let ((.., id), known) = row?;
                        let is_same = known.token == export.token;
                        if is_same && known.started + TOKEN_LIFE > now {
                            let place = ExportPlace {
                                id,
                                ..place.clone()
                            };
                            return Ok((place, known));
                        }
                    }
                }
                tx.put(&self.exports, &place.key(), &export)?;
                self.cloud
                    .scheduler
                    .at(tx, Timestamp(now), EXPORT, &place.id, payload)?;
                Ok::<_, Fault>((place.clone(), export.clone()))
            })
            .await?;
        Ok(ExportTableToPointInTimeOutput {
            export_description: Some(export.describe(&place)),
        })
    }

    /// Carries an export out. What goes wrong with the bucket is the export's outcome.
    pub async fn export(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let place: ExportPlace = serde_json::from_value(payload)?;
        let found = self.cloud.store.read().get(&self.exports, &place.key())?;
        let Some(mut export) = found.filter(|export| export.ended.is_none()) else {
            return Ok(());
        };
        let copy = unique();
        let own = copy.to_string();
        let remains = Remains::Table {
            account: place.account.clone(),
            uid: copy,
            ttl: 0,
        };
        let now = self.cloud.clock.now();
        let scope = ["dynamodb.restores", own.as_str()];
        let leave = async |when: Timestamp| {
            let left = self
                .cloud
                .store
                .transact(Scope::new(&scope), |tx| self.leave(tx, &remains, when));
            left.await
        };
        leave(now.plus_secs(86_400)).await?;
        self.copy(&place.account, export.uid, copy).await?;
        let undo = (export.history, export.when);
        self.undo(&place.account, export.uid, copy, undo).await?;
        match self.upload(&place, &mut export, copy).await {
            Ok(()) => {}
            Err(fault) => {
                let code = match &*fault.code {
                    "NoSuchBucket" => "S3NoSuchBucket",
                    "AccessDenied" => "S3AccessDenied",
                    _ => "UNKNOWN",
                };
                export.failure = Some((code.into(), fault.message.to_string()));
            }
        }
        export.ended = Some(self.cloud.clock.now().millis());
        let scope = [
            "dynamodb.exports",
            &place.account,
            &place.region,
            &place.table,
        ];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.put(&self.exports, &place.key(), &export)
            })
            .await?;
        leave(self.cloud.clock.now()).await
    }

    /// Writes the data files of a copy, and what describes them.
    async fn upload(
        &self,
        place: &ExportPlace,
        export: &mut Export,
        copy: u64,
    ) -> Result<(), Fault> {
        let Some(objects) = self.cloud.ports.objects() else {
            return Err(Fault::internal("no service keeps objects in this region"));
        };
        let root = match export.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => format!("{prefix}/AWSDynamoDB"),
            None => "AWSDynamoDB".to_owned(),
        };
        let folder = format!("{root}/{}", place.id);
        let (account, bucket) = (place.account.as_str(), export.bucket.clone());
        let put = async |key: &str, bytes: Vec<u8>| {
            objects.put(account, &bucket, key, bytes.into()).await
        };
        put(&format!("{root}/_started"), Vec::new()).await?;
        let prefix = Row::index(account, copy, BASE);
        let mut after: Option<Row> = None;
        let mut manifest = String::new();
        loop {
            let mut file = DataFile::new();
            let is_last = self.fill_file(&prefix, &mut after, &mut file, export)?;
            let items = file.items;
            let bytes = file.encoder.finish()?;
            let sum = Md5::digest(&bytes);
            let key = format!("{folder}/data/{}.json.gz", cloud::ids::lower(26));
            let line = serde_json::json!({
                "itemCount": items,
                "md5Checksum": STANDARD.encode(sum),
                "etag": hex_of(&sum),
                "dataFileS3Key": key,
            });
            manifest.push_str(&line.to_string());
            manifest.push('\n');
            put(&key, bytes).await?;
            export.items += items;
            if is_last {
                break;
            }
        }
        let ended = self.cloud.clock.now();
        let iso = |when: i64| Timestamp(when).format(wire::TimestampFormat::Iso8601);
        let files = format!("{folder}/manifest-files.json");
        let summary = serde_json::json!({
            "version": "2020-06-30",
            "exportArn": place.arn(),
            "startTime": iso(export.started),
            "endTime": iso(ended.millis()),
            "tableArn": place.table_arn(),
            "tableId": export.table_id,
            "exportTime": iso(export.when),
            "s3Bucket": export.bucket,
            "s3Prefix": export.prefix,
            "s3SseAlgorithm": export.sse.as_ref().map_or("AES256", |(algorithm, _)| algorithm),
            "s3SseKmsKeyId": export.sse.as_ref().and_then(|(_, key)| key.clone()),
            "manifestFilesS3Key": files,
            "billedSizeBytes": export.bytes,
            "itemCount": export.items,
            "outputFormat": "DYNAMODB_JSON",
            "exportType": "FULL_EXPORT",
        });
        let key = format!("{folder}/manifest-summary.json");
        for (key, text) in [(&files, manifest), (&key, summary.to_string())] {
            let sum = STANDARD.encode(Md5::digest(&text));
            put(key, text.into_bytes()).await?;
            put(&key.replace(".json", ".md5"), sum.into_bytes()).await?;
        }
        export.manifest = Some(key);
        Ok(())
    }

    /// Fills one data file; `true` when nothing comes after it.
    fn fill_file(
        &self,
        prefix: &Row,
        after: &mut Option<Row>,
        file: &mut DataFile,
        export: &mut Export,
    ) -> Result<bool, Fault> {
        let mut range = Range::prefix(prefix);
        if let Some(after) = after {
            range = range.after(after);
        }
        let view = self.cloud.store.read();
        for row in view.range(&self.items, range) {
            let (row, stored) = row?;
            export.bytes += stored.size() as i64;
            file.add(stored)?;
            *after = Some(row);
            if file.encoder.get_ref().len() >= FILE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `DescribeExport`
    pub async fn describe_export(
        &self,
        ctx: &Context,
        input: DescribeExportInput,
    ) -> Result<DescribeExportOutput, Fault> {
        let missing =
            || export_not_found_exception(format!("Export not found: {}", input.export_arn));
        let place = ExportPlace::of(&input.export_arn)
            .filter(|place| place.account == ctx.account)
            .ok_or_else(missing)?;
        let found = self.cloud.store.read().get(&self.exports, &place.key())?;
        Ok(DescribeExportOutput {
            export_description: Some(found.ok_or_else(missing)?.describe(&place)),
        })
    }

    /// `ListExports`
    pub async fn list_exports(
        &self,
        ctx: &Context,
        input: ListExportsInput,
    ) -> Result<ListExportsOutput, Fault> {
        const OF: &str = "ListExports";
        let most = input.max_results.unwrap_or(25) as usize;
        let (account, region) = (ctx.account.as_str(), ctx.region.as_str());
        let of = input.table_arn.as_deref().map(|arn| table_of(ctx, arn));
        let of = of.transpose()?;
        let mut range = match &of {
            Some(place) => Range::prefix(&(account, region, place.name.as_str())),
            None => Range::prefix(&(account, region)),
        };
        if let Some(token) = &input.next_token {
            let place = cloud::paging::place(OF, token).unwrap_or_default();
            let [table, id] = &place[..] else {
                return Err(validation("Invalid NextToken"));
            };
            range = range.after(&(account, region, table.as_str(), id.as_str()));
        }
        let view = self.cloud.store.read();
        let (mut found, mut last) = (Vec::new(), None);
        let mut is_more = false;
        for row in view.range(&self.exports, range) {
            let ((account, region, table, id), export) = row?;
            if found.len() >= most {
                is_more = true;
                break;
            }
            last = Some(cloud::paging::token(OF, &[&table, &id]));
            let place = ExportPlace {
                account,
                region,
                table,
                id,
            };
            found.push(ExportSummary {
                export_arn: Some(place.arn()),
                export_status: Some(export.status().into()),
                export_type: Some("FULL_EXPORT".into()),
            });
        }
        Ok(ListExportsOutput {
            export_summaries: Some(found),
            next_token: last.filter(|_| is_more),
        })
    }
}

impl Export {
    fn status(&self) -> &'static str {
        match (&self.ended, &self.failure) {
            (None, _) => "IN_PROGRESS",
            (Some(_), None) => "COMPLETED",
            (Some(_), Some(_)) => "FAILED",
        }
    }

    fn describe(&self, place: &ExportPlace) -> ExportDescription {
        let is_done = self.ended.is_some() && self.failure.is_none();
        ExportDescription {
            export_arn: Some(place.arn()),
            export_status: Some(self.status().into()),
            start_time: Some(Timestamp(self.started)),
            end_time: self.ended.map(Timestamp),
            export_manifest: self.manifest.clone(),
            table_arn: Some(place.table_arn()),
            table_id: Some(self.table_id.clone()),
            export_time: Some(Timestamp(self.when)),
            client_token: self.token.clone(),
            s3_bucket: Some(self.bucket.clone()),
            s3_bucket_owner: self.owner.clone(),
            s3_prefix: self.prefix.clone(),
            s3_sse_algorithm: self.sse.as_ref().map(|(algorithm, _)| algorithm.clone()),
            s3_sse_kms_key_id: self.sse.as_ref().and_then(|(_, key)| key.clone()),
            failure_code: self.failure.as_ref().map(|(code, _)| code.clone()),
            failure_message: self.failure.as_ref().map(|(_, message)| message.clone()),
            export_format: Some("DYNAMODB_JSON".into()),
            billed_size_bytes: is_done.then_some(self.bytes),
            item_count: is_done.then_some(self.items),
            export_type: Some("FULL_EXPORT".into()),
            ..Default::default()
        }
    }
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
