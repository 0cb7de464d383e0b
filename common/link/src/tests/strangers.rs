//! Peers without a certificate: they join or they are turned away.
//!
//! Floor: shell.

use std::time::{Duration, SystemTime};

use common::id::ClusterId;
use common::wire::message::Role;
use quinn::{ConnectionError, Endpoint};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use super::support::{
    Cluster, LOOPBACK, echoed, join, join_limited, locked, logged, raw_stranger, replica, warning,
};
use crate::limits::Limits;
use crate::token::hex;
use crate::{Authority, JoinToken, LinkError, connect, tls};

const REFUSED: &str = "the coordinator refused this token; ask its operator for a new one \
                       (`coordinator token create`)";

#[tokio::test]
async fn a_token_makes_a_member() {
    let cluster = Cluster::start();
    let identity = join(&cluster.address, &cluster.token(1)).await.expect("joined");
    let who = identity.who().expect("named");
    assert_eq!((who.cluster, who.role), (cluster.authority.cluster(), Role::Agent));
    assert_eq!(identity.ca_hash(), cluster.authority.hash());
    let link = connect(&cluster.address, &identity).await.expect("connected");
    assert_eq!(echoed(&link, "here").await, "here");
}

#[tokio::test]
async fn a_token_for_one_use_makes_one_member() {
    let cluster = Cluster::start();
    let token = cluster.token(1);
    join(&cluster.address, &token).await.expect("joined");
    let refused = join(&cluster.address, &token).await.expect_err("used up");
    assert_eq!(refused.to_string(), REFUSED);
    assert!(refused.is_refusal());
}

#[tokio::test]
async fn every_cause_has_the_same_refusal() {
    let cluster = Cluster::start();
    let token = cluster.token(1);
    let unknown = JoinToken::mint(cluster.authority.hash()).expect("randomness");
    let mut misspelt = token.expose().into_bytes();
    let at = misspelt.len() - 10;
    misspelt[at] = if misspelt[at] == b'A' { b'B' } else { b'A' };
    let misspelt: JoinToken = String::from_utf8(misspelt).expect("ascii").parse().expect("form");
    for bad in [unknown, misspelt] {
        let refused = join(&cluster.address, &bad).await.expect_err("refused");
        assert_eq!(refused.to_string(), REFUSED);
        let line = warning(&bad.id_hex()).await;
        assert!(line.contains("127.0.0.1:") && line.contains("token refused"), "{line}");
    }
    join(&cluster.address, &token).await.expect("the true token still joins");
}

#[tokio::test]
async fn a_join_whose_answer_is_lost_is_repeated_with_the_same_key() {
    let cluster = Cluster::start();
    *locked(&cluster.desk.forgets) = 2;
    let identity = join(&cluster.address, &cluster.token(1)).await.expect("joined");
    let joins = locked(&cluster.desk.joins).clone();
    let key = identity.public_key().expect("Ed25519");
    assert_eq!(joins.iter().map(|(_, key)| *key).collect::<Vec<_>>(), [key; 3]);
    connect(&cluster.address, &identity).await.expect("the one use was for this key");
}

#[test]
fn a_repeated_admission_is_the_same_certificate() {
    let authority = Authority::create(ClusterId([3; 16]), SystemTime::now()).expect("made");
    let member = common::id::MemberId(7);
    let now = SystemTime::now();
    let issue = |key: u8, member, now| {
        authority.issue(&[key; 32], Role::Agent, member, now).expect("issued")
    };
    assert_eq!(issue(1, member, now), issue(1, member, now));
    assert_ne!(issue(1, member, now), issue(2, member, now));
    assert_ne!(issue(1, member, now), issue(1, common::id::MemberId(8), now));
}

#[tokio::test]
async fn an_impostor_never_receives_the_secret() {
    let cluster = Cluster::start();
    let token = cluster.token(1);
    // The second impostor shows the true CA's certificate beside a leaf that CA never signed.
    let other = Authority::create(cluster.authority.cluster(), SystemTime::now()).expect("made");
    let own = other.server_identity(replica(), SystemTime::now()).expect("issued");
    let true_ca = cluster.member(1).ca;
    let borrowed = crate::Identity { ca: true_ca, ..own.clone() };
    for (identity, clear) in [(own, true), (borrowed, false)] {
        let config = tls::server(&identity, &Limits::standard()).expect("configured");
        let impostor = Endpoint::server(config, LOOPBACK).expect("a free port");
        let address = impostor.local_addr().expect("bound").to_string();
        let heard = tokio::spawn(async move {
            let connection = impostor.accept().await.expect("a packet").await?;
            let (_, mut stream) = connection.accept_bi().await?;
            Ok::<_, ConnectionError>(stream.read_to_end(999).await)
        });
        let error = join(&address, &token).await.expect_err("not that cluster");
        match &error {
            LinkError::OtherCluster { .. } => assert!(clear && error.is_refusal()),
            LinkError::UntrustedCoordinator { .. } => assert!(!clear),
            other => panic!("{other:?}"),
        }
        let heard = heard.await.expect("no panic");
        assert!(heard.is_err(), "the impostor's handshake fails before any stream: {heard:?}");
    }
    assert!(locked(&cluster.desk.joins).is_empty());
}

