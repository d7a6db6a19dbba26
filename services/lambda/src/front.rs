//! What is no API operation: function URLs, and downloads of code.

use std::sync::Arc;

use bytes::BytesMut;
use cloud::{Before, Context, Front, PrincipalKind};
use futures_util::future::BoxFuture;
use http::request::Parts;
use serde_json::json;
use store::Read;
use wire::protocol::Response;
use wire::{Body, Fault};

use crate::environment::{Event, new_trace};
use crate::invocation::SYNC_LIMIT;
use crate::name::{LATEST, Name};
use crate::payload::{self, bad_gateway, from_payload, host, split_prelude};
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

/// The id in a function URL's host name: `<id>.lambda-url.<region>.…`.
fn url_id(parts: &Parts) -> Option<&str> {
    let host = host(parts)?;
    let dot = host.bytes().position(|b| b == b'.')?;
    let (id, rest) = (&host[..dot], &host[dot + 1..]);
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
                        .unwrap_or_else(|e| refuse(e.status, &*e.message)),
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

fn refuse(status: u16, message: impl Into<serde_json::Value>) -> Response {
    Response::new(
        status,
        "application/json",
        json!({ "Message": message.into() }).to_string(),
    )
}

/// The code of the fault for a URL that does not exist.
const NOBODYS: &str = "NoSuchUrl";
const ERROR_TYPE: &str = "x-amzn-ErrorType";
const FORBIDDEN: &str = "Forbidden. For troubleshooting Function URL authorization issues, see: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html";

fn forbidden(message: impl Into<serde_json::Value>) -> Response {
    let mut response = refuse(403, message);
    let kind = "AccessDeniedException".to_owned();
    response.headers.push((ERROR_TYPE.into(), kind));
    response
}

fn failed(fault: &Fault) -> Response {
    match fault.status {
        403 if fault.is(NOBODYS) => forbidden(serde_json::Value::Null),
        403 => forbidden(&*fault.message),
        status @ (404 | 413 | 429) => refuse(status, &*fault.message),
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
        // As AWS answers for what is nobody's: a message that is null.
        let none = || Fault::sender(403, NOBODYS, "");
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
        let trace = ctx.trace.clone();
        let trace = trace.unwrap_or_else(|| new_trace(state.cloud.clock.system()));
        let payload = payload::event(ctx, id, parts, &body, &trace);
        let event = Event {
            id: ctx.request_id.clone(),
            arn: name.full_arn(),
            payload: payload.to_string().into(),
            client_context: None,
            trace: Some(trace),
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

    /// Whether the caller may use the URL: since October 2025 the function's policy must allow both actions
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html>).
    fn admit(&self, ctx: &Context, name: &Name, url: &Url) -> Result<(), Fault> {
        let forbidden = || Err(Fault::sender(403, "AccessDeniedException", FORBIDDEN));
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
        let document = found.document();
        for action in ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"] {
            if !policy::allows(&document, &caller, action, name, &context) {
                tracing::warn!(
                    function = name.function,
                    action,
                    "a function URL's caller is not let in: the function's policy does not allow the action"
                );
                return forbidden();
            }
        }
        Ok(())
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
    let mut set = |name: &'static str, value: String| response.headers.push((name.into(), value));
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
