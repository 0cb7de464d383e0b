//! A fitted mixed model as data: effects with their tests, sources of spread with their intervals.
//!
//! Floor: core.

use common::stats::mixed::{
    self, Bootstrap, Component, Contrast, DfMethod, Fit, Freedom, InferenceError, Method,
    Multiplicity, Part,
};

use super::super::content::LEVEL;
use super::content::{
    BetweenPart, BootstrapPart, ContrastPart, CorrelationPart, FitPart, FixedPart, LevelPart,
    RanefPart, SearchPart, SpreadPart,
};

/// What is wanted of a fit beyond its estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub df: DfMethod,
    /// Replicates of a parametric bootstrap.
    pub draws: Option<usize>,
    /// Levels of the fixed factor [`super::ARM`] that are compared.
    pub arms: Vec<String>,
    /// The level that the others are compared with (Dunnett); `None` for every two of them (Holm).
    pub baseline: Option<String>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { df: DfMethod::Satterthwaite, draws: None, arms: Vec::new(), baseline: None }
    }
}

/// Everything that programs read of a fit.
pub fn of(fit: &Fit, left_out: usize, asked: &Asked) -> FitPart {
    let mut part = estimates(fit, left_out, asked);
    part.contrasts = contrasts(fit, asked);
    if let Some(draws) = asked.draws {
        match mixed::bootstrap(fit, draws, SEED) {
            Ok(drawn) => redrawn(&mut part, &drawn),
            Err(why) => part.bootstrap_absent = Some(why.to_string()),
        }
    }
    part
}

/// Percentile intervals of a bootstrap, beside the others.
fn redrawn(part: &mut FitPart, drawn: &Bootstrap) {
    let pair = |(low, high): (f64, f64)| [low, high];
    part.bootstrap = Some(BootstrapPart {
        draws: drawn.replicates().len() + drawn.failed(),
        failed: drawn.failed(),
    });
    let fill = |spread: &mut SpreadPart, which: Part| {
        spread.ci_sd_bootstrap = Some(pair(drawn.sd(which, LEVEL)));
        spread.ci_share_bootstrap = Some(pair(drawn.share(which, LEVEL)));
    };
    for (place, spread) in part.components.iter_mut().enumerate() {
        fill(spread, Part::Component(place));
    }
    fill(&mut part.residual, Part::Residual);
    for (place, correlation) in part.correlations.iter_mut().enumerate() {
        correlation.ci_bootstrap = drawn.correlation(place, LEVEL).map(pair);
    }
    let weights = units(part.fixed.len());
    for (fixed, weights) in part.fixed.iter_mut().zip(weights) {
        fixed.ci_bootstrap = drawn.contrast(&weights, LEVEL).ok().map(pair);
    }
}

/// Differences of arms by the model, with what allows for their number.
fn contrasts(fit: &Fit, asked: &Asked) -> Vec<ContrastPart> {
    let pairs: Vec<(&String, &String)> = match &asked.baseline {
        Some(baseline) => {
            (asked.arms.iter()).filter(|arm| *arm != baseline).map(|arm| (arm, baseline)).collect()
        }
        None => (asked.arms.iter().enumerate())
            .flat_map(|(place, a)| asked.arms[place + 1..].iter().map(move |b| (a, b)))
            .collect(),
    };
    let weights: Vec<Vec<f64>> =
        pairs.iter().filter_map(|(a, b)| weights_of(fit, super::ARM, a, b)).collect();
    if weights.is_empty() || weights.len() < pairs.len() {
        return Vec::new();
    }
    let (multiplicity, method) = match asked.baseline {
        Some(_) => (Multiplicity::Dunnett { seed: SEED }, "Dunnett"),
        None => (Multiplicity::Holm, "Holm"),
    };
    let Ok(tests) = tests(fit, &weights, asked.df, multiplicity) else { return Vec::new() };
    let part = |((a, b), test): (&(&String, &String), &Contrast)| ContrastPart {
        test: part(&format!("{a} − {b}"), (test.estimate, test.se), Some(test)),
        p_adjusted: test.p_adjusted,
        ci_adjusted: test.ci_adjusted.map(|(low, high)| [low, high]),
        method,
    };
    pairs.iter().zip(&tests).map(part).collect()
}

