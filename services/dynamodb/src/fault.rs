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

/// What checks of a request alone answer in the operations that write one item: as if the model had been broken, and
/// of a value only what is wrong with it.
pub fn listed(fault: Fault) -> Fault {
    const PREFIX: &str = "1 validation error detected: ";
    const VALUE: &str = "ExpressionAttributeValues contains invalid value: ";
    if !fault.is("ValidationException") || fault.message.starts_with(PREFIX) {
        return fault;
    }
    let problem = fault.message.strip_prefix(VALUE);
    let problem = problem.map(|text| text.rsplit_once(" for key ").map_or(text, |(text, _)| text));
    let problem = problem.unwrap_or(&fault.message);
    validation(format!("{PREFIX}{problem}"))
}

/// Who may not do that.
pub fn access_denied(message: impl Into<Cow<'static, str>>) -> Fault {
    Fault::sender(400, "AccessDeniedException", message)
}
