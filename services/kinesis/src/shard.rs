//! Shards: listed, split, merged.

use cloud::Context;
use store::{Range, Read, Tx};
use wire::Fault;

use crate::api::{
    ChildShard, HashKeyRange, ListShardsInput, ListShardsOutput, MergeShardsInput,
    MergeShardsOutput, SequenceNumberRange, ShardFilter, SplitShardInput, SplitShardOutput,
    shard_filter_type,
};
use crate::errors::*;
use crate::lineage::{Lineage, Shard};
use crate::sequence::{END, Sequence};
use crate::service::Kinesis;
use crate::stream::{Place, Stream, admit_shards, page};

const HOUR: i64 = 3_600_000;
/// How long a paging token lasts, milliseconds.
const TOKEN_LIFE: i64 = 300_000;

/// The id of the shard of that number.
pub(crate) fn id(number: u64) -> String {
    format!("shardId-{number:012}")
}

fn range(shard: &Shard) -> HashKeyRange {
    HashKeyRange {
        starting_hash_key: shard.start.to_string(),
        ending_hash_key: shard.end.to_string(),
    }
}

/// The first number that a shard may give.
pub(crate) fn first_sequence(number: u64, shard: &Shard) -> Sequence {
    Sequence {
        epoch: shard.epoch,
        number: 0,
        time: u64::try_from(shard.created / 1000).unwrap_or(0),
        shard: number,
    }
}

/// A shard as it is answered.
pub(crate) fn shown(number: u64, shard: &Shard) -> crate::api::Shard {
    let first = first_sequence(number, shard);
    let last = shard.closed.map(|closed| Sequence {
        number: END,
        time: u64::try_from(closed / 1000).unwrap_or(0),
        ..first
    });
    crate::api::Shard {
        shard_id: id(number),
        parent_shard_id: shard.parent.map(id),
        adjacent_parent_shard_id: shard.adjacent.map(id),
        hash_key_range: range(shard),
        sequence_number_range: SequenceNumberRange {
            starting_sequence_number: first.to_string(),
            ending_sequence_number: last.map(|s| s.to_string()),
        },
    }
}

/// Records, and shards closed, before that time are gone.
pub(crate) fn horizon(stream: &Stream, now: i64) -> i64 {
    now.saturating_sub(i64::from(stream.retention) * HOUR)
}

