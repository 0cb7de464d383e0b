//! Configs on their rungs: who of them goes on, and which is chosen in the end.
//!
//! Scores are compared here and nowhere else, once all that a rung waits for has ended; so whoever leads
//! comes to the same, in whatever order they came. Deliberately absent: when that is (`choosing`).
//!
//! Floor: core.

use common::choosing::{Scores, choose, cost};
use common::design::{Choice, Design};
use common::id::TrialIndex;
use common::racing;
use common::study::{Halving, Race, Select};

use crate::scheduler::choices::{Choices, Chosen};
use crate::scheduler::rungs::Promoted;
use crate::scheduler::state::StudyRecord;

/// What follows for a choice whose configs were judged on their rung.
pub(super) enum Judged {
    GoOn(Promoted),
    /// One is left of its race.
    Chosen(Chosen),
}

/// One choice, with all that its configs are judged by.
pub(super) struct Judging<'a> {
    pub record: &'a StudyRecord,
    pub known: &'a Choices,
    pub design: &'a Design,
    pub choice: Choice,
}

impl Judging<'_> {
    /// Which configs go on to the next rung; `None` where there is none.
    pub fn next(&self) -> Option<Judged> {
        let Choice { arm, cell } = self.choice;
        let rung = self.record.next_rung(self.design, self.choice)?;
        let left = self.record.reached(self.design, self.choice, rung - 1);
        let written = &self.record.study.arms[arm as usize];
        let configs = match (self.design.halving(arm), written.race) {
            (Some(halving), _) => self.best((halving, rung), left),
            (None, race) => self.staying(race?, rung, &left),
        };
        Some(match configs.as_slice() {
            [config] if written.race.is_some() => {
                Judged::Chosen(Chosen { arm, cell, config: *config })
            }
            _ => Judged::GoOn(Promoted { arm, cell, rung, configs }),
        })
    }

    /// The config that the scores say; of halved ones one that reached the last rung, of a race one that is
    /// left.
    pub fn chosen(&self) -> Chosen {
        let (record, choice) = (self.record, self.choice);
        let all = record.study.configs_of(choice);
        let furthest = || record.furthest(self.design, choice);
        let candidates: Vec<u32> =
            match (self.design.halving(choice.arm), self.design.raced(choice.arm)) {
                (Some(halving), _) => {
                    let last = halving.rungs - 1;
                    furthest().into_iter().map(|config| halving.config(last, config)).collect()
                }
                (None, Some(_)) => furthest(),
                (None, None) => (0..all.len() as u32).collect(),
            };
        let costs: Vec<f64> =
            candidates.iter().map(|config| cost(&all[*config as usize].hyper)).collect();
        let select = record.study.outer.inner.as_ref().map(|inner| inner.select);
        let scores = self.scores(&candidates);
        let best = choose(&scores, select.unwrap_or(SELECT), self.larger_is_better(), &costs);
        Chosen { arm: choice.arm, cell: choice.cell, config: candidates[best] }
    }

    /// The best of those that reached the rung before.
    fn best(&self, (halving, rung): (Halving, u32), mut left: Vec<u32>) -> Vec<u32> {
        let on_rung = left.iter().map(|config| halving.config(rung - 1, *config));
        let mut scores = self.scores(&on_rung.collect::<Vec<_>>());
        let mut configs = Vec::new();
        // The best of those that are left, again and again; equally good ones in their order.
        while (configs.len() as u32) < halving.kept(rung) && !left.is_empty() {
            let best = choose(&scores, SELECT, self.larger_is_better(), &[]);
            configs.push(left.remove(best));
            scores.remove(best);
        }
        configs.sort_unstable();
        configs
    }

    /// Those of a race that are not dropped after so many tuning seeds.
    fn staying(&self, race: Race, seeds: u32, left: &[u32]) -> Vec<u32> {
        let mut scores = self.scores(left);
        scores.iter_mut().for_each(|scores| scores.truncate(seeds as usize));
        let rule = race.rule(self.design.tuning_seeds(), self.larger_is_better());
        let of = self.design.configs_of(self.choice.arm) as usize;
        let stays = racing::stay(&rule, of, &scores);
        left.iter().zip(stays).filter(|(_, stays)| *stays).map(|(config, _)| *config).collect()
    }

    /// What these configs scored, as choices compare it.
    fn scores(&self, configs: &[u32]) -> Vec<Scores> {
        let score = |trial: &TrialIndex| self.known.score(*trial).unwrap_or(f64::NAN);
        let of_config = |config: &u32| -> Scores {
            let trials = self.design.tries_of(self.choice, *config);
            trials.iter().map(|seed| seed.iter().map(score).collect()).collect()
        };
        configs.iter().map(of_config).collect()
    }

    fn larger_is_better(&self) -> bool {
        self.record.study.primary().larger_is_better()
    }
}

const SELECT: Select = Select::Best;
