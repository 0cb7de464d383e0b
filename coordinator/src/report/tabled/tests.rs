//! Claims about reports on tables: the numbers of a study's own report, and nothing made up.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::stats::mixed::{self, Column, Fit, Formula, Method};

use super::super::analysis::comparisons::NoContrast;
use super::super::content::VerdictKind;
use super::super::tests::{built, rows, study};
use super::*;

/// Arms by seeds by folds, with a score each.
fn observed(
    arms: &[&str],
    seeds: u32,
    folds: u32,
    score: impl Fn(u32, u32, u32) -> f64,
) -> Observations {
    let mut list = Vec::new();
    for arm in 0..arms.len() as u32 {
        for seed in 0..seeds {
            for block in 0..folds {
                list.push(Observation { arm, seed, block, score: score(arm, seed, block) });
            }
        }
    }
    let column = |role: &str| (role.to_string(), format!("the {role}"));
    Observations {
        table: "scores.csv".into(),
        metric: "dice".into(),
        larger_is_better: true,
        roles: ["arm", "seed", "fold"].map(column).into(),
        arms: arms.iter().map(|arm| arm.to_string()).collect(),
        seeds: (0..seeds).map(|seed| seed.to_string()).collect(),
        rows: list,
        ratio: Some(Ratio {
            test_over_train: 1.0 / (f64::from(folds) - 1.0),
            known: Known::Folds { folds },
        }),
        understood: Vec::new(),
        own_formula: false,
        reproduce: "coordinator analyze scores.csv".into(),
    }
}

fn fitted(observed: &Observations) -> Fit {
    let levels = |code: &dyn Fn(&Observation) -> u32, names: Vec<String>| Column::Levels {
        codes: observed.rows.iter().map(code).collect(),
        names,
    };
    let folds = observed.rows.iter().map(|row| row.block).max().unwrap_or(0) + 1;
    let scores = observed.rows.iter().map(|row| row.score).collect();
    let columns = BTreeMap::from([
        ("y".to_string(), Column::Numbers(scores)),
        ("arm".to_string(), levels(&|row| row.arm, observed.arms.clone())),
        ("seed".to_string(), levels(&|row| row.seed, observed.seeds.clone())),
        (
            "fold".to_string(),
            levels(&|row| row.block, (0..folds).map(|fold| fold.to_string()).collect()),
        ),
    ]);
    let fixed = if observed.arms.len() > 1 { "arm" } else { "1" };
    let formula = format!("y ~ {fixed} + (1 | seed) + (1 | fold)");
    mixed::fit(&Formula::parse(&formula).expect("read"), &columns, Method::Reml).expect("a fit")
}

fn of(observed: &Observations) -> Tabled {
    build(observed, &fitted(observed), 0, &Asked::default())
}

/// Asserts the same keys and words, and numbers that differ by rounding at most.
fn alike<T: serde::Serialize>(ours: &T, theirs: &T) {
    let flat = |value: &T| {
        let value = serde_json::to_value(value).expect("JSON");
        let mut list = Vec::new();
        flatten(&value, &mut list);
        list
    };
    let (ours, theirs) = (flat(ours), flat(theirs));
    assert_eq!(ours.len(), theirs.len());
    for ((key, ours), (other, theirs)) in ours.iter().zip(&theirs) {
        assert_eq!(key, other);
        match (ours.as_f64(), theirs.as_f64()) {
            (Some(ours), Some(theirs)) => {
                assert!((ours - theirs).abs() <= 1e-9 * theirs.abs(), "{key}: {ours} {theirs}");
            }
            _ => assert_eq!(ours, theirs, "{key}"),
        }
    }
}

fn flatten(value: &serde_json::Value, list: &mut Vec<(String, serde_json::Value)>) {
    for (key, value) in value.as_object().expect("an object") {
        match value {
            serde_json::Value::Object(_) => flatten(value, list),
            _ => list.push((key.clone(), value.clone())),
        }
    }
}

#[test]
fn a_table_of_a_studys_scores_gives_the_numbers_of_its_report() {
    let study = study(&[("a", 1), ("b", 1), ("c", 1)], 3, 1, 5);
    // Far below the metric's end, which a table's metric does not have.
    let score = |arm: u32, seed: u32, fold: u32| {
        let cell = arm * 7 + seed * 11 + fold * 3;
        0.1 + f64::from(cell * cell % 31) / 100.0
    };
    let rows = rows(&study, |key| Some(score(key.arm, key.seeds[0], key.fold)));
    let theirs = built(&study, &rows);
    let ours = of(&observed(&["a", "b", "c"], 3, 5, score));

    for (ours, theirs) in ours.arms.iter().zip(&theirs.arms) {
        let expected = theirs.scores.clone().expect("scores");
        alike(&ours.scores, &Scores { next_run: None, ..expected });
    }
    assert_eq!(ours.comparisons.len(), 3);
    for (ours, theirs) in ours.comparisons.iter().zip(&theirs.comparisons) {
        assert_eq!((&ours.a, &ours.b, ours.cells), (&theirs.a, &theirs.b, theirs.cells));
        alike(ours.contrast.as_ref().expect("tested"), theirs.contrast.as_ref().expect("tested"));
    }
    assert_eq!(ours.drawn[1].runs, theirs.drawn.arms[1].runs);
}

