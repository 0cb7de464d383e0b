//! Killed processes: no acknowledged outcome is lost, no trial is forgotten or trained in vain.
//!
//! Every kill is SIGKILL and meets a study in its middle, or the test says that it did not.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use agent::spool::{Recovered, Spool};
use common::table::{Table, Values};
use common::trial::Ending;
use serde_json::Value;

use crate::cluster::{Asked, Cluster, DATA, outcomes, start_agent, write_study};
use crate::process::{Program, Site, eventually};
use crate::small_disk::SmallDisk;

#[test]
fn a_coordinator_killed_again_and_again_keeps_every_outcome() {
    let mut cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "killed", 20, LONG));
    let _agents = ["one", "two"].map(|name| cluster.agent(name));
    for complete in [60, 140, 220] {
        cluster.reach(&study, complete);
        let before = cluster.outcomes(&study);
        cluster = cluster.kill().start_again();
        let after = cluster.outcomes(&study);
        let kept = before.iter().all(|(trial, digest)| after.get(trial) == Some(digest));
        assert!(kept, "{} outcomes before the kill, {} after", before.len(), after.len());
    }
    let last = cluster.finish(&study);
    last.is_whole();
    assert_eq!(cluster.outcomes(&study).len() as u64, last.planned);
}

#[test]
fn agents_are_back_before_they_could_have_missed_the_coordinator() {
    let cluster = Cluster::start();
    let agent = cluster.agent("one");
    let cluster = cluster.kill().start_again();
    let began = Instant::now();
    eventually("the agent's return", || {
        let agents = cluster.ask(&["agents"]);
        (agents["agents"][0]["connected"] == true).then_some(())
    });
    assert!(began.elapsed() < IDLE, "{:?}", began.elapsed());
    assert_eq!(agent.stderr().matches("joined as").count(), 2);
}

#[test]
fn trials_of_a_killed_agent_go_to_another_within_the_lease() {
    let cluster = Cluster::start_at(Site::new(), "3s");
    let study = cluster.submit(&write_study(&cluster.site, "orphans", 20, LONG));
    let [doomed, _other] = ["doomed", "other"].map(|name| cluster.agent(name));
    cluster.reach(&study, 40);
    eventually("a lease of the doomed agent", || {
        (agents(&cluster)["doomed"]["leased"].as_u64() > Some(0)).then_some(())
    });
    doomed.kill();
    let killed = Instant::now();
    eventually("the end of its leases", || {
        (agents(&cluster)["doomed"]["leased"].as_u64() == Some(0)).then_some(())
    });
    assert!(killed.elapsed() < LEASE_AND_SWEEP, "{:?}", killed.elapsed());

    let last = cluster.finish(&study);
    last.is_whole();
    let complete = |name: &str| agents(&cluster)[name]["complete"].as_u64().expect("a count");
    assert_eq!(complete("doomed") + complete("other"), last.planned);
    let lost = &cluster.ask(&["status", &study])["studies"][0]["failures"];
    assert!(lost["agent lost"].as_u64() > Some(0), "{lost}");
}

#[test]
fn outcomes_wait_in_the_spool_for_a_coordinator() {
    let (cluster, study) = interrupted_study();
    let _agent = cluster.agent("one");
    cluster.reach(&study, 20);
    let dead = cluster.kill();
    let spooled = spooled_outcomes(&dead.site);

    let cluster = dead.start_again();
    cluster.finish(&study).is_whole();
    assert_are_the_exported(&spooled, &cluster.export(&study));
}

#[test]
fn outcomes_in_the_spool_outlive_the_agent_too() {
    let (cluster, study) = interrupted_study();
    let agent = cluster.agent("one");
    cluster.reach(&study, 20);
    let dead = cluster.kill();
    let spooled = spooled_outcomes(&dead.site);
    agent.kill();

    let cluster = dead.start_again();
    let agent = start_agent(&cluster.site, &cluster.address, &cluster.token, "one", &[]);
    agent.says(&format!("found {} outcomes to report", spooled.len()));
    cluster.finish(&study).is_whole();
    assert_are_the_exported(&spooled, &cluster.export(&study));
}

