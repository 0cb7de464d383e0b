//! The planning statistics against numbers made by others.
//!
//! Reference values come from scipy, statsmodels, covariance matrices and quadrature, made by the
//! script in `data/planning/`. Here are also the simulations that show what no closed form does.
//!
//! Floor: wiring.

use std::fs;
use std::path::Path;

use serde_json::Value;

use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::stats::distribution::{chi_square_quantile, expected_max};
use common::stats::ledger;
use common::stats::monitor::{self, Sequence};
use common::stats::noncentral::{detectable_noncentrality, noncentral_t_cdf, two_sided_power};
use common::stats::plan::{self, Cheapest, Frame, Goal, Limits, Prices};
use common::stats::precision::{self, Test};
use common::stats::replication::{self, Claim};
use common::stats::sources::{
    Components, Design, MeanSquare, Reach, StandardError, error_of_difference, error_of_mean,
    mean_squares, next_run,
};
use common::stats::summary::{median, student_quantile};
use common::stats::worth::{self, Block, Choice, Stakes};

#[test]
fn distributions_agree_with_scipy_and_statsmodels() {
    let expected = expected();
    for row in rows(&expected, "noncentral_t") {
        let at = numbers(row);
        near(noncentral_t_cdf(at[0], at[1], at[2]), at[3], 2e-10, &format!("{at:?}"));
    }
    for row in rows(&expected, "powers") {
        let power =
            two_sided_power(number(&row["delta"]), number(&row["df"]), number(&row["alpha"]));
        near(power, number(&row["power"]), 1e-9, &row.to_string());
    }
    for row in rows(&expected, "detectable") {
        let at = numbers(row);
        let found = detectable_noncentrality(at[0], at[1], at[2]);
        near(found, at[3], 1e-8 * at[3], &format!("{at:?}"));
    }
    for row in rows(&expected, "chi_square") {
        let at = numbers(row);
        near(chi_square_quantile(at[0], at[1]), at[2], 1e-9 * at[2], &format!("{at:?}"));
    }
    for row in rows(&expected, "largest") {
        let at = numbers(row);
        near(expected_max(at[0] as u64), at[1], 1e-9, &format!("{at:?}"));
        near(ledger::lucky_pick(0.5, at[0] as u64).unwrap(), 0.5 * at[1], 1e-9, "lucky pick");
    }
}

#[test]
fn errors_and_degrees_of_freedom_agree_with_covariance_matrices() {
    let expected = expected();
    let mut compared = 0;
    for row in rows(&expected, "differences") {
        let what = row.to_string();
        let (parts, design, reach) = (components(&expected, row), design(row), reach(row));
        let error = error_of_difference(&parts, design, reach).unwrap();
        near(error.se, number(&row["se"]), 1e-9 * error.se, &what);
        near(error.df.unwrap(), number(&row["df"]), 1e-6, &what);

        let at = precision::precision(&parts, design, reach, Test::USUAL).unwrap();
        let shown = at.shown.unwrap();
        near(shown.half_width, number(&row["half_width"]), 1e-6 * shown.half_width, &what);
        near(shown.detectable, number(&row["detectable"]), 1e-6 * shown.detectable, &what);
        let power = precision::power(&parts, design, reach, Test::USUAL, number(&row["effect"]));
        near(power.unwrap().unwrap(), number(&row["power"]), 1e-7, &what);
        compared += 1;
    }
    assert_eq!(compared, 75);
}

#[test]
fn one_arms_errors_and_next_runs_agree_with_covariance_matrices() {
    let expected = expected();
    for row in rows(&expected, "one_arm") {
        let what = row.to_string();
        let parts = components(&expected, row);
        let (design, reach) = (design(row), reach(row));
        let error = error_of_mean(&parts, design, reach).unwrap();
        near(error.se, number(&row["se"]), 1e-9 * error.se, &what);
        near(error.df.unwrap(), number(&row["df"]), 1e-6, &what);

        let next = next_run(0.8, &parts, design, reach, 0.95).unwrap();
        let ends = numbers(&row["next_run"]);
        near(next.sd, number(&row["next_sd"]), 1e-9 * next.sd, &what);
        near(next.df, number(&row["next_df"]), 1e-6, &what);
        near(next.low, ends[0], 1e-6 * next.sd, &what);
        near(next.high, ends[1], 1e-6 * next.sd, &what);
    }
}

