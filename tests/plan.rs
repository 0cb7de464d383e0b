//! `coordinator plan`: what a study would train, what that takes, and what it could detect.
//!
//! Floor: wiring.

use std::fs;

use serde_json::Value;

use crate::process::{Program, Site};

#[test]
fn a_plan_counts_what_is_trained_and_says_what_it_takes_and_could_detect() {
    let site = Site::new();
    site.write("rows.csv", &rows());
    for (name, inner, chooses) in
        [("flat", "", 0), ("nested", "inner = { folds = 3 }", 6 * 4 * 2 * 3)]
    {
        let path = study(&site, name, &format!("outer = {{ folds = 4 }}\n{inner}"));
        let picture = format!("{name}.svg");
        let asked =
            ["plan", &path, "--pilot", "3", "--difference", "0.9", "--picture", &picture, "--json"];
        let plan = site.run(Program::Coordinator, &asked).done().json();
        let check = site.run(Program::Coordinator, &["check", &path, "--json"]).done().json();
        assert_eq!(
            (&plan["trials"], &plan["schema"]),
            (&check["trials"], &"seedsweep.plan/1".into())
        );
        let stages = plan["stages"].as_array().expect("a list");
        let trials = |stage: &Value| stage["trials"].as_u64().expect("a number");
        assert_eq!(Some(stages.iter().map(trials).sum()), plan["trials"].as_u64(), "{plan}");
        let choose = stages.iter().find(|stage| stage["stage"] == "choose configs on inner folds");
        assert_eq!(choose.map_or(0, trials), chooses, "{plan}");

        let pilot = &plan["pilot"];
        let number = |value: &Value| value.as_f64().expect("a number");
        assert!(
            number(&pilot["agent_seconds"]) > 0.0 && number(&pilot["bytes"]) > 1_000.0,
            "{pilot}"
        );
        assert_eq!(pilot["trainings"].as_array().map(Vec::len), Some(2), "{pilot}");
        let designs = plan["detectable"].as_array().expect("designs");
        let found = |seeds: u64, folds: u64| {
            let is = |one: &&Value| one["seeds"] == seeds && one["folds"] == folds;
            designs.iter().find(is).unwrap_or_else(|| panic!("{seeds} on {folds}: {designs:?}"))
        };
        let (now, more) = (found(6, 4), found(24, 4));
        assert!(number(&now["smallest"]) > number(&now["half_width"]), "{now}");
        assert!(number(&more["smallest"]) <= number(&now["smallest"]), "{more}");
        assert!(number(&now["power"]) > 0.9, "nine tenths of an area are found: {now}");
        let svg = fs::read_to_string(site.path(&picture)).expect("written");
        assert!(svg.starts_with("<svg"), "{}", &svg[..40]);
    }
}

#[test]
fn a_plan_warns_of_what_its_design_cannot_carry_and_keeps_nothing() {
    let site = Site::new();
    site.write("rows.csv", &rows());
    let path = study(&site, "held", "outer = { holdout = 0.3 }");
    let said = site.run(Program::Coordinator, &["plan", &path, "--pilot", "1"]).done().stdout;
    assert!(said.contains("seeds are the only source that is varied"), "{said}");
    assert!(said.contains("What it could detect cannot be told"), "{said}");
    let path = study(&site, "few", "outer = { folds = 2 }");
    let text = fs::read_to_string(site.path("few.toml")).expect("readable");
    fs::write(site.path("few.toml"), text.replace("[split]", "group = \"site\"\n[split]"))
        .expect("written");
    let asked = ["plan", &path, "--difference", "0.0000001", "--pilot", "2"];
    let said = site.run(Program::Coordinator, &asked).done().stdout;
    assert!(said.contains("the rows are of 3 groups"), "{said}");
    assert!(said.contains("a difference of 0.0000001 is likely missed"), "{said}");
    let said = site.run(Program::Coordinator, &["plan", &path, "--pilot", "0"]).done().stdout;
    assert!(said.contains("Nothing was tried"), "{said}");
    let refused =
        site.run(Program::Coordinator, &["plan", &path, "--pilot", "0", "--picture", "p.svg"]);
    assert!(refused.failed(1).contains("there is no picture"));
}

fn study(site: &Site, name: &str, split: &str) -> String {
    let text = format!(
        "[study]\nname = \"{name}\"\nmetric = \"auroc\"\n\
         [data]\npath = \"rows.csv\"\ntarget = \"label\"\ntask = \"classification\"\n\
         [split]\n{split}\n[seeds]\ncount = 6\n\
         [arms.mlp]\nmodel = \"mlp\"\nhidden = [8]\nepochs = 5\nspace = {{ lr = [0.001, 0.1] }}\n\
         [arms.linear]\nmodel = \"linear\"\nepochs = 5\n"
    );
    site.write(&format!("{name}.toml"), &text).to_str().expect("text").to_string()
}

/// Rows of three sites, their features partly noise.
fn rows() -> String {
    let row = |at: u64| {
        let (noise, label) = (at.wrapping_mul(2_654_435_761) >> 7, at % 2);
        let cells = [noise % 97, noise % 61].map(|cell| (cell + 30 * label).to_string());
        format!("s{},{},{}\n", at % 3, ["no", "yes"][label as usize], cells.join(","))
    };
    "site,label,a,b\n".to_string() + &(0..180).map(row).collect::<String>()
}
