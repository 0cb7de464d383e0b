//! Logs for programs: every line of stderr is one JSON object, and names study, trial and agent.
//!
//! Floor: wiring.

use serde_json::Value;

use crate::cluster::{Asked, start_agent};
use crate::group::{Group, Place};
use crate::process::{Program, Running, Site, eventually};

#[test]
fn a_log_in_json_names_study_trial_and_agent() {
    let json = ["--log-format", "json", "--log", "coordinator=debug,info"];
    let group = Group::found(Site::new(), Place::loopback(), &json);
    let further = ["--allow-programs", "--log-format", "json", "--log", "agent=debug,info"];
    let agent = start_agent(&group.site, &group.replicas[0].address, &group.token, "one", &further);
    let study = group.at(0).submit(&write_failing(&group.site));
    eventually("the end of the study", || {
        (group.at(0).status(&study).state == "finished").then_some(())
    });
    let status = group.at(0).status(&study);
    assert_eq!((status.complete, status.failed), (2, 2), "{status:?}");

    let coordinator = group.replicas[0].running.as_ref().expect("it runs");
    let lines = eventually("the last line", || {
        let lines = parsed(coordinator);
        lines.iter().any(|line| line["message"] == "study finished").then_some(lines)
    });
    let of = |message: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["message"] == message).collect()
    };
    let member = text(of("agent joined")[0], "agent");
    assert!(member.starts_with('m') && of("agent joined")[0]["host"] == "one", "{member}");
    for (message, least) in [("assigned", 4), ("complete", 2), ("failed", 2), ("attempt failed", 2)]
    {
        let found = of(message);
        assert!(found.len() >= least, "{message}: {found:?}");
        for line in found {
            assert_eq!((text(line, "study"), text(line, "agent")), (study.clone(), member.clone()));
            assert!(line["trial"].as_u64().is_some_and(|trial| trial < 4), "{line}");
            assert!(line["lease"].is_string(), "{line}");
        }
    }
    assert!(of("failed").iter().all(|line| line["reason"] == "error"), "{:?}", of("failed"));
    assert_eq!(text(of("study finished")[0], "study"), study);

    let told = parsed(&agent);
    assert!(told.iter().any(|line| line["agent"] == member.as_str()), "{told:?}");
    for message in ["training", "complete", "failed"] {
        let found: Vec<&Value> = told.iter().filter(|l| l["message"] == message).collect();
        assert!(found.len() >= 2, "{message}: {told:?}");
        assert!(found.iter().all(|l| l["study"] == study.as_str() && l["trial"].is_u64()));
    }
    for log in [coordinator.stderr(), agent.stderr()] {
        assert!(!log.contains(&group.token), "a token is in no log");
        assert!(!log.contains(SAID), "what a program wrote is in no log");
    }
}

#[test]
fn a_log_for_people_has_the_same_fields_and_errors_are_logged_too() {
    let group = Group::found(Site::new(), Place::loopback(), &[]);
    let _agent = group.agent("one", &[0]);
    let coordinator = group.replicas[0].running.as_ref().expect("it runs");
    let line = coordinator.says("agent joined");
    assert!(line.contains("agent=m") && line.contains("host=one"), "{line}");

    let start = ["start", "--data", "other", "--join", "127.0.0.1:1", "--log-format", "json"];
    let ended = group.site.run(Program::Coordinator, &start);
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    let lines: Vec<Value> =
        ended.stderr.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["level"] == "ERROR"), "{lines:?}");
}

fn parsed(running: &Running) -> Vec<Value> {
    let log = running.stderr();
    // The last line may be half written.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    whole.lines().map(parse).collect()
}

fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_else(|| panic!("{key} in {line}")).to_string()
}

/// Two trials of a model, and two of a program that fails.
fn write_failing(site: &Site) -> std::path::PathBuf {
    let rows: String = (0..60).map(|n| format!("{n},{}\n", n % 2)).collect();
    site.write("rows.csv", &format!("x,y\n{rows}"));
    site.write("fail.sh", &format!("echo {SAID} >&2\nexit 1\n"));
    let study = "[study]\nname = \"failing\"\nmetric = \"auroc\"\ncontrols = { constant = false }\n\
                 [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
                 [split]\nouter = { folds = 2 }\n[seeds]\ncount = 1\n[budget]\nattempts = 2\n\
                 [arms.linear]\nmodel = \"linear\"\nepochs = 2\n\
                 [arms.own]\ncommand = [\"sh\", \"fail.sh\"]\nfiles = [\"fail.sh\"]\n\
                 time_limit_s = 60\n";
    site.write("failing.toml", study)
}

const SAID: &str = "hunter2-said-by-a-program";
