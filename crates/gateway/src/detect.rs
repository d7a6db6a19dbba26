//! Which service and operation a request means, and in which protocol.

use http::request::Parts;
use wire::Protocol;
use wire::query::Parameters;
use wire::route::{Found, Router};

use crate::host;
use cloud::Service;

/// The services of a region, ready to be recognised.
pub struct Catalog {
    /// All services, by their place.
    pub services: Vec<Entry>,
    /// Their models, in the same order: looked through for each request.
    models: Vec<&'static wire::ServiceModel>,
    fallback: Option<usize>,
}

/// One service with the routes of its REST operations.
pub struct Entry {
    /// The service.
    pub service: Service,
    router: Option<Router>,
}

/// What was recognised.
#[derive(Debug, PartialEq)]
pub enum Detected {
    /// An operation of a service.
    Operation {
        /// Its index.
        index: usize,
        /// Path labels, for REST.
        labels: Vec<(&'static str, String)>,
    },
    /// A modelled operation that does not exist here.
    Absent(&'static str),
    /// A name (or method and path) that the model does not know.
    Unknown(String),
}

impl Catalog {
    /// The service whose own HTTP a request is of, whatever it says of an operation.
    pub(crate) fn claimant(&self, parts: &Parts) -> Option<usize> {
        self.services
            .iter()
            .position(|e| e.service.front.as_ref().is_some_and(|f| f.claims(parts)))
    }
    /// Over these services; requests that name none go to the REST XML service, which is S3.
    pub fn new(services: Vec<Service>) -> Catalog {
        let services: Vec<Entry> = services
            .into_iter()
            .map(|service| {
                let model = service.handler.model();
                let rest = model.protocols.iter().any(|p| p.is_rest());
                Entry {
                    router: rest.then(|| Router::new(model)),
                    service,
                }
            })
            .collect();
        let fallback = services
            .iter()
            .position(|e| e.service.handler.model().validation == wire::Validation::S3);
        let models = services.iter().map(|e| e.service.handler.model()).collect();
        Catalog {
            services,
            models,
            fallback,
        }
    }

    fn by(&self, f: impl Fn(&wire::ServiceModel) -> bool) -> Option<usize> {
        self.models.iter().position(|model| f(model))
    }

    /// Tells the service. `scope` is the service in the credential scope; `form` the body of a form request.
    pub fn service(
        &self,
        parts: &Parts,
        scope: Option<&str>,
        form: Option<&Parameters>,
    ) -> Option<usize> {
        if let Some(i) = self.claimant(parts) {
            return Some(i);
        }
        if let Some((prefix, _)) = header(parts, "x-amz-target").and_then(|t| t.rsplit_once('.'))
            && let Some(i) = self.by(|m| m.target_prefix == Some(prefix))
        {
            return Some(i);
        }
        if let Some(name) = rpc_path(parts).map(|(service, _)| service)
            && let Some(i) = self.by(|m| m.target_prefix == Some(name))
        {
            return Some(i);
        }
        let by_host = || host::service(host_of(parts)?).map(|(name, _)| name);
        if let Some(name) = scope.or_else(by_host) {
            let found = self.by(|m| m.signing_name == name || m.endpoint_prefix == name);
            if found.is_some() {
                return found;
            }
            if scope.is_some() && name != "s3" {
                return None;
            }
        }
        let url = match parts.uri.path() {
            "/" => parts
                .uri
                .query()
                .and_then(|q| Parameters::parse(q.as_bytes()).ok()),
            _ => None,
        };
        let given = |name| {
            let in_form = form.and_then(|f| f.get(name));
            in_form.or_else(|| url.as_ref().and_then(|u| u.get(name)))
        };
        if let Some(action) = given("Action") {
            let version = given("Version");
            let speaks_query = |m: &wire::ServiceModel| m.protocols.iter().any(|p| p.is_query());
            let knows = |m: &wire::ServiceModel| {
                speaks_query(m) && (m.operation(action).is_some() || m.knows_absent(action))
            };
            let found = self
                .by(|m| knows(m) && version == Some(m.api_version))
                .or_else(|| self.by(knows));
            if found.is_some() || form.is_some() {
                return found;
            }
        }
        self.by_path(parts).or(self.fallback)
    }

    /// A REST JSON service whose paths begin with a fixed word, as Lambda's `/2015-03-31/`.
    fn by_path(&self, parts: &Parts) -> Option<usize> {
        let first = parts
            .uri
            .path()
            .trim_start_matches('/')
            .split('/')
            .next()
            .filter(|s| s.len() == 10)?;
        let dated = first.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if !dated {
            return None;
        }
        self.by(|m| {
            m.protocols.contains(&Protocol::RestJson)
                && m.operations
                    .iter()
                    .any(|o| o.uri.trim_start_matches('/').starts_with(first))
        })
    }

    /// The protocol a request of this service speaks.
    pub fn protocol(&self, service: usize, parts: &Parts, is_form: bool) -> Protocol {
        let protocols = self.models[service].protocols;
        let spoken = shown(parts, is_form).and_then(|shown| {
            let mut shown = shown.iter().copied();
            shown.find(|protocol| protocols.contains(protocol))
        });
        let protocol = spoken
            .or_else(|| protocols.first().copied())
            .unwrap_or(Protocol::RestXml);
        let takes_json =
            || header(parts, "accept").is_some_and(|types| types.contains("application/json"));
        match protocol {
            Protocol::AwsQuery if takes_json() => Protocol::AwsQueryJson,
            protocol => protocol,
        }
    }

    /// Tells the operation.
    pub fn operation(
        &self,
        service: usize,
        protocol: Protocol,
        parts: &Parts,
        query: &[(String, String)],
        form: Option<&Parameters>,
    ) -> Detected {
        let entry = &self.services[service];
        let model = self.models[service];
        let by_name = |name: &str| match model.operation(name) {
            Some(index) => Detected::Operation {
                index,
                labels: Vec::new(),
            },
            None => match model.absent.iter().find(|a| a.0 == name) {
                Some(a) => Detected::Absent(a.0),
                None => Detected::Unknown(name.to_owned()),
            },
        };
        match protocol {
            Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::AwsCbor11 => by_name(
                header(parts, "x-amz-target")
                    .and_then(|t| t.rsplit_once('.'))
                    .map_or("", |t| t.1),
            ),
            Protocol::RpcV2Cbor => by_name(rpc_path(parts).map_or("", |(_, op)| op)),
            Protocol::AwsQuery | Protocol::AwsQueryJson | Protocol::Ec2Query => {
                let from_url = || {
                    query
                        .iter()
                        .find(|(k, _)| k == "Action")
                        .map(|(_, v)| v.as_str())
                };
                by_name(
                    form.and_then(|f| f.get("Action"))
                        .or_else(from_url)
                        .unwrap_or(""),
                )
            }
            Protocol::RestJson | Protocol::RestXml => {
                let found = entry.router.as_ref().and_then(|r| {
                    r.find(parts.method.as_str(), parts.uri.path(), query, &|h| {
                        wire::header::has(&parts.headers, h)
                    })
                });
                match found {
                    Some((Found::Operation(index), labels)) => {
                        Detected::Operation { index, labels }
                    }
                    Some((Found::Absent(name), _)) => Detected::Absent(name),
                    None => Detected::Unknown(format!("{} {}", parts.method, parts.uri.path())),
                }
            }
        }
    }
}

/// The protocols that a request's headers tell of, the likelier first; `None` for one that looks like REST.
fn shown(parts: &Parts, is_form: bool) -> Option<&'static [Protocol]> {
    let content = header(parts, "content-type").unwrap_or("");
    if rpc_path(parts).is_some() && wire::header::has(&parts.headers, "smithy-protocol") {
        Some(&[Protocol::RpcV2Cbor])
    } else if wire::header::has(&parts.headers, "x-amz-target") {
        if content.starts_with("application/x-amz-cbor") {
            Some(&[Protocol::AwsCbor11])
        } else if content.starts_with("application/x-amz-json-1.0") {
            Some(&[Protocol::AwsJson10, Protocol::AwsJson11])
        } else {
            Some(&[Protocol::AwsJson11, Protocol::AwsJson10])
        }
    } else if is_form || content.starts_with("application/x-www-form-urlencoded") {
        Some(&[Protocol::AwsQuery, Protocol::Ec2Query])
    } else {
        None
    }
}

/// The protocol in which to tell a request that its service, by its name in the signature, is not here.
pub fn protocol_of_absent(parts: &Parts, is_form: bool, name: &str) -> Protocol {
    match shown(parts, is_form) {
        Some([first, ..]) => *first,
        _ if matches!(name, "cloudfront" | "route53" | "s3") => Protocol::RestXml,
        _ => Protocol::RestJson,
    }
}

/// Service and operation in the path of RPC v2: `/service/S/operation/O`.
fn rpc_path(parts: &Parts) -> Option<(&str, &str)> {
    let (service, rest) = parts
        .uri
        .path()
        .strip_prefix("/service/")?
        .split_once('/')?;
    Some((
        service.rsplit('.').next().unwrap_or(service),
        rest.strip_prefix("operation/")?,
    ))
}

/// A header's text.
pub fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    wire::header::text(&parts.headers, name)
}

/// The host that was asked for, with its port.
pub fn host_of(parts: &Parts) -> Option<&str> {
    header(parts, "host").or_else(|| parts.uri.authority().map(|a| a.as_str()))
}
