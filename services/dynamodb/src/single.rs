//! One item is got, put, updated or deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::Context;
use store::Read;
use wire::Fault;

use crate::api::*;
use crate::capacity::{Usage, read_units};
use crate::change::{Action, Change, MAX_ITEM, Outcome, Refusal, condition_failed};
use crate::expression::{Condition, Placeholders, Projection, Update as Updates};
use crate::fault::{invalid_parameter, listed, validation};
use crate::item::{self, Item, Stored};
use crate::legacy::{self, refuse_mixture};
use crate::service::Dynamo;
use crate::stream::Cause;
use crate::table::TableRecord;
use crate::value::{Attributes, Value};

/// Checks the attributes of an item that is to be put.
pub fn check_item(item: &Attributes) -> Result<(), Fault> {
    for (name, value) in item {
        if name.is_empty() {
            return Err(invalid_parameter("Empty attribute name"));
        }
        value.check()?;
    }
    Ok(())
}

/// Refuses an item that is too large.
pub fn check_size(item: &Attributes) -> Result<(), Fault> {
    if item::size(item) > MAX_ITEM {
        return Err(validation(
            "Item size has exceeded the maximum allowed size",
        ));
    }
    Ok(())
}

/// Checks an item against the keys of a table and its indexes.
pub fn check_keys(table: &TableRecord, item: &Attributes) -> Result<(), Fault> {
    table.keys.check_item(item)?;
    for index in &table.indexes {
        index.keys.check_index(&index.name, item)?;
    }
    table.check_vectors(item, None)
}

/// Refuses an update of key attributes.
pub fn refuse_key_update(table: &TableRecord, update: &Updates) -> Result<(), Fault> {
    match update.targets().find(|path| table.keys.has(&path.root)) {
        None => Ok(()),
        Some(path) => Err(invalid_parameter(&format!(
            "Cannot update attribute {}. This attribute is part of the key",
            path.root
        ))),
    }
}

/// The condition of a put or a delete, in either form.
fn condition(
    expression: Option<&str>,
    expected: Option<&BTreeMap<String, ExpectedAttributeValue>>,
    operator: Option<&str>,
    names: Option<BTreeMap<String, String>>,
    values: Option<Attributes>,
) -> Result<Option<Condition>, Fault> {
    refuse_mixture(
        &[
            ("Expected", expected.is_some()),
            ("ConditionalOperator", operator.is_some()),
        ],
        &[("ConditionExpression", expression.is_some())],
    )?;
    let mut placeholders = Placeholders::new(
        names,
        values,
        expression.is_some(),
        expression
            .is_none()
            .then_some(": ConditionExpression is null"),
    )?;
    let condition = match expression {
        Some(text) => Some(Condition::parse(
            "ConditionExpression",
            text,
            &mut placeholders,
        )?),
        None => legacy::expected(expected, operator)?,
    };
    placeholders.finish()?;
    Ok(condition)
}

/// The change and the condition of an update, in either form.
fn update(input: &mut UpdateItemInput) -> Result<(Updates, Option<Condition>), Fault> {
    refuse_mixture(
        &[
            ("AttributeUpdates", input.attribute_updates.is_some()),
            ("Expected", input.expected.is_some()),
            ("ConditionalOperator", input.conditional_operator.is_some()),
        ],
        &[
            ("UpdateExpression", input.update_expression.is_some()),
            ("ConditionExpression", input.condition_expression.is_some()),
        ],
    )?;
    let has_expression = input.update_expression.is_some() || input.condition_expression.is_some();
    let mut placeholders = Placeholders::new(
        input.expression_attribute_names.take(),
        input.expression_attribute_values.take(),
        has_expression,
        (!has_expression).then_some(": UpdateExpression and ConditionExpression are null"),
    )?;
    let update = match (&input.update_expression, &input.attribute_updates) {
        (Some(text), _) => Updates::parse(text, &mut placeholders)?,
        (None, Some(updates)) => legacy::attribute_updates(updates)?,
        (None, None) => Updates::default(),
    };
    let condition = match &input.condition_expression {
        Some(text) => Some(Condition::parse(
            "ConditionExpression",
            text,
            &mut placeholders,
        )?),
        None => legacy::expected(
            input.expected.as_ref(),
            input.conditional_operator.as_deref(),
        )?,
    };
    placeholders.finish()?;
    Ok((update, condition))
}

