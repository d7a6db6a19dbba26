//! Confirmations: who is to get messages elsewhere must agree, and may change the mind about an end.

use cloud::{Context, Job, PrincipalKind};
use serde::{Deserialize, Serialize};
use store::{Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::{ConfirmSubscriptionInput, ConfirmSubscriptionOutput};
use crate::captured::{self, CONFIRMATION, Captured, Medium};
use crate::delivery::source;
use crate::errors::*;
use crate::message::{Desk, Draft};
use crate::post::Post;
use crate::service::Sns;
use crate::signature::Signer;
use crate::subscription::{Subscription, arn};
use crate::topic::{Place, Topic};

/// A word that was sent, by which its receiver confirms.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Word {
    region: String,
    topic: String,
    subscription: String,
    /// The subscription as it was when it ended: the word restores it.
    ended: Option<Subscription>,
}
impl Record for Word {}

/// A job that ends what nobody confirmed.
#[derive(Serialize, Deserialize)]
struct Forgotten {
    account: String,
    token: String,
}

const FORGET: &str = "sns.word";

/// How long a word holds, milliseconds: two days.
const HOLDS: i64 = 2 * 86_400_000;

/// Digits of a word, as AWS's have.
const DIGITS: usize = 288;

fn invalid(what: &str) -> Fault {
    invalid_parameter_exception(format!("Invalid parameter: {what}"))
}

/// Whether endpoints of a protocol must agree.
pub(crate) fn is_asked(protocol: &str) -> bool {
    matches!(protocol, "http" | "https" | "email" | "email-json")
}

impl Sns {
    /// Begins to forget words that nobody gave back.
    pub(crate) fn register_words(&self) {
        let me = self.me.clone();
        self.cloud.scheduler.register(FORGET, move |job: Job| {
            let me = me.clone();
            Box::pin(async move {
                let forgotten: Forgotten = serde_json::from_value(job.payload)?;
                match me.upgrade() {
                    Some(sns) => sns.forget_word(forgotten).await,
                    None => Ok(()),
                }
            })
        });
    }

