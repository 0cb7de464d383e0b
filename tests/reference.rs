//! The statistics against numbers made by others.
//!
//! Mixed models: five real data sets fitted by lme4; values, scripts and tolerances are in
//! `data/lme4/README.md`. Comparisons of two arms: scipy and the published formula, made by the
//! script in `data/compare/`.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use common::stats::compare::{PairedT, corrected_t, naive_t};
use common::stats::mixed::{Column, Fit, Formula, Method, Part, fit, profile_interval, zero_test};
use common::stats::summary::{self, Summary};

#[test]
fn fits_agree_with_lme4() {
    for (name, count) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        let fits = random_intercept_fits(&expected);
        assert_eq!(fits.len(), *count, "{name}");
        for reference in fits {
            let fit = fitted(reference, &columns);
            check_estimates(&fit, reference);
            check_fixed(&fit, reference);
            check_blups(&fit, reference);
        }
    }
}

fn check_estimates(fit: &Fit, reference: &Value) {
    let id = &reference["id"];
    assert!(fit.converged, "{id}: {}", fit.gradient_norm);
    assert_eq!(fit.n as u64, reference["n_obs"].as_u64().unwrap(), "{id}");
    near(fit.criterion, number(&reference["criterion"]), 1e-6, &format!("{id} criterion"));
    let sigma = number(&reference["sigma"]);
    near(fit.sigma(), sigma, 1e-5 * sigma, &format!("{id} sigma"));
    for row in reference["var_components"].as_array().unwrap() {
        let factor = row["group"].as_str().unwrap();
        let component = match factor {
            "Residual" => &fit.residual,
            _ => fit.components.iter().find(|c| c.factor == factor).unwrap(),
        };
        let variance = number(&row["vcov"]);
        if variance < 1e-8 * sigma * sigma {
            assert_eq!(component.variance, 0.0, "{id} {factor}");
            assert!(component.at_boundary, "{id} {factor}");
        } else {
            near(component.variance, variance, 1e-4 * variance, &format!("{id} {factor}"));
            assert!(!component.at_boundary, "{id} {factor}");
        }
    }
    let shares: f64 = fit.components.iter().map(|c| c.share).sum::<f64>() + fit.residual.share;
    near(shares, 1.0, 1e-12, "shares");
}

fn check_fixed(fit: &Fit, reference: &Value) {
    let id = &reference["id"];
    assert_eq!(fit.fixed.len() as u64, reference["n_fixef"].as_u64().unwrap(), "{id}");
    for (i, fixed) in fit.fixed.iter().enumerate() {
        let se = number(&reference["fixef_se"][&fixed.name]);
        let what = format!("{id} {}", fixed.name);
        near(fixed.estimate, number(&reference["fixef"][&fixed.name]), 1e-5 * se, &what);
        near(fixed.se, se, 1e-5 * se, &what);
        for j in 0..fit.fixed.len() {
            let covariance = number(&reference["fixef_vcov"][i][j]);
            near(fit.fixed_vcov[i][j], covariance, 1e-4 * covariance.abs(), &what);
        }
    }
}

fn check_blups(fit: &Fit, reference: &Value) {
    let tolerance = 1e-4 * fit.sigma();
    for (component, blups) in fit.components.iter().zip(&fit.blups) {
        let listed = reference["ranef"][&component.factor].as_array().unwrap();
        assert_eq!(blups.len(), listed.len());
        for row in listed {
            let level = row["level"].as_str().unwrap();
            let blup = blups.iter().find(|blup| blup.level == level).unwrap();
            let what = format!("{} {} {level}", reference["id"], component.factor);
            near(blup.mean, number(&row["mode"]["(Intercept)"]), tolerance, &what);
            near(blup.sd, number(&row["cond_sd"]["(Intercept)"]), tolerance, &what);
        }
    }
}

#[test]
fn reml_profile_intervals_agree_with_lme4() {
    for (name, _) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        let fit = fitted(random_intercept_fits(&expected)[0], &columns);
        let intervals = &expected["profile_ci_reml_95"];
        for (part, key) in parts(&fit, |factor| format!("{factor}.(Intercept)")) {
            let (lower, upper) = profile_interval(&fit, part, 0.95);
            let (low, high) =
                (number(&intervals[&key]["lower"]), number(&intervals[&key]["upper"]));
            near(lower, low, 1e-4 * low, &format!("{name} {key} lower"));
            near(upper, high, 1e-4 * high, &format!("{name} {key} upper"));
        }
    }
}

