//! S3's errors that the model does not list, with AWS's texts.

use wire::Fault;

/// `AccessDenied`.
pub fn access_denied() -> Fault {
    Fault::sender(403, "AccessDenied", "Access Denied")
}
/// `InvalidArgument` with the argument's name and value.
pub fn invalid_argument(message: impl Into<String>, name: &str, value: impl Into<String>) -> Fault {
    Fault::sender(400, "InvalidArgument", message.into())
        .field("ArgumentName", name)
        .field("ArgumentValue", value)
}
/// `InvalidRequest`.
pub fn invalid_request(message: impl Into<String>) -> Fault {
    Fault::sender(400, "InvalidRequest", message.into())
}
/// `MalformedXML`.
pub fn malformed_xml() -> Fault {
    Fault::sender(
        400,
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
    )
}
/// `NoSuchBucket`.
pub fn no_such_bucket(bucket: &str) -> Fault {
    Fault::sender(404, "NoSuchBucket", "The specified bucket does not exist")
        .field("BucketName", bucket)
}
/// `NoSuchKey`.
pub fn no_such_key(key: &str) -> Fault {
    Fault::sender(404, "NoSuchKey", "The specified key does not exist.").field("Key", key)
}
/// `NoSuchVersion`.
pub fn no_such_version(key: &str, version: &str) -> Fault {
    Fault::sender(
        404,
        "NoSuchVersion",
        "The specified version does not exist.",
    )
    .field("Key", key)
    .field("VersionId", version)
}
/// `NoSuchUpload`.
pub fn no_such_upload(upload: &str) -> Fault {
    Fault::sender(
        404,
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
    .field("UploadId", upload)
}
/// `PreconditionFailed`, naming the header that did not hold.
pub fn precondition_failed(condition: &'static str) -> Fault {
    Fault::sender(
        412,
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
    )
    .field("Condition", condition)
}
/// `304 Not Modified`.
pub fn not_modified() -> Fault {
    Fault::sender(304, "NotModified", "Not Modified")
}
/// `InvalidDigest`, with what stood in `Content-MD5`.
pub fn invalid_digest(given: &str) -> Fault {
    Fault::sender(
        400,
        "InvalidDigest",
        "The Content-MD5 you specified was invalid.",
    )
    .field("Content-MD5", given)
}
/// `InvalidBucketState`.
pub fn invalid_bucket_state(message: &'static str) -> Fault {
    Fault::sender(409, "InvalidBucketState", message)
}
/// `OperationAborted`: another change of the same thing is under way.
pub fn operation_aborted() -> Fault {
    Fault::sender(
        409,
        "OperationAborted",
        "A conflicting conditional operation is currently in progress against this resource. Please try again.",
    )
}
