//! Who and what is refused: a clear error where it was asked, a line in the coordinator's log, and a
//! coordinator that goes on serving. And no secret in anything that processes write.
//!
//! Floor: wiring.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::wire::frame::{self, FIRST_FRAME_MAX, FRAME_MAX, HEADER_BYTES};
use common::wire::message::{Greeting, Hello, Open};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::rustls::pki_types::pem::PemObject;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use quinn::rustls::{self, RootCertStore};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream};

use crate::cluster::{Asked, Cluster, DATA, start_agent, write_study};
use crate::process::{Program, Running, Site, eventually, files_below};

#[test]
fn a_token_with_another_secret_is_refused() {
    let cluster = Cluster::start();
    let (before, secret) = cluster.token.rsplit_once('.').expect("four parts");
    let other = if secret.starts_with('A') { "B" } else { "A" };
    let wrong = format!("{before}.{other}{}", &secret[1..]);
    let said = refused_agent(&cluster, &wrong, 1);
    assert!(said.contains("refused this token"), "{said}");
    cluster.coordinator.says("join refused");
    goes_on(&cluster);
}

#[test]
fn a_token_that_was_revoked_is_refused() {
    let cluster = Cluster::start();
    let made = cluster.ask(&["token", "create", "--label", "lost"]);
    let listed = cluster.ask(&["token", "list"]);
    let tokens = listed["tokens"].as_array().expect("a list");
    let lost = tokens.iter().find(|token| token["label"] == "lost").expect("listed");
    cluster.run(&["token", "revoke", lost["id"].as_str().expect("an id")]).done();
    let said = refused_agent(&cluster, made["token"].as_str().expect("a token"), 1);
    assert!(said.contains("refused this token"), "{said}");
    cluster.coordinator.says("join refused");
    goes_on(&cluster);
}

#[test]
fn a_token_of_another_cluster_is_refused_before_its_secret_is_sent() {
    let (cluster, other) = (Cluster::start(), Cluster::start());
    let said = refused_agent(&cluster, &other.token, 1);
    assert!(said.contains("another cluster; nothing secret was sent"), "{said}");
    cluster.coordinator.says("connection refused");
    goes_on(&cluster);
}

#[test]
fn without_a_token_or_a_certificate_an_agent_does_not_start() {
    let cluster = Cluster::start();
    let said = refused_agent(&cluster, "", 2);
    assert!(said.contains("give the token that `coordinator start` printed"), "{said}");
    goes_on(&cluster);
}

#[test]
fn a_stranger_without_a_certificate_is_closed_with_a_log_line() {
    let cluster = Cluster::start();
    let ca = authority(&cluster);
    let closed = runtime().block_on(async {
        let config = client(&ca, None);
        let (connection, _endpoint) = connect(&cluster.address, config).await;
        let (mut send, _receive) = connection.open_bi().await.expect("one stream is read");
        let hello = frame::encode(&Hello::ours()).expect("short");
        // The coordinator may have closed already.
        let _ = send.write_all(&hello).await;
        let _ = send.finish();
        connection.closed().await
    });
    assert!(reason(&closed).contains("only a join request is read"), "{closed:?}");
    cluster.coordinator.says("only a join request is read");
    goes_on(&cluster);
}

#[test]
fn a_certificate_of_another_cluster_is_refused() {
    let (cluster, other) = (Cluster::start(), Cluster::start());
    // An operator of the other cluster, sent here.
    let mixed = data_folder(&cluster, "mixed", &other.site.path(DATA).join("operator"));
    let said = cluster.site.run(Program::Coordinator, &["status", "--data", &mixed]).failed(3);
    assert!(said.contains("not trusted"), "{said}");

    // One who trusts this cluster's authority, and has a certificate of the other's.
    let ca = authority(&cluster);
    let (certificate, _, key) = identity(&other.site.path(DATA).join("operator/identity.pem"));
    let closed = runtime().block_on(async {
        let config = client(&ca, Some((certificate, key)));
        let (connection, _endpoint) = connect(&cluster.address, config).await;
        connection.closed().await
    });
    assert!(matches!(closed, ConnectionError::ConnectionClosed(_)), "{closed:?}");
    let line = cluster.coordinator.says("connection refused address=");
    assert!(line.contains("WARN"), "{line}");
    goes_on(&cluster);
}

#[test]
fn an_agents_certificate_gets_no_operators_answer() {
    let cluster = Cluster::start();
    let _agent = cluster.agent("one");
    let posing = data_folder(&cluster, "posing", &cluster.site.path("one"));
    for command in [&["status"][..], &["token", "create"]] {
        let env = [("SEEDSWEEP_DATA", posing.as_str())];
        let answer = cluster.site.run_with(Program::Coordinator, command, &env);
        assert_eq!(answer.stdout, "", "{answer}");
        let said = answer.failed(1);
        assert!(said.contains("this certificate is for the role agent"), "{said}");
    }
    cluster.coordinator.says("a member with the role agent asked for Ask: refused");
    goes_on(&cluster);
}

