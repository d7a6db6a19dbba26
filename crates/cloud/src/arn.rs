//! Amazon Resource Names.

use std::fmt;
use std::str::FromStr;

/// `arn:partition:service:region:account:resource`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arn {
    /// `aws`, `aws-cn`, …
    pub partition: String,
    /// The service's short name.
    pub service: String,
    /// Region; empty for global services.
    pub region: String,
    /// Account; empty for S3's buckets.
    pub account: String,
    /// Everything after the fifth colon.
    pub resource: String,
}

impl Arn {
    /// In the partition `aws`.
    pub fn new(service: &str, region: &str, account: &str, resource: impl Into<String>) -> Arn {
        Arn {
            partition: "aws".into(),
            service: service.into(),
            region: region.into(),
            account: account.into(),
            resource: resource.into(),
        }
    }
    /// The resource behind its type: `function:f` → `("function", "f")`, `role/a/b` → `("role", "a/b")`.
    pub fn typed(&self) -> Option<(&str, &str)> {
        let at = self.resource.find([':', '/'])?;
        Some((&self.resource[..at], &self.resource[at + 1..]))
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arn {
            partition,
            service,
            region,
            account,
            resource,
        } = self;
        write!(f, "arn:{partition}:{service}:{region}:{account}:{resource}")
    }
}

/// Not an ARN.
#[derive(Debug, PartialEq)]
pub struct BadArn;

impl fmt::Display for BadArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an ARN")
    }
}
impl std::error::Error for BadArn {}

impl FromStr for Arn {
    type Err = BadArn;
    fn from_str(text: &str) -> Result<Arn, BadArn> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().map(str::to_owned);
        match (next().as_deref(), next(), next(), next(), next(), next()) {
            (
                Some("arn"),
                Some(partition),
                Some(service),
                Some(region),
                Some(account),
                Some(resource),
            ) if !partition.is_empty() && !service.is_empty() && !resource.is_empty() => Ok(Arn {
                partition,
                service,
                region,
                account,
                resource,
            }),
            _ => Err(BadArn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_reads_back_as_it_was_written() {
        for text in [
            "arn:aws:s3:::bucket/a:b",
            "arn:aws:lambda:us-east-1:000000000000:function:f:1",
        ] {
            assert_eq!(text.parse::<Arn>().expect("an ARN").to_string(), text);
        }
        assert_eq!("arn:aws:s3".parse::<Arn>(), Err(BadArn));
        let arn = Arn::new("iam", "", "1", "role/path/name");
        assert_eq!(arn.typed(), Some(("role", "path/name")));
    }
}
