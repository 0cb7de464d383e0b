//! What a coordinator tells a monitor over HTTP: `/metrics`, `/healthz` and `/readyz`.
//!
//! Reading alone, without a secret, and off unless an address is given. One connection serves one
//! request within a few seconds, and only some are open at once, fewer from one address: whoever is slow
//! or comes too often holds up only others of the same address. `/healthz` asks only whether the node's thread answers, never whether there is a
//! leader: an orchestrator must not restart replicas because others are gone.
//!
//! Floor: shell.

mod numbers;
mod page;
mod places;
mod process;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use link::Refusals;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use self::places::Places;
use crate::driver::Handle;

/// What is watched. The HTTP side is there before the node is, and until the process ends.
#[derive(Default)]
pub struct Watched {
    node: OnceLock<Served>,
    is_stopping: AtomicBool,
}

/// A node that has begun to serve.
pub struct Served {
    pub handle: Handle,
    /// Of the socket for agents, operators and replicas.
    pub refusals: Arc<Refusals>,
    pub folder: PathBuf,
}

impl Watched {
    /// The node is here.
    pub fn serves(&self, served: Served) {
        // A process has one node.
        let _ = self.node.set(served);
    }

    /// From now on nobody should be sent here.
    pub fn stops(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}

/// Answers on `listener` until it is dropped.
pub async fn serve(listener: TcpListener, watched: Arc<Watched>) {
    let router = router(watched);
    let places = Places::new(CONNECTIONS_MAX, CONNECTIONS_EACH_MAX);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: it passes.
                tracing::debug!(%error, "an HTTP connection was not taken");
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        let Some(place) = places.take(peer.ip()) else { continue };
        let router = router.clone();
        tokio::spawn(async move {
            if timeout(CONNECTION_WITHIN, answer(stream, router)).await.is_err() {
                tracing::debug!("an HTTP connection took too long");
            }
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(REQUEST_WITHIN);
    server.keep_alive(false).max_buf_size(REQUEST_BYTES_MAX).half_close(false);
    let served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

fn router(watched: Arc<Watched>) -> Router {
    // `get` answers HEAD too, and other methods with 405.
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(watched)
}

/// Whether this process can do anything: restarting it helps when not.
async fn healthz(State(watched): State<Arc<Watched>>) -> Response {
    let Some(served) = watched.node.get() else { return said(StatusCode::OK, "starting") };
    match timeout(ANSWER_WITHIN, served.handle.look(|_| ())).await {
        Ok(Some(())) => said(StatusCode::OK, "alive"),
        Ok(None) => said(StatusCode::SERVICE_UNAVAILABLE, "the node's thread has ended"),
        Err(_) => said(StatusCode::SERVICE_UNAVAILABLE, "the node's thread does not answer"),
    }
}

/// Whether others should be sent to this replica.
async fn readyz(State(watched): State<Arc<Watched>>) -> Response {
    let no = |why: &str| said(StatusCode::SERVICE_UNAVAILABLE, why);
    if watched.is_stopping.load(Ordering::Relaxed) {
        return no("this replica is stopping");
    }
    let Some(served) = watched.node.get() else {
        return no("this replica opens its folder, or joins");
    };
    match timeout(ANSWER_WITHIN, served.handle.look(|node| node.unready())).await {
        Ok(Some(None)) => said(StatusCode::OK, "ready"),
        Ok(Some(Some(why))) => no(&why),
        Ok(None) | Err(_) => no("the node's thread does not answer"),
    }
}

async fn metrics(State(watched): State<Arc<Watched>>) -> Response {
    let found = match watched.node.get() {
        Some(served) => numbers::of(served, ANSWER_WITHIN).await,
        None => None,
    };
    match page::text(found) {
        Ok(text) => ([(header::CONTENT_TYPE, page::CONTENT_TYPE)], text).into_response(),
        Err(_) => said(StatusCode::INTERNAL_SERVER_ERROR, "the numbers cannot be written"),
    }
}

fn said(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

/// Reads `IP:PORT`, or a port alone, which is then this machine's own alone.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no address; write a port such as 7462, or IP:PORT such as 0.0.0.0:7462"
        )
    })
}

/// Monitors and probes of one machine; more are closed at once.
const CONNECTIONS_MAX: usize = 32;
const CONNECTIONS_EACH_MAX: usize = 8;
/// Until all of the request is there.
const REQUEST_WITHIN: Duration = Duration::from_secs(3);
/// From a connection's beginning to its end.
const CONNECTION_WITHIN: Duration = Duration::from_secs(10);
/// The least that hyper takes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// A write to a slow disk, and not a thread that hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const AFTER_FAILURE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_for_this_machine_alone() {
        assert_eq!(address("7462").map(|at| at.to_string()), Ok("127.0.0.1:7462".to_string()));
        assert_eq!(address("[::]:7462").map(|at| at.port()), Ok(7462));
        assert!(address("planner:7462").is_err_and(|why| why.contains("IP:PORT")));
    }
}
