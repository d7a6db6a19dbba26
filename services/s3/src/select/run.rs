//! Runs a query over an object: rows in, events out.

use std::ops::Range;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::Sender;
use wire::{Body, Event, Fault};

use super::aggregate::Gathered;
use super::csv::{self, Record};
use super::evaluate::{Fields, Row, Scope, is_called, rows};
use super::json;
use super::parquet;
use super::source::{self, Packing};
use super::syntax::{Expression, Name, Projection, Query, Step};
use super::timestamp::Timestamp;
use super::value::Value;
use super::{fault, output};
use crate::api::{
    ContinuationEvent, EndEvent, Progress, ProgressEvent, RecordsEvent, Stats, StatsEvent,
    select_object_content_event_stream as event,
};

/// Results are sent on when they come to that many bytes.
const BATCH: usize = 64 * 1024;
/// A client hears of what was scanned after each that many bytes.
const PULSE: u64 = 8 * 1024 * 1024;

/// What the first line of a CSV file is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Header {
    /// A record as any other.
    None,
    /// Passed over.
    Ignore,
    /// The columns' names.
    Use,
}

/// What is read.
pub enum Source {
    Csv {
        format: csv::Format,
        header: Header,
        packing: Packing,
        body: Body,
        range: Option<Scanned>,
    },
    Json {
        packing: Packing,
        body: Body,
        range: Option<Scanned>,
    },
    Parquet {
        object: parquet::Object,
        range: Option<Range<u64>>,
    },
}

/// A part of a text whose records are read: those that begin in it. The body begins where a mark before the first of
/// them would, unless that is at the text's begin.
pub struct Scanned {
    /// Where the body begins.
    pub from: u64,
    pub range: Range<u64>,
    /// The text's begin, for the header.
    pub head: Option<Body>,
}

/// A query to run.
pub struct Task {
    pub query: Query,
    pub source: Source,
    pub output: output::Format,
    pub tells_progress: bool,
    pub now: Timestamp,
}

/// Where events go. Sending fails when nobody listens.
pub type Events = Sender<Result<Event, Fault>>;

/// Runs a query to its end or its first error, which ends the events.
pub fn run(task: Task, events: &Events) {
    if let Err(fault) = task.run(events) {
        // Who no longer listens need not hear of it.
        let _ = events.blocking_send(Err(fault));
    }
}

impl Task {
    fn run(self, events: &Events) -> Result<(), Fault> {
        let mut results = Results {
            events,
            output: self.output,
            buffer: Vec::new(),
            gathered: vec![Gathered::new(); self.query.aggregates.len()],
            query: self.query,
            now: self.now,
            passed: 0,
            returned: 0,
            told: 0,
            tells_progress: self.tells_progress,
        };
        let counts = match self.source {
            Source::Csv {
                format,
                header,
                packing,
                body,
                range,
            } => read_csv(format, header, packing, body, range, &mut results)?,
            Source::Json {
                packing,
                body,
                range,
            } => read_json(packing, body, range, &mut results)?,
            Source::Parquet { object, range } => {
                let scanned = object.scanned.clone();
                let name = results.query.alias.clone();
                let now = || scanned.load(Ordering::Relaxed);
                if results.wants_more() {
                    parquet::read(object, range, &mut |row| {
                        let goes_on = results.row(Row::Tree(&row, &name))?;
                        results.pulse((now(), now()))?;
                        Ok(goes_on)
                    })?;
                }
                (now(), now())
            }
        };
        results.finish(counts)
    }
}

/// The bytes that were scanned and those that were processed.
type Counts = (u64, u64);

/// What the columns of a CSV file are called.
struct Columns {
    names: Vec<String>,
}

/// A record of a CSV file.
struct Line<'r> {
    record: &'r Record,
    columns: &'r Columns,
}

impl Fields for Line<'_> {
    fn field(&self, n: usize) -> Option<&str> {
        self.record.get(n)
    }
    fn count(&self) -> usize {
        self.record.len()
    }
    fn name(&self, n: usize) -> String {
        let name = self.columns.names.get(n).cloned();
        name.unwrap_or_else(|| format!("_{}", n + 1))
    }
}

