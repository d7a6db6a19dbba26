//! Topics: made, listed, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::{
    CreateTopicInput, CreateTopicOutput, DeleteTopicInput, DeleteTopicOutput,
    GetDataProtectionPolicyInput, GetDataProtectionPolicyOutput, ListTopicsInput, ListTopicsOutput,
    PutDataProtectionPolicyInput, PutDataProtectionPolicyOutput,
};
use crate::errors::*;
use crate::service::Sns;
use crate::{archive, attribute, tag};

/// A topic as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Topic {
    /// Tells it from other topics of its name, earlier or later.
    pub(crate) id: u64,
    pub(crate) is_fifo: bool,
    /// What was set, by AWS's names.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) data_protection: Option<String>,
    /// How often its subscriptions have changed.
    pub(crate) changes: u64,
    pub(crate) confirmed: u64,
    pub(crate) pending: u64,
    pub(crate) deleted: u64,
    /// The number of a FIFO topic's last message.
    pub(crate) sequence: u64,
    /// Since when its archive is kept, milliseconds.
    #[serde(default)]
    pub(crate) archived_since: Option<i64>,
}
impl Record for Topic {}

impl Topic {
    /// Its policy for HTTP(S) endpoints, where one is set.
    pub(crate) fn delivery_policy(&self) -> Option<&str> {
        self.attributes.get("DeliveryPolicy").map(String::as_str)
    }
    /// Notes when the archive began or ended, after its policy may have changed.
    pub(crate) fn note_archive(&mut self, now: Timestamp) {
        self.archived_since = match archive::is_kept(self) {
            true => self.archived_since.or(Some(now.0)),
            false => None,
        };
    }
    /// Which signature its messages have.
    pub(crate) fn signature_version(&self) -> &str {
        let version = self.attributes.get("SignatureVersion");
        version.map_or("1", String::as_str)
    }
}

/// Which topic is meant.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
}

/// How many topics or subscriptions a page lists.
pub(crate) const PAGE: usize = 100;

impl Place {
    /// The topic of an ARN, perhaps of one of its subscriptions, whose id is the second part.
    pub(crate) fn of_arn(arn: &Arn) -> Option<(Place, Option<&str>)> {
        if arn.service != "sns" || arn.account.is_empty() || arn.region.is_empty() {
            return None;
        }
        let (name, subscription) = match arn.resource.split_once(':') {
            Some((name, subscription)) => (name, Some(subscription)),
            None => (arn.resource.as_str(), None),
        };
        let place = Place {
            account: arn.account.clone(),
            region: arn.region.clone(),
            name: name.to_owned(),
        };
        Some((place, subscription))
    }
    /// Reads a topic's ARN; `what` is the parameter's name.
    pub(crate) fn parse(text: &str, what: &str) -> Result<Place, Fault> {
        let parts = text.split(':').count();
        if parts < 6 {
            return Err(invalid_parameter_exception(format!(
                "Invalid parameter: {what} Reason: An ARN must have at least 6 elements, not {parts}"
            )));
        }
        let arn = text.parse::<Arn>().ok();
        match arn.as_ref().and_then(Place::of_arn) {
            Some((place, None)) => Ok(place),
            _ => Err(invalid_parameter_exception(format!(
                "Invalid parameter: {what}"
            ))),
        }
    }
    /// Reads the ARN of a topic of the region that was asked.
    pub(crate) fn of(ctx: &Context, text: &str, what: &str) -> Result<Place, Fault> {
        let place = Place::parse(text, what)?;
        match place.region == ctx.region {
            true => Ok(place),
            false => Err(invalid_parameter_exception(format!(
                "Invalid parameter: {what}"
            ))),
        }
    }
    pub(crate) fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.name)
    }
    pub(crate) fn arn(&self) -> String {
        Arn::new("sns", &self.region, &self.account, self.name.as_str()).to_string()
    }
    pub(crate) fn scope(&self) -> [&str; 4] {
        ["sns", &self.account, &self.region, &self.name]
    }
}

pub(crate) fn missing() -> Fault {
    not_found_exception("Topic does not exist")
}

