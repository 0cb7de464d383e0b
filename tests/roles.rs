//! What each role's certificate may do: a replica's, an agent's, an operator's, each against a real
//! coordinator. Nobody does what another role does, and nobody speaks for another.
//!
//! Floor: wiring.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use common::id::{Digest, LeaseId, MemberId, ReplicaId, StudyId, TrialIndex};
use common::trial::Attempt;
use common::wire::message::peer::{Enrolment, PeerMessage, RaftKind, RaftMessage};
use common::wire::message::{Bulk, Open, Renewal, Role};
use coordinator::scheduler::command::LEVEL;
use link::{Identity, JoinToken, Link, LinkError};

use crate::cluster::{Asked, Cluster, DATA, start_agent};
use crate::process::Program;

#[test]
fn a_replicas_certificate_does_only_what_replicas_do() {
    let cluster = Cluster::start();
    let peer = joined_as_peer(&cluster);
    runtime().block_on(async {
        for open in [Open::Agent, Open::Ask, Open::Watch, checkpoint()] {
            let why = refused(&cluster, &peer, &open).await;
            assert!(why.contains("this certificate is for the role peer"), "{open:?}: {why}");
        }
        let link = connect(&cluster, &peer).await;
        assert!(matches!(first::<Renewal>(&link, Open::Renew).await, Renewal::Renewed { .. }));
        let (digest, bytes) = (Digest([7; 32]), 9);
        let bulk = first::<Bulk>(&link, Open::Fetch { digest, offset: 0 }).await;
        assert!(matches!(bulk, Bulk::Refused { .. }), "{bulk:?}");
        let bulk = first::<Bulk>(&link, Open::Upload { digest, bytes }).await;
        assert_eq!(bulk, Bulk::Here { bytes: 0 });
        for address in ["x\u{1b}[2J:1".to_string(), "x".repeat(301)] {
            let enrolment = first::<Enrolment>(&link, Open::Enrol { address, level: LEVEL }).await;
            assert!(matches!(enrolment, Enrolment::Refused { .. }), "{enrolment:?}");
        }
        let open = Open::Enrol { address: "127.0.0.1:9".to_string(), level: LEVEL };
        let Enrolment::Enrolled { authority, replicas } = first(&link, open).await else {
            panic!("a replica is enrolled")
        };
        assert_eq!(format!("{authority:?}"), "***");
        assert_eq!(replicas.len(), 2);
    });
    cluster.ask(&["status"]);
}

#[test]
fn nobody_elses_certificate_speaks_as_a_replica() {
    let cluster = Cluster::start();
    drop(cluster.agent("one"));
    let digest = Digest([7; 32]);
    let enrol = || Open::Enrol { address: "127.0.0.1:9".to_string(), level: LEVEL };
    let (agent, operator) = (identity(&cluster, "one"), identity(&cluster, "coordinator/operator"));
    let upload = Open::Upload { digest, bytes: 9 };
    let fetch = Open::Fetch { digest, offset: 0 };
    runtime().block_on(async {
        for (who, role, more) in [(&agent, "agent", upload), (&operator, "operator", fetch)] {
            for open in [Open::Peer, Open::Snapshot, enrol(), more].into_iter().chain(
                // What an agent may leave, and only of what it holds.
                (role == "operator").then(checkpoint),
            ) {
                let why = refused(&cluster, who, &open).await;
                let told = format!("this certificate is for the role {role}");
                assert!(why.contains(&told), "{open:?}: {why}");
            }
        }
    });
    runtime().block_on(async {
        let link = connect(&cluster, &agent).await;
        let bulk = first::<Bulk>(&link, checkpoint()).await;
        let why = "this agent does not hold the trial".to_string();
        assert_eq!(bulk, Bulk::Refused { why });
    });
    cluster.coordinator.says("a member with the role agent asked for Enrol");
    cluster.coordinator.says("a member with the role operator asked for Snapshot");
    cluster.ask(&["status"]);
}

fn checkpoint() -> Open {
    let lease = LeaseId { term: 1, counter: 1 };
    let attempt = Attempt { study: StudyId(5), trial: TrialIndex(0), lease };
    Open::Checkpoint { attempt, digest: Digest([7; 32]), bytes: 9 }
}

#[test]
fn a_raft_message_in_anothers_name_or_for_another_closes_the_connection() {
    let cluster = Cluster::start();
    let peer = joined_as_peer(&cluster);
    let own = peer.who().expect("named").member.0;
    runtime().block_on(async {
        for (from, to) in [(own + 1, 1), (1, 1), (own, 3)] {
            let link = connect(&cluster, &peer).await;
            let (mut sender, _receiver) = link.open(&Open::Peer).await.expect("opened");
            sender.send(&vote(from, to)).await.expect("sent");
            let why = closed(&link).await;
            assert!(why.contains("not from or for whom it says"), "{from} {to}: {why}");
        }
        // In its own name a broken replica may speak of a term of the far future: raft hears of none.
        let link = connect(&cluster, &peer).await;
        let (mut sender, _receiver) = link.open(&Open::Peer).await.expect("opened");
        sender.send(&vote(own, 1)).await.expect("sent");
        sender.finish().await.expect("heard");
    });
    cluster.coordinator.says("a message for or from another replica: refused");
    cluster.coordinator.says("a number in it is higher than anybody can have counted");
    cluster.ask(&["status", "--fresh"]);
}

