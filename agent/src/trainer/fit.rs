//! Fitting: a stack of lanes from first weights to last.
//!
//! Test rows never enter: a lane's weights and scales depend on its training rows alone. A lane that
//! diverged or is over stays as it was while its neighbours go on. Deliberately absent: metrics.
//!
//! Floor: core.

use candle_core::{DType, Device, Result, Tensor};
use common::table::{Dataset, Target};

use super::lanes::Lane;
use super::loss::{AddLoss, Loss, LossGradient};
use super::minibatch::{Epoch, Minibatch, gain};
use super::models::dense::{Dense, LayerGradient};
use super::models::widths;
use super::optimizer::{Pace, Step, copies};
use super::scale::{Scale, centre_and_width};

/// A lane's trained model.
#[derive(Debug)]
pub struct Fitted {
    /// Axis 0 has length 1.
    pub model: Dense,
    pub features: Scale,
    /// Centre and width of a regression's target; (0, 1) for classes.
    pub target: (f64, f64),
    /// The epoch, from 1, after which the loss was not finite.
    pub diverged: Option<u32>,
}

/// Trains `lanes`, all of one shape and at least one. `None` when `stop` said so.
pub fn fit(
    dataset: &Dataset,
    lanes: &[&Lane],
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<Fitted>>> {
    let mut stack = Stack::new(dataset, lanes)?;
    let epochs = lanes.iter().map(|lane| lane.hyper.epochs).max().unwrap_or(0);
    for epoch in 0..epochs {
        if !stack.epoch(epoch, stop)? {
            return Ok(None);
        }
    }
    stack.fitted().map(Some)
}

/// Lanes that train together.
struct Stack<'a> {
    dataset: &'a Dataset,
    lanes: &'a [&'a Lane],
    loss: Loss,
    model: Dense,
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// [rows, features] of the whole data set, not scaled.
    features: Tensor,
    scales: Vec<Scale>,
    /// [2, lanes, features].
    stacked_scales: Tensor,
    target_scales: Vec<(f64, f64)>,
    /// Rows a minibatch has room for.
    places: usize,
    paces: Vec<Pace>,
    gains: Vec<f32>,
    diverged: Vec<Option<u32>>,
}

