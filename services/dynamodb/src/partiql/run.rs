//! Statements, executed.

use std::sync::Arc;

use cloud::Context;
use wire::Fault;

use super::{Kind, Returning, Statement, parse};
use crate::api::*;
use crate::capacity::{Usage, read_units};
use crate::change::{Action, Change, Outcome, Refusal, condition_failed};
use crate::errors::duplicate_item_exception;
use crate::expression::condition::{Comparator, Condition, Operand};
use crate::expression::path::Step;
use crate::expression::{Path, Projection};
use crate::fault::validation;
use crate::item::{Item, Stored};
use crate::key::Keys;
use crate::select::Select;
use crate::service::Dynamo;
use crate::single::{check_item, check_keys, check_size, refuse_key_update};
use crate::step::Step as Part;
use crate::stream::Cause;
use crate::table::TableRecord;
use crate::value::Attributes;

/// What paging tokens are of.
const OF: &str = "ExecuteStatement";

/// The parts of a condition that must all hold.
pub fn conjuncts(condition: Option<&Condition>) -> Vec<&Condition> {
    match condition {
        None => Vec::new(),
        Some(Condition::And(a, b)) => {
            let mut all = conjuncts(Some(a));
            all.extend(conjuncts(Some(b)));
            all
        }
        Some(other) => vec![other],
    }
}

/// The key that a condition names, and what else it says; `None` where it does not name all of the key.
fn split(condition: Option<&Condition>, keys: &Keys) -> Option<(Attributes, Option<Condition>)> {
    let mut key = Attributes::new();
    let mut rest: Option<Condition> = None;
    for part in conjuncts(condition) {
        if let Condition::Compare(Comparator::Eq, Operand::Path(path), Operand::Value(value)) = part
            && path.steps.is_empty()
            && keys.has(&path.root)
            && !key.contains_key(&path.root)
        {
            key.insert(path.root.clone(), value.clone());
            continue;
        }
        rest = Some(match rest {
            None => part.clone(),
            Some(before) => Condition::And(Box::new(before), Box::new(part.clone())),
        });
    }
    (key.len() == keys.parts().count()).then_some((key, rest))
}

fn no_key() -> Fault {
    validation("Where clause does not contain a mandatory equality on all key attributes")
}

/// A condition that holds where there is an item, and that other one does.
fn on_item(keys: &Keys, rest: Option<Condition>, is_there: bool) -> Option<Condition> {
    let name = keys.hash.first()?.name.clone();
    let path = Path::of(&name);
    match (rest, is_there) {
        (None, true) => Some(Condition::Exists(path)),
        (None, false) => None,
        (Some(rest), true) => Some(Condition::And(
            Box::new(Condition::Exists(path)),
            Box::new(rest),
        )),
        (Some(rest), false) => Some(Condition::Or(
            Box::new(Condition::NotExists(path)),
            Box::new(rest),
        )),
    }
}

/// A selected item: what paths lead to stands under their last names.
fn selected(item: &Attributes, paths: &[Path]) -> Attributes {
    let name = |path: &Path| {
        let mut name = path.root.clone();
        for step in &path.steps {
            match step {
                Step::Name(inner) => name.clone_from(inner),
                Step::Index(index) => name.push_str(&format!("[{index}]")),
            }
        }
        name
    };
    paths
        .iter()
        .filter_map(|path| Some((name(path), path.find(item)?.clone())))
        .collect()
}

impl Statement {
    /// The change that a writing statement comes to.
    fn part(&self, table: &TableRecord, shows_item: bool) -> Result<Part, Fault> {
        let keyed = || split(self.condition.as_ref(), &table.keys).ok_or_else(no_key);
        let (item, action, condition) = match &self.kind {
            Kind::Insert { item } => {
                check_item(item)?;
                check_size(item)?;
                check_keys(table, item)?;
                let hash = table.keys.hash.first();
                let condition = hash.map(|part| Condition::NotExists(Path::of(&part.name)));
                (item.clone(), Action::Put(Arc::new(item.clone())), condition)
            }
            Kind::Update { update, .. } => {
                let (key, rest) = keyed()?;
                refuse_key_update(table, update)?;
                let paths: Vec<Path> = update.targets().cloned().collect();
                crate::expression::projection::refuse_clashes("UpdateExpression", &paths)?;
                for (_, expression) in &update.set {
                    if let crate::expression::update::Expression::Value(value) = expression {
                        value.check()?;
                    }
                }
                let condition = on_item(&table.keys, rest, true);
                (key, Action::Update(update.clone()), condition)
            }
            Kind::Delete { .. } => {
                let (key, rest) = keyed()?;
                (key, Action::Delete, on_item(&table.keys, rest, false))
            }
            Kind::Exists => {
                let (key, rest) = keyed()?;
                (key, Action::Check, on_item(&table.keys, rest, true))
            }
            Kind::Select { .. } => return Err(validation("A SELECT statement writes nothing")),
        };
        Ok(Part {
            table: self.table.clone(),
            item,
            action,
            condition,
            shows_item,
            is_insert: matches!(self.kind, Kind::Insert { .. }),
        })
    }

