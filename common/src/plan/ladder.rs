//! Successive halving: many configs are trained briefly, the best of them longer.
//!
//! A config is trained once on a rung, on from its checkpoint of the rung below, and never goes on
//! while a better one told on its rung stays. Of equal losses the earlier proposal is the better; a
//! failed one is told and never goes on. One config ends the last rung with a score, unless all fail:
//! where all fail that went on, the next best one does.
//! Deliberately absent: which configs are drawn (Sobol's, in `book`).
//!
//! Sources: Jamieson & Talwalkar (2016), AISTATS; Li et al. (2020), MLSys, for the asynchronous form.
//!
//! Floor: common.

use super::cube::Point;
use super::{Rung, Rungs, SearchError};

#[derive(Clone, Debug)]
pub(super) struct Ladder {
    /// Epochs by rung.
    epochs: Vec<u32>,
    keep: usize,
    /// Whether a rung is judged only when all of it is told.
    whole: bool,
    rungs: Vec<Vec<Entry>>,
}

/// A config on a rung.
#[derive(Clone, Debug)]
struct Entry {
    proposal: u32,
    config: u32,
    /// `None` while open; `Some(None)` when it failed.
    outcome: Option<Option<f64>>,
    went_on: bool,
}

pub(super) enum Step {
    Draw(Rung, Point),
    GoOn(u32, Rung),
    Wait,
    Over,
}

impl Ladder {
    pub fn new(rungs: Rungs, whole: bool) -> Result<Self, SearchError> {
        let Rungs { epochs_min, epochs_max, keep } = rungs;
        if epochs_min == 0 || epochs_max < epochs_min || keep < 2 {
            return Err(SearchError::NoRungs(rungs));
        }
        let mut epochs = vec![epochs_max];
        let mut divisor = u64::from(keep);
        while u64::from(epochs_max) >= u64::from(epochs_min) * divisor {
            epochs.push((f64::from(epochs_max) / divisor as f64).round() as u32);
            divisor *= u64::from(keep);
        }
        epochs.reverse();
        Ok(Self::of(epochs, keep, whole))
    }

    /// Rungs of these epochs, of which there is one or more.
    pub fn of(epochs: Vec<u32>, keep: u32, whole: bool) -> Self {
        let rungs = vec![Vec::new(); epochs.len()];
        Self { epochs, keep: keep as usize, whole, rungs }
    }

    pub fn note(&mut self, proposal: u32, config: u32, rung: &Rung) {
        let level = (rung.rung as usize).min(self.rungs.len() - 1);
        if let Some(below) = level.checked_sub(1) {
            let mut entries = self.rungs[below].iter_mut();
            if let Some(entry) = entries.find(|entry| entry.config == config) {
                entry.went_on = true;
            }
        }
        self.rungs[level].push(Entry { proposal, config, outcome: None, went_on: false });
    }

    pub fn told(&mut self, proposal: u32, loss: Option<f64>) {
        let mut entries = self.rungs.iter_mut().flatten();
        if let Some(entry) = entries.find(|entry| entry.proposal == proposal) {
            entry.outcome = Some(loss);
        }
    }

    /// What is next; `fresh` draws a new config, or has none left.
    pub fn step(&self, fresh: impl FnOnce() -> Option<Point>) -> Step {
        if self.whole { self.step_whole(fresh) } else { self.step_at_once(fresh) }
    }

    fn step_whole(&self, fresh: impl FnOnce() -> Option<Point>) -> Step {
        if let Some(point) = fresh() {
            return Step::Draw(self.rung(0, None), point);
        }
        for level in 0..self.rungs.len() - 1 {
            if self.is_open(level) {
                return Step::Wait;
            }
            if let Some(step) = self.go_on(level, (self.rungs[level].len() / self.keep).max(1)) {
                return step;
            }
        }
        self.spare()
    }

    fn step_at_once(&self, fresh: impl FnOnce() -> Option<Point>) -> Step {
        let below = 0..self.rungs.len() - 1;
        let told =
            |level: usize| self.rungs[level].iter().filter(|entry| entry.outcome.is_some()).count();
        let next = below.clone().rev().find_map(|level| self.go_on(level, told(level) / self.keep));
        if let Some(step) = next {
            return step;
        }
        if let Some(point) = fresh() {
            return Step::Draw(self.rung(0, None), point);
        }
        if below.clone().any(|level| self.is_open(level)) {
            return Step::Wait;
        }
        self.spare()
    }

    /// Nobody is left of the shares of one in `keep`: until one has ended the last rung, the best of those
    /// on the highest rung that have not gone on goes on alone.
    fn spare(&self) -> Step {
        let last = self.rungs.len() - 1;
        if self.rungs[last].iter().any(|entry| entry.outcome.flatten().is_some()) {
            Step::Over
        } else if self.is_open(last) {
            Step::Wait
        } else {
            let next = (0..last).rev().find_map(|level| self.go_on(level, usize::MAX));
            next.unwrap_or(Step::Over)
        }
    }

    /// The best of the `count` best told on a rung that has not gone on.
    fn go_on(&self, level: usize, count: usize) -> Option<Step> {
        let entries = self.rungs[level].iter();
        let mut scored: Vec<(f64, &Entry)> =
            entries.filter_map(|entry| Some((entry.outcome??, entry))).collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.proposal.cmp(&b.1.proposal)));
        let (_, entry) = scored.into_iter().take(count).find(|(_, entry)| !entry.went_on)?;
        Some(Step::GoOn(entry.config, self.rung(level + 1, Some(entry.proposal))))
    }

    fn is_open(&self, level: usize) -> bool {
        self.rungs[level].iter().any(|entry| entry.outcome.is_none())
    }

    fn rung(&self, level: usize, from: Option<u32>) -> Rung {
        Rung { rung: level as u32, epochs: self.epochs[level], from }
    }
}
