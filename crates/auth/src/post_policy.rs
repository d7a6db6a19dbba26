//! The policies of browser uploads to S3 by POST: a signed document that limits what the form may hold.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use time::OffsetDateTime;

use crate::authorization::V4_ALGORITHM;
use crate::credential::Credential;
use crate::date;
use crate::digest::equal_in_constant_time;
use crate::sigv2;
use crate::sigv4::SigningKey;

/// Fields of a form that need no condition.
const EXEMPT_FIELDS: &[&str] = &[
    "awsaccesskeyid",
    "x-amz-signature",
    "signature",
    "policy",
    "file",
];

/// What signs a form by version 4.
const OF_V4: [&str; 4] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-signature",
];

/// Why a form was refused. The variants carry the AWS error code in their documentation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// `InvalidPolicyDocument` (400): the policy is not base64 of a JSON document of the right shape.
    #[error("Invalid Policy: {0}")]
    InvalidPolicyDocument(String),
    /// `AccessDenied` (403): the policy's time is over.
    #[error("Invalid according to Policy: Policy expired.")]
    Expired,
    /// `AccessDenied` (403): a condition does not hold; carries the condition as JSON.
    #[error("Invalid according to Policy: Policy Condition failed: {0}")]
    ConditionFailed(String),
    /// `AccessDenied` (403): fields that no condition covers.
    #[error("Invalid according to Policy: Extra input fields: {0}")]
    ExtraFields(String),
    /// `EntityTooSmall` (400): the file is shorter than the policy's least.
    #[error("Your proposed upload is smaller than the minimum allowed size")]
    TooSmall {
        /// The size of the file.
        proposed: u64,
        /// The least size allowed.
        minimum: u64,
    },
    /// `EntityTooLarge` (400): the file is longer than the policy's most.
    #[error("Your proposed upload exceeds the maximum allowed size")]
    TooLarge {
        /// The size of the file.
        proposed: u64,
        /// The largest size allowed.
        maximum: u64,
    },
    /// `InvalidArgument` (400): a field that signing needs is absent.
    #[error(
        "Bucket POST must contain a field named '{0}'.  If it is specified, please check the order of the fields."
    )]
    MissingField(&'static str),
    /// `InvalidArgument` (400): the credential has the wrong shape.
    #[error(
        "Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\"."
    )]
    Credential,
    /// `InvalidArgument` (400): another algorithm.
    #[error("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256\"")]
    Algorithm,
    /// `SignatureDoesNotMatch` (403).
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    )]
    SignatureMismatch,
}

/// One condition of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The field has this value.
    Eq {
        /// The field's name in lower case.
        field: String,
        /// The value.
        value: String,
    },
    /// The field's value begins so.
    StartsWith {
        /// The field's name in lower case.
        field: String,
        /// The beginning.
        prefix: String,
    },
    /// The file's length in bytes lies within.
    ContentLengthRange {
        /// The least length.
        minimum: u64,
        /// The largest length.
        maximum: u64,
    },
    /// Of a shape that no form can meet; carries the condition as JSON.
    Never(String),
}

/// A decoded policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPolicy {
    /// Until when the policy may be used.
    pub expiration: OffsetDateTime,
    /// The conditions in the document's order.
    pub conditions: Vec<Condition>,
}

/// A form's fields before the file, as names and values; names are compared without regard to case.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a>(pub &'a [(String, String)]);

impl<'a> Form<'a> {
    /// The value of the first field of that name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// The signature of a form, by the version of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormSignature<'a> {
    /// The form has no policy, or none of what signs one: an anonymous upload.
    Anonymous,
    /// Version 4.
    V4 {
        /// `x-amz-credential`.
        credential: Credential<'a>,
        /// `x-amz-signature`, hex.
        signature: &'a str,
        /// `policy`, as it was sent.
        policy: &'a str,
    },
    /// Version 2.
    V2 {
        /// `AWSAccessKeyId`.
        access_key_id: &'a str,
        /// `signature`, base64.
        signature: &'a str,
        /// `policy`, as it was sent.
        policy: &'a str,
    },
}

impl<'a> FormSignature<'a> {
    /// Reads which signature the form carries.
    pub fn of(form: Form<'a>) -> Result<Self, PostError> {
        let Some(policy) = form.get("policy") else {
            return match form.get("AWSAccessKeyId").or(form.get("x-amz-credential")) {
                Some(_) => Err(PostError::MissingField("policy")),
                None => Ok(Self::Anonymous),
            };
        };
        let required = |name| form.get(name).ok_or(PostError::MissingField(name));
        let has = |names: &[&str]| names.iter().any(|name| form.get(name).is_some());
        if has(&OF_V4) {
            let algorithm = required("X-Amz-Algorithm")?;
            if algorithm != V4_ALGORITHM {
                return Err(PostError::Algorithm);
            }
            let credential = required("X-Amz-Credential")?;
            required("X-Amz-Date")?;
            return Ok(Self::V4 {
                credential: Credential::parse(credential).ok_or(PostError::Credential)?,
                signature: required("X-Amz-Signature")?,
                policy,
            });
        }
        if !has(&["AWSAccessKeyId", "Signature"]) {
            return Ok(Self::Anonymous);
        }
        Ok(Self::V2 {
            access_key_id: required("AWSAccessKeyId")?,
            signature: required("Signature")?,
            policy,
        })
    }

