//! The claims of a web identity token.
//!
//! The signature is not verified: the providers' keys are not reachable from a local region, so a token stands for
//! whoever presents it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// The claims of a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Not three parts of base64 with a JSON object in the middle.
    #[error(
        "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
    )]
    NotAJwt,
    /// A claim that assuming a role needs is absent.
    #[error("Missing a required claim: {0}")]
    MissingClaim(&'static str),
    /// The token's time is over.
    #[error("Token expired")]
    Expired,
}

impl Claims {
    /// Reads a token's claims.
    pub fn decode(token: &str) -> Result<Self, InvalidToken> {
        let mut parts = token.split('.');
        let (Some(_), Some(payload), Some(_), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidToken::NotAJwt);
        };
        let bytes = URL_SAFE_NO_PAD
            .decode(payload.trim_end_matches('='))
            .map_err(|_| InvalidToken::NotAJwt)?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(claims)) => Ok(Claims(claims)),
            _ => Err(InvalidToken::NotAJwt),
        }
    }

    /// A claim's values: a list has many, a string, number or boolean one.
    pub fn values(&self, name: &str) -> Vec<String> {
        fn text(value: &Value) -> Option<String> {
            match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
                _ => None,
            }
        }
        match self.0.get(name) {
            Some(Value::Array(values)) => values.iter().filter_map(text).collect(),
            Some(value) => text(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The claim that must be there.
    pub fn required(&self, name: &'static str) -> Result<String, InvalidToken> {
        self.values(name)
            .into_iter()
            .next()
            .ok_or(InvalidToken::MissingClaim(name))
    }

    /// Checks `exp` against the time.
    pub fn check_expiry(&self, now: OffsetDateTime) -> Result<(), InvalidToken> {
        let expires = self
            .0
            .get("exp")
            .and_then(Value::as_i64)
            .ok_or(InvalidToken::MissingClaim("exp"))?;
        if now.unix_timestamp() > expires {
            return Err(InvalidToken::Expired);
        }
        Ok(())
    }

    /// All claims.
    pub fn all(&self) -> &Map<String, Value> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_read_and_their_expiry_checked() {
        let payload =
            URL_SAFE_NO_PAD.encode(r#"{"iss":"https://idp","sub":"me","aud":["a","b"],"exp":10}"#);
        let claims = Claims::decode(&format!("e30.{payload}.sig")).expect("claims");
        assert_eq!(claims.required("sub").as_deref(), Ok("me"));
        assert_eq!(claims.values("aud"), ["a", "b"]);
        assert_eq!(
            claims.required("azp"),
            Err(InvalidToken::MissingClaim("azp"))
        );
        let at = |seconds| OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(seconds);
        assert_eq!(claims.check_expiry(at(10)), Ok(()));
        assert_eq!(claims.check_expiry(at(11)), Err(InvalidToken::Expired));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for token in ["", "a.b", "a.b.c", "a.é.c", "a.W10.c", "a.e30.c.d"] {
            assert_eq!(Claims::decode(token), Err(InvalidToken::NotAJwt), "{token}");
        }
    }
}
