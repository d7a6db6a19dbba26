//! Insights queries: begun, run beside other requests, and asked for their results; and queries kept by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::Fault;

use crate::api::*;
use crate::errors::*;
use crate::event::OVERHEAD;
use crate::group::name_in;
use crate::insights::{MOST, Query, Row, shown_time};
use crate::reading::{Merged, Selection};
use crate::service::Logs;

/// A query as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct QueryRow {
    groups: Vec<String>,
    text: String,
    status: String,
    created: i64,
    #[serde(default)]
    results: Vec<Vec<(String, String)>>,
    #[serde(default)]
    matched: usize,
    #[serde(default)]
    scanned: usize,
    #[serde(default)]
    bytes: usize,
}
impl Record for QueryRow {}

/// A query kept by name, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Definition {
    name: String,
    text: String,
    groups: Vec<String>,
    modified: i64,
}
impl Record for Definition {}

const RUNNING: &str = "Running";

/// What a query reads.
struct Source {
    account: String,
    region: String,
    name: String,
    selection: Selection,
}

/// Where an event lies, as `@ptr` has it.
fn pointer(source: &Source, stream: &str, time: i64, number: u64) -> String {
    let place = (
        &source.account,
        &source.region,
        &source.name,
        stream,
        time,
        number,
    );
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&place).unwrap_or_default())
}

/// Seconds, or milliseconds where the number is too large for them.
fn to_millis(time: i64) -> i64 {
    if time.abs() < 100_000_000_000 {
        time.saturating_mul(1000)
    } else {
        time
    }
}

impl Logs {
    fn source(&self, ctx: &Context, name: &str, start: i64, end: i64) -> Result<Source, Fault> {
        let group = self.group(&ctx.account, &ctx.region, name)?;
        let selection = Selection {
            account: ctx.account.clone(),
            streams: self.streams_of(&ctx.account, group.id, "")?,
            start: start.max(group.cutoff(ctx.time.0)),
            end,
            after: None,
        };
        Ok(Source {
            account: ctx.account.clone(),
            region: ctx.region.clone(),
            name: name.to_owned(),
            selection,
        })
    }

    /// The rows of a source's events, oldest first, and their bytes.
    fn rows(&self, source: &Source, most: usize) -> Result<(Vec<Row>, usize), Fault> {
        let view = self.cloud.store.read();
        let mut merged = Merged::over(&view, self.events, &source.selection)?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(found) = merged.next()? {
            if rows.len() >= most {
                break;
            }
            bytes += found.event.message.len() + OVERHEAD;
            rows.push(Row::of_event(BTreeMap::from([
                ("@timestamp", shown_time(found.time)),
                ("@ingestionTime", shown_time(found.event.ingested)),
                ("@logStream", found.stream.to_owned()),
                ("@log", format!("{}:{}", source.account, source.name)),
                (
                    "@ptr",
                    pointer(source, found.stream, found.time, found.number),
                ),
                ("@message", found.event.message),
            ])));
        }
        Ok((rows, bytes))
    }

    fn evaluate(
        &self,
        query: &Query,
        sources: &[Source],
        limit: Option<usize>,
        row: &mut QueryRow,
    ) -> Result<(), Fault> {
        let mut all = Vec::new();
        for source in sources {
            let (rows, bytes) = self.rows(source, usize::MAX)?;
            all.extend(rows);
            row.bytes += bytes;
        }
        row.scanned = all.len();
        if sources.len() > 1 {
            all.sort_by(|a, b| a.event.get("@timestamp").cmp(&b.event.get("@timestamp")));
        }
        let answer = query.run(all.into_iter().rev(), limit);
        row.matched = answer.matched;
        row.results = answer.rows;
        Ok(())
    }

    async fn store_query(
        &self,
        account: &str,
        region: &str,
        id: &str,
        row: &QueryRow,
    ) -> Result<(), Fault> {
        let scope = ["logs.queries", account, region, id];
        let stored = self.cloud.store.transact(Scope::new(&scope), |tx| {
            // One that was stopped meanwhile stays so.
            let old: Option<QueryRow> = tx.get(&self.queries, &(account, region, id))?;
            if old.is_none_or(|old| old.status == RUNNING) {
                tx.put(&self.queries, &(account, region, id), row)?;
            }
            Ok(())
        });
        stored.await
    }

