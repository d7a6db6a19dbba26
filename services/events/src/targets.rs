//! Targets of rules.

use std::collections::BTreeSet;

use cloud::{Arn, Context};
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, json};

use crate::api::{
    ListRuleNamesByTargetInput, ListRuleNamesByTargetOutput, ListTargetsByRuleInput,
    ListTargetsByRuleOutput, PutTargetsInput, PutTargetsOutput, RemoveTargetsInput,
    RemoveTargetsOutput, Target,
};
use crate::errors::*;
use crate::place::{Place, invalid, too_many};
use crate::service::Events;
use crate::{input, page};

/// A target as it is stored: its ARN, and all of it as the API writes it, which an upgrade of the model does not change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    arn: String,
    text: String,
}
impl Record for Stored {}

/// That a rule has a target of an ARN.
#[derive(Serialize, Deserialize)]
pub(crate) struct Mark;
impl Record for Mark {}

/// The most targets of a rule.
const MOST: usize = 5;

/// Services that are only called as a role.
const AS_ROLE: [&str; 5] = ["kinesis", "firehose", "states", "ecs", "batch"];

impl Stored {
    fn of(target: &Target) -> Stored {
        Stored {
            arn: target.arn.clone(),
            text: json::kept(target),
        }
    }
    fn target(&self) -> Result<Target, Fault> {
        json::restored(&self.text)
    }
}

fn check(target: &Target) -> Result<(), Fault> {
    let id = &target.id;
    let arn: Arn = target.arn.parse().map_err(|_| {
        invalid(format!(
            "Parameter {} is not valid. Reason: Provided Arn is not in correct format.",
            target.arn
        ))
    })?;
    let inputs = [
        target.input.is_some(),
        target.input_path.is_some(),
        target.input_transformer.is_some(),
    ];
    if inputs.into_iter().filter(|is_there| *is_there).count() > 1 {
        return Err(invalid(format!(
            "Only one of Input, InputPath, or InputTransformer must be provided for target {id}."
        )));
    }
    let is_fifo = arn.service == "sqs" && arn.resource.ends_with(".fifo");
    let group = target.sqs_parameters.as_ref();
    if is_fifo && group.and_then(|p| p.message_group_id.as_ref()).is_none() {
        return Err(invalid(format!(
            "Parameter(s) SqsParameters must be specified for target: {id}."
        )));
    }
    if AS_ROLE.contains(&arn.service.as_str()) && target.role_arn.is_none() {
        return Err(invalid(format!(
            "RoleArn is required for target {}.",
            target.arn
        )));
    }
    if let Some(text) = &target.input
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_err()
    {
        return Err(invalid(format!(
            "JSON syntax error in input for target {id}."
        )));
    }
    if let Some(path) = &target.input_path
        && !path.is_empty()
        && !input::is_path(path)
    {
        return Err(invalid(format!("Invalid InputPath for target {id}.")));
    }
    if let Some(transformer) = &target.input_transformer {
        input::check(transformer, id)?;
    }
    if let Some(dead) = target
        .dead_letter_config
        .as_ref()
        .and_then(|c| c.arn.as_ref())
    {
        let queue = dead.parse::<Arn>().ok().filter(|a| a.service == "sqs");
        if queue.is_none_or(|q| q.resource.ends_with(".fifo")) {
            return Err(crate::place::invalid_parameter(
                "DeadLetterConfig.Arn",
                "DLQ must be an Amazon SQS standard queue.",
            ));
        }
    }
    Ok(())
}

impl Events {
    /// A rule's targets, by their ids.
    pub(crate) fn targets_of(
        &self,
        reader: &impl Read,
        place: &Place,
        rule: &str,
    ) -> Result<Vec<(String, Target)>, Fault> {
        let (account, region, bus) = place.key();
        let rows = reader.range(&self.targets, Range::prefix(&(account, region, bus, rule)));
        let mut all = Vec::new();
        for row in rows {
            let ((_, _, _, _, id), stored) = row?;
            all.push((id, stored.target()?));
        }
        Ok(all)
    }

    pub(crate) fn put_target(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        rule: &str,
        target: &Target,
    ) -> Result<(), Fault> {
        self.remove_target(tx, place, rule, &target.id)?;
        let (account, region, bus) = place.key();
        let (id, arn) = (target.id.as_str(), target.arn.as_str());
        tx.put(
            &self.targets,
            &(account, region, bus, rule, id),
            &Stored::of(target),
        )?;
        tx.put(&self.by_arn, &(account, region, bus, arn, rule, id), &Mark)?;
        Ok(())
    }

