//! What a schedule calls, and with what.

use std::collections::BTreeMap;

use cloud::{Arn, Delivery, RetryPolicy, Source};
use serde_json::json;
use serde_json::value::RawValue;
use wire::{Fault, Timestamp};

use crate::api::{RetryPolicy as Retry, Target};
use crate::errors::*;
use crate::schedule::Place;
use crate::universal;

/// Services that a schedule calls by a template.
const TEMPLATED: [&str; 12] = [
    "codebuild",
    "codepipeline",
    "ecs",
    "events",
    "firehose",
    "inspector",
    "kinesis",
    "lambda",
    "sagemaker",
    "sns",
    "sqs",
    "states",
];

const ATTEMPTS: i32 = 185;
const AGE: i32 = 86_400;

/// Checks a target.
pub(crate) fn check(target: &Target) -> Result<(), Fault> {
    let arn: Arn = target.arn.parse().map_err(|_| {
        validation_exception(format!(
            "Provided Arn {} is not in correct format.",
            target.arn
        ))
    })?;
    if arn.service == "scheduler" && arn.resource.starts_with("aws-sdk:") {
        return universal::check(&arn, target);
    }
    if !TEMPLATED.contains(&arn.service.as_str()) {
        return Err(validation_exception(format!(
            "{} is not a supported service for a target.",
            arn.service
        )));
    }
    let needs = |is_there: bool, name: &str| match is_there {
        true => Ok(()),
        false => Err(validation_exception(format!(
            "{name} must be provided for target {}.",
            target.arn
        ))),
    };
    match arn.service.as_str() {
        "events" => needs(
            target.event_bridge_parameters.is_some(),
            "EventBridgeParameters",
        )?,
        "kinesis" => needs(target.kinesis_parameters.is_some(), "KinesisParameters")?,
        "ecs" => needs(target.ecs_parameters.is_some(), "EcsParameters")?,
        "sqs" if arn.resource.ends_with(".fifo") => {
            let group = target.sqs_parameters.as_ref();
            let group = group.and_then(|p| p.message_group_id.as_ref());
            needs(group.is_some(), "SqsParameters with a MessageGroupId")?;
        }
        _ => {}
    }
    // These take JSON and nothing else.
    let is_json = |text: &String| serde_json::from_str::<&RawValue>(text).is_ok();
    let wants_json = matches!(arn.service.as_str(), "lambda" | "events" | "states");
    let has_attributes = |text: &String| text.contains("<aws.scheduler.");
    if wants_json
        && let Some(input) = &target.input
        && !is_json(input)
        && !has_attributes(input)
    {
        return Err(validation_exception(format!(
            "Invalid RequestJson provided. Reason {input}"
        )));
    }
    Ok(())
}

/// A target as it is kept; its retry policy is always told.
pub(crate) fn write(mut target: Target) -> String {
    let retry = target.retry_policy.take().unwrap_or_default();
    target.retry_policy = Some(Retry {
        maximum_event_age_in_seconds: Some(retry.maximum_event_age_in_seconds.unwrap_or(AGE)),
        maximum_retry_attempts: Some(retry.maximum_retry_attempts.unwrap_or(ATTEMPTS)),
    });
    wire::json::kept(&target)
}

/// One call of a schedule.
pub(crate) struct Occasion<'a> {
    pub(crate) place: &'a Place,
    /// When it was due.
    pub(crate) due: Timestamp,
    /// When it happens.
    pub(crate) now: Timestamp,
}

impl Occasion<'_> {
    /// Puts what is known of the call in the place of its attributes.
    fn fill(&self, input: &str) -> String {
        if !input.contains("<aws.scheduler.") {
            return input.to_owned();
        }
        input
            .replace("<aws.scheduler.schedule-arn>", &self.place.arn())
            .replace("<aws.scheduler.scheduled-time>", &self.due.iso8601_secs())
            .replace("<aws.scheduler.execution-id>", &cloud::ids::uuid())
            .replace("<aws.scheduler.attempt-number>", "1")
    }

    /// The event of a schedule without an input.
    fn event(&self) -> String {
        let place = self.place;
        let (arn, time) = (json!(place.arn()), json!(self.due.iso8601_secs()));
        let (account, region) = (json!(place.account), json!(place.region));
        format!(
            "{{\"version\":\"0\",\"id\":\"{}\",\"detail-type\":\"Scheduled Event\",\"source\":\"aws.scheduler\",\"account\":{account},\"time\":{time},\"region\":{region},\"resources\":[{arn}],\"detail\":\"{{}}\"}}",
            cloud::ids::uuid()
        )
    }

    /// An event for a bus.
    fn bus_event(&self, source: &str, detail_type: &str, detail: &str) -> String {
        let place = self.place;
        let event = json!({
            "version": "0",
            "id": cloud::ids::uuid(),
            "detail-type": detail_type,
            "source": source,
            "account": place.account,
            "time": self.now.iso8601_secs(),
            "region": place.region,
            "resources": [place.arn()],
        });
        let mut text = event.to_string();
        text.pop();
        format!("{text},\"detail\":{detail}}}")
    }

    /// What is sent to the target.
    pub(crate) fn delivery(&self, target: &Target) -> Result<Delivery, Fault> {
        let arn = Arn::stored(&target.arn)?;
        let input = target.input.as_deref().map(|input| self.fill(input));
        let mut parameters = BTreeMap::new();
        let group = target.sqs_parameters.as_ref();
        if let Some(group) = group.and_then(|p| p.message_group_id.as_ref()) {
            parameters.insert("MessageGroupId".to_owned(), group.clone());
        }
        if let Some(kinesis) = &target.kinesis_parameters {
            parameters.insert("partition_key".to_owned(), kinesis.partition_key.clone());
        }
        let (to, payload) = match (&target.event_bridge_parameters, input) {
            (_, input) if arn.service == "scheduler" => universal::delivery(
                self.place,
                &arn,
                &input.unwrap_or_default(),
                &mut parameters,
            )?,
            (Some(event), input) if arn.service == "events" => {
                let detail = input.unwrap_or_else(|| "{}".into());
                let text = self.bus_event(&event.source, &event.detail_type, &detail);
                (target.arn.clone(), text)
            }
            (_, input) => (target.arn.clone(), input.unwrap_or_else(|| self.event())),
        };
        let mut retry = RetryPolicy::default();
        if let Some(policy) = &target.retry_policy {
            let attempts = policy.maximum_retry_attempts;
            if let Some(attempts) = attempts.and_then(|n| u32::try_from(n).ok()) {
                retry.attempts = attempts;
            }
            if let Some(age) = policy.maximum_event_age_in_seconds {
                retry.max_age = i64::from(age);
            }
        }
        Ok(Delivery {
            target: to,
            payload,
            source: Source {
                service: "scheduler.amazonaws.com".into(),
                arn: self.place.arn(),
                account: self.place.account.clone(),
                role: Some(target.role_arn.clone()),
            },
            parameters,
            retry,
            dead_letter: target
                .dead_letter_config
                .as_ref()
                .and_then(|c| c.arn.clone()),
            dead_parameters: BTreeMap::from([
                ("SCHEDULE_ARN".to_owned(), self.place.arn()),
                ("SCHEDULED_TIME".to_owned(), self.due.iso8601_secs()),
                ("TARGET_ARN".to_owned(), target.arn.clone()),
                ("IS_PAYLOAD_TRUNCATED".to_owned(), "false".to_owned()),
            ]),
            ..Delivery::default()
        })
    }
}
