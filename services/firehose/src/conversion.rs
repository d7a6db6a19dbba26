//! Records converted from JSON to Parquet, by the schema of a table in a data catalog.

use serde_json::json;
use wire::Fault;
use wire::json::{kept, restored};

use crate::api::*;
use crate::cell::{Cell, Rules};
use crate::delivery_stream::Place;
use crate::destination::{Destination, absent};
use crate::errors::*;
use crate::failure::Failure;
use crate::hive::Type;
use crate::parquet_file::{self, Options};
use crate::processing::Piece;
use crate::service::Firehose;
use cloud::json_tree::Json;

/// The kind of what could not be converted.
pub(crate) const FAILED: &str = "format-conversion-failed";
/// The MiB that are gathered before a conversion, unless told otherwise, and the fewest.
pub(crate) const SIZE: i32 = 128;
const FEWEST: i32 = 64;
/// Bytes of a page.
const PAGE: usize = 1024 * 1024;

/// What is converted, and how, as the API writes it.
pub(crate) type Kept = String;

/// Whether a conversion is on: it is, unless it says otherwise.
pub(crate) fn is_on(conversion: &DataFormatConversionConfiguration) -> bool {
    conversion.enabled != Some(false)
}

/// A conversion with what an update gives of it.
pub(crate) fn merged(
    old: Option<&Kept>,
    new: DataFormatConversionConfiguration,
) -> Result<Kept, Fault> {
    let Some(old) = old else {
        return Ok(kept(&new));
    };
    let old: DataFormatConversionConfiguration = restored(old)?;
    let schema = match (old.schema_configuration, new.schema_configuration) {
        (Some(old), Some(new)) => Some(SchemaConfiguration {
            role_arn: new.role_arn.or(old.role_arn),
            catalog_id: new.catalog_id.or(old.catalog_id),
            database_name: new.database_name.or(old.database_name),
            table_name: new.table_name.or(old.table_name),
            region: new.region.or(old.region),
            version_id: new.version_id.or(old.version_id),
        }),
        (old, new) => new.or(old),
    };
    let input = new.input_format_configuration;
    let output = new.output_format_configuration;
    Ok(kept(&DataFormatConversionConfiguration {
        schema_configuration: schema,
        input_format_configuration: input.or(old.input_format_configuration),
        output_format_configuration: output.or(old.output_format_configuration),
        enabled: new.enabled.or(old.enabled),
    }))
}

fn missing(what: &str) -> Fault {
    invalid_argument_exception(format!("{what} must not be null"))
}

impl Destination {
    /// The conversion, on or off.
    pub(crate) fn any_conversion(
        &self,
    ) -> Result<Option<DataFormatConversionConfiguration>, Fault> {
        let text = self.extended.as_ref().and_then(|e| e.conversion.as_ref());
        text.map(|text| restored(text)).transpose()
    }

    /// The conversion, where it is on.
    pub(crate) fn conversion(&self) -> Result<Option<DataFormatConversionConfiguration>, Fault> {
        Ok(self.any_conversion()?.filter(is_on))
    }

    /// Refuses a conversion that lacks something, in AWS's order.
    pub(crate) fn check_conversion(&self) -> Result<(), Fault> {
        let Some(conversion) = self.conversion()? else {
            return Ok(());
        };
        if self.bucket.compression != "UNCOMPRESSED" {
            return Err(invalid_argument_exception(
                "The S3 destination's compression format must be set to UNCOMPRESSED when data format conversion is enabled. To enable compression within the converted output format, set the appropriate serialization option in the output format configuration.",
            ));
        }
        if self.bucket.size < FEWEST {
            return Err(invalid_argument_exception(format!(
                "BufferingHints.SizeInMBs must be at least {FEWEST} when data format conversion is enabled."
            )));
        }
        let input = conversion.input_format_configuration;
        let input = input.ok_or_else(|| missing("InputFormatConfiguration"))?;
        let output = conversion.output_format_configuration;
        let output = output.ok_or_else(|| missing("OutputFormatConfiguration"))?;
        let schema = conversion.schema_configuration;
        let schema = schema.ok_or_else(|| missing("SchemaConfiguration"))?;
        let deserializer = input.deserializer.unwrap_or_default();
        match (
            deserializer.open_x_json_ser_de,
            deserializer.hive_json_ser_de,
        ) {
            (None, None) => return Err(missing("Deserializer")),
            (Some(_), Some(_)) => {
                return Err(invalid_argument_exception(
                    "More than one deserializer specified. Only one may be chosen.",
                ));
            }
            (_, Some(hive))
                if hive
                    .timestamp_formats
                    .as_ref()
                    .is_some_and(|f| !f.is_empty()) =>
            {
                return Err(absent("format TimestampFormats of HiveJsonSerDe"));
            }
            _ => {}
        }
        let serializer = output.serializer.unwrap_or_default();
        match (serializer.parquet_ser_de, serializer.orc_ser_de) {
            (None, None) => return Err(missing("Serializer")),
            (Some(_), Some(_)) => {
                return Err(invalid_argument_exception(
                    "More than one serializer specified. Only one may be chosen.",
                ));
            }
            (None, Some(_)) => return Err(absent("format OrcSerDe (ParquetSerDe is)")),
            _ => {}
        }
        let needed = [
            ("RoleArn", schema.role_arn),
            ("DatabaseName", schema.database_name),
            ("TableName", schema.table_name),
        ];
        for (name, value) in needed {
            if value.is_none_or(|v| v.is_empty()) {
                return Err(invalid_argument_exception(format!(
                    "SchemaConfiguration.{name} must not be null or empty"
                )));
            }
        }
        Ok(())
    }
}

