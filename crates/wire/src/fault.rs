//! An error as AWS answers it.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::body::BodyError;
use crate::encode::Encode;

/// Who is to blame, as the query protocols' `Type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller.
    Sender,
    /// The service.
    Receiver,
}

impl Blame {
    /// `Sender` or `Receiver`.
    pub fn name(self) -> &'static str {
        match self {
            Blame::Sender => "Sender",
            Blame::Receiver => "Receiver",
        }
    }
}

/// An error answer: AWS's code, status, message and fields. Protocols write it each in their own way.
///
/// One pointer wide, for every operation's `Result` carries it; its parts are read and set through deref.
pub struct Fault(Box<Parts>);

/// What an error answer consists of.
pub struct Parts {
    /// The code, as the protocol's clients see it: `NoSuchBucket`.
    pub code: Cow<'static, str>,
    /// The message.
    pub message: Cow<'static, str>,
    /// The message that the query protocol has instead, in services that speak it beside JSON.
    pub query_message: Option<&'static str>,
    /// HTTP status.
    pub status: u16,
    /// Whose fault it is.
    pub blame: Blame,
    /// The shape's name where it differs from the code (`awsQueryError`): JSON protocols answer it as `__type`.
    pub shape: Option<&'static str>,
    /// The key of the message in JSON and CBOR answers.
    pub message_key: &'static str,
    /// Further text fields, written beside code and message.
    pub fields: Vec<(Cow<'static, str>, String)>,
    /// A modelled error structure with more than a message; it is written instead of `fields`.
    pub detail: Option<Box<dyn Encode + Sync>>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// What went wrong inside, for the log and nobody else.
    pub cause: Option<String>,
}

impl Fault {
    /// An error that the caller made.
    pub fn sender(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Fault {
        Fault(Box::new(Parts {
            code: code.into(),
            message: message.into(),
            query_message: None,
            status,
            blame: Blame::Sender,
            shape: None,
            message_key: "message",
            fields: Vec::new(),
            detail: None,
            headers: Vec::new(),
            cause: None,
        }))
    }
    /// An error of the service.
    pub fn receiver(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Fault {
        let mut fault = Fault::sender(status, code, message);
        fault.blame = Blame::Receiver;
        fault
    }
    /// What no caller should see: logged with its cause by the gateway.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Fault {
        Fault::receiver(500, "InternalFailure", message)
    }
    /// A body that did not arrive as announced.
    pub fn from_body(e: &BodyError) -> Fault {
        match e {
            BodyError::Incomplete(_) => Fault::sender(
                400,
                "IncompleteBody",
                "The request body terminated unexpectedly",
            ),
            BodyError::TooLarge(limit) => Fault::sender(
                413,
                "RequestEntityTooLarge",
                format!("The request body exceeds the limit of {limit} bytes"),
            ),
            BodyError::Rejected { code, message } => {
                let is_signature = *code == "SignatureDoesNotMatch";
                let status = if is_signature { 403 } else { 400 };
                Fault::sender(status, *code, message.clone())
            }
            BodyError::Io(cause) => {
                let mut fault =
                    Fault::internal("We encountered an internal error. Please try again.");
                fault.cause = Some(cause.clone());
                fault
            }
        }
    }
    /// With the shape's own name.
    pub fn shape(mut self, shape: &'static str) -> Fault {
        self.shape = Some(shape);
        self
    }
    /// With another key for the message.
    pub fn message_key(mut self, key: &'static str) -> Fault {
        self.message_key = key;
        self
    }
    /// With other words in the query protocol.
    pub fn query_message(mut self, message: &'static str) -> Fault {
        self.query_message = Some(message);
        self
    }
    /// With one more text field.
    pub fn field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Fault {
        self.fields.push((name.into(), value.into()));
        self
    }
    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Fault {
        self.headers.push((name, value.into()));
        self
    }
    /// With a modelled structure.
    pub fn detail(mut self, detail: impl Encode + Sync + 'static) -> Fault {
        self.detail = Some(Box::new(detail));
        self
    }
    /// With another status.
    pub fn status(mut self, status: u16) -> Fault {
        self.status = status;
        self
    }
    /// Whether its code is that one.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }
}

impl Deref for Fault {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
impl DerefMut for Fault {
    fn deref_mut(&mut self) -> &mut Parts {
        &mut self.0
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Anything unexpected is AWS's `InternalFailure`, with its cause kept for the log.
///
/// `Fault` is no `std::error::Error` itself so that this can cover every error type there is.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for Fault {
    fn from(e: E) -> Fault {
        if let Some(body) = (&e as &dyn std::any::Any).downcast_ref::<BodyError>() {
            return Fault::from_body(body);
        }
        let mut cause = e.to_string();
        let mut source = e.source();
        while let Some(inner) = source {
            cause.push_str(": ");
            cause.push_str(&inner.to_string());
            source = inner.source();
        }
        let mut fault = Fault::internal("We encountered an internal error. Please try again.");
        fault.cause = Some(cause);
        fault
    }
}
