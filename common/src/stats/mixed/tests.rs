//! What holds for every mixed model, on small made tables. lme4's own data sets are in
//! `tests/reference.rs`.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::*;

#[test]
fn zeta_crosses_the_quantile_where_the_interval_ends() {
    let fit = fitted("y ~ x + (1|a) + (1|b)", &crossed());
    for part in [Part::Component(0), Part::Component(1), Part::Residual] {
        let (low, high) = profile_interval(&fit, part, 0.95).unwrap();
        let curve = profile_zeta(&fit, part, 0.95, 9);
        assert_eq!(curve.len(), 9);
        assert!(curve.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
        let ends = [curve[0], curve[8]];
        assert_eq!((ends[0].0, ends[1].0), (low, high));
        assert!((ends[1].1 - 1.959_964).abs() < 1e-4, "{ends:?}");
        assert!(low == 0.0 || (ends[0].1 + 1.959_964).abs() < 1e-4, "{ends:?}");
    }
}

#[test]
fn order_of_rows_changes_no_bit() {
    let columns = crossed();
    let rows = count_rows(&columns);
    let formula = "y ~ x + arm + (1|a) + (1|b) + (1|a:arm)";
    let expected = bits(&fitted(formula, &columns));

    for step in [1, 7, 11, 13] {
        let order: Vec<usize> = (0..rows).map(|row| (row * step + 5) % rows).rev().collect();
        assert_eq!(order.iter().collect::<std::collections::BTreeSet<_>>().len(), rows);
        assert_eq!(bits(&fitted(formula, &reordered(&columns, &order))), expected, "{step}");
    }
}

#[test]
fn names_of_random_levels_change_no_bit() {
    let mut columns = crossed();
    let formula = "y ~ x + arm + (1|a) + (1|b)";
    let before = fitted(formula, &columns);
    let Some(Column::Levels { names, .. }) = columns.get_mut("a") else { panic!() };
    names.reverse();
    let after = fitted(formula, &columns);

    assert_eq!(after.criterion.to_bits(), before.criterion.to_bits());
    assert_eq!(after.theta, before.theta);
    assert_eq!(after.fixed, before.fixed);
    let mut reversed = after.blups[0].clone();
    reversed.reverse();
    for (after, before) in reversed.iter().zip(&before.blups[0]) {
        assert_eq!((after.mean, after.sd), (before.mean, before.sd));
    }
}

#[test]
fn balanced_one_way_reml_equals_anova() {
    let (groups, each) = (7, 4);
    let mut noise = Noise(3);
    let effects: Vec<f64> = (0..groups).map(|_| 2.0 * noise.next()).collect();
    let y: Vec<f64> =
        (0..groups * each).map(|row| 900.0 + effects[row / each] + noise.next()).collect();
    let a = levels((0..groups * each).map(|row| row / each));
    let fit = fitted("y ~ 1 + (1|a)", &table([("y", Column::Numbers(y.clone())), ("a", a)]));

    let grand = mean(&y);
    let means: Vec<f64> = y.chunks(each).map(mean).collect();
    let between = each as f64 * squares(&means, grand) / (groups - 1) as f64;
    let within: f64 = y.chunks(each).map(|group| squares(group, mean(group))).sum();
    let within = within / (groups * (each - 1)) as f64;
    close(fit.residual.variance, within);
    close(fit.components[0].variance, (between - within) / each as f64);
    close(fit.fixed[0].estimate, grand);
    close(fit.fixed[0].se, (between / (groups * each) as f64).sqrt());
}

#[test]
fn balanced_crossed_reml_equals_anova() {
    let (rows, columns) = (8, 5);
    let mut noise = Noise(9);
    let of_row: Vec<f64> = (0..rows).map(|_| noise.next()).collect();
    let of_column: Vec<f64> = (0..columns).map(|_| 3.0 * noise.next()).collect();
    let cell = |at: usize| (at / columns, at % columns);
    let y: Vec<f64> = (0..rows * columns)
        .map(|at| 0.01 * (of_row[cell(at).0] + of_column[cell(at).1] + 0.5 * noise.next()))
        .collect();
    let fit = fitted(
        "y ~ 1 + (1|a) + (1|b)",
        &table([
            ("y", Column::Numbers(y.clone())),
            ("a", levels((0..y.len()).map(|at| cell(at).0))),
            ("b", levels((0..y.len()).map(|at| cell(at).1))),
        ]),
    );

    let grand = mean(&y);
    let row_means: Vec<f64> = y.chunks(columns).map(mean).collect();
    let column_means: Vec<f64> = (0..columns)
        .map(|column| (0..rows).map(|row| y[row * columns + column]).sum::<f64>() / rows as f64)
        .collect();
    let by_row = columns as f64 * squares(&row_means, grand);
    let by_column = rows as f64 * squares(&column_means, grand);
    let error = (squares(&y, grand) - by_row - by_column) / ((rows - 1) * (columns - 1)) as f64;
    close(fit.residual.variance, error);
    close(fit.components[0].variance, (by_row / (rows - 1) as f64 - error) / columns as f64);
    close(fit.components[1].variance, (by_column / (columns - 1) as f64 - error) / rows as f64);
}

#[test]
fn nested_equals_factor_and_interaction() {
    let columns = crossed();
    let nested = fitted("y ~ 1 + (1|a/arm)", &columns);
    let explicit = fitted("y ~ 1 + (1|a) + (1|a:arm)", &columns);

    assert_eq!(bits(&nested), bits(&explicit));
    assert_eq!(nested.components[1].factor, "a:arm");
    assert_eq!(nested.components[1].levels, 16);
    assert_eq!(nested.blups[1][0].level, "l0:l0");
}

#[test]
fn unit_of_the_response_scales_the_result() {
    let columns = crossed();
    let mut small = columns.clone();
    let Some(Column::Numbers(y)) = small.get_mut("y") else { panic!() };
    y.iter_mut().for_each(|y| *y *= 1e-6);
    let formula = "y ~ x + arm + (1|a) + (1|b)";
    let (large, small) = (fitted(formula, &columns), fitted(formula, &small));

    for (large, small) in large.components.iter().zip(&small.components) {
        close(small.sd, 1e-6 * large.sd);
    }
    close(small.fixed[1].estimate, 1e-6 * large.fixed[1].estimate);
}

#[test]
fn spread_below_chance_is_exactly_zero() {
    // Both groups hold the same numbers, so their means agree better than chance allows.
    let y = Column::Numbers(vec![1.0, 2.0, 4.0, 1.0, 2.0, 4.0, 1.5, 1.7, 3.8]);
    let fit = fitted("y ~ 1 + (1|a)", &table([("y", y), ("a", levels((0..9).map(|i| i / 3)))]));

    assert_eq!((fit.theta[0], fit.components[0].variance), (0.0, 0.0));
    assert!(fit.components[0].at_boundary && fit.singular() && fit.converged);
    assert_eq!(fit.residual.share, 1.0);
    assert!(fit.blups[0].iter().all(|blup| (blup.mean, blup.sd) == (0.0, 0.0)));
    assert_eq!(zero_test(&fit, 0).unwrap().p, 1.0);
    let (lower, upper) = profile_interval(&fit, Part::Component(0), 0.95).unwrap();
    assert!(lower == 0.0 && upper > 0.0 && upper.is_finite());
}

#[test]
fn without_random_terms_it_is_least_squares() {
    let y = Column::Numbers(vec![1.0, 3.0, 2.0, 5.0]);
    let x = Column::Numbers(vec![0.0, 1.0, 2.0, 3.0]);
    let fit = fitted("y ~ x", &table([("y", y), ("x", x)]));

    close(fit.fixed[0].estimate, 1.1);
    close(fit.fixed[1].estimate, 1.1);
    close(fit.residual.variance, 1.35);
}

#[test]
fn without_an_intercept_the_first_factor_gets_a_mean_a_level() {
    let columns = crossed();
    let means = fitted("y ~ 0 + arm + x + (1|a)", &columns);
    let contrasts = fitted("y ~ arm + x + (1|a)", &columns);

    let names: Vec<&str> = means.fixed.iter().map(|fixed| fixed.name.as_str()).collect();
    assert_eq!(names, ["arml0", "arml1", "x"]);
    close(means.fixed[1].estimate - means.fixed[0].estimate, contrasts.fixed[1].estimate);
    close(means.fixed[0].estimate, contrasts.fixed[0].estimate);
    close(means.fixed[2].se, contrasts.fixed[2].se);
    close(means.criterion, contrasts.criterion);
}

#[test]
fn what_cannot_be_told_apart_is_refused() {
    let mut columns = crossed();
    let rows = count_rows(&columns);
    columns.insert("row".into(), levels(0..rows));
    columns.insert("one".into(), levels((0..rows).map(|_| 0)));
    columns.insert("same".into(), columns["a"].clone());
    columns.insert("flat".into(), Column::Numbers(vec![0.3; rows]));
    let Column::Numbers(x) = &columns["x"] else { panic!() };
    let twice = x.iter().map(|x| 2.0 * x + 1.0).collect();
    columns.insert("twice".into(), Column::Numbers(twice));
    let refusal =
        |formula: &str| fit(&Formula::parse(formula).unwrap(), &columns, Method::Reml).unwrap_err();

    assert_eq!(refusal("y ~ 1 + (1|row)"), FitError::LevelPerRow { factor: "row".into(), rows });
    assert_eq!(refusal("y ~ 1 + (1|one)"), FitError::OneLevel { variable: "one".into() });
    assert_eq!(
        refusal("y ~ 1 + (1|a) + (1|same)"),
        FitError::SameFactor { a: "a".into(), b: "same".into() }
    );
    assert_eq!(refusal("y ~ a + (1|same)"), FitError::Aliased { factor: "same".into() });
    assert_eq!(refusal("y ~ x + twice"), FitError::RankDeficient { column: "twice".into() });
    assert_eq!(refusal("y ~ flat"), FitError::RankDeficient { column: "flat".into() });
    assert_eq!(refusal("flat ~ 1 + (1|a)"), FitError::NoSpread);
    assert_eq!(refusal("twice ~ x + (1|a)"), FitError::NoSpread);
    assert_eq!(refusal("y ~ row"), FitError::TooFewRows { rows, coefficients: rows });
    assert_eq!(refusal("y ~ 0 + (1|a)"), FitError::NothingFixed);
    assert_eq!(refusal("y ~ z"), FitError::NoColumn { variable: "z".into() });
    assert_eq!(refusal("a ~ 1"), FitError::NotNumbers { variable: "a".into() });
    assert_eq!(refusal("y ~ (1|x)"), FitError::NotLevels { variable: "x".into() });
}

#[test]
fn a_response_that_factors_explain_exactly_is_refused() {
    let a = || (0..24).map(|row| row / 4);
    let y = Column::Numbers(a().map(|level| [0.3, 0.9, 0.1, 0.5, 0.45, 0.2][level]).collect());
    let columns = table([("y", y), ("a", levels(a()))]);
    let formula = Formula::parse("y ~ 1 + (1|a)").unwrap();

    assert_eq!(fit(&formula, &columns, Method::Reml).unwrap_err(), FitError::NoResidual);
}

#[test]
fn broken_columns_are_refused() {
    let refusal =
        |columns| fit(&Formula::parse("y ~ (1|a)").unwrap(), &columns, Method::Ml).unwrap_err();
    let y = || Column::Numbers(vec![1.0, 2.0, 3.0, 5.0]);
    let missing = Column::Numbers(vec![1.0, f64::NAN, 3.0, 5.0]);
    let beyond = Column::Levels { codes: vec![0, 0, 1, 2], names: vec!["u".into(), "v".into()] };

    assert_eq!(
        refusal(table([("y", missing), ("a", levels([0, 0, 1, 1].into_iter()))])),
        FitError::NotFinite { variable: "y".into(), row: 1 }
    );
    assert_eq!(
        refusal(table([("y", y()), ("a", levels([0, 0, 1].into_iter()))])),
        FitError::UnequalLengths { variable: "a".into(), length: 3, rows: 4 }
    );
    let large = Column::Numbers(vec![1.0, 2.0, 1e141, 5.0]);
    assert_eq!(
        refusal(table([("y", large), ("a", levels([0, 0, 1, 1].into_iter()))])),
        FitError::TooLarge { variable: "y".into(), row: 2 }
    );
    assert_eq!(
        refusal(table([("y", y()), ("a", beyond)])),
        FitError::NoSuchLevel { variable: "a".into(), row: 3, code: 2 }
    );
}

pub(super) type Table = BTreeMap<String, Column>;

fn count_rows(columns: &Table) -> usize {
    three(columns).0.len()
}

/// 8 levels of a, 6 of b, 2 arms, two rows a cell with a few left out.
pub(super) fn crossed() -> Table {
    let mut noise = Noise(1);
    let of_a: Vec<f64> = (0..8).map(|_| noise.next()).collect();
    let of_b: Vec<f64> = (0..6).map(|_| 0.7 * noise.next()).collect();
    let cells = (0..192).filter(|at| at % 17 != 3);
    let keys: Vec<[usize; 3]> = cells.map(|at| [at / 24, at / 4 % 6, at / 2 % 2]).collect();
    let x: Vec<f64> = keys.iter().map(|_| 50.0 + 10.0 * noise.next()).collect();
    let y = keys
        .iter()
        .zip(&x)
        .map(|(key, x)| 0.2 * x + key[2] as f64 + of_a[key[0]] + of_b[key[1]] + 0.4 * noise.next());
    table([
        ("y", Column::Numbers(y.collect())),
        ("x", Column::Numbers(x)),
        ("a", levels(keys.iter().map(|key| key[0]))),
        ("b", levels(keys.iter().map(|key| key[1]))),
        ("arm", levels(keys.iter().map(|key| key[2]))),
    ])
}

pub(super) fn terms(formula: &str, columns: &Table) -> terms::Terms {
    let formula = Formula::parse(formula).unwrap();
    let columns: BTreeMap<&str, Slice> =
        columns.iter().map(|(name, column)| (name.as_str(), column.as_slice())).collect();
    terms::Terms::of(&formula, &stream::Products::of(&formula, &columns).unwrap()).unwrap()
}

/// y, and the codes of a and b.
pub(super) fn three(columns: &Table) -> (Vec<f64>, Vec<u32>, Vec<u32>) {
    match (&columns["y"], &columns["a"], &columns["b"]) {
        (Column::Numbers(y), Column::Levels { codes: a, .. }, Column::Levels { codes: b, .. }) => {
            (y.clone(), a.clone(), b.clone())
        }
        _ => panic!(),
    }
}

pub(super) fn fitted(formula: &str, columns: &Table) -> Fit {
    let fit = fit(&Formula::parse(formula).unwrap(), columns, Method::Reml).unwrap();
    assert!(fit.converged);
    fit
}

/// Every number of a fit, and its intervals.
fn bits(fit: &Fit) -> Vec<u64> {
    let mut numbers = vec![fit.criterion, fit.gradient_norm, fit.condition];
    numbers.extend(fit.fixed.iter().flat_map(|fixed| [fixed.estimate, fixed.se]));
    numbers.extend(fit.fixed_vcov.iter().flatten());
    let components = fit.components.iter().chain([&fit.residual]);
    numbers.extend(components.flat_map(|part| [part.variance, part.sd, part.share]));
    numbers.extend(fit.blups.iter().flatten().flat_map(|blup| [blup.mean, blup.sd]));
    let interval = profile_interval(fit, Part::Component(0), 0.95).unwrap();
    numbers.extend([interval.0, interval.1, zero_test(fit, 0).unwrap().p]);
    numbers.iter().map(|number| number.to_bits()).collect()
}

pub(super) fn reordered(columns: &Table, order: &[usize]) -> Table {
    let column = |column: &Column| match column {
        Column::Numbers(values) => Column::Numbers(order.iter().map(|&row| values[row]).collect()),
        Column::Levels { codes, names } => {
            // Codes may number the names in any order, too.
            let last = names.len() as u32 - 1;
            let codes = order.iter().map(|&row| last - codes[row]).collect();
            Column::Levels { codes, names: names.iter().rev().cloned().collect() }
        }
    };
    columns.iter().map(|(name, values)| (name.clone(), column(values))).collect()
}

pub(super) fn table<const N: usize>(columns: [(&str, Column); N]) -> Table {
    columns.into_iter().map(|(name, column)| (name.to_owned(), column)).collect()
}

pub(super) fn levels(codes: impl Iterator<Item = usize>) -> Column {
    let codes: Vec<u32> = codes.map(|code| code as u32).collect();
    let count = codes.iter().max().unwrap() + 1;
    Column::Levels { codes, names: (0..count).map(|level| format!("l{level}")).collect() }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn squares(values: &[f64], centre: f64) -> f64 {
    values.iter().map(|value| (value - centre).powi(2)).sum()
}

#[track_caller]
pub(super) fn close(actual: f64, expected: f64) {
    assert!((actual - expected).abs() <= 1e-7 * expected.abs(), "{actual} is not {expected}");
}

/// Roughly normal numbers, the same on every machine.
pub(super) struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> f64 {
        let uniform = (0..12).map(|_| {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        });
        uniform.sum::<f64>() - 6.0
    }
}
