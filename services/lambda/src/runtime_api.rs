//! The Runtime API over HTTP, for bootstraps that functions bring themselves, and the Extensions API, for all environments.
//!
//! Each environment has a server of its own. It listens on a random loopback address, so that functions, which share the host's network, do
//! not come upon each other's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use cloud::Clock;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::channel::{Channel, Invoke, Said};
use crate::extension::{Extensions, Refusal};
use crate::invocation::SYNC_LIMIT;
use crate::telemetry::{Denial, Telemetry};

/// A running server; dropping it ends it.
pub struct RuntimeApi {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who asks.
pub struct Tenant {
    pub account: String,
    pub function: String,
    pub version: String,
    pub handler: String,
    pub extensions: Arc<Extensions>,
    pub telemetry: Arc<Telemetry>,
}

/// What a connection needs.
struct Bridge {
    tenant: Tenant,
    /// To the environment, where its bootstrap speaks HTTP.
    channel: Option<Mutex<Channel>>,
    is_ready: std::sync::atomic::AtomicBool,
    clock: Clock,
}

impl RuntimeApi {
    /// Begins to serve an environment. The stream leads to it where its bootstrap is to speak HTTP.
    pub async fn start(
        tenant: Tenant,
        stream: Option<UnixStream>,
        clock: Clock,
    ) -> std::io::Result<RuntimeApi> {
        let mut random = [0; 3];
        cloud::ids::random(&mut random);
        let [a, b, c] = random;
        let listener =
            match TcpListener::bind(SocketAddr::from(([127, a, b, c.clamp(2, 254)], 0))).await {
                Ok(listener) => listener,
                Err(_) => TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?,
            };
        let address = listener.local_addr()?;
        let bridge = Arc::new(Bridge {
            tenant,
            channel: stream.map(|stream| Mutex::new(Channel::new(stream))),
            is_ready: false.into(),
            clock,
        });
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let bridge = bridge.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(bridge.clone(), request));
                    // A connection that breaks is the function's affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(RuntimeApi { address, task })
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

fn plain(status: StatusCode, body: serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("application/json"),
    );
    response
}

async fn answer(
    bridge: Arc<Bridge>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    Ok(match (parts.as_slice(), &bridge.channel) {
        (["2020-01-01", "extension", rest @ ..], _) => extension(&bridge, request, rest).await,
        (["2022-07-01", "telemetry"], _) => telemetry(&bridge.tenant, request).await,
        (["2020-08-15", "logs"], _) => unsupported("Logs"),
        (["2018-06-01", "runtime", rest @ ..], Some(channel)) => {
            runtime(&bridge, channel, request, rest).await
        }
        _ => no_path(&path),
    })
}

fn no_path(path: &str) -> Response<Full<Bytes>> {
    plain(
        StatusCode::NOT_FOUND,
        json!({ "errorType": "InvalidPath", "errorMessage": path }),
    )
}

/// As AWS's own emulator of the Runtime API answers for what it does not have: extensions go on without it.
fn unsupported(what: &str) -> Response<Full<Bytes>> {
    plain(
        StatusCode::ACCEPTED,
        json!({ "errorType": format!("{what}.NotSupported"), "errorMessage": format!("{what} API is not supported") }),
    )
}

async fn runtime(
    bridge: &Bridge,
    channel: &Mutex<Channel>,
    request: Request<Incoming>,
    path: &[&str],
) -> Response<Full<Bytes>> {
    match (request.method(), path) {
        (&Method::GET, ["invocation", "next"]) => next(bridge, channel).await,
        (&Method::POST, ["invocation", _, "response"]) => {
            let streams = request
                .headers()
                .get("lambda-runtime-function-response-mode")
                .is_some_and(|v| v == "streaming");
            if streams {
                stream(channel, request).await
            } else {
                whole(channel, request, Said::Done).await
            }
        }
        (&Method::POST, ["invocation", _, "error"]) => {
            whole(channel, request, Said::Error { last: false }).await
        }
        (&Method::POST, ["init", "error"]) => whole(channel, request, Said::InitError).await,
        _ => no_path(request.uri().path()),
    }
}

const EXTENSION_NAME: &str = "lambda-extension-name";
const EXTENSION_ID: &str = "lambda-extension-identifier";
const EXTENSION_FEATURES: &str = "lambda-extension-accept-feature";
const EXTENSION_ERROR: &str = "lambda-extension-function-error-type";
/// Bytes of what an extension says.
const EXTENSION_LIMIT: usize = 256 << 10;

/// Answers an extension.
async fn extension(
    bridge: &Bridge,
    request: Request<Incoming>,
    path: &[&str],
) -> Response<Full<Bytes>> {
    let answer = match (request.method(), path) {
        (&Method::POST, ["register"]) => register(&bridge.tenant, request).await,
        (&Method::GET, ["event", "next"]) => next_event(&bridge.tenant, &request).await,
        (&Method::POST, ["init", "error"]) => {
            give_up(&bridge.tenant, &request, "Extension.InitError")
        }
        (&Method::POST, ["exit", "error"]) => {
            give_up(&bridge.tenant, &request, "Extension.ExitError")
        }
        _ => return no_path(request.uri().path()),
    };
    answer.unwrap_or_else(forbidden)
}

fn forbidden(refusal: Refusal) -> Response<Full<Bytes>> {
    let Refusal { kind, text } = refusal;
    plain(
        StatusCode::FORBIDDEN,
        json!({ "errorType": kind, "errorMessage": text }),
    )
}

/// Subscribes an extension to telemetry.
async fn telemetry(tenant: &Tenant, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::PUT {
        return no_path(request.uri().path());
    }
    let name = identifier(&request).and_then(|id| tenant.extensions.name_of(id));
    let name = match name {
        Ok(name) => name,
        Err(refusal) => return forbidden(refusal),
    };
    let body = Limited::new(request.into_body(), EXTENSION_LIMIT);
    let outcome = match body.collect().await {
        Ok(body) => tenant.telemetry.subscribe(&name, &body.to_bytes()),
        Err(error) => Err(Denial::Invalid(error.to_string())),
    };
    match outcome {
        Ok(()) => plain(StatusCode::OK, json!("OK")),
        Err(Denial::Closed(refusal)) => forbidden(refusal),
        Err(Denial::Invalid(text)) => plain(
            StatusCode::BAD_REQUEST,
            json!({ "errorType": "ValidationError", "errorMessage": text }),
        ),
    }
}

type Answer = Result<Response<Full<Bytes>>, Refusal>;

fn header<'r>(request: &'r Request<Incoming>, name: &str) -> Option<&'r str> {
    let value = request.headers().get(name)?.to_str().ok()?;
    (!value.is_empty()).then_some(value)
}

