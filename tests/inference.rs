//! Degrees of freedom, intervals, tests and bootstraps of mixed models, against lmerTest, pbkrtest,
//! RLRsim and lme4's `profile` and `bootMer`; values, scripts and tolerances are in
//! `data/lme4/README.md`. Dunnett's comparisons: integrated by the script in `data/dunnett/`.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use serde_json::Value;

use common::stats::mixed::{
    Column, DfMethod, Fit, Formula, Freedom, InferenceError, Method, Multiplicity, Part, bootstrap,
    contrasts, exact_zero_test, fit, fixed_profile_interval, profile_correlation, profile_interval,
    zero_test,
};

use crate::reference::{
    MODELS, columns, fitted, json, near, number, numbers, parts, random_intercept_fits,
};

#[test]
fn degrees_of_freedom_agree_with_lmertest_and_pbkrtest() {
    let mut compared = 0;
    for (name, reference, fit) in every_restricted_fit() {
        if fit.singular() {
            continue;
        }
        let ddf = &reference["ddf"];
        let satterthwaite = Freedom::of(&fit, DfMethod::Satterthwaite).unwrap();
        let kenward_roger = Freedom::of(&fit, DfMethod::KenwardRoger).unwrap();
        for (index, fixed) in fit.fixed.iter().enumerate() {
            let what = format!("{name} {} {}", fit.formula, fixed.name);
            let weights = unit(index, &fit);
            let simple = satterthwaite.contrast(&weights).unwrap();
            let df = number(&ddf["satterthwaite_df"][&fixed.name]);
            near(simple.df, df, 1e-3 * df, &format!("{what} Satterthwaite"));
            near(simple.se, fixed.se, 1e-12 * fixed.se, &what);
            let corrected = kenward_roger.contrast(&weights).unwrap();
            let df = number(&ddf["kenward_roger_df"][&fixed.name]);
            near(corrected.df, df, 1e-3 * df, &format!("{what} Kenward-Roger"));
            let se = number(&ddf["kenward_roger_se"][&fixed.name]);
            // The reference took these from a fit that ended 3e-5 from its optimum.
            near(corrected.se, se, 1e-4 * se, &format!("{what} Kenward-Roger SE"));
            assert!(!fit.singular(), "{what}");
            compared += 1;
        }
    }
    assert_eq!(compared, 9);
}

#[test]
fn a_fixed_effect_beside_correlated_slopes_is_profiled_as_lme4_does() {
    let expected = json("lme4/sleepstudy.expected.json");
    let model = |fit: &&Value| {
        fit["method"] == "ML" && fit["formula"].as_str().unwrap().contains("(1 + Days")
    };
    let reference = expected["fits"].as_array().unwrap().iter().find(model).unwrap();
    let fit = fitted(reference, &columns("sleepstudy"));
    let (lower, upper) = profile_correlation(&fit, 0, 0.95).unwrap();
    let row = &expected["profile_ci_ml_95_slope_corr"]["cor_Days.(Intercept)|Subject"];
    near(lower, number(&row["lower"]), 1e-3, "correlation");
    near(upper, number(&row["upper"]), 1e-3, "correlation");
    for (part, effect) in [(0, "(Intercept)"), (1, "Days")] {
        let ends = profile_interval(&fit, Part::Component(part), 0.95).unwrap();
        let row = &expected["profile_ci_ml_95_slope_corr"][format!("sd_{effect}|Subject")];
        compare_ends(ends, row, 1e-3, effect);
    }
    for (index, fixed) in fit.fixed.iter().enumerate() {
        let (lower, upper) = fixed_profile_interval(&fit, &unit(index, &fit), 0.95).unwrap();
        let row = &expected["profile_ci_ml_95_slope_corr"][&fixed.name];
        let width = number(&row["upper"]) - number(&row["lower"]);
        near(lower, number(&row["lower"]), 1e-3 * width, &fixed.name);
        near(upper, number(&row["upper"]), 1e-3 * width, &fixed.name);
    }
}

