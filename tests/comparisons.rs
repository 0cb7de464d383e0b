//! The comparison statistics against numbers made by others.
//!
//! Expected values are those of scipy, statsmodels, baycomp and rliable, made by the script in
//! `data/comparisons/`. What is drawn at random agrees within the error of the draws; all else to
//! nine digits or more.
//!
//! Floor: wiring.

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::stats::bayes::{self, Areas, correlated_t};
use common::stats::cases::case_interval;
use common::stats::distribution::{
    chi_square_upper, expected_max, f_upper, normal_range_cdf, normal_range_quantile,
};
use common::stats::friedman::friedman;
use common::stats::improvement::{Blocks, Cell, GAMMA, model_share, paired_share};
use common::stats::lottery::seed_lottery;
use common::stats::multiple::holm;
use common::stats::rank::rank_stability;
use common::stats::resample::Resampling;
use common::stats::share::Share;
use common::stats::spread::{brown_forsythe, sd_factors, sd_upper_factor};
use common::stats::studies::{
    Estimate, interquartile_mean, optimality_gap, performance_profile, probability_of_improvement,
};
use common::stats::wilcoxon::{RankMode, signed_rank};

#[test]
fn correlated_t_agrees_with_baycomp() {
    for row in rows("correlated_t") {
        let (rope, ratio) = (number(&row["rope"]), number(&row["test_over_train"]));
        let found = correlated_t(&numbers(&row["differences"]), ratio, rope).unwrap();
        let what = format!("{} rope {rope}", row["name"]);
        near(found.mean, number(&row["mean"]), 1e-12, &what);
        near(found.scale, number(&row["scale"]), 1e-12, &what);
        near(found.df, number(&row["df"]), 0.0, &what);
        near(found.correlation, number(&row["correlation"]), 1e-12, &what);
        areas_near(found.areas, &row["areas"], 1e-10, &what);
        let (points, expected) = (found.density(100), row["density"].as_array().unwrap());
        assert_eq!(points.len(), 100);
        for (place, at) in [0, 37, 99].into_iter().enumerate() {
            let (x, density) = (numbers(&expected[0])[place], numbers(&expected[1])[place]);
            near(points[at].0, x, 1e-8 * x.abs(), &what);
            near(points[at].1, density, 1e-7 * density, &what);
        }
    }
}

#[test]
fn bayesian_signed_rank_agrees_with_baycomp() {
    for row in rows("bayesian_signed_rank") {
        let (differences, rope) = (numbers(&row["differences"]), number(&row["rope"]));
        let found = bayes::signed_rank(&differences, rope, &draws(200_000)).unwrap();
        // Four standard errors of the difference of two such shares near one half.
        areas_near(found, &row["areas"], 6.4e-3, &format!("{differences:?} rope {rope}"));
    }
}

#[test]
fn signed_rank_agrees_with_scipy() {
    for row in rows("wilcoxon") {
        let found = signed_rank(&numbers(&row["differences"])).unwrap();
        let what = row["name"].as_str().unwrap();
        let mode = match found.mode {
            RankMode::Exact => "exact",
            RankMode::Normal => "normal",
            RankMode::NoDifference => "none",
        };
        assert_eq!(mode, row["mode"], "{what}");
        near(found.plus, number(&row["plus"]), 0.0, what);
        near(found.minus, number(&row["minus"]), 0.0, what);
        relative(found.p, number(&row["p"]), 1e-8, what);
    }
}

#[test]
fn seed_lottery_agrees_with_scipy() {
    for row in rows("lottery") {
        let larger = row["larger_is_better"].as_bool().unwrap();
        let found = seed_lottery(&matrix(&row["scores"]), larger, 0.05).unwrap();
        assert_eq!(found.best as u64, row["best"].as_u64().unwrap());
        let against = row["against"].as_array().unwrap();
        assert_eq!(found.against.len(), against.len());
        for (pair, expected) in found.against.iter().zip(against) {
            let what = format!("against {}", pair.other);
            assert_eq!(pair.other as u64, expected["other"].as_u64().unwrap());
            assert_eq!(pair.ranks_agree, expected["agree"].as_bool().unwrap(), "{what}");
            near(pair.difference, number(&expected["difference"]), 1e-12, &what);
            relative(pair.p_t, number(&expected["p_t"]), 1e-8, &what);
            relative(pair.p_rank, number(&expected["p_rank"]), 1e-8, &what);
        }
        near(found.beats_t, number(&row["beats_t"]), 1e-12, "beats, t");
        near(found.beats_rank, number(&row["beats_rank"]), 1e-12, "beats, ranks");
        near(found.all_pairs_t, number(&row["all_pairs_t"]), 1e-12, "all pairs, t");
        near(found.all_pairs_rank, number(&row["all_pairs_rank"]), 1e-12, "all pairs, ranks");
    }
}

