//! The Logs Insights query language: a pipeline of commands over events.

mod expression;
mod parse;
mod stats;

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};

use regex::Regex;
use wire::Timestamp;

pub(crate) use expression::{Expression, Value};
use stats::{Aggregate, Groups};

/// A parsed query.
#[derive(Debug)]
pub(crate) struct Query {
    commands: Vec<Command>,
}

#[derive(Debug)]
enum Command {
    Fields(Vec<(String, Expression)>),
    Display(Vec<(String, Expression)>),
    Filter(Expression),
    Stats {
        aggregates: Vec<(String, Aggregate)>,
        by: Vec<(String, Expression)>,
    },
    Sort(Vec<(Expression, bool)>),
    Limit(usize),
    Parse {
        of: Expression,
        regex: Regex,
        names: Vec<String>,
    },
    Dedup(Vec<Expression>),
}

/// Rows that a query answers at most, and where it names no limit.
pub(crate) const MOST: usize = 10_000;

/// An event as a query sees it, or a row of statistics.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// What is there without being asked for: `@message` and the like; empty in a row of statistics.
    pub(crate) event: BTreeMap<&'static str, String>,
    json: OnceCell<BTreeMap<String, String>>,
    computed: BTreeMap<String, Value>,
}

impl Row {
    /// The row of an event.
    pub(crate) fn of_event(event: BTreeMap<&'static str, String>) -> Row {
        Row {
            event,
            ..Row::default()
        }
    }

    fn field(&self, name: &str) -> Value {
        if let Some(value) = self.computed.get(name) {
            return value.clone();
        }
        if let Some(text) = self.event.get(name) {
            return Value::Text(text.clone());
        }
        match self.discovered().get(name) {
            Some(text) => Value::Text(text.clone()),
            None => Value::Null,
        }
    }

    /// The fields of a message that is JSON, by their paths.
    pub(crate) fn discovered(&self) -> &BTreeMap<String, String> {
        self.json.get_or_init(|| {
            let mut fields = BTreeMap::new();
            let message = self.event.get("@message").map_or("", |m| m.trim_start());
            if message.starts_with('{')
                && let Ok(value) = serde_json::from_str::<serde_json::Value>(message)
            {
                flatten("", &value, &mut fields);
            }
            fields
        })
    }
}

/// AWS discovers that many fields of one event.
const MOST_FIELDS: usize = 200;

fn flatten(path: &str, value: &serde_json::Value, out: &mut BTreeMap<String, String>) {
    if out.len() >= MOST_FIELDS {
        return;
    }
    let below = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(k, v)| flatten(&below(k), v, out)),
        serde_json::Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(i, v)| flatten(&below(&i.to_string()), v, out)),
        serde_json::Value::Null => {}
        serde_json::Value::String(text) => {
            out.insert(path.to_owned(), text.clone());
        }
        serde_json::Value::Bool(b) => {
            out.insert(path.to_owned(), u8::from(*b).to_string());
        }
        other => {
            out.insert(path.to_owned(), other.to_string());
        }
    }
}

/// A query's answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Names and values, row by row.
    pub(crate) rows: Vec<Vec<(String, String)>>,
    /// Events that passed the filters.
    pub(crate) matched: usize,
}

/// A time as results show it.
pub(crate) fn shown_time(millis: i64) -> String {
    Timestamp(millis)
        .iso8601_millis()
        .replace('T', " ")
        .replace('Z', "")
}

impl Query {
    /// Reads a query; an error says what AWS would complain of.
    pub(crate) fn parse(text: &str) -> Result<Query, String> {
        parse::query(text)
    }

