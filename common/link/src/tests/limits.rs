//! Every limit over a real socket, and that those who keep to them do not notice.
//!
//! Floor: shell.

use std::net::SocketAddr;
use std::time::Duration;

use common::wire::frame::FRAME_MAX;
use common::wire::message::{Hello, Open, Role};
use quinn::{ConnectionError, Endpoint};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::support::{
    Cluster, LOOPBACK, SILENT, echoed, greeted_member, join, join_limited, locked, raw_member,
    raw_stranger, replica, warning,
};
use crate::client::connect_limited;
use crate::limits::{self, Limits};
use crate::{JoinToken, LinkError, connect, tls};

const SOON: Duration = Duration::from_secs(3);
const SHORT: Duration = Duration::from_millis(300);

#[test]
fn the_constants_are_those_of_the_design() {
    let ms = |duration: Duration| duration.as_millis();
    assert_eq!((FRAME_MAX, limits::FIRST_FRAME_MAX), (1 << 20, 4 << 10));
    assert_eq!((ms(limits::FRAME_WITHIN), ms(limits::FIRST_FRAME_WITHIN)), (10_000, 3_000));
    assert_eq!((ms(limits::JOIN_REQUEST_WITHIN), limits::JOIN_REQUEST_BYTES), (2_000, 70));
    assert_eq!((limits::STREAMS_MAX, limits::STREAMS_STRANGER_MAX), (16, 1));
    assert_eq!((limits::STREAM_WINDOW, limits::CONNECTION_WINDOW), (1 << 20, 8 << 20));
    assert_eq!(limits::SEND_WINDOW, 8 << 20);
    assert_eq!((ms(limits::IDLE_MAX), ms(limits::KEEP_ALIVE)), (20_000, 5_000));
    assert_eq!((limits::PENDING_MAX, limits::PENDING_UNVALIDATED_MAX), (128, 32));
    assert_eq!((limits::PENDING_BYTES_EACH, limits::PENDING_BYTES_ALL), (64 << 10, 8 << 20));
    assert_eq!((limits::CONNECTIONS_PER_MEMBER_MAX, limits::CONNECTIONS_PER_OPERATOR_MAX), (4, 32));
    assert_eq!((limits::UNAUTHENTICATED_PER_ADDRESS_MAX, limits::CONNECTIONS_MAX), (8, 20_000));
    assert_eq!((limits::REFUSED_JOINS_MAX, ms(limits::REFUSED_JOINS_WINDOW)), (10, 60_000));
    assert_eq!((limits::STRANGER_WINDOW, limits::JOIN_ANSWER_MAX), (64 << 10, 8 << 10));
    assert_eq!((ms(limits::JOIN_ANSWER_WITHIN), limits::JOIN_HOPS_MAX), (10_000, 8));
    assert_eq!((ms(limits::HANDSHAKE_WITHIN), ms(limits::SEND_STALLED_MAX)), (3_000, 30_000));
    let days = |duration: Duration| duration.as_secs() / (24 * 3_600);
    assert_eq!((days(limits::LEAF_VALID), days(limits::RENEW_BEFORE)), (30, 10));
    assert_eq!((days(limits::AUTHORITY_VALID), ms(limits::CLOCK_TOLERANCE)), (3_652, 3_600_000));
}

