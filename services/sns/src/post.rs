//! Messages to HTTP(S) endpoints.
//!
//! A message that waits for its next try is a fact or a planned job, so a crash loses none. A try is made in a task of
//! its own: an endpoint that hangs keeps nobody else waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::{Delivery, Fact, HttpCall, HttpError, Job, Source};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::{Scope, Tx};
use wire::{Bytes, Fault, Timestamp};

use crate::delivery_policy::{Effective, Retries};
use crate::feedback::{Note, Status};
use crate::service::Sns;
use crate::topic::Place;

/// A message on its way to an endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Post {
    /// Names its tries.
    pub(crate) id: String,
    pub(crate) url: String,
    /// `Notification`, `SubscriptionConfirmation`, `UnsubscribeConfirmation`.
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) topic: String,
    pub(crate) owner: String,
    pub(crate) subscription: Option<String>,
    pub(crate) is_raw: bool,
    pub(crate) body: String,
    pub(crate) content_type: String,
    pub(crate) retries: Retries,
    pub(crate) throttle: Option<f64>,
    pub(crate) dead_letter: Option<String>,
    /// What its message in the dead-letter queue has besides its text.
    pub(crate) parameters: BTreeMap<String, String>,
    /// How often it was tried.
    pub(crate) tries: u32,
    /// What is told of it, where its topic has its status told.
    #[serde(default)]
    pub(crate) note: Option<Note>,
}

impl Fact for Post {
    const NAME: &'static str = "sns.Post";
}

/// The kind of jobs that try again.
const AGAIN: &str = "sns.post";

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a try went.
enum Outcome {
    /// With what status and words.
    Taken(Option<u16>, Bytes),
    Later(Refused),
    Never(Refused),
}

/// Why a try failed.
struct Refused {
    why: String,
    status: Option<u16>,
    /// What the endpoint said.
    text: Bytes,
}

impl Refused {
    fn without_answer(error: &HttpError) -> Refused {
        Refused {
            why: error.to_string(),
            status: None,
            text: error.to_string().into(),
        }
    }
}

impl Post {
    /// Of a subscription, its content yet to be said.
    pub(crate) fn new(url: &str, effective: Effective) -> Post {
        Post {
            id: cloud::ids::uuid(),
            url: url.to_owned(),
            kind: "Notification".into(),
            message: String::new(),
            topic: String::new(),
            owner: String::new(),
            subscription: None,
            is_raw: false,
            body: String::new(),
            content_type: effective.content_type,
            retries: effective.retries,
            throttle: effective.throttle,
            dead_letter: None,
            parameters: BTreeMap::new(),
            tries: 0,
            note: None,
        }
    }

    fn call(&self) -> HttpCall {
        let mut call = HttpCall::post(self.url.as_str(), self.body.clone())
            .header("x-amz-sns-message-type", &self.kind)
            .header("x-amz-sns-message-id", &self.message)
            .header("x-amz-sns-topic-arn", &self.topic)
            .header("content-type", &self.content_type)
            .header("user-agent", "Amazon Simple Notification Service Agent")
            .header("connection", "Keep-Alive")
            .header("accept-encoding", "gzip,deflate");
        if let Some(subscription) = &self.subscription {
            call = call.header("x-amz-sns-subscription-arn", subscription);
        }
        if self.is_raw {
            call = call.header("x-amz-sns-rawdelivery", "true");
        }
        call.timeout = PATIENCE;
        call
    }

    /// The name and password in the URL, as a header has them.
    fn authorization(&self) -> Option<String> {
        let url: http::Uri = self.url.parse().ok()?;
        let (user, _) = url.authority()?.as_str().rsplit_once('@')?;
        let user = percent_encoding::percent_decode_str(user).collect::<Vec<u8>>();
        Some(format!("Basic {}", STANDARD.encode(user)))
    }
}

impl Sns {
    /// Begins to carry messages to endpoints.
    pub(crate) fn register_posts(&self) {
        let me = self.me.clone();
        self.cloud.facts.subscribe::<Post>(move |post| {
            let me = me.clone();
            Box::pin(async move {
                match me.upgrade() {
                    Some(sns) => sns.carry(post).await,
                    None => Ok(()),
                }
            })
        });
        let me = self.me.clone();
        self.cloud.scheduler.register(AGAIN, move |job: Job| {
            let me = me.clone();
            Box::pin(async move {
                let Some(sns) = me.upgrade() else {
                    return Ok(());
                };
                let post: Post = serde_json::from_value(job.payload)?;
                // As a fact it is tried beside other jobs, not before them.
                let scope = ["sns.posts", post.id.as_str()];
                let store = &sns.cloud.store;
                store
                    .transact(Scope::new(&scope), |tx| sns.post(tx, &post))
                    .await
            })
        });
    }

    /// Sends within a transaction.
    pub(crate) fn post(&self, tx: &mut Tx<'_>, post: &Post) -> Result<(), Fault> {
        self.cloud.facts.emit(tx, post)
    }