impl Kinesis {
    /// The number in a shard id, of which the number alone will do.
    pub(crate) fn shard_number(&self, place: &Place, text: &str) -> Result<u64, Fault> {
        let digits = text.strip_prefix("shardId-").unwrap_or(text);
        let number = digits
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| digits.parse::<u32>().ok())
            .flatten();
        number
            .map(u64::from)
            .ok_or_else(|| self.no_such_shard(place, text))
    }

    /// The shard of that id does not exist, for who changes it.
    pub(crate) fn no_such_shard(&self, place: &Place, id: &str) -> Fault {
        resource_not_found_exception(format!(
            "Could not find shard {id} in stream {} under account {}.",
            place.name, place.account
        ))
    }

    /// The shards of a stream behind `after` that pass, at most `limit`, and whether there are more.
    #[allow(clippy::too_many_arguments, reason = "the parts of one question")]
    pub(crate) fn page_of_shards(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &Stream,
        after: Option<u64>,
        limit: usize,
        now: i64,
        passes: impl Fn(&Shard) -> bool,
    ) -> Result<(Vec<(u64, Shard)>, bool), Fault> {
        let mut range = Range::prefix(&(&place.account, stream.id));
        if let Some(after) = after {
            range = range.after(&(&place.account, stream.id, after));
        }
        let horizon = horizon(stream, now);
        let mut found = Vec::new();
        for row in reader.range(&self.shards, range) {
            let ((_, _, number), shard) = row?;
            if shard.closed.is_some_and(|closed| closed <= horizon) || !passes(&shard) {
                continue;
            }
            if found.len() == limit {
                return Ok((found, true));
            }
            found.push((number, shard));
        }
        Ok((found, false))
    }

    /// The shard, which must be within retention.
    pub(crate) fn shard(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &Stream,
        number: u64,
        now: i64,
    ) -> Result<Shard, Fault> {
        let shard: Option<Shard> =
            Read::get(reader, &self.shards, &(&place.account, stream.id, number))?;
        let horizon = horizon(stream, now);
        shard
            .filter(|s| s.closed.is_none_or(|closed| closed > horizon))
            .ok_or_else(|| {
                resource_not_found_exception(format!(
                    "Shard {} in stream {} under account {} does not exist",
                    id(number),
                    place.name,
                    place.account
                ))
            })
    }

    /// The children of a closed shard, for readers that go on there.
    pub(crate) fn children(
        &self,
        reader: &impl Read,
        place: &Place,
        stream: &Stream,
        shard: &Shard,
    ) -> Result<Vec<ChildShard>, Fault> {
        let mut children = Vec::new();
        for number in &shard.children {
            let child: Option<Shard> =
                Read::get(reader, &self.shards, &(&place.account, stream.id, *number))?;
            let Some(child) = child else { continue };
            children.push(ChildShard {
                shard_id: id(*number),
                parent_shards: child
                    .parent
                    .iter()
                    .chain(&child.adjacent)
                    .map(|n| id(*n))
                    .collect(),
                hash_key_range: range(&child),
            });
        }
        Ok(children)
    }

    /// The open shards of a stream.
    pub(crate) fn open(
        &self,
        reader: &impl Read,
        account: &str,
        stream: &Stream,
    ) -> Result<Vec<(u64, Shard)>, Fault> {
        let rows = reader.range(&self.shards, Range::prefix(&(account, stream.id)));
        let mut open = Vec::new();
        for row in rows {
            let ((_, _, number), shard) = row?;
            if shard.closed.is_none() {
                open.push((number, shard));
            }
        }
        Ok(open)
    }

    /// Changes the open shards of a stream in one transaction that keeps writers out.
    pub(crate) async fn reshard(
        &self,
        place: &Place,
        f: impl FnOnce(&Tx<'_>, &Stream, &mut Lineage) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let now = self.cloud.clock.now().0;
        let current = self.open_shards(place)?;
        let changed = self
            .change(place, |tx, stream| {
                let open = self.open(tx, &place.account, stream)?;
                let before = open.len();
                let mut lineage = Lineage::new(open, stream.next_shard, now);
                f(tx, stream, &mut lineage)?;
                let more = lineage.open.len().saturating_sub(before);
                admit_shards(place, current, i32::try_from(more).unwrap_or(i32::MAX))?;
                let first_new = stream.next_shard;
                let new = lineage.open.iter().filter(|(n, _)| *n >= first_new);
                for (number, shard) in new.chain(&lineage.closed) {
                    tx.put(&self.shards, &(&place.account, stream.id, *number), shard)?;
                }
                stream.next_shard = lineage.next;
                stream.open = i32::try_from(lineage.open.len()).unwrap_or(i32::MAX);
                stream.layout += 1;
                let closed: Vec<u64> = lineage.closed.iter().map(|(n, _)| *n).collect();
                Ok((stream.id, closed))
            })
            .await?;
        let (stream, closed) = changed;
        for shard in closed {
            self.wiring.wake(stream, shard).notify_waiters();
        }
        Ok(())
    }

    /// Where an open shard stands in the order; a closed one cannot be changed again.
    fn eligible(
        &self,
        tx: &Tx<'_>,
        place: &Place,
        stream: &Stream,
        lineage: &Lineage,
        text: &str,
    ) -> Result<usize, Fault> {
        let number = self.shard_number(place, text)?;
        if let Some(at) = lineage.open.iter().position(|(n, _)| *n == number) {
            return Ok(at);
        }
        if !tx.contains(&self.shards, &(&place.account, stream.id, number))? {
            return Err(self.no_such_shard(place, &id(number)));
        }
        Err(invalid_argument_exception(format!(
            "Shard {} in stream {} under account {} has already been merged or split, and thus is not eligible for merging or splitting.",
            id(number),
            place.name,
            place.account
        )))
    }

    fn refuse_on_demand(&self, place: &Place, stream: &Stream) -> Result<(), Fault> {
        if !stream.on_demand {
            return Ok(());
        }
        Err(validation_exception(format!(
            "Request is invalid. Stream {} under account {} is in On-Demand mode.",
            place.name, place.account
        )))
    }

    pub(crate) async fn split_shard(
        &self,
        ctx: &Context,
        input: SplitShardInput,
    ) -> Result<SplitShardOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        self.reshard(&place, |tx, stream, lineage| {
            self.refuse_on_demand(&place, stream)?;
            let at = self.eligible(tx, &place, stream, lineage, &input.shard_to_split)?;
            let Some((number, shard)) = lineage.open.get(at) else {
                return Err(self.no_such_shard(&place, &input.shard_to_split));
            };
            let key = input.new_starting_hash_key.parse::<u128>().ok();
            let key = key.filter(|k| *k > shard.start.saturating_add(1) && *k < shard.end);
            let Some(key) = key else {
                return Err(invalid_argument_exception(format!(
                    "NewStartingHashKey {} used in SplitShard() on shard {} in stream {} under account {} is not both greater than one plus the shard's StartingHashKey {} and less than the shard's EndingHashKey {}.",
                    input.new_starting_hash_key,
                    id(*number),
                    place.name,
                    place.account,
                    shard.start,
                    shard.end
                )));
            };
            lineage.split(at, key);
            Ok(())
        })
        .await?;
        Ok(SplitShardOutput {})
    }

    pub(crate) async fn merge_shards(
        &self,
        ctx: &Context,
        input: MergeShardsInput,
    ) -> Result<MergeShardsOutput, Fault> {
        let place = Place::of(
            ctx,
            input.stream_name.as_deref(),
            input.stream_arn.as_deref(),
        )?;
        self.reshard(&place, |tx, stream, lineage| {
            self.refuse_on_demand(&place, stream)?;
            let a = self.eligible(tx, &place, stream, lineage, &input.shard_to_merge)?;
            let b = self.eligible(tx, &place, stream, lineage, &input.adjacent_shard_to_merge)?;
            if a.abs_diff(b) != 1 {
                let number = |at: usize| lineage.open.get(at).map_or(0, |(n, _)| *n);
                return Err(invalid_argument_exception(format!(
                    "Shards {} and {} in stream {} under account {} are not an adjacent pair of shards eligible for merging",
                    id(number(a)),
                    id(number(b)),
                    place.name,
                    place.account
                )));
            }
            lineage.merge(a.min(b), b < a);
            Ok(())
        })
        .await?;
        Ok(MergeShardsOutput {})
    }

    pub(crate) async fn list_shards(
        &self,
        ctx: &Context,
        input: ListShardsInput,
    ) -> Result<ListShardsOutput, Fault> {
        let now = ctx.time.0;
        let (place, after, filter) = match &input.next_token {
            Some(token) => {
                if input.stream_name.is_some() || input.stream_arn.is_some() {
                    return Err(invalid_argument_exception(
                        "NextToken and StreamName cannot be provided together.",
                    ));
                }
                let (place, after, filter) = self.read_token(ctx, token)?;
                (place, Some(after), filter)
            }
            None => {
                let place = Place::of(
                    ctx,
                    input.stream_name.as_deref(),
                    input.stream_arn.as_deref(),
                )?;
                let after = match &input.exclusive_start_shard_id {
                    Some(id) => Some(self.shard_number(&place, id)?),
                    None => None,
                };
                (
                    place,
                    after,
                    input.shard_filter.map(Filter::of).transpose()?,
                )
            }
        };
        let view = self.cloud.store.read();
        let stream = self.stream(&view, &place)?;
        if let Some(created) = input.stream_creation_timestamp
            && created.secs() != stream.created.div_euclid(1000)
        {
            return Err(place.missing());
        }
        let limit = page(input.max_results, 1000);
        let horizon = horizon(&stream, now).max(stream.created);
        let (mut after, filter) = (after, filter);
        if let Some(Filter::After(text)) = &filter
            && after.is_none()
        {
            after = Some(self.shard_number(&place, text)?);
        }
        let passes = |shard: &Shard| match &filter {
            Some(Filter::AtHorizon) => shard.is_open_at(horizon),
            Some(Filter::Latest) => shard.closed.is_none(),
            Some(Filter::At(time)) => shard.is_open_at((*time).max(horizon)),
            Some(Filter::From(time)) => shard.closed.is_none_or(|closed| closed > *time),
            Some(Filter::After(_)) | None => true,
        };
        let (shards, more) =
            self.page_of_shards(&view, &place, &stream, after, limit, now, passes)?;
        let last = shards.last().filter(|_| more);
        let next_token = last.map(|(number, _)| {
            let filter = filter.as_ref().map(Filter::text).unwrap_or_default();
            let parts = [
                place.account.as_str(),
                &place.region,
                &place.name,
                &number.to_string(),
                &now.to_string(),
                &filter,
            ];
            cloud::paging::token("ListShards", &parts)
        });
        Ok(ListShardsOutput {
            shards: Some(shards.iter().map(|(n, s)| shown(*n, s)).collect()),
            next_token,
        })
    }

    fn read_token(
        &self,
        ctx: &Context,
        token: &str,
    ) -> Result<(Place, u64, Option<Filter>), Fault> {
        let invalid = || invalid_argument_exception("NextToken is invalid.");
        let parts = cloud::paging::place("ListShards", token).ok_or_else(invalid)?;
        let [account, region, name, after, made, filter] =
            <[String; 6]>::try_from(parts).map_err(|_| invalid())?;
        let made: i64 = made.parse().map_err(|_| invalid())?;
        if ctx.time.0.saturating_sub(made) > TOKEN_LIFE {
            return Err(expired_next_token_exception(
                "NextToken has expired. Tokens are valid for 300 seconds.",
            ));
        }
        let place = Place {
            account,
            region,
            name,
        };
        let after = after.parse().map_err(|_| invalid())?;
        Ok((place, after, Filter::read(&filter)))
    }
}

