//! What monitors and probes are told over HTTP, by real coordinators; and that what `deploy/` ships
//! for them names what there is.
//!
//! Floor: wiring.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Asked, told, write_study};
use crate::group::Group;
use crate::openmetrics::Scrape;
use crate::process::{Program, eventually};

#[test]
fn numbers_are_those_of_status_and_members_and_every_name_is_documented() {
    let group = Group::start_with(2, &["--http", "0"]);
    let _agent = group.agent("one", &[0]);
    let first = group.at(0).submit(&write_study(&group.site, "first", 2, SHORT));
    group.at(0).finish(&first).is_whole();
    let second = group.at(0).submit(&write_study(&group.site, "second", 100, LONG));
    group.at(0).reach(&second, 4);
    group.at(0).run(&["pause", &second]).done();
    eventually("an agent without work", || {
        let status = group.at(0).status(&second);
        (status.leased == 0).then_some(())
    });
    let refused = refused_join(&group);

    let page = get(&http(&group, 0), "/metrics");
    assert!(page.head.contains("application/openmetrics-text; version=1.0.0"), "{}", page.head);
    assert!(!page.body.contains(&group.token) && !page.body.contains(&refused), "no secret");
    let scrape = Scrape::read(&page.body);
    let list = group.at(0).ask(&["list", "--fresh"]);
    studies_are(&scrape, &list);
    members_are(&scrape, &group);
    let accepted = scrape.one("seedsweep_outcomes_accepted_total");
    let complete: u64 = studies(&list).iter().map(|s| s["complete"].as_u64().unwrap()).sum();
    assert_eq!(accepted, complete as f64);
    assert_eq!(scrape.one("seedsweep_agents_connected"), 1.0);
    assert_eq!(scrape.one("seedsweep_agents_admitted"), 1.0);
    let offered = scrape.one("seedsweep_lanes_offered");
    assert!(offered >= scrape.one("seedsweep_lanes"), "a cohort may wait behind each: {offered}");
    assert!(scrape.one("seedsweep_commit_seconds_count") >= 4.0);
    assert!(scrape.one("seedsweep_disk_write_seconds_count") >= 4.0);
    assert!(scrape.one("seedsweep_leases_granted_total") >= 10.0, "40 trials in cohorts of 4");
    assert!(scrape.one("seedsweep_tokens_refused_total") >= 1.0);
    let cause = [("cause", "token")];
    assert!(scrape.labelled("seedsweep_connections_refused_total", &cause) >= 1.0);
    assert!(scrape.one("process_resident_memory_bytes") > 1e6);
    assert_eq!(scrape.one("seedsweep_data_files"), 1.0, "both studies have the same rows");

    // A follower tells the same of what is in the log, and nothing of what only the leader counts.
    let follower = Scrape::read(&get(&http(&group, 1), "/metrics").body);
    studies_are(&follower, &list);
    assert_eq!(follower.one("seedsweep_outcomes_accepted_total"), 0.0);
    assert_eq!(follower.labelled("seedsweep_replica_role", &[("role", "follower")]), 1.0);
    documented(&scrape);
}

#[test]
fn a_replica_without_a_majority_is_alive_and_not_ready() {
    let mut group = Group::start_with(3, &["--http", "0"]);
    let probe = |group: &Group, path: &str| get(&http(group, 2), path);
    eventually("a replica that is ready", || {
        (probe(&group, "/readyz").status == 200).then_some(())
    });
    assert_eq!(probe(&group, "/readyz").body, "ready\n");

    [0, 1].into_iter().for_each(|at| group.kill(at));
    let unready = eventually("a replica that is not ready", || {
        Some(probe(&group, "/readyz")).filter(|answer| answer.status == 503)
    });
    assert!(unready.body.contains("a majority of the replicas"), "{}", unready.body);
    let alive = probe(&group, "/healthz");
    assert_eq!((alive.status, alive.body.as_str()), (200, "alive\n"));
    let scrape = Scrape::read(&probe(&group, "/metrics").body);
    assert_eq!(scrape.one("seedsweep_replica_ready"), 0.0);
    assert_eq!(scrape.one("seedsweep_replica_leader_known"), 0.0);

    group.start_again(0);
    eventually("a majority", || (probe(&group, "/readyz").status == 200).then_some(()));
}

