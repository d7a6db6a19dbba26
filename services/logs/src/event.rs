//! Log events: putting them, and deleting them in the background.

use cloud::Context;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::group::{DAY, Group};
use crate::service::Logs;
use crate::stream::{Stream, no_stream, sequence_token};

/// An event as it is stored; its time is in its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Event {
    #[serde(rename = "m")]
    pub(crate) message: String,
    /// When it was put, milliseconds.
    #[serde(rename = "i")]
    pub(crate) ingested: i64,
}
impl Record for Event {}

/// AWS counts that many bytes for an event besides its message.
pub(crate) const OVERHEAD: usize = 26;
const MAX_BATCH: usize = 1_048_576;
const HOUR: i64 = 3_600_000;

/// An event's place, as AWS's 56 digits: its time, stream and number.
pub(crate) fn event_id(time: i64, stream: u64, number: u64) -> String {
    format!("3{:015}{stream:020}{number:020}", time.max(0))
}

/// The time, stream and number in an event's id.
pub(crate) fn place_of(id: &str) -> Option<(i64, u64, u64)> {
    if id.len() != 56 || !id.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((
        id[1..16].parse().ok()?,
        id[16..36].parse().ok()?,
        id[36..].parse().ok()?,
    ))
}

impl Logs {
    pub(crate) async fn put_log_events(
        &self,
        ctx: &Context,
        input: PutLogEventsInput,
    ) -> Result<PutLogEventsOutput, Fault> {
        let now = ctx.time.0;
        let events: Vec<(i64, String)> = input
            .log_events
            .into_iter()
            .map(|e| (e.timestamp, e.message))
            .collect();
        let size: usize = events
            .iter()
            .map(|(_, message)| message.len() + OVERHEAD)
            .sum();
        if size > MAX_BATCH {
            return Err(invalid_parameter_exception(format!(
                "Upload too large: {size} bytes exceeds limit of {MAX_BATCH}"
            )));
        }
        if !events.is_sorted_by_key(|(time, _)| *time) {
            return Err(invalid_parameter_exception(
                "Log events in a single PutLogEvents request must be in chronological order.",
            ));
        }
        if let (Some((first, _)), Some((last, _))) = (events.first(), events.last())
            && last.saturating_sub(*first) > DAY
        {
            return Err(invalid_parameter_exception(
                "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
            ));
        }
        let group = self.group(&ctx.account, &ctx.region, &input.log_group_name)?;
        let too_old = events
            .iter()
            .take_while(|(time, _)| *time < now - 14 * DAY)
            .count();
        let expired = events
            .iter()
            .take_while(|(time, _)| *time < group.cutoff(now))
            .count();
        let in_time = events
            .iter()
            .take_while(|(time, _)| *time <= now + 2 * HOUR)
            .count();
        let index = |n: usize| Some(i32::try_from(n).unwrap_or(i32::MAX));
        let rejected =
            (too_old > 0 || expired > 0 || in_time < events.len()).then(|| RejectedLogEventsInfo {
                too_new_log_event_start_index: if in_time < events.len() {
                    index(in_time)
                } else {
                    None
                },
                too_old_log_event_end_index: if too_old > 0 { index(too_old) } else { None },
                expired_log_event_end_index: if expired > 0 { index(expired) } else { None },
            });
        let from = too_old.max(expired);
        let taken = events.into_iter().take(in_time).skip(from).collect();
        let place = Place {
            account: &ctx.account,
            region: &ctx.region,
            group: &input.log_group_name,
            stream: &input.log_stream_name,
        };
        let last = self.put(&place, &group, taken, now).await?;
        Ok(PutLogEventsOutput {
            next_sequence_token: Some(sequence_token(last)),
            rejected_log_events_info: rejected,
            ..PutLogEventsOutput::default()
        })
    }

