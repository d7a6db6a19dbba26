//! What a request presents to say who it is from.
//!
//! A signature is compared where the secret is known, which is so for keys that IAM or STS made. Keys that are made
//! up are taken at their word; what they present must still be well formed and in time.

use auth::authorization::{Authorization, MalformedAuthorization, Presigned, V4_ALGORITHM};
use auth::canonical::{Request, UNSIGNED_PAYLOAD};
use auth::sigv4::{SignatureError, Verified};
use auth::{date, sigv2, sigv4};
use cloud::{Cloud, Context};
use http::Uri;
use time::OffsetDateTime;
use wire::{Body, Fault, Timestamp};

use super::denied;
use crate::fault;

fn malformed(error: &MalformedAuthorization, in_query: bool) -> Fault {
    let message = error.to_string();
    match error {
        MalformedAuthorization::UnsupportedType => {
            Fault::sender(400, "InvalidArgument", message).field("ArgumentName", "Authorization")
        }
        MalformedAuthorization::MissingComponent(_) | MalformedAuthorization::Credential => {
            Fault::sender(400, "AuthorizationHeaderMalformed", message)
        }
        MalformedAuthorization::V2 => {
            Fault::sender(400, "InvalidArgument", message).field("ArgumentName", "Authorization")
        }
        MalformedAuthorization::MissingQueryParameterV2 | MalformedAuthorization::ExpiresV2(_) => {
            denied(message)
        }
        _ if in_query => Fault::sender(400, "AuthorizationQueryParametersError", message),
        _ => Fault::sender(400, "InvalidRequest", message),
    }
}

fn refused(error: SignatureError) -> Fault {
    let message = error.to_string();
    let iso = |at: OffsetDateTime| Timestamp::from_secs(at.unix_timestamp()).iso8601_secs();
    match error {
        SignatureError::MissingDate
        | SignatureError::NotYetValid
        | SignatureError::HostNotSigned => denied(message),
        SignatureError::MalformedDate => {
            Fault::sender(400, "AuthorizationQueryParametersError", message)
        }
        SignatureError::DateMismatch { .. } => {
            Fault::sender(400, "AuthorizationHeaderMalformed", message)
        }
        SignatureError::Skewed {
            request_time,
            server_time,
        } => Fault::sender(403, "RequestTimeTooSkewed", message)
            .field("RequestTime", date::amz_date(request_time))
            .field("ServerTime", iso(server_time))
            .field("MaxAllowedSkewMilliseconds", "900000"),
        SignatureError::Expired {
            expires,
            expires_seconds,
            server_time,
        } => {
            let mut fault = denied(message);
            if let Some(seconds) = expires_seconds {
                fault = fault.field("X-Amz-Expires", seconds.to_string());
            }
            fault
                .field("Expires", iso(expires))
                .field("ServerTime", iso(server_time))
        }
        SignatureError::HeadersNotSigned(name) => denied(message).field("HeadersNotSigned", name),
        SignatureError::Mismatch(mismatch) => {
            let bytes = mismatch.string_to_sign_bytes();
            let canonical_bytes = mismatch.canonical_request_bytes();
            let mut fault = Fault::sender(403, "SignatureDoesNotMatch", message)
                .field("AWSAccessKeyId", mismatch.access_key_id)
                .field("StringToSign", mismatch.string_to_sign)
                .field("SignatureProvided", mismatch.signature_provided)
                .field("StringToSignBytes", bytes);
            if let Some(canonical) = mismatch.canonical_request {
                fault = fault.field("CanonicalRequest", canonical);
            }
            match canonical_bytes {
                Some(bytes) => fault.field("CanonicalRequestBytes", bytes),
                None => fault,
            }
        }
    }
}

/// The secret of a key, where somebody here made it; an error where it is a session's that is over.
fn secret(
    cloud: &Cloud,
    ctx: &Context,
    key: &str,
    token: Option<&str>,
) -> Result<Option<String>, Fault> {
    let Some(identity) = cloud.ports.identity(key) else {
        return Ok(None);
    };
    if identity.expiration.is_some_and(|end| end <= ctx.time) {
        return Err(Fault::sender(
            400,
            "ExpiredToken",
            "The provided token has expired.",
        ));
    }
    if identity.session_token.is_some() && identity.session_token.as_deref() != token {
        return Err(Fault::sender(
            400,
            "InvalidToken",
            "The provided token is malformed or otherwise invalid.",
        ));
    }
    Ok(Some(identity.secret_key))
}