#[test]
fn who_is_slow_or_comes_too_often_or_wants_to_write_is_sent_away() {
    let group = Group::start_with(1, &["--http", "0"]);
    let at = http(&group, 0);
    assert_eq!(request(&at, "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n").body, "");
    for (text, status) in [
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        ("DELETE /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("GET /../lock HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ] {
        assert_eq!(request(&at, text).status, status, "{text}");
    }
    let long = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nLong: {}\r\n\r\n", "x".repeat(20_000));
    // What it does not read of a request may cost the sender the answer.
    assert!([0, 431].contains(&request(&at, &long).status));

    // As many as there are places, each of which says nothing more.
    let began = Instant::now();
    let slow: Vec<TcpStream> = (0..PLACES)
        .map(|_| {
            let mut stream = TcpStream::connect(&at).expect("connected");
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost").expect("sent");
            stream
        })
        .collect();
    eventually("a connection that finds no place", || {
        (request(&at, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status == 0).then_some(())
    });
    eventually("a place", || (get(&at, "/healthz").status == 200).then_some(()));
    assert!(began.elapsed() < SLOW_WITHIN, "{:?}", began.elapsed());
    drop(slow);
    assert!(group.at(0).members().is_some());
}

#[test]
fn a_coordinator_serves_no_http_unless_it_is_asked_to() {
    let group = Group::start(1);
    let running = group.replicas[0].running.as_ref().expect("it runs");
    assert_eq!(told(running)["http"], Value::Null);
    let fds = fs::read_dir(format!("/proc/{}/fd", running.id())).expect("it runs");
    let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let own: BTreeSet<PathBuf> = links.collect();
    let tcp = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let listening = tcp.lines().skip(1).filter(|line| line.split_whitespace().nth(3) == Some("0A"));
    let sockets = listening.filter_map(|line| line.split_whitespace().nth(9));
    for inode in sockets {
        assert!(!own.contains(Path::new(&format!("socket:[{inode}]"))), "it listens on TCP");
    }
}

struct Answer {
    /// 0: there was none.
    status: u16,
    head: String,
    body: String,
}

fn get(at: &str, path: &str) -> Answer {
    request(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n"))
}

fn request(at: &str, text: &str) -> Answer {
    let mut answer = Vec::new();
    if let Ok(mut stream) = TcpStream::connect(at) {
        // Who is sent away may not take all of it.
        let _ = stream.write_all(text.as_bytes());
        let _ = stream.read_to_end(&mut answer);
    }
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_string(), body: body.to_string() }
}

/// Where a replica serves HTTP.
fn http(group: &Group, at: usize) -> String {
    let running = group.replicas[at].running.as_ref().expect("it runs");
    told(running)["http"].as_str().expect("an address").to_string()
}

/// Somebody joins with a token that was revoked; its text.
fn refused_join(group: &Group) -> String {
    let made = group.at(0).ask(&["token", "create", "--label", "stranger"]);
    let token = made["token"].as_str().expect("a token");
    let list = group.at(0).ask(&["token", "list"]);
    let listed = list["tokens"].as_array().expect("a list").iter();
    let own = listed.into_iter().find(|listed| listed["label"] == "stranger").expect("listed");
    group.at(0).run(&["token", "revoke", own["id"].as_str().expect("an id")]).done();
    let address = &group.replicas[0].address;
    let join = ["join", address, "--folder", "stranger", "--token", token, "--wait", "2s"];
    assert!(!group.site.run(Program::Agent, &join).status.success());
    token.to_string()
}

fn studies(list: &Value) -> &Vec<Value> {
    list["studies"].as_array().expect("a list")
}

/// The numbers of studies are those that `list --json` tells.
fn studies_are(scrape: &Scrape, list: &Value) {
    for state in ["active", "paused", "finished", "cancelled"] {
        let count = studies(list).iter().filter(|study| study["state"] == state).count();
        assert_eq!(scrape.labelled("seedsweep_studies", &[("state", state)]), count as f64);
    }
    for state in ["waiting", "leased", "complete", "failed", "cancelled"] {
        let of = |study: &Value| study[state].as_u64().expect("a number") as f64;
        let all: f64 = studies(list).iter().map(of).sum();
        assert_eq!(scrape.labelled("seedsweep_trials", &[("state", state)]), all, "{state}");
        for study in studies(list).iter().filter(|study| study["state"] == "paused") {
            let (name, id) = (study["name"].as_str().unwrap(), study["id"].as_str().unwrap());
            let labels = [("study", name), ("id", id), ("state", state)];
            assert_eq!(scrape.labelled("seedsweep_study_trials", &labels), of(study), "{state}");
        }
    }
}

/// The numbers of the leader are those that `members --json` tells of it.
fn members_are(scrape: &Scrape, group: &Group) {
    let members = group.at(0).members().expect("an answer");
    let own = members.iter().find(|member| member["role"] == "leader").expect("a leader");
    assert_eq!(scrape.one("seedsweep_replica_term"), own["term"].as_f64().unwrap());
    assert_eq!(scrape.one("seedsweep_replica_commit_index"), own["commit"].as_f64().unwrap());
    assert_eq!(scrape.one("seedsweep_replica_lag_entries"), 0.0);
    assert_eq!(scrape.one("seedsweep_cluster_replicas"), members.len() as f64);
    assert_eq!(scrape.labelled("seedsweep_replica_role", &[("role", "leader")]), 1.0);
    assert_eq!(scrape.one("seedsweep_replica_ready"), 1.0);
}

/// The table of names is complete, and the dashboard and the alerts ask for names that exist.
fn documented(scrape: &Scrape) {
    let readme = shipped("README.md");
    // Another table has the paths.
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter(|row| !row.starts_with('/'));
    let table: BTreeSet<String> =
        rows.filter_map(|row| Some(row.split(['`', '{']).next()?.to_string())).collect();
    assert_eq!(table, scrape.documented(), "deploy/monitoring/README.md");
    let dashboard: Value = serde_json::from_str(&shipped("grafana.json")).expect("JSON");
    let mut queries = Vec::new();
    expressions(&dashboard, &mut queries);
    assert!(queries.len() >= 10, "{queries:?}");
    let rules = shipped("alerts.yml");
    let known = scrape.names();
    for text in queries.iter().map(String::as_str).chain([rules.as_str()]) {
        for name in metrics_in(text) {
            let histogram = name.trim_end_matches("_bucket");
            assert!(known.contains(&name) || known.contains(histogram), "{name} in {text}");
        }
    }
    assert!(metrics_in(&rules).len() >= 5, "{rules}");
}

fn shipped(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| expressions(value, found)),
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "expr" || key == "query" => {
                        found.push(text.clone());
                    }
                    value => expressions(value, found),
                }
            }
        }
        _ => {}
    }
}

fn metrics_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| {
        // A name of ours has further parts; `seedsweep_rules` and the like would be found out.
        (word.starts_with("seedsweep_") || word.starts_with("process_")) && word.len() > 10
    });
    ours.map(str::to_string).collect()
}

/// Epochs of a trial of a millisecond, and of a longer one.
const SHORT: u32 = 20;
const LONG: u32 = 600;
/// Connections that a coordinator serves at once.
const PLACES: usize = 32;
/// A connection is given ten seconds, and machines that test are slow.
const SLOW_WITHIN: Duration = Duration::from_secs(60);
