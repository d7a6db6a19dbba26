//! The actions of a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::Fault;

use crate::api::TransactWriteItem;
use crate::change::{Action, Change};
use crate::expression::{self, Placeholders, Update};
use crate::fault::validation;
use crate::single::{check_item, check_keys, check_size, refuse_key_update};
use crate::table::TableRecord;
use crate::value::Attributes;

/// An action of a transaction, before its table is known.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its table, as the request names it.
    pub table: String,
    /// The item's key, or the whole item of a put.
    pub item: Attributes,
    /// What is done; for a put, the item again.
    pub action: Action,
    /// What must hold.
    pub condition: Option<expression::Condition>,
    /// Whether a refusal shows the item.
    pub shows_item: bool,
    /// Its condition is that there is no such item yet, as a statement's INSERT has it.
    pub is_insert: bool,
}

impl Step {
    /// The change that it comes to in its table.
    pub fn change(&self, table: &TableRecord) -> Result<Change, Fault> {
        let key = match &self.action {
            Action::Put(item) => {
                check_keys(table, item)?;
                table.keys.of(item)
            }
            action => {
                table.keys.check_key(&self.item)?;
                if let Action::Update(update) = action {
                    refuse_key_update(table, update)?;
                }
                self.item.clone()
            }
        };
        Ok(Change {
            row: table.row(&key),
            key,
            action: self.action.clone(),
            condition: self.condition.clone(),
            shows_item: self.shows_item,
            wants_old: false,
        })
    }
}

/// Reads one action of a request.
pub fn step(item: &TransactWriteItem) -> Result<Step, Fault> {
    let given = [
        item.condition_check.is_some(),
        item.put.is_some(),
        item.delete.is_some(),
        item.update.is_some(),
    ];
    if given.iter().filter(|is_given| **is_given).count() != 1 {
        return Err(validation(
            "TransactItems can only contain one of Check, Put, Update or Delete",
        ));
    }
    if let Some(check) = &item.condition_check {
        let mut placeholders = Placeholders::new(
            check.expression_attribute_names.clone(),
            check.expression_attribute_values.clone(),
            true,
            None,
        )?;
        let condition = expression::Condition::parse(
            "ConditionExpression",
            &check.condition_expression,
            &mut placeholders,
        )?;
        placeholders.finish()?;
        return Ok(Step {
            table: check.table_name.clone(),
            item: check.key.clone(),
            action: Action::Check,
            condition: Some(condition),
            shows_item: is_shown(check.return_values_on_condition_check_failure.as_deref()),
            is_insert: false,
        });
    }
    if let Some(put) = &item.put {
        check_item(&put.item)?;
        check_size(&put.item)?;
        let (condition, _) = conditions(
            put.condition_expression.as_deref(),
            None,
            put.expression_attribute_names.clone(),
            put.expression_attribute_values.clone(),
        )?;
        return Ok(Step {
            table: put.table_name.clone(),
            item: put.item.clone(),
            action: Action::Put(Arc::new(put.item.clone())),
            condition,
            shows_item: is_shown(put.return_values_on_condition_check_failure.as_deref()),
            is_insert: false,
        });
    }
    if let Some(delete) = &item.delete {
        let (condition, _) = conditions(
            delete.condition_expression.as_deref(),
            None,
            delete.expression_attribute_names.clone(),
            delete.expression_attribute_values.clone(),
        )?;
        return Ok(Step {
            table: delete.table_name.clone(),
            item: delete.key.clone(),
            action: Action::Delete,
            condition,
            shows_item: is_shown(delete.return_values_on_condition_check_failure.as_deref()),
            is_insert: false,
        });
    }
    let Some(update) = &item.update else {
        return Err(validation(
            "TransactItems can only contain one of Check, Put, Update or Delete",
        ));
    };
    let (condition, change) = conditions(
        update.condition_expression.as_deref(),
        Some(&update.update_expression),
        update.expression_attribute_names.clone(),
        update.expression_attribute_values.clone(),
    )?;
    Ok(Step {
        table: update.table_name.clone(),
        item: update.key.clone(),
        action: Action::Update(Box::new(change)),
        condition,
        shows_item: is_shown(update.return_values_on_condition_check_failure.as_deref()),
        is_insert: false,
    })
}

fn is_shown(mode: Option<&str>) -> bool {
    mode == Some("ALL_OLD")
}

fn conditions(
    condition: Option<&str>,
    update: Option<&str>,
    names: Option<BTreeMap<String, String>>,
    values: Option<Attributes>,
) -> Result<(Option<expression::Condition>, Update), Fault> {
    let has_expression = condition.is_some() || update.is_some();
    let mut placeholders = Placeholders::new(
        names,
        values,
        has_expression,
        (!has_expression).then_some(": ConditionExpression is null"),
    )?;
    let update = match update {
        Some(text) => Update::parse(text, &mut placeholders)?,
        None => Update::default(),
    };
    let condition = match condition {
        Some(text) => Some(expression::Condition::parse(
            "ConditionExpression",
            text,
            &mut placeholders,
        )?),
        None => None,
    };
    placeholders.finish()?;
    Ok((condition, update))
}
