//! Calls of API destinations.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloud::{Arn, Delivery, HttpCall, HttpError, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use wire::{Fault, Timestamp};

use crate::api::connection_state;
use crate::connection::{Additions, Client, Connection};
use crate::destination::Destination;
use crate::service::Events;

/// A token of an authorization server, and until when it is good.
pub(crate) struct Token {
    value: String,
    until: Timestamp,
}

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a token is good that says nothing of it, seconds.
const TOKEN_LIFE: i64 = 3_600;

const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What a rule's target adds to a call.
#[derive(Default, Deserialize)]
struct OfTarget {
    path: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
    query: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<Value>,
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn with_query<'a>(url: &str, query: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut url = url.to_owned();
    for (name, value) in query {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&encoded(name));
        url.push('=');
        url.push_str(&encoded(value));
    }
    url
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_str(value),
    ) {
        headers.insert(name, value);
    }
}

/// Calls that bring nothing: tried again or not.
fn failed(error: &HttpError) -> Fault {
    let code = match error {
        HttpError::Timeout => "Timeout",
        HttpError::Url(_) => "InvalidUrl",
        _ => "ConnectionFailure",
    };
    let status = if code == "InvalidUrl" { 400 } else { 503 };
    Fault::sender(status, code, error.to_string())
}

impl Events {
    /// Calls an API destination with a delivery.
    pub(crate) async fn invoke(&self, arn: &Arn, delivery: &Delivery) -> Result<(), Refusal> {
        let destination = self.destination(arn).map_err(Refusal::Never)?;
        let found = self.connection_of_arn(&self.cloud.store, &destination.connection);
        let (_, connection) = found.map_err(Refusal::Never)?;
        if connection.state == connection_state::DEAUTHORIZED {
            let text = "The connection of the API destination is not authorized.";
            return Err(Refusal::Never(Fault::sender(403, "NotAuthorized", text)));
        }
        let call = self.call(&destination, &connection, delivery).await?;
        self.wait_for_turn(&destination).await;
        let answer = self.cloud.http.call(call).await;
        let answer = answer.map_err(|error| Refusal::of(failed(&error)))?;
        let status = answer.status;
        if status.is_success() {
            return Ok(());
        }
        if status == StatusCode::UNAUTHORIZED {
            self.tokens.lock().remove(&connection.id);
        }
        let text = format!(
            "The API destination answered with HTTP status code {}.",
            status.as_u16()
        );
        let fault = Fault::sender(400, "ErrorFromTarget", text);
        let is_passing =
            matches!(status.as_u16(), 401 | 407 | 409 | 429) || status.is_server_error();
        Err(match is_passing {
            true => Refusal::Later(fault),
            false => Refusal::Never(fault),
        })
    }

    /// Keeps to the destination's rate.
    async fn wait_for_turn(&self, destination: &Destination) {
        let gap = 1_000 / i64::from(destination.rate.max(1));
        let turn = {
            let mut slots = self.slots.lock();
            let now = self.cloud.clock.now().0;
            let next = slots.entry(destination.id.clone()).or_insert(now);
            let turn = now.max(*next);
            *next = turn + gap;
            turn
        };
        self.cloud.clock.until(Timestamp(turn)).await;
    }

