//! Permissions: statements of a queue's policy by their label.

use cloud::Context;
use serde_json::{Value, json};
use wire::Fault;

use crate::api::*;
use crate::errors;
use crate::fault::{invalid_value, missing, required};
use crate::service::Sqs;
use crate::url::{self, Name};

/// What a permission may allow.
const ACTIONS: [&str; 9] = [
    "*",
    "SendMessage",
    "ReceiveMessage",
    "DeleteMessage",
    "ChangeMessageVisibility",
    "GetQueueAttributes",
    "GetQueueUrl",
    "ListDeadLetterSourceQueues",
    "PurgeQueue",
];
/// What only the owner may do.
const OWN: [&str; 8] = [
    "AddPermission",
    "RemovePermission",
    "CreateQueue",
    "DeleteQueue",
    "SetQueueAttributes",
    "TagQueue",
    "UntagQueue",
    "ListQueueTags",
];
/// Most actions of a permission.
const MOST_ACTIONS: usize = 7;
/// Most statements of a policy.
const MOST_STATEMENTS: usize = 20;

fn document(policy: Option<&str>, name: &Name) -> Value {
    policy
        .and_then(|p| serde_json::from_str(p).ok())
        .unwrap_or_else(|| {
            json!({ "Version": "2008-10-17", "Id": format!("{}/SQSDefaultPolicy", name.arn()), "Statement": [] })
        })
}

/// One value stands by itself, several in a list.
fn one_or_more(mut all: Vec<String>) -> Value {
    match (all.len(), all.pop()) {
        (1, Some(only)) => json!(only),
        (_, Some(last)) => {
            all.push(last);
            json!(all)
        }
        (_, None) => json!([]),
    }
}

impl Sqs {
    pub(crate) async fn add_permission(
        &self,
        ctx: &Context,
        input: AddPermissionInput,
    ) -> Result<AddPermissionOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:AddPermission")?;
        let label = required(input.label, "Label")?;
        let is_allowed = label.len() <= 80
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !is_allowed {
            return Err(invalid_value(
                &label,
                "Label",
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length.",
            ));
        }
        let actions = input.actions.unwrap_or_default();
        let accounts = input.aws_account_ids.unwrap_or_default();
        if actions.is_empty() {
            return Err(missing("Actions"));
        }
        if accounts.is_empty() {
            return Err(invalid_value("[]", "PrincipalId", "Unable to verify."));
        }
        if actions.len() > MOST_ACTIONS {
            return Err(errors::over_limit(format!(
                "{} Actions were found, maximum allowed is {MOST_ACTIONS}.",
                actions.len()
            )));
        }
        if let Some(action) = actions.iter().find(|a| OWN.contains(&a.as_str())) {
            return Err(invalid_value(
                format!("SQS:{action}"),
                "ActionName",
                "Only the queue owner is allowed to invoke this action.",
            ));
        }
        if let Some(action) = actions.iter().find(|a| !ACTIONS.contains(&a.as_str())) {
            return Err(invalid_value(
                format!("SQS:{action}"),
                "ActionName",
                "Please refer to the appropriate WSDL for a list of valid actions.",
            ));
        }
        if let Some(account) = accounts.iter().find(|a| !url::is_account(a)) {
            return Err(invalid_value(
                format!("[{account}]"),
                "PrincipalId",
                "Unable to verify.",
            ));
        }
        let statement = json!({
            "Sid": label,
            "Effect": "Allow",
            "Principal": {
                "AWS": one_or_more(accounts.iter().map(|a| cloud::Arn::global("iam", &ctx.region, a, "root").to_string()).collect()),
            },
            "Action": one_or_more(actions.iter().map(|a| format!("SQS:{a}")).collect()),
            "Resource": name.arn(),
        });
        self.change(&name, |queue, _| {
            let mut policy = document(queue.policy.as_deref(), &name);
            if let Value::Object(_) = &policy["Statement"] {
                policy["Statement"] = json!([policy["Statement"]]);
            }
            let Some(statements) = policy["Statement"].as_array_mut() else {
                return Err(errors::invalid_attribute_value(
                    "Invalid value for the parameter Policy.",
                ));
            };
            if statements.iter().any(|s| s["Sid"] == json!(label)) {
                return Err(invalid_value(&label, "Label", "Already exists."));
            }
            if statements.len() >= MOST_STATEMENTS {
                return Err(errors::over_limit(format!(
                    "{} Statements were found, maximum allowed is {MOST_STATEMENTS}.",
                    statements.len() + 1
                )));
            }
            statements.push(statement);
            queue.policy = Some(policy.to_string());
            queue.modified = ctx.time.0;
            Ok(())
        })
        .await?;
        Ok(AddPermissionOutput {})
    }

    pub(crate) async fn remove_permission(
        &self,
        ctx: &Context,
        input: RemovePermissionInput,
    ) -> Result<RemovePermissionOutput, Fault> {
        let (name, _) = self.open(ctx, input.queue_url, "sqs:RemovePermission")?;
        let label = required(input.label, "Label")?;
        self.change(&name, |queue, _| {
            let reason = match queue.policy {
                Some(_) => "can't find label on existing policy.",
                None => "can't find label.",
            };
            let none = || invalid_value(&label, "Label", reason);
            let mut policy = document(queue.policy.as_deref(), &name);
            let statements = policy["Statement"].as_array_mut().ok_or_else(none)?;
            let before = statements.len();
            statements.retain(|s| s["Sid"] != json!(label));
            if statements.len() == before {
                return Err(none());
            }
            let is_empty = statements.is_empty();
            queue.policy = (!is_empty).then(|| policy.to_string());
            queue.modified = ctx.time.0;
            Ok(())
        })
        .await?;
        Ok(RemovePermissionOutput {})
    }
}
