//! Notifications: which events go where.

use std::borrow::Cow;

use cloud::{Arn, Context, Delivery, Source};
use serde_json::json;
use store::Tx;
use wire::Fault;

use crate::bucket::Bucket;
use crate::event::{self, Event};
use crate::object::Version;
use crate::{api, configuration, fault};

/// The events that a configuration may name, without `s3:`.
const EVENTS: [&str; 31] = [
    "ReducedRedundancyLostObject",
    "ObjectCreated:*",
    "ObjectCreated:Put",
    "ObjectCreated:Post",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectRemoved:*",
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
    "ObjectRestore:*",
    "ObjectRestore:Post",
    "ObjectRestore:Completed",
    "ObjectRestore:Delete",
    "Replication:*",
    "Replication:OperationFailedReplication",
    "Replication:OperationNotTracked",
    "Replication:OperationMissedThreshold",
    "Replication:OperationReplicatedAfterThreshold",
    "LifecycleTransition",
    "IntelligentTiering",
    "ObjectAcl:Put",
    "LifecycleExpiration:*",
    "LifecycleExpiration:Delete",
    "LifecycleExpiration:DeleteMarkerCreated",
    "ObjectTagging:*",
    "ObjectTagging:Put",
    "ObjectTagging:Delete",
    "ObjectAnnotation:*",
    "ObjectAnnotation:Put",
    "ObjectAnnotation:Delete",
    "TestEvent",
];

/// One destination of a configuration.
struct Rule<'a> {
    /// How AWS's errors call the kind of its target.
    kind: &'static str,
    id: Option<&'a str>,
    target: &'a str,
    events: &'a [String],
    filter: Option<&'a api::NotificationConfigurationFilter>,
}

fn rules(configuration: &api::NotificationConfiguration) -> impl Iterator<Item = Rule<'_>> {
    let topics = configuration
        .topic_configurations
        .iter()
        .flatten()
        .map(|c| Rule {
            kind: "Topic",
            id: c.id.as_deref(),
            target: &c.topic_arn,
            events: &c.events,
            filter: c.filter.as_ref(),
        });
    let queues = configuration
        .queue_configurations
        .iter()
        .flatten()
        .map(|c| Rule {
            kind: "Queue",
            id: c.id.as_deref(),
            target: &c.queue_arn,
            events: &c.events,
            filter: c.filter.as_ref(),
        });
    let functions = configuration
        .lambda_function_configurations
        .iter()
        .flatten()
        .map(|c| Rule {
            kind: "CloudFunction",
            id: c.id.as_deref(),
            target: &c.lambda_function_arn,
            events: &c.events,
            filter: c.filter.as_ref(),
        });
    topics.chain(queues).chain(functions)
}

impl Rule<'_> {
    fn filters(&self) -> impl Iterator<Item = &api::FilterRule> {
        self.filter
            .and_then(|f| f.key.as_ref())
            .and_then(|k| k.filter_rules.as_ref())
            .into_iter()
            .flatten()
    }
    fn filter(&self, name: &str) -> &str {
        let mut named = self.filters().filter(|r| {
            r.name
                .as_deref()
                .is_some_and(|n| n.eq_ignore_ascii_case(name))
        });
        named
            .next()
            .and_then(|r| r.value.as_deref())
            .unwrap_or_default()
    }
    fn wants(&self, event: &str, key: &str) -> bool {
        let named = |wanted: &str| {
            let wanted = wanted.strip_prefix("s3:").unwrap_or(wanted);
            wanted == event
                || wanted
                    .strip_suffix('*')
                    .is_some_and(|family| event.starts_with(family))
        };
        self.events.iter().any(|e| named(e))
            && key.starts_with(self.filter("prefix"))
            && key.ends_with(self.filter("suffix"))
    }
}

fn source(bucket: &Bucket) -> Source {
    Source {
        service: "s3.amazonaws.com".into(),
        arn: bucket.arn(),
        account: bucket.account.clone(),
        role: None,
    }
}

/// A notification on its way to its target.
fn delivery(ctx: &Context, bucket: &Bucket, target: &str, payload: serde_json::Value) -> Delivery {
    let mut delivery = Delivery {
        target: target.to_owned(),
        payload: payload.to_string(),
        source: source(bucket),
        trace: ctx.trace.clone(),
        ..Delivery::default()
    };
    if target.split(':').nth(2) == Some("sns") {
        let subject = "Amazon S3 Notification".to_owned();
        delivery.parameters.insert("Subject".to_owned(), subject);
    }
    delivery
}

