//! Which waiting trials go together, and in which order.
//!
//! Trials of one shape form a cohort. A study is served in the order of its indices: seed by seed,
//! so that a study stopped early has whole blocks. Nothing is listed: a cursor walks the indices of
//! each shape, and only what came back is remembered. Soft state, rebuilt from the replicated one.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::design::{Choice, Design, Slot};
use common::id::TrialIndex;
use common::label::Requires;
use common::study::{Hyper, Model, Proposed, Shape, Study};

/// What of one study waits.
#[derive(Debug)]
pub struct Queue {
    shapes: Vec<ShapeQueue>,
    /// By shape and what its trials require of agents, its number above.
    numbers: BTreeMap<(Shape, Requires), usize>,
    /// Which shape each config of each arm belongs to.
    shape_of: BTreeMap<(u32, u32), usize>,
    /// Which shape each try of a search belongs to, by arm, cell of its choice and number.
    tries: BTreeMap<(u32, u64, u32), usize>,
    design: Design,
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

/// What of one shape waits.
#[derive(Debug, Default)]
pub struct ShapeQueue {
    /// What is trained in every cell, ascending; refits that wait for a choice are put back when it is made,
    /// and tries of a search when they are decided.
    slots: Vec<Slot>,
    /// Cells (seeds × partition × fold, or tuning seeds in place of those) before this one have been
    /// handed out.
    cell: u64,
    /// Behind the last cell that any of these is trained in.
    cells: u64,
    /// Place within `slots` in the present cell.
    place: usize,
    /// Came back, or were skipped: handed out first.
    returned: BTreeSet<TrialIndex>,
    /// These brought an agent down once: each is tried alone.
    suspects: BTreeSet<TrialIndex>,
    /// Each runs a program, and goes alone to an agent that allows it.
    programs: bool,
    /// Of an agent that trains them.
    requires: Requires,
    /// Some agents here do not meet that: whoever does takes these first.
    rare: bool,
    /// Of which trials have this shape.
    arms: BTreeSet<u32>,
}

impl Queue {
    pub fn new(study: &Study) -> Self {
        let mut queue = Self {
            shapes: Vec::new(),
            numbers: BTreeMap::new(),
            shape_of: BTreeMap::new(),
            tries: BTreeMap::new(),
            design: Design::of(study),
        };
        for (number, arm) in (0..).zip(&study.arms) {
            let model = study.model_of(arm);
            if let Some(learned) = &arm.learned {
                let all = learned.all();
                all.for_each(|(cell, slot, within)| {
                    queue.tried((number, cell, slot), &within.hyper, (model, &arm.requires));
                });
                continue;
            }
            for (config, within) in (0..).zip(&arm.configs) {
                let requires = (model, &arm.requires);
                let shape = queue.shape(number, &within.hyper, requires);
                let slots = &mut queue.shapes[shape].slots;
                match study.outer.inner.as_ref().filter(|_| queue.design.is_searched(number)) {
                    Some(inner) => slots.extend(
                        (0..inner.folds)
                            .map(|fold| Slot { inner: Some(fold), ..Slot::outer(number, config) }),
                    ),
                    None => slots.push(Slot::outer(number, config)),
                }
                queue.shape_of.insert((number, config), shape);
            }
        }
        queue.find_ends();
        queue
    }

    /// The number of a shape, which is new or known.
    fn shape(&mut self, arm: u32, hyper: &Hyper, (model, requires): (Model, &Requires)) -> usize {
        let next = self.shapes.len();
        let key = (hyper.shape(model), requires.clone());
        let shape = *self.numbers.entry(key).or_insert(next);
        if shape == next {
            let (programs, requires) = (model == Model::Program, requires.clone());
            self.shapes.push(ShapeQueue { programs, requires, ..ShapeQueue::default() });
        }
        self.shapes[shape].arms.insert(arm);
        shape
    }

    /// A try of a search is decided: its trials wait.
    fn tried(&mut self, of: (u32, u64, u32), hyper: &Hyper, arm: (Model, &Requires)) {
        let shape = self.shape(of.0, hyper, arm);
        self.tries.insert(of, shape);
        let (arm, cell, slot) = of;
        for trial in self.design.tries_of(Choice { arm, cell }, slot).concat() {
            self.put_back(trial, false);
        }
    }

