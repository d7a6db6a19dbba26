//! Rules: which events, or when.

use std::collections::BTreeMap;

use cloud::Context;
use cloud::schedule::Recurrence;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::Fault;

use crate::api::{
    DeleteRuleInput, DeleteRuleOutput, DescribeRuleInput, DescribeRuleOutput, DisableRuleInput,
    DisableRuleOutput, EnableRuleInput, EnableRuleOutput, ListRulesInput, ListRulesOutput,
    PutRuleInput, PutRuleOutput, rule_state,
};
use crate::errors::*;
use crate::place::{Place, invalid, too_many};
use crate::service::Events;
use crate::{page, pattern, tag};

/// A rule as it is stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub(crate) pattern: Option<String>,
    pub(crate) schedule: Option<String>,
    /// When the schedule began to count.
    pub(crate) since: i64,
    pub(crate) state: String,
    pub(crate) description: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) managed_by: Option<String>,
    pub(crate) created_by: String,
    pub(crate) tags: BTreeMap<String, String>,
}
impl Record for Rule {}

/// The most rules of a bus.
const MOST: usize = 300;

impl Rule {
    pub(crate) fn is_enabled(&self) -> bool {
        self.state != rule_state::DISABLED
    }
    fn check_managed(&self, name: &str, is_forced: bool) -> Result<(), Fault> {
        match &self.managed_by {
            Some(service) if !is_forced => Err(managed_rule_exception(format!(
                "Rule {name} is managed by an AWS service can only be modified if force option is specified. Managed by: {service}."
            ))),
            _ => Ok(()),
        }
    }
    fn shown(&self, place: &Place, name: &str) -> crate::api::Rule {
        crate::api::Rule {
            name: Some(name.to_owned()),
            arn: Some(place.rule_arn(name)),
            event_pattern: self.pattern.clone(),
            state: Some(self.state.clone()),
            description: self.description.clone(),
            schedule_expression: self.schedule.clone(),
            role_arn: self.role.clone(),
            managed_by: self.managed_by.clone(),
            event_bus_name: Some(place.bus.clone()),
        }
    }
}

impl Events {
    /// The rule, which must exist.
    pub(crate) fn rule(
        &self,
        reader: &impl Read,
        place: &Place,
        name: &str,
    ) -> Result<Rule, Fault> {
        let (account, region, bus) = place.key();
        let found = Read::get(reader, &self.rules, &(account, region, bus, name))?;
        found.ok_or_else(|| place.missing_rule(name))
    }

    /// Writes a rule, plans what it does by the clock, and lets the bus know.
    pub(crate) fn put_rule_row(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
        rule: &Rule,
    ) -> Result<(), Fault> {
        let (account, region, bus) = place.key();
        tx.put(&self.rules, &(account, region, bus, name), rule)?;
        self.plan(tx, place, name, rule, self.cloud.clock.now())?;
        self.reroute(tx, place)
    }

    /// Changes a rule under its bus's lock.
    pub(crate) async fn change_rule<R>(
        &self,
        place: &Place,
        name: &str,
        f: impl FnOnce(&mut Tx<'_>, &mut Rule) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let scope = place.scope();
        let store = &self.cloud.store;
        let change = store.transact(Scope::new(&scope), |tx| {
            let mut rule = self.rule(tx, place, name)?;
            let result = f(tx, &mut rule)?;
            self.put_rule_row(tx, place, name, &rule)?;
            Ok(result)
        });
        change.await
    }

    pub(crate) fn rule_names(
        &self,
        reader: &impl Read,
        place: &Place,
    ) -> Result<Vec<String>, Fault> {
        let mut rows = reader.range(&self.rules, Range::prefix(&place.key()));
        let mut names = Vec::new();
        while let Some((_, _, _, name)) = rows.next_key()? {
            names.push(name);
        }
        Ok(names)
    }

    /// Removes a rule with its targets.
    pub(crate) fn remove_rule(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        name: &str,
    ) -> Result<(), Fault> {
        for (id, _) in self.targets_of(tx, place, name)? {
            self.remove_target(tx, place, name, &id)?;
        }
        let (account, region, bus) = place.key();
        tx.delete(&self.rules, &(account, region, bus, name));
        self.unplan(tx, place, name)?;
        self.reroute(tx, place)
    }

    pub(crate) async fn put_rule(
        &self,
        ctx: &Context,
        input: PutRuleInput,
    ) -> Result<PutRuleOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        let name = input.name;
        let schedule = input.schedule_expression.filter(|s| !s.is_empty());
        let pattern = input.event_pattern.filter(|p| !p.is_empty());
        if schedule.is_some() && !place.is_default() {
            return Err(invalid(
                "ScheduleExpression is supported only on the default event bus.",
            ));
        }
        if schedule.is_none() && pattern.is_none() {
            return Err(invalid(
                "Parameter(s) EventPattern or ScheduleExpression must be specified.",
            ));
        }
        if let Some(text) = &schedule
            && Recurrence::parse(text, false).is_none()
        {
            return Err(invalid("Parameter ScheduleExpression is not valid."));
        }
        if let Some(text) = &pattern {
            pattern::parse(text)?;
        }
        let tags = tag::read(input.tags)?;
        let scope = place.scope();
        let store = &self.cloud.store;
        let put = store.transact(Scope::new(&scope), |tx| {
            let bus = self.bus(tx, &place)?;
            self.permit(ctx, &place, &bus, "events:PutRule")?;
            let (account, region, bus) = place.key();
            let key = (account, region, bus, name.as_str());
            let old: Option<Rule> = tx.get(&self.rules, &key)?;
            if let Some(old) = &old {
                old.check_managed(&name, false)?;
            } else {
                let all = Range::prefix(&place.key()).limit(MOST);
                if tx.range(&self.rules, all).count() >= MOST {
                    return Err(too_many());
                }
            }
            let since = match &old {
                Some(old) if old.schedule == schedule => old.since,
                _ => ctx.time.0,
            };
            // Tags of a rule that is there stay as they are.
            let (created_by, tags) = match old {
                Some(old) => (old.created_by, old.tags),
                None => (ctx.account.clone(), tags),
            };
            let rule = Rule {
                pattern,
                schedule,
                since,
                state: input.state.unwrap_or_else(|| rule_state::ENABLED.into()),
                description: input.description.filter(|d| !d.is_empty()),
                role: input.role_arn.filter(|r| !r.is_empty()),
                managed_by: None,
                created_by,
                tags,
            };
            self.put_rule_row(tx, &place, &name, &rule)
        });
        put.await?;
        Ok(PutRuleOutput {
            rule_arn: Some(place.rule_arn(&name)),
        })
    }

