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
use common::stats::mixed::{
    Accumulator, Column, Component, Fit, Formula, Method, Part, Slice, fit, profile_interval,
    zero_test,
};
use common::stats::summary::{self, Summary};

#[test]
fn fits_agree_with_lme4() {
    for (name, count) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        let fits = expected["fits"].as_array().unwrap();
        assert_eq!(fits.len(), *count, "{name}");
        for reference in fits {
            let fit = fitted(reference, &columns);
            check_estimates(&fit, reference);
            check_components(&fit, reference);
            check_fixed(&fit, reference);
            check_blups(&fit, reference);
            check_rows(&fit, reference, &columns);
        }
    }
}

fn check_estimates(fit: &Fit, reference: &Value) {
    let id = &reference["id"];
    assert!(fit.converged, "{id}: {}", fit.gradient_norm);
    assert_eq!(fit.n as u64, reference["n_obs"].as_u64().unwrap(), "{id}");
    near(fit.criterion, number(&reference["criterion"]), 1e-6, &format!("{id} criterion"));
    near(fit.loglik(), number(&reference["loglik"]), 1e-6, &format!("{id} loglik"));
    near(fit.aic(), number(&reference["AIC"]), 1e-6, &format!("{id} AIC"));
    near(fit.bic(), number(&reference["BIC"]), 1e-6, &format!("{id} BIC"));
    assert_eq!(fit.parameters() as u64, reference["n_par"].as_u64().unwrap(), "{id}");
    assert_eq!(fit.singular(), reference["singular"].as_bool().unwrap(), "{id}");
    let sigma = number(&reference["sigma"]);
    near(fit.sigma(), sigma, 1e-5 * sigma, &format!("{id} sigma"));
    // serde_json sorts keys, so thetas are found by the names of their terms.
    let theta = reference["theta"].as_object().unwrap();
    assert_eq!(fit.theta.len(), theta.len(), "{id}");
    for (name, actual) in theta_names(fit).iter().zip(&fit.theta) {
        let expected = number(&theta[name]);
        // Half of what a variance may be off by, and of its own size where a covariance is small.
        let tolerance = 5e-5 * expected.abs().max(0.1 * largest(&fit.theta));
        near(*actual, expected, tolerance, &format!("{id} {name}"));
    }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |max, value| max.max(value.abs()))
}

/// lme4's names of theta: `group.term`, and `group.later.earlier` between two terms.
fn theta_names(fit: &Fit) -> Vec<String> {
    let mut names = Vec::new();
    for (index, component) in fit.components.iter().enumerate() {
        names.push(format!("{}.{}", component.factor, component.term));
        let pairs = fit.correlations.iter().filter(|pair| pair.components[0] == index);
        names.extend(
            pairs.map(|pair| format!("{}.{}.{}", pair.factor, pair.terms[1], pair.terms[0])),
        );
    }
    names
}

fn check_components(fit: &Fit, reference: &Value) {
    let id = &reference["id"];
    let sigma = number(&reference["sigma"]);
    let rows = reference["var_components"].as_array().unwrap();
    assert_eq!(rows.len(), fit.components.len() + fit.correlations.len() + 1, "{id}");
    for row in rows {
        // lme4 counts terms with the same group: `Subject`, `Subject.1`.
        let group = row["group"].as_str().unwrap();
        let factor = group.split('.').next().unwrap();
        let component = |term: &Value| -> &Component {
            let Some(term) = term.as_str() else { return &fit.residual };
            fit.components.iter().find(|c| c.factor == factor && c.term == term).unwrap()
        };
        let what = format!("{id} {group} {} {}", row["term1"], row["term2"]);
        let variance = number(&row["vcov"]);
        if let Some(other) = row["term2"].as_str() {
            let terms = [row["term1"].as_str().unwrap(), other];
            let pair = fit.correlations.iter().find(|c| c.factor == factor && c.terms == terms);
            let pair = pair.unwrap();
            let sds = component(&row["term1"]).sd * component(&row["term2"]).sd;
            near(pair.covariance, variance, 1e-4 * sds, &what);
            near(pair.correlation.unwrap(), number(&row["sdcor"]), 1e-4, &what);
            continue;
        }
        let component = component(&row["term1"]);
        if variance < 1e-8 * sigma * sigma {
            assert_eq!(component.variance, 0.0, "{what}");
            assert!(component.at_boundary, "{what}");
        } else {
            near(component.variance, variance, 1e-4 * variance, &what);
            near(component.sd, number(&row["sdcor"]), 1e-4 * component.sd, &what);
            assert!(!component.at_boundary, "{what}");
        }
    }
    let shares = fit.components.iter().map(|c| c.share).sum::<f64>() + fit.residual.share;
    let shares = shares + fit.correlations.iter().map(|pair| pair.share).sum::<f64>();
    near(shares, 1.0, 1e-12, "shares");
}

