//! SelectObjectContent: SQL over one object
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_SelectObjectContent.html>).
//!
//! A query runs on a thread for blocking work and hands its events on as they come. What fails before the first of them
//! is answered as any error; what fails later ends the events.

mod aggregate;
mod csv;
mod evaluate;
mod fault;
mod format;
mod function;
mod json;
mod output;
mod parquet;
mod parser;
mod run;
mod source;
mod syntax;
mod timestamp;
mod token;
mod value;

use std::ops::Range;
use std::sync::Arc;

use cloud::{Context, PrincipalKind};
use futures_util::{StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use wire::{Body, EventStream, Fault};

use self::run::{Header, Scanned, Source, Task};
use self::source::Packing;
use crate::acl::Permission;
use crate::api::{
    CSVInput, CSVOutput, JSONInput, OutputSerialization, ScanRange, SelectObjectContentInput,
    SelectObjectContentOutput,
};
use crate::bucket::Bucket;
use crate::encryption::CustomerKey;
use crate::get::{ATTEMPTS, Found};

/// Events that wait for a slow reader.
const WAITING: usize = 8;
/// Where a header is looked for when records are read from further on.
const HEAD: u64 = 2 * csv::LONGEST_RECORD as u64;

/// How an object is written.
enum Serialization {
    Csv(csv::Format, Header),
    Json { is_lines: bool },
    Parquet,
}

impl crate::S3 {
    /// `SelectObjectContent`
    pub(crate) async fn select(
        &self,
        ctx: &Context,
        input: SelectObjectContentInput,
    ) -> Result<SelectObjectContentOutput, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        let customer = CustomerKey::presented(
            input.sse_customer_algorithm.as_deref(),
            input.sse_customer_key.as_deref(),
            input.sse_customer_key_md5.as_deref(),
        )?;
        if ctx.principal.kind == PrincipalKind::Anonymous {
            return Err(crate::fault::access_denied());
        }
        if input.expression_type != "SQL" {
            return Err(fault::of(
                "InvalidExpressionType",
                "The ExpressionType is invalid. Only SQL expressions are supported.",
            ));
        }
        let (serialization, packing) = serialization(&input)?;
        let output = output_format(&input.output_serialization)?;
        let query = parser::parse(&input.expression)?;
        if query.has_path && !matches!(serialization, Serialization::Json { .. }) {
            return Err(fault::of(
                "InvalidKeyPath",
                "The key path in the SQL expression is invalid.",
            ));
        }
        let source = self.source(
            ctx,
            &bucket,
            &input.key,
            customer,
            (serialization, packing),
            input.scan_range.as_ref(),
        )?;
        let task = Task {
            query,
            source,
            output,
            tells_progress: input.request_progress.and_then(|p| p.enabled) == Some(true),
            now: timestamp::Timestamp::utc(ctx.time.0).ok_or_else(fault::not_evaluated)?,
        };
        let (sender, mut events) = mpsc::channel(WAITING);
        let running = tokio::task::spawn_blocking(move || run::run(task, &sender));
        let Some(first) = events.recv().await else {
            running.await?;
            return Err(fault::not_evaluated());
        };
        let first = first?;
        let rest = stream::unfold(events, async |mut events| {
            let event = events.recv().await?;
            Some((event, events))
        });
        let all = stream::once(async { Ok(first) }).chain(rest);
        Ok(SelectObjectContentOutput {
            payload: Some(EventStream(Box::pin(all))),
        })
    }

    /// Opens what is to be read.
    fn source(
        &self,
        ctx: &Context,
        bucket: &Arc<Bucket>,
        key: &str,
        customer: Option<CustomerKey>,
        (serialization, packing): (Serialization, Packing),
        asked: Option<&ScanRange>,
    ) -> Result<Source, Fault> {
        for _ in 0..ATTEMPTS {
            let Found { version, .. } =
                self.find(ctx, bucket, key, None, "s3:GetObject", Permission::Read)?;
            version.encryption.check(customer.as_ref())?;
            if version.is_archived(ctx.time) || version.class() == "REDUCED_REDUNDANCY" {
                return Err(fault::of(
                    "UnsupportedStorageClass",
                    "We encountered a storage class that is not supported. Only STANDARD, STANDARD_IA, and ONEZONE_IA storage classes are supported.",
                ));
            }
            let range = asked
                .map(|asked| scanned(asked, version.size))
                .transpose()?;
            let open = |range| {
                let customer = customer.as_ref();
                self.read_content(bucket, key, &version, range, customer)
            };
            // The mark that ends a record before the range says whether one begins with it.
            let back = match &serialization {
                Serialization::Csv(format, _) => format.record_delimiter.len() as u64,
                _ => 1,
            };
            let from = range.as_ref().map_or(0, |r| r.start.saturating_sub(back));
            let body = match &serialization {
                Serialization::Parquet => Some(Body::Empty),
                _ => open(from..version.size)?,
            };
            let has_header =
                matches!(&serialization, Serialization::Csv(_, header) if *header != Header::None);
            let needs_head = has_header && range.as_ref().is_some_and(|range| range.start > 0);
            let head = match needs_head {
                true => open(0..version.size.min(HEAD))?,
                false => None,
            };
            let (Some(body), true) = (body, head.is_some() == needs_head) else {
                // Replaced since its record was read.
                continue;
            };
            let part = range.clone().map(|range| Scanned { from, range, head });
            let is_unpacked = packing == Packing::None;
            return Ok(match serialization {
                Serialization::Csv(format, header) => {
                    if part.is_some() && (format.allows_quoted_delimiters || !is_unpacked) {
                        return Err(fault::no_scan_range());
                    }
                    Source::Csv {
                        format,
                        header,
                        packing,
                        body,
                        range: part,
                    }
                }
                Serialization::Json { is_lines } => {
                    if part.is_some() && !(is_lines && is_unpacked) {
                        return Err(fault::no_scan_range());
                    }
                    Source::Json {
                        packing,
                        body,
                        range: part,
                    }
                }
                Serialization::Parquet => Source::Parquet {
                    object: parquet::Object {
                        objects: self.objects.clone(),
                        masters: self.masters.clone(),
                        bucket: bucket.clone(),
                        key: key.to_owned(),
                        version,
                        customer: customer.map(Arc::new),
                        handle: Handle::current(),
                        scanned: Arc::default(),
                    },
                    range,
                },
            });
        }
        Err(crate::fault::operation_aborted())
    }
}

