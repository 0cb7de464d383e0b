//! Searches that learn, from the study file to the report: each choice has tries of its own, the same ones in
//! every run and whoever leads, and the best of them is trained again.
//!
//! Floor: wiring.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::cluster::Asked;
use crate::group::Group;
use crate::nested::{choices, exported, records, report, study_of, table};
use crate::process::{Program, Site};

#[test]
fn a_search_tries_the_same_in_every_run_and_its_best_try_is_trained_again() {
    for (method, tune, tries, made) in
        [("tpe", "", 14, 12), ("gp", "tune = 2", 9, 6), ("cmaes", "", 10, 12)]
    {
        let runs = [Site::new(), Site::new()].map(|site| {
            let path = searched(&site, method, tries, (2, 4), tune);
            let path = path.to_str().expect("text");
            let checked = site.run(Program::Coordinator, &["check", path]).done().stdout;
            let said = format!("{method} proposes {tries} configs for each of its");
            assert!(checked.contains(&said), "{checked}");
            site.run(Program::Coordinator, &["run", path, "--out", "out"]).done();
            let rows = exported(&site, "out");
            (choices(&rows, tune.is_empty()), rows, site)
        });
        let [(first, rows, site), (second, ..)] = &runs;
        assert_eq!(first, second, "{method}");
        assert_eq!(first.len(), made, "{method}");
        let mut all = BTreeSet::new();
        for (cell, choice) in first {
            assert_eq!(
                choice.inner.len(),
                tries as usize,
                "{method} {cell:?}: each is another one"
            );
            let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
            let scores = choice.inner.values().map(|scores| mean(scores));
            let best = scores.fold(f64::NEG_INFINITY, f64::max);
            for refit in &choice.refits {
                // Of equally good ones the one that was tried first.
                assert_eq!(mean(&choice.inner[refit]), best, "{method} {cell:?}: {refit}");
            }
            assert_eq!(choice.refits.len(), if tune.is_empty() { 1 } else { 2 }, "{method}");
            all.extend(choice.inner.keys().cloned());
        }
        assert!(all.len() > 2 * tries as usize, "{method}: choices have tries of their own");
        // Each row has its own values, beside the config's name.
        for row in rows.iter().filter(|row| row["arm"] == "mlp") {
            let written = format!("lr={} dropout={}", row["config.lr"], row["config.dropout"]);
            assert_eq!(row["config"], written);
        }
        let report = report(site, "out");
        assert_eq!(report["design"]["complete"], report["design"]["planned"]);
        let part = &report["selection"][0];
        assert_eq!((&part["choices"], &part["configs"]), (&made.into(), &tries.into()), "{part}");
        assert!(part["entropy"].is_null() && part["expected_best"].is_null(), "{part}");
        let searched = &part["searched"];
        assert_eq!(searched["method"], method);
        let number = |value: &Value| value.as_f64().expect("a number");
        let lr = &searched["chosen"][0];
        assert_eq!((&lr["name"], &lr["choices"]), (&"lr".into(), &made.into()));
        assert!(number(&lr["lowest"]) <= number(&lr["median"]), "{lr}");
        assert!((0.0003..=0.3).contains(&number(&lr["median"])), "{lr}");
        let best = searched["running_best"].as_array().expect("a list");
        let so_far: Vec<f64> = best.iter().map(|point| number(&point["best"])).collect();
        assert!(so_far.is_sorted() && so_far.len() > 3, "{so_far:?}");
        let page = fs::read_to_string(site.path("out/report.html")).expect("readable");
        for words in
            ["Where the chosen configs lie", "Best of the tries so far", "by a search of its own"]
        {
            assert!(page.contains(words), "{method}: {words}");
        }
    }
}

#[test]
fn a_leader_that_dies_between_tries_changes_none() {
    let alone = Site::new();
    let run = searched(&alone, "tpe", 16, (4, 30), "");
    alone.run(Program::Coordinator, &["run", run.to_str().expect("text"), "--out", "out"]).done();

    let write = |site: &Site| searched(site, "tpe", 16, (4, 30), "");
    let (group, next, study) = Group::outliving_a_leader(write, 300);
    let csv = group.at(next).run(&["export", &study, "--fresh", "--csv", "-"]).done().stdout;
    assert_eq!(choices(&records(&csv), true), choices(&exported(&alone, "out"), true));
}

#[test]
fn a_search_without_inner_folds_is_refused() {
    let site = Site::new();
    let space = "{ lr = { log = [0.0003, 0.3] } }\nsearch = { method = \"tpe\", configs = 9 }";
    let path = study_of(&site, "flat", &table(0.8), (2, 4), ("", ""), space);
    let asked = site.run(Program::Coordinator, &["check", path.to_str().expect("text")]);
    let said = asked.failed(1);
    assert!(said.contains("tpe learns from scores") && said.contains("test rows"), "{said}");
}

/// An MLP whose rate and dropout are searched for on three inner folds.
fn searched(site: &Site, method: &str, tries: u32, size: (u32, u32), tune: &str) -> PathBuf {
    let space = format!(
        "{{ lr = {{ log = [0.0003, 0.3] }}, dropout = {{ linear = [0.0, 0.6] }} }}\n\
         search = {{ method = {method:?}, configs = {tries} }}"
    );
    let inner = ("inner = { folds = 3 }", tune);
    study_of(site, "search", &table(0.8), size, inner, &space)
}
