//! Nested cross-validation, from the study file to the report: choices that anyone can make again from the
//! exported scores, the same ones whoever leads, and the price of choosing made visible.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::study::Format;
use common::table::Table;
use serde_json::Value;

use crate::cluster::Asked;
use crate::group::Group;
use crate::process::{Program, Site};

#[test]
fn every_choice_is_the_one_that_the_exported_inner_scores_say() {
    let site = Site::new();
    for (name, inner, tune) in [
        ("each", "inner = { folds = 3 }", ""),
        ("all", "inner = { folds = 3 }", "tune = 2"),
        ("held", "inner = { holdout = 0.3 }", ""),
    ] {
        let path = study(&site, name, 2, 6, (inner, tune));
        let out = format!("{name}.out");
        let run = ["run", path.to_str().expect("text"), "--out", &out];
        site.run(Program::Coordinator, &run).done();
        let rows = exported(&site, &out);
        let choices = choices(&rows, tune.is_empty());
        assert_eq!(choices.len(), if tune.is_empty() { 12 } else { 6 }, "{name}");
        for (cell, choice) in &choices {
            let best = choice
                .inner
                .iter()
                .map(|(config, scores)| (scores.iter().sum::<f64>() / scores.len() as f64, config));
            let best = best.max_by(|a, b| a.0.total_cmp(&b.0)).expect("configs").1;
            assert_eq!(choice.inner.len(), 4, "{name} {cell:?}");
            assert!(choice.refits.iter().all(|config| config == best), "{name} {cell:?}: {best}");
            assert_eq!(choice.refits.len(), if tune.is_empty() { 1 } else { 2 }, "{name}");
        }
        let report = report(&site, &out);
        let design = &report["design"];
        // The linear arm has nothing to choose, and the constant needs one seed.
        assert_eq!(design["planned"], 12 + 12 + 6, "{design}");
        assert_eq!(design["complete"], design["planned"]);
        let part = &report["selection"][0];
        let often: u64 = part["frequency"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["chosen"].as_u64().expect("a count"))
            .sum();
        assert_eq!((&part["choices"], often), (&choices.len().into(), choices.len() as u64));
        assert!(part["nested_gap"]["mean"].is_number() && part["entropy"].is_number(), "{part}");
    }
}

#[test]
fn scores_that_chose_flatter_where_nothing_can_be_learned() {
    let site = Site::new();
    let inner = ("inner = { folds = 3 }", "");
    let path = study_of(&site, "noise", &table(0.0), (3, 8), inner, SPACE_WIDE);
    let run = ["run", path.to_str().expect("text"), "--out", "out"];
    site.run(Program::Coordinator, &run).done();
    let report = report(&site, "out");
    let part = &report["selection"][0];
    let number = |value: &Value| value.as_f64().expect("a number");
    let (gap, se) = (number(&part["nested_gap"]["mean"]), number(&part["nested_gap"]["se"]));
    assert!(gap > 2.0 * se, "{part}");
    assert!((number(&part["refit"]) - 0.5).abs() < 0.1, "{part}");
    assert!(number(&part["tibshirani_bias"]) > 0.02, "{part}");
    let best = part["expected_best"].as_array().expect("a list");
    let expected: Vec<f64> = best.iter().map(|point| number(&point["expected"])).collect();
    assert!(expected.is_sorted() && expected.len() > 3, "{expected:?}");
    let page = fs::read_to_string(site.path("out/report.html")).expect("readable");
    assert!(page.contains("What did choosing a config do?") && page.contains("Varma S, Simon R"));
}

#[test]
fn a_leader_that_dies_between_choices_changes_none() {
    let alone = Site::new();
    let run = study(&alone, "search", SEEDS, EPOCHS, ("inner = { folds = 3 }", ""));
    let run = ["run", run.to_str().expect("text"), "--out", "out"];
    alone.run(Program::Coordinator, &run).done();

    let write = |site: &Site| study(site, "search", SEEDS, EPOCHS, ("inner = { folds = 3 }", ""));
    let (group, next, study) = Group::outliving_a_leader(write, 40);
    let csv = group.at(next).run(&["export", &study, "--fresh", "--csv", "-"]).done().stdout;
    assert_eq!(choices(&records(&csv), true), choices(&exported(&alone, "out"), true));
}

