//! Calls out of the region: HTTP(S) endpoints that subscribe, receive a stream or take events.
//!
//! One connection for each call, a bound on its time and on what it may answer. An `https` endpoint must show a
//! certificate of an authority that this machine or the region trusts; one on this machine itself may show any.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A call to make.
#[derive(Clone, Debug)]
pub struct HttpCall {
    /// `POST`, mostly.
    pub method: Method,
    /// `http://` or `https://`; a name and password in it are not sent.
    pub url: String,
    /// Headers besides `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// For all of it, from the name's resolution to the answer's last byte.
    pub timeout: Duration,
    /// The most bytes of an answer; more is [`HttpError::TooLarge`].
    pub most: usize,
}

impl HttpCall {
    /// A `POST` with AWS's usual bounds: 15 seconds, a small answer.
    pub fn post(url: impl Into<String>, body: impl Into<Bytes>) -> HttpCall {
        HttpCall {
            method: Method::POST,
            url: url.into(),
            headers: HeaderMap::new(),
            body: body.into(),
            timeout: Duration::from_secs(15),
            most: 1 << 20,
        }
    }
    /// With a header; one that HTTP cannot carry is left out.
    pub fn header(mut self, name: &'static str, value: &str) -> HttpCall {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpError {
    /// No URL of HTTP.
    Url(String),
    /// The name does not resolve or nobody listens.
    Connect(String),
    /// TLS failed: mostly a certificate that is not trusted.
    Tls(String),
    /// The time was over.
    Timeout,
    /// The answer was longer than allowed.
    TooLarge,
    /// The connection broke or spoke no HTTP.
    Broken(String),
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HttpError::Url(url) => write!(f, "{url} is no URL that can be called"),
            HttpError::Connect(why) => write!(f, "no connection: {why}"),
            HttpError::Tls(why) => write!(f, "no secure connection: {why}"),
            HttpError::Timeout => f.write_str("no answer in time"),
            HttpError::TooLarge => f.write_str("the answer is too large"),
            HttpError::Broken(why) => write!(f, "the call broke off: {why}"),
        }
    }
}
impl std::error::Error for HttpError {}

/// The region's client. Clones are the same.
#[derive(Clone, Default)]
pub struct HttpClient(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Authorities besides the system's.
    trusted: Mutex<Vec<CertificateDer<'static>>>,
    checking: OnceLock<Arc<ClientConfig>>,
    lenient: OnceLock<Arc<ClientConfig>>,
}

/// Where systems keep the authorities they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Names that stand for this machine without any name server.
const LOCAL: [&str; 2] = ["localhost", "localhost.localstack.cloud"];

impl HttpClient {
    /// Trusts an authority (PEM) besides the system's. To be said before the first call.
    pub fn trust(&self, pem: &str) {
        let read = CertificateDer::pem_slice_iter(pem.as_bytes());
        self.0.trusted.lock().extend(read.filter_map(Result::ok));
    }

    /// Makes a call. A redirection is an answer like any other.
    pub async fn call(&self, call: HttpCall) -> Result<HttpAnswer, HttpError> {
        match tokio::time::timeout(call.timeout, self.call_unbounded(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(HttpError::Timeout),
        }
    }

    async fn call_unbounded(&self, call: HttpCall) -> Result<HttpAnswer, HttpError> {
        let no_url = || HttpError::Url(call.url.clone());
        let url: Uri = call.url.parse().map_err(|_| no_url())?;
        let is_secure = match url.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(no_url()),
        };
        let authority = url.authority().ok_or_else(no_url)?;
        let host = authority.host().to_owned();
        let name = host.trim_matches(['[', ']']);
        let port = authority
            .port_u16()
            .unwrap_or(if is_secure { 443 } else { 80 });
        let is_local = is_local(name);
        // Names below `localhost` have no address in most name servers.
        let address = match is_local && name.parse::<IpAddr>().is_err() {
            true => "localhost",
            false => name,
        };
        let stream = TcpStream::connect((address, port))
            .await
            .map_err(|e| HttpError::Connect(e.to_string()))?;
        let _ = stream.set_nodelay(true);
        let path = url.path_and_query().map_or("/", |p| p.as_str());
        let mut request = http::Request::builder()
            .method(call.method)
            .uri(if path.is_empty() { "/" } else { path })
            .body(Full::new(call.body))
            .map_err(|_| HttpError::Url(call.url.clone()))?;
        *request.headers_mut() = call.headers;
        let shown = match authority.port_u16() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        let shown = HeaderValue::from_str(&shown).map_err(|_| HttpError::Url(shown))?;
        request.headers_mut().insert(header::HOST, shown);
        if !is_secure {
            return exchange(stream, request, call.most).await;
        }
        let config = self.config(is_local)?;
        let name = ServerName::try_from(name.to_owned())
            .map_err(|e| HttpError::Tls(format!("{name}: {e}")))?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|e| HttpError::Tls(e.to_string()))?;
        exchange(stream, request, call.most).await
    }

    fn config(&self, is_local: bool) -> Result<Arc<ClientConfig>, HttpError> {
        let slot = match is_local {
            true => &self.0.lenient,
            false => &self.0.checking,
        };
        if let Some(config) = slot.get() {
            return Ok(config.clone());
        }
        let failed = |e: &dyn std::fmt::Display| HttpError::Tls(e.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?;
        let verifier: Arc<dyn ServerCertVerifier> = match is_local {
            true => Arc::new(Any(provider)),
            false => WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()), provider)
                .build()
                .map_err(|e| failed(&e))?,
        };
        let config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(slot.get_or_init(|| Arc::new(config)).clone())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let named = std::env::var("SSL_CERT_FILE").ok();
        let files = named.iter().map(String::as_str).chain(BUNDLES);
        for file in files {
            if let Ok(read) = CertificateDer::pem_file_iter(file) {
                roots.add_parsable_certificates(read.filter_map(Result::ok));
                break;
            }
        }
        roots.add_parsable_certificates(self.0.trusted.lock().iter().cloned());
        roots
    }
}

