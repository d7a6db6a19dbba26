//! Whether two bodies say the same.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minicbor::data::Type;
use serde_json::{Map, Value, json};
use wire::Protocol;

pub fn base64(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap_or_default()
}

/// Equal, with numbers compared by value to the precision of a 32-bit float, and empty members left out.
pub fn json(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let (x, y) = (
                x.as_f64().unwrap_or(f64::NAN),
                y.as_f64().unwrap_or(f64::NAN),
            );
            (x - y).abs() <= x.abs().max(y.abs()) * 1e-6
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| json(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| json(v, w)))
        }
        (Value::String(x), Value::String(y)) if x.contains('T') && y.contains('T') => {
            x == y
                || (wire::Timestamp::parse(x).is_some()
                    && wire::Timestamp::parse(x) == wire::Timestamp::parse(y))
        }
        _ => a == b,
    }
}

/// Parameters without nulls and empty containers, where the format cannot tell them from absence.
pub fn pruned(v: &Value) -> Value {
    let nothing = |v: &Value| v.is_null() || *v == json!([]) || *v == json!({});
    match v {
        Value::Object(o) => {
            let kept = o
                .iter()
                .map(|(k, v)| (k.clone(), pruned(v)))
                .filter(|(_, v)| !nothing(v));
            Value::Object(kept.collect())
        }
        other => other.clone(),
    }
}

/// Equal header values; a content type's parameters and the prefix of an error's type do not matter.
pub fn header(name: &str, ours: &str, wanted: &str) -> bool {
    let bare = |v: &str| v.split(';').next().unwrap_or("").trim().to_lowercase();
    if name.eq_ignore_ascii_case("content-length") {
        return true; // the HTTP server's
    }
    if ["x-amz-target", "x-amzn-requestid"]
        .iter()
        .any(|n| name.eq_ignore_ascii_case(n))
    {
        return true; // a request's, and the gateway's
    }
    if name.eq_ignore_ascii_case("content-type") {
        return bare(ours) == bare(wanted) || wanted.is_empty();
    }
    if name.eq_ignore_ascii_case("x-amzn-errortype") {
        // Only REST JSON answers it; the others say `__type`.
        return ours.is_empty() || error_type(ours) == error_type(wanted);
    }
    let list = |v: &str| {
        v.split(',')
            .map(|i| i.trim().to_owned())
            .collect::<Vec<_>>()
    };
    list(ours) == list(wanted)
}

/// An error's type without namespace and URI.
pub fn error_type(text: &str) -> &str {
    let text = text.split_once('#').map_or(text, |(_, t)| t);
    text.split(':').next().unwrap_or(text)
}

pub fn body(protocol: Protocol, ours: &[u8], wanted: &str) -> Result<(), String> {
    let (a, b) = match protocol {
        Protocol::RpcV2Cbor | Protocol::AwsCbor11 => (cbor(ours)?, cbor(&base64(wanted))?),
        Protocol::AwsQuery | Protocol::Ec2Query | Protocol::RestXml
            if wanted.trim_start().starts_with('<') =>
        {
            (xml(ours)?, xml(wanted.as_bytes())?)
        }
        _ => match serde_json::from_str::<Value>(wanted) {
            Ok(wanted) => (serde_json::from_slice(ours).unwrap_or(Value::Null), wanted),
            Err(_) if wanted.is_empty() => (
                serde_json::from_slice(ours).unwrap_or(Value::Null),
                Value::Null,
            ),
            Err(_) => (
                Value::String(String::from_utf8_lossy(ours).into_owned()),
                Value::String(wanted.to_owned()),
            ),
        },
    };
    let (a, b) = (plain(a), plain(b));
    let (a, b) = match protocol {
        Protocol::AwsQuery | Protocol::Ec2Query | Protocol::RestXml => (a, b),
        _ => (without_nulls(a), without_nulls(b)),
    };
    if protocol == Protocol::AwsQuery && wanted.is_empty() {
        return Ok(()); // AWS answers the request id all the same
    }
    let both_nothing = [&a, &b]
        .iter()
        .all(|v| v.is_null() || **v == json!({}) || **v == json!(""));
    if both_nothing || json(&a, &b) {
        Ok(())
    } else {
        Err(format!("wrote {a}, wanted {b}"))
    }
}

