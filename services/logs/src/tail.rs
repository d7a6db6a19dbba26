//! Live tail: events as they are put, for as long as the client listens.

use std::sync::Arc;

use cloud::Context;
use futures_util::stream;
use tokio::sync::broadcast;
use wire::{EventStream, Fault};

use crate::api::*;
use crate::errors::*;
use crate::event::{Event, Place};
use crate::group::{arn, name_in};
use crate::pattern::Pattern;
use crate::service::Logs;

/// Events of one stream as they were put.
#[derive(Debug)]
pub(crate) struct Batch {
    account: String,
    region: String,
    group: String,
    stream: String,
    events: Vec<(i64, Event)>,
}

/// Batches that a slow listener may lag behind.
pub(crate) const BACKLOG: usize = 256;
/// Events in one update; AWS samples beyond that.
const MOST: usize = 500;
/// A session ends after three hours.
const LONGEST: i64 = 3 * 3_600_000;
/// Updates come once in that many milliseconds.
const PACE: i64 = 1_000;

struct Session {
    batches: broadcast::Receiver<Arc<Batch>>,
    pattern: Pattern,
    account: String,
    region: String,
    groups: Vec<String>,
    streams: Option<Vec<String>>,
    prefixes: Option<Vec<String>>,
    ends: i64,
    start: Option<LiveTailSessionStart>,
}

impl Session {
    fn wants(&self, batch: &Batch) -> bool {
        batch.account == self.account
            && batch.region == self.region
            && self.groups.contains(&batch.group)
            && self
                .streams
                .as_ref()
                .is_none_or(|s| s.contains(&batch.stream))
            && self
                .prefixes
                .as_ref()
                .is_none_or(|p| p.iter().any(|p| batch.stream.starts_with(p)))
    }

    /// What has come since it was asked last, and whether some was left out.
    fn update(&mut self) -> LiveTailSessionUpdate {
        let (mut found, mut sampled) = (Vec::new(), false);
        loop {
            let batch = match self.batches.try_recv() {
                Ok(batch) => batch,
                Err(broadcast::error::TryRecvError::Lagged(_)) => {
                    sampled = true;
                    continue;
                }
                Err(_) => break,
            };
            if !self.wants(&batch) {
                continue;
            }
            for (time, event) in &batch.events {
                if !self.pattern.matches(&event.message) {
                    continue;
                }
                if found.len() >= MOST {
                    sampled = true;
                    break;
                }
                found.push(LiveTailSessionLogEvent {
                    log_stream_name: Some(batch.stream.clone()),
                    log_group_identifier: Some(format!("{}:{}", self.account, batch.group)),
                    message: Some(event.message.clone()),
                    timestamp: Some(*time),
                    ingestion_time: Some(event.ingested),
                });
            }
        }
        LiveTailSessionUpdate {
            session_metadata: Some(LiveTailSessionMetadata {
                sampled: Some(sampled),
            }),
            session_results: Some(found),
        }
    }
}

impl Logs {
    /// Tells listeners of new events, where there are any.
    pub(crate) fn tell(
        &self,
        place: &Place<'_>,
        events: &[(i64, Event)],
    ) -> Option<Box<dyn FnOnce() + Send>> {
        if self.tail.receiver_count() == 0 {
            return None;
        }
        let batch = Arc::new(Batch {
            account: place.account.to_owned(),
            region: place.region.to_owned(),
            group: place.group.to_owned(),
            stream: place.stream.to_owned(),
            events: events.to_vec(),
        });
        let tail = self.tail.clone();
        Some(Box::new(move || {
            // The last listener may have gone meanwhile.
            let _ = tail.send(batch);
        }))
    }

    pub(crate) async fn start_live_tail(
        &self,
        ctx: &Context,
        input: StartLiveTailInput,
    ) -> Result<StartLiveTailOutput, Fault> {
        let pattern = Pattern::parse(input.log_event_filter_pattern.as_deref().unwrap_or(""))?;
        let mut groups = Vec::new();
        for identifier in &input.log_group_identifiers {
            let name = name_in(identifier)?;
            self.group(&ctx.account, &ctx.region, &name)?;
            groups.push(name);
        }
        if input.log_stream_names.is_some() && input.log_stream_name_prefixes.is_some() {
            return Err(invalid_parameter_exception(
                "logStreamNames and logStreamNamePrefixes are mutually exclusive.",
            ));
        }
        let by_stream =
            input.log_stream_names.is_some() || input.log_stream_name_prefixes.is_some();
        if by_stream && groups.len() > 1 {
            return Err(invalid_parameter_exception(
                "Log streams can be specified for a single log group only.",
            ));
        }
        let start = LiveTailSessionStart {
            request_id: Some(ctx.request_id.clone()),
            session_id: Some(cloud::ids::uuid()),
            log_group_identifiers: Some(
                groups
                    .iter()
                    .map(|g| arn(&ctx.account, &ctx.region, g))
                    .collect(),
            ),
            log_stream_names: Some(input.log_stream_names.clone().unwrap_or_default()),
            log_stream_name_prefixes: Some(
                input.log_stream_name_prefixes.clone().unwrap_or_default(),
            ),
            log_event_filter_pattern: Some(input.log_event_filter_pattern.unwrap_or_default()),
        };
        let session = Session {
            batches: self.tail.subscribe(),
            pattern,
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            groups,
            streams: input.log_stream_names,
            prefixes: input.log_stream_name_prefixes,
            ends: ctx.time.0 + LONGEST,
            start: Some(start),
        };
        let clock = self.cloud.clock.clone();
        let events = stream::unfold(session, move |mut session| {
            let clock = clock.clone();
            async move {
                if let Some(start) = session.start.take() {
                    return Some((
                        Ok(start_live_tail_response_stream::session_start(start)),
                        session,
                    ));
                }
                if clock.now().0 >= session.ends {
                    return None;
                }
                clock.pass(PACE).await;
                let update = session.update();
                Some((
                    Ok(start_live_tail_response_stream::session_update(update)),
                    session,
                ))
            }
        });
        Ok(StartLiveTailOutput {
            response_stream: Some(EventStream(Box::pin(events))),
        })
    }
}
