//! Errors that the service gives in more than one place.

use wire::Fault;

use crate::errors;

/// A parameter has a value it must not have.
pub fn invalid_parameter(message: impl Into<String>) -> Fault {
    Fault::sender(400, "InvalidParameterValue", message.into())
        .shape("InvalidParameterValueException")
}

/// A parameter has a value it must not have, for a reason.
pub fn invalid_value(value: impl std::fmt::Display, parameter: &str, reason: &str) -> Fault {
    invalid_parameter(format!(
        "Value {value} for parameter {parameter} is invalid. Reason: {reason}"
    ))
}

/// A parameter is absent.
pub fn missing(parameter: &str) -> Fault {
    Fault::sender(
        400,
        "MissingParameter",
        format!("The request must contain the parameter {parameter}."),
    )
    .shape("MissingRequiredParameterException")
}

/// The parameter, which must be there and not empty.
pub fn required(value: Option<String>, parameter: &str) -> Result<String, Fault> {
    value
        .filter(|text| !text.is_empty())
        .ok_or_else(|| missing(parameter))
}

/// There is no such queue.
pub fn no_queue() -> Fault {
    errors::queue_does_not_exist("The specified queue does not exist.")
        .query_message("The specified queue does not exist for this wsdl version.")
}

/// What was given as a receipt handle is none, or one of another queue.
pub fn bad_receipt(handle: &str) -> Fault {
    errors::receipt_handle_is_invalid(format!(
        "The input receipt handle \"{handle}\" is not a valid receipt handle."
    ))
}
