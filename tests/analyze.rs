//! `coordinator analyze` on lme4's own data sets: the keys that programs read, and lme4's numbers; and
//! on a table of scores: its forms, its report, and what is refused.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Answer, Program, Site};

#[test]
fn crossed_factors_agree_with_lme4() {
    agrees("Penicillin", "diameter", "y ~ 1 + (1|plate) + (1|sample)", "penicillin", false);
}

#[test]
fn nested_factors_agree_with_lme4() {
    agrees("Pastes", "strength", "y ~ 1 + (1|batch/cask)", "pastes", false);
}

#[test]
fn maximum_likelihood_agrees_with_lme4() {
    agrees("Penicillin", "diameter", "y ~ 1 + (1|plate) + (1|sample)", "penicillin", true);
}

#[test]
fn a_formula_that_cannot_be_read_names_the_token() {
    let answer = analyze("Pastes", "strength", &["--formula", "y ~ 1 + (1|batch) ** cask"]);
    let said = answer.failed(1);
    assert!(said.contains("`*` at position 19"), "{said}");
}

#[test]
fn a_column_that_the_table_lacks_is_named_beside_those_it_has() {
    let answer = analyze("Pastes", "strength", &["--formula", "y ~ 1 + (1|oven)"]);
    let said = answer.failed(1);
    assert!(said.contains("\"oven\"") && said.contains("cask"), "{said}");
}

#[test]
fn a_table_that_is_not_there_is_named() {
    let site = Site::new();
    let arguments = ["analyze", "absent.csv", "--metric", "a", "--formula", "y ~ 1 + (1|b)"];
    let said = site.run(Program::Coordinator, &arguments).failed(1);
    assert!(said.contains("absent.csv"), "{said}");
}

#[test]
fn the_same_table_in_four_forms_gives_the_same_bytes() {
    let said = |name: &str| {
        let answer = scores(name, &[&["--json"], &ROLES[..]].concat()).done();
        assert_eq!(answer.stderr, "");
        answer.stdout
    };
    let csv = said("scores.csv");
    for name in ["scores.tsv", "scores.jsonl", "scores.parquet"] {
        assert_eq!(said(name), csv, "{name}");
    }
    let answer: Value = serde_json::from_str(&csv).expect("JSON");
    assert_eq!((&answer["n"], &answer["left_out"]), (&39.into(), &1.into()));
    let formula = "y ~ arm + (1 | fold) + (1 | arm:fold) + (1 | seed) + (1 | arm:seed)";
    assert_eq!(answer["formula"], formula);
    assert_eq!(answer["groups"]["arm:fold"], 10);
    let arm = &answer["fixed"][1];
    assert_eq!(arm["name"], "armunet");
    let number = |key: &str| arm[key].as_f64().expect("a number");
    // Made 0.03 apart, with an error of 0.01 a row.
    assert!((number("estimate") + 0.03).abs() < 0.02 && number("p") < 0.05, "{arm}");
    assert!((number("t") - number("estimate") / number("se")).abs() < 1e-9, "{arm}");
    assert_eq!(answer["ranef"][0]["levels"][0]["level"], "split0");
}

#[test]
fn a_parquet_file_that_is_streamed_gives_the_numbers_of_the_table_held() {
    let formula = "y ~ model + (1 | split) + (1 | model:split) + (1 | run)";
    let asked = ["--json", "--metric", "dice", "--formula", formula];
    let held = scores("scores.csv", &asked).done();
    let streamed = scores("scores.parquet", &asked).done();
    assert_eq!(streamed.stdout, held.stdout);
    let absent = ["--json", "--metric", "dice", "--formula", "y ~ 1 + (1 | oven)"];
    let answer = scores("scores.parquet", &absent);
    let said = answer.json().to_string();
    assert!(said.contains("oven") && said.contains("split"), "{answer}");
}

