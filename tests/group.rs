//! Several coordinators of one cluster as processes, each with a data folder of its own; and agents.
//!
//! On loopback, or each process in a network namespace. Deliberately absent: what a test asks of
//! them; see [`Asked`].
//!
//! Floor: wiring.

use std::path::PathBuf;
use std::process::ExitStatus;

use serde_json::Value;

use crate::cluster::{Asked, start_agent_in, told};
use crate::process::{Answer, Program, Running, Site, eventually};

/// The replicas of one cluster.
pub struct Group {
    // Before the site, whose folder goes last.
    pub replicas: Vec<Replica>,
    pub site: Site,
    /// For agents.
    pub token: String,
    /// Every coordinator is started with these.
    pub further: Vec<String>,
}

/// One coordinator, running or not.
pub struct Replica {
    /// Its folder, which need not be what the cluster calls it.
    pub name: String,
    pub address: String,
    /// What the cluster calls it.
    pub id: String,
    pub netns: Option<String>,
    pub running: Option<Running>,
}

/// A replica of a group, to be asked.
#[derive(Clone, Copy)]
pub struct At<'a> {
    site: &'a Site,
    replica: &'a Replica,
}

/// Where a process is started.
#[derive(Clone, Debug)]
pub struct Place {
    pub netns: Option<String>,
    pub listen: String,
}

impl Place {
    pub fn loopback() -> Self {
        Self { netns: None, listen: "127.0.0.1:0".to_string() }
    }
}

impl Group {
    /// So many replicas on loopback that all vote; the first one leads.
    pub fn start(replicas: usize) -> Self {
        Self::start_with(replicas, &[])
    }

    pub fn start_with(replicas: usize, further: &[&str]) -> Self {
        let mut group = Self::found(Site::new(), Place::loopback(), further);
        for _ in 1..replicas {
            group.join(0, Place::loopback());
        }
        group.all_vote();
        group
    }

    /// Three replicas and two agents end a study that `write` writes; the leader is killed when so many of its
    /// trials are complete. Gives who leads at the end, and the study.
    pub fn outliving_a_leader(
        write: impl FnOnce(&Site) -> PathBuf,
        complete: u64,
    ) -> (Self, usize, String) {
        let mut group = Self::start(3);
        let _agents = [group.agent("one", &[0, 1, 2]), group.agent("two", &[2, 1, 0])];
        let path = write(&group.site);
        let study = group.at(0).submit(&path);
        group.at(0).reach(&study, complete);
        let leader = group.leader();
        group.kill(leader);
        let next = group.leader();
        group.at(next).finish(&study);
        (group, next, study)
    }

    /// A cluster of one replica.
    pub fn found(site: Site, place: Place, further: &[&str]) -> Self {
        let further = further.iter().map(ToString::to_string).collect();
        let mut group = Self { replicas: Vec::new(), site, token: String::new(), further };
        let told = group.add("first", place, &[], &[]);
        group.token = told["token"].as_str().expect("a token").to_string();
        group
    }

    /// A further replica, which is told the address of replica `via`; its place in `replicas`.
    pub fn join(&mut self, via: usize, place: Place) -> usize {
        let token = self.peer_token(via);
        let name = format!("replica-{}", self.replicas.len());
        let address = self.replicas[via].address.clone();
        self.add(&name, place, &["--join", &address], &[("SEEDSWEEP_PEER_TOKEN", &token)]);
        self.replicas.len() - 1
    }

    /// A token that makes one replica.
    pub fn peer_token(&self, at: usize) -> String {
        let made = self.at(at).ask(&["token", "create", "--role", "peer", "--uses", "1"]);
        made["token"].as_str().expect("a token").to_string()
    }

    /// Starts a coordinator in the folder `name`; what it told.
    pub fn add(
        &mut self,
        name: &str,
        place: Place,
        further: &[&str],
        env: &[(&str, &str)],
    ) -> Value {
        let Place { netns, listen } = place;
        let running = self.spawn(netns.as_deref(), name, &listen, further, env);
        let told = told(&running);
        let text = |key: &str| told[key].as_str().expect("text").to_string();
        let (name, address, id) = (name.to_string(), text("address"), text("replica"));
        self.replicas.push(Replica { name, address, id, netns, running: Some(running) });
        told
    }