#[test]
fn the_cheapest_design_is_the_one_that_trying_all_finds() {
    let expected = expected();
    for row in rows(&expected, "searches") {
        let prices = numbers(&row["prices"]);
        let limits = numbers(&row["limits"]);
        let size = number(&row["size"]);
        let goal = match row["goal"].as_str().unwrap() {
            "half_width" => Goal::HalfWidth(size),
            _ => Goal::Effect(size),
        };
        let frame = Frame {
            arms: 2,
            reach: Reach::Samples { test_over_train: number(&row["ratio"]) },
            test: Test::USUAL,
        };
        let prices = Prices { run: prices[0], fold: prices[1], seed: prices[2] };
        let limits = Limits { seeds_max: limits[0] as u32, folds_max: limits[1] as u32 };
        let found =
            plan::cheapest(&components(&expected, row), frame, prices, goal, limits).unwrap();
        match (found, &row["best"]) {
            (Cheapest::OutOfReach(_), Value::Null) => {}
            (Cheapest::Reached(plan), best) => {
                assert_eq!(plan.cost, number(&best["cost"]), "{row}");
                assert_eq!(u64::from(plan.design.seeds), best["seeds"].as_u64().unwrap(), "{row}");
                assert_eq!(u64::from(plan.design.folds), best["folds"].as_u64().unwrap(), "{row}");
            }
            (found, _) => panic!("{found:?} for {row}"),
        }
    }
}

#[test]
fn coefficients_agree_with_their_definition() {
    let expected = expected();
    for row in rows(&expected, "coefficients") {
        let found = precision::coefficients(
            number(&row["configs"]),
            &components(&expected, row),
            design(row),
        );
        let found = found.unwrap().unwrap();
        near(found.relative, number(&row["relative"]), 1e-12, &row.to_string());
        near(found.absolute, number(&row["absolute"]), 1e-12, &row.to_string());
    }
}

#[test]
fn losses_agree_with_quadrature() {
    let stakes = Stakes { value_per_unit: 1e4, uses: 3.0, price_per_hour: 2.0 };
    for row in rows(&expected(), "losses") {
        let (difference, se) = (number(&row["difference"]), number(&row["now"]));
        let choice = Choice { difference, se, df: f64::INFINITY };
        let block = Block { se_after: number(&row["after"]), hours: 7.0 };
        let found = worth::expected_return(choice, block, stakes).unwrap();
        let (now, after) = (number(&row["loss_now"]), number(&row["loss_after"]));

        near(found.loss_now, now, 1e-7 * now, &row.to_string());
        near(found.loss_after, after, 1e-6 * now, &row.to_string());
        near(found.value, (now - after) * 3e4, 1e-6 * now * 3e4, &row.to_string());
        assert_eq!(found.cost, 14.0);
    }
}

#[test]
fn replications_agree_with_quadrature() {
    for row in rows(&expected(), "replications") {
        let claim = Claim {
            difference: number(&row["difference"]),
            se: number(&row["se"]),
            df: number(&row["df"]),
        };
        let again = StandardError { se: number(&row["again"]), df: Some(number(&row["again_df"])) };
        let found = replication::replication(claim, again, 0.05).unwrap();
        near(found.same_sign, number(&row["same_sign"]), 1e-9, &row.to_string());
        near(found.significant, number(&row["significant"]), 1e-8, &row.to_string());
    }
}

#[test]
fn wrong_signs_and_exaggeration_agree_with_quadrature_and_the_paper() {
    let expected = expected();
    let all: Vec<&Value> = rows(&expected, "retrodesigns").collect();
    for row in &all {
        let truth = Claim {
            difference: number(&row["effect"]),
            se: number(&row["se"]),
            df: row["df"].as_f64().unwrap_or(f64::INFINITY),
        };
        let found = replication::retrodesign(truth, number(&row["spread"]), 0.05).unwrap();
        let what = row.to_string();
        near(found.significant, number(&row["significant"]), 1e-9, &what);
        near(found.wrong, number(&row["wrong"]), 1e-9, &what);
        near(found.wrong_share.unwrap(), number(&row["wrong_share"]), 1e-8, &what);
        let factor = number(&row["exaggeration"]);
        near(found.exaggeration.unwrap(), factor, 1e-7 * factor, &what);
    }
    // What the paper's own function prints for these, which it simulates.
    for (row, (power, sign, factor)) in
        all[all.len() - 2..].iter().zip([(0.05, 0.46, 77.0), (0.06, 0.24, 9.7)])
    {
        near(number(&row["significant"]), power, 0.005, "power");
        near(number(&row["wrong_share"]), sign, 0.005, "type S");
        near(number(&row["exaggeration"]), factor, 0.5, "type M");
    }
}