/// What one choice was made by, and what came of it.
#[derive(Debug, Default, PartialEq)]
pub struct Choice {
    /// Scores on inner folds by config.
    pub inner: BTreeMap<String, Vec<f64>>,
    /// Configs of refits.
    pub refits: Vec<String>,
}

/// By seed (where each chooses for itself), partition and fold.
pub fn choices(rows: &[BTreeMap<String, String>], by_seed: bool) -> BTreeMap<[String; 3], Choice> {
    let mut found: BTreeMap<[String; 3], Choice> = BTreeMap::new();
    for row in rows.iter().filter(|row| row["arm"] == "mlp") {
        assert_eq!(row["status"], "complete", "{row:?}");
        let seed = if by_seed { row["seed"].clone() } else { String::new() };
        let choice =
            found.entry([seed, row["partition"].clone(), row["fold"].clone()]).or_default();
        match row["inner_fold"].is_empty() {
            true => choice.refits.push(row["config"].clone()),
            false => {
                let score = row["auroc"].parse().expect("a score");
                choice.inner.entry(row["config"].clone()).or_default().push(score);
            }
        }
    }
    found
}

/// The outcomes of a run, from its Parquet file.
pub fn exported(site: &Site, out: &str) -> Vec<BTreeMap<String, String>> {
    let bytes = fs::read(site.path(out).join("trials.parquet")).expect("readable");
    let table = Table::read(Format::Parquet, &bytes).expect("a table");
    (0..table.rows)
        .map(|row| {
            table
                .columns
                .iter()
                .map(|c| (c.name.clone(), c.text(row).unwrap_or_default()))
                .collect()
        })
        .collect()
}

pub fn records(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv.lines().map(|line| line.split(',').map(str::to_string));
    let head: Vec<String> = lines.next().expect("a head").collect();
    lines.map(|cells| head.iter().cloned().zip(cells).collect()).collect()
}

pub fn report(site: &Site, out: &str) -> Value {
    let text = fs::read_to_string(site.path(out).join("report.json")).expect("readable");
    serde_json::from_str(&text).expect("JSON")
}

fn study(site: &Site, name: &str, seeds: u32, epochs: u32, nested: (&str, &str)) -> PathBuf {
    let space = "{ lr = [0.0003, 0.003, 0.03, 0.3] }";
    study_of(site, name, &table(0.8), (seeds, epochs), nested, space)
}

/// An MLP whose config is chosen beside a linear model with none, on three folds drawn twice.
pub fn study_of(
    site: &Site,
    name: &str,
    rows: &str,
    (seeds, epochs): (u32, u32),
    (inner, tune): (&str, &str),
    space: &str,
) -> PathBuf {
    site.write("rows.csv", rows);
    let text = format!(
        "[study]\nname = \"{name}\"\nmetric = \"auroc\"\n\
         [data]\npath = \"rows.csv\"\ntarget = \"label\"\ntask = \"classification\"\n\
         group = \"patient\"\n\
         [split]\nouter = {{ folds = 3, repeats = 2 }}\n{inner}\n\
         [seeds]\ncount = {seeds}\n{tune}\n\
         [arms.mlp]\nmodel = \"mlp\"\nhidden = [8]\nepochs = {epochs}\nbatch = 16\nspace = {space}\n\
         [arms.linear]\nmodel = \"linear\"\nepochs = {epochs}\nbatch = 16\n"
    );
    site.write(&format!("{name}.toml"), &text)
}

/// Ninety patients with two rows each and three features, each `lead` more for those who are ill.
pub fn table(lead: f64) -> String {
    let mut text = String::from("patient,label,a,b,c\n");
    let mut state = 11u64;
    let mut noise = || {
        // Knuth's generator, and the sum of twelve of its numbers for a bell.
        let mut unit = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..12).map(|_| unit()).sum::<f64>() - 6.0
    };
    for row in 0..180 {
        let (patient, ill) = (row / 2, row / 2 % 2);
        let cells: Vec<String> =
            (0..3).map(|_| format!("{:.5}", noise() + lead * f64::from(ill))).collect();
        let label = ["well", "ill"][ill as usize];
        text += &format!("p{patient},{label},{}\n", cells.join(","));
    }
    text
}

/// Many configs of which none is better than another.
const SPACE_WIDE: &str = "{ lr = { log = [0.001, 0.1], points = 8 }, dropout = [0.0, 0.2, 0.4] }";
const SEEDS: u32 = 6;
const EPOCHS: u32 = 60;
