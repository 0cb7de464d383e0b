//! What trains: the processor, which all threads share, or slots of cards, of which a cohort has one to
//! itself.
//!
//! Each slot has a handle of its own on its card: what one thread has queued there waits for nothing of
//! another's. The card with the fewest cohorts is next, so that each has as many as its slots at most.
//!
//! Floor: shell.

use std::sync::{Condvar, Mutex, PoisonError};

use common::trial::Ending;

use crate::trainer::Machine;

/// Machines that train.
#[derive(Debug)]
pub struct Slots {
    slots: Vec<Slot>,
    /// Of each slot, whether a cohort is on it; empty where all share the only one.
    taken: Mutex<Vec<bool>>,
    freed: Condvar,
}

/// One handle on a device.
#[derive(Debug)]
pub struct Slot {
    /// Slots of one number are on one card.
    pub card: usize,
    pub machine: Machine,
    /// What outcomes of it say they were trained on; empty: what their agent says.
    pub record: String,
}

/// Frees the slot, however the cohort ends.
struct Taken<'s> {
    slots: &'s Slots,
    number: usize,
}

impl Slots {
    /// Any number of threads train on it at once.
    pub fn shared(machine: Machine) -> Self {
        let slots = vec![Slot { card: 0, machine, record: String::new() }];
        Self { slots, taken: Mutex::default(), freed: Condvar::new() }
    }

    /// One cohort a slot at a time; there is one slot at least.
    pub fn of(slots: Vec<Slot>) -> Self {
        let taken = Mutex::new(vec![false; slots.len()]);
        Self { slots, taken, freed: Condvar::new() }
    }

    /// Trains on a slot that is free, once one is, and says of outcomes which card that was.
    pub fn train(&self, train: &dyn Fn(&Machine) -> Option<Vec<Ending>>) -> Option<Vec<Ending>> {
        self.on(|slot| {
            let mut endings = train(&slot.machine)?;
            for ending in &mut endings {
                if let Ending::Complete(outcome) = ending
                    && outcome.device.is_empty()
                {
                    outcome.device.clone_from(&slot.record);
                }
            }
            Some(endings)
        })
    }

    fn on<R>(&self, train: impl FnOnce(&Slot) -> R) -> R {
        let taken = self.take();
        train(&self.slots[taken.number])
    }

    fn take(&self) -> Taken<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.is_empty() {
            return Taken { slots: self, number: 0 };
        }
        loop {
            let busy = |card: usize| {
                let both = self.slots.iter().zip(taken.iter());
                both.filter(|(slot, taken)| slot.card == card && **taken).count()
            };
            let free = (0..self.slots.len()).filter(|number| !taken[*number]);
            if let Some(number) =
                free.min_by_key(|number| (busy(self.slots[*number].card), *number))
            {
                taken[number] = true;
                return Taken { slots: self, number };
            }
            taken = self.freed.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = taken.get_mut(self.number) {
            *taken = false;
        }
        drop(taken);
        self.slots.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Barrier};
    use std::thread;

    use common::id::TrialIndex;
    use common::table::Dataset;

    use super::*;
    use crate::{sample, trainer};

    /// Two cards of two slots each, played by the processor.
    fn two_cards() -> Slots {
        let slot = |card: usize| Slot {
            card,
            machine: Machine::default(),
            record: format!("cuda:{card}; a card"),
        };
        Slots::of([0, 0, 1, 1].map(slot).into())
    }

    #[test]
    fn cohorts_at_once_are_dealt_evenly_to_cards_and_none_shares_a_slot() {
        let (slots, all) = (Arc::new(two_cards()), Arc::new(Barrier::new(4)));
        let start = |_| {
            let (slots, all) = (Arc::clone(&slots), Arc::clone(&all));
            thread::spawn(move || {
                slots.on(|slot| {
                    all.wait();
                    (slot.card, std::ptr::from_ref(slot) as usize)
                })
            })
        };
        let threads: Vec<_> = (0..4).map(start).collect();
        let mut went: Vec<(usize, usize)> =
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
        went.sort_unstable();
        went.dedup();
        assert_eq!(went.iter().map(|(card, _)| *card).collect::<Vec<_>>(), [0, 0, 1, 1]);
    }

    #[test]
    fn one_after_the_other_goes_to_the_idle_card_and_what_failed_frees_its_slot() {
        let slots = two_cards();
        let (first, second) = (slots.take(), slots.take());
        assert_eq!((slots.slots[first.number].card, slots.slots[second.number].card), (0, 1));
        drop(first);
        assert_eq!(slots.on(|slot| slot.card), 0, "the other one is busy");
        let failed = || slots.train(&|_| panic!("a training that fails"));
        assert!(catch_unwind(AssertUnwindSafe(failed)).is_err());
        drop(second);
        assert_eq!(*slots.taken.lock().expect("no panic"), [false; 4]);
    }

    #[test]
    fn an_outcome_says_which_card_it_is_of() {
        let study = sample::study(sample::ROWS);
        let dataset = Dataset::read(&study.data, sample::ROWS).expect("a table");
        let trials = [TrialIndex(0), TrialIndex(1)];
        let train =
            |machine: &Machine| trainer::train(&study, &dataset, &trials, machine, &|| false);
        let devices = |slots: &Slots| -> Vec<String> {
            let of = |ending| match ending {
                Ending::Complete(outcome) => outcome.device,
                Ending::Failed { detail, .. } => panic!("{detail}"),
            };
            slots.train(&train).expect("not stopped").into_iter().map(of).collect()
        };
        let slots = two_cards();
        let held = slots.take();
        assert_eq!(devices(&slots), ["cuda:1; a card"; 2]);
        drop(held);
        assert_eq!(devices(&Slots::shared(Machine::default())), [""; 2], "the agent says it");
        assert_eq!(slots.train(&|_| None), None);
    }

    #[test]
    fn who_finds_none_free_waits_for_one() {
        let slots = two_cards();
        let held: Vec<Taken<'_>> = (0..4).map(|_| slots.take()).collect();
        thread::scope(|scope| {
            let late = scope.spawn(|| slots.on(|slot| slot.card));
            drop(held);
            assert!(late.join().expect("no panic") < 2);
        });
        let shared = Slots::shared(Machine::default());
        let (one, other) = (shared.take(), shared.take());
        assert_eq!((one.number, other.number), (0, 0), "a processor is for all");
    }
}
