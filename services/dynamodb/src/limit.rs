//! What an account may have, where the service is, and settings that are kept and read back.

use cloud::Context;
use store::{Range, Read};
use wire::{Fault, Timestamp};

use crate::api::*;
use crate::catalog::Place;
use crate::fault::validation;
use crate::service::Dynamo;
use crate::table::TableRecord;

impl Dynamo {
    /// `DescribeLimits`
    pub async fn describe_limits(
        &self,
        _: &Context,
        _: DescribeLimitsInput,
    ) -> Result<DescribeLimitsOutput, Fault> {
        Ok(DescribeLimitsOutput {
            account_max_read_capacity_units: Some(80_000),
            account_max_write_capacity_units: Some(80_000),
            table_max_read_capacity_units: Some(40_000),
            table_max_write_capacity_units: Some(40_000),
        })
    }

    /// `DescribeEndpoints`
    pub async fn describe_endpoints(
        &self,
        ctx: &Context,
        _: DescribeEndpointsInput,
    ) -> Result<DescribeEndpointsOutput, Fault> {
        Ok(DescribeEndpointsOutput {
            endpoints: vec![Endpoint {
                address: ctx.host.clone(),
                cache_period_in_minutes: 1440,
            }],
        })
    }

    /// The table of a request about backups, whose error is another.
    pub fn backed_up(
        &self,
        ctx: &Context,
        name: &str,
    ) -> Result<std::sync::Arc<TableRecord>, Fault> {
        self.catalog.described(ctx, name).map_err(|fault| {
            match fault.is("ResourceNotFoundException") {
                true => {
                    crate::errors::table_not_found_exception(format!("Table not found: {name}"))
                }
                false => fault,
            }
        })
    }

    /// `UpdateContributorInsights`
    pub async fn update_contributor_insights(
        &self,
        ctx: &Context,
        input: UpdateContributorInsightsInput,
    ) -> Result<UpdateContributorInsightsOutput, Fault> {
        self.indexed_table(ctx, &input.table_name, input.index_name.as_deref())?;
        let place = Place::of(ctx, &input.table_name)?;
        let index = input.index_name.clone().unwrap_or_default();
        let mode = input
            .contributor_insights_mode
            .unwrap_or_else(|| "ACCESSED_AND_THROTTLED_KEYS".into());
        let is_on = input.contributor_insights_action == "ENABLE";
        let now = ctx.time.millis();
        let (_, table) = self
            .change_table(&place, |_, table| {
                match is_on {
                    true => table.insights.insert(index, (mode.clone(), now)),
                    false => table.insights.remove(&index),
                };
                Ok(())
            })
            .await?;
        Ok(UpdateContributorInsightsOutput {
            table_name: Some(table.name),
            index_name: input.index_name,
            contributor_insights_status: Some(if is_on { "ENABLING" } else { "DISABLING" }.into()),
            contributor_insights_mode: is_on.then_some(mode),
        })
    }

    /// `DescribeContributorInsights`
    pub async fn describe_contributor_insights(
        &self,
        ctx: &Context,
        input: DescribeContributorInsightsInput,
    ) -> Result<DescribeContributorInsightsOutput, Fault> {
        let table = self.indexed_table(ctx, &input.table_name, input.index_name.as_deref())?;
        let index = input.index_name.clone().unwrap_or_default();
        let found = table.insights.get(&index);
        let status = if found.is_some() {
            "ENABLED"
        } else {
            "DISABLED"
        };
        Ok(DescribeContributorInsightsOutput {
            table_name: Some(table.name.clone()),
            index_name: input.index_name,
            contributor_insights_status: Some(status.into()),
            last_update_date_time: found.map(|(_, when)| Timestamp(*when)),
            contributor_insights_mode: found.map(|(mode, _)| mode.clone()),
            ..Default::default()
        })
    }

    /// `ListContributorInsights`
    pub async fn list_contributor_insights(
        &self,
        ctx: &Context,
        input: ListContributorInsightsInput,
    ) -> Result<ListContributorInsightsOutput, Fault> {
        const OF: &str = "ListContributorInsights";
        let invalid = || validation("Invalid NextToken");
        let after = match &input.next_token {
            None => None,
            Some(token) => Some(cloud::paging::place(OF, token).ok_or_else(invalid)?),
        };
        let most = input.max_results.filter(|max| *max > 0).unwrap_or(100) as usize;
        let only = match &input.table_name {
            Some(name) => Some(self.catalog.described(ctx, name)?.name.clone()),
            None => None,
        };
        let prefix = (ctx.account.as_str(), ctx.region.as_str());
        let view = self.cloud.store.read();
        let mut found: Vec<(String, String, String)> = Vec::new();
        for row in view.range(&self.catalog.records, Range::prefix(&prefix)) {
            let (_, table) = row?;
            if only.as_ref().is_some_and(|only| *only != table.name) {
                continue;
            }
            for (index, (mode, _)) in table.insights {
                found.push((table.name.clone(), index, mode));
            }
        }
        if let Some(after) = after {
            found.retain(|(table, index, _)| {
                let [after_table, after_index] = &after[..] else {
                    return false;
                };
                (table, index) > (after_table, after_index)
            });
        }
        let is_more = found.len() > most;
        found.truncate(most);
        let next = found
            .last()
            .filter(|_| is_more)
            .map(|(table, index, _)| cloud::paging::token(OF, &[table, index]));
        let shown = found
            .into_iter()
            .map(|(table, index, mode)| ContributorInsightsSummary {
                table_name: Some(table),
                index_name: (!index.is_empty()).then_some(index),
                contributor_insights_status: Some("ENABLED".into()),
                contributor_insights_mode: Some(mode),
            });
        Ok(ListContributorInsightsOutput {
            contributor_insights_summaries: Some(shown.collect()),
            next_token: next,
        })
    }
}
