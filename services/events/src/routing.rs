//! From an event to the targets of the rules that it matches.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::{Arn, Delivery, EventPattern, RetryPolicy, Source};
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Range, Read, Record, Tx};
use wire::Fault;

use crate::api::Target;
use crate::archive::Archive;
use crate::event::Event;
use crate::place::Place;
use crate::service::Events;
use crate::{input, pattern};

/// Tells one state of a bus's rules from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp(u64);
impl Record for Stamp {}

/// A rule that listens to events.
struct Route {
    name: String,
    arn: String,
    pattern: EventPattern,
    targets: Vec<Target>,
}

/// Who listens on a bus.
pub(crate) struct Routes {
    stamp: Option<Stamp>,
    rules: Vec<Route>,
    archives: Vec<(String, Option<EventPattern>, Archive)>,
}

impl Events {
    /// Says that a bus's rules are not what they were.
    pub(crate) fn reroute(&self, tx: &mut Tx<'_>, place: &Place) -> Result<(), Fault> {
        let mut stamp = [0; 8];
        cloud::ids::random(&mut stamp);
        tx.put(
            &self.routes,
            &place.key(),
            &Stamp(u64::from_be_bytes(stamp)),
        )?;
        Ok(())
    }

    /// Who listens on a bus now.
    fn routes(&self, reader: &impl Read, place: &Place) -> Result<Arc<Routes>, Fault> {
        let stamp = Read::get(reader, &self.routes, &place.key())?;
        if let Some(known) = self.known.read().get(place).cloned()
            && known.stamp == stamp
        {
            return Ok(known);
        }
        let mut rules = Vec::new();
        let rows = reader.range(&self.rules, Range::prefix(&place.key()));
        for row in rows {
            let ((_, _, _, name), rule) = row?;
            let Some(text) = rule.pattern.as_ref().filter(|_| rule.is_enabled()) else {
                continue;
            };
            // Archives keep events by themselves; their rules are there to be seen.
            if rule.managed_by.is_some() {
                continue;
            }
            let targets = self.targets_of(reader, place, &name)?;
            rules.push(Route {
                arn: place.rule_arn(&name),
                pattern: pattern::parse(text)?,
                targets: targets.into_iter().map(|(_, target)| target).collect(),
                name,
            });
        }
        let mut archives = Vec::new();
        for (name, archive) in self.archives_of(reader, place)? {
            let pattern = archive.pattern.as_deref().map(pattern::parse).transpose()?;
            archives.push((name, pattern, archive));
        }
        let routes = Arc::new(Routes {
            stamp,
            rules,
            archives,
        });
        self.known.write().insert(place.clone(), routes.clone());
        Ok(routes)
    }

    /// Sends an event to whoever listens on the bus; to those rules alone, where `only` names some.
    pub(crate) fn route(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        event: &Event,
        only: Option<&[String]>,
    ) -> Result<(), Fault> {
        let routes = self.routes(tx, place)?;
        for route in &routes.rules {
            let is_meant = only.is_none_or(|arns| arns.contains(&route.arn));
            if !is_meant || !route.pattern.matches(&event.value) {
                continue;
            }
            for target in &route.targets {
                self.send(tx, place, &route.name, target, event)?;
            }
        }
        // What is replayed is in an archive already.
        if event.value.get("replay-name").is_none() {
            for (name, pattern, archive) in &routes.archives {
                if pattern.as_ref().is_none_or(|p| p.matches(&event.value)) {
                    self.keep(tx, place, name, archive, event)?;
                }
            }
        }
        Ok(())
    }