#[test]
fn an_operators_certificate_is_no_agents() {
    let cluster = Cluster::start();
    let own = cluster.site.path(DATA).join("operator");
    // The agent sees by itself that the certificate is not for it.
    fs::create_dir(cluster.site.path("posing")).expect("made");
    fs::copy(own.join("identity.pem"), cluster.site.path("posing/identity.pem")).expect("copied");
    let agent = start_agent(&cluster.site, &cluster.address, "", "posing", &[]);
    agent.says("is for operators");

    // One who does not care is stopped by the coordinator.
    let identity = link::Identity::load(&own).expect("readable").expect("there");
    let closed = runtime().block_on(async {
        let link = link::connect(&cluster.address, &identity).await.expect("an operator");
        let _stream = link.open(&Open::Agent).await.expect("a stream");
        link.closed().await
    });
    assert!(closed.contains("this certificate is for the role operator"), "{closed}");
    cluster.coordinator.says("a member with the role operator asked for Agent: refused");
    assert_eq!(cluster.ask(&["agents"])["agents"].as_array().map(Vec::len), Some(0));
    goes_on(&cluster);
}

#[test]
fn a_removed_member_is_refused_from_then_on() {
    let cluster = Cluster::start();
    let mut agent = cluster.agent("one");
    let member = cluster.ask(&["agents"])["agents"][0]["member"].clone();
    cluster.run(&["members", "remove", member.as_str().expect("a member")]).done();
    assert_eq!(agent.ends().code(), Some(1));
    agent.says("revoked");
    let said = refused_agent(&cluster, "", 1);
    assert!(said.contains("revoked"), "{said}");
    goes_on(&cluster);
}

#[test]
fn a_frame_longer_than_allowed_closes_the_connection_by_its_header() {
    let cluster = Cluster::start();
    drop(cluster.agent("one"));
    let (certificate, ca, key) = identity(&cluster.site.path("one/identity.pem"));
    for claimed in [u32::MAX, FRAME_MAX as u32 + 1] {
        let key = key.clone_key();
        let closed = runtime().block_on(async {
            let config = client(&ca, Some((certificate.clone(), key)));
            let (connection, _endpoint) = connect(&cluster.address, config).await;
            greet(&connection).await;
            let (mut send, _receive) = connection.open_bi().await.expect("a member's stream");
            send.write_all(&frame::encode(&Open::Agent).expect("short")).await.expect("sent");
            send.write_all(&claimed.to_be_bytes()).await.expect("sent");
            connection.closed().await
        });
        let told = format!("{claimed} bytes");
        assert!(reason(&closed).contains(&told), "{closed:?}");
        cluster.coordinator.says(&told);
    }
    goes_on(&cluster);
}

#[test]
fn nothing_that_processes_write_holds_a_secret() {
    let mut site = Site::new();
    site.log = Some("trace");
    let cluster = Cluster::start_at(site, "15s");
    let study = write_study(&cluster.site, "secrets", 1, 2);
    let agent = cluster.agent("one");
    let study = cluster.submit(&study);
    cluster.finish(&study).is_whole();
    cluster.run(&["report", &study, "--out", "report"]).done();
    let further = cluster.ask(&["token", "create"]);
    let further = further["token"].as_str().expect("a token").to_string();
    let second = start_agent(&cluster.site, &cluster.address, &further, "two", &[]);
    second.says("joined as");
    let bad = further.replacen("SW1.", "SW1.!", 1);
    refused_agent(&cluster, &bad, 2);
    let peers = cluster.ask(&["token", "create", "--role", "peer", "--uses", "1"]);
    let peers = peers["token"].as_str().expect("a token").to_string();
    let replica = second_replica(&cluster, &peers);
    for list in [["token", "list"], ["members", "list"]] {
        cluster.ask(&list);
    }
    drop((agent, second, replica));
    let token = cluster.token.clone();
    let dead = cluster.kill();

    let mut secrets: Vec<Vec<u8>> = Vec::new();
    for token in [&token, &further, &peers] {
        let secret = token.rsplit_once('.').expect("four parts").1;
        secrets.push(secret.as_bytes().to_vec());
        secrets.push(URL_SAFE_NO_PAD.decode(secret).expect("base64"));
    }
    let pems = [
        "one/identity.pem",
        "coordinator/operator/identity.pem",
        "coordinator/ca/authority.pem",
        "second/ca/authority.pem",
        "second/peer/identity.pem",
    ];
    for pem in pems {
        let key = PrivateKeyDer::from_pem_file(dead.site.path(pem)).expect("a key");
        // The last 32 bytes of PKCS #8 hold the end of the Ed25519 key, or its public half.
        secrets.push(key.secret_der()[16..48].to_vec());
        let text = fs::read_to_string(dead.site.path(pem)).expect("readable");
        let body = text.rsplit("-----BEGIN PRIVATE KEY-----").next().expect("a key");
        secrets.push(body.trim().lines().next().expect("base64").as_bytes().to_vec());
    }
    let mut searched = 0;
    for (path, bytes) in files_below(&dead.site.path("")) {
        if may_hold_secrets(&path) {
            continue;
        }
        searched += bytes.len();
        for secret in &secrets {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{} holds a secret", path.display());
        }
    }
    assert!(searched > 100_000, "{searched} bytes: the logs are missing");
}

