//! What holds for models with random slopes and interactions, on small made tables.
//!
//! Floor: common.

use std::f64::consts::PI;

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

use super::objective::Point;
use super::tests::{Noise, Table, close, crossed, fitted, levels, reordered, table, terms};
use super::*;

#[test]
fn criterion_equals_the_dense_likelihood() {
    let columns = sloped();
    for formula in [
        "y ~ x + (1 + x|a) + (1|b)",
        "y ~ x + (1|a) + (0 + x|a) + (x|b)",
        "y ~ x + (1 + arm|b) + (1|a)",
        "y ~ x + (0 + arm|a) + (x|b)",
    ] {
        let terms = terms(formula, &columns);
        for theta in thetas(terms.parameters.len()) {
            for method in [Method::Reml, Method::Ml] {
                let actual = Point::at(&terms, &theta).unwrap().criterion(method);
                let expected = dense(&terms, &columns, &theta, method);
                let apart = (actual - expected).abs();
                assert!(apart < 1e-9 * expected.abs(), "{formula} {theta:?}: {actual} {expected}");
            }
        }
    }
}

#[test]
fn slopes_equal_differences_of_the_criterion() {
    let columns = sloped();
    for formula in [
        "y ~ x + (1 + x|a) + (1|b)",
        "y ~ x + arm + (1|a) + (0 + x|a) + (x|b)",
        "y ~ x + (1 + arm + x|b) + (1|a)",
    ] {
        let terms = terms(formula, &columns);
        for theta in thetas(terms.parameters.len()) {
            for method in [Method::Reml, Method::Ml] {
                let value = |theta: &[f64]| Point::at(&terms, theta).unwrap().criterion(method);
                let here = Point::at(&terms, &theta).unwrap();
                let slopes = here.slopes(method, here.variance(method));
                for (at, parameter) in terms.parameters.iter().enumerate() {
                    let step = 1e-5 * theta[at].abs().max(1e-2);
                    let moved = |times: f64| {
                        let mut theta = theta.clone();
                        theta[at] += times * step;
                        value(&theta)
                    };
                    let difference = (moved(1.0) - moved(-1.0)) / (2.0 * step);
                    let slope =
                        if parameter.square { 2.0 * theta[at] * slopes[at] } else { slopes[at] };
                    let tolerance = 1e-5 * slope.abs() + 2e-10 / step;
                    let apart = (slope - difference).abs();
                    assert!(apart < tolerance, "{formula} {theta:?} {at}: {slope} {difference}");
                }
            }
        }
    }
}

#[test]
fn order_and_chunks_of_rows_change_no_bit() {
    let columns = sloped();
    let formula = "y ~ x*arm + (1 + x|a) + (arm||b)";
    let expected = fitted(formula, &columns);
    let rows = expected.n;
    let order: Vec<usize> = (0..rows).map(|row| (row * 11 + 5) % rows).rev().collect();
    let columns = reordered(&columns, &order);
    for size in [1, 7, 100, rows] {
        let mut parts = Accumulator::new(&Formula::parse(formula).unwrap());
        for begin in (0..rows).step_by(size) {
            let end = (begin + size).min(rows);
            let part = columns.iter().map(|(name, column)| {
                let part = match column {
                    Column::Numbers(values) => Slice::Numbers(&values[begin..end]),
                    Column::Levels { codes, names } => {
                        Slice::Levels { codes: &codes[begin..end], names }
                    }
                };
                (name.as_str(), part)
            });
            parts.add(&part.collect()).unwrap();
        }
        let fit = parts.fit(Method::Reml).unwrap();
        assert_eq!(fit.criterion.to_bits(), expected.criterion.to_bits(), "{size}");
        assert_eq!(fit.theta, expected.theta);
        assert_eq!(fit.fixed, expected.fixed);
        assert_eq!(fit.components, expected.components);
        assert_eq!(fit.correlations, expected.correlations);
        assert_eq!(fit.blups, expected.blups);
    }
}

#[test]
fn two_bars_stand_for_terms_apart() {
    let columns = sloped();
    let short = fitted("y ~ x + (x||a)", &columns);
    let long = fitted("y ~ x + (1|a) + (0+x|a)", &columns);

    assert_eq!(short.theta, long.theta);
    assert_eq!(short.components, long.components);
    assert!(short.correlations.is_empty());
    let names: Vec<&str> = short.components.iter().map(|c| c.term.as_str()).collect();
    assert_eq!(names, ["(Intercept)", "x"]);
}

