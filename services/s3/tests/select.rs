//! SQL over an object, over the wire.
#![allow(clippy::unwrap_used)]

mod region;

use bytes::{Bytes, BytesMut};
use region::{Answer, Region};
use wire::event_stream::Message;

const CSV_HEADER: &str = "<CSV><FileHeaderInfo>USE</FileHeaderInfo></CSV>";
const CSV: &str = "<CSV/>";
const DOCUMENT: &str = "<JSON><Type>DOCUMENT</Type></JSON>";
const LINES: &str = "<JSON><Type>LINES</Type></JSON>";
const JSON: &str = "<JSON/>";

/// A region with one object.
async fn with(content: impl Into<Bytes>) -> Region {
    let region = Region::with_bucket().await;
    let content: Bytes = content.into();
    let put = region.ask("PUT", "/bucket/k", content).await;
    assert_eq!(put.status, 200);
    region
}

async fn ask(region: &Region, expression: &str, input: &str, output: &str, more: &str) -> Answer {
    let expression = expression
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let body = format!(
        "<SelectObjectContentRequest><Expression>{expression}</Expression><ExpressionType>SQL</ExpressionType>\
         <InputSerialization>{input}</InputSerialization><OutputSerialization>{output}</OutputSerialization>{more}\
         </SelectObjectContentRequest>"
    );
    let path = "/bucket/k?select&select-type=2";
    region.ask("POST", path, Bytes::from(body)).await
}

fn messages(answer: &Answer) -> Vec<Message> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut buffer = BytesMut::from(&answer.body[..]);
    let mut messages = Vec::new();
    while let Some(message) = Message::parse(&mut buffer).unwrap() {
        messages.push(message);
    }
    assert!(buffer.is_empty());
    messages
}

/// What a query gives, its records put together.
async fn rows(region: &Region, expression: &str, input: &str, output: &str, more: &str) -> String {
    let answer = ask(region, expression, input, output, more).await;
    let messages = messages(&answer);
    let kind = |message: &Message| message.header(":event-type").map(str::to_owned);
    assert_eq!(messages.last().and_then(kind).as_deref(), Some("End"));
    let records = messages
        .iter()
        .filter(|m| kind(m).as_deref() == Some("Records"));
    let bytes: Vec<u8> = records.flat_map(|m| m.payload.to_vec()).collect();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_found_by_name_and_by_number() {
    let region = with("Name,age\nAnn,31\nBob,\n\"Cid, Jr.\",7\n").await;
    for (expression, expected) in [
        ("SELECT * FROM S3Object", "Ann,31\nBob,\n\"Cid, Jr.\",7\n"),
        ("SELECT s.age, name FROM s3object AS s LIMIT 1", "31,Ann\n"),
        ("SELECT _2 FROM S3Object", "31\n\n7\n"),
        ("SELECT s._1 FROM S3Object s WHERE s.age = ''", "Bob\n"),
        ("SELECT count(*), count(age) FROM S3Object", "3,3\n"),
        (
            "SELECT avg(CAST(age AS INT)), min(CAST(age AS DECIMAL)), sum(CAST(age AS FLOAT)) FROM S3Object WHERE age <> ''",
            "19,7,38.0\n",
        ),
        (
            "SELECT \"Name\" FROM S3Object WHERE name LIKE '%,%' OR CHAR_LENGTH(age) IN (0, 5)",
            "Bob\n\"Cid, Jr.\"\n",
        ),
        (
            "SELECT CASE WHEN age BETWEEN '3' AND '4' THEN 'in' ELSE 'out' END FROM S3Object",
            "in\nout\nout\n",
        ),
        ("SELECT 1 FROM S3Object LIMIT 0", ""),
        ("SELECT name FROM S3Object WHERE age > 5", ""),
    ] {
        let found = rows(&region, expression, CSV_HEADER, CSV, "").await;
        assert_eq!(found, expected, "{expression}");
    }
    let found = rows(
        &region,
        "SELECT * FROM S3Object LIMIT 1",
        CSV_HEADER,
        JSON,
        "",
    )
    .await;
    assert_eq!(found, "{\"Name\":\"Ann\",\"age\":\"31\"}\n");
    let ignoring = "<CSV><FileHeaderInfo>IGNORE</FileHeaderInfo></CSV>";
    let found = rows(
        &region,
        "SELECT * FROM S3Object LIMIT 1",
        ignoring,
        JSON,
        "",
    )
    .await;
    assert_eq!(found, "{\"_1\":\"Ann\",\"_2\":\"31\"}\n");
    let quoted = "<CSV><QuoteFields>ALWAYS</QuoteFields><FieldDelimiter>|</FieldDelimiter><RecordDelimiter>;</RecordDelimiter></CSV>";
    let found = rows(
        &region,
        "SELECT * FROM S3Object LIMIT 1",
        CSV_HEADER,
        quoted,
        "",
    )
    .await;
    assert_eq!(found, "\"Ann\"|\"31\";");
    for (expression, code) in [
        ("SELECT s.\"name\" FROM S3Object s", "MissingHeaders"),
        ("SELECT s.other FROM S3Object s", "MissingHeaders"),
        ("SELECT _0 FROM S3Object", "InvalidColumnIndex"),
        (
            "SELECT sum(age) FROM S3Object",
            "IllegalSqlFunctionArgument",
        ),
        (
            "SELECT CAST(age AS INT) FROM S3Object WHERE name = 'Bob'",
            "CastFailed",
        ),
        ("SELECT name FROM S3Object[*].a", "InvalidKeyPath"),
        ("SELECT 1/0 FROM S3Object", "ExternalEvalException"),
        (
            "SELECT lower(1) FROM S3Object",
            "IncorrectSqlFunctionArgumentType",
        ),
        (
            "SELECT 9223372036854775807 + 1 FROM S3Object",
            "IntegerOverflow",
        ),
    ] {
        let answer = ask(&region, expression, CSV_HEADER, CSV, "").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{expression}"
        );
    }
}

