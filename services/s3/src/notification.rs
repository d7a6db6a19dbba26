//! Notifications: which events go where, and the records that tell of them.

use std::borrow::Cow;

use cloud::{Arn, Context, Delivery, PrincipalKind, Source};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use store::Tx;
use wire::Fault;

use crate::bucket::Bucket;
use crate::object::Version;
use crate::{account, api, configuration, fault};

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

/// An event's key: percent-encoded, a space as `+`, slashes as they are.
fn encoded(key: &str) -> String {
    const SET: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b'/')
        .remove(b' ');
    utf8_percent_encode(key, SET).to_string().replace(' ', "+")
}

/// The ETag of no bytes.
const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// Grows with each change of a key, in sixteen hexadecimal digits or more; what removes a version comes after all that made it.
fn sequencer(event: &str, version: &Version, time: wire::Timestamp) -> String {
    let is_removal = event == "ObjectRemoved:Delete" || event == "LifecycleExpiration:Delete";
    let now = u64::try_from(time.0)
        .unwrap_or_default()
        .saturating_mul(1_000);
    let number = match is_removal {
        true => now.max(version.seq.saturating_add(1)),
        false => version.seq,
    };
    format!("{number:018X}")
}

fn principal_id(ctx: &Context) -> String {
    match ctx.principal.kind {
        PrincipalKind::Root => ctx.account.clone(),
        PrincipalKind::Anonymous => "Anonymous".to_owned(),
        PrincipalKind::Service => ctx.principal.id.clone(),
        _ => format!("AWS:{}", ctx.principal.id),
    }
}

/// The record of one event, as targets receive it.
fn record(
    ctx: &Context,
    bucket: &Bucket,
    event: &str,
    rule: &str,
    key: &str,
    version: &Version,
    time: wire::Timestamp,
) -> serde_json::Value {
    let mut object = json!({ "key": encoded(key) });
    let is_removal = event.starts_with("ObjectRemoved") || event.starts_with("LifecycleExpiration");
    if !is_removal {
        object["size"] = json!(version.size);
    }
    if !is_removal || version.is_delete_marker {
        object["eTag"] = json!(if version.is_delete_marker {
            EMPTY
        } else {
            &version.etag
        });
    }
    if let Some(id) = &version.id {
        object["versionId"] = json!(id);
    }
    object["sequencer"] = json!(sequencer(event, version, time));
    json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.record.region,
        "eventTime": time.iso8601_millis(),
        "eventName": event,
        "userIdentity": { "principalId": principal_id(ctx) },
        "requestParameters": { "sourceIPAddress": ctx.source_ip.to_string() },
        "responseElements": {
            "x-amz-request-id": ctx.request_id,
            "x-amz-id-2": wire::protocol::host_id(&ctx.request_id),
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": rule,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": { "principalId": account::canonical_id(&bucket.account)[..14].to_ascii_uppercase() },
                "arn": bucket.arn(),
            },
            "object": object,
        },
    })
}

/// The same for EventBridge, which has its own words.
fn bridge_event(
    ctx: &Context,
    bucket: &Bucket,
    event: &str,
    key: &str,
    version: &Version,
    time: wire::Timestamp,
) -> Option<serde_json::Value> {
    let (family, kind) = event.split_once(':').unwrap_or((event, ""));
    let (detail_type, reason) = match family {
        "ObjectCreated" => (
            "Object Created",
            Some(match kind {
                "Put" => "PutObject",
                "Post" => "POST Object",
                "Copy" => "CopyObject",
                _ => "CompleteMultipartUpload",
            }),
        ),
        "ObjectRemoved" => ("Object Deleted", Some("DeleteObject")),
        "LifecycleExpiration" => ("Object Deleted", Some("Lifecycle Expiration")),
        "ObjectRestore" if kind == "Post" => ("Object Restore Initiated", None),
        "ObjectRestore" if kind == "Completed" => ("Object Restore Completed", None),
        "ObjectRestore" => ("Object Restore Expired", None),
        "LifecycleTransition" => ("Object Storage Class Changed", None),
        "ObjectAcl" => ("Object ACL Updated", None),
        "ObjectTagging" if kind == "Put" => ("Object Tags Added", None),
        "ObjectTagging" => ("Object Tags Deleted", None),
        _ => return None,
    };
    let is_marker = kind == "DeleteMarkerCreated";
    let (has_etag, has_size, has_sequencer) = match family {
        "ObjectCreated" => (true, true, true),
        "ObjectRemoved" | "LifecycleExpiration" => (is_marker, false, true),
        "ObjectAcl" | "ObjectTagging" => (true, false, false),
        _ => (true, true, false),
    };
    let mut object = json!({ "key": key });
    if has_size {
        object["size"] = json!(version.size);
    }
    if has_etag {
        object["etag"] = match is_marker {
            true => json!(EMPTY),
            false => json!(version.etag),
        };
    }
    if let Some(id) = &version.id {
        object["version-id"] = json!(id);
    }
    if has_sequencer {
        object["sequencer"] = json!(sequencer(event, version, time));
    }
    let mut detail = json!({
        "version": "0",
        "bucket": { "name": bucket.name },
        "object": object,
        "request-id": ctx.request_id,
    });
    // What the service does by itself comes from nowhere.
    let is_own = ctx.principal.kind == PrincipalKind::Service || event == "ObjectRestore:Completed";
    if is_own {
        detail["requester"] = json!("s3.amazonaws.com");
    } else {
        detail["requester"] = json!(ctx.account);
        detail["source-ip-address"] = json!(ctx.source_ip.to_string());
    }
    match family {
        "ObjectRestore" => {
            let class = version.storage_class.as_deref().unwrap_or("GLACIER");
            detail["source-storage-class"] = json!(class);
            if let ("Completed", Some(restored)) = (kind, &version.restored) {
                let until = wire::Timestamp(restored.until);
                detail["restore-expiry-time"] = json!(until.iso8601_secs());
            }
        }
        "LifecycleTransition" => {
            let class = version.storage_class.as_deref().unwrap_or("STANDARD");
            detail["destination-storage-class"] = json!(class);
        }
        _ => {}
    }
    if let Some(reason) = reason {
        detail["reason"] = json!(reason);
    }
    if detail_type == "Object Deleted" {
        detail["deletion-type"] = json!(if is_marker {
            "Delete Marker Created"
        } else {
            "Permanently Deleted"
        });
    }
    Some(json!({
        "version": "0",
        "id": cloud::ids::uuid(),
        "detail-type": detail_type,
        "source": "aws.s3",
        "account": bucket.account,
        "time": time.iso8601_secs(),
        "region": bucket.record.region,
        "resources": [bucket.arn()],
        "detail": detail,
    }))
}