    /// Tries of searches are decided, and in the study.
    pub fn propose(&mut self, study: &Study, proposed: &[Proposed]) {
        for Proposed { arm, cell, slot, .. } in proposed {
            let Some(written) = study.arms.get(*arm as usize) else { continue };
            let config = written.learned.as_ref().and_then(|l| l.config(*cell, *slot));
            if let Some(config) = config {
                let of_arm = (study.model_of(written), &written.requires);
                self.tried((*arm, *cell, *slot), &config.hyper, of_arm);
            }
        }
    }

    /// These trials of a study alone.
    pub fn only(study: &Study, trials: &[TrialIndex]) -> Self {
        let mut queue = Self::new(study);
        // The cursors are at their ends.
        for shape in &mut queue.shapes {
            shape.cells = 0;
            shape.returned.clear();
        }
        trials.iter().for_each(|trial| queue.put_back(*trial, false));
        queue
    }

    fn find_ends(&mut self) {
        for shape in &mut self.shapes {
            let cells = shape.slots.iter().map(|slot| match slot.inner {
                Some(_) => self.design.tuning_cells_of(slot.arm),
                None => self.design.cells_of(slot.arm),
            });
            shape.cells = cells.max().unwrap_or_default();
        }
    }

    /// Up to `count` trials of one shape that are [`Fit::Here`]; the shape with the lowest index next
    /// goes first. A suspect goes alone, and so does a program; without `programs` none is taken.
    pub fn take(
        &mut self,
        count: usize,
        programs: bool,
        fit: &dyn Fn(TrialIndex) -> Fit,
    ) -> Vec<TrialIndex> {
        self.take_of(count, &|shape| programs || !shape.is_of_programs(), fit)
    }

    /// As [`Queue::take`], of shapes that are `allowed` alone; of these the rare ones first.
    pub fn take_of(
        &mut self,
        count: usize,
        allowed: &dyn Fn(&ShapeQueue) -> bool,
        fit: &dyn Fn(TrialIndex) -> Fit,
    ) -> Vec<TrialIndex> {
        if let Some(alone) = self.take_suspect(allowed, fit) {
            return vec![alone];
        }
        let design = &self.design;
        let mut skipped = Vec::new();
        let shapes = self.shapes.iter_mut().enumerate();
        let allowed = shapes.filter(|(_, shape)| allowed(shape));
        let heads = allowed.filter_map(|(number, shape)| {
            shape.peek(design, fit, &mut skipped).map(|head| (!shape.rare, head, number))
        });
        let mut taken = BTreeSet::new();
        if let Some((_, _, number)) = heads.min() {
            let shape = &mut self.shapes[number];
            let count = if shape.programs { 1 } else { count };
            // A trial that came back before the cursor reached it is met twice.
            while taken.len() < count {
                let next = shape.next(design, fit, &mut skipped);
                let Some(trial) = next else { break };
                taken.insert(trial);
            }
        }
        skipped.into_iter().for_each(|trial| self.put_back(trial, false));
        taken.into_iter().collect()
    }

    fn take_suspect(
        &mut self,
        allowed: &dyn Fn(&ShapeQueue) -> bool,
        fit: &dyn Fn(TrialIndex) -> Fit,
    ) -> Option<TrialIndex> {
        for shape in self.shapes.iter_mut().filter(|shape| allowed(shape)) {
            shape.suspects.retain(|trial| fit(*trial) != Fit::Nowhere);
            let here = shape.suspects.iter().find(|trial| fit(**trial) == Fit::Here).copied();
            if let Some(trial) = here {
                shape.suspects.remove(&trial);
                return Some(trial);
            }
        }
        None
    }

    /// What few agents can train goes first to those that can. `rare` says of what is required whether
    /// somebody here lacks it.
    pub fn prefer(&mut self, rare: &dyn Fn(&Requires) -> bool) {
        for shape in &mut self.shapes {
            shape.rare = !shape.requires.is_empty() && rare(&shape.requires);
        }
    }

    /// Whether a trial `waits` in one of these shapes.
    pub fn holds(
        &self,
        of: &dyn Fn(&ShapeQueue) -> bool,
        waits: &dyn Fn(TrialIndex) -> bool,
    ) -> bool {
        self.shapes.iter().filter(|shape| of(shape)).any(|shape| shape.holds(&self.design, waits))
    }

    /// The study has gained trials behind those it had.
    pub fn grow(&mut self, study: &Study) {
        self.design = Design::of(study);
        self.find_ends();
    }

    pub fn design(&self) -> &Design {
        &self.design
    }

    /// Whether a trial is to be tried alone.
    pub fn is_suspect(&self, trial: TrialIndex) -> bool {
        self.shapes.iter().any(|shape| shape.suspects.contains(&trial))
    }