impl Rule<'_> {
    /// The target's ARN, if it is one of the rule's kind.
    fn arn(&self) -> Result<Arn, Fault> {
        let service = match self.kind {
            "Topic" => "sns",
            "Queue" => "sqs",
            _ => "lambda",
        };
        let parsed = self.target.parse().ok();
        parsed
            .filter(|arn: &Arn| arn.service == service)
            .ok_or_else(|| {
                fault::invalid_argument("The ARN could not be parsed", self.kind, self.target)
            })
    }

    /// How AWS names and explains a target that did not let S3 in.
    fn complaint(&self, cause: &Fault) -> (String, String) {
        let target = self.target;
        let kind = match self.kind {
            "Topic" => "topic",
            "Queue" => "queue",
            _ => {
                return (
                    format!("{target}, null"),
                    format!("Not authorized to invoke function [{target}]"),
                );
            }
        };
        let text = match cause.status {
            403 => format!(
                "Permissions on the destination {kind} do not allow S3 to publish notifications from this bucket"
            ),
            _ if cause.is("InvalidArgument") => cause.message.to_string(),
            _ => format!("The destination {kind} does not exist"),
        };
        (target.to_owned(), text)
    }
}

impl crate::S3 {
    /// Sends an event's record about a version to those who want it, once the transaction commits.
    pub(crate) fn announce(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        bucket: &Bucket,
        event: &str,
        key: &str,
        version: &Version,
    ) -> Result<(), Fault> {
        let event = Event {
            name: event,
            key,
            version: Some(version),
            replication: None,
        };
        self.announce_event(tx, ctx, bucket, &event)
    }

    /// The same of any event.
    pub(crate) fn announce_event(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        bucket: &Bucket,
        event: &Event<'_>,
    ) -> Result<(), Fault> {
        let Some(configuration) = &bucket.notification else {
            return Ok(());
        };
        let time = self.cloud.clock.now();
        for rule in rules(configuration).filter(|rule| rule.wants(event.name, event.key)) {
            let id = rule.id.unwrap_or_default();
            let record = event::record(ctx, bucket, event, id, time);
            let payload = json!({ "Records": [record] });
            let delivery = delivery(ctx, bucket, rule.target, payload);
            self.cloud.targets.send(tx, &delivery)?;
        }
        if configuration.event_bridge_configuration.is_some() {
            let bus = Arn::new(
                "events",
                &bucket.record.region,
                &bucket.account,
                "event-bus/default",
            );
            if self.cloud.targets.exists(&bus)
                && let Some(payload) = event::bridge_event(ctx, bucket, event, time)
            {
                let delivery = delivery(ctx, bucket, &bus.to_string(), payload);
                self.cloud.targets.send(tx, &delivery)?;
            }
        }
        Ok(())
    }

    /// `PutBucketNotificationConfiguration`
    pub(crate) async fn put_notification(
        &self,
        ctx: &Context,
        input: api::PutBucketNotificationConfigurationInput,
    ) -> Result<(), Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:PutBucketNotification")?;
        let mut document = input.notification_configuration;
        name_rules(&mut document);
        check(&document)?;
        let skips = input.skip_destination_validation == Some(true);
        let mut tests = Vec::new();
        let mut refused = Vec::new();
        for rule in rules(&document) {
            let arn = rule.arn()?;
            if !skips && let Err(cause) = self.cloud.targets.check(&arn, &source(&bucket)) {
                tracing::debug!(%cause, target_arn = rule.target, "a destination was refused");
                refused.push(rule.complaint(&cause));
            }
            if arn.service != "lambda" && !tests.contains(&rule.target.to_owned()) {
                tests.push(rule.target.to_owned());
            }
        }
        if !refused.is_empty() {
            return Err(unvalidated(refused));
        }
        let is_empty =
            rules(&document).next().is_none() && document.event_bridge_configuration.is_none();
        let text = configuration::encode(&document);
        self.buckets
            .change(&bucket, |record, tx| {
                if is_empty {
                    record.documents.remove("notification");
                } else {
                    record.documents.insert("notification".to_owned(), text);
                }
                for target in &tests {
                    let payload = json!({
                        "Service": "Amazon S3",
                        "Event": "s3:TestEvent",
                        "Time": ctx.time.iso8601_millis(),
                        "Bucket": bucket.name,
                        "RequestId": ctx.request_id,
                        "HostId": wire::protocol::host_id(&ctx.request_id),
                    });
                    let delivery = delivery(ctx, &bucket, target, payload);
                    self.cloud.targets.send(tx, &delivery)?;
                }
                Ok(())
            })
            .await
    }

    /// `GetBucketNotificationConfiguration`
    pub(crate) async fn notification(
        &self,
        ctx: &Context,
        input: api::GetBucketNotificationConfigurationInput,
    ) -> Result<api::NotificationConfiguration, Fault> {
        let bucket = self
            .buckets
            .get(&input.bucket, input.expected_bucket_owner.as_deref())?;
        self.permit(ctx, &bucket, "s3:GetBucketNotification")?;
        Ok(bucket.notification.clone().unwrap_or_default())
    }
}

/// The error that lists the targets that did not let S3 in, each with its name and why.
fn unvalidated(refused: Vec<(String, String)>) -> Fault {
    let mut fault = Fault::sender(
        400,
        "InvalidArgument",
        "Unable to validate the following destination configurations",
    );
    for (index, (name, why)) in refused.into_iter().enumerate() {
        let number = index + 1;
        fault = fault
            .field(format!("ArgumentName{number}"), name)
            .field(format!("ArgumentValue{number}"), why);
    }
    fault
}