/// How the object is written and packed.
fn serialization(input: &SelectObjectContentInput) -> Result<(Serialization, Packing), Fault> {
    let given = &input.input_serialization;
    let packing = match given.compression_type.as_deref() {
        None | Some("NONE") => Packing::None,
        Some("GZIP") => Packing::Gzip,
        Some("BZIP2") => Packing::Bzip2,
        Some(_) => {
            return Err(fault::of(
                "InvalidCompressionFormat",
                "The file is not in a supported compression format. Only GZIP and BZIP2 are supported.",
            ));
        }
    };
    let serialization = match (&given.csv, &given.json, &given.parquet) {
        (Some(csv), None, None) => csv_format(csv)?,
        (None, Some(json), None) => Serialization::Json {
            is_lines: is_lines(json)?,
        },
        (None, None, Some(_)) if packing == Packing::None => Serialization::Parquet,
        (None, None, Some(_)) => return Err(fault::invalid_parameter()),
        (None, None, None) => {
            return Err(fault::of(
                "InvalidDataSource",
                "Invalid data source type. Only CSV, JSON, and Parquet are supported.",
            ));
        }
        _ => return Err(fault::serialization_conflict()),
    };
    Ok((serialization, packing))
}

/// A mark, one character long at most unless it delimits.
fn mark(given: Option<&String>, default: &str, longest: usize) -> Result<Vec<u8>, Fault> {
    let mark = given.map_or(default, String::as_str);
    if mark.chars().count() > longest {
        return Err(fault::invalid_parameter());
    }
    Ok(mark.as_bytes().to_vec())
}