    async fn forget_word(&self, forgotten: Forgotten) -> Result<(), Fault> {
        let at = (&forgotten.account, &forgotten.token);
        let found: Option<Word> = self.cloud.store.read().get(&self.words, &at)?;
        let Some(word) = found else {
            return Ok(());
        };
        let place = Place {
            account: forgotten.account.clone(),
            region: word.region,
            name: word.topic,
        };
        let scope = place.scope();
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                tx.delete(&self.words, &at);
                let Some(topic) = self.recent.get(tx, &self.topics, &place.key())? else {
                    return Ok(());
                };
                let mut topic = (*topic).clone();
                let at = (&place.account, topic.id, &word.subscription);
                let subscription: Option<Subscription> = tx.get(&self.subscriptions, &at)?;
                if subscription.is_some_and(|s| s.token.as_ref() == Some(&forgotten.token)) {
                    tx.delete(&self.subscriptions, &at);
                    topic.changes += 1;
                    topic.pending = topic.pending.saturating_sub(1);
                    topic.deleted += 1;
                    tx.put(&self.topics, &place.key(), &topic)?;
                }
                Ok(())
            })
            .await
    }

    /// A new word. It names its region, so that what is asked elsewhere can be told.
    pub(crate) fn new_word(place: &Place) -> String {
        let mut token = hex::encode(format!("{}/", place.region));
        token.push_str(&cloud::ids::hex(DIGITS.saturating_sub(token.len())));
        token
    }

    fn keep_word(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        id: &str,
        token: &str,
        ended: Option<Subscription>,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let word = Word {
            region: place.region.clone(),
            topic: place.name.clone(),
            subscription: id.to_owned(),
            ended,
        };
        tx.put(&self.words, &(&place.account, token), &word)?;
        let forgotten = serde_json::to_value(Forgotten {
            account: place.account.clone(),
            token: token.to_owned(),
        })?;
        let when = now.plus_millis(HOLDS);
        self.cloud.scheduler.at(tx, when, FORGET, token, forgotten)
    }

    /// Asks a subscription's endpoint whether it agrees, within the transaction that makes it.
    pub(crate) fn ask(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        topic: &Topic,
        id: &str,
        subscription: &Subscription,
        signer: &Signer,
    ) -> Result<(), Fault> {
        let Some(token) = subscription.token.as_deref() else {
            return Ok(());
        };
        let kind = "SubscriptionConfirmation";
        self.keep_word(tx, place, id, token, None, self.cloud.clock.now())?;
        self.say(tx, place, topic, id, subscription, kind, token, signer)
    }

    /// Tells an endpoint that its subscription has ended, and how to have it back.
    pub(crate) fn say_farewell(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        topic: &Topic,
        id: &str,
        subscription: Subscription,
        signer: &Signer,
    ) -> Result<(), Fault> {
        let token = Sns::new_word(place);
        let kind = "UnsubscribeConfirmation";
        self.say(tx, place, topic, id, &subscription, kind, &token, signer)?;
        let now = self.cloud.clock.now();
        self.keep_word(tx, place, id, &token, Some(subscription), now)
    }

    #[allow(clippy::too_many_arguments, reason = "what a message is made of")]
    fn say(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        topic: &Topic,
        id: &str,
        subscription: &Subscription,
        kind: &str,
        token: &str,
        signer: &Signer,
    ) -> Result<(), Fault> {
        let endpoint = self.endpoint();
        let version = topic.signature_version();
        let desk = Desk::new(place, &endpoint, Some(signer), version);
        let now = self.cloud.clock.now();
        let message = cloud::ids::uuid();
        let text = desk.word(kind, &message, token, &arn(place, id), now)?;
        match subscription.protocol.as_str() {
            "http" | "https" => {
                let mut post = Post::new(&subscription.endpoint, subscription.effective(topic));
                // What content messages have is said of messages only.
                post.content_type = "text/plain; charset=UTF-8".into();
                post.kind = kind.into();
                post.message = message;
                post.topic = place.arn();
                post.owner.clone_from(&place.account);
                post.body = text;
                if kind == "UnsubscribeConfirmation" {
                    post.subscription = Some(arn(place, id));
                }
                self.post(tx, &post)
            }
            "email" | "email-json" => {
                let url = desk.subscribe_url(token);
                let text = match (subscription.protocol.as_str(), kind) {
                    ("email-json", _) => text,
                    (_, "SubscriptionConfirmation") => format!(
                        "You have chosen to subscribe to the topic:\n{}\n\nTo confirm this subscription, click or visit the link below (If this was in error no action is necessary):\n{url}",
                        place.arn()
                    ),
                    _ => captured::mail(
                        &format!(
                            "Your subscription to the topic below has been deactivated:\n{}\n\nIf this was in error, visit the link below to restore it:\n{url}",
                            place.arn()
                        ),
                        &desk.unsubscribe_url(&arn(place, id)),
                        &subscription.endpoint,
                    ),
                };
                let draft = Draft {
                    message: text,
                    subject: Some(CONFIRMATION.into()),
                    structure: None,
                    attributes: Default::default(),
                    group: None,
                    dedup: None,
                };
                let message = draft.check(now)?;
                let mut captured = Captured::of(&message, &subscription.endpoint, Medium::Mail);
                captured.topic = Some(place.arn());
                captured.subscription = Some(arn(place, id));
                self.keep(tx, place, Medium::Mail, &captured)
            }
            _ => {
                let delivery = cloud::Delivery {
                    target: subscription.endpoint.clone(),
                    payload: text,
                    source: source(place, None),
                    ..Default::default()
                };
                self.cloud.targets.send(tx, &delivery)
            }
        }
    }

    pub(crate) async fn confirm_subscription(
        &self,
        ctx: &Context,
        input: ConfirmSubscriptionInput,
    ) -> Result<ConfirmSubscriptionOutput, Fault> {
        // Whoever has the word may give it back, from anywhere and about any topic's name.
        let asked = Place::parse(&input.topic_arn, "TopicArn").map_err(|_| invalid("Topic"))?;
        if !input.token.bytes().all(|b| b.is_ascii_hexdigit()) || input.token.is_empty() {
            return Err(invalid_parameter_exception("Invalid token"));
        }
        let at = (&asked.account, &input.token);
        let found: Option<Word> = self.cloud.store.read().get(&self.words, &at)?;
        let word = found.ok_or_else(|| invalid("Token"))?;
        if word.region != asked.region {
            return Err(invalid("Topic"));
        }
        let place = Place {
            account: asked.account.clone(),
            region: word.region,
            name: word.topic,
        };
        let is_signed = ctx.principal.kind != PrincipalKind::Anonymous;
        let asks_owner = input
            .authenticate_on_unsubscribe
            .is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if asks_owner && !is_signed {
            return Err(authorization_error_exception(
                "Authentication is required to set AuthenticateOnUnsubscribe",
            ));
        }
        let id = word.subscription;
        self.change(&place, |tx, topic| {
            let at = (&place.account, topic.id, &id);
            let found: Option<Subscription> = tx.get(&self.subscriptions, &at)?;
            let (mut subscription, was_ended) = match (found, word.ended.clone()) {
                (Some(subscription), _) => (subscription, false),
                (None, Some(ended)) => (ended, true),
                (None, None) => return Err(invalid("Token")),
            };
            if !was_ended && subscription.token.is_none() {
                return Ok(());
            }
            topic.changes += 1;
            topic.confirmed += 1;
            match was_ended {
                true => topic.deleted = topic.deleted.saturating_sub(1),
                false => topic.pending = topic.pending.saturating_sub(1),
            }
            subscription.token = None;
            subscription.was_confirmed_by_owner = Some(is_signed);
            subscription.ends_by_owner_only = asks_owner;
            tx.put(&self.subscriptions, &at, &subscription)?;
            Ok(())
        })
        .await
        .map_err(|fault| match fault.code == not_found_exception("").code {
            true => invalid("Token"),
            false => fault,
        })?;
        Ok(ConfirmSubscriptionOutput {
            subscription_arn: Some(arn(&place, &id)),
        })
    }
}
