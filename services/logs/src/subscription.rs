//! Subscription filters and destinations: events sent on to other services as they come.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use cloud::{Arn, Context, Delivery, Source};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::event::{Event, Place, event_id};
use crate::group::{Group, arn as group_arn, place, turn};
use crate::pattern::Pattern;
use crate::service::Logs;
use crate::stream::Stream;

/// A subscription filter as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pattern: String,
    destination: String,
    role: Option<String>,
    distribution: String,
    created: i64,
}
impl Record for Subscription {}

/// A destination as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DestinationRow {
    target: String,
    role: String,
    policy: Option<String>,
    created: i64,
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
}
impl Record for DestinationRow {}

const MOST: u32 = 2;

/// The events of one delivery, as AWS packs them.
fn packed(
    owner: &str,
    group: &str,
    stream: &str,
    filters: &[&str],
    kind: &str,
    events: &[serde_json::Value],
) -> Result<String, Fault> {
    let message = serde_json::json!({
        "messageType": kind,
        "owner": owner,
        "logGroup": group,
        "logStream": stream,
        "subscriptionFilters": filters,
        "logEvents": events,
    });
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(message.to_string().as_bytes())?;
    Ok(base64::engine::general_purpose::STANDARD.encode(gzip.finish()?))
}

/// How a target takes packed events: a function in an envelope, a stream as bytes, which travel in base64.
fn delivery(target: &str, data: String, source: Source) -> Delivery {
    let is_function = target.split(':').nth(2) == Some("lambda");
    let mut delivery = Delivery {
        target: target.to_owned(),
        source,
        ..Delivery::default()
    };
    if is_function {
        delivery.payload = serde_json::json!({ "awslogs": { "data": data } }).to_string();
    } else {
        delivery.payload = data;
        delivery
            .parameters
            .insert("encoding".into(), "base64".into());
    }
    delivery
}

impl Logs {
    /// The resource behind a subscription's destination, which may be a destination of ours.
    fn target_of(&self, reader: &impl Read, destination: &str) -> Result<String, Fault> {
        let Ok(arn) = destination.parse::<Arn>() else {
            return Ok(destination.to_owned());
        };
        let Some(name) = arn
            .resource
            .strip_prefix("destination:")
            .filter(|_| arn.service == "logs")
        else {
            return Ok(destination.to_owned());
        };
        let row: Option<DestinationRow> = Read::get(
            reader,
            &self.destinations,
            &(&arn.account, &arn.region, name),
        )?;
        Ok(row.map_or_else(|| destination.to_owned(), |row| row.target))
    }

    /// Sends matching events on.
    pub(crate) fn send_on(
        &self,
        tx: &mut Tx<'_>,
        place: &Place<'_>,
        group: &Group,
        stream: &Stream,
        first: u64,
        events: &[(i64, Event)],
    ) -> Result<(), Fault> {
        let rows = tx.range(
            &self.subscriptions,
            Range::prefix(&(place.account, group.id)),
        );
        let subscriptions = rows.collect::<Result<Vec<_>, _>>()?;
        for ((_, _, name), subscription) in subscriptions {
            let Ok(pattern) = Pattern::parse(&subscription.pattern) else {
                continue;
            };
            let matching = (first..)
                .zip(events)
                .filter(|(_, (_, event))| pattern.matches(&event.message));
            let shown = matching.map(|(number, (time, event))| {
                serde_json::json!({
                    "id": event_id(*time, stream.id, number),
                    "timestamp": time,
                    "message": event.message,
                })
            });
            let shown: Vec<_> = shown.collect();
            if shown.is_empty() {
                continue;
            }
            let target = self.target_of(tx, &subscription.destination)?;
            let data = packed(
                place.account,
                place.group,
                place.stream,
                &[&name],
                "DATA_MESSAGE",
                &shown,
            )?;
            let source = Source {
                service: "logs.amazonaws.com".into(),
                arn: format!("{}:*", group_arn(place.account, place.region, place.group)),
                account: place.account.to_owned(),
                role: subscription.role,
            };
            self.cloud
                .targets
                .send(tx, &delivery(&target, data, source))?;
        }
        Ok(())
    }