fn csv_format(csv: &CSVInput) -> Result<Serialization, Fault> {
    let header = match csv.file_header_info.as_deref() {
        None | Some("NONE") => Header::None,
        Some("IGNORE") => Header::Ignore,
        Some("USE") => Header::Use,
        Some(_) => {
            return Err(fault::of(
                "InvalidFileHeaderInfo",
                "The FileHeaderInfo is invalid. Only NONE, USE, and IGNORE are supported.",
            ));
        }
    };
    let format = csv::Format {
        field_delimiter: mark(csv.field_delimiter.as_ref(), ",", 2)?,
        record_delimiter: mark(csv.record_delimiter.as_ref(), "\n", 2)?,
        quote: mark(csv.quote_character.as_ref(), "\"", 1)?,
        escape: mark(csv.quote_escape_character.as_ref(), "\"", 1)?,
        comment: mark(csv.comments.as_ref(), "#", 1)?,
        allows_quoted_delimiters: csv.allow_quoted_record_delimiter == Some(true),
    };
    let delimiters = [&format.field_delimiter, &format.record_delimiter];
    if delimiters.iter().any(|d| d.is_empty()) || delimiters[0] == delimiters[1] {
        return Err(fault::invalid_parameter());
    }
    Ok(Serialization::Csv(format, header))
}

fn is_lines(json: &JSONInput) -> Result<bool, Fault> {
    match json.r#type.as_deref() {
        Some("LINES") => Ok(true),
        Some("DOCUMENT") => Ok(false),
        other => Err(fault::of(
            "InvalidJsonType",
            format!(
                "The {} jsonType is invalid. Please check the service documentation and try again.",
                other.unwrap_or_default()
            ),
        )),
    }
}

fn output_format(given: &OutputSerialization) -> Result<output::Format, Fault> {
    match (&given.csv, &given.json) {
        (Some(csv), None) => csv_output(csv),
        (None, Some(json)) => Ok(output::Format::Json {
            record_delimiter: json.record_delimiter.clone().unwrap_or("\n".into()),
        }),
        (Some(_), Some(_)) => Err(fault::serialization_conflict()),
        (None, None) => Err(fault::missing_parameter()),
    }
}

fn csv_output(csv: &CSVOutput) -> Result<output::Format, Fault> {
    let quotes_always = match csv.quote_fields.as_deref() {
        None | Some("ASNEEDED") => false,
        Some("ALWAYS") => true,
        Some(_) => {
            return Err(fault::of(
                "InvalidQuoteFields",
                "The QuoteFields is invalid. Only ALWAYS and ASNEEDED are supported.",
            ));
        }
    };
    let or = |given: &Option<String>, default: &str| given.clone().unwrap_or(default.to_owned());
    Ok(output::Format::Csv {
        field_delimiter: or(&csv.field_delimiter, ","),
        record_delimiter: or(&csv.record_delimiter, "\n"),
        quote: or(&csv.quote_character, "\""),
        escape: or(&csv.quote_escape_character, "\""),
        quotes_always,
    })
}

/// The bytes that a scan range means: from a start, up to and with an end, or the last ones.
fn scanned(asked: &ScanRange, size: u64) -> Result<Range<u64>, Fault> {
    let number = |n: i64| u64::try_from(n).map_err(|_| fault::invalid_scan_range());
    let start = asked.start.map(number).transpose()?;
    let end = asked.end.map(number).transpose()?;
    let range = match (start, end) {
        (Some(start), Some(end)) if start <= end => start..end.saturating_add(1),
        (Some(start), None) => start..u64::MAX,
        (None, Some(last)) => size.saturating_sub(last)..u64::MAX,
        _ => return Err(fault::invalid_scan_range()),
    };
    if range.start >= size.max(1) {
        return Err(fault::invalid_scan_range());
    }
    Ok(range)
}
