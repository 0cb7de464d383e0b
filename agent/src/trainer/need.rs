//! How much memory a stack needs, told before it begins.
//!
//! On a processor an allocation does not fail: where too much is asked for, the system ends the whole
//! agent. So no stack there is wider than what is free has room for. The estimate is of resident
//! memory, on the high side and not by more than twice; tests/benches/trainings holds it against that,
//! a test against what trainings allocate. Deliberately absent: how much is free; cards, whose drivers
//! say when nothing is.
//!
//! Floor: core.

use candle_core::{Device, Result};
use common::samples::bytes_in_words;
use common::table::Dataset;
use thiserror::Error;

use super::fit::rows_at_once;
use super::lanes::Lane;
use super::network::{Room, Size, network, outputs};
use super::optimizer::copies;
use super::rows::targets_of_row;

/// Bytes that a stack of lanes needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Of each lane in training: values, moments, gradients, and what a step holds between layers.
    pub lane: u64,
    /// Of each lane that has ended, until all have.
    pub ended: u64,
    /// Beside all lanes in training: of one whose validation rows it meets, or that is copied out since
    /// it ended.
    pub beside: u64,
    /// Of one lane that meets its test rows, once all have ended.
    pub tested: u64,
}

/// Why a stack does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "out of memory: one training of it needs about {}, and {} are free; smaller batches or a smaller \
     network need less",
    bytes_in_words(*.needs),
    bytes_in_words(*.free)
)]
pub struct NoRoom {
    pub needs: u64,
    pub free: u64,
}

impl Need {
    /// Of `lanes` of one shape, at least one.
    ///
    /// Errors: as [`network`], where there is no such network.
    pub fn of(dataset: &Dataset, lanes: &[&Lane]) -> Result<Self> {
        let (first, any) = (lanes[0], |is: &dyn Fn(&Lane) -> bool| lanes.iter().any(|l| is(l)));
        let copies = copies(first.hyper.optimizer);
        let built = network(first.model, &first.hyper, dataset, 0, copies, &Device::Cpu)?;
        let mut room = Room::new(&built.parameters, any(&|lane| lane.hyper.dropout > 0.0));
        let places = (first.hyper.batch.max(1) as usize).min(dataset.rows());
        let said = built.root.room(Size { rows: places, width: dataset.width }, &mut room);
        let shapes = built.parameters.iter().map(|p| p.shape());
        let values: usize = shapes.map(|shape| shape.map(|(r, c)| r * c)).sum::<Result<_>>()?;
        let best = if any(&|lane| lane.hyper.recipe.patience > 0) { values } else { 0 };
        // What was said stays beside its gradient, and a target has its weight.
        let truth = 2 * places * targets_of_row(dataset);
        let step = room.trained + said.numbers() + truth;
        let most = |of: &dyn Fn(&Lane) -> usize| lanes.iter().map(|l| of(l)).max().unwrap_or(0);
        // An order of rows, and a centre and a width of each feature.
        let walk = most(&|lane| lane.train_rows.len()) + 2 * dataset.width;
        let of_row = (room.still + said.numbers()).div_ceil(places) + dataset.width;
        let of_all = 2 * targets_of_row(dataset) * outputs(&dataset.target);
        let asked = |rows| rows_at_once(dataset.width).min(rows) * of_row + rows * of_all;
        Ok(Self {
            lane: staying(copies * values + walk + best) + passing(values + step),
            ended: staying(values + 2 * dataset.width),
            beside: passing(values + asked(most(&|lane| lane.validation_rows.len()))),
            tested: passing(values + asked(most(&|lane| lane.test_rows.len()))),
        })
    }

    /// Of the whole stack, `width` of its `lanes` at once.
    pub fn of_stack(&self, width: usize, lanes: usize) -> u64 {
        let (width, lanes) = (width as u64, lanes as u64);
        let training = self.lane.saturating_mul(width).saturating_add(self.beside);
        self.ended.saturating_mul(lanes).saturating_add(training.max(self.tested))
    }

    /// How many of `lanes` may train at once where so much is `free`: `wanted`, or the next power of
    /// two below for which there is room; one in any case.
    pub fn width(&self, wanted: usize, lanes: usize, free: u64) -> usize {
        let mut width = wanted;
        while width > 1 && self.of_stack(width, lanes) > free {
            width = if width.is_power_of_two() { width / 2 } else { 1 << width.ilog2() };
        }
        width
    }

    /// Whether not one lane has room in what is `free`, even if it needs no more than half of this.
    pub fn is_beyond(&self, free: u64) -> bool {
        self.of_stack(1, 1) / 2 > free
    }
}

/// Of 32-bit numbers that stay where they were laid, and of what is rounded up around them.
fn staying(numbers: usize) -> u64 {
    numbers as u64 * 5
}