impl Columns {
    /// The column of that name: as the header has it, or `_1` and on.
    fn find(&self, name: &Name) -> Result<usize, Fault> {
        let headers = self.names.iter().enumerate();
        let mut found = headers.filter(|(_, header)| name.matches(header));
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => return Err(fault::ambiguous_name()),
            (Some((n, _)), None) => return Ok(n),
            (None, _) => {}
        }
        let digits = name.text.strip_prefix('_').filter(|digits| {
            !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
        });
        let Some(digits) = digits else {
            return Err(fault::missing_headers());
        };
        let number: Option<usize> = digits.parse().ok();
        number.and_then(|n| n.checked_sub(1)).ok_or_else(|| {
            fault::of(
                "InvalidColumnIndex",
                "The column index in the SQL expression is invalid. Please check the service documentation and try again.",
            )
        })
    }

    /// Makes columns of an expression's paths.
    fn bind(&self, expression: &mut Expression, alias: &Name) -> Result<(), Fault> {
        expression.each(&mut |part| {
            let Expression::Path(name, steps) = part else {
                return Ok(());
            };
            let (name, rest) = match steps.split_first() {
                None if is_called(name, alias) => {
                    *part = Expression::Row;
                    return Ok(());
                }
                Some((Step::Name(column), rest)) if is_called(name, alias) => (column, rest),
                _ => (&*name, &steps[..]),
            };
            let column = self.find(name)?;
            // A text has no members.
            *part = if rest.is_empty() {
                Expression::Column(column)
            } else {
                Expression::Literal(Value::Missing)
            };
            Ok(())
        })
    }

    fn bind_all(&self, query: &mut Query) -> Result<(), Fault> {
        let alias = query.alias.clone();
        if let Projection::Items(items) = &mut query.projection {
            for (_, item) in items {
                self.bind(item, &alias)?;
            }
        }
        let summed = query.aggregates.iter_mut().filter_map(|a| a.of.as_mut());
        query
            .condition
            .iter_mut()
            .chain(summed)
            .try_for_each(|part| self.bind(part, &alias))
    }
}

fn read_csv(
    format: csv::Format,
    header: Header,
    packing: Packing,
    body: Body,
    range: Option<Scanned>,
    results: &mut Results<'_>,
) -> Result<Counts, Fault> {
    let mut record = Record::default();
    let mut columns = Columns { names: Vec::new() };
    let mut reader = csv::Reader::new(format.clone(), source::open(body, packing));
    let mut has_header = true;
    let from = range.as_ref().map_or(0, |scanned| scanned.from);
    let end = range.as_ref().map(|scanned| scanned.range.end);
    let is_at_begin = range
        .as_ref()
        .is_none_or(|scanned| scanned.range.start == 0);
    if is_at_begin {
        reader.skip_mark()?;
    } else {
        reader.skip_record()?;
    }
    if header != Header::None {
        match range.and_then(|scanned| scanned.head) {
            Some(head) => {
                let mut reader = csv::Reader::new(format, source::open(head, Packing::None));
                reader.skip_mark()?;
                has_header = reader.read(&mut record)?;
            }
            None => has_header = reader.read(&mut record)?,
        }
        if header == Header::Use {
            columns.names = record.iter().map(str::to_owned).collect();
        }
    }
    if has_header {
        columns.bind_all(&mut results.query)?;
        while results.wants_more() {
            if let (Some(begin), Some(end)) = (reader.seek()?, end)
                && from + begin >= end
            {
                break;
            }
            if !reader.read(&mut record)? {
                break;
            }
            let line = Line {
                record: &record,
                columns: &columns,
            };
            results.row(Row::Fields(&line))?;
            results.pulse(reader.input().counts())?;
        }
    }
    Ok(reader.input().counts())
}

fn read_json(
    packing: Packing,
    body: Body,
    range: Option<Scanned>,
    results: &mut Results<'_>,
) -> Result<Counts, Fault> {
    let mut reader = json::Reader::new(source::open(body, packing));
    let name = results.query.alias.clone();
    let steps = std::mem::take(&mut results.query.from);
    if range
        .as_ref()
        .is_some_and(|scanned| scanned.range.start > 0)
    {
        reader.skip_line()?;
    }
    while results.wants_more() {
        if let (Some(begin), Some(scanned)) = (reader.seek()?, &range)
            && scanned.from + begin >= scanned.range.end
        {
            break;
        }
        let Some(document) = reader.read()? else {
            break;
        };
        if steps.is_empty() && document.len > csv::LONGEST_RECORD {
            return Err(fault::record_too_large());
        }
        rows(document.value, &steps, &mut |row| {
            results.row(Row::Tree(&row, &name))
        })?;
        results.pulse(reader.input().counts())?;
    }
    Ok(reader.input().counts())
}

/// Writes the record that the items of a `SELECT` list make.
fn write_items(
    items: &[(String, Expression)],
    scope: &Scope<'_>,
    output: &output::Format,
    buffer: &mut Vec<u8>,
) -> Result<(), Fault> {
    let values = items.iter().map(|(_, item)| scope.value(item));
    let values: Vec<Value> = values.collect::<Result<_, _>>()?;
    let named = items.iter().map(|(name, _)| name.as_str()).zip(&values);
    output.write(named, buffer)
}

