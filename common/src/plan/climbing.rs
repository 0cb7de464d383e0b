//! Asynchronous halving of configs that are all there from the start: who goes on now.
//!
//! The same ladder that searches ask, put up anew from what has ended: so nothing is kept between two looks
//! but what the log holds. Which configs go on depends on which were scored first; that is what not waiting
//! costs. Deliberately absent: who is chosen in the end.
//!
//! Source: Li et al. (2020), MLSys.
//!
//! Floor: common.

use super::Rung;
use super::ladder::{Ladder, Step};

/// A config on a rung that it has reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    pub config: u32,
    /// From 0, the shortest.
    pub rung: u32,
    /// Its score there; NaN where a training failed, and `None` while one is open.
    pub score: Option<f64>,
}

/// The rungs and configs that go on to them, of `rungs` rungs from each of which one in `keep` does.
///
/// A config goes on once it is among the best `n / keep` of the `n` that have ended on its rung. Of equal
/// scores the config that comes first is the better; one that failed never goes on. When nothing is open and
/// none has a score on the last rung, the best of those on the highest rung that have not gone on goes on
/// alone, so that one ends the last rung unless all fail. Whoever went on stays, whatever the others score later.
pub fn go_on(
    (rungs, keep): (u32, u32),
    larger_is_better: bool,
    standings: &[Standing],
) -> Vec<(u32, u32)> {
    let mut ladder = Ladder::of((1..=rungs.max(1)).collect(), keep.max(2), false);
    let configs = standings.iter().map(|one| one.config + 1).max().unwrap_or(0);
    let number = |rung: u32, config: u32| rung * configs + config;
    let mut all = standings.to_vec();
    all.sort_by_key(|one| (one.rung, one.config));
    for Standing { config, rung, score } in all {
        ladder.note(number(rung, config), config, &Rung { rung, epochs: rung + 1, from: None });
        if let Some(score) = score {
            let loss = if larger_is_better { -score } else { score };
            ladder.told(number(rung, config), Some(loss).filter(|loss| loss.is_finite()));
        }
    }
    let mut gone = Vec::new();
    while let Step::GoOn(config, rung) = ladder.step(|| None) {
        ladder.note(number(rung.rung, config), config, &rung);
        gone.push((rung.rung, config));
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(rung: u32, config: u32, score: Option<f64>) -> Standing {
        Standing { config, rung, score }
    }

    fn next(standings: &[Standing]) -> Vec<(u32, u32)> {
        go_on((3, 3), true, standings)
    }

    #[test]
    fn the_best_of_three_goes_on_while_others_are_open() {
        let mut all: Vec<Standing> = (0..9).map(|config| standing(0, config, None)).collect();
        assert_eq!(next(&all), []);
        for (config, score) in [(0, 0.5), (4, 0.7), (8, 0.6)] {
            all[config].score = Some(score);
        }
        assert_eq!(next(&all[..8]), [], "two are not enough");
        assert_eq!(next(&all), [(1, 4)]);
        assert_eq!(go_on((3, 3), false, &all), [(1, 0)], "smaller is better");
        // Better ones that come later go on too, and nobody is called back.
        all.push(standing(1, 4, None));
        for config in [1, 2, 3] {
            all[config].score = Some(0.8 + 0.01 * config as f64);
        }
        assert_eq!(next(&all), [(1, 3), (1, 2)]);
    }

    #[test]
    fn who_failed_never_goes_on_and_equal_ones_go_in_their_order() {
        let of = |scores: [f64; 3]| {
            let all: Vec<Standing> =
                (0..).zip(scores).map(|(config, score)| standing(0, config, Some(score))).collect();
            next(&all)
        };
        assert_eq!(of([f64::NAN, 0.5, 0.5]), [(1, 1)]);
        assert_eq!(of([f64::NAN; 3]), []);
    }

    #[test]
    fn the_last_one_goes_on_alone_and_then_it_is_over() {
        let mut all: Vec<Standing> = (0..3).map(|c| standing(0, c, Some(f64::from(c)))).collect();
        assert_eq!(next(&all), [(1, 2)]);
        all.push(standing(1, 2, None));
        assert_eq!(next(&all), [], "it is open");
        all[3].score = Some(0.4);
        assert_eq!(next(&all), [(2, 2)], "one of one, since else none would end");
        all.push(standing(2, 2, Some(0.5)));
        assert_eq!(next(&all), []);
    }

    #[test]
    fn where_all_fail_that_went_on_the_next_best_goes_on() {
        let mut all: Vec<Standing> = (0..3).map(|c| standing(0, c, Some(f64::from(c)))).collect();
        all.push(standing(1, 2, Some(f64::NAN)));
        assert_eq!(next(&all), [(1, 1)]);
        all.push(standing(1, 1, Some(0.4)));
        assert_eq!(next(&all), [(2, 1)]);
        all.push(standing(2, 1, Some(f64::NAN)));
        assert_eq!(next(&all), [(1, 0)]);
        all.push(standing(1, 0, Some(f64::NAN)));
        assert_eq!(next(&all), [], "all have failed");
    }
}
