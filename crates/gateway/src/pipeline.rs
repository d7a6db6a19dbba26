//! One request, room by room, in one direction.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use cloud::{Before, Cloud, Context, Service};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::request::Parts;
use wire::protocol::{Request, Response};
use wire::query::Parameters;
use wire::{
    Audit, Body, Bytes, DecodeError, Fault, Location, Operation, Protocol, ServiceModel, Validation,
};

use crate::detect::{Catalog, Detected, header, host_of, protocol_of_absent};
use crate::encoding;
use crate::identify;
use crate::manners::{allow_origin, named, outsized, preflight};
use crate::metrics::Metrics;

/// Bodies that are held are bounded; AWS's own largest, a Lambda zip in base64, is below this.
const MAX_HELD_BODY: u64 = 128 * 1024 * 1024;

/// What the server itself answers: health, reset, metrics.
pub trait Control: Send + Sync + 'static {
    /// Answers a request to a path of the server's own, or lets it pass.
    fn answer<'a>(
        &'a self,
        parts: &'a Parts,
        body: &'a mut Body,
    ) -> BoxFuture<'a, Option<Response>>;
}

/// A server without paths of its own.
impl Control for () {
    fn answer<'a>(&'a self, _: &'a Parts, _: &'a mut Body) -> BoxFuture<'a, Option<Response>> {
        Box::pin(async { None })
    }
}

/// What is asked before an operation runs.
pub struct Authorize<'a> {
    /// The call.
    pub ctx: &'a Context,
    /// The service's signing name, the prefix of the action.
    pub service: &'static str,
    /// The operation.
    pub operation: &'static str,
}

/// Decides whether a call may run. Without one, all may.
pub trait Authorizer: Send + Sync + 'static {
    /// A fault where it may not.
    fn authorize(&self, request: &Authorize<'_>) -> Result<(), Fault>;
}

/// The server's services and what stands before them.
pub struct Gateway {
    cloud: Cloud,
    catalog: Catalog,
    control: Arc<dyn Control>,
    authorizer: Option<Arc<dyn Authorizer>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// A request on its way: what all rooms know of it.
struct Passage {
    service: usize,
    protocol: Protocol,
    name: &'static str,
}

impl Gateway {
    /// Over a region's services.
    pub fn new(
        cloud: Cloud,
        services: Vec<Service>,
        control: Arc<dyn Control>,
        metrics: Arc<Metrics>,
    ) -> Gateway {
        Gateway {
            cloud,
            catalog: Catalog::new(services),
            control,
            authorizer: None,
            metrics,
        }
    }
    /// With an authorizer.
    pub fn with_authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Gateway {
        self.authorizer = Some(authorizer);
        self
    }

    /// Answers one request.
    pub async fn answer(
        &self,
        request: http::Request<Body>,
        source_ip: std::net::IpAddr,
        secure: bool,
    ) -> Response {
        #[allow(clippy::disallowed_methods, reason = "measures, decides nothing")]
        let started = Instant::now();
        let (parts, mut body) = request.into_parts();
        let own = parts.uri.path().starts_with("/_") || parts.uri.path() == "/health";
        if own && let Some(response) = self.control.answer(&parts, &mut body).await {
            return response;
        }
        if let Some(response) = preflight(&parts)
            && self.catalog.claimant(&parts).is_none()
        {
            return response;
        }
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let mut claim = identify::claim(&parts);
        let (mut ctx, is_expired) = self.context(&parts, &mut claim, source_ip, secure);
        let (response, service, operation) = self
            .handle(&mut ctx, is_expired, claim.service, parts, body)
            .await;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.metrics
            .count(service, operation, response.status, micros);
        tracing::info!(
            target: "cumulo::request",
            service, operation, status = response.status, micros, %method, path = uri.path(),
            account = ctx.account, region = ctx.region, id = ctx.request_id,
            "request"
        );
        response
    }

    /// What the request says of itself, and whether its credentials have ended.
    fn context(
        &self,
        parts: &Parts,
        claim: &mut identify::Claim,
        source_ip: std::net::IpAddr,
        secure: bool,
    ) -> (Context, bool) {
        let caller = identify::caller(&self.cloud, claim, parts);
        let ctx = Context {
            account: caller.account,
            region: caller.region,
            principal: caller.principal,
            is_made_up: caller.is_made_up,
            // Its form is the service's.
            request_id: String::new(),
            time: self.cloud.clock.now(),
            source_ip,
            user_agent: header(parts, "user-agent").unwrap_or("").to_owned(),
            referer: header(parts, "referer").map(str::to_owned),
            trace: header(parts, "x-amzn-trace-id").map(str::to_owned),
            host: host_of(parts).unwrap_or("localhost:4566").to_owned(),
            secure,
        };
        (ctx, caller.is_expired)
    }