    fn returning(&self) -> Option<Returning> {
        match &self.kind {
            Kind::Update { returning, .. } | Kind::Delete { returning } => *returning,
            _ => None,
        }
    }

    /// What a write answers.
    fn returned(&self, outcome: &Outcome) -> Option<Attributes> {
        let returning = self.returning()?;
        let item = match returning.is_old {
            true => outcome.old.clone()?,
            false => outcome.new.as_deref().cloned()?,
        };
        match (&self.kind, returning.is_all) {
            (Kind::Update { update, .. }, false) => {
                let paths = update.targets().cloned().collect();
                Some(Projection { paths }.apply(&item))
            }
            _ => Some(item),
        }
    }
}

/// What one statement did.
struct Ran {
    table: String,
    items: Vec<Item>,
    last: Option<Attributes>,
    usage: Usage,
}

impl Dynamo {
    /// `ExecuteStatement`
    pub async fn execute_statement(
        &self,
        ctx: &Context,
        input: ExecuteStatementInput,
    ) -> Result<ExecuteStatementOutput, Fault> {
        let parameters = input.parameters.unwrap_or_default();
        let statement = parse(&input.statement, &parameters)?;
        if matches!(statement.kind, Kind::Exists) {
            return Err(validation(
                "EXISTS is not supported in ExecuteStatement, only within transactions",
            ));
        }
        let start = match &input.next_token {
            None => None,
            Some(token) => {
                let place = cloud::paging::place(OF, token);
                let key = place.and_then(|place| key_of(place.first()?));
                Some(key.ok_or_else(|| validation("Invalid NextToken"))?)
            }
        };
        let shows_item =
            input.return_values_on_condition_check_failure.as_deref() == Some("ALL_OLD");
        let ran = match statement.is_read() {
            true => self.run_select(
                ctx,
                &statement,
                input.limit.map(|limit| limit as usize),
                start,
                input.consistent_read == Some(true),
            )?,
            false => self.run_write(ctx, &statement, shows_item).await?,
        };
        let next = ran
            .last
            .as_ref()
            .map(|key| cloud::paging::token(OF, &[&key_text(key)]));
        Ok(ExecuteStatementOutput {
            items: Some(ran.items),
            next_token: next,
            consumed_capacity: ran
                .usage
                .report(&ran.table, input.return_consumed_capacity.as_deref()),
            last_evaluated_key: ran.last,
        })
    }

    fn run_select(
        &self,
        ctx: &Context,
        statement: &Statement,
        limit: Option<usize>,
        start: Option<Attributes>,
        is_consistent: bool,
    ) -> Result<Ran, Fault> {
        let Kind::Select { paths, order } = &statement.kind else {
            return Err(validation("Only a SELECT statement reads"));
        };
        let table = self.catalog.table(ctx, &statement.table)?;
        let found = self.select(Select {
            table: &table,
            index: statement.index.as_deref(),
            condition: statement.condition.as_ref(),
            paths: paths.as_deref(),
            order: order
                .as_ref()
                .map(|(name, is_descending)| (name.as_str(), *is_descending)),
            limit,
            start,
            is_consistent,
        })?;
        let (items, last, usage) = found;
        let items = match paths {
            None => items,
            Some(paths) => items
                .into_iter()
                .map(|item| match item {
                    Item::Plain(item) => Ok(Item::Plain(selected(&item, paths))),
                    Item::Stored(stored) => Ok(Item::Plain(selected(&stored.attributes()?, paths))),
                })
                .collect::<Result<_, Fault>>()?,
        };
        Ok(Ran {
            table: table.name.clone(),
            items,
            last,
            usage,
        })
    }

