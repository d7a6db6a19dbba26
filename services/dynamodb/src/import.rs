//! Tables made from files in S3: lines of DynamoDB's JSON, or CSV.
//!
//! The table is made with the request; a job fills it, and begins anew after a crash: an item that is put twice is the same.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::change::{Action, Change, Refusal};
use crate::csv::Rows;
use crate::errors::*;
use crate::fault::validation;
use crate::input_file::{self, documents, json_item};
use crate::key::{KeyType, Keys};
use crate::number::Number;
use crate::page_token;
use crate::service::Dynamo;
use crate::single::{check_item, check_keys, check_size};
use crate::stream::Cause;
use crate::table::{self, TableRecord};
use crate::tag::table_of;
use crate::value::{Attributes, Value};

/// An import.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Import {
    table_id: String,
    uid: u64,
    keys: Keys,
    attributes: Vec<(String, KeyType)>,
    is_provisioned: Option<(i64, i64)>,
    started: i64,
    ended: Option<i64>,
    token: Option<String>,
    bucket: String,
    owner: Option<String>,
    prefix: Option<String>,
    format: String,
    delimiter: Option<String>,
    headers: Option<Vec<String>>,
    compression: Option<String>,
    bytes: i64,
    read: i64,
    imported: i64,
    errors: i64,
    failure: Option<(String, String)>,
}
impl Record for Import {}

/// Where an import is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ImportPlace {
    account: String,
    region: String,
    table: String,
    id: String,
}

/// The job that fills an imported table.
pub const IMPORT: &str = "dynamodb.import";
/// Items written in one transaction.
const BATCH: usize = 50;
/// How long a token names one import, in milliseconds.
const TOKEN_LIFE: i64 = 8 * 3_600_000;

