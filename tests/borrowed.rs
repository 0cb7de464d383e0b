//! Agents that live on borrowed time: told to leave in the middle of trainings, or with an end of their
//! own; others go on with what they had reached.
//!
//! Floor: wiring.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cluster::{Asked, Cluster, outcomes, start_agent, write_study};
use crate::process::{Program, Running, Site};

#[test]
fn another_agent_ends_what_a_leaving_one_began_with_the_same_bits() {
    let (undisturbed, cluster) = (Cluster::start(), Cluster::start());
    let whole = undisturbed.agent("whole");
    let expected = undisturbed.submit(&long_study(&undisturbed.site));
    let mut first = cluster.agent_with("first", &["--grace", "6s"]);
    let study = cluster.submit(&long_study(&cluster.site));
    first.says("training 2 trials");

    first.signal("USR1");
    let told = Instant::now();
    // Managers of machines repeat themselves.
    first.signal("USR1");
    first.signal("TERM");
    let status = first.ends();
    assert!(status.success() && told.elapsed() < Duration::from_secs(6), "{status}");
    assert!(first.stderr().contains("handed on 2 of 2 trials"), "{}", first.stderr());
    let interrupted = cluster.ask(&["status", &study]);
    let failures = &interrupted["studies"][0]["failures"];
    assert_eq!(failures, &serde_json::json!({ "preempted": 2 }));
    let explained = cluster.run(&["explain", &format!("{study}:0")]).done().stdout;
    assert!(explained.contains("was told to leave; it left a checkpoint"), "{explained}");
    assert!(explained.contains("0 of 3 failures of its own and 0 of 6 losses"), "{explained}");

    let second = cluster.agent("second");
    let resumed = second.says("resumed 2 trials at epoch");
    let epoch = resumed.rsplit(' ').next().and_then(|epoch| epoch.parse::<u32>().ok());
    assert!(epoch.is_some_and(|epoch| (1..EPOCHS).contains(&epoch)), "{resumed}");
    cluster.finish(&study).is_whole();
    undisturbed.finish(&expected).is_whole();
    let (went_on, never_left) = (cluster.export(&study), undisturbed.export(&expected));
    assert_eq!(outcomes(&went_on), outcomes(&never_left));
    assert_eq!(outcomes(&went_on).len(), 2);
    drop((whole, second));
    let left = std::fs::read_dir(cluster.site.path("coordinator/checkpoints")).expect("a folder");
    assert_eq!(left.count(), 0, "nobody needs them any more");
}

#[test]
fn an_agent_that_finds_no_checkpoint_begins_anew_to_the_same_bits() {
    let (undisturbed, cluster) = (Cluster::start(), Cluster::start());
    let whole = undisturbed.agent("whole");
    let expected = undisturbed.submit(&long_study(&undisturbed.site));
    let mut first = cluster.agent_with("first", &["--grace", "6s"]);
    let study = cluster.submit(&long_study(&cluster.site));
    first.says("training 2 trials");
    first.signal("TERM");
    assert!(first.ends().success());
    let parked = cluster.site.path("coordinator/checkpoints");
    for entry in std::fs::read_dir(&parked).expect("a folder") {
        std::fs::write(entry.expect("readable").path(), "no checkpoint").expect("written");
    }
    let second = cluster.agent_with("second", &["--log", "info"]);
    second.says("a trial begins anew: its checkpoint is not here");
    cluster.finish(&study).is_whole();
    undisturbed.finish(&expected).is_whole();
    assert!(!second.stderr().contains("resumed"), "{}", second.stderr());
    let (went_on, never_left) = (cluster.export(&study), undisturbed.export(&expected));
    assert_eq!(outcomes(&went_on), outcomes(&never_left));
    drop(whole);
}

#[test]
fn an_agent_with_an_end_shows_it_and_leaves_before_it() {
    let cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "short", 1, 3));
    // 40 s from now, of which the last 37 are for leaving: it ends what it has, and goes.
    let began = Instant::now();
    let mut agent = cluster.agent_with("brief", &["--until", "+40s", "--grace", "37s"]);
    let ends = agents(&cluster)["ends_unix_ms"].as_u64().expect("an end");
    let now = seconds_from_now(0) * 1_000;
    // The clock that was read first counts whole seconds.
    assert!((now..=now + 41_000).contains(&ends), "{ends} is not within 40 s of {now}");
    let shown = cluster.run(&["agents"]).done().stdout;
    assert!(shown.contains("ends") && shown.contains("in 3"), "{shown}");
    assert!(agent.ends().success());
    let lived = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(30)).contains(&lived), "{lived:?}");
    agent.says("leaving, since its time is nearly over");
    assert!(cluster.status(&study).complete > 0);

    let variable = &seconds_from_now(60).to_string();
    let of_slurm = start_with_slurm(&cluster, variable);
    of_slurm.says("joined as");
    let told = agents(&cluster)["ends_unix_ms"].as_u64().expect("an end");
    let said = variable.parse::<u64>().expect("seconds") * 1_000;
    assert!(told.abs_diff(said) < 5_000, "{told} is not {said}");
    cluster.finish(&study).is_whole();
}

#[test]
fn an_end_that_is_over_or_no_time_is_refused_with_what_to_say() {
    let site = Site::new();
    for (until, why) in [("yesterday", "is no time"), ("1", "is over"), ("+1", "such as 25s")] {
        let mut agent = start_agent(&site, "127.0.0.1:9", "", "none", &["--until", until]);
        assert_eq!(agent.ends().code(), Some(2));
        let said = agent.stderr();
        assert!(said.contains("--until") && said.contains(why), "{said}");
    }
}

/// One cohort of two trials, long enough to be met in its middle.
fn long_study(site: &Site) -> PathBuf {
    let path = write_study(site, "long", 1, EPOCHS);
    let text = std::fs::read_to_string(&path).expect("readable");
    let (before, _) = text.split_once("[arms.mlp]").expect("two arms");
    let before = before.replace("folds = 5", "folds = 2");
    let arm =
        format!("[arms.mlp]\nmodel = \"mlp\"\nhidden = [16]\nepochs = {EPOCHS}\nbatch = 16\n");
    site.write("long.toml", &format!("{before}{arm}"))
}

/// The newest agent of `coordinator agents`.
fn agents(cluster: &Cluster) -> Value {
    let told = cluster.ask(&["agents"]);
    let list = told["agents"].as_array().expect("a list");
    list.iter().find(|agent| agent["connected"] == true).expect("a connected one").clone()
}

/// Unix seconds, so many from now.
fn seconds_from_now(later_s: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_secs() + later_s
}

fn start_with_slurm(cluster: &Cluster, end: &str) -> Running {
    let arguments = ["join", &cluster.address, "--folder", "job", "--threads", "1"];
    let variables = [("SEEDSWEEP_TOKEN", cluster.token.as_str()), ("SLURM_JOB_END_TIME", end)];
    cluster.site.spawn(Program::Agent, &arguments, &variables)
}

const EPOCHS: u32 = 160_000;
