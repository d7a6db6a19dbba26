//! The same operations in CBOR, as the older Java SDKs and the Kinesis libraries speak.

mod region;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use region::Region;
use wire::Body;

/// A value of an answer, as far as these tests look.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Number(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Value {
    fn get(&self, name: &str) -> &Value {
        let Value::Map(members) = self else {
            return &Value::Null;
        };
        let found = members.iter().find(|(n, _)| n == name);
        found.map_or(&Value::Null, |(_, value)| value)
    }
    fn text(&self) -> &str {
        match self {
            Value::Text(text) => text,
            other => panic!("no text: {other:?}"),
        }
    }
}

fn decode(d: &mut Decoder<'_>) -> Value {
    match d.datatype().expect("a type") {
        Type::Null | Type::Undefined => {
            d.skip().expect("nothing");
            Value::Null
        }
        Type::Bool => Value::Bool(d.bool().expect("a truth")),
        Type::F16 | Type::F32 | Type::F64 => Value::Float(d.f64().expect("a float")),
        Type::String | Type::StringIndef => {
            let parts: Result<Vec<_>, _> = d.str_iter().expect("text").collect();
            Value::Text(parts.expect("text").concat())
        }
        Type::Bytes | Type::BytesIndef => {
            let parts: Result<Vec<_>, _> = d.bytes_iter().expect("bytes").collect();
            Value::Bytes(parts.expect("bytes").concat())
        }
        Type::Tag => {
            d.tag().expect("a tag");
            decode(d)
        }
        Type::Array | Type::ArrayIndef => {
            let count = d.array().expect("a list");
            let mut list = Vec::new();
            while count.map_or_else(
                || d.datatype().expect("more") != Type::Break,
                |n| list.len() < n as usize,
            ) {
                list.push(decode(d));
            }
            if count.is_none() {
                d.skip().expect("an end");
            }
            Value::List(list)
        }
        Type::Map | Type::MapIndef => {
            let count = d.map().expect("a map");
            let mut map = Vec::new();
            while count.map_or_else(
                || d.datatype().expect("more") != Type::Break,
                |n| map.len() < n as usize,
            ) {
                let name = decode(d).text().to_owned();
                map.push((name, decode(d)));
            }
            if count.is_none() {
                d.skip().expect("an end");
            }
            Value::Map(map)
        }
        _ => Value::Number(d.i64().expect("a number")),
    }
}

/// Members of a request.
enum Given<'a> {
    Text(&'a str, &'a str),
    Number(&'a str, i64),
    Bytes(&'a str, &'a [u8]),
}

fn request(members: &[Given<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut e = Encoder::new(&mut out);
    e.map(members.len() as u64).expect("a map");
    for member in members {
        match member {
            Given::Text(name, value) => e.str(name).and_then(|e| e.str(value)),
            Given::Number(name, value) => e.str(name).and_then(|e| e.i64(*value)),
            Given::Bytes(name, value) => e.str(name).and_then(|e| e.bytes(value)),
        }
        .expect("a member");
    }
    out
}

async fn call(region: &Region, operation: &str, members: &[Given<'_>]) -> (u16, Value) {
    let (status, body) = region
        .send(
            "application/x-amz-cbor-1.1",
            operation,
            Body::from(request(members)),
        )
        .await;
    let body = body.collect(1 << 20).await.expect("a body");
    let value = match body.is_empty() {
        true => Value::Null,
        false => decode(&mut Decoder::new(&body)),
    };
    (status, value)
}

#[tokio::test]
async fn records_are_bytes_and_times_are_numbers() {
    let region = Region::new();
    let named = Given::Text("StreamName", "s");
    let created = call(
        &region,
        "CreateStream",
        &[named, Given::Number("ShardCount", 1)],
    )
    .await;
    assert_eq!(created.0, 200, "{created:?}");
    let data = [0, 159, 146, 150, 255];
    let (status, put) = call(
        &region,
        "PutRecord",
        &[
            Given::Text("StreamName", "s"),
            Given::Text("PartitionKey", "k"),
            Given::Bytes("Data", &data),
        ],
    )
    .await;
    assert_eq!(
        (status, put.get("ShardId").text()),
        (200, "shardId-000000000000")
    );
    let (_, found) = call(
        &region,
        "GetShardIterator",
        &[
            Given::Text("StreamName", "s"),
            Given::Text("ShardId", "shardId-000000000000"),
            Given::Text("ShardIteratorType", "TRIM_HORIZON"),
        ],
    )
    .await;
    let iterator = found.get("ShardIterator").text().to_owned();
    let (status, got) = call(
        &region,
        "GetRecords",
        &[Given::Text("ShardIterator", &iterator)],
    )
    .await;
    assert_eq!(status, 200);
    let Value::List(records) = got.get("Records") else {
        panic!("no records: {got:?}");
    };
    let [record] = &records[..] else {
        panic!("not one record: {records:?}");
    };
    assert_eq!(record.get("Data"), &Value::Bytes(data.to_vec()));
    assert_eq!(record.get("SequenceNumber"), put.get("SequenceNumber"));
    let arrived = match record.get("ApproximateArrivalTimestamp") {
        Value::Number(millis) => *millis,
        Value::Float(seconds) => (seconds * 1000.0) as i64,
        other => panic!("no time: {other:?}"),
    };
    assert!((region.now() - arrived).abs() < 60_000, "{arrived}");
}

#[tokio::test]
async fn errors_are_cbor_too() {
    let region = Region::new();
    let (status, error) = call(
        &region,
        "DescribeStreamSummary",
        &[Given::Text("StreamName", "none")],
    )
    .await;
    assert_eq!(status, 400);
    assert_eq!(error.get("__type").text(), "ResourceNotFoundException");
    assert_eq!(
        error.get("message").text(),
        "Stream none under account 000000000000 not found."
    );
}

#[tokio::test]
async fn what_is_no_cbor_is_refused() {
    let region = Region::new();
    for bytes in [&b"{}"[..], &[0xff], &[0xa1, 0x61], &[]] {
        let (status, _) = region
            .send(
                "application/x-amz-cbor-1.1",
                "DescribeStreamSummary",
                Body::from(bytes.to_vec()),
            )
            .await;
        assert_eq!(status, 400, "{bytes:?}");
    }
}