/// Of those that come and go in each step. The allocator keeps what they leave: up to 2.2 times what
/// was in use at once was seen to be resident.
fn passing(numbers: usize) -> u64 {
    numbers as u64 * 9
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::metric::Metric;
    use common::study::{Hyper, Model, Optimizer, Recipe};
    use common::trial::{Ending, FailReason};

    use super::super::tests::{blobs, lane};
    use super::super::{How, Machine, Widths, train_lanes};
    use super::*;

    fn need(model: Model, hyper: &Hyper) -> Need {
        let dataset = blobs(90, 3);
        let lane = Lane { model, ..lane(&dataset, hyper, 1) };
        Need::of(&dataset, &[&lane]).unwrap()
    }

    #[test]
    fn a_linear_model_needs_what_is_counted_by_hand() {
        let need = need(Model::Linear, &Hyper { batch: 16, ..Hyper::default() });
        // Five features, three classes: 18 values, two moments and a gradient of each. 16 rows of five, what was said
        // of them twice, target and weight. An order of 67 rows and ten numbers of a scale.
        let step = 18 + 16 * 5 + 2 * 16 * 3 + 16 * 2;
        assert_eq!(need.lane, staying(3 * 18 + 67 + 10) + passing(step));
        assert_eq!(need.ended, staying(18 + 10));
        // 23 rows at once, as read and as given, and what was said of them, some of it twice.
        assert_eq!(need.tested, passing(18 + 23 * (5 + 5 + 2 * 3) + 2 * 23 * 3));
        assert_eq!(need.beside, passing(18), "no rows are kept to validate");
        assert_eq!(need.of_stack(4, 9), 4 * need.lane + need.beside + 9 * need.ended);
        assert_eq!(need.of_stack(1, 1), need.tested + need.ended);
    }

    #[test]
    fn what_a_lane_has_more_of_it_needs_more_for() {
        let plain = Hyper { batch: 16, hidden: vec![12], ..Hyper::default() };
        let lane_of = |hyper: Hyper| need(Model::Mlp, &hyper).lane;
        let (own, values) = (lane_of(plain.clone()), 5 * 12 + 12 + 12 * 3 + 3);
        let sgd = Hyper { optimizer: Optimizer::Sgd, ..plain.clone() };
        assert_eq!(lane_of(sgd), own - staying(values), "one moment less");
        let patient = Recipe { patience: 3, ..Recipe::default() };
        let stopped = Hyper { recipe: patient, ..plain.clone() };
        assert_eq!(lane_of(stopped), own + staying(values), "the best values so far");
        let dropped = Hyper { dropout: 0.1, ..plain.clone() };
        let masked = lane_of(dropped) - own;
        assert!((1..=passing(16 * 12)).contains(&masked), "a mask, where most is held: {masked}");
        // A row is read, has 12 hidden numbers and three outputs, and the slopes of both; the outputs
        // stay, and there are a target and its weight.
        let twice = Hyper { batch: 32, ..plain.clone() };
        assert_eq!(lane_of(twice), own + passing(16 * (5 + 2 * 12 + 2 * 3 + 2)));
        let deeper = Hyper { hidden: vec![12, 12], ..plain };
        // What the second hidden layer said, and the slope in it.
        let (more, held) = (12 * 12 + 12, 16 * (12 + 12));
        assert_eq!(lane_of(deeper), own + staying(3 * more) + passing(more + held));
    }

    #[test]
    fn a_batch_is_never_longer_than_the_data() {
        let of = |batch| need(Model::Mlp, &Hyper { batch, ..Hyper::default() });
        assert_eq!(of(90), of(90_000));
    }

    #[test]
    fn a_width_is_limited_by_what_is_free() {
        let need = Need { lane: 100, ended: 1, beside: 20, tested: 50 };
        let width = |wanted, free| need.width(wanted, 16, free);
        assert_eq!(width(16, 1_636), 16);
        assert_eq!((width(16, 1_635), width(13, 1_335), width(1, 0)), (8, 8, 1));
        assert_eq!((need.is_beyond(60), need.is_beyond(59)), (false, true));
        assert_eq!(Need { lane: u64::MAX, ..need }.width(16, 16, u64::MAX - 1), 1);
    }

    /// A machine with so many bytes.
    #[derive(Debug)]
    struct Small(u64);

    impl Widths for Small {
        fn begin(
            &self,
            _: &str,
            lanes: usize,
            need: Option<&Need>,
        ) -> std::result::Result<usize, NoRoom> {
            let need = need.expect("a processor");
            match need.is_beyond(self.0) {
                true => Err(NoRoom { needs: need.of_stack(1, 1), free: self.0 }),
                false => Ok(need.width(lanes, lanes, self.0)),
            }
        }

        fn ended(&self, _: &str, _: usize, _: usize, _: How) {}
    }

    #[test]
    fn trials_without_room_fail_with_both_sizes_and_narrow_ones_end_as_wide_ones_do() {
        let dataset = blobs(90, 3);
        let hyper = Hyper { epochs: 2, ..Hyper::default() };
        let lanes: Vec<Lane> = (0..3).map(|seed| lane(&dataset, &hyper, seed)).collect();
        let on = |bytes| {
            let machine = Machine { widths: Arc::new(Small(bytes)), ..Machine::default() };
            train_lanes(&dataset, &lanes, &[Metric::Auroc], true, &machine, &|| false).unwrap()
        };
        let need = need(Model::Mlp, &hyper);
        let (one, wide) = (need.of_stack(1, 3), on(u64::MAX));
        assert!(wide.iter().all(|ending| matches!(ending, Ending::Complete(_))));
        assert_eq!(on(one), wide);
        for ending in on(999) {
            let Ending::Failed { reason, detail } = ending else { panic!("{ending:?}") };
            assert_eq!(reason, FailReason::OutOfMemory);
            let needs = bytes_in_words(need.of_stack(1, 1));
            assert!(detail.contains(&format!("needs about {needs}, and 999 bytes")), "{detail}");
        }
    }
}