#[test]
fn what_is_asked_of_the_model_stands_beside_its_estimates() {
    let asked = ["--json", "--baseline", "unet", "--bootstrap", "1000", "--df", "kenward-roger"];
    let answer = scores("scores.csv", &[&asked[..], &ROLES[..]].concat()).done().json();
    assert_eq!(answer["df_method"], "Kenward-Roger");
    assert_eq!(answer["bootstrap"]["draws"], 1_000);
    let against = &answer["contrasts"][0];
    assert_eq!(against["method"], "Dunnett");
    // With two arms there is one difference, and nothing to allow for.
    let number = |key: &str| against[key].as_f64().expect("a number");
    assert!((number("p_adjusted") - number("p")).abs() < 2e-3, "{against}");
    for part in answer["components"].as_array().expect("a list") {
        let sd = part["sd"].as_f64().expect("a number");
        let ends = &part["ci_sd_bootstrap"];
        assert!(ends[0].as_f64() <= Some(sd) && Some(sd) <= ends[1].as_f64(), "{part}");
        let exact = part["levels"].as_u64() <= Some(10);
        assert_eq!(part["p_exact"].is_number(), exact, "{part}");
    }
    let profiled = scores("scores.csv", &[&["--json", "--ml"], &ROLES[..]].concat()).done().json();
    let fixed = &profiled["fixed"][1];
    let estimate = fixed["estimate"].as_f64();
    assert!(
        fixed["ci_profile"][0].as_f64() < estimate && estimate < fixed["ci_profile"][1].as_f64()
    );
    let said = scores("scores.csv", &[&["--baseline", "absent"], &ROLES[..]].concat()).failed(1);
    assert!(said.contains("absent") && said.contains("unet"), "{said}");
}

#[test]
fn a_wide_table_is_understood_as_the_long_one_is() {
    let long = scores("scores.csv", &[&["--json"], &ROLES[..]].concat()).done().json();
    let wide = ["--wide", "--metric", "dice", "--arm", "model", "--seed", "run", "--out", "told"];
    let site = Site::new();
    let answer = scores_at(&site, "wide.csv", &wide).done();
    let understood = "its 5 columns split0, split1, split2, split3, split4 are the levels of fold";
    assert!(answer.stderr.contains(understood), "{}", answer.stderr);
    let report = fs::read_to_string(site.path("told/report.json")).expect("readable");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert!(report["understood"][0].as_str().expect("text").contains(understood));
    for key in ["criterion", "fixed", "components", "ranef", "n"] {
        assert_eq!(report["model"][key], long[key], "{key}");
    }
}

