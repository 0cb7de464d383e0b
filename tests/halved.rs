//! Configs that are halved, from the study file to the report: the best of each rung go on, and are trained
//! on and not anew.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;

use crate::nested::{exported, report, study_of, table};
use crate::process::{Program, Site};

#[test]
fn the_best_of_each_rung_go_on_as_anyone_can_see_from_the_exported_scores() {
    let site = Site::new();
    let space = "{ lr = { log = [0.0001, 0.3] } }\nsearch = { method = \"halving\", configs = 9 }";
    let inner = ("inner = { folds = 2 }", "tune = 2");
    let path = study_of(&site, "halved", &table(0.5), (2, 18), inner, space);
    let path = path.to_str().expect("text");
    let checked = site.run(Program::Coordinator, &["check", path]).done().stdout;
    let note = "9 configs train for 2 epochs, the best 3 of them for 6, the best 1 of them for 18";
    assert!(checked.contains(note), "{checked}");
    site.run(Program::Coordinator, &["run", path, "--out", "out"]).done();
    // By choice, then by the epochs of the rung.
    let mut choices: BTreeMap<[String; 2], BTreeMap<String, Rung>> = BTreeMap::new();
    let mut refits: BTreeMap<[String; 2], Vec<String>> = BTreeMap::new();
    for row in exported(&site, "out").iter().filter(|row| row["arm"] == "mlp") {
        let choice = [row["partition"].clone(), row["fold"].clone()];
        if row["inner_fold"].is_empty() {
            refits.entry(choice).or_default().push(row["config.lr"].clone());
            continue;
        }
        let until = row["config.until"].clone();
        assert_eq!(row["epochs"], if until.is_empty() { "18" } else { &until }, "{row:?}");
        let rung = choices.entry(choice).or_default().entry(until).or_default();
        let score = row["auroc"].parse().expect("a score");
        rung.entry(row["config.lr"].clone()).or_default().push(score);
    }
    assert_eq!(choices.len(), 6);
    for (choice, rungs) in &choices {
        let [first, second, last] = ["2", "6", ""].map(|until| &rungs[until]);
        assert_eq!([first, second, last].map(BTreeMap::len), [9, 3, 1], "{choice:?}");
        for (below, above) in [(first, second), (second, last)] {
            let mean = |rate: &String| below[rate].iter().sum::<f64>() / below[rate].len() as f64;
            let worst = above.keys().map(mean).fold(f64::INFINITY, f64::min);
            let out = below.keys().filter(|rate| !above.contains_key(*rate));
            assert!(out.map(mean).all(|score| score <= worst), "{choice:?}: {below:?} {above:?}");
        }
        assert!(refits[choice].iter().all(|rate| last.contains_key(rate)), "{choice:?}");
    }
    let report = report(&site, "out");
    assert_eq!(report["design"]["complete"], report["design"]["planned"]);
    assert_eq!(report["selection"][0]["configs"], 9);
    let page = fs::read_to_string(site.path("out/report.html")).expect("readable");
    assert!(page.contains("were halved by their scores on inner folds"));
    // What was kept to train on is gone.
    assert!(!site.path("out/.seedsweep/agent/checkpoints").exists());
}

/// By rate: scores on inner folds with each tuning seed.
type Rung = BTreeMap<String, Vec<f64>>;
