//! What the search of one choice tries next, given what it tried and what that scored.
//!
//! Tries come in rounds: the next one waits until every try before is scored, so that the order in which
//! scores arrive changes nothing, and what is tried depends on the study, the points and their scores alone.
//! A leader that takes over finds those in the log and goes on as the last one would have. Within a round no
//! score is known, and the search's own stand-in for open tries keeps them apart. Rounds cost little: other
//! choices, inner folds and tuning seeds fill the lanes meanwhile. Deliberately absent: which try is chosen in
//! the end (`choosing`), and who trains.
//!
//! Floor: common.

use crate::choosing::Scores;
use crate::design::{Choice, Design};
use crate::plan::{Asked, Proposal, Search, SearchError, Terms, Told};
use crate::space::Config;
use crate::study::Study;

/// The search of one choice, as far as it was followed.
#[derive(Clone, Debug)]
pub struct Searching {
    fresh: Search,
    search: Search,
    /// What `search` has recorded and was told, in order.
    known: Vec<(Config, Told)>,
}

impl Searching {
    /// `None` where the arm has no search that learns, or its space suits no search.
    pub fn new(study: &Study, design: &Design, choice: Choice) -> Option<Self> {
        let arm = study.arms.get(choice.arm as usize)?;
        let terms = Terms {
            budget: arm.configs.len() as u32,
            larger_is_better: study.primary().larger_is_better(),
            data: study.data.digest,
            seed: seed(design, choice),
        };
        let search = arm.learned.as_ref()?.search(terms).ok()?;
        Some(Self { fresh: search.clone(), search, known: Vec::new() })
    }

    /// The points of the next round, given all tries so far, each with its scores [tuning seeds][inner folds],
    /// NaN where a training failed. None when as many were tried as may be.
    ///
    /// A space that has no further point gives its best one again.
    pub fn next(&mut self, tries: &[(Config, Scores)]) -> Vec<Config> {
        let told = told(tries, self.first_round());
        let known: Vec<(Config, Told)> =
            tries.iter().map(|(point, _)| point.clone()).zip(told).collect();
        if known.get(..self.known.len()) != Some(&self.known) {
            // A training that had failed was opened again, and has a score now.
            (self.search, self.known) = (self.fresh.clone(), Vec::new());
        }
        while self.known.len() < known.len() {
            let from = self.known.len();
            let round = &known[from..known.len().min(from + self.search.round() as usize)];
            for (number, (point, _)) in (from..).zip(round) {
                note(&mut self.search, number, point);
            }
            for (number, (_, told)) in (from..).zip(round) {
                let taken = self.search.tell(number as u32, *told);
                debug_assert_eq!(taken, Ok(()), "each try is told once");
            }
            self.known.extend_from_slice(round);
        }
        self.asked()
    }

    fn asked(&self) -> Vec<Config> {
        let (mut ahead, tried) = (self.search.clone(), self.known.len());
        let budget = self.search.terms().budget as usize;
        let count = (self.search.round() as usize).min(budget.saturating_sub(tried));
        let mut points = Vec::with_capacity(count);
        for number in tried..tried + count {
            points.push(match ahead.ask() {
                Asked::Next(proposal) => proposal.config,
                Asked::Wait | Asked::Over => {
                    let best = self.search.best().map_or(0, |(best, _)| best as usize);
                    let again = self.known.get(best).map(|(point, _)| point.clone());
                    let again = again.or(points.first().cloned()).unwrap_or_default();
                    note(&mut ahead, number, &again);
                    again
                }
            });
        }
        points
    }

    fn first_round(&self) -> usize {
        self.fresh.round() as usize
    }
}

/// Records a try. One that the space does not contain, as only another program's could be, is passed over in
/// favour of the next that it does contain.
fn note(search: &mut Search, number: usize, point: &Config) {
    let number = number as u32;
    let proposal = Proposal { number, config_number: number, config: point.clone(), rung: None };
    if let Err(SearchError::Outside { .. }) = search.record(&proposal) {
        let _ = search.ask();
    }
}

/// The seed of the `search` stream: the place of the choice, which no further seed or partition moves.
fn seed(design: &Design, choice: Choice) -> u64 {
    let (seed, partition, fold) = design.place_of(choice);
    seed << 48 | u64::from(partition) << 24 | u64::from(fold)
}

