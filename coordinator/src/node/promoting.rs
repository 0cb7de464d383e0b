//! Configs on their rungs: who of them goes on, and which is chosen in the end.
//!
//! Scores are compared here and nowhere else, once all that a rung waits for has ended; so whoever leads
//! comes to the same, in whatever order they came. But where a config goes on without waiting for others, what
//! has been scored by then decides, and stands once it is in the log. Deliberately absent: when that is
//! (`choosing`).
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::choosing::{Scores, choose, cost};
use common::design::{Choice, Design};
use common::id::TrialIndex;
use common::plan::climbing::{Standing, go_on};
use common::racing;
use common::study::{Halving, Race, Select};

use crate::scheduler::choices::{Choices, Chosen};
use crate::scheduler::rungs::Promoted;
use crate::scheduler::state::{StudyRecord, TrialState};

/// What follows for a choice whose configs were judged on their rung.
pub(super) enum Judged {
    GoOn(Vec<Promoted>),
    /// One is left of its race, or none goes on any more.
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
    /// Which configs go on to the next rung; `None` where nothing can be said.
    pub fn next(&self) -> Option<Judged> {
        let Choice { arm, cell } = self.choice;
        if let Some(halving) = self.design.halving(arm).filter(|halving| halving.at_once) {
            return self.at_once(halving);
        }
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
            _ => Judged::GoOn(vec![Promoted { arm, cell, rung, configs }]),
        })
    }

    /// Who goes on by what is scored so far, or the choice where all is.
    fn at_once(&self, halving: Halving) -> Option<Judged> {
        let Choice { arm, cell } = self.choice;
        let (mut standings, mut open) = (Vec::new(), false);
        for rung in 0..halving.rungs {
            for config in self.record.reached(self.design, self.choice, rung) {
                let trials = self.design.tries_of(self.choice, halving.config(rung, config));
                let waits =
                    |trial: &TrialIndex| self.record.trial(*trial) == Some(TrialState::Open);
                let is_open = trials.iter().flatten().any(waits);
                open |= is_open;
                let scores = self.scores(&[halving.config(rung, config)]).concat().concat();
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                standings.push(Standing { config, rung, score: (!is_open).then_some(mean) });
            }
        }
        let mut by_rung: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let goes = go_on((halving.rungs, halving.factor), self.larger_is_better(), &standings);
        goes.into_iter().for_each(|(rung, config)| by_rung.entry(rung).or_default().push(config));
        if by_rung.is_empty() {
            return (!open).then(|| Judged::Chosen(self.chosen()));
        }
        let promoted = by_rung.into_iter().map(|(rung, mut configs)| {
            configs.sort_unstable();
            Promoted { arm, cell, rung, configs }
        });
        Some(Judged::GoOn(promoted.collect()))
    }

    /// The config that the scores say; of halved ones the best on the last rung that one has ended without a
    /// failure there or above, of a race one that is left.
    pub fn chosen(&self) -> Chosen {
        let (record, choice) = (self.record, self.choice);
        let all = record.study.configs_of(choice);
        let (candidates, stands_for): (Vec<u32>, Vec<u32>) =
            match (self.design.halving(choice.arm), self.design.raced(choice.arm)) {
                (Some(halving), _) => {
                    let ((rung, sound), last) = (self.sound(halving), halving.rungs - 1);
                    let sound = sound.into_iter();
                    sound.map(|c| (halving.config(rung, c), halving.config(last, c))).unzip()
                }
                (None, Some(_)) => {
                    record.furthest(self.design, choice).into_iter().map(|c| (c, c)).unzip()
                }
                (None, None) => (0..all.len() as u32).map(|c| (c, c)).unzip(),
            };
        let costs: Vec<f64> =
            stands_for.iter().map(|config| cost(&all[*config as usize].hyper)).collect();
        let select = record.study.outer.inner.as_ref().map(|inner| inner.select);
        let scores = self.scores(&candidates);
        let best = choose(&scores, select.unwrap_or(SELECT), self.larger_is_better(), &costs);
        Chosen { arm: choice.arm, cell: choice.cell, config: stands_for[best] }
    }

    /// The rung whose scores choose, and among whom: the last one that a config ended without a failure and
    /// that did not fail on one above. Where all fail somewhere, the last rung; where nobody waits, the last
    /// on which one did not.
    fn sound(&self, halving: Halving) -> (u32, Vec<u32>) {
        let is_whole = |config: &u32, rung: u32| {
            let scores = self.scores(&[halving.config(rung, *config)]).concat().concat();
            scores.iter().all(|score| score.is_finite())
        };
        let mut above = Vec::new();
        let mut whole = None;
        for rung in (0..halving.rungs).rev() {
            let reached = self.record.reached(self.design, self.choice, rung);
            let mut sound = reached.clone();
            sound.retain(|config| is_whole(config, rung));
            if whole.is_none() && !sound.is_empty() {
                whole = Some(rung);
            }
            // Who ended a rung above well is not looked for any more.
            sound.retain(|config| !above.contains(config));
            if !sound.is_empty() {
                return (rung, sound);
            }
            above = reached;
        }
        let rung = if halving.at_once { whole.unwrap_or(0) } else { halving.rungs - 1 };
        (rung, self.record.reached(self.design, self.choice, rung))
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
