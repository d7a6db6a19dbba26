//! Resource policies: who may invoke a function.

use cloud::{Context, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{Read, Record};
use wire::Fault;

use crate::api::{
    AddPermissionInput, AddPermissionOutput, GetPolicyInput, GetPolicyOutput, RemovePermissionInput,
};
use crate::errors;
use crate::name::Name;
use crate::revision;
use crate::state::State;

/// Bytes of a policy.
const LIMIT: usize = 20_480;

/// The policy of a function, one of its versions or one of its aliases.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Policy {
    /// Statements in the order in which they were added, as JSON text.
    pub statements: Vec<(String, String)>,
    pub revision: String,
}

impl Record for Policy {}

impl Policy {
    /// The document.
    pub fn document(&self) -> String {
        let statements: Vec<&str> = self
            .statements
            .iter()
            .map(|(_, text)| text.as_str())
            .collect();
        format!(
            "{{\"Version\":\"2012-10-17\",\"Id\":\"default\",\"Statement\":[{}]}}",
            statements.join(",")
        )
    }

    /// Adds a statement.
    pub fn add(&mut self, sid: &str, text: &str) -> Result<(), Fault> {
        if self.statements.iter().any(|(known, _)| known == sid) {
            let text = format!(
                "The statement id ({sid}) provided already exists. Please provide a new statement id, or remove the existing statement."
            );
            return Err(errors::resource_conflict_exception(text));
        }
        self.statements.push((sid.to_owned(), text.to_owned()));
        let size = self.document().len();
        if size > LIMIT {
            let text =
                format!("The final policy size ({size}) is bigger than the limit ({LIMIT}).");
            return Err(Fault::sender(400, "PolicyLengthExceededException", text));
        }
        self.revision = cloud::ids::uuid();
        Ok(())
    }

    /// Removes a statement.
    pub fn remove(&mut self, sid: &str) -> Result<(), Fault> {
        let before = self.statements.len();
        self.statements.retain(|(known, _)| known != sid);
        if self.statements.len() == before {
            let text = format!("Statement {sid} is not found in resource policy.");
            return Err(errors::resource_not_found_exception(text));
        }
        self.revision = cloud::ids::uuid();
        Ok(())
    }
}

/// Names of services, as principals.
const SERVICES: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".amazon.com"];

/// Who a statement names: a service, an account's root, an ARN, or everyone.
pub fn principal(text: &str, partition: &str) -> Value {
    if text == "*" {
        json!("*")
    } else if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
        json!({ "AWS": format!("arn:{partition}:iam::{text}:root") })
    } else if text.starts_with("arn:") {
        json!({ "AWS": text })
    } else {
        json!({ "Service": text })
    }
}

pub async fn add(
    state: &State,
    ctx: &Context,
    input: AddPermissionInput,
) -> Result<AddPermissionOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let is_service =
        SERVICES.iter().any(|end| input.principal.ends_with(end)) && !input.principal.contains(':');
    let is_known = input.principal == "*"
        || is_service
        || input.principal.starts_with("arn:")
        || (input.principal.len() == 12 && input.principal.bytes().all(|b| b.is_ascii_digit()));
    if !is_known {
        let text = "The provided principal was invalid. Please check the principal and try again.";
        return Err(errors::invalid_parameter_value_exception(text));
    }
    if name.qualifier.as_deref() == Some(crate::name::LATEST) {
        let text = "We currently do not support adding policies for $LATEST.";
        return Err(errors::invalid_parameter_value_exception(text));
    }
    let mut condition = serde_json::Map::new();
    let mut like = serde_json::Map::new();
    let mut equal = serde_json::Map::new();
    if let Some(kind) = &input.function_url_auth_type {
        equal.insert("lambda:FunctionUrlAuthType".into(), json!(kind));
    }
    if let Some(account) = &input.source_account {
        equal.insert("AWS:SourceAccount".into(), json!(account));
    }
    if let Some(organization) = &input.principal_org_id {
        equal.insert("aws:PrincipalOrgID".into(), json!(organization));
    }
    if let Some(token) = &input.event_source_token {
        equal.insert("lambda:EventSourceToken".into(), json!(token));
    }
    if let Some(arn) = &input.source_arn {
        like.insert("AWS:SourceArn".into(), json!(arn));
    }
    if !equal.is_empty() {
        condition.insert("StringEquals".into(), equal.into());
    }
    if let Some(via) = input.invoked_via_function_url {
        condition.insert(
            "Bool".into(),
            json!({ "lambda:InvokedViaFunctionUrl": via.to_string() }),
        );
    }
    if !like.is_empty() {
        condition.insert("ArnLike".into(), like.into());
    }
    let statement = Statement {
        sid: &input.statement_id,
        effect: "Allow",
        principal: principal(&input.principal, ctx.partition()),
        action: &input.action,
        resource: name.full_arn(),
        condition: (!condition.is_empty()).then_some(condition),
    };
    let text = serde_json::to_string(&statement)?;
    let key = name.qualified();
    state
        .change(&name, |tx| {
            let is = revision::of(tx, state, &name)?.ok_or_else(|| name.absent())?;
            revision::check(input.revision_id.as_deref(), &is, "GetPolicy")?;
            let mut policy = tx.get(&state.policies, &key)?.unwrap_or_default();
            policy.add(&input.statement_id, &text)?;
            tx.put(&state.policies, &key, &policy)?;
            revision::renew(state, tx, &name)
        })
        .await?;
    Ok(AddPermissionOutput {
        statement: Some(text),
    })
}