fn source(bucket: &Bucket) -> Source {
    Source {
        service: "s3.amazonaws.com".into(),
        arn: bucket.arn(),
        account: bucket.account.clone(),
        role: None,
    }
}

impl crate::S3 {
    /// Sends an event's record to those who want it, once the transaction commits.
    pub(crate) fn announce(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        bucket: &Bucket,
        event: &str,
        key: &str,
        version: &Version,
    ) -> Result<(), Fault> {
        let Some(configuration) = &bucket.notification else {
            return Ok(());
        };
        let time = self.cloud.clock.now();
        for rule in rules(configuration).filter(|rule| rule.wants(event, key)) {
            let record = record(
                ctx,
                bucket,
                event,
                rule.id.unwrap_or_default(),
                key,
                version,
                time,
            );
            self.cloud.targets.send(
                tx,
                &Delivery {
                    target: rule.target.to_owned(),
                    payload: json!({ "Records": [record] }).to_string(),
                    source: source(bucket),
                    ..Delivery::default()
                },
            )?;
        }
        if configuration.event_bridge_configuration.is_some() {
            let bus = Arn::new(
                "events",
                &bucket.record.region,
                &bucket.account,
                "event-bus/default",
            );
            if self.cloud.targets.exists(&bus)
                && let Some(event) = bridge_event(ctx, bucket, event, key, version, time)
            {
                self.cloud.targets.send(
                    tx,
                    &Delivery {
                        target: bus.to_string(),
                        payload: event.to_string(),
                        source: source(bucket),
                        ..Delivery::default()
                    },
                )?;
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
        for rule in rules(&document) {
            let arn: Arn = rule.target.parse().map_err(|_| {
                fault::invalid_argument("The ARN could not be parsed", "ARN", rule.target)
            })?;
            if !skips {
                self.cloud.targets.check(&arn, &source(&bucket)).map_err(|cause| {
                    tracing::debug!(%cause, target_arn = rule.target, "a destination was refused");
                    fault::invalid_argument(
                        "Unable to validate the following destination configurations",
                        rule.target,
                        cause.message.to_string(),
                    )
                })?;
            }
            if arn.service != "lambda" && !tests.contains(&rule.target.to_owned()) {
                tests.push(rule.target.to_owned());
            }
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
                for target in tests {
                    let payload = json!({
                        "Service": "Amazon S3",
                        "Event": "s3:TestEvent",
                        "Time": ctx.time.iso8601_millis(),
                        "Bucket": bucket.name,
                        "RequestId": ctx.request_id,
                        "HostId": wire::protocol::host_id(&ctx.request_id),
                    });
                    let delivery = Delivery {
                        target,
                        payload: payload.to_string(),
                        source: source(&bucket),
                        ..Delivery::default()
                    };
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
    fn a_key_is_encoded_as_in_a_form_but_for_its_slashes() {
        assert_eq!(encoded("raw/a b+c(é).csv"), "raw/a+b%2Bc%28%C3%A9%29.csv");
    }

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