    /// Stores events of one stream and hands them to the group's filters, in one transaction.
    async fn put(
        &self,
        place: &Place<'_>,
        group: &Group,
        events: Vec<(i64, String)>,
        now: i64,
    ) -> Result<u64, Fault> {
        let owner = group.id.to_string();
        let account = place.account;
        let scope = ["logs.streams", account, &owner, place.stream];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let key = (account, group.id, place.stream);
                let mut stream: Stream = tx.get(&self.streams, &key)?.ok_or_else(no_stream)?;
                let first = stream.last + 1;
                let mut stored = Vec::with_capacity(events.len());
                for (time, message) in events {
                    stream.last += 1;
                    stream.bytes += i64::try_from(message.len() + OVERHEAD).unwrap_or(0);
                    stream.first_event = Some(stream.first_event.map_or(time, |t| t.min(time)));
                    stream.last_event = Some(stream.last_event.map_or(time, |t| t.max(time)));
                    let event = Event {
                        message,
                        ingested: now,
                    };
                    tx.put(
                        &self.events,
                        &(account, stream.id, time, stream.last),
                        &event,
                    )?;
                    stored.push((time, event));
                }
                if !stored.is_empty() {
                    stream.ingested = Some(now);
                    self.pass_on(tx, place, group, &stream, first, &stored)?;
                }
                tx.put(&self.streams, &key, &stream)?;
                Ok(stream.last)
            })
            .await
    }

    /// Hands new events to subscriptions, metric filters and listeners.
    fn pass_on(
        &self,
        tx: &mut Tx<'_>,
        place: &Place<'_>,
        group: &Group,
        stream: &Stream,
        first: u64,
        events: &[(i64, Event)],
    ) -> Result<(), Fault> {
        if group.subscriptions > 0 {
            self.send_on(tx, place, group, stream, first, events)?;
        }
        if group.metric_filters > 0 {
            self.measure(tx, place, group, events)?;
        }
        if let Some(tell) = self.tell(place, events) {
            tx.after_commit(tell);
        }
        Ok(())
    }

    /// Plans to delete what hung on deleted streams or a deleted group.
    pub(crate) fn plan_purge(
        &self,
        tx: &mut Tx<'_>,
        account: &str,
        streams: &[u64],
        group: Option<u64>,
    ) -> Result<(), Fault> {
        let key = format!("{account}/{:?}/{:?}", group, streams);
        let payload = serde_json::json!({ "account": account, "streams": streams, "group": group });
        self.cloud
            .scheduler
            .at(tx, self.cloud.clock.now(), PURGE, &key, payload)
    }

    /// Deletes the events and streams that a purge names.
    pub(crate) async fn purge(&self, payload: serde_json::Value) -> Result<(), Fault> {
        let Some(account) = payload["account"].as_str() else {
            return Ok(());
        };
        let mut streams: Vec<u64> = payload["streams"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(serde_json::Value::as_u64)
            .collect();
        if let Some(group) = payload["group"].as_u64() {
            let scope = ["logs.groups", account, "filters"];
            let filters = self.cloud.store.transact(Scope::new(&scope), |tx| {
                let prefix = || Range::prefix(&(account, group));
                let metrics: Vec<_> = tx
                    .range(&self.metric_filters, prefix())
                    .map(|row| row.map(|(key, _)| key))
                    .collect::<Result<_, _>>()?;
                let subscriptions: Vec<_> = tx
                    .range(&self.subscriptions, prefix())
                    .map(|row| row.map(|(key, _)| key))
                    .collect::<Result<_, _>>()?;
                metrics
                    .iter()
                    .for_each(|key| tx.delete(&self.metric_filters, key));
                subscriptions
                    .iter()
                    .for_each(|key| tx.delete(&self.subscriptions, key));
                Ok::<_, Fault>(())
            });
            filters.await?;
            let owner = group.to_string();
            for (name, stream) in self.streams_of(account, group, "")? {
                let scope = ["logs.streams", account, &owner, &name];
                let gone = self.cloud.store.transact(Scope::new(&scope), |tx| {
                    tx.delete(&self.streams, &(account, group, &name));
                    // The events go below; a crash before that is made good by a purge of their own.
                    self.plan_purge(tx, account, &[stream.id], None)
                });
                gone.await?;
            }
        }
        for stream in streams.drain(..) {
            self.delete_before(account, stream, i64::MAX).await?;
        }
        Ok(())
    }

    /// Deletes a stream's events before a time, in pieces; answers the bytes they had.
    pub(crate) async fn delete_before(
        &self,
        account: &str,
        stream: u64,
        before: i64,
    ) -> Result<i64, Fault> {
        let id = stream.to_string();
        let mut bytes = 0;
        loop {
            let scope = ["logs.events", account, &id];
            let (deleted, size) = self
                .cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    let range = Range::prefix(&(account, stream))
                        .until(&(account, stream, before))
                        .limit(PIECE);
                    let rows: Vec<_> = tx.range(&self.events, range).collect::<Result<_, _>>()?;
                    let mut size = 0;
                    for (key, event) in &rows {
                        size += event.message.len() + OVERHEAD;
                        tx.delete(&self.events, key);
                    }
                    Ok::<_, Fault>((rows.len(), size))
                })
                .await?;
            bytes += i64::try_from(size).unwrap_or(0);
            if deleted < PIECE {
                return Ok(bytes);
            }
        }
    }
}

/// Events deleted in one transaction.
const PIECE: usize = 1000;
pub(crate) const PURGE: &str = "logs.purge";

/// Where events are put.
pub(crate) struct Place<'a> {
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) group: &'a str,
    pub(crate) stream: &'a str,
}

impl cloud::ports::LogSink for Logs {
    fn append<'a>(
        &'a self,
        account: &'a str,
        region: &'a str,
        group: &'a str,
        stream: &'a str,
        events: Vec<(Timestamp, String)>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let now = self.cloud.clock.now().0;
            let found = match self.group(account, region, group) {
                Err(fault) if fault.is("ResourceNotFoundException") => {
                    let new = Group {
                        created: now,
                        class: "STANDARD".into(),
                        ..Group::default()
                    };
                    match self.make_group(account, region, group, new).await {
                        // Another writer was faster.
                        Err(fault) if fault.is("ResourceAlreadyExistsException") => {}
                        other => other?,
                    }
                    self.group(account, region, group)?
                }
                other => other?,
            };
            let place = Place {
                account,
                region,
                group,
                stream,
            };
            let mut events: Vec<(i64, String)> = events
                .into_iter()
                .map(|(time, message)| (time.0, message))
                .collect();
            events.sort_by_key(|(time, _)| *time);
            if !self
                .cloud
                .store
                .read()
                .contains(&self.streams, &(account, found.id, stream))?
            {
                self.make_stream(account, &found, stream, now).await?;
            }
            self.put(&place, &found, events, now).await.map(|_| ())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_id_has_56_digits_and_reads_back() {
        let id = event_id(1_700_000_000_123, u64::MAX, 7);
        assert_eq!(id.len(), 56);
        assert_eq!(place_of(&id), Some((1_700_000_000_123, u64::MAX, 7)));
        assert_eq!(place_of("x"), None);
        assert!(event_id(1, 9, 9) < event_id(2, 0, 0));
    }
}
