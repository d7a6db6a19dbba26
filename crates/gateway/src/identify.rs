//! Who calls: account, region and principal, from what the request presents.

use auth::authorization::{Authorization, Presigned};
use cloud::{Cloud, Principal};
use http::request::Parts;

use crate::detect::{header, host_of};
use crate::host;

/// What a request says of its caller.
pub struct Claim {
    /// The access key, where one is given.
    pub access_key: Option<String>,
    /// The service in the credential scope.
    pub service: Option<String>,
    /// The region in the credential scope.
    pub region: Option<String>,
}

/// Reads the claim from the header or the presigned query.
pub fn claim(parts: &Parts) -> Claim {
    let none = Claim {
        access_key: None,
        service: None,
        region: None,
    };
    if let Some(text) = header(parts, "authorization") {
        let Ok(authorization) = Authorization::parse(text) else {
            return none;
        };
        let credential = authorization.credential();
        return Claim {
            access_key: Some(authorization.access_key_id().to_owned()),
            service: credential.map(|c| c.service.to_owned()),
            region: credential
                .map(|c| c.region.to_owned())
                .filter(|r| !r.is_empty()),
        };
    }
    match Presigned::parse(parts.uri.query().unwrap_or("")) {
        Ok(Some(presigned)) => {
            let access_key = Some(presigned.access_key_id().to_owned());
            match &presigned {
                Presigned::V4(v4) => {
                    let credential = v4.credential();
                    Claim {
                        access_key,
                        service: Some(credential.service.to_owned()),
                        region: Some(credential.region.to_owned()),
                    }
                }
                _ => Claim {
                    access_key,
                    service: Some("s3".into()),
                    region: None,
                },
            }
        }
        _ => none,
    }
}

/// Who a request comes from, and what it is for.
pub struct Caller {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// The principal.
    pub principal: Principal,
    /// Whether the access key is none that was made here.
    pub is_made_up: bool,
    /// Whether its credentials have ended.
    pub is_expired: bool,
}

/// Account, region and principal of a claim, whose service is left to it.
pub fn caller(cloud: &Cloud, claim: &mut Claim, parts: &Parts) -> Caller {
    let by_host = || {
        host_of(parts)
            .and_then(host::service)
            .and_then(|(_, region)| region)
            .map(str::to_owned)
    };
    let region = claim
        .region
        .take()
        .or_else(by_host)
        .unwrap_or_else(|| cloud.config.region.clone());
    let Some(key) = claim.access_key.take() else {
        let account = cloud.config.account.clone();
        return Caller {
            account,
            region,
            principal: Principal::anonymous(),
            is_made_up: false,
            is_expired: false,
        };
    };
    if let Some(identity) = cloud.ports.identity(&key) {
        let is_expired = identity
            .expiration
            .is_some_and(|end| end <= cloud.clock.now());
        if let (Some(service), Some(users)) = (&claim.service, cloud.ports.users()) {
            users.used(&identity, service, &region);
        }
        return Caller {
            account: identity.account,
            region,
            principal: identity.principal,
            is_made_up: false,
            is_expired,
        };
    }
    let account = if auth::account::is_account_id(&key) {
        key.clone()
    } else {
        auth::account::encoded_account(&key).unwrap_or_else(|| cloud.config.account.clone())
    };
    let principal = Principal::root(&account, &region, Some(key));
    Caller {
        account,
        region,
        principal,
        is_made_up: true,
        is_expired: false,
    }
}