impl Options {
    fn of(given: &ParquetSerDe) -> Options {
        let page = given.page_size_bytes.and_then(|n| usize::try_from(n).ok());
        Options {
            compression: given.compression.clone().unwrap_or("SNAPPY".into()),
            page_size: page.unwrap_or(PAGE),
            has_dictionary: given.enable_dictionary_compression.unwrap_or(false),
            is_v2: given.writer_version.as_deref() == Some("V2"),
        }
    }
}

/// A conversion that is about to be made.
struct Conversion {
    columns: Vec<(String, Type)>,
    /// The JSON key of each column.
    keys: Vec<String>,
    rules: Rules,
    /// Whether the names of members are taken in lower case.
    is_lower: bool,
    /// Whether dots in JSON keys stand for underscores.
    has_dots: bool,
    options: Options,
}

impl Conversion {
    /// A record as a row, or the code and message of why it is none.
    fn row(&self, data: &[u8]) -> Result<Vec<Cell>, (&'static str, String)> {
        let malformed = |message: String| ("DataFormatConversion.MalformedData", message);
        if data.iter().all(u8::is_ascii_whitespace) {
            return Err(malformed(
                "The record was empty or contained only whitespace.".into(),
            ));
        }
        let mut record = Json::read(data).map_err(|_| {
            (
                "DataFormatConversion.ParseError",
                "Encountered malformed JSON.".to_owned(),
            )
        })?;
        if self.is_lower {
            record.lower();
        }
        if self.has_dots
            && let Json::Object(members) = &mut record
        {
            for (name, _) in members {
                *name = name.replace('.', "_");
            }
        }
        let null = Json::Null;
        let value = |n: usize, key: &str| match &record {
            Json::Object(members) => self.rules.member(members, key).unwrap_or(&null),
            Json::List(items) => items.get(n).unwrap_or(&null),
            _ => &null,
        };
        if !matches!(record, Json::Object(_) | Json::List(_)) {
            return Err(malformed(
                "The input JSON contained a primitive at the top level. The top level must be an object or array.".into(),
            ));
        }
        let cells = self.columns.iter().zip(&self.keys).enumerate();
        let cells = cells.map(|(n, ((_, of), key))| self.rules.cell(value(n, key), of));
        cells.collect::<Result<_, _>>().map_err(malformed)
    }
}

impl Firehose {
    /// The catalog's columns that a schema names.
    fn schema(
        &self,
        place: &Place,
        schema: &SchemaConfiguration,
    ) -> Result<Vec<cloud::ports::CatalogColumn>, Fault> {
        let Some(catalogs) = self.cloud.ports.catalogs() else {
            return Err(absent("schema of AWS Glue"));
        };
        catalogs.columns(
            schema.catalog_id.as_deref().unwrap_or(&place.account),
            schema.region.as_deref().unwrap_or(&place.region),
            schema.database_name.as_deref().unwrap_or_default(),
            schema.table_name.as_deref().unwrap_or_default(),
            schema.version_id.as_deref(),
        )
    }

