//! The grammar of policy documents, with the order in which IAM finds faults and the texts in which it reports them.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::condition::{Condition, Operator};
use crate::date;
use crate::pattern::Pattern;
use crate::policy::{Effect, Patterns, Policy, PolicyKind, Position, Statement};
use crate::principal::{PrincipalEntry, Principals};

const IAM_PATHS: &[&str] = &[
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
];
/// The actions of STS by which a session is made, with those that only go along with them.
/// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecuritytokenservice.html
const TRUST_ACTIONS: &[&str] = &[
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "SetContext",
    "SetSourceIdentity",
    "TagSession",
];
/// The kinds of S3 resource that live in a region.
const S3_REGIONAL: &[&str] = &["accesspoint", "job/", "storage-lens", "async-request/", "*"];

/// Why a document is no policy. The text is that of IAM's `MalformedPolicyDocument`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPolicy {
    /// Not JSON, or not of the grammar's shape.
    #[error("Syntax errors in policy.")]
    Syntax,
    /// An identity policy of an old version or none.
    #[error("Policy document must be version 2012-10-17 or greater.")]
    Version,
    /// A value that passes the grammar and not the parser behind it.
    #[error("The policy failed legacy parsing")]
    LegacyParsing,
    /// Two statements have the same id.
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    DuplicateSid,
    /// A statement has neither `Action` nor `NotAction`, or an empty one.
    #[error("Policy statement must contain actions.")]
    MissingActions,
    /// A statement has neither `Resource` nor `NotResource`, or an empty one.
    #[error("Policy statement must contain resources.")]
    MissingResources,
    /// An action without a service.
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    ActionWithoutVendor,
    /// An action with several colons.
    #[error("Actions/Condition can contain only one colon.")]
    ActionWithManyColons,
    /// An action whose service is not a name.
    #[error("Vendor {0} is not valid")]
    InvalidVendor(String),
    /// A resource without a colon that is not `*`.
    #[error("Resource {0} must be in ARN format or \"*\".")]
    ResourceNotArn(String),
    /// A resource in an unknown partition.
    #[error("Partition \"{partition}\" is not valid for resource \"{resource}\".")]
    InvalidPartition {
        /// The partition.
        partition: String,
        /// The resource, filled up to an ARN.
        resource: String,
    },
    /// A resource whose service is absent or has wildcards.
    #[error("Resource vendor must be fully qualified and cannot contain regexes.")]
    ResourceVendor,
    /// A resource of IAM with a region.
    #[error("IAM resource {0} cannot contain region information.")]
    IamRegion(String),
    /// A resource of S3 with a region.
    #[error("Resource {0} can not contain region information.")]
    S3Region(String),
    /// A resource of IAM of no known kind.
    #[error("IAM resource path must either be \"*\" or start with {}.", IAM_PATHS.join(", "))]
    IamPath,
    /// An identity policy names a principal.
    #[error("Policy document should not specify a principal.")]
    ProhibitedPrincipal,
    /// A trust policy names a resource.
    #[error("Has prohibited field Resource")]
    ProhibitedResource,
    /// A resource or trust policy names no principal.
    #[error("Missing required field Principal")]
    MissingPrincipal,
    /// A trust policy allows something that is not assuming a role.
    #[error("AssumeRole policy may only specify STS AssumeRole actions.")]
    TrustAction,
}

/// The members of an object in their order, with where they stand in the text; a repeated name is an error.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom("a repeated name"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, MalformedPolicy> {
    serde_json::from_str(raw.get()).map_err(|_| MalformedPolicy::Syntax)
}

/// A statement that passed the grammar, before the rules that look deeper.
#[derive(Default)]
struct Draft<'a> {
    raw: &'a str,
    sid: Option<String>,
    effect: String,
    principals: Option<Principals>,
    actions: Option<(bool, Vec<String>)>,
    resources: Option<(bool, Vec<String>)>,
    conditions: Vec<(Operator, String, Vec<String>)>,
}

