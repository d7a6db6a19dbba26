//! What is done with records before they are written: unpacked, taken apart, transformed by a function, given keys and delimiters.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use wire::Fault;

use crate::buffer::{Entry, Origin};
use crate::delivery_stream::{DeliveryStream, Place};
use crate::destination::Step;
use crate::failure::Failure;
use crate::partition::Query;
use crate::service::Firehose;

/// A record on its way to a destination.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// When it arrived.
    pub(crate) time: i64,
    pub(crate) data: Vec<u8>,
    origin: Option<Origin>,
    /// The keys by which its object is chosen.
    pub(crate) keys: BTreeMap<String, String>,
}

/// The order in which processors work, whatever the order in which they are given.
const ORDER: [&str; 6] = [
    "Decompression",
    "CloudWatchLogProcessing",
    "RecordDeAggregation",
    "Lambda",
    "MetadataExtraction",
    "AppendDelimiterToRecord",
];
/// MiB of a function's batch, attempts after the first, and milliseconds between them.
const FUNCTION_BATCH: f64 = 1.0;
const RETRIES: u32 = 3;
const PAUSE: i64 = 1_000;
/// Bytes that a compressed record may become.
const UNPACKED_LIMIT: u64 = 64 * 1024 * 1024;

impl Piece {
    fn new(entry: Entry) -> Piece {
        Piece {
            time: entry.time,
            data: entry.data,
            origin: entry.origin,
            keys: BTreeMap::new(),
        }
    }

    fn with(&self, data: Vec<u8>) -> Piece {
        Piece {
            data,
            ..self.clone()
        }
    }

    pub(crate) fn failed(self, code: &str, message: &str) -> Failure {
        Failure {
            kind: "processing-failed",
            code: code.to_owned(),
            message: message.to_owned(),
            attempts: 1,
            arrived: self.time,
            data: self.data,
            sequence: self.origin.map(|origin| origin.sequence),
            more: None,
        }
    }
}

fn unpacked(piece: &Piece) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    GzDecoder::new(&piece.data[..])
        .take(UNPACKED_LIMIT)
        .read_to_end(&mut data)
        .ok()?;
    Some(data)
}

/// The messages of a record of CloudWatch Logs; none of one that only tests the way.
fn messages(piece: &Piece) -> Option<Vec<u8>> {
    let record: Value = serde_json::from_slice(&piece.data).ok()?;
    let mut data = Vec::new();
    if record.get("messageType")? == "DATA_MESSAGE" {
        for event in record.get("logEvents")?.as_array()? {
            data.extend_from_slice(event.get("message")?.as_str()?.as_bytes());
            data.push(b'\n');
        }
    }
    Some(data)
}

/// The records within a record.
fn parts(step: &Step, piece: &Piece) -> Option<Vec<Piece>> {
    if step.parameter("SubRecordType") == Some("DELIMITED") {
        let delimiter = step.parameter("Delimiter").unwrap_or_default();
        let delimiter = STANDARD.decode(delimiter).ok().filter(|d| !d.is_empty())?;
        let mut found = Vec::new();
        let mut rest = &piece.data[..];
        while !rest.is_empty() {
            let at = rest.windows(delimiter.len()).position(|w| w == delimiter);
            let end = at.unwrap_or(rest.len());
            if let Some(part) = rest.get(..end).filter(|part| !part.is_empty()) {
                found.push(piece.with(part.to_vec()));
            }
            rest = rest.get(end + delimiter.len()..).unwrap_or_default();
        }
        return Some(found);
    }
    let values = serde_json::Deserializer::from_slice(&piece.data)
        .into_iter::<Box<serde_json::value::RawValue>>();
    let mut found = Vec::new();
    for value in values {
        found.push(piece.with(value.ok()?.get().as_bytes().to_vec()));
    }
    Some(found)
}

impl Firehose {
    /// Takes records through a stream's processors: what is to be written, and what failed.
    pub(crate) async fn process(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        entries: Vec<Entry>,
    ) -> (Vec<Piece>, Vec<Failure>) {
        let mut pieces: Vec<Piece> = entries.into_iter().map(Piece::new).collect();
        let mut failures = Vec::new();
        let steps = stream.destination.steps();
        for kind in ORDER {
            let Some(step) = steps.iter().find(|step| step.kind == kind) else {
                continue;
            };
            pieces = match kind {
                "Lambda" => {
                    self.transform(place, stream, step, pieces, &mut failures)
                        .await
                }
                _ => each(kind, step, pieces, &mut failures),
            };
        }
        (pieces, failures)
    }