#[test]
fn replicas_notice_a_cut_sooner_and_keep_to_all_other_limits() {
    let (peer, standard) = (Limits::peer(), Limits::standard());
    assert_eq!((peer.idle, peer.keep_alive), (secs(4), Some(secs(1))));
    assert_eq!((peer.connect, peer.send_stalled), (Duration::from_millis(1_500), secs(4)));
    let (connect, idle) = (standard.connect, standard.idle);
    let (keep_alive, send_stalled) = (standard.keep_alive, standard.send_stalled);
    let rest = Limits { connect, idle, keep_alive, send_stalled, ..peer };
    assert_eq!(format!("{rest:?}"), format!("{standard:?}"));
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_transport_is_given_its_limits() {
    let shown = format!("{:?}", tls::transport(&Limits::standard()));
    for part in [
        "max_idle_timeout: Some(20000)",
        "keep_alive_interval: Some(5s)",
        "send_window: 8388608",
        "datagram_receive_buffer_size: None",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn no_connection_resumes_another_or_begins_early() {
    let cluster = common::id::ClusterId([1; 16]);
    let now = std::time::SystemTime::now();
    let authority = crate::Authority::create(cluster, now).expect("made");
    let server = authority.server_identity(replica(), now).expect("issued");
    let crypto = tls::server_crypto(&server).expect("configured");
    assert_eq!((crypto.send_tls13_tickets, crypto.max_early_data_size), (0, 0));
    assert!(!tls::member_crypto(&server).expect("configured").enable_early_data);
}

#[tokio::test]
async fn a_second_connection_cannot_send_early_data() {
    let cluster = Cluster::start();
    let config = tls::client(&cluster.member(1), &Limits::standard()).expect("configured");
    let endpoint = Endpoint::client(LOOPBACK).expect("a free port");
    let address: SocketAddr = cluster.address.parse().expect("an address");
    for _ in 0..2 {
        let connecting =
            endpoint.connect_with(config.clone(), address, tls::SERVER_NAME).expect("valid");
        let connecting = connecting.into_0rtt().err().expect("no early data");
        connecting.await.expect("the ordinary handshake");
    }
}

#[tokio::test]
async fn datagrams_are_off() {
    let cluster = Cluster::start();
    let (connection, _endpoint) = greeted_member(&cluster, 7).await;
    assert_eq!(connection.max_datagram_size(), None);
}

/// Sends raw bytes on a stream of a member, expects the connection closed, and others served.
async fn cut_after(cluster: &Cluster, bytes: &[u8], why: &str) {
    let bystander = connect(&cluster.address, &cluster.member(1)).await.expect("connected");
    let (connection, endpoint) = greeted_member(cluster, 7).await;
    let (mut send, _receive) = connection.open_bi().await.expect("a stream");
    send.write_all(bytes).await.expect("written");
    let closed = timeout(SOON, connection.closed()).await.expect("closed");
    assert!(closed.to_string().contains(why), "{closed}");
    let port = endpoint.local_addr().expect("bound").port();
    let line = warning(&format!("127.0.0.1:{port} ")).await;
    assert!(line.contains(why) && line.contains("fingerprint="), "{line}");
    assert_eq!(echoed(&bystander, "unharmed").await, "unharmed");
    connect(&cluster.address, &cluster.member(2)).await.expect("others are still let in");
}

#[tokio::test]
async fn a_frame_of_4_gib_is_refused_by_its_header() {
    let cluster = Cluster::start();
    let mut bytes = opening();
    bytes.extend_from_slice(&[0xff; 4]);
    cut_after(&cluster, &bytes, "4294967295 bytes").await;
}

#[tokio::test]
async fn a_frame_of_one_byte_too_many_is_refused_by_its_header() {
    let cluster = Cluster::start();
    let mut bytes = opening();
    bytes.extend_from_slice(&(FRAME_MAX as u32 + 1).to_be_bytes());
    cut_after(&cluster, &bytes, "1048577 bytes").await;
}

#[tokio::test]
async fn a_streams_first_frame_is_at_most_4_kib() {
    let cluster = Cluster::start();
    cut_after(&cluster, &4_097u32.to_be_bytes(), "4097 bytes").await;
}

#[tokio::test]
async fn a_first_frame_that_is_no_message_ends_the_connection() {
    let cluster = Cluster::start();
    cut_after(&cluster, &[0, 0, 0, 2, 250, 9], "cannot be read").await;
}

#[tokio::test]
async fn a_slow_frame_ends_the_connection() {
    let cluster = Cluster::start_limited(Limits { frame: SHORT, ..Limits::standard() });
    let mut bytes = opening();
    bytes.extend_from_slice(&[0, 0]);
    cut_after(&cluster, &bytes, "did not complete a frame").await;
}

#[tokio::test]
async fn a_frames_time_begins_with_its_first_byte() {
    let cluster = Cluster::start_limited(Limits { frame: SHORT, ..Limits::standard() });
    let link = connect(&cluster.address, &cluster.member(7)).await.expect("connected");
    let (mut sender, mut receiver) = link.open(&Open::Agent).await.expect("opened");
    sleep(2 * SHORT).await;
    sender.send_chunk(b"late, but at once").await.expect("sent");
    assert_eq!(receiver.chunk().await.expect("alive"), Some(b"late, but at once".to_vec()));
}

#[tokio::test]
async fn a_frame_of_1_mib_passes_and_a_longer_one_is_not_sent() {
    let cluster = Cluster::start();
    let link = connect(&cluster.address, &cluster.member(7)).await.expect("connected");
    let (mut sender, mut receiver) = link.open(&Open::Agent).await.expect("opened");
    let longer = sender.send_chunk(&vec![1; FRAME_MAX + 1]).await.expect_err("too long");
    assert!(matches!(longer, LinkError::Frame { .. }), "{longer:?}");
    let sending = tokio::spawn(async move { sender.send_chunk(&vec![7; FRAME_MAX]).await });
    assert_eq!(receiver.chunk().await.expect("alive").expect("a frame").len(), FRAME_MAX);
    sending.await.expect("no panic").expect("sent");
}

#[tokio::test]
async fn a_member_that_says_nothing_is_cut() {
    let cluster = Cluster::start_limited(Limits { first_frame: SHORT, ..Limits::standard() });
    let (connection, _endpoint) = raw_member(&cluster, 7).await;
    let closed = timeout(SOON, connection.closed()).await.expect("closed");
    assert!(closed.to_string().contains("no greeting in time"), "{closed}");
    let (connection, _endpoint) = raw_member(&cluster, 7).await;
    let (mut send, _receive) = connection.open_bi().await.expect("a stream");
    send.write_all(&[0, 0]).await.expect("half a header");
    let closed = timeout(SOON, connection.closed()).await.expect("closed");
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
}

#[tokio::test]
async fn a_hello_is_at_most_4_kib() {
    let cluster = Cluster::start();
    let (connection, _endpoint) = raw_member(&cluster, 7).await;
    let (mut send, _receive) = connection.open_bi().await.expect("a stream");
    let hello = Hello { version: "x".repeat(5_000), ..Hello::ours() };
    let frame = common::wire::frame::encode(&hello).expect("encodes");
    let _ = send.write_all(&frame).await;
    let closed = timeout(SOON, connection.closed()).await.expect("closed");
    assert!(closed.to_string().contains("longer than the 4096"), "{closed}");
}

#[tokio::test]
async fn a_member_has_16_streams_of_each_direction() {
    let cluster = Cluster::start();
    let (connection, _endpoint) = greeted_member(&cluster, 7).await;
    let mut open = Vec::new();
    while let Ok(stream) = timeout(SHORT, connection.open_bi()).await {
        open.push(stream.expect("alive"));
    }
    // QUIC counts the greeting's stream until it next announces more.
    assert!((14..=16).contains(&open.len()), "{}", open.len());
    let mut uni = Vec::new();
    for _ in 0..16 {
        uni.push(timeout(SOON, connection.open_uni()).await.expect("room").expect("alive"));
    }
    assert!(timeout(SHORT, connection.open_uni()).await.is_err());
}

#[tokio::test]
async fn an_unread_stream_takes_1_mib_and_a_connection_8_mib() {
    let cluster = Cluster::start();
    let link = connect(&cluster.address, &cluster.member(7)).await.expect("connected");
    let (mut held, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let Ok(streams) = timeout(SHORT, link.open(&SILENT)).await else { break };
        let (mut sender, receiver) = streams.expect("alive");
        let mut bytes = 0;
        while timeout(SHORT, sender.send_chunk(&[7; 16 << 10])).await.is_ok() {
            bytes += 16 << 10;
        }
        taken.push(bytes);
        held.push((sender, receiver));
    }
    // Our own send window of 8 MiB counts acknowledged bytes no longer, so the peer's windows rule.
    let stream = limits::STREAM_WINDOW as usize;
    assert!(taken.iter().all(|bytes| *bytes <= stream), "{taken:?}");
    assert!(taken[0] > stream - (64 << 10), "{taken:?}");
    let all: usize = taken.iter().sum();
    let window = limits::CONNECTION_WINDOW as usize;
    assert!(all <= window && all > window - (512 << 10), "{all} of {window}");
}

#[tokio::test]
async fn a_silent_connection_is_dead_and_one_kept_alive_is_not() {
    let silent = Limits { idle: SHORT, keep_alive: None, ..Limits::standard() };
    let cluster = Cluster::start_limited(silent);
    let link = connect_limited(&cluster.address, &cluster.member(7), &silent).await;
    let link = link.expect("connected");
    let server = timeout(SOON, async {
        while locked(&cluster.desk.links).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        locked(&cluster.desk.links)[0].clone()
    });
    let server = server.await.expect("arrived");
    assert_eq!(timeout(SOON, server.closed()).await.expect("dead"), "timed out");
    drop(link);
    let kept = Limits { keep_alive: Some(SHORT / 4), ..silent };
    let link = connect_limited(&cluster.address, &cluster.member(8), &kept).await;
    let link = link.expect("connected");
    assert!(timeout(3 * SHORT, link.closed()).await.is_err());
    assert_eq!(echoed(&link, "alive").await, "alive");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up() {
    let cluster = Cluster::start();
    let limits = Limits { send_stalled: SHORT, ..Limits::standard() };
    let link = connect_limited(&cluster.address, &cluster.member(7), &limits).await;
    let link = link.expect("connected");
    let (mut sender, _receiver) = link.open(&SILENT).await.expect("opened");
    let stalled = async {
        loop {
            if let Err(error) = sender.send_chunk(&[7; 64 << 10]).await {
                return error;
            }
        }
    };
    let error = timeout(SOON, stalled).await.expect("given up");
    assert!(matches!(error, LinkError::Stalled { .. }), "{error:?}");
}

#[tokio::test]
async fn a_members_fifth_connection_replaces_its_first() {
    let cluster = Cluster::start();
    let identity = cluster.member(7);
    let mut links = Vec::new();
    for _ in 0..4 {
        let link = connect(&cluster.address, &identity).await.expect("room");
        assert_eq!(echoed(&link, "in").await, "in");
        links.push(link);
    }
    let other = connect(&cluster.address, &cluster.member(8)).await.expect("another member");
    let fifth = connect(&cluster.address, &identity).await.expect("the newest");
    let why = timeout(SOON, links[0].closed()).await.expect("replaced");
    assert!(why.contains("replaced by a newer"), "{why}");
    for link in links[1..].iter().chain([&other, &fifth]) {
        assert_eq!(echoed(link, "kept").await, "kept");
    }
}

#[tokio::test]
async fn commands_at_once_cost_a_replica_of_the_same_number_nothing() {
    let cluster = Cluster::start();
    let replica = connect(&cluster.address, &cluster.member_as(Role::Peer, 7)).await.expect("in");
    assert_eq!(echoed(&replica, "in").await, "in");
    let operator = cluster.member_as(Role::Operator, 7);
    let mut commands = Vec::new();
    for _ in 0..limits::CONNECTIONS_PER_OPERATOR_MAX {
        commands.push(connect(&cluster.address, &operator).await.expect("room"));
    }
    let one_more = connect(&cluster.address, &operator).await.expect("the newest");
    timeout(SOON, commands[0].closed()).await.expect("replaced");
    for link in commands[1..].iter().chain([&replica, &one_more]) {
        assert_eq!(echoed(link, "kept").await, "kept");
    }
}

#[tokio::test]
async fn an_address_has_8_connections_without_a_certificate() {
    let cluster = Cluster::start();
    let mut strangers = Vec::new();
    for _ in 0..8 {
        strangers.push(raw_stranger(&cluster).await);
    }
    // Until the server has seen the eighth.
    sleep(Duration::from_millis(50)).await;
    let busy = join(&cluster.address, &cluster.token(1)).await.expect_err("no room");
    assert!(matches!(busy, LinkError::Busy { .. }) && !busy.is_refusal(), "{busy:?}");
    connect(&cluster.address, &cluster.member(7)).await.expect("members are let in");
    strangers.clear();
    sleep(Duration::from_millis(100)).await;
    join(&cluster.address, &cluster.token(1)).await.expect("room again");
}

#[tokio::test]
async fn the_eleventh_bad_join_is_not_read_and_members_still_come() {
    let cluster = Cluster::start();
    let token = cluster.token(1);
    for _ in 0..10 {
        let unknown = JoinToken::mint(cluster.authority.hash()).expect("randomness");
        let refused = join(&cluster.address, &unknown).await.expect_err("unknown");
        assert!(matches!(refused, LinkError::TokenRefused), "{refused:?}");
    }
    let read = locked(&cluster.desk.joins).len();
    let barred = join(&cluster.address, &token).await.expect_err("barred");
    assert!(matches!(&barred, LinkError::Busy { why, .. } if why.contains("minute")), "{barred:?}");
    assert_eq!(locked(&cluster.desk.joins).len(), read);
    connect(&cluster.address, &cluster.member(7)).await.expect("members are let in");
}

#[tokio::test]
async fn a_full_coordinator_ignores_more() {
    let cluster = Cluster::start_limited(Limits { connections: 2, ..Limits::standard() });
    let quick = Limits { connect: SHORT, ..Limits::standard() };
    let one = connect(&cluster.address, &cluster.member(1)).await.expect("room");
    let _two = connect(&cluster.address, &cluster.member(2)).await.expect("room");
    let third = connect_limited(&cluster.address, &cluster.member(3), &quick).await;
    assert!(matches!(third, Err(LinkError::NoAnswer { .. })), "{third:?}");
    assert_eq!(echoed(&one, "undisturbed").await, "undisturbed");
}

/// The first packet of a client that will never go on.
async fn first_packet(cluster: &Cluster) -> Vec<u8> {
    let ear = UdpSocket::bind(LOOPBACK).await.expect("a free port");
    let to = ear.local_addr().expect("bound");
    let endpoint = Endpoint::client(LOOPBACK).expect("a free port");
    let pin = tls::Pin::new(cluster.authority.hash());
    let config = tls::joiner(pin, &Limits::standard()).expect("configured");
    let _connecting = endpoint.connect_with(config, to, tls::SERVER_NAME).expect("valid");
    let mut packet = vec![0; 2_000];
    let length = timeout(SOON, ear.recv(&mut packet)).await.expect("sent").expect("read");
    packet.truncate(length);
    packet
}

/// What the server answers a lone first packet with: the QUIC packet type, `None` for nothing.
async fn answer_to_first_packet(cluster: &Cluster) -> Option<u8> {
    let packet = first_packet(cluster).await;
    let socket = UdpSocket::bind(LOOPBACK).await.expect("a free port");
    socket.send_to(&packet, &cluster.address).await.expect("sent");
    let mut answer = [0; 2_000];
    timeout(SHORT, socket.recv(&mut answer)).await.ok()?.expect("read");
    Some((answer[0] & 0x30) >> 4)
}

const INITIAL: u8 = 0;
const RETRY: u8 = 3;

#[tokio::test]
async fn half_done_handshakes_beyond_the_limit_are_ignored_until_some_end() {
    let limits = Limits { pending: 3, handshake: 2 * SHORT, ..Limits::standard() };
    let cluster = Cluster::start_limited(limits);
    for _ in 0..3 {
        assert_eq!(answer_to_first_packet(&cluster).await, Some(INITIAL));
    }
    assert_eq!(answer_to_first_packet(&cluster).await, None);
    // The client's own retransmission gets in once a half-done handshake has been given up.
    connect(&cluster.address, &cluster.member(7)).await.expect("let in later");
}

#[tokio::test]
async fn addresses_must_prove_themselves_above_the_lower_limit() {
    let limits = Limits { pending_unvalidated: 2, ..Limits::standard() };
    let cluster = Cluster::start_limited(limits);
    for _ in 0..2 {
        assert_eq!(answer_to_first_packet(&cluster).await, Some(INITIAL));
    }
    assert_eq!(answer_to_first_packet(&cluster).await, Some(RETRY));
    let quick = Limits { connect: SHORT, ..Limits::standard() };
    join_limited(&cluster.address, &cluster.token(1), &quick)
        .await
        .expect("a true client proves it");
}

/// The frame that opens an agent's stream.
fn opening() -> Vec<u8> {
    common::wire::frame::encode(&Open::Agent).expect("short")
}
