//! Aggregates: counts, sums and the like, by group.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Expression, Row, Value};

/// One aggregate of a `stats` command.
#[derive(Debug)]
pub(crate) struct Aggregate {
    kind: Kind,
    of: Option<Expression>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Count,
    CountDistinct,
    Sum,
    Average,
    Least,
    Greatest,
    Deviation,
    Percentile(f64),
    Earliest,
    Latest,
    First,
    Last,
}

impl Aggregate {
    pub(crate) fn new(name: &str, mut arguments: Vec<Expression>) -> Result<Aggregate, String> {
        let name = name.to_ascii_lowercase();
        let kind = match (name.as_str(), arguments.len()) {
            ("count", 0 | 1) => Kind::Count,
            ("count_distinct", 1) => Kind::CountDistinct,
            ("sum", 1) => Kind::Sum,
            ("avg", 1) => Kind::Average,
            ("min", 1) => Kind::Least,
            ("max", 1) => Kind::Greatest,
            ("stddev", 1) => Kind::Deviation,
            ("median", 1) => Kind::Percentile(50.0),
            ("pct" | "percentile", 2) => match arguments.pop() {
                Some(Expression::Number(n)) if (0.0..=100.0).contains(&n) => Kind::Percentile(n),
                _ => return Err("pct needs a number between 0 and 100".into()),
            },
            ("earliest", 1) => Kind::Earliest,
            ("latest", 1) => Kind::Latest,
            ("sortsfirst", 1) => Kind::First,
            ("sortslast", 1) => Kind::Last,
            _ => return Err(format!("unknown aggregate: {name}")),
        };
        Ok(Aggregate {
            kind,
            of: arguments.pop(),
        })
    }
}

/// What an aggregate has seen so far.
#[derive(Default)]
struct State {
    count: u64,
    sum: f64,
    squares: f64,
    least: Option<Value>,
    greatest: Option<Value>,
    distinct: HashSet<String>,
    numbers: Vec<f64>,
    earliest: Option<(String, Value)>,
    latest: Option<(String, Value)>,
}

impl State {
    fn add(&mut self, aggregate: &Aggregate, row: &Row) {
        let value = match &aggregate.of {
            Some(expression) => expression.eval(row),
            None => Value::Bool(true),
        };
        if value == Value::Null {
            return;
        }
        let number = value.number();
        match aggregate.kind {
            Kind::Count => self.count += 1,
            Kind::CountDistinct => {
                self.distinct.insert(value.text());
            }
            Kind::Sum | Kind::Average | Kind::Deviation => {
                if let Some(n) = number {
                    self.count += 1;
                    self.sum += n;
                    self.squares += n * n;
                }
            }
            Kind::Percentile(_) => self.numbers.extend(number),
            Kind::Least | Kind::First => {
                if self.least.as_ref().is_none_or(|l| value.order(l).is_lt()) {
                    self.least = Some(value);
                }
            }
            Kind::Greatest | Kind::Last => {
                if self
                    .greatest
                    .as_ref()
                    .is_none_or(|g| value.order(g).is_gt())
                {
                    self.greatest = Some(value);
                }
            }
            Kind::Earliest | Kind::Latest => {
                let time = row.field("@timestamp").text();
                if self.earliest.as_ref().is_none_or(|(t, _)| time < *t) {
                    self.earliest = Some((time.clone(), value.clone()));
                }
                if self.latest.as_ref().is_none_or(|(t, _)| time >= *t) {
                    self.latest = Some((time, value));
                }
            }
        }
    }

    fn finish(mut self, kind: Kind) -> Value {
        let count = self.count as f64;
        match kind {
            Kind::Count => Value::Number(count),
            Kind::CountDistinct => Value::Number(self.distinct.len() as f64),
            Kind::Sum if self.count > 0 => Value::Number(self.sum),
            Kind::Average if self.count > 0 => Value::Number(self.sum / count),
            Kind::Deviation if self.count > 0 => {
                let mean = self.sum / count;
                Value::Number((self.squares / count - mean * mean).max(0.0).sqrt())
            }
            Kind::Percentile(p) if !self.numbers.is_empty() => {
                self.numbers.sort_by(f64::total_cmp);
                let at = (p / 100.0 * self.numbers.len() as f64).ceil() as usize;
                let at = at.saturating_sub(1).min(self.numbers.len() - 1);
                Value::Number(self.numbers[at])
            }
            Kind::Least | Kind::First => self.least.unwrap_or(Value::Null),
            Kind::Greatest | Kind::Last => self.greatest.unwrap_or(Value::Null),
            Kind::Earliest => self.earliest.map_or(Value::Null, |(_, v)| v),
            Kind::Latest => self.latest.map_or(Value::Null, |(_, v)| v),
            _ => Value::Null,
        }
    }
}

/// Rows gathered by the values of `by`.
pub(crate) struct Groups<'a> {
    aggregates: &'a [(String, Aggregate)],
    by: &'a [(String, Expression)],
    places: HashMap<Vec<String>, usize>,
    groups: Vec<(Vec<Value>, Vec<State>)>,
}

impl<'a> Groups<'a> {
    pub(crate) fn new(
        aggregates: &'a [(String, Aggregate)],
        by: &'a [(String, Expression)],
    ) -> Groups<'a> {
        Groups {
            aggregates,
            by,
            places: HashMap::new(),
            groups: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: &Row) {
        let values: Vec<Value> = self.by.iter().map(|(_, e)| e.eval(row)).collect();
        let key: Vec<String> = values.iter().map(Value::text).collect();
        let at = *self.places.entry(key).or_insert_with(|| {
            let states = self.aggregates.iter().map(|_| State::default()).collect();
            self.groups.push((values, states));
            self.groups.len() - 1
        });
        for (state, (_, aggregate)) in self.groups[at].1.iter_mut().zip(self.aggregates) {
            state.add(aggregate, row);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<BTreeMap<String, Value>> {
        // Without groups there is one row even of nothing.
        if self.groups.is_empty() && self.by.is_empty() {
            self.groups.push((
                Vec::new(),
                self.aggregates.iter().map(|_| State::default()).collect(),
            ));
        }
        let names = || self.by.iter().map(|(name, _)| name.clone());
        let rows = self.groups.into_iter().map(|(values, states)| {
            let aggregates = self.aggregates.iter().zip(states);
            let computed =
                aggregates.map(|((name, a), state)| (name.clone(), state.finish(a.kind)));
            names().zip(values).chain(computed).collect()
        });
        rows.collect()
    }
}
