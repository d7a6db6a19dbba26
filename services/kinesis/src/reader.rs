//! What queues and channels have in common: an id of their own, a place in each shard of their stream, and their end.

use std::fmt;

use cloud::{Arn, Job};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::errors::*;
use crate::service::Kinesis;
use crate::stream::{Place, Stream};

const REMOVE: &str = "kinesis.remove_queue";
/// How many rows one transaction deletes.
pub(crate) const CHUNK: usize = 1000;

/// What reads a stream by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Queue,
    Channel,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Queue => "queue",
            Kind::Channel => "channel",
        })
    }
}

/// Which queue or channel is meant.
#[derive(Clone, Debug)]
pub(crate) struct ReaderPlace {
    pub(crate) kind: Kind,
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) id: u64,
}

/// The form of an id in an ARN.
const ID_DIGITS: usize = 16;

impl ReaderPlace {
    /// A new one.
    pub(crate) fn new(kind: Kind, account: &str, region: &str) -> ReaderPlace {
        let mut id = [0; 8];
        cloud::ids::random(&mut id);
        ReaderPlace {
            kind,
            account: account.to_owned(),
            region: region.to_owned(),
            id: u64::from_be_bytes(id),
        }
    }
    /// The one of that ARN.
    pub(crate) fn of_arn(arn: &Arn) -> Option<ReaderPlace> {
        let (kind, id) = arn.resource.split_once('/')?;
        let kind = match kind {
            "queue" => Kind::Queue,
            "channel" => Kind::Channel,
            _ => return None,
        };
        let is_id = id.len() == ID_DIGITS && arn.service == "kinesis";
        Some(ReaderPlace {
            kind,
            account: arn.account.clone(),
            region: arn.region.clone(),
            id: u64::from_str_radix(id, 16).ok().filter(|_| is_id)?,
        })
    }
    /// Reads an ARN, whose form the model has checked; one that none can have names none.
    pub(crate) fn parse(kind: Kind, arn: &str) -> Result<ReaderPlace, Fault> {
        let parsed = arn.parse::<Arn>().ok();
        parsed
            .as_ref()
            .and_then(ReaderPlace::of_arn)
            .filter(|place| place.kind == kind)
            .ok_or_else(|| no_reader(kind, arn))
    }
    pub(crate) fn key(&self) -> (&str, &str, u64) {
        (&self.account, &self.region, self.id)
    }
    /// The id as text.
    pub(crate) fn text(&self) -> String {
        text(self.id)
    }
    pub(crate) fn arn(&self) -> String {
        let resource = format!("{}/{}", self.kind, self.text());
        Arn::new("kinesis", &self.region, &self.account, resource).to_string()
    }
    /// The stream of that name where this is.
    pub(crate) fn stream(&self, name: &str) -> Place {
        Place {
            account: self.account.clone(),
            region: self.region.clone(),
            name: name.to_owned(),
        }
    }
    pub(crate) fn missing(&self) -> Fault {
        no_reader(self.kind, &self.arn())
    }
    /// All of its kind in its account and region, whose names are unique.
    pub(crate) fn scope(&self) -> [&str; 3] {
        let all = match self.kind {
            Kind::Queue => "kinesis.queues",
            Kind::Channel => "kinesis.channels",
        };
        [all, &self.account, &self.region]
    }
}

/// How far a queue has handed out a shard, or a channel has written it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The number of the next record.
    next: u64,
}
impl Record for Cursor {}

impl Cursor {
    pub(crate) fn at(next: u64) -> Cursor {
        Cursor { next }
    }
    pub(crate) fn next(self) -> u64 {
        self.next
    }
}

/// The lock under which the rows of a queue or a channel change, its id as text.
pub(crate) fn scope(id: &str) -> [&str; 2] {
    ["kinesis.reader", id]
}

/// An id as text.
pub(crate) fn text(id: u64) -> String {
    format!("{id:0ID_DIGITS$x}")
}