#[test]
fn a_bootstrap_of_correlated_slopes_covers_what_was_fitted() {
    let (_, _, fit) = every_restricted_fit().into_iter().last().unwrap();
    assert_eq!(fit.correlations.len(), 1);
    let draws = bootstrap(&fit, 1_000, 11).unwrap();
    for (index, component) in fit.components.iter().enumerate() {
        let (lower, upper) = draws.sd(Part::Component(index), 0.95);
        assert!(lower < component.sd && component.sd < upper, "{}", component.term);
        let (lower, upper) = draws.share(Part::Component(index), 0.95);
        assert!(lower < component.share && component.share < upper, "{}", component.term);
    }
    let correlation = fit.correlations[0].correlation.unwrap();
    let (lower, upper) = draws.correlation(0, 0.95).unwrap();
    assert!(lower < correlation && correlation < upper, "{lower} {upper}");
    // The fixed effects' spread is theirs by generalised least squares.
    for (index, fixed) in fit.fixed.iter().enumerate() {
        let (lower, upper) = draws.contrast(&unit(index, &fit), 0.95).unwrap();
        near((upper - lower) / (2.0 * 1.96 * fixed.se), 1.0, 0.12, &fixed.name);
    }
    let exact = exact_zero_test(&fit, 0, 1_000, 1);
    assert_eq!(exact, Err(InferenceError::ExactCorrelated));
}

#[test]
fn a_variance_at_zero_is_held_there_and_said_to_be() {
    let (_, _, fit) =
        restricted_fits().into_iter().find(|(name, ..)| *name == "Dyestuff2").unwrap();
    for method in [DfMethod::Satterthwaite, DfMethod::KenwardRoger] {
        let precision = Freedom::of(&fit, method).unwrap().contrast(&[1.0]).unwrap();
        // Without its only other variance the model is a mean of independent rows.
        near(precision.df, (fit.n - 1) as f64, 1e-8, "df");
        near(precision.se, fit.fixed[0].se, 1e-12, "se");
        assert!(fit.singular());
    }
}

#[test]
fn one_more_outcome_of_a_balanced_design_has_its_closed_form() {
    let (_, _, fit) = restricted_fits().remove(0);
    let freedom = Freedom::of(&fit, DfMethod::Satterthwaite).unwrap();
    let parts = [(Part::Component(0), 1.0), (Part::Residual, 1.0)];
    let precision = freedom.widened(&[1.0], &parts).unwrap();

    // 6 batches of 5: the variance is a sum of the two mean squares, whose df are 5 and 24.
    let (within, between): (f64, f64) = (2_451.25, 2_451.25 + 5.0 * 1_764.05);
    let (of_between, of_within) = (between * (1.0 / 30.0 + 1.0 / 5.0), within * (1.0 - 1.0 / 5.0));
    let variance = of_between + of_within;
    let df = variance.powi(2) / (of_between.powi(2) / 5.0 + of_within.powi(2) / 24.0);
    near(precision.se, variance.sqrt(), 1e-7 * variance.sqrt(), "se");
    near(precision.df, df, 1e-5 * df, "df");
    // The same batch again: its spread is no part of it.
    let same = freedom.widened(&[1.0], &[(Part::Residual, 1.0)]).unwrap();
    near(same.se, (fit.fixed[0].se.powi(2) + within).sqrt(), 1e-5, "se");
}

#[test]
fn nothing_more_leaves_a_contrast_as_it_is() {
    for (name, _, fit) in restricted_fits() {
        for method in [DfMethod::Satterthwaite, DfMethod::KenwardRoger] {
            let freedom = Freedom::of(&fit, method).unwrap();
            let (plain, widened) =
                (freedom.contrast(&unit(0, &fit)).unwrap(), freedom.widened(&unit(0, &fit), &[]));
            let widened = widened.unwrap();
            near(widened.se, plain.se, 1e-12 * plain.se, name);
            near(widened.df, plain.df, 1e-9 * plain.df, name);
        }
    }
}

#[test]
fn full_profile_intervals_agree_with_lme4() {
    for (name, _) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let fit = fitted(random_intercept_fits(&expected)[1], &columns(name));
        assert_eq!(fit.method, Method::Ml);
        for (key, level) in [("profile_ci_ml_95", 0.95), ("profile_ci_ml_80", 0.80)] {
            for (part, row) in parts(&fit, |part| format!("sd_(Intercept)|{}", part.factor)) {
                let ends = profile_interval(&fit, part, level).unwrap();
                compare_ends(ends, &expected[key][&row], 1e-3, &format!("{name} {key} {row}"));
            }
            for (index, fixed) in fit.fixed.iter().enumerate() {
                let (lower, upper) =
                    fixed_profile_interval(&fit, &unit(index, &fit), level).unwrap();
                let row = &expected[key][&fixed.name];
                let what = format!("{name} {key} {}", fixed.name);
                // Relative to the interval, whose ends may be of any size.
                let width = number(&row["upper"]) - number(&row["lower"]);
                near(lower, number(&row["lower"]), 1e-3 * width, &what);
                near(upper, number(&row["upper"]), 1e-3 * width, &what);
            }
        }
    }
}

