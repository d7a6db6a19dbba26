//! The URLs of queues, in every form in which clients know them.

use cloud::{Arn, Context};
use wire::Fault;

use crate::fault;

/// A queue: whose, where, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// The account that owns it.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Its name.
    pub queue: String,
}

impl Name {
    /// The key of its record.
    pub fn key(&self) -> (&str, &str, &str) {
        (&self.account, &self.region, &self.queue)
    }
    /// Its ARN.
    pub fn arn(&self) -> String {
        cloud::arn::text("sqs", &self.region, &self.account, &self.queue)
    }
    /// The queue of that ARN; `None` for anything else.
    pub fn of_arn(arn: &Arn) -> Option<Name> {
        (arn.service == "sqs").then(|| Name {
            account: arn.account.clone(),
            region: arn.region.clone(),
            queue: arn.resource.clone(),
        })
    }
    /// The queue of that ARN's text.
    pub fn of_text(arn: &str) -> Option<Name> {
        Name::of_arn(&arn.parse().ok()?)
    }

    /// Reads a queue's URL: `…/<account>/<queue>`, with the region in the host or the path where it is there, or a bare name.
    pub fn of_url(ctx: &Context, url: &str) -> Result<Name, Fault> {
        let (host, path) = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
            None => ("", url.trim_start_matches('/')),
        };
        let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        let (region, account, queue) = match parts.as_slice() {
            [.., "queue", region, account, queue] if is_account(account) => {
                (Some(*region), *account, *queue)
            }
            [.., account, queue] if is_account(account) => (region_of(host), *account, *queue),
            [queue] if host.is_empty() => (None, ctx.account.as_str(), *queue),
            // AWS tells an address that is none of its own from a queue that is not there no more.
            _ => return Err(fault::no_queue()),
        };
        Ok(Name {
            account: account.to_owned(),
            region: region.unwrap_or(&ctx.region).to_owned(),
            queue: queue.to_owned(),
        })
    }

    /// The URL, as the caller reaches it.
    pub fn url(&self, ctx: &Context, strategy: Strategy) -> String {
        let Name {
            account,
            region,
            queue,
        } = self;
        let scheme = if ctx.secure { "https" } else { "http" };
        let port = match ctx.host.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => format!(":{port}"),
            _ => String::new(),
        };
        let domain = "localhost.localstack.cloud";
        match strategy {
            Strategy::Dynamic => format!("{scheme}://{}/{account}/{queue}", ctx.host),
            Strategy::Path => format!("{scheme}://{}/queue/{region}/{account}/{queue}", ctx.host),
            Strategy::Standard => {
                format!("{scheme}://sqs.{region}.{domain}{port}/{account}/{queue}")
            }
            Strategy::Domain if region == "us-east-1" => {
                format!("{scheme}://queue.{domain}{port}/{account}/{queue}")
            }
            Strategy::Domain => {
                format!("{scheme}://{region}.queue.{domain}{port}/{account}/{queue}")
            }
        }
    }
}

/// How the URLs of queues look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// At the host that the caller asked: what any client reaches without a name server.
    Dynamic,
    /// With the region in the path.
    Path,
    /// At `sqs.<region>.localhost.localstack.cloud`.
    Standard,
    /// At `<region>.queue.localhost.localstack.cloud`.
    Domain,
}

impl Strategy {
    /// By its name in `SQS_ENDPOINT_STRATEGY`; any other is dynamic.
    pub fn named(name: &str) -> Strategy {
        match name {
            "path" => Strategy::Path,
            "standard" => Strategy::Standard,
            "domain" => Strategy::Domain,
            _ => Strategy::Dynamic,
        }
    }
}

/// Whether a path's part is an account.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// The region in a queue's host name: `sqs.<region>.…`, `<region>.queue.…`, and `queue.…` for the first one.
fn region_of(host: &str) -> Option<&str> {
    let mut labels = host.split('.');
    match (labels.next()?, labels.next()?) {
        ("sqs", region) if region.contains('-') => Some(region),
        (region, "queue") if region.contains('-') => Some(region),
        ("queue", _) => Some("us-east-1"),
        _ => None,
    }
}

/// The queue of a request's `QueueUrl`.
pub fn queue_of(ctx: &Context, url: Option<String>) -> Result<Name, Fault> {
    Name::of_url(ctx, &fault::required(url, "QueueUrl")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_found_by_every_form_of_its_url() {
        let mut ctx = Context::internal("111111111111", "eu-west-1", "sqs", wire::Timestamp(0));
        ctx.host = "127.0.0.1:4000".into();
        let here = Name {
            account: "111111111111".into(),
            region: "eu-west-1".into(),
            queue: "q.fifo".into(),
        };
        for strategy in ["dynamic", "path", "standard", "domain", "off"] {
            let url = here.url(&ctx, Strategy::named(strategy));
            assert_eq!(Name::of_url(&ctx, &url).expect(&url), here, "{url}");
        }
        let first = Name::of_url(
            &ctx,
            "http://queue.localhost.localstack.cloud:4566/000000000000/q",
        );
        assert_eq!(first.expect("a name").region, "us-east-1");
        let aws = Name::of_url(&ctx, "https://sqs.us-west-2.amazonaws.com/000000000000/q");
        assert_eq!(aws.expect("a name").region, "us-west-2");
        assert_eq!(Name::of_url(&ctx, "q.fifo").expect("a name"), here);
        for url in [
            "http://localhost",
            "http://localhost/q",
            "http://h/12/q",
            "/",
            "",
        ] {
            assert!(Name::of_url(&ctx, url).is_err(), "{url}");
        }
    }
}