#[tokio::test]
async fn a_token_of_another_cluster_says_so() {
    let (one, two) = (Cluster::start(), Cluster::start());
    let error = join(&two.address, &one.token(1)).await.expect_err("another cluster's");
    let text = error.to_string();
    assert!(text.contains("belongs to another cluster") && text.contains(&two.address), "{text}");
    assert!(locked(&two.desk.joins).is_empty());
}

#[tokio::test]
async fn a_coordinator_with_an_expired_certificate_receives_nothing() {
    let long_ago = SystemTime::now() - Duration::from_secs(40 * 24 * 3600);
    let cluster = Cluster::start_at(long_ago, Limits::standard());
    let error = join(&cluster.address, &cluster.token(1)).await.expect_err("expired");
    assert!(matches!(error, LinkError::UntrustedCoordinator { .. }), "{error:?}");
    assert!(locked(&cluster.desk.joins).is_empty());
}

#[tokio::test]
async fn only_exactly_70_bytes_are_a_join_request() {
    let cluster = Cluster::start();
    for length in [0, 1, 69, 71, 5_000] {
        let (connection, _endpoint) = raw_stranger(&cluster).await;
        let (mut send, _receive) = connection.open_bi().await.expect("one stream");
        // Fails when the close is quicker.
        let _ = send.write_all(&vec![7; length]).await;
        let _ = send.finish();
        let closed = timeout(Duration::from_secs(1), connection.closed()).await.expect("closed");
        assert!(closed.to_string().contains("only a join request"), "{length}: {closed}");
    }
    assert!(locked(&cluster.desk.joins).is_empty());
    let token = cluster.token(1);
    join(&cluster.address, &token).await.expect("others are served");
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_cut_within_2_seconds() {
    let cluster = Cluster::start();
    let (connection, endpoint) = raw_stranger(&cluster).await;
    let port = endpoint.local_addr().expect("bound").port();
    let closed = timeout(Duration::from_millis(2_500), connection.closed()).await.expect("closed");
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)), "{closed}");
    warning(&format!("127.0.0.1:{port}")).await;
}

#[tokio::test]
async fn a_stranger_has_one_stream() {
    let cluster = Cluster::start();
    let (connection, _endpoint) = raw_stranger(&cluster).await;
    let _first = connection.open_bi().await.expect("one");
    let wait = Duration::from_millis(200);
    assert!(timeout(wait, connection.open_bi()).await.is_err());
    assert!(timeout(wait, connection.open_uni()).await.is_err());
}

#[tokio::test]
async fn the_secret_is_in_no_log_and_no_debug() {
    let cluster = Cluster::start();
    let token = cluster.token(1);
    let identity = join(&cluster.address, &token).await.expect("joined");
    let refused = join(&cluster.address, &token).await.expect_err("used up");
    connect(&cluster.address, &identity).await.expect("connected");
    sleep(Duration::from_millis(50)).await;
    let shown = format!("{token:?}{identity:?}{:?}{refused:?}", cluster.authority);
    assert!(logged("quinn").len() > 10, "the transport's own log is recorded too");
    let text = token.expose();
    // PKCS #8 has the seed behind 16 bytes of form, and the public key after it.
    let key = identity.key.expose();
    for secret in [
        text.rsplit('.').next().expect("four parts").to_string(),
        hex(token.secret()),
        list(token.secret()),
        hex(&key[16..48]),
        list(&key[16..48]),
    ] {
        assert!(!shown.contains(&secret));
        assert!(logged(&secret).is_empty());
    }
}

/// Bytes as Debug shows them, without the brackets.
fn list(bytes: &[u8]) -> String {
    let shown = format!("{bytes:?}");
    shown[1..shown.len() - 1].to_string()
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_said_at_once() {
    let port = UdpSocket::bind(LOOPBACK).await.expect("a free port");
    let address = port.local_addr().expect("bound").to_string();
    drop(port);
    let token = JoinToken::mint([0; 32]).expect("randomness");
    let asked = timeout(Duration::from_secs(1), join(&address, &token)).await.expect("at once");
    let error = asked.expect_err("nobody");
    assert!(matches!(error, LinkError::NothingListens { .. }), "{error:?}");
    assert!(error.to_string().contains(&address) && !error.is_refusal());
}

#[tokio::test]
async fn an_address_that_never_answers_is_given_up() {
    let silent = UdpSocket::bind(LOOPBACK).await.expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let token = JoinToken::mint([0; 32]).expect("randomness");
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::standard() };
    let error = join_limited(&address, &token, &limits).await.expect_err("silence");
    assert!(matches!(error, LinkError::NoAnswer { .. }), "{error:?}");
    assert!(error.to_string().contains(&address) && !error.is_refusal());
}

#[tokio::test]
async fn an_address_without_a_port_is_explained() {
    let token = JoinToken::mint([0; 32]).expect("randomness");
    let error = join("localhost", &token).await.expect_err("no port");
    assert!(error.to_string().contains("HOST:PORT"), "{error}");
}