    /// Removes a target, if there is one of that id.
    pub(crate) fn remove_target(
        &self,
        tx: &mut Tx<'_>,
        place: &Place,
        rule: &str,
        id: &str,
    ) -> Result<(), Fault> {
        let (account, region, bus) = place.key();
        let key = (account, region, bus, rule, id);
        if let Some(Stored { arn, .. }) = Read::get(tx, &self.targets, &key)? {
            tx.delete(&self.targets, &key);
            tx.delete(
                &self.by_arn,
                &(account, region, bus, arn.as_str(), rule, id),
            );
        }
        Ok(())
    }

    pub(crate) async fn put_targets(
        &self,
        ctx: &Context,
        input: PutTargetsInput,
    ) -> Result<PutTargetsOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        input.targets.iter().try_for_each(check)?;
        let scope = place.scope();
        let store = &self.cloud.store;
        let put = store.transact(Scope::new(&scope), |tx| {
            let bus = self.bus(tx, &place)?;
            self.permit(ctx, &place, &bus, "events:PutTargets")?;
            let rule = self.rule(tx, &place, &input.rule)?;
            if rule.managed_by.is_some() {
                return Err(managed_rule_exception(format!(
                    "Rule {} is managed by an AWS service and cannot be modified.",
                    input.rule
                )));
            }
            let mut ids: BTreeSet<String> = self
                .targets_of(tx, &place, &input.rule)?
                .into_iter()
                .map(|(id, _)| id)
                .collect();
            ids.extend(input.targets.iter().map(|t| t.id.clone()));
            if ids.len() > MOST {
                return Err(too_many());
            }
            for target in &input.targets {
                self.put_target(tx, &place, &input.rule, target)?;
            }
            self.reroute(tx, &place)
        });
        put.await?;
        Ok(PutTargetsOutput {
            failed_entry_count: Some(0),
            failed_entries: Some(Vec::new()),
        })
    }

    pub(crate) async fn remove_targets(
        &self,
        ctx: &Context,
        input: RemoveTargetsInput,
    ) -> Result<RemoveTargetsOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        let scope = place.scope();
        let store = &self.cloud.store;
        let remove = store.transact(Scope::new(&scope), |tx| {
            let bus = self.bus(tx, &place)?;
            self.permit(ctx, &place, &bus, "events:RemoveTargets")?;
            let rule = self.rule(tx, &place, &input.rule)?;
            if rule.managed_by.is_some() && input.force != Some(true) {
                return Err(managed_rule_exception(format!(
                    "Rule {} is managed by an AWS service and cannot be modified.",
                    input.rule
                )));
            }
            for id in &input.ids {
                self.remove_target(tx, &place, &input.rule, id)?;
            }
            self.reroute(tx, &place)
        });
        remove.await?;
        Ok(RemoveTargetsOutput {
            failed_entry_count: Some(0),
            failed_entries: Some(Vec::new()),
        })
    }

    pub(crate) async fn list_targets_by_rule(
        &self,
        ctx: &Context,
        input: ListTargetsByRuleInput,
    ) -> Result<ListTargetsByRuleOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        let view = self.cloud.store.read();
        self.bus(&view, &place)?;
        self.rule(&view, &place, &input.rule)?;
        let after = page::start("ListTargetsByRule", input.next_token.as_deref())?;
        let size = page::size(input.limit);
        let mut rows = self.targets_of(&view, &place, &input.rule)?;
        rows.retain(|(id, _)| after.as_ref().is_none_or(|after| id > after));
        let (rows, next_token) = page::cut("ListTargetsByRule", rows, size, |(id, _)| id.clone());
        Ok(ListTargetsByRuleOutput {
            targets: Some(rows.into_iter().map(|(_, target)| target).collect()),
            next_token,
        })
    }

    pub(crate) async fn list_rule_names_by_target(
        &self,
        ctx: &Context,
        input: ListRuleNamesByTargetInput,
    ) -> Result<ListRuleNamesByTargetOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        let view = self.cloud.store.read();
        self.bus(&view, &place)?;
        let (account, region, bus) = place.key();
        let arn = input.target_arn.as_str();
        let mut rows = view.range(&self.by_arn, Range::prefix(&(account, region, bus, arn)));
        let mut names = BTreeSet::new();
        while let Some((_, _, _, _, rule, _)) = rows.next_key()? {
            names.insert(rule);
        }
        let after = page::start("ListRuleNamesByTarget", input.next_token.as_deref())?;
        let size = page::size(input.limit);
        let names: Vec<_> = names
            .into_iter()
            .filter(|name| after.as_ref().is_none_or(|after| name > after))
            .collect();
        let (names, next_token) = page::cut("ListRuleNamesByTarget", names, size, String::clone);
        Ok(ListRuleNamesByTargetOutput {
            rule_names: Some(names),
            next_token,
        })
    }
}
