//! Calls to a region that runs, for the subcommands.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;

use crate::cli::Outcome;

/// One request; the answer's JSON. A status of 400 or more is an error with the answer's text.
pub fn call(endpoint: &str, method: &str, path: &str, body: &str) -> Outcome<serde_json::Value> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let uri: http::Uri = endpoint.parse()?;
        let host = uri.host().ok_or("the endpoint has no host")?;
        let port = uri.port_u16().unwrap_or(4566);
        let address = host.trim_matches(['[', ']']);
        let stream = tokio::net::TcpStream::connect((address, port))
            .await
            .map_err(|e| format!("no region answers at {endpoint}: {e}"))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("Host", format!("{host}:{port}"))
            .body(Full::new(Bytes::from(body.to_owned())))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        if status.as_u16() >= 400 {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&bytes)).into());
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    })
}
