//! What is no API operation by itself: requests to a queue's own URL, and the developer endpoint.

use std::sync::Arc;

use cloud::{Before, Context, Front};
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderValue, Method, Uri};
use wire::protocol::Response;
use wire::{Body, Fault, Protocol};

use crate::api::MODEL;
use crate::fault;
use crate::service::Sqs;
use crate::url::{Name, is_account};

/// Where messages are looked at.
const PEEK: &str = "/_aws/sqs/messages";
/// Actions that concern no queue, which a queue's URL does not take.
const OF_ACCOUNTS: [&str; 2] = ["CreateQueue", "ListQueues"];
const FORM: &str = "application/x-www-form-urlencoded";

/// The service's HTTP beside its operations.
pub struct QueueUrls(pub Arc<Sqs>);

/// Whether a path is that of a queue: `/<account>/<queue>`, `/queue/<region>/<account>/<queue>`.
fn is_queue(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else {
        return false;
    };
    let of_region = path.strip_prefix("queue/").and_then(|p| p.split_once('/'));
    match of_region.map_or(path, |(_, path)| path).split_once('/') {
        Some((account, queue)) => is_account(account) && !queue.is_empty() && !queue.contains('/'),
        None => false,
    }
}

fn parameter(parts: &Parts, name: &str) -> Option<String> {
    form_urlencoded::parse(parts.uri.query()?.as_bytes())
        .find(|(k, _)| k == name)
        .map(|(_, v)| v.into_owned())
}

/// Moves what the URL says into parameters, so that a queue's own URL is an endpoint of the query protocol.
fn as_query(ctx: &Context, mut request: http::Request<Body>) -> http::Request<Body> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let is_get = request.method() == Method::GET;
    if is_get {
        *request.method_mut() = Method::POST;
        request
            .headers_mut()
            .insert("content-type", HeaderValue::from_static(FORM));
    }
    let names_queue = query.split('&').any(|p| p.starts_with("QueueUrl="));
    if is_queue(&path) && !names_queue {
        let url = format!("{}{path}", ctx.endpoint());
        let added = form_urlencoded::Serializer::new(query)
            .append_pair("QueueUrl", &url)
            .finish();
        if let Ok(uri) = format!("/?{added}").parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// The answer to what a queue's own URL is asked and does not know.
fn misplaced(request: &http::Request<Body>) -> Option<Response> {
    let query = request.uri().query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let action = pairs
        .find(|(key, _)| key == "Action")
        .map(|(_, value)| value);
    match action {
        None if request.method() == Method::GET => Some(Response::new(
            404,
            "application/xml",
            "<UnknownOperationException/>\n".to_owned(),
        )),
        Some(action)
            if is_queue(request.uri().path()) && OF_ACCOUNTS.contains(&action.as_ref()) =>
        {
            let text = format!("The action {action} is not valid for this endpoint.");
            let fault = Fault::sender(400, "InvalidAction", text);
            Some(Protocol::AwsQuery.write_fault(&MODEL, &fault, &cloud::ids::uuid()))
        }
        _ => None,
    }
}

impl QueueUrls {
    fn peek(&self, ctx: &Context, parts: &Parts) -> Result<Response, Fault> {
        let path = parts.uri.path().trim_start_matches(PEEK);
        let name = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            [region, account, queue] => Name {
                account: (*account).to_owned(),
                region: (*region).to_owned(),
                queue: (*queue).to_owned(),
            },
            _ => Name::of_url(
                ctx,
                &fault::required(parameter(parts, "QueueUrl"), "QueueUrl")?,
            )?,
        };
        let is_set = |name: &str| {
            parameter(parts, name).is_some_and(|v| v.eq_ignore_ascii_case("true") || v == "1")
        };
        let mut messages = self
            .0
            .peek(&name, is_set("ShowInvisible"), is_set("ShowDelayed"))?;
        let operation = MODEL
            .operation("ReceiveMessage")
            .and_then(|i| MODEL.operations.get(i))
            .ok_or_else(|| Fault::internal("the model has no ReceiveMessage"))?;
        Ok(protocol(parts).write(&MODEL, operation, &mut messages, &cloud::ids::uuid()))
    }
}

/// XML, as queries answer, unless JSON is asked for.
fn protocol(parts: &Parts) -> Protocol {
    match wire::header::text(&parts.headers, "accept") {
        Some(accept) if accept.contains("json") => Protocol::AwsJson10,
        _ => Protocol::AwsQuery,
    }
}

impl Front for QueueUrls {
    fn claims(&self, request: &Parts) -> bool {
        let path = request.uri.path();
        path.starts_with(PEEK)
            || (is_queue(path)
                && request
                    .uri
                    .query()
                    .is_some_and(|q| q.split('&').any(|p| p.starts_with("Action="))))
    }

    fn before<'a>(
        &'a self,
        ctx: &'a Context,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Before> {
        Box::pin(async move {
            if request.uri().path().starts_with(PEEK) {
                let (parts, _) = request.into_parts();
                let response = self.peek(ctx, &parts).unwrap_or_else(|fault| {
                    protocol(&parts).write_fault(&MODEL, &fault, &cloud::ids::uuid())
                });
                return Before::Answer(response);
            }
            if wire::header::has(request.headers(), "x-amz-target") {
                return Before::Pass(request);
            }
            match misplaced(&request) {
                Some(response) => Before::Answer(response),
                None => Before::Pass(as_query(ctx, request)),
            }
        })
    }
}
