//! Which waiting trials go together, and in which order.
//!
//! Trials of one shape form a cohort. A study is served in the order of its indices: seed by seed,
//! so that a study stopped early has whole blocks. Nothing is listed: a cursor walks the indices of
//! each shape, and only what came back is remembered. Soft state, rebuilt from the replicated one.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::design::Design;
use common::id::TrialIndex;
use common::study::{Shape, Study};

/// What of one study waits.
#[derive(Debug)]
pub struct Queue {
    shapes: Vec<ShapeQueue>,
    /// Which shape each config, numbered over all arms, belongs to.
    shape_of: Vec<usize>,
    configs: u64,
    trials: u64,
}

/// Where a trial may be granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fit {
    Here,
    /// By another agent, later.
    Elsewhere,
    /// It has ended, or is under way.
    Nowhere,
}

#[derive(Debug, Default)]
struct ShapeQueue {
    /// Config numbers, ascending.
    configs: Vec<u32>,
    /// Cells (seeds × partition × fold) before this one have been handed out.
    cell: u64,
    /// Place within `configs` in the present cell.
    place: usize,
    /// Came back, or were skipped: handed out first.
    returned: BTreeSet<TrialIndex>,
    /// These brought an agent down once: each is tried alone.
    suspects: BTreeSet<TrialIndex>,
}

impl Queue {
    pub fn new(study: &Study) -> Self {
        let design = Design::of(study);
        let mut shapes: BTreeMap<Shape, usize> = BTreeMap::new();
        let mut queues: Vec<ShapeQueue> = Vec::new();
        let mut shape_of = Vec::new();
        for arm in &study.arms {
            for config in &arm.configs {
                let next = queues.len();
                let shape = *shapes.entry(config.hyper.shape(arm.model)).or_insert(next);
                if shape == next {
                    queues.push(ShapeQueue::default());
                }
                queues[shape].configs.push(shape_of.len() as u32);
                shape_of.push(shape);
            }
        }
        let configs = shape_of.len() as u64;
        Self { shapes: queues, shape_of, configs, trials: design.trials().unwrap_or_default() }
    }

    /// Up to `count` trials of one shape that are [`Fit::Here`]; the shape with the lowest index next
    /// goes first. A suspect goes alone.
    pub fn take(&mut self, count: usize, fit: &dyn Fn(TrialIndex) -> Fit) -> Vec<TrialIndex> {
        if let Some(alone) = self.take_suspect(fit) {
            return vec![alone];
        }
        let (configs, trials) = (self.configs, self.trials);
        let mut skipped = Vec::new();
        let heads = self.shapes.iter_mut().enumerate().filter_map(|(number, shape)| {
            shape.peek(configs, trials, fit, &mut skipped).map(|head| (head, number))
        });
        let mut taken = BTreeSet::new();
        if let Some((_, number)) = heads.min() {
            let shape = &mut self.shapes[number];
            // A trial that came back before the cursor reached it is met twice.
            while taken.len() < count {
                let next = shape.next(configs, trials, fit, &mut skipped);
                let Some(trial) = next else { break };
                taken.insert(trial);
            }
        }
        skipped.into_iter().for_each(|trial| self.put_back(trial, false));
        taken.into_iter().collect()
    }

    fn take_suspect(&mut self, fit: &dyn Fn(TrialIndex) -> Fit) -> Option<TrialIndex> {
        for shape in &mut self.shapes {
            shape.suspects.retain(|trial| fit(*trial) != Fit::Nowhere);
            let here = shape.suspects.iter().find(|trial| fit(**trial) == Fit::Here).copied();
            if let Some(trial) = here {
                shape.suspects.remove(&trial);
                return Some(trial);
            }
        }
        None
    }

    /// The study has gained trials behind those it had.
    pub fn grow(&mut self, trials: u64) {
        self.trials = trials;
    }

    /// Whether a trial is to be tried alone.
    pub fn is_suspect(&self, trial: TrialIndex) -> bool {
        self.shapes.iter().any(|shape| shape.suspects.contains(&trial))
    }

