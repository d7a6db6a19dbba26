//! Errors that the model does not name, and words that many of them begin with.

use std::borrow::Cow;

use wire::Fault;

/// A request that breaks a rule.
pub fn validation(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::sender(400, "ValidationException", message)
}

/// The message of a rule about parameters' values.
pub fn invalid(message: &str) -> String {
    format!("One or more parameter values were invalid: {message}")
}

/// A request that breaks a rule about parameters' values.
pub fn invalid_parameter(message: &str) -> Fault {
    validation(invalid(message))
}

/// Who may not do that.
pub fn access_denied(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::sender(400, "AccessDeniedException", message)
}