impl<'a> Stack<'a> {
    fn new(dataset: &'a Dataset, lanes: &'a [&'a Lane]) -> Result<Self> {
        let hyper = &lanes[0].hyper;
        let widths = widths(lanes[0].model, hyper, dataset);
        let init_seeds: Vec<u64> = lanes.iter().map(|lane| lane.seeds.init).collect();
        let copies = copies(hyper.optimizer);
        let scales: Vec<Scale> =
            lanes.iter().map(|lane| Scale::of_features(dataset, &lane.train_rows)).collect();
        let shape = (dataset.rows(), dataset.width);
        Ok(Self {
            dataset,
            lanes,
            loss: Loss::of(&dataset.target),
            model: Dense::new(&widths, &dataset.digest, &init_seeds, copies, &DEVICE)?,
            hidden: widths[1..widths.len() - 1].to_vec(),
            features: Tensor::from_slice(&dataset.features, shape, &DEVICE)?,
            stacked_scales: Scale::stack(&scales.iter().collect::<Vec<_>>(), &DEVICE)?,
            scales,
            target_scales: lanes.iter().map(|lane| target_scale(dataset, lane)).collect(),
            // By the data set and not by the folds: a lane alone must round as it does in company.
            places: (hyper.batch.max(1) as usize).min(dataset.rows()),
            paces: lanes.iter().map(|lane| Pace::new(&lane.hyper)).collect(),
            gains: lanes.iter().map(|lane| gain(lane)).collect(),
            diverged: vec![None; lanes.len()],
        })
    }

    /// Every running lane meets its rows once. Whether to go on: `stop` said nothing.
    fn epoch(&mut self, number: u32, stop: &dyn Fn() -> bool) -> Result<bool> {
        let running: Vec<bool> = self
            .lanes
            .iter()
            .zip(&self.diverged)
            .map(|(lane, diverged)| number < lane.hyper.epochs && diverged.is_none())
            .collect();
        let (lanes, dataset) = (self.lanes, self.dataset);
        let mut epoch = Epoch::new(&dataset.digest, lanes, &running, number, self.places);
        let losses = Tensor::zeros(lanes.len(), DType::F32, &DEVICE)?;
        while let Some(minibatch) = epoch.next(|lane, row| self.target(lane, row)) {
            if stop() {
                return Ok(false);
            }
            let masks = epoch.masks(&self.hidden, &DEVICE)?;
            self.step(minibatch, &masks, &losses)?;
        }
        for (diverged, loss) in self.diverged.iter_mut().zip(losses.to_vec1::<f32>()?) {
            if !loss.is_finite() {
                *diverged = Some(number + 1);
            }
        }
        Ok(true)
    }

    fn step(&mut self, minibatch: Minibatch, masks: &[Tensor], losses: &Tensor) -> Result<()> {
        for (pace, &active) in self.paces.iter_mut().zip(&minibatch.active) {
            pace.advance(active);
        }
        let gradients = self.gradients(minibatch, masks, losses)?;
        let optimizer = self.lanes[0].hyper.optimizer;
        let step = Step { optimizer, lanes: &self.paces };
        for (layer, gradient) in self.model.layers.iter().zip(&gradients) {
            layer.weights.state.inplace_op2(&gradient.weights, &step)?;
            layer.biases.state.inplace_op2(&gradient.biases, &step)?;
        }
        Ok(())
    }

    /// Gradients of a minibatch's loss, which is added to `losses` [lanes].
    fn gradients(
        &self,
        minibatch: Minibatch,
        masks: &[Tensor],
        losses: &Tensor,
    ) -> Result<Vec<LayerGradient>> {
        let (lanes, places) = (self.lanes.len(), self.places);
        let rows = Tensor::from_vec(minibatch.rows, lanes * places, &DEVICE)?;
        let truth = Tensor::from_vec(minibatch.truth, (lanes, places, 2), &DEVICE)?;
        let shape = (lanes, places, self.dataset.width);
        let input = self.features.index_select(&rows, 0)?.reshape(shape)?;
        Scale::apply(&input, &self.stacked_scales)?;
        let pass = self.model.forward(input, masks)?;
        losses.inplace_op3(&pass.outputs, &truth, &AddLoss(self.loss))?;
        pass.outputs.inplace_op2(&truth, &LossGradient(self.loss))?;
        self.model.backward(&pass.inputs, pass.outputs, &self.gains)
    }

    /// What a lane shall say of a row: its class, or its value scaled.
    fn target(&self, lane: usize, row: u32) -> f32 {
        let row = self.lanes[lane].label_row(row);
        match &self.dataset.target {
            Target::Classes { labels, .. } => labels[row as usize] as f32,
            Target::Masks { .. } => unimplemented!(),
            Target::Values(values) => {
                let (centre, width) = self.target_scales[lane];
                ((f64::from(values[row as usize]) - centre) / width) as f32
            }
        }
    }

    fn fitted(self) -> Result<Vec<Fitted>> {
        let lanes = self.scales.into_iter().zip(self.target_scales).zip(self.diverged);
        lanes
            .enumerate()
            .map(|(lane, ((features, target), diverged))| {
                Ok(Fitted { model: self.model.lane(lane)?, features, target, diverged })
            })
            .collect()
    }
}

fn target_scale(dataset: &Dataset, lane: &Lane) -> (f64, f64) {
    match &dataset.target {
        Target::Classes { .. } | Target::Masks { .. } => (0.0, 1.0),
        Target::Values(values) => {
            centre_and_width(lane.train_rows.iter().map(|&row| values[row as usize]))
        }
    }
}

pub const DEVICE: Device = Device::Cpu;

#[cfg(test)]
mod tests {
    use common::study::Hyper;

    use super::super::models::dense::Parameter;
    use super::super::tests::{blobs, lane, waves};
    use super::*;