fn estimates(fit: &Fit, left_out: usize, asked: &Asked) -> FitPart {
    let tests = tests(fit, &units(fit.fixed.len()), asked.df, Multiplicity::Alone);
    let intervals_absent = too_many(fit);
    let intervals = intervals_absent.is_none();
    let place = |index: usize, component| spread(fit, component, Some(index), intervals);
    FitPart {
        formula: fit.formula.clone(),
        method: match fit.method {
            Method::Reml => "REML",
            Method::Ml => "ML",
        },
        n: fit.n,
        left_out,
        groups: fit.components.iter().map(|part| (part.factor.clone(), part.levels)).collect(),
        criterion: fit.criterion,
        loglik: fit.loglik(),
        fixed: (fit.fixed.iter().enumerate())
            .map(|(place, fixed)| {
                let test = tests.as_ref().ok().map(|tests| &tests[place]);
                let se = test.map_or(fixed.se, |test| test.se);
                part(&fixed.name, (fixed.estimate, se), test)
            })
            .zip(units(fit.fixed.len()))
            .map(|(part, weights)| FixedPart { ci_profile: profiled(fit, &weights), ..part })
            .collect(),
        df_method: match asked.df {
            DfMethod::Satterthwaite => "Satterthwaite",
            DfMethod::KenwardRoger => "Kenward-Roger",
        },
        contrasts: Vec::new(),
        bootstrap: None,
        bootstrap_absent: None,
        inference_absent: tests.err().map(|why| why.to_string()),
        components: fit.components.iter().enumerate().map(|(n, part)| place(n, part)).collect(),
        residual: spread(fit, &fit.residual, None, intervals),
        intervals_absent,
        correlations: (fit.correlations.iter().enumerate())
            .map(|(index, pair)| CorrelationPart {
                ci_bootstrap: None,
                ci: mixed::profile_correlation(fit, index, LEVEL)
                    .filter(|_| intervals)
                    .map(|(low, high)| [low, high]),
                factor: pair.factor.clone(),
                terms: pair.terms.clone(),
                covariance: pair.covariance,
                correlation: pair.correlation,
                share: pair.share,
            })
            .collect(),
        between: (fit.between.iter())
            .map(|effect| BetweenPart {
                fixed: effect.fixed.clone(),
                factors: effect.factors.clone(),
            })
            .collect(),
        ranef: ranef(fit),
        fit: SearchPart {
            evaluations: fit.evaluations,
            converged: fit.converged,
            gradient_norm: fit.gradient_norm,
        },
    }
}

/// The difference of two levels of the fixed factor `variable`; `None` where the model has none.
pub fn difference(fit: &Fit, variable: &str, a: &str, b: &str) -> Option<FixedPart> {
    let weights = [weights_of(fit, variable, a, b)?];
    let test = tests(fit, &weights, DfMethod::Satterthwaite, Multiplicity::Alone).ok()?.pop()?;
    Some(part(&format!("{a} − {b}"), (test.estimate, test.se), Some(&test)))
}

/// On the fixed effects, for the difference of two levels of `variable`.
fn weights_of(fit: &Fit, variable: &str, a: &str, b: &str) -> Option<Vec<f64>> {
    // Where effects of arms depend on something else, no one number is their difference.
    if fit.fixed.iter().any(|fixed| fixed.name.contains(':')) {
        return None;
    }
    let place = |level: &str| {
        let name = format!("{variable}{level}");
        fit.fixed.iter().position(|fixed| fixed.name == name)
    };
    let (at_a, at_b) = (place(a), place(b));
    // One level, the first, has no effect of its own.
    if at_a.is_none() && at_b.is_none() {
        return None;
    }
    let mut weights = vec![0.0; fit.fixed.len()];
    at_a.into_iter().for_each(|place| weights[place] += 1.0);
    at_b.into_iter().for_each(|place| weights[place] -= 1.0);
    Some(weights)
}

