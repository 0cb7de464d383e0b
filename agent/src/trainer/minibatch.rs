//! Minibatches: which rows each lane meets in each step, and what it may not see of its units.
//!
//! A lane's draws depend on its own seeds, epoch and rows alone: its order on the `order` stream at
//! the epoch, its dropout on the `noise` stream at the epoch (by step, layer, row, unit). Every
//! minibatch has the same number of places; those without a row weigh 0, so products never change
//! their shape, and with it their rounding, because of a neighbour.
//!
//! Floor: core.

use candle_core::{Device, Result, Tensor};
use common::id::Digest;
use common::seed::{Stream, StreamRng};

use super::lanes::Lane;

/// One epoch of a stack.
pub struct Epoch<'a> {
    lanes: &'a [&'a Lane],
    /// Each lane's rows in this epoch's order; empty for a lane that is over.
    orders: Vec<Vec<u32>>,
    noise: Vec<StreamRng>,
    places: usize,
    step: usize,
}

/// One step of a stack.
pub struct Minibatch {
    /// [lanes · places], rows of the data set.
    pub rows: Vec<u32>,
    /// [lanes, places, 2]: target and weight, 1/n for each of n rows and 0 for empty places.
    pub truth: Vec<f32>,
    /// Whether each lane has rows here.
    pub active: Vec<bool>,
}

impl<'a> Epoch<'a> {
    /// `running`: whether each lane still trains. `places`: rows a minibatch has room for.
    pub fn new(
        data: &Digest,
        lanes: &'a [&'a Lane],
        running: &[bool],
        epoch: u32,
        places: usize,
    ) -> Self {
        let rng = |stream, seed: u64| StreamRng::new(data, stream, seed, u64::from(epoch));
        let order = |(lane, &running): (&&Lane, &bool)| {
            let mut order = if running { lane.train_rows.clone() } else { Vec::new() };
            rng(Stream::Order, lane.seeds.order).shuffle(&mut order);
            order
        };
        Self {
            lanes,
            orders: lanes.iter().zip(running).map(order).collect(),
            noise: lanes.iter().map(|lane| rng(Stream::Noise, lane.seeds.noise)).collect(),
            places,
            step: 0,
        }
    }

    /// The next minibatch, until every lane has met all its rows.
    ///
    /// `targets`: each lane's target of a row.
    pub fn next(&mut self, targets: impl Fn(usize, u32) -> f32) -> Option<Minibatch> {
        let start = self.step * self.places;
        if self.orders.iter().all(|order| order.len() <= start) {
            return None;
        }
        self.step += 1;
        let (count, places) = (self.lanes.len(), self.places);
        let mut minibatch = Minibatch {
            rows: Vec::with_capacity(count * places),
            truth: vec![0.0; count * places * 2],
            active: Vec::with_capacity(count),
        };
        for (lane, order) in self.orders.iter().enumerate() {
            let met = part(order, start, places);
            let weight = 1.0 / met.len() as f32;
            let truth = &mut minibatch.truth[lane * places * 2..];
            for (pair, &row) in truth.chunks_exact_mut(2).zip(met) {
                pair.copy_from_slice(&[targets(lane, row), weight]);
            }
            minibatch.active.push(!met.is_empty());
            minibatch.rows.extend_from_slice(met);
            // Empty places show a row of the lane's own: a finite one, never a test row.
            let filler = self.lanes[lane].train_rows[0];
            minibatch.rows.resize((lane + 1) * places, filler);
        }
        Some(minibatch)
    }

    /// Dropout masks of the minibatch that [`Epoch::next`] gave last, one [lanes, places, width]
    /// for each of `hidden` widths; none when no lane drops units.
    pub fn masks(&mut self, hidden: &[usize], device: &Device) -> Result<Vec<Tensor>> {
        if self.lanes.iter().all(|lane| lane.hyper.dropout == 0.0) {
            return Ok(Vec::new());
        }
        let start = (self.step - 1) * self.places;
        let (count, places) = (self.lanes.len(), self.places);
        let mut masks: Vec<Vec<f32>> =
            hidden.iter().map(|width| vec![1.0; count * places * width]).collect();
        for (lane, order) in self.orders.iter().enumerate() {
            let (rate, gain) = (self.lanes[lane].hyper.dropout as f32, gain(self.lanes[lane]));
            if rate == 0.0 {
                continue;
            }
            let met = part(order, start, places).len();
            for (mask, width) in masks.iter_mut().zip(hidden) {
                let from = lane * places * width;
                for unit in &mut mask[from..from + met * width] {
                    *unit = if self.noise[lane].unit_f32() < rate { 0.0 } else { gain };
                }
            }
        }
        let shaped = masks.into_iter().zip(hidden);
        shaped
            .map(|(mask, &width)| Tensor::from_vec(mask, (count, places, width), device))
            .collect()
    }
}

/// What a unit that is kept is multiplied with: 1 / (1 − dropout).
pub fn gain(lane: &Lane) -> f32 {
    (1.0 / (1.0 - lane.hyper.dropout)) as f32
}

fn part(order: &[u32], start: usize, places: usize) -> &[u32] {
    &order[start.min(order.len())..(start + places).min(order.len())]
}