impl ImportPlace {
    fn of(arn: &str) -> Option<ImportPlace> {
        let arn: cloud::Arn = arn.parse().ok()?;
        let (table, id) = arn
            .resource
            .strip_prefix("table/")?
            .split_once("/import/")?;
        (arn.service == "dynamodb").then(|| ImportPlace {
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
        format!("{}/import/{}", self.table_arn(), self.id)
    }
    fn key(&self) -> (&str, &str, &str, &str) {
        (&self.account, &self.region, &self.table, &self.id)
    }
}

fn absent(what: &str) -> Fault {
    let message = format!("{what} are not implemented.");
    Fault::receiver(501, "NotImplemented", message)
}

impl Dynamo {
    /// `ImportTable`
    pub async fn import_table(
        &self,
        ctx: &Context,
        input: ImportTableInput,
    ) -> Result<ImportTableOutput, Fault> {
        let compression = input.input_compression_type;
        if input.input_format == "ION" {
            return Err(absent("Imports in the format ION"));
        }
        let csv = input.input_format_options.and_then(|options| options.csv);
        if csv.is_some() && input.input_format != "CSV" {
            return Err(validation(
                "One or more parameter values were invalid: InputFormatOptions.Csv can only be given for the format CSV",
            ));
        }
        let now = ctx.time.millis();
        if let Some(token) = &input.client_token {
            let of = (ctx.account.as_str(), ctx.region.as_str());
            let view = self.cloud.store.read();
            for row in view.range(&self.imports, Range::prefix(&of)) {
                let ((account, region, table, id), known) = row?;
                if known.token.as_ref() == Some(token) && known.started + TOKEN_LIFE > now {
                    let place = ImportPlace {
                        account,
                        region,
                        table,
                        id,
                    };
                    return Ok(ImportTableOutput {
                        import_table_description: known.describe(&place),
                    });
                }
            }
        }
        let wanted = input.table_creation_parameters;
        let name = wanted.table_name.clone();
        let create = CreateTableInput {
            table_name: wanted.table_name,
            attribute_definitions: Some(wanted.attribute_definitions),
            key_schema: Some(wanted.key_schema),
            billing_mode: wanted.billing_mode,
            provisioned_throughput: wanted.provisioned_throughput,
            on_demand_throughput: wanted.on_demand_throughput,
            sse_specification: wanted.sse_specification,
            global_secondary_indexes: wanted.global_secondary_indexes,
            vector_indexes: wanted.vector_indexes,
            ..CreateTableInput::default()
        };
        self.create_table(ctx, create).await?;
        let table = self.catalog.table(ctx, &name)?;
        let source = input.s3_bucket_source;
        let import = Import {
            table_id: table.id.clone(),
            uid: table.uid,
            keys: table.keys.clone(),
            attributes: table.attributes.clone(),
            is_provisioned: table.provisioned.map(|c| (c.read, c.write)),
            started: now,
            token: input.client_token,
            bucket: source.s3_bucket,
            owner: source.s3_bucket_owner,
            prefix: source.s3_key_prefix,
            format: input.input_format,
            delimiter: csv.as_ref().and_then(|csv| csv.delimiter.clone()),
            headers: csv.and_then(|csv| csv.header_list),
            compression,
            ..Import::default()
        };
        let place = ImportPlace {
            account: table.account.clone(),
            region: table.region.clone(),
            table: name,
            id: format!("{now:014}-{}", cloud::ids::hex(8)),
        };
        let payload = serde_json::to_value(&place)?;
        let scope = ["dynamodb.imports", place.id.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.put(&self.imports, &place.key(), &import)?;
                let scheduler = &self.cloud.scheduler;
                scheduler.at(tx, ctx.time, IMPORT, &place.id, payload)
            })
            .await?;
        Ok(ImportTableOutput {
            import_table_description: import.describe(&place),
        })
    }

    /// Fills an imported table. What goes wrong with the bucket is the import's outcome.
    pub async fn import(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let place: ImportPlace = serde_json::from_value(payload)?;
        let found = self.cloud.store.read().get(&self.imports, &place.key())?;
        let Some(mut import) = found.filter(|import: &Import| import.ended.is_none()) else {
            return Ok(());
        };
        (import.bytes, import.read, import.imported, import.errors) = (0, 0, 0, 0);
        if let Err(fault) = self.fill_from(&place, &mut import).await {
            let code = match &*fault.code {
                "NoSuchBucket" => "S3NoSuchBucket",
                "AccessDenied" => "S3AccessDenied",
                "NoSuchKey" => "S3NoSuchKey",
                "ResourceNotFoundException" => "TableNotFound",
                _ => "UNKNOWN",
            };
            import.failure = Some((code.into(), fault.message.to_string()));
            if code == "S3NoSuchBucket" {
                self.drop_table_of(&place, &import).await?;
            }
        } else if import.errors > 0 {
            import.failure = Some((
                "ItemValidationError".into(),
                "Some of the items failed validation checks. Please check CloudWatch error logs for more details.".into(),
            ));
        }
        import.ended = Some(self.cloud.clock.now().millis());
        let scope = ["dynamodb.imports", place.id.as_str()];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.put(&self.imports, &place.key(), &import)?;
                Ok(())
            })
            .await
    }

    fn context(&self, place: &ImportPlace) -> Context {
        Context::internal(
            &place.account,
            &place.region,
            "dynamodb.amazonaws.com",
            self.cloud.clock.now(),
        )
    }

    /// Deletes the table that an import made, if it is still that one.
    async fn drop_table_of(&self, place: &ImportPlace, import: &Import) -> Result<(), Fault> {
        let ctx = self.context(place);
        match self.catalog.table(&ctx, &place.table) {
            Ok(table) if table.uid == import.uid => {
                let input = DeleteTableInput {
                    table_name: place.table.clone(),
                };
                self.delete_table(&ctx, input).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    async fn fill_from(&self, place: &ImportPlace, import: &mut Import) -> Result<(), Fault> {
        let Some(objects) = self.cloud.ports.objects() else {
            return Err(Fault::internal("no service keeps objects in this region"));
        };
        let (account, bucket) = (place.account.as_str(), import.bucket.clone());
        let prefix = import.prefix.clone().unwrap_or_default();
        let mut after: Option<String> = None;
        let mut files = 0;
        loop {
            let keys = objects
                .list(account, &bucket, &prefix, after.as_deref())
                .await?;
            let Some(last) = keys.last().cloned() else {
                break;
            };
            for key in keys.iter().filter(|key| !key.ends_with('/')) {
                let bytes = objects
                    .get(account, &bucket, key, None, input_file::LARGEST)
                    .await?;
                files += 1;
                import.bytes += bytes.len() as i64;
                match input_file::text(&bytes, import.compression.as_deref()) {
                    Some(text) => self.fill_from_file(place, import, &text).await?,
                    None => import.errors += 1,
                }
            }
            after = Some(last);
        }
        // An empty bucket makes an empty table; a prefix that nothing has is a mistake.
        match files {
            0 if !prefix.is_empty() => Err(Fault::sender(
                400,
                "NoSuchKey",
                "No files were found under the prefix in the S3 bucket",
            )),
            _ => Ok(()),
        }
    }

    async fn fill_from_file(
        &self,
        place: &ImportPlace,
        import: &mut Import,
        text: &str,
    ) -> Result<(), Fault> {
        let mut batch = Vec::new();
        if import.format == "CSV" {
            let delimiter = import.delimiter.as_deref().and_then(|d| d.chars().next());
            let mut rows = Rows {
                rest: text,
                delimiter: delimiter.unwrap_or(','),
            };
            let names = match &import.headers {
                Some(names) => names.clone(),
                None => rows.next().unwrap_or_default(),
            };
            for row in rows {
                batch.push(csv_item(&import.attributes, &names, row));
                if batch.len() >= BATCH {
                    self.put_all(place, import, std::mem::take(&mut batch))
                        .await?;
                }
            }
        } else {
            for document in documents(text) {
                batch.push(json_item(document));
                if batch.len() >= BATCH {
                    self.put_all(place, import, std::mem::take(&mut batch))
                        .await?;
                }
            }
        }
        self.put_all(place, import, batch).await
    }

    /// Puts items; what is no item of the table counts as an error.
    async fn put_all(
        &self,
        place: &ImportPlace,
        import: &mut Import,
        items: Vec<Option<Attributes>>,
    ) -> Result<(), Fault> {
        let ctx = self.context(place);
        loop {
            let table = self.catalog.table(&ctx, &place.table)?;
            if table.uid != import.uid {
                return Err(resource_not_found_exception("The table was deleted"));
            }
            let (mut changes, mut seen, mut errors) = (Vec::new(), BTreeSet::new(), 0);
            // Of two items of one key the later one stays.
            for item in items.iter().rev() {
                let checked = item.as_ref().filter(|item| fits(&table, item));
                let Some(item) = checked else {
                    errors += 1;
                    continue;
                };
                let key = table.keys.of(item);
                let row = table.row(&key);
                if seen.insert(row.clone()) {
                    let change = Change {
                        key,
                        row,
                        action: Action::Put(Arc::new(item.clone())),
                        condition: None,
                        shows_item: false,
                        wants_old: false,
                    };
                    changes.push((table.clone(), change));
                }
            }
            // What an import writes is not taken from the table's throughput.
            match self.change_all(&ctx, &changes, Cause::Replication).await {
                Ok(_) => {
                    import.read += items.len() as i64;
                    import.errors += errors;
                    import.imported += items.len() as i64 - errors;
                    return Ok(());
                }
                Err(Refusal::Stale) => {}
                Err(Refusal::Condition(_)) => return Ok(()),
                Err(Refusal::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// `DescribeImport`
    pub async fn describe_import(
        &self,
        ctx: &Context,
        input: DescribeImportInput,
    ) -> Result<DescribeImportOutput, Fault> {
        let missing =
            || import_not_found_exception(format!("Import not found: {}", input.import_arn));
        let place = ImportPlace::of(&input.import_arn)
            .filter(|place| place.account == ctx.account)
            .ok_or_else(missing)?;
        let found = self.cloud.store.read().get(&self.imports, &place.key())?;
        Ok(DescribeImportOutput {
            import_table_description: found.ok_or_else(missing)?.describe(&place),
        })
    }

    /// `ListImports`
    pub async fn list_imports(
        &self,
        ctx: &Context,
        input: ListImportsInput,
    ) -> Result<ListImportsOutput, Fault> {
        let most = usize::try_from(input.page_size.unwrap_or(25)).unwrap_or(25);
        let (account, region) = (ctx.account.as_str(), ctx.region.as_str());
        let of = input.table_arn.as_deref().map(|arn| table_of(ctx, arn));
        let of = of.transpose()?;
        let mut range = match &of {
            Some(place) => Range::prefix(&(account, region, place.name.as_str())),
            None => Range::prefix(&(account, region)),
        };
        if let Some(token) = &input.next_token {
            let place = page_token::read(token).unwrap_or_default();
            let Some((table, id)) = place.split_once('/') else {
                return Err(validation("Invalid NextToken"));
            };
            range = range.after(&(account, region, table, id));
        }
        let view = self.cloud.store.read();
        let (mut found, mut last, mut is_more) = (Vec::new(), None, false);
        for row in view.range(&self.imports, range) {
            let ((account, region, table, id), import) = row?;
            if found.len() >= most {
                is_more = true;
                break;
            }
            last = Some(page_token::of(&format!("{table}/{id}")));
            let place = ImportPlace {
                account,
                region,
                table,
                id,
            };
            found.push(ImportSummary {
                import_arn: Some(place.arn()),
                import_status: Some(import.status().into()),
                table_arn: Some(place.table_arn()),
                s3_bucket_source: Some(import.source()),
                cloud_watch_log_group_arn: None,
                input_format: Some(import.format.clone()),
                start_time: Some(Timestamp(import.started)),
                end_time: import.ended.map(Timestamp),
            });
        }
        Ok(ListImportsOutput {
            import_summary_list: Some(found),
            next_token: last.filter(|_| is_more),
        })
    }
}

/// Whether that can be an item of the table.
fn fits(table: &TableRecord, item: &Attributes) -> bool {
    check_item(item).is_ok() && check_size(item).is_ok() && check_keys(table, item).is_ok()
}

/// An item from a row: all text, but for key attributes, which are of their type. Empty fields are left out.
fn csv_item(types: &[(String, KeyType)], names: &[String], row: Vec<String>) -> Option<Attributes> {
    if row.len() > names.len() {
        return None;
    }
    let mut item = Attributes::new();
    for (name, text) in names.iter().zip(row) {
        if text.is_empty() {
            continue;
        }
        let kind = types.iter().find(|(n, _)| n == name).map(|(_, kind)| kind);
        let value = match kind {
            Some(KeyType::N) => Value::N(Number::parse(&text).ok()?),
            Some(KeyType::B) => Value::B(STANDARD.decode(&text).ok()?.into()),
            _ => Value::S(text),
        };
        item.insert(name.clone(), value);
    }
    Some(item)
}

impl Import {
    fn status(&self) -> &'static str {
        match (&self.ended, &self.failure) {
            (None, _) => "IN_PROGRESS",
            (Some(_), None) => "COMPLETED",
            (Some(_), Some(_)) => "FAILED",
        }
    }

    fn source(&self) -> S3BucketSource {
        S3BucketSource {
            s3_bucket_owner: self.owner.clone(),
            s3_bucket: self.bucket.clone(),
            s3_key_prefix: self.prefix.clone(),
        }
    }

    fn describe(&self, place: &ImportPlace) -> ImportTableDescription {
        let definitions = self
            .attributes
            .iter()
            .map(|(name, kind)| AttributeDefinition {
                attribute_name: name.clone(),
                attribute_type: kind.name().to_owned(),
            });
        let has_options = self.delimiter.is_some() || self.headers.is_some();
        ImportTableDescription {
            import_arn: Some(place.arn()),
            import_status: Some(self.status().into()),
            table_arn: Some(place.table_arn()),
            table_id: Some(self.table_id.clone()),
            client_token: self.token.clone(),
            s3_bucket_source: Some(self.source()),
            error_count: Some(self.errors),
            cloud_watch_log_group_arn: None,
            input_format: Some(self.format.clone()),
            input_format_options: has_options.then(|| InputFormatOptions {
                csv: Some(CsvOptions {
                    delimiter: self.delimiter.clone(),
                    header_list: self.headers.clone(),
                }),
            }),
            input_compression_type: Some(self.compression.clone().unwrap_or("NONE".into())),
            table_creation_parameters: Some(TableCreationParameters {
                table_name: place.table.clone(),
                attribute_definitions: definitions.collect(),
                key_schema: table::key_schema(&self.keys),
                billing_mode: Some(match self.is_provisioned {
                    Some(_) => "PROVISIONED".into(),
                    None => "PAY_PER_REQUEST".into(),
                }),
                provisioned_throughput: self.is_provisioned.map(|(read, write)| {
                    ProvisionedThroughput {
                        read_capacity_units: read,
                        write_capacity_units: write,
                    }
                }),
                on_demand_throughput: None,
                sse_specification: None,
                global_secondary_indexes: None,
                vector_indexes: None,
            }),
            start_time: Some(Timestamp(self.started)),
            end_time: self.ended.map(Timestamp),
            processed_size_bytes: Some(self.bytes),
            processed_item_count: Some(self.read),
            imported_item_count: Some(self.imported),
            failure_code: self.failure.as_ref().map(|(code, _)| code.clone()),
            failure_message: self.failure.as_ref().map(|(_, message)| message.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_attributes_of_a_row_are_of_their_type() {
        let types = [("n".to_owned(), KeyType::N)];
        let names = ["n".to_owned(), "t".to_owned()];
        let item = |row: [&str; 2]| csv_item(&types, &names, row.map(str::to_owned).to_vec());
        let read = item(["1", "2"]).expect("an item");
        assert!(matches!(read["n"], Value::N(_)) && matches!(read["t"], Value::S(_)));
        assert_eq!(item(["x", "2"]), None);
        assert_eq!(item(["1", ""]).expect("an item").len(), 1);
        assert!(json_item(r#"{"Item": {"a": {"N": "1"}}}"#).is_some_and(|i| i.len() == 1));
        assert_eq!(json_item("{}"), None);
        assert_eq!(json_item("nothing"), None);
        let found: Vec<_> =
            documents("{\"a\":1}{\"b\":\n2} \n nothing at all\n{\"c\": 3}").collect();
        assert_eq!(
            found,
            ["{\"a\":1}", "{\"b\":\n2}", "nothing at all", "{\"c\": 3}"]
        );
    }
}
