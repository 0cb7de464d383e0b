//! Configs that race, from the study file to the report: what cannot be the best is trained no further.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;

use crate::nested::{exported, report, study_of, table};
use crate::process::{Program, Site};

#[test]
fn dropped_configs_are_behind_in_the_exported_scores_and_are_trained_no_further() {
    let site = Site::new();
    let space = "{ lr = { log = [0.0003, 0.3], points = 6 } }\n\
                 search = { method = \"grid\", race = true, first = 3, level = 0.5 }";
    let inner = ("inner = { folds = 2 }", "tune = 12");
    let path = study_of(&site, "raced", &table(0.8), (2, 6), inner, space);
    let path = path.to_str().expect("text");
    let checked = site.run(Program::Coordinator, &["check", path]).done().stdout;
    assert!(checked.contains("between 216 and 864 trainings choose"), "{checked}");
    site.run(Program::Coordinator, &["run", path, "--out", "out"]).done();

    let mut choices: BTreeMap<[String; 2], Choice> = BTreeMap::new();
    for row in exported(&site, "out").iter().filter(|row| row["arm"] == "mlp") {
        let choice = choices.entry([row["partition"].clone(), row["fold"].clone()]).or_default();
        let rate = row["config.lr"].clone();
        if row["inner_fold"].is_empty() {
            choice.refits.push(rate);
            continue;
        }
        let scores = choice.configs.entry(rate).or_default();
        scores
            .entry(row["seed"].parse().expect("a number"))
            .or_default()
            .push(row["auroc"].parse().expect("a score"));
    }
    assert_eq!(choices.len(), 6);
    let (mut dropped, mut trainings) = (0, 0);
    for (place, choice) in &choices {
        assert_eq!(choice.configs.len(), 6, "{place:?}");
        let most = choice.configs.values().map(BTreeMap::len).max().expect("configs");
        for (rate, seeds) in &choice.configs {
            // The first seeds, without gaps, each on both folds.
            assert!(seeds.len() >= 3 && seeds.keys().copied().eq(0..seeds.len() as u32), "{rate}");
            assert!(seeds.values().all(|folds| folds.len() == 2), "{place:?} {rate}");
            trainings += 2 * seeds.len();
            let better = |other: &Seeds| mean(other, seeds.len()) > mean(seeds, seeds.len());
            if seeds.len() < most {
                assert!(choice.configs.values().any(better), "{place:?}: {rate} leads, and is out");
            }
        }
        let last: Vec<&String> = choice
            .configs
            .iter()
            .filter(|(rate, seeds)| seeds.len() == 12 || most < 12 && choice.refits.contains(rate))
            .map(|(rate, _)| rate)
            .collect();
        dropped += 6 - last.len();
        let score = |rate: &String| mean(&choice.configs[rate], most);
        let best = last.iter().max_by(|a, b| score(a).total_cmp(&score(b))).expect("one is left");
        assert!(choice.refits.iter().all(|rate| rate == *best), "{place:?}: {:?}", choice.refits);
        assert_eq!(choice.refits.len(), 2);
    }
    assert!(dropped > 6, "rates that learn nothing are behind: {dropped}");
    let report = report(&site, "out");
    let race = &report["selection"][0]["race"];
    assert_eq!((&race["dropped"], &race["configs"]), (&dropped.into(), &36.into()));
    assert_eq!(race["trainings"], trainings);
    assert_eq!(race["trainings_saved"], 6 * 6 * 12 * 2 - trainings);
    assert_eq!(report["design"]["complete"], report["design"]["planned"]);
    let page = fs::read_to_string(site.path("out/report.html")).expect("readable");
    let words = format!("of 36 in all choices {dropped} were dropped before the last of 12");
    assert!(page.contains(&words) && page.contains("raced in each choice"), "{words}");
}

/// By rate, and what was trained again.
#[derive(Debug, Default)]
struct Choice {
    configs: BTreeMap<String, Seeds>,
    refits: Vec<String>,
}

/// By tuning seed: scores on inner folds.
type Seeds = BTreeMap<u32, Vec<f64>>;

/// Over the first so many seeds.
fn mean(seeds: &Seeds, first: usize) -> f64 {
    let scores: Vec<f64> = seeds.values().take(first).flatten().copied().collect();
    scores.iter().sum::<f64>() / scores.len() as f64
}