#[test]
fn a_table_has_a_whole_report_with_nothing_of_a_study() {
    let site = Site::new();
    let answer = scores_at(&site, "scores.parquet", &ROLES).done();
    assert!(answer.stdout.contains("swin did better than unet"), "{}", answer.stdout);
    let read = |name: &str| fs::read_to_string(site.path("scores").join(name)).expect("readable");
    let page = read("report.html");
    assert_eq!(page.matches("<figure ").count(), 2);
    for absent in ["epoch", "agent", "Seed use", "Training time"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("Folds are taken for those of 5-fold cross-validation"));
    assert!(read("report.md").contains("as in the corrected resampled t-test"));
    assert!(read("report.tex").contains("\\cite{nadeau2003}"));
    let report: Value = serde_json::from_str(&read("report.json")).expect("JSON");
    assert_eq!(
        (&report["schema"], &report["verdict_kind"]),
        (&"seedsweep.table/1".into(), &"clear".into())
    );
    // Fold means of the differences, worked out from the table the plain way.
    let text = fs::read_to_string(folder("analyze/scores.csv")).expect("readable");
    let mut cells: BTreeMap<(String, String), BTreeMap<String, f64>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let [model, run, split, dice] = line.split(',').collect::<Vec<_>>()[..] else { panic!() };
        if let Ok(dice) = dice.parse() {
            let cell = cells.entry((split.into(), run.into())).or_default();
            cell.insert(model.into(), dice);
        }
    }
    let mut folds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for ((split, _), cell) in cells.iter().filter(|(_, cell)| cell.len() == 2) {
        folds.entry(split).or_default().push(cell["swin"] - cell["unet"]);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means: Vec<f64> = folds.values().map(|values| mean(values)).collect();
    let squares: f64 = means.iter().map(|value| (value - mean(&means)).powi(2)).sum();
    // Five folds, of which each tests a quarter of what it trains on.
    let se = ((1.0 / 5.0 + 1.0 / 4.0) * squares / 4.0).sqrt();
    let pair = &report["comparisons"][0];
    assert_eq!((&pair["a"], &pair["cells"]), (&"swin".into(), &19.into()));
    let middle = |ends: &Value| {
        let end = |key: &str| ends[key].as_f64().expect("a number");
        (end("low") + end("high")) / 2.0
    };
    near(&middle(&pair["ci_corrected"]).into(), &mean(&means).into(), 1e-9, "difference");
    // Seeds add to the error what fold means do not show.
    assert!(pair["p_mixed"].as_f64() < Some(0.05), "{pair}");
    near(&pair["se_corrected"], &se.into(), 1e-9, "standard error");

    let told = [&ROLES[..], &["--test-share", "0.5"]].concat();
    scores_at(&site, "scores.csv", &[&told[..], &["--out", "half"]].concat()).done();
    let half: Value =
        serde_json::from_str(&fs::read_to_string(site.path("half/report.json")).expect("readable"))
            .expect("JSON");
    let wider = ((1.0 / 5.0 + 1.0) * squares / 4.0).sqrt();
    near(
        &half["comparisons"][0]["se_corrected"],
        &wider.into(),
        1e-9,
        "standard error, half tested",
    );
}

#[test]
fn a_table_that_does_not_fit_its_roles_is_refused_with_what_to_change() {
    let said = |name: &str, further: &[&str]| scores(name, further).failed(1);
    let absent = said("scores.csv", &["--metric", "dice", "--arm", "architecture"]);
    assert!(absent.contains("no column \"architecture\", which --arm names"), "{absent}");
    assert!(absent.contains("it has model, run, split, dice"), "{absent}");
    let twice = said("scores.csv", &["--metric", "dice", "--arm", "model", "--seed", "run"]);
    assert!(twice.contains("rows 1 and 2 are both of arm unet, seed 0"), "{twice}");
    assert!(twice.contains("--fold, --repeat, --case"), "{twice}");
    let nothing = said("scores.csv", &["--metric", "dice"]);
    assert!(nothing.contains("--arm, --seed and --fold, or a --formula"), "{nothing}");
    let site = Site::new();
    site.write("bad.csv", "run,dice\n1,0.5\n2,0.6\n3,?\n4,n/a\n");
    let bad = ["analyze", "bad.csv", "--metric", "dice", "--seed", "run"];
    let text = site.run(Program::Coordinator, &bad).failed(1);
    assert!(text.contains("row 4 of \"dice\" holds \"n/a\""), "{text}");
    site.write("bad.jsonl", "{\"run\":1,\"dice\":0.5}\n{\"run\":2,\"dice\":[1]}\n");
    let bad = ["analyze", "bad.jsonl", "--metric", "dice", "--seed", "run"];
    let text = site.run(Program::Coordinator, &bad).failed(1);
    assert!(text.contains("line 2: `dice` holds an array or object"), "{text}");
}

/// The roles of the table of scores.
const ROLES: [&str; 8] = ["--metric", "dice", "--arm", "model", "--seed", "run", "--fold", "split"];

fn scores(name: &str, further: &[&str]) -> Answer {
    scores_at(&Site::new(), name, further)
}

