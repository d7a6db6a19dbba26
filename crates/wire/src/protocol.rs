//! From an HTTP request to a [`Reader`], and from an output or fault to an HTTP answer, for each protocol.

mod answer;

use std::borrow::Cow;
use std::pin::Pin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;

use crate::body::Body;
use crate::cbor::{self, CborWriter};
use crate::encode::{Encode, EventStream};
use crate::event_stream::Message;
use crate::fault::Fault;
use crate::header::Header;
use crate::json::{self, JsonWriter};
use crate::model::{Operation, Protocol, ServiceModel, Validation};
use crate::query::{Parameters, QueryReader};
use crate::reader::{DecodeError, Reader};
use crate::rest::{Parts, RestReader, RestWriter};
use crate::schema::{Kind, Schema};
use crate::writer::Writer;
use crate::xml::XmlWriter;

use answer::Members;

/// A request as the codecs need it.
pub struct Request<'a> {
    /// Path labels, for REST.
    pub labels: &'a [(&'static str, String)],
    /// Query parameters, decoded.
    pub query: &'a [(String, String)],
    /// Headers.
    pub headers: &'a HeaderMap,
    /// The held body.
    pub body: &'a [u8],
    /// The streamed body.
    pub stream: Option<Body>,
}

/// An answer, before the HTTP server's own headers.
#[derive(Debug, Default)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Headers; names in any case.
    pub headers: Vec<Header>,
    /// Body.
    pub body: Body,
}

impl Response {
    /// An answer with a body of that type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
        let headers = vec![("Content-Type".into(), content_type.to_owned())];
        Response {
            status,
            headers,
            body: body.into(),
        }
    }
    /// With one more header.
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<String>,
    ) -> Response {
        self.headers.push((name.into(), value.into()));
        self
    }
}

impl Operation {
    /// Whether its input's payload must not be collected.
    pub fn streams_input(&self) -> bool {
        self.input
            .payload()
            .is_some_and(|m| matches!(m.target.kind, Kind::Stream | Kind::Events))
    }
}

impl Protocol {
    /// Whether operations are told by method and path.
    pub fn is_rest(self) -> bool {
        matches!(self, Protocol::RestJson | Protocol::RestXml)
    }

    /// Whether requests are forms that name their operation in `Action`.
    pub fn is_query(self) -> bool {
        matches!(
            self,
            Protocol::AwsQuery | Protocol::AwsQueryJson | Protocol::Ec2Query
        )
    }