#[test]
fn unit_and_origin_of_a_slope_leave_a_correlated_model_as_it_is() {
    let columns = sloped();
    let mut moved = columns.clone();
    let Some(Column::Numbers(x)) = moved.get_mut("x") else { panic!() };
    x.iter_mut().for_each(|x| *x = 1e-3 * *x + 2000.0);
    let formula = "y ~ x + (1 + x|a)";
    let (near, far) = (fitted(formula, &columns), fitted(formula, &moved));

    // log|X'X| is part of a restricted likelihood.
    assert!((far.criterion - near.criterion - 2.0 * 1e-3f64.ln()).abs() < 1e-6);
    let apart = far.components[1].sd / near.components[1].sd;
    assert!((apart - 1e3).abs() < 1e-2, "{apart}");
    assert!((near.residual.sd - far.residual.sd).abs() < 1e-7 * near.residual.sd);
    assert!((near.residual.share - far.residual.share).abs() < 1e-5);
    let shares = |fit: &Fit| -> f64 {
        let parts = fit.components.iter().map(|part| part.share).sum::<f64>();
        parts + fit.correlations.iter().map(|pair| pair.share).sum::<f64>() + fit.residual.share
    };
    assert!((shares(&near) - 1.0).abs() < 1e-12);
}

#[test]
fn theta_is_the_lower_root_of_the_covariance() {
    let fit = fitted("y ~ x + (1 + x|a) + (1|b)", &sloped());
    let [intercept, cross, slope, b] = fit.theta[..] else { panic!("{:?}", fit.theta) };
    let variance = fit.sigma().powi(2);

    close(fit.components[0].variance, variance * intercept * intercept);
    close(fit.components[1].variance, variance * (cross * cross + slope * slope));
    close(fit.components[2].variance, variance * b * b);
    close(fit.correlations[0].covariance, variance * intercept * cross);
    let sds = fit.components[0].sd * fit.components[1].sd;
    close(fit.correlations[0].correlation.unwrap(), fit.correlations[0].covariance / sds);
    assert_eq!(fit.correlations[0].terms, ["(Intercept)", "x"]);
}

#[test]
fn effects_in_perfect_correlation_are_singular() {
    let mut noise = Noise(5);
    let effects: Vec<f64> = (0..12).map(|_| noise.next()).collect();
    // Every level has the same noise, so slopes follow intercepts more closely than by chance.
    let errors: Vec<f64> = (0..10).map(|_| 0.9 * noise.next()).collect();
    let rows: Vec<(usize, usize)> = (0..120).map(|row| (row % 12, row / 12)).collect();
    let y = rows.iter().map(|&(a, x)| effects[a] * (3.0 + x as f64) + errors[x]);
    let columns = table([
        ("y", Column::Numbers(y.collect())),
        ("x", Column::Numbers(rows.iter().map(|&(_, x)| x as f64).collect())),
        ("a", levels(rows.iter().map(|&(a, _)| a))),
    ]);
    let fit = fitted("y ~ x + (1 + x|a)", &columns);

    assert!(fit.singular(), "{:?}", fit.theta);
    assert!(fit.theta[2].abs() < 1e-12, "{:?}", fit.theta);
    close(fit.correlations[0].correlation.unwrap(), 1.0);
    assert!(!fit.components[0].at_boundary && !fit.components[1].at_boundary);
}

#[test]
fn slopes_that_do_not_differ_are_zero() {
    let fit = fitted("y ~ x + (1|a) + (0 + x|b) + (1|b)", &crossed());
    let slopes = &fit.components[1];
    assert_eq!((slopes.factor.as_str(), slopes.term.as_str()), ("b", "x"));
    assert!(slopes.variance < 1e-3, "{slopes:?}");
    assert_eq!(slopes.at_boundary, slopes.variance == 0.0);
}

#[test]
fn test_of_a_slope_equals_the_difference_of_two_fits() {
    let columns = sloped();
    let full = fitted("y ~ x + (1 + x|a) + (1|b)", &columns);
    let test = zero_test(&full, 1).unwrap();
    let without = fitted("y ~ x + (1|a) + (1|b)", &columns);
    assert!((test.statistic - (without.criterion - full.criterion)).abs() < 1e-5, "{test:?}");
    assert!(test.p < 1e-6);
    let test = zero_test(&full, 0).unwrap();
    let without = fitted("y ~ x + (0 + x|a) + (1|b)", &columns);
    assert!((test.statistic - (without.criterion - full.criterion)).abs() < 1e-5, "{test:?}");
}

#[test]
fn ends_of_a_slopes_interval_lie_where_the_criterion_rises_to_the_cut() {
    let columns = sloped();
    let fit = fitted("y ~ x + (1 + x|a)", &columns);
    for part in [Part::Component(0), Part::Component(1), Part::Residual] {
        let (lower, upper) = profile_interval(&fit, part, 0.95).unwrap();
        let estimate = match part {
            Part::Component(index) => fit.components[index].sd,
            Part::Residual => fit.residual.sd,
        };
        assert!(lower < estimate && estimate < upper && upper.is_finite(), "{part:?}");
        assert!(lower > 0.3 * estimate && upper < 3.0 * estimate, "{part:?} {lower} {upper}");
    }
}

