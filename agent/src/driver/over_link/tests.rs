//! Agents over real QUIC on loopback, against a coordinator played by the test.
//!
//! Floor: shell.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use common::id::{ClusterId, LeaseId, MemberId, ReplicaId, TrialIndex};
use common::study::Study;
use common::table::Dataset;
use common::trial::{Ending, FailReason};
use common::wire::message::Renewal;
use common::wire::message::peer::Leadership;
use link::{Arrival, Authority, Gate, Listener, Who};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::device::{Device, Wanted};
use crate::driver::{DriverError, Settings, Train, run};
use crate::folder::Folder;
use crate::sample;

/// Says of each trial which rows it was given.
struct Rows;

impl Train for Rows {
    fn train(
        &self,
        _: &Study,
        dataset: &Dataset,
        trials: &[TrialIndex],
        _: &dyn Fn() -> bool,
    ) -> Option<Vec<Ending>> {
        let detail = format!("{} rows", dataset.rows());
        Some(vec![Ending::Failed { reason: FailReason::Error, detail }; trials.len()])
    }
}

#[derive(Default)]
struct Desk {
    tokens: Mutex<BTreeMap<[u8; 6], [u8; 32]>>,
    members: Mutex<Vec<MemberId>>,
    joins: Mutex<u64>,
    fetched_from: Mutex<Vec<u64>>,
    /// How long ago a joiner's certificate was made, as it says.
    issued_ago: Mutex<Duration>,
    /// The tokens are for operators.
    for_operators: AtomicBool,
    renewals: Mutex<Vec<MemberId>>,
    links: Mutex<Vec<Link>>,
}

impl Gate for Desk {
    fn admits(&self, who: &Who) -> bool {
        who.role == Role::Agent && locked(&self.members).contains(&who.member)
    }
}

struct Cluster {
    address: String,
    authority: Arc<Authority>,
    desk: Arc<Desk>,
    /// What agents said, offers and renewals left out.
    heard: mpsc::Receiver<(MemberId, FromAgent)>,
    serving: JoinHandle<()>,
}