    /// The type of bodies.
    pub fn content_type(self) -> &'static str {
        match self {
            Protocol::AwsJson10 => "application/x-amz-json-1.0",
            Protocol::AwsJson11 => "application/x-amz-json-1.1",
            Protocol::RestJson | Protocol::AwsQueryJson => "application/json",
            Protocol::RestXml => "application/xml",
            Protocol::AwsQuery | Protocol::Ec2Query => "text/xml",
            Protocol::RpcV2Cbor => "application/cbor",
            Protocol::AwsCbor11 => "application/x-amz-cbor-1.1",
        }
    }

    /// Calls `f` with the reader of a request's input.
    pub fn read<R>(
        self,
        request: Request<'_>,
        f: impl FnOnce(&mut dyn Reader) -> Result<R, DecodeError>,
    ) -> Result<R, DecodeError> {
        match self {
            Protocol::AwsJson10 | Protocol::AwsJson11 => json::read(request.body, f),
            Protocol::RpcV2Cbor => cbor::read(request.body, false, f),
            Protocol::AwsCbor11 => cbor::read(request.body, true, f),
            Protocol::AwsQuery | Protocol::AwsQueryJson | Protocol::Ec2Query => {
                let mut parameters = Parameters::parse(request.body)?;
                for (k, v) in request.query {
                    parameters.insert(k, v.clone())?;
                }
                f(&mut QueryReader::new(
                    &parameters,
                    self == Protocol::Ec2Query,
                ))
            }
            Protocol::RestJson | Protocol::RestXml => f(&mut RestReader::new(Parts {
                labels: request.labels,
                query: request.query,
                headers: request.headers,
                body: request.body,
                stream: request.stream,
                xml: self == Protocol::RestXml,
            })),
        }
    }

    /// Writes a success.
    pub fn write(
        self,
        model: &ServiceModel,
        op: &Operation,
        output: &mut dyn Encode,
        request_id: &str,
    ) -> Response {
        let mut response = Response {
            status: op.status,
            headers: Vec::new(),
            body: Body::Empty,
        };
        if let Some(events) = output.take_events() {
            self.write_headers(output, &mut response);
            response.headers.push((
                "Content-Type".into(),
                "application/vnd.amazon.eventstream".into(),
            ));
            let mut frames = self.frames(events);
            if !self.is_rest() {
                // Remote procedure calls tell the members that are no events in an event of their own, which comes first.
                let payload = if matches!(self, Protocol::RpcV2Cbor | Protocol::AwsCbor11) {
                    let mut w = self.cbor();
                    output.encode(&mut w);
                    w.finish()
                } else {
                    let mut w = JsonWriter::new();
                    output.encode(&mut w);
                    w.finish()
                };
                let payload = Bytes::from(payload);
                let first = Message::event("initial-response", Some(self.content_type()), payload)
                    .to_bytes();
                frames = Box::pin(futures_util::stream::once(async { Ok(first) }).chain(frames));
            }
            response.body = Body::stream(frames, None);
            return response;
        }
        match self {
            Protocol::AwsJson10 | Protocol::AwsJson11 => {
                let mut w = JsonWriter::new();
                output.encode(&mut w);
                response.body = w.finish().into();
            }
            Protocol::RpcV2Cbor | Protocol::AwsCbor11 => {
                let mut w = self.cbor();
                output.encode(&mut w);
                response.body = w.finish().into();
                if self == Protocol::RpcV2Cbor {
                    response
                        .headers
                        .push(("smithy-protocol".into(), "rpc-v2-cbor".into()));
                }
            }
            Protocol::AwsQuery => {
                response.body = answer::query_output(model, op, output, request_id).into()
            }
            Protocol::AwsQueryJson => {
                response.body = answer::query_json(op, output, request_id).into()
            }
            Protocol::Ec2Query => {
                response.body = answer::ec2_output(model, op, output, request_id).into()
            }
            Protocol::RestJson => {
                let mut w = RestWriter::new(JsonWriter::new(), &|_| JsonWriter::new());
                output.encode(&mut w);
                let stream = output.take_body();
                finish_rest(
                    w,
                    &mut response,
                    stream,
                    true,
                    output.schema(),
                    JsonWriter::finish,
                );
                return response;
            }
            Protocol::RestXml => {
                let millis = model.validation == Validation::S3;
                let fragment = |name, namespace| {
                    let w = XmlWriter::document(name, namespace);
                    if millis { w.with_millis() } else { w }
                };
                let schema = output.schema();
                let inner = fragment(schema.element.unwrap_or(schema.name), model.namespace);
                let payload = |m: &'static crate::schema::Member| {
                    let name = if m.wire != m.name {
                        m.wire
                    } else {
                        m.target.element.unwrap_or(m.target.name)
                    };
                    fragment(name, m.namespace.map(|n| n.1).or(model.namespace))
                };
                let mut w = RestWriter::new(inner, &payload);
                output.encode(&mut w);
                let stream = output.take_body();
                finish_rest(w, &mut response, stream, false, schema, XmlWriter::finish);
                return response;
            }
        }
        response
            .headers
            .push(("Content-Type".into(), self.content_type().into()));
        response
    }

    /// Writes an error.
    pub fn write_fault(self, model: &ServiceModel, fault: &Fault, request_id: &str) -> Response {
        let code = fault.shape.unwrap_or(&fault.code);
        let mut response = Response {
            status: fault.status,
            headers: Vec::new(),
            body: Body::Empty,
        };
        match self {
            Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::RestJson => {
                let mut w = JsonWriter::new();
                w.structure(&crate::schema::EMPTY);
                if self == Protocol::RestJson {
                    response
                        .headers
                        .push(("x-amzn-ErrorType".into(), code.to_owned()));
                } else {
                    w.text_member("__type", code);
                }
                write_fields(fault, &mut w, |w, k, v| w.text_member(k, v));
                w.end_structure();
                response.body = w.finish().into();
            }
            Protocol::RpcV2Cbor | Protocol::AwsCbor11 => {
                let mut w = self.cbor();
                w.structure(&crate::schema::EMPTY);
                w.text_member("__type", code);
                write_fields(fault, &mut w, |w, k, v| w.text_member(k, v));
                w.end_structure();
                response.body = w.finish().into();
                if self == Protocol::RpcV2Cbor {
                    response
                        .headers
                        .push(("smithy-protocol".into(), "rpc-v2-cbor".into()));
                }
            }
            Protocol::AwsQueryJson => {
                response.body = answer::query_json_fault(fault, request_id).into()
            }
            Protocol::RestXml | Protocol::AwsQuery | Protocol::Ec2Query => {
                response.body = self.xml_fault(model, fault, request_id).into();
            }
        }
        if model.query_compatible && !self.is_query() && self != Protocol::RestXml {
            response.headers.push((
                "x-amzn-query-error".into(),
                format!("{};{}", fault.code, fault.blame.name()),
            ));
        }
        response
            .headers
            .extend(fault.headers.iter().map(|(k, v)| ((*k).into(), v.clone())));
        if let (true, Some(detail)) = (self.is_rest(), &fault.detail) {
            self.write_headers(detail.as_ref(), &mut response);
        }
        response
            .headers
            .push(("Content-Type".into(), self.content_type().into()));
        response
    }

    fn xml_fault(self, model: &ServiceModel, fault: &Fault, request_id: &str) -> Vec<u8> {
        let bare = model.validation == Validation::S3;
        let root = match self {
            Protocol::Ec2Query => "Response",
            _ if bare => "Error",
            _ => "ErrorResponse",
        };
        let mut w = XmlWriter::document(
            root,
            if bare || self == Protocol::Ec2Query {
                None
            } else {
                model.namespace
            },
        );
        w.structure(&crate::schema::EMPTY);
        if self == Protocol::Ec2Query {
            w.open("Errors");
        }
        if !bare {
            w.open("Error");
            if self != Protocol::Ec2Query {
                w.text_element("Type", fault.blame.name());
            }
        }
        w.text_element("Code", &fault.code);
        let message = match fault.query_message {
            Some(message) if self == Protocol::AwsQuery => message,
            _ => &fault.message,
        };
        // S3 shows that it has nothing to say.
        if bare || !message.is_empty() {
            w.text_element("Message", message);
        }
        match &fault.detail {
            Some(detail) => detail.encode(&mut Members::new(&mut w)),
            None => fault.fields.iter().for_each(|(k, v)| w.text_element(k, v)),
        }
        if !bare {
            w.close("Error");
        }
        if self == Protocol::Ec2Query {
            w.close("Errors");
            w.text_element("RequestID", request_id);
        } else {
            w.text_element("RequestId", request_id);
        }
        if bare {
            w.text_element("HostId", &host_id(request_id));
        }
        w.end_structure();
        w.finish()
    }

    fn cbor(self) -> CborWriter {
        if self == Protocol::AwsCbor11 {
            CborWriter::new().with_millis()
        } else {
            CborWriter::new()
        }
    }

    fn write_headers(self, output: &dyn Encode, response: &mut Response) {
        let mut w = RestWriter::new(JsonWriter::new(), &|_| JsonWriter::new());
        output.encode(&mut w);
        response.headers.append(&mut w.headers);
    }

    fn frames(self, events: EventStream) -> crate::body::ByteStream {
        let frames = events.0.map(move |event| {
            Ok(match event {
                Ok(event) => {
                    let payload = event.value.schema().payload();
                    let content = match payload.map(|m| m.target.kind) {
                        Some(Kind::Blob | Kind::Stream) => "application/octet-stream",
                        Some(Kind::String) => "text/plain",
                        _ if self == Protocol::RestXml => "text/xml",
                        _ => self.content_type(),
                    };
                    let bytes = self.event_payload(event.value.as_ref(), event.member.wire);
                    Message::event(event.member.wire, Some(content), bytes).to_bytes()
                }
                // No event stream of S3 has exceptions of its own.
                Err(fault) if self == Protocol::RestXml => {
                    Message::error(&fault.code, &fault.message).to_bytes()
                }
                Err(fault) => {
                    let mut w = JsonWriter::new();
                    w.structure(&crate::schema::EMPTY);
                    write_fields(&fault, &mut w, |w, k, v| w.text_member(k, v));
                    w.end_structure();
                    let code = fault.shape.unwrap_or(&fault.code);
                    Message::exception(code, self.content_type(), w.finish().into()).to_bytes()
                }
            })
        });
        Box::pin(frames) as Pin<Box<_>>
    }

    fn event_payload(self, value: &dyn Encode, name: &'static str) -> Bytes {
        if self == Protocol::RestXml {
            let fragment = |_: &_| XmlWriter::fragment(name, None);
            let mut w = RestWriter::new(XmlWriter::fragment(name, None), &fragment);
            value.encode(&mut w);
            return match w.raw.take() {
                Some(raw) => raw.into(),
                None if w.has_document => w.into_inner().finish().into(),
                None => Bytes::new(),
            };
        }
        let mut w = RestWriter::new(JsonWriter::new(), &|_| JsonWriter::new());
        value.encode(&mut w);
        match w.raw.take() {
            Some(raw) => raw.into(),
            None if w.has_document => w.into_inner().finish().into(),
            None => Bytes::from_static(b"{}"),
        }
    }
}

