//! A network of its own for each process: namespaces around a bridge that loses what it is told to.
//!
//! What is lost is lost in the bridge, as in a real switch: no process notices that it cannot send.
//! Everything goes when this is dropped, and what an earlier test left behind goes first. Absent:
//! delay and reordering, which many kernels cannot give.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::process::Command;

use crate::group::Place;
use crate::process::run;

/// The namespaces of one test. Without the right to make them: everything on loopback.
pub struct Network {
    /// What the names of the namespaces begin with; absent on loopback.
    prefix: Option<String>,
    hosts: Vec<String>,
    losses: BTreeMap<u64, Loss>,
    next: u64,
}

/// What the bridge loses.
#[derive(Clone, Debug)]
pub enum Loss {
    /// All that comes from a host.
    From(String),
    /// All that goes to a host.
    To(String),
    /// Both ways.
    All(String),
    /// Three of ten packets, both ways.
    Part(String),
    /// All between two hosts.
    Between(String, String),
}

impl Network {
    /// Makes the bridge, or says why there is none.
    pub fn new() -> Self {
        let mut network = Self::on_loopback();
        let prefix = format!("{PREFIX}{}", std::process::id());
        match remove_left_behind().and_then(|()| make_bridge(&prefix)) {
            Ok(()) => network.prefix = Some(prefix),
            Err(why) => {
                remove(&prefix);
                println!("no network namespaces ({why}): all on loopback, nothing is cut off");
            }
        }
        network
    }

    pub fn on_loopback() -> Self {
        Self { prefix: None, hosts: Vec::new(), losses: BTreeMap::new(), next: 0 }
    }

    /// Whether packets can be lost here.
    pub fn can_lose(&self) -> bool {
        self.prefix.is_some()
    }

    /// A further host, and where a process on it listens.
    pub fn host(&mut self, name: &str) -> Place {
        let Some(prefix) = &self.prefix else { return Place::loopback() };
        let (hub, host) = (format!("{prefix}-hub"), format!("{prefix}-{name}"));
        let address = format!("10.77.0.{}", self.hosts.len() + 1);
        let port = port_of(name);
        let steps = [
            format!("netns add {host}"),
            format!("-n {host} link set lo up"),
            format!("-n {host} link add eth0 type veth peer name {port} netns {hub}"),
            format!("-n {host} address add {address}/24 dev eth0"),
            format!("-n {host} link set eth0 up"),
            format!("-n {hub} link set {port} master bridge up"),
        ];
        steps.iter().for_each(|step| ip(step).expect("the first host's network could be made"));
        self.hosts.push(name.to_string());
        Place { netns: Some(host), listen: format!("{address}:{}", link::PORT) }
    }

    /// Begins to lose something, until [`Network::heal`] with what is returned.
    pub fn lose(&mut self, loss: Loss) -> u64 {
        self.next += 1;
        self.losses.insert(self.next, loss);
        self.tell_bridge();
        self.next
    }

    pub fn heal(&mut self, loss: u64) {
        if self.losses.remove(&loss).is_some() {
            self.tell_bridge();
        }
    }

    pub fn heal_all(&mut self) {
        self.losses.clear();
        self.tell_bridge();
    }

    /// All rules at once: there is no moment between the old ones and the new.
    fn tell_bridge(&self) {
        let Some(prefix) = &self.prefix else { return };
        let rules: Vec<String> = self.losses.values().flat_map(rules).collect();
        let text = format!(
            "flush table bridge chaos\ntable bridge chaos {{\n chain forward {{\n{}\n }}\n}}\n",
            rules.join("\n")
        );
        nft(&format!("{prefix}-hub"), &text).expect("the bridge takes rules");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.prefix.iter().for_each(|prefix| remove(prefix));
    }
}

fn rules(loss: &Loss) -> Vec<String> {
    let from = |name: &str| format!("iifname {}", port_of(name));
    let to = |name: &str| format!("oifname {}", port_of(name));
    let conditions = match loss {
        Loss::From(name) => vec![from(name)],
        Loss::To(name) => vec![to(name)],
        Loss::All(name) => vec![from(name), to(name)],
        Loss::Part(name) => {
            [from(name), to(name)].map(|way| format!("{way} numgen random mod 10 < 3")).to_vec()
        }
        Loss::Between(one, other) => {
            vec![format!("{} {}", from(one), to(other)), format!("{} {}", from(other), to(one))]
        }
    };
    conditions.into_iter().map(|condition| format!("  {condition} drop")).collect()
}

fn make_bridge(prefix: &str) -> Result<(), String> {
    let hub = format!("{prefix}-hub");
    ip(&format!("netns add {hub}"))?;
    ip(&format!("-n {hub} link add bridge type bridge"))?;
    ip(&format!("-n {hub} link set bridge up"))?;
    nft(
        &hub,
        "table bridge chaos {\n chain forward {\n  type filter hook forward priority 0\n }\n}\n",
    )
}

/// The bridge's port of a host; such names are short.
fn port_of(name: &str) -> String {
    format!("to-{name}")
}

/// Namespaces of tests that were killed.
fn remove_left_behind() -> Result<(), String> {
    let list = run(Command::new("ip").args(["netns", "list"]), "")?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| name.starts_with(PREFIX)) {
        let owner = name[PREFIX.len()..].split('-').next().unwrap_or_default();
        if !std::path::Path::new("/proc").join(owner).exists() {
            ip(&format!("netns delete {name}"))?;
        }
    }
    Ok(())
}

fn remove(prefix: &str) {
    let list = run(Command::new("ip").args(["netns", "list"]), "").unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    for name in names.filter(|name| name.starts_with(&format!("{prefix}-"))) {
        let _ = ip(&format!("netns delete {name}"));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    run(Command::new("ip").args(arguments.split(' ')), "").map(drop)
}

fn nft(netns: &str, text: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "nft", "-f", "-"]);
    run(&mut command, text).map(drop)
}

const PREFIX: &str = "seedsweep-";
