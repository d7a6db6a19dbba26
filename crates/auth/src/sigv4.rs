//! Signature version 4: verifying what came in, signing what goes out.

use http::{HeaderMap, HeaderName, HeaderValue};
use time::{Duration, OffsetDateTime};

use crate::authorization::{PresignedV4, SignatureV4, V4_ALGORITHM};
use crate::canonical::{
    PathEncoding, Request, UNSIGNED_PAYLOAD, canonical_path, canonical_request, string_to_sign,
    uri_encode,
};
use crate::credential::{Credential, Credentials};
use crate::date;
use crate::digest::{equal_in_constant_time, hmac_sha256, sha256_hex};

/// How far a request's date may be from the server's.
pub const MAX_SKEW: Duration = Duration::minutes(15);

/// The key derived from a secret for one day, region and service. It may be cached under its credential's scope.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// Derives the key.
    pub fn derive(secret: &str, date: &str, region: &str, service: &str) -> Self {
        let key = hmac_sha256(format!("AWS4{secret}").as_bytes(), date.as_bytes());
        let key = hmac_sha256(&key, region.as_bytes());
        let key = hmac_sha256(&key, service.as_bytes());
        Self(hmac_sha256(&key, b"aws4_request"))
    }

    /// Derives the key of a credential.
    pub fn for_credential(secret: &str, credential: &Credential<'_>) -> Self {
        Self::derive(
            secret,
            credential.date,
            credential.region,
            credential.service,
        )
    }

    /// The hex signature of a string to sign.
    pub fn sign(&self, string_to_sign: &str) -> String {
        hex::encode(hmac_sha256(&self.0, string_to_sign.as_bytes()))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// What S3's `SignatureDoesNotMatch` answer shows of the calculation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The access key id.
    pub access_key_id: String,
    /// The signature that was presented.
    pub signature_provided: String,
    /// The string that should have been signed.
    pub string_to_sign: String,
    /// The canonical request; version 2 has none.
    pub canonical_request: Option<String>,
}

impl Mismatch {
    /// The string to sign as the answer's `StringToSignBytes` shows it: hex pairs with spaces.
    pub fn string_to_sign_bytes(&self) -> String {
        spaced_hex(&self.string_to_sign)
    }

    /// The canonical request as the answer's `CanonicalRequestBytes` shows it.
    pub fn canonical_request_bytes(&self) -> Option<String> {
        self.canonical_request.as_deref().map(spaced_hex)
    }
}

/// A text's bytes in hexadecimal, a space between each two, as AWS's answers to wrong signatures show them.
pub fn spaced_hex(text: &str) -> String {
    let pairs: Vec<String> = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

/// Why a signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The request has neither `X-Amz-Date` nor `Date`.
    #[error("AWS authentication requires a valid Date or x-amz-date header")]
    MissingDate,
    /// `X-Amz-Date` of a presigned request has the wrong format.
    #[error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")]
    MalformedDate,
    /// The day of the credential is not that of the request.
    #[error(
        "The authorization header is malformed; Invalid credential date \"{credential}\". This date is not the same as X-Amz-Date: \"{request}\"."
    )]
    DateMismatch {
        /// The day in the credential.
        credential: String,
        /// The day of the request.
        request: String,
    },
    /// The request's date is more than 15 minutes from the server's.
    #[error("The difference between the request time and the current time is too large.")]
    Skewed {
        /// The date the request carries.
        request_time: OffsetDateTime,
        /// The server's.
        server_time: OffsetDateTime,
    },
    /// A presigned request is past its time.
    #[error("Request has expired")]
    Expired {
        /// When it expired.
        expires: OffsetDateTime,
        /// `X-Amz-Expires`, seconds; version 2 has none.
        expires_seconds: Option<u32>,
        /// The server's time.
        server_time: OffsetDateTime,
    },
    /// A presigned request's time has not come.
    #[error("Request is not yet valid")]
    NotYetValid,
    /// `host` is not among the signed headers.
    #[error("The request signature must cover the Host header")]
    HostNotSigned,
    /// Headers that must be signed are present and are not; their names.
    #[error("There were headers present in the request which were not signed")]
    HeadersNotSigned(String),
    /// The signature is another one.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    )]
    Mismatch(Box<Mismatch>),
}

/// A verified signature: what the chunks of the body are chained to.
#[derive(Debug, Clone)]
pub struct Verified {
    /// The key.
    pub key: SigningKey,
    /// The signature of the request, hex: the seed of a chunk chain.
    pub signature: String,
    /// The date as it was signed, `20130524T000000Z`.
    pub date: String,
    /// The scope, `20130524/us-east-1/s3/aws4_request`.
    pub scope: String,
}

