//! What a request presents: the `Authorization` header or the signature in its query.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::credential::Credential;

/// The algorithm name of version 4.
pub const V4_ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The algorithm name of version 4a.
pub const V4A_ALGORITHM: &str = "AWS4-ECDSA-P256-SHA256";

/// The `Authorization` header, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization<'a> {
    /// Signature version 4.
    V4(SignatureV4<'a>),
    /// Signature version 4a; identified, with an empty region in its credential.
    V4a(SignatureV4<'a>),
    /// Signature version 2: `AWS key:signature`.
    V2 {
        /// The access key id.
        access_key_id: &'a str,
        /// The base64 signature.
        signature: &'a str,
    },
}

/// A version 4 signature and what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureV4<'a> {
    /// The key and scope.
    pub credential: Credential<'a>,
    /// The signed header names, separated by semicolons, lower case.
    pub signed_headers: &'a str,
    /// The signature in hex.
    pub signature: &'a str,
}

/// Why a presented signature could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedAuthorization {
    /// The scheme is none of AWS's.
    #[error("Unsupported Authorization Type")]
    UnsupportedType,
    /// A component of the header is absent.
    #[error(
        "The authorization header is malformed; the authorization component \"{0}\" is missing."
    )]
    MissingComponent(&'static str),
    /// The header's credential has the wrong shape.
    #[error(
        "The authorization header is malformed; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
    )]
    Credential,
    /// A version 2 header is not `AWS key:signature`.
    #[error("AWS authorization header is invalid.  Expected AwsAccessKeyId:signature")]
    V2,
    /// A presigned version 4 request lacks a parameter.
    #[error(
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
    )]
    MissingQueryParameter,
    /// A presigned version 2 request lacks a parameter.
    #[error(
        "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
    )]
    MissingQueryParameterV2,
    /// `X-Amz-Algorithm` names another algorithm.
    #[error("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"")]
    Algorithm,
    /// `X-Amz-Credential` has the wrong shape.
    #[error(
        "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
    )]
    QueryCredential,
    /// `X-Amz-Expires` is not a number.
    #[error("X-Amz-Expires should be a number")]
    ExpiresNotANumber,
    /// `X-Amz-Expires` is below zero.
    #[error("X-Amz-Expires must be non-negative")]
    ExpiresNegative,
    /// `X-Amz-Expires` is more than a week.
    #[error(
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"
    )]
    ExpiresTooLarge,
    /// The version 2 `Expires` is not a number of seconds.
    #[error("Invalid date (should be seconds since epoch): {0}")]
    ExpiresV2(String),
}

impl<'a> Authorization<'a> {
    /// Reads an `Authorization` header without copying. Spaces between and around components may be absent or many.
    pub fn parse(header: &'a str) -> Result<Self, MalformedAuthorization> {
        let header = header.trim();
        let space = memchr::memchr2(b' ', b'\t', header.as_bytes());
        let (scheme, rest) = space
            .map(|at| (&header[..at], &header[at + 1..]))
            .ok_or(MalformedAuthorization::UnsupportedType)?;
        match scheme {
            V4_ALGORITHM => Ok(Self::V4(SignatureV4::parse(rest, Credential::parse)?)),
            V4A_ALGORITHM => Ok(Self::V4a(SignatureV4::parse(rest, Credential::parse_v4a)?)),
            "AWS" => match rest.trim().rsplit_once(':') {
                Some((access_key_id, signature))
                    if !access_key_id.is_empty() && !signature.is_empty() =>
                {
                    Ok(Self::V2 {
                        access_key_id,
                        signature,
                    })
                }
                _ => Err(MalformedAuthorization::V2),
            },
            _ => Err(MalformedAuthorization::UnsupportedType),
        }
    }

    /// The access key id, of whichever version.
    pub fn access_key_id(&self) -> &'a str {
        match self {
            Self::V4(v4) | Self::V4a(v4) => v4.credential.access_key_id,
            Self::V2 { access_key_id, .. } => access_key_id,
        }
    }

    /// The credential scope, which names region and service; version 2 has none.
    pub fn credential(&self) -> Option<&Credential<'a>> {
        match self {
            Self::V4(v4) | Self::V4a(v4) => Some(&v4.credential),
            Self::V2 { .. } => None,
        }
    }
}

