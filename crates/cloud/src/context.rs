//! Who asks, for which account and region, and when.

use std::net::IpAddr;

use wire::Timestamp;

/// What the caller is, as IAM tells principals apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// The account itself.
    Root,
    /// An IAM user.
    User,
    /// A role's session.
    AssumedRole,
    /// A federated user's session.
    FederatedUser,
    /// Another service, on behalf of an account.
    Service,
    /// Nobody: an unsigned request.
    Anonymous,
}

/// The caller.
#[derive(Clone, Debug)]
pub struct Principal {
    /// What it is.
    pub kind: PrincipalKind,
    /// Its ARN; `*` for nobody.
    pub arn: String,
    /// Its unique id: `AIDA…`, `AROA…:session`, the account for root.
    pub id: String,
    /// The access key that the request was signed with.
    pub access_key: Option<String>,
}

impl Principal {
    /// The account's root, as the partition of that region has it.
    pub fn root(account: &str, region: &str, access_key: Option<String>) -> Principal {
        let partition = crate::arn::partition(region);
        Principal {
            kind: PrincipalKind::Root,
            arn: ["arn:", partition, ":iam::", account, ":root"].concat(),
            id: account.to_owned(),
            access_key,
        }
    }
    /// A service, as `s3.amazonaws.com`.
    pub fn service(name: &str) -> Principal {
        Principal {
            kind: PrincipalKind::Service,
            arn: name.to_owned(),
            id: name.to_owned(),
            access_key: None,
        }
    }
    /// Nobody.
    pub fn anonymous() -> Principal {
        Principal {
            kind: PrincipalKind::Anonymous,
            arn: "*".into(),
            id: "anonymous".into(),
            access_key: None,
        }
    }
}

/// One call: everything about it that is not its input.
#[derive(Clone, Debug)]
pub struct Context {
    /// The account whose resources are meant.
    pub account: String,
    /// The region that is meant.
    pub region: String,
    /// The caller.
    pub principal: Principal,
    /// Whether its access key is none that was made here: well formed, and taken at its word.
    pub is_made_up: bool,
    /// The answer's request id.
    pub request_id: String,
    /// When the request arrived, by the region's clock.
    pub time: Timestamp,
    /// Where it came from.
    pub source_ip: IpAddr,
    /// `User-Agent`, or empty.
    pub user_agent: String,
    /// `Referer`, where one was sent.
    pub referer: Option<String>,
    /// `X-Amzn-Trace-Id`, where one was sent.
    pub trace: Option<String>,
    /// The host that the client asked, with its port: what URLs in answers begin with.
    pub host: String,
    /// Whether it came over TLS.
    pub secure: bool,
}

impl Context {
    /// A call that a service makes for itself, inside.
    pub fn internal(account: &str, region: &str, service: &str, time: Timestamp) -> Context {
        Context {
            account: account.to_owned(),
            region: region.to_owned(),
            principal: Principal::service(service),
            is_made_up: false,
            request_id: crate::ids::uuid(),
            time,
            source_ip: IpAddr::from([127, 0, 0, 1]),
            user_agent: service.to_owned(),
            referer: None,
            trace: None,
            host: "localhost:4566".into(),
            secure: false,
        }
    }
    /// The partition of the region.
    pub fn partition(&self) -> &'static str {
        crate::arn::partition(&self.region)
    }
    /// `http` or `https`, and the host.
    pub fn endpoint(&self) -> String {
        format!(
            "{}://{}",
            if self.secure { "https" } else { "http" },
            self.host
        )
    }
}