/// Verifies a version 4 `Authorization` header.
///
/// `payload_hash` is the last line of the canonical request: `x-amz-content-sha256` where the request has one (S3),
/// else the hash of the body. That the body has that hash is the caller's to check.
pub fn verify_header(
    request: &Request<'_>,
    presented: &SignatureV4<'_>,
    secret: &str,
    payload_hash: &str,
    now: OffsetDateTime,
) -> Result<Verified, SignatureError> {
    let at = check_header_time(request, now)?;
    require_signed_headers(request, presented)?;
    verify(request, presented, secret, payload_hash, at)
}

/// When a request with an `Authorization` header was signed, if that is not too long ago or ahead.
pub fn check_header_time(
    request: &Request<'_>,
    now: OffsetDateTime,
) -> Result<OffsetDateTime, SignatureError> {
    let at = [request.header("x-amz-date"), request.header("date")]
        .into_iter()
        .flatten()
        .find_map(date::parse_request_date)
        .ok_or(SignatureError::MissingDate)?;
    if (now - at).abs() > MAX_SKEW {
        return Err(SignatureError::Skewed {
            request_time: at,
            server_time: now,
        });
    }
    Ok(at)
}

/// Verifies a version 4 presigned request. `payload_hash` is as for [`verify_header`], or `UNSIGNED-PAYLOAD` for S3.
pub fn verify_presigned(
    request: &Request<'_>,
    presented: &PresignedV4<'_>,
    secret: &str,
    payload_hash: &str,
    now: OffsetDateTime,
) -> Result<Verified, SignatureError> {
    let at = check_presigned_time(presented, now)?;
    let signature = presented.signature_v4();
    require_signed_headers(request, &signature)?;
    verify(request, &signature, secret, payload_hash, at)
}

/// When a presigned request was signed, if it is valid now.
pub fn check_presigned_time(
    presented: &PresignedV4<'_>,
    now: OffsetDateTime,
) -> Result<OffsetDateTime, SignatureError> {
    let at = date::parse_amz_date(&presented.date).ok_or(SignatureError::MalformedDate)?;
    if at - now > MAX_SKEW {
        return Err(SignatureError::NotYetValid);
    }
    let seconds = presented.expires.unwrap_or(900);
    let expires = at + Duration::seconds(i64::from(seconds));
    if now > expires {
        return Err(SignatureError::Expired {
            expires,
            expires_seconds: presented.expires,
            server_time: now,
        });
    }
    Ok(at)
}

fn require_signed_headers(
    request: &Request<'_>,
    presented: &SignatureV4<'_>,
) -> Result<(), SignatureError> {
    let is_signed = |name: &str| {
        presented
            .signed_headers
            .split(';')
            .any(|signed| signed == name)
    };
    if !is_signed("host") && !is_signed(":authority") {
        return Err(SignatureError::HostNotSigned);
    }
    // S3 reads the payload hash of a presigned request although clients do not sign it.
    let names = request.headers.keys().map(HeaderName::as_str);
    let mut unsigned: Vec<&str> = names
        .filter(|name| {
            name.starts_with("x-amz-") && *name != "x-amz-content-sha256" && !is_signed(name)
        })
        .collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    unsigned.sort_unstable();
    Err(SignatureError::HeadersNotSigned(unsigned.join(", ")))
}

fn verify(
    request: &Request<'_>,
    presented: &SignatureV4<'_>,
    secret: &str,
    payload_hash: &str,
    at: OffsetDateTime,
) -> Result<Verified, SignatureError> {
    let credential = &presented.credential;
    let date = date::amz_date(at);
    if !date.starts_with(credential.date) {
        return Err(SignatureError::DateMismatch {
            credential: credential.date.to_owned(),
            request: date.get(..8).unwrap_or_default().to_owned(),
        });
    }
    let key = SigningKey::for_credential(secret, credential);
    let scope = credential.scope();
    let encoding = PathEncoding::of_service(credential.service);
    let path = canonical_path(request.path, encoding);
    let canonical = canonical_request(request, presented.signed_headers, &path, payload_hash);
    let text = string_to_sign(V4_ALGORITHM, &date, &scope, &canonical);
    let verified = |key| Verified {
        key,
        signature: presented.signature.to_owned(),
        date: date.clone(),
        scope: scope.clone(),
    };
    if equal_in_constant_time(&key.sign(&text), presented.signature) {
        return Ok(verified(key));
    }
    // Some clients sign an S3 path exactly as they send it, reserved characters unencoded.
    if encoding == PathEncoding::Single && path != request.path {
        let as_sent = canonical_request(
            request,
            presented.signed_headers,
            request.path,
            payload_hash,
        );
        let as_sent = string_to_sign(V4_ALGORITHM, &date, &scope, &as_sent);
        if equal_in_constant_time(&key.sign(&as_sent), presented.signature) {
            return Ok(verified(key));
        }
    }
    Err(SignatureError::Mismatch(Box::new(Mismatch {
        access_key_id: credential.access_key_id.to_owned(),
        signature_provided: presented.signature.to_owned(),
        string_to_sign: text,
        canonical_request: Some(canonical),
    })))
}