fn scores_at(site: &Site, name: &str, further: &[&str]) -> Answer {
    let table = folder("analyze").join(name);
    let mut arguments = vec!["analyze", table.to_str().expect("text")];
    arguments.extend(further);
    site.run(Program::Coordinator, &arguments)
}

/// Fits `formula` to a data set and compares with the fit of lme4 that has this name.
fn agrees(set: &str, metric: &str, formula: &str, fit: &str, ml: bool) {
    let mut further = vec!["--formula", formula, "--json"];
    further.extend(ml.then_some("--ml"));
    let answer = analyze(set, metric, &further).done().json();
    let method = if ml { "ML" } else { "REML" };
    let expected = reference(set, fit, method);

    assert_eq!(answer["schema"], "seedsweep.analyze/1");
    assert_eq!((&answer["method"], &answer["n"]), (&method.into(), &expected["n_obs"]));
    near(&answer["criterion"], &expected["criterion"], 1e-6, "criterion");
    let fixed = answer["fixed"].as_array().expect("a list");
    assert_eq!((fixed.len(), &fixed[0]["name"]), (1, &"(Intercept)".into()));
    near(&fixed[0]["estimate"], &expected["fixef"]["(Intercept)"], 1e-6, "intercept");
    near(&fixed[0]["se"], &expected["fixef_se"]["(Intercept)"], 1e-4, "its standard error");
    let components = answer["components"].as_array().expect("a list");
    let references = expected["var_components"].as_array().expect("a list");
    assert_eq!(components.len() + 1, references.len(), "{components:?}");
    let mut shares = 0.0;
    for reference in references {
        let name = reference["group"].as_str().expect("a factor");
        let component = match name {
            "Residual" => &answer["residual"],
            name => components.iter().find(|c| is_factor(c, name)).expect(name),
        };
        near(&component["variance"], &reference["vcov"], 1e-4, name);
        near(&component["sd"], &reference["sdcor"], 1e-4, name);
        assert_eq!(component["at_boundary"], false, "{name}");
        assert_eq!(component["levels"].as_u64(), levels(&expected, name), "{name}");
        shares += component["share"].as_f64().expect("a share");
    }
    assert!((shares - 1.0).abs() < 1e-12, "{shares}");
    assert_eq!(answer["fit"]["converged"], true);
    assert!(answer["fit"]["evaluations"].as_u64() > Some(1));
}

/// A cask within its batch is what the data set calls a sample.
fn is_factor(component: &Value, lme4: &str) -> bool {
    let ours = &component["factor"];
    ours == lme4 || (lme4 == "sample" && ours == "batch:cask")
}

fn levels(fit: &Value, factor: &str) -> Option<u64> {
    match factor {
        "Residual" => fit["n_obs"].as_u64(),
        _ => fit["groups"][factor].as_u64(),
    }
}

fn analyze(set: &str, metric: &str, further: &[&str]) -> Answer {
    let table = data(&format!("{set}.csv"));
    let mut arguments = vec!["analyze", table.to_str().expect("text"), "--metric", metric];
    arguments.extend(further);
    Site::new().run(Program::Coordinator, &arguments)
}

fn reference(set: &str, fit: &str, method: &str) -> Value {
    let text = fs::read_to_string(data(&format!("{set}.expected.json"))).expect("readable");
    let reference: Value = serde_json::from_str(&text).expect("JSON");
    let id = format!("{fit}_{}", method.to_lowercase());
    let fits = reference["fits"].as_array().expect("a list");
    fits.iter().find(|fit| fit["id"] == id.as_str()).expect("this fit").clone()
}

fn near(ours: &Value, theirs: &Value, relative: f64, what: &str) {
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{what}: {value}"));
    let (ours, theirs) = (number(ours), number(theirs));
    assert!((ours - theirs).abs() <= relative * theirs.abs(), "{what}: {ours}, lme4: {theirs}");
}

fn data(name: &str) -> PathBuf {
    folder("lme4").join(name)
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}
