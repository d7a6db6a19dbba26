//! Metric filters: numbers out of messages.

use cloud::{Context, MetricData};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Tx};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::errors::*;
use crate::event::{Event, Place};
use crate::group::{Group, place, turn};
use crate::pattern::{Pattern, value_of};
use crate::service::Logs;

/// A metric filter as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Filter {
    pub(crate) group: String,
    pub(crate) pattern: String,
    pub(crate) created: i64,
    pub(crate) transformations: Vec<Transformation>,
}
impl Record for Filter {}

/// What becomes of a matching message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transformation {
    name: String,
    namespace: String,
    value: String,
    default: Option<f64>,
    unit: Option<String>,
    dimensions: Vec<(String, String)>,
}

const MOST: u32 = 100;

impl Filter {
    fn shown(&self, name: &str) -> MetricFilter {
        let transformation = |t: &Transformation| MetricTransformation {
            metric_name: t.name.clone(),
            metric_namespace: t.namespace.clone(),
            metric_value: t.value.clone(),
            default_value: t.default,
            dimensions: (!t.dimensions.is_empty()).then(|| t.dimensions.iter().cloned().collect()),
            unit: t.unit.clone(),
        };
        MetricFilter {
            filter_name: Some(name.to_owned()),
            filter_pattern: Some(self.pattern.clone()),
            metric_transformations: Some(self.transformations.iter().map(transformation).collect()),
            creation_time: Some(self.created),
            log_group_name: Some(self.group.clone()),
            apply_on_transformed_logs: Some(false),
            ..MetricFilter::default()
        }
    }
}

impl Logs {
    /// Emits the values that a group's filters find in new events.
    pub(crate) fn measure(
        &self,
        tx: &mut Tx<'_>,
        place: &Place<'_>,
        group: &Group,
        events: &[(i64, Event)],
    ) -> Result<(), Fault> {
        let rows = tx.range(
            &self.metric_filters,
            Range::prefix(&(place.account, group.id)),
        );
        let filters = rows.collect::<Result<Vec<_>, _>>()?;
        for (_, filter) in filters {
            let Ok(pattern) = Pattern::parse(&filter.pattern) else {
                continue;
            };
            for (time, event) in events {
                let found = pattern.extract(&event.message);
                for t in &filter.transformations {
                    let value = match &found {
                        Some(values) => value_of(&t.value, &event.message, values)
                            .and_then(|v| v.parse::<f64>().ok()),
                        None => t.default,
                    };
                    let Some(value) = value else { continue };
                    let none = Default::default();
                    let values = found.as_ref().unwrap_or(&none);
                    let dimensions = t.dimensions.iter().filter_map(|(name, of)| {
                        Some((name.clone(), value_of(of, &event.message, values)?))
                    });
                    let data = MetricData {
                        account: place.account.to_owned(),
                        region: place.region.to_owned(),
                        namespace: t.namespace.clone(),
                        name: t.name.clone(),
                        dimensions: dimensions.collect(),
                        value,
                        unit: t.unit.clone(),
                        time: Timestamp(*time),
                    };
                    self.cloud.facts.emit(tx, &data)?;
                }
            }
        }
        Ok(())
    }

    pub(crate) async fn put_metric_filter(
        &self,
        ctx: &Context,
        input: PutMetricFilterInput,
    ) -> Result<PutMetricFilterOutput, Fault> {
        Pattern::parse(&input.filter_pattern)?;
        let transformations = input
            .metric_transformations
            .into_iter()
            .map(|t| Transformation {
                name: t.metric_name,
                namespace: t.metric_namespace,
                value: t.metric_value,
                default: t.default_value,
                unit: t.unit,
                dimensions: t.dimensions.unwrap_or_default().into_iter().collect(),
            });
        let transformations: Vec<Transformation> = transformations.collect();
        for t in &transformations {
            if t.default.is_some() && !t.dimensions.is_empty() {
                return Err(invalid_parameter_exception(
                    "Invalid metric transformation: dimensions and default value are mutually exclusive properties.",
                ));
            }
        }
        let name = &input.filter_name;
        self.change_group(
            &ctx.account,
            &ctx.region,
            &input.log_group_name,
            |tx, group| {
                let at = (&ctx.account, group.id, name);
                let old: Option<Filter> = tx.get(&self.metric_filters, &at)?;
                if old.is_none() {
                    if group.metric_filters >= MOST {
                        return Err(limit_exceeded_exception("Resource limit exceeded."));
                    }
                    group.metric_filters += 1;
                }
                let filter = Filter {
                    group: input.log_group_name.clone(),
                    pattern: input.filter_pattern,
                    created: ctx.time.0,
                    transformations,
                };
                Ok(tx.put(&self.metric_filters, &at, &filter)?)
            },
        )
        .await?;
        Ok(PutMetricFilterOutput {})
    }

