//! Signatures of messages, by a key and certificate that the region makes itself once.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256};
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::signature::{SignatureEncoding, Signer as _};
use rsa::{PrivateKey, pkcs8};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use store::{Read, Record, Scope};
use wire::Fault;

use crate::service::Sns;

/// The key as it is stored.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// PKCS #8, DER.
    key: Vec<u8>,
    /// PEM.
    certificate: String,
}
impl Record for Kept {}

/// Signs messages.
pub(crate) struct Signer {
    kept: Kept,
    /// Of version 1. The library that is quicker knows no SHA-1.
    first: SigningKey<Sha1>,
    /// Of version 2.
    second: KeyPair,
    /// The certificate's name in its URL.
    name: String,
}

/// Bits of the key, as AWS's has.
const BITS: usize = 2048;

/// Where certificates are served.
pub(crate) const CERTIFICATES: &str = "/_aws/sns/SimpleNotificationService-";

/// The region's randomness, as the key's maker asks for it.
struct Random;

impl TryRng for Random {
    type Error = core::convert::Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        cloud::ids::random(&mut bytes);
        Ok(u32::from_ne_bytes(bytes))
    }
    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        cloud::ids::random(&mut bytes);
        Ok(u64::from_ne_bytes(bytes))
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        cloud::ids::random(bytes);
        Ok(())
    }
}
impl TryCryptoRng for Random {}

fn broken(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::internal(format!("the key that signs messages: {what}: {why}"))
}

fn pair(key: &[u8]) -> Result<KeyPair, Fault> {
    KeyPair::from_pkcs8_der_and_sign_algo(&key.into(), &PKCS_RSA_SHA256)
        .map_err(|e| broken("no certificate takes it", e))
}

impl Signer {
    fn make() -> Result<Signer, Fault> {
        let key = PrivateKey::new(&mut Random, BITS).map_err(|e| broken("it is not made", e))?;
        let key = key
            .to_pkcs8_der()
            .map_err(|e: pkcs8::Error| broken("it is not written", e))?;
        let key = key.as_bytes().to_vec();
        let pair = pair(&key)?;
        let name = "sns.amazonaws.com".to_owned();
        let mut params =
            CertificateParams::new(vec![name.clone()]).map_err(|e| broken("its name", e))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2044, 1, 1);
        let certificate = params
            .self_signed(&pair)
            .map_err(|e| broken("its certificate", e))?
            .pem();
        Signer::of(Kept { key, certificate })
    }

    fn of(kept: Kept) -> Result<Signer, Fault> {
        let key = PrivateKey::from_pkcs8_der(&kept.key).map_err(|e| broken("it is not read", e))?;
        let digest = Sha256::digest(kept.certificate.as_bytes());
        Ok(Signer {
            name: hex::encode(digest.get(..16).unwrap_or_default()),
            first: SigningKey::new(key),
            second: pair(&kept.key)?,
            kept,
        })
    }

    /// The certificate, PEM, where that is its path.
    pub(crate) fn certificate(&self, path: &str) -> Option<String> {
        let name = path.strip_prefix(CERTIFICATES)?.strip_suffix(".pem")?;
        (name == self.name).then(|| self.kept.certificate.clone())
    }

    /// The certificate's path.
    pub(crate) fn path(&self) -> String {
        format!("{CERTIFICATES}{}.pem", self.name)
    }

    /// The signature of a text, of version 1 (SHA-1) or 2 (SHA-256).
    pub(crate) fn sign(&self, text: &str, version: &str) -> Result<String, Fault> {
        let signature = match version {
            "2" => rcgen::SigningKey::sign(&self.second, text.as_bytes())
                .map_err(|e| broken("it does not sign", e))?,
            _ => self.first.sign(text.as_bytes()).to_vec(),
        };
        Ok(STANDARD.encode(signature))
    }
}

/// What is signed: the names and values of members, each on its line, in the order of their names.
pub(crate) fn canonical(members: &[(&str, Option<&str>)]) -> String {
    let mut text = String::new();
    for (name, value) in members {
        if let Some(value) = value {
            text.push_str(name);
            text.push('\n');
            text.push_str(value);
            text.push('\n');
        }
    }
    text
}

impl Sns {
    /// The region's signer; it makes its key where there is none yet.
    pub(crate) async fn signer(&self) -> Result<Arc<Signer>, Fault> {
        if let Some(signer) = self.signer.read().clone() {
            return Ok(signer);
        }
        let _alone = self.making_signer.lock().await;
        if let Some(signer) = self.signer.read().clone() {
            return Ok(signer);
        }
        let kept: Option<Kept> = self.cloud.store.read().get(&self.keys, &KEY)?;
        let former = self.former_signer.lock().take();
        let signer = match (kept, former) {
            (Some(kept), _) => Arc::new(Signer::of(kept)?),
            (None, former) => {
                let signer = match former {
                    Some(former) => former,
                    None => Arc::new(tokio::task::spawn_blocking(Signer::make).await??),
                };
                self.cloud
                    .store
                    .transact(Scope::new(&["sns.keys"]), |tx| {
                        tx.put(&self.keys, &KEY, &signer.kept)?;
                        Ok::<_, Fault>(())
                    })
                    .await?;
                signer
            }
        };
        *self.signer.write() = Some(signer.clone());
        Ok(signer)
    }
}

/// The key's row: all accounts' messages are signed by one.
const KEY: (&str, &str) = ("", "signature");
