//! All comparisons of a study, block after block.
//!
//! An arm goes on while a comparison that it is part of is open. Once it has ended its later blocks
//! are not read, so that surplus ones change nothing.
//!
//! Floor: common.

use super::pair::{Judge, Walk};
use super::{Aim, Arm, Comparison, Decision, End, Next, Rule, StoppingError};

pub struct Race<'a> {
    rule: &'a Rule,
    blocks: u32,
    arms: Vec<Arm>,
    going: Vec<bool>,
    pairs: Vec<(Comparison, Walk)>,
}

impl<'a> Race<'a> {
    pub fn of(rule: &'a Rule, arms: usize, folds: usize) -> Self {
        let firsts = if rule.aim == Aim::Baseline { 1 } else { arms };
        let pairs = (0..firsts).flat_map(|a| (a + 1..arms).map(move |b| (a, b)));
        let fresh = |(a, b)| (Comparison { a, b, look: None, end: None }, Walk::of(folds));
        Self {
            rule,
            blocks: 0,
            arms: vec![Arm { blocks: 0, lost_to: None }; arms],
            going: vec![true; arms],
            pairs: pairs.map(fresh).collect(),
        }
    }

    /// Takes the next block; false when none is complete or nobody waits for one.
    pub fn add_block(&mut self, scores: &[Vec<Vec<f64>>]) -> bool {
        let at = self.blocks as usize;
        let mut going = (0..self.arms.len()).filter(|arm| self.going[*arm]).peekable();
        if going.peek().is_none() || going.any(|arm| scores[arm].len() <= at) {
            return false;
        }
        self.blocks += 1;
        for (arm, going) in self.arms.iter_mut().zip(&self.going) {
            arm.blocks += u32::from(*going);
        }
        for (pair, walk) in &mut self.pairs {
            if self.going[pair.a] && self.going[pair.b] {
                walk.add(&scores[pair.a][at], &scores[pair.b][at]);
            }
        }
        true
    }

    /// Arms that are closed and have no block left are waited for no more.
    pub fn retire(&mut self, scores: &[Vec<Vec<f64>>], open: &[bool]) {
        let at = self.blocks as usize;
        for arm in 0..self.arms.len() {
            if !self.going[arm] || open[arm] || scores[arm].len() > at {
                continue;
            }
            let of_arm = |pair: &Comparison| pair.a == arm || pair.b == arm;
            for (pair, _) in self.pairs.iter_mut().filter(|(pair, _)| of_arm(pair)) {
                pair.end.get_or_insert(End::Moot);
            }
        }
        self.find_going();
    }

    /// Looks at every comparison that is open.
    pub fn look(&mut self, judge: &Judge<'_>) -> Result<(), StoppingError> {
        for (pair, walk) in &mut self.pairs {
            let both = self.going[pair.a] && self.going[pair.b];
            if both && !pair.end.is_some_and(End::settles) {
                let look = judge.look(walk);
                pair.end = judge.end(walk, &look)?;
                pair.look = Some(look);
            }
        }
        if self.rule.aim == Aim::Best {
            self.drop_losers();
        }
        self.find_going();
        Ok(())
    }

    fn find_going(&mut self) {
        for arm in 0..self.arms.len() {
            let open = |pair: &Comparison| (pair.a == arm || pair.b == arm) && pair.end.is_none();
            self.going[arm] = self.pairs.iter().any(|(pair, _)| open(pair));
        }
    }

    /// Of arms with equally many blocks the one whose mean leads never loses, so one is always left.
    fn drop_losers(&mut self) {
        for (pair, _) in &self.pairs {
            let Some(look) = pair.look.filter(|_| pair.end == Some(End::Differ)) else { continue };
            let first_is_better = (look.mean > 0.0) == self.rule.larger_is_better;
            let (better, worse) = if first_is_better { (pair.a, pair.b) } else { (pair.b, pair.a) };
            self.arms[worse].lost_to.get_or_insert(better);
        }
        for (pair, _) in &mut self.pairs {
            let out = [pair.a, pair.b].iter().any(|arm| self.arms[*arm].lost_to.is_some());
            if out && !pair.end.is_some_and(End::settles) {
                pair.end = Some(End::Moot);
            }
        }
    }

    pub fn decision(self) -> Decision {
        let going: Vec<usize> = (0..self.arms.len()).filter(|arm| self.going[*arm]).collect();
        Decision {
            blocks: self.blocks,
            next: if going.is_empty() { Next::Stop } else { Next::GoOn(going) },
            arms: self.arms,
            comparisons: self.pairs.into_iter().map(|(pair, _)| pair).collect(),
        }
    }
}

impl Rule {
    /// In a race a difference is what drops an arm.
    pub(super) fn asks_for_difference(&self) -> bool {
        self.difference || self.aim == Aim::Best
    }
}
