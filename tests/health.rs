//! What people are told about a folder and a cluster that are well, and about ones that are not.
//!
//! Floor: wiring.

use std::fs;

use serde_json::Value;

use crate::cluster::{Asked, Cluster, DATA, write_study};
use crate::process::Program;

#[test]
fn a_coordinator_is_healthy_and_its_folder_sound_until_a_bit_changes() {
    let cluster = Cluster::start();
    let study = write_study(&cluster.site, "small", 2, 2);
    let agent = cluster.agent("one");
    let study = cluster.submit(&study);
    cluster.finish(&study).is_whole();
    let told = cluster.ask(&["doctor"]);
    assert_eq!(told["schema"], "seedsweep.doctor/1");
    let names =
        ["log", "disk flush", "file modes", "authority", "operator", "replica r1", "voters"];
    for name in names {
        assert_eq!(check(&told, name)["level"].as_str().map(|level| level != "bad"), Some(true));
    }
    let why = cluster.run(&["verify-log"]).failed(1);
    assert!(why.contains("stop it first, or copy the folder"), "{why}");
    drop(agent);

    let dead = cluster.kill();
    let look = ["verify-log", "--data", DATA, "--json"];
    let sound = dead.site.run(Program::Coordinator, &look).done().json();
    assert_eq!(
        (&sound["schema"], &sound["sound"]),
        (&"seedsweep.verify-log/1".into(), &true.into())
    );
    let ended = |key: &str| sound[key].as_u64().expect("a number");
    assert_eq!(ended("outcomes") + ended("outcomes_in_log_alone"), 40, "{sound}");

    let log = dead.site.path(DATA).join("log.redb");
    let mut bytes = fs::read(&log).expect("readable");
    // Whichever pages are in use: one bit of each.
    bytes.iter_mut().skip(4_096 + 100).step_by(4_096).for_each(|byte| *byte ^= 1);
    fs::write(&log, &bytes).expect("written");
    let damaged = dead.site.run(Program::Coordinator, &look);
    assert_eq!((damaged.status.code(), &damaged.json()["sound"]), (Some(1), &false.into()));
    assert_eq!(damaged.stderr, "", "what redb thinks of it is in the findings");
    let people = dead.site.run(Program::Coordinator, &look[..3]);
    let said = &people.stdout;
    assert!(said.contains("DAMAGED") && said.contains("What to do: with other replicas"), "{said}");
    assert!(fs::read(&log).expect("readable") == bytes, "a look changes nothing");
}

#[test]
fn a_machine_on_which_nothing_runs_is_looked_at_too() {
    let site = crate::process::Site::new();
    let told = site.run(Program::Coordinator, &["doctor", "--json"]).json();
    assert!(
        check(&told, "log")["what"].as_str().is_some_and(|what| what.contains("not there yet"))
    );
    assert!(check(&told, "disk flush")["figures"]["p50_us"].as_u64() > Some(0), "{told}");
    let why = site.run(Program::Coordinator, &["verify-log", "--data", "nowhere"]).failed(1);
    assert!(why.contains("holds no coordinator's log; name its data folder with --data"), "{why}");
    assert!(!site.path("nowhere").exists());
}

fn check<'a>(told: &'a Value, name: &str) -> &'a Value {
    let checks = told["checks"].as_array().expect("a list");
    let found = checks.iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no check {name} in {told}"))
}