/// What becomes of the rows.
struct Results<'e> {
    query: Query,
    gathered: Vec<Gathered>,
    output: output::Format,
    events: &'e Events,
    buffer: Vec<u8>,
    now: Timestamp,
    /// Rows that passed.
    passed: u64,
    returned: u64,
    /// What of the scanned bytes the client knows.
    told: u64,
    tells_progress: bool,
}

impl Results<'_> {
    /// Whether more rows would make a difference.
    fn wants_more(&self) -> bool {
        let limit = self.query.limit;
        limit.is_none_or(|limit| match self.gathered.is_empty() {
            true => self.passed < limit,
            // The one record of the aggregates is not yet there.
            false => limit > 0,
        })
    }

    /// Takes a row; says whether more are wanted.
    fn row(&mut self, row: Row<'_>) -> Result<bool, Fault> {
        let scope = Scope {
            row,
            sums: &[],
            now: self.now,
        };
        if let Some(condition) = &self.query.condition
            && scope.truth(condition)? != Some(true)
        {
            return Ok(true);
        }
        self.passed += 1;
        if !self.gathered.is_empty() {
            let mut sums = self.gathered.iter_mut().zip(&self.query.aggregates);
            sums.try_for_each(|(gathered, aggregate)| gathered.add(aggregate, &scope))?;
            return Ok(true);
        }
        match &self.query.projection {
            Projection::Everything => self.everything(row)?,
            Projection::Items(items) => {
                write_items(items, &scope, &self.output, &mut self.buffer)?;
            }
        }
        if self.buffer.len() >= BATCH {
            self.flush()?;
        }
        Ok(self.wants_more())
    }

    /// Writes a row as it is.
    fn everything(&mut self, row: Row<'_>) -> Result<(), Fault> {
        let buffer = &mut self.buffer;
        match row {
            Row::Tree(Value::Object(members), _) => {
                let members = members.iter().map(|(name, value)| (name.as_str(), value));
                self.output.write(members, buffer)
            }
            Row::Tree(value, _) => self.output.write(std::iter::once(("_1", value)), buffer),
            Row::Fields(fields) => {
                let members = fields.members();
                let members = members.iter().map(|(name, value)| (name.as_str(), value));
                self.output.write(members, buffer)
            }
            Row::Nothing => Ok(()),
        }
    }

    fn send(&self, event: Event) -> Result<(), Fault> {
        let sent = self.events.blocking_send(Ok(event));
        sent.map_err(|_| Fault::internal("the client is gone"))
    }

    fn flush(&mut self) -> Result<(), Fault> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let payload = std::mem::take(&mut self.buffer);
        self.returned += payload.len() as u64;
        self.send(event::records(RecordsEvent {
            payload: Some(payload.into()),
        }))
    }

    /// Lets a client that waits know that there is work.
    fn pulse(&mut self, counts: Counts) -> Result<(), Fault> {
        if counts.0 < self.told + PULSE {
            return Ok(());
        }
        self.told = counts.0;
        if self.tells_progress {
            self.progress(counts)
        } else {
            self.send(event::cont(ContinuationEvent {}))
        }
    }

    fn progress(&self, counts: Counts) -> Result<(), Fault> {
        self.send(event::progress(ProgressEvent {
            details: Some(Progress {
                bytes_scanned: i64::try_from(counts.0).ok(),
                bytes_processed: i64::try_from(counts.1).ok(),
                bytes_returned: i64::try_from(self.returned).ok(),
            }),
        }))
    }

    /// Writes what the aggregates come to, and the end.
    fn finish(mut self, counts: Counts) -> Result<(), Fault> {
        if !self.gathered.is_empty() && self.wants_more() {
            let gathered = std::mem::take(&mut self.gathered);
            let sums = gathered.into_iter().zip(&self.query.aggregates);
            let sums = sums.map(|(gathered, aggregate)| gathered.finish(aggregate.function));
            let sums: Vec<Value> = sums.collect::<Result<_, _>>()?;
            let scope = Scope {
                row: Row::Nothing,
                sums: &sums,
                now: self.now,
            };
            if let Projection::Items(items) = &self.query.projection {
                write_items(items, &scope, &self.output, &mut self.buffer)?;
            }
        }
        self.flush()?;
        if self.tells_progress {
            self.progress(counts)?;
        }
        self.send(event::stats(StatsEvent {
            details: Some(Stats {
                bytes_scanned: i64::try_from(counts.0).ok(),
                bytes_processed: i64::try_from(counts.1).ok(),
                bytes_returned: i64::try_from(self.returned).ok(),
            }),
        }))?;
        self.send(event::end(EndEvent {}))
    }
}
