//! Minibatches: which rows each lane meets in each step, and what it may not see of its units.
//!
//! A lane's draws depend on its own seeds, epoch and rows alone: its order on the `order` stream at
//! the epoch; its augmentation and dropout on the `noise` stream at the epoch (by step; rows, then
//! layer, row, unit). Every minibatch has the same number of places; those without a row weigh 0, so
//! products never change their shape, and with it their rounding, because of a neighbour.
//!
//! Floor: core.

use candle_core::{Device, Result, Tensor};
use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::table::Dataset;

use super::lanes::Lane;
use super::network::Noise;
use super::rows::{Rows, View};

/// One lane's way through its rows.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    pub lane: &'a Lane,
    pub rows: Rows<'a>,
    /// From 0.
    pub epoch: u32,
    order: Vec<u32>,
    at: usize,
    noise: StreamRng,
}

impl<'a> Walk<'a> {
    pub fn new(dataset: &'a Dataset, lane: &'a Lane) -> Self {
        let noise = StreamRng::new(&dataset.digest, Stream::Noise, lane.seeds.noise, 0);
        let rows = Rows::new(dataset, lane);
        let mut walk = Self { lane, rows, epoch: 0, order: Vec::new(), at: 0, noise };
        walk.begin(&dataset.digest, 0);
        walk
    }

    /// Begins an epoch.
    pub fn begin(&mut self, data: &Digest, epoch: u32) {
        let rng = |stream, seed: u64| StreamRng::new(data, stream, seed, u64::from(epoch));
        self.epoch = epoch;
        self.at = 0;
        self.order.clone_from(&self.lane.train_rows);
        rng(Stream::Order, self.lane.seeds.order).shuffle(&mut self.order);
        self.noise = rng(Stream::Noise, self.lane.seeds.noise);
    }

    /// The same with no row left to meet: minibatches show padding alone.
    pub fn ended(mut self) -> Self {
        self.at = self.order.len();
        self
    }

    /// Whether every row of the epoch was met.
    pub fn is_over(&self) -> bool {
        self.at >= self.order.len()
    }

    /// Rows of the epoch that were met so far.
    pub fn met(&self) -> usize {
        self.at
    }

    #[cfg(test)]
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// The rows of the next step, at most `places`, and at least one unless the epoch is over.
    fn next(&mut self, places: usize) -> std::ops::Range<usize> {
        let start = self.at;
        self.at = (start + places).min(self.order.len());
        start..self.at
    }
}

/// One step of all lanes.
pub struct Minibatch {
    /// [lanes, places, width], scaled.
    pub input: Tensor,
    /// [lanes · places · targets of a row · 2]: target and weight; weights of a lane's real rows sum
    /// to 1, empty places weigh 0.
    pub truth: Vec<f32>,
    /// Rows of each lane that are real, first ones first.
    pub counts: Vec<usize>,
}

impl Minibatch {
    /// The next rows of each lane.
    pub fn next(
        walks: &mut [&mut Walk<'_>],
        dataset: &Dataset,
        places: usize,
        device: &Device,
    ) -> Result<Self> {
        let (lanes, width) = (walks.len(), dataset.width);
        let targets = super::rows::targets_of_row(dataset);
        let mut input = vec![0.0; lanes * places * width];
        let mut truth = vec![0.0; lanes * places * targets * 2];
        let mut counts = Vec::with_capacity(lanes);
        let mut labels = vec![0.0; targets];
        for (lane, walk) in walks.iter_mut().enumerate() {
            let met = walk.next(places);
            counts.push(met.len());
            let weight = 1.0 / (met.len() * targets) as f32;
            let input = &mut input[lane * places * width..(lane + 1) * places * width];
            let truth = &mut truth[lane * places * targets * 2..];
            let shown = &walk.order[met.clone()];
            // Empty places show a row of the lane's own: a finite one, never a test row.
            let empty = std::iter::repeat(&walk.lane.train_rows[0]);
            walk.rows.put_all(shown.iter().chain(empty).copied(), input);
            let pairs = truth.chunks_exact_mut(targets * 2);
            for ((at, made), pairs) in met.zip(input.chunks_exact_mut(width)).zip(pairs) {
                let row = walk.order[at];
                walk.rows.put_targets(row, &mut labels);
                walk.augment(dataset, made, &mut labels);
                for (pair, &label) in pairs.chunks_exact_mut(2).zip(&labels) {
                    pair.copy_from_slice(&[label, weight]);
                }
            }
        }
        let input = Tensor::from_vec(input, (lanes, places, width), device)?;
        Ok(Self { input, truth, counts })
    }
}

impl Walk<'_> {
    fn augment(&mut self, dataset: &Dataset, features: &mut [f32], labels: &mut [f32]) {
        let augment = &self.lane.hyper.recipe.augment;
        let moves = augment.flip || augment.shift > 0 || augment.crop > 0;
        let shape = match *dataset.shape.as_slice() {
            [height, width, channels] => Some((height, width, channels)),
            [width, channels] => Some((1, width, channels)),
            _ => None,
        };
        if let Some(shape) = shape.filter(|_| moves) {
            let mask = (labels.len() > 1).then_some(labels);
            View::draw(augment, &mut self.noise).show(shape, features, mask);
        }
        if augment.noise > 0.0 {
            for feature in features {
                *feature += (self.noise.normal() * augment.noise) as f32;
            }
        }
    }
}

/// Dropout of the step that was drawn last.
pub struct Dropout<'w, 'a> {
    walks: Vec<&'w mut Walk<'a>>,
    gains: Vec<f32>,
    counts: Vec<usize>,
    places: usize,
    device: &'w Device,
}

impl<'w, 'a> Dropout<'w, 'a> {
    pub fn new(
        walks: Vec<&'w mut Walk<'a>>,
        counts: Vec<usize>,
        places: usize,
        device: &'w Device,
    ) -> Self {
        let gains = walks.iter().map(|walk| gain(walk.lane)).collect();
        Self { walks, gains, counts, places, device }
    }
}

impl Noise for Dropout<'_, '_> {
    fn mask(&mut self, of_place: usize, width: usize) -> Result<Option<Tensor>> {
        if self.gains.iter().all(|&gain| gain == 1.0) {
            return Ok(None);
        }
        let (lanes, of_lane) = (self.walks.len(), self.places * of_place * width);
        let mut mask = vec![1.0; lanes * of_lane];
        for (lane, walk) in self.walks.iter_mut().enumerate() {
            let (rate, gain) = (walk.lane.hyper.dropout as f32, self.gains[lane]);
            if rate == 0.0 {
                continue;
            }
            let met = self.counts[lane] * of_place * width;
            for unit in &mut mask[lane * of_lane..lane * of_lane + met] {
                *unit = if walk.noise.unit_f32() < rate { 0.0 } else { gain };
            }
        }
        let shape = (lanes, self.places * of_place, width);
        Tensor::from_vec(mask, shape, self.device).map(Some)
    }

    fn gains(&self) -> &[f32] {
        &self.gains
    }
}

/// What a unit that is kept is multiplied with: 1 / (1 − dropout).
fn gain(lane: &Lane) -> f32 {
    (1.0 / (1.0 - lane.hyper.dropout)) as f32
}