    /// The access key id, unless anonymous.
    pub fn access_key_id(&self) -> Option<&'a str> {
        match self {
            Self::Anonymous => None,
            Self::V4 { credential, .. } => Some(credential.access_key_id),
            Self::V2 { access_key_id, .. } => Some(access_key_id),
        }
    }

    /// Verifies the signature over the policy.
    pub fn verify(&self, secret: &str) -> Result<(), PostError> {
        let is_right = match self {
            Self::Anonymous => true,
            Self::V4 {
                credential,
                signature,
                policy,
            } => {
                let key = SigningKey::for_credential(secret, credential);
                equal_in_constant_time(&key.sign(policy), signature)
            }
            Self::V2 {
                signature, policy, ..
            } => equal_in_constant_time(&sigv2::signature(secret, policy), signature),
        };
        is_right.then_some(()).ok_or(PostError::SignatureMismatch)
    }
}

impl PostPolicy {
    /// Decodes the form's `policy` field: base64 of JSON.
    pub fn decode(field: &str) -> Result<Self, PostError> {
        let compact: String = field.split_ascii_whitespace().collect();
        let bytes = STANDARD
            .decode(compact)
            .map_err(|_| invalid("Invalid Base64 Encoding."))?;
        Self::parse(&bytes)
    }

    /// Parses the JSON document.
    pub fn parse(document: &[u8]) -> Result<Self, PostError> {
        let Ok(Value::Object(document)) = serde_json::from_slice(document) else {
            return Err(invalid("Invalid JSON."));
        };
        if let Some(name) = document
            .keys()
            .find(|name| !matches!(name.as_str(), "expiration" | "conditions"))
        {
            return Err(invalid(&format!("Unexpected: '{name}'.")));
        }
        let expiration = match document.get("expiration") {
            None => return Err(invalid("Policy missing expiration.")),
            Some(Value::String(text)) => date::parse_iso8601(text)
                .ok_or_else(|| invalid(&format!("Invalid 'expiration' value: '{text}'")))?,
            Some(other) => return Err(invalid(&format!("Invalid 'expiration' value: '{other}'"))),
        };
        let conditions = match document.get("conditions") {
            None => return Err(invalid("Policy missing conditions.")),
            Some(Value::Array(conditions)) => conditions,
            Some(_) => return Err(invalid("Invalid 'conditions' value: must be a List.")),
        };
        let mut parsed = Vec::with_capacity(conditions.len());
        for condition in conditions {
            parse_condition(condition, &mut parsed)?;
        }
        Ok(PostPolicy {
            expiration,
            conditions: parsed,
        })
    }

    /// Checks the form against the policy, all but the length of the file.
    ///
    /// The form must have its `bucket` among its fields even where the browser did not send one.
    pub fn check(&self, form: Form<'_>, now: OffsetDateTime) -> Result<(), PostError> {
        if now > self.expiration {
            return Err(PostError::Expired);
        }
        for condition in &self.conditions {
            let holds = match condition {
                Condition::Eq { field, value } => form.get(field) == Some(value),
                Condition::StartsWith { field, prefix } => form
                    .get(field)
                    .is_some_and(|value| starts_with(field, value, prefix)),
                Condition::ContentLengthRange { .. } => true,
                Condition::Never(_) => false,
            };
            if !holds {
                return Err(PostError::ConditionFailed(condition.to_json()));
            }
        }
        let extra: Vec<String> = form
            .0
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .filter(|name| !self.covers(name))
            .collect();
        if extra.is_empty() {
            Ok(())
        } else {
            Err(PostError::ExtraFields(extra.join(", ")))
        }
    }

    /// Checks the length of the file in bytes.
    pub fn check_length(&self, length: u64) -> Result<(), PostError> {
        for condition in &self.conditions {
            if let Condition::ContentLengthRange { minimum, maximum } = *condition {
                if length < minimum {
                    return Err(PostError::TooSmall {
                        proposed: length,
                        minimum,
                    });
                }
                if length > maximum {
                    return Err(PostError::TooLarge {
                        proposed: length,
                        maximum,
                    });
                }
            }
        }
        Ok(())
    }

