//! Seeds bought until the answer is known, from the study file to the report; the same ones whoever leads.
//!
//! Floor: wiring.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::cluster::Asked;
use crate::group::Group;
use crate::nested::report;
use crate::process::{Program, Site};

#[test]
fn a_study_whose_answer_is_known_ends_and_says_why_and_what_it_saved() {
    let site = Site::new();
    let path = study(&site, "early", "[stop]\nfirst = 3", "");
    let run = ["run", path.to_str().expect("text"), "--out", "out"];
    let said = site.run(Program::Coordinator, &run).done();
    assert!(said.stdout.contains("Stop after") && said.stdout.contains("were saved"), "{said:?}");
    assert!(said.stderr.contains("[stop]: between 3 and 30 seeds"), "{said:?}");
    let report = report(&site, "out");
    let stop = &report["stop"];
    let seeds = stop["seeds"].as_u64().expect("a number");
    assert!((3..30).contains(&seeds), "{stop}");
    assert_eq!((&stop["why"], &stop["planned_seeds"]), (&"rule".into(), &30.into()));
    // Three folds of two arms, and a constant's one seed.
    let design = &report["design"];
    assert_eq!(design["planned"], 6 * seeds + 3, "{design}");
    assert_eq!(design["complete"], design["planned"]);
    assert_eq!(stop["trainings_saved"], 6 * (30 - seeds));
    let basis = report["verdict_basis"].as_str().expect("text");
    assert!(basis.contains(&format!("ended it after {seeds} of 30 seeds")), "{basis}");
    let page = fs::read_to_string(site.path("out/report.html")).expect("readable");
    assert!(page.contains("Why did it stop there?"));
    let again = site.run(Program::Coordinator, &run).done();
    assert!(again.stderr.contains("every training was done before"), "{again:?}");
}

#[test]
fn a_leader_that_dies_while_seeds_are_bought_changes_no_decision() {
    let (stop, nested) = ("[stop]\nfirst = 3", "inner = { folds = 2 }");
    let alone = Site::new();
    let run = study(&alone, "bought", stop, nested);
    let run = ["run", run.to_str().expect("text"), "--out", "out"];
    alone.run(Program::Coordinator, &run).done();

    let write = |site: &Site| study(site, "bought", stop, nested);
    let (group, next, study) = Group::outliving_a_leader(write, 40);
    let json = group.at(next).run(&["report", &study, "--fresh", "--format", "json"]).done().stdout;
    let report_of_group: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report_of_group["stop"], report(&alone, "out")["stop"]);
    assert!(report_of_group["stop"]["seeds"].is_number());
}

#[test]
fn a_spent_budget_ends_the_run_with_its_own_status_and_the_same_command_goes_on() {
    let site = Site::new();
    let path = study(&site, "spent", "[budget]\nagent_hours = 0.000002", "");
    let run = ["run", path.to_str().expect("text"), "--out", "out"];
    let said = site.run(Program::Coordinator, &run).failed(4);
    assert!(said.contains("the budget of 0.000002 agent-hours is spent"), "{said}");
    let first = report(&site, "out")["design"]["complete"].as_u64().expect("a number");
    assert!(first > 0 && first < 180, "{first}");
    site.run(Program::Coordinator, &run).failed(4);
    let second = report(&site, "out")["design"]["complete"].as_u64().expect("a number");
    assert!(second > first, "{second}");
}

/// An arm that learns beside one that hardly does, on three folds.
fn study(site: &Site, name: &str, tables: &str, inner: &str) -> PathBuf {
    let mut rows = String::from("label,a,b\n");
    let mut state = 5u64;
    for row in 0..150 {
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let lead = 0.5 * f64::from(row % 2);
        rows += &format!("{},{:.5},{:.5}\n", row % 2, noise() + lead, noise() + lead);
    }
    site.write("rows.csv", &rows);
    let lr = if inner.is_empty() { "lr = 0.02" } else { "space = { lr = [0.01, 0.03] }" };
    let text = format!(
        "[study]\nname = \"{name}\"\nmetric = \"auroc\"\n\
         [data]\npath = \"rows.csv\"\ntarget = \"label\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 3 }}\n{inner}\n[seeds]\ncount = 30\n{tables}\n\
         [arms.learns]\nmodel = \"mlp\"\nhidden = [8]\nepochs = 30\nbatch = 16\n\
         {lr}\n\
         [arms.hardly]\nmodel = \"mlp\"\nhidden = [8]\nepochs = 1\nbatch = 100\nlr = 0.00001\n"
    );
    site.write(&format!("{name}.toml"), &text)
}