/// A statement as Lambda writes it: its members in this order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement<'a> {
    sid: &'a str,
    effect: &'static str,
    principal: Value,
    action: &'a str,
    resource: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<serde_json::Map<String, Value>>,
}

fn none() -> Fault {
    errors::resource_not_found_exception("The resource you requested does not exist.")
}

pub async fn remove(
    state: &State,
    ctx: &Context,
    input: RemovePermissionInput,
) -> Result<(), Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let key = (
        &name.account,
        &name.region,
        &name.function,
        name.qualifier(),
    );
    state
        .change(&name, |tx| {
            if !tx.contains(&state.functions, &name.key())? {
                let text = format!("No policy found for: {}", name.full_arn());
                return Err(errors::resource_not_found_exception(text));
            }
            let is = revision::of(tx, state, &name)?.ok_or_else(|| name.absent())?;
            let mut policy = tx.get(&state.policies, &key)?.ok_or_else(|| {
                errors::resource_not_found_exception(
                    "No policy is associated with the given resource.",
                )
            })?;
            revision::check(input.revision_id.as_deref(), &is, "GetPolicy")?;
            policy.remove(&input.statement_id)?;
            if policy.statements.is_empty() {
                tx.delete(&state.policies, &key);
            } else {
                tx.put(&state.policies, &key, &policy)?;
            }
            revision::renew(state, tx, &name)
        })
        .await
}

pub fn get(state: &State, ctx: &Context, input: &GetPolicyInput) -> Result<GetPolicyOutput, Fault> {
    let name = Name::read(ctx, &input.function_name, input.qualifier.as_deref())?;
    let read = state.cloud.store.read();
    let revision = revision::of(&read, state, &name)?.ok_or_else(none)?;
    let key = (
        &name.account,
        &name.region,
        &name.function,
        name.qualifier(),
    );
    let policy = read.get(&state.policies, &key)?.ok_or_else(none)?;
    Ok(GetPolicyOutput {
        policy: Some(policy.document()),
        revision_id: Some(revision),
    })
}

/// Whether a service may invoke the function on behalf of a source.
pub fn admits(state: &State, name: &Name, source: &Source) -> Result<bool, Fault> {
    let key = (
        &name.account,
        &name.region,
        &name.function,
        name.qualifier(),
    );
    let Some(policy) = state.cloud.store.read().get(&state.policies, &key)? else {
        return Ok(false);
    };
    let mut context = auth::pattern::Context::new();
    context
        .set("aws:SourceArn", &*source.arn)
        .set("aws:SourceAccount", &*source.account);
    let caller = auth::principal::Caller::Service(source.service.clone());
    Ok(allows(
        &policy.document(),
        &caller,
        "lambda:InvokeFunction",
        name,
        &context,
    ))
}

/// Whether a policy lets a caller do something to the function.
pub fn allows(
    document: &str,
    caller: &auth::principal::Caller,
    action: &str,
    name: &Name,
    context: &auth::pattern::Context,
) -> bool {
    let Ok(policy) = auth::policy::Policy::parse(document, auth::policy::PolicyKind::Resource)
    else {
        return false;
    };
    let arn = name.full_arn();
    let request = auth::evaluate::Request {
        caller,
        action,
        resource: &arn,
        resource_account: Some(&name.account),
        context,
    };
    let resource = Some(auth::evaluate::Source {
        id: "default",
        policy: &policy,
    });
    let policies = auth::evaluate::Policies {
        resource,
        ..Default::default()
    };
    auth::evaluate::evaluate(&request, &policies).is_allowed()
}