fn no_reader(kind: Kind, arn: &str) -> Fault {
    let kind = match kind {
        Kind::Queue => "Queue",
        Kind::Channel => "Channel",
    };
    resource_not_found_exception(format!("{kind} {arn} not found."))
}

/// The id behind which a page of a listing begins.
pub(crate) fn page_start(of: &str, token: Option<&str>) -> Result<Option<u64>, Fault> {
    let start = cloud::paging::start(of, token);
    start
        .and_then(|start| match start {
            Some(parts) => parts.first()?.parse().ok().map(Some),
            None => Some(None),
        })
        .ok_or_else(|| validation_exception("NextToken is invalid."))
}

/// Whether a listing asks for a stream: one of those it names, made in that second where it says one; all if it names none.
pub(crate) fn is_asked_for<'f>(
    mut filters: impl ExactSizeIterator<Item = (&'f str, Option<Timestamp>)>,
    arn: &str,
    created: i64,
) -> bool {
    filters.len() == 0
        || filters.any(|(wanted, when)| {
            wanted == arn && when.is_none_or(|t| t.secs() == created.div_euclid(1000))
        })
}

impl Kinesis {
    /// Lets the scheduler remove the rows of what was deleted.
    pub(crate) fn register_reader_removal(&self) {
        let me = self.me.clone();
        self.cloud.scheduler.register(REMOVE, move |job: Job| {
            let me = me.clone();
            Box::pin(async move {
                match (
                    me.upgrade(),
                    serde_json::from_value::<(String, u64)>(job.payload),
                ) {
                    (Some(kinesis), Ok((account, id))) => kinesis.remove_reader(&account, id).await,
                    _ => Ok(()),
                }
            })
        });
    }

    /// Plans the removal of all rows of a deleted queue or channel.
    pub(crate) fn plan_reader_removal(
        &self,
        tx: &mut Tx<'_>,
        of: (&str, u64),
        now: Timestamp,
    ) -> Result<(), Fault> {
        let payload = serde_json::to_value(of)?;
        let scheduler = &self.cloud.scheduler;
        scheduler.at(tx, now, REMOVE, &text(of.1), payload)
    }

    async fn remove_reader(&self, account: &str, id: u64) -> Result<(), Fault> {
        let of = (account, id);
        let id_text = text(id);
        let scope = scope(&id_text);
        loop {
            let step = self.cloud.store.transact(Scope::new(&scope), |tx| {
                let rows = tx.range(&self.handed, Range::prefix(&of).limit(CHUNK));
                let rows = rows.collect::<Result<Vec<_>, _>>()?;
                for ((_, _, shard, number), handed) in &rows {
                    self.drop_handed(tx, account, id, (*shard, *number), handed);
                }
                let mut cursors = Vec::new();
                for row in tx.range(&self.cursors, Range::prefix(&of)) {
                    cursors.push(row?.0.2);
                }
                for shard in cursors {
                    tx.delete(&self.cursors, &(account, id, shard));
                }
                Ok::<_, Fault>(rows.len())
            });
            if step.await? < CHUNK {
                self.wiring.forget_reader(id);
                return Ok(());
            }
            // Others' turn.
            tokio::task::yield_now().await;
        }
    }

    /// Sets where a new queue or channel begins in the shards that there are: at a time, or behind what is there.
    pub(crate) fn begin_cursors(
        &self,
        tx: &mut Tx<'_>,
        (account, reader): (&str, u64),
        source: &Place,
        stream: &Stream,
        start: Option<i64>,
        now: i64,
    ) -> Result<(), Fault> {
        let (shards, _) =
            self.page_of_shards(tx, source, stream, None, usize::MAX, now, |_| true)?;
        for (shard, _) in shards {
            let key = (source.account.as_str(), stream.id, shard);
            let next = match start {
                Some(time) => self.first_since(tx, &key, 0, time)?,
                None => self.records.last(tx, &key)? + 1,
            };
            tx.put(&self.cursors, &(account, reader, shard), &Cursor { next })?;
        }
        Ok(())
    }
}
