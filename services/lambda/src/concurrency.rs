//! Reserved concurrency and the account's limits.

use cloud::Context;
use store::{Range, Read};
use wire::Fault;

use crate::api;
use crate::invocation::reserved_in;
use crate::name::{LATEST, Name};
use crate::pool::ACCOUNT_LIMIT;
use crate::provisioned;
use crate::state::State;
use crate::{blame, errors};

/// Concurrency that reservations must leave to the other functions.
pub const UNRESERVED: usize = 100;

fn invalid(text: impl Into<String>) -> Fault {
    errors::invalid_parameter_value_exception(text.into())
}

pub async fn put(
    state: &State,
    ctx: &Context,
    input: api::PutFunctionConcurrencyInput,
) -> Result<api::PutFunctionConcurrencyOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, None)?;
    if name.qualifier.is_some() {
        return Err(invalid(
            "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. Please specify \
             either a function name or an unqualified function ARN.",
        ));
    }
    let asked = input.reserved_concurrent_executions;
    // Reservations are counted over the account, so they are set one after the other.
    let account = ["lambda.reservations", &name.account, &name.region];
    let function = ["lambda", &name.account, &name.region, &name.function];
    let scope = store::Scope::new(&account).and(&function);
    state
        .cloud
        .store
        .transact(scope, |tx| {
            let found = tx.get(&state.functions, &name.key())?;
            let mut record = found.ok_or_else(|| {
                errors::resource_not_found_exception(format!(
                    "Function not found: {}",
                    name.arn_of(LATEST)
                ))
            })?;
            let others = reserved_in(tx, state, &name, Some(&name.function))?;
            if others + usize::try_from(asked).unwrap_or(0) + UNRESERVED > ACCOUNT_LIMIT {
                return Err(blame::untyped(invalid(format!(
                    "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum \
                     value of [{UNRESERVED}]."
                ))));
            }
            let provisioned = provisioned::requested(tx, state, &name, None)?;
            if asked < provisioned {
                // The blanks are AWS's.
                return Err(blame::untyped(invalid(format!(
                    " ReservedConcurrentExecutions  {asked} should not be lower than function's total provisioned concurrency [{provisioned}]."
                ))));
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
        let ((account, region, name), function) = row?;
        count += 1;
        size += function.latest.code.size;
        reserved += match function.reserved {
            Some(reserved) => reserved,
            None => provisioned::requested(
                &read,
                state,
                &Name {
                    account,
                    region,
                    function: name,
                    qualifier: None,
                },
                None,
            )?,
        };
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
