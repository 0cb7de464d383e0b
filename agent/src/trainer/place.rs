//! Whether a cohort trains on the card or on the processor beside it, found by trying.
//!
//! A card's step costs the same for one lane and for hundreds, so small cohorts of small networks are
//! faster on the processor's cores. For each kind of network and each power of two of lanes both are
//! timed; the processor is given up where it takes twice the card's time, however fast it was before, and
//! not tried where it lost with fewer lanes. Deliberately absent: clocks and threads; who trains says how long it took.
//!
//! Floor: core.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What is known of one kind, by the power of two that the lanes do not exceed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Place {
    by_lanes: BTreeMap<usize, Tried>,
}

/// How often each was tried, and the most rows a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tried {
    card: (u32, f64),
    processor: (u32, f64),
}

/// Where a cohort trains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Where {
    Card,
    /// For so many seconds at most, beyond which the card is faster.
    Processor {
        within_s: f64,
    },
}

impl Place {
    /// Where `lanes` with so many rows to meet, over all lanes and epochs, train.
    pub fn of(&self, lanes: usize, rows: u64) -> Where {
        let lanes = lanes.next_power_of_two();
        let tried = self.by_lanes.get(&lanes).copied().unwrap_or_default();
        if !Self::may_be(lanes) || tried.card.0 < TIMES || self.lost_below(lanes) {
            return Where::Card;
        }
        if tried.processor.0 >= TIMES && !tried.prefers_processor() {
            return Where::Card;
        }
        Where::Processor { within_s: (PATIENCE * rows as f64 / tried.card.1).max(SHORTEST_S) }
    }

    /// Cohorts up to so many lanes train on the processor, as far as is known.
    pub fn on_processor(&self) -> Option<usize> {
        let settled = |tried: &Tried| tried.processor.0 >= TIMES && tried.prefers_processor();
        let best =
            self.by_lanes.iter().filter(|(_, tried)| settled(tried)).map(|(lanes, _)| *lanes);
        best.filter(|&lanes| !self.lost_below(lanes)).max()
    }

    /// Whether so many lanes may ever train on the processor.
    pub fn may_be(lanes: usize) -> bool {
        lanes <= LANES_MAX
    }

    /// So many lanes were trained at this rate.
    pub fn note(&mut self, lanes: usize, on: Where, rows_per_s: f64) {
        let tried = self.by_lanes.entry(lanes.next_power_of_two()).or_default();
        let (times, rate) = match on {
            Where::Card => &mut tried.card,
            Where::Processor { .. } => &mut tried.processor,
        };
        *times = (*times + 1).min(TIMES);
        *rate = rate.max(rows_per_s);
    }

    /// So many lanes were not trained on the processor in the time that it was given.
    pub fn note_in_vain(&mut self, lanes: usize) {
        self.by_lanes.entry(lanes.next_power_of_two()).or_default().processor = (TIMES, 0.0);
    }

    fn lost_below(&self, lanes: usize) -> bool {
        let lost = |tried: &Tried| tried.processor.0 >= TIMES && !tried.prefers_processor();
        self.by_lanes.range(..lanes).any(|(_, tried)| lost(tried))
    }
}

impl Tried {
    fn prefers_processor(&self) -> bool {
        self.processor.1 > self.card.1
    }
}

/// Cohorts beyond belong on a card.
const LANES_MAX: usize = 64;
/// Measurements of either before they are compared: the first on a card compiles its kernels.
const TIMES: u32 = 2;
/// Times as long as the card took that the processor is waited for.
const PATIENCE: f64 = 2.0;
/// Another job may have slowed the processor down for a moment.
const SHORTEST_S: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    /// Trains cohorts of `lanes` with 1,000 rows a lane, again and again: how many went to the processor
    /// of the last `last`.
    fn trained(place: &mut Place, lanes: usize, card: f64, processor: f64, last: usize) -> usize {
        let rows = 1_000 * lanes as u64;
        let mut went = Vec::new();
        for _ in 0..10 {
            let on = place.of(lanes, rows);
            went.push(on != Where::Card);
            match on {
                Where::Card => place.note(lanes, on, card),
                Where::Processor { within_s } if rows as f64 / processor > within_s => {
                    place.note_in_vain(lanes);
                }
                Where::Processor { .. } => place.note(lanes, on, processor),
            }
        }
        went.iter().rev().take(last).filter(|went| **went).count()
    }

    #[test]
    fn the_faster_one_trains_after_both_were_tried() {
        let mut place = Place::default();
        assert_eq!(trained(&mut place, 8, 1e4, 5e4, 6), 6, "the processor is faster");
        assert_eq!(place.on_processor(), Some(8));
        assert_eq!(trained(&mut place, 64, 8e4, 5e4, 6), 0, "the card is");
        assert_eq!(place.on_processor(), Some(8));
        assert_eq!(place.of(7, 1), Where::Processor { within_s: SHORTEST_S }, "no more than eight");
        assert_eq!(place.of(65, 1), Where::Card);
    }

    #[test]
    fn a_slow_processor_is_given_up_once_and_not_tried_with_more() {
        let mut place = Place::default();
        let tried = trained(&mut place, 4, 1e5, 100.0, 10);
        assert_eq!(tried, 1, "it takes a thousand times as long");
        assert_eq!(trained(&mut place, 32, 8e5, 100.0, 10), 0);
        assert_eq!(place.on_processor(), None);
    }

    #[test]
    fn a_processor_that_has_become_slow_is_given_up_too() {
        let mut place = Place::default();
        assert_eq!(trained(&mut place, 8, 1e4, 5e4, 6), 6);
        assert_eq!(trained(&mut place, 8, 1e4, 10.0, 9), 0, "other programs run there now");
        assert_eq!(place.on_processor(), None);
    }

    #[test]
    fn the_processor_is_waited_for_twice_as_long_as_the_card() {
        let mut place = Place::default();
        for _ in 0..TIMES {
            place.note(2, Where::Card, 100.0);
        }
        assert_eq!(place.of(2, 1_000), Where::Processor { within_s: 20.0 });
    }
}
