//! How many lanes train at once, found by trying.
//!
//! For each kind of network the width is doubled while trainings a second grow, or halved where the
//! first doubling did not help; memory that a card had not enough of is remembered. What is found changes no
//! outcome: on a processor a lane's bits do not depend on its neighbours. Deliberately absent:
//! clocks; who calls says how long it took.
//!
//! Floor: core.

use std::collections::BTreeMap;
use std::fmt;

use common::study::{LossKind, Norm};
use common::table::Dataset;
use serde::{Deserialize, Serialize};

use super::lanes::Lane;
use super::need::{Need, NoRoom};

/// Chooses widths, and is told how it went.
pub trait Widths: fmt::Debug + Send + Sync {
    /// Lanes at once for a stack of `lanes` of this kind, which begins to train now. `need`: of memory,
    /// on a processor.
    ///
    /// Errors: where not even one has room.
    fn begin(&self, kind: &str, lanes: usize, need: Option<&Need>) -> Result<usize, NoRoom>;

    /// The stack ended that began last in this thread.
    fn ended(&self, kind: &str, width: usize, lanes: usize, how: How);
}

/// How a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was shown so many rows, each once an epoch, over all lanes.
    Trained {
        rows: u64,
    },
    NoRoom,
    /// Before its end.
    Stopped,
}

/// Always as many.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub usize);

impl Widths for Fixed {
    fn begin(&self, _: &str, _: usize, _: Option<&Need>) -> Result<usize, NoRoom> {
        Ok(self.0)
    }

    fn ended(&self, _: &str, _: usize, _: usize, _: How) {}
}

/// What is known of one kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Climb {
    /// By width: how often it was tried, and the most rows a second that it trained.
    pub tried: BTreeMap<usize, (u32, f64)>,
    /// The narrowest for which there was no memory.
    pub no_room: Option<usize>,
}

impl Climb {
    /// The width to try, or the one that was found; at most `lanes`, which wait.
    pub fn width(&self, lanes: usize) -> usize {
        let room = self.no_room.map_or(usize::MAX, |none| (none / 2).max(1));
        self.wanted(room).min(room).min(lanes).max(1)
    }

    /// The width that was found, when all that had to be tried was.
    pub fn found(&self) -> Option<usize> {
        let best = self.best()?;
        let room = self.no_room.map_or(WIDEST, |none| none / 2);
        let known = |width| self.rate(width).is_some();
        let wider = best * 2 > room || known(best * 2);
        let narrower = best == 1 || known(best / 2);
        (wider && narrower).then_some(best)
    }

    fn wanted(&self, room: usize) -> usize {
        let Some(best) = self.best() else { return FIRST };
        if best * 2 <= room.min(WIDEST) && self.rate(best * 2).is_none() {
            return best * 2;
        }
        if best > 1 && self.rate(best / 2).is_none() {
            return best / 2;
        }
        best
    }

    /// The narrowest that no other is clearly faster than.
    fn best(&self) -> Option<usize> {
        let known = self.tried.keys().filter_map(|&width| Some((width, self.rate(width)?)));
        let top = known.clone().map(|(_, rate)| rate).max_by(f64::total_cmp)?;
        known.into_iter().find(|(_, rate)| rate * FASTER >= top).map(|(width, _)| width)
    }

    /// Rows a second, once it was tried often enough: another job may have slowed it down.
    fn rate(&self, width: usize) -> Option<f64> {
        self.tried.get(&width).filter(|(times, _)| *times >= TIMES).map(|(_, rate)| *rate)
    }

    /// `rows` a second were trained at this width, with as many lanes throughout.
    pub fn note(&mut self, width: usize, rows_per_s: f64) {
        let (times, rate) = self.tried.entry(width).or_insert((0, 0.0));
        *times = (*times + 1).min(TIMES);
        *rate = rate.max(rows_per_s);
    }

    pub fn note_no_room(&mut self, width: usize) {
        self.no_room = Some(self.no_room.map_or(width, |none| none.min(width)));
        self.tried.retain(|&tried, _| tried < width);
    }
}

