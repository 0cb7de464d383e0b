//! What people do with a cluster, with the real programs over real sockets.
//!
//! Floor: wiring.

use std::fs;
use std::path::Path;

use common::study::Format;
use common::table::Table;
use serde_json::Value;

use crate::cluster::{Asked, Cluster, DATA, outcomes, without_looks, write_study};
use crate::process::{Program, Site, eventually};

#[test]
fn three_processes_finish_a_study_as_one_process_does() {
    let cluster = Cluster::start();
    let study = write_study(&cluster.site, "small", 5, SHORT);
    let _agents = ["one", "two"].map(|name| cluster.agent(name));
    let file = study.to_str().expect("text");
    let watched = cluster.ask(&["submit", file, "--watch"]);
    let study = watched["studies"][0]["id"].as_str().expect("an id");
    cluster.status(study).is_whole();

    // A run has its table at hand; a report from a cluster is given it.
    let table = cluster.site.path("rows.csv");
    let table = table.to_str().expect("text");
    cluster.run(&["report", study, "--table", table, "--out", "over-quic"]).done();
    cluster.site.run(Program::Coordinator, &["run", file, "--out", "alone"]).done();
    let exported = outcomes(&cluster.export(study));
    assert_eq!(exported.len(), 100);
    let [over_quic, alone] = ["over-quic", "alone"].map(|out| cluster.site.path(out));
    for out in [&over_quic, &alone] {
        assert_eq!(outcomes(&trials(out)), exported, "{}", out.display());
    }
    assert_eq!(judgement(&over_quic), judgement(&alone));
    for name in [
        "report.html",
        "report.json",
        "report.md",
        "report.tex",
        "trials.parquet",
        "environment.json",
    ] {
        assert!(over_quic.join(name).is_file(), "{name}");
    }
    let as_run = fs::read_to_string(over_quic.join("study.toml")).expect("written");
    assert_eq!(as_run, fs::read_to_string(file).expect("readable"));
}

#[test]
fn both_agents_of_a_study_train() {
    let cluster = Cluster::start();
    let study = write_study(&cluster.site, "shared-work", 10, LONG);
    let _agents = ["one", "two"].map(|name| cluster.agent(name));
    let study = cluster.submit(&study);
    cluster.finish(&study).is_whole();
    let agents = cluster.ask(&["agents"]);
    for agent in agents["agents"].as_array().expect("a list") {
        assert!(agent["complete"].as_u64() > Some(0), "{agents}");
    }
}

#[test]
fn a_run_stopped_by_ctrl_c_goes_on_and_trains_only_the_rest() {
    let site = Site::new();
    let study = write_study(&site, "stopped", 20, LONG);
    let run = ["run", study.to_str().expect("text"), "--out", "here", "--threads", "1"];
    let mut running = site.spawn(Program::Coordinator, &run, &[]);
    let spool = site.path("here/.seedsweep/agent/spool.log");
    eventually("some trainings", || {
        fs::metadata(&spool).ok().filter(|spool| spool.len() > 4_096).map(drop)
    });
    running.interrupt();
    assert_eq!(running.ends().code(), Some(130), "as a shell says of Ctrl-C");
    let stopped = running.says("the same command goes on from there");
    let words: Vec<&str> = stopped.split_whitespace().collect();
    assert_eq!(words[..2], ["stopped", "after"]);
    let done: u64 = words[2].parse().expect("a count");
    assert!(0 < done && done < 400, "{stopped}");
    assert!(!site.path("here/report.html").exists(), "there is no answer yet");

    let mut again = run.to_vec();
    again.push("--json");
    let again = site.run(Program::Coordinator, &again).done().json();
    assert_eq!(again["complete"], 400);
    assert_eq!(again["trained"], 400 - done);
}

