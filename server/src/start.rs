//! Starting the region, and stopping it.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cloud::{Cloud, Config};
use gateway::{Gateway, Limits, Listener, Metrics};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::certs::Authority;
use crate::cli::{Outcome, Start};
use crate::control::Routes;
use crate::region;

/// Runs until a signal ends it.
pub fn start(options: Start) -> Outcome {
    runtime::small_pages();
    // Requests are logged one line each where the user asks; the default shows what needs attention.
    let filter = EnvFilter::try_from_env("CUMULO_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,cumulo::request=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A log that cannot be written (its disk is full) must not end the request that it tells of.
        .log_internal_errors(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(serve(options));
    // Sandboxes and files have been closed by now; what is left may be in the middle of a blocking read.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome
}

async fn serve(options: Start) -> Outcome {
    let data = (!options.ephemeral).then(|| options.data.path());
    let scratch = match &data {
        Some(dir) => dir.join("scratch"),
        None => std::env::temp_dir().join(format!("cumulo-{}", std::process::id())),
    };
    let authority = Authority::open(data.as_deref())?;
    let tls = authority.server()?;
    let listener = Listener::bind(
        SocketAddr::new(options.bind, options.port),
        Some(tls),
        Limits::default(),
    )
    .await
    .map_err(|e| {
        format!(
            "port {} at {} cannot be had: {e}",
            options.port, options.bind
        )
    })?;
    let address = listener.address()?;
    let config = Config {
        account: options.account.clone(),
        region: options.region.clone(),
        port: address.port(),
        scratch,
        sandbox: options.sandbox.clone(),
        object_ownership: options
            .object_ownership
            .trim_start_matches("none")
            .to_owned(),
        sqs_endpoint: options.sqs_endpoint_strategy.clone(),
        throttles_tables: options.dynamodb_throttling,
    };
    let store = store::Options {
        dir: data.clone(),
        durability: options.durability,
        map: Some(runtime::map_file),
        map_for_writing: Some(runtime::map_for_writing),
    };
    let cloud = Cloud::open(store, config)?;
    cloud.http.trust(authority.certificate());
    let services = region::services(&cloud, &options.services);
    if services.is_empty() {
        return Err(format!("none of the services {:?} exists", options.services).into());
    }
    let metrics = Arc::new(Metrics::default());
    let routes = Routes {
        cloud: cloud.clone(),
        started: cloud.clock.now(),
        services: services.iter().map(cloud::Service::name).collect(),
        metrics: metrics.clone(),
        certificate: Some(authority.certificate().to_owned()),
    };
    let gateway = Arc::new(Gateway::new(
        cloud.clone(),
        services,
        Arc::new(routes),
        metrics,
    ));
    cloud.start();
    let (stop, stopping) = watch::channel(false);
    let serving = tokio::spawn(listener.serve(gateway, stopping));
    announce(address, data.as_deref());
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("stopping");
    let _ = stop.send(true);
    serving.await?;
    cloud.stop().await;
    if options.ephemeral {
        let _ = std::fs::remove_dir_all(&cloud.config.scratch);
    }
    Ok(())
}

/// Tells the user, and the tools that wait for the last line.
fn announce(address: SocketAddr, data: Option<&std::path::Path>) {
    let ip = if address.ip().is_unspecified() {
        IpAddr::from([127, 0, 0, 1])
    } else {
        address.ip()
    };
    let mut out = std::io::stdout().lock();
    let place = data.map_or_else(|| "memory".to_owned(), |d| d.display().to_string());
    let _ = writeln!(
        out,
        "Cumulo {} at http://{}:{} (state in {place})",
        env!("CARGO_PKG_VERSION"),
        ip,
        address.port()
    );
    let _ = writeln!(out, "Ready.");
    let _ = out.flush();
}
