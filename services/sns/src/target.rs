//! How other services publish.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use wire::Fault;

use crate::api::MessageAttributeValue;
use crate::message::Draft;
use crate::permission;
use crate::service::Sns;
use crate::topic::{Place, Topic};

/// Takes deliveries as messages. The parameter `Subject` is the message's.
pub(crate) struct Topics(pub(crate) Arc<Sns>);

impl Topics {
    fn admit(&self, arn: &str, source: &Source) -> Result<(Place, Arc<Topic>), Fault> {
        let place = Place::parse(arn, "TopicArn")?;
        let topic = self.0.topic(&self.0.cloud.store.read(), &place)?;
        if !self.0.lets_in(&place, &topic, source) {
            return Err(permission::denied(&source.service, &place));
        }
        Ok((place, topic))
    }

    async fn take(&self, delivery: &Delivery) -> Result<(), Fault> {
        let (place, topic) = self.admit(&delivery.target, &delivery.source)?;
        let draft = Draft {
            message: delivery.payload.clone(),
            subject: delivery.parameters.get("Subject").cloned(),
            structure: None,
            attributes: attributes(&delivery.parameters),
            group: delivery.parameters.get("MessageGroupId").cloned(),
            dedup: delivery.parameters.get("MessageDeduplicationId").cloned(),
        };
        let message = Sns::admit(&topic, draft, self.0.cloud.clock.now())?;
        self.0.send(&place, &topic, message).await.map(drop)
    }
}

/// What a delivery says besides its text, as a dead letter does, is attributes of the message.
fn attributes(parameters: &BTreeMap<String, String>) -> BTreeMap<String, MessageAttributeValue> {
    let own = ["Subject", "MessageGroupId", "MessageDeduplicationId"];
    let others = parameters
        .iter()
        .filter(|(name, value)| !own.contains(&name.as_str()) && !value.is_empty());
    let typed = others.map(|(name, value)| {
        let is_code = name == "ErrorCode" && value.bytes().all(|b| b.is_ascii_digit());
        let attribute = MessageAttributeValue {
            data_type: if is_code { "Number" } else { "String" }.into(),
            string_value: Some(value.clone()),
            ..Default::default()
        };
        (name.clone(), attribute)
    });
    typed.collect()
}

impl Target for Topics {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            self.take(delivery)
                .await
                .map(|()| Receipt::default())
                .map_err(Refusal::of)
        })
    }

    fn check(&self, target: &Arn, source: &Source) -> Result<(), Fault> {
        self.admit(&target.to_string(), source).map(drop)
    }
}
