//! Choosing a config by its scores on inner folds.
//!
//! What is scored here trained and tested on the training rows of one outer fold, so that nothing of
//! the outer test rows is in a choice. Ties go to the config that comes first in the space. No result
//! depends on how long a training took: anyone can choose again and gets the same.
//!
//! Floor: common.

use crate::study::{Hyper, Select};

/// What one config scored: by tuning seed, then inner fold; NaN where a training failed or its score is
/// not defined.
pub type Scores = Vec<Vec<f64>>;

/// Which config is chosen.
///
/// `scores` [configs][tuning seeds][inner folds], not empty; `cost`: of each config, what its training
/// takes, in any unit. Configs of which all scores are there go before those that failed somewhere, these
/// are ordered by how often they did not; where none has a score the first config is chosen.
///
/// - [`Select::Best`]: the best mean over all its scores.
/// - [`Select::OneSe`]: the cheapest (of equally cheap ones the best) whose mean is no further from the best
///   one's than this one's standard error over inner folds, each the mean over tuning seeds. Source: Breiman et al. (1984), 3.4.3.
/// - [`Select::Majority`]: each tuning seed votes for its best; ties go to the better mean.
pub fn choose(scores: &[Scores], select: Select, larger_is_better: bool, cost: &[f64]) -> usize {
    let sign = if larger_is_better { 1.0 } else { -1.0 };
    let best = |seeds: &dyn Fn(&Scores) -> Vec<f64>| -> usize {
        let standings: Vec<Standing> =
            scores.iter().map(|scores| Standing::of(&seeds(scores), sign)).collect();
        first_best(&standings)
    };
    let all = |scores: &Scores| scores.concat();
    match select {
        Select::Best => best(&all),
        Select::OneSe => within_one_se(scores, best(&all), sign, cost),
        Select::Majority => {
            let seeds = scores.first().map_or(0, Vec::len);
            let mut votes = vec![0usize; scores.len()];
            for seed in 0..seeds {
                votes[best(&|scores: &Scores| scores[seed].clone())] += 1;
            }
            let most = votes.iter().max().copied().unwrap_or(0);
            let standing = |(at, scores): (usize, &Scores)| match votes[at] == most {
                true => Standing::of(&all(scores), sign),
                false => Standing::NONE,
            };
            first_best(&scores.iter().enumerate().map(standing).collect::<Vec<_>>())
        }
    }
}

/// How a config did: more scores go before better ones.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Standing {
    defined: usize,
    /// Larger is better.
    mean: f64,
}

impl Standing {
    const NONE: Standing = Standing { defined: 0, mean: f64::NEG_INFINITY };

    fn of(scores: &[f64], sign: f64) -> Self {
        let defined: Vec<f64> = scores.iter().copied().filter(|score| score.is_finite()).collect();
        match defined.is_empty() {
            true => Self::NONE,
            false => Self {
                defined: defined.len(),
                mean: sign * defined.iter().sum::<f64>() / defined.len() as f64,
            },
        }
    }
}

fn first_best(standings: &[Standing]) -> usize {
    let mut best = 0;
    for (at, standing) in standings.iter().enumerate() {
        if *standing > standings[best] {
            best = at;
        }
    }
    best
}

fn within_one_se(scores: &[Scores], best: usize, sign: f64, cost: &[f64]) -> usize {
    let standing = |at: usize| Standing::of(&scores[at].concat(), sign);
    let lead = standing(best);
    let Some(se) = standard_error(&scores[best]) else { return best };
    let near = (0..scores.len()).filter(|&at| {
        let standing = standing(at);
        standing.defined == lead.defined && standing.mean >= lead.mean - se
    });
    let better = |a: usize, b: usize| standing(b).mean.total_cmp(&standing(a).mean);
    near.min_by(|&a, &b| cost[a].total_cmp(&cost[b]).then(better(a, b))).unwrap_or(best)
}