    async fn run_write(
        &self,
        ctx: &Context,
        statement: &Statement,
        shows_item: bool,
    ) -> Result<Ran, Fault> {
        loop {
            let table = self.catalog.table(ctx, &statement.table)?;
            let part = statement.part(&table, shows_item)?;
            let key = match &part.action {
                Action::Put(item) => table.keys.of(item),
                _ => {
                    table.keys.check_key(&part.item)?;
                    part.item
                }
            };
            let change = Change {
                row: table.row(&key),
                key,
                action: part.action,
                condition: part.condition,
                shows_item,
                wants_old: true,
            };
            self.admit_write(&table)?;
            match self.change(ctx, &table, &change, Cause::Request).await {
                Ok(outcome) => {
                    let items = statement.returned(&outcome).into_iter().map(Item::Plain);
                    return Ok(Ran {
                        table: table.name.clone(),
                        items: items.collect(),
                        last: None,
                        usage: outcome.usage,
                    });
                }
                Err(Refusal::Stale) => {}
                Err(Refusal::Condition(_)) if matches!(statement.kind, Kind::Insert { .. }) => {
                    return Err(duplicate_item_exception(
                        "Duplicate primary key exists in table",
                    ));
                }
                Err(Refusal::Condition(item)) => return Err(condition_failed(item)),
                Err(Refusal::Fault(fault)) => return Err(fault),
            }
        }
    }

    /// The item that a SELECT names by its key, as a batch or a transaction needs it.
    fn named_key(
        &self,
        ctx: &Context,
        statement: &Statement,
        what: &str,
    ) -> Result<(Arc<TableRecord>, Attributes, Option<Condition>), Fault> {
        let table = self.catalog.table(ctx, &statement.table)?;
        let split = split(statement.condition.as_ref(), &table.keys);
        let (key, rest) = split.filter(|_| statement.index.is_none()).ok_or_else(|| {
            validation(format!(
                "Select statements within {what} must specify the primary key in the where clause."
            ))
        })?;
        table.keys.check_key(&key)?;
        Ok((table, key, rest))
    }

    /// `BatchExecuteStatement`
    pub async fn batch_execute_statement(
        &self,
        ctx: &Context,
        input: BatchExecuteStatementInput,
    ) -> Result<BatchExecuteStatementOutput, Fault> {
        let mut statements = Vec::new();
        for request in &input.statements {
            let parameters = request.parameters.as_deref().unwrap_or_default();
            statements.push((request, parse(&request.statement, parameters)));
        }
        let kinds: Vec<bool> = statements
            .iter()
            .filter_map(|(_, statement)| statement.as_ref().ok().map(Statement::is_read))
            .collect();
        if kinds.contains(&true) && kinds.contains(&false) {
            return Err(validation(
                "Batch statements must be either all reads or all writes, not both",
            ));
        }
        let mode = input.return_consumed_capacity.as_deref();
        let mut usage = std::collections::BTreeMap::<String, Usage>::new();
        let mut responses = Vec::new();
        for (request, statement) in statements {
            let shows_item =
                request.return_values_on_condition_check_failure.as_deref() == Some("ALL_OLD");
            let table = statement.as_ref().ok().map(|s| s.table.clone());
            let ran = match statement {
                Err(fault) => Err(fault),
                Ok(statement) if statement.is_read() => {
                    let is_consistent = request.consistent_read == Some(true);
                    self.read_named(ctx, &statement, is_consistent)
                }
                Ok(statement) => self.run_write(ctx, &statement, shows_item).await,
            };
            responses.push(match ran {
                Ok(ran) => {
                    usage.entry(ran.table.clone()).or_default().add(&ran.usage);
                    BatchStatementResponse {
                        error: None,
                        table_name: Some(ran.table),
                        item: ran.items.into_iter().next(),
                    }
                }
                Err(fault) => BatchStatementResponse {
                    error: Some(BatchStatementError {
                        code: Some(short_code(&fault.code).to_owned()),
                        message: Some(fault.message.to_string()),
                        item: None,
                    }),
                    table_name: table,
                    item: None,
                },
            });
        }
        let consumed: Vec<ConsumedCapacity> = usage
            .iter()
            .filter_map(|(name, usage)| usage.report(name, mode))
            .collect();
        Ok(BatchExecuteStatementOutput {
            responses: Some(responses),
            consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        })
    }

    fn read_named(
        &self,
        ctx: &Context,
        statement: &Statement,
        is_consistent: bool,
    ) -> Result<Ran, Fault> {
        let (table, key, rest) = self.named_key(ctx, statement, "BatchExecuteStatement")?;
        let (found, usage) = self.read_item(&table, &key, is_consistent)?;
        let item = found
            .map(|stored| statement.shown(&stored, rest.as_ref()))
            .transpose()?;
        Ok(Ran {
            table: table.name.clone(),
            items: item.flatten().into_iter().collect(),
            last: None,
            usage,
        })
    }