#[test]
fn a_run_killed_in_its_middle_ends_as_if_it_had_not_been() {
    let site = Site::new();
    let study = write_study(&site, "alone", 20, LONG);
    let study = study.to_str().expect("text");
    let run = ["run", study, "--out", "killed", "--threads", "1", "--json"];
    let running = site.spawn(Program::Coordinator, &run, &[]);
    let spool = site.path("killed/.seedsweep/agent/spool.log");
    let waiting = || recovered(&spool).map(|left| left.reports);
    let first = eventually("an outcome", || waiting()?.into_iter().next());
    eventually("its acknowledgement", || (!waiting()?.contains(&first)).then_some(()));
    running.kill();

    let again = site.run(Program::Coordinator, &run).done().json();
    let counts = ["complete", "failed"].map(|key| again[key].as_u64().expect("a count"));
    assert_eq!(counts, [400, 0]);
    let trained = again["trained"].as_u64().expect("a count");
    assert!(trained < 400, "nothing of the first run was kept");
    let whole = ["run", study, "--out", "whole", "--json"];
    site.run(Program::Coordinator, &whole).done();
    let [killed, whole] = ["killed", "whole"].map(|out| {
        let bytes = fs::read(site.path(out).join("trials.parquet")).expect("written");
        outcomes(&Table::read(common::study::Format::Parquet, &bytes).expect("a table"))
    });
    assert_eq!(killed, whole);
}

#[test]
fn a_coordinator_without_room_says_so_and_goes_on_when_there_is_some() {
    let site = Site::new();
    let Some(disk) = SmallDisk::at(&site.path(DATA)) else { return };
    let cluster = Cluster::start_at(site, "15s");
    let study = cluster.submit(&write_study(&cluster.site, "full", 15, LONG));
    let _agent = cluster.agent("one");
    cluster.reach(&study, 20);
    // What it gives up to take outcomes is taken too.
    eventually("a coordinator that can write nothing", || {
        disk.fill();
        let refused = cluster.run(&["priority", &study, "1"]);
        refused.stderr.contains("the disk of r1 is full (0 MiB").then_some(())
    });
    disk.fill();

    let cluster = cluster.kill().start_again();
    let said = cluster.run(&["status", &study]).failed(1);
    assert!(said.contains("make room"), "{said}");
    disk.free();
    eventually("an answer", || cluster.run(&["status", &study]).status.success().then_some(()));
    cluster.finish(&study).is_whole();
}

/// A cluster with a study, one agent's work of some seconds.
fn interrupted_study() -> (Cluster, String) {
    let cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "spooled", 10, LONG));
    (cluster, study)
}

/// `coordinator agents`, by name.
fn agents(cluster: &Cluster) -> BTreeMap<String, Value> {
    let answer = cluster.ask(&["agents"]);
    let list = answer["agents"].as_array().expect("a list");
    list.iter().map(|a| (a["host"].as_str().expect("a name").to_string(), a.clone())).collect()
}

/// What the agent `one` keeps for its coordinator once everything it was granted has ended: trial →
/// the training's own time, which no second training would repeat to the microsecond.
fn spooled_outcomes(site: &Site) -> BTreeMap<String, u64> {
    let spool = site.path("one/spool.log");
    let left = eventually("the end of the agent's cohorts", || {
        recovered(&spool).filter(|left| left.crashed.is_empty() && !left.reports.is_empty())
    });
    let outcome = |report: common::trial::Report| match report.ending {
        Ending::Complete(outcome) => (report.attempt.trial.to_string(), outcome.duration_us),
        Ending::Failed { reason, detail } => panic!("{reason:?}: {detail}"),
    };
    left.reports.into_iter().map(outcome).collect()
}

/// What a spool holds now; the agent goes on writing it.
fn recovered(spool: &Path) -> Option<Recovered> {
    let bytes = fs::read(spool).ok()?;
    Some(Spool::read(&bytes, spool).expect("readable"))
}

fn assert_are_the_exported(spooled: &BTreeMap<String, u64>, exported: &Table) {
    let column = |name: &str| &exported.columns[exported.find(name).expect("a column")];
    let Values::Numbers(seconds) = &column("duration_seconds").values else {
        panic!("durations are numbers")
    };
    let took: BTreeMap<String, u64> = (0..exported.rows)
        .map(|row| {
            let trial = column("trial").text(row).expect("a trial");
            (trial, (seconds[row] * 1e6).round() as u64)
        })
        .collect();
    for (trial, duration_us) in spooled {
        assert_eq!(took.get(trial), Some(duration_us), "trial {trial} was trained again");
    }
}

/// Epochs of a trial that takes about 20 ms of one processor.
const LONG: u32 = 600;

/// When a QUIC connection with nobody at the other end is given up.
const IDLE: Duration = Duration::from_secs(20);

/// A lease of 3 s, renewed just before the kill, the sweep, and the looks of a busy machine.
const LEASE_AND_SWEEP: Duration = Duration::from_secs(9);
