//! The decision: may this caller do this to that?
//!
//! An explicit Deny anywhere is final. Otherwise service control policies must allow at each level; then a resource
//! policy of the same account may grant by itself, and how it names the caller decides whether boundary and session
//! policies still limit the grant; otherwise the identity policies, the boundary and the session policy must all
//! allow. Across accounts both sides must allow.

use crate::pattern::{Context, Pattern};
use crate::policy::{Effect, Patterns, Policy, Position, Statement};
use crate::principal::{Caller, Naming};

/// A policy with the name by which a decision refers to it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The name, for instance a policy's ARN.
    pub id: &'a str,
    /// The policy.
    pub policy: &'a Policy,
}

/// All policies that apply to a request, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policies<'a> {
    /// Of the user and its groups, or of the role.
    pub identity: &'a [Source<'a>],
    /// The permissions boundary.
    pub boundary: Option<Source<'a>>,
    /// The policies passed when the session was made; empty if none were.
    pub session: &'a [Source<'a>],
    /// Service control policies by level: the organization's root, each unit, the account. Each level must allow.
    pub service_control: &'a [&'a [Source<'a>]],
    /// Resource control policies by level, of the resource's account.
    pub resource_control: &'a [&'a [Source<'a>]],
    /// The policy of the resource.
    pub resource: Option<Source<'a>>,
    /// Whether the resource policy must allow even in its own account, as those of keys and roles must.
    pub resource_must_allow: bool,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The action: `s3:GetObject`.
    pub action: &'a str,
    /// The ARN of the resource, or `*` where the action knows none.
    pub resource: &'a str,
    /// The account that owns the resource; `None` means the caller's own.
    pub resource_account: Option<&'a str>,
    /// The condition keys.
    pub context: &'a Context,
}

/// The kinds of policy, to say which one decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyRole {
    /// An identity policy.
    Identity,
    /// The permissions boundary.
    Boundary,
    /// A session policy.
    Session,
    /// A service control policy.
    ServiceControl,
    /// A resource control policy.
    ResourceControl,
    /// The resource's policy.
    Resource,
}

/// A statement that applied to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The policy's [`Source::id`].
    pub source: String,
    /// The kind of the policy.
    pub role: PolicyRole,
    /// The statement's `Sid`.
    pub sid: Option<String>,
    /// The statement's effect.
    pub effect: Effect,
    /// Where the statement begins.
    pub start: Position,
    /// Where it ends.
    pub end: Position,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request may proceed.
    Allowed,
    /// A statement denies it, in a policy of this kind.
    ExplicitDeny(PolicyRole),
    /// Nothing allows it; the kind is that of the policies in which an Allow is missing.
    ImplicitDeny(PolicyRole),
}

impl Verdict {
    /// The `EvalDecision` of a policy simulation.
    pub fn eval_decision(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::ExplicitDeny(_) => "explicitDeny",
            Self::ImplicitDeny(_) => "implicitDeny",
        }
    }
}

/// The decision and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The outcome.
    pub verdict: Verdict,
    /// The statements that decided: those that deny, or else those that allow.
    pub matches: Vec<Match>,
    /// Whether the service control policies of every level allow.
    pub allowed_by_organizations: bool,
    /// Whether the boundary allows; `None` without one.
    pub allowed_by_boundary: Option<bool>,
    /// The condition keys that policies ask for and the request lacks.
    pub missing_context_values: Vec<String>,
}

impl Decision {
    /// Whether the request may proceed.
    pub fn is_allowed(&self) -> bool {
        self.verdict == Verdict::Allowed
    }
}

#[derive(Default)]
struct Findings {
    allows: Vec<Match>,
    denies: Vec<Match>,
    missing: Vec<String>,
}

/// Decides a request.
pub fn evaluate(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    let mut findings = Findings::default();
    // Counted, not stopped at the first: every Deny must be seen.
    let mut all = |sources: &[Source<'_>], role| {
        let allowing = sources
            .iter()
            .filter(|source| findings.add(request, source, role).is_some());
        allowing.count() > 0
    };
    let identity = all(policies.identity, PolicyRole::Identity);
    let boundary = policies
        .boundary
        .map(|source| all(&[source], PolicyRole::Boundary));
    let session = policies.session.is_empty() || all(policies.session, PolicyRole::Session);
    let mut each_level = |levels: &[&[Source<'_>]], role| {
        let refusing = levels.iter().filter(|level| !all(level, role));
        refusing.count() == 0
    };
    let organizations = each_level(policies.service_control, PolicyRole::ServiceControl);
    let resource_control = each_level(policies.resource_control, PolicyRole::ResourceControl);
    let resource = policies
        .resource
        .and_then(|source| findings.add(request, &source, PolicyRole::Resource));

    let verdict = match findings.denies.first() {
        Some(deny) => Verdict::ExplicitDeny(deny.role),
        None => decide(
            request,
            policies,
            &Allows {
                identity,
                boundary: boundary.unwrap_or(true),
                session,
                organizations,
                resource_control,
                resource,
            },
        ),
    };
    Decision {
        verdict,
        matches: match verdict {
            Verdict::Allowed => findings.allows,
            Verdict::ExplicitDeny(_) => findings.denies,
            Verdict::ImplicitDeny(_) => Vec::new(),
        },
        allowed_by_organizations: organizations,
        allowed_by_boundary: boundary,
        missing_context_values: findings.missing,
    }
}

/// What one policy by itself says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Whether a statement denies.
    pub is_denied: bool,
    /// How directly a statement allows, if one does.
    pub allowed: Option<Naming>,
}

