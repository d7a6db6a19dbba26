//! What is no API operation: function URLs, and downloads of code.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use cloud::{Before, Context, Front, PrincipalKind};
use futures_util::future::BoxFuture;
use http::request::Parts;
use serde_json::{Map, Value, json};
use store::Read;
use wire::protocol::Response;
use wire::{Body, Fault};

use crate::environment::Event;
use crate::invocation::SYNC_LIMIT;
use crate::name::{LATEST, Name};
use crate::state::State;
use crate::stream::{self, Piece, Streamed};
use crate::url::{Cors, Owner, Url};
use crate::{code, policy};

/// Paths under which code can be fetched.
const CODE: &str = "/_aws/lambda/";
/// The content type by which a streaming function says that status and headers come first.
const WITH_PRELUDE: &str = "application/vnd.awslambda.http-integration-response";
/// Bytes within which they must end.
const LONGEST_PRELUDE: usize = 64 * 1024;

/// The service's HTTP beside its operations.
pub struct Urls(pub Arc<State>);

fn host(parts: &Parts) -> Option<&str> {
    parts
        .headers
        .get("host")
        .and_then(|h| h.to_str().ok())
        .or_else(|| parts.uri.authority().map(|a| a.as_str()))
}

/// The id in a function URL's host name: `<id>.lambda-url.<region>.…`.
fn url_id(parts: &Parts) -> Option<&str> {
    let (id, rest) = host(parts)?.split_once('.')?;
    rest.starts_with("lambda-url.").then_some(id)
}

impl Front for Urls {
    fn claims(&self, request: &Parts) -> bool {
        url_id(request).is_some() || request.uri.path().starts_with(CODE)
    }

    fn before<'a>(
        &'a self,
        ctx: &'a Context,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Before> {
        Box::pin(async move {
            if request.uri().path().starts_with(CODE) {
                return Before::Answer(
                    self.download(request.uri())
                        .await
                        .unwrap_or_else(|e| refuse(e.status, &e.message)),
                );
            }
            let (parts, body) = request.into_parts();
            match url_id(&parts) {
                Some(id) => {
                    let id = id.to_ascii_lowercase();
                    Before::Answer(
                        self.serve(ctx, &id, &parts, body)
                            .await
                            .unwrap_or_else(|e| failed(&e)),
                    )
                }
                None => Before::Pass(http::Request::from_parts(parts, body)),
            }
        })
    }
}

fn refuse(status: u16, message: &str) -> Response {
    Response::new(
        status,
        "application/json",
        json!({ "Message": message }).to_string(),
    )
}

fn failed(fault: &Fault) -> Response {
    match fault.status {
        429 => refuse(429, &fault.message),
        status @ (403 | 404 | 413) => refuse(status, &fault.message),
        _ => {
            tracing::warn!(%fault, cause = fault.cause, "a function URL's request failed");
            Response::new(502, "application/json", "Internal Server Error".to_owned())
        }
    }
}

impl Urls {
    /// Answers `/_aws/lambda/code/account/region/function/version?sha256=…`, and the same for layers.
    async fn download(&self, uri: &http::Uri) -> Result<Response, Fault> {
        let none = || Fault::sender(404, "NotFound", "Not Found");
        let state = &self.0;
        let parts: Vec<&str> = uri.path().trim_start_matches(CODE).split('/').collect();
        let asked = form_urlencoded::parse(uri.query().unwrap_or("").as_bytes())
            .find(|(k, _)| k == "sha256")
            .map(|(_, v)| v.into_owned());
        let code = match parts.as_slice() {
            ["code", account, region, function, version] => {
                let version = if *version == "LATEST" {
                    LATEST
                } else {
                    version
                };
                let name = Name {
                    account: (*account).into(),
                    region: (*region).into(),
                    function: (*function).into(),
                    qualifier: Some(version.into()),
                };
                state
                    .resolve(&state.cloud.store.read(), &name)?
                    .configuration
                    .code
            }
            ["layer", account, region, name, version] => {
                let version: i64 = version.parse().map_err(|_| none())?;
                let key = (*account, *region, *name, version);
                state
                    .cloud
                    .store
                    .read()
                    .get(&state.layers, &key)?
                    .ok_or_else(none)?
                    .code
            }
            _ => return Err(none()),
        };
        match code.blob {
            Some(blob) if asked.as_ref() == Some(&code.sha256) => {
                let _ = blob;
                Ok(Response::new(
                    200,
                    "application/zip",
                    code::read(state, &code).await?,
                ))
            }
            _ => Err(none()),
        }
    }