fn identifier(request: &Request<Incoming>) -> Result<&str, Refusal> {
    header(request, EXTENSION_ID).ok_or_else(|| Refusal {
        kind: "Extension.MissingExtensionIdentifier",
        text: "Missing Lambda-Extension-Identifier header".into(),
    })
}

fn with_id(mut response: Response<Full<Bytes>>, id: &str) -> Response<Full<Bytes>> {
    if let Ok(id) = http::HeaderValue::from_str(id) {
        response.headers_mut().insert(EXTENSION_ID, id);
    }
    response
}

async fn register(tenant: &Tenant, request: Request<Incoming>) -> Answer {
    #[derive(serde::Deserialize)]
    struct Asked {
        #[serde(default)]
        events: Vec<String>,
    }
    let name = header(&request, EXTENSION_NAME).map(str::to_owned);
    let name = name.ok_or_else(|| Refusal {
        kind: "Extension.InvalidExtensionName",
        text: "Empty extension name".into(),
    })?;
    let wants_account = header(&request, EXTENSION_FEATURES)
        .is_some_and(|all| all.split(',').any(|f| f.trim() == "accountId"));
    let malformed = |text: String| Refusal {
        kind: "InvalidRequestFormat",
        text,
    };
    let body = Limited::new(request.into_body(), EXTENSION_LIMIT);
    let body = body.collect().await.map_err(|e| malformed(e.to_string()))?;
    let asked: Asked =
        serde_json::from_slice(&body.to_bytes()).map_err(|e| malformed(e.to_string()))?;
    let id = tenant.extensions.register(&name, asked.events)?;
    let mut shown = json!({
        "functionName": tenant.function,
        "functionVersion": tenant.version,
        "handler": tenant.handler,
    });
    if wants_account {
        shown["accountId"] = json!(tenant.account);
    }
    Ok(with_id(plain(StatusCode::OK, shown), &id))
}