    /// A trial waits again. `suspect`: it is to be tried alone.
    pub fn put_back(&mut self, trial: TrialIndex, suspect: bool) {
        let Some(key) = self.design.key(trial) else { return };
        let shape = match self.design.choice_of(&key).filter(|_| self.design.is_learned(key.arm)) {
            Some(Choice { arm, cell }) => self.tries.get(&(arm, cell, key.config)),
            None => self.shape_of.get(&(key.arm, key.config)),
        };
        let Some(&shape) = shape else { return };
        let shape = &mut self.shapes[shape];
        if suspect {
            shape.suspects.insert(trial);
        } else {
            shape.returned.insert(trial);
        }
    }
}

impl ShapeQueue {
    /// Whether each runs a program.
    pub fn is_of_programs(&self) -> bool {
        self.programs
    }

    /// What an agent that trains them must be known by.
    pub fn requires(&self) -> &Requires {
        &self.requires
    }

    fn holds(&self, design: &Design, waits: &dyn Fn(TrialIndex) -> bool) -> bool {
        let ahead = (self.cell..self.cells).flat_map(|cell| {
            let from = if cell == self.cell { self.place } else { 0 };
            self.slots.iter().skip(from).filter_map(move |slot| design.in_cell(cell, *slot))
        });
        let back = self.suspects.iter().chain(&self.returned).copied();
        back.chain(ahead).any(waits)
    }

    /// The arms that have trials of this shape.
    pub fn arms(&self) -> impl Iterator<Item = u32> {
        self.arms.iter().copied()
    }

    /// The next trial without taking it; those that fit nowhere are dropped on the way.
    fn peek(
        &mut self,
        design: &Design,
        fit: &dyn Fn(TrialIndex) -> Fit,
        skipped: &mut Vec<TrialIndex>,
    ) -> Option<TrialIndex> {
        let next = self.next(design, fit, skipped)?;
        self.returned.insert(next);
        Some(next)
    }

