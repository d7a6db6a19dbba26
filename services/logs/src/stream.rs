//! Log streams.

use cloud::{Context, paging};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::group::{Group, arn, meant, place, turn};
use crate::service::Logs;

/// A log stream as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// Never given twice: events hang on it.
    pub(crate) id: u64,
    /// Milliseconds.
    pub(crate) created: i64,
    /// The number of the last event.
    #[serde(default)]
    pub(crate) last: u64,
    #[serde(default)]
    pub(crate) first_event: Option<i64>,
    #[serde(default)]
    pub(crate) last_event: Option<i64>,
    #[serde(default)]
    pub(crate) ingested: Option<i64>,
    #[serde(default)]
    pub(crate) bytes: i64,
}
impl Record for Stream {}

pub(crate) fn no_stream() -> Fault {
    resource_not_found_exception("The specified log stream does not exist.")
}

impl Logs {
    /// The streams of a group whose names begin with `prefix`.
    pub(crate) fn streams_of(
        &self,
        account: &str,
        group: u64,
        prefix: &str,
    ) -> Result<Vec<(String, Stream)>, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(&self.streams, Range::text(&(account, group), prefix));
        Ok(rows
            .map(|row| row.map(|((_, _, name), stream)| (name, stream)))
            .collect::<Result<_, _>>()?)
    }

    /// Bytes of all events put to a group and not expired, as far as expiry has run.
    pub(crate) fn stored_bytes(&self, account: &str, group: u64) -> Result<i64, Fault> {
        Ok(self
            .streams_of(account, group, "")?
            .iter()
            .map(|(_, stream)| stream.bytes)
            .sum())
    }

    /// The stream of that name.
    pub(crate) fn stream(&self, account: &str, group: &Group, name: &str) -> Result<Stream, Fault> {
        self.cloud
            .store
            .read()
            .get(&self.streams, &(account, group.id, name))?
            .ok_or_else(no_stream)
    }

    /// Makes a stream; `false` where it exists.
    pub(crate) async fn make_stream(
        &self,
        account: &str,
        group: &Group,
        name: &str,
        now: i64,
    ) -> Result<bool, Fault> {
        let mut id = [0; 8];
        cloud::ids::random(&mut id);
        let stream = Stream {
            id: u64::from_be_bytes(id),
            created: now,
            ..Stream::default()
        };
        let owner = group.id.to_string();
        let scope = ["logs.streams", account, &owner, name];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let key = (account, group.id, name);
                if tx.contains(&self.streams, &key)? {
                    return Ok(false);
                }
                tx.put(&self.streams, &key, &stream)?;
                Ok(true)
            })
            .await
    }

    pub(crate) async fn create_log_stream(
        &self,
        ctx: &Context,
        input: CreateLogStreamInput,
    ) -> Result<CreateLogStreamOutput, Fault> {
        let group = self.group(&ctx.account, &ctx.region, &input.log_group_name)?;
        if !self
            .make_stream(&ctx.account, &group, &input.log_stream_name, ctx.time.0)
            .await?
        {
            return Err(resource_already_exists_exception(
                "The specified log stream already exists",
            ));
        }
        Ok(CreateLogStreamOutput {})
    }

    pub(crate) async fn delete_log_stream(
        &self,
        ctx: &Context,
        input: DeleteLogStreamInput,
    ) -> Result<DeleteLogStreamOutput, Fault> {
        let group = self.group(&ctx.account, &ctx.region, &input.log_group_name)?;
        let owner = group.id.to_string();
        let scope = ["logs.streams", &ctx.account, &owner, &input.log_stream_name];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let key = (&ctx.account, group.id, &input.log_stream_name);
                let stream = tx.get(&self.streams, &key)?.ok_or_else(no_stream)?;
                tx.delete(&self.streams, &key);
                self.plan_purge(tx, &ctx.account, &[stream.id], None)
            })
            .await?;
        Ok(DeleteLogStreamOutput {})
    }

    pub(crate) async fn describe_log_streams(
        &self,
        ctx: &Context,
        input: DescribeLogStreamsInput,
    ) -> Result<DescribeLogStreamsOutput, Fault> {
        if input.log_group_name.is_some() && input.log_group_identifier.is_some() {
            return Err(Fault::sender(
                400,
                "ValidationException",
                "LogGroup name and LogGroup ARN are mutually exclusive parameters.",
            ));
        }
        let group_name = meant(&input.log_group_name, &input.log_group_identifier)?;
        let group = self.group(&ctx.account, &ctx.region, &group_name)?;
        let by_time = input.order_by.as_deref() == Some("LastEventTime");
        if by_time && input.log_stream_name_prefix.is_some() {
            return Err(invalid_parameter_exception(
                "Cannot order by LastEventTime with a logStreamNamePrefix.",
            ));
        }
        let mut found = self.streams_of(
            &ctx.account,
            group.id,
            input.log_stream_name_prefix.as_deref().unwrap_or(""),
        )?;
        let key = |(name, stream): &(String, Stream)| {
            (
                if by_time {
                    stream.last_event.unwrap_or(stream.created)
                } else {
                    0
                },
                name.clone(),
            )
        };
        if by_time {
            found.sort_by_key(key);
        }
        let descending = input.descending.unwrap_or(false);
        if descending {
            found.reverse();
        }
        if let Some(token) = &input.next_token {
            let place = place("DescribeLogStreams", token)?;
            let (time, name) = match place.as_slice() {
                [time, name] => (time.parse::<i64>().unwrap_or(0), name.clone()),
                _ => {
                    return Err(invalid_parameter_exception(
                        "The specified nextToken is invalid.",
                    ));
                }
            };
            let place = (time, name);
            found.retain(|row| {
                if descending {
                    key(row) < place
                } else {
                    key(row) > place
                }
            });
        }
        let limit = usize::try_from(input.limit.unwrap_or(50)).unwrap_or(50);
        let next_token = turn("DescribeLogStreams", &mut found, limit, |row| {
            let (time, name) = key(row);
            vec![time.to_string(), name]
        });
        let of_group = arn(&ctx.account, &ctx.region, &group_name);
        let log_streams = found.into_iter().map(|(name, stream)| LogStream {
            arn: Some(format!("{of_group}:log-stream:{name}")),
            log_stream_name: Some(name),
            creation_time: Some(stream.created),
            first_event_timestamp: stream.first_event,
            last_event_timestamp: stream.last_event,
            last_ingestion_time: stream.ingested,
            // What was never written to has none.
            upload_sequence_token: stream.ingested.map(|_| sequence_token(stream.last)),
            // AWS stopped telling it for streams in 2019.
            stored_bytes: Some(0),
        });
        Ok(DescribeLogStreamsOutput {
            log_streams: Some(log_streams.collect()),
            next_token,
        })
    }
}

/// What older clients send back; it is not looked at.
pub(crate) fn sequence_token(last: u64) -> String {
    format!("49{last:054}")
}

/// A token of a place within a group: a time, a stream, a number.
pub(crate) fn event_token(of: &str, time: i64, stream: &str, number: u64) -> String {
    paging::token(of, &[&time.to_string(), stream, &number.to_string()])
}