    /// Refuses a conversion by a table that is not there, or as a role that Firehose may not be.
    pub(crate) fn check_schema(&self, place: &Place, to: &Destination) -> Result<(), Fault> {
        let Some(schema) = to.conversion()?.and_then(|c| c.schema_configuration) else {
            return Ok(());
        };
        if let Err(fault) = self.schema(place, &schema) {
            if fault.status >= 500 {
                return Err(fault);
            }
            return Err(invalid_argument_exception(format!(
                "{} (Service: AWSGlue; Status Code: 400; Error Code: {}; Request ID: {}; Proxy: null)",
                fault.message,
                fault.code,
                cloud::ids::uuid()
            )));
        }
        self.check_role(&schema.role_arn.unwrap_or_default())
    }

    fn plan(
        &self,
        place: &Place,
        given: &DataFormatConversionConfiguration,
    ) -> Result<Conversion, (&'static str, String)> {
        let schema = given.schema_configuration.clone().unwrap_or_default();
        let found = self.schema(place, &schema).map_err(|_| {
            (
                "DataFormatConversion.EntityNotFound",
                "The specified table/database could not be found. Please ensure that the table/database exists and that the values provided in the schema configuration are correct, especially with regards to casing.".to_owned(),
            )
        })?;
        let mut columns = Vec::new();
        for column in found {
            let of = Type::parse(&column.kind).ok_or_else(|| {
                (
                    "DataFormatConversion.InvalidSchema",
                    format!(
                        "The type {} of column {} is not understood.",
                        column.kind, column.name
                    ),
                )
            })?;
            columns.push((column.name, of));
        }
        if columns.is_empty() {
            return Err((
                "DataFormatConversion.InvalidSchema",
                "The table has no columns.".to_owned(),
            ));
        }
        let input = given.input_format_configuration.clone();
        let input = input.and_then(|i| i.deserializer).unwrap_or_default();
        let is_lenient = input.hive_json_ser_de.is_none();
        let openx = input.open_x_json_ser_de.unwrap_or_default();
        let ignores_case = openx.case_insensitive.unwrap_or(true);
        let keys = openx.column_to_json_key_mappings.unwrap_or_default();
        let key = |name: &String| keys.get(name).unwrap_or(name).clone();
        let output = given.output_format_configuration.clone();
        let output = output.and_then(|o| o.serializer).unwrap_or_default();
        Ok(Conversion {
            keys: columns.iter().map(|(name, _)| key(name)).collect(),
            columns,
            rules: Rules {
                ignores_case,
                is_lenient,
            },
            is_lower: is_lenient && ignores_case,
            has_dots: openx
                .convert_dots_in_json_keys_to_underscores
                .unwrap_or(false),
            options: Options::of(&output.parquet_ser_de.unwrap_or_default()),
        })
    }

    /// Converts the records of an object: its bytes, if any record is of the schema, and what failed.
    pub(crate) async fn convert(
        &self,
        place: &Place,
        given: &DataFormatConversionConfiguration,
        pieces: Vec<Piece>,
    ) -> Result<(Option<Vec<u8>>, Vec<Failure>), Fault> {
        let schema = given.schema_configuration.clone().unwrap_or_default();
        let region = schema.region.unwrap_or(place.region.clone());
        let catalog = schema.catalog_id.unwrap_or(place.account.clone());
        let table = json!({
            "catalogId": catalog,
            "databaseName": schema.database_name,
            "tableName": schema.table_name,
            "region": region,
            "versionId": schema.version_id.as_deref().unwrap_or("LATEST"),
            "catalogArn": cloud::arn::text("glue", &region, &catalog, "catalog"),
        });
        let failed = move |piece: Piece, code: &str, message: &str| Failure {
            kind: FAILED,
            more: Some(("dataCatalogTable", table.clone())),
            ..piece.failed(code, message)
        };
        let plan = match self.plan(place, given) {
            Ok(plan) => plan,
            Err((code, message)) => {
                tracing::warn!(stream = place.name, message, "records are not converted");
                let all = pieces
                    .into_iter()
                    .map(|piece| failed(piece, code, &message));
                return Ok((None, all.collect()));
            }
        };
        // A full buffer takes seconds.
        let converting = tokio::task::spawn_blocking(move || {
            let (mut rows, mut failures) = (Vec::new(), Vec::new());
            for piece in pieces {
                match plan.row(&piece.data) {
                    Ok(row) => rows.push(row),
                    Err((code, message)) => failures.push(failed(piece, code, &message)),
                }
            }
            if rows.is_empty() {
                return Ok((None, failures));
            }
            let bytes = parquet_file::write(&plan.columns, rows, &plan.options)
                .map_err(|e| Fault::internal(e.to_string()))?;
            Ok((Some(bytes), failures))
        });
        let ended = converting.await;
        ended.map_err(|e| Fault::internal(e.to_string()))?
    }
}