    pub(crate) async fn delete_metric_filter(
        &self,
        ctx: &Context,
        input: DeleteMetricFilterInput,
    ) -> Result<DeleteMetricFilterOutput, Fault> {
        self.change_group(
            &ctx.account,
            &ctx.region,
            &input.log_group_name,
            |tx, group| {
                let at = (&ctx.account, group.id, &input.filter_name);
                if !tx.contains(&self.metric_filters, &at)? {
                    return Err(resource_not_found_exception(
                        "The specified metric filter does not exist.",
                    ));
                }
                group.metric_filters = group.metric_filters.saturating_sub(1);
                tx.delete(&self.metric_filters, &at);
                Ok(())
            },
        )
        .await?;
        Ok(DeleteMetricFilterOutput {})
    }

    pub(crate) async fn describe_metric_filters(
        &self,
        ctx: &Context,
        input: DescribeMetricFiltersInput,
    ) -> Result<DescribeMetricFiltersOutput, Fault> {
        let account = ctx.account.as_str();
        let view = self.cloud.store.read();
        let groups: Vec<u64> = match &input.log_group_name {
            Some(name) => vec![self.group(account, &ctx.region, name)?.id],
            None => {
                let rows = view.range(&self.groups, Range::prefix(&(account, &ctx.region)));
                rows.map(|row| row.map(|(_, g)| g))
                    .collect::<Result<Vec<Group>, _>>()?
                    .iter()
                    .map(|g| g.id)
                    .collect()
            }
        };
        let prefix = input.filter_name_prefix.as_deref().unwrap_or("");
        let mut found = Vec::new();
        for group in groups {
            for row in view.range(&self.metric_filters, Range::text(&(account, group), prefix)) {
                let ((_, _, name), filter) = row?;
                found.push((name, filter));
            }
        }
        let is_of = |wanted: &Option<String>, of: fn(&Transformation) -> &String, f: &Filter| {
            wanted
                .as_ref()
                .is_none_or(|w| f.transformations.iter().any(|t| of(t) == w))
        };
        found.retain(|(_, f)| {
            is_of(&input.metric_name, |t| &t.name, f)
                && is_of(&input.metric_namespace, |t| &t.namespace, f)
        });
        let key = |(name, f): &(String, Filter)| (f.group.clone(), name.clone());
        found.sort_by_key(key);
        if let Some(token) = &input.next_token {
            let place = place("DescribeMetricFilters", token)?;
            found.retain(|row| {
                place
                    .get(1)
                    .is_some_and(|name| key(row) > (place[0].clone(), name.clone()))
            });
        }
        let limit = input
            .limit
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(50);
        let next_token = turn("DescribeMetricFilters", &mut found, limit, |row| {
            let (group, name) = key(row);
            vec![group, name]
        });
        let shown = found
            .iter()
            .map(|(name, filter)| filter.shown(name))
            .collect();
        Ok(DescribeMetricFiltersOutput {
            metric_filters: Some(shown),
            next_token,
        })
    }

    pub(crate) async fn test_metric_filter(
        &self,
        _: &Context,
        input: TestMetricFilterInput,
    ) -> Result<TestMetricFilterOutput, Fault> {
        let pattern = Pattern::parse(&input.filter_pattern)?;
        let numbered = (1..).zip(input.log_event_messages);
        let matches = numbered.filter_map(|(number, message)| {
            let values = pattern.extract(&message)?;
            Some(MetricFilterMatchRecord {
                event_number: Some(number),
                event_message: Some(message),
                extracted_values: Some(values.into_iter().collect()),
            })
        });
        Ok(TestMetricFilterOutput {
            matches: Some(matches.collect()),
        })
    }
}
