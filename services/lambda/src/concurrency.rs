//! Reserved and provisioned concurrency.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record};
use wire::Fault;

use crate::api;
use crate::configuration::last_modified;
use crate::errors;
use crate::invocation::reserved_in;
use crate::name::{LATEST, Name};
use crate::pool::ACCOUNT_LIMIT;
use crate::state::State;

/// Concurrency that reservations must leave to the other functions.
const UNRESERVED: usize = 100;

/// Environments that are asked to be ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Provisioned {
    pub requested: i32,
    pub modified: i64,
}

impl Record for Provisioned {}

fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
}

pub async fn put(
    state: &State,
    ctx: &Context,
    input: api::PutFunctionConcurrencyInput,
) -> Result<api::PutFunctionConcurrencyOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let asked = input.reserved_concurrent_executions;
    // Reservations are counted over the account, so they are set one after the other.
    let account = ["lambda.reservations", &name.account, &name.region];
    let function = ["lambda", &name.account, &name.region, &name.function];
    let scope = store::Scope::new(&account).and(&function);
    state
        .cloud
        .store
        .transact(scope, |tx| {
            let mut record = state.function(tx, &name)?;
            let others = reserved_in(tx, state, &name, Some(&name.function))?;
            if others + usize::try_from(asked).unwrap_or(0) + UNRESERVED > ACCOUNT_LIMIT {
                return Err(invalid(format!(
                    "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum \
                     value of [{UNRESERVED}]."
                )));
            }
            record.reserved = Some(asked);
            Ok(tx.put(&state.functions, &name.key(), &record)?)
        })
        .await?;
    state.reservations.forget();
    Ok(api::PutFunctionConcurrencyOutput {
        reserved_concurrent_executions: Some(asked),
    })
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetFunctionConcurrencyInput,
) -> Result<api::GetFunctionConcurrencyOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let function = state.function(&state.cloud.store.read(), &name)?;
    Ok(api::GetFunctionConcurrencyOutput {
        reserved_concurrent_executions: function.reserved,
    })
}

pub async fn delete(
    state: &State,
    ctx: &Context,
    input: &api::DeleteFunctionConcurrencyInput,
) -> Result<(), Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    state
        .change(&name, |tx| {
            let mut record = state.function(tx, &name)?;
            record.reserved = None;
            Ok(tx.put(&state.functions, &name.key(), &record)?)
        })
        .await?;
    state.reservations.forget();
    Ok(())
}

/// Environments are started when they are needed and kept warm; a fork is quick, so what is requested counts as allocated at once.
fn shown(record: &Provisioned) -> api::GetProvisionedConcurrencyConfigOutput {
    api::GetProvisionedConcurrencyConfigOutput {
        requested_provisioned_concurrent_executions: Some(record.requested),
        available_provisioned_concurrent_executions: Some(record.requested),
        allocated_provisioned_concurrent_executions: Some(record.requested),
        status: Some("READY".into()),
        status_reason: None,
        last_modified: Some(last_modified(record.modified)),
    }
}

pub async fn put_provisioned(
    state: &State,
    ctx: &Context,
    input: api::PutProvisionedConcurrencyConfigInput,
) -> Result<api::PutProvisionedConcurrencyConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, Some(&input.qualifier))?;
    if name.qualifier() == LATEST {
        return Err(invalid(
            "Provisioned Concurrency Configs cannot be applied to unpublished function versions.",
        ));
    }
    let record = Provisioned {
        requested: input.provisioned_concurrent_executions,
        modified: ctx.time.0,
    };
    state
        .change(&name, |tx| {
            let resolved = state.resolve(tx, &name)?;
            if resolved.function.reserved.is_some_and(|reserved| record.requested > reserved) {
                let text = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function";
                return Err(invalid(text));
            }
            Ok(tx.put(&state.provisioned, &name.qualified(), &record)?)
        })
        .await?;
    Ok(api::PutProvisionedConcurrencyConfigOutput {
        requested_provisioned_concurrent_executions: Some(record.requested),
        available_provisioned_concurrent_executions: Some(0),
        allocated_provisioned_concurrent_executions: Some(0),
        status: Some("IN_PROGRESS".into()),
        status_reason: None,
        last_modified: Some(last_modified(record.modified)),
    })
}

