//! Reading events back: one stream's pages, and a whole group's through a filter.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cloud::Context;
use store::{Range, Read, Rows, Table, View};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::event::{Event, OVERHEAD, event_id, place_of};
use crate::group::{meant, place};
use crate::pattern::Pattern;
use crate::service::Logs;
use crate::stream::{Stream, event_token, no_stream};

const PAGE: usize = 10_000;
const PAGE_BYTES: usize = 1_048_576;
/// Events looked at for one page of a filter; a page may be short or empty, and its token goes on.
const LOOKED_AT: usize = 200_000;

type Key = (String, u64, i64, u64);

impl Logs {
    pub(crate) async fn get_log_events(
        &self,
        ctx: &Context,
        input: GetLogEventsInput,
    ) -> Result<GetLogEventsOutput, Fault> {
        let name = meant(&input.log_group_name, &input.log_group_identifier)?;
        let group = self.group(&ctx.account, &ctx.region, &name)?;
        let stream = self.stream(&ctx.account, &group, &input.log_stream_name)?;
        let limit = input
            .limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(PAGE);
        let account = ctx.account.as_str();
        let start = input.start_time.unwrap_or(0).max(group.cutoff(ctx.time.0));
        let mut range: Range<Key> =
            Range::prefix(&(account, stream.id)).from(&(account, stream.id, start));
        if let Some(end) = input.end_time {
            range = range.until(&(account, stream.id, end));
        }
        let token = input.next_token.as_deref().map(Cursor::parse).transpose()?;
        let ascending = match &token {
            Some(cursor) => cursor.is_forward,
            None => input.start_from_head.unwrap_or(false),
        };
        if let Some(cursor) = &token {
            let at = (account, stream.id, cursor.time, cursor.number);
            range = if ascending {
                range.after(&at)
            } else {
                range.until(&at)
            };
        }
        let range = if ascending { range } else { range.reverse() };
        let mut found = Vec::new();
        let mut bytes = 0;
        for row in self
            .cloud
            .store
            .read()
            .range(&self.events, range.limit(limit))
        {
            let ((_, _, time, number), event) = row?;
            bytes += event.message.len() + OVERHEAD;
            if bytes > PAGE_BYTES && !found.is_empty() {
                break;
            }
            found.push((time, number, event));
        }
        if !ascending {
            found.reverse();
        }
        let here = |found: Option<&(i64, u64, Event)>| match (found, &token) {
            (Some((time, number, _)), _) => event_id(*time, stream.id, *number),
            // At an end the place stays where it was, so that both ends are told by an unchanged token.
            (None, Some(cursor)) => event_id(cursor.time, stream.id, cursor.number),
            (None, None) => event_id(start.max(0), stream.id, 0),
        };
        let next_forward_token = Some(format!("f/{}/s", here(found.last())));
        let next_backward_token = Some(format!("b/{}/s", here(found.first())));
        let events = found
            .into_iter()
            .map(|(time, _, event)| OutputLogEvent {
                timestamp: Some(time),
                message: Some(event.message),
                ingestion_time: Some(event.ingested),
            })
            .collect();
        Ok(GetLogEventsOutput {
            events: Some(events),
            next_forward_token,
            next_backward_token,
        })
    }

    pub(crate) async fn filter_log_events(
        &self,
        ctx: &Context,
        input: FilterLogEventsInput,
    ) -> Result<FilterLogEventsOutput, Fault> {
        let name = meant(&input.log_group_name, &input.log_group_identifier)?;
        if input.log_stream_names.is_some() && input.log_stream_name_prefix.is_some() {
            return Err(invalid_parameter_exception(
                "LogStream name prefix and LogStream names are mutually exclusive parameters.",
            ));
        }
        let group = self.group(&ctx.account, &ctx.region, &name)?;
        let pattern = Pattern::parse(input.filter_pattern.as_deref().unwrap_or(""))?;
        let start = input.start_time.unwrap_or(0).max(group.cutoff(ctx.time.0));
        let end = input.end_time.unwrap_or(i64::MAX - 1);
        let streams = match &input.log_stream_names {
            Some(names) => {
                let find =
                    |name: &String| Ok((name.clone(), self.stream(&ctx.account, &group, name)?));
                names.iter().map(find).collect::<Result<Vec<_>, Fault>>()?
            }
            None => self.streams_of(
                &ctx.account,
                group.id,
                input.log_stream_name_prefix.as_deref().unwrap_or(""),
            )?,
        };
        let after = match &input.next_token {
            Some(token) => Some(token_place(&place("FilterLogEvents", token)?)?),
            None => None,
        };
        let limit = input
            .limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(PAGE);
        let selection = Selection {
            account: ctx.account.clone(),
            streams,
            start,
            end,
            after,
        };
        let (view, table) = (self.cloud.store.read(), self.events);
        // A filter over much data would keep other requests of this thread waiting.
        let (events, next_token) =
            tokio::task::spawn_blocking(move || filter(&view, table, &selection, &pattern, limit))
                .await??;
        Ok(FilterLogEventsOutput {
            events: Some(events),
            searched_log_streams: Some(Vec::new()),
            next_token,
        })
    }
}