impl Cluster {
    fn start() -> Self {
        let now = SystemTime::now();
        let cluster = ClusterId([7; 16]);
        let authority = Arc::new(Authority::create(cluster, now).expect("made"));
        let replica = ReplicaId(NonZeroU64::MIN);
        let identity = authority.server_identity(replica, now).expect("issued");
        let desk = Arc::new(Desk::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener =
            Listener::bind(any, &identity, &authority, desk.clone()).expect("a free port");
        let address = listener.local_address().expect("bound").to_string();
        let (tell, heard) = mpsc::channel(1_000);
        let serving = tokio::spawn(serve(listener, authority.clone(), desk.clone(), tell));
        Self { address, authority, desk, heard, serving }
    }

    fn token(&self) -> JoinToken {
        let token = JoinToken::mint(self.authority.hash()).expect("randomness");
        locked(&self.desk.tokens).insert(token.id, token.secret_hash());
        token
    }

    async fn hear(&mut self) -> (MemberId, FromAgent) {
        let heard = timeout(Duration::from_secs(20), self.heard.recv()).await;
        heard.expect("in time").expect("the coordinator serves")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: Listener,
    authority: Arc<Authority>,
    desk: Arc<Desk>,
    tell: mpsc::Sender<(MemberId, FromAgent)>,
) {
    while let Some(arrival) = listener.accept().await {
        match arrival {
            Arrival::Join(attempt) => {
                let good =
                    locked(&desk.tokens).get(&attempt.token_id) == Some(&attempt.secret_hash);
                if !good {
                    attempt.refuse().await;
                    continue;
                }
                let member = {
                    let mut joins = locked(&desk.joins);
                    *joins += 1;
                    MemberId(*joins)
                };
                locked(&desk.members).push(member);
                let since = SystemTime::now() - *locked(&desk.issued_ago);
                let operator = desk.for_operators.load(Ordering::Relaxed);
                let role = if operator { Role::Operator } else { Role::Agent };
                let issued = authority.issue(&attempt.public_key, role, member, since);
                attempt.admit(issued.expect("issued")).await;
            }
            Arrival::Member(link) => {
                locked(&desk.links).push(link.clone());
                let (desk, authority) = (desk.clone(), authority.clone());
                tokio::spawn(serve_member(link, authority, desk, tell.clone()));
            }
        }
    }
}

async fn serve_member(
    link: Link,
    authority: Arc<Authority>,
    desk: Arc<Desk>,
    tell: mpsc::Sender<(MemberId, FromAgent)>,
) {
    while let Ok(Some((open, mut sender, mut receiver))) = link.accept().await {
        match open {
            Open::Fetch { offset, .. } => {
                locked(&desk.fetched_from).push(offset);
                let bytes = sample::ROWS.len() as u64;
                sender.send(&Bulk::Here { bytes }).await.expect("sent");
                for chunk in sample::ROWS[offset as usize..].chunks(16) {
                    sender.send_chunk(chunk).await.expect("sent");
                }
                sender.finish().await.expect("finished");
            }
            Open::Agent => {
                let (link, tell) = (link.clone(), tell.clone());
                tokio::spawn(async move {
                    while let Ok(Some(message)) = receiver.receive::<FromAgent>().await {
                        for answer in answers(&message) {
                            sender.send(&answer).await.expect("sent");
                        }
                        if !matches!(message, FromAgent::Offer { .. } | FromAgent::Renew { .. }) {
                            tell.send((link.who().member, message)).await.expect("heard");
                        }
                    }
                    link.close("goodbye");
                });
            }
            Open::Renew => {
                let (key, member, now) = (link.public_key(), link.who().member, SystemTime::now());
                let certificate = authority.issue(&key, Role::Agent, member, now).expect("issued");
                sender.send(&Renewal::Renewed { certificate }).await.expect("sent");
                locked(&desk.renewals).push(member);
            }
            Open::Watch => {
                let alone = Leadership { term: 1, leader: None, addresses: Vec::new() };
                sender.send(&alone).await.expect("sent");
            }
            other => panic!("an agent opens no {other:?}"),
        }
    }
}

fn answers(message: &FromAgent) -> Vec<ToAgent> {
    let study = sample::study(sample::ROWS);
    match message {
        FromAgent::Register { .. } => {
            let lease = LeaseId { term: 1, counter: 1 };
            let trials = vec![TrialIndex(0), TrialIndex(1)];
            let registered = ToAgent::Registered { lease_ms: 15_000, keep: Vec::new() };
            vec![registered, ToAgent::Assign { lease, study: study.id(), version: 0, trials }]
        }
        FromAgent::NeedStudy { study: id } => {
            vec![ToAgent::Study { id: *id, version: 0, study: Box::new(study) }]
        }
        FromAgent::Reports { reports } => {
            let attempts = reports.iter().map(|report| report.attempt).collect();
            vec![ToAgent::Acknowledge { attempts }]
        }
        _ => Vec::new(),
    }
}

struct Agent {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), DriverError>>,
}

fn agent(dir: &Path, addresses: &[&str], token: Option<JoinToken>) -> Agent {
    let folder = Folder::claim(&dir.join("agent")).expect("free");
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let connector = LinkConnector::new(addresses, folder.path(), token).expect("readable");
    let settings = Settings {
        folder,
        shared: Vec::new(),
        device: Device::choose(Wanted::Cpu, 1.try_into().ok(), None).expect("a processor"),
        labels: Default::default(),
        host: "test".to_string(),
        grace: Duration::ZERO,
        ends: None,
        first_contact: Some(Duration::from_secs(20)),
        tell: Arc::new(|_| {}),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(run(settings, connector, Arc::new(Rows), async {
        let _ = stopped.await;
    }));
    Agent { stop, ended }
}

impl Agent {
    async fn leave(self) {
        self.stop.send(()).expect("running");
        self.ended.await.expect("no panic").expect("left as asked");
    }

    async fn refused(self) -> String {
        match timeout(Duration::from_secs(20), self.ended).await.expect("soon").expect("no panic") {
            Err(DriverError::Refused { why }) => why,
            other => panic!("refused expected, not {other:?}"),
        }
    }
}

/// Waits for the report of the sample's two trials.
async fn reported(cluster: &mut Cluster) -> MemberId {
    loop {
        if let (member, FromAgent::Reports { reports }) = cluster.hear().await {
            let detail = "6 rows".to_string();
            let ending = Ending::Failed { reason: FailReason::Error, detail };
            assert!(reports.iter().all(|report| report.ending == ending), "{reports:?}");
            assert_eq!(reports.len(), 2);
            return member;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_joins_by_token_fetches_the_data_trains_and_comes_back_without_the_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start();
    let address = cluster.address.clone();
    // Nothing listens at the first address: all are tried in turn.
    let first = agent(dir.path(), &["127.0.0.1:1", &address], Some(cluster.token()));
    assert_eq!(reported(&mut cluster).await, MemberId(1));
    first.leave().await;
    let cached = dir.path().join("agent/data").join(Digest::of(sample::ROWS).hex());
    assert_eq!(std::fs::read(cached).expect("cached"), sample::ROWS);

    let second = agent(dir.path(), &[&address], None);
    assert_eq!(reported(&mut cluster).await, MemberId(1));
    second.leave().await;
    assert_eq!(*locked(&cluster.desk.fetched_from), [0], "once, then from the cache");
    assert_eq!(*locked(&cluster.desk.joins), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_over_quic_goes_on_where_an_earlier_one_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start();
    let data = dir.path().join("agent/data");
    std::fs::create_dir_all(&data).expect("made");
    let part = data.join(format!("{}.part", Digest::of(sample::ROWS).hex()));
    std::fs::write(part, &sample::ROWS[..20]).expect("written");
    let agent = agent(dir.path(), &[&cluster.address], Some(cluster.token()));
    reported(&mut cluster).await;
    agent.leave().await;
    assert_eq!(*locked(&cluster.desk.fetched_from), [20]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_the_coordinator_refuses_ends_the_agent_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start();
    let token = JoinToken::mint(cluster.authority.hash()).expect("randomness");
    let secret = token.expose();
    let why = agent(dir.path(), &[&cluster.address], Some(token)).refused().await;
    assert!(why.contains("refused this token") && !why.contains(&secret), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_token_ends_the_agent_and_leaves_no_certificate() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start();
    cluster.desk.for_operators.store(true, Ordering::Relaxed);
    // Nothing listens at the second address: trying it would put the answer off.
    let addresses = [cluster.address.as_str(), "127.0.0.1:1"];
    let why = agent(dir.path(), &addresses, Some(cluster.token())).refused().await;
    assert!(why.contains("this token is for operators; make one for agents"), "{why}");
    assert!(Identity::load(&dir.path().join("agent")).expect("readable").is_none());
    assert_eq!(*locked(&cluster.desk.joins), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kept_certificate_of_an_operator_ends_the_agent_and_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = Cluster::start();
    cluster.desk.for_operators.store(true, Ordering::Relaxed);
    let addresses = [cluster.address.clone()];
    let token = cluster.token();
    let operator = link::join(&addresses, &token, dir.path()).await.expect("joined");
    let folder = dir.path().join("agent");
    std::fs::create_dir(&folder).expect("made");
    operator.save(&folder).expect("saved");
    let why = agent(dir.path(), &[&cluster.address], Some(cluster.token())).refused().await;
    assert!(why.contains("is for operators; give the agent its own with --folder"), "{why}");
    let kept = Identity::load(&folder).expect("readable").expect("kept");
    assert_eq!(kept.who().expect("named").role, Role::Operator);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_is_refused_until_a_new_token_admits_it_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start();
    let address = cluster.address.clone();
    let first = agent(dir.path(), &[&address], Some(cluster.token()));
    reported(&mut cluster).await;
    first.leave().await;
    locked(&cluster.desk.members).clear();

    let why = agent(dir.path(), &[&address], None).refused().await;
    assert!(why.contains("revoked"), "{why}");
    let again = agent(dir.path(), &[&address], Some(cluster.token()));
    assert_eq!(reported(&mut cluster).await, MemberId(2));
    again.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_about_to_end_is_renewed_and_connects_after_the_old_one_ended() {
    const LEFT: Duration = Duration::from_secs(6);
    let dir = tempfile::tempdir().expect("a folder");
    let mut cluster = Cluster::start();
    *locked(&cluster.desk.issued_ago) = link::limits::LEAF_VALID - LEFT;
    let began = Instant::now();
    let agent = agent(dir.path(), &[&cluster.address], Some(cluster.token()));
    reported(&mut cluster).await;
    let kept = || Identity::load(&dir.path().join("agent")).expect("readable").expect("kept");
    while kept().is_due(SystemTime::now()).expect("dated") {
        assert!(began.elapsed() < Duration::from_secs(20), "renewed in time");
        sleep(Duration::from_millis(20)).await;
    }
    sleep((LEFT + Duration::from_secs(1)).saturating_sub(began.elapsed())).await;
    let connections = locked(&cluster.desk.links).clone();
    connections.iter().for_each(|link| link.close("come back"));
    while locked(&cluster.desk.links).len() == connections.len() {
        assert!(began.elapsed() < Duration::from_secs(40), "connected again in time");
        sleep(Duration::from_millis(20)).await;
    }
    agent.leave().await;
    assert_eq!(*locked(&cluster.desk.renewals), [MemberId(1)], "once, and not when fresh");
    assert_eq!(*locked(&cluster.desk.joins), 1);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while it holds it")
}