    async fn carry(&self, mut post: Post) -> Result<(), Fault> {
        loop {
            self.wait_for_turn(&post).await;
            let at = self.cloud.clock.now();
            let refused = match self.attempt(&post).await {
                Outcome::Taken(status, text) => {
                    self.tell_of_post(&post, at, post.tries + 1, Ok((status, text)))
                        .await;
                    return Ok(());
                }
                Outcome::Never(refused) => {
                    self.tell_of_post(&post, at, post.tries + 1, Err(&refused))
                        .await;
                    return self.end(post, &refused.why).await;
                }
                Outcome::Later(refused) => refused,
            };
            post.tries += 1;
            let why = refused.why.as_str();
            match post.retries.delay(post.tries) {
                Some(0) => {}
                Some(delay) => {
                    tracing::debug!(url = post.url, why, delay, "an endpoint is tried again");
                    let when = self.cloud.clock.now().plus_millis(delay);
                    return self.plan(&post, when).await;
                }
                None => {
                    self.tell_of_post(&post, at, post.tries, Err(&refused))
                        .await;
                    return self.end(post, why).await;
                }
            }
        }
    }

    async fn plan(&self, post: &Post, when: Timestamp) -> Result<(), Fault> {
        let scope = ["sns.posts", post.id.as_str()];
        let payload = serde_json::to_value(post)?;
        let scheduler = &self.cloud.scheduler;
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                scheduler.at(tx, when, AGAIN, &post.id, payload)
            })
            .await
    }

    async fn attempt(&self, post: &Post) -> Outcome {
        let mut answer = self.cloud.http.call(post.call()).await;
        if let Ok(refused) = &answer
            && refused.status == StatusCode::UNAUTHORIZED
            && let Some(authorization) = post.authorization()
        {
            let call = post.call().header("authorization", &authorization);
            answer = self.cloud.http.call(call).await;
        }
        match answer {
            Ok(answer) => {
                let status = answer.status.as_u16();
                let text = answer.body;
                if (200..300).contains(&status) {
                    return Outcome::Taken(Some(status), text);
                }
                let refused = Refused {
                    why: format!("status {status}"),
                    status: Some(status),
                    text,
                };
                match status {
                    100..200 | 429 | 500.. => Outcome::Later(refused),
                    _ => Outcome::Never(refused),
                }
            }
            // What it has taken, it has taken.
            Err(HttpError::TooLarge) => Outcome::Taken(None, Bytes::new()),
            Err(e @ HttpError::Url(_)) => Outcome::Never(Refused::without_answer(&e)),
            Err(e) => Outcome::Later(Refused::without_answer(&e)),
        }
    }

    /// Writes how a message's way to an endpoint ended, where its topic has that told.
    async fn tell_of_post(
        &self,
        post: &Post,
        at: Timestamp,
        attempts: u32,
        outcome: Result<(Option<u16>, Bytes), &Refused>,
    ) {
        let (Some(note), Ok(place)) = (&post.note, Place::parse(&post.topic, "TopicArn")) else {
            return;
        };
        let has_succeeded = outcome.is_ok();
        let (code, text) = outcome.unwrap_or_else(|refused| (refused.status, refused.text.clone()));
        let status = Status {
            destination: &post.url,
            has_succeeded,
            response: String::from_utf8_lossy(&text).into_owned(),
            code,
            attempts: Some(attempts),
            at,
        };
        self.tell(&place, note, status).await;
    }

    /// Keeps an endpoint to the rate that its subscription asks for.
    async fn wait_for_turn(&self, post: &Post) {
        let (Some(rate), Some(subscription)) = (post.throttle, &post.subscription) else {
            return;
        };
        let pause = (1000.0 / rate.max(1.0)).ceil() as i64;
        let now = self.cloud.clock.now();
        let turn = {
            let mut turns = self.turns.lock();
            // Who has had no message for a while need not be remembered.
            turns.retain(|_, next| *next > now);
            let next = turns.entry(subscription.clone()).or_insert(now);
            let turn = *next;
            *next = turn.plus_millis(pause);
            turn
        };
        self.cloud.clock.until(turn).await;
    }

    /// Gives a message up: to the dead-letter queue, where there is one.
    async fn end(&self, post: Post, why: &str) -> Result<(), Fault> {
        tracing::warn!(
            url = post.url,
            topic = post.topic,
            why,
            "a message to an endpoint was given up"
        );
        let Some(queue) = post.dead_letter else {
            return Ok(());
        };
        let dead = Delivery {
            target: queue,
            payload: post.body,
            source: Source {
                service: "sns.amazonaws.com".into(),
                arn: post.topic,
                account: post.owner,
                role: None,
            },
            parameters: post.parameters,
            ..Delivery::default()
        };
        let scope = ["sns.posts", post.id.as_str()];
        let targets = &self.cloud.targets;
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| targets.send(tx, &dead))
            .await
    }
}