    /// Runs over events, newest first.
    pub(crate) fn run(&self, events: impl Iterator<Item = Row>, limit: Option<usize>) -> Answer {
        let mut rows: Vec<Row> = Vec::new();
        // Filters and parsing before anything else see one event at a time: what they drop is never kept.
        let streamed = self
            .commands
            .iter()
            .take_while(|c| {
                matches!(
                    c,
                    Command::Filter(_) | Command::Parse { .. } | Command::Fields(_)
                )
            })
            .count();
        let (first, rest) = self.commands.split_at(streamed);
        for mut row in events {
            let passes = first.iter().all(|command| match command {
                Command::Filter(expression) => expression.eval(&row).is_true(),
                other => {
                    compute(other, &mut row);
                    true
                }
            });
            if passes {
                rows.push(row);
            }
        }
        let matched = rows.len();
        let mut is_limited = false;
        let mut columns: Option<Vec<String>> = None;
        let mut is_stats = false;
        for command in first {
            if let Command::Fields(list) = command {
                columns
                    .get_or_insert_default()
                    .extend(list.iter().map(|(name, _)| name.clone()));
            }
        }
        for command in rest {
            match command {
                Command::Filter(expression) => rows.retain(|row| expression.eval(row).is_true()),
                Command::Fields(list) => {
                    rows.iter_mut().for_each(|row| compute(command, row));
                    columns
                        .get_or_insert_default()
                        .extend(list.iter().map(|(name, _)| name.clone()));
                }
                Command::Display(list) => {
                    rows.iter_mut().for_each(|row| compute(command, row));
                    columns = Some(list.iter().map(|(name, _)| name.clone()).collect());
                }
                Command::Parse { .. } => rows.iter_mut().for_each(|row| compute(command, row)),
                Command::Stats { aggregates, by } => {
                    let mut groups = Groups::new(aggregates, by);
                    rows.iter().for_each(|row| groups.add(row));
                    rows = groups
                        .finish()
                        .into_iter()
                        .map(|computed| Row {
                            computed,
                            ..Row::default()
                        })
                        .collect();
                    columns = Some(
                        by.iter()
                            .map(|(n, _)| n.clone())
                            .chain(aggregates.iter().map(|(n, _)| n.clone()))
                            .collect(),
                    );
                    is_stats = true;
                }
                Command::Sort(keys) => {
                    let mut keyed: Vec<(Vec<Value>, Row)> = rows
                        .into_iter()
                        .map(|row| (keys.iter().map(|(e, _)| e.eval(&row)).collect(), row))
                        .collect();
                    keyed.sort_by(|(a, _), (b, _)| {
                        let orders = keys.iter().zip(a.iter().zip(b));
                        let mut orders =
                            orders.map(
                                |((_, descending), (a, b))| {
                                    if *descending { b.order(a) } else { a.order(b) }
                                },
                            );
                        orders
                            .find(|o| o.is_ne())
                            .unwrap_or(std::cmp::Ordering::Equal)
                    });
                    rows = keyed.into_iter().map(|(_, row)| row).collect();
                }
                Command::Limit(n) => {
                    rows.truncate(*n);
                    is_limited = true;
                }
                Command::Dedup(keys) => {
                    let mut seen = HashSet::new();
                    rows.retain(|row| {
                        seen.insert(keys.iter().map(|k| k.eval(row).text()).collect::<Vec<_>>())
                    });
                }
            }
        }
        rows.truncate(if is_limited {
            MOST
        } else {
            limit.unwrap_or(MOST).min(MOST)
        });
        let columns = columns.unwrap_or_else(|| vec!["@timestamp".into(), "@message".into()]);
        let rows = rows
            .iter()
            .map(|row| shown(row, &columns, is_stats))
            .collect();
        Answer { rows, matched }
    }
}

fn shown(row: &Row, columns: &[String], is_stats: bool) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for name in columns {
        let value = row.field(name);
        if !matches!(value, Value::Null) && !fields.iter().any(|(n, _)| n == name) {
            fields.push((name.clone(), value.text()));
        }
    }
    if let (false, Some(pointer)) = (is_stats, row.event.get("@ptr")) {
        fields.push(("@ptr".into(), pointer.clone()));
    }
    fields
}

