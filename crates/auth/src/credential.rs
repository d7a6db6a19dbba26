//! What signs: an access key, and the scope of one signature.

use std::fmt;

/// An access key with its secret, and the session token if it is a temporary one.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    // The secret must not reach a log by way of a debug print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// The `Credential` of a version 4 signature: `AKID/20130524/us-east-1/s3/aws4_request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credential<'a> {
    /// The access key id.
    pub access_key_id: &'a str,
    /// The day, `yyyymmdd`.
    pub date: &'a str,
    /// The region; empty in a version 4a signature, whose scope has none.
    pub region: &'a str,
    /// The service's signing name.
    pub service: &'a str,
}

impl<'a> Credential<'a> {
    /// Reads a credential with a region. The access key may itself contain slashes.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (rest, terminator) = cut_last(text.trim())?;
        let (rest, service) = cut_last(rest)?;
        let (rest, region) = cut_last(rest)?;
        let (access_key_id, date) = cut_last(rest)?;
        (terminator == "aws4_request" && !access_key_id.is_empty() && is_day(date)).then_some(
            Credential {
                access_key_id,
                date,
                region,
                service,
            },
        )
    }

    /// Reads a version 4a credential, which has no region.
    pub fn parse_v4a(text: &'a str) -> Option<Self> {
        let (rest, terminator) = cut_last(text.trim())?;
        let (rest, service) = cut_last(rest)?;
        let (access_key_id, date) = cut_last(rest)?;
        (terminator == "aws4_request" && !access_key_id.is_empty() && is_day(date)).then_some(
            Credential {
                access_key_id,
                date,
                region: "",
                service,
            },
        )
    }

    /// The scope without the key: `20130524/us-east-1/s3/aws4_request`.
    pub fn scope(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

/// Before and after the last slash.
fn cut_last(text: &str) -> Option<(&str, &str)> {
    let at = memchr::memrchr(b'/', text.as_bytes())?;
    Some((&text[..at], &text[at + 1..]))
}

fn is_day(date: &str) -> bool {
    date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_read_from_its_end() {
        let credential = Credential::parse("odd/key/20130524/us-east-1/s3/aws4_request");
        assert_eq!(
            credential,
            Some(Credential {
                access_key_id: "odd/key",
                date: "20130524",
                region: "us-east-1",
                service: "s3"
            })
        );
        assert_eq!(Credential::parse("AKID/20130524/us-east-1/s3"), None);
        assert_eq!(
            Credential::parse("AKID/2013-5-4/us-east-1/s3/aws4_request"),
            None
        );
    }

    #[test]
    fn a_debug_print_hides_the_secret() {
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: "hush".into(),
            session_token: None,
        };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