/// Of what a made-up key presents only its time counts.
fn matters_without_secret(error: &SignatureError) -> bool {
    matches!(
        error,
        SignatureError::Expired { .. }
            | SignatureError::NotYetValid
            | SignatureError::MalformedDate
            | SignatureError::Skewed { .. }
    )
}

/// Checks what a request presents. The answer is what the chunks of a signed body are chained to.
pub fn verify(
    cloud: &Cloud,
    ctx: &Context,
    request: &http::Request<Body>,
    uri: &Uri,
    bucket_of_host: Option<&str>,
) -> Result<Option<Verified>, Fault> {
    let headers = request.headers();
    let text = |name: &str| wire::header::text(headers, name);
    // Clients sign by their own clock, which does not move with the region's.
    let now = cloud.clock.system().date_time();
    let query = uri.query().unwrap_or_default();
    let canonical = Request {
        method: request.method().as_str(),
        path: uri.path(),
        query,
        headers,
        authority: uri.authority().map(http::uri::Authority::as_str),
    };
    let presigned = match query {
        "" => None,
        query => Presigned::parse(query).map_err(|error| malformed(&error, true))?,
    };
    if let Some(header) = headers.get(http::header::AUTHORIZATION) {
        let header = header
            .to_str()
            .map_err(|_| malformed(&MalformedAuthorization::UnsupportedType, false))?;
        if presigned.is_some() {
            return Err(Fault::sender(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
            )
            .field("ArgumentName", "Authorization")
            .field("ArgumentValue", header));
        }
        if ctx.is_made_up && header.starts_with(V4_ALGORITHM) {
            // It has been read to learn the key.
            return in_time(sigv4::check_header_time(&canonical, now));
        }
        let authorization =
            Authorization::parse(header).map_err(|error| malformed(&error, false))?;
        let secret = secret(
            cloud,
            ctx,
            authorization.access_key_id(),
            text("x-amz-security-token"),
        )?;
        return match authorization {
            Authorization::V4(v4) => {
                let hash = text("x-amz-content-sha256");
                if hash.is_none() && secret.is_some() {
                    return Err(fault::invalid_request(
                        "Missing required header for this request: x-amz-content-sha256",
                    ));
                }
                let Some(secret) = secret else {
                    return in_time(sigv4::check_header_time(&canonical, now));
                };
                let hash = hash.unwrap_or(UNSIGNED_PAYLOAD);
                let verified = sigv4::verify_header(&canonical, &v4, &secret, hash, now);
                verified.map(Some).map_err(refused)
            }
            Authorization::V4a(_) => Ok(None),
            Authorization::V2 {
                access_key_id,
                signature,
            } => {
                let Some(secret) = secret else {
                    return Ok(None);
                };
                sigv2::verify_header(
                    &canonical,
                    access_key_id,
                    signature,
                    &secret,
                    bucket_of_host,
                    now,
                )
                .map_err(refused)?;
                Ok(None)
            }
        };
    }
    let Some(presigned) = presigned else {
        return Ok(None);
    };
    let secret = secret(
        cloud,
        ctx,
        presigned.access_key_id(),
        presigned.security_token(),
    )?;
    match &presigned {
        Presigned::V4(v4) => {
            if v4.expires.is_none() {
                return Err(malformed(
                    &MalformedAuthorization::MissingQueryParameter,
                    true,
                ));
            }
            if v4.expires == Some(0) {
                // A validity of nothing is over as it begins.
                return Err(denied("Request has expired"));
            }
            let Some(secret) = secret else {
                return in_time(sigv4::check_presigned_time(v4, now));
            };
            let hash = text("x-amz-content-sha256").unwrap_or(UNSIGNED_PAYLOAD);
            let verified = sigv4::verify_presigned(&canonical, v4, &secret, hash, now);
            verified.map(Some).map_err(refused)
        }
        Presigned::V2(v2) => {
            let known = secret.is_some();
            let secret = secret.as_deref().unwrap_or_default();
            let outcome = sigv2::verify_presigned(&canonical, v2, secret, bucket_of_host, now);
            match outcome {
                Err(error) if known || matters_without_secret(&error) => Err(refused(error)),
                _ => Ok(None),
            }
        }
        Presigned::V4a(_) => Ok(None),
    }
}

/// What a signature that cannot be compared is judged by.
fn in_time(signed: Result<OffsetDateTime, SignatureError>) -> Result<Option<Verified>, Fault> {
    match signed {
        Err(error) if matters_without_secret(&error) => Err(refused(error)),
        _ => Ok(None),
    }
}