    async fn handle(
        &self,
        ctx: &mut Context,
        is_expired: bool,
        scope: Option<String>,
        parts: Parts,
        body: Body,
    ) -> (Response, &'static str, &'static str) {
        let is_form = parts.method == http::Method::POST
            && header(&parts, "content-type")
                .is_some_and(|c| c.starts_with("application/x-www-form-urlencoded"));
        // A form names its operation in the body, so it is read before the service is known.
        let (mut held, body) = match body {
            body if is_form && scope.as_deref() != Some("s3") => {
                match Box::pin(body.collect(MAX_HELD_BODY)).await {
                    Ok(bytes) => (Some(bytes), Body::Empty),
                    Err(e) => {
                        ctx.request_id = cloud::ids::uuid();
                        return (plain_fault(&Fault::from_body(&e), ctx), "", "");
                    }
                }
            }
            body => (None, body),
        };
        let form = held.as_deref().map(Parameters::parse).and_then(Result::ok);
        let Some(service) = self
            .catalog
            .service(&parts, scope.as_deref(), form.as_ref())
        else {
            ctx.request_id = cloud::ids::uuid();
            let name = scope.unwrap_or_default();
            let fault = Fault::receiver(
                501,
                "NotImplemented",
                format!("The service {name} is not implemented."),
            );
            let protocol = protocol_of_absent(&parts, form.is_some(), &name);
            let mut response = protocol.write_fault(&ABSENT, &fault, &ctx.request_id);
            self.dress(&mut response, ctx, &ABSENT, protocol);
            return (response, "", "");
        };
        let is_anybodys = scope.is_none() && form.is_none() && parts.uri == "/";
        let entry = &self.catalog.services[service].service;
        let model = entry.handler.model();
        ctx.request_id = match model.validation {
            Validation::S3 => cloud::ids::upper(16),
            _ => cloud::ids::uuid(),
        };
        let mut request = http::Request::from_parts(parts, body);
        if let Some(front) = &entry.front {
            if let Some(bytes) = held.take() {
                *request.body_mut() = bytes.into();
            }
            match front.before(ctx, request).await {
                Before::Answer(mut response) => {
                    self.dress(&mut response, ctx, model, Protocol::RestXml);
                    return (response, model.name, "");
                }
                Before::Pass(passed) => request = passed,
            }
        }
        let (parts, body) = request.into_parts();
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes())
                .into_owned()
                .collect();
        let protocol = self.catalog.protocol(service, &parts, form.is_some());
        let mut passage = Passage {
            service,
            protocol,
            name: "",
        };
        if let Some(fault) = entry
            .manners
            .most_head
            .and_then(|most| outsized(&parts, most))
        {
            let mut response = protocol.write_fault(model, &fault, &ctx.request_id);
            self.dress(&mut response, ctx, model, protocol);
            return (response, model.name, "");
        }
        let outcome = match self
            .catalog
            .operation(service, protocol, &parts, &query, form.as_ref())
        {
            Detected::Operation { index, .. } if is_expired => {
                passage.name = model.operations[index].name;
                Err(expired(protocol, model))
            }
            Detected::Operation { index, labels } => {
                passage.name = model.operations[index].name;
                self.run(ctx, &passage, index, &labels, &query, &parts, body, held)
                    .await
            }
            Detected::Absent(name) => {
                self.metrics.count_absent(model.name, name);
                let message = format!("The operation {}:{name} is not implemented.", model.name);
                Err(Fault::receiver(501, "NotImplemented", message))
            }
            Detected::Unknown(name) => Err(unknown_operation(protocol, model, &name, &parts)),
        };
        let mut response = match outcome {
            Ok(response) => response,
            Err(fault) => {
                if let Some(cause) = &fault.cause {
                    tracing::error!(
                        service = model.name,
                        operation = passage.name,
                        cause,
                        "internal failure"
                    );
                }
                match entry.manners.error_namespace {
                    Some(namespace) if fault.shape.is_none() => {
                        let fault = named(fault, namespace);
                        protocol.write_fault(model, &fault, &ctx.request_id)
                    }
                    _ => protocol.write_fault(model, &fault, &ctx.request_id),
                }
            }
        };
        if let Some(server) = entry.manners.server {
            response.headers.push(("Server".into(), server.to_owned()));
        }
        if let Some(least) = entry.manners.compresses_from {
            encoding::compress(&parts.headers, least, &mut response);
        }
        if parts.method == http::Method::HEAD && response.status >= 300 {
            response.body = Body::Empty;
        }
        self.dress(&mut response, ctx, model, protocol);
        match &entry.front {
            Some(front) => front.after(ctx, &parts, &mut response),
            None => allow_origin(&parts, &mut response),
        }
        // Who asks at the root for nothing in particular may be at any service.
        if is_anybodys && entry.front.is_some() {
            allow_origin(&parts, &mut response);
        }
        (response, model.name, passage.name)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the rooms' shared knowledge, borrowed"
    )]
    async fn run(
        &self,
        ctx: &Context,
        passage: &Passage,
        index: usize,
        labels: &[(&'static str, String)],
        query: &[(String, String)],
        parts: &Parts,
        body: Body,
        held: Option<Bytes>,
    ) -> Result<Response, Fault> {
        let handler = &self.catalog.services[passage.service].service.handler;
        let model = handler.model();
        let op = &model.operations[index];
        if let Some(authorizer) = &self.authorizer {
            authorizer.authorize(&Authorize {
                ctx,
                service: model.signing_name,
                operation: op.name,
            })?;
        }
        let (bytes, stream) = match held {
            Some(bytes) => (bytes, None),
            None if op.streams_input() && passage.protocol.is_rest() => (Bytes::new(), Some(body)),
            None => {
                let manners = &self.catalog.services[passage.service].service.manners;
                let most = manners.most_body.unwrap_or(MAX_HELD_BODY);
                (Box::pin(body.collect(most)).await?, None)
            }
        };
        let bytes = match passage.protocol.is_rest() {
            true => bytes,
            false => {
                let manners = &self.catalog.services[passage.service].service.manners;
                let most = manners.most_body.unwrap_or(MAX_HELD_BODY);
                encoding::decoded(&parts.headers, bytes, most, manners.most_body.is_some())?
            }
        };
        let mut audit = Audit::default();
        let request = Request {
            labels,
            query,
            headers: &parts.headers,
            body: &bytes,
            stream,
        };
        let call = passage
            .protocol
            .read(request, |r| handler.call(index, ctx, r, &mut audit))
            .map_err(|e| {
                let fault = decode_fault(e, &audit, model, op, passage.protocol, query);
                match &self.catalog.services[passage.service].service.front {
                    Some(front) => front.unreadable(op.name, parts, fault),
                    None => fault,
                }
            })?;
        // A bug in one operation is that caller's error, not the server's end.
        let mut output = match AssertUnwindSafe(call).catch_unwind().await {
            Ok(outcome) => outcome?,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("unknown");
                let mut fault =
                    Fault::internal("We encountered an internal error. Please try again.");
                fault.cause = Some(format!("panic: {text}"));
                return Err(fault);
            }
        };
        Ok(passage
            .protocol
            .write(model, op, output.as_mut(), &ctx.request_id))
    }

    /// The headers that every answer has.
    fn dress(
        &self,
        response: &mut Response,
        ctx: &Context,
        model: &ServiceModel,
        protocol: Protocol,
    ) {
        let headers = &mut response.headers;
        if model.validation == Validation::S3 {
            headers.push(("x-amz-request-id".into(), ctx.request_id.clone()));
            headers.push((
                "x-amz-id-2".into(),
                wire::protocol::host_id(&ctx.request_id),
            ));
            headers.push(("Server".into(), "AmazonS3".into()));
        } else {
            let name = if protocol == Protocol::Ec2Query {
                "x-amz-request-id"
            } else {
                "x-amzn-RequestId"
            };
            headers.push((name.into(), ctx.request_id.clone()));
        }
    }
}