    pub(crate) async fn start_query(
        &self,
        ctx: &Context,
        input: StartQueryInput,
    ) -> Result<StartQueryOutput, Fault> {
        let query = Query::parse(&input.query_string)
            .map_err(|why| malformed_query_exception(format!("{why} in query")))?;
        let mut names: Vec<String> = input.log_group_name.into_iter().collect();
        names.extend(input.log_group_names.unwrap_or_default());
        for identifier in input.log_group_identifiers.unwrap_or_default() {
            names.push(name_in(&identifier)?);
        }
        if names.is_empty() {
            return Err(invalid_parameter_exception(
                "Log group name must be specified.",
            ));
        }
        let (start, end) = (to_millis(input.start_time), to_millis(input.end_time));
        if start > end {
            return Err(malformed_query_exception(
                "Query's end date and time is before its start date and time",
            ));
        }
        // Times are whole seconds, and the last one counts.
        let end = if end % 1000 == 0 {
            end.saturating_add(999)
        } else {
            end
        };
        let sources = names
            .iter()
            .map(|n| self.source(ctx, n, start, end))
            .collect::<Result<Vec<_>, _>>()?;
        let id = cloud::ids::uuid();
        let mut row = QueryRow {
            groups: names,
            text: input.query_string,
            status: RUNNING.into(),
            created: ctx.time.0,
            ..QueryRow::default()
        };
        self.store_query(&ctx.account, &ctx.region, &id, &row)
            .await?;
        self.running.lock().insert(id.clone());
        let limit = input.limit.and_then(|n| usize::try_from(n).ok());
        let (account, region, query_id) = (ctx.account.clone(), ctx.region.clone(), id.clone());
        let this = self.itself();
        tokio::spawn(async move {
            let Some(this) = this else { return };
            let worker = this.clone();
            let ran = tokio::task::spawn_blocking(move || {
                let outcome = worker.evaluate(&query, &sources, limit, &mut row);
                row.status = if outcome.is_ok() {
                    "Complete"
                } else {
                    "Failed"
                }
                .into();
                (row, outcome)
            });
            match ran.await {
                Ok((row, outcome)) => {
                    if let Err(fault) = outcome {
                        tracing::error!(%fault, cause = fault.cause, "a query failed");
                    }
                    if let Err(fault) = this.store_query(&account, &region, &query_id, &row).await {
                        tracing::error!(%fault, cause = fault.cause, "a query's results could not be stored");
                    }
                }
                Err(e) => tracing::error!(error = %e, "a query ended without an outcome"),
            }
            this.running.lock().remove(&query_id);
        });
        Ok(StartQueryOutput { query_id: Some(id) })
    }

    fn query_row(&self, ctx: &Context, id: &str) -> Result<QueryRow, Fault> {
        // Asked before the row is read: a query that ends in between shows its results.
        let is_live = self.running.lock().contains(id);
        let found: Option<QueryRow> = self
            .cloud
            .store
            .read()
            .get(&self.queries, &(&ctx.account, &ctx.region, id))?;
        let mut row = found
            .ok_or_else(|| resource_not_found_exception("The specified query does not exist."))?;
        if row.status == RUNNING && !is_live {
            // A restart ended it.
            row.status = "Failed".into();
        }
        Ok(row)
    }

    pub(crate) async fn get_query_results(
        &self,
        ctx: &Context,
        input: GetQueryResultsInput,
    ) -> Result<GetQueryResultsOutput, Fault> {
        let row = self.query_row(ctx, &input.query_id)?;
        let statistics = QueryStatistics {
            records_matched: Some(row.matched as f64),
            records_scanned: Some(row.scanned as f64),
            bytes_scanned: Some(row.bytes as f64),
            estimated_records_skipped: Some(0.0),
            estimated_bytes_skipped: Some(0.0),
            log_groups_scanned: Some(row.groups.len() as f64),
            ..QueryStatistics::default()
        };
        let field = |(name, value): (String, String)| ResultField {
            field: Some(name),
            value: Some(value),
        };
        let results = row
            .results
            .into_iter()
            .map(|fields| fields.into_iter().map(field).collect());
        Ok(GetQueryResultsOutput {
            query_language: Some("CWLI".into()),
            results: Some(results.collect()),
            statistics: Some(statistics),
            status: Some(row.status),
            ..GetQueryResultsOutput::default()
        })
    }