#[test]
fn holm_agrees_with_statsmodels() {
    let expected = &json()["holm"];
    let found = holm(&numbers(&expected["p"])).unwrap();
    for (found, expected) in found.iter().zip(numbers(&expected["adjusted"])) {
        near(*found, expected, 1e-14, "Holm");
    }
}

#[test]
fn friedman_agrees_with_scipy() {
    for row in rows("friedman") {
        let found = friedman(&matrix(&row["scores"]), 0.05).unwrap();
        for (rank, expected) in found.ranks.iter().zip(numbers(&row["ranks"])) {
            near(*rank, expected, 1e-12, "mean rank");
        }
        let df = numbers(&row["df"]);
        assert_eq!(found.df, (df[0], df[1]));
        relative(found.chi_square, number(&row["chi_square"]), 1e-10, "chi-square");
        relative(found.p_chi_square, number(&row["p_chi_square"]), 1e-9, "p of chi-square");
        relative(found.f, number(&row["f"]), 1e-10, "F");
        relative(found.p_f, number(&row["p_f"]), 1e-9, "p of F");
        let expected = number(&row["critical_difference"]);
        relative(found.critical_difference, expected, 1e-7, "critical difference");
    }
}

#[test]
fn distributions_agree_with_scipy() {
    for row in rows("normal_range") {
        let at = numbers(&row);
        let (q, count) = (normal_range_quantile(at[0], at[1] as u32), at[1] as u32);
        // Scipy searches its own quantile no further than this.
        near(q, at[2], 1e-7, &format!("{at:?}"));
        near(normal_range_cdf(q, count), at[0], 1e-12, &format!("{at:?}"));
    }
    for row in rows("chi_square_upper") {
        let at = numbers(&row);
        relative(chi_square_upper(at[0], at[1]), at[2], 1e-9, &format!("{at:?}"));
    }
    for row in rows("f_upper") {
        let at = numbers(&row);
        relative(f_upper(at[0], (at[1], at[2])), at[3], 1e-9, &format!("{at:?}"));
    }
    for row in rows("expected_max") {
        let at = numbers(&row);
        relative(expected_max(at[0] as u64), at[1], 1e-9, &format!("{at:?}"));
    }
}

#[test]
fn several_studies_agree_with_rliable() {
    for row in rows("rliable") {
        let (one, other) = (matrix(&row["one"]), matrix(&row["other"]));
        let target = number(&row["target"]);
        let iqm = interquartile_mean(&one, &draws(20_000)).unwrap();
        estimate_near(iqm, &row["iqm"], &row["iqm_interval"], 0.003);
        let gap = optimality_gap(&one, target, &draws(20_000)).unwrap();
        estimate_near(gap, &row["gap"], &row["gap_interval"], 0.003);
        let improvement = probability_of_improvement(&one, &other, &draws(20_000)).unwrap();
        estimate_near(improvement, &row["improvement"], &row["improvement_interval"], 0.015);
        let thresholds = numbers(&row["thresholds"]);
        let profile = performance_profile(&one, &thresholds, &draws(20_000)).unwrap();
        let runs: usize = one.iter().map(Vec::len).sum();
        for (place, point) in profile.iter().enumerate() {
            let band: Vec<f64> = matrix(&row["band"]).iter().map(|side| side[place]).collect();
            assert_eq!(point.threshold, thresholds[place]);
            // A quantile of shares of so few runs may fall one run further.
            let step = 1.0 / runs as f64 + 1e-9;
            estimate_near(point.above, &row["profile"][place], &Value::from(band), step);
        }
    }
}

#[test]
fn case_intervals_agree_with_scipy() {
    for row in rows("cases") {
        let differences = numbers(&row["differences"]);
        let clusters: Option<Vec<u32>> = row["clusters"]
            .as_array()
            .map(|names| names.iter().map(|name| name.as_u64().unwrap() as u32).collect());
        let found = case_interval(&differences, clusters.as_deref(), &draws(100_000)).unwrap();
        let (what, se) = (row["name"].as_str().unwrap(), number(&row["se"]));
        relative(found.se, se, 0.01, what);
        let ends = numbers(&row["percentile"]);
        near(found.percentile.0, ends[0], 0.03 * se, what);
        near(found.percentile.1, ends[1], 0.03 * se, what);
        let (ends, bca) = (numbers(&row["bca"]), found.bca.unwrap());
        near(bca.0, ends[0], 0.04 * se, what);
        near(bca.1, ends[1], 0.04 * se, what);
    }
}