pub fn get_provisioned(
    state: &State,
    ctx: &Context,
    input: &api::GetProvisionedConcurrencyConfigInput,
) -> Result<api::GetProvisionedConcurrencyConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, Some(&input.qualifier))?;
    let read = state.cloud.store.read();
    state.function(&read, &name)?;
    let none = || {
        let text = "No Provisioned Concurrency Config found for this function";
        Fault::sender(404, "ProvisionedConcurrencyConfigNotFoundException", text)
    };
    Ok(shown(
        &read
            .get(&state.provisioned, &name.qualified())?
            .ok_or_else(none)?,
    ))
}

pub async fn delete_provisioned(
    state: &State,
    ctx: &Context,
    input: &api::DeleteProvisionedConcurrencyConfigInput,
) -> Result<(), Fault> {
    let name = Name::read(ctx, &input.function_name, Some(&input.qualifier))?;
    state
        .change(&name, |tx| {
            state.function(tx, &name)?;
            tx.delete(&state.provisioned, &name.qualified());
            Ok(())
        })
        .await
}

pub fn list_provisioned(
    state: &State,
    ctx: &Context,
    input: &api::ListProvisionedConcurrencyConfigsInput,
) -> Result<api::ListProvisionedConcurrencyConfigsOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, &input.function_name, None)?
    };
    let read = state.cloud.store.read();
    state.function(&read, &name)?;
    let mut all = Vec::new();
    for row in read.range(&state.provisioned, Range::prefix(&name.key())) {
        let ((.., qualifier), record) = row?;
        let config = shown(&record);
        all.push(api::ProvisionedConcurrencyConfigListItem {
            function_arn: Some(name.arn_of(&qualifier)),
            requested_provisioned_concurrent_executions: config
                .requested_provisioned_concurrent_executions,
            available_provisioned_concurrent_executions: config
                .available_provisioned_concurrent_executions,
            allocated_provisioned_concurrent_executions: config
                .allocated_provisioned_concurrent_executions,
            status: config.status,
            status_reason: None,
            last_modified: config.last_modified,
        });
    }
    Ok(api::ListProvisionedConcurrencyConfigsOutput {
        provisioned_concurrency_configs: Some(all),
        next_marker: None,
    })
}

/// The account's limits and use in the region.
pub fn account_settings(
    state: &State,
    ctx: &Context,
) -> Result<api::GetAccountSettingsOutput, Fault> {
    let read = state.cloud.store.read();
    let (mut count, mut size, mut reserved) = (0, 0, 0);
    for row in read.range(
        &state.functions,
        Range::prefix(&(&ctx.account, &ctx.region)),
    ) {
        let (_, function) = row?;
        count += 1;
        size += function.latest.code.size;
        reserved += function.reserved.unwrap_or(0);
    }
    for row in read.range(&state.versions, Range::prefix(&(&ctx.account, &ctx.region))) {
        size += row?.1.configuration.code.size;
    }
    for row in read.range(&state.layers, Range::prefix(&(&ctx.account, &ctx.region))) {
        size += row?.1.code.size;
    }
    let limit = i32::try_from(ACCOUNT_LIMIT).unwrap_or(1000);
    Ok(api::GetAccountSettingsOutput {
        account_limit: Some(api::AccountLimit {
            total_code_size: Some(80_530_636_800),
            code_size_unzipped: Some(262_144_000),
            code_size_zipped: Some(52_428_800),
            concurrent_executions: Some(limit),
            unreserved_concurrent_executions: Some(limit - reserved),
        }),
        account_usage: Some(api::AccountUsage {
            total_code_size: i64::try_from(size).ok(),
            function_count: Some(count),
        }),
    })
}