pub(crate) fn parse(document: &str, kind: PolicyKind) -> Result<Policy, MalformedPolicy> {
    let mut version = None;
    let mut id = None;
    let mut drafts = None;
    let members: Members<'_> =
        serde_json::from_str(document).map_err(|_| MalformedPolicy::Syntax)?;
    for (name, raw) in members.0 {
        match name.as_str() {
            "Version" => version = Some(read::<String>(raw)?),
            "Id" => id = Some(read::<String>(raw)?),
            "Statement" => drafts = Some(statements(raw)?),
            _ => return Err(MalformedPolicy::Syntax),
        }
    }
    if let Some(version) = &version
        && !matches!(version.as_str(), "2008-10-17" | "2012-10-17")
    {
        return Err(MalformedPolicy::Syntax);
    }
    let drafts = drafts
        .filter(|drafts| !drafts.is_empty())
        .ok_or(MalformedPolicy::Syntax)?;
    let has_variables = version.as_deref() == Some("2012-10-17");
    if kind == PolicyKind::Identity && !has_variables {
        return Err(MalformedPolicy::Version);
    }
    for draft in &drafts {
        legacy_parse(draft)?;
    }
    let resource_error = match kind {
        PolicyKind::Identity => resource_error(&drafts)?,
        _ => None,
    };
    let mut sids = HashSet::new();
    for sid in drafts.iter().filter_map(|draft| draft.sid.as_deref()) {
        if !sid.is_empty() && !sids.insert(sid) {
            return Err(MalformedPolicy::DuplicateSid);
        }
    }
    if drafts.iter().any(|draft| is_absent(&draft.actions)) {
        return Err(MalformedPolicy::MissingActions);
    }
    if let Some(error) = resource_error {
        return Err(error);
    }
    for action in drafts.iter().filter_map(|draft| draft.actions.as_ref()) {
        action
            .1
            .iter()
            .try_for_each(|action| check_action(action))?;
    }
    check_kind(&drafts, kind)?;
    Ok(Policy {
        has_variables,
        id,
        statements: drafts
            .into_iter()
            .map(|draft| finish(draft, document, has_variables))
            .collect(),
    })
}

fn is_absent(element: &Option<(bool, Vec<String>)>) -> bool {
    element.as_ref().is_none_or(|(_, values)| values.is_empty())
}

fn check_kind(drafts: &[Draft<'_>], kind: PolicyKind) -> Result<(), MalformedPolicy> {
    for draft in drafts {
        match kind {
            PolicyKind::Identity => {
                if draft.principals.is_some() {
                    return Err(MalformedPolicy::ProhibitedPrincipal);
                }
                if is_absent(&draft.resources) {
                    return Err(MalformedPolicy::MissingResources);
                }
            }
            PolicyKind::Resource => {
                if draft.principals.is_none() {
                    return Err(MalformedPolicy::MissingPrincipal);
                }
            }
            PolicyKind::Trust => {
                if draft.resources.is_some() {
                    return Err(MalformedPolicy::ProhibitedResource);
                }
                let actions = draft.actions.iter().flat_map(|(_, actions)| actions);
                if !actions.into_iter().all(|action| assumes(action)) {
                    return Err(MalformedPolicy::TrustAction);
                }
                if draft.principals.is_none() {
                    return Err(MalformedPolicy::MissingPrincipal);
                }
            }
        }
    }
    Ok(())
}

/// Whether a trust policy may speak of the action. Of patterns it is not known which IAM takes; those of STS pass.
fn assumes(action: &str) -> bool {
    let Some((vendor, name)) = action.split_once(':') else {
        return false;
    };
    vendor.eq_ignore_ascii_case("sts")
        && (name.contains(['*', '?'])
            || TRUST_ACTIONS
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name)))
}

fn statements(raw: &RawValue) -> Result<Vec<Draft<'_>>, MalformedPolicy> {
    if raw.get().starts_with('[') {
        read::<Vec<&RawValue>>(raw)?
            .into_iter()
            .map(statement)
            .collect()
    } else {
        Ok(vec![statement(raw)?])
    }
}

fn statement(raw: &RawValue) -> Result<Draft<'_>, MalformedPolicy> {
    let mut draft = Draft {
        raw: raw.get(),
        ..Draft::default()
    };
    let mut effect = None;
    for (name, value) in read::<Members<'_>>(raw)?.0 {
        let once = |is_set: bool| {
            if is_set {
                Err(MalformedPolicy::Syntax)
            } else {
                Ok(())
            }
        };
        match name.as_str() {
            "Sid" => draft.sid = Some(read(value)?),
            "Effect" => effect = Some(read::<String>(value)?),
            "Action" | "NotAction" => {
                once(draft.actions.is_some())?;
                draft.actions = Some((name == "NotAction", strings(&read(value)?)?));
            }
            "Resource" | "NotResource" => {
                once(draft.resources.is_some())?;
                draft.resources = Some((name == "NotResource", strings(&read(value)?)?));
            }
            "Principal" | "NotPrincipal" => {
                once(draft.principals.is_some())?;
                draft.principals = Some(Principals {
                    is_negated: name == "NotPrincipal",
                    entries: principals(value)?,
                });
            }
            "Condition" => draft.conditions = conditions(value)?,
            _ => return Err(MalformedPolicy::Syntax),
        }
    }
    draft.effect = effect
        .filter(|effect| {
            effect.eq_ignore_ascii_case("allow") || effect.eq_ignore_ascii_case("deny")
        })
        .ok_or(MalformedPolicy::Syntax)?;
    Ok(draft)
}