#[test]
fn paired_shares_agree_with_independent_draws() {
    let expected = &json()["paired_share"];
    let cells: Vec<Cell> = matrix(&expected["differences"])
        .iter()
        .enumerate()
        .flat_map(|(fold, row)| {
            let cell = move |(seed, difference): (usize, &f64)| Cell {
                fold: fold as u32,
                seed: seed as u32,
                difference: *difference,
            };
            row.iter().enumerate().map(cell).collect::<Vec<Cell>>()
        })
        .collect();
    for (blocks, key) in
        [(Blocks::Folds, "folds"), (Blocks::Seeds, "seeds"), (Blocks::FoldsAndSeeds, "both")]
    {
        let found = paired_share(&cells, blocks, GAMMA, &draws(50_000)).unwrap();
        let ends = numbers(&expected[key]);
        near(found.share, number(&expected["share"]), 1e-12, key);
        // Shares move in steps of half a cell in 108.
        near(found.interval.0, ends[0], 0.0051, key);
        near(found.interval.1, ends[1], 0.0051, key);
    }
    for row in expected["models"].as_array().unwrap() {
        let at = numbers(row);
        relative(model_share(at[0], at[1], at[2], at[3]).unwrap(), at[4], 1e-9, "model");
    }
}

#[test]
fn rank_chances_agree_with_the_normal_integrals() {
    let expected = &json()["rank_chances"];
    let covariance = matrix(&expected["covariance"]);
    let means = numbers(&expected["means"]);
    let found = rank_stability(&means, &covariance, true, &draws(200_000)).unwrap();
    for arm in 0..3 {
        let (first, last) = (numbers(&expected["first"])[arm], numbers(&expected["last"])[arm]);
        // Four standard errors of a share.
        let error = |share: f64| 4.0 * (share * (1.0 - share) / 200_000.0).sqrt();
        near(found.chances[arm][0], first, error(first), "first");
        near(found.chances[arm][2], last, error(last), "last");
    }
}

#[test]
fn spreads_and_shares_agree_with_scipy_and_statsmodels() {
    let expected = &json()["spreads"];
    let found = brown_forsythe(&matrix(&expected["groups"])).unwrap();
    relative(found.f, number(&expected["f"]), 1e-10, "Brown-Forsythe");
    relative(found.p, number(&expected["p"]), 1e-9, "Brown-Forsythe p");
    for row in expected["factors"].as_array().unwrap() {
        let at = numbers(row);
        let (low, high) = sd_factors(at[0], at[1]).unwrap();
        let upper = sd_upper_factor(at[0], at[1]).unwrap();
        for (found, expected) in [(low, at[2]), (high, at[3]), (upper, at[4])] {
            relative(found, expected, 1e-9, &format!("{at:?}"));
        }
    }
    for row in rows("shares") {
        let at = numbers(&row);
        let found = Share::of(at[0] as u64, at[1] as u64, at[2]).unwrap();
        near(found.lower, at[3], 1e-10, "lower limit");
        near(found.upper, at[4], 1e-10, "upper limit");
    }
}

fn draws(count: u32) -> Resampling {
    Resampling::new(count, 0.95, 1).unwrap()
}

fn rows(key: &str) -> Vec<Value> {
    let rows = json()[key].as_array().cloned().unwrap_or_default();
    assert!(!rows.is_empty(), "no {key}");
    rows
}

fn json() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/comparisons/expected.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn matrix(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn areas_near(found: Areas, expected: &Value, tolerance: f64, what: &str) {
    let expected = numbers(expected);
    near(found.left, expected[0], tolerance, what);
    near(found.within, expected[1], tolerance, what);
    near(found.right, expected[2], tolerance, what);
}

/// The value to ten digits, the ends of its interval within `drawn`.
#[track_caller]
fn estimate_near(found: Estimate, value: &Value, interval: &Value, drawn: f64) {
    let ends = numbers(interval);
    near(found.value, number(value), 1e-10, "value");
    near(found.interval.0, ends[0], drawn, "lower end");
    near(found.interval.1, ends[1], drawn, "upper end");
}

#[track_caller]
fn relative(actual: f64, expected: f64, tolerance: f64, what: &str) {
    near(actual, expected, tolerance * expected.abs(), what);
}

#[track_caller]
fn near(actual: f64, expected: f64, tolerance: f64, what: &str) {
    let apart = (actual - expected).abs();
    assert!(apart <= tolerance, "{what}: {actual} is {apart:e} from {expected}");
}