    /// A trial waits again. `suspect`: it is to be tried alone.
    pub fn put_back(&mut self, trial: TrialIndex, suspect: bool) {
        let shape = &mut self.shapes[self.shape_of[(trial.0 % self.configs) as usize]];
        if suspect {
            shape.suspects.insert(trial);
        } else {
            shape.returned.insert(trial);
        }
    }
}

impl ShapeQueue {
    /// The next trial without taking it; those that fit nowhere are dropped on the way.
    fn peek(
        &mut self,
        configs: u64,
        trials: u64,
        fit: &dyn Fn(TrialIndex) -> Fit,
        skipped: &mut Vec<TrialIndex>,
    ) -> Option<TrialIndex> {
        let next = self.next(configs, trials, fit, skipped)?;
        self.returned.insert(next);
        Some(next)
    }

    /// The next trial that fits here; those that only fit elsewhere are `skipped`.
    fn next(
        &mut self,
        configs: u64,
        trials: u64,
        fit: &dyn Fn(TrialIndex) -> Fit,
        skipped: &mut Vec<TrialIndex>,
    ) -> Option<TrialIndex> {
        while let Some(trial) = self.returned.pop_first() {
            match fit(trial) {
                Fit::Here => return Some(trial),
                Fit::Elsewhere => skipped.push(trial),
                Fit::Nowhere => {}
            }
        }
        loop {
            let index = self.cell * configs + u64::from(*self.configs.get(self.place)?);
            if index >= trials {
                return None;
            }
            self.place += 1;
            if self.place == self.configs.len() {
                self.place = 0;
                self.cell += 1;
            }
            if self.suspects.contains(&TrialIndex(index)) {
                continue;
            }
            match fit(TrialIndex(index)) {
                Fit::Here => return Some(TrialIndex(index)),
                Fit::Elsewhere => skipped.push(TrialIndex(index)),
                Fit::Nowhere => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::study;

    #[test]
    fn a_trial_that_comes_back_before_its_turn_is_handed_out_once() {
        let mut queue = Queue::new(&study(1));
        queue.put_back(TrialIndex(2), false);
        let taken = queue.take(4, &|_| Fit::Here);
        assert_eq!(taken, [0, 1, 2, 3].map(TrialIndex));
    }

    #[test]
    fn every_free_trial_is_handed_out_once_in_the_order_of_the_design() {
        let study = study(3);
        let mut queue = Queue::new(&study);
        let mut all = Vec::new();
        loop {
            let taken = queue.take(5, &|trial| if trial.0 == 7 { Fit::Nowhere } else { Fit::Here });
            if taken.is_empty() {
                break;
            }
            all.extend(taken);
        }
        let trials = Design::of(&study).trials().expect("small");
        let expected: Vec<TrialIndex> = (0..trials).filter(|n| *n != 7).map(TrialIndex).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_trial_that_only_fits_elsewhere_is_kept_for_later() {
        let mut queue = Queue::new(&study(1));
        let not_two = |trial: TrialIndex| if trial.0 == 2 { Fit::Elsewhere } else { Fit::Here };
        assert_eq!(queue.take(3, &not_two), [0, 1, 3].map(TrialIndex));
        assert_eq!(queue.take(2, &|_| Fit::Here), [2, 4].map(TrialIndex));
    }

    #[test]
    fn a_study_that_has_grown_goes_on_behind_its_old_end() {
        let (small, large) = (study(1), study(2));
        let mut queue = Queue::new(&small);
        let trials = |study| Design::of(study).trials().expect("small");
        assert_eq!(queue.take(99, &|_| Fit::Here).len() as u64, trials(&small));
        queue.grow(trials(&large));
        let gained = queue.take(99, &|_| Fit::Here);
        let expected: Vec<_> = (trials(&small)..trials(&large)).map(TrialIndex).collect();
        assert_eq!(gained, expected);
    }

    #[test]
    fn a_suspect_goes_first_and_alone() {
        let mut queue = Queue::new(&study(1));
        queue.put_back(TrialIndex(3), true);
        assert_eq!(queue.take(4, &|_| Fit::Here), [TrialIndex(3)]);
    }
}