    /// Lets a function transform records.
    async fn transform(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        step: &Step,
        pieces: Vec<Piece>,
        failures: &mut Vec<Failure>,
    ) -> Vec<Piece> {
        let size = step.parameter("BufferSizeInMBs");
        let size = size
            .and_then(|s| s.parse::<f64>().ok())
            .unwrap_or(FUNCTION_BATCH);
        let most = (size.clamp(0.2, 3.0) * 1024.0 * 1024.0) as usize;
        let mut done = Vec::new();
        let mut rest = pieces.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(piece) =
                rest.next_if(|p| batch.is_empty() || bytes + p.data.len() <= most)
            {
                bytes += piece.data.len();
                batch.push(piece);
            }
            self.transform_batch(place, stream, step, batch, &mut done, failures)
                .await;
        }
        done
    }

    async fn transform_batch(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        step: &Step,
        batch: Vec<Piece>,
        done: &mut Vec<Piece>,
        failures: &mut Vec<Failure>,
    ) {
        let function = step.parameter("LambdaArn").unwrap_or_default();
        let retries = step.parameter("NumberOfRetries");
        let retries = retries.and_then(|r| r.parse().ok()).unwrap_or(RETRIES);
        let ids: Vec<String> = batch
            .iter()
            .map(|_| format!("{}000000", cloud::ids::hex(50)))
            .collect();
        let payload = event(place, stream, &batch, &ids).to_string();
        let mut attempts = 0;
        let answer = loop {
            attempts += 1;
            match self.invoke(place, stream, function, payload.clone()).await {
                Ok(answer) => break Ok(answer),
                Err(problem) if attempts > retries => break Err(problem),
                Err(_) => self.cloud.clock.pass(PAUSE).await,
            }
        };
        let mut fail = |piece: Piece, code: &str, message: &str| {
            failures.push(Failure {
                attempts,
                more: Some(("lambdaArn", json!(function))),
                ..piece.failed(code, message)
            });
        };
        let mut answers = match answer {
            Ok(answers) => answers,
            Err((code, message)) => {
                for piece in batch {
                    fail(piece, code, &message);
                }
                return;
            }
        };
        for (piece, id) in batch.into_iter().zip(&ids) {
            let Some(answer) = answers.remove(id) else {
                fail(
                    piece,
                    "Lambda.MissingRecordId",
                    "One or more record Ids were not returned. Ensure that the Lambda function returns all received record Ids.",
                );
                continue;
            };
            let data = answer.get("data").and_then(Value::as_str);
            let data = data.and_then(|text| STANDARD.decode(text).ok());
            match (answer.get("result").and_then(Value::as_str), data) {
                (Some("Dropped"), _) => {}
                (Some("Ok"), Some(data)) => {
                    let mut new = piece.with(data);
                    let keys = answer.get("metadata").and_then(|m| m.get("partitionKeys"));
                    for (key, value) in keys.and_then(Value::as_object).into_iter().flatten() {
                        let text = value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned);
                        new.keys.insert(key.clone(), text);
                    }
                    done.push(new);
                }
                (Some("ProcessingFailed"), _) => fail(
                    piece,
                    "Lambda.ProcessingFailedStatus",
                    "ProcessingFailed status set for record",
                ),
                _ => fail(
                    piece,
                    "Lambda.JsonProcessingException",
                    "There was an error parsing or mapping the records returned by the Lambda function. Ensure that the required fields are present.",
                ),
            }
        }
    }

    /// Calls a function once; its records by their ids, or an error's code and message.
    async fn invoke(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        function: &str,
        payload: String,
    ) -> Result<HashMap<String, Value>, (&'static str, String)> {
        let failed = |fault: Fault| ("Lambda.InvokeFailed", fault.message.to_string());
        let Some(functions) = self.cloud.ports.functions() else {
            return Err(failed(Fault::internal("there are no functions here")));
        };
        let source = cloud::Source {
            service: "firehose.amazonaws.com".into(),
            arn: place.arn(),
            account: place.account.clone(),
            role: Some(stream.destination.bucket.role.clone()),
        };
        let answer = functions
            .invoke(function, payload.into(), &source)
            .await
            .map_err(failed)?;
        if answer.has_failed {
            return Err((
                "Lambda.FunctionError",
                "The Lambda function was successfully invoked but it returned an error result."
                    .into(),
            ));
        }
        let said: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        let Some(records) = said.get("records").and_then(Value::as_array) else {
            return Err((
                "Lambda.JsonProcessingException",
                "There was an error parsing or mapping the records returned by the Lambda function. Ensure that the required fields are present.".into(),
            ));
        };
        let by_id = records.iter().filter_map(|record| {
            let id = record.get("recordId")?.as_str()?;
            Some((id.to_owned(), record.clone()))
        });
        Ok(by_id.collect())
    }
}

/// What a function is called with.
fn event(place: &Place, stream: &DeliveryStream, batch: &[Piece], ids: &[String]) -> Value {
    let records = batch.iter().zip(ids).map(|(piece, id)| {
        let mut record = json!({
            "recordId": id,
            "approximateArrivalTimestamp": piece.time,
            "data": STANDARD.encode(&piece.data),
        });
        if let Some(origin) = &piece.origin {
            record["kinesisRecordMetadata"] = json!({
                "sequenceNumber": origin.sequence,
                "subsequenceNumber": 0,
                "partitionKey": origin.key,
                "shardId": origin.shard,
                "approximateArrivalTimestamp": piece.time,
            });
        }
        record
    });
    let mut event = json!({
        "invocationId": cloud::ids::uuid(),
        "deliveryStreamArn": place.arn(),
        "region": place.region,
        "records": records.collect::<Vec<_>>(),
    });
    if let Some((source, _)) = &stream.source {
        event["sourceKinesisStreamArn"] = json!(source);
    }
    event
}

