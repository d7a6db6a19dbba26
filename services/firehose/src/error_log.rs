//! Errors of a delivery stream, written to the log stream that its destination names.

use serde_json::json;
use wire::Fault;

use crate::delivery_stream::{DeliveryStream, Place};
use crate::failure::Failure;
use crate::service::Firehose;

/// What is said of a bucket's refusal.
fn refusal(fault: &Fault) -> (String, String) {
    let code = match fault.code.as_ref() {
        "InternalFailure" => "InternalError",
        code => code,
    };
    let message = match code {
        "NoSuchBucket" => {
            "The specified bucket does not exist. Create the bucket or use a different bucket that does exist."
        }
        "AccessDenied" => {
            "Access was denied. Ensure that the trust policy for the provided IAM role allows Firehose to assume the role, and the access policy allows access to the S3 bucket."
        }
        _ => &fault.message,
    };
    (format!("S3.{code}"), message.to_owned())
}

impl Firehose {
    /// Notes that a bucket refused.
    pub(crate) async fn note_refusal(&self, place: &Place, stream: &DeliveryStream, fault: &Fault) {
        let (code, message) = refusal(fault);
        self.note(place, stream, &code, &message, None).await;
    }

    /// Notes what records failed for, once for each error.
    pub(crate) async fn note_failures(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        failures: &[Failure],
    ) {
        let mut known: Vec<&str> = Vec::new();
        for failure in failures {
            if known.contains(&failure.code.as_str()) {
                continue;
            }
            known.push(&failure.code);
            let processor = failure
                .more
                .as_ref()
                .filter(|(name, _)| *name == "lambdaArn");
            let processor = processor.and_then(|(_, arn)| arn.as_str());
            self.note(place, stream, &failure.code, &failure.message, processor)
                .await;
        }
    }

    async fn note(
        &self,
        place: &Place,
        stream: &DeliveryStream,
        code: &str,
        message: &str,
        processor: Option<&str>,
    ) {
        let destination = &stream.destination;
        let (logging, to) = match &destination.endpoint {
            Some(endpoint) => (endpoint.logging.as_ref(), &endpoint.url),
            None => (destination.bucket.logging.as_ref(), &destination.bucket.arn),
        };
        let Some(logging) = logging.filter(|l| l.enabled) else {
            return;
        };
        let (Some(group), Some(log_stream)) = (&logging.group, &logging.stream) else {
            return;
        };
        let Some(logs) = self.cloud.ports.logs() else {
            return;
        };
        let mut line = json!({
            "deliveryStreamARN": place.arn(),
            "destination": to,
            "deliveryStreamVersionId": stream.version,
            "message": message,
            "errorCode": code,
        });
        if let Some(processor) = processor {
            line["processor"] = json!(processor);
        }
        let event = (self.cloud.clock.now(), line.to_string());
        let noted = logs.append(
            &place.account,
            &place.region,
            group,
            log_stream,
            vec![event],
        );
        if let Err(fault) = noted.await {
            tracing::warn!(group, %fault, "an error of a delivery stream could not be logged");
        }
    }
}