fn is_local(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => LOCAL.iter().any(|local| {
            name.strip_suffix(local)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        }),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: http::Request<Full<Bytes>>,
    most: usize,
) -> Result<HttpAnswer, HttpError> {
    let broken = |e: hyper::Error| HttpError::Broken(e.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // Dropped with the call, also when its time is over: the connection ends with it.
    let (answer, _) = tokio::join!(
        async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let answer = read(answer, most).await;
            drop(sender);
            answer
        },
        async {
            let _ = connection.await;
        }
    );
    answer
}

async fn read(answer: http::Response<Incoming>, most: usize) -> Result<HttpAnswer, HttpError> {
    let (parts, mut body) = answer.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| HttpError::Broken(e.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > most {
                return Err(HttpError::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(HttpAnswer {
        status: parts.status,
        headers: parts.headers,
        body: bytes.freeze(),
    })
}

/// Takes any certificate: on this machine there is nobody between.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A server of one answer; its port, and what it was asked.
    async fn answering(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut seen = Vec::new();
            let mut piece = [0; 1024];
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") || !seen.ends_with(b"hello") {
                let n = stream.read(&mut piece).await.expect("a request");
                seen.extend_from_slice(&piece[..n]);
            }
            stream.write_all(answer.as_bytes()).await.expect("a reader");
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            String::from_utf8(seen).expect("text")
        });
        (port, asked)
    }

    #[tokio::test]
    async fn a_call_sends_what_it_has_and_brings_the_answer() {
        let (port, asked) =
            answering("HTTP/1.1 418 x\r\nx-a: b\r\ncontent-length: 3\r\n\r\nabc").await;
        let call = HttpCall::post(format!("http://any.localhost:{port}/p?q=1"), "hello");
        let answer = HttpClient::default()
            .call(call.header("x-h", "v"))
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (418, &b"abc"[..])
        );
        assert_eq!(answer.headers["x-a"], "b");
        let asked = asked.await.expect("a request");
        assert!(asked.starts_with("POST /p?q=1 HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains(&format!("host: any.localhost:{port}\r\n")),
            "{asked}"
        );
        assert!(asked.contains("x-h: v\r\n") && asked.contains("content-length: 5"));
    }

    #[tokio::test]
    async fn what_takes_too_long_or_is_too_large_is_given_up() {
        let (port, _asked) = answering("").await;
        let mut call = HttpCall::post(format!("http://127.0.0.1:{port}"), "hello");
        call.timeout = Duration::from_millis(50);
        let client = HttpClient::default();
        let outcome = client.call(call.clone()).await;
        assert_eq!(outcome.err(), Some(HttpError::Timeout));
        let (port, _asked) = answering("HTTP/1.1 200 x\r\ncontent-length: 3\r\n\r\nabc").await;
        let mut call = HttpCall::post(format!("http://127.0.0.1:{port}"), "hello");
        call.most = 2;
        assert_eq!(client.call(call).await.err(), Some(HttpError::TooLarge));
        let nobody = client.call(HttpCall::post("http://127.0.0.1:1/", "")).await;
        assert!(matches!(nobody, Err(HttpError::Connect(_))));
        let none = client.call(HttpCall::post("ftp://a/", "")).await;
        assert!(matches!(none, Err(HttpError::Url(_))));
    }

    #[test]
    fn names_of_this_machine_are_known() {
        for name in [
            "localhost",
            "a.localhost",
            "127.0.0.2",
            "::1",
            "x.localhost.localstack.cloud",
        ] {
            assert!(is_local(name), "{name}");
        }
        for name in ["example.com", "notlocalhost", "10.0.0.1"] {
            assert!(!is_local(name), "{name}");
        }
    }
}