#[test]
fn ml_profile_intervals_agree_with_lme4() {
    for (name, _) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        let fit = fitted(random_intercept_fits(&expected)[1], &columns);
        assert_eq!(fit.method, Method::Ml);
        let intervals = &expected["profile_ci_ml_95"];
        for (part, key) in parts(&fit, |factor| format!("sd_(Intercept)|{factor}")) {
            let (lower, upper) = profile_interval(&fit, part, 0.95);
            let (low, high) =
                (number(&intervals[&key]["lower"]), number(&intervals[&key]["upper"]));
            near(lower, low, 1e-3 * low, &format!("{name} {key} lower"));
            near(upper, high, 1e-3 * high, &format!("{name} {key} upper"));
        }
    }
}

#[test]
fn tests_of_a_zero_variance_agree_with_lme4() {
    for (name, _) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        let fits = random_intercept_fits(&expected);
        let models: Vec<Fit> = fits.iter().map(|fit| fitted(fit, &columns)).collect();
        let mut compared = 0;
        for row in expected["lrt"].as_array().unwrap() {
            let Some(at) = fits
                .iter()
                .position(|fit| fit["formula"] == row["full"] && fit["method"] == row["method"])
            else {
                continue;
            };
            let note = row["note"].as_str().unwrap();
            let dropped = note.split_whitespace().nth(1).unwrap();
            let index = models[at].components.iter().position(|c| c.factor == dropped).unwrap();
            let test = zero_test(&models[at], index);
            near(test.statistic, number(&row["chisq"]), 1e-5, &format!("{name} {note}"));
            let p = number(&row["p_chibar_half"]);
            near(test.p, p, 1e-5 * p, &format!("{name} {note} p"));
            compared += 1;
        }
        assert!(compared >= 2, "{name}");
    }
}

#[test]
fn dyestuff_equals_its_closed_forms() {
    let columns = columns("Dyestuff");
    let formula = Formula::parse("Yield ~ 1 + (1 | Batch)").unwrap();
    let reml = fit(&formula, &columns, Method::Reml).unwrap();
    let ml = fit(&formula, &columns, Method::Ml).unwrap();

    near(reml.components[0].variance, 1764.05, 1e-5, "REML variance of Batch");
    near(reml.residual.variance, 2451.25, 1e-6, "REML residual variance");
    near(ml.components[0].variance, 1_388.333_333_333_333, 1e-5, "ML variance of Batch");
    near(reml.fixed[0].estimate, 1527.5, 1e-9, "mean");
}

#[test]
fn paired_comparisons_agree_with_scipy() {
    for row in json("compare/expected.json")["comparisons"].as_array().unwrap() {
        let differences = numbers(&row["differences"]);
        let ratio = number(&row["test_over_train"]);
        check_paired(&naive_t(&differences).unwrap(), &row["naive"], &row["name"]);
        check_paired(&corrected_t(&differences, ratio).unwrap(), &row["corrected"], &row["name"]);
    }
}

fn check_paired(paired: &PairedT, expected: &Value, name: &Value) {
    let what = name.as_str().unwrap();
    assert_eq!(paired.df, number(&expected["df"]), "{what}");
    let ends = numbers(&expected["ci"]);
    let pairs = [
        (paired.mean, number(&expected["mean"])),
        (paired.se, number(&expected["se"])),
        (paired.t, number(&expected["t"])),
        (paired.p, number(&expected["p"])),
        (paired.ci.0, ends[0]),
        (paired.ci.1, ends[1]),
    ];
    for (actual, expected) in pairs {
        near(actual, expected, 1e-10 * expected.abs(), what);
    }
}

