//! Agents with labels and arms that require them, as processes: every trial is trained where its arm says.
//!
//! What an agent calls its device is found out, never told, so that an agent with a card is played here by
//! a label of the user's own; what a card is asked for and has not got is seen in the study that waits.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use common::study::Format;
use common::table::Table;

use crate::cluster::{Asked, Cluster, write_study};
use crate::process::{Program, Site, eventually};

/// The study of every test here, with what its two arms require.
fn study(site: &Site, name: &str, mlp: &str, linear: &str) -> PathBuf {
    let path = write_study(site, name, 2, 2);
    let text = fs::read_to_string(&path).expect("readable");
    let text = text.replace("[arms.mlp]\n", &format!("[arms.mlp]\n{mlp}\n"));
    let text = text.replace("[arms.linear]\n", &format!("[arms.linear]\n{linear}\n"));
    site.write(&format!("{name}.toml"), &text)
}

/// Arm → agents that trained it.
fn trainers(table: &Table) -> BTreeMap<String, BTreeSet<String>> {
    let text = |name: &str, row| table.columns[table.find(name).expect("a column")].text(row);
    let mut trainers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in 0..table.rows {
        let (arm, agent) = (text("arm", row).expect("an arm"), text("agent", row).expect("one"));
        trainers.entry(arm).or_default().insert(agent);
    }
    trainers
}

#[test]
fn arms_are_trained_where_they_require_and_the_report_is_whole() {
    let cluster = Cluster::start();
    let plain = cluster.agent_with("plain", &["--label", "site=west"]);
    let wants = "requires = { gpu = [\"a100\", \"h100\"], site = \"east\" }";
    let study = study(&cluster.site, "mixed", wants, "requires = { device = \"cpu\" }");
    let id = cluster.submit(&study);
    // The arm that anybody may train ends; the other one waits, and that is said.
    cluster.reach(&id, 10);
    let explained = eventually("why it waits", || {
        let answer = cluster.ask(&["status", &id]);
        (answer["wanting"][0]["arms"][0] == "mlp").then_some(())?;
        let text = cluster.run(&["status", &id]).done().stdout;
        Some(text)
    });
    let wanted = "mixed: arm mlp waits for an agent with gpu=a100|h100, site=east; 1 agent is here";
    assert!(explained.contains(wanted), "{explained}");
    let trial = cluster.export(&id);
    assert_eq!(trainers(&trial).keys().collect::<Vec<_>>(), ["linear"]);
    // The first trial of all is one of the first arm's.
    let why = cluster.run(&["explain", &format!("{id}:0")]).done().stdout;
    assert!(why.contains("waits for an agent with gpu=a100|h100, site=east"), "{why}");

    let able = cluster.agent_with("able", &["--label", "gpu=a100", "--label", "site=east"]);
    cluster.finish(&id).is_whole();
    let agents = cluster.ask(&["agents"]);
    let member = |name: &str| -> String {
        let of = |agent: &&serde_json::Value| agent["host"] == name;
        let all = agents["agents"].as_array().expect("a list");
        let agent = all.iter().find(of).expect("it is here");
        assert_eq!(agent["labels"]["device"], "cpu", "{agent}");
        assert_eq!(agent["labels"]["arch"], std::env::consts::ARCH);
        agent["member"].as_str().expect("a number").to_string()
    };
    let (west, east) = (member("plain"), member("able"));
    let table = cluster.run(&["agents"]).done().stdout;
    assert!(table.contains("gpu=a100") && table.contains("site=west"), "{table}");

    let out = cluster.site.path("out");
    cluster.run(&["report", &id, "--out", out.to_str().expect("text")]).done();
    let bytes = fs::read(out.join("trials.parquet")).expect("written");
    let trials = Table::read(Format::Parquet, &bytes).expect("a table");
    let trainers = trainers(&trials);
    assert_eq!(trainers["mlp"], [east.clone()].into(), "only it may");
    assert_eq!(trainers["linear"], [west].into(), "it was done before the other one came");
    // Trained again by whoever is allowed to, with the same bits.
    drop(plain);
    let answer = cluster.ask(&["verify", &id, "--trials", "8"]);
    assert_eq!((&answer["identical"], &answer["differ"]), (&8.into(), &0.into()), "{answer}");
    drop(able);
}

#[test]
fn a_study_for_a_card_waits_where_there_is_none_and_its_other_arm_does_not() {
    let cluster = Cluster::start();
    let card = "requires = { device = \"cuda\" }";
    let study = study(&cluster.site, "cards", card, "");
    let _agents = [cluster.agent("one"), cluster.agent("two")];
    let id = cluster.submit(&study);
    let mut watch = {
        let env = [("SEEDSWEEP_DATA", crate::cluster::DATA)];
        cluster.site.spawn(Program::Coordinator, &["watch", &id], &env)
    };
    watch.says("arm mlp waits for an agent with device=cuda; 2 agents are here, none may train it");
    eventually("the other arm's end", || Some(cluster.status(&id)).filter(|s| s.complete == 10));
    let status = cluster.status(&id);
    assert_eq!((status.waiting, status.leased, status.failed), (30, 0, 0));
    assert!(watch.ended().is_none(), "it waits");
    cluster.run(&["cancel", &id]).done();
    watch.ends();
}

#[test]
fn one_machine_says_what_it_lacks_and_takes_labels_too() {
    let site = Site::new();
    let study = study(&site, "alone", "requires = { site = \"east\" }", "");
    let file = study.to_str().expect("text");
    let run = ["run", file, "--out", "out"];
    let refused = site.run(Program::Coordinator, &run).failed(1);
    assert!(
        refused.contains("mlp site=east") && refused.contains("--label KEY=VALUE"),
        "{refused}"
    );
    assert!(!site.path("out").exists(), "nothing was begun");
    let wrong = [&run[..], &["--label", "device=cuda"]].concat();
    let refused = site.run(Program::Coordinator, &wrong).failed(1);
    assert!(refused.contains("finds out its label `device` by itself"), "{refused}");

    let labelled = [&run[..], &["--label", "site=east", "--json"]].concat();
    let answer = site.run(Program::Coordinator, &labelled).done().json();
    assert_eq!((&answer["complete"], &answer["trained"]), (&40.into(), &40.into()), "{answer}");
    let verify = ["verify", file, "--out", "out", "--trials", "4"];
    let refused = site.run(Program::Coordinator, &verify).failed(1);
    assert!(refused.contains("mlp site=east"), "{refused}");
    site.run(Program::Coordinator, &[&verify[..], &["--label", "site=east"]].concat()).done();

    // Where it is trained is not what it is: nothing is trained again.
    let text = fs::read_to_string(&study).expect("readable");
    fs::write(&study, text.replace("\"east\"", "[\"east\", \"west\"]")).expect("written");
    let again = [&run[..], &["--label", "site=west", "--json"]].concat();
    let answer = site.run(Program::Coordinator, &again).done().json();
    assert_eq!((&answer["complete"], &answer["trained"]), (&40.into(), &0.into()), "{answer}");
}

#[test]
fn labels_that_no_agent_can_have_are_refused() {
    let site = Site::new();
    for (label, words) in
        [("gpu", "write KEY=VALUE"), ("gpu=", "1 to 64 letters"), ("device=cuda", "by itself")]
    {
        let said = site.run(Program::Agent, &["join", "127.0.0.1:1", "--label", label]).failed(2);
        assert!(said.contains(words), "{said}");
    }
}