    async fn serve(
        &self,
        ctx: &Context,
        id: &str,
        parts: &Parts,
        body: Body,
    ) -> Result<Response, Fault> {
        let state = &self.0;
        let none = || Fault::sender(404, "NotFound", "Not Found");
        let read = state.cloud.store.read();
        let Owner {
            account,
            region,
            function,
            qualifier,
        } = read.get(&state.url_owners, &id)?.ok_or_else(none)?;
        let qualifier = (qualifier != LATEST).then_some(qualifier);
        let name = Name {
            account,
            region,
            function,
            qualifier,
        };
        let url = read.get(&state.urls, &name.qualified())?.ok_or_else(none)?;
        let origin = parts.headers.get("origin").and_then(|o| o.to_str().ok());
        if let (Some(cors), Some(origin)) = (&url.cors, origin)
            && parts.method == http::Method::OPTIONS
            && parts.headers.contains_key("access-control-request-method")
        {
            let mut response = Response::new(200, "application/json", Body::Empty);
            allow(cors, origin, true, &mut response);
            return Ok(response);
        }
        self.admit(ctx, &name, &url)?;
        let body = body
            .collect(SYNC_LIMIT as u64)
            .await
            .map_err(|_| Fault::sender(413, "RequestTooLarge", "Request Too Long"))?;
        let event = Event {
            id: ctx.request_id.clone(),
            arn: name.full_arn(),
            payload: event(ctx, id, parts, &body).to_string().into(),
            client_context: None,
            trace: None,
        };
        let (streamed, _) = stream::begin(state, name, event, false)?;
        let mut response = if url.mode == "RESPONSE_STREAM" {
            streaming(streamed).await?
        } else {
            buffered(streamed).await?
        };
        if let (Some(cors), Some(origin)) = (&url.cors, origin) {
            response
                .headers
                .retain(|(k, _)| !k.to_ascii_lowercase().starts_with("access-control-"));
            allow(cors, origin, false, &mut response);
        }
        Ok(response)
    }

    /// Whether the caller may use the URL.
    fn admit(&self, ctx: &Context, name: &Name, url: &Url) -> Result<(), Fault> {
        let forbidden = || Err(Fault::sender(403, "AccessDeniedException", "Forbidden"));
        let is_anonymous = ctx.principal.kind == PrincipalKind::Anonymous;
        if url.auth == "AWS_IAM" {
            if is_anonymous {
                return forbidden();
            }
            if ctx.account == name.account {
                return Ok(());
            }
        }
        let state = &self.0;
        let Some(found) = state
            .cloud
            .store
            .read()
            .get(&state.policies, &name.qualified())?
        else {
            return forbidden();
        };
        let mut context = auth::pattern::Context::new();
        context
            .set("lambda:FunctionUrlAuthType", &*url.auth)
            .set("lambda:InvokedViaFunctionUrl", "true");
        let caller = if url.auth == "NONE" {
            auth::principal::Caller::Anonymous
        } else {
            auth::principal::Caller::Root {
                account: ctx.account.clone(),
            }
        };
        if policy::allows(
            &found.document(),
            &caller,
            "lambda:InvokeFunctionUrl",
            name,
            &context,
        ) {
            Ok(())
        } else {
            forbidden()
        }
    }
}

