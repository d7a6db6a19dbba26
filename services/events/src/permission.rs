//! Policies of buses: who else may put events on them.

use auth::evaluate;
use auth::policy::{Policy, PolicyKind};
use auth::principal::Caller;
use cloud::{Arn, Context, Source};
use serde_json::{Value, json};
use wire::Fault;

use crate::api::{
    PutPermissionInput, PutPermissionOutput, RemovePermissionInput, RemovePermissionOutput,
};
use crate::bus::Bus;
use crate::errors::*;
use crate::place::{Place, invalid};
use crate::service::Events;

/// Bytes of a policy.
const LIMIT: usize = 10_240;

fn statements(policy: Option<&str>) -> Vec<Value> {
    let policy: Option<Value> = policy.and_then(|text| serde_json::from_str(text).ok());
    match policy.as_ref().and_then(|p| p.get("Statement")) {
        Some(Value::Array(list)) => list.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    }
}

fn statement(place: &Place, input: &PutPermissionInput) -> Result<Value, Fault> {
    let (Some(action), Some(principal), Some(sid)) =
        (&input.action, &input.principal, &input.statement_id)
    else {
        return Err(invalid(
            "Parameter(s) Action, Principal and StatementId must be specified.",
        ));
    };
    if action != "events:PutEvents" {
        return Err(invalid(
            "Provided value in parameter 'action' is not supported.",
        ));
    }
    let principal = match principal.as_str() {
        "*" => json!("*"),
        account => {
            json!({ "AWS": Arn::global("iam", &place.region, account, "root").to_string() })
        }
    };
    let mut statement = json!({
        "Sid": sid,
        "Effect": "Allow",
        "Principal": principal,
        "Action": action,
        "Resource": place.arn(),
    });
    if let Some(condition) = &input.condition {
        let mut of_key = serde_json::Map::new();
        of_key.insert(condition.key.clone(), json!(condition.value));
        let mut of_type = serde_json::Map::new();
        of_type.insert(condition.r#type.clone(), Value::Object(of_key));
        statement["Condition"] = Value::Object(of_type);
    }
    Ok(statement)
}

/// A policy's text, in the order in which AWS writes it.
fn text(statements: &[Value]) -> Result<String, Fault> {
    let mut all = Vec::new();
    for statement in statements {
        let mut fields = Vec::new();
        let first = [
            "Sid",
            "Effect",
            "Principal",
            "Action",
            "Resource",
            "Condition",
        ];
        let others = statement.as_object().into_iter().flatten();
        let others = others
            .map(|(k, _)| k.as_str())
            .filter(|k| !first.contains(k));
        for name in first.into_iter().chain(others) {
            if let Some(value) = statement.get(name) {
                fields.push(format!("\"{name}\":{value}"));
            }
        }
        all.push(format!("{{{}}}", fields.join(",")));
    }
    let text = format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}",
        all.join(",")
    );
    match text.len() > LIMIT {
        true => Err(policy_length_exceeded_exception(
            "The length of the policy exceeds the limit.",
        )),
        false => Ok(text),
    }
}

impl Events {
    /// Whether the caller may do that on the bus. Its own account's identities are the authorizer's matter.
    pub(crate) fn permit(
        &self,
        ctx: &Context,
        place: &Place,
        bus: &Bus,
        action: &str,
    ) -> Result<(), Fault> {
        if ctx.account == place.account {
            return Ok(());
        }
        let caller = Caller::Root {
            account: ctx.account.clone(),
        };
        match admits(place, bus, &caller, action, &auth::pattern::Context::new()) {
            true => Ok(()),
            false => Err(denied(&ctx.principal.arn, place, action)),
        }
    }