/// S3's second id: opaque, of 76 characters as S3's own, made of the first.
pub fn host_id(request_id: &str) -> String {
    const WORDS: usize = 7;
    let seed = request_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut bytes = [0u8; WORDS * 8];
    for (index, word) in (1..).zip(bytes.chunks_exact_mut(8)) {
        // SplitMix64, for which any seed is as good as another.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(index));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes());
    }
    STANDARD.encode(bytes)
}

fn finish_rest<W: Writer>(
    mut w: RestWriter<'_, W>,
    response: &mut Response,
    stream: Option<Body>,
    json: bool,
    schema: &Schema,
    bytes: impl FnOnce(W) -> Vec<u8>,
) {
    if response.headers.is_empty() {
        std::mem::swap(&mut response.headers, &mut w.headers);
    } else {
        response.headers.append(&mut w.headers);
    }
    if let Some(status) = w.status {
        response.status = status;
    }
    let typed = response
        .headers
        .iter()
        .any(|(k, _)| k.eq_ignore_ascii_case("content-type"));
    let content_type = if json {
        Protocol::RestJson
    } else {
        Protocol::RestXml
    }
    .content_type();
    let mut content_type = Some(content_type).filter(|_| !typed);
    if let Some(body) = stream {
        response.body = body;
        content_type = content_type.map(|_| "application/octet-stream");
    } else if let Some(raw) = w.raw.take() {
        let text = schema
            .payload()
            .is_some_and(|m| m.target.kind == Kind::String);
        content_type = content_type.map(|_| {
            if text {
                "text/plain"
            } else {
                "application/octet-stream"
            }
        });
        response.body = raw.into();
    } else if w.has_document {
        response.body = bytes(w.into_inner()).into();
    } else if json && response.status != 204 && schema.members.is_empty() {
        response.body = Bytes::from_static(b"{}").into();
    } else {
        content_type = None;
    }
    if let Some(content_type) = content_type {
        response
            .headers
            .push(("Content-Type".into(), content_type.to_owned()));
    }
}

fn write_fields<W: Writer>(fault: &Fault, w: &mut W, text: impl Fn(&mut W, &str, &str)) {
    if !fault.message.is_empty() {
        text(w, fault.message_key, &fault.message);
    }
    match &fault.detail {
        Some(detail) => detail.encode(&mut Members::new(w)),
        None => fault.fields.iter().for_each(|(k, v)| text(w, k, v)),
    }
}