#[test]
fn a_difference_beyond_its_noise_is_clear_and_by_both_roads_the_same() {
    let noise =
        |seed: u32, fold: u32, arm: u32| f64::from((seed * 5 + fold * 3 + arm * 7) % 11) / 500.0;
    let observed = observed(&["a", "b"], 4, 5, |arm, seed, fold| {
        0.6 + 0.2 * f64::from(arm) + noise(seed, fold, arm)
    });
    let report = of(&observed);

    assert_eq!(report.verdict.kind, VerdictKind::Clear);
    assert!(report.verdict.text.starts_with("b did better than a: its dice is better by 0.2"));
    let pair = &report.comparisons[0];
    let (contrast, mixed) =
        (pair.contrast.as_ref().expect("tested"), pair.mixed.as_ref().expect("fixed"));
    // Balanced: the model's difference of means is the plain one.
    assert!((contrast.difference - mixed.estimate).abs() < 1e-12);
    assert_eq!(mixed.name, "a − b");
    assert!(mixed.df.expect("df") > 1.0 && mixed.p.expect("p") < 1e-6);
}

#[test]
fn a_smaller_score_is_better_where_the_table_says_so() {
    let mut observed = observed(&["a", "b"], 3, 5, |arm, seed, fold| {
        1.0 + f64::from(arm) + f64::from((seed + 2 * fold + arm) % 4) / 50.0
    });
    observed.larger_is_better = false;
    let report = of(&observed);
    assert!(report.verdict.text.starts_with("a did better than b"), "{}", report.verdict.text);
    assert!(html(&report).contains("smaller is better"));
}

#[test]
fn without_folds_nothing_is_said_of_other_data_and_nothing_is_made_up() {
    let mut observed =
        observed(&["a", "b"], 4, 1, |arm, seed, _| 0.5 + f64::from((3 * seed + arm) % 5) / 10.0);
    observed.roles.remove("fold");
    observed.ratio = None;
    let columns = BTreeMap::from([
        ("y".to_string(), Column::Numbers(observed.rows.iter().map(|row| row.score).collect())),
        (
            "seed".to_string(),
            Column::Levels {
                codes: observed.rows.iter().map(|row| row.seed).collect(),
                names: observed.seeds.clone(),
            },
        ),
    ]);
    let formula = Formula::parse("y ~ 1 + (1 | seed)").expect("read");
    let fit = mixed::fit(&formula, &columns, Method::Reml).expect("a fit");
    let report = build(&observed, &fit, 2, &Asked::default());

    assert_eq!(report.verdict.kind, VerdictKind::NotEstimable);
    assert!(report.verdict.text.contains("no column names folds; name it with --fold"));
    assert!(report.verdict.basis.contains("2 rows with missing cells left out"));
    let scores = &report.arms[0].scores;
    assert!(scores.ci_t1.is_some() && scores.ci_t2.is_none());
    let page = html(&report);
    for absent in ["epoch", "agent", "Training time", "Bethard", "standardised"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("how often they were looked at, the table does not tell"));
}

#[test]
fn the_model_has_the_keys_that_programs_read() {
    let observed = observed(&["a"], 3, 4, |_, seed, fold| {
        0.5 + f64::from((seed * seed * 5 + fold * 3 + seed * fold) % 7) / 20.0
    });
    let report = of(&observed);
    let json: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");

    assert_eq!(json["schema"], SCHEMA);
    let model = &json["model"];
    assert_eq!((&model["n"], &model["groups"]["fold"]), (&12.into(), &4.into()));
    for key in ["name", "estimate", "se", "df", "t", "p", "ci"] {
        assert!(!model["fixed"][0][key].is_null(), "{key} in {}", model["fixed"][0]);
    }
    for key in ["criterion", "loglik", "residual", "fit"] {
        assert!(!model[key].is_null(), "{key}");
    }
    let effects = model["ranef"][1]["levels"].as_array().expect("a list");
    assert_eq!((&model["ranef"][1]["factor"], effects.len()), (&"fold".into(), 4));
    let sum: f64 = effects.iter().map(|level| level["mean"].as_f64().expect("a mean")).sum();
    assert!(sum.abs() < 1e-9, "balanced effects add up to zero: {sum}");
    let criterion = model["criterion"].as_f64().expect("a number");
    assert!((model["loglik"].as_f64().expect("a number") + criterion / 2.0).abs() < 1e-12);
}

#[test]
fn no_text_of_a_table_becomes_markup() {
    let mut observed = observed(&["<b>x</b>", "b|c"], 3, 4, |arm, seed, fold| {
        0.5 + f64::from((seed * 5 + fold * 3 + arm * seed * fold) % 7) / 20.0
    });
    observed.metric = "<script>".into();
    let report = of(&observed);
    assert!(!html(&report).contains("<script>") && !html(&report).contains("<b>x"));
    assert!(markdown(&report).contains("b\\|c"));
    assert!(latex(&report).contains("\\textless{}script"));
}

#[test]
fn why_there_is_no_test_is_said_in_words_of_a_table() {
    let table = observed(&["a", "b"], 2, 3, |_, _, _| 0.5);
    let unknown = Observations { ratio: None, ..table.clone() };
    let roles = unknown.roles.iter().filter(|(role, _)| *role != "fold");
    let foldless = Observations {
        roles: roles.map(|(role, column)| (role.clone(), column.clone())).collect(),
        ..unknown.clone()
    };
    let said = |observed: &Observations, why| words::why(observed, why);

    assert_eq!(said(&unknown, NoContrast::NoCell), "there is no seed and fold that both have");
    assert!(said(&unknown, NoContrast::NoRatio).contains("--test-share"));
    assert!(said(&foldless, NoContrast::OneFold).contains("--fold"));
    assert!(said(&table, NoContrast::OneFold).starts_with("both were tested on one fold only"));
    assert!(said(&unknown, NoContrast::Constant).contains("the same in every fold"));
}
