//! Configs that are halved without waiting for each other, from the study file to the report.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;

use crate::nested::{exported, report, study_of, table};
use crate::process::{Program, Site};

#[test]
fn the_best_third_of_each_rung_has_gone_on_as_the_exported_scores_show() {
    let site = Site::new();
    let space = "{ lr = { log = [0.0001, 0.3] } }\nsearch = { method = \"asha\", configs = 9 }";
    let inner = ("inner = { folds = 2 }", "tune = 2");
    let path = study_of(&site, "asha", &table(0.5), (2, 18), inner, space);
    let path = path.to_str().expect("text");
    let checked = site.run(Program::Coordinator, &["check", path]).done().stdout;
    let note = "9 configs train for 2 epochs, and go on to 6, 18 as soon as they are among the best one in 3";
    assert!(checked.contains(note), "{checked}");
    site.run(Program::Coordinator, &["run", path, "--out", "out"]).done();
    // By choice, then by the epochs of the rung.
    let mut choices: BTreeMap<[String; 2], BTreeMap<String, Rung>> = BTreeMap::new();
    let mut refits: BTreeMap<[String; 2], Vec<String>> = BTreeMap::new();
    for row in exported(&site, "out").iter().filter(|row| row["arm"] == "mlp") {
        let choice = [row["partition"].clone(), row["fold"].clone()];
        let rate = row["config.lr"].clone();
        if row["inner_fold"].is_empty() {
            refits.entry(choice).or_default().push(rate);
            continue;
        }
        let until = row["config.until"].clone();
        assert_eq!(row["epochs"], if until.is_empty() { "18" } else { &until }, "{row:?}");
        let score = row["auroc"].parse().expect("a score");
        let rung = choices.entry(choice).or_default().entry(until).or_default();
        rung.entry(rate).or_default().push(score);
    }
    assert_eq!(choices.len(), 6);
    for (choice, rungs) in &choices {
        let [first, second, last] = ["2", "6", ""].map(|until| &rungs[until]);
        assert!(first.len() == 9 && second.len() >= 3 && !last.is_empty(), "{choice:?}");
        for (below, above) in [(first, second), (second, last)] {
            assert!(above.keys().all(|rate| below.contains_key(rate)), "{choice:?}");
            let mut ordered: Vec<&String> = below.keys().collect();
            ordered.sort_by(|a, b| mean(&below[*b]).total_cmp(&mean(&below[*a])));
            let third = &ordered[..(below.len() / 3).max(1)];
            // Whoever is no worse than the last of the third is among those that a tie leaves open.
            let worst = mean(&below[third[third.len() - 1]]);
            let better = below.iter().filter(|(_, scores)| mean(scores) > worst);
            assert!(
                better.map(|(rate, _)| rate).all(|rate| above.contains_key(rate)),
                "{choice:?}: {below:?} {above:?}"
            );
        }
        let best = last.values().map(|scores| mean(scores)).fold(f64::NEG_INFINITY, f64::max);
        let chosen = &refits[choice];
        assert!(chosen.len() == 2 && chosen.iter().all(|rate| mean(&last[rate]) == best));
    }
    let report = report(&site, "out");
    assert_eq!(report["design"]["complete"], report["design"]["planned"]);
    let page = fs::read_to_string(site.path("out/report.html")).expect("readable");
    assert!(page.contains("without waiting for each other") && page.contains("Li L, Jamieson K"));
    // What was kept to train on is gone.
    assert!(!site.path("out/.seedsweep/agent/checkpoints").exists());
}

fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}

/// By rate: scores on inner folds with each tuning seed.
type Rung = BTreeMap<String, Vec<f64>>;
