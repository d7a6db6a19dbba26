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
        Region::over(Cloud::ephemeral())
    }

    pub fn over(cloud: Cloud) -> Region {
        let services = vec![iam::service(&cloud), sts::service(&cloud)];
        cloud.start();
        let gateway = Gateway::new(
            cloud.clone(),
            services,
            Arc::new(()),
            Arc::new(Metrics::default()),
        );
        Region { cloud, gateway }
    }

    /// Calls an operation of `iam` or `sts` with an access key.
    pub async fn call(
        &self,
        key: &str,
        service: &str,
        operation: &str,
        input: &[(&str, &str)],
    ) -> (u16, Answer) {
        let version = if service == "iam" {
            "2010-05-08"
        } else {
            "2011-06-15"
        };
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("Action", operation)
            .append_pair("Version", version)
            .extend_pairs(input)
            .finish();
        let scope = format!("Credential={key}/20260101/us-east-1/{service}/aws4_request");
        let request = http::Request::post("/")
            .header("host", "localhost:4566")
            .header(
                "content-type",
                "application/x-www-form-urlencoded; charset=utf-8",
            )
            .header(
                "authorization",
                format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=00"),
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
            Answer(String::from_utf8(body.to_vec()).expect("text")),
        )
    }

    /// Calls an operation that must succeed.
    pub async fn ok(
        &self,
        key: &str,
        service: &str,
        operation: &str,
        input: &[(&str, &str)],
    ) -> Answer {
        let (status, answer) = self.call(key, service, operation, input).await;
        assert_eq!(status, 200, "{operation}: {}", answer.0);
        answer
    }

    /// Calls an operation of `sts` that must fail; status, code and message.
    pub async fn fails(
        &self,
        key: &str,
        operation: &str,
        input: &[(&str, &str)],
    ) -> (u16, String, String) {
        let (status, answer) = self.call(key, "sts", operation, input).await;
        assert!(status >= 400, "{operation}: {}", answer.0);
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