fn compute(command: &Command, row: &mut Row) {
    match command {
        Command::Fields(list) | Command::Display(list) => {
            for (name, expression) in list {
                // A plain field is where it was; only what is computed or renamed is kept.
                if !matches!(expression, Expression::Field(field) if field == name) {
                    let value = expression.eval(row);
                    row.computed.insert(name.clone(), value);
                }
            }
        }
        Command::Parse { of, regex, names } => {
            let text = of.eval(row).text();
            if let Some(found) = regex.captures(&text) {
                for (i, name) in names.iter().enumerate() {
                    if let Some(part) = found.get(i + 1) {
                        row.computed
                            .insert(name.clone(), Value::Text(part.as_str().to_owned()));
                    }
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(query: &str, messages: &[&str]) -> Vec<Vec<(String, String)>> {
        let query = Query::parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        let rows = (0..).zip(messages).map(|(i, message)| {
            let time = 1_700_000_000_000 + i * 60_000;
            Row::of_event(BTreeMap::from([
                ("@timestamp", shown_time(time)),
                ("@message", (*message).to_owned()),
            ]))
        });
        query.run(rows, None).rows
    }

    fn values(rows: &[Vec<(String, String)>]) -> Vec<Vec<&str>> {
        rows.iter()
            .map(|row| row.iter().map(|(_, v)| v.as_str()).collect())
            .collect()
    }

    const EVENTS: [&str; 4] = [
        r#"{"level":"ERROR","ms":10,"user":{"id":"a"}}"#,
        r#"{"level":"INFO","ms":20,"user":{"id":"b"}}"#,
        r#"{"level":"ERROR","ms":30,"user":{"id":"a"}}"#,
        "plain GET /x 404 took 7ms",
    ];

    #[test]
    fn filters_combine_comparisons_patterns_and_lists() {
        let count =
            |filter: &str| run(&format!("fields @message | filter {filter}"), &EVENTS).len();
        assert_eq!(count("level = 'ERROR'"), 2);
        assert_eq!(count("level = 'ERROR' and ms > 15"), 1);
        assert_eq!(count("level = 'INFO' or @message like /GET/"), 2);
        assert_eq!(count("@message like 'GET'"), 1);
        assert_eq!(count("@message not like /(?i)error/"), 2);
        assert_eq!(count("user.id in ['a', 'c']"), 2);
        assert_eq!(count("user.id not in ['a']"), 2);
        assert_eq!(count("not (ms >= 20)"), 2);
        assert_eq!(count("ispresent(level) and level != 'INFO'"), 2);
        assert_eq!(count("@message =~ /took \\d+ms/"), 1);
    }

    #[test]
    fn statistics_are_grouped_and_sorted() {
        let rows = run(
            "stats count(*) as n, avg(ms), max(ms) by level | sort n desc | limit 2",
            &EVENTS,
        );
        assert_eq!(
            values(&rows),
            [
                vec!["ERROR", "2", "20", "30"],
                vec!["INFO", "1", "20", "20"]
            ]
        );
        assert_eq!(rows[0][2].0, "avg(ms)");
        let rows = run(
            "filter ispresent(ms) | stats sum(ms) as s, min(ms), pct(ms, 50), count_distinct(user.id)",
            &EVENTS,
        );
        assert_eq!(values(&rows), [["60", "10", "20", "2"]]);
        let rows = run("stats count(*) by bin(2m) as t | sort t asc", &EVENTS);
        assert_eq!(
            values(&rows),
            [
                ["2023-11-14 22:12:00.000", "1"],
                ["2023-11-14 22:14:00.000", "2"],
                ["2023-11-14 22:16:00.000", "1"]
            ]
        );
    }

    #[test]
    fn parts_of_messages_are_parsed_by_pattern_and_expression() {
        let rows = run(
            "parse @message 'GET * * took *ms' as path, status, took | filter ispresent(path) | display path, status, took * 2 as double",
            &EVENTS,
        );
        assert_eq!(values(&rows), [["/x", "404", "14"]]);
        let rows = run(
            "parse @message /took (?<t>\\d+)/ | filter t > 5 | fields t, strlen(t) as l, concat(t, '!') ",
            &EVENTS,
        );
        assert_eq!(values(&rows), [["7", "1", "7!"]]);
    }

    #[test]
    fn duplicates_are_dropped_and_results_shown_as_asked() {
        let rows = run(
            "fields level | filter ispresent(level) | dedup level | sort level",
            &EVENTS,
        );
        assert_eq!(values(&rows), [["ERROR"], ["INFO"]]);
        let rows = run("sort @timestamp desc | limit 1", &EVENTS);
        assert_eq!(
            rows[0][0],
            (
                "@timestamp".to_owned(),
                "2023-11-14 22:16:20.000".to_owned()
            )
        );
        assert_eq!(rows[0][1].1, EVENTS[3]);
    }

    #[test]
    fn what_is_no_query_is_refused() {
        for bad in [
            "fields",
            "filter a =",
            "nonsense x",
            "stats foo(a)",
            "filter (a = 1",
            "sort",
            "limit x",
            "filter a like /(/",
            "parse @message",
        ] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}", message in ".{0,40}") {
            for query in [text.clone(), format!("filter {text}"), format!("stats {text}"), format!("parse @message {text}")] {
                if let Ok(query) = Query::parse(&query) {
                    let row = Row::of_event(BTreeMap::from([("@message", message.clone())]));
                    query.run(std::iter::once(row), None);
                }
            }
        }
    }
}