#[test]
fn a_fixed_effect_is_profiled_on_the_full_likelihood_alone() {
    let (_, _, fit) = restricted_fits().remove(0);
    assert_eq!(fixed_profile_interval(&fit, &[1.0], 0.95), Err(InferenceError::ProfileNeedsMl));
}

#[test]
fn naive_and_mixed_tests_of_a_variance_agree_with_lme4() {
    let mut compared = 0;
    for (name, _) in MODELS {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let columns = columns(name);
        for row in expected["lrt"].as_array().unwrap() {
            let reference = random_intercept_fits(&expected)
                .into_iter()
                .find(|fit| fit["formula"] == row["full"] && fit["method"] == row["method"]);
            let fit = fitted(reference.unwrap(), &columns);
            let dropped = row["note"].as_str().unwrap().split_whitespace().nth(1).unwrap();
            let test = zero_test(&fit, component(&fit, dropped)).unwrap();
            let what = format!("{name} {} {dropped}", row["method"]);
            near(test.statistic, number(&row["chisq"]), 1e-5, &what);
            for (p, key) in [(test.naive_p, "p_chisq1"), (test.p, "p_chibar_half")] {
                let expected = number(&row[key]);
                near(p, expected, 1e-5 * expected, &format!("{what} {key}"));
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 14);
}

#[test]
fn exact_tests_agree_with_rlrsim() {
    let mut compared = 0;
    for (name, expected, fit) in restricted_fits() {
        let rows = match &expected["exact_rlrt"] {
            Value::Array(rows) => rows.clone(),
            Value::Null => continue,
            row => vec![row.clone()],
        };
        for row in rows {
            let index = row["drop"].as_str().map_or(0, |dropped| component(&fit, dropped));
            let test = exact_zero_test(&fit, index, 200_000, 1).unwrap();
            let (p, what) = (number(&row["p"]), format!("{name} {}", row["drop"]));
            near(test.statistic, number(&row["stat"]), 1e-5, &what);
            // Both are Monte Carlo estimates.
            let error = (2.0 * p * (1.0 - p) / 200_000.0).sqrt();
            near(test.p, p, 5.0 * error, &what);
            assert_eq!(test.approximate, fit.components.len() > 1);
            assert_eq!(test, exact_zero_test(&fit, index, 200_000, 1).unwrap());
            compared += 1;
        }
    }
    assert_eq!(compared, 6);
}

#[test]
fn bootstraps_agree_with_lme4() {
    for (name, expected, fit) in restricted_fits() {
        let draws = bootstrap(&fit, 20_000, 7).unwrap();
        assert_eq!(draws.failed(), 0, "{name}");
        let intervals = &expected["parametric_bootstrap_ci_95_reml"];
        let compare = |(lower, upper): (f64, f64), key: &str| {
            let row = &intervals[key];
            let (low, high) = (number(&row["lower"]), number(&row["upper"]));
            let what = format!("{name} {key}");
            near(lower, low, 0.05 * (high - low), &format!("{what} lower"));
            near(upper, high, 0.05 * (high - low), &format!("{what} upper"));
        };
        for (index, key) in by_levels(&fit).into_iter().zip([".sig01", ".sig02"]) {
            compare(draws.sd(Part::Component(index), 0.95), key);
        }
        compare(draws.sd(Part::Residual, 0.95), ".sigma");
        for (index, fixed) in fit.fixed.iter().enumerate() {
            compare(draws.contrast(&unit(index, &fit), 0.95).unwrap(), &fixed.name);
        }
    }
}

#[test]
fn comparisons_with_one_arm_agree_with_dunnett() {
    for case in json("dunnett/expected.json")["cases"].as_array().unwrap() {
        let groups: Vec<Vec<f64>> =
            case["groups"].as_array().unwrap().iter().map(numbers).collect();
        let codes = groups.iter().enumerate().flat_map(|(arm, y)| vec![arm as u32; y.len()]);
        let names = (0..groups.len()).map(|arm| format!("{arm:02}")).collect();
        let columns = BTreeMap::from([
            ("y".to_owned(), Column::Numbers(groups.concat())),
            ("arm".to_owned(), Column::Levels { codes: codes.collect(), names }),
        ]);
        let fit = fit(&Formula::parse("y ~ arm").unwrap(), &columns, Method::Reml).unwrap();
        let freedom = Freedom::of(&fit, DfMethod::Satterthwaite).unwrap();
        let weights: Vec<Vec<f64>> = (1..groups.len()).map(|arm| unit(arm, &fit)).collect();
        let dunnett = Multiplicity::Dunnett { seed: 5 };
        let tests = contrasts(&freedom, &weights, 0.95, dunnett).unwrap();
        assert_eq!(tests, contrasts(&freedom, &weights, 0.95, dunnett).unwrap());
        let critical = number(&case["critical_95"]);
        for (index, test) in tests.iter().enumerate() {
            let what = format!("{} {index}", case["name"]);
            near(test.df, number(&case["df"]), 1e-8, &what);
            near(test.estimate, number(&case["difference"][index]), 1e-10, &what);
            near(test.t, number(&case["t"][index]), 1e-8, &what);
            near(test.p_adjusted, number(&case["p"][index]), 1e-3, &format!("{what} p"));
            let (lower, upper) = test.ci_adjusted.unwrap();
            let quantile = (upper - lower) / (2.0 * test.se);
            near(quantile, critical, 2e-3 * critical, &format!("{what} interval"));
            assert!(test.p <= test.p_adjusted && test.ci.0 > lower && test.ci.1 < upper, "{what}");
        }
    }
}

#[test]
fn draws_are_the_same_on_any_number_of_threads() {
    let (_, _, fit) = restricted_fits().remove(2);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| bootstrap(&fit, 1_000, 3).unwrap())
    };
    let (one, three) = (on(1), on(3));
    assert_eq!(one.replicates(), three.replicates());
    assert_ne!(one.replicates(), bootstrap(&fit, 1_000, 4).unwrap().replicates());
}

