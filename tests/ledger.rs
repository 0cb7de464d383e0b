//! Who was shown scores of the test folds: by whatever operator and replica, and after failures.
//!
//! Floor: wiring.

use std::fs;

use common::id::Digest;
use serde_json::{Value, json};

use crate::cluster::{Asked, Cluster, write_study};
use crate::group::Group;
use crate::process::{Program, Site};

#[test]
fn two_reports_and_an_export_by_two_operators_are_three_looks_after_a_failover() {
    let mut group = Group::start(3);
    let study = group.at(0).submit(&write_study(&group.site, "looked-at", 5, SHORT));
    let _agent = group.agent("one", &[0]);
    group.at(0).finish(&study).is_whole();
    let none = group.at(1).ask(&["ledger", &study]);
    assert_eq!((&none["looks"], &none["latest"]), (&0.into(), &json!([])), "watching is no look");

    let report = |group: &Group, at: usize, out: &str| -> Value {
        group.at(at).run(&["report", &study, "--format", "json", "--out", out]).done();
        serde_json::from_str(&fs::read_to_string(group.site.path(out)).expect("written")).unwrap()
    };
    let first = report(&group, 0, "first.json");
    let desk = ["token", "create", "--role", "operator", "--label", "desk"];
    let token = group.at(0).ask(&desk)["token"].as_str().expect("a token").to_string();
    let elsewhere = Site::new();
    let address = group.replicas[2].address.clone();
    let export =
        ["export", &study, "--csv", "-", "--coordinator", &address, "--token", token.as_str()];
    let rows = elsewhere.run(Program::Coordinator, &export).done().stdout;
    assert_eq!(rows.lines().count(), 101, "a head and a line a trial");
    let leader = group.leader();
    group.kill(leader);
    let next = group.leader();
    let last = report(&group, next, "last.json");

    let ledgers: Vec<Value> =
        group.up().map(|at| group.at(at).ask(&["ledger", &study, "--fresh"])).collect();
    assert_eq!(ledgers[0], ledgers[1]);
    let ledger = &ledgers[0];
    assert_eq!(ledger["schema"], "seedsweep.ledger/1");
    assert_eq!((&ledger["looks"], &ledger["chain_holds"]), (&3.into(), &true.into()), "{ledger}");
    let looks = ledger["latest"].as_array().expect("a list");
    let said: Vec<[&Value; 4]> = looks
        .iter()
        .map(|look| ["label", "purpose", "outcomes", "look"].map(|key| &look[key]))
        .collect();
    let expected = json!([
        ["local", "report", 100, 1],
        ["desk", "export", 100, 2],
        ["local", "report", 100, 3]
    ]);
    assert_eq!(json!(said), expected);
    let by: Vec<[&Value; 2]> = ledger["by"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|looker| ["label", "looks"].map(|key| &looker[key]))
        .collect();
    assert_eq!(json!(by), json!([["local", 2], ["desk", 1]]));
    chain_holds(ledger);

    // A report names its own look and the chain up to it.
    let of = |report: &Value| ["this", "looks", "head"].map(|key| report["ledger"][key].clone());
    assert_eq!(of(&first), [1.into(), 1.into(), looks[0]["link"].clone()]);
    assert_eq!(of(&last), [3.into(), 3.into(), ledger["head"].clone()]);
    let basis = last["verdict_basis"].as_str().expect("text");
    assert!(basis.contains(" 2 looks at the test folds before this one."), "{basis}");

    group.start_again(leader);
    group.all_vote();
    assert_eq!(&group.at(leader).ask(&["ledger", &study, "--fresh"]), ledger);
}

