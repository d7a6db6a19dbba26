//! A region in process, asked as a client asks it.

use std::sync::Arc;

use cloud::Cloud;
use gateway::{Gateway, Metrics};
use roxmltree::Document;
use wire::Body;

pub struct Region {
    pub cloud: Cloud,
    gateway: Gateway,
}

impl Region {
    pub fn new() -> Region {
        let cloud = Cloud::ephemeral();
        let services = vec![iam::service(&cloud)];
        cloud.start();
        let gateway = Gateway::new(
            cloud.clone(),
            services,
            Arc::new(()),
            Arc::new(Metrics::default()),
        );
        Region { cloud, gateway }
    }

    async fn call(&self, operation: &str, input: &[(&str, &str)]) -> (u16, String) {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", operation)
            .append_pair("Version", "2010-05-08")
            .extend_pairs(input)
            .finish();
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=00",
            )
            .body(Body::from(form))
            .expect("a request");
        let response = self
            .gateway
            .answer(request, [127, 0, 0, 1].into(), false)
            .await;
        let body = response.body.collect(1 << 30).await.expect("a body");
        (
            response.status,
            String::from_utf8(body.to_vec()).expect("text"),
        )
    }

    /// Calls an operation that must succeed.
    pub async fn ok(&self, operation: &str, input: &[(&str, &str)]) -> Answer {
        let (status, text) = self.call(operation, input).await;
        assert_eq!(status, 200, "{operation}: {text}");
        Answer(text)
    }

    /// Calls an operation that must fail; status, code and message.
    pub async fn fails(&self, operation: &str, input: &[(&str, &str)]) -> (u16, String, String) {
        let (status, text) = self.call(operation, input).await;
        assert!(status >= 400, "{operation}: {text}");
        let answer = Answer(text);
        (status, answer.text("Code"), answer.text("Message"))
    }
}

/// An answer's document.
pub struct Answer(pub String);

impl Answer {
    /// The texts of all elements of that name.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let document = Document::parse(&self.0).expect("XML");
        let found = document
            .descendants()
            .filter(|n| n.tag_name().name() == name);
        found
            .map(|n| n.text().unwrap_or_default().to_owned())
            .collect()
    }
    /// The text of the first element of that name.
    pub fn text(&self, name: &str) -> String {
        self.texts(name)
            .into_iter()
            .next()
            .unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}