/// Item collection metrics, where asked for and where the table has collections.
pub fn collection_metrics(
    table: &TableRecord,
    key: &Attributes,
    mode: Option<&str>,
) -> Option<ItemCollectionMetrics> {
    if mode != Some("SIZE") || !table.has_local_index() {
        return None;
    }
    let part = table.keys.hash.first()?;
    Some(ItemCollectionMetrics {
        item_collection_key: Some(BTreeMap::from([(
            part.name.clone(),
            key.get(&part.name)?.clone(),
        )])),
        size_estimate_range_gb: Some(vec![0.0, 1.0]),
    })
}

fn is_old(mode: Option<&str>) -> bool {
    mode == Some("ALL_OLD")
}

/// `ReturnValues` of an operation that knows the old item only.
fn check_returned(mode: Option<&str>) -> Result<(), Fault> {
    match mode {
        None | Some("NONE" | "ALL_OLD") => Ok(()),
        Some(_) => Err(validation("ReturnValues can only be ALL_OLD or NONE")),
    }
}

impl Dynamo {
    /// Does a change, as often as its table is changed meanwhile.
    pub async fn write(
        &self,
        ctx: &Context,
        name: &str,
        prepare: impl Fn(&TableRecord) -> Result<Change, Fault>,
    ) -> Result<(Arc<TableRecord>, Outcome), Fault> {
        loop {
            let table = self.catalog.table(ctx, name)?;
            let change = prepare(&table)?;
            self.admit_write(&table)?;
            match self.change(ctx, &table, &change, Cause::Request).await {
                Ok(outcome) => return Ok((table, outcome)),
                Err(Refusal::Stale) => {}
                Err(Refusal::Condition(item)) => return Err(condition_failed(item)),
                Err(Refusal::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// `PutItem`
    pub async fn put_item(
        &self,
        ctx: &Context,
        input: PutItemInput,
    ) -> Result<PutItemOutput, Fault> {
        check_returned(input.return_values.as_deref())?;
        check_item(&input.item).map_err(listed)?;
        check_size(&input.item)?;
        let condition = condition(
            input.condition_expression.as_deref(),
            input.expected.as_ref(),
            input.conditional_operator.as_deref(),
            input.expression_attribute_names,
            input.expression_attribute_values,
        )
        .map_err(listed)?;
        let wants_old = is_old(input.return_values.as_deref());
        let shows_item = is_old(input.return_values_on_condition_check_failure.as_deref());
        let item = Arc::new(input.item);
        let (table, outcome) = self
            .write(ctx, &input.table_name, |table| {
                check_keys(table, &item)?;
                let key = table.keys.of(&item);
                Ok(Change {
                    row: table.row(&key),
                    key,
                    action: Action::Put(item.clone()),
                    condition: condition.clone(),
                    shows_item,
                    wants_old,
                })
            })
            .await?;
        Ok(PutItemOutput {
            attributes: outcome.old.filter(|_| wants_old).map(Item::Plain),
            consumed_capacity: outcome
                .usage
                .report(&table.name, input.return_consumed_capacity.as_deref()),
            item_collection_metrics: collection_metrics(
                &table,
                &item,
                input.return_item_collection_metrics.as_deref(),
            ),
        })
    }

    /// `DeleteItem`
    pub async fn delete_item(
        &self,
        ctx: &Context,
        input: DeleteItemInput,
    ) -> Result<DeleteItemOutput, Fault> {
        check_returned(input.return_values.as_deref())?;
        let condition = condition(
            input.condition_expression.as_deref(),
            input.expected.as_ref(),
            input.conditional_operator.as_deref(),
            input.expression_attribute_names,
            input.expression_attribute_values,
        )
        .map_err(listed)?;
        let wants_old = is_old(input.return_values.as_deref());
        let shows_item = is_old(input.return_values_on_condition_check_failure.as_deref());
        let (table, outcome) = self
            .write(ctx, &input.table_name, |table| {
                table.keys.check_key(&input.key)?;
                Ok(Change {
                    row: table.row(&input.key),
                    key: input.key.clone(),
                    action: Action::Delete,
                    condition: condition.clone(),
                    shows_item,
                    wants_old,
                })
            })
            .await?;
        Ok(DeleteItemOutput {
            attributes: outcome.old.filter(|_| wants_old).map(Item::Plain),
            consumed_capacity: outcome
                .usage
                .report(&table.name, input.return_consumed_capacity.as_deref()),
            item_collection_metrics: collection_metrics(
                &table,
                &input.key,
                input.return_item_collection_metrics.as_deref(),
            ),
        })
    }

    /// `UpdateItem`
    pub async fn update_item(
        &self,
        ctx: &Context,
        mut input: UpdateItemInput,
    ) -> Result<UpdateItemOutput, Fault> {
        let (update, condition) = update(&mut input).map_err(listed)?;
        let shows_item = is_old(input.return_values_on_condition_check_failure.as_deref());
        let (table, outcome) = self
            .write(ctx, &input.table_name, |table| {
                table.keys.check_key(&input.key)?;
                refuse_key_update(table, &update)?;
                Ok(Change {
                    row: table.row(&input.key),
                    key: input.key.clone(),
                    action: Action::Update(Box::new(update.clone())),
                    condition: condition.clone(),
                    shows_item,
                    wants_old: true,
                })
            })
            .await?;
        let some = |attributes: Attributes| (!attributes.is_empty()).then_some(attributes);
        let touched = |item: Option<Attributes>| {
            let paths = update.targets().cloned().collect();
            some(Projection { paths }.apply(&item?))
        };
        let attributes = match input.return_values.as_deref() {
            Some("ALL_OLD") => outcome.old,
            Some("ALL_NEW") => outcome.new.map(Arc::unwrap_or_clone),
            Some("UPDATED_OLD") => touched(outcome.old),
            Some("UPDATED_NEW") => touched(outcome.new.map(Arc::unwrap_or_clone)),
            _ => None,
        };
        Ok(UpdateItemOutput {
            attributes: attributes.map(Item::Plain),
            consumed_capacity: outcome
                .usage
                .report(&table.name, input.return_consumed_capacity.as_deref()),
            item_collection_metrics: collection_metrics(
                &table,
                &input.key,
                input.return_item_collection_metrics.as_deref(),
            ),
        })
    }

    /// `GetItem`
    pub async fn get_item(
        &self,
        ctx: &Context,
        input: GetItemInput,
    ) -> Result<GetItemOutput, Fault> {
        let projection = read_projection(
            input.attributes_to_get.as_deref(),
            input.projection_expression.as_deref(),
            input.expression_attribute_names,
        )?;
        let table = self.catalog.table(ctx, &input.table_name)?;
        table.keys.check_key(&input.key)?;
        let (found, usage) =
            self.read_item(&table, &input.key, input.consistent_read == Some(true))?;
        Ok(GetItemOutput {
            item: found
                .map(|stored| shown(stored, projection.as_ref()))
                .transpose()?,
            consumed_capacity: usage.report(&table.name, input.return_consumed_capacity.as_deref()),
        })
    }

    /// The item of a key, and what it took to read it.
    pub fn read_item(
        &self,
        table: &TableRecord,
        key: &BTreeMap<String, Value>,
        is_consistent: bool,
    ) -> Result<(Option<Stored>, Usage), Fault> {
        self.admit_read(table, None)?;
        let found = self.cloud.store.read().get(&self.items, &table.row(key))?;
        let size = found.as_ref().map_or(0, Stored::size);
        let usage = Usage::of_table(read_units(size, is_consistent));
        self.spend(table, &usage, false);
        Ok((found, usage))
    }
}

/// The projection of a read, in either form.
pub fn read_projection(
    old: Option<&[String]>,
    expression: Option<&str>,
    names: Option<BTreeMap<String, String>>,
) -> Result<Option<Projection>, Fault> {
    refuse_mixture(
        &[("AttributesToGet", old.is_some())],
        &[("ProjectionExpression", expression.is_some())],
    )?;
    let mut placeholders = Placeholders::new(names, None, expression.is_some(), None)?;
    let projection = match (expression, old) {
        (Some(text), _) => Some(Projection::parse(text, &mut placeholders)?),
        (None, Some(names)) => Some(Projection::of(names)?),
        (None, None) => None,
    };
    placeholders.finish()?;
    Ok(projection)
}

/// A stored item as an answer shows it.
pub fn shown(stored: Stored, projection: Option<&Projection>) -> Result<Item, Fault> {
    match projection {
        None => Ok(Item::Stored(stored)),
        Some(projection) => {
            let item = stored.pick(&projection.roots())?;
            Ok(Item::Plain(projection.apply(&item)))
        }
    }
}
