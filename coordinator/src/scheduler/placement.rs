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

    /// Up to `count` trials of one shape for which `free` holds; the shape with the lowest index next
    /// goes first. A suspect goes alone.
    pub fn take(&mut self, count: usize, free: &dyn Fn(TrialIndex) -> bool) -> Vec<TrialIndex> {
        if let Some(alone) = self.take_suspect(free) {
            return vec![alone];
        }
        let (configs, trials) = (self.configs, self.trials);
        let heads = self.shapes.iter_mut().enumerate().filter_map(|(number, shape)| {
            shape.peek(configs, trials, free).map(|head| (head, number))
        });
        let Some((_, number)) = heads.min() else { return Vec::new() };
        let shape = &mut self.shapes[number];
        // A trial that came back before the cursor reached it is met twice.
        let mut taken = BTreeSet::new();
        while taken.len() < count {
            let Some(trial) = shape.next(configs, trials, free) else { break };
            taken.insert(trial);
        }
        taken.into_iter().collect()
    }

    fn take_suspect(&mut self, free: &dyn Fn(TrialIndex) -> bool) -> Option<TrialIndex> {
        for shape in &mut self.shapes {
            while let Some(trial) = shape.suspects.pop_first() {
                if free(trial) {
                    return Some(trial);
                }
            }
        }
        None
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
    /// The next trial without taking it; those that are not free are dropped on the way.
    fn peek(
        &mut self,
        configs: u64,
        trials: u64,
        free: &dyn Fn(TrialIndex) -> bool,
    ) -> Option<TrialIndex> {
        let next = self.next(configs, trials, free)?;
        self.returned.insert(next);
        Some(next)
    }

    fn next(
        &mut self,
        configs: u64,
        trials: u64,
        free: &dyn Fn(TrialIndex) -> bool,
    ) -> Option<TrialIndex> {
        while let Some(trial) = self.returned.pop_first() {
            if free(trial) {
                return Some(trial);
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
            if !self.suspects.contains(&TrialIndex(index)) && free(TrialIndex(index)) {
                return Some(TrialIndex(index));
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
        let taken = queue.take(4, &|_| true);
        assert_eq!(taken, [0, 1, 2, 3].map(TrialIndex));
    }

    #[test]
    fn every_free_trial_is_handed_out_once_in_the_order_of_the_design() {
        let study = study(3);
        let mut queue = Queue::new(&study);
        let mut all = Vec::new();
        loop {
            let taken = queue.take(5, &|trial| trial.0 != 7);
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
    fn a_suspect_goes_first_and_alone() {
        let mut queue = Queue::new(&study(1));
        queue.put_back(TrialIndex(3), true);
        assert_eq!(queue.take(4, &|_| true), [TrialIndex(3)]);
    }
}
