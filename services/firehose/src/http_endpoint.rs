//! Records posted to an HTTP endpoint, in the form that Firehose's endpoints agree on.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::HttpCall;
use serde_json::{Value, json};

use crate::compression;
use crate::delivery_stream::Place;
use crate::destination::Endpoint;
use crate::failure::Failure;
use crate::processing::Piece;
use crate::service::Firehose;

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Milliseconds before a call is made again, doubling from the first to the last.
const PAUSE: (i64, i64) = (1_000, 60_000);

/// Whether an answer takes the records: it must name the request.
fn is_taken(body: &[u8], request: &str) -> Result<(), String> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|e| format!("The response body is not JSON: {e}"))?;
    match answer.get("requestId").and_then(Value::as_str) {
        Some(id) if id == request => Ok(()),
        _ => Err("The response's requestId does not match the request's.".into()),
    }
}

impl Firehose {
    /// Posts records; what the endpoint did not take in its time comes back.
    pub(crate) async fn call(
        &self,
        place: &Place,
        endpoint: &Endpoint,
        pieces: &[Piece],
    ) -> Vec<Failure> {
        if pieces.is_empty() {
            return Vec::new();
        }
        let clock = &self.cloud.clock;
        let request = cloud::ids::uuid();
        let end = clock.now().plus_secs(i64::from(endpoint.retry));
        let (mut attempts, mut pause) = (0, PAUSE.0);
        let (code, message) = loop {
            attempts += 1;
            let problem = match self.post(place, endpoint, pieces, &request).await {
                Ok(()) => return Vec::new(),
                Err(problem) => problem,
            };
            tracing::debug!(
                url = endpoint.url,
                code = problem.0,
                message = problem.1,
                "an endpoint did not take records"
            );
            if clock.now().plus_millis(pause) >= end {
                break problem;
            }
            clock.pass(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        };
        let failure = |piece: &Piece| Failure {
            kind: "http-endpoint-failed",
            attempts,
            more: Some(("deliveryStreamARN", serde_json::json!(place.arn()))),
            ..piece.clone().failed(code, &message)
        };
        pieces.iter().map(failure).collect()
    }

    async fn post(
        &self,
        place: &Place,
        endpoint: &Endpoint,
        pieces: &[Piece],
        request: &str,
    ) -> Result<(), (&'static str, String)> {
        let records = pieces
            .iter()
            .map(|piece| json!({ "data": STANDARD.encode(&piece.data) }));
        let body = json!({
            "requestId": request,
            "timestamp": self.cloud.clock.now().0,
            "records": records.collect::<Vec<_>>(),
        });
        let mut body = body.to_string().into_bytes();
        let is_packed = endpoint.encoding.as_deref() == Some("GZIP");
        if is_packed {
            body = compression::gzip(&body)
                .map_err(|e| ("HttpEndpoint.RequestFailed", e.message.to_string()))?;
        }
        let mut call = HttpCall::post(&endpoint.url, body)
            .header("content-type", "application/json")
            .header("user-agent", "Amazon Kinesis Data Firehose Agent/1.0")
            .header("x-amz-firehose-protocol-version", "1.0")
            .header("x-amz-firehose-request-id", request)
            .header("x-amz-firehose-source-arn", &place.arn());
        call.timeout = PATIENCE;
        if is_packed {
            call = call.header("content-encoding", "gzip");
        }
        if let Some(key) = &endpoint.access_key {
            call = call.header("x-amz-firehose-access-key", key);
        }
        if !endpoint.attributes.is_empty() {
            let attributes: serde_json::Map<String, Value> = endpoint
                .attributes
                .iter()
                .map(|(name, value)| (name.clone(), json!(value)))
                .collect();
            let attributes = json!({ "commonAttributes": attributes }).to_string();
            call = call.header("x-amz-firehose-common-attributes", &attributes);
        }
        match self.cloud.http.call(call).await {
            Err(error) => Err(("HttpEndpoint.DestinationException", error.to_string())),
            Ok(answer) if answer.status.as_u16() != 200 => Err((
                "HttpEndpoint.InvalidStatusCode",
                format!(
                    "The endpoint answered with status {}.",
                    answer.status.as_u16()
                ),
            )),
            Ok(answer) => is_taken(&answer.body, request)
                .map_err(|why| ("HttpEndpoint.InvalidResponseFromDestination", why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_name_the_request() {
        assert!(is_taken(b"{\"requestId\": \"a\", \"timestamp\": 1}", "a").is_ok());
        for body in [
            "",
            "[]",
            "{}",
            "{\"requestId\": \"b\"}",
            "{\"requestId\": 1}",
        ] {
            assert!(is_taken(body.as_bytes(), "a").is_err(), "{body}");
        }
    }
}
