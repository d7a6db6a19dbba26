//! What queues and channels have in common: an id of their own, and a place in each shard of their stream.

use std::fmt;

use cloud::Arn;
use wire::{Fault, Timestamp};

use crate::errors::*;
use crate::stream::Place;

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