fn check_rows(fit: &Fit, reference: &Value, columns: &BTreeMap<String, Column>) {
    let fitted = fit.fitted(columns).unwrap();
    let response = Formula::parse(&fit.formula).unwrap().response().to_owned();
    let Column::Numbers(y) = &columns[&response] else { panic!("{response} is no number") };
    let tolerance = 1e-4 * fit.sigma();
    let heads = [numbers(&reference["fitted_head"]), numbers(&reference["resid_head"])];
    assert!(heads[0].len() > 5 && heads[1].len() == heads[0].len());
    for (row, (value, residual)) in heads[0].iter().zip(&heads[1]).enumerate() {
        near(fitted[row], *value, tolerance, &format!("{} fitted {row}", reference["id"]));
        let left = y[row] - fitted[row];
        near(left, *residual, tolerance, &format!("{} residual {row}", reference["id"]));
    }
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
    for (component, blups) in fit.components.iter().zip(&fit.blups) {
        let listed = reference["ranef"][&component.factor].as_array().unwrap();
        assert_eq!(blups.len(), listed.len());
        let tolerance = 1e-4 * fit.sigma().min(component.sd.max(1e-8));
        for row in listed {
            let level = row["level"].as_str().unwrap();
            let blup = blups.iter().find(|blup| blup.level == level).unwrap();
            let what = format!("{} {} {level}", reference["id"], component.factor);
            near(blup.mean, number(&row["mode"][&component.term]), tolerance, &what);
            near(blup.sd, number(&row["cond_sd"][&component.term]), tolerance, &what);
        }
    }
}

#[test]
fn rows_in_chunks_give_the_same_bits() {
    for (name, _) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        for reference in expected["fits"].as_array().unwrap() {
            let whole = fitted(reference, &columns);
            let formula = Formula::parse(reference["formula"].as_str().unwrap()).unwrap();
            let mut rows = Accumulator::new(&formula);
            // From the last chunk to the first.
            for chunk in (0..whole.n.div_ceil(13)).rev() {
                let range = 13 * chunk..(13 * chunk + 13).min(whole.n);
                let part = columns.iter().map(|(name, column)| {
                    let part = match column {
                        Column::Numbers(values) => Slice::Numbers(&values[range.clone()]),
                        Column::Levels { codes, names } => {
                            Slice::Levels { codes: &codes[range.clone()], names }
                        }
                    };
                    (name.as_str(), part)
                });
                rows.add(&part.collect()).unwrap();
            }
            let streamed = rows.fit(whole.method).unwrap();
            assert_eq!(streamed.criterion.to_bits(), whole.criterion.to_bits());
            assert_eq!(streamed.theta, whole.theta);
            assert_eq!(streamed.fixed, whole.fixed);
            assert_eq!(streamed.blups, whole.blups);
        }
    }
}

#[test]
fn intervals_of_correlated_slopes_agree_with_lme4() {
    let expected = json("lme4/sleepstudy.expected.json");
    let columns = columns("sleepstudy");
    let intervals = &expected["profile_ci_ml_95_slope_corr"];
    let formula = Formula::parse("Reaction ~ 1 + Days + (1 + Days | Subject)").unwrap();
    let fit = fit(&formula, &columns, Method::Ml).unwrap();
    for (part, key) in parts(&fit, |c| format!("sd_{}|{}", c.term, c.factor)) {
        let (lower, upper) = profile_interval(&fit, part, 0.95).unwrap();
        let (low, high) = (number(&intervals[&key]["lower"]), number(&intervals[&key]["upper"]));
        near(lower, low, 1e-3 * low, &format!("{key} lower"));
        near(upper, high, 1e-3 * high, &format!("{key} upper"));
    }
}

#[test]
fn reml_profile_intervals_agree_with_lme4() {
    for (name, _) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        let fit = fitted(random_intercept_fits(&expected)[0], &columns);
        let intervals = &expected["profile_ci_reml_95"];
        for (part, key) in parts(&fit, |c| format!("{}.(Intercept)", c.factor)) {
            let (lower, upper) = profile_interval(&fit, part, 0.95).unwrap();
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
        for (part, key) in parts(&fit, |c| format!("sd_(Intercept)|{}", c.factor)) {
            let (lower, upper) = profile_interval(&fit, part, 0.95).unwrap();
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
            let test = zero_test(&models[at], index).unwrap();
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

/// The fits whose random terms are intercepts alone.
pub(crate) fn random_intercept_fits(expected: &Value) -> Vec<&Value> {
    let intercepts = |fit: &&Value| {
        fit["theta"].as_object().unwrap().keys().all(|name| name.ends_with(".(Intercept)"))
            && fit["theta"].as_object().unwrap().len() == fit["groups"].as_object().unwrap().len()
    };
    expected["fits"].as_array().unwrap().iter().filter(intercepts).collect()
}

pub(crate) fn fitted(reference: &Value, columns: &BTreeMap<String, Column>) -> Fit {
    let formula = Formula::parse(reference["formula"].as_str().unwrap()).unwrap();
    let method = if reference["method"] == "REML" { Method::Reml } else { Method::Ml };
    fit(&formula, columns, method).unwrap()
}

pub(crate) fn parts(fit: &Fit, key: impl Fn(&Component) -> String) -> Vec<(Part, String)> {
    let components = fit.components.iter().enumerate();
    let components = components.map(|(i, c)| (Part::Component(i), key(c)));
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

/// Data sets, and how many fits each has.
pub(crate) const MODELS: &[(&str, usize)] =
    &[("Dyestuff", 2), ("Dyestuff2", 2), ("Penicillin", 2), ("Pastes", 2), ("sleepstudy", 6)];