#[test]
fn a_removed_replica_is_closed_out() {
    let cluster = Cluster::start();
    let peer = joined_as_peer(&cluster);
    let number = NonZeroU64::new(peer.who().expect("named").member.0).expect("not zero");
    let replica = ReplicaId(number).to_string();
    runtime().block_on(async {
        let link = connect(&cluster, &peer).await;
        let (mut sender, _receiver) = link.open(&Open::Peer).await.expect("opened");
        cluster.run(&["members", "remove", &replica]).done();
        // What it says after its removal is not heard, on a connection from before as well.
        let digest = PeerMessage::Digest { index: 1, digest: [0; 32] };
        sender.send(&digest).await.expect("sent");
        assert_eq!(closed(&link).await, "revoked");
        let again = link::connect(&cluster.address, &peer).await.expect_err("removed");
        assert!(matches!(again, LinkError::Revoked { .. }), "{again:?}");
    });
    cluster.ask(&["status"]);
}

#[test]
fn a_replicas_token_makes_no_agent_and_an_agents_no_replica() {
    let cluster = Cluster::start();
    let token = token(&cluster);
    let agent = start_agent(&cluster.site, &cluster.address, &token, "posing", &[]);
    agent.says("is for peers");
    let arguments =
        ["start", "--data", "second", "--listen", "127.0.0.1:0", "--join", &cluster.address];
    let env = [("SEEDSWEEP_PEER_TOKEN", cluster.token.as_str())];
    let said = cluster.site.run_with(Program::Coordinator, &arguments, &env).failed(1);
    assert!(said.contains("this token is for agents"), "{said}");
    assert!(!cluster.site.path("second/ca").exists(), "no authority was given away");
    cluster.ask(&["status"]);
}

#[test]
fn keys_and_tokens_lie_in_files_of_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::start();
    drop(cluster.agent("one"));
    let mode = |name: &str| {
        let metadata = std::fs::metadata(cluster.site.path(name)).expect("there");
        metadata.permissions().mode() & 0o777
    };
    for file in ["agent-join", "ca/authority.pem", "operator/identity.pem"] {
        assert_eq!(mode(&format!("{DATA}/{file}")), 0o600, "{file}");
    }
    assert_eq!(mode("one/identity.pem"), 0o600);
    assert_eq!(mode(DATA), 0o700);
}

/// A certificate as a new replica gets it, without a replica behind it.
fn joined_as_peer(cluster: &Cluster) -> Identity {
    let token: JoinToken = token(cluster).parse().expect("a token");
    let (address, folder) = (vec![cluster.address.clone()], cluster.site.path("peer"));
    let identity = runtime().block_on(link::join(&address, &token, &folder)).expect("joined");
    let who = identity.who().expect("named");
    assert_eq!((who.role, who.member), (Role::Peer, MemberId(2)));
    identity
}

fn token(cluster: &Cluster) -> String {
    let made = cluster.ask(&["token", "create", "--role", "peer", "--uses", "1"]);
    made["token"].as_str().expect("a token").to_string()
}

fn identity(cluster: &Cluster, folder: &str) -> Identity {
    let folder: PathBuf = cluster.site.path(folder);
    Identity::load(&folder).expect("readable").expect("there")
}

async fn connect(cluster: &Cluster, identity: &Identity) -> Link {
    link::connect(&cluster.address, identity).await.expect("connected")
}

/// Why the coordinator closed a connection on which this was asked for.
async fn refused(cluster: &Cluster, identity: &Identity, open: &Open) -> String {
    let link = connect(cluster, identity).await;
    let _streams = link.open(open).await.expect("opened");
    closed(&link).await
}

async fn closed(link: &Link) -> String {
    tokio::time::timeout(SOON, link.closed()).await.expect("closed")
}

/// The first message that a stream is answered with.
async fn first<T>(link: &Link, open: Open) -> T
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let (_sender, mut receiver) = link.open(&open).await.expect("opened");
    let answer = tokio::time::timeout(SOON, receiver.receive::<T>()).await.expect("soon");
    answer.expect("a message").expect("one")
}

fn vote(from: u64, to: u64) -> PeerMessage {
    let (kind, term) = (RaftKind::RequestVote, u64::MAX);
    PeerMessage::Raft(Box::new(RaftMessage { kind, from, to, term, ..RaftMessage::default() }))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

const SOON: Duration = Duration::from_secs(20);