/// Temporary credentials that have ended, in each protocol's words.
fn expired(protocol: Protocol, model: &ServiceModel) -> Fault {
    if model.validation == Validation::S3 {
        return Fault::sender(400, "ExpiredToken", "The provided token has expired.");
    }
    let message = "The security token included in the request is expired";
    match protocol {
        Protocol::AwsQuery | Protocol::AwsQueryJson | Protocol::Ec2Query | Protocol::RestXml => {
            Fault::sender(403, "ExpiredToken", message)
        }
        Protocol::RestJson => Fault::sender(403, "ExpiredTokenException", message),
        _ => Fault::sender(400, "ExpiredTokenException", message),
    }
}

/// What stands for the model of a service that is not here.
static ABSENT: ServiceModel = ServiceModel {
    name: "",
    id: "",
    signing_name: "",
    endpoint_prefix: "",
    api_version: "",
    protocols: &[],
    target_prefix: None,
    namespace: None,
    query_compatible: false,
    validation: Validation::Listed("ValidationException"),
    operations: &[],
    absent: &[],
};

fn plain_fault(fault: &Fault, ctx: &Context) -> Response {
    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ErrorResponse><Error><Code>");
    wire::xml::escape(&mut text, &fault.code);
    text.push_str("</Code><Message>");
    wire::xml::escape(&mut text, &fault.message);
    text.push_str("</Message></Error><RequestId>");
    wire::xml::escape(&mut text, &ctx.request_id);
    text.push_str("</RequestId></ErrorResponse>");
    Response::new(fault.status, "text/xml", text).header("x-amzn-RequestId", ctx.request_id.clone())
}

