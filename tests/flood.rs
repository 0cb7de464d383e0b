//! One member and many strangers that do their worst: the coordinator's memory stays small, and an
//! operator's questions are answered within a second all the while.
//!
//! Floor: wiring.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::id::ClientId;
use common::wire::message::{Answer, Ask, Open, Request};
use link::{Identity, Link};
use quinn::{Connection, Endpoint};

use crate::cluster::{Asked, Cluster, DATA};
use crate::security::{authority, client, connect, greet, identity};

#[test]
fn a_flood_takes_little_memory_and_delays_nobody() {
    let cluster = Cluster::start();
    drop(cluster.agent("one"));
    let ca = authority(&cluster);
    let (certificate, _, key) = identity(&cluster.site.path("one/identity.pem"));
    let member = client(&ca, Some((certificate, key)));
    let operator = Identity::load(&cluster.site.path(DATA).join("operator"));
    let operator = operator.expect("readable").expect("there");
    let mut waits = runtime().block_on(async {
        let link = link::connect(&cluster.address, &operator).await.expect("connected");
        // What a coordinator takes at its first questions is not the flood's.
        for _ in 0..10 {
            asked(&link).await;
        }
        let before = cluster.coordinator.memory_kib("VmHWM");
        let over = Arc::new(AtomicBool::new(false));
        let waits = tokio::spawn(questions(link, Arc::clone(&over)));
        let kept = (
            strangers(&cluster.address, client(&ca, None)).await,
            streams(&cluster.address, member.clone()).await,
            half_frames(&cluster.address, member).await,
            first_packets(&cluster.address),
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.store(true, Ordering::Relaxed);
        let waits = waits.await.expect("no panic");
        let grown = cluster.coordinator.memory_kib("VmHWM").saturating_sub(before);
        println!("{} KiB, {} questions", grown, waits.len());
        assert!(grown <= MEMORY_MAX_KIB, "{grown} KiB");
        drop(kept);
        waits
    });
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    println!("the slowest of a hundred took {p99:?}");
    assert!(waits.len() > 50 && p99 <= WAIT_MAX, "{} questions, {p99:?}", waits.len());
    cluster.ask(&["status"]);
    drop(cluster.agent("welcome"));
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// A thousand connections without a certificate; all but a few are closed at once.
async fn strangers(address: &str, config: quinn::ClientConfig) -> Vec<(Connection, Endpoint)> {
    let mut kept = Vec::new();
    for _ in 0..STRANGERS {
        let address: SocketAddr = address.parse().expect("an address");
        let endpoint =
            Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let connecting = endpoint.connect_with(config.clone(), address, "coordinator.seedsweep");
        let connecting = connecting.expect("valid");
        // Beyond the limits nobody is answered.
        if let Ok(Ok(connection)) = tokio::time::timeout(SOON, connecting).await {
            kept.push((connection, endpoint));
        }
    }
    let open = kept.iter().filter(|(connection, _)| connection.close_reason().is_none()).count();
    assert!(open <= 16, "{open} strangers are still connected");
    kept
}

/// Ten thousand streams of a member, each given up in the middle of its first frame.
async fn streams(address: &str, config: quinn::ClientConfig) -> (Connection, Endpoint) {
    let (connection, endpoint) = connect(address, config).await;
    greet(&connection).await;
    for _ in 0..STREAMS {
        let Ok(Ok((mut send, _receive))) = tokio::time::timeout(SOON, connection.open_bi()).await
        else {
            break;
        };
        let _ = send.write_all(&[0, 0, 1]).await;
        let _ = send.reset(0u32.into());
    }
    (connection, endpoint)
}

/// As many streams as a member may have, each with the beginning of the longest frame.
async fn half_frames(address: &str, config: quinn::ClientConfig) -> (Connection, Endpoint) {
    let (connection, endpoint) = connect(address, config).await;
    greet(&connection).await;
    let open = common::wire::frame::encode(&Open::Agent).expect("short");
    for _ in 0..16 {
        let stream = tokio::time::timeout(Duration::from_millis(200), connection.open_bi()).await;
        let Ok(Ok((mut send, _receive))) = stream else { break };
        let frame = [open.as_slice(), &(1u32 << 20).to_be_bytes(), &[7; 900_000]].concat();
        let _ = tokio::time::timeout(Duration::from_millis(200), send.write_all(&frame)).await;
        // Kept open: dropping it would end it.
        std::mem::forget(send);
    }
    (connection, endpoint)
}

/// Packets that begin nothing, as from many machines.
fn first_packets(address: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let mut packet = [0u8; 1_200];
    for number in 0..PACKETS {
        // A long header of QUIC's first version, and an address nobody has.
        packet[..6].copy_from_slice(&[0xc0, 0, 0, 0, 1, 8]);
        packet[6..14].copy_from_slice(&u64::from(number).to_be_bytes());
        let _ = socket.send_to(&packet, address);
    }
}

async fn questions(link: Link, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut waits = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        asked(&link).await;
        waits.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    waits
}

async fn asked(link: &Link) {
    let (client, request) = (ClientId(7), Request::Agents);
    let ask = Ask { client, number: 0, at_least: 0, fresh: false, request };
    let (mut sender, mut receiver) = link.open(&Open::Ask).await.expect("opened");
    sender.send(&ask).await.expect("sent");
    receiver.receive::<Answer>().await.expect("answered").expect("an answer");
}

const STRANGERS: usize = 1_000;
const STREAMS: usize = 10_000;
const PACKETS: u32 = 10_000;
const SOON: Duration = Duration::from_secs(2);
const MEMORY_MAX_KIB: u64 = 64 << 10;
const WAIT_MAX: Duration = Duration::from_secs(1);
