//! `coordinator analyze` on lme4's own data sets: the keys that programs read, and lme4's numbers.
//!
//! Floor: wiring.

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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/lme4").join(name)
}
