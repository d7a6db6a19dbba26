//! Policy simulation, by the evaluator that would enforce.

use auth::evaluate::{Decision, Policies, PolicyRole, Request, Source, evaluate};
use auth::pattern;
use auth::policy::{Policy, PolicyKind};
use auth::principal::Caller;
use cloud::{Arn, Context};
use wire::Fault;

use crate::api::*;
use crate::entity::{Entity, arn_of, key, missing};
use crate::errors::*;
use crate::group::Group;
use crate::page::{Page, page};
use crate::role::Role;
use crate::service::Iam;
use crate::user::User;

/// A policy with its name in the answer.
struct Named {
    id: String,
    policy: Policy,
}

fn parse(id: String, document: &str, kind: PolicyKind) -> Result<Named, Fault> {
    let policy =
        Policy::parse(document, kind).map_err(|e| invalid_input_exception(format!("{id}: {e}")))?;
    Ok(Named { id, policy })
}

fn parse_list(name: &str, list: Option<Vec<String>>) -> Result<Vec<Named>, Fault> {
    let numbered = list.unwrap_or_default().into_iter().enumerate();
    numbered
        .map(|(i, document)| parse(format!("{name}.{}", i + 1), &document, PolicyKind::Identity))
        .collect()
}

fn sources(list: &[Named]) -> Vec<Source<'_>> {
    list.iter()
        .map(|n| Source {
            id: &n.id,
            policy: &n.policy,
        })
        .collect()
}

/// What both simulations ask.
struct Question {
    identity: Vec<Named>,
    boundary: Vec<Named>,
    levels: Vec<Vec<Named>>,
    resource: Option<Named>,
    caller: Caller,
    owner: Option<String>,
    actions: Vec<String>,
    resources: Vec<String>,
    context: pattern::Context,
    marker: Option<String>,
    max_items: Option<i32>,
}

/// The account in an account id or an ARN.
fn account_in(text: &str) -> String {
    text.parse::<Arn>()
        .map_or_else(|_| text.to_owned(), |arn| arn.account)
}

fn caller_of(arn: &str) -> Caller {
    let Ok(parsed) = arn.parse::<Arn>() else {
        return Caller::Anonymous;
    };
    let account = parsed.account.clone();
    match parsed.typed() {
        Some(("user", _)) => Caller::User {
            account,
            arn: arn.to_owned(),
        },
        Some(("role", name)) => {
            let name = name.rsplit('/').next().unwrap_or(name);
            let session_arn = parsed.session(name, "simulation").to_string();
            Caller::RoleSession {
                account,
                role_arn: arn.to_owned(),
                session_arn,
            }
        }
        _ => Caller::Root { account },
    }
}

fn context_of(entries: Option<Vec<ContextEntry>>) -> pattern::Context {
    let mut context = pattern::Context::new();
    for entry in entries.unwrap_or_default() {
        if let Some(name) = entry.context_key_name {
            context.set_all(&name, entry.context_key_values.unwrap_or_default());
        }
    }
    context
}

fn matched(decision: &Decision) -> Vec<Statement> {
    let position = |p: auth::policy::Position| Position {
        line: i32::try_from(p.line).ok(),
        column: i32::try_from(p.column).ok(),
    };
    decision
        .matches
        .iter()
        .map(|m| Statement {
            source_policy_id: Some(m.source.clone()),
            source_policy_type: Some(
                match m.role {
                    PolicyRole::Resource => "Resource Policy",
                    _ => "IAM Policy",
                }
                .into(),
            ),
            start_position: Some(position(m.start)),
            end_position: Some(position(m.end)),
        })
        .collect()
}

