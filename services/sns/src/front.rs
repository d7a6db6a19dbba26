//! HTTP beside the API: the certificate that signs messages, and LocalStack's views of what was kept.

use std::sync::Arc;

use cloud::{Before, Context, Front};
use futures_util::future::BoxFuture;
use http::Method;
use http::request::Parts;
use serde_json::{Value, json};
use wire::protocol::Response;
use wire::{Body, Fault};

use crate::captured::Medium;
use crate::service::Sns;
use crate::signature::CERTIFICATES;

/// Answers the service's own paths.
pub(crate) struct Paths(pub(crate) Arc<Sns>);

const OWN: &str = "/_aws/sns/";
/// LocalStack shows mails among those of SES.
const MAILS: &str = "/_aws/ses";
const TOKENS: &str = "/_aws/sns/subscription-tokens/";
/// Bodies of these paths are small.
const MAX_BODY: u64 = 64 * 1024;

impl Front for Paths {
    fn claims(&self, request: &Parts) -> bool {
        let path = request.uri.path();
        path.starts_with(OWN) || path == MAILS
    }

    fn before<'a>(&'a self, _: &'a Context, request: http::Request<Body>) -> BoxFuture<'a, Before> {
        Box::pin(async move {
            let path = request.uri().path();
            if !path.starts_with(OWN) && path != MAILS {
                return Before::Pass(request);
            }
            Before::Answer(self.answer(request).await.unwrap_or_else(|fault| {
                tracing::warn!(%fault, cause = fault.cause, "a view of what was kept failed");
                shown(fault.status, &json!({ "error": fault.message }))
            }))
        })
    }

    fn after(&self, _: &Context, request: &Parts, response: &mut Response) {
        // Consoles run on other ports.
        if let Some(origin) = request.headers.get("origin").and_then(|o| o.to_str().ok()) {
            for (name, value) in [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Expose-Headers", "*"),
            ] {
                response.headers.push((name.into(), value.to_owned()));
            }
        }
    }
}

fn shown(status: u16, value: &Value) -> Response {
    Response::new(status, "application/json", value.to_string())
}

fn nothing() -> Response {
    Response {
        status: 204,
        headers: Vec::new(),
        body: Body::Empty,
    }
}

impl Paths {
    async fn answer(&self, request: http::Request<Body>) -> Result<Response, Fault> {
        let sns = &self.0;
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let query = parts.uri.query().unwrap_or_default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
        let asked = |name: &str| {
            let found = query.iter().find(|(key, _)| key == name);
            found
                .map(|(_, value)| value.as_ref())
                .filter(|v| !v.is_empty())
        };
        let config = &sns.cloud.config;
        let account = asked("accountId").unwrap_or(&config.account);
        let region = asked("region").unwrap_or(&config.region);
        if path.starts_with(CERTIFICATES) {
            let certificate = sns.signer().await?.certificate(path);
            return Ok(match certificate {
                Some(pem) => Response::new(200, "application/x-pem-file", pem),
                None => shown(404, &json!({ "error": "there is no such certificate" })),
            });
        }
        if let Some(arn) = path.strip_prefix(TOKENS) {
            return self.token(arn);
        }
        let kept = match path {
            "/_aws/sns/sms-messages" => Some((Medium::Sms, "sms_messages", "phoneNumber")),
            "/_aws/sns/platform-endpoint-messages" => {
                Some((Medium::Push, "platform_endpoint_messages", "endpointArn"))
            }
            _ => None,
        };
        match (&parts.method, path, kept) {
            (&Method::GET, _, Some((medium, name, by))) => {
                let all = sns.kept_by_recipient(account, region, medium, asked(by))?;
                Ok(shown(200, &json!({ name: all, "region": region })))
            }
            (&Method::DELETE, _, Some((medium, _, by))) => {
                let to = asked(by).map(str::to_owned);
                let meant =
                    |kept: &crate::captured::Captured| to.as_ref().is_none_or(|to| kept.to == *to);
                sns.forget(account, region, medium, meant).await?;
                Ok(nothing())
            }
            (&Method::GET, MAILS, _) => Ok(shown(200, &sns.mails(account, region, asked("id"))?)),
            (&Method::DELETE, MAILS, _) => {
                let id = asked("id").map(str::to_owned);
                let meant =
                    |kept: &crate::captured::Captured| id.as_ref().is_none_or(|id| kept.id == *id);
                sns.forget(account, region, Medium::Mail, meant).await?;
                Ok(nothing())
            }
            (&Method::POST, "/_aws/sns/phone-opt-outs", _) => {
                let bytes = body.collect(MAX_BODY).await?;
                let input: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let account = input["accountId"].as_str().unwrap_or(&config.account);
                if let Some(number) = input["phoneNumber"].as_str() {
                    sns.opt_out(account, number).await?;
                }
                Ok(shown(200, &json!({})))
            }
            _ => Ok(shown(404, &json!({ "error": "there is nothing here" }))),
        }
    }

    /// The word that a pending subscription waits for.
    fn token(&self, arn: &str) -> Result<Response, Fault> {
        let arn = percent_encoding::percent_decode_str(arn).decode_utf8_lossy();
        let (status, error) = match self.0.pending_token(&arn)? {
            Ok(Some(token)) => {
                let found = json!({ "subscription_token": token, "subscription_arn": arn });
                return Ok(shown(200, &found));
            }
            Ok(None) => (404, "The provided SubscriptionARN is not found"),
            Err(()) => (400, "The provided SubscriptionARN is invalid"),
        };
        Ok(shown(
            status,
            &json!({ "error": error, "subscription_arn": arn }),
        ))
    }
}
