//! Replicas that find each other by name: started in any order, killed, and come back with empty disks.
//!
//! There is never a second cluster, whatever was lost and whoever was started first.
//!
//! Floor: wiring.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Asked, start_agent_in, told, write_study};
use crate::process::{Answer, Program, Running, Site, eventually, files_below};

/// Three coordinators that know each other's addresses and a secret, and nothing else.
struct Names {
    // Before the site, whose folder goes last.
    running: [Option<Running>; 3],
    site: Site,
    addresses: [String; 3],
}

/// One of them, to be asked.
struct At<'a>(&'a Names, usize);

impl Names {
    fn new() -> Self {
        let site = Site::new();
        site.run(Program::Coordinator, &["secret", "secrets"]).done();
        // Held together, so that they are three; free again when the coordinators take them.
        let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
        let addresses = sockets.map(|socket| socket.local_addr().expect("bound").to_string());
        Self { running: [None, None, None], site, addresses }
    }

    fn started(order: [usize; 3]) -> Self {
        let mut names = Self::new();
        order.into_iter().for_each(|at| names.begin(at));
        names.all_found();
        names
    }

    fn begin(&mut self, at: usize) {
        let (cluster, folder) = (self.addresses.join(","), folder(at));
        let me = &self.addresses[at];
        let arguments = [
            "start",
            "--data",
            &folder,
            "--listen",
            me,
            "--me",
            me,
            "--cluster",
            &cluster,
            "--secret-file",
            "secrets/cluster-secret",
            "--json",
        ];
        let running = self.site.spawn(Program::Coordinator, &arguments, &[]);
        self.running[at] = Some(running);
    }

    fn kill(&mut self, at: usize) {
        self.running[at].take().expect("it runs").kill();
    }

    /// SIGKILL, and its disk is lost.
    fn lose(&mut self, at: usize) {
        self.kill(at);
        fs::remove_dir_all(self.site.path(&folder(at))).expect("emptied");
    }

    fn told(&self, at: usize) -> Value {
        told(self.running[at].as_ref().expect("it runs"))
    }

    fn has_begun(&self, at: usize) -> bool {
        !self.running[at].as_ref().expect("it runs").stdout().is_empty()
    }

    /// Waits until the three are voters of one cluster and nobody else is a replica; its name.
    fn all_found(&self) -> String {
        let clusters = [0, 1, 2].map(|at| self.told(at)["cluster"].as_str().map(str::to_string));
        assert!(
            clusters.iter().all(|other| other.is_some() && *other == clusters[0]),
            "{clusters:?}"
        );
        eventually("three voters", || {
            let members = [0, 1, 2].map(|at| At(self, at).members());
            let whole = members.iter().all(|members| {
                members.as_ref().is_some_and(|members| members.len() == 3 && all_vote(members))
            });
            whole.then_some(())
        });
        clusters[0].clone().expect("asserted")
    }

    fn agent(&self, name: &str) -> Running {
        let token = fs::read_to_string(self.site.path("secrets/agent-token")).expect("made");
        let addresses = [0, 1, 2].map(|at| self.addresses[at].as_str());
        start_agent_in(&self.site, None, &addresses, token.trim(), name, &[])
    }
}

impl At<'_> {
    fn members(&self) -> Option<Vec<Value>> {
        let answer = self.run(&["members", "--json"]);
        let answer = answer.status.success().then(|| answer.json())?;
        answer["replicas"].as_array().cloned()
    }
}

impl Asked for At<'_> {
    fn run(&self, arguments: &[&str]) -> Answer {
        let folder = folder(self.1);
        self.0.site.run_with(Program::Coordinator, arguments, &[("SEEDSWEEP_DATA", &folder)])
    }
}

#[test]
fn three_that_are_started_in_any_order_are_one_cluster() {
    for order in [[0, 1, 2], [2, 1, 0]] {
        let names = Names::started(order);
        let agent = names.agent("agent");
        agent.says("joined as");
        let tokens = At(&names, 1).ask(&["token", "list"]);
        let labels = tokens["tokens"].as_array().expect("a list").iter();
        assert!(labels.clone().all(|token| token["label"] == "founding-secret"), "{tokens}");
        assert_eq!(labels.count(), 2);
    }
}

#[test]
fn any_replica_may_lose_its_disk_the_first_one_too_and_nothing_else_is_lost() {
    let mut names = Names::started([1, 0, 2]);
    let agent = names.agent("agent");
    agent.says("joined as");
    let cluster = names.told(0)["cluster"].clone();
    let study = At(&names, 2).submit(&write_study(&names.site, "kept", 10, LONG));
    At(&names, 2).reach(&study, 20);
    for lost in [0, 1, 0] {
        let before = names.told(lost)["replica"].clone();
        names.lose(lost);
        names.begin(lost);
        assert_eq!(names.told(lost)["cluster"], cluster, "it founded nothing");
        assert_ne!(
            names.told(lost)["replica"],
            before,
            "its votes of before are lost with its disk"
        );
        names.all_found();
    }
    At(&names, 0).finish(&study).is_whole();
    assert_eq!(At(&names, 0).outcomes(&study), At(&names, 1).outcomes(&study));
}