    pub(crate) async fn describe_rule(
        &self,
        ctx: &Context,
        input: DescribeRuleInput,
    ) -> Result<DescribeRuleOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        let view = self.cloud.store.read();
        self.bus(&view, &place)?;
        let rule = self.rule(&view, &place, &input.name)?;
        Ok(DescribeRuleOutput {
            arn: Some(place.rule_arn(&input.name)),
            name: Some(input.name),
            event_pattern: rule.pattern,
            schedule_expression: rule.schedule,
            state: Some(rule.state),
            description: rule.description,
            role_arn: rule.role,
            managed_by: rule.managed_by,
            event_bus_name: Some(place.bus),
            created_by: Some(rule.created_by),
        })
    }

    pub(crate) async fn list_rules(
        &self,
        ctx: &Context,
        input: ListRulesInput,
    ) -> Result<ListRulesOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        let view = self.cloud.store.read();
        self.bus(&view, &place)?;
        let prefix = input.name_prefix.unwrap_or_default();
        let mut range = Range::text(&place.key(), &prefix);
        let (account, region, bus) = place.key();
        if let Some(after) = page::start("ListRules", input.next_token.as_deref())? {
            range = range.after(&(account, region, bus, &after));
        }
        let size = page::size(input.limit);
        let rows = view
            .range(&self.rules, range.limit(size + 1))
            .collect::<Result<Vec<_>, _>>()?;
        let (rows, next_token) =
            page::cut("ListRules", rows, size, |((_, _, _, name), _)| name.clone());
        let shown = rows
            .iter()
            .map(|((_, _, _, name), rule)| rule.shown(&place, name));
        Ok(ListRulesOutput {
            rules: Some(shown.collect()),
            next_token,
        })
    }

    pub(crate) async fn delete_rule(
        &self,
        ctx: &Context,
        input: DeleteRuleInput,
    ) -> Result<DeleteRuleOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        let scope = place.scope();
        let store = &self.cloud.store;
        let delete = store.transact(Scope::new(&scope), |tx| {
            let bus = self.bus(tx, &place)?;
            self.permit(ctx, &place, &bus, "events:DeleteRule")?;
            // Deleting what is not there succeeds.
            let Ok(rule) = self.rule(tx, &place, &input.name) else {
                return Ok(());
            };
            rule.check_managed(&input.name, input.force == Some(true))?;
            if !self.targets_of(tx, &place, &input.name)?.is_empty() {
                return Err(invalid("Rule can't be deleted since it has targets."));
            }
            self.remove_rule(tx, &place, &input.name)
        });
        delete.await?;
        Ok(DeleteRuleOutput {})
    }

    async fn switch(
        &self,
        ctx: &Context,
        bus: Option<&str>,
        name: &str,
        state: &str,
    ) -> Result<(), Fault> {
        let place = Place::of(ctx, bus);
        self.bus(&self.cloud.store, &place)?;
        self.change_rule(&place, name, |_, rule| {
            rule.check_managed(name, false)?;
            if state == rule_state::ENABLED && !rule.is_enabled() {
                rule.since = ctx.time.0;
            }
            rule.state = state.to_owned();
            Ok(())
        })
        .await
    }

    pub(crate) async fn enable_rule(
        &self,
        ctx: &Context,
        input: EnableRuleInput,
    ) -> Result<EnableRuleOutput, Fault> {
        let bus = input.event_bus_name.as_deref();
        self.switch(ctx, bus, &input.name, rule_state::ENABLED)
            .await?;
        Ok(EnableRuleOutput {})
    }

    pub(crate) async fn disable_rule(
        &self,
        ctx: &Context,
        input: DisableRuleInput,
    ) -> Result<DisableRuleOutput, Fault> {
        let bus = input.event_bus_name.as_deref();
        self.switch(ctx, bus, &input.name, rule_state::DISABLED)
            .await?;
        Ok(DisableRuleOutput {})
    }
}