/// What decides how fast lanes train together, in words: `mlp 30-64-64-2, batch 32`.
pub fn kind(dataset: &Dataset, lane: &Lane) -> String {
    let (hyper, layers) = (&lane.hyper, &lane.hyper.layers);
    let by = |numbers: &[String], between: &str| numbers.join(between);
    let sides: Vec<String> = dataset.shape.iter().map(ToString::to_string).collect();
    let mut words = format!("{} of {}", lane.model.name(), by(&sides, "x"));
    let listed = |numbers: &[u32]| -> Vec<String> { numbers.iter().map(u32::to_string).collect() };
    if !layers.channels.is_empty() {
        let separable = if layers.separable { " separable" } else { "" };
        words += &format!(", channels {}{separable}", by(&listed(&layers.channels), "-"));
        words += &format!(" by {}", layers.kernel);
    }
    if !hyper.hidden.is_empty() {
        words += &format!(", hidden {}", by(&listed(&hyper.hidden), "-"));
    }
    if lane.model == common::study::Model::Transformer {
        words += &format!(", {} blocks of {}", layers.blocks, layers.width);
    }
    if layers.norm != Norm::None {
        words += &format!(", {:?} norm", layers.norm).to_lowercase();
    }
    if hyper.recipe.loss.kind() == LossKind::DiceCrossEntropy {
        words += ", dice";
    }
    format!("{words}, batch {}", hyper.batch)
}

/// Whether an error says that there was not enough memory.
///
/// candle passes on what the driver said, as text.
pub fn is_no_room(error: &candle_core::Error) -> bool {
    let words = error.to_string().to_lowercase();
    ["out of memory", "out_of_memory", "alloc_failed"].iter().any(|said| words.contains(said))
}

/// Where the search begins: about right on a processor.
const FIRST: usize = 4;
const WIDEST: usize = 4096;
/// What is faster by less is taken for as fast.
const FASTER: f64 = 1.04;
/// Measurements of a width before it is compared.
const TIMES: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// Climbs with `rate` by width until it is settled: the widths tried, in order.
    fn climbed(lanes: usize, mut climb: Climb, rate: &dyn Fn(usize) -> Option<f64>) -> Vec<usize> {
        let mut widths = Vec::new();
        for _ in 0..40 {
            let width = climb.width(lanes);
            if widths.last() != Some(&width) {
                widths.push(width);
            }
            match rate(width) {
                Some(rate) => climb.note(width, rate),
                None => climb.note_no_room(width),
            }
        }
        widths
    }

    #[test]
    fn a_width_is_doubled_while_it_is_faster() {
        let rate = |width: usize| Some(width.min(32) as f64);
        assert_eq!(climbed(4096, Climb::default(), &rate), [4, 8, 16, 32, 64, 32]);
    }

    #[test]
    fn a_width_is_halved_where_wide_is_slow() {
        let rate = |width: usize| Some(1.0 / width as f64);
        assert_eq!(climbed(64, Climb::default(), &rate), [4, 8, 2, 1]);
    }

    #[test]
    fn a_width_without_room_is_not_tried_again() {
        let rate = |width: usize| (width < 16).then_some(width as f64);
        assert_eq!(climbed(4096, Climb::default(), &rate), [4, 8, 16, 8]);
    }

    #[test]
    fn no_more_than_wait_are_asked_for_and_one_always() {
        let rate = |width: usize| Some(width as f64);
        assert_eq!(climbed(3, Climb::default(), &rate), [3]);
        let narrow = Climb { no_room: Some(1), ..Climb::default() };
        assert_eq!(narrow.width(8), 1);
    }

    #[test]
    fn one_slow_measurement_decides_nothing() {
        let mut climb = Climb::default();
        climb.note(4, 1.0);
        climb.note(4, 100.0);
        climb.note(8, 150.0);
        assert_eq!(climb.width(64), 8, "once is not enough");
        climb.note(8, 50.0);
        assert_eq!(climb.width(64), 16);
        assert_eq!(climb.found(), None);
        climb.note(16, 20.0);
        climb.note(16, 30.0);
        assert_eq!((climb.width(64), climb.found()), (8, Some(8)));
    }
}