#[test]
fn a_study_submitted_twice_is_known() {
    let cluster = Cluster::start();
    let file = write_study(&cluster.site, "twice", 5, SHORT);
    let file = file.to_str().expect("text");
    let first = cluster.ask(&["submit", file]);
    let second = cluster.ask(&["submit", file]);
    assert_eq!((&first["known"], &second["known"]), (&false.into(), &true.into()));
    assert_eq!(first["study"], second["study"]);
    let list = cluster.ask(&["list"]);
    assert_eq!(list["studies"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_cancelled_study_keeps_its_outcomes_and_is_taken_up_again() {
    let cluster = Cluster::start();
    let file = write_study(&cluster.site, "cancelled", 20, LONG);
    let _agent = cluster.agent("one");
    let study = cluster.submit(&file);
    cluster.reach(&study, 20);
    let cancelled = &cluster.ask(&["cancel", "cancelled"])["studies"][0];
    let count = |key: &str| cancelled[key].as_u64().expect("a count");
    assert_eq!(cancelled["state"], "cancelled");
    assert!(count("complete") >= 20 && count("cancelled") > 0, "{cancelled}");
    assert_eq!(count("complete") + count("cancelled"), count("planned"));
    let kept = cluster.outcomes(&study);

    assert_eq!(cluster.submit(&file), study);
    cluster.finish(&study).is_whole();
    let whole = cluster.outcomes(&study);
    assert!(kept.iter().all(|(trial, digest)| whole.get(trial) == Some(digest)));
}

#[test]
fn answers_for_programs_have_their_keys() {
    let cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "keys", 5, SHORT));
    let _agent = cluster.agent("one");
    cluster.finish(&study);

    let status = cluster.ask(&["status"]);
    has_schema(&status, "seedsweep.status/1");
    let counts = ["planned", "complete", "failed", "waiting", "leased"];
    has_keys(&status["studies"][0], &["id", "name", "seconds_left"]);
    has_keys(&status["studies"][0], &counts);
    assert_eq!(counts.map(|key| status["studies"][0][key].as_u64()), [100, 100, 0, 0, 0].map(Some));
    let list = cluster.ask(&["list"]);
    assert_eq!(list["studies"], status["studies"]);
    let watched = cluster.ask(&["watch", &study]);
    assert_eq!(watched["studies"], status["studies"]);

    let agents = cluster.ask(&["agents"]);
    has_schema(&agents, "seedsweep.agents/1");
    let keys = ["member", "device", "lanes", "leased", "failed", "address", "connected"];
    has_keys(&agents["agents"][0], &keys);
    assert_eq!(
        (&agents["agents"][0]["host"], &agents["agents"][0]["complete"]),
        (&"one".into(), &100.into())
    );

    let made = cluster.ask(&["token", "create", "--uses", "1", "--label", "lab"]);
    has_schema(&made, "seedsweep.token/1");
    let tokens = cluster.ask(&["token", "list"]);
    has_schema(&tokens, "seedsweep.tokens/1");
    let tokens = tokens["tokens"].as_array().expect("a list");
    let lab = tokens.iter().find(|token| token["label"] == "lab").expect("listed");
    has_keys(lab, &["id", "role", "expires_unix_ms"]);
    assert_eq!((&lab["uses_left"], &lab["role"]), (&1.into(), &"agent".into()));

    let members = cluster.ask(&["members", "list"]);
    has_schema(&members, "seedsweep.members/2");
    let members = members["members"].as_array().expect("a list");
    let agent = members.iter().find(|member| member["role"] == "agent").expect("listed");
    assert_eq!(agent["member"], agents["agents"][0]["member"]);
    has_keys(agent, &["joined_unix_ms", "label"]);
}

#[test]
fn data_travels_to_an_agent_without_it_and_is_kept_by_its_content() {
    let cluster = Cluster::start();
    let file = write_study(&cluster.site, "travels", 5, SHORT);
    let _agent = cluster.agent("bare");
    let study = cluster.submit(&file);
    cluster.finish(&study).is_whole();
    let sent = fs::read(cluster.site.path("rows.csv")).expect("readable");
    let name = common::id::Digest::of(&sent).hex();
    let kept = fs::read(cluster.site.path("bare/data").join(name)).expect("kept by its content");
    assert_eq!(kept, sent);
}

#[test]
fn an_agent_with_a_shared_folder_reads_the_data_there() {
    let cluster = Cluster::start();
    let file = write_study(&cluster.site, "at-hand", 5, SHORT);
    let shared = cluster.site.path("shared");
    fs::create_dir(&shared).expect("made");
    fs::copy(cluster.site.path("rows.csv"), shared.join("rows.csv")).expect("copied");
    let _agent = cluster.agent_with("rich", &["--shared", "shared"]);
    let study = cluster.submit(&file);
    cluster.finish(&study).is_whole();
    assert!(!cluster.site.path("rich/data").exists(), "nothing was fetched");
}

#[test]
fn an_operator_elsewhere_needs_a_token_once() {
    let cluster = Cluster::start();
    let elsewhere = Site::new();
    let status = ["status", "--json", "--coordinator", cluster.address.as_str()];
    let refused = elsewhere.run(Program::Coordinator, &status);
    assert_eq!(refused.status.code(), Some(1), "{refused}");
    assert!(refused.stdout.contains("token create --role operator"), "{refused}");

    let made = cluster.ask(&["token", "create", "--role", "operator"]);
    let mut first = status.to_vec();
    first.extend(["--token", made["token"].as_str().expect("a token")]);
    for arguments in [first.as_slice(), &status] {
        let answer = elsewhere.run(Program::Coordinator, arguments).done().json();
        assert_eq!(answer["studies"].as_array().map(Vec::len), Some(0));
    }
}

#[test]
fn without_a_coordinator_the_exit_status_is_3() {
    let site = Site::new();
    let said = site.run(Program::Coordinator, &["status", "--data", "empty"]).failed(3);
    assert!(said.contains("coordinator start"), "{said}");

    let cluster = Cluster::start();
    let dead = cluster.kill();
    let said = dead.site.run(Program::Coordinator, &["status", "--data", DATA]).failed(3);
    assert!(said.contains(&dead.address), "{said}");
}

#[test]
fn a_wrong_command_line_has_the_exit_status_2() {
    let site = Site::new();
    let said = site.run(Program::Coordinator, &["stats"]).failed(2);
    assert!(said.contains("status"), "the nearest command is named: {said}");
    site.run(Program::Agent, &["join"]).failed(2);
}

#[test]
fn a_study_with_findings_is_refused_with_all_of_them_before_anything_runs() {
    let cluster = Cluster::start();
    let file = write_study(&cluster.site, "findings", 5, SHORT);
    let text = fs::read_to_string(&file).expect("readable");
    let wrong = text.replace("folds = 5", "folds = 1").replace("\"auroc\"", "\"rmse\"");
    fs::write(&file, wrong).expect("written");
    let file = file.to_str().expect("text");
    let answer = cluster.run(&["submit", file, "--json"]);
    assert_eq!(answer.status.code(), Some(1), "{answer}");
    let findings = answer.json()["findings"].as_array().expect("a list").clone();
    assert_eq!(findings.len(), 2, "{answer}");
    for finding in &findings {
        has_keys(finding, &["line", "column", "message", "help"]);
    }
    let said = cluster.run(&["submit", file]).failed(1);
    assert!(said.contains("findings.toml:3:") && said.contains("findings.toml:13:"), "{said}");
    assert_eq!(cluster.ask(&["list"])["studies"].as_array().map(Vec::len), Some(0));
}

#[test]
fn completions_are_written_for_every_shell() {
    let site = Site::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        for (program, command) in [(Program::Coordinator, "submit"), (Program::Agent, "join")] {
            let script = site.run(program, &["completions", shell]).done().stdout;
            assert!(script.contains(command), "{shell}: {script}");
        }
    }
}