/// The headers by which a browser lets a page of another origin have the answer.
fn allow(cors: &Cors, origin: &str, is_preflight: bool, response: &mut Response) {
    let origins = cors.origins.as_deref().unwrap_or_default();
    let any = origins.iter().any(|o| o == "*");
    if !any && !origins.iter().any(|o| o == origin) {
        return;
    }
    let credentials = cors.credentials == Some(true);
    let mut set = |name: &str, value: String| response.headers.push((name.into(), value));
    set(
        "Access-Control-Allow-Origin",
        if any && !credentials {
            "*".into()
        } else {
            origin.into()
        },
    );
    if !any || credentials {
        set("Vary", "Origin".into());
    }
    if credentials {
        set("Access-Control-Allow-Credentials", "true".into());
    }
    if let Some(expose) = &cors.expose {
        set("Access-Control-Expose-Headers", expose.join(","));
    }
    if is_preflight {
        if let Some(headers) = &cors.headers {
            set("Access-Control-Allow-Headers", headers.join(","));
        }
        if let Some(methods) = &cors.methods {
            set("Access-Control-Allow-Methods", methods.join(","));
        }
        if let Some(seconds) = cors.max_age {
            set("Access-Control-Max-Age", seconds.to_string());
        }
    }
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
fn event(ctx: &Context, id: &str, parts: &Parts, body: &Bytes) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
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

fn bad_gateway() -> Response {
    Response::new(502, "application/json", "Internal Server Error".to_owned())
}

/// The whole answer, read as payload format 2.0 has it.
async fn buffered(streamed: Streamed) -> Result<Response, Fault> {
    let Streamed { mut pieces, end } = streamed;
    let mut gathered = BytesMut::new();
    let mut has_prelude = false;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Start(content_type) => {
                has_prelude = content_type.as_deref() == Some(WITH_PRELUDE)
            }
            Piece::Chunk(bytes) if gathered.len() <= SYNC_LIMIT => {
                gathered.extend_from_slice(&bytes)
            }
            Piece::Chunk(_) => {}
        }
    }
    let answer = end.await??;
    if answer.has_failed || gathered.len() > SYNC_LIMIT {
        return Ok(bad_gateway());
    }
    if has_prelude {
        return Ok(match split_prelude(&mut gathered) {
            Some(mut response) => {
                response.body = gathered.freeze().into();
                response
            }
            None => bad_gateway(),
        });
    }
    if !gathered.is_empty() {
        return Ok(Response::new(
            200,
            "application/octet-stream",
            gathered.freeze(),
        ));
    }
    Ok(from_payload(&answer.payload))
}

fn from_payload(payload: &Bytes) -> Response {
    let value: Value = match serde_json::from_slice(payload) {
        Ok(value) => value,
        Err(_) => return bad_gateway(),
    };
    let Some(status) = value.get("statusCode") else {
        // Anything else is the body itself.
        let body = match value {
            Value::String(text) => Bytes::from(text),
            _ => payload.clone(),
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
            response.headers.push((name.clone(), text));
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
fn split_prelude(gathered: &mut BytesMut) -> Option<Response> {
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

/// The answer as it comes.
async fn streaming(streamed: Streamed) -> Result<Response, Fault> {
    let Streamed { mut pieces, end } = streamed;
    let mut gathered = BytesMut::new();
    let mut response = None;
    let mut has_prelude = false;
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Start(content_type) => {
                has_prelude = content_type.as_deref() == Some(WITH_PRELUDE);
                if !has_prelude {
                    let kind = content_type.unwrap_or_else(|| "application/octet-stream".into());
                    response = Some(Response::new(200, &kind, Body::Empty));
                }
            }
            Piece::Chunk(bytes) => gathered.extend_from_slice(&bytes),
        }
        if has_prelude && response.is_none() {
            response = split_prelude(&mut gathered);
            if response.is_none() && gathered.len() > LONGEST_PRELUDE {
                return Ok(bad_gateway());
            }
        }
        if response.is_some() {
            break;
        }
    }
    let Some(mut response) = response else {
        // It did not stream: what it returned is the body.
        let answer = end.await??;
        return Ok(if answer.has_failed {
            bad_gateway()
        } else {
            Response::new(200, "application/json", answer.payload)
        });
    };
    let first = gathered.freeze();
    let rest = futures_util::stream::unfold(
        (Some(first), pieces, Some(end)),
        |(first, mut pieces, mut end)| async move {
            if let Some(first) = first.filter(|f| !f.is_empty()) {
                return Some((Ok(first), (None, pieces, end)));
            }
            loop {
                match pieces.recv().await {
                    Some(Piece::Chunk(bytes)) => return Some((Ok(bytes), (None, pieces, end))),
                    Some(Piece::Start(_)) => {}
                    None => {
                        let outcome = end.take()?.await;
                        let is_whole =
                            outcome.is_ok_and(|o| o.is_ok_and(|answer| !answer.has_failed));
                        let cut = || wire::BodyError::Incomplete("the function failed".into());
                        return (!is_whole).then(|| (Err(cut()), (None, pieces, end)));
                    }
                }
            }
        },
    );
    response.body = Body::stream(Box::pin(rest), None);
    Ok(response)
}