/// Gives rules without an id one.
fn name_rules(document: &mut api::NotificationConfiguration) {
    let topics = document
        .topic_configurations
        .iter_mut()
        .flatten()
        .map(|c| &mut c.id);
    let queues = document
        .queue_configurations
        .iter_mut()
        .flatten()
        .map(|c| &mut c.id);
    let functions = document
        .lambda_function_configurations
        .iter_mut()
        .flatten()
        .map(|c| &mut c.id);
    for id in topics.chain(queues).chain(functions) {
        id.get_or_insert_with(cloud::ids::uuid);
    }
    for filter in document
        .topic_configurations
        .iter_mut()
        .flatten()
        .map(|c| &mut c.filter)
        .chain(
            document
                .queue_configurations
                .iter_mut()
                .flatten()
                .map(|c| &mut c.filter),
        )
        .chain(
            document
                .lambda_function_configurations
                .iter_mut()
                .flatten()
                .map(|c| &mut c.filter),
        )
    {
        for rule in filter
            .iter_mut()
            .filter_map(|f| f.key.as_mut())
            .filter_map(|k| k.filter_rules.as_mut())
            .flatten()
        {
            // However it was written, AWS shows it with a capital.
            rule.name = rule
                .name
                .take()
                .map(|name| match name.to_ascii_lowercase().as_str() {
                    "prefix" => "Prefix".to_owned(),
                    "suffix" => "Suffix".to_owned(),
                    _ => name,
                });
        }
    }
}

fn check(document: &api::NotificationConfiguration) -> Result<(), Fault> {
    let all: Vec<Rule<'_>> = rules(document).collect();
    for (index, rule) in all.iter().enumerate() {
        if rule.events.is_empty() {
            return Err(fault::malformed_xml());
        }
        for event in rule.events {
            let is_known = event
                .strip_prefix("s3:")
                .is_some_and(|e| EVENTS.contains(&e));
            if !is_known {
                return Err(fault::invalid_argument(
                    "The event is not supported for notifications",
                    "Event",
                    event.as_str(),
                ));
            }
        }
        let mut seen: Vec<Cow<'_, str>> = Vec::new();
        for filter in rule.filters() {
            let (Some(given), Some(_)) = (&filter.name, &filter.value) else {
                return Err(fault::malformed_xml());
            };
            let name: Cow<'_, str> = given.to_ascii_lowercase().into();
            if name != "prefix" && name != "suffix" {
                return Err(fault::invalid_argument(
                    "filter rule name must be either prefix or suffix",
                    "FilterRule.Name",
                    given.as_str(),
                ));
            }
            if seen.contains(&name) {
                return Err(fault::invalid_argument(
                    "Cannot specify more than one prefix rule in a filter.",
                    "FilterRule",
                    name.as_ref(),
                ));
            }
            if filter.value.as_deref().unwrap_or_default().len() > 1024 {
                return Err(fault::invalid_argument(
                    "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation",
                    "FilterRule.Value",
                    "",
                ));
            }
            seen.push(name);
        }
        for other in all.iter().take(index) {
            if other.id.is_some() && other.id == rule.id {
                return Err(fault::invalid_argument(
                    "Same ID used for multiple configurations. IDs must be unique",
                    "Id",
                    rule.id.unwrap_or_default(),
                ));
            }
            if overlaps(rule, other) {
                return Err(fault::invalid_argument(
                    "Configurations overlap. Configurations on the same bucket cannot share a common event type.",
                    "Configuration",
                    rule.id.unwrap_or_default(),
                ));
            }
        }
    }
    Ok(())
}

fn overlaps(a: &Rule<'_>, b: &Rule<'_>) -> bool {
    let same_event = a.events.iter().any(|x| {
        b.events.iter().any(|y| {
            x == y
                || x.strip_suffix('*')
                    .is_some_and(|family| y.starts_with(family))
                || y.strip_suffix('*')
                    .is_some_and(|family| x.starts_with(family))
        })
    });
    let within = |x: &str, y: &str| x.starts_with(y) || y.starts_with(x);
    let ends_within = |x: &str, y: &str| x.ends_with(y) || y.ends_with(x);
    same_event
        && within(a.filter("prefix"), b.filter("prefix"))
        && ends_within(a.filter("suffix"), b.filter("suffix"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_wants_its_events_under_its_filter() {
        let events = ["s3:ObjectCreated:*".to_owned()];
        let rule = |name: &str, value: &str| api::FilterRule {
            name: Some(name.into()),
            value: Some(value.into()),
        };
        let filter = api::NotificationConfigurationFilter {
            key: Some(api::S3KeyFilter {
                filter_rules: Some(vec![rule("Prefix", "raw/"), rule("suffix", ".csv")]),
            }),
        };
        let rule = Rule {
            kind: "Queue",
            id: None,
            target: "",
            events: &events,
            filter: Some(&filter),
        };
        assert!(rule.wants("ObjectCreated:Put", "raw/a.csv"));
        assert!(!rule.wants("ObjectCreated:Put", "raw/a.txt"));
        assert!(!rule.wants("ObjectRemoved:Delete", "raw/a.csv"));
    }
}
