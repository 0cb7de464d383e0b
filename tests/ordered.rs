//! Studies in order of time, from the study file to the report: nothing trains on the future, and a target
//! that drifts looks better on drawn folds than it is.
//!
//! Floor: wiring.

use std::fs;

use serde_json::Value;

use crate::process::{Program, Site};

#[test]
fn a_target_that_drifts_looks_better_on_drawn_folds_than_in_order_of_time() {
    let site = Site::new();
    let drawn = run(&site, "drawn", "drop = [\"day\"]", "{ folds = 5 }");
    let chained = run(&site, "chained", "order = \"day\"", "{ folds = 5 }");
    for report in [&drawn, &chained] {
        assert_eq!(report["design"]["outer_folds"], 5);
        assert_eq!(report["design"]["complete"], report["design"]["planned"], "{report}");
    }
    let split = "forward chaining over day: 5 folds, each trained on all earlier rows";
    assert_eq!(chained["study"]["split"], split);
    let page = fs::read_to_string(site.path("chained/report.html")).expect("readable");
    assert!(page.contains(split) && page.contains("is a heuristic here"));
    let order = leak(&chained, "time order");
    assert!(order["passed"] == true, "{order}");
    assert!(leak(&drawn, "time order")["passed"].is_null());
    let [drawn, chained] = [mean(&drawn), mean(&chained)];
    assert!(chained > 1.05 * drawn, "errors of {drawn} on drawn folds, {chained} in order of time");
}

#[test]
fn configs_are_chosen_on_earlier_rows_and_the_latest_rows_test() {
    let site = Site::new();
    let outer = "{ holdout = 0.2 }\ninner = { folds = 3 }";
    let report = run(&site, "held", "order = \"day\"", outer);
    let design = &report["design"];
    assert_eq!(design["complete"], design["planned"], "{design}");
    let split = "the latest 20 % of the rows by day held out to test, all earlier ones trained";
    assert_eq!(report["study"]["split"], split);
    assert!(leak(&report, "time order")["passed"] == true);
    // Two seeds choose of two configs.
    assert_eq!(report["selection"][0]["choices"], 2, "{}", report["selection"]);
    assert!(mean(&report) > 0.0);
}

/// Runs a study of this division and gives its report.
fn run(site: &Site, name: &str, data: &str, outer: &str) -> Value {
    site.write("rows.csv", &rows());
    let text = format!(
        "[study]\nname = \"{name}\"\nmetric = \"rmse\"\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"regression\"\n{data}\n\
         [split]\nouter = {outer}\n\
         [seeds]\ncount = 2\n\
         [arms.mlp]\nmodel = \"mlp\"\nhidden = [8]\nepochs = 60\nbatch = 16\n\
         space = {{ lr = [0.01, 0.02] }}\n"
    );
    let path = site.write(&format!("{name}.toml"), &text);
    let run = ["run", path.to_str().expect("text"), "--out", name];
    site.run(Program::Coordinator, &run).done();
    let path = site.path(&format!("{name}/report.json"));
    serde_json::from_str(&fs::read_to_string(path).expect("readable")).expect("JSON")
}

/// Three rows on each of 80 days, in no order of days; what is measured rises with them.
fn rows() -> String {
    let mut text = String::from("day,a,y\n");
    for row in 0..240u32 {
        let turn = row * 77 % 240;
        let day = turn / 3;
        let a = f64::from(row * 31 % 101) / 50.0 - 1.0;
        let y = a + f64::from(day) / 10.0;
        let date = format!("2019-{:02}-{:02}", 1 + day / 28, 1 + day % 28);
        text += &format!("{date},{a},{y:.4}\n");
    }
    text
}

fn mean(report: &Value) -> f64 {
    report["arms"][0]["mean"].as_f64().expect("a mean")
}

fn leak<'a>(report: &'a Value, check: &str) -> &'a Value {
    let checks = report["leakage"].as_array().expect("a list");
    checks.iter().find(|one| one["check"] == check).expect("made")
}
