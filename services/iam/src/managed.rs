//! The managed policies that AWS itself provides.
//!
//! They lie in the binary as text, one a line, and are read when they are asked for: a region that never looks
//! at them pays nothing.

use serde::Deserialize;
use serde_json::value::RawValue;
use wire::Timestamp;

static ALL: &str = include_str!("managed.json");

/// A policy of AWS's.
#[derive(Deserialize)]
pub(crate) struct Managed<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    pub(crate) arn: &'a str,
    created: &'a str,
    updated: &'a str,
    pub(crate) default_version_id: &'a str,
    #[serde(borrow)]
    pub(crate) document: &'a RawValue,
}

impl Managed<'_> {
    pub(crate) fn created(&self) -> Timestamp {
        Timestamp::parse(self.created).unwrap_or_default()
    }
    pub(crate) fn updated(&self) -> Timestamp {
        Timestamp::parse(self.updated).unwrap_or_default()
    }
    /// Its ARN in a partition.
    pub(crate) fn arn_in(&self, partition: &str) -> String {
        self.arn.replacen("aws", partition, 1)
    }
    /// AWS's own ids are not public; this one is at least always the same.
    pub(crate) fn id(&self) -> String {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        for byte in self.arn.bytes() {
            hash =
                (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
        let letters = (0..17).map(|i| char::from(LETTERS[(hash >> (5 * i)) as usize & 31]));
        "ANPA".chars().chain(letters).collect()
    }
}

fn read(line: &'static str) -> Option<Managed<'static>> {
    serde_json::from_str(line.trim_end().trim_end_matches(',')).ok()
}

/// All of them, by name.
pub(crate) fn all() -> impl Iterator<Item = Managed<'static>> {
    ALL.lines()
        .filter(|line| line.starts_with('{'))
        .filter_map(read)
}

/// The one of that ARN.
pub(crate) fn find(arn: &str) -> Option<Managed<'static>> {
    let (_, name) = arn
        .strip_prefix("arn:aws")?
        .split_once(":iam::aws:policy/")
        .filter(|(rest, _)| rest.is_empty() || rest.starts_with('-'))?;
    let needle = format!("\"arn\":\"arn:aws:iam::aws:policy/{name}\"");
    let at = ALL.find(&needle)?;
    let start = ALL[..at].rfind('\n').map_or(0, |n| n + 1);
    read(ALL[start..].lines().next()?)
}

/// Whether AWS provides a policy of that ARN.
pub(crate) fn exists(arn: &str) -> bool {
    find(arn).is_some()
}

/// The path in a policy's ARN: `/` or `/service-role/`.
pub(crate) fn path_in(arn: &str) -> &str {
    let Some((_, rest)) = arn.split_once(":policy") else {
        return "/";
    };
    &rest[..rest.rfind('/').map_or(0, |at| at + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_policy_that_is_found_by_its_arn() {
        let lines = ALL.lines().filter(|l| l.starts_with('{')).count();
        assert!(lines >= 100, "{lines}");
        assert_eq!(all().count(), lines);
        for policy in all() {
            let found = find(policy.arn).unwrap_or_else(|| panic!("{}", policy.arn));
            assert_eq!(found.name, policy.name);
            assert_eq!(path_in(policy.arn), policy.path);
            assert_eq!(policy.id().len(), 21);
            assert!(policy.created().0 > 0 && policy.updated() >= policy.created());
        }
        assert!(!exists("arn:aws:iam::aws:policy/NoSuchPolicy"));
        assert!(exists("arn:aws-cn:iam::aws:policy/AdministratorAccess"));
        assert!(!exists("arn:awsome:iam::aws:policy/AdministratorAccess"));
    }

    #[test]
    fn aws_own_policies_are_read_by_the_evaluator() {
        use auth::policy::{Policy, PolicyKind};
        for policy in all() {
            if let Err(e) = Policy::parse(policy.document.get(), PolicyKind::Identity) {
                panic!("{}: {e}", policy.name);
            }
        }
    }
}
