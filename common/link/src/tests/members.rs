//! Peers with a certificate: whose it must be, and what both sides say when it is not enough.
//!
//! Floor: shell.

use std::time::{Duration, SystemTime};

use common::id::MemberId;
use common::wire::frame::{self, FIRST_FRAME_MAX};
use common::wire::message::{Greeting, Hello, Open, Role};
use quinn::{ConnectionError, Endpoint};
use tokio::time::{sleep, timeout};

use super::support::{Cluster, LOOPBACK, echoed, locked, raw, raw_member, replica, warning};
use crate::identity::fingerprint;
use crate::limits::Limits;
use crate::stream::{Reading, Writing};
use crate::{Authority, Identity, LinkError, connect, renew, tls};

const DAY: Duration = Duration::from_secs(24 * 3600);
const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn the_certificate_says_who_speaks() {
    let cluster = Cluster::start();
    let link = connect(&cluster.address, &cluster.member(7)).await.expect("connected");
    assert_eq!(echoed(&link, "me").await, "me");
    let seen = locked(&cluster.desk.links)[0].who();
    assert_eq!(seen, link.who());
    assert_eq!((seen.role, seen.member), (Role::Agent, MemberId(7)));
    assert_eq!(seen.cluster, cluster.authority.cluster());
}

#[tokio::test]
async fn a_saved_identity_connects() {
    let cluster = Cluster::start();
    let home = tempfile::tempdir().expect("a folder");
    assert!(Identity::load(home.path()).expect("readable").is_none());
    cluster.member(7).save(home.path()).expect("saved");
    let identity = Identity::load(home.path()).expect("readable").expect("saved");
    connect(&cluster.address, &identity).await.expect("connected");
}

#[test]
fn a_damaged_identity_is_named() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("identity.pem");
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("written");
    let error = Identity::load(home.path()).expect_err("no certificate").to_string();
    assert!(error.contains("identity.pem") && error.contains("damaged"), "{error}");
}

#[test]
fn a_leaf_is_good_for_30_days_from_an_hour_ago() {
    let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    let authority = Authority::create(common::id::ClusterId([5; 16]), now).expect("made");
    let identity = authority.client_identity(Role::Agent, MemberId(1), now).expect("issued");
    assert_eq!(identity.valid_until().expect("dated"), now + 30 * DAY);
    let parsed = crate::identity::parse(&identity.certificate).expect("X.509");
    let begins = parsed.validity().not_before.timestamp() as u64;
    assert_eq!(Duration::from_secs(begins), 20_000 * DAY - Duration::from_secs(3600));
}

#[tokio::test]
async fn a_revoked_member_is_told_so() {
    let cluster = Cluster::start();
    let identity = cluster.member(7);
    connect(&cluster.address, &identity).await.expect("a member yet");
    locked(&cluster.desk.members).clear();
    let error = connect(&cluster.address, &identity).await.expect_err("revoked");
    assert!(matches!(error, LinkError::Revoked { .. }) && error.is_refusal(), "{error:?}");
    assert!(error.to_string().contains("revoked"), "{error}");
    let line = warning(&fingerprint(&identity.certificate)).await;
    assert!(line.contains("127.0.0.1:") && line.contains("revoked"), "{line}");
}

#[tokio::test]
async fn a_member_that_is_not_known_yet_is_told_to_try_again() {
    let cluster = Cluster::start();
    let [old, new] = [7, 8].map(|number| cluster.member(number));
    locked(&cluster.desk.members).clear();
    *locked(&cluster.desk.next) = Some(8);
    let error = connect(&cluster.address, &new).await.expect_err("not yet");
    assert!(matches!(error, LinkError::Busy { .. }) && !error.is_refusal(), "{error:?}");
    let error = connect(&cluster.address, &old).await.expect_err("it was known once");
    assert!(matches!(error, LinkError::Revoked { .. }), "{error:?}");
}

#[tokio::test]
async fn a_member_with_another_role_in_the_log_is_nobody() {
    let cluster = Cluster::start();
    let identity = cluster.member(7);
    locked(&cluster.desk.members).insert(MemberId(7), Role::Operator);
    let error = connect(&cluster.address, &identity).await.expect_err("not this role");
    assert!(matches!(error, LinkError::Revoked { .. }), "{error:?}");
}