impl<'a> SignatureV4<'a> {
    fn parse(
        components: &'a str,
        credential: fn(&'a str) -> Option<Credential<'a>>,
    ) -> Result<Self, MalformedAuthorization> {
        let (mut scope, mut signed_headers, mut signature) = (None, None, None);
        let mut rest = components;
        while !rest.is_empty() {
            // A header's value has no other blanks. Read on each request, so without the means of patterns.
            let end = memchr::memchr3(b',', b' ', b'\t', rest.as_bytes()).unwrap_or(rest.len());
            let component = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            if let Some(value) = component.strip_prefix("Credential=") {
                scope = Some(value);
            } else if let Some(value) = component.strip_prefix("SignedHeaders=") {
                signed_headers = Some(value);
            } else if let Some(value) = component.strip_prefix("Signature=") {
                signature = Some(value);
            }
        }
        let missing = MalformedAuthorization::MissingComponent;
        Ok(SignatureV4 {
            credential: credential(scope.ok_or(missing("Credential"))?)
                .ok_or(MalformedAuthorization::Credential)?,
            signed_headers: signed_headers.ok_or(missing("SignedHeaders"))?,
            signature: signature.ok_or(missing("Signature"))?,
        })
    }
}

/// A signature carried in the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presigned<'a> {
    /// Signature version 4.
    V4(PresignedV4<'a>),
    /// Signature version 4a, identified only.
    V4a(PresignedV4<'a>),
    /// S3's signature version 2.
    V2(PresignedV2<'a>),
}

/// The parameters of a version 4 presigned request, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignedV4<'a> {
    credential: Cow<'a, str>,
    /// `X-Amz-Date`.
    pub date: Cow<'a, str>,
    /// `X-Amz-Expires` in seconds; absent where the service does not ask for it.
    pub expires: Option<u32>,
    /// `X-Amz-SignedHeaders`.
    pub signed_headers: Cow<'a, str>,
    /// `X-Amz-Signature`.
    pub signature: Cow<'a, str>,
    /// `X-Amz-Security-Token`.
    pub security_token: Option<Cow<'a, str>>,
    is_v4a: bool,
}

/// The parameters of a version 2 presigned request, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresignedV2<'a> {
    /// `AWSAccessKeyId`.
    pub access_key_id: Cow<'a, str>,
    /// `Signature`, base64.
    pub signature: Cow<'a, str>,
    /// `Expires`, seconds since 1970.
    pub expires: i64,
    /// `x-amz-security-token`.
    pub security_token: Option<Cow<'a, str>>,
}

impl PresignedV4<'_> {
    /// The key and scope.
    pub fn credential(&self) -> Credential<'_> {
        let parse = if self.is_v4a {
            Credential::parse_v4a
        } else {
            Credential::parse
        };
        // Parsing succeeded when this value was made.
        parse(&self.credential).unwrap_or(Credential {
            access_key_id: "",
            date: "",
            region: "",
            service: "",
        })
    }

    /// The parts that a header would have carried.
    pub fn signature_v4(&self) -> SignatureV4<'_> {
        SignatureV4 {
            credential: self.credential(),
            signed_headers: &self.signed_headers,
            signature: &self.signature,
        }
    }
}

impl<'a> Presigned<'a> {
    /// Reads the signature from a raw query, if it carries one.
    pub fn parse(query: &'a str) -> Result<Option<Self>, MalformedAuthorization> {
        if query.is_empty() {
            return Ok(None);
        }
        if let Some(algorithm) = parameter(query, "X-Amz-Algorithm") {
            let is_v4a = match algorithm.as_ref() {
                V4_ALGORITHM => false,
                V4A_ALGORITHM => true,
                _ => return Err(MalformedAuthorization::Algorithm),
            };
            let v4 = Self::parse_v4(query, is_v4a)?;
            return Ok(Some(if is_v4a { Self::V4a(v4) } else { Self::V4(v4) }));
        }
        if parameter(query, "X-Amz-Signature").is_some()
            || parameter(query, "X-Amz-Credential").is_some()
        {
            return Err(MalformedAuthorization::MissingQueryParameter);
        }
        // `Expires` and `Signature` alone are ordinary words; the key is what makes them a signature.
        let Some(access_key_id) = parameter(query, "AWSAccessKeyId") else {
            return Ok(None);
        };
        let (Some(signature), Some(expires)) =
            (parameter(query, "Signature"), parameter(query, "Expires"))
        else {
            // Version 2 of the query protocol carries `Timestamp` and `SignatureVersion` instead of `Expires`.
            if parameter(query, "SignatureVersion").is_some() {
                return Ok(None);
            }
            return Err(MalformedAuthorization::MissingQueryParameterV2);
        };
        Ok(Some(Self::V2(PresignedV2 {
            access_key_id,
            signature,
            expires: expires
                .parse()
                .map_err(|_| MalformedAuthorization::ExpiresV2(expires.into_owned()))?,
            security_token: parameter(query, "x-amz-security-token"),
        })))
    }