// A string or a list of strings; a null among them is passed over, as IAM does.
fn strings(value: &Value) -> Result<Vec<String>, MalformedPolicy> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(values) => values
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or(MalformedPolicy::Syntax)
            })
            .collect(),
        _ => Err(MalformedPolicy::Syntax),
    }
}

fn principals(raw: &RawValue) -> Result<Vec<PrincipalEntry>, MalformedPolicy> {
    if let Value::String(text) = read(raw)? {
        return match text.as_str() {
            "*" => Ok(vec![PrincipalEntry::Any]),
            _ => Err(MalformedPolicy::Syntax),
        };
    }
    let mut entries = Vec::new();
    for (kind, value) in read::<Members<'_>>(raw)?.0 {
        let make: fn(String) -> PrincipalEntry = match kind.as_str() {
            "AWS" => |name| PrincipalEntry::aws(&name),
            "Service" => PrincipalEntry::Service,
            "Federated" => PrincipalEntry::Federated,
            "CanonicalUser" => PrincipalEntry::CanonicalUser,
            _ => return Err(MalformedPolicy::Syntax),
        };
        entries.extend(strings(&read(value)?)?.into_iter().map(make));
    }
    Ok(entries)
}

fn conditions(raw: &RawValue) -> Result<Vec<(Operator, String, Vec<String>)>, MalformedPolicy> {
    let mut conditions = Vec::new();
    for (name, keys) in read::<Members<'_>>(raw)?.0 {
        let keys = read::<Members<'_>>(keys)?.0;
        if keys.is_empty() {
            continue;
        }
        let operator = Operator::parse(&name).ok_or(MalformedPolicy::Syntax)?;
        for (key, value) in keys {
            conditions.push((operator, key, scalars(&read(value)?)?));
        }
    }
    Ok(conditions)
}

fn scalars(value: &Value) -> Result<Vec<String>, MalformedPolicy> {
    match value {
        Value::Array(values) => values.iter().map(scalar).collect(),
        other => Ok(vec![scalar(other)?]),
    }
}

fn scalar(value: &Value) -> Result<String, MalformedPolicy> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        _ => Err(MalformedPolicy::Syntax),
    }
}

fn legacy_parse(draft: &Draft<'_>) -> Result<(), MalformedPolicy> {
    if !matches!(draft.effect.as_str(), "Allow" | "Deny") {
        return Err(MalformedPolicy::LegacyParsing);
    }
    let dates = draft
        .conditions
        .iter()
        .filter(|(operator, ..)| operator.is_date());
    for value in dates.flat_map(|(.., values)| values) {
        if !is_legacy_date(value) {
            return Err(MalformedPolicy::LegacyParsing);
        }
    }
    Ok(())
}

// The old parser's dates run far beyond any calendar, forth and back.
fn is_legacy_date(text: &str) -> bool {
    if text.contains("${") || date::parse_policy_date(text).is_some() {
        return true;
    }
    if !text.contains(['t', 'T', '-']) {
        return text.parse::<i64>().is_ok_and(|seconds| seconds >= 0);
    }
    let (day, clock) = text.split_once(['t', 'T']).unwrap_or((text, ""));
    let (negative, day) = match day.strip_prefix('-') {
        Some(day) => (true, day),
        None => (false, day),
    };
    let limit = if negative { 292_275_054 } else { 292_278_993 };
    let mut parts = day.split('-');
    let year = parts.next().and_then(|year| year.parse::<i64>().ok());
    let rest: Vec<&str> = parts.collect();
    // Only the year may be out of range: month, day and time are those of some year.
    year.is_some_and(|year| year <= limit)
        && date::parse_iso8601(&format!(
            "2000{}{}T{clock}",
            if rest.is_empty() { "" } else { "-" },
            rest.join("-")
        ))
        .is_some()
}

fn check_action(action: &str) -> Result<(), MalformedPolicy> {
    let mut parts = action.split(':');
    let vendor = parts.next().unwrap_or_default();
    match (parts.next(), parts.next()) {
        (None, _) if vendor != "*" => return Err(MalformedPolicy::ActionWithoutVendor),
        (_, Some(_)) => return Err(MalformedPolicy::ActionWithManyColons),
        _ => {}
    }
    let is_name = vendor
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if vendor == "*" || is_name {
        Ok(())
    } else {
        Err(MalformedPolicy::InvalidVendor(vendor.to_owned()))
    }
}