impl Question {
    fn answer(self) -> Result<Page<EvaluationResult>, Fault> {
        for action in &self.actions {
            if !action.contains(':') {
                return Err(invalid_input_exception(format!(
                    "Invalid action name: {action}"
                )));
            }
        }
        let identity = sources(&self.identity);
        let boundary = sources(&self.boundary);
        let levels: Vec<Vec<Source<'_>>> = self.levels.iter().map(|l| sources(l)).collect();
        let levels: Vec<&[Source<'_>]> = levels.iter().map(Vec::as_slice).collect();
        let policies = Policies {
            identity: &identity,
            boundary: boundary.first().copied(),
            service_control: &levels,
            resource: self.resource.as_ref().map(|n| Source {
                id: &n.id,
                policy: &n.policy,
            }),
            ..Policies::default()
        };
        let resources = if self.resources.is_empty() {
            vec!["*".to_owned()]
        } else {
            self.resources
        };
        let mut results = Vec::new();
        for action in &self.actions {
            for resource in &resources {
                let request = Request {
                    caller: &self.caller,
                    action,
                    resource,
                    resource_account: self.owner.as_deref(),
                    context: &self.context,
                };
                let decision = evaluate(&request, &policies);
                let boundary =
                    decision
                        .allowed_by_boundary
                        .map(|allowed| PermissionsBoundaryDecisionDetail {
                            allowed_by_permissions_boundary: Some(allowed),
                        });
                let organizations = (!levels.is_empty()).then_some(OrganizationsDecisionDetail {
                    allowed_by_organizations: Some(decision.allowed_by_organizations),
                });
                results.push(EvaluationResult {
                    eval_action_name: action.clone(),
                    eval_resource_name: Some(resource.clone()),
                    eval_decision: decision.verdict.eval_decision().to_owned(),
                    matched_statements: Some(matched(&decision)),
                    missing_context_values: Some(decision.missing_context_values),
                    organizations_decision_detail: organizations,
                    permissions_boundary_decision_detail: boundary,
                    ..EvaluationResult::default()
                });
            }
        }
        let numbered = results.into_iter().enumerate();
        let at = |(i, _): &(usize, EvaluationResult)| format!("{i:08}");
        let page = page(
            "SimulatePolicy",
            numbered,
            self.marker.as_deref(),
            self.max_items,
            at,
        )?;
        Ok(Page {
            items: page.items.into_iter().map(|(_, result)| result).collect(),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }
}

impl Iam {
    pub(crate) async fn simulate_custom_policy(
        &self,
        ctx: &Context,
        input: SimulateCustomPolicyInput,
    ) -> Result<SimulateCustomPolicyOutput, Fault> {
        let levels = input
            .ordered_organization_policy_input_list
            .unwrap_or_default();
        let levels = levels.into_iter().map(|l| {
            parse_list(
                "OrganizationsPolicyInputList",
                l.service_control_policy_input_list,
            )
        });
        let caller = match &input.caller_arn {
            Some(arn) => caller_of(arn),
            // The account's user whom nobody named: its policies are those given.
            None => Caller::User {
                account: ctx.account.clone(),
                arn: arn_of(ctx, "user/simulated"),
            },
        };
        let question = Question {
            identity: parse_list("PolicyInputList", Some(input.policy_input_list))?,
            boundary: parse_list(
                "PermissionsBoundaryPolicyInputList",
                input.permissions_boundary_policy_input_list,
            )?,
            levels: levels.collect::<Result<_, _>>()?,
            resource: resource_policy(input.resource_policy)?,
            caller,
            owner: input.resource_owner.as_deref().map(account_in),
            actions: input.action_names,
            resources: input.resource_arns.unwrap_or_default(),
            context: context_of(input.context_entries),
            marker: input.marker,
            max_items: input.max_items,
        };
        let page = question.answer()?;
        Ok(SimulateCustomPolicyOutput {
            evaluation_results: Some(page.items),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn simulate_principal_policy(
        &self,
        ctx: &Context,
        input: SimulatePrincipalPolicyInput,
    ) -> Result<SimulatePrincipalPolicyOutput, Fault> {
        let account = ctx.account.as_str();
        let (mut identity, boundary_arn) = self.policies_of(account, &input.policy_source_arn)?;
        identity.extend(parse_list("PolicyInputList", input.policy_input_list)?);
        let mut boundary = parse_list(
            "PermissionsBoundaryPolicyInputList",
            input.permissions_boundary_policy_input_list,
        )?;
        if let (true, Some(arn)) = (boundary.is_empty(), boundary_arn) {
            boundary.push(parse(
                arn.clone(),
                &self.document_of(account, &arn)?,
                PolicyKind::Identity,
            )?);
        }
        let question = Question {
            identity,
            boundary,
            levels: Vec::new(),
            resource: resource_policy(input.resource_policy)?,
            caller: caller_of(
                input
                    .caller_arn
                    .as_ref()
                    .unwrap_or(&input.policy_source_arn),
            ),
            owner: input.resource_owner.as_deref().map(account_in),
            actions: input.action_names,
            resources: input.resource_arns.unwrap_or_default(),
            context: context_of(input.context_entries),
            marker: input.marker,
            max_items: input.max_items,
        };
        let page = question.answer()?;
        Ok(SimulatePrincipalPolicyOutput {
            evaluation_results: Some(page.items),
            is_truncated: page.is_truncated,
            marker: page.marker,
        })
    }

    pub(crate) async fn get_context_keys_for_custom_policy(
        &self,
        _: &Context,
        input: GetContextKeysForCustomPolicyInput,
    ) -> Result<GetContextKeysForCustomPolicyOutput, Fault> {
        let policies = parse_list("PolicyInputList", Some(input.policy_input_list))?;
        Ok(GetContextKeysForCustomPolicyOutput {
            context_key_names: Some(context_keys(&policies)),
        })
    }

    pub(crate) async fn get_context_keys_for_principal_policy(
        &self,
        ctx: &Context,
        input: GetContextKeysForPrincipalPolicyInput,
    ) -> Result<GetContextKeysForPrincipalPolicyOutput, Fault> {
        let (mut policies, _) = self.policies_of(&ctx.account, &input.policy_source_arn)?;
        policies.extend(parse_list("PolicyInputList", input.policy_input_list)?);
        Ok(GetContextKeysForPrincipalPolicyOutput {
            context_key_names: Some(context_keys(&policies)),
        })
    }

    /// The policies of a user with its groups, of a group, or of a role; and the boundary's ARN.
    fn policies_of(&self, account: &str, arn: &str) -> Result<(Vec<Named>, Option<String>), Fault> {
        let invalid = || {
            invalid_input_exception(format!(
                "Invalid Entity Arn: {arn} does not clearly define entity type and name."
            ))
        };
        let parsed: Arn = arn.parse().map_err(|_| invalid())?;
        let (kind, name) = parsed.typed().ok_or_else(invalid)?;
        let name = name.rsplit('/').next().unwrap_or(name);
        let mut found = Vec::new();
        let boundary = match kind {
            "user" => {
                let user: User = self.find(account, name)?;
                self.gather(account, &user, &user.name, &mut found)?;
                for group in self.all(self.groups, account)? {
                    if user.groups.contains(&key(&group.name)) {
                        self.gather(account, &group, &group.name, &mut found)?;
                    }
                }
                user.policies.boundary
            }
            "role" => {
                let role: Role = self.find(account, name)?;
                self.gather(account, &role, &role.name, &mut found)?;
                role.policies.boundary
            }
            "group" => {
                let group: Group = self.find(account, name)?;
                self.gather(account, &group, &group.name, &mut found)?;
                None
            }
            _ => return Err(missing(kind, name)),
        };
        Ok((found, boundary))
    }

    fn gather<E: Entity>(
        &self,
        account: &str,
        entity: &E,
        name: &str,
        out: &mut Vec<Named>,
    ) -> Result<(), Fault> {
        for (policy, document) in &entity.policies().inline {
            out.push(parse(
                format!("{}_{name}_{policy}", E::NOUN),
                document,
                PolicyKind::Identity,
            )?);
        }
        for arn in &entity.policies().managed {
            let id = arn.rsplit('/').next().unwrap_or(arn).to_owned();
            out.push(parse(
                id,
                &self.document_of(account, arn)?,
                PolicyKind::Identity,
            )?);
        }
        Ok(())
    }
}

fn resource_policy(document: Option<String>) -> Result<Option<Named>, Fault> {
    document
        .map(|d| parse("ResourcePolicy".into(), &d, PolicyKind::Resource))
        .transpose()
}

/// Keys of conditions, and of variables in resources and conditions.
fn context_keys(policies: &[Named]) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !keys.iter().any(|k| k.eq_ignore_ascii_case(name)) {
            keys.push(name.to_owned());
        }
    };
    for statement in policies.iter().flat_map(|n| &n.policy.statements) {
        let resources = statement.resources.iter().flat_map(|r| &r.patterns);
        let values = statement.conditions.iter().flat_map(|c| &c.values);
        statement.conditions.iter().for_each(|c| add(&c.key));
        for pattern in resources.chain(values) {
            let mut rest = pattern.as_str();
            while let Some((_, after)) = rest.split_once("${") {
                let Some((name, tail)) = after.split_once('}') else {
                    break;
                };
                let name = name.split(',').next().unwrap_or(name).trim();
                if name.contains(':') {
                    add(name);
                }
                rest = tail;
            }
        }
    }
    keys
}