/// Each with its own reference.
fn every_restricted_fit() -> Vec<(&'static str, Value, Fit)> {
    let of_model = |(name, _): &(&'static str, usize)| {
        let name = *name;
        let expected = json(&format!("lme4/{name}.expected.json"));
        let fits: Vec<Value> = expected["fits"].as_array().unwrap().clone();
        fits.into_iter().filter(|fit| fit["method"] == "REML").map(move |reference| {
            let fit = fitted(&reference, &columns(name));
            (name, reference, fit)
        })
    };
    MODELS.iter().flat_map(of_model).collect()
}

fn restricted_fits() -> Vec<(&'static str, Value, Fit)> {
    let fit = |(name, _): &(&'static str, usize)| {
        let expected = json(&format!("lme4/{name}.expected.json"));
        let fit = fitted(random_intercept_fits(&expected)[0], &columns(name));
        assert_eq!(fit.method, Method::Reml);
        (*name, expected, fit)
    };
    MODELS.iter().map(fit).collect()
}

/// lme4 numbers its standard deviations from the factor with most levels.
fn by_levels(fit: &Fit) -> Vec<usize> {
    let mut order: Vec<usize> = (0..fit.components.len()).collect();
    order.sort_by_key(|&index| std::cmp::Reverse(fit.components[index].levels));
    order
}

fn component(fit: &Fit, factor: &str) -> usize {
    fit.components.iter().position(|component| component.factor == factor).unwrap()
}

fn unit(index: usize, fit: &Fit) -> Vec<f64> {
    (0..fit.fixed.len()).map(|j| f64::from(u8::from(j == index))).collect()
}

fn compare_ends((lower, upper): (f64, f64), expected: &Value, tolerance: f64, what: &str) {
    let (low, high) = (number(&expected["lower"]), number(&expected["upper"]));
    near(lower, low, tolerance * low, &format!("{what} lower"));
    near(upper, high, tolerance * high, &format!("{what} upper"));
}
