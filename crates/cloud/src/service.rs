//! What a service gives to the server.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use wire::protocol::Response;
use wire::{Audit, Body, DecodeError, Encode, Fault, Reader, ServiceModel};

use crate::Context;

/// An operation under way.
pub type Call<'a> = BoxFuture<'a, Result<Box<dyn Encode>, Fault>>;

/// Dispatch into a service's operations. Implemented by generated code.
pub trait Handler: Send + Sync + 'static {
    /// The service's model.
    fn model(&self) -> &'static ServiceModel;
    /// Reads the input of the operation with that index and begins it.
    fn call<'a>(
        &'a self,
        operation: usize,
        ctx: &'a Context,
        input: &mut dyn Reader,
        audit: &mut Audit,
    ) -> Result<Call<'a>, DecodeError>;
}

/// What a service's own HTTP front made of a request.
pub enum Before {
    /// To be handled as an operation, perhaps changed.
    Pass(http::Request<Body>),
    /// Answered.
    Answer(Response),
}

/// HTTP that is no API operation: S3's website, form uploads and CORS, Lambda's function URLs.
pub trait Front: Send + Sync + 'static {
    /// Whether a request without a recognisable service is for this one, by host or path.
    fn claims(&self, request: &http::request::Parts) -> bool {
        let _ = request;
        false
    }
    /// Sees every request of the service before its operation is looked for.
    fn before<'a>(
        &'a self,
        ctx: &'a Context,
        request: http::Request<Body>,
    ) -> BoxFuture<'a, Before>;
    /// Sees what is wrong with an operation's input that cannot be read, and may know of something that is told before.
    fn unreadable(&self, operation: &str, request: &http::request::Parts, fault: Fault) -> Fault {
        let _ = (operation, request);
        fault
    }
    /// Sees every answer of the service before it is sent.
    fn after(&self, ctx: &Context, request: &http::request::Parts, response: &mut Response) {
        let _ = (ctx, request, response);
    }
}

/// What a service's requests and answers are held to beyond what holds for all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// The most bytes of a request's body; more is answered with 413.
    pub most_body: Option<u64>,
    /// The most bytes of a request's line, and of its headers; more is answered with 400.
    pub most_head: Option<usize>,
    /// Answers from that size on are compressed for who accepts it.
    pub compresses_from: Option<usize>,
    /// What stands before the names of the service's own errors in JSON; those of AWS's framework have its own before them.
    pub error_namespace: Option<&'static str>,
    /// What the header `Server` says, where there is one.
    pub server: Option<&'static str>,
}

/// One service of the region.
#[derive(Clone)]
pub struct Service {
    /// Its operations.
    pub handler: Arc<dyn Handler>,
    /// Its HTTP front, where it has one.
    pub front: Option<Arc<dyn Front>>,
    /// What its requests and answers are held to.
    pub manners: Manners,
}

impl Service {
    /// A service with operations only.
    pub fn new(handler: impl Handler) -> Service {
        Service {
            handler: Arc::new(handler),
            front: None,
            manners: Manners::default(),
        }
    }
    /// Held to these.
    pub fn with_manners(mut self, manners: Manners) -> Service {
        self.manners = manners;
        self
    }
    /// With an HTTP front.
    pub fn with_front(mut self, front: Arc<dyn Front>) -> Service {
        self.front = Some(front);
        self
    }
    /// Its short name.
    pub fn name(&self) -> &'static str {
        self.handler.model().name
    }
}