/// What a search is told of each try: the mean score, and how far it may be off. One that failed anywhere, or
/// whose score is not defined, counts as failed.
///
/// The variance of a mean's error is that of its scores over seeds and folds, divided by their number, after
/// each seed and fold is freed of how hard it is, which is the same for all tries and no noise between them:
/// the mean there of the first round's tries, `C` of them that are whole. What is left is too small by
/// `1 − 1/C` for those, and too large by `1 + 1/C` for later ones; both are corrected. With fewer than two
/// such tries nothing is taken off. A few scores say little of their variance, and by luck may seem to have
/// none: it is drawn towards that of all tries, which counts as much as [`PRIOR_DF`] differences (the
/// moderated variance of Smyth, 2004, Stat. Appl. Genet. Mol. Biol. 3). Unit: the score's, squared.
fn told(tries: &[(Config, Scores)], first_round: usize) -> Vec<Told> {
    let flat: Vec<Vec<f64>> = tries.iter().map(|(_, scores)| scores.concat()).collect();
    let whole = |scores: &&Vec<f64>| !scores.is_empty() && scores.iter().all(|s| s.is_finite());
    let first: Vec<&Vec<f64>> = flat.iter().take(first_round).filter(whole).collect();
    let count = first.len() as f64;
    let hardness = |at: usize| match first.len() {
        0 | 1 => 0.0,
        _ => first.iter().map(|scores| scores[at]).sum::<f64>() / count,
    };
    let own = |(number, scores): (usize, &Vec<f64>)| {
        let left = scores.iter().enumerate().map(|(at, score)| score - hardness(at));
        let factor = match (first.len(), number < first_round) {
            (0 | 1, _) => 1.0,
            (_, true) => count / (count - 1.0),
            (_, false) => count / (count + 1.0),
        };
        variance(&left.collect::<Vec<_>>()).map(|variance| variance * factor)
    };
    let all: Vec<f64> =
        flat.iter().enumerate().filter(|(_, scores)| whole(scores)).filter_map(own).collect();
    let pooled = all.iter().sum::<f64>() / all.len().max(1) as f64;
    let told = |(number, scores): (usize, &Vec<f64>)| {
        if !whole(&scores) {
            return Told::Failed;
        }
        let size = scores.len() as f64;
        let moderated =
            |own: f64| (PRIOR_DF * pooled + (size - 1.0) * own) / (PRIOR_DF + size - 1.0);
        let variance = own((number, scores)).map(|own| moderated(own) / size);
        Told::Score { value: scores.iter().sum::<f64>() / size, variance }
    };
    flat.iter().enumerate().map(told).collect()
}

const PRIOR_DF: f64 = 4.0;