#[test]
fn confidence_sequences_and_spending_agree_with_scipy() {
    let expected = expected();
    let monitor = &expected["monitor"];
    for row in rows(monitor, "rho_squared") {
        let blocks = row["blocks"].as_u64().unwrap() as u32;
        let rho = number(&row["rho_squared"]);
        let found = monitor::rho_squared(number(&row["alpha"]), blocks).unwrap();
        near(found, rho, 1e-12 * rho, "rho");
    }
    for (key, sequence, tolerance) in
        [("asymptotic", Sequence::Asymptotic, 1e-12), ("student", Sequence::Student, 1e-6)]
    {
        for row in rows(monitor, key) {
            let blocks = row["blocks"].as_u64().unwrap() as u32;
            let (rho, alpha) = (number(&row["rho_squared"]), number(&row["alpha"]));
            let found = monitor::multiple(blocks, rho, alpha, sequence).unwrap();
            let multiple = number(&row["multiple"]);
            near(found, multiple, tolerance * multiple, &row.to_string());
        }
    }
    for row in rows(monitor, "spent") {
        let looks: Vec<u32> = numbers(&row["looks"]).iter().map(|blocks| *blocks as u32).collect();
        let found = monitor::spent(&looks, number(&row["alpha"])).unwrap();
        for (found, expected) in found.iter().zip(numbers(&row["spent"])) {
            near(*found, expected, 1e-5, &row.to_string());
        }
    }
}

/// The interval that a plan promises, once a study of that design has estimated its own error:
/// mean squares are drawn, components truncated at zero, and the planned degrees of freedom used.
#[test]
fn a_planned_interval_covers_and_is_as_wide_as_planned() {
    for (seed, arm_fold, seeds, folds, width) in [
        (1.0, 1.0, 3, 5, true),
        (1.0, 1.0, 10, 10, true),
        (0.0, 1.0, 5, 5, true),
        (1.0, 0.0, 5, 5, true),
        (0.1, 0.1, 10, 10, true),
        (0.0, 0.0, 3, 5, false),
        (0.0, 0.0, 10, 10, false),
        (4.0, 1.0, 3, 5, true),
    ] {
        let parts = Components { seed: Some(seed), residual: 1.0, arm_fold, fold: 0.0 };
        let design = Design { arms: 2, seeds, folds };
        let (covered, median) = simulated(&parts, design);
        let planned = precision::precision(&parts, design, Reach::Folds, Test::USUAL).unwrap();
        let planned = planned.shown.unwrap().half_width;
        let what = format!("{parts:?} {design:?}: {covered}, {median} for {planned}");

        assert!(covered > 0.95 - 3.0 * MONTE_CARLO, "{what}");
        // Without seed or fold effects truncation makes every estimate too large.
        assert!(!width || (median / planned - 1.0).abs() < 0.12, "{what}");
    }
}

fn simulated(parts: &Components, design: Design) -> (f64, f64) {
    let squares = mean_squares(parts, design).unwrap();
    let (seeds, folds) = (f64::from(design.seeds), f64::from(design.folds));
    let error = error_of_difference(parts, design, Reach::Folds).unwrap();
    let t = student_quantile(0.975, error.df.unwrap());
    let mut rng = StreamRng::new(&Digest::of(b"planning"), Stream::Noise, 0, 0);
    let mut halves: Vec<f64> = Vec::new();
    let mut covered = 0u32;
    for _ in 0..DRAWS {
        let mut drawn = |square: MeanSquare| {
            let squares: f64 = (0..square.df as u32).map(|_| rng.normal().powi(2)).sum();
            square.expected * squares / square.df
        };
        let residual = drawn(squares.residual);
        let of_fold = drawn(squares.arm_fold).max(residual);
        let of_seed = drawn(squares.seed.unwrap()).max(residual);
        let variance = 2.0 / (seeds * folds) * (of_fold + of_seed - residual);
        let half = t * variance.sqrt();
        covered += u32::from((error.se * rng.normal()).abs() <= half);
        halves.push(half);
    }
    (f64::from(covered) / f64::from(DRAWS), median(&halves))
}

fn components(expected: &Value, row: &Value) -> Components {
    let parts = &expected["components"][row["components"].as_str().unwrap()];
    Components {
        seed: parts["seed"].as_f64(),
        residual: number(&parts["residual"]),
        arm_fold: number(&parts["arm_fold"]),
        fold: number(&parts["fold"]),
    }
}

fn design(row: &Value) -> Design {
    let of = |key: &str| row[key].as_u64().map(|count| count as u32);
    Design {
        arms: of("arms").unwrap_or(2),
        seeds: of("seeds").unwrap(),
        folds: of("folds").unwrap(),
    }
}

fn reach(row: &Value) -> Reach {
    match row["reach"].as_str().unwrap() {
        "seeds" => Reach::Seeds,
        "folds" => Reach::Folds,
        _ => Reach::Samples { test_over_train: number(&row["ratio"]) },
    }
}

fn expected() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/planning/expected.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn rows<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    let rows = value[key].as_array().unwrap();
    assert!(!rows.is_empty(), "{key}");
    rows.iter()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn near(actual: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((actual - expected).abs() <= tolerance, "{what}: {actual} is not {expected}");
}

const DRAWS: u32 = 20_000;

/// Standard error of a share of 0.95 over that many draws.
const MONTE_CARLO: f64 = 0.0016;
