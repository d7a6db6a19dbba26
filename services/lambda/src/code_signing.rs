//! What is stored for clients and does nothing here: code signing, recursion and runtime updates.

use cloud::Context;
use serde::{Deserialize, Serialize};
use store::{Range, Read, Record, Scope};
use wire::Fault;

use crate::api;
use crate::configuration::last_modified;
use crate::name::Name;
use crate::state::State;
use crate::{blame, errors, interpreter};

/// A code signing configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CodeSigning {
    pub description: Option<String>,
    pub publishers: Vec<String>,
    /// `Warn` or `Enforce`.
    pub policy: String,
    pub modified: i64,
}

impl Record for CodeSigning {}

fn describe(ctx: &Context, id: &str, record: CodeSigning) -> api::CodeSigningConfig {
    api::CodeSigningConfig {
        code_signing_config_id: id.to_owned(),
        code_signing_config_arn: arn(ctx, id),
        description: record.description,
        allowed_publishers: api::AllowedPublishers {
            signing_profile_version_arns: record.publishers,
        },
        code_signing_policies: api::CodeSigningPolicies {
            untrusted_artifact_on_deployment: Some(record.policy),
        },
        last_modified: last_modified(record.modified),
    }
}

fn arn(ctx: &Context, id: &str) -> String {
    let resource = format_args!("code-signing-config:{id}");
    cloud::arn::text("lambda", &ctx.region, &ctx.account, resource)
}

fn id(text: &str) -> &str {
    text.rsplit(':').next().unwrap_or(text)
}

fn none(text: &str) -> Fault {
    errors::code_signing_config_not_found_exception(format!(
        "The code signing configuration cannot be found. Check that the provided configuration is not deleted: {text}."
    ))
}

fn find(state: &State, ctx: &Context, text: &str) -> Result<CodeSigning, Fault> {
    let found = state
        .cloud
        .store
        .read()
        .get(&state.code_signing, &(&ctx.account, &ctx.region, id(text)))?;
    found.ok_or_else(|| {
        let text = format!("The Lambda code signing configuration {text} can not be found.");
        blame::untyped(errors::resource_not_found_exception(text))
    })
}

async fn store(
    state: &State,
    ctx: &Context,
    id: &str,
    record: Option<&CodeSigning>,
) -> Result<(), Fault> {
    let scope = ["lambda.code_signing", &ctx.account, &ctx.region, id];
    let key = (&ctx.account, &ctx.region, id);
    state
        .cloud
        .store
        .transact(Scope::new(&scope), |tx| match record {
            Some(record) => Ok(tx.put(&state.code_signing, &key, record)?),
            None => {
                tx.delete(&state.code_signing, &key);
                Ok(())
            }
        })
        .await
}

pub async fn create(
    state: &State,
    ctx: &Context,
    input: api::CreateCodeSigningConfigInput,
) -> Result<api::CreateCodeSigningConfigOutput, Fault> {
    let id = format!("csc-{}", cloud::ids::hex(17));
    let policy = input
        .code_signing_policies
        .and_then(|p| p.untrusted_artifact_on_deployment);
    let record = CodeSigning {
        description: input.description,
        publishers: input.allowed_publishers.signing_profile_version_arns,
        policy: policy.unwrap_or_else(|| "Warn".into()),
        modified: ctx.time.0,
    };
    store(state, ctx, &id, Some(&record)).await?;
    Ok(api::CreateCodeSigningConfigOutput {
        code_signing_config: describe(ctx, &id, record),
    })
}

pub fn get(
    state: &State,
    ctx: &Context,
    input: &api::GetCodeSigningConfigInput,
) -> Result<api::GetCodeSigningConfigOutput, Fault> {
    let record = find(state, ctx, &input.code_signing_config_arn)?;
    Ok(api::GetCodeSigningConfigOutput {
        code_signing_config: describe(ctx, id(&input.code_signing_config_arn), record),
    })
}

pub async fn update(
    state: &State,
    ctx: &Context,
    input: api::UpdateCodeSigningConfigInput,
) -> Result<api::UpdateCodeSigningConfigOutput, Fault> {
    let mut record = find(state, ctx, &input.code_signing_config_arn)?;
    record.description = input.description.or(record.description);
    if let Some(publishers) = input.allowed_publishers {
        record.publishers = publishers.signing_profile_version_arns;
    }
    if let Some(policy) = input
        .code_signing_policies
        .and_then(|p| p.untrusted_artifact_on_deployment)
    {
        record.policy = policy;
    }
    record.modified = ctx.time.0;
    let id = id(&input.code_signing_config_arn);
    store(state, ctx, id, Some(&record)).await?;
    Ok(api::UpdateCodeSigningConfigOutput {
        code_signing_config: describe(ctx, id, record),
    })
}