    /// Sends an event to one target of a rule.
    pub(crate) fn send(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        rule: &str,
        target: &Target,
        event: &Event,
    ) -> Result<(), Fault> {
        let rule_arn = place.rule_arn(rule);
        let about = input::About {
            rule_arn: &rule_arn,
            rule_name: rule,
            ingestion: self.cloud.clock.now(),
        };
        let dead_letter = target
            .dead_letter_config
            .as_ref()
            .and_then(|c| c.arn.clone());
        let retry = retry(target);
        let dead_parameters = BTreeMap::from([
            ("RULE_ARN".to_owned(), rule_arn.clone()),
            ("TARGET_ARN".to_owned(), target.arn.clone()),
        ]);
        let mut delivery = Delivery {
            target: target.arn.clone(),
            payload: String::new(),
            source: Source {
                service: "events.amazonaws.com".into(),
                arn: rule_arn.clone(),
                account: place.account.clone(),
                role: target.role_arn.clone(),
            },
            trace: event.trace.clone(),
            parameters: parameters(target, event),
            retry,
            dead_letter,
            dead_parameters,
            dead_payload: None,
            names_error_class: true,
            note: None,
        };
        match input::payload(target, event, &about) {
            Some(payload) => {
                let is_other = delivery.dead_letter.is_some() && payload != event.text;
                delivery.dead_payload = is_other.then(|| event.text.clone());
                delivery.payload = payload;
            }
            None => {
                tracing::warn!(
                    rule = rule_arn,
                    target_id = target.id,
                    "the target's input template makes no JSON of the event"
                );
                return self.bury(
                    tx,
                    delivery,
                    event,
                    "INVALID_JSON",
                    "The input transformer's output is not valid JSON.",
                );
            }
        }
        if let Some((code, message)) = hop(place, target, event) {
            return self.bury(tx, delivery, event, code, message);
        }
        self.cloud.targets.send(tx, &delivery)
    }

    /// Sends what can never be delivered to the target's dead-letter queue, if it has one.
    fn bury(
        &self,
        tx: &mut Tx<'_>,
        delivery: Delivery,
        event: &Event,
        code: &str,
        message: &str,
    ) -> Result<(), Fault> {
        let Some(queue) = delivery.dead_letter else {
            return Ok(());
        };
        let mut parameters = delivery.dead_parameters;
        parameters.insert("RETRY_ATTEMPTS".into(), "0".into());
        parameters.insert("ERROR_CODE".into(), code.into());
        parameters.insert("ERROR_MESSAGE".into(), message.into());
        let dead = Delivery {
            target: queue,
            payload: event.text.clone(),
            source: delivery.source,
            parameters,
            retry: delivery.retry,
            ..Delivery::default()
        };
        self.cloud.targets.send(tx, &dead)
    }
}

/// An event goes from its account, or region, to another one and no further.
fn hop(place: &Place, target: &Target, event: &Event) -> Option<(&'static str, &'static str)> {
    let arn: Arn = target.arn.parse().ok()?;
    let next = Place::of_arn(&arn)?;
    if event.field("account") != place.account && next.account != place.account {
        return Some((
            "THIRD_ACCOUNT_HOP_DETECTED",
            "The event was sent from another account and cannot be sent to a third one.",
        ));
    }
    if event.field("region") != place.region && next.region != place.region {
        return Some((
            "THIRD_REGION_HOP_DETECTED",
            "The event was sent from another region and cannot be sent to a third one.",
        ));
    }
    None
}

fn retry(target: &Target) -> RetryPolicy {
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
    retry
}

/// What only some kinds of target need to know.
fn parameters(target: &Target, event: &Event) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let group = target.sqs_parameters.as_ref();
    if let Some(group) = group.and_then(|p| p.message_group_id.as_ref()) {
        all.insert("MessageGroupId".to_owned(), group.clone());
    }
    let is_stream = target.arn.split(':').nth(2) == Some("kinesis");
    if is_stream {
        let path = target.kinesis_parameters.as_ref();
        let key = path.and_then(|p| input::text_at(&event.text, &p.partition_key_path));
        all.insert(
            "partition_key".to_owned(),
            key.unwrap_or_else(|| event.id.clone()),
        );
    }
    if let Some(http) = &target.http_parameters {
        // A value may be a path into the event.
        let value = |text: &String| match text.starts_with("$.") {
            true => input::text_at(&event.text, text).unwrap_or_default(),
            false => text.clone(),
        };
        let values = |map: &Option<BTreeMap<String, String>>| -> Option<BTreeMap<String, String>> {
            let map = map.as_ref()?.iter();
            Some(map.map(|(k, v)| (k.clone(), value(v))).collect())
        };
        let path = http.path_parameter_values.as_ref();
        let http = json!({
            "path": path.map(|all| all.iter().map(value).collect::<Vec<_>>()),
            "headers": values(&http.header_parameters),
            "query": values(&http.query_string_parameters),
        });
        all.insert("HttpParameters".to_owned(), http.to_string());
    }
    all
}
