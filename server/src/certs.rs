//! The local certificate authority, and the server's certificate that it signs.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::cli::Outcome;

/// Names that the server's certificate is valid for.
const NAMES: [&str; 14] = [
    "localhost",
    "*.localhost",
    "127.0.0.1",
    "::1",
    "localhost.localstack.cloud",
    "*.localhost.localstack.cloud",
    "*.s3.localhost.localstack.cloud",
    "*.us-east-1.localhost.localstack.cloud",
    "*.lambda-url.us-east-1.localhost.localstack.cloud",
    "*.execute-api.localhost.localstack.cloud",
    "*.amazonaws.com",
    "*.us-east-1.amazonaws.com",
    "*.s3.amazonaws.com",
    "*.s3.us-east-1.amazonaws.com",
];

/// The authority: made once, kept in the data directory, its key readable by the owner only.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Kept beside the key: each signing of the same certificate looks different.
    pem: String,
}

impl Authority {
    /// Opens the authority of a data directory, making it where there is none; without one it lasts for this run.
    pub fn open(dir: Option<&Path>) -> Outcome<Authority> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "Cumulo local authority");
        // A fixed span keeps the certificate the same for as long as its key is.
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2044, 1, 1);
        params.serial_number = Some(1u64.into());
        let key = match dir {
            None => KeyPair::generate()?,
            Some(dir) => {
                let file = dir.join("ca-key.pem");
                match fs::read_to_string(&file) {
                    Ok(pem) => KeyPair::from_pem(&pem)?,
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                        let key = KeyPair::generate()?;
                        fs::create_dir_all(dir)?;
                        let mut options = fs::OpenOptions::new();
                        options.write(true).create_new(true).mode(0o600);
                        options
                            .open(&file)?
                            .write_all(key.serialize_pem().as_bytes())?;
                        key
                    }
                    Err(e) => return Err(e.into()),
                }
            }
        };
        let issuer = CertifiedIssuer::self_signed(params, key)?;
        let pem = match dir.map(|d| d.join("ca.pem")) {
            Some(file) if file.exists() => fs::read_to_string(file)?,
            Some(file) => {
                fs::write(file, issuer.pem())?;
                issuer.pem()
            }
            None => issuer.pem(),
        };
        Ok(Authority { issuer, pem })
    }

    /// The authority's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// A server configuration with a fresh certificate for all local names.
    pub fn server(&self) -> Outcome<Arc<rustls::ServerConfig>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Cumulo");
        let certificate = params.signed_by(&key, &self.issuer)?;
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
