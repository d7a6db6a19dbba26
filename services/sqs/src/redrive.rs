//! Dead-letter queues: who may use which, and who does.

use cloud::Context;
use serde_json::Value;
use store::{Range, Read};
use wire::Fault;

use crate::api::*;
use crate::errors;
use crate::fault::{invalid_parameter, invalid_value};
use crate::queue::{Queue, Redrive, bad_token, page_size};
use crate::service::Sqs;
use crate::url::Name;

/// Reads a redrive policy; an empty one takes it away.
pub fn policy(sqs: &Sqs, name: &Name, is_fifo: bool, text: &str) -> Result<Option<Redrive>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |reason: &str| Err(invalid_value(text, "RedrivePolicy", reason));
    let Ok(Value::Object(policy)) = serde_json::from_str::<Value>(text) else {
        return bad("Redrive policy is not a valid JSON map.");
    };
    let Some(target) = policy.get("deadLetterTargetArn").and_then(Value::as_str) else {
        return bad("Redrive policy does not contain mandatory attribute: deadLetterTargetArn.");
    };
    let Some(count) = policy.get("maxReceiveCount") else {
        return bad("Redrive policy does not contain mandatory attribute: maxReceiveCount.");
    };
    let shown = match count {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let lives = match shown.parse::<u32>() {
        Ok(lives @ 1..=1000) => lives,
        _ => {
            return bad(&format!(
                "Invalid value for maxReceiveCount: {shown}, valid values are from 1 to 1000 both inclusive."
            ));
        }
    };
    if policy
        .keys()
        .any(|k| k != "deadLetterTargetArn" && k != "maxReceiveCount")
    {
        return bad(
            "Only following attributes are allowed: [deadLetterTargetArn, maxReceiveCount].",
        );
    }
    let Some(target_name) = Name::of_text(target) else {
        return bad("Invalid value for deadLetterTargetArn.");
    };
    if target_name.account != name.account || target_name.region != name.region {
        return bad("Dead letter target must be in the same account and region as the source.");
    }
    let Ok(letters) = sqs.find(&target_name) else {
        return bad("Dead letter target does not exist.");
    };
    if letters.is_fifo != is_fifo {
        return bad("Dead letter queue must be same type of queue as the source.");
    }
    if !may_bury(&letters, &name.arn()) {
        return bad(
            "Queue is not allowed to use the dead-letter queue by its redrive allow policy.",
        );
    }
    Ok(Some(Redrive {
        // AWS shows the count as a number, however it was given.
        text: serde_json::json!({ "deadLetterTargetArn": target, "maxReceiveCount": lives })
            .to_string(),
        target: target.to_owned(),
        lives,
    }))
}

/// Whether a queue lets that one use it as its dead-letter queue.
fn may_bury(letters: &Queue, source: &str) -> bool {
    let policy = letters.redrive_allow.as_deref();
    let Some(policy) = policy.and_then(|p| serde_json::from_str::<Value>(p).ok()) else {
        return true;
    };
    match policy["redrivePermission"].as_str() {
        Some("denyAll") => false,
        Some("byQueue") => policy["sourceQueueArns"]
            .as_array()
            .is_some_and(|all| all.iter().any(|a| a.as_str() == Some(source))),
        _ => true,
    }
}

/// Reads a redrive allow policy; an empty one takes it away.
pub fn allow_policy(text: &str) -> Result<Option<String>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |reason: &str| Err(invalid_value(text, "RedriveAllowPolicy", reason));
    let Ok(Value::Object(policy)) = serde_json::from_str::<Value>(text) else {
        return bad(
            "Amazon SQS can't create the redrive allow policy, as it’s in an unsupported format.",
        );
    };
    let sources = policy.get("sourceQueueArns").and_then(Value::as_array);
    match policy.get("redrivePermission").and_then(Value::as_str) {
        Some("allowAll" | "denyAll") if policy.contains_key("sourceQueueArns") => bad(
            "Amazon SQS can't create the redrive allow policy. sourceQueueArns can only be specified when redrivePermission is byQueue.",
        ),
        Some("allowAll" | "denyAll") => Ok(Some(text.to_owned())),
        Some("byQueue") => match sources {
            Some(arns) if (1..=10).contains(&arns.len()) => {
                let is_arn = |a: &Value| a.as_str().and_then(Name::of_text).is_some();
                match arns.iter().all(is_arn) {
                    true => Ok(Some(text.to_owned())),
                    false => bad("Invalid value for sourceQueueArns."),
                }
            }
            _ => bad("sourceQueueArns must name between 1 and 10 queues."),
        },
        _ => Err(errors::invalid_attribute_value(
            "Invalid value for the parameter RedriveAllowPolicy.",
        )),
    }
}

impl Sqs {
    /// The queues of an account and region whose dead-letter queue that one is, by name, behind `after`.
    pub(crate) fn sources_of(
        &self,
        letters: &Name,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<Name>, Fault> {
        let arn = letters.arn();
        let mut range = Range::prefix(&(&letters.account, &letters.region));
        if let Some(after) = after {
            range = range.after(&(&letters.account, &letters.region, after));
        }
        let view = self.cloud.store.read();
        let mut sources = Vec::new();
        for row in view.range(&self.tables.queues, range) {
            let ((account, region, name), queue): ((String, String, String), Queue) = row?;
            if queue.redrive.is_some_and(|r| r.target == arn) {
                sources.push(Name {
                    account,
                    region,
                    queue: name,
                });
                if sources.len() >= most {
                    break;
                }
            }
        }
        Ok(sources)
    }

    pub(crate) async fn list_dead_letter_source_queues(
        &self,
        ctx: &Context,
        input: ListDeadLetterSourceQueuesInput,
    ) -> Result<ListDeadLetterSourceQueuesOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:ListDeadLetterSourceQueues")?;
        let most = page_size(input.max_results)?;
        let after = match input.next_token.filter(|t| !t.is_empty()) {
            Some(token) => Some(
                cloud::paging::place("ListDeadLetterSourceQueues", &token)
                    .and_then(|p| p.into_iter().next())
                    .ok_or_else(bad_token)?,
            ),
            None => None,
        };
        let mut sources = self.sources_of(&name, after.as_deref(), most + 1)?;
        let mut next_token = None;
        if sources.len() > most {
            sources.truncate(most);
            next_token = sources
                .last()
                .filter(|_| input.max_results.is_some())
                .map(|s| cloud::paging::token("ListDeadLetterSourceQueues", &[&s.queue]));
        }
        Ok(ListDeadLetterSourceQueuesOutput {
            queue_urls: Some(sources.iter().map(|s| s.url(ctx, self.strategy)).collect()),
            next_token,
        })
    }
}

/// A queue's ARN in a parameter.
pub fn arn_of(text: &str, parameter: &str) -> Result<Name, Fault> {
    Name::of_text(text).ok_or_else(|| {
        invalid_parameter(format!("You must use this format to specify the {parameter}: arn:<partition>:<service>:<region>:<account-id>:<resource-id>"))
    })
}