    async fn call(
        &self,
        destination: &Destination,
        connection: &Connection,
        delivery: &Delivery,
    ) -> Result<HttpCall, Refusal> {
        let of_target = delivery.parameters.get("HttpParameters");
        let of_target: OfTarget = of_target
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let none = Additions::default();
        let additions = connection.additions.as_ref().unwrap_or(&none);
        let mut url = destination.endpoint.clone();
        for value in of_target.path.iter().flatten() {
            url = url.replacen('*', &encoded(value), 1);
        }
        let own = of_target.query.iter().flatten();
        let own = own.map(|(k, v)| (k.as_str(), v.as_str()));
        let fixed = additions
            .query
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str()));
        let url = with_query(&url, own.chain(fixed));
        let mut headers = HeaderMap::new();
        set(
            &mut headers,
            "content-type",
            "application/json; charset=utf-8",
        );
        set(
            &mut headers,
            "user-agent",
            "Amazon/EventBridge/ApiDestinations",
        );
        set(&mut headers, "range", "bytes=0-1048575");
        for (name, value) in of_target.headers.iter().flatten() {
            set(&mut headers, name, value);
        }
        for parameter in &additions.headers {
            set(&mut headers, &parameter.key, &parameter.value);
        }
        if let Some((user, password)) = &connection.basic {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            set(&mut headers, "authorization", &format!("Basic {pair}"));
        }
        if let Some((name, value)) = &connection.api_key {
            set(&mut headers, name, value);
        }
        if let Some(client) = &connection.client {
            let token = self
                .token(&connection.id, client)
                .await
                .map_err(Refusal::Later)?;
            set(&mut headers, "authorization", &format!("Bearer {token}"));
        }
        let method = Method::from_bytes(destination.method.as_bytes()).unwrap_or(Method::POST);
        let has_body = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        let body = match has_body {
            true => Bytes::from(with_members(&delivery.payload, additions)),
            false => Bytes::new(),
        };
        Ok(HttpCall {
            method,
            url,
            headers,
            body,
            timeout: PATIENCE,
            most: 1 << 20,
        })
    }

    /// The client's token, fetched where none is at hand.
    async fn token(&self, connection: &str, client: &Client) -> Result<String, Fault> {
        let now = self.cloud.clock.now();
        let known = {
            let tokens = self.tokens.lock();
            let token = tokens.get(connection).filter(|t| t.until > now);
            token.map(|t| t.value.clone())
        };
        match known {
            Some(token) => Ok(token),
            None => self.fetch_token(connection, client).await,
        }
    }

    /// Asks the authorization server for a token.
    pub(crate) async fn fetch_token(
        &self,
        connection: &str,
        client: &Client,
    ) -> Result<String, Fault> {
        let none = Additions::default();
        let additions = client.additions.as_ref().unwrap_or(&none);
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client.id.as_str()),
            ("client_secret", client.secret.as_str()),
        ];
        form.extend(
            additions
                .body
                .iter()
                .map(|p| (p.key.as_str(), p.value.as_str())),
        );
        let pairs: Vec<_> = form
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let query = additions
            .query
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str()));
        let method = Method::from_bytes(client.method.as_bytes()).unwrap_or(Method::POST);
        let (url, body) = match method {
            Method::GET => {
                let all = form.iter().map(|(k, v)| (*k, *v)).chain(query);
                (with_query(&client.endpoint, all), Bytes::new())
            }
            _ => (
                with_query(&client.endpoint, query),
                Bytes::from(pairs.join("&")),
            ),
        };
        let mut headers = HeaderMap::new();
        set(
            &mut headers,
            "content-type",
            "application/x-www-form-urlencoded; charset=UTF-8",
        );
        set(
            &mut headers,
            "user-agent",
            "Amazon/EventBridge/ApiDestinations",
        );
        for parameter in &additions.headers {
            set(&mut headers, &parameter.key, &parameter.value);
        }
        let call = HttpCall {
            method,
            url,
            headers,
            body,
            timeout: PATIENCE,
            most: 1 << 20,
        };
        let answer = self.cloud.http.call(call).await.map_err(|e| failed(&e))?;
        let granted = match answer.status.is_success() {
            true => serde_json::from_slice::<Granted>(&answer.body).ok(),
            false => None,
        };
        let granted = granted.ok_or_else(|| {
            let text = format!(
                "The authorization endpoint gave no token: HTTP status code {}.",
                answer.status.as_u16()
            );
            Fault::sender(400, "ErrorFromTarget", text)
        })?;
        let life = granted.expires_in.and_then(|v| match v {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        });
        let until = self.cloud.clock.now().plus_secs(life.unwrap_or(TOKEN_LIFE));
        let token = Token {
            value: granted.access_token.clone(),
            until,
        };
        self.tokens.lock().insert(connection.to_owned(), token);
        Ok(granted.access_token)
    }
}

/// The payload with the connection's own members, where it is an object.
fn with_members(payload: &str, additions: &Additions) -> String {
    let inner = payload
        .trim()
        .strip_prefix('{')
        .and_then(|p| p.strip_suffix('}'));
    let Some(inner) = inner.filter(|_| !additions.body.is_empty()) else {
        return payload.to_owned();
    };
    let mut members: Vec<String> = additions
        .body
        .iter()
        .map(|p| {
            format!(
                "{}:{}",
                Value::from(p.key.as_str()),
                Value::from(p.value.as_str())
            )
        })
        .collect();
    if !inner.trim().is_empty() {
        members.insert(0, inner.to_owned());
    }
    format!("{{{}}}", members.join(","))
}
