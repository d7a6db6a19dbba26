//! Subscriptions: made, confirmed, described, ended.

use std::collections::BTreeMap;

use cloud::{Arn, Context, PrincipalKind, Source};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record};
use wire::Fault;

use crate::api::*;
use crate::archive::Replay;
use crate::confirmation::is_asked;
use crate::delivery_policy::{self, Effective};
use crate::errors::*;
use crate::filter::Filter;
use crate::service::Sns;
use crate::subscription_attribute::{check, check_endpoint};
use crate::topic::{PAGE, Place, Topic, missing as no_topic};

/// A subscription as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subscription {
    pub(crate) protocol: String,
    pub(crate) endpoint: String,
    pub(crate) owner: String,
    pub(crate) principal: String,
    /// What was set, by AWS's names.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Present until it is confirmed.
    pub(crate) token: Option<String>,
    /// Whether the confirmation was signed, where one was asked for.
    #[serde(default)]
    pub(crate) was_confirmed_by_owner: Option<bool>,
    /// Whether an unsigned request ends it.
    #[serde(default)]
    pub(crate) ends_by_owner_only: bool,
    /// The last replay of its topic's archive.
    #[serde(default)]
    pub(crate) replay: Option<Replay>,
}
impl Record for Subscription {}

impl Subscription {
    pub(crate) fn is_raw(&self) -> bool {
        self.attributes
            .get("RawMessageDelivery")
            .map(String::as_str)
            == Some("true")
    }
    pub(crate) fn filters_body(&self) -> bool {
        self.attributes.get("FilterPolicyScope").map(String::as_str) == Some("MessageBody")
    }
    /// Whether an attribute has that value, perhaps because nothing else was said.
    fn has(&self, name: &str, value: &str) -> bool {
        let own = self.attributes.get(name).map(String::as_str);
        let own = own.or(match name {
            "RawMessageDelivery" => Some("false"),
            "FilterPolicyScope" => Some("MessageAttributes"),
            _ => None,
        });
        own == Some(value)
    }
    /// How an HTTP(S) endpoint gets its messages.
    pub(crate) fn effective(&self, topic: &Topic) -> Effective {
        let own = self.attributes.get("DeliveryPolicy").map(String::as_str);
        Effective::of(topic.delivery_policy(), own)
    }
    /// The queue of what cannot be delivered.
    pub(crate) fn dead_letter(&self) -> Option<String> {
        let policy = self.attributes.get("RedrivePolicy")?;
        let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
        policy["deadLetterTargetArn"].as_str().map(str::to_owned)
    }
}

pub(crate) fn arn(place: &Place, id: &str) -> String {
    format!("{}:{id}", place.arn())
}

pub(crate) fn invalid(what: &str) -> Fault {
    invalid_parameter_exception(format!("Invalid parameter: {what}"))
}

fn missing() -> Fault {
    not_found_exception("Subscription does not exist")
}

/// Reads a subscription's ARN.
fn parse(text: &str) -> Result<(Place, String), Fault> {
    let parts = text.split(':').count();
    if parts < 6 {
        return Err(invalid(&format!(
            "SubscriptionArn Reason: An ARN must have at least 6 elements, not {parts}"
        )));
    }
    let arn = text.parse::<Arn>().map_err(|_| invalid("SubscriptionId"))?;
    match Place::of_arn(&arn) {
        Some((place, Some(id))) => Ok((place, id.to_owned())),
        // A queue's or another ARN with an id behind it.
        None if parts == 7 => Err(missing()),
        _ => Err(invalid("SubscriptionId")),
    }
}

/// An endpoint as it is shown: without a password.
fn shown_endpoint(endpoint: &str) -> String {
    let password = endpoint.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split('/').next()?;
        let (user, host) = authority.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        let path = rest.get(authority.len()..)?;
        Some(format!("{scheme}://{user}:****@{host}{path}"))
    });
    password.unwrap_or_else(|| endpoint.to_owned())
}

