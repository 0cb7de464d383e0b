//! One report over several studies, from finished studies to the page: its numbers are those of the
//! exported runs, each study's ledger counts it, and what cannot be compared is refused unseen.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;

use common::table::{Table, Values};
use serde_json::{Value, json};

use crate::cluster::{Asked, Cluster, write_study};

#[test]
fn a_report_over_studies_has_the_numbers_of_their_runs_and_counts_as_a_look_at_each() {
    let cluster = Cluster::start();
    let agent = cluster.agent("one");
    let finished = |name: &str, change: &dyn Fn(String) -> String| {
        let path = write_study(&cluster.site, name, SEEDS, 20);
        let text = change(fs::read_to_string(&path).expect("readable"));
        fs::write(&path, text).expect("written");
        let study = cluster.submit(&path);
        cluster.finish(&study).is_whole();
    };
    finished("whole", &|text| text);
    let all = fs::read_to_string(cluster.site.path("rows.csv")).expect("readable");
    let half: Vec<&str> = all.lines().take(141).collect();
    cluster.site.write("half.csv", &(half.join("\n") + "\n"));
    finished("half", &|text| text.replace("rows.csv", "half.csv"));
    finished("lossy", &|text| {
        text.replace("metric = \"auroc\"\nalso = [\"accuracy\"]", "metric = \"log_loss\"")
    });
    drop(agent);
    // Of other trainings than the others, whose outcomes it would be given at once.
    cluster.submit(&write_study(&cluster.site, "open", SEEDS, 21));

    let refused = |studies: &str| cluster.run(&["report", "--studies", studies]).failed(1);
    assert!(refused("whole,nowhere").contains("there is no study \"nowhere\""));
    let said = refused("whole,open");
    assert!(said.contains("open has not finished: 0 of 160 trials have ended"), "{said}");
    let said = refused("half,lossy");
    assert!(
        said.contains("half is judged by auroc (larger is better) and lossy by log_loss"),
        "{said}"
    );
    assert!(refused("whole,whole").contains("\"whole\" is named twice"));
    assert!(refused("whole").contains("needs at least 2 of them; 1 given"));
    for name in ["whole", "half"] {
        assert_eq!(cluster.ask(&["ledger", name])["looks"], 0, "a refusal is no look");
    }

    let answer = cluster.ask(&["report", "--studies", "whole,half", "--out", "both"]);
    assert_eq!(
        (&answer["schema"], &answer["verdict_kind"]),
        (&"seedsweep.files/1".into(), &"described".into())
    );
    let files = ["report.html", "report.json", "report.md", "report.tex"];
    let named: Vec<String> = files.iter().map(|file| format!("both/{file}")).collect();
    assert_eq!(answer["files"], json!(named));
    for name in ["whole", "half"] {
        let ledger = cluster.ask(&["ledger", name]);
        assert_eq!(
            (&ledger["looks"], &ledger["latest"][0]["purpose"]),
            (&1.into(), &"report".into())
        );
    }
    let read = |name: &str| fs::read_to_string(cluster.site.path(name)).expect("readable");
    let report: Value = serde_json::from_str(&read("both/report.json")).expect("JSON");
    assert_eq!(report["studies"][1]["study"], "whole");
    assert_eq!(report["studies"][1]["ledger"]["this"], 1);
    let page = read("both/report.html");
    assert!(page.contains("ranks over data sets need 5 studies, 3 more than these"));
    assert_eq!(page.matches("<figure ").count(), 2);

    let runs: Vec<Runs> = ["half", "whole"].map(|name| seed_means(&cluster.export(name))).into();
    agrees(&report, &runs);
    let again = cluster.run(&["report", "--studies", "half,whole", "--format", "json"]).done();
    let again = again.json();
    assert_eq!(again["studies"][0]["ledger"]["this"], 3, "after a report and an export");
    for key in ["arms", "improvement", "runs", "verdict"] {
        assert_eq!(again[key], report[key], "{key}");
    }
}

/// Scores of an arm, one a seed.
type Runs = BTreeMap<String, Vec<f64>>;

/// Mean of each arm's seed over its folds and configs.
fn seed_means(trials: &Table) -> Runs {
    let column = |name: &str| &trials.columns[trials.find(name).expect("a column")];
    let Values::Numbers(scores) = &column("auroc").values else { panic!("scores are numbers") };
    let mut by_seed: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for (row, score) in scores.iter().enumerate() {
        let cell = |name: &str| column(name).text(row).expect("a cell");
        by_seed.entry((cell("arm"), cell("seed"))).or_default().push(*score);
    }
    let mut runs = Runs::new();
    for ((arm, _), scores) in by_seed {
        runs.entry(arm).or_default().push(scores.iter().sum::<f64>() / scores.len() as f64);
    }
    runs
}

/// Compares a report with what its runs give, computed the plain way.
fn agrees(report: &Value, studies: &[Runs]) {
    let number = |value: &Value| value.as_f64().expect("a number");
    let near = |value: &Value, expected: f64, what: &str| {
        assert!((number(value) - expected).abs() < 1e-9, "{what}: {value} {expected}");
    };
    for arm in report["arms"].as_array().expect("a list") {
        let name = arm["arm"].as_str().expect("a name");
        // Guesses have an area of one half under their curve, which is the scale's zero.
        let mut all: Vec<f64> =
            studies.iter().flat_map(|runs| &runs[name]).map(|run| 2.0 * run - 1.0).collect();
        all.sort_by(f64::total_cmp);
        let cut = all.len() / 4;
        let middle = &all[cut..all.len() - cut];
        near(&arm["iqm"], middle.iter().sum::<f64>() / middle.len() as f64, "IQM");
        let gap = all.iter().map(|run| 1.0 - run).sum::<f64>() / all.len() as f64;
        near(&arm["optimality_gap"], gap, "gap");
        let (low, high) = (number(&arm["iqm_ci"]["low"]), number(&arm["iqm_ci"]["high"]));
        assert!(low < number(&arm["iqm"]) && number(&arm["iqm"]) < high, "{arm}");
        assert!(all[0] <= low && high <= all[all.len() - 1], "{arm}");
    }
    let pair = &report["improvement"][0];
    let (a, b) = (pair["a"].as_str().expect("a name"), pair["b"].as_str().expect("a name"));
    let share = |runs: &Runs| {
        let beaten = |x: f64, y: f64| if x == y { 0.5 } else { f64::from(u8::from(x > y)) };
        let won: f64 = runs[a].iter().flat_map(|x| runs[b].iter().map(|y| beaten(*x, *y))).sum();
        won / (runs[a].len() * runs[b].len()) as f64
    };
    let shares: Vec<f64> = studies.iter().map(share).collect();
    near(&pair["p_a_beats_b"], shares.iter().sum::<f64>() / shares.len() as f64, "improvement");
    let mean = |runs: &[f64]| runs.iter().sum::<f64>() / runs.len() as f64;
    let won = studies.iter().filter(|runs| mean(&runs[a]) > mean(&runs[b])).count();
    assert_eq!(pair["a_wins"], won);
}

/// Eight, so that a quarter of all runs is a whole number.
const SEEDS: u32 = 8;
