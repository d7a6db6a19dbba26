//! Principals: those who ask, and those whom a statement names.

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: an unsigned request.
    Anonymous,
    /// The root user of an account.
    Root {
        /// The account.
        account: String,
    },
    /// An IAM user.
    User {
        /// The account.
        account: String,
        /// `arn:aws:iam::123456789012:user/bob`.
        arn: String,
    },
    /// A session of a role.
    RoleSession {
        /// The account.
        account: String,
        /// The role's ARN with its path.
        role_arn: String,
        /// `arn:aws:sts::123456789012:assumed-role/role/session`.
        session_arn: String,
    },
    /// A session of `GetFederationToken`.
    FederatedUser {
        /// The account.
        account: String,
        /// The user who asked for the session.
        user_arn: String,
        /// `arn:aws:sts::123456789012:federated-user/name`.
        session_arn: String,
    },
    /// An AWS service that acts by itself, by its name: `s3.amazonaws.com`.
    Service(String),
    /// Someone whom an identity provider vouches for, by the provider's ARN or, for well-known providers, its name.
    Federated(String),
}

impl Caller {
    /// The caller of that ARN, as `GetCallerIdentity` has it: an account's root, a user or a session. `*` is nobody,
    /// and a name that is no ARN a service. The path of a session's role is not known.
    pub fn of_arn(arn: &str) -> Self {
        if arn == "*" {
            return Self::Anonymous;
        }
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", partition, _, _, account, name] = parts.as_slice() else {
            return Self::Service(arn.to_owned());
        };
        let account = (*account).to_owned();
        let arn = arn.to_owned();
        match name.split_once('/') {
            Some(("user", _)) => Self::User { account, arn },
            Some(("assumed-role", session)) => {
                let role = session.split('/').next().unwrap_or_default();
                Self::RoleSession {
                    role_arn: format!("arn:{partition}:iam::{account}:role/{role}"),
                    session_arn: arn,
                    account,
                }
            }
            Some(("federated-user", _)) => Self::FederatedUser {
                user_arn: arn.clone(),
                session_arn: arn,
                account,
            },
            _ => Self::Root { account },
        }
    }

    /// The account, for those who have one.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Anonymous | Self::Service(_) | Self::Federated(_) => None,
            Self::Root { account }
            | Self::User { account, .. }
            | Self::RoleSession { account, .. }
            | Self::FederatedUser { account, .. } => Some(account),
        }
    }

    /// The caller's ARN as GetCallerIdentity has it.
    pub fn arn(&self) -> Option<String> {
        match self {
            Self::Anonymous | Self::Service(_) | Self::Federated(_) => None,
            Self::Root { account } => Some(format!("arn:aws:iam::{account}:root")),
            Self::User { arn, .. } => Some(arn.clone()),
            Self::RoleSession { session_arn, .. } | Self::FederatedUser { session_arn, .. } => {
                Some(session_arn.clone())
            }
        }
    }

    fn session_arn(&self) -> Option<&str> {
        match self {
            Self::RoleSession { session_arn, .. } | Self::FederatedUser { session_arn, .. } => {
                Some(session_arn)
            }
            _ => None,
        }
    }

    // The user or role behind the request.
    fn entity_arn(&self) -> Option<&str> {
        match self {
            Self::User { arn, .. } => Some(arn),
            Self::RoleSession { role_arn, .. } => Some(role_arn),
            Self::FederatedUser { user_arn, .. } => Some(user_arn),
            _ => None,
        }
    }
}

/// One principal that a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrincipalEntry {
    /// `*`: everyone.
    Any,
    /// An account, by its id or its root ARN.
    Account(String),
    /// A user, role, assumed-role session or federated user by its ARN, or a deleted one by its unique id.
    Aws(String),
    /// A service.
    Service(String),
    /// An identity provider.
    Federated(String),
    /// S3's canonical user id.
    CanonicalUser(String),
}

/// The `Principal` or `NotPrincipal` of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principals {
    /// Whether the element is `NotPrincipal`.
    pub is_negated: bool,
    /// Those named.
    pub entries: Vec<PrincipalEntry>,
}

/// How directly a statement names a caller: this decides which other policies still limit the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Naming {
    /// By its account, which only delegates to that account's own policies.
    Account,
    /// By the user or role behind a session, which boundaries and session policies still limit.
    Entity,
    /// By itself or as everyone.
    Direct,
}