    pub(crate) async fn stop_query(
        &self,
        ctx: &Context,
        input: StopQueryInput,
    ) -> Result<StopQueryOutput, Fault> {
        let mut row = self.query_row(ctx, &input.query_id)?;
        if row.status != RUNNING {
            let message =
                "There is no active query with that ID: it is not in a state to be stopped.";
            return Err(invalid_parameter_exception(message));
        }
        row.status = "Cancelled".into();
        self.store_query(&ctx.account, &ctx.region, &input.query_id, &row)
            .await?;
        Ok(StopQueryOutput {
            success: Some(true),
        })
    }

    pub(crate) async fn describe_queries(
        &self,
        ctx: &Context,
        input: DescribeQueriesInput,
    ) -> Result<DescribeQueriesOutput, Fault> {
        let view = self.cloud.store.read();
        let rows = view.range(&self.queries, Range::prefix(&(&ctx.account, &ctx.region)));
        let mut found: Vec<(String, QueryRow)> = rows
            .map(|row| row.map(|((_, _, id), q)| (id, q)))
            .collect::<Result<_, _>>()?;
        found.retain(|(_, q)| {
            input
                .log_group_name
                .as_ref()
                .is_none_or(|g| q.groups.contains(g))
                && input.status.as_ref().is_none_or(|s| *s == q.status)
        });
        found.sort_by_key(|(_, q)| std::cmp::Reverse(q.created));
        found.truncate(
            input
                .max_results
                .and_then(|n| usize::try_from(n).ok())
                .unwrap_or(1000),
        );
        let info = |(id, q): (String, QueryRow)| QueryInfo {
            query_language: Some("CWLI".into()),
            query_id: Some(id),
            query_string: Some(q.text),
            status: Some(q.status),
            create_time: Some(q.created),
            log_group_name: q.groups.into_iter().next(),
            ..QueryInfo::default()
        };
        Ok(DescribeQueriesOutput {
            queries: Some(found.into_iter().map(info).collect()),
            next_token: None,
        })
    }

    pub(crate) async fn get_log_record(
        &self,
        ctx: &Context,
        input: GetLogRecordInput,
    ) -> Result<GetLogRecordOutput, Fault> {
        let bad = || invalid_parameter_exception("The specified log record pointer is invalid.");
        let bytes = URL_SAFE_NO_PAD
            .decode(&input.log_record_pointer)
            .map_err(|_| bad())?;
        let place: (String, String, String, String, i64, u64) =
            serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let (account, region, name, stream_name, time, number) = place;
        if account != ctx.account {
            return Err(bad());
        }
        let group = self.group(&account, &region, &name)?;
        let stream = self.stream(&account, &group, &stream_name)?;
        let found = self
            .cloud
            .store
            .read()
            .get(&self.events, &(&account, stream.id, time, number))?;
        let event = found.ok_or_else(|| {
            resource_not_found_exception("The specified log record does not exist.")
        })?;
        let row = Row::of_event(BTreeMap::from([("@message", event.message)]));
        let mut record: BTreeMap<String, String> = row.discovered().clone();
        record.insert("@timestamp".into(), time.to_string());
        record.insert("@ingestionTime".into(), event.ingested.to_string());
        record.insert("@logStream".into(), stream_name);
        record.insert("@log".into(), format!("{account}:{name}"));
        record.extend(row.event.into_iter().map(|(k, v)| (k.to_owned(), v)));
        Ok(GetLogRecordOutput {
            log_record: Some(record),
        })
    }