/// Signs a request by adding `x-amz-date`, `x-amz-content-sha256` (S3), `x-amz-security-token` and `authorization`.
///
/// All headers that are there are signed, so `host` must be among them. Returns the signature in hex. A header value
/// that cannot be written, which needs control characters in the credentials, is `None`.
pub fn sign(
    parts: &mut http::request::Parts,
    payload_hash: &str,
    credentials: &Credentials,
    region: &str,
    service: &str,
    at: OffsetDateTime,
) -> Option<String> {
    let date = date::amz_date(at);
    let day = date.get(..8)?;
    let mut set = |name: &'static str, value: &str| {
        parts.headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(value).ok()?,
        );
        Some(())
    };
    set("x-amz-date", &date)?;
    if PathEncoding::of_service(service) == PathEncoding::Single {
        set("x-amz-content-sha256", payload_hash)?;
    }
    if let Some(token) = &credentials.session_token {
        set("x-amz-security-token", token)?;
    }
    let signed_headers = header_names(&parts.headers);
    let credential = Credential {
        access_key_id: &credentials.access_key_id,
        date: day,
        region,
        service,
    };
    let request = Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        authority: parts.uri.authority().map(http::uri::Authority::as_str),
    };
    let path = canonical_path(request.path, PathEncoding::of_service(service));
    let canonical = canonical_request(&request, &signed_headers, &path, payload_hash);
    let text = string_to_sign(V4_ALGORITHM, &date, &credential.scope(), &canonical);
    let signature =
        SigningKey::for_credential(&credentials.secret_access_key, &credential).sign(&text);
    let header = format!(
        "{V4_ALGORITHM} Credential={}/{}, SignedHeaders={signed_headers}, Signature={signature}",
        credential.access_key_id,
        credential.scope()
    );
    parts.headers.insert(
        http::header::AUTHORIZATION,
        HeaderValue::from_str(&header).ok()?,
    );
    Some(signature)
}

/// The hash of a payload, for [`sign`].
pub fn payload_hash(payload: &[u8]) -> String {
    sha256_hex(payload)
}

/// Signs a URL: returns the whole query, with the signature as its last parameter.
///
/// Only `host` is signed; `request` needs neither headers nor an authority when `host` is given. The payload is
/// unsigned for S3 and empty otherwise.
pub fn presign(
    request: &Request<'_>,
    credentials: &Credentials,
    region: &str,
    service: &str,
    at: OffsetDateTime,
    expires: u32,
) -> String {
    let date = date::amz_date(at);
    let credential = Credential {
        access_key_id: &credentials.access_key_id,
        date: date.get(..8).unwrap_or_default(),
        region,
        service,
    };
    let scope = credential.scope();
    let key_and_scope = format!("{}/{scope}", credential.access_key_id);
    let mut query = String::from(request.query);
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(&format!(
        "X-Amz-Algorithm={V4_ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={date}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host",
        uri_encode(&key_and_scope)
    ));
    if let Some(token) = &credentials.session_token {
        query.push_str("&X-Amz-Security-Token=");
        query.push_str(&uri_encode(token));
    }
    let encoding = PathEncoding::of_service(service);
    let payload = match encoding {
        PathEncoding::Single => UNSIGNED_PAYLOAD.to_owned(),
        PathEncoding::Double => sha256_hex(b""),
    };
    let with_query = Request {
        query: &query,
        ..*request
    };
    let path = canonical_path(request.path, encoding);
    let canonical = canonical_request(&with_query, "host", &path, &payload);
    let text = string_to_sign(V4_ALGORITHM, &date, &scope, &canonical);
    let signature =
        SigningKey::for_credential(&credentials.secret_access_key, &credential).sign(&text);
    query.push_str("&X-Amz-Signature=");
    query.push_str(&signature);
    query
}

fn header_names(headers: &HeaderMap) -> String {
    let mut names: Vec<&str> = headers
        .keys()
        .map(HeaderName::as_str)
        .filter(|name| *name != "authorization")
        .collect();
    names.sort_unstable();
    names.join(";")
}
