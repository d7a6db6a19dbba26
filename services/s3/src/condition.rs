//! Conditional requests: `If-Match` and its kin, as RFC 9110 orders them and S3 answers them.

use wire::{Fault, Timestamp};

use crate::fault;
use crate::object::Version;

/// The conditions of a read, or those on the source of a copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// `If-Match`
    pub matches: Option<&'a str>,
    /// `If-None-Match`
    pub none_match: Option<&'a str>,
    /// `If-Modified-Since`
    pub modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`
    pub unmodified_since: Option<Timestamp>,
}

/// What the conditions lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All hold.
    Holds,
    /// The client has it already; names the condition.
    NotModified(&'static str),
    /// The client does not want it; names the condition.
    Failed(&'static str),
}

/// Whether an ETag, without quotes, is among those of a header.
pub fn etag_is_among(etag: &str, header: &str) -> bool {
    header.split(',').map(str::trim).any(|candidate| {
        let candidate = candidate.strip_prefix("W/").unwrap_or(candidate);
        candidate == "*" || candidate.trim_matches('"') == etag
    })
}

impl Conditions<'_> {
    /// Tries them on a version.
    pub fn test(&self, etag: &str, modified: Timestamp) -> Outcome {
        // A header's date has no milliseconds: compare what the client was shown.
        let modified = modified.secs();
        let holds_match = self.matches.map(|header| etag_is_among(etag, header));
        match (holds_match, self.unmodified_since) {
            (Some(false), _) => return Outcome::Failed("If-Match"),
            (None, Some(since)) if modified > since.secs() => {
                return Outcome::Failed("If-Unmodified-Since");
            }
            _ => {}
        }
        let is_known = self.none_match.map(|header| etag_is_among(etag, header));
        match (is_known, self.modified_since) {
            (Some(true), _) => Outcome::NotModified("If-None-Match"),
            (None, Some(since)) if modified <= since.secs() => {
                Outcome::NotModified("If-Modified-Since")
            }
            _ => Outcome::Holds,
        }
    }
    /// A date to come says nothing.
    fn known_by(&self, now: Timestamp) -> Conditions<'_> {
        Conditions {
            modified_since: self.modified_since.filter(|since| since.0 <= now.0),
            ..*self
        }
    }
    /// For GetObject and HeadObject.
    pub fn check_read(&self, version: &Version, now: Timestamp) -> Result<(), Fault> {
        match self
            .known_by(now)
            .test(&version.etag, version.last_modified())
        {
            Outcome::Holds => Ok(()),
            Outcome::Failed(condition) => Err(fault::precondition_failed(condition)),
            Outcome::NotModified(_) => {
                let mut fault = fault::not_modified().header("ETag", version.quoted_etag());
                fault = fault.header(
                    "Last-Modified",
                    version
                        .last_modified()
                        .format(wire::TimestampFormat::Rfc822),
                );
                Err(match &version.id {
                    Some(id) => fault.header("x-amz-version-id", id.clone()),
                    None => fault,
                })
            }
        }
    }
    /// For the source of a copy, where there is no `304`.
    pub fn check_source(&self, version: &Version, now: Timestamp) -> Result<(), Fault> {
        match self
            .known_by(now)
            .test(&version.etag, version.last_modified())
        {
            Outcome::Holds => Ok(()),
            Outcome::Failed("If-Match") => {
                Err(fault::precondition_failed("x-amz-copy-source-If-Match"))
            }
            Outcome::Failed(_) => Err(fault::precondition_failed(
                "x-amz-copy-source-If-Unmodified-Since",
            )),
            Outcome::NotModified("If-None-Match") => Err(fault::precondition_failed(
                "x-amz-copy-source-If-None-Match",
            )),
            Outcome::NotModified(_) => Err(fault::precondition_failed(
                "x-amz-copy-source-If-Modified-Since",
            )),
        }
    }
}

/// The conditions of a write, on the version that is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteConditions<'a> {
    /// `If-Match`
    pub matches: Option<&'a str>,
    /// `If-None-Match`, which can only be `*`.
    pub none_match: Option<&'a str>,
}

impl WriteConditions<'_> {
    /// Checks that they are such as S3 knows.
    pub fn validate(&self) -> Result<(), Fault> {
        let refuse = |header: &str, why: &str| {
            Err(Fault::sender(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            )
            .field("Header", header)
            .field("additionalMessage", why))
        };
        match (self.matches, self.none_match) {
            (Some(_), Some(_)) => refuse(
                "If-Match,If-None-Match",
                "Multiple conditional request headers present in the request",
            ),
            (Some("*"), None) => refuse(
                "If-Match",
                "We don't accept the provided value of If-Match header for this API",
            ),
            (None, Some(value)) if value != "*" => refuse(
                "If-None-Match",
                "We don't accept the provided value of If-None-Match header for this API",
            ),
            _ => Ok(()),
        }
    }
    /// Fails where the key was written since an upload of it began, which the conditions are to rule out. `is_gone` says
    /// that it was deleted meanwhile.
    pub fn check_upload(
        &self,
        current: Option<&Version>,
        key: &str,
        began: i64,
        is_gone: bool,
    ) -> Result<(), Fault> {
        let condition = match (self.matches, self.none_match) {
            (Some(_), _) => "If-Match",
            (None, Some(_)) => "If-None-Match",
            (None, None) => return Ok(()),
        };
        self.check(current, key)?;
        if is_gone || current.is_some_and(|version| version.modified > began) {
            return Err(Fault::sender(
                409,
                "ConditionalRequestConflict",
                "The conditional request cannot succeed due to a conflicting operation against this resource.",
            )
            .field("Condition", condition)
            .field("Key", key));
        }
        Ok(())
    }
    /// Tries them on the current version.
    pub fn check(&self, current: Option<&Version>, key: &str) -> Result<(), Fault> {
        let current = current.filter(|v| !v.is_delete_marker);
        if let Some(header) = self.none_match
            && current.is_some_and(|v| etag_is_among(&v.etag, header))
        {
            return Err(fault::precondition_failed("If-None-Match"));
        }
        match (self.matches, current) {
            (Some(_), None) => Err(fault::no_such_key(key)),
            (Some(header), Some(v)) if !etag_is_among(&v.etag, header) => {
                Err(fault::precondition_failed("If-Match"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: Timestamp = Timestamp(1_700_000_000_500);

    fn test(conditions: Conditions<'_>) -> Outcome {
        conditions.test("abc", T)
    }

    #[test]
    fn an_etag_matches_with_or_without_quotes_and_by_a_star() {
        for header in ["abc", "\"abc\"", "W/\"abc\"", "*", "\"x\", \"abc\""] {
            assert!(etag_is_among("abc", header), "{header}");
        }
        assert!(!etag_is_among("abc", "\"ab\""));
    }

    #[test]
    fn the_etag_goes_before_the_date() {
        let earlier = Some(Timestamp(T.0 - 10_000));
        let both = Conditions {
            matches: Some("abc"),
            unmodified_since: earlier,
            ..Default::default()
        };
        assert_eq!(test(both), Outcome::Holds);
        let both = Conditions {
            none_match: Some("other"),
            modified_since: Some(T),
            ..Default::default()
        };
        assert_eq!(test(both), Outcome::Holds);
        let date = Conditions {
            unmodified_since: earlier,
            ..Default::default()
        };
        assert_eq!(test(date), Outcome::Failed("If-Unmodified-Since"));
    }

    #[test]
    fn a_date_is_compared_in_whole_seconds() {
        let shown = Some(Timestamp(1_700_000_000_000));
        assert_eq!(
            test(Conditions {
                modified_since: shown,
                ..Default::default()
            }),
            Outcome::NotModified("If-Modified-Since")
        );
        assert_eq!(
            test(Conditions {
                unmodified_since: shown,
                ..Default::default()
            }),
            Outcome::Holds
        );
    }

    proptest! {
        #[test]
        fn any_header_is_tried(header in "\\PC*") {
            let _ = etag_is_among("abc", &header);
        }
    }
}