#[test]
fn a_stopped_coordinator_says_goodbye_and_goes_on_later() {
    let mut cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "paused", 20, LONG));
    let _agent = cluster.agent("one");
    let before = cluster.reach(&study, 20);
    cluster.coordinator.interrupt();
    assert!(cluster.coordinator.ends().success());
    let cluster = cluster.kill().start_again();
    assert!(cluster.status(&study).complete >= before.complete);
    cluster.finish(&study).is_whole();
}

#[test]
fn a_study_is_paused_served_first_and_grown_by_command() {
    let cluster = Cluster::start();
    let study = cluster.submit(&write_study(&cluster.site, "steered", 5, SHORT));
    let paused = cluster.ask(&["pause", &study]);
    has_schema(&paused, "seedsweep.status/1");
    assert_eq!(paused["studies"][0]["state"], "paused");
    let _agent = cluster.agent("one");
    let trial = format!("{study}:7");
    let explained = cluster.ask(&["explain", &trial]);
    has_schema(&explained, "seedsweep.explain/1");
    has_keys(&explained, &["study", "cell", "leased", "own_failures", "losses", "failures"]);
    assert_eq!((&explained["trial"], &explained["state"]), (&7.into(), &"waiting".into()));
    assert!(explained["reasons"].to_string().contains("paused"), "{explained}");

    let first = cluster.ask(&["priority", &study, "5"]);
    assert_eq!(first["studies"][0]["priority"], 5);
    let last = cluster.ask(&["priority", &study, "-2"]);
    assert_eq!(last["studies"][0]["priority"], -2);
    let grown = cluster.ask(&["extend", &study, "--seeds", "7"]);
    has_schema(&grown, "seedsweep.extend/1");
    let counts = ["seeds", "gained", "planned"].map(|key| grown[key].as_u64());
    assert_eq!(counts, [7, 40, 140].map(Some));
    assert_eq!(cluster.ask(&["extend", &study, "--seeds", "7"])["gained"], 0);
    assert_eq!(cluster.status(&study).complete, 0, "nothing was trained meanwhile");

    let resumed = cluster.ask(&["resume", &study]);
    has_schema(&resumed, "seedsweep.status/1");
    cluster.finish(&study).is_whole();
    assert_eq!(cluster.ask(&["explain", &trial])["state"], "complete");
}