    /// One step's loss in each lane, and the gradients.
    fn look(stack: &Stack<'_>) -> (Vec<f32>, Vec<LayerGradient>) {
        let running = vec![true; stack.lanes.len()];
        let data = &stack.dataset.digest;
        let mut epoch = Epoch::new(data, stack.lanes, &running, 0, stack.places);
        let minibatch = epoch.next(|lane, row| stack.target(lane, row)).unwrap();
        let masks = epoch.masks(&stack.hidden, &DEVICE).unwrap();
        let losses = Tensor::zeros(stack.lanes.len(), DType::F32, &DEVICE).unwrap();
        let gradients = stack.gradients(minibatch, &masks, &losses).unwrap();
        (losses.to_vec1().unwrap(), gradients)
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// `parameter` with `number` of its values moved by `by`.
    fn moved(parameter: &Parameter, number: usize, by: f32) -> Parameter {
        let mut values = numbers(&parameter.values);
        values[number] += by;
        Parameter::new(values, parameter.values.dims3().unwrap(), 1, &DEVICE).unwrap()
    }

    fn parameter<'s>(stack: &'s mut Stack<'_>, layer: usize, bias: bool) -> &'s mut Parameter {
        let layer = &mut stack.model.layers[layer];
        if bias { &mut layer.biases } else { &mut layer.weights }
    }

    /// Holds every gradient between the loss' slopes to its left and to its right, which differ
    /// where a rectifier bends. The share of slopes that are not 0.
    fn check(stack: &mut Stack<'_>) -> f64 {
        let (lanes, layers) = (stack.lanes.len(), stack.model.layers.len());
        let (before, gradients) = look(stack);
        let (mut steep, mut all) = (0.0, 0.0);
        for (layer, bias) in (0..layers).flat_map(|layer| [(layer, false), (layer, true)]) {
            let gradient = match bias {
                false => numbers(&gradients[layer].weights),
                true => numbers(&gradients[layer].biases.sum(1).unwrap()),
            };
            let kept = parameter(stack, layer, bias).clone();
            for (number, &slope) in gradient.iter().enumerate() {
                let lane = number / (gradient.len() / lanes);
                let [left, right] = [-NUDGE, NUDGE].map(|nudge| {
                    *parameter(stack, layer, bias) = moved(&kept, number, nudge);
                    (look(stack).0[lane] - before[lane]) / nudge
                });
                let inside = left.min(right) - CLOSE..left.max(right) + CLOSE;
                assert!(
                    inside.contains(&slope),
                    "layer {layer}, bias {bias}, number {number}: {slope} is not in {inside:?}"
                );
                steep += f64::from(slope.abs() > 10.0 * CLOSE);
                all += 1.0;
            }
            *parameter(stack, layer, bias) = kept;
        }
        steep / all
    }

    /// Lanes of 9 and 6 training rows in minibatches of 8 places.
    #[test]
    fn gradients_are_slopes_of_the_loss() {
        let hyper = Hyper { batch: 8, hidden: vec![4, 3], dropout: 0.25, ..Hyper::default() };
        for dataset in [blobs(12, 3), waves(12)] {
            let long = lane(&dataset, &hyper, 3);
            let dry = Hyper { dropout: 0.0, ..hyper.clone() };
            let mut short = lane(&dataset, &dry, 4);
            short.train_rows.truncate(6);
            let lanes = [&long, &short];
            let steep = check(&mut Stack::new(&dataset, &lanes).unwrap());
            assert!(steep > 0.4, "only {steep} of the slopes could tell");
        }
    }

    #[test]
    fn a_partial_minibatch_weighs_its_own_rows() {
        let dataset = blobs(12, 2);
        let hyper = Hyper { batch: 8, hidden: vec![4], ..Hyper::default() };
        let mut short = lane(&dataset, &hyper, 4);
        short.train_rows.truncate(5);
        let exact = Lane { hyper: Hyper { batch: 5, ..hyper }, ..short.clone() };
        let (padded, _) = look(&Stack::new(&dataset, &[&short]).unwrap());
        let (full, _) = look(&Stack::new(&dataset, &[&exact]).unwrap());
        assert!((padded[0] - full[0]).abs() < 1e-6, "{padded:?} against {full:?}");
    }

    const NUDGE: f32 = 2e-3;
    const CLOSE: f32 = 5e-4;
}