#[test]
fn an_empty_replica_that_does_not_reach_all_others_waits_even_when_it_is_the_first() {
    let mut names = Names::started([0, 1, 2]);
    let cluster = names.told(0)["cluster"].clone();
    // All at once: of the first the disk is lost, and the others are away.
    names.lose(0);
    names.kill(1);
    names.kill(2);
    names.begin(0);
    names.running[0].as_ref().expect("it runs").says("no cluster found yet");
    // Started anew and again: nobody answers, so nothing is founded, however long it takes.
    stays_without_a_cluster(&names, 0);
    // The second one alone has no majority; that it has a cluster is enough to know.
    names.begin(1);
    names.running[0].as_ref().expect("it runs").says("has a cluster, without a leader");
    stays_without_a_cluster(&names, 0);
    names.begin(2);
    assert_eq!(names.told(0)["cluster"], cluster);
    names.all_found();
}

#[test]
fn one_that_is_killed_while_it_looks_or_joins_comes_to_the_same_cluster() {
    let mut names = Names::new();
    names.begin(0);
    names.running[0].as_ref().expect("it runs").says("no cluster found yet");
    names.kill(0);
    [1, 2, 0].into_iter().for_each(|at| names.begin(at));
    // Between being let in and being a replica.
    eventually("a certificate", || names.site.path(&folder(2)).join("peer").exists().then_some(()));
    names.kill(2);
    names.begin(2);
    names.all_found();
}

#[test]
fn all_disks_lost_is_a_new_cluster_and_a_stranger_to_the_old_one() {
    let mut names = Names::started([0, 1, 2]);
    let old = names.told(0)["cluster"].clone();
    (0..3).for_each(|at| names.lose(at));
    (0..3).for_each(|at| names.begin(at));
    assert_ne!(names.all_found(), old);
}

#[test]
fn who_has_another_secret_or_only_the_agents_token_is_no_replica_and_no_log_has_either() {
    let names = Names::started([0, 1, 2]);
    let (site, address) = (&names.site, names.addresses[0].as_str());
    site.run(Program::Coordinator, &["secret", "other"]).done();
    let start = |further: &[&str]| {
        let mut arguments = vec!["start", "--data", "stranger", "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        site.run(Program::Coordinator, &arguments)
    };
    let list = format!("127.0.0.1:1,{address}");
    let other =
        ["--cluster", &list, "--me", "127.0.0.1:1", "--secret-file", "other/cluster-secret"];
    let said = start(&other).failed(1);
    assert!(said.contains("another cluster"), "{said}");
    let said = start(&["--join", address, "--token-file", "secrets/agent-token"]).failed(1);
    assert!(said.contains("this token is for agents"), "{said}");

    let agent = names.agent("agent");
    agent.says("joined as");
    let secrets = ["secrets/cluster-secret", "secrets/agent-token"].map(|path| {
        let text = fs::read_to_string(site.path(path)).expect("made");
        text.trim().rsplit('.').next().expect("some parts").to_string()
    });
    for (path, bytes) in files_below(&site.path("words")) {
        let words = String::from_utf8_lossy(&bytes);
        assert!(!secrets.iter().any(|secret| words.contains(secret)), "{}", path.display());
    }
}

#[test]
fn what_cannot_be_a_cluster_by_name_is_refused_in_words() {
    let site = Site::new();
    site.run(Program::Coordinator, &["secret", "secrets"]).done();
    let again = site.run(Program::Coordinator, &["secret", "secrets", "--json"]).done().json();
    assert_eq!(again["new"], false, "a secret is never written over: {again}");
    assert_eq!(mode(&site.path("secrets/cluster-secret")), 0o600);
    assert_eq!(mode(&site.path("secrets/agent-token")), 0o600);
    let start = |further: &[&str]| {
        let mut arguments = vec!["start", "--data", "data", "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        site.run(Program::Coordinator, &arguments)
    };
    let secret = "secrets/cluster-secret";
    let with =
        |cluster, me, file| start(&["--cluster", cluster, "--me", me, "--secret-file", file]);
    let said = with("a:1,b:1", "c:1", secret).failed(1);
    assert!(said.contains("spell it as there"), "{said}");
    let said = with("a:1,b:1,a:1", "b:1", secret).failed(1);
    assert!(said.contains("a:1 twice"), "{said}");
    let said = with("a:1,b:1", "b:1", "secrets/agent-token").failed(1);
    assert!(said.contains("there is no founding secret in it"), "{said}");
    let token = fs::read_to_string(site.path("secrets/agent-token")).expect("made");
    assert!(!said.contains(token.trim()), "no secret is shown");
    start(&["--cluster", "a:1,b:1", "--me", "a:1"]).failed(2);
    let said = start(&["--cluster", "a:1,b:1", "--secret-file", secret]).failed(1);
    assert!(said.contains("this machine's name"), "{said}");
}

fn stays_without_a_cluster(names: &Names, at: usize) {
    let began = Instant::now();
    while began.elapsed() < LOOKED_FOR {
        assert!(!names.has_begun(at), "it must not found or join without a majority");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn all_vote(members: &[Value]) -> bool {
    let votes = |role: &Value| role == "leader" || role == "follower";
    members.iter().all(|replica| votes(&replica["role"]))
}

fn folder(at: usize) -> String {
    format!("data-{at}")
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).expect("made").permissions().mode() & 0o777
}

/// Epochs of a trial of some twenty milliseconds.
const LONG: u32 = 600;
/// Some rounds of asking.
const LOOKED_FOR: Duration = Duration::from_secs(4);
