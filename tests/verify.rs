//! `coordinator verify`: complete trials trained again by real processes, and compared.
//!
//! Floor: wiring.

use std::fs;

use serde_json::Value;

use crate::cluster::{Asked, Cluster, write_study};
use crate::process::{Answer, Program, Site};

#[test]
fn a_clusters_agents_train_again_what_they_trained_and_it_comes_out_identical() {
    let cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "again", 2, SHORT));
    let none = cluster.run(&["verify", &study]);
    assert_eq!(none.status.code(), Some(1), "{none}");
    assert!(none.stderr.contains("no complete trial yet"), "{none}");
    let first = cluster.agent("one");
    cluster.finish(&study).is_whole();
    let outcomes = cluster.outcomes(&study);
    let looks = cluster.ask(&["ledger", &study])["looks"].clone();
    drop(first);
    // Another machine than the one that trained them.
    let _second = cluster.agent("two");

    let verified = cluster.ask(&["verify", &study, "--trials", "12", "--seed", "3"]);

    assert_eq!(verified["schema"], "seedsweep.verify/1");
    let counts = ["trials", "identical", "differ", "failed"].map(|key| verified[key].as_u64());
    assert_eq!(counts, [12, 12, 0, 0].map(Some), "{verified}");
    let arms: Vec<&Value> = each(&verified).iter().map(|one| &one["arm"]).collect();
    for arm in ["mlp", "linear"] {
        assert_eq!(arms.iter().filter(|name| **name == arm).count(), 6, "{arms:?}");
    }
    let [devices] = verified["devices"].as_array().expect("a list").as_slice() else {
        panic!("one pair: {verified}")
    };
    assert_eq!(devices["first"], devices["again"]);
    let record = devices["again"].as_str().expect("text");
    let words: Vec<&str> = record.split("; ").collect();
    assert_eq!((words.len(), words[0], words[5]), (6, "cpu", "1 thread"), "{record}");
    assert!(words[3].starts_with("seedsweep ") && words[4].starts_with("candle "), "{record}");

    // The first outcomes stand, no finding is made, and nobody was shown a score.
    assert_eq!(cluster.outcomes(&study), outcomes);
    cluster.status(&study).is_whole();
    let after = cluster.ask(&["ledger", &study])["looks"].as_u64();
    assert_eq!(after, looks.as_u64().map(|looks| looks + 1), "the export alone is a look");
    let text = cluster.run(&["verify", &study]).done();
    assert!(text.stdout.contains("20 of 20 trials came out identical"), "{text}");
    let report = cluster.run(&["report", &study, "--out", "out"]).done();
    environment_names(&cluster.site, "out", record, 40, &report);
}

#[test]
fn a_study_in_a_folder_is_verified_in_one_process() {
    let site = Site::new();
    let study = write_study(&site, "alone", 1, SHORT);
    let study = study.to_str().expect("text");
    let absent = site.run(Program::Coordinator, &["verify", study, "--out", "out"]);
    assert!(absent.stderr.contains("is no output folder"), "{absent}");
    assert!(!site.path("out").exists(), "nothing is made by a question");
    let run = ["run", study, "--out", "out", "--threads", "1"];
    site.run(Program::Coordinator, &run).done();

    let verify = ["verify", study, "--out", "out", "--trials", "7", "--json"];
    let verified = site.run(Program::Coordinator, &verify).done().json();

    let counts = ["trials", "identical", "differ", "failed"].map(|key| verified[key].as_u64());
    assert_eq!(counts, [7, 7, 0, 0].map(Some), "{verified}");
    // By name, and all there are where there are fewer than were asked for.
    let named = ["verify", "alone", "--out", "out", "--trials", "1000", "--json"];
    let all = site.run(Program::Coordinator, &named).done().json();
    assert_eq!((&all["trials"], &all["identical"]), (&20.into(), &20.into()), "{all}");
    let same = |one: &Value| one["identical"] == Value::Bool(true);
    assert!(each(&all).iter().all(same), "{all}");
    let changed = fs::read_to_string(study).expect("readable").replace("count = 1", "count = 2");
    site.write("alone.toml", &changed);
    let other = site.run(Program::Coordinator, &verify);
    assert!(other.stdout.contains("was not run in this folder"), "{other}");
}

fn each(verified: &Value) -> &Vec<Value> {
    verified["each"].as_array().expect("a list")
}

/// What the outcomes were made with stands in the output folder once, with their number.
fn environment_names(site: &Site, out: &str, record: &str, trials: u64, report: &Answer) {
    let text = fs::read_to_string(site.path(out).join("environment.json")).expect("written");
    let environment: Value = serde_json::from_str(&text).expect("JSON");
    let [outcomes] = environment["outcomes"].as_array().expect("a list").as_slice() else {
        panic!("one record: {environment} {report}")
    };
    assert_eq!((&outcomes["record"], &outcomes["trials"]), (&record.into(), &trials.into()));
    assert_eq!(environment["data"]["digest"].as_str().map(str::len), Some(64), "{environment}");
}

const SHORT: u32 = 3;