/// Of a full fit; a restricted one has no likelihood to profile a fixed effect on.
fn profiled(fit: &Fit, weights: &[f64]) -> Option<[f64; 2]> {
    let ends = mixed::fixed_profile_interval(fit, weights, LEVEL).ok()?;
    Some([ends.0, ends.1])
}

fn units(count: usize) -> Vec<Vec<f64>> {
    let unit = |place: usize| (0..count).map(|other| f64::from(u8::from(other == place))).collect();
    (0..count).map(unit).collect()
}

fn tests(
    fit: &Fit,
    weights: &[Vec<f64>],
    df: DfMethod,
    multiplicity: Multiplicity,
) -> Result<Vec<Contrast>, InferenceError> {
    mixed::contrasts(&Freedom::of(fit, df)?, weights, LEVEL, multiplicity)
}

fn part(name: &str, (estimate, se): (f64, f64), test: Option<&Contrast>) -> FixedPart {
    FixedPart {
        name: name.to_string(),
        estimate,
        se,
        df: test.map(|test| test.df),
        t: test.map(|test| test.t),
        p: test.map(|test| test.p),
        ci: test.map(|test| [test.ci.0, test.ci.1]),
        ci_profile: None,
        ci_bootstrap: None,
    }
}

/// Why profiles, each of some dozens of fits, are not searched.
fn too_many(fit: &Fit) -> Option<String> {
    let levels = || fit.components.iter().map(|component| component.levels);
    // The largest factor is eliminated cheaply; the others are not.
    let dear = levels().sum::<usize>() - levels().max().unwrap_or(0);
    (dear > LEVELS_PROFILED).then(|| {
        format!(
            "intervals of standard deviations were not computed: beside the largest factor the \
             model has {dear} levels, and the limit is {LEVELS_PROFILED}"
        )
    })
}

fn spread(fit: &Fit, component: &Component, place: Option<usize>, intervals: bool) -> SpreadPart {
    let which = place.map_or(Part::Residual, Part::Component);
    SpreadPart {
        factor: component.factor.clone(),
        term: component.term.clone(),
        levels: component.levels,
        variance: component.variance,
        sd: component.sd,
        share: component.share,
        at_boundary: component.at_boundary,
        ci_sd: (intervals.then(|| mixed::profile_interval(fit, which, LEVEL)).flatten())
            .map(|(low, high)| [low, high]),
        p: (place.filter(|_| intervals).and_then(|place| mixed::zero_test(fit, place)))
            .map(|test| test.p),
        p_exact: place.filter(|_| component.levels <= LEVELS_EXACT).and_then(|place| {
            mixed::exact_zero_test(fit, place, EXACT_DRAWS, SEED).ok().map(|test| test.p)
        }),
        ci_sd_bootstrap: None,
        ci_share_bootstrap: None,
    }
}

fn ranef(fit: &Fit) -> Vec<RanefPart> {
    let of = |(component, levels): (&Component, &Vec<mixed::Blup>)| RanefPart {
        factor: component.factor.clone(),
        term: component.term.clone(),
        levels: (levels.iter())
            .map(|blup| LevelPart { level: blup.level.clone(), mean: blup.mean, sd: blup.sd })
            .collect(),
    };
    fit.components.iter().zip(&fit.blups).map(of).collect()
}

/// Levels beside those of the largest factor up to which a profile takes seconds, not minutes.
const LEVELS_PROFILED: usize = 1_000;
/// Levels up to which the chi-bar-square p is too large to be left alone.
const LEVELS_EXACT: usize = 10;
const EXACT_DRAWS: usize = 20_000;
/// Of everything that is simulated: the same table gives the same numbers.
const SEED: u64 = 1;