// The fault reported is the last one found, resources in descending order; what the old parser refuses comes first.
fn resource_error(drafts: &[Draft<'_>]) -> Result<Option<MalformedPolicy>, MalformedPolicy> {
    let mut error = None;
    for (_, resources) in drafts.iter().filter_map(|draft| draft.resources.as_ref()) {
        let mut descending: Vec<&String> = resources.iter().collect();
        descending.sort_unstable_by(|left, right| right.cmp(left));
        for resource in descending {
            if let Err(found) = check_resource(resource) {
                error = Some(found);
            }
        }
        if error.is_none()
            && !resources
                .iter()
                .all(|resource| is_legacy_resource(resource))
        {
            return Err(MalformedPolicy::LegacyParsing);
        }
    }
    Ok(error)
}

fn is_legacy_resource(resource: &str) -> bool {
    resource == "*"
        || ((resource.matches(':').count() >= 5 || !resource.contains("::"))
            && resource
                .split(':')
                .nth(2)
                .is_some_and(|vendor| !vendor.is_empty()))
}

fn check_resource(resource: &str) -> Result<(), MalformedPolicy> {
    if resource == "*" {
        return Ok(());
    }
    let parts: Vec<&str> = resource.splitn(6, ':').collect();
    let part = |index: usize| parts.get(index).copied();
    let Some(partition) = part(1) else {
        return Err(MalformedPolicy::ResourceNotArn(resource.to_owned()));
    };
    let is_partition = partition == "*"
        || partition == "aws"
        || partition
            .strip_prefix("aws-")
            .is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace));
    if !is_partition {
        let rest = part(2).filter(|rest| !rest.is_empty() || parts.len() > 3);
        return Err(MalformedPolicy::InvalidPartition {
            partition: partition.to_owned(),
            resource: format!(
                "arn:{partition}:{}:{}:{}:{}",
                rest.unwrap_or("*"),
                part(3).unwrap_or("*"),
                part(4).unwrap_or("*"),
                part(5).unwrap_or("*")
            ),
        });
    }
    let Some(service) = part(2).filter(|service| !service.contains(['*', '?'])) else {
        return Err(MalformedPolicy::ResourceVendor);
    };
    let has_region = part(3).is_some_and(|region| !region.is_empty());
    let name = part(5).unwrap_or_default();
    match service {
        "iam" => {
            if has_region {
                return Err(MalformedPolicy::IamRegion(resource.to_owned()));
            }
            let is_known =
                name.starts_with(['*', '$']) || IAM_PATHS.iter().any(|path| name.starts_with(path));
            is_known.then_some(()).ok_or(MalformedPolicy::IamPath)
        }
        "s3" if has_region && !S3_REGIONAL.iter().any(|kind| name.starts_with(kind)) => {
            // Left to the old parser, which refuses it, when the account is missing too.
            Err(MalformedPolicy::S3Region(resource.to_owned()))
                .or_else(|error| if parts.len() < 6 { Ok(()) } else { Err(error) })
        }
        _ => Ok(()),
    }
}

fn finish(draft: Draft<'_>, document: &str, variables: bool) -> Statement {
    let patterns = |(is_negated, values): (bool, Vec<String>), variables| Patterns {
        is_negated,
        patterns: values
            .iter()
            .map(|value| Pattern::new(value, variables))
            .collect(),
    };
    // The raw statement is a slice of the document, so its address tells where it stands.
    let start = (draft.raw.as_ptr() as usize).saturating_sub(document.as_ptr() as usize);
    let end = start + draft.raw.len();
    Statement {
        sid: draft.sid,
        effect: if draft.effect == "Allow" {
            Effect::Allow
        } else {
            Effect::Deny
        },
        principals: draft.principals,
        actions: patterns(draft.actions.unwrap_or_default(), false),
        resources: draft
            .resources
            .map(|resources| patterns(resources, variables)),
        conditions: draft
            .conditions
            .into_iter()
            .map(|(operator, key, values)| {
                let values = values
                    .iter()
                    .map(|value| Pattern::new(value, variables))
                    .collect();
                Condition::new(operator, &key, values)
            })
            .collect(),
        start: position(document, start),
        end: position(document, end),
    }
}

fn position(document: &str, offset: usize) -> Position {
    let before = document.get(..offset).unwrap_or(document);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let clamp = |value| u32::try_from(value).unwrap_or(u32::MAX);
    Position {
        line: clamp(line),
        column: clamp(column),
    }
}
