//! The reference: hyper alone. It reads a request's body and answers as many bytes as the path says.

use std::convert::Infallible;
use std::io::Write;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::Outcome;

/// Serves on a free port, which it prints, until it is killed.
pub fn serve() -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        // Written to: untouched content would all be one page, which no real content is.
        let content = Bytes::from(
            (0..64 << 20)
                .map(|i: u32| (i * 31) as u8)
                .collect::<Vec<_>>(),
        );
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let content = content.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let content = content.clone();
                    async move {
                        let len = request
                            .uri()
                            .path()
                            .trim_start_matches('/')
                            .parse::<usize>()
                            .unwrap_or(0);
                        let mut body = request.into_body();
                        while let Some(Ok(_)) = body.frame().await {}
                        let answer = Full::new(content.slice(..len.min(content.len())));
                        Ok::<_, Infallible>(http::Response::new(answer))
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service)
                    .await;
            });
        }
    })
}