/// The documentation's examples.
#[tokio::test(flavor = "multi_thread")]
async fn documents_are_walked_through() {
    let content = "{ \"Rules\": [ {\"id\": \"1\"}, {\"expr\": \"y > x\"}, {\"id\": \"2\", \"expr\": \"z = DEBUG\"} ]}\n{ \"created\": \"June 27\", \"modified\": 7.50 }";
    let region = with(content).await;
    for (expression, expected) in [
        (
            "SELECT id FROM S3Object[*].Rules[*].id",
            "{\"id\":\"1\"}\n{}\n{\"id\":\"2\"}\n{}\n",
        ),
        (
            "SELECT id FROM S3Object[*].Rules[*].id WHERE id IS NOT MISSING",
            "{\"id\":\"1\"}\n{\"id\":\"2\"}\n",
        ),
        (
            "SELECT r.id, r.expr FROM S3Object[*].Rules[*] r WHERE r.expr IS NOT NULL",
            "{\"expr\":\"y > x\"}\n{\"id\":\"2\",\"expr\":\"z = DEBUG\"}\n",
        ),
        (
            "SELECT s.Rules[2].id FROM S3Object s",
            "{\"id\":\"2\"}\n{}\n",
        ),
        (
            "SELECT _1.modified FROM S3Object[*]",
            "{}\n{\"modified\":7.50}\n",
        ),
        (
            "SELECT s.modified * 2 AS twice, s.Rules FROM S3Object s WHERE s.modified > 7",
            "{\"twice\":15.00}\n",
        ),
        (
            "SELECT count(*), count(s.modified) FROM S3Object s",
            "{\"_1\":2,\"_2\":1}\n",
        ),
    ] {
        let found = rows(&region, expression, DOCUMENT, JSON, "").await;
        assert_eq!(found, expected, "{expression}");
        let found = rows(&region, expression, LINES, JSON, "").await;
        assert_eq!(found, expected, "{expression}");
    }
    let nested = ask(&region, "SELECT s.Rules FROM S3Object s", DOCUMENT, CSV, "").await;
    assert_eq!(nested.code(), "UnsupportedSqlStructure");
    region
        .ask(
            "PUT",
            "/bucket/k",
            Bytes::from("[{\"a\":1},{\"A\":2,\"a\":3}]"),
        )
        .await;
    let all = rows(&region, "SELECT * FROM S3Object", DOCUMENT, JSON, "").await;
    assert_eq!(all, "{\"_1\":[{\"a\":1},{\"A\":2,\"a\":3}]}\n");
    let each = rows(&region, "SELECT * FROM S3Object[*][*]", DOCUMENT, JSON, "").await;
    assert_eq!(each, "{\"a\":1}\n{\"A\":2,\"a\":3}\n");
    let answer = ask(
        &region,
        "SELECT s.a FROM S3Object[*][*] s",
        DOCUMENT,
        JSON,
        "",
    )
    .await;
    assert_eq!(answer.code(), "AmbiguousFieldName");
    let exact = rows(
        &region,
        "SELECT s.\"A\" FROM S3Object[*][*] s",
        DOCUMENT,
        JSON,
        "",
    )
    .await;
    assert_eq!(exact, "{}\n{\"A\":2}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_text_is_scanned_by_its_records() {
    let region = with("A,B\nC,D\nD,E\nE,F\nG,H\n").await;
    let range = |start: &str, end: &str| format!("<ScanRange>{start}{end}</ScanRange>");
    for (start, end, expected) in [
        ("<Start>1</Start>", "<End>4</End>", "C,D\n"),
        ("<Start>4</Start>", "<End>7</End>", "C,D\n"),
        ("<Start>5</Start>", "<End>7</End>", ""),
        ("<Start>0</Start>", "<End>0</End>", "A,B\n"),
        ("<Start>9</Start>", "", "E,F\nG,H\n"),
        ("", "<End>4</End>", "G,H\n"),
    ] {
        let found = rows(
            &region,
            "SELECT * FROM S3Object",
            CSV,
            CSV,
            &range(start, end),
        )
        .await;
        assert_eq!(found, expected, "{start} {end}");
    }
    let named = range("<Start>9</Start>", "");
    let found = rows(&region, "SELECT b FROM S3Object", CSV_HEADER, CSV, &named).await;
    assert_eq!(found, "F\nH\n");
    let all = "SELECT * FROM S3Object";
    for (input, start, end, code) in [
        (CSV, "<Start>20</Start>", "", "InvalidScanRange"),
        (CSV, "<Start>2</Start>", "<End>1</End>", "InvalidScanRange"),
        (CSV, "<Start>-2</Start>", "", "InvalidScanRange"),
        (CSV, "", "", "InvalidScanRange"),
        (
            DOCUMENT,
            "<Start>2</Start>",
            "",
            "UnsupportedScanRangeInput",
        ),
        (
            "<CSV/><CompressionType>GZIP</CompressionType>",
            "<Start>2</Start>",
            "",
            "UnsupportedScanRangeInput",
        ),
    ] {
        let answer = ask(&region, all, input, CSV, &range(start, end)).await;
        assert_eq!(answer.code(), code, "{start} {end}");
    }
    region
        .ask(
            "PUT",
            "/bucket/k",
            Bytes::from("{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n"),
        )
        .await;
    let second = range("<Start>1</Start>", "<End>8</End>");
    let found = rows(&region, all, LINES, JSON, &second).await;
    assert_eq!(found, "{\"a\":2}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_later_ends_the_events() {
    let mut content = "1\n".repeat(100_000);
    content.push_str("x\n");
    let region = with(content).await;
    let answer = ask(
        &region,
        "SELECT CAST(_1 AS INT) FROM S3Object",
        CSV,
        CSV,
        "",
    )
    .await;
    let messages = messages(&answer);
    let last = messages.last().unwrap();
    assert_eq!(last.header(":message-type"), Some("error"));
    assert_eq!(last.header(":error-code"), Some("CastFailed"));
    assert_eq!(messages[0].header(":event-type"), Some("Records"));
    let more = "<RequestProgress><Enabled>TRUE</Enabled></RequestProgress>";
    let answer = ask(&region, "SELECT count(*) FROM S3Object", CSV, CSV, more).await;
    let told: Vec<(String, String)> = self::messages(&answer)
        .iter()
        .map(|m| {
            let payload = String::from_utf8_lossy(&m.payload).into_owned();
            (
                m.header(":event-type").unwrap_or_default().to_owned(),
                payload,
            )
        })
        .collect();
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["Records", "Progress", "Stats", "End"]);
    let counts = "<BytesScanned>200002</BytesScanned><BytesProcessed>200002</BytesProcessed><BytesReturned>7</BytesReturned>";
    assert!(
        told[2].1.ends_with(&format!("<Stats>{counts}</Stats>")),
        "{}",
        told[2].1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_is_named() {
    let region = with("a,b\n").await;
    let all = "SELECT * FROM S3Object";
    for (input, output, code) in [
        ("", CSV, "InvalidDataSource"),
        (CSV, "", "MissingRequiredParameter"),
        ("<CSV/><Parquet/>", CSV, "ObjectSerializationConflict"),
        (CSV, "<CSV/><JSON/>", "ObjectSerializationConflict"),
        ("<JSON><Type>LINE</Type></JSON>", CSV, "InvalidJsonType"),
        (DOCUMENT, JSON, "JSONParsingError"),
        ("<Parquet/>", CSV, "ParquetParsingError"),
        (
            "<CSV/><CompressionType>GZIP</CompressionType>",
            CSV,
            "InvalidCompressionFormat",
        ),
        (
            "<CSV/><CompressionType>BZIP2</CompressionType>",
            CSV,
            "InvalidCompressionFormat",
        ),
        (
            "<CSV/><CompressionType>ZIP</CompressionType>",
            CSV,
            "InvalidCompressionFormat",
        ),
        (
            "<CSV><FileHeaderInfo>YES</FileHeaderInfo></CSV>",
            CSV,
            "InvalidFileHeaderInfo",
        ),
        (
            CSV,
            "<CSV><QuoteFields>NO</QuoteFields></CSV>",
            "InvalidQuoteFields",
        ),
        (
            "<CSV><QuoteCharacter>''</QuoteCharacter></CSV>",
            CSV,
            "InvalidRequestParameter",
        ),
    ] {
        let answer = ask(&region, all, input, output, "").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, code),
            "{input} {output}"
        );
    }
    let answer = ask(&region, "SELEC", CSV, CSV, "").await;
    assert_eq!(answer.code(), "ParseUnexpectedToken");
    region.ask("DELETE", "/bucket/k", Bytes::new()).await;
    let answer = ask(&region, all, CSV, CSV, "").await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "NoSuchKey"));
}