    /// The next trial that fits here; those that only fit elsewhere are `skipped`.
    fn next(
        &mut self,
        design: &Design,
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
            if self.cell >= self.cells {
                return None;
            }
            let index = design.in_cell(self.cell, *self.slots.get(self.place)?);
            self.place += 1;
            if self.place == self.slots.len() {
                self.place = 0;
                self.cell += 1;
            }
            // A control that has fewer seeds than others of its shape is not in every cell.
            let Some(trial) = index.filter(|trial| !self.suspects.contains(trial)) else {
                continue;
            };
            match fit(trial) {
                Fit::Here => return Some(trial),
                Fit::Elsewhere => skipped.push(trial),
                Fit::Nowhere => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::design::TrialKey;
    use common::label::Labels;
    use common::study::Arm;

    use super::*;
    use crate::sample::{controlled, labelled, study};

    #[test]
    fn a_trial_that_comes_back_before_its_turn_is_handed_out_once() {
        let mut queue = Queue::new(&study(1));
        queue.put_back(TrialIndex(2), false);
        let taken = queue.take(4, true, &|_| Fit::Here);
        assert_eq!(taken, [0, 1, 2, 3].map(TrialIndex));
    }

    #[test]
    fn every_free_trial_is_handed_out_once_in_the_order_of_the_design() {
        let study = study(3);
        let mut queue = Queue::new(&study);
        let mut all = Vec::new();
        loop {
            let taken =
                queue.take(5, true, &|trial| if trial.0 == 7 { Fit::Nowhere } else { Fit::Here });
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
        assert_eq!(queue.take(3, true, &not_two), [0, 1, 3].map(TrialIndex));
        assert_eq!(queue.take(2, true, &|_| Fit::Here), [2, 4].map(TrialIndex));
    }

    #[test]
    fn a_study_that_has_grown_goes_on_behind_its_old_end() {
        let (small, large) = (study(1), study(2));
        let mut queue = Queue::new(&small);
        let trials = |study| Design::of(study).trials().expect("small");
        assert_eq!(queue.take(99, true, &|_| Fit::Here).len() as u64, trials(&small));
        queue.grow(&large);
        let gained = queue.take(99, true, &|_| Fit::Here);
        let expected: Vec<_> = (trials(&small)..trials(&large)).map(TrialIndex).collect();
        assert_eq!(gained, expected);
    }

    #[test]
    fn permuted_controls_go_beside_their_arms_while_they_last_and_the_constant_alone() {
        let study = controlled(3, 2);
        let design = Design::of(&study);
        let mut queue = Queue::new(&study);
        let mut taken = Vec::new();
        loop {
            let cohort = queue.take(99, true, &|_| Fit::Here);
            let keys = cohort.iter().map(|trial| design.key(*trial).expect("in it"));
            let arms: BTreeSet<u32> = keys.map(|key| key.arm).collect();
            if cohort.is_empty() {
                break;
            }
            taken.push((arms.into_iter().collect::<Vec<u32>>(), cohort.len()));
        }
        // Four cells a seed: two configs in three seeds and again in two; the constant in one.
        assert_eq!(taken, [(vec![0, 2], 24 + 16), (vec![1], 4)]);
    }

    #[test]
    fn a_queue_of_some_trials_hands_out_these_and_no_others() {
        let mut queue = Queue::only(&study(2), &[9, 3].map(TrialIndex));
        assert_eq!(queue.take(1, true, &|_| Fit::Here), [TrialIndex(3)]);
        assert_eq!(queue.take(5, true, &|_| Fit::Elsewhere), []);
        assert_eq!(queue.take(5, true, &|_| Fit::Here), [TrialIndex(9)]);
        assert_eq!(queue.take(5, true, &|_| Fit::Here), []);
    }

    #[test]
    fn arms_that_require_different_labels_share_no_cohort_and_are_taken_by_who_has_them() {
        let study = labelled(["", "", "requires = { site = \"east\" }"], 1);
        let design = Design::of(&study);
        let arms = |cohort: &[TrialIndex]| -> BTreeSet<u32> {
            cohort.iter().map(|trial| design.key(*trial).expect("in it").arm).collect()
        };
        let (asked, mut queue) = (&study.arms[1].requires, Queue::new(&study));
        let mut here = Labels::none();
        let take = |queue: &mut Queue, here: &Labels, count| {
            queue.take_of(count, &|shape| shape.requires().are_met_by(here), &|_| Fit::Here)
        };
        let waits = |queue: &Queue| queue.holds(&|shape| shape.requires() == asked, &|_| true);
        assert_eq!(arms(&take(&mut queue, &here, 99)), [0].into());
        assert!(take(&mut queue, &here, 99).is_empty() && waits(&queue));
        here.insert("site", "east");
        let taken = take(&mut queue, &here, 5);
        assert_eq!((arms(&taken), taken.len()), ([1].into(), 5));
        queue.put_back(taken[0], true);
        assert!(take(&mut queue, &Labels::none(), 99).is_empty(), "a suspect too");
        assert_eq!(take(&mut queue, &here, 99), [taken[0]]);
        assert_eq!(take(&mut queue, &here, 99).len(), 3);
        assert!(!waits(&queue));
        queue.put_back(taken[1], false);
        assert!(waits(&queue) && !queue.holds(&|_| true, &|_| false));
    }

    #[test]
    fn a_suspect_goes_first_and_alone() {
        let mut queue = Queue::new(&study(1));
        queue.put_back(TrialIndex(3), true);
        assert_eq!(queue.take(4, true, &|_| Fit::Here), [TrialIndex(3)]);
    }

    #[test]
    fn a_program_goes_alone_to_an_agent_that_allows_it() {
        let mut study = study(1);
        let trained = study.arms[0].clone();
        study.arms.push(Arm { name: "own".into(), model: Model::Program, ..trained });
        let design = Design::of(&study);
        let arm = |trial: &TrialIndex| design.key(*trial).expect("in it").arm;
        let mut queue = Queue::new(&study);
        let models = queue.take(99, false, &|_| Fit::Here);
        assert!(models.len() > 1 && models.iter().all(|trial| arm(trial) == 0), "{models:?}");
        assert!(queue.take(99, false, &|_| Fit::Here).is_empty());
        for _ in 0..models.len() {
            let alone = queue.take(99, true, &|_| Fit::Here);
            assert_eq!(alone.iter().map(arm).collect::<Vec<_>>(), [1]);
        }
        assert!(queue.take(99, true, &|_| Fit::Here).is_empty());
        queue.put_back(models[0], true);
        let own = design.key(models[0]).map(|key| TrialKey { arm: 1, ..key });
        let own = own.and_then(|key| design.index(&key)).expect("in it");
        queue.put_back(own, true);
        assert_eq!(queue.take(1, false, &|_| Fit::Here), [models[0]]);
        assert!(queue.take(1, false, &|_| Fit::Here).is_empty());
        assert_eq!(queue.take(1, true, &|_| Fit::Here), [own]);
    }
}
