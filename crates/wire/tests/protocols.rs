//! The protocol cases of botocore's source distribution, mirrored: their requests through our readers, their
//! results through our writers.
//!
//! The cases are not part of this repository; `make test` unpacks them and names the folder in
//! `CUMULO_PROTOCOL_CASES`. `protocols.ignore` lists the cases that cannot be mirrored, each with its reason; a case
//! that is listed and holds all the same fails the test.

mod protocols {
    pub mod compare;
    pub mod dynamic;
}

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocols::{compare, dynamic};
use serde_json::Value;
use wire::protocol::Request;
use wire::{Encode, Fault, Fidelity, Operation, Protocol, ServiceModel, Validation};

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// What every case of a suite shares.
struct Suite {
    protocol: Protocol,
    model: &'static ServiceModel,
    shapes: dynamic::Shapes,
}

fn suite(suite: &Value) -> Suite {
    let meta = &suite["metadata"];
    let protocol = match meta["protocol"].as_str() {
        Some("json") if meta["jsonVersion"] == "1.0" => Protocol::AwsJson10,
        Some("json") => Protocol::AwsJson11,
        Some("rest-json") => Protocol::RestJson,
        Some("rest-xml") => Protocol::RestXml,
        Some("query") => Protocol::AwsQuery,
        Some("ec2") => Protocol::Ec2Query,
        Some("smithy-rpc-v2-cbor") => Protocol::RpcV2Cbor,
        other => panic!("unknown protocol {other:?}"),
    };
    let namespace = meta["xmlNamespace"].as_str().map(leak);
    let model = Box::leak(Box::new(ServiceModel {
        name: "test",
        id: "Test",
        signing_name: "test",
        endpoint_prefix: "test",
        api_version: "2020-01-08",
        protocols: Box::leak(Box::new([protocol])),
        target_prefix: None,
        namespace,
        query_compatible: meta.get("awsQueryCompatible").is_some(),
        validation: Validation::Listed("ValidationException"),
        operations: &[],
        absent: &[],
    }));
    Suite {
        protocol,
        model,
        shapes: dynamic::Shapes::new(suite["shapes"].clone(), protocol == Protocol::Ec2Query),
    }
}

fn operation(s: &Suite, given: &Value) -> &'static Operation {
    let shape = |side: &str| {
        given[side]["shape"]
            .as_str()
            .map_or(&wire::schema::EMPTY, |name| {
                s.shapes.get(name, &given[side])
            })
    };
    Box::leak(Box::new(Operation {
        name: leak(given["name"].as_str().unwrap_or("")),
        method: leak(given["http"]["method"].as_str().unwrap_or("POST")),
        uri: leak(given["http"]["requestUri"].as_str().unwrap_or("/")),
        status: given["http"]["responseCode"].as_u64().unwrap_or(200) as u16,
        input: shape("input"),
        output: shape("output"),
        wrapper: given["output"]["resultWrapper"].as_str().map(leak),
        fidelity: Fidelity::Real,
        refusal: None,
    }))
}

fn input_case(s: &Suite, case: &Value) -> Result<(), String> {
    let op: &'static Operation = operation(s, &case["given"]);
    let sent = &case["serialized"];
    let uri = sent["uri"].as_str().unwrap_or("/");
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let query: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    let mut headers = http::HeaderMap::new();
    for (k, v) in sent["headers"].as_object().into_iter().flatten() {
        let name: http::HeaderName = k.parse().map_err(|e| format!("{e}"))?;
        headers.insert(
            name,
            v.as_str()
                .unwrap_or("")
                .parse()
                .map_err(|e| format!("{e}"))?,
        );
    }
    let mut body = sent["body"].as_str().unwrap_or("").as_bytes().to_vec();
    if s.protocol == Protocol::RpcV2Cbor {
        body = compare::base64(&String::from_utf8_lossy(&body));
    }
    let model = Box::leak(Box::new(ServiceModel {
        operations: std::slice::from_ref(op),
        ..model_copy(s.model)
    }));
    let labels = if s.protocol.is_rest() {
        let router = wire::route::Router::new(model);
        let found = router.find(op.method, path, &query, &|h| headers.contains_key(h));
        found
            .ok_or_else(|| format!("{} {uri} is not routed to {}", op.method, op.uri))?
            .1
    } else {
        Vec::new()
    };
    let request = Request {
        labels: &labels,
        query: if s.protocol.is_rest() { &query } else { &[] },
        headers: &headers,
        body: &body,
        stream: None,
    };
    let read = s
        .protocol
        .read(request, |r| dynamic::read(r, op.input))
        .map_err(|e| format!("cannot be read: {e}"))?;
    let wanted = dynamic::normal(&case["params"], op.input);
    let (mut read, wanted) = (compare::pruned(&read), compare::pruned(&wanted));
    // A map of query parameters holds the bound ones too; clients do not send what they did not set.
    for m in op
        .input
        .members
        .iter()
        .filter(|m| m.location == wire::Location::Query && m.target.kind == wire::Kind::Map)
    {
        let Some(map) = read.get_mut(m.name).and_then(Value::as_object_mut) else {
            continue;
        };
        map.retain(|k, _| wanted[m.name].get(k).is_some());
        if map.is_empty() {
            read.as_object_mut().map(|o| o.remove(m.name));
        }
    }
    if compare::json(&read, &wanted) {
        Ok(())
    } else {
        Err(format!("read {read}, wanted {wanted}"))
    }
}