/// Which shards are listed.
enum Filter {
    After(String),
    AtHorizon,
    Latest,
    At(i64),
    From(i64),
}

impl Filter {
    fn of(filter: ShardFilter) -> Result<Filter, Fault> {
        let kind = filter.r#type;
        let missing = |what: &str| {
            invalid_argument_exception(format!(
                "{what} must be specified when the shard filter type is {kind}."
            ))
        };
        let time = || {
            filter
                .timestamp
                .map(|t| t.0)
                .ok_or_else(|| missing("Timestamp"))
        };
        Ok(match kind.as_str() {
            shard_filter_type::AFTER_SHARD_ID => {
                Filter::After(filter.shard_id.ok_or_else(|| missing("ShardId"))?)
            }
            shard_filter_type::AT_TRIM_HORIZON => Filter::AtHorizon,
            shard_filter_type::AT_LATEST => Filter::Latest,
            shard_filter_type::AT_TIMESTAMP => Filter::At(time()?),
            shard_filter_type::FROM_TIMESTAMP => Filter::From(time()?),
            // What is behind the horizon is never listed.
            _ => Filter::From(i64::MIN),
        })
    }
    /// As a paging token carries it; the shard of `After` is in the token's own place by then.
    fn text(&self) -> String {
        match self {
            Filter::After(_) => String::new(),
            Filter::AtHorizon => "h".into(),
            Filter::Latest => "l".into(),
            Filter::At(time) => format!("a{time}"),
            Filter::From(time) => format!("f{time}"),
        }
    }
    fn read(text: &str) -> Option<Filter> {
        let (kind, rest) = text.split_at_checked(1)?;
        match kind {
            "h" => Some(Filter::AtHorizon),
            "l" => Some(Filter::Latest),
            "a" => Some(Filter::At(rest.parse().ok()?)),
            "f" => Some(Filter::From(rest.parse().ok()?)),
            _ => None,
        }
    }
}