    /// The largest file the policy allows, for a reader that wants to stop early.
    pub fn maximum_length(&self) -> Option<u64> {
        self.conditions
            .iter()
            .filter_map(|condition| match condition {
                Condition::ContentLengthRange { maximum, .. } => Some(*maximum),
                _ => None,
            })
            .min()
    }

    fn covers(&self, name: &str) -> bool {
        // The bucket may come from the address; `x-ignore-` fields are for the page's own use.
        EXEMPT_FIELDS.contains(&name)
            || name == "bucket"
            || name.starts_with("x-ignore-")
            || self.conditions.iter().any(|condition| match condition {
                Condition::Eq { field, .. } | Condition::StartsWith { field, .. } => field == name,
                Condition::ContentLengthRange { .. } | Condition::Never(_) => false,
            })
    }
}

impl Condition {
    // As AWS prints it: with a space after each comma.
    fn to_json(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        match self {
            Self::Eq { field, value } => {
                format!(
                    "[\"eq\", {}, {}]",
                    quoted(&format!("${field}")),
                    quoted(value)
                )
            }
            Self::StartsWith { field, prefix } => format!(
                "[\"starts-with\", {}, {}]",
                quoted(&format!("${field}")),
                quoted(prefix)
            ),
            Self::ContentLengthRange { minimum, maximum } => {
                format!("[\"content-length-range\", {minimum}, {maximum}]")
            }
            Self::Never(json) => json.clone(),
        }
    }
}

fn invalid(reason: &str) -> PostError {
    PostError::InvalidPolicyDocument(reason.to_owned())
}

// A list of content types must match in each of its members.
fn starts_with(field: &str, value: &str, prefix: &str) -> bool {
    if field == "content-type" && value.contains(',') {
        return value
            .split(',')
            .all(|part| part.trim_start().starts_with(prefix));
    }
    value.starts_with(prefix)
}

fn parse_condition(condition: &Value, parsed: &mut Vec<Condition>) -> Result<(), PostError> {
    match condition {
        Value::Object(fields) => {
            if fields.len() != 1 {
                return Err(invalid(
                    "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
                ));
            }
            for (field, value) in fields {
                let value = value
                    .as_str()
                    .ok_or_else(|| invalid("Invalid Simple-Condition: value must be a string."))?;
                parsed.push(Condition::Eq {
                    field: field.to_ascii_lowercase(),
                    value: value.to_owned(),
                });
            }
            Ok(())
        }
        Value::Array(parts) => {
            parsed.push(parse_operation(parts)?);
            Ok(())
        }
        _ => Err(invalid("Invalid Condition: must be a List or an Object.")),
    }
}

fn parse_operation(parts: &[Value]) -> Result<Condition, PostError> {
    let operator = parts
        .first()
        .and_then(Value::as_str)
        .ok_or_else(|| invalid("Invalid Condition: operation must be a string."))?
        .to_ascii_lowercase();
    let [_, left, right] = parts else {
        return Err(invalid(&format!(
            "Invalid '{operator}' Condition: wrong number of arguments."
        )));
    };
    if operator == "content-length-range" {
        let (Some(minimum), Some(maximum)) = (length(left), length(right)) else {
            if left.is_string() || right.is_string() {
                return Ok(never(&operator, left, right));
            }
            return Err(invalid(
                "Invalid 'content-length-range' Condition: arguments must be integers.",
            ));
        };
        return Ok(Condition::ContentLengthRange { minimum, maximum });
    }
    let is_known = matches!(operator.as_str(), "eq" | "starts-with");
    if is_known && left.as_str().is_some_and(|f| !f.starts_with('$')) && right.is_string() {
        return Ok(never(&operator, left, right));
    }
    let field = left.as_str().and_then(|field| field.strip_prefix('$'));
    let (Some(field), Some(value)) = (field, right.as_str()) else {
        return Err(invalid(&format!(
            "Invalid '{operator}' Condition: the field must begin with '$' and the value be a string."
        )));
    };
    let field = field.to_ascii_lowercase();
    match operator.as_str() {
        "eq" => Ok(Condition::Eq {
            field,
            value: value.to_owned(),
        }),
        "starts-with" => Ok(Condition::StartsWith {
            field,
            prefix: value.to_owned(),
        }),
        _ => Err(invalid(&format!(
            "Invalid Condition: unknown operation '{operator}'."
        ))),
    }
}

fn never(operator: &str, left: &Value, right: &Value) -> Condition {
    Condition::Never(format!("[\"{operator}\", {left}, {right}]"))
}