    pub(crate) async fn get_log_group_fields(
        &self,
        ctx: &Context,
        input: GetLogGroupFieldsInput,
    ) -> Result<GetLogGroupFieldsOutput, Fault> {
        const WINDOW: i64 = 15 * 60_000;
        let name = crate::group::meant(&input.log_group_name, &input.log_group_identifier)?;
        let (start, end) = match input.time.map(to_millis) {
            Some(time) => (time - WINDOW / 2, time + WINDOW / 2),
            None => (ctx.time.0 - WINDOW, ctx.time.0),
        };
        let source = self.source(ctx, &name, start, end)?;
        let (rows, _) = self.rows(&source, MOST)?;
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for row in &rows {
            let own = row
                .event
                .keys()
                .filter(|k| **k != "@ptr")
                .map(|k| (*k).to_owned());
            own.chain(row.discovered().keys().cloned())
                .for_each(|field| *counts.entry(field).or_default() += 1);
        }
        let percent = |n: usize| i32::try_from(n * 100 / rows.len().max(1)).unwrap_or(100);
        let mut fields: Vec<LogGroupField> = counts
            .into_iter()
            .map(|(name, n)| LogGroupField {
                name: Some(name),
                percent: Some(percent(n)),
            })
            .collect();
        fields.sort_by_key(|f| std::cmp::Reverse(f.percent));
        Ok(GetLogGroupFieldsOutput {
            log_group_fields: Some(fields),
        })
    }

    pub(crate) async fn put_query_definition(
        &self,
        ctx: &Context,
        input: PutQueryDefinitionInput,
    ) -> Result<PutQueryDefinitionOutput, Fault> {
        let is_new = input.query_definition_id.is_none();
        let id = input.query_definition_id.unwrap_or_else(cloud::ids::uuid);
        let definition = Definition {
            name: input.name,
            text: input.query_string,
            groups: input.log_group_names.unwrap_or_default(),
            modified: ctx.time.0,
        };
        let scope = ["logs.definitions", &ctx.account, &ctx.region];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let at = (&ctx.account, &ctx.region, &id);
                if !is_new && !tx.contains(&self.definitions, &at)? {
                    return Err(resource_not_found_exception(
                        "The specified query definition does not exist.",
                    ));
                }
                Ok(tx.put(&self.definitions, &at, &definition)?)
            })
            .await?;
        Ok(PutQueryDefinitionOutput {
            query_definition_id: Some(id),
        })
    }

    pub(crate) async fn describe_query_definitions(
        &self,
        ctx: &Context,
        input: DescribeQueryDefinitionsInput,
    ) -> Result<DescribeQueryDefinitionsOutput, Fault> {
        let prefix = input.query_definition_name_prefix.unwrap_or_default();
        let view = self.cloud.store.read();
        let rows = view.range(
            &self.definitions,
            Range::prefix(&(&ctx.account, &ctx.region)),
        );
        let mut found: Vec<(String, Definition)> = rows
            .map(|row| row.map(|((_, _, id), d)| (id, d)))
            .collect::<Result<_, _>>()?;
        found.retain(|(_, d)| d.name.starts_with(&prefix));
        found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
        let shown = found.into_iter().map(|(id, d)| QueryDefinition {
            query_language: Some("CWLI".into()),
            query_definition_id: Some(id),
            name: Some(d.name),
            query_string: Some(d.text),
            last_modified: Some(d.modified),
            log_group_names: Some(d.groups),
            ..QueryDefinition::default()
        });
        Ok(DescribeQueryDefinitionsOutput {
            query_definitions: Some(shown.collect()),
            next_token: None,
        })
    }

    pub(crate) async fn delete_query_definition(
        &self,
        ctx: &Context,
        input: DeleteQueryDefinitionInput,
    ) -> Result<DeleteQueryDefinitionOutput, Fault> {
        let scope = ["logs.definitions", &ctx.account, &ctx.region];
        self.cloud
            .store
            .transact(Scope::new(&scope), |tx| {
                let at = (&ctx.account, &ctx.region, &input.query_definition_id);
                if !tx.contains(&self.definitions, &at)? {
                    return Err(resource_not_found_exception(
                        "The specified query definition does not exist.",
                    ));
                }
                tx.delete(&self.definitions, &at);
                Ok(())
            })
            .await?;
        Ok(DeleteQueryDefinitionOutput {
            success: Some(true),
        })
    }

    /// What goes on beside a request holds the service by this.
    fn itself(&self) -> Option<Arc<Logs>> {
        self.me.upgrade()
    }
}
