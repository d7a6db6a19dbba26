//! SAML assertions. Their signatures are not verified: an assertion stands for whoever presents it, as a web
//! identity token does.

use base64::Engine;
use roxmltree::{Document, Node};
use wire::Timestamp;

/// What an assertion says.
#[derive(Debug, Default)]
pub(crate) struct Assertion {
    pub(crate) issuer: Option<String>,
    pub(crate) subject: Option<String>,
    /// `persistent`, `transient` or a format's URI.
    pub(crate) subject_type: Option<String>,
    /// Whom it was sent to.
    pub(crate) recipient: Option<String>,
    /// When it ends.
    pub(crate) ends: Option<Timestamp>,
    attributes: Vec<(String, String)>,
}

impl Assertion {
    /// Reads a response in base64.
    pub(crate) fn read(encoded: &str) -> Option<Assertion> {
        let compact: String = encoded.chars().filter(|c| !c.is_whitespace()).collect();
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(compact)
            .ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let document = Document::parse(&text).ok()?;
        let assertion = document
            .descendants()
            .find(|n| n.tag_name().name() == "Assertion")?;
        let find = |name: &'static str| {
            assertion
                .descendants()
                .find(move |n| n.tag_name().name() == name)
        };
        let text =
            |node: Option<Node<'_, '_>>| node.and_then(|n| n.text()).map(|t| t.trim().to_owned());
        let confirmation = find("SubjectConfirmationData");
        let ends = confirmation
            .or_else(|| find("Conditions"))
            .and_then(|n| n.attribute("NotOnOrAfter"));
        let mut read = Assertion {
            issuer: text(find("Issuer")),
            subject: text(find("NameID")),
            subject_type: find("NameID").and_then(|n| n.attribute("Format")).map(|f| {
                f.trim_start_matches("urn:oasis:names:tc:SAML:2.0:nameid-format:")
                    .to_owned()
            }),
            recipient: confirmation
                .and_then(|n| n.attribute("Recipient"))
                .map(str::to_owned),
            ends: ends.and_then(Timestamp::parse),
            attributes: Vec::new(),
        };
        for attribute in assertion
            .descendants()
            .filter(|n| n.tag_name().name() == "Attribute")
        {
            let name = attribute.attribute("Name").unwrap_or_default();
            for value in attribute
                .children()
                .filter(|n| n.tag_name().name() == "AttributeValue")
            {
                read.attributes.push((
                    name.to_owned(),
                    value.text().unwrap_or_default().trim().to_owned(),
                ));
            }
        }
        Some(read)
    }

    /// An attribute's values.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a String> {
        self.attributes
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assertion_is_read_and_what_is_none_is_not() {
        let xml = r#"<samlp:Response xmlns:samlp="p" xmlns:saml="a"><saml:Assertion><saml:Issuer>idp</saml:Issuer>
            <saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:2.0:nameid-format:persistent">me</saml:NameID>
            <saml:SubjectConfirmation><saml:SubjectConfirmationData NotOnOrAfter="2030-01-01T00:00:00Z" Recipient="r"/>
            </saml:SubjectConfirmation></saml:Subject><saml:AttributeStatement><saml:Attribute Name="n">
            <saml:AttributeValue>v</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>"#;
        let encoded = base64::engine::general_purpose::STANDARD.encode(xml);
        let assertion = Assertion::read(&encoded).expect("an assertion");
        assert_eq!(assertion.subject_type.as_deref(), Some("persistent"));
        assert_eq!(assertion.values("n").collect::<Vec<_>>(), ["v"]);
        assert_eq!(assertion.ends, Timestamp::parse("2030-01-01T00:00:00Z"));
        assert!(Assertion::read("not base64!").is_none());
        assert!(Assertion::read("PGE+").is_none());
    }
}
