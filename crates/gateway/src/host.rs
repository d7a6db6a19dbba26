//! What a host name says: service, region, and the name before them.

/// The domains under which AWS-shaped host names are looked for.
const DOMAINS: [&str; 5] = [
    "localhost.localstack.cloud",
    "amazonaws.com.cn",
    "amazonaws.com",
    "localhost",
    "on.aws",
];

/// A host name without its port, in lower case where that matters.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        _ => host,
    }
}

/// The labels before a known domain: `b.s3.us-east-1.amazonaws.com` → `["b", "s3", "us-east-1"]`.
pub fn labels(host: &str) -> Option<Vec<&str>> {
    let host = without_port(host);
    let head = DOMAINS
        .iter()
        .find_map(|d| host.strip_suffix(d)?.strip_suffix('.'))?;
    Some(head.split('.').collect())
}

/// Whether a label looks like a region.
pub fn is_region(label: &str) -> bool {
    let mut parts = label.rsplitn(2, '-');
    let number = parts.next().unwrap_or("");
    let rest = parts.next().unwrap_or("");
    rest.contains('-')
        && !number.is_empty()
        && number.len() <= 2
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// The endpoint prefix and region in a host name: `sqs.eu-west-1.amazonaws.com` → `("sqs", Some("eu-west-1"))`.
pub fn service(host: &str) -> Option<(&str, Option<&str>)> {
    let labels = labels(host)?;
    let region = labels.iter().copied().find(|l| is_region(l));
    let name = labels
        .iter()
        .rev()
        .copied()
        .find(|l| !is_region(l) && *l != "dualstack" && *l != "vpce")?;
    Some((name, region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_and_region_are_read_from_the_usual_host_names() {
        assert_eq!(
            service("sqs.eu-west-1.amazonaws.com"),
            Some(("sqs", Some("eu-west-1")))
        );
        assert_eq!(service("s3.amazonaws.com:443"), Some(("s3", None)));
        assert_eq!(
            service("my.bucket.s3.us-west-2.localhost.localstack.cloud:4566"),
            Some(("s3", Some("us-west-2")))
        );
        assert_eq!(
            service("abc.lambda-url.us-east-1.localhost.localstack.cloud"),
            Some(("lambda-url", Some("us-east-1")))
        );
        assert_eq!(service("127.0.0.1:4566"), None);
        assert_eq!(service("localhost:4566"), None);
    }
}