#[test]
fn interactions_are_coded_as_r_codes_them() {
    let columns = crossed();
    let names = |formula: &str| -> Vec<String> {
        fitted(formula, &columns).fixed.into_iter().map(|fixed| fixed.name).collect()
    };

    assert_eq!(names("y ~ arm*x + (1|a)"), ["(Intercept)", "arml1", "x", "arml1:x"]);
    assert_eq!(names("y ~ x + arm:x + (1|a)"), ["(Intercept)", "x", "x:arml1"]);
    assert_eq!(names("y ~ arm + arm:x + (1|a)"), ["(Intercept)", "arml1", "arml0:x", "arml1:x"]);
    assert_eq!(names("y ~ 0 + arm + arm:x + (1|a)"), ["arml0", "arml1", "arml0:x", "arml1:x"]);
    let three = names("y ~ arm*b + (1|a)");
    assert_eq!(three.len(), 12);
    assert_eq!(three[7..9], ["arml1:bl1", "arml1:bl2"]);
}

#[test]
fn codings_of_one_space_agree() {
    let columns = crossed();
    let contrasts = fitted("y ~ arm*x + (1|a)", &columns);
    let apart = fitted("y ~ 0 + arm + arm:x + (1|a)", &columns);
    let of = |fit: &Fit, name: &str| fit.fixed.iter().find(|f| f.name == name).unwrap().estimate;

    close(of(&contrasts, "x"), of(&apart, "arml0:x"));
    let sum = of(&contrasts, "x") + of(&contrasts, "arml1:x");
    close(sum, of(&apart, "arml1:x"));
    close(contrasts.criterion, apart.criterion);
    close(contrasts.theta[0], apart.theta[0]);
}

#[test]
fn fitted_values_and_residuals_are_those_of_the_rows() {
    let columns = sloped();
    let fit = fitted("y ~ x*arm + (1 + x|a) + (1|a:b)", &columns);
    let fitted = fit.fitted(&columns).unwrap();
    let Column::Numbers(y) = &columns["y"] else { panic!() };

    let squares: f64 = y.iter().zip(&fitted).map(|(y, fitted)| (y - fitted).powi(2)).sum();
    let expected = fit.residual.variance * y.len() as f64;
    assert!(squares < expected && squares > 0.3 * expected, "{squares} {expected}");
    // Residuals of a mixed model, too, sum to zero over rows when there is an intercept.
    let sum: f64 = y.iter().zip(&fitted).map(|(y, fitted)| y - fitted).sum();
    assert!(sum.abs() < 1e-7, "{sum}");
    let mut other = columns.clone();
    let Some(Column::Levels { names, .. }) = other.get_mut("a") else { panic!() };
    names[3] = "new".into();
    let refusal = FitError::NewLevel { variable: "a".into(), level: "new".into() };
    assert_eq!(fit.fitted(&other), Err(refusal));
}

#[test]
fn designs_that_carry_no_slopes_are_refused() {
    let mut columns = sloped();
    let rows = fitted("y ~ 1 + (1|a)", &columns).n;
    columns.insert("flat".into(), Column::Numbers(vec![2.0; rows]));
    columns.insert("pair".into(), levels((0..rows).map(|row| row / 2)));
    let refusal =
        |formula: &str| fit(&Formula::parse(formula).unwrap(), &columns, Method::Reml).unwrap_err();

    let (slope, factor) = ("flat".to_owned(), "a".to_owned());
    assert_eq!(refusal("y ~ (flat|a)"), FitError::FlatSlope { slope, factor });
    let (factor, effects) = ("pair".to_owned(), 2 * rows.div_ceil(2));
    assert_eq!(refusal("y ~ x + (x|pair)"), FitError::TooManyEffects { factor, effects, rows });
}

#[test]
fn a_config_that_shares_no_fold_with_another_is_refused() {
    let mut noise = Noise(8);
    let cells: Vec<(usize, usize)> = (0..3)
        .flat_map(|config| (0..8).map(move |fold| (config, fold)))
        .filter(|(config, fold)| (*config == 2) == (*fold >= 5))
        .flat_map(|cell| [cell; 3])
        .collect();
    let columns = table([
        ("y", Column::Numbers(cells.iter().map(|_| noise.next()).collect())),
        ("config", levels(cells.iter().map(|cell| cell.0))),
        ("fold", levels(cells.iter().map(|cell| cell.1))),
    ]);
    let formula = |text| Formula::parse(text).unwrap();

    for text in ["y ~ config + (1|fold)", "y ~ 0 + config + (1|fold)"] {
        let refusal = fit(&formula(text), &columns, Method::Reml).unwrap_err();
        let (column, factors) = ("configl2".to_owned(), "fold".to_owned());
        assert_eq!(refusal, FitError::Disconnected { column, factors }, "{text}");
    }
    assert!(fit(&formula("y ~ 1 + (1|fold)"), &columns, Method::Reml).is_ok());
    let named = "y ~ config + (1|config:fold)";
    assert_eq!(fit(&formula(named), &columns, Method::Reml).unwrap().between, []);
}