/// Connects with a certificate that TLS must refuse, and checks both sides' words.
async fn refused_by_tls(cluster: &Cluster, identity: &Identity, cause: &str) {
    let error = connect(&cluster.address, identity).await.expect_err(cause);
    assert!(matches!(error, LinkError::CertificateRefused { .. }), "{cause}: {error:?}");
    assert!(error.is_refusal());
    let line = warning(&fingerprint(&identity.certificate)).await;
    assert!(line.contains("127.0.0.1:") && line.contains(cause), "{cause}: {line}");
    let other = cluster.member(99);
    let link = connect(&cluster.address, &other).await.expect("others are served");
    assert_eq!(echoed(&link, "still").await, "still");
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_refused() {
    let (cluster, other) = (Cluster::start(), Cluster::start());
    let foreign = Identity { ca: cluster.member(1).ca, ..other.member(1) };
    refused_by_tls(&cluster, &foreign, "UnknownIssuer").await;
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let cluster = Cluster::start();
    let at = |issued| cluster.authority.client_identity(Role::Agent, MemberId(99), issued);
    let now = SystemTime::now();
    refused_by_tls(&cluster, &at(now - 31 * DAY).expect("issued"), "expired").await;
    let ahead = Duration::from_secs(3600 + 600);
    refused_by_tls(&cluster, &at(now + ahead).expect("issued"), "not valid yet").await;
    let tolerated = at(now + Duration::from_secs(3600 - 600)).expect("issued");
    connect(&cluster.address, &tolerated).await.expect("clocks differ by less than an hour");
}

#[tokio::test]
async fn a_coordinators_certificate_is_no_members() {
    let cluster = Cluster::start();
    let server = cluster.authority.server_identity(replica(), SystemTime::now());
    // `connect` itself would not begin with it, so the rule is asked of TLS.
    let config = tls::client(&server.expect("issued"), &Limits::standard()).expect("configured");
    let connected = raw(&cluster.address, config).await;
    let closed = match connected {
        Ok((connection, _endpoint)) => timeout(SOON, connection.closed()).await.expect("closed"),
        Err(error) => error,
    };
    assert!(matches!(closed, ConnectionError::ConnectionClosed(_)), "{closed}");
}

#[tokio::test]
async fn a_members_certificate_is_no_coordinators() {
    let cluster = Cluster::start();
    let config = tls::server(&cluster.member(1), &Limits::standard()).expect("configured");
    let impostor = Endpoint::server(config, LOOPBACK).expect("a free port");
    let address = impostor.local_addr().expect("bound").to_string();
    tokio::spawn(async move { impostor.accept().await.expect("a packet").await });
    let error = connect(&address, &cluster.member(2)).await.expect_err("no coordinator");
    assert!(matches!(error, LinkError::UntrustedCoordinator { .. }), "{error:?}");
}

#[tokio::test]
async fn another_clusters_coordinator_is_not_trusted() {
    let (cluster, other) = (Cluster::start(), Cluster::start());
    let error = connect(&other.address, &cluster.member(1)).await.expect_err("another cluster");
    assert!(matches!(error, LinkError::UntrustedCoordinator { .. }), "{error:?}");
    assert!(error.to_string().contains(&other.address), "{error}");
}

#[tokio::test]
async fn another_protocol_name_is_refused_by_both_sides() {
    let cluster = Cluster::start();
    let mut crypto = tls::member_crypto(&cluster.member(1)).expect("configured");
    for names in [vec![b"h3".to_vec()], vec![b"seedsweep/2".to_vec()], vec![]] {
        crypto.alpn_protocols = names;
        let config = tls::quic_client(crypto.clone(), &Limits::standard()).expect("configured");
        assert!(raw(&cluster.address, config).await.is_err());
    }
    let server = cluster.authority.server_identity(replica(), SystemTime::now());
    let mut crypto = tls::server_crypto(&server.expect("issued")).expect("configured");
    crypto.alpn_protocols = vec![b"h3".to_vec()];
    let config = tls::quic_server(crypto, &Limits::standard()).expect("configured");
    let web = Endpoint::server(config, LOOPBACK).expect("a free port");
    let address = web.local_addr().expect("bound").to_string();
    tokio::spawn(async move { web.accept().await.expect("a packet").await });
    let error = connect(&address, &cluster.member(1)).await.expect_err("another protocol");
    assert!(matches!(error, LinkError::OtherProtocol { .. }), "{error:?}");
    assert!(error.to_string().contains("seedsweep/1") && error.is_refusal(), "{error}");
}

fn newer() -> Hello {
    Hello { protocol_min: 7, protocol_max: 9, version: "9.0\x1b[2J".to_string(), ..Hello::ours() }
}

#[tokio::test]
async fn a_newer_client_is_told_both_versions_and_so_is_the_log() {
    let cluster = Cluster::start();
    let (connection, endpoint) = raw_member(&cluster, 7).await;
    let (send, receive) = connection.open_bi().await.expect("the first stream");
    let (mut writing, mut reading) = (Writing::new(send), Reading::new(receive));
    writing.send(frame::encode(&newer()).expect("short"), SOON).await.expect("sent");
    let hello = reading.message::<Hello>(FIRST_FRAME_MAX, SOON).await.expect("read");
    assert_eq!(hello, Some(Hello::ours()));
    let greeting = reading.message::<Greeting>(FIRST_FRAME_MAX, SOON).await.expect("read");
    let Some(Greeting::Refused { why }) = greeting else { panic!("{greeting:?}") };
    assert!(why.contains("7 to 9") && why.contains("same version on both"), "{why}");
    let port = endpoint.local_addr().expect("bound").port();
    drop(reading);
    let line = warning(&format!("127.0.0.1:{port} ")).await;
    assert!(line.contains("7 to 9") && !line.contains('\x1b'), "{line}");
}

#[tokio::test]
async fn a_newer_coordinator_is_named_to_the_client() {
    let cluster = Cluster::start();
    let server = cluster.authority.server_identity(replica(), SystemTime::now());
    let config = tls::server(&server.expect("issued"), &Limits::standard()).expect("configured");
    let newer_one = Endpoint::server(config, LOOPBACK).expect("a free port");
    let address = newer_one.local_addr().expect("bound").to_string();
    let served = tokio::spawn(async move {
        let connection = newer_one.accept().await.expect("a packet").await.expect("handshake");
        let (send, _receive) = connection.accept_bi().await.expect("the first stream");
        let frame = frame::encode(&newer()).expect("short");
        Writing::new(send).send(frame, SOON).await.expect("sent");
        connection.closed().await.to_string()
    });
    let error = connect(&address, &cluster.member(1)).await.expect_err("newer");
    assert!(matches!(error, LinkError::Version { .. }) && error.is_refusal(), "{error:?}");
    assert!(error.to_string().contains("7 to 9"), "{error}");
    let closed = served.await.expect("no panic");
    assert!(closed.contains("7 to 9"), "the coordinator hears it too: {closed}");
}

#[tokio::test]
async fn a_call_dropped_half_way_loses_no_byte() {
    let cluster = Cluster::start();
    let link = connect(&cluster.address, &cluster.member(7)).await.expect("connected");
    let (mut sender, mut receiver) = link.open(&Open::Agent).await.expect("opened");
    let chunk: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let sending = tokio::spawn({
        let chunk = chunk.clone();
        async move {
            for _ in 0..20 {
                // Dropped after one poll, as the loser of a `select!` is; then the rest is sent.
                let _ = timeout(Duration::ZERO, sender.send_chunk(&chunk)).await;
            }
            sender.finish().await
        }
    });
    let mut whole = 0;
    loop {
        match timeout(Duration::from_micros(50), receiver.chunk()).await {
            Err(_) => sleep(Duration::from_micros(50)).await,
            Ok(Ok(Some(back))) => {
                assert_eq!(back, chunk);
                whole += 1;
            }
            Ok(Ok(None)) => break,
            Ok(Err(error)) => panic!("{error:?}"),
        }
    }
    sending.await.expect("no panic").expect("delivered");
    assert!(whole > 0);
}

#[tokio::test]
async fn what_was_finished_before_a_close_has_arrived() {
    let cluster = Cluster::start();
    let link = connect(&cluster.address, &cluster.member(7)).await.expect("connected");
    assert_eq!(echoed(&link, "first").await, "first");
    let server = locked(&cluster.desk.links)[0].clone();
    let (sender, mut receiver) = {
        let (mut sender, receiver) = server.open(&Open::Agent).await.expect("opened");
        sender.send_chunk(&vec![7; 500_000]).await.expect("sent");
        (sender, receiver)
    };
    let reading = tokio::spawn(async move {
        let (_, _sender, mut stream) = link.accept().await.expect("alive").expect("a stream");
        let chunk = stream.chunk().await.expect("whole").expect("one");
        (chunk.len(), stream.chunk().await.expect("ended"), link.closed().await)
    });
    sender.finish().await.expect("delivered");
    server.close("goodbye");
    let (bytes, end, why) = reading.await.expect("no panic");
    assert_eq!((bytes, end, why.as_str()), (500_000, None, "goodbye"));
    assert!(receiver.chunk().await.is_err());
    assert!(server.accept().await.expect("closed in order").is_none());
}

#[tokio::test]
async fn a_closed_listener_tells_its_members() {
    let cluster = Cluster::start();
    let link = connect(&cluster.address, &cluster.member(7)).await.expect("connected");
    cluster.listener.close("upgrading").await;
    assert_eq!(timeout(SOON, link.closed()).await.expect("told"), "upgrading");
}

#[tokio::test]
async fn a_coordinators_renewed_certificate_serves_the_next_connection() {
    let expired = SystemTime::now() - 31 * DAY;
    let cluster = Cluster::start_at(expired, Limits::standard());
    assert!(connect(&cluster.address, &cluster.member(7)).await.is_err());
    let fresh = cluster.authority.server_identity(replica(), SystemTime::now());
    cluster.listener.renew(&fresh.expect("issued")).expect("renewed");
    connect(&cluster.address, &cluster.member(7)).await.expect("trusted again");
}

#[tokio::test]
async fn a_member_renews_its_certificate_over_the_connection_made_with_the_old_one() {
    let cluster = Cluster::start();
    let old = cluster.member_since(7, SystemTime::now() - 21 * DAY);
    let now = SystemTime::now();
    assert!(old.is_due(now).expect("dated"));
    let link = connect(&cluster.address, &old).await.expect("connected");
    let renewed = timeout(SOON, renew(&link, &old)).await.expect("soon").expect("renewed");
    assert!(!renewed.is_due(now).expect("dated"));
    assert!(renewed.valid_until().expect("dated") > old.valid_until().expect("dated") + 20 * DAY);
    assert_eq!(echoed(&link, "still here").await, "still here");
    let link = connect(&cluster.address, &renewed).await.expect("connected");
    assert_eq!((link.who(), link.public_key()), (old.who().expect("named"), key_of(&old)));
}

#[test]
fn a_certificate_is_due_when_a_third_of_its_time_is_left() {
    let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    let identity = authority(now).client_identity(Role::Agent, MemberId(1), now).expect("issued");
    let due = |days| identity.is_due(now + days * DAY).expect("dated");
    assert_eq!([0, 20, 21, 30, 31].map(due), [false, false, true, true, true]);
}

#[test]
fn only_a_certificate_for_the_same_key_role_member_and_cluster_renews() {
    let now = SystemTime::now();
    let ours = authority(now);
    let identity = ours.client_identity(Role::Agent, MemberId(1), now).expect("issued");
    let other = ours.client_identity(Role::Agent, MemberId(1), now).expect("issued");
    let renewed = |authority: &Authority, key, role, member, issued| {
        let certificate = authority.issue(key, role, MemberId(member), issued).expect("issued");
        identity.renewed(certificate).map(|_| ()).map_err(|error| error.to_string())
    };
    let (key, later) = (&key_of(&identity), now + Duration::from_secs(60));
    assert_eq!(renewed(&ours, key, Role::Agent, 1, later), Ok(()));
    for (issuer, key, role, member, issued, why) in [
        (&ours, &key_of(&other), Role::Agent, 1, now, "another key"),
        (&ours, key, Role::Operator, 1, now, "another member or role"),
        (&ours, key, Role::Agent, 2, now, "another member or role"),
        (&authority(now), key, Role::Agent, 1, now, "no certificate for"),
        (&ours, key, Role::Agent, 1, now - 31 * DAY, "no certificate for"),
    ] {
        let error = renewed(issuer, key, role, member, issued).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    assert!(identity.renewed(b"not a certificate".to_vec()).is_err());
}

fn authority(now: SystemTime) -> Authority {
    Authority::create(common::id::ClusterId([5; 16]), now).expect("made")
}

fn key_of(identity: &Identity) -> [u8; 32] {
    identity.public_key().expect("Ed25519")
}