fn unknown_operation(protocol: Protocol, model: &ServiceModel, name: &str, parts: &Parts) -> Fault {
    match protocol {
        Protocol::AwsQuery | Protocol::AwsQueryJson | Protocol::Ec2Query if name.is_empty() => {
            Fault::sender(
                400,
                "MissingAction",
                "The request must contain the parameter Action.",
            )
        }
        Protocol::AwsQuery | Protocol::AwsQueryJson if model.query_compatible => Fault::sender(
            400,
            "InvalidAction",
            format!("The action {name} is not valid for this endpoint."),
        ),
        Protocol::AwsQuery | Protocol::AwsQueryJson => Fault::sender(
            400,
            "InvalidAction",
            format!(
                "Could not find operation {name} for version {}",
                model.api_version
            ),
        ),
        Protocol::Ec2Query => Fault::sender(
            400,
            "InvalidAction",
            format!("The action {name} is not valid for this web service."),
        ),
        Protocol::RestXml => Fault::sender(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
        .field("Method", parts.method.as_str())
        .field(
            "ResourceType",
            if parts.uri.path().trim_start_matches('/').contains('/') {
                "OBJECT"
            } else {
                "BUCKET"
            },
        ),
        Protocol::RestJson => Fault::sender(
            404,
            "UnknownOperationException",
            "Unable to determine service/operation name to be authorized",
        ),
        _ => Fault::sender(400, "UnknownOperationException", ""),
    }
}

fn decode_fault(
    e: DecodeError,
    audit: &Audit,
    model: &ServiceModel,
    op: &Operation,
    protocol: Protocol,
    query: &[(String, String)],
) -> Fault {
    if model.validation == Validation::S3 {
        return s3_decode_fault(e, audit, op, query);
    }
    match (e, model.validation) {
        (DecodeError::Rejected, Validation::Listed(code)) => {
            Fault::sender(400, op.refusal.unwrap_or(code), audit.message())
        }
        (DecodeError::TooComplex | DecodeError::Malformed(_) | DecodeError::Type(_), _)
            if protocol.is_query() =>
        {
            Fault::sender(
                400,
                "MalformedInput",
                "The request could not be read: a parameter is not of its type.",
            )
        }
        (DecodeError::Malformed(text), _) if protocol == Protocol::RestJson => Fault::sender(
            400,
            "InvalidRequestContentException",
            format!("Could not parse request body into json: {text}"),
        ),
        // What is no JSON at all AWS's servers refuse without a word.
        (DecodeError::Malformed(_), _)
            if matches!(protocol, Protocol::AwsJson10 | Protocol::AwsJson11) =>
        {
            Fault::sender(400, "SerializationException", "")
        }
        (e, _) => {
            Fault::sender(400, "SerializationException", e.to_string()).message_key("Message")
        }
    }
}

/// S3 knows no list of violations: a document that breaks its schema is malformed, a bad header an invalid argument.
fn s3_decode_fault(
    e: DecodeError,
    audit: &Audit,
    op: &Operation,
    query: &[(String, String)],
) -> Fault {
    const MALFORMED: &str =
        "The XML you provided was not well-formed or did not validate against our published schema";
    let in_document = |l: Location| matches!(l, Location::Body | Location::Payload);
    let is_wrong_number = |(name, value): &&(String, String)| {
        let is_it = |m: &&wire::Member| m.location == Location::Query && m.wire == name;
        let member = op.input.members.iter().find(is_it);
        // An empty one is not given.
        !value.is_empty()
            && member.is_some_and(|m| m.target.kind == wire::Kind::Integer)
            && value.parse::<i32>().is_err()
    };
    if matches!(e, DecodeError::Type(_))
        && let Some((name, value)) = query.iter().find(is_wrong_number)
    {
        let message = match name.as_str() {
            "partNumber" => "Part number must be an integer between 1 and 10000, inclusive".into(),
            name => format!("Provided {name} not an integer or within integer range"),
        };
        return Fault::sender(400, "InvalidArgument", message)
            .field("ArgumentName", name.clone())
            .field("ArgumentValue", value.clone());
    }
    match audit.violations.first() {
        Some(v) if matches!(e, DecodeError::Rejected) && !in_document(v.location) => {
            Fault::sender(400, "InvalidArgument", v.message.clone()).field("ArgumentName", v.member)
        }
        _ if matches!(e, DecodeError::Type(_))
            && op.input.members.iter().all(|m| !in_document(m.location)) =>
        {
            Fault::sender(400, "InvalidArgument", e.to_string())
        }
        _ => Fault::sender(400, "MalformedXML", MALFORMED),
    }
}
