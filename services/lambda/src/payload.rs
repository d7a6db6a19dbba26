//! Payload format 2.0: a request as the event that a function gets, and its result as an answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use cloud::{Context, PrincipalKind};
use http::request::Parts;
use serde_json::{Map, Value, json};
use wire::Body;
use wire::protocol::Response;

/// The host that a request asked for.
pub fn host(parts: &Parts) -> Option<&str> {
    parts
        .headers
        .get("host")
        .and_then(|h| h.to_str().ok())
        .or_else(|| parts.uri.authority().map(|a| a.as_str()))
}

fn is_text(content_type: &str) -> bool {
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    kind.starts_with("text/")
        || [
            "application/json",
            "application/javascript",
            "application/xml",
            "application/graphql",
        ]
        .contains(&kind.as_str())
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

/// The event in payload format 2.0.
pub fn event(ctx: &Context, id: &str, parts: &Parts, body: &Bytes, trace: &str) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        // What concerns the connection is not the function's.
        if name == http::header::CONNECTION {
            continue;
        }
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == "cookie" {
            cookies.extend(value.split(';').map(|c| json!(c.trim())));
        }
        match headers.get_mut(name.as_str()) {
            Some(Value::String(all)) => {
                all.push(',');
                all.push_str(&value);
            }
            _ => {
                headers.insert(name.as_str().to_owned(), json!(value));
            }
        }
    }
    let port = if ctx.secure { "443" } else { "80" };
    let port = host(parts)
        .and_then(|h| h.rsplit_once(':'))
        .map_or(port, |(_, port)| port);
    let own = [
        (
            "x-forwarded-proto",
            if ctx.secure { "https" } else { "http" },
        ),
        ("x-forwarded-port", port),
        ("x-amzn-trace-id", trace),
        ("x-forwarded-for", &ctx.source_ip.to_string()),
    ];
    for (name, value) in own {
        headers.insert(name.to_owned(), json!(value));
    }
    let query = parts.uri.query().unwrap_or("");
    let mut parameters: Map<String, Value> = Map::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match parameters.get_mut(&*key) {
            Some(Value::String(all)) => {
                all.push(',');
                all.push_str(&value);
            }
            _ => {
                parameters.insert(key.into_owned(), json!(value));
            }
        }
    }
    let time = ctx.time.date_time();
    let format = time::macros::format_description!(
        "[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000"
    );
    let path = percent_encoding::percent_decode_str(parts.uri.path())
        .decode_utf8_lossy()
        .into_owned();
    // A URL's own slash and that of a path which is put behind it are one.
    let path = format!("/{}", path.trim_start_matches('/'));
    let domain = host(parts)
        .unwrap_or_default()
        .split(':')
        .next()
        .unwrap_or_default();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": if ctx.principal.kind == PrincipalKind::Anonymous { "anonymous" } else { &ctx.account },
            "apiId": id,
            "domainName": domain,
            "domainPrefix": id,
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": ctx.source_ip.to_string(),
                "userAgent": ctx.user_agent,
            },
            "requestId": ctx.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": time.format(format).unwrap_or_default(),
            "timeEpoch": ctx.time.0,
        },
        "isBase64Encoded": false,
    });
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    if !parameters.is_empty() {
        event["queryStringParameters"] = parameters.into();
    }
    if !body.is_empty() {
        let content_type = parts
            .headers
            .get("content-type")
            .and_then(|v| v.to_str().ok())
            .unwrap_or("");
        match std::str::from_utf8(body) {
            Ok(text) if is_text(content_type) => event["body"] = json!(text),
            _ => {
                event["body"] = json!(STANDARD.encode(body));
                event["isBase64Encoded"] = json!(true);
            }
        }
    }
    event
}

/// What a caller sees of a function that failed.
pub fn bad_gateway() -> Response {
    Response::new(502, "application/json", "Internal Server Error".to_owned())
}

/// The answer that a function's result means.
pub fn from_payload(payload: &Bytes) -> Response {
    let value: Value = match serde_json::from_slice(payload) {
        Ok(value) => value,
        Err(_) => return bad_gateway(),
    };
    let Some(status) = value.get("statusCode") else {
        // Anything else is the body itself, without the spaces that some runtimes put into their JSON.
        let body = match value {
            Value::String(text) => Bytes::from(text),
            _ => compact(payload),
        };
        return Response::new(200, "application/json", body);
    };
    let status = status.as_u64().or_else(|| status.as_str()?.parse().ok());
    let Some(status) = status
        .and_then(|s| u16::try_from(s).ok())
        .filter(|s| (100..600).contains(s))
    else {
        return bad_gateway();
    };
    let mut response = head(status, &value);
    let body = match value.get("body") {
        Some(Value::String(text)) if value.get("isBase64Encoded") == Some(&Value::Bool(true)) => {
            match STANDARD.decode(text) {
                Ok(bytes) => Bytes::from(bytes),
                Err(_) => return bad_gateway(),
            }
        }
        Some(Value::String(text)) => Bytes::from(text.clone()),
        Some(Value::Null) | None => Bytes::new(),
        Some(other) => Bytes::from(other.to_string()),
    };
    response.body = body.into();
    response
}

/// JSON without the space between its parts; everything else stays as it was written, numbers too.
fn compact(json: &[u8]) -> Bytes {
    let (mut is_text, mut is_escaped) = (false, false);
    let kept = json.iter().copied().filter(|&byte| {
        let is_space = !is_text && byte.is_ascii_whitespace();
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            _ => {}
        }
        !is_space
    });
    kept.collect::<Vec<u8>>().into()
}

/// Status, headers and cookies as a function gives them.
fn head(status: u16, value: &Value) -> Response {
    let mut response = Response {
        status,
        headers: Vec::new(),
        body: Body::Empty,
    };
    for (name, value) in value
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let is_valid = http::HeaderName::try_from(name.as_str()).is_ok()
            && http::HeaderValue::try_from(text.as_str()).is_ok();
        let is_framing = ["content-length", "transfer-encoding", "connection"]
            .iter()
            .any(|n| name.eq_ignore_ascii_case(n));
        if is_valid && !is_framing {
            response.headers.push((name.clone().into(), text));
        }
    }
    if !response
        .headers
        .iter()
        .any(|(k, _)| k.eq_ignore_ascii_case("content-type"))
    {
        response
            .headers
            .push(("Content-Type".into(), "application/json".into()));
    }
    for cookie in value
        .get("cookies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if http::HeaderValue::try_from(cookie).is_ok() {
            response
                .headers
                .push(("Set-Cookie".into(), cookie.to_owned()));
        }
    }
    response
}

/// Takes the prelude, a JSON object and eight zero bytes, off the front.
pub fn split_prelude(gathered: &mut BytesMut) -> Option<Response> {
    let at = gathered.windows(8).position(|w| w == [0; 8])?;
    let prelude = gathered.split_to(at);
    let _ = gathered.split_to(8);
    let value: Value = serde_json::from_slice(&prelude).ok()?;
    let status = value
        .get("statusCode")
        .and_then(Value::as_u64)
        .unwrap_or(200);
    Some(head(
        u16::try_from(status)
            .ok()
            .filter(|s| (100..600).contains(s))?,
        &value,
    ))
}
