//! Tokens: a transaction that is sent again is done once.

use std::sync::atomic::Ordering;

use cloud::Context;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Range, Read, Record, Scope, Tx};
use wire::{Fault, Timestamp};

use crate::errors::idempotent_parameter_mismatch_exception;
use crate::service::Dynamo;

/// How long a token is remembered, in milliseconds.
const TOKEN_LIFE: i64 = 600_000;
/// The job that forgets tokens.
pub const TOKENS: &str = "dynamodb.tokens";

/// A token that a transaction was made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Token {
    digest: String,
    when: i64,
}

impl Record for Token {}

impl Dynamo {
    /// Whether a transaction was done before with that token; if not, it is remembered.
    pub fn was_done(
        &self,
        tx: &mut Tx<'_>,
        ctx: &Context,
        token: &str,
        digest: &str,
    ) -> Result<bool, Fault> {
        let now = ctx.time.millis();
        let key = (ctx.account.as_str(), ctx.region.as_str(), token);
        if let Some(found) = tx.get(&self.tokens, &key)?
            && found.when + TOKEN_LIFE > now
        {
            return match found.digest == digest {
                true => Ok(true),
                false => Err(idempotent_parameter_mismatch_exception(
                    "Idempotent parameter mismatch",
                )),
            };
        }
        let token = Token {
            digest: digest.to_owned(),
            when: now,
        };
        tx.put(&self.tokens, &key, &token)?;
        // One transaction in a while plans the removal of all that are old by then.
        let planned = self.tokens_swept.load(Ordering::Relaxed);
        if planned <= now {
            let next = now + 2 * TOKEN_LIFE;
            let won = self.tokens_swept.compare_exchange(
                planned,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if won.is_ok() {
                let when = Timestamp(next);
                self.cloud
                    .scheduler
                    .at(tx, when, TOKENS, "all", serde_json::Value::Null)?;
            }
        }
        Ok(false)
    }

    /// Forgets tokens that are too old to matter.
    pub async fn sweep_tokens(&self) -> Result<(), Fault> {
        let now = self.cloud.clock.now().millis();
        let mut old = Vec::new();
        for row in self.cloud.store.read().range(&self.tokens, Range::all()) {
            let (key, token) = row?;
            if token.when + TOKEN_LIFE <= now {
                old.push(key);
            }
        }
        for (account, region, token) in old {
            let scope = ["dynamodb.token", account.as_str(), token.as_str()];
            let key = (account.as_str(), region.as_str(), token.as_str());
            self.cloud
                .store
                .transact(Scope::new(&scope), |tx| {
                    let found = tx.get(&self.tokens, &key)?;
                    if found.is_some_and(|token| token.when + TOKEN_LIFE <= now) {
                        tx.delete(&self.tokens, &key);
                    }
                    Ok::<_, Fault>(())
                })
                .await?;
        }
        Ok(())
    }
}

/// What tells one request from another with the same token.
pub fn digest(request: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(request))
}
