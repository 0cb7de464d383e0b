//! A fitted mixed model as data: effects with their tests, sources of spread with their intervals.
//!
//! Floor: core.

use common::stats::mixed::{
    self, Component, Contrast, DfMethod, Fit, Freedom, InferenceError, Method, Multiplicity, Part,
};

use super::super::content::LEVEL;
use super::content::{
    BetweenPart, CorrelationPart, FitPart, FixedPart, LevelPart, RanefPart, SearchPart, SpreadPart,
};

/// Everything that programs read of a fit.
pub fn of(fit: &Fit, left_out: usize) -> FitPart {
    let tests = tests(fit, &units(fit.fixed.len()));
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
                part(&fixed.name, (fixed.estimate, fixed.se), test)
            })
            .collect(),
        inference_absent: tests.err().map(|why| why.to_string()),
        components: fit.components.iter().enumerate().map(|(n, part)| place(n, part)).collect(),
        residual: spread(fit, &fit.residual, None, intervals),
        intervals_absent,
        correlations: (fit.correlations.iter().enumerate())
            .map(|(index, pair)| CorrelationPart {
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
    let test = tests(fit, &[weights]).ok()?.pop()?;
    Some(part(&format!("{a} − {b}"), (test.estimate, test.se), Some(&test)))
}

fn units(count: usize) -> Vec<Vec<f64>> {
    let unit = |place: usize| (0..count).map(|other| f64::from(u8::from(other == place))).collect();
    (0..count).map(unit).collect()
}

fn tests(fit: &Fit, weights: &[Vec<f64>]) -> Result<Vec<Contrast>, InferenceError> {
    let freedom = Freedom::of(fit, DfMethod::Satterthwaite)?;
    mixed::contrasts(&freedom, weights, LEVEL, Multiplicity::Alone)
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
    let interval = |_| mixed::profile_interval(fit, which, LEVEL);
    SpreadPart {
        factor: component.factor.clone(),
        term: component.term.clone(),
        levels: component.levels,
        variance: component.variance,
        sd: component.sd,
        share: component.share,
        at_boundary: component.at_boundary,
        ci_sd: intervals.then_some(()).map(interval).map(|(low, high)| [low, high]),
        p: place.filter(|_| intervals).map(|place| mixed::zero_test(fit, place).p),
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