    pub(crate) async fn put_subscription_filter(
        &self,
        ctx: &Context,
        input: PutSubscriptionFilterInput,
    ) -> Result<PutSubscriptionFilterOutput, Fault> {
        Pattern::parse(&input.filter_pattern)?;
        self.group(&ctx.account, &ctx.region, &input.log_group_name)?;
        let destination = input.destination_arn;
        let invalid = |why: &str| {
            invalid_parameter_exception(format!("{why} Check if the destination is valid."))
        };
        let arn: Arn = destination
            .parse()
            .map_err(|_| invalid("destinationArn is not an ARN."))?;
        if matches!(arn.service.as_str(), "kinesis" | "firehose") && input.role_arn.is_none() {
            return Err(invalid_parameter_exception(
                "destinationArn for vendor kinesis or firehose requires a roleArn",
            ));
        }
        let source = Source {
            service: "logs.amazonaws.com".into(),
            arn: format!(
                "{}:*",
                group_arn(&ctx.account, &ctx.region, &input.log_group_name)
            ),
            account: ctx.account.clone(),
            role: input.role_arn.clone(),
        };
        let target = if arn.service == "logs" {
            let name = arn
                .resource
                .strip_prefix("destination:")
                .unwrap_or_default();
            let found = self
                .cloud
                .store
                .read()
                .get(&self.destinations, &(&arn.account, &arn.region, name))?;
            found
                .ok_or_else(|| invalid("The specified destination does not exist."))?
                .target
        } else {
            let refused = || {
                format!(
                    "Could not execute the {} function. Make sure you have given CloudWatch Logs permission to execute your function.",
                    arn.service
                )
            };
            self.cloud.targets.check(&arn, &source).map_err(|fault| {
                tracing::debug!(%fault, destination, "a subscription's destination was refused");
                match arn.service.as_str() {
                    "lambda" => invalid_parameter_exception(refused()),
                    service => invalid_parameter_exception(format!(
                        "Could not deliver test message to specified {service} destination. Check if the given {service} destination is in ACTIVE state."
                    )),
                }
            })?;
            destination.clone()
        };
        let name = &input.filter_name;
        self.change_group(
            &ctx.account,
            &ctx.region,
            &input.log_group_name,
            |tx, group| {
                let at = (&ctx.account, group.id, name);
                let old: Option<Subscription> = tx.get(&self.subscriptions, &at)?;
                if old.is_none() {
                    if group.subscriptions >= MOST {
                        return Err(limit_exceeded_exception("Resource limit exceeded."));
                    }
                    group.subscriptions += 1;
                }
                let subscription = Subscription {
                    pattern: input.filter_pattern,
                    destination,
                    role: input.role_arn,
                    distribution: input.distribution.unwrap_or_else(|| "ByLogStream".into()),
                    created: old.map_or(ctx.time.0, |o| o.created),
                };
                tx.put(&self.subscriptions, &at, &subscription)?;
                // A stream is tested with a message of its own kind; a function is not, as it would run for nothing.
                if matches!(arn.service.as_str(), "kinesis" | "firehose") {
                    let kind = match arn.service.as_str() {
                        "firehose" => "Firehose",
                        _ => "Kinesis stream",
                    };
                    let text =
                        format!("CWL CONTROL MESSAGE: Checking health of destination {kind}.");
                    let event =
                        serde_json::json!({ "id": "", "timestamp": ctx.time.0, "message": text });
                    let data = packed("CloudwatchLogs", "", "", &[], "CONTROL_MESSAGE", &[event])?;
                    self.cloud
                        .targets
                        .send(tx, &delivery(&target, data, source))?;
                }
                Ok(())
            },
        )
        .await?;
        Ok(PutSubscriptionFilterOutput {})
    }

    pub(crate) async fn describe_subscription_filters(
        &self,
        ctx: &Context,
        input: DescribeSubscriptionFiltersInput,
    ) -> Result<DescribeSubscriptionFiltersOutput, Fault> {
        let group = self.group(&ctx.account, &ctx.region, &input.log_group_name)?;
        let prefix = input.filter_name_prefix.as_deref().unwrap_or("");
        let view = self.cloud.store.read();
        let rows = view.range(
            &self.subscriptions,
            Range::text(&(&ctx.account, group.id), prefix),
        );
        let mut shown = Vec::new();
        for row in rows {
            let ((_, _, name), s) = row?;
            shown.push(SubscriptionFilter {
                filter_name: Some(name),
                log_group_name: Some(input.log_group_name.clone()),
                filter_pattern: Some(s.pattern),
                destination_arn: Some(s.destination),
                role_arn: s.role,
                distribution: Some(s.distribution),
                creation_time: Some(s.created),
                apply_on_transformed_logs: Some(false),
                ..SubscriptionFilter::default()
            });
        }
        Ok(DescribeSubscriptionFiltersOutput {
            subscription_filters: Some(shown),
            next_token: None,
        })
    }