fn token_place(parts: &[String]) -> Result<(i64, String, u64), Fault> {
    match parts {
        [time, stream, number] => Ok((
            time.parse().unwrap_or(0),
            stream.clone(),
            number.parse().unwrap_or(0),
        )),
        _ => Err(invalid_parameter_exception(
            "The specified nextToken is invalid.",
        )),
    }
}

fn filter(
    view: &View,
    table: Table<Key, Event>,
    selection: &Selection,
    pattern: &Pattern,
    limit: usize,
) -> Result<(Vec<FilteredLogEvent>, Option<String>), Fault> {
    let mut events = Vec::new();
    let (mut bytes, mut seen) = (0, 0);
    let mut merged = Merged::over(view, table, selection)?;
    let mut last: Option<String> = None;
    while let Some(found) = merged.next()? {
        if events.len() >= limit || bytes >= PAGE_BYTES || seen >= LOOKED_AT {
            return Ok((events, last));
        }
        seen += 1;
        last = Some(event_token(
            "FilterLogEvents",
            found.time,
            found.stream,
            found.number,
        ));
        if !pattern.matches(&found.event.message) {
            continue;
        }
        bytes += found.event.message.len() + OVERHEAD;
        events.push(FilteredLogEvent {
            event_id: Some(event_id(found.time, found.stream_id, found.number)),
            log_stream_name: Some(found.stream.to_owned()),
            timestamp: Some(found.time),
            ingestion_time: Some(found.event.ingested),
            message: Some(found.event.message),
        });
    }
    Ok((events, None))
}

/// Which events of which streams.
pub(crate) struct Selection {
    pub(crate) account: String,
    pub(crate) streams: Vec<(String, Stream)>,
    /// Inclusive, milliseconds.
    pub(crate) start: i64,
    /// Inclusive.
    pub(crate) end: i64,
    /// Only behind this place.
    pub(crate) after: Option<(i64, String, u64)>,
}

/// An event on its way out.
pub(crate) struct Found<'a> {
    pub(crate) time: i64,
    pub(crate) stream: &'a str,
    pub(crate) stream_id: u64,
    pub(crate) number: u64,
    pub(crate) event: Event,
}

/// Events of several streams in the order of their times; read as they are asked for.
pub(crate) struct Merged<'a> {
    streams: Vec<(&'a str, u64)>,
    rows: Vec<Rows<'a, Key, Event>>,
    heads: Vec<Option<Event>>,
    heap: BinaryHeap<Reverse<(i64, &'a str, u64, usize)>>,
}

impl<'a> Merged<'a> {
    pub(crate) fn over(
        view: &'a View,
        table: Table<Key, Event>,
        selection: &'a Selection,
    ) -> Result<Merged<'a>, Fault> {
        let mut merged = Merged {
            streams: Vec::new(),
            rows: Vec::new(),
            heads: Vec::new(),
            heap: BinaryHeap::new(),
        };
        let Selection {
            account,
            start,
            end,
            after,
            ..
        } = selection;
        for (name, stream) in &selection.streams {
            let is_outside = stream.last_event.is_none_or(|last| last < *start)
                || stream.first_event.is_some_and(|first| first > *end);
            if is_outside {
                continue;
            }
            let mut range = Range::prefix(&(account, stream.id))
                .from(&(account, stream.id, *start))
                .until(&(account, stream.id, end.saturating_add(1)));
            if let Some((time, last, number)) = after {
                range = match name.cmp(last) {
                    std::cmp::Ordering::Less => range.after(&(account, stream.id, *time)),
                    std::cmp::Ordering::Equal => range.after(&(account, stream.id, *time, *number)),
                    std::cmp::Ordering::Greater => range.from(&(account, stream.id, *time)),
                };
            }
            merged.streams.push((name, stream.id));
            merged.rows.push(view.range(&table, range));
            merged.heads.push(None);
            merged.pull(merged.rows.len() - 1)?;
        }
        Ok(merged)
    }

    fn pull(&mut self, index: usize) -> Result<(), Fault> {
        if let Some(row) = self.rows[index].next() {
            let ((_, _, time, number), event) = row?;
            self.heads[index] = Some(event);
            self.heap
                .push(Reverse((time, self.streams[index].0, number, index)));
        }
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Option<Found<'a>>, Fault> {
        let Some(Reverse((time, stream, number, index))) = self.heap.pop() else {
            return Ok(None);
        };
        let event = self.heads[index].take().ok_or_else(no_stream)?;
        self.pull(index)?;
        Ok(Some(Found {
            time,
            stream,
            stream_id: self.streams[index].1,
            number,
            event,
        }))
    }
}

/// A place in one stream: `f/<event id>/s` reads on from it, `b/…` back from it.
struct Cursor {
    is_forward: bool,
    time: i64,
    number: u64,
}

impl Cursor {
    fn parse(token: &str) -> Result<Cursor, Fault> {
        let parts: Vec<&str> = token.split('/').collect();
        let place = match parts.as_slice() {
            [direction @ ("f" | "b"), id] | [direction @ ("f" | "b"), id, "s"] => {
                place_of(id).map(|p| (*direction == "f", p))
            }
            _ => None,
        };
        let (is_forward, (time, _, number)) = place
            .ok_or_else(|| invalid_parameter_exception("The specified nextToken is invalid."))?;
        Ok(Cursor {
            is_forward,
            time,
            number,
        })
    }
}
