//! Host names: `bucket.s3.region.amazonaws.com`, LocalStack's, and those of websites.

use std::borrow::Cow;

use http::{HeaderMap, Uri};

/// The domains under which S3 is reached, longest first.
const DOMAINS: [&str; 4] = [
    "localhost.localstack.cloud",
    "amazonaws.com.cn",
    "amazonaws.com",
    "localhost",
];

/// The host that was asked, without its port, in lower case.
pub fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
    let host = headers
        .get(http::header::HOST)
        .and_then(|h| h.to_str().ok())
        .or_else(|| uri.authority().map(|a| a.as_str()))?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        _ => host,
    };
    Some(if name.bytes().any(|b| b.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    })
}

/// Whether the host header could name a website. Cheap: it is asked of every request, of whatever service.
pub fn may_be_website(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(http::header::HOST) else {
        // HTTP/2 has it in the URI.
        return true;
    };
    let host = host.as_bytes();
    let names_one = |at: usize| {
        let name = host.get(at..at + ".s3-website".len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(b".s3-website"))
    };
    (0..host.len()).any(|at| host[at] == b'.' && names_one(at))
}

fn before_domain(host: &str) -> Option<(&str, &'static str)> {
    DOMAINS
        .iter()
        .find_map(|domain| Some((host.strip_suffix(domain)?.strip_suffix('.')?, *domain)))
}

fn is_region(label: &str) -> bool {
    let (rest, number) = label.rsplit_once('-').unwrap_or_default();
    rest.contains('-') && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

/// The bucket in a host name of the virtual-host style.
pub fn bucket(host: &str) -> Option<&str> {
    let (head, domain) = before_domain(host)?;
    let labels: Vec<&str> = head.split('.').collect();
    let is_service = |label: &str| {
        label == "s3"
            || label == "s3-accelerate"
            || label.strip_prefix("s3-").is_some_and(is_region)
    };
    // From the right: the region, `dualstack`, the service; what is left of it is the bucket.
    let at = labels.iter().rposition(|label| is_service(label));
    match at {
        Some(at) => {
            let is_tail =
                |label: &&str| is_region(label) || **label == *"dualstack" || **label == *"fips";
            let tail = labels.get(at + 1..)?;
            if at == 0 || !tail.iter().all(is_tail) {
                return None;
            }
            let length: usize = labels.iter().take(at).map(|l| l.len() + 1).sum::<usize>() - 1;
            head.get(..length)
        }
        None if domain == "localhost" => Some(head),
        None => None,
    }
}

/// The bucket in a website's host name: `bucket.s3-website-region…` or `bucket.s3-website.region…`.
pub fn website_bucket(host: &str) -> Option<&str> {
    // Asked of every request: most hosts have few dots, and a search would have to be set up.
    let dots = host.bytes().enumerate().filter(|(_, b)| *b == b'.');
    let (at, rest) = dots
        .filter_map(|(at, _)| Some((at, host[at..].strip_prefix(".s3-website")?)))
        .next()?;
    (rest.starts_with(['.', '-']) && at > 0)
        .then(|| host.get(..at))
        .flatten()
}

/// The same request in path style.
pub fn to_path_style(uri: &Uri, bucket: &str) -> Option<Uri> {
    let path = uri.path();
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let bare = if path == "/" { "" } else { path };
    format!("/{bucket}{bare}{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_is_read_from_the_usual_host_names() {
        for (host, wanted) in [
            ("b.s3.amazonaws.com", Some("b")),
            ("my.bucket.s3.us-west-2.amazonaws.com", Some("my.bucket")),
            ("b.s3-us-west-2.amazonaws.com", Some("b")),
            ("b.s3.dualstack.eu-west-1.amazonaws.com", Some("b")),
            ("b.s3.localhost.localstack.cloud", Some("b")),
            ("b.s3.us-east-1.localhost.localstack.cloud", Some("b")),
            ("b.localhost", Some("b")),
            ("s3.amazonaws.com", None),
            ("s3.us-east-1.amazonaws.com", None),
            ("s3.localhost.localstack.cloud", None),
            ("localhost.localstack.cloud", None),
            ("localhost", None),
            ("127.0.0.1", None),
            ("s3.localhost", None),
        ] {
            assert_eq!(bucket(host), wanted, "{host}");
        }
    }

    #[test]
    fn a_website_has_a_name_of_its_own() {
        assert_eq!(
            website_bucket("b.s3-website-us-east-1.amazonaws.com"),
            Some("b")
        );
        assert_eq!(
            website_bucket("b.s3-website.localhost.localstack.cloud"),
            Some("b")
        );
        assert_eq!(website_bucket("b.s3.amazonaws.com"), None);
    }

    #[test]
    fn path_and_query_stay_as_they_were_sent() {
        let uri: Uri = "/a%20b?acl".parse().expect("a URI");
        assert_eq!(
            to_path_style(&uri, "b").map(|u| u.to_string()).as_deref(),
            Some("/b/a%20b?acl")
        );
        let uri: Uri = "/?acl".parse().expect("a URI");
        assert_eq!(
            to_path_style(&uri, "b").map(|u| u.to_string()).as_deref(),
            Some("/b?acl")
        );
    }
}