impl PrincipalEntry {
    /// Reads a value of the `AWS` member.
    pub fn aws(value: &str) -> Self {
        if value == "*" {
            return Self::Any;
        }
        if crate::account::is_account_id(value) {
            return Self::Account(value.to_owned());
        }
        let parts: Vec<&str> = value.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", _, "iam", "", account, "root"] => Self::Account((*account).to_owned()),
            _ => Self::Aws(value.to_owned()),
        }
    }

    fn names(&self, caller: &Caller) -> Option<Naming> {
        match self {
            Self::Any => Some(Naming::Direct),
            Self::Account(account) => match caller {
                Caller::Root { account: own } if own == account => Some(Naming::Direct),
                _ if caller.account() == Some(account) => Some(Naming::Account),
                _ => None,
            },
            Self::Aws(arn) => {
                if caller.session_arn() == Some(arn) {
                    Some(Naming::Direct)
                } else if caller.entity_arn() == Some(arn) {
                    Some(match caller {
                        Caller::User { .. } => Naming::Direct,
                        _ => Naming::Entity,
                    })
                } else {
                    None
                }
            }
            Self::Service(name) => {
                matches!(caller, Caller::Service(own) if own == name || is_regional(own, name))
                    .then_some(Naming::Direct)
            }
            Self::Federated(name) => {
                matches!(caller, Caller::Federated(own) if own == name || name == "*")
                    .then_some(Naming::Direct)
            }
            // Which account has the id is S3's to know; it resolves the entry before evaluating.
            Self::CanonicalUser(_) => None,
        }
    }
}

impl Principals {
    /// How an Allow reaches the caller, if it does.
    pub fn allow(&self, caller: &Caller) -> Option<Naming> {
        let naming = self
            .entries
            .iter()
            .filter_map(|entry| entry.names(caller))
            .max();
        match (self.is_negated, naming) {
            (false, naming) => naming,
            (true, None) => Some(Naming::Direct),
            (true, Some(_)) => None,
        }
    }

    /// Whether a Deny reaches the caller.
    ///
    /// A `NotPrincipal` spares a user only if the account is named beside the user, and a session only if account,
    /// role and session are.
    pub fn denies(&self, caller: &Caller) -> bool {
        if !self.is_negated {
            return self.allow(caller).is_some();
        }
        if self.entries.contains(&PrincipalEntry::Any) {
            return false;
        }
        let names_arn = |arn: &str| {
            self.entries
                .iter()
                .any(|entry| matches!(entry, PrincipalEntry::Aws(own) if own == arn))
        };
        match caller.account() {
            None => self.allow(caller).is_some(),
            Some(account) => {
                let names_account = self
                    .entries
                    .iter()
                    .any(|entry| matches!(entry, PrincipalEntry::Account(own) if own == account));
                let names_all = names_account
                    && caller.entity_arn().is_none_or(names_arn)
                    && caller.session_arn().is_none_or(names_arn);
                !names_all
            }
        }
    }
}
/// Whether `name` is a service's principal in one region, `logs.eu-west-1.amazonaws.com`, of the service `own`.
fn is_regional(own: &str, name: &str) -> bool {
    let parts = own.split_once('.').and_then(|(service, domain)| {
        let rest = name.strip_prefix(service)?.strip_prefix('.')?;
        rest.strip_suffix(domain)?.strip_suffix('.')
    });
    // A region's name ends with a digit, which no part of a service's does after a hyphen.
    parts.is_some_and(|region| {
        let last = region.rsplit('-').next().unwrap_or_default();
        region.contains('-') && !region.contains('.') && last.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_told_by_their_arns() {
        for arn in [
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam::123456789012:user/team/bob",
            "arn:aws:sts::123456789012:assumed-role/cook/night",
            "arn:aws:sts::123456789012:federated-user/guest",
        ] {
            let caller = Caller::of_arn(arn);
            assert_eq!(caller.arn().as_deref(), Some(arn));
            assert_eq!(caller.account(), Some("123456789012"));
        }
        let role = Caller::of_arn("arn:aws:sts::123456789012:assumed-role/cook/night");
        assert_eq!(
            role.entity_arn(),
            Some("arn:aws:iam::123456789012:role/cook")
        );
        assert_eq!(Caller::of_arn("*"), Caller::Anonymous);
        let service = Caller::Service("s3.amazonaws.com".to_owned());
        assert_eq!(Caller::of_arn("s3.amazonaws.com"), service);
    }
}
