//! Controls, from the study file to the verdict: a study that leaks is told so, an arm that has only
//! noise to learn from has learned nothing, and an arm that learns is left in peace.
//!
//! Floor: wiring.

use std::fs;

use serde_json::Value;

use crate::process::{Program, Site};

#[test]
fn rows_that_are_copied_across_folds_are_told_as_a_leak_until_their_group_is_named() {
    // Sixty patients of pure noise, each there three times.
    let rows = table(60, 3, |_, noise| noise);

    let leaking = judged(&rows, "drop = [\"patient\"]");
    let arm = &leaking["controls"]["arms"][0];
    assert_eq!((&arm["arm"], &arm["leaks"]), (&"mlp".into(), &true.into()), "{arm}");
    assert!(number(&arm["mean"]) > 0.7, "a copy is remembered: {arm}");
    assert!(number(&arm["above_chance"]["ci"]["low"]) > 0.0, "{arm}");
    let verdict = text(&leaking["verdict"]);
    assert!(verdict.starts_with("mlp leaks: with shuffled labels"), "{verdict}");
    assert_eq!(leaking["verdict_kind"], "not_estimable");

    let kept_together = judged(&rows, "group = \"patient\"");
    let arm = &kept_together["controls"]["arms"][0];
    assert_eq!((&arm["leaks"], &arm["learned"]), (&false.into(), &false.into()), "{arm}");
    let verdict = text(&kept_together["verdict"]);
    assert!(!verdict.contains("leaks"), "{verdict}");
    assert!(
        verdict.contains("mlp does not beat the controls: it has learned nothing"),
        "{verdict}"
    );
}

#[test]
fn an_arm_that_learns_beats_its_controls_and_the_verdict_says_nothing_of_them() {
    let rows = table(180, 1, |label, noise| noise + 1.5 * label);
    let report = judged(&rows, "drop = [\"patient\"]");
    let arm = &report["controls"]["arms"][0];
    assert_eq!((&arm["leaks"], &arm["learned"]), (&false.into(), &true.into()), "{arm}");
    assert_eq!(arm["constant"]["mean"], 0.5, "an area under the curve of guesses");
    assert_eq!((&arm["constant"]["n"], &arm["permuted"]["n"]), (&10.into(), &20.into()), "{arm}");
    let verdict = text(&report["verdict"]);
    assert!(!verdict.contains("control") && !verdict.contains("leak"), "{verdict}");
    // A control is no arm of the study.
    assert_eq!(report["arms"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["comparisons"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["design"]["planned"], 30 + 10 + 20);
}

/// The report of one MLP on these rows, with permuted controls.
fn judged(rows: &str, of_data: &str) -> Value {
    let site = Site::new();
    site.write("rows.csv", rows);
    let study = format!(
        "[study]\nname = \"controls\"\nmetric = \"auroc\"\ncontrols = {{ permuted = 2 }}\n\
         [data]\npath = \"rows.csv\"\ntarget = \"label\"\ntask = \"classification\"\n{of_data}\n\
         [split]\nouter = {{ folds = 5, repeats = 2 }}\n[seeds]\ncount = 3\n\
         [arms.mlp]\nmodel = \"mlp\"\nhidden = [48]\nepochs = 60\nbatch = 16\nlr = 0.01\n"
    );
    site.write("study.toml", &study);
    let run = ["run", "study.toml", "--out", "out"];
    site.run(Program::Coordinator, &run).done();
    let page = fs::read_to_string(site.path("out/report.html")).expect("readable");
    assert!(page.contains("Do the arms beat their controls?"));
    let text = fs::read_to_string(site.path("out/report.json")).expect("readable");
    serde_json::from_str(&text).expect("JSON")
}

/// Patients, each there so often, with eight features made of their label (0 or 1) and of noise.
fn table(patients: u64, copies: usize, feature: impl Fn(f64, f64) -> f64) -> String {
    let mut text = String::from("patient,label");
    (0..FEATURES).for_each(|column| text += &format!(",x{column}"));
    text += "\n";
    let mut state = 7u64;
    let mut noise = || {
        // Knuth's generator, and the sum of twelve of its numbers for a bell.
        let mut unit = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..12).map(|_| unit()).sum::<f64>() - 6.0
    };
    for patient in 0..patients {
        let label = patient % 2;
        let cells = (0..FEATURES).map(|_| format!(",{:.6}", feature(label as f64, noise())));
        let row =
            format!("p{patient},{}{}\n", ["no", "yes"][label as usize], cells.collect::<String>());
        text += &row.repeat(copies);
    }
    text
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

const FEATURES: usize = 8;