    pub(crate) async fn delete_subscription_filter(
        &self,
        ctx: &Context,
        input: DeleteSubscriptionFilterInput,
    ) -> Result<DeleteSubscriptionFilterOutput, Fault> {
        self.change_group(
            &ctx.account,
            &ctx.region,
            &input.log_group_name,
            |tx, group| {
                let at = (&ctx.account, group.id, &input.filter_name);
                if !tx.contains(&self.subscriptions, &at)? {
                    return Err(resource_not_found_exception(
                        "The specified subscription filter does not exist.",
                    ));
                }
                group.subscriptions = group.subscriptions.saturating_sub(1);
                tx.delete(&self.subscriptions, &at);
                Ok(())
            },
        )
        .await?;
        Ok(DeleteSubscriptionFilterOutput {})
    }

    pub(crate) async fn change_destination<R>(
        &self,
        ctx: &Context,
        f: impl FnOnce(&mut Tx<'_>) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = ["logs.destinations", &ctx.account, &ctx.region];
        self.cloud.store.transact(Scope::new(&scope), f).await
    }

    pub(crate) async fn put_destination(
        &self,
        ctx: &Context,
        input: PutDestinationInput,
    ) -> Result<PutDestinationOutput, Fault> {
        let name = input.destination_name;
        let row = self.change_destination(ctx, |tx| {
            let at = (&ctx.account, &ctx.region, &name);
            let old: Option<DestinationRow> = tx.get(&self.destinations, &at)?;
            let (created, policy, tags) = match old {
                Some(old) => (old.created, old.policy, old.tags),
                None => (ctx.time.0, None, BTreeMap::new()),
            };
            let row = DestinationRow {
                target: input.target_arn,
                role: input.role_arn,
                created,
                policy,
                tags: input.tags.unwrap_or(tags),
            };
            tx.put(&self.destinations, &at, &row)?;
            Ok(row)
        });
        Ok(PutDestinationOutput {
            destination: Some(destination_shown(ctx, name.clone(), row.await?)),
        })
    }

    pub(crate) async fn put_destination_policy(
        &self,
        ctx: &Context,
        input: PutDestinationPolicyInput,
    ) -> Result<PutDestinationPolicyOutput, Fault> {
        self.change_destination(ctx, |tx| {
            let at = (&ctx.account, &ctx.region, &input.destination_name);
            let mut row: DestinationRow = tx
                .get(&self.destinations, &at)?
                .ok_or_else(no_destination)?;
            row.policy = Some(input.access_policy);
            Ok(tx.put(&self.destinations, &at, &row)?)
        })
        .await?;
        Ok(PutDestinationPolicyOutput {})
    }

    pub(crate) async fn describe_destinations(
        &self,
        ctx: &Context,
        input: DescribeDestinationsInput,
    ) -> Result<DescribeDestinationsOutput, Fault> {
        let prefix = input.destination_name_prefix.as_deref().unwrap_or("");
        let mut range = Range::text(&(&ctx.account, &ctx.region), prefix);
        if let Some(token) = &input.next_token {
            range = range.after(&(
                &ctx.account,
                &ctx.region,
                &place("DescribeDestinations", token)?[0],
            ));
        }
        let limit = input
            .limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(50);
        let view = self.cloud.store.read();
        let mut found = view
            .range(&self.destinations, range.limit(limit + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let next_token = turn(
            "DescribeDestinations",
            &mut found,
            limit,
            |((_, _, name), _)| vec![name.clone()],
        );
        let shown = found
            .into_iter()
            .map(|((_, _, name), row)| destination_shown(ctx, name, row));
        Ok(DescribeDestinationsOutput {
            destinations: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn delete_destination(
        &self,
        ctx: &Context,
        input: DeleteDestinationInput,
    ) -> Result<DeleteDestinationOutput, Fault> {
        self.change_destination(ctx, |tx| {
            let at = (&ctx.account, &ctx.region, &input.destination_name);
            if !tx.contains(&self.destinations, &at)? {
                return Err(no_destination());
            }
            tx.delete(&self.destinations, &at);
            Ok(())
        })
        .await?;
        Ok(DeleteDestinationOutput {})
    }
}

fn no_destination() -> Fault {
    resource_not_found_exception("The specified destination does not exist.")
}

fn destination_shown(ctx: &Context, name: String, row: DestinationRow) -> Destination {
    Destination {
        arn: Some(
            Arn::new(
                "logs",
                &ctx.region,
                &ctx.account,
                format!("destination:{name}"),
            )
            .to_string(),
        ),
        destination_name: Some(name),
        target_arn: Some(row.target),
        role_arn: Some(row.role),
        access_policy: row.policy,
        creation_time: Some(row.created),
    }
}