    fn parse_v4(query: &'a str, is_v4a: bool) -> Result<PresignedV4<'a>, MalformedAuthorization> {
        let required =
            |name| parameter(query, name).ok_or(MalformedAuthorization::MissingQueryParameter);
        let credential = required("X-Amz-Credential")?;
        let is_credential = if is_v4a {
            Credential::parse_v4a(&credential).is_some()
        } else {
            Credential::parse(&credential).is_some()
        };
        if !is_credential {
            return Err(MalformedAuthorization::QueryCredential);
        }
        let expires = match parameter(query, "X-Amz-Expires") {
            None => None,
            Some(expires) => {
                let expires: i64 = expires
                    .parse()
                    .map_err(|_| MalformedAuthorization::ExpiresNotANumber)?;
                if expires < 0 {
                    return Err(MalformedAuthorization::ExpiresNegative);
                }
                let expires = u32::try_from(expires)
                    .ok()
                    .filter(|expires| *expires <= MAX_EXPIRES)
                    .ok_or(MalformedAuthorization::ExpiresTooLarge)?;
                Some(expires)
            }
        };
        Ok(PresignedV4 {
            date: required("X-Amz-Date")?,
            signed_headers: required("X-Amz-SignedHeaders")?,
            signature: required("X-Amz-Signature")?,
            security_token: parameter(query, "X-Amz-Security-Token"),
            credential,
            expires,
            is_v4a,
        })
    }

    /// The access key id, of whichever version.
    pub fn access_key_id(&self) -> &str {
        match self {
            Self::V4(v4) | Self::V4a(v4) => v4.credential().access_key_id,
            Self::V2(v2) => &v2.access_key_id,
        }
    }

    /// The session token, if the query carries one.
    pub fn security_token(&self) -> Option<&str> {
        match self {
            Self::V4(v4) | Self::V4a(v4) => v4.security_token.as_deref(),
            Self::V2(v2) => v2.security_token.as_deref(),
        }
    }
}

/// The longest time in seconds that a presigned version 4 request may be valid for.
pub const MAX_EXPIRES: u32 = 604_800;

/// The decoded value of the first parameter of that name in a raw query.
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode_str(value).decode_utf8_lossy())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_version_4_header_is_read_whatever_its_spacing() {
        for header in [
            "AWS4-HMAC-SHA256 Credential=AKID/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range, Signature=abc",
            "AWS4-HMAC-SHA256 Credential=AKID/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range,Signature=abc",
            "AWS4-HMAC-SHA256   Credential=AKID/20130524/us-east-1/s3/aws4_request ,  SignedHeaders=host;range\t,Signature=abc ",
        ] {
            let Ok(Authorization::V4(v4)) = Authorization::parse(header) else {
                panic!("not version 4: {header}");
            };
            assert_eq!(v4.credential.access_key_id, "AKID");
            assert_eq!(v4.credential.region, "us-east-1");
            assert_eq!(v4.signed_headers, "host;range");
            assert_eq!(v4.signature, "abc");
        }
    }

    #[test]
    fn version_2_and_4a_headers_are_told_apart() {
        assert_eq!(
            Authorization::parse("AWS AKID:c2ln"),
            Ok(Authorization::V2 {
                access_key_id: "AKID",
                signature: "c2ln"
            })
        );
        let v4a = Authorization::parse(
            "AWS4-ECDSA-P256-SHA256 Credential=AKID/20130524/s3/aws4_request, SignedHeaders=host, Signature=00",
        );
        assert!(matches!(v4a, Ok(Authorization::V4a(v4a)) if v4a.credential.service == "s3"));
    }

    #[test]
    fn a_broken_header_says_what_is_missing() {
        assert_eq!(
            Authorization::parse("AWS4-HMAC-SHA256 SignedHeaders=host, Signature=abc"),
            Err(MalformedAuthorization::MissingComponent("Credential"))
        );
        assert_eq!(
            Authorization::parse(
                "AWS4-HMAC-SHA256 Credential=AKID, SignedHeaders=host, Signature=a"
            ),
            Err(MalformedAuthorization::Credential)
        );
        assert_eq!(
            Authorization::parse("AWS nothing"),
            Err(MalformedAuthorization::V2)
        );
        assert_eq!(
            Authorization::parse("Bearer x"),
            Err(MalformedAuthorization::UnsupportedType)
        );
    }

    #[test]
    fn the_validity_of_a_presigned_request_is_at_most_a_week() {
        let query = |expires: &str| {
            format!(
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20130524%2Fr%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=ab"
            )
        };
        assert!(Presigned::parse(&query("604800")).is_ok());
        for (expires, error) in [
            ("604801", MalformedAuthorization::ExpiresTooLarge),
            ("-1", MalformedAuthorization::ExpiresNegative),
            ("x", MalformedAuthorization::ExpiresNotANumber),
        ] {
            assert_eq!(Presigned::parse(&query(expires)), Err(error));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_an_answer_never_a_panic(text in "\\PC*") {
            let _ = Authorization::parse(&text);
            let _ = Authorization::parse(&format!("AWS4-HMAC-SHA256 {text}"));
            let _ = Presigned::parse(&text);
            let _ = Presigned::parse(&format!("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={text}"));
        }
    }
}