pub async fn delete(
    state: &State,
    ctx: &Context,
    input: &api::DeleteCodeSigningConfigInput,
) -> Result<(), Fault> {
    find(state, ctx, &input.code_signing_config_arn)?;
    store(state, ctx, id(&input.code_signing_config_arn), None).await
}

pub fn list(state: &State, ctx: &Context) -> Result<api::ListCodeSigningConfigsOutput, Fault> {
    let mut all = Vec::new();
    for row in state.cloud.store.read().range(
        &state.code_signing,
        Range::prefix(&(&ctx.account, &ctx.region)),
    ) {
        let ((.., id), record) = row?;
        all.push(describe(ctx, &id, record));
    }
    Ok(api::ListCodeSigningConfigsOutput {
        code_signing_configs: Some(all),
        next_marker: None,
    })
}

pub fn list_functions(
    state: &State,
    ctx: &Context,
    input: &api::ListFunctionsByCodeSigningConfigInput,
) -> Result<api::ListFunctionsByCodeSigningConfigOutput, Fault> {
    find(state, ctx, &input.code_signing_config_arn)?;
    let mut arns = Vec::new();
    for row in state.cloud.store.read().range(
        &state.functions,
        Range::prefix(&(&ctx.account, &ctx.region)),
    ) {
        let ((account, region, function), record) = row?;
        if record.code_signing.as_ref() == Some(&input.code_signing_config_arn) {
            arns.push(
                Name {
                    account,
                    region,
                    function,
                    qualifier: None,
                }
                .arn(),
            );
        }
    }
    Ok(api::ListFunctionsByCodeSigningConfigOutput {
        function_arns: Some(arns),
        next_marker: None,
    })
}

pub async fn set_of_function(
    state: &State,
    ctx: &Context,
    function: &str,
    arn: Option<String>,
) -> Result<Name, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, function, None)?
    };
    if let Some(arn) = &arn {
        find(state, ctx, arn).map_err(|_| none(arn))?;
    }
    state
        .change(&name, |tx| {
            let mut record = state.function(tx, &name)?;
            record.code_signing = arn;
            tx.put(&state.functions, &name.key(), &record)?;
            Ok(name.clone())
        })
        .await
}

pub fn get_of_function(
    state: &State,
    ctx: &Context,
    function: &str,
) -> Result<api::GetFunctionCodeSigningConfigOutput, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, function, None)?
    };
    let record = state.function(&state.cloud.store.read(), &name)?;
    Ok(api::GetFunctionCodeSigningConfigOutput {
        function_name: record.code_signing.is_some().then_some(name.function),
        code_signing_config_arn: record.code_signing,
    })
}

pub fn recursion(state: &State, ctx: &Context, function: &str) -> Result<String, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, function, None)?
    };
    let record = state.function(&state.cloud.store.read(), &name)?;
    Ok(record.recursive_loop.unwrap_or_else(|| "Terminate".into()))
}

pub async fn set_recursion(
    state: &State,
    ctx: &Context,
    function: &str,
    word: String,
) -> Result<String, Fault> {
    let name = Name {
        qualifier: None,
        ..Name::read(ctx, function, None)?
    };
    state
        .change(&name, |tx| {
            let mut record = state.function(tx, &name)?;
            record.recursive_loop = Some(word.clone());
            tx.put(&state.functions, &name.key(), &record)?;
            Ok(word)
        })
        .await
}

pub fn runtime_management(
    state: &State,
    ctx: &Context,
    input: &api::GetRuntimeManagementConfigInput,
) -> Result<api::GetRuntimeManagementConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let resolved = state.resolve(&state.cloud.store.read(), &name)?;
    let (mode, arn) = resolved
        .function
        .runtime_updates
        .unwrap_or_else(|| ("Auto".into(), None));
    Ok(api::GetRuntimeManagementConfigOutput {
        update_runtime_on: Some(mode),
        function_arn: Some(name.full_arn()),
        runtime_version_arn: arn,
    })
}

pub async fn set_runtime_management(
    state: &State,
    ctx: &Context,
    input: api::PutRuntimeManagementConfigInput,
) -> Result<api::PutRuntimeManagementConfigOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let arn = (input.update_runtime_on == "Manual")
        .then_some(input.runtime_version_arn)
        .flatten();
    state
        .change(&name, |tx| {
            let mut record = state.resolve(tx, &name)?.function;
            record.runtime_updates = Some((input.update_runtime_on.clone(), arn.clone()));
            tx.put(&state.functions, &name.key(), &record)?;
            let runtime = record.latest.runtime.unwrap_or_default();
            Ok(api::PutRuntimeManagementConfigOutput {
                update_runtime_on: input.update_runtime_on,
                function_arn: name.full_arn(),
                runtime_version_arn: arn
                    .or_else(|| Some(interpreter::version_arn(&name.region, &runtime))),
            })
        })
        .await
}