// Forms are written by hand: S3 takes the lengths as strings too.
fn length(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2015-12-29 12:00 UTC);

    fn form(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn policy() -> PostPolicy {
        PostPolicy::parse(
            br#"{"expiration": "2015-12-30T12:00:00.000Z", "conditions": [
                {"bucket": "sigv4examplebucket"}, ["starts-with", "$key", "user/user1/"],
                ["starts-with", "$Content-Type", "image/"], {"acl": "public-read"}, ["content-length-range", 2, 10]]}"#,
        )
        .expect("a policy")
    }

    #[test]
    fn a_form_within_the_policy_passes() {
        let fields = form(&[
            ("bucket", "sigv4examplebucket"),
            ("Key", "user/user1/a"),
            ("Content-Type", "image/png,image/gif"),
            ("acl", "public-read"),
            ("x-ignore-me", "1"),
        ]);
        assert_eq!(policy().check(Form(&fields), NOW), Ok(()));
    }

    #[test]
    fn each_refusal_has_the_text_of_aws() {
        let check = |fields: &[(&str, &str)], now| {
            let fields = form(fields);
            policy()
                .check(Form(&fields), now)
                .expect_err("refused")
                .to_string()
        };
        let good = [
            ("bucket", "sigv4examplebucket"),
            ("key", "user/user1/a"),
            ("content-type", "image/png"),
            ("acl", "public-read"),
        ];
        assert_eq!(
            check(&good, datetime!(2016-01-01 0:00 UTC)),
            "Invalid according to Policy: Policy expired."
        );
        assert_eq!(
            check(&[good[0], ("key", "other"), good[2], good[3]], NOW),
            "Invalid according to Policy: Policy Condition failed: [\"starts-with\", \"$key\", \"user/user1/\"]"
        );
        assert_eq!(
            check(&[good[0], good[1], good[2], ("acl", "private")], NOW),
            "Invalid according to Policy: Policy Condition failed: [\"eq\", \"$acl\", \"public-read\"]"
        );
        assert_eq!(
            check(&[good[0], good[1], good[2], good[3], ("Extra", "1")], NOW),
            "Invalid according to Policy: Extra input fields: extra"
        );
    }

    #[test]
    fn the_length_of_the_file_is_bounded_on_both_sides() {
        assert_eq!(policy().check_length(5), Ok(()));
        assert_eq!(
            policy().check_length(1),
            Err(PostError::TooSmall {
                proposed: 1,
                minimum: 2
            })
        );
        assert_eq!(
            policy().check_length(11),
            Err(PostError::TooLarge {
                proposed: 11,
                maximum: 10
            })
        );
    }

    #[test]
    fn a_document_without_its_parts_is_invalid() {
        for document in [
            "",
            "[]",
            "{}",
            r#"{"expiration": "2015-12-30T12:00:00Z"}"#,
            r#"{"expiration": "soon", "conditions": []}"#,
            r#"{"expiration": "2015-12-30T12:00:00Z", "conditions": [["eq", 1, "a"]]}"#,
            r#"{"expiration": "2015-12-30T12:00:00Z", "conditions": [{}]}"#,
        ] {
            assert!(
                matches!(
                    PostPolicy::parse(document.as_bytes()),
                    Err(PostError::InvalidPolicyDocument(_))
                ),
                "{document}"
            );
        }
    }

    #[test]
    fn what_no_form_can_meet_is_a_condition_that_fails() {
        for (condition, shown) in [
            (r#"["eq", "key", "a"]"#, r#"["eq", "key", "a"]"#),
            (
                r#"["content-length-range","test","10"]"#,
                r#"["content-length-range", "test", "10"]"#,
            ),
        ] {
            let document =
                format!(r#"{{"expiration": "2015-12-30T12:00:00Z", "conditions": [{condition}]}}"#);
            let policy = PostPolicy::parse(document.as_bytes()).expect("a policy");
            assert_eq!(
                policy.check(Form(&form(&[("key", "a")])), NOW),
                Err(PostError::ConditionFailed(shown.to_owned()))
            );
        }
    }

    #[test]
    fn a_form_that_nothing_signs_is_anonymous() {
        let policy = ("policy", "e30=");
        let signature = |fields: &[(&str, &str)]| {
            FormSignature::of(Form(&form(fields))).map(|s| s.access_key_id().map(str::to_owned))
        };
        assert_eq!(signature(&[policy]), Ok(None));
        assert_eq!(
            signature(&[policy, ("x-amz-signature", "00")]),
            Err(PostError::MissingField("X-Amz-Algorithm"))
        );
        assert_eq!(
            signature(&[policy, ("signature", "00")]),
            Err(PostError::MissingField("AWSAccessKeyId"))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_documents_never_panic(bytes: Vec<u8>, text in "\\PC*") {
            let _ = PostPolicy::parse(&bytes);
            let _ = PostPolicy::decode(&text);
        }
    }
}
