//! Configurations of buckets that are documents of the API, kept as S3's own XML: an upgrade of the generated
//! types is then no migration of data.

use wire::xml::{self, XmlReader, XmlWriter};
use wire::{Audit, Decode, Encode};

use crate::api;

/// A document that is kept.
pub trait Document: Decode + Encode {
    /// The sub-resource's name.
    const NAME: &'static str;
}

macro_rules! documents {
    ($($type:ident = $name:literal,)*) => {
        $(impl Document for api::$type {
            const NAME: &'static str = $name;
        })*
    };
}

documents! {
    CORSConfiguration = "cors",
    BucketLifecycleConfiguration = "lifecycle",
    WebsiteConfiguration = "website",
    NotificationConfiguration = "notification",
    ReplicationConfiguration = "replication",
    ServerSideEncryptionConfiguration = "encryption",
    ObjectLockConfiguration = "object-lock",
    BucketLoggingStatus = "logging",
    AccelerateConfiguration = "accelerate",
    RequestPaymentConfiguration = "requestPayment",
    AnalyticsConfiguration = "analytics",
    InventoryConfiguration = "inventory",
    MetricsConfiguration = "metrics",
    IntelligentTieringConfiguration = "intelligent-tiering",
}

/// Writes a document.
pub fn encode(document: &impl Encode) -> String {
    let mut writer = XmlWriter::fragment("Configuration", None);
    document.encode(&mut writer);
    String::from_utf8(writer.finish()).unwrap_or_default()
}

/// Reads a document that [`encode`] wrote.
pub fn decode<T: Decode>(text: &str) -> Option<T> {
    let read = || {
        let document = xml::parse(text.as_bytes())?;
        T::decode(
            &mut XmlReader::new(document.root_element()),
            &mut Audit::default(),
        )
    };
    match read() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!(%error, "a stored configuration cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_reads_back_as_it_was_written() {
        let rule = api::CORSRule {
            id: Some("a<b".into()),
            allowed_methods: vec!["GET".into(), "PUT".into()],
            allowed_origins: vec!["*".into()],
            max_age_seconds: Some(5),
            ..Default::default()
        };
        let text = encode(&api::CORSConfiguration {
            cors_rules: vec![rule],
        });
        let read: api::CORSConfiguration = decode(&text).expect("a document");
        assert_eq!(read.cors_rules[0].id.as_deref(), Some("a<b"));
        assert_eq!(read.cors_rules[0].allowed_methods, ["GET", "PUT"]);
        assert_eq!(encode(&read), text);
    }
}
