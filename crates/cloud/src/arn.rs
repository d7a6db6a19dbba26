//! Amazon Resource Names.

use std::fmt;
use std::str::FromStr;

use wire::Fault;

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

/// The partition that a region is in; regions that nobody knows are in `aws`
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>).
pub fn partition(region: &str) -> &'static str {
    const OTHERS: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("us-isof-", "aws-iso-f"),
        ("eu-isoe-", "aws-iso-e"),
        ("eusc-", "aws-eusc"),
    ];
    let found = OTHERS.iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("aws", |(_, partition)| partition)
}

/// The text of a regional resource's ARN, without an `Arn` in between: some are told with every request.
pub fn text(service: &str, region: &str, account: &str, resource: impl fmt::Display) -> String {
    let partition = partition(region);
    format!("arn:{partition}:{service}:{region}:{account}:{resource}")
}

impl Arn {
    /// Of a resource in a region, whose partition it has.
    pub fn new(service: &str, region: &str, account: &str, resource: impl Into<String>) -> Arn {
        Arn {
            partition: partition(region).into(),
            service: service.into(),
            region: region.into(),
            account: account.into(),
            resource: resource.into(),
        }
    }
    /// Of a resource that is the same in all regions of a partition: that of `region`, where it is asked for.
    pub fn global(service: &str, region: &str, account: &str, resource: impl Into<String>) -> Arn {
        Arn {
            region: String::new(),
            ..Arn::new(service, region, account, resource)
        }
    }
    /// Reads an ARN that was made here; one that is none is a defect of ours.
    pub fn stored(text: &str) -> Result<Arn, Fault> {
        text.parse()
            .map_err(|_| Fault::internal(format!("the stored ARN {text} is none")))
    }
    /// Of a session of this role, by the role's name, which has no path there.
    pub fn session(&self, role: &str, session: &str) -> Arn {
        Arn {
            service: "sts".into(),
            resource: format!("assumed-role/{role}/{session}"),
            ..self.clone()
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

    #[test]
    fn an_arn_is_in_its_region_s_partition() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("eu-west-1", "aws"),
            ("nowhere", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            let arn = Arn::new("sqs", region, "1", "q").to_string();
            assert_eq!(arn, format!("arn:{partition}:sqs:{region}:1:q"));
            assert_eq!(text("sqs", region, "1", "q"), arn);
            let arn = Arn::global("iam", region, "1", "user/u").to_string();
            assert_eq!(arn, format!("arn:{partition}:iam::1:user/u"));
        }
    }
}