fn is_name(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl Sns {
    /// The topic, which must exist.
    pub(crate) fn topic(&self, reader: &impl Read, place: &Place) -> Result<Arc<Topic>, Fault> {
        self.recent
            .get(reader, &self.topics, &place.key())?
            .ok_or_else(missing)
    }

    /// Changes a topic's row under its lock.
    pub(crate) async fn change<R>(
        &self,
        place: &Place,
        f: impl FnOnce(&mut Tx<'_>, &mut Topic) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let mut topic = (*self.topic(tx, place)?).clone();
                let result = f(tx, &mut topic)?;
                tx.put(&self.topics, &place.key(), &topic)?;
                Ok(result)
            })
            .await
    }

    pub(crate) async fn create_topic(
        &self,
        ctx: &Context,
        input: CreateTopicInput,
    ) -> Result<CreateTopicOutput, Fault> {
        let mut attributes = input.attributes.unwrap_or_default();
        let is_fifo = match attributes.remove("FifoTopic") {
            None => false,
            Some(text) if text.eq_ignore_ascii_case("true") => true,
            Some(text) if text.eq_ignore_ascii_case("false") => false,
            Some(_) => {
                return Err(invalid_parameter_exception(
                    "Invalid parameter: FifoTopic Reason: Must be one of: true, false",
                ));
            }
        };
        let stem = input.name.strip_suffix(".fifo");
        match (is_fifo, stem) {
            (true, Some(stem)) if is_name(stem) && input.name.len() <= 256 => {}
            (true, _) => {
                return Err(invalid_parameter_exception("Invalid parameter: Topic Name"));
            }
            (false, _) if is_name(&input.name) => {}
            (false, _) => {
                return Err(invalid_parameter_exception("Invalid parameter: Topic Name"));
            }
        }
        for (name, value) in &mut attributes {
            attribute::settle(name, value);
            attribute::check(name, value, is_fifo)?;
        }
        let tags = tag::read(input.tags.unwrap_or_default())?;
        let place = Place {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: input.name,
        };
        let mut id = [0; 8];
        cloud::ids::random(&mut id);
        let mut topic = Topic {
            id: u64::from_be_bytes(id),
            is_fifo,
            attributes,
            tags,
            data_protection: input.data_protection_policy,
            changes: 0,
            confirmed: 0,
            pending: 0,
            deleted: 0,
            sequence: 0,
            archived_since: None,
        };
        topic.note_archive(ctx.time);
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let Some(old) = self.recent.get(tx, &self.topics, &place.key())? else {
                    tx.put(&self.topics, &place.key(), &topic)?;
                    return Ok(());
                };
                let differs = topic
                    .attributes
                    .iter()
                    .any(|(k, v)| attribute::value(&place, &old, k).as_ref() != Some(v));
                if differs {
                    return Err(invalid_parameter_exception(
                        "Invalid parameter: Attributes Reason: Topic already exists with different attributes",
                    ));
                }
                // Some of the tags that it has may be left out.
                if topic.tags.iter().any(|(k, v)| old.tags.get(k) != Some(v)) {
                    return Err(invalid_parameter_exception(
                        "Invalid parameter: Tags Reason: Topic already exists with different tags",
                    ));
                }
                Ok(())
            })
            .await?;
        Ok(CreateTopicOutput {
            topic_arn: Some(place.arn()),
        })
    }

    pub(crate) async fn delete_topic(
        &self,
        ctx: &Context,
        input: DeleteTopicInput,
    ) -> Result<DeleteTopicOutput, Fault> {
        let place = Place::of(ctx, &input.topic_arn, "TopicArn")?;
        let scope = place.scope();
        let id = self
            .cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                // Deleting what is not there succeeds.
                let Some(topic) = self.recent.get(tx, &self.topics, &place.key())? else {
                    return Ok::<_, Fault>(None);
                };
                self.permit(ctx, &place, &topic, "SNS:DeleteTopic")?;
                if archive::is_kept(&topic) {
                    return Err(invalid_state_exception(
                        "Invalid state: The topic has an active ArchivePolicy. Deactivate it before the topic is deleted",
                    ));
                }
                self.drop_archive(tx, &place.account, topic.id)?;
                tx.delete(&self.topics, &place.key());
                let of = (place.account.as_str(), topic.id);
                let ids = {
                    let rows = tx.range(&self.subscriptions, Range::prefix(&of));
                    rows.map(|row| row.map(|((_, _, id), _)| id))
                        .collect::<Result<Vec<_>, _>>()?
                };
                for id in ids {
                    tx.delete(&self.subscriptions, &(&place.account, topic.id, &id));
                }
                let recent = {
                    let rows = tx.range(&self.dedup_times, Range::prefix(&of));
                    rows.map(|row| row.map(|((_, _, time, id), _)| (time, id)))
                        .collect::<Result<Vec<_>, _>>()?
                };
                for (time, id) in recent {
                    tx.delete(&self.deduplications, &(&place.account, topic.id, &id));
                    tx.delete(&self.dedup_times, &(&place.account, topic.id, time, &id));
                }
                Ok(Some(topic.id))
            })
            .await?;
        if let Some(id) = id {
            self.audiences.write().remove(&id);
        }
        Ok(DeleteTopicOutput {})
    }

    pub(crate) async fn list_topics(
        &self,
        ctx: &Context,
        input: ListTopicsInput,
    ) -> Result<ListTopicsOutput, Fault> {
        let mut range = Range::prefix(&(&ctx.account, &ctx.region)).limit(PAGE + 1);
        if let Some(token) = input.next_token.filter(|t| !t.is_empty()) {
            let name = cloud::paging::place("ListTopics", &token)
                .and_then(|mut p| p.pop())
                .ok_or_else(|| invalid_parameter_exception("Invalid parameter: NextToken"))?;
            range = range.after(&(&ctx.account, &ctx.region, &name));
        }
        let view = self.cloud.store.read();
        let mut names = view
            .range(&self.topics, range)
            .map(|row| row.map(|((_, _, name), _)| name))
            .collect::<Result<Vec<_>, _>>()?;
        let more = names.len() > PAGE;
        names.truncate(PAGE);
        let next_token = names
            .last()
            .filter(|_| more)
            .map(|name| cloud::paging::token("ListTopics", &[name]));
        let topics = names.into_iter().map(|name| crate::api::Topic {
            topic_arn: Some(Arn::new("sns", &ctx.region, &ctx.account, name).to_string()),
        });
        Ok(ListTopicsOutput {
            topics: Some(topics.collect()),
            next_token,
        })
    }

    pub(crate) async fn get_data_protection_policy(
        &self,
        ctx: &Context,
        input: GetDataProtectionPolicyInput,
    ) -> Result<GetDataProtectionPolicyOutput, Fault> {
        let action = "SNS:GetDataProtectionPolicy";
        let (_, topic) = self.permitted(ctx, &input.resource_arn, "ResourceArn", action)?;
        Ok(GetDataProtectionPolicyOutput {
            data_protection_policy: topic.data_protection.clone(),
        })
    }

    pub(crate) async fn put_data_protection_policy(
        &self,
        ctx: &Context,
        input: PutDataProtectionPolicyInput,
    ) -> Result<PutDataProtectionPolicyOutput, Fault> {
        let action = "SNS:PutDataProtectionPolicy";
        let (place, _) = self.permitted(ctx, &input.resource_arn, "ResourceArn", action)?;
        let policy = input.data_protection_policy;
        let is_json =
            serde_json::from_str::<serde_json::Value>(&policy).is_ok_and(|v| v.is_object());
        if !is_json && !policy.is_empty() {
            return Err(invalid_parameter_exception(
                "Invalid parameter: DataProtectionPolicy Reason: Invalid JSON",
            ));
        }
        self.change(&place, |_, topic| {
            topic.data_protection = (!policy.is_empty()).then_some(policy);
            Ok(())
        })
        .await?;
        Ok(PutDataProtectionPolicyOutput {})
    }
}