    /// `ExecuteTransaction`
    pub async fn execute_transaction(
        &self,
        ctx: &Context,
        input: ExecuteTransactionInput,
    ) -> Result<ExecuteTransactionOutput, Fault> {
        let mut statements = Vec::new();
        for request in &input.transact_statements {
            let parameters = request.parameters.as_deref().unwrap_or_default();
            let shows_item =
                request.return_values_on_condition_check_failure.as_deref() == Some("ALL_OLD");
            statements.push((parse(&request.statement, parameters)?, shows_item));
        }
        let reads = statements.iter().filter(|(s, _)| s.is_read()).count();
        let mode = input.return_consumed_capacity.as_deref();
        if reads == statements.len() {
            return self.execute_reads(ctx, &statements, mode).await;
        }
        if reads > 0 {
            return Err(validation(
                "Transaction statements must be either all reads or all writes, not both",
            ));
        }
        let mut parts = Vec::new();
        for (statement, shows_item) in &statements {
            if statement.returning().is_some() {
                return Err(validation(
                    "RETURNING clause is not supported in ExecuteTransaction",
                ));
            }
            let table = self.catalog.table(ctx, &statement.table)?;
            parts.push(statement.part(&table, *shows_item)?);
        }
        let digest = input.client_request_token.as_deref().map(|token| {
            let all = format!("{:?}", input.transact_statements);
            (token, crate::token::digest(&all))
        });
        let done = self.transact(ctx, &parts, digest).await?;
        Ok(ExecuteTransactionOutput {
            // Writes have nothing to show.
            responses: Some(Vec::new()),
            consumed_capacity: done.report(mode),
        })
    }

    async fn execute_reads(
        &self,
        ctx: &Context,
        statements: &[(Statement, bool)],
        mode: Option<&str>,
    ) -> Result<ExecuteTransactionOutput, Fault> {
        let mut wanted = Vec::new();
        for (statement, _) in statements {
            let (table, key, rest) = self.named_key(ctx, statement, "ExecuteTransaction")?;
            wanted.push((table.row(&key), table, rest));
        }
        let found = self
            .read_together(wanted.iter().map(|(row, table, _)| (&**table, row)))
            .await?;
        let mut usage = std::collections::BTreeMap::<String, Usage>::new();
        let mut responses = Vec::new();
        for ((stored, (_, table, rest)), (statement, _)) in
            found.into_iter().zip(&wanted).zip(statements)
        {
            let size = stored.as_ref().map_or(0, Stored::size);
            let units = Usage::of_table(read_units(size, true)).doubled();
            usage.entry(table.name.clone()).or_default().add(&units);
            let item = stored.map(|stored| statement.shown(&stored, rest.as_ref()));
            responses.push(ItemResponse {
                item: item.transpose()?.flatten(),
            });
        }
        let consumed: Vec<ConsumedCapacity> = usage
            .iter()
            .filter_map(|(name, usage)| usage.report_transaction(name, mode, true))
            .collect();
        Ok(ExecuteTransactionOutput {
            responses: Some(responses),
            consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        })
    }
}

impl Statement {
    /// An item as a SELECT by key answers it, if the rest of its condition holds.
    fn shown(&self, stored: &Stored, rest: Option<&Condition>) -> Result<Option<Item>, Fault> {
        let Kind::Select { paths, .. } = &self.kind else {
            return Ok(None);
        };
        let item = stored.attributes()?;
        if rest.is_some_and(|rest| !rest.holds(&item)) {
            return Ok(None);
        }
        Ok(Some(Item::Plain(match paths {
            None => item,
            Some(paths) => selected(&item, paths),
        })))
    }
}

/// The codes that responses of batches have.
fn short_code(code: &str) -> &str {
    match code {
        "ConditionalCheckFailedException" => "ConditionalCheckFailed",
        "ValidationException" => "ValidationError",
        "ResourceNotFoundException" => "ResourceNotFound",
        "DuplicateItemException" => "DuplicateItem",
        "AccessDeniedException" => "AccessDenied",
        "ProvisionedThroughputExceededException" => "ProvisionedThroughputExceeded",
        _ => "InternalServerError",
    }
}

/// A key as a token's text.
fn key_text(key: &Attributes) -> String {
    let mut writer = wire::json::JsonWriter::new();
    wire::Encode::encode(&Item::Plain(key.clone()), &mut writer);
    String::from_utf8(writer.finish()).unwrap_or_default()
}

/// The key of a token's text.
fn key_of(text: &str) -> Option<Attributes> {
    let mut key = Attributes::new();
    wire::json::read(text.as_bytes(), |r| {
        r.map(&crate::item::SCHEMA, &mut |name, r| {
            let mut audit = wire::Audit::default();
            key.insert(name, wire::Decode::decode(r, &mut audit)?);
            Ok(())
        })
    })
    .ok()?;
    Some(key)
}