/// `None` of one number.
fn variance(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (values.len() > 1).then(|| squares / (count - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Method;
    use crate::study::check;
    use std::collections::BTreeSet;

    const STUDY: &str = "[study]\nname = \"s\"\nmetric = \"auroc\"\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = { folds = 2, repeats = 2 }\ninner = { folds = 2 }\n[seeds]\ncount = 2\n\
         [arms.a]\nmodel = \"mlp\"\nsearch = { method = \"METHOD\", configs = 24 }\n\
         space = { lr = { log = [0.001, 1.0] }, dropout = { linear = [0.0, 0.9] } }\n";

    fn study(method: &str) -> Study {
        let rows: String = (0..40).map(|n| format!("{n},{}\n", n % 2)).collect();
        let csv = format!("x,y\n{rows}");
        let text = STUDY.replace("METHOD", method);
        check(&text, &mut |_| Ok(csv.clone().into_bytes())).expect("valid").study
    }

    /// Best at `lr` 0.03 and little dropout; the second fold is harder, and each has some noise.
    fn scores(point: &Config) -> Scores {
        let number = |name| point.value(name).and_then(crate::space::Value::number).expect("there");
        let (lr, dropout) = (number("lr"), number("dropout"));
        let good = 1.0 - (lr / 0.03).log10().powi(2) / 4.0 - dropout * dropout;
        let noise = ((lr * 1e6) as u64 % 7) as f64 * 0.001;
        vec![vec![good + noise, good - 0.3 - noise]]
    }

    /// All tries of a choice, asked for by a new search in each round where `anew`.
    fn tries(study: &Study, cell: u64, anew: bool) -> Vec<(Config, Scores)> {
        let design = Design::of(study);
        let new = || Searching::new(study, &design, Choice { arm: 0, cell }).expect("learns");
        let (mut searching, mut tries) = (new(), Vec::new());
        loop {
            if anew {
                searching = new();
            }
            let next = searching.next(&tries);
            if next.is_empty() {
                return tries;
            }
            assert_eq!(searching.next(&tries), next, "asking changes nothing");
            tries.extend(next.into_iter().map(|point| (point.clone(), scores(&point))));
        }
    }

    #[test]
    fn a_search_that_is_followed_anew_in_each_round_tries_the_same() {
        for method in ["tpe", "gp", "cmaes"] {
            let study = study(method);
            let all = tries(&study, 1, false);
            assert_eq!(all.len(), 24, "{method}");
            assert_eq!(all, tries(&study, 1, true), "{method}");
            let points: BTreeSet<String> = all.iter().map(|(point, _)| point.to_string()).collect();
            assert_eq!(points.len(), 24, "{method}: none comes twice");
            assert_ne!(all, tries(&study, 2, false), "{method}: each choice has its own");
        }
    }

    #[test]
    fn later_rounds_are_better_than_the_first() {
        for method in ["tpe", "gp", "cmaes"] {
            let all = tries(&study(method), 0, false);
            let mean = |tries: &[(Config, Scores)]| {
                tries.iter().map(|(_, scores)| scores[0][0]).sum::<f64>() / tries.len() as f64
            };
            assert!(mean(&all[16..]) > mean(&all[..6]) + 0.1, "{method}");
        }
    }

    #[test]
    fn a_score_that_comes_late_is_learned_from_as_if_it_had_always_been_there() {
        let study = study("tpe");
        let design = Design::of(&study);
        let choice = Choice { arm: 0, cell: 0 };
        let mut searching = Searching::new(&study, &design, choice).expect("learns");
        let points = searching.next(&[]);
        let mut tries: Vec<(Config, Scores)> =
            points.iter().map(|point| (point.clone(), scores(point))).collect();
        let mut failed = tries.clone();
        failed[3].1[0][1] = f64::NAN;
        let without = searching.next(&failed);
        let with = searching.next(&tries);
        assert_eq!(with, Searching::new(&study, &design, choice).expect("learns").next(&tries));
        tries.extend(without.iter().map(|point| (point.clone(), scores(point))));
        assert_eq!(searching.next(&tries).len(), 4);
    }

    #[test]
    fn the_hardness_of_folds_is_no_noise() {
        let point = Config::default();
        let of = |scores: [f64; 2]| (point.clone(), vec![scores.to_vec()]);
        let alike = told(&[of([0.5, 0.3]), of([0.7, 0.5]), of([0.9, 0.7])], 2);
        for (told, wanted) in alike.iter().zip([0.4, 0.6, 0.8]) {
            let Told::Score { value, variance: Some(variance) } = told else { panic!("{told:?}") };
            assert!((value - wanted).abs() < 1e-12 && *variance < 1e-12, "{told:?}");
        }
        // Alone nothing is known of the folds.
        let Told::Score { variance, .. } = told(&[of([0.5, 0.3])], 2)[0] else { panic!("failed") };
        assert!((variance.expect("two scores") - 0.01).abs() < 1e-12);
        assert_eq!(told(&[of([0.5, f64::NAN])], 2), [Told::Failed]);
        let once = told(&[(point, vec![vec![0.5]])], 2);
        assert_eq!(once, [Told::Score { value: 0.5, variance: None }]);
    }

    #[test]
    fn a_space_that_is_used_up_gives_its_best_point_again() {
        let text = STUDY.replace("METHOD", "tpe").replace("configs = 24", "configs = 3");
        let rows: String = (0..40).map(|n| format!("{n},{}\n", n % 2)).collect();
        let csv = format!("x,y\n{rows}");
        let mut study = check(&text, &mut |_| Ok(csv.clone().into_bytes())).expect("valid").study;
        let learned = study.arms[0].learned.as_mut().expect("learns");
        assert_eq!(learned.method, Method::Tpe);
        let two = crate::space::Axis::List([0.1, 0.2].map(crate::space::Value::Float).to_vec());
        learned.space.axes = vec![("lr".to_string(), two)];
        let design = Design::of(&study);
        let mut searching =
            Searching::new(&study, &design, Choice { arm: 0, cell: 0 }).expect("learns");
        let points = searching.next(&[]);
        assert_eq!(points.len(), 3);
        assert!(points[0] != points[1] && points[2] == points[0], "{points:?}");
    }
}
