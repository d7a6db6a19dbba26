//! Canonical users: how S3 names the accounts that own buckets and objects.

use sha2::{Digest, Sha256};

use crate::api;

/// The digits of an account fit in this many hexadecimal ones.
const TAIL: usize = 10;

/// The canonical user id of an account: 64 hexadecimal digits, the same for ever.
///
/// The account can be told from it, so that a grant to an id nobody has is refused without a directory of users.
pub fn canonical_id(account: &str) -> String {
    let mut id = hex::encode(Sha256::digest(format!("canonical user {account}")));
    if let (Ok(number), Some(head)) = (account.parse::<u64>(), id.get(..TAIL).map(str::to_owned)) {
        let mask = u64::from_str_radix(&head, 16).unwrap_or(0);
        id.truncate(64 - TAIL);
        id.push_str(&format!("{:010x}", (number ^ mask) & 0xff_ffff_ffff));
    }
    id
}

/// The account of a canonical user id; `None` for an id that no account has.
pub fn account_of(id: &str) -> Option<String> {
    let head = u64::from_str_radix(id.get(..TAIL)?, 16).ok()?;
    let tail = u64::from_str_radix(id.get(64 - TAIL..64)?, 16).ok()?;
    let account = format!("{:012}", head ^ tail);
    (canonical_id(&account) == id).then_some(account)
}

/// The name that stands beside the id of who began an upload, and until November 2025 stood beside every one.
pub fn display_name(account: &str) -> String {
    format!("account-{account}")
}

/// An account as who began an upload.
pub fn initiator(account: &str) -> api::Initiator {
    api::Initiator {
        display_name: Some(display_name(account)),
        id: Some(canonical_id(account)),
    }
}

impl crate::S3 {
    /// The name that stands beside an owner's or a grantee's id, where S3 is to be as it was.
    pub(crate) fn display_name(&self, account: &str) -> Option<String> {
        self.default_ownership()
            .is_none()
            .then(|| display_name(account))
    }

    /// An account as an owner.
    pub(crate) fn owner(&self, account: &str) -> api::Owner {
        api::Owner {
            display_name: self.display_name(account),
            id: Some(canonical_id(account)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_told_from_its_canonical_id() {
        for account in ["000000000000", "123456789012", "999999999999"] {
            let id = canonical_id(account);
            assert_eq!(id.len(), 64);
            assert_eq!(account_of(&id).as_deref(), Some(account));
        }
        assert_eq!(account_of(&"0".repeat(64)), None);
        assert_eq!(account_of("short"), None);
    }
}