async fn next_event(tenant: &Tenant, request: &Request<Incoming>) -> Answer {
    let id = identifier(request)?;
    let event = tenant.extensions.next(id).await?;
    Ok(with_id(plain(StatusCode::OK, event), id))
}

fn give_up(tenant: &Tenant, request: &Request<Incoming>, kind: &'static str) -> Answer {
    let id = identifier(request)?;
    let why = header(request, EXTENSION_ERROR).ok_or_else(|| Refusal {
        kind: "Extension.MissingHeader",
        text: "Lambda-Extension-Function-Error-Type not found".into(),
    })?;
    tenant.extensions.give_up(id, kind, why)?;
    Ok(accepted())
}

async fn next(bridge: &Bridge, channel: &Mutex<Channel>) -> Response<Full<Bytes>> {
    let mut channel = channel.lock().await;
    if !bridge
        .is_ready
        .swap(true, std::sync::atomic::Ordering::AcqRel)
        && channel
            .send(&Said::Ready { boto3: false }, b"")
            .await
            .is_err()
    {
        return gone();
    }
    let Some((invoke, payload)) = channel.receive::<Invoke>().await else {
        return gone();
    };
    let deadline = bridge
        .clock
        .system()
        .0
        .saturating_add(i64::try_from(invoke.millis).unwrap_or(0));
    let mut builder = Response::builder()
        .header("Content-Type", "application/json")
        .header("Lambda-Runtime-Aws-Request-Id", &invoke.id)
        .header("Lambda-Runtime-Deadline-Ms", deadline)
        .header("Lambda-Runtime-Invoked-Function-Arn", &invoke.arn);
    if let Some(trace) = &invoke.trace {
        builder = builder.header("Lambda-Runtime-Trace-Id", trace);
    }
    if let Some(client) = &invoke.client_context {
        builder = builder.header("Lambda-Runtime-Client-Context", client.to_string());
    }
    builder.body(Full::new(payload)).unwrap_or_else(|_| gone())
}

fn gone() -> Response<Full<Bytes>> {
    plain(
        StatusCode::GONE,
        json!({ "errorType": "Shutdown", "errorMessage": "the environment ends" }),
    )
}

fn accepted() -> Response<Full<Bytes>> {
    plain(StatusCode::ACCEPTED, json!({ "status": "OK" }))
}

async fn whole(
    channel: &Mutex<Channel>,
    request: Request<Incoming>,
    said: Said,
) -> Response<Full<Bytes>> {
    let body = Limited::new(request.into_body(), SYNC_LIMIT + 1)
        .collect()
        .await;
    let Ok(body) = body.map(http_body_util::Collected::to_bytes) else {
        let text = format!("Exceeded maximum allowed payload size ({SYNC_LIMIT} bytes).");
        let error = json!({ "errorType": "Function.ResponseSizeTooLarge", "errorMessage": format!("Response payload size exceeded maximum allowed payload size ({SYNC_LIMIT} bytes).") });
        let _ = channel
            .lock()
            .await
            .send(&Said::Error { last: false }, error.to_string().as_bytes())
            .await;
        return plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            json!({ "errorType": "RequestEntityTooLarge", "errorMessage": text }),
        );
    };
    match channel.lock().await.send(&said, &body).await {
        Ok(()) => accepted(),
        Err(_) => gone(),
    }
}

async fn stream(channel: &Mutex<Channel>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let content_type = request
        .headers()
        .get("content-type")
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned);
    let mut channel = channel.lock().await;
    if channel
        .send(&Said::Start { content_type }, b"")
        .await
        .is_err()
    {
        return gone();
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let error = json!({ "errorType": "Runtime.TruncatedResponse", "errorMessage": "the response was cut off" });
            let _ = channel.send(&Said::End, error.to_string().as_bytes()).await;
            return gone();
        };
        if let Some(data) = frame.data_ref()
            && channel.send(&Said::Chunk, data).await.is_err()
        {
            return gone();
        }
        if let Some(trailers) = frame.trailers_ref()
            && let Some(kind) = trailers
                .get("lambda-runtime-function-error-type")
                .and_then(|v| v.to_str().ok())
        {
            let error = json!({ "errorType": kind, "errorMessage": "the function failed while it streamed" });
            let _ = channel.send(&Said::End, error.to_string().as_bytes()).await;
            return accepted();
        }
    }
    match channel.send(&Said::End, b"").await {
        Ok(()) => accepted(),
        Err(_) => gone(),
    }
}
