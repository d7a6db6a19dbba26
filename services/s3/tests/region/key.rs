//! A key whose signatures are compared.

use std::sync::Arc;

use auth::credential::Credentials;
use cloud::Principal;
use cloud::ports::{Identities, Identity};
use time::OffsetDateTime;

use super::{Answer, Region};

/// An access key that is known, and its secret.
pub const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// See `KEY`.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const ACCOUNT: &str = "000000000000";

/// Knows one access key, so that its signatures are compared.
struct Known;
impl Identities for Known {
    fn identity(&self, access_key: &str) -> Option<Identity> {
        (access_key == KEY).then(|| Identity {
            account: ACCOUNT.to_owned(),
            principal: Principal::root(ACCOUNT, "us-east-1", Some(KEY.to_owned())),
            secret_key: SECRET.to_owned(),
            session_token: None,
            expiration: None,
        })
    }
}

/// The key as signers take it.
pub fn credentials() -> Credentials {
    Credentials {
        access_key_id: KEY.to_owned(),
        secret_access_key: SECRET.to_owned(),
        session_token: None,
    }
}

/// A region that compares the key's signatures, with a bucket.
pub async fn region_with(bucket: &str) -> Region {
    let region = Region::start();
    region.cloud.ports.set_users(Arc::new(Known));
    region.bucket(bucket).await;
    region
}

/// The region's time.
pub fn now(region: &Region) -> OffsetDateTime {
    region.cloud.clock.now().date_time()
}

/// An answer's status, and its code where it is an error.
pub fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.element("Code").unwrap_or_default())
}