#[test]
fn a_failed_trial_is_trained_again_by_command() {
    let cluster = Cluster::start();
    // One trial that lasts for half a minute and may fail once.
    let file = write_study(&cluster.site, "doomed", 1, 1_000_000);
    let text = fs::read_to_string(&file).expect("readable");
    let (head, _) = text.split_once("[arms.linear]").expect("two arms");
    let one = head
        .replace("folds = 5", "holdout = 0.2, repeats = 1")
        .replace("space = { lr = { log = [0.001, 0.1], points = 3 } }", "");
    fs::write(&file, format!("{one}\n[budget]\nattempts = 1\n")).expect("written");
    let study = cluster.submit(&file);
    let agent = cluster.agent("one");
    eventually("its training", || (cluster.status(&study).leased == 1).then_some(()));
    agent.says("training 1 trials");
    agent.kill();
    let _agent = cluster.agent("one");
    eventually("its failure", || (cluster.status(&study).failed == 1).then_some(()));

    let retry = ["retry", &study, "--failed"];
    let would = cluster.ask(&[&retry[..], &["--dry-run"]].concat());
    has_schema(&would, "seedsweep.retry/1");
    has_keys(&would, &["study", "name"]);
    let said = |answer: &Value| ["dry_run", "count", "trials"].map(|key| answer[key].clone());
    assert_eq!(said(&would), [true.into(), 1.into(), serde_json::json!([0])]);
    assert_eq!(cluster.status(&study).failed, 1, "nothing was changed");
    let will = cluster.ask(&retry);
    assert_eq!(said(&will), [false.into(), 1.into(), serde_json::json!([0])]);
    eventually("its training", || (cluster.status(&study).leased == 1).then_some(()));
    assert_eq!(cluster.ask(&["retry", &study, "--trial", "0"])["count"], 0, "it did not fail");
    assert_eq!(cluster.ask(&["cancel", &study])["studies"][0]["state"], "cancelled");
}

/// What the report says that does not depend on how long trainings took.
fn judgement(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("report.json")).expect("readable");
    let mut report = without_looks(&text);
    let cost = report.as_object_mut().expect("an object").remove("cost").expect("a cost");
    assert!(cost["agent_seconds"].as_f64() > Some(0.0), "{cost}");
    forget_costs(&mut report);
    report
}

/// Designs of other sizes cost what this study's trainings took, and so does what a lead is worth: it has
/// a price only where the leader's trainings were the longer ones.
fn forget_costs(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(forget_costs),
        Value::Object(object) => {
            object.remove("cost");
            object.remove("gain");
            object.remove("agent_seconds");
            // What is told of the next block may say so in words.
            if object.contains_key("next_block_value") {
                object.remove("verdict");
            }
            object.values_mut().for_each(forget_costs);
        }
        _ => {}
    }
}

fn trials(out: &Path) -> Table {
    let bytes = fs::read(out.join("trials.parquet")).expect("readable");
    Table::read(Format::Parquet, &bytes).expect("a table")
}

fn has_schema(answer: &Value, schema: &str) {
    assert_eq!(answer["schema"], schema);
}

fn has_keys(answer: &Value, keys: &[&str]) {
    for key in keys {
        assert!(answer.get(key).is_some(), "{key} is not in {answer}");
    }
}

/// Epochs of a trial of a millisecond, and of one of twenty.
const SHORT: u32 = 20;
const LONG: u32 = 600;