#[test]
fn summaries_agree_with_scipy() {
    for row in json("compare/expected.json")["summaries"].as_array().unwrap() {
        let values = numbers(&row["values"]);
        let summary = Summary::of(&values).unwrap();
        let interval = summary::mean_interval(&values, 0.9).unwrap();
        let ends = numbers(&row["ci90"]);
        let mut pairs = vec![
            (summary.mean, number(&row["mean"])),
            (summary.sd.unwrap(), number(&row["sd"])),
            (summary.median, number(&row["median"])),
            (summary.min, number(&row["min"])),
            (summary.max, number(&row["max"])),
            (summary.iqm, number(&row["iqm"])),
            (interval.0, ends[0]),
            (interval.1, ends[1]),
        ];
        for quantile in row["quantiles"].as_array().unwrap() {
            let at = numbers(quantile);
            pairs.push((summary::quantile(&values, at[0]), at[1]));
        }
        for (actual, expected) in pairs {
            near(actual, expected, 1e-10 * expected.abs(), row["name"].as_str().unwrap());
        }
    }
}

#[test]
fn quantiles_and_shares_agree_with_scipy() {
    let expected = json("compare/expected.json");
    for row in expected["normal_quantiles"].as_array().unwrap() {
        let at = numbers(row);
        near(summary::normal_quantile(at[0]), at[1], 1e-10, "normal quantile");
    }
    for row in expected["student_quantiles"].as_array().unwrap() {
        let at = numbers(row);
        let tolerance = 1e-10 * at[2].abs().max(1.0);
        near(summary::student_quantile(at[0], at[1]), at[2], tolerance, &format!("{at:?}"));
    }
    for row in expected["wilson"].as_array().unwrap() {
        let (successes, trials) =
            (row["successes"].as_u64().unwrap(), row["trials"].as_u64().unwrap());
        let ends = numbers(&row["interval"]);
        let (low, high) = summary::wilson_interval(successes, trials, number(&row["level"]));
        near(low, ends[0], 1e-10, "Wilson, lower end");
        near(high, ends[1], 1e-10, "Wilson, upper end");
    }
}

pub(crate) fn random_intercept_fits(expected: &Value) -> Vec<&Value> {
    let fits = expected["fits"].as_array().unwrap().iter();
    fits.filter(|fit| Formula::parse(fit["formula"].as_str().unwrap()).is_ok()).collect()
}

pub(crate) fn fitted(reference: &Value, columns: &BTreeMap<String, Column>) -> Fit {
    let formula = Formula::parse(reference["formula"].as_str().unwrap()).unwrap();
    let method = if reference["method"] == "REML" { Method::Reml } else { Method::Ml };
    fit(&formula, columns, method).unwrap()
}

pub(crate) fn parts(fit: &Fit, key: impl Fn(&str) -> String) -> Vec<(Part, String)> {
    let components = fit.components.iter().enumerate();
    let components = components.map(|(i, c)| (Part::Component(i), key(&c.factor)));
    components.chain([(Part::Residual, "sigma".to_owned())]).collect()
}

/// A CSV file as columns: numbers where every entry is one, but for names of subjects.
pub(crate) fn columns(name: &str) -> BTreeMap<String, Column> {
    let text = fs::read_to_string(data(&format!("lme4/{name}.csv"))).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let rows: Vec<Vec<&str>> = lines.collect();
    let column = |index: usize| {
        let entries: Vec<&str> = rows.iter().map(|row| row[index]).collect();
        let numbers: Result<Vec<f64>, _> = entries.iter().map(|entry| entry.parse()).collect();
        match numbers {
            Ok(numbers) if header[index] != "Subject" => Column::Numbers(numbers),
            _ => levels(&entries),
        }
    };
    header.iter().enumerate().map(|(index, name)| ((*name).to_owned(), column(index))).collect()
}

fn levels(entries: &[&str]) -> Column {
    let mut names: Vec<String> = Vec::new();
    let codes = entries
        .iter()
        .map(|entry| {
            let known = names.iter().position(|name| name == entry);
            known.unwrap_or_else(|| {
                names.push((*entry).to_owned());
                names.len() - 1
            }) as u32
        })
        .collect();
    Column::Levels { codes, names }
}

pub(crate) fn json(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(data(path)).unwrap()).unwrap()
}

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
pub(crate) fn near(actual: f64, expected: f64, tolerance: f64, what: &str) {
    let apart = (actual - expected).abs();
    assert!(apart <= tolerance, "{what}: {actual} is {apart:e} from {expected}");
}

/// Data sets, and how many of their fits have random intercepts alone.
pub(crate) const MODELS: &[(&str, usize)] =
    &[("Dyestuff", 2), ("Dyestuff2", 2), ("Penicillin", 2), ("Pastes", 2), ("sleepstudy", 2)];
