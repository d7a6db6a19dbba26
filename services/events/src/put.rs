//! Events put on a bus.

use std::collections::HashSet;

use cloud::{Arn, Context};
use serde::de::IgnoredAny;
use store::Scope;
use wire::{Fault, Timestamp};

use crate::api::{PutEventsInput, PutEventsOutput, PutEventsRequestEntry, PutEventsResultEntry};
use crate::bus::Bus;
use crate::event::{Event, Parts, compact};
use crate::place::{DEFAULT, Place, invalid, invalid_parameter};
use crate::service::Events;

/// Bytes of all entries of a request.
const LIMIT: usize = 1_048_576;

/// Why an entry is not taken: code and message.
pub(crate) type Reason = (&'static str, String);

fn required<'a>(value: Option<&'a String>, name: &str) -> Result<&'a str, Reason> {
    value
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| {
            let text =
                format!("Parameter {name} is not valid. Reason: {name} is a required argument.");
            ("InvalidArgument", text)
        })
}

/// What every event that is put must say.
pub(crate) struct Given<'a> {
    pub(crate) source: &'a str,
    detail_type: &'a str,
    detail: &'a str,
}

fn malformed() -> Reason {
    ("MalformedDetail", "Detail is malformed.".to_owned())
}

impl<'a> Given<'a> {
    /// Reads source, detail type and detail, of which `check_source` may refuse the first.
    pub(crate) fn read(
        (source, detail_type, detail): (&'a Option<String>, &'a Option<String>, &'a Option<String>),
        check_source: impl FnOnce(&str) -> Result<(), Reason>,
    ) -> Result<Given<'a>, Reason> {
        let given = Given {
            source: required(source.as_ref(), "Source")?,
            detail_type: required(detail_type.as_ref(), "DetailType")?,
            detail: required(detail.as_ref(), "Detail")?,
        };
        check_source(given.source)?;
        match is_object(given.detail) {
            true => Ok(given),
            false => Err(malformed()),
        }
    }

    /// The event, in that account.
    pub(crate) fn event(
        &self,
        ctx: &Context,
        account: &str,
        time: Option<Timestamp>,
        resources: Option<&[String]>,
    ) -> Result<Event, Reason> {
        let event = Event::new(&Parts {
            id: &cloud::ids::uuid(),
            detail_type: self.detail_type,
            source: self.source,
            account,
            time: &time.unwrap_or(ctx.time).iso8601_secs(),
            region: &ctx.region,
            replay: None,
            resources: resources.unwrap_or_default(),
            detail: &compact(self.detail),
        });
        event.map_err(|_| malformed())
    }
}

/// An entry's size, as EventBridge counts it.
fn size(entry: &PutEventsRequestEntry) -> usize {
    let text = |t: &Option<String>| t.as_ref().map_or(0, String::len);
    let resources = entry.resources.iter().flatten().map(String::len);
    usize::from(entry.time.is_some()) * 14
        + text(&entry.source)
        + text(&entry.detail_type)
        + text(&entry.detail)
        + resources.sum::<usize>()
}

/// Whether a text is a JSON object.
fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

impl Events {
    /// The event of an entry, and the bus that it is put on.
    fn admit(
        &self,
        ctx: &Context,
        entry: &PutEventsRequestEntry,
    ) -> Result<(Place, Event), Reason> {
        let given = Given::read(
            (&entry.source, &entry.detail_type, &entry.detail),
            |source| match source.to_ascii_lowercase().starts_with("aws.") {
                true => Err((
                    "NotAuthorizedForSourceException",
                    "Not authorized for the source.".to_owned(),
                )),
                false => Ok(()),
            },
        )?;
        let place = match &entry.event_bus_name {
            Some(name) => match name.parse::<Arn>() {
                Ok(arn) => Place::of_arn(&arn).ok_or_else(|| {
                    let text = "Parameter EventBusName is not valid. Reason: Provided Arn is not in correct format.";
                    ("InvalidArgument", text.to_owned())
                })?,
                Err(_) => Place::new(ctx, name),
            },
            None => Place::new(ctx, DEFAULT),
        };
        let mut event = given.event(ctx, &ctx.account, entry.time, entry.resources.as_deref())?;
        event.trace = entry.trace_header.clone().or_else(|| ctx.trace.clone());
        Ok((place, event))
    }

    pub(crate) async fn put_events(
        &self,
        ctx: &Context,
        input: PutEventsInput,
    ) -> Result<PutEventsOutput, Fault> {
        if let Some(endpoint) = &input.endpoint_id {
            return Err(invalid_parameter(
                "EndpointId",
                &format!("Endpoint {endpoint} does not exist."),
            ));
        }
        if input.entries.iter().map(size).sum::<usize>() > LIMIT {
            return Err(invalid(
                "Total size of the entries in the request is over the limit.",
            ));
        }
        let admitted: Vec<_> = input
            .entries
            .iter()
            .map(|entry| self.admit(ctx, entry))
            .collect();
        let permitted = |place: &Place, bus: &Bus| self.permit(ctx, place, bus, "events:PutEvents");
        let put = self.put_all(ctx, &admitted, permitted).await?;
        let entries: Vec<_> = put
            .into_iter()
            .map(|outcome| match outcome {
                Ok(id) => PutEventsResultEntry {
                    event_id: Some(id),
                    ..PutEventsResultEntry::default()
                },
                Err((code, message)) => PutEventsResultEntry {
                    event_id: None,
                    error_code: Some(code),
                    error_message: Some(message),
                },
            })
            .collect();
        let failed = entries.iter().filter(|e| e.error_code.is_some()).count();
        Ok(PutEventsOutput {
            failed_entry_count: i32::try_from(failed).ok(),
            entries: Some(entries),
        })
    }
    /// Puts what was admitted on its buses, as far as `permitted` says. Answers each event's id, or code and message of an error.
    pub(crate) async fn put_all(
        &self,
        ctx: &Context,
        admitted: &[Result<(Place, Event), Reason>],
        permitted: impl Fn(&Place, &Bus) -> Result<(), Fault>,
    ) -> Result<Vec<Result<String, (String, String)>>, Fault> {
        let places: HashSet<&Place> = admitted.iter().flatten().map(|(place, _)| place).collect();
        let scopes: Vec<_> = places.iter().map(|place| place.scope()).collect();
        let scopes: Vec<_> = scopes.iter().map(|scope| Scope::new(scope)).collect();
        let own = ["events.put", &ctx.account, &ctx.region];
        let store = &self.cloud.store;
        let put = store.transact(Scope::shared(&own).and_all(&scopes), |tx| {
            let mut outcomes = Vec::new();
            for entry in admitted {
                let outcome = match entry {
                    // What is put on a bus that is not there is dropped.
                    Ok((place, event)) => match self.bus(tx, place) {
                        Err(_) => Ok(event.id.clone()),
                        Ok(bus) => match permitted(place, &bus) {
                            Ok(()) => {
                                self.route(tx, place, event, None)?;
                                Ok(event.id.clone())
                            }
                            Err(fault) => Err((fault.code.to_string(), fault.message.to_string())),
                        },
                    },
                    Err((code, message)) => Err(((*code).to_owned(), message.clone())),
                };
                outcomes.push(outcome);
            }
            Ok(outcomes)
        });
        put.await
    }
}