/// Asks one policy alone.
pub fn ask(request: &Request<'_>, policy: &Policy) -> Reply {
    let mut findings = Findings::default();
    let source = Source { id: "", policy };
    let allowed = findings.add(request, &source, PolicyRole::Resource);
    Reply {
        is_denied: !findings.denies.is_empty(),
        allowed,
    }
}

struct Allows {
    identity: bool,
    boundary: bool,
    session: bool,
    organizations: bool,
    resource_control: bool,
    resource: Option<Naming>,
}

fn decide(request: &Request<'_>, policies: &Policies<'_>, allows: &Allows) -> Verdict {
    let implicit = Verdict::ImplicitDeny;
    if !allows.resource_control {
        return implicit(PolicyRole::ResourceControl);
    }
    let Some(account) = request.caller.account() else {
        // Those without an account have no policies of their own: only the resource can let them in.
        return match allows.resource {
            Some(_) => Verdict::Allowed,
            None => implicit(PolicyRole::Resource),
        };
    };
    if !allows.organizations {
        return implicit(PolicyRole::ServiceControl);
    }
    let is_root = matches!(request.caller, Caller::Root { .. });
    let is_same_account = request
        .resource_account
        .is_none_or(|owner| owner == account);
    if is_same_account {
        match allows.resource {
            Some(Naming::Direct) => return Verdict::Allowed,
            Some(Naming::Entity) if allows.boundary && allows.session => return Verdict::Allowed,
            None if policies.resource_must_allow => {
                return implicit(PolicyRole::Resource);
            }
            _ => {}
        }
    } else if allows.resource.is_none() {
        return implicit(PolicyRole::Resource);
    }
    if !allows.identity && !is_root {
        return implicit(PolicyRole::Identity);
    }
    if !allows.boundary {
        return implicit(PolicyRole::Boundary);
    }
    if !allows.session {
        return implicit(PolicyRole::Session);
    }
    Verdict::Allowed
}

impl Findings {
    // How directly the policy allows, if it does; denials are only noted.
    fn add(
        &mut self,
        request: &Request<'_>,
        source: &Source<'_>,
        role: PolicyRole,
    ) -> Option<Naming> {
        let mut allowed = None;
        for statement in &source.policy.statements {
            if !covers_action(&statement.actions, request.action)
                || !covers_resource(statement.resources.as_ref(), request)
            {
                continue;
            }
            let naming = match (&statement.principals, statement.effect) {
                (None, _) => Some(Naming::Direct),
                (Some(principals), Effect::Allow) => principals.allow(request.caller),
                (Some(principals), Effect::Deny) => {
                    principals.denies(request.caller).then_some(Naming::Direct)
                }
            };
            let Some(naming) = naming else { continue };
            self.note_missing(statement, request.context);
            if !statement
                .conditions
                .iter()
                .all(|condition| condition.holds(request.context))
            {
                continue;
            }
            let found = Match {
                source: source.id.to_owned(),
                role,
                sid: statement.sid.clone(),
                effect: statement.effect,
                start: statement.start,
                end: statement.end,
            };
            match statement.effect {
                Effect::Allow => {
                    allowed = allowed.max(Some(naming));
                    self.allows.push(found);
                }
                Effect::Deny => self.denies.push(found),
            }
        }
        allowed
    }

    fn note_missing(&mut self, statement: &Statement, context: &Context) {
        for condition in &statement.conditions {
            if condition.is_missing_from(context) && !self.missing.contains(&condition.key) {
                self.missing.push(condition.key.clone());
            }
        }
    }
}

fn covers_action(actions: &Patterns, action: &str) -> bool {
    let nothing = Context::default();
    let is_listed = actions
        .patterns
        .iter()
        .any(|pattern| pattern.matches_ignoring_case(action, &nothing));
    is_listed != actions.is_negated
}

fn covers_resource(resources: Option<&Patterns>, request: &Request<'_>) -> bool {
    let Some(resources) = resources else {
        return true;
    };
    let covers = |pattern: &Pattern| pattern.matches_resource(request.resource, request.context);
    resources.patterns.iter().any(covers) != resources.is_negated
}