    fn spawn(
        &self,
        netns: Option<&str>,
        name: &str,
        listen: &str,
        further: &[&str],
        env: &[(&str, &str)],
    ) -> Running {
        let mut arguments = vec!["start", "--data", name, "--listen", listen, "--json"];
        arguments.extend(self.further.iter().map(String::as_str));
        arguments.extend(further);
        self.site.spawn_in(netns, Program::Coordinator, &arguments, env)
    }

    /// SIGKILL.
    pub fn kill(&mut self, at: usize) {
        self.replicas[at].running.take().expect("it runs").kill();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(&mut self, at: usize) -> ExitStatus {
        let mut running = self.replicas[at].running.take().expect("it runs");
        running.signal("TERM");
        running.ends()
    }

    /// Starts a coordinator that was killed or stopped, as a service would: it is not waited for.
    pub fn begin_again(&mut self, at: usize) {
        let Replica { name, address, netns, .. } = &self.replicas[at];
        let running = self.spawn(netns.as_deref(), name, address, &[], &[]);
        self.replicas[at].running = Some(running);
    }

    /// Starts it again and waits until it listens.
    pub fn start_again(&mut self, at: usize) {
        self.begin_again(at);
        told(self.replicas[at].running.as_ref().expect("it runs"));
    }

    /// One replica, to be asked.
    pub fn at(&self, at: usize) -> At<'_> {
        At { site: &self.site, replica: &self.replicas[at] }
    }

    /// The replicas that run.
    pub fn up(&self) -> impl Iterator<Item = usize> {
        (0..self.replicas.len()).filter(|at| self.replicas[*at].running.is_some())
    }

    /// Waits until one that runs says of one that runs that it leads.
    pub fn leader(&self) -> usize {
        eventually("a leader", || self.up().find_map(|at| self.leader_by(at)))
    }

    /// Who leads, by the word of one replica.
    pub fn leader_by(&self, at: usize) -> Option<usize> {
        let members = self.at(at).members()?;
        let leads = members.iter().find(|replica| replica["role"] == "leader")?;
        self.up().find(|other| self.replicas[*other].id == leads["replica"])
    }

    /// Waits until every running replica is a voter of whom the leader has heard lately.
    pub fn all_vote(&self) {
        eventually("votes for all replicas", || {
            let leader = self.up().find_map(|at| self.leader_by(at))?;
            let members = self.at(leader).members()?;
            let votes = |at: usize| {
                members.iter().any(|replica| {
                    let votes = replica["role"] == "leader" || replica["role"] == "follower";
                    let heard = replica["silent_ms"].as_u64().is_some_and(|ms| ms < HEARD_MS);
                    replica["replica"] == self.replicas[at].id && votes && heard
                })
            };
            self.up().all(votes).then_some(())
        })
    }

    /// An agent of one thread in the folder `name`, given the addresses of some replicas, which has
    /// joined.
    pub fn agent(&self, name: &str, told: &[usize]) -> Running {
        let agent = self.begin_agent(None, name, told);
        agent.says("joined as");
        agent
    }

    /// An agent that may not have joined yet.
    pub fn begin_agent(&self, netns: Option<&str>, name: &str, told: &[usize]) -> Running {
        let addresses: Vec<&str> =
            told.iter().map(|at| self.replicas[*at].address.as_str()).collect();
        start_agent_in(&self.site, netns, &addresses, &self.token, name, &[])
    }
}

impl At<'_> {
    /// The replicas, as this one knows them; `None` when it answers nothing.
    pub fn members(self) -> Option<Vec<Value>> {
        let answer = self.run(&["members", "--json"]);
        let answer = answer.status.success().then(|| answer.json())?;
        answer["replicas"].as_array().cloned()
    }
}

impl Asked for At<'_> {
    fn run(&self, arguments: &[&str]) -> Answer {
        let Self { site, replica } = self;
        let env = [("SEEDSWEEP_DATA", replica.name.as_str())];
        site.run_in(replica.netns.as_deref(), Program::Coordinator, arguments, &env)
    }
}

/// Replicas say how they are every second.
const HEARD_MS: u64 = 3_000;