fn model_copy(m: &ServiceModel) -> ServiceModel {
    ServiceModel {
        ..ServiceModel {
            operations: &[],
            absent: &[],
            ..*m
        }
    }
}

fn output_case(s: &Suite, case: &Value) -> Result<(), String> {
    let op = operation(s, &case["given"]);
    let wanted = &case["response"];
    let answer = if let Some(error) = case.get("error") {
        s.protocol
            .write_fault(s.model, &fault(s, case, error), "foo-id")
    } else {
        let mut output = dynamic::Output {
            schema: op.output,
            value: dynamic::normal(&case["result"], op.output),
        };
        s.protocol.write(s.model, op, &mut output, "foo-id")
    };
    let status = wanted["status_code"].as_u64().unwrap_or(200) as u16;
    if answer.status != status {
        return Err(format!("status {} instead of {status}", answer.status));
    }
    for (k, v) in wanted["headers"].as_object().into_iter().flatten() {
        let ours: Vec<_> = answer
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(k))
            .map(|(_, v)| v.as_str())
            .collect();
        let v = v.as_str().unwrap_or("");
        let nothing_typed = k.eq_ignore_ascii_case("content-type") && answer.body.is_empty();
        if !nothing_typed && !compare::header(k, &ours.join(", "), v) {
            return Err(format!("header {k} is {ours:?}, wanted {v:?}"));
        }
    }
    let body = match answer.body {
        wire::Body::Bytes(b) => b,
        _ => wire::Bytes::new(),
    };
    if let Some(code) = case["errorCode"].as_str() {
        let text = String::from_utf8_lossy(&body);
        let header = answer.headers.iter().find(|(k, _)| k == "x-amzn-ErrorType");
        let named = header.is_some_and(|(_, v)| v == code) || text.contains(code);
        if !named && !s.model.query_compatible {
            return Err(format!("the code {code} is not in the answer"));
        }
    }
    compare::body(s.protocol, &body, wanted["body"].as_str().unwrap_or(""))
}

fn fault(s: &Suite, case: &Value, error: &Value) -> Fault {
    let shape = case["given"]["errors"][0]["shape"].as_str().unwrap_or("");
    let schema = s.shapes.get(shape, &Value::Null);
    let status = case["response"]["status_code"].as_u64().unwrap_or(400) as u16;
    let code = case["errorCode"].as_str().unwrap_or(shape).to_owned();
    let message = case["errorMessage"]
        .as_str()
        .or(error["Message"].as_str())
        .or(error["message"].as_str())
        .unwrap_or("");
    let mut fault = Fault::sender(status, code.clone(), message.to_owned());
    if let Some(m) = schema
        .members
        .iter()
        .find(|m| m.name.eq_ignore_ascii_case("message"))
    {
        fault = fault.message_key(m.wire);
    }
    if code != shape && s.model.query_compatible {
        fault = fault.shape(leak(shape));
    }
    fault.detail(dynamic::Output {
        schema,
        value: dynamic::normal(error, schema),
    })
}

fn ignored() -> BTreeMap<String, String> {
    let text = include_str!("protocols.ignore");
    let lines = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .filter_map(|l| l.split_once(' '))
        .map(|(id, why)| (id.to_owned(), why.trim().to_owned()))
        .collect()
}

#[test]
fn the_mirrored_cases_of_botocore_hold() {
    let Some(folder) = std::env::var_os("CUMULO_PROTOCOL_CASES").map(PathBuf::from) else {
        assert!(
            std::env::var_os("CI").is_none(),
            "CUMULO_PROTOCOL_CASES is not set; run `make test`"
        );
        eprintln!("skipped: CUMULO_PROTOCOL_CASES is not set; `make test` sets it");
        return;
    };
    let mut ignored = ignored();
    let (mut held, mut broken, mut seen) = (0, Vec::new(), 0);
    for (side, run) in [
        (
            "input",
            input_case as fn(&Suite, &Value) -> Result<(), String>,
        ),
        ("output", output_case),
    ] {
        let mut files: Vec<_> = std::fs::read_dir(folder.join(side))
            .expect("the cases")
            .flatten()
            .map(|f| f.path())
            .collect();
        files.sort();
        for file in files {
            let suites: Value =
                serde_json::from_slice(&std::fs::read(&file).expect("readable")).expect("JSON");
            let stem = file
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            for value in suites.as_array().into_iter().flatten() {
                let suite = suite(value);
                for case in value["cases"].as_array().into_iter().flatten() {
                    seen += 1;
                    let id = format!("{side}/{stem}/{}", case["id"].as_str().unwrap_or("?"));
                    match (run(&suite, case), ignored.remove(&id)) {
                        (Ok(()), None) => held += 1,
                        (Ok(()), Some(_)) => {
                            broken.push(format!("{id} holds: take it off the ignore list"))
                        }
                        (Err(_), Some(_)) => {}
                        (Err(why), None) => broken.push(format!("{id}: {why}")),
                    }
                }
            }
        }
    }
    broken.extend(
        ignored
            .keys()
            .map(|id| format!("{id} is on the ignore list and does not exist")),
    );
    println!("{held} of {seen} cases hold");
    assert!(seen > 700, "only {seen} cases found");
    assert!(
        broken.is_empty(),
        "{} broken:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

/// `Encode` must stay usable as a trait object.
const _: fn(&dyn Encode) = |_| {};
