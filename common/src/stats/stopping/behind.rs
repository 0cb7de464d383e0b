//! Which of many alternatives are settled to be behind the one that leads.
//!
//! Each look compares the present leader with every other one, which costs what the scores take to read and
//! not their square: for hundreds of configs where a race of arms compares all pairs. Let b be a best
//! alternative of `of`. Whoever drops it led it, and said so by the sequence over the pair of the two: there
//! are `of - 1` such pairs, each with alpha / (of - 1), and a sequence errs at no number of blocks while it
//! holds. So with 1 - alpha b is never dropped, at whichever numbers of blocks somebody looks and whatever
//! was dropped before; and no earlier look needs to be known. Deliberately absent: who was dropped before.
//!
//! Floor: common.

use super::pair::{Judge, Walk};
use super::{Rule, StoppingError, folds};

/// Whether each of those that are left is settled to be behind their leader; the leader never is.
///
/// `scores` [left, blocks, folds], all with equally many blocks; `of`: alternatives that there were at first.
/// Equal leaders: the first. Nobody is behind before [`Rule::blocks_min`] blocks.
pub fn behind(
    rule: &Rule,
    of: usize,
    scores: &[Vec<Vec<f64>>],
) -> Result<Vec<bool>, StoppingError> {
    rule.check(of.max(scores.len()))?;
    let folds = folds(scores)?;
    let judge = Judge::of(rule, of.max(scores.len()), folds)?;
    let blocks = scores.iter().map(Vec::len).min().unwrap_or(0);
    let sign = if rule.larger_is_better { 1.0 } else { -1.0 };
    let sum = |blocks: &Vec<Vec<f64>>| sign * blocks.iter().flatten().sum::<f64>();
    let mut leader = 0;
    for at in 1..scores.len() {
        if sum(&scores[at]) > sum(&scores[leader]) {
            leader = at;
        }
    }
    let lost = |at: usize| {
        if at == leader || blocks < rule.blocks_min as usize {
            return false;
        }
        let mut walk = Walk::of(folds);
        scores[leader].iter().zip(&scores[at]).for_each(|(first, other)| walk.add(first, other));
        let bounds = judge.look(&walk).bounds;
        bounds.is_some_and(|(low, high)| if rule.larger_is_better { low > 0.0 } else { high < 0.0 })
    };
    Ok((0..scores.len()).map(lost).collect())
}