impl Sns {
    fn subscription(
        &self,
        reader: &impl Read,
        place: &Place,
        id: &str,
    ) -> Result<(u64, Subscription), Fault> {
        let topic = self.topic(reader, place).map_err(|_| missing())?;
        let found: Option<Subscription> =
            Read::get(reader, &self.subscriptions, &(&place.account, topic.id, id))?;
        found.map(|s| (topic.id, s)).ok_or_else(missing)
    }

    pub(crate) async fn subscribe(
        &self,
        ctx: &Context,
        input: SubscribeInput,
    ) -> Result<SubscribeOutput, Fault> {
        let (place, topic) = self.permitted(ctx, &input.topic_arn, "TopicArn", "SNS:Subscribe")?;
        let endpoint = input.endpoint.unwrap_or_default();
        if endpoint.is_empty() {
            return Err(invalid("Endpoint"));
        }
        check_endpoint(&input.protocol, &endpoint, topic.is_fifo)?;
        if input.protocol == "application" {
            self.check_is_device(&endpoint)?;
        }
        // Whose queue it is must agree to messages of another's topic, unless it is who subscribes.
        let is_foreign = input.protocol == "sqs"
            && endpoint
                .parse::<Arn>()
                .is_ok_and(|arn| arn.account != ctx.account);
        let needs_word = is_asked(&input.protocol) || is_foreign;
        let subscription = Subscription {
            protocol: input.protocol,
            endpoint,
            owner: ctx.account.clone(),
            principal: ctx.principal.arn.clone(),
            attributes: input
                .attributes
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| {
                    let value = crate::subscription_attribute::normal(&name, &value);
                    (name, value)
                })
                .collect(),
            token: needs_word.then(|| Sns::new_word(&place)),
            was_confirmed_by_owner: None,
            ends_by_owner_only: false,
            replay: None,
        };
        for (name, value) in &subscription.attributes {
            check(name, value, "Attributes Reason: ", &subscription)?;
        }
        if subscription.protocol == "firehose"
            && !subscription.attributes.contains_key("SubscriptionRoleArn")
        {
            return Err(invalid(
                "Attributes Reason: SubscriptionRoleArn: An ARN must be provided for firehose subscriptions",
            ));
        }
        if subscription.protocol == "lambda" || subscription.protocol == "sqs" {
            self.log_unreachable(&place, &subscription);
        }
        let signer = self.signer().await?;
        let id = self
            .change(&place, |tx, topic| {
                let known = {
                    let rows = tx.range(
                        &self.subscriptions,
                        Range::prefix(&(&place.account, topic.id)),
                    );
                    let mut known = None;
                    for row in rows {
                        let ((_, _, id), old) = row?;
                        if (&old.protocol, &old.endpoint)
                            == (&subscription.protocol, &subscription.endpoint)
                        {
                            known = Some((id, old));
                            break;
                        }
                    }
                    known
                };
                if let Some((id, mut old)) = known {
                    let differs = subscription
                        .attributes
                        .iter()
                        .any(|(k, v)| !old.has(k, v));
                    if differs {
                        return Err(invalid(
                            "Attributes Reason: Subscription already exists with different attributes",
                        ));
                    }
                    if old.token.is_some() {
                        // Who asks again wants to be asked again.
                        old.token.clone_from(&subscription.token);
                        tx.put(&self.subscriptions, &(&place.account, topic.id, &id), &old)?;
                        self.ask(tx, &place, topic, &id, &old, &signer)?;
                    }
                    return Ok(id);
                }
                let id = cloud::ids::uuid();
                topic.changes += 1;
                match subscription.token {
                    Some(_) => topic.pending += 1,
                    None => topic.confirmed += 1,
                }
                let mut subscription = subscription;
                if let Some(policy) = subscription.attributes.get("ReplayPolicy").cloned() {
                    self.set_replay(tx, &place, topic, &id, &mut subscription, &policy)?;
                }
                tx.put(&self.subscriptions, &(&place.account, topic.id, &id), &subscription)?;
                self.ask(tx, &place, topic, &id, &subscription, &signer)?;
                Ok(id)
            })
            .await?;
        let shows = !needs_word || input.return_subscription_arn == Some(true);
        let shown = if shows {
            arn(&place, &id)
        } else {
            "pending confirmation".to_owned()
        };
        Ok(SubscribeOutput {
            subscription_arn: Some(shown),
        })
    }

    /// A queue or function that will refuse is no error here, as on AWS, but a reason to look for when nothing comes.
    fn log_unreachable(&self, place: &Place, subscription: &Subscription) {
        let source = Source {
            service: "sns.amazonaws.com".into(),
            arn: place.arn(),
            account: place.account.clone(),
            role: None,
        };
        let Ok(endpoint) = subscription.endpoint.parse::<Arn>() else {
            return;
        };
        if let Err(fault) = self.cloud.targets.check(&endpoint, &source) {
            tracing::warn!(topic = place.arn(), endpoint = subscription.endpoint, %fault, "a subscription's endpoint will refuse messages");
        }
    }

    /// The word that a subscription waits for, by its ARN; an error where that is none.
    pub(crate) fn pending_token(&self, text: &str) -> Result<Result<Option<String>, ()>, Fault> {
        if text.parse::<Arn>().is_err() {
            return Ok(Err(()));
        }
        let Ok((place, id)) = parse(text) else {
            return Ok(Ok(None));
        };
        let found = self.subscription(&self.cloud.store, &place, &id);
        Ok(Ok(found.ok().and_then(|(_, s)| s.token)))
    }

    pub(crate) async fn unsubscribe(
        &self,
        ctx: &Context,
        input: UnsubscribeInput,
    ) -> Result<UnsubscribeOutput, Fault> {
        let subscription_arn = input.subscription_arn.unwrap_or_default();
        if subscription_arn.is_empty() {
            return Err(invalid(
                "SubscriptionArn Reason: no value for required parameter",
            ));
        }
        let (place, id) = parse(&subscription_arn)?;
        let is_signed = ctx.principal.kind != PrincipalKind::Anonymous;
        let signer = self.signer().await?;
        let ended = self
            .change(&place, |tx, topic| {
                let at = (&place.account, topic.id, &id);
                let Some(old) = tx.get(&self.subscriptions, &at)? else {
                    return Ok(());
                };
                let is_owner = is_signed && [&old.owner, &place.account].contains(&&ctx.account);
                if (is_signed || old.ends_by_owner_only) && !is_owner {
                    return Err(authorization_error_exception(format!(
                        "User: {} is not authorized to perform: SNS:Unsubscribe on resource: {}",
                        ctx.principal.arn,
                        arn(&place, &id)
                    )));
                }
                topic.changes += 1;
                topic.deleted += 1;
                match old.token {
                    Some(_) => topic.pending = topic.pending.saturating_sub(1),
                    None => topic.confirmed = topic.confirmed.saturating_sub(1),
                }
                tx.delete(&self.subscriptions, &at);
                // Whoever has the URL may have used it: its owner is told.
                if !is_signed && old.token.is_none() && is_asked(&old.protocol) {
                    self.say_farewell(tx, &place, topic, &id, old, &signer)?;
                }
                Ok(())
            })
            .await;
        // What is not there cannot be ended twice; that is no error.
        match ended {
            Err(fault) if fault.code != no_topic().code => Err(fault),
            _ => Ok(UnsubscribeOutput {}),
        }
    }

    pub(crate) async fn get_subscription_attributes(
        &self,
        _: &Context,
        input: GetSubscriptionAttributesInput,
    ) -> Result<GetSubscriptionAttributesOutput, Fault> {
        let (place, id) = parse(&input.subscription_arn)?;
        let view = self.cloud.store.read();
        let topic = self.topic(&view, &place).map_err(|_| missing())?;
        let (_, subscription) = self.subscription(&view, &place, &id)?;
        let mut attributes = subscription.attributes.clone();
        attributes.retain(|_, value| !value.is_empty());
        if let Some(policy) = attributes.get_mut("DeliveryPolicy") {
            *policy = delivery_policy::shown_of_subscription(policy);
        }
        if matches!(subscription.protocol.as_str(), "http" | "https") {
            let own = subscription.attributes.get("DeliveryPolicy");
            let effective = delivery_policy::effective_of_subscription(
                topic.delivery_policy(),
                own.map(String::as_str),
            );
            attributes.insert("EffectiveDeliveryPolicy".into(), effective.to_string());
        }
        if attributes.get("FilterPolicy").map(String::as_str) == Some("{}") {
            attributes.remove("FilterPolicy");
        }
        match attributes.contains_key("FilterPolicy") {
            true => {
                attributes
                    .entry("FilterPolicyScope".into())
                    .or_insert_with(|| "MessageAttributes".into());
            }
            false => drop(attributes.remove("FilterPolicyScope")),
        }
        attributes
            .entry("RawMessageDelivery".into())
            .or_insert_with(|| "false".into());
        if let Some(replay) = &subscription.replay {
            attributes.insert("ReplayStatus".into(), replay.status.clone());
        }
        if attributes.get("ReplayPolicy").map(String::as_str) == Some("{}") {
            attributes.remove("ReplayPolicy");
        }
        let is_pending = subscription.token.is_some();
        let was_authenticated = match subscription.was_confirmed_by_owner {
            Some(by_owner) => by_owner,
            None => !is_pending,
        };
        for (name, value) in [
            ("SubscriptionArn", arn(&place, &id)),
            ("TopicArn", place.arn()),
            ("Protocol", subscription.protocol),
            ("Endpoint", shown_endpoint(&subscription.endpoint)),
            ("Owner", subscription.owner),
            ("SubscriptionPrincipal", subscription.principal),
            ("PendingConfirmation", is_pending.to_string()),
            (
                "ConfirmationWasAuthenticated",
                was_authenticated.to_string(),
            ),
        ] {
            attributes.insert(name.into(), value);
        }
        Ok(GetSubscriptionAttributesOutput {
            attributes: Some(attributes),
        })
    }

    pub(crate) async fn set_subscription_attributes(
        &self,
        _: &Context,
        input: SetSubscriptionAttributesInput,
    ) -> Result<SetSubscriptionAttributesOutput, Fault> {
        let (place, id) = parse(&input.subscription_arn)?;
        let (name, value) = (
            input.attribute_name,
            input.attribute_value.unwrap_or_default(),
        );
        self.change(&place, |tx, topic| {
            let at = (&place.account, topic.id, &id);
            let mut subscription = tx.get(&self.subscriptions, &at)?.ok_or_else(missing)?;
            check(&name, &value, "", &subscription)?;
            if name == "FilterPolicyScope"
                && let Some(policy) = subscription.attributes.get("FilterPolicy")
                && !policy.is_empty()
                && let Err(why) = Filter::parse(policy, value == "MessageBody")
            {
                return Err(invalid(&format!("FilterPolicy: {why}")));
            }
            if name == "ReplayPolicy" {
                self.set_replay(tx, &place, topic, &id, &mut subscription, &value)?;
            }
            let value = crate::subscription_attribute::normal(&name, &value);
            subscription.attributes.insert(name, value);
            topic.changes += 1;
            tx.put(&self.subscriptions, &at, &subscription)?;
            Ok(())
        })
        .await
        .map_err(|fault| match fault.message == no_topic().message {
            true => missing(),
            false => fault,
        })?;
        Ok(SetSubscriptionAttributesOutput {})
    }

    fn shown(place: &Place, id: &str, subscription: Subscription) -> crate::api::Subscription {
        let shown = match subscription.token {
            Some(_) => "PendingConfirmation".to_owned(),
            None => arn(place, id),
        };
        crate::api::Subscription {
            subscription_arn: Some(shown),
            owner: Some(subscription.owner),
            protocol: Some(subscription.protocol),
            endpoint: Some(shown_endpoint(&subscription.endpoint)),
            topic_arn: Some(place.arn()),
        }
    }

    pub(crate) async fn list_subscriptions(
        &self,
        ctx: &Context,
        input: ListSubscriptionsInput,
    ) -> Result<ListSubscriptionsOutput, Fault> {
        let mut from = match input.next_token.filter(|t| !t.is_empty()) {
            Some(token) => {
                let parts = cloud::paging::place("ListSubscriptions", &token);
                let parts = parts.and_then(|p| <[String; 2]>::try_from(p).ok());
                Some(parts.ok_or_else(|| invalid("NextToken"))?)
            }
            None => None,
        };
        let view = self.cloud.store.read();
        let mut topics = Range::prefix(&(&ctx.account, &ctx.region));
        if let Some([name, _]) = &from {
            topics = topics.from(&(&ctx.account, &ctx.region, name));
        }
        let mut shown = Vec::new();
        for row in view.range(&self.topics, topics) {
            let ((account, region, name), topic) = row?;
            let place = Place {
                account,
                region,
                name,
            };
            let mut range = Range::prefix(&(&place.account, topic.id));
            if let Some([_, id]) = from.take().filter(|[name, _]| *name == place.name) {
                range = range.after(&(&place.account, topic.id, &id));
            }
            for row in view.range(&self.subscriptions, range) {
                let ((_, _, id), subscription) = row?;
                shown.push((
                    place.name.clone(),
                    id.clone(),
                    Sns::shown(&place, &id, subscription),
                ));
                if shown.len() > PAGE {
                    break;
                }
            }
            if shown.len() > PAGE {
                break;
            }
        }
        let more = shown.len() > PAGE;
        shown.truncate(PAGE);
        let last = shown.last().filter(|_| more);
        Ok(ListSubscriptionsOutput {
            next_token: last
                .map(|(name, id, _)| cloud::paging::token("ListSubscriptions", &[name, id])),
            subscriptions: Some(shown.into_iter().map(|(_, _, s)| s).collect()),
        })
    }

    pub(crate) async fn list_subscriptions_by_topic(
        &self,
        ctx: &Context,
        input: ListSubscriptionsByTopicInput,
    ) -> Result<ListSubscriptionsByTopicOutput, Fault> {
        let action = "SNS:ListSubscriptionsByTopic";
        let (place, topic) = self.permitted(ctx, &input.topic_arn, "TopicArn", action)?;
        let view = self.cloud.store.read();
        let mut range = Range::prefix(&(&place.account, topic.id)).limit(PAGE + 1);
        if let Some(token) = input.next_token.filter(|t| !t.is_empty()) {
            let id = cloud::paging::place("ListSubscriptionsByTopic", &token)
                .and_then(|mut p| p.pop())
                .ok_or_else(|| invalid("NextToken"))?;
            range = range.after(&(&place.account, topic.id, &id));
        }
        let rows = view
            .range(&self.subscriptions, range)
            .collect::<Result<Vec<_>, _>>()?;
        let last = rows.get(PAGE - 1).filter(|_| rows.len() > PAGE);
        let next_token =
            last.map(|((_, _, id), _)| cloud::paging::token("ListSubscriptionsByTopic", &[id]));
        let shown = rows
            .into_iter()
            .take(PAGE)
            .map(|((_, _, id), s)| Sns::shown(&place, &id, s));
        Ok(ListSubscriptionsByTopicOutput {
            subscriptions: Some(shown.collect()),
            next_token,
        })
    }
}