/// Takes records one by one through a processor that is ours.
fn each(kind: &str, step: &Step, pieces: Vec<Piece>, failures: &mut Vec<Failure>) -> Vec<Piece> {
    let query = step
        .parameter("MetadataExtractionQuery")
        .and_then(Query::parse);
    let extracts = step.parameter("DataMessageExtraction") == Some("true");
    let delimiter = step
        .parameter("Delimiter")
        .unwrap_or("\\n")
        .replace("\\n", "\n");
    let mut done = Vec::new();
    for mut piece in pieces {
        let outcome = match kind {
            "Decompression" => unpacked(&piece).map(|data| vec![piece.with(data)]),
            "CloudWatchLogProcessing" if extracts => {
                messages(&piece).map(|data| match data.is_empty() {
                    true => Vec::new(),
                    false => vec![piece.with(data)],
                })
            }
            "RecordDeAggregation" => parts(step, &piece),
            "MetadataExtraction" => {
                let record = serde_json::from_slice(&piece.data).ok();
                let keys = record.and_then(|record| query.as_ref()?.keys(&record));
                keys.map(|keys| {
                    piece.keys.extend(keys);
                    vec![piece.clone()]
                })
            }
            "AppendDelimiterToRecord" => {
                piece.data.extend_from_slice(delimiter.as_bytes());
                Some(vec![piece.clone()])
            }
            _ => Some(vec![piece.clone()]),
        };
        match outcome {
            Some(more) => done.extend(more),
            None => {
                let (code, message) = match kind {
                    "Decompression" => ("Decompression.Failed", "The record is not in GZIP."),
                    "MetadataExtraction" => (
                        "DynamicPartitioning.MetadataExtractionFailed",
                        "Partition keys could not be extracted from the record.",
                    ),
                    _ => (
                        "RecordDeAggregation.Failed",
                        "The record could not be taken apart.",
                    ),
                };
                failures.push(piece.failed(code, message));
            }
        }
    }
    done
}

#[cfg(test)]
mod tests {
    use wire::Timestamp;

    use super::*;

    fn piece(text: &str) -> Piece {
        Piece::new(Entry::new(Timestamp(0), text.to_owned().into()))
    }

    fn step(kind: &str, parameters: &[(&str, &str)]) -> Step {
        Step {
            kind: kind.to_owned(),
            parameters: parameters
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        }
    }

    fn run(step: &Step, texts: &[&str]) -> (Vec<String>, usize) {
        let mut failures = Vec::new();
        let pieces = texts.iter().map(|t| piece(t)).collect();
        let done = each(&step.kind, step, pieces, &mut failures);
        let texts = done
            .iter()
            .map(|p| String::from_utf8_lossy(&p.data).into_owned());
        (texts.collect(), failures.len())
    }

    #[test]
    fn records_within_records_are_taken_apart() {
        let json = step("RecordDeAggregation", &[("SubRecordType", "JSON")]);
        assert_eq!(
            run(&json, &["{\"a\": 1}{\"b\":2}\n3"]).0,
            ["{\"a\": 1}", "{\"b\":2}", "3"]
        );
        assert_eq!(run(&json, &["{\"a\""]).1, 1);
        let delimiter = STANDARD.encode("##");
        let delimited = step(
            "RecordDeAggregation",
            &[("SubRecordType", "DELIMITED"), ("Delimiter", &delimiter)],
        );
        assert_eq!(run(&delimited, &["a##b####c"]).0, ["a", "b", "c"]);
    }

    #[test]
    fn delimiters_are_appended() {
        let plain = step("AppendDelimiterToRecord", &[]);
        assert_eq!(run(&plain, &["a", "b"]).0, ["a\n", "b\n"]);
        let own = step("AppendDelimiterToRecord", &[("Delimiter", "\\n--")]);
        assert_eq!(run(&own, &["a"]).0, ["a\n--"]);
    }

    #[test]
    fn log_events_become_their_messages() {
        let logs = step(
            "CloudWatchLogProcessing",
            &[("DataMessageExtraction", "true")],
        );
        let data = json!({ "messageType": "DATA_MESSAGE", "logEvents": [{ "message": "a" }, { "message": "b" }] }).to_string();
        let control =
            json!({ "messageType": "CONTROL_MESSAGE", "logEvents": [{ "message": "c" }] })
                .to_string();
        assert_eq!(run(&logs, &[&data, &control]).0, ["a\nb\n"]);
        assert_eq!(run(&step("Decompression", &[]), &["no gzip"]).1, 1);
    }
}
