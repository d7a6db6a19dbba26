//! Which operation of a REST service a request means.

use percent_encoding::percent_decode_str;

use crate::model::ServiceModel;
use crate::schema::{Location, Schema};

/// One operation's method, path and what else must be there.
struct Route {
    method: &'static str,
    path: Vec<Segment>,
    query: Vec<(&'static str, Option<&'static str>)>,
    /// How many of these stand in the URI itself; the others are required members.
    literal: usize,
    headers: Vec<&'static str>,
    found: Found,
}

enum Segment {
    Literal(&'static str),
    Label(&'static str),
    /// The rest of the path, slashes included.
    Greedy(&'static str),
}

/// What a request was recognised as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The operation with that index.
    Operation(usize),
    /// A modelled operation that does not exist here.
    Absent(&'static str),
}

/// The routes of one service, the most specific first.
pub struct Router {
    methods: Vec<(&'static str, Vec<Route>)>,
    /// Whether the path tells an operation without its required members. S3's operations share their paths.
    by_path: bool,
}

impl Router {
    /// The routes of a REST service's model.
    pub fn new(model: &'static ServiceModel) -> Router {
        let present = model.operations.iter().enumerate();
        let present =
            present.map(|(i, o)| Route::new(o.method, o.uri, Some(o.input), Found::Operation(i)));
        let absent = model
            .absent
            .iter()
            .map(|(name, method, uri)| Route::new(method, uri, None, Found::Absent(name)));
        let mut routes: Vec<Route> = present.chain(absent).collect();
        routes.sort_by_key(|r| std::cmp::Reverse(r.specificity()));
        let mut methods: Vec<(&'static str, Vec<Route>)> = Vec::new();
        for route in routes {
            match methods.iter_mut().find(|(m, _)| *m == route.method) {
                Some((_, routes)) => routes.push(route),
                None => methods.push((route.method, vec![route])),
            }
        }
        Router {
            methods,
            by_path: !model.protocols.contains(&crate::Protocol::RestXml),
        }
    }
    /// Recognises a request. `path` is still percent-encoded; `query` is decoded.
    pub fn find(
        &self,
        method: &str,
        path: &str,
        query: &[(String, String)],
        has_header: &dyn Fn(&str) -> bool,
    ) -> Option<(Found, Vec<(&'static str, String)>)> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (_, routes) = self.methods.iter().find(|(m, _)| *m == method)?;
        let given = |(k, v): &(&str, Option<&str>)| {
            query
                .iter()
                .any(|(name, value)| name == k && v.is_none_or(|v| v == value))
        };
        let whole = routes
            .iter()
            .filter(|r| r.query.is_empty() || !query.is_empty())
            .filter(|r| r.query.iter().all(given) && r.headers.iter().all(|h| has_header(h)))
            .find_map(|r| Some((r.found, r.labels(path)?)));
        // What lacks a required member is still told by its path, to be refused in its operation's words.
        whole.or_else(|| {
            let by_path = routes.iter().filter(|_| self.by_path);
            by_path
                .filter(|r| r.query[..r.literal].iter().all(given))
                .find_map(|r| Some((r.found, r.labels(path)?)))
        })
    }
}

impl Route {
    fn new(
        method: &'static str,
        uri: &'static str,
        input: Option<&'static Schema>,
        found: Found,
    ) -> Route {
        let (path, literal_query) = uri.split_once('?').unwrap_or((uri, ""));
        let segments = path
            .trim_start_matches('/')
            .split('/')
            .filter(|s| !s.is_empty());
        let path = segments
            .map(
                |s| match s.strip_prefix('{').and_then(|s| s.strip_suffix('}')) {
                    Some(name) => name
                        .strip_suffix('+')
                        .map_or(Segment::Label(name), Segment::Greedy),
                    None => Segment::Literal(s),
                },
            )
            .collect();
        let mut query: Vec<_> = literal_query
            .split('&')
            .filter(|q| !q.is_empty())
            .map(|q| q.split_once('=').map_or((q, None), |(k, v)| (k, Some(v))))
            .collect();
        let literal = query.len();
        let mut headers = Vec::new();
        for m in input
            .map_or(&[][..], |s| s.members)
            .iter()
            .filter(|m| m.required)
        {
            match m.location {
                Location::Query => query.push((m.wire, None)),
                Location::Header => headers.push(m.wire),
                _ => {}
            }
        }
        Route {
            method,
            path,
            query,
            literal,
            headers,
            found,
        }
    }
    fn specificity(&self) -> (usize, usize, usize, usize) {
        let literals = self
            .path
            .iter()
            .filter(|s| matches!(s, Segment::Literal(_)))
            .count();
        let not_greedy = self
            .path
            .iter()
            .filter(|s| !matches!(s, Segment::Greedy(_)))
            .count();
        let valued = self.query.iter().filter(|(_, v)| v.is_some()).count();
        (
            literals,
            not_greedy,
            self.query.len() + self.headers.len(),
            valued,
        )
    }
    fn labels(&self, path: &str) -> Option<Vec<(&'static str, String)>> {
        let decode = |s: &str| match s.as_bytes().contains(&b'%') {
            true => percent_decode_str(s).decode_utf8_lossy().into_owned(),
            false => s.to_owned(),
        };
        let mut labels = Vec::new();
        let mut rest = Some(path);
        for segment in &self.path {
            let text = rest?;
            let slash = text.bytes().position(|b| b == b'/');
            let (head, tail) =
                slash.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
            match segment {
                Segment::Literal(l) if *l == head => rest = tail,
                Segment::Literal(_) => return None,
                Segment::Label(name) if !head.is_empty() => {
                    labels.push((*name, decode(head)));
                    rest = tail;
                }
                Segment::Label(_) => return None,
                Segment::Greedy(name) if !text.is_empty() => {
                    labels.push((*name, decode(text)));
                    rest = None;
                }
                Segment::Greedy(_) => return None,
            }
        }
        rest.is_none_or(str::is_empty).then_some(labels)
    }
}