/// Without nulls, which mean absence outside sparse containers (those have cases of their own).
fn without_nulls(v: Value) -> Value {
    match v {
        Value::Object(o) if o.values().filter(|v| !v.is_null()).count() > 0 || o.len() == 1 => {
            Value::Object(
                o.into_iter()
                    .filter(|(_, v)| !v.is_null())
                    .map(|(k, v)| (k, without_nulls(v)))
                    .collect(),
            )
        }
        other => other,
    }
}

/// Without what differs from answer to answer: request ids, and where an error's type stands (checked apart).
fn plain(mut v: Value) -> Value {
    if let Value::Object(root) = &mut v
        && root.len() == 1
        && let Some(Value::Object(members)) = root.values_mut().next()
    {
        for id in ["ResponseMetadata", "requestId", "RequestId", "RequestID"] {
            members.remove(id);
        }
        if let Some(Value::Array(errors)) = members.get_mut("Errors") {
            errors.retain(|e| e != &json!(""));
        }
    }
    if let Value::Object(o) = &mut v {
        o.remove("code");
        if o.get("__type").is_some_and(Value::is_string) {
            o.remove("__type");
        }
    }
    v
}

/// A document as JSON: elements by name, in their order where a name repeats.
fn xml(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let document =
        roxmltree::Document::parse(text.trim_start()).map_err(|e| format!("{e}: {text}"))?;
    let root = document.root_element();
    Ok(json!({ root.tag_name().name(): element(root) }))
}

fn element(node: roxmltree::Node<'_, '_>) -> Value {
    let mut map: Map<String, Value> = Map::new();
    for a in node.attributes() {
        map.insert(format!("@{}", a.name()), json!(a.value()));
    }
    for child in node.children().filter(roxmltree::Node::is_element) {
        let items = map
            .entry(child.tag_name().name())
            .or_insert_with(|| json!([]));
        if let Value::Array(items) = items {
            items.push(element(child));
        }
    }
    if !map.is_empty() {
        // The entries of a map have no order.
        for items in map.values_mut() {
            if let Value::Array(items) = items
                && items
                    .iter()
                    .all(|i| i.as_object().is_some_and(|o| o.len() == 2))
            {
                items.sort_by_key(Value::to_string);
            }
        }
        return Value::Object(map);
    }
    let text: String = node.children().filter_map(|c| c.text()).collect();
    // A number or a time may be written in several ways.
    if text.contains('T')
        && let Some(t) = wire::Timestamp::parse(&text)
    {
        return json!(t.iso8601_millis());
    }
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() => json!(n),
        _ => json!(if text.trim().is_empty() { "" } else { &text }),
    }
}

fn cbor(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    item(&mut minicbor::Decoder::new(bytes)).map_err(|e| e.to_string())
}

fn item(d: &mut minicbor::Decoder<'_>) -> Result<Value, minicbor::decode::Error> {
    let number = |v: f64| {
        if v.is_finite() {
            json!(v)
        } else {
            json!(v.to_string())
        }
    };
    Ok(match d.datatype()? {
        Type::Map | Type::MapIndef => {
            let mut left = d.map()?;
            let mut map = Map::new();
            while more(d, &mut left)? {
                let key = item(d)?.as_str().unwrap_or("").to_owned();
                map.insert(key, item(d)?);
            }
            Value::Object(map)
        }
        Type::Array | Type::ArrayIndef => {
            let mut left = d.array()?;
            let mut items = Vec::new();
            while more(d, &mut left)? {
                items.push(item(d)?);
            }
            Value::Array(items)
        }
        Type::String => json!(d.str()?),
        Type::StringIndef => json!(d.str_iter()?.collect::<Result<String, _>>()?),
        Type::Bytes => json!(STANDARD.encode(d.bytes()?)),
        Type::BytesIndef => {
            json!(STANDARD.encode(d.bytes_iter()?.collect::<Result<Vec<_>, _>>()?.concat()))
        }
        Type::Bool => json!(d.bool()?),
        Type::Null | Type::Undefined => {
            d.skip()?;
            Value::Null
        }
        Type::F16 => number(f64::from(d.f16()?)),
        Type::F32 => number(f64::from(d.f32()?)),
        Type::F64 => number(d.f64()?),
        Type::Tag => {
            d.tag()?;
            item(d)?
        }
        _ => number(i128::from(d.int()?) as f64),
    })
}

fn more(
    d: &mut minicbor::Decoder<'_>,
    left: &mut Option<u64>,
) -> Result<bool, minicbor::decode::Error> {
    match left {
        Some(0) => Ok(false),
        Some(n) => {
            *n -= 1;
            Ok(true)
        }
        None if d.datatype()? == Type::Break => {
            d.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}