/// Of the mean over inner folds; `None` with one fold, or where a score is missing.
fn standard_error(scores: &Scores) -> Option<f64> {
    let folds = scores.first()?.len();
    if folds < 2 || scores.iter().flatten().any(|score| !score.is_finite()) {
        return None;
    }
    let of_fold =
        |fold: usize| scores.iter().map(|seed| seed[fold]).sum::<f64>() / scores.len() as f64;
    let means: Vec<f64> = (0..folds).map(of_fold).collect();
    let mean = means.iter().sum::<f64>() / folds as f64;
    let squares: f64 = means.iter().map(|value| (value - mean) * (value - mean)).sum();
    Some((squares / (folds as f64 - 1.0) / folds as f64).sqrt())
}

/// What a training of this config takes beside others of its arm, in no unit: epochs times the weights
/// between hidden layers and beside them. Of a program nothing is known: all cost the same.
pub fn cost(hyper: &Hyper) -> f64 {
    let widths: Vec<f64> = hyper.hidden.iter().map(|width| f64::from(*width)).collect();
    let between: f64 = widths.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let beside: f64 = widths.iter().sum();
    let layers = &hyper.layers;
    let channels: f64 = layers.channels.iter().map(|count| f64::from(*count)).sum();
    f64::from(hyper.epochs) * (1.0 + between + beside + channels * channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(scores: &[Scores], select: Select) -> usize {
        let cost: Vec<f64> = (0..scores.len()).rev().map(|cost| cost as f64).collect();
        choose(scores, select, true, &cost)
    }

    fn of_one_seed(scores: &[&[f64]]) -> Vec<Scores> {
        scores.iter().map(|scores| vec![scores.to_vec()]).collect()
    }

    #[test]
    fn the_best_mean_is_chosen_and_the_first_of_equals() {
        let scores = of_one_seed(&[&[0.5, 0.7], &[0.8, 0.6], &[0.7, 0.7]]);
        assert_eq!(chosen(&scores, Select::Best), 1);
        assert_eq!(choose(&scores, Select::Best, false, &[0.0; 3]), 0);
    }

    #[test]
    fn a_config_that_failed_on_a_fold_goes_behind_those_that_did_not() {
        let scores = of_one_seed(&[&[0.9, f64::NAN], &[0.6, 0.6], &[f64::NAN, f64::NAN]]);
        assert_eq!(chosen(&scores, Select::Best), 1);
        assert_eq!(chosen(&of_one_seed(&[&[f64::NAN], &[f64::INFINITY]]), Select::Best), 0);
        assert_eq!(chosen(&of_one_seed(&[&[f64::NAN], &[0.1]]), Select::OneSe), 1);
    }

    #[test]
    fn the_cheapest_within_one_standard_error_is_chosen() {
        // The best has mean 0.7 and standard error 0.05.
        let scores = of_one_seed(&[&[0.65, 0.75], &[0.66, 0.66], &[0.64, 0.64]]);
        assert_eq!(chosen(&scores, Select::OneSe), 1);
        assert_eq!(chosen(&scores, Select::Best), 0);
        assert_eq!(chosen(&of_one_seed(&[&[0.7], &[0.69]]), Select::OneSe), 0, "one fold has none");
        let last = of_one_seed(&[&[0.66, 0.66], &[0.65, 0.75]]);
        assert_eq!(
            choose(&last, Select::OneSe, true, &[1.0; 2]),
            1,
            "of equally cheap ones the best"
        );
    }

    #[test]
    fn most_tuning_seeds_decide_and_a_tie_goes_to_the_better_mean() {
        let scores = vec![
            vec![vec![0.6], vec![0.6], vec![0.6]],
            vec![vec![0.5], vec![0.5], vec![0.9]],
            vec![vec![0.1], vec![0.1], vec![0.1]],
        ];
        assert_eq!(chosen(&scores, Select::Majority), 0);
        assert_eq!(chosen(&scores, Select::Best), 1);
        let tied = vec![vec![vec![0.6], vec![0.6]], vec![vec![0.5], vec![0.8]]];
        assert_eq!(chosen(&tied, Select::Majority), 1);
    }
}