    /// Whether a service, or a bus of another account, may send events to the bus.
    pub(crate) fn lets_in(&self, place: &Place, bus: &Bus, source: &Source) -> bool {
        if source.account == place.account {
            return true;
        }
        let mut context = auth::pattern::Context::new();
        context
            .set("aws:SourceArn", source.arn.as_str())
            .set("aws:SourceAccount", source.account.as_str());
        let caller = match &source.role {
            Some(role) => Caller::RoleSession {
                account: source.account.clone(),
                role_arn: role.clone(),
                session_arn: role.clone(),
            },
            None => Caller::Root {
                account: source.account.clone(),
            },
        };
        admits(place, bus, &caller, "events:PutEvents", &context)
    }

    pub(crate) async fn put_permission(
        &self,
        ctx: &Context,
        input: PutPermissionInput,
    ) -> Result<PutPermissionOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        self.bus(&self.cloud.store, &place)?;
        let whole = match &input.policy {
            Some(policy) => {
                if input.statement_id.is_some() || input.principal.is_some() {
                    return Err(invalid(
                        "Parameter Policy cannot be specified with Action, Principal, StatementId or Condition.",
                    ));
                }
                if Policy::parse(policy, PolicyKind::Resource).is_err() {
                    return Err(invalid("Parameter Policy is not valid."));
                }
                Some(policy.clone())
            }
            None => None,
        };
        let one = match whole {
            Some(_) => None,
            None => Some(statement(&place, &input)?),
        };
        self.change_bus(&place, |_, bus| {
            let policy = match (whole, one) {
                (Some(policy), _) => text(&statements(Some(&policy)))?,
                (None, one) => {
                    let mut all = statements(bus.policy.as_deref());
                    let one = one.unwrap_or_default();
                    all.retain(|s| s.get("Sid") != one.get("Sid"));
                    all.push(one);
                    text(&all)?
                }
            };
            bus.policy = Some(policy);
            bus.modified = Some(ctx.time.0);
            Ok(())
        })
        .await?;
        Ok(PutPermissionOutput {})
    }

    pub(crate) async fn remove_permission(
        &self,
        ctx: &Context,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, Fault> {
        let place = Place::of(ctx, input.event_bus_name.as_deref());
        self.change_bus(&place, |_, bus| {
            if input.remove_all_permissions == Some(true) {
                return match bus.policy.take() {
                    Some(_) => Ok(()),
                    None => Err(resource_not_found_exception(
                        "EventBus does not have a policy.",
                    )),
                };
            }
            let Some(sid) = &input.statement_id else {
                return Err(invalid("Parameter StatementId is a required argument."));
            };
            let mut all = statements(bus.policy.as_deref());
            let before = all.len();
            all.retain(|s| s.get("Sid").and_then(Value::as_str) != Some(sid));
            if all.len() == before {
                return Err(resource_not_found_exception(
                    "Statement with the provided id does not exist.",
                ));
            }
            bus.policy = match all.is_empty() {
                true => None,
                false => Some(text(&all)?),
            };
            Ok(())
        })
        .await?;
        Ok(RemovePermissionOutput {})
    }
}

fn admits(
    place: &Place,
    bus: &Bus,
    caller: &Caller,
    action: &str,
    context: &auth::pattern::Context,
) -> bool {
    let Some(policy) = &bus.policy else {
        return false;
    };
    let Ok(policy) = Policy::parse(policy, PolicyKind::Resource) else {
        return false;
    };
    let arn = place.arn();
    let request = evaluate::Request {
        caller,
        action,
        resource: &arn,
        resource_account: Some(&place.account),
        context,
    };
    let reply = evaluate::ask(&request, &policy);
    !reply.is_denied && reply.allowed.is_some()
}

/// The bus's policy does not let the caller in.
pub(crate) fn denied(who: &str, place: &Place, action: &str) -> Fault {
    Fault::sender(
        403,
        "AccessDeniedException",
        format!(
            "User: {who} is not authorized to perform: {action} on resource: {} because no resource-based policy allows the {action} action",
            place.arn()
        ),
    )
}