/// A further replica, once it votes: it has been sent the cluster's key, and a snapshot.
fn second_replica(cluster: &Cluster, token: &str) -> Running {
    let arguments = [
        "start",
        "--data",
        "second",
        "--listen",
        "127.0.0.1:0",
        "--join",
        &cluster.address,
        "--json",
    ];
    let env = [("SEEDSWEEP_PEER_TOKEN", token)];
    let replica = cluster.site.spawn(Program::Coordinator, &arguments, &env);
    eventually("the second replica's vote", || {
        let members = cluster.ask(&["members"]);
        let replicas = members["replicas"].as_array().expect("a list");
        replicas.iter().find(|r| r["replica"] == "r2" && r["role"] == "follower").map(drop)
    });
    let [first, second] = [DATA, "second"].map(|folder| {
        let path = cluster.site.path(folder).join("ca/authority.pem");
        fs::read_to_string(path).expect("the authority")
    });
    assert_eq!(first, second, "a replica can do all that the first one can");
    replica
}

/// Files whose purpose it is: the certificates' keys, the join line, and what was printed of it.
fn may_hold_secrets(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let printed = name.ends_with(".out") && (name.contains("-start.") || name.contains("-token"));
    ["identity.pem", "authority.pem", "agent-join"].contains(&name) || printed
}

/// What an agent that is turned away with this exit status says.
fn refused_agent(cluster: &Cluster, token: &str, status: i32) -> String {
    let mut agent: Running = start_agent(&cluster.site, &cluster.address, token, "one", &[]);
    assert_eq!(agent.ends().code(), Some(status), "{}", agent.stderr());
    agent.stderr()
}

/// The coordinator answers, and admits.
fn goes_on(cluster: &Cluster) {
    cluster.ask(&["status"]);
    drop(cluster.agent("welcome"));
}

/// A data folder as an operator has it, with an identity copied from another folder.
fn data_folder(cluster: &Cluster, name: &str, identity: &Path) -> String {
    let folder = cluster.site.path(name);
    fs::create_dir_all(folder.join("operator")).expect("made");
    fs::write(folder.join("address"), &cluster.address).expect("written");
    let to = folder.join("operator/identity.pem");
    fs::copy(identity.join("identity.pem"), to).expect("copied");
    folder.to_str().expect("text").to_string()
}

pub fn authority(cluster: &Cluster) -> CertificateDer<'static> {
    let path: PathBuf = cluster.site.path(DATA).join("ca/authority.pem");
    CertificateDer::from_pem_file(path).expect("a certificate")
}

/// Certificate, authority and key in an identity's file.
pub fn identity(
    path: &Path,
) -> (CertificateDer<'static>, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .expect("readable")
        .map(|der| der.expect("PEM"))
        .collect();
    let [certificate, ca] = <[_; 2]>::try_from(certificates).expect("two certificates");
    (certificate, ca, PrivateKeyDer::from_pem_file(path).expect("a key"))
}

/// A client that keeps to TLS and QUIC, and to nothing above.
pub fn client(
    ca: &CertificateDer<'static>,
    own: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
) -> quinn::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots);
    let mut config = match own {
        Some((certificate, key)) => {
            builder.with_client_auth_cert(vec![certificate], key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"seedsweep/1".to_vec()];
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("TLS 1.3")))
}

pub async fn connect(address: &str, config: quinn::ClientConfig) -> (Connection, Endpoint) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let endpoint = Endpoint::client(any).expect("a free port");
    let address = address.parse().expect("an address");
    let connecting = endpoint.connect_with(config, address, "coordinator.seedsweep");
    (connecting.expect("valid").await.expect("a handshake"), endpoint)
}

/// The first stream, as every member opens it.
pub async fn greet(connection: &Connection) {
    let (mut send, mut receive) = connection.open_bi().await.expect("the first stream");
    let hello = frame::encode(&Hello::ours()).expect("short");
    send.write_all(&hello).await.expect("sent");
    send.finish().expect("open");
    message::<Hello>(&mut receive).await;
    let greeting = message::<Greeting>(&mut receive).await;
    assert!(matches!(greeting, Greeting::Welcome { .. }), "{greeting:?}");
}

async fn message<T: serde::Serialize + serde::de::DeserializeOwned>(stream: &mut RecvStream) -> T {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.expect("a header");
    let mut body = vec![0; frame::body_length(header, FIRST_FRAME_MAX).expect("short")];
    stream.read_exact(&mut body).await.expect("a body");
    frame::decode_body(&body).expect("a message")
}

fn reason(closed: &ConnectionError) -> String {
    match closed {
        ConnectionError::ApplicationClosed(close) => {
            String::from_utf8_lossy(&close.reason).into_owned()
        }
        other => other.to_string(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}
