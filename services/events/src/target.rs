//! How other services, and other buses, send events to a bus, and rules to API destinations.

use std::sync::Arc;

use cloud::{Arn, Delivery, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use store::Scope;
use wire::Fault;

use crate::event::Event;
use crate::permission;
use crate::place::{Place, invalid};
use crate::service::Events;

/// Takes deliveries whose payload is an event to a bus, and any JSON to an API destination.
pub(crate) struct Buses(pub(crate) Arc<Events>);

impl Buses {
    fn admit(&self, place: &Place, source: &Source) -> Result<(), Fault> {
        let bus = self.0.bus(&self.0.cloud.store.read(), place)?;
        match self.0.lets_in(place, &bus, source) {
            true => Ok(()),
            false => Err(permission::denied(
                &source.service,
                place,
                "events:PutEvents",
            )),
        }
    }

    async fn take(&self, place: &Place, delivery: &Delivery) -> Result<(), Fault> {
        self.admit(place, &delivery.source)?;
        let read = match comes_from_another_region(&delivery.source, place) {
            true => Event::read_anew,
            false => Event::read,
        };
        let mut event = read(&delivery.payload)
            .map_err(|e| invalid(format!("The payload is not an event: {e}")))?;
        event.trace.clone_from(&delivery.trace);
        let scope = place.scope();
        let store = &self.0.cloud.store;
        let take = store.transact(Scope::new(&scope), |tx| {
            self.0.route(tx, place, &event, None)
        });
        take.await
    }
}

/// Whether a rule of another region sends it; one of another account hands on the event that it is.
fn comes_from_another_region(source: &Source, place: &Place) -> bool {
    source.service == "events.amazonaws.com"
        && source
            .arn
            .parse::<Arn>()
            .is_ok_and(|rule| rule.region != place.region)
}

fn refused(fault: Fault) -> Refusal {
    match fault.status {
        500.. | 429 => Refusal::Later(fault),
        _ => Refusal::Never(fault),
    }
}

impl Target for Buses {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        Box::pin(async move {
            let arn = delivery.target.parse::<Arn>();
            let arn = arn.map_err(|_| {
                Refusal::Never(invalid(format!("{} is not an ARN.", delivery.target)))
            })?;
            match Place::of_arn(&arn) {
                Some(place) => self.take(&place, delivery).await.map_err(refused)?,
                None => self.0.invoke(&arn, delivery).await?,
            }
            Ok(Receipt::default())
        })
    }

    fn check(&self, target: &Arn, source: &Source) -> Result<(), Fault> {
        match Place::of_arn(target) {
            Some(place) => self.admit(&place, source),
            None => self.0.destination(target).map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_from_another_region_gets_an_id_of_its_own() {
        let text = r#"{"version":"0","id":"first","detail-type":"t","source":"s","account":"000000000000",
            "time":"2026-01-01T00:00:00Z","region":"us-east-1","resources":[],"detail":{}}"#;
        assert_eq!(Event::read(text).expect("an event").id, "first");
        assert_ne!(Event::read_anew(text).expect("an event").id, "first");
        let place = |account: &str, region: &str| Place {
            account: account.to_owned(),
            region: region.to_owned(),
            bus: "default".to_owned(),
        };
        let rule = Source {
            service: "events.amazonaws.com".to_owned(),
            arn: "arn:aws:events:us-east-1:000000000000:rule/r".to_owned(),
            account: "000000000000".to_owned(),
            role: None,
        };
        assert!(!comes_from_another_region(
            &rule,
            &place("000000000000", "us-east-1")
        ));
        assert!(comes_from_another_region(
            &rule,
            &place("000000000000", "eu-west-1")
        ));
        assert!(!comes_from_another_region(
            &rule,
            &place("000000000001", "us-east-1")
        ));
    }
}