#[test]
fn a_ledger_is_kept_over_a_restart_and_a_page_says_how_often_was_looked() {
    let cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "kept", 5, SHORT));
    let _agent = cluster.agent("one");
    cluster.finish(&study).is_whole();
    let page = |cluster: &Cluster| cluster.run(&["report", &study, "--format", "md"]).done().stdout;
    let first = page(&cluster);
    assert!(first.contains("Nobody was shown a score of the test folds before this report."));
    let before = cluster.ask(&["ledger", &study]);
    let cluster = cluster.kill().start_again();
    assert_eq!(cluster.ask(&["ledger", &study]), before);

    let second = page(&cluster);
    assert!(second.contains("The test folds were looked at once before this report"), "{second}");
    let after = cluster.ask(&["ledger", &study]);
    assert!(second.contains(after["head"].as_str().expect("a hash")));
    assert_eq!(after["latest"][0], before["latest"][0]);
    chain_holds(&after);
    let people = cluster.run(&["ledger", &study]).done().stdout;
    assert!(people.contains("2 looks at the test folds: 2 by m1 (local)"), "{people}");
    assert!(people.contains("the chain holds"), "{people}");
}

#[test]
fn a_sealed_study_is_reported_only_after_its_claim_and_the_report_prints_it() {
    let cluster = Cluster::start();
    let file = write_study(&cluster.site, "sealed", 5, SHORT);
    let file = file.to_str().expect("text");
    let study = cluster.ask(&["submit", file, "--sealed"])["study"].clone();
    let study = study.as_str().expect("an id").to_string();
    let agent = cluster.agent("one");
    cluster.finish(&study).is_whole();
    drop(agent);
    for command in [["report", &study, "--format", "md"], ["export", &study, "--csv", "-"]] {
        let refused = cluster.run(&command).failed(1);
        assert!(refused.contains("coordinator register"), "{refused}");
    }
    let cluster = cluster.kill().start_again();
    let closed = cluster.ask(&["ledger", &study]);
    assert_eq!((&closed["looks"], &closed["claim"]), (&0.into(), &Value::Null));
    assert!(closed["sealed"]["at_unix_ms"].is_u64());
    let taken_over = |cluster: &Cluster, name: &str| {
        let copy = write_study(&cluster.site, name, 5, SHORT);
        let id = cluster.submit(&copy);
        cluster.status(&id).complete
    };
    assert_eq!(taken_over(&cluster, "copy"), 0, "a copy would show what is sealed");

    let said = cluster.ask(&["register", &study, "--claim", "narrow beats wide"]);
    let again = cluster.ask(&["register", &study, "--claim", "narrow beats wide"]);
    assert_eq!(said, again);
    let other = cluster.run(&["register", &study, "--claim", "wide beats narrow"]).failed(1);
    assert!(other.contains("another claim is registered"), "{other}");
    let hashed = said["claim"]["hashed"].as_str().expect("text");
    assert_eq!(said["claim"]["hash"], Digest::of(hashed.as_bytes()).hex());
    let page = cluster.run(&["report", &study, "--format", "md"]).done().stdout;
    assert!(page.contains("narrow beats wide"), "{page}");
    assert!(page.contains(said["claim"]["hash"].as_str().expect("a hash")), "{page}");
    assert!(page.contains("after 100 trainings, and before anybody was shown a score"), "{page}");
    assert_eq!(taken_over(&cluster, "later"), 100);
    let late = cluster.run(&["seal", &study]).done().stdout;
    assert!(late.contains("was sealed, and its claim has opened it"), "{late}");
}

/// Computes the chain as anybody can.
fn chain_holds(ledger: &Value) {
    let mut link = "0".repeat(64);
    for look in ledger["latest"].as_array().expect("a list") {
        let chained = look["chained"].as_str().expect("text");
        link = Digest::of(format!("{link}\n{chained}").as_bytes()).hex();
        assert_eq!(look["link"], link.as_str());
        let study = look["study_digest"].as_str().expect("a hash");
        assert!(chained.contains(study) && chained.contains(&look["at_unix_ms"].to_string()));
    }
    assert_eq!(ledger["head"], link.as_str());
}

/// Epochs of a trial of a millisecond.
const SHORT: u32 = 20;