#[test]
fn an_effect_between_levels_is_told_from_one_within() {
    let columns = crossed();
    let within = fitted("y ~ arm + (1|a) + (1|b)", &columns);
    assert_eq!(within.between, []);

    let mut columns = columns;
    let Column::Levels { codes, .. } = &columns["a"] else { panic!() };
    let half = levels(codes.iter().map(|code| (*code % 2) as usize));
    columns.insert("half".into(), half);
    let between = fitted("y ~ half + arm + (1|a) + (1|b)", &columns).between;
    assert_eq!(between, [Between { fixed: "halfl1".into(), factors: vec!["a".into()] }]);
}

/// [`crossed`] with slopes of x that differ between levels of a.
fn sloped() -> Table {
    let mut columns = crossed();
    let mut noise = Noise(77);
    let slopes: Vec<f64> = (0..8).map(|_| 0.1 * noise.next()).collect();
    let (Column::Numbers(x), Column::Levels { codes, .. }) = (&columns["x"], &columns["a"]) else {
        panic!()
    };
    let more: Vec<f64> =
        x.iter().zip(codes).map(|(x, &a)| slopes[a as usize] * (x - 40.0)).collect();
    let Some(Column::Numbers(y)) = columns.get_mut("y") else { panic!() };
    y.iter_mut().zip(more).for_each(|(y, more)| *y += more);
    columns
}

fn thetas(count: usize) -> [Vec<f64>; 3] {
    let mut noise = Noise(4);
    let large = (0..count).map(|_| 3.0 * noise.next()).collect();
    let small = (0..count).map(|at| 1e-4 * (1 + at) as f64).collect();
    [(0..count).map(|at| 0.4 + 0.3 * at as f64).collect(), large, small]
}

/// The criterion from V itself, with X = [1 x].
fn dense(terms: &terms::Terms, columns: &Table, theta: &[f64], method: Method) -> f64 {
    let Column::Numbers(y) = &columns["y"] else { panic!() };
    let Column::Numbers(x) = &columns["x"] else { panic!() };
    let n = y.len();
    let factors = terms.factors(theta);
    let mut v = Mat::<f64>::identity(n, n);
    for (block, factor) in terms.blocks.iter().zip(&factors) {
        let k = block.width;
        let factor = relative::times(&block.units, factor, k);
        let covariance = relative::times(&factor, &relative::transposed(&factor, k), k);
        let code = |name: &str, row: usize| match &columns[name] {
            Column::Levels { codes, .. } => codes[row],
            Column::Numbers(_) => panic!(),
        };
        let z = |row: usize, column: usize| match block.columns[column].name.as_str() {
            "(Intercept)" => 1.0,
            "x" => x[row],
            name => f64::from(u8::from(name == format!("arml{}", code("arm", row)))),
        };
        for i in 0..n {
            for j in 0..n {
                if code(&block.factor, i) == code(&block.factor, j) {
                    for (at, covariance) in covariance.iter().enumerate() {
                        v[(i, j)] += z(i, at / k) * covariance * z(j, at % k);
                    }
                }
            }
        }
    }
    let factor = v.llt(Side::Lower).unwrap();
    let design = Mat::from_fn(n, 2, |i, j| if j == 0 { 1.0 } else { x[i] });
    let y = Mat::from_fn(n, 1, |i, _| y[i]);
    let gram = design.transpose() * factor.solve(&design);
    let products = design.transpose() * factor.solve(&y);
    let beta = gram.llt(Side::Lower).unwrap().solve(&products);
    let rest = &y - &design * beta;
    let squares = (rest.transpose() * factor.solve(&rest))[(0, 0)];
    let log_det = |llt: &faer::linalg::solvers::Llt<f64>, size: usize| -> f64 {
        (0..size).map(|i| 2.0 * llt.L()[(i, i)].ln()).sum()
    };
    let (df, fixed) = match method {
        Method::Reml => (n as f64 - 2.0, log_det(&gram.llt(Side::Lower).unwrap(), 2)),
        Method::Ml => (n as f64, 0.0),
    };
    log_det(&factor, n) + fixed + df * (1.0 + (2.0 * PI * squares / df).ln())
}
