//! Networks for stacks of lanes: layers, forward and backward, and the numbers they are made of.
//!
//! Backward is written out: tracking a graph makes ten times the tensors, and their cost is the cost
//! of training small models. What backward needs, forward puts on a tape, and backward takes it off
//! in turn. Deliberately absent: which rows, which loss, how weights move.
//!
//! Floor: core.

mod attention;
mod build;
mod conv;
mod dense;
mod norm;
mod room;
mod shape;

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use common::id::Digest;
use common::seed::{Stream, StreamRng};

pub use build::{network, outputs};
pub use room::{Room, Size};

/// One layer, or several in an order of their own.
pub trait Layer: std::fmt::Debug + Send + Sync {
    /// What it says of `x` [lanes, rows, width]. Trained, it leaves on the tape what backward needs.
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor>;

    /// From the loss' gradient in what it said, the gradients of its parameters, which `pass` keeps,
    /// and that in its input, where it is `wanted`.
    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>>;

    /// Counts what it holds of one lane, of which it is `given` so much; what it says.
    fn room(&self, given: Size, room: &mut Room<'_>) -> Size;

    /// Whether it has parameters, and so asks for the gradient in what it said.
    fn has_parameters(&self) -> bool {
        true
    }
}

/// A network with the numbers of all its lanes.
#[derive(Clone, Debug)]
pub struct Network {
    pub root: Arc<dyn Layer>,
    pub parameters: Vec<Parameter>,
}

/// Numbers of a layer, and beside them what the optimizer remembers.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// [copies, lanes, rows, columns]: the values, then the moments.
    pub state: Tensor,
    /// [lanes, rows, columns]: a view of the first copy, so it follows every change.
    pub values: Tensor,
    pub first: First,
    /// Of the layer's draws on the `init` stream; its parameters are drawn from there in order.
    pub position: u64,
    /// Whether the optimizer moves it.
    pub trained: bool,
}

/// How first values are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum First {
    /// Even in ± this.
    Uniform(f32),
    /// With this standard deviation.
    Normal(f32),
    Fixed(f32),
    /// A row of 0 and a row of 1: running means and variances.
    Moments,
}

impl Parameter {
    /// Rows and columns of one lane.
    pub fn shape(&self) -> Result<(usize, usize)> {
        let (_, rows, columns) = self.values.dims3()?;
        Ok((rows, columns))
    }

    /// Values [lanes, rows, columns] and as many moments of 0 as `copies` has room for.
    fn of(values: Tensor, like: &Parameter, copies: usize) -> Result<Self> {
        let mut all = vec![values];
        all.resize(copies, all[0].zeros_like()?);
        let state = Tensor::stack(&all, 0)?;
        let values = state.get(0)?;
        Ok(Self { state, values, ..like.clone() })
    }
}

impl Network {
    /// Gives `lane` the first values of seed `init`, and no memory of steps.
    pub fn begin(&self, lane: usize, data: &Digest, init: u64) -> Result<()> {
        let mut drawn: Option<(u64, StreamRng)> = None;
        for parameter in &self.parameters {
            if drawn.as_ref().is_none_or(|(position, _)| *position != parameter.position) {
                let rng = StreamRng::new(data, Stream::Init, init, parameter.position);
                drawn = Some((parameter.position, rng));
            }
            let Some((_, rng)) = &mut drawn else { continue };
            let (rows, columns) = parameter.shape()?;
            let copies = parameter.state.dim(0)?;
            let mut values = first_values(parameter.first, rows, columns, rng);
            values.resize(copies * rows * columns, 0.0);
            let device = parameter.state.device();
            let values = Tensor::from_vec(values, (copies, 1, rows, columns), device)?;
            parameter.state.slice_set(&values, 1, lane)?;
        }
        Ok(())
    }

    /// A copy of one lane's values, for [`Network::of_one`].
    pub fn export(&self, lane: usize) -> Result<Vec<Tensor>> {
        self.parameters.iter().map(|p| p.values.narrow(0, lane, 1)?.force_contiguous()).collect()
    }

    /// One lane's values and what the optimizer remembers, by parameter: [copies · rows · columns].
    pub fn state_of(&self, lane: usize) -> Result<Vec<Vec<f32>>> {
        let one = |p: &Parameter| p.state.narrow(1, lane, 1)?.flatten_all()?.to_vec1();
        self.parameters.iter().map(one).collect()
    }

    /// Gives `lane` what [`Network::state_of`] gave, of a network of the same sizes.
    pub fn restore(&self, lane: usize, state: &[Vec<f32>]) -> Result<()> {
        for (parameter, numbers) in self.parameters.iter().zip(state) {
            let ((rows, columns), copies) = (parameter.shape()?, parameter.state.dim(0)?);
            let shape = (copies, 1, rows, columns);
            let one = Tensor::from_slice(numbers, shape, parameter.state.device())?;
            parameter.state.slice_set(&one, 1, lane)?;
        }
        Ok(())
    }

    /// Numbers of one lane's values, by parameter.
    pub fn sizes(&self) -> Result<Vec<usize>> {
        let size = |p: &Parameter| p.shape().map(|(rows, columns)| rows * columns);
        self.parameters.iter().map(size).collect()
    }

    /// One lane's values, as [`Network::export`] gives them, of their numbers.
    pub fn values_of(&self, numbers: &[Vec<f32>]) -> Result<Vec<Tensor>> {
        let one = |(p, numbers): (&Parameter, &Vec<f32>)| {
            let (rows, columns) = p.shape()?;
            Tensor::from_slice(numbers, (1, rows, columns), p.values.device())
        };
        self.parameters.iter().zip(numbers).map(one).collect()
    }

    /// A network of one lane with exported values, which is not trained any more.
    pub fn of_one(&self, values: Vec<Tensor>) -> Result<Self> {
        let each = self.parameters.iter().zip(values);
        let parameters = each.map(|(like, values)| Parameter::of(values, like, 1));
        Ok(Self { root: Arc::clone(&self.root), parameters: parameters.collect::<Result<_>>()? })
    }

    /// Leaves the lanes `keep` alone, in that order.
    pub fn retain(&mut self, keep: &[usize], device: &Device) -> Result<()> {
        let keep: Vec<u32> = keep.iter().map(|&lane| lane as u32).collect();
        let keep = Tensor::new(keep, device)?;
        for parameter in &mut self.parameters {
            parameter.state = parameter.state.index_select(&keep, 1)?;
            parameter.values = parameter.state.get(0)?;
        }
        Ok(())
    }

    /// What the network says of `x`, as it was trained: nothing is dropped, nothing moves.
    pub fn say(&self, x: Tensor, places: usize) -> Result<Tensor> {
        let counts = vec![places; x.dim(0)?];
        self.root.forward(x, &mut Pass::still(&self.parameters, &counts))
    }
}

fn first_values(first: First, rows: usize, columns: usize, rng: &mut StreamRng) -> Vec<f32> {
    let count = rows * columns;
    match first {
        First::Uniform(bound) => (0..count).map(|_| (2.0 * rng.unit_f32() - 1.0) * bound).collect(),
        First::Normal(deviation) => (0..count).map(|_| rng.normal() as f32 * deviation).collect(),
        First::Fixed(value) => vec![value; count],
        First::Moments => (0..rows).flat_map(|row| vec![row as f32; columns]).collect(),
    }
}

/// One way of a minibatch through a network and back.
pub struct Pass<'a> {
    parameters: &'a [Parameter],
    /// Rows of the minibatch that are real, first ones first, a lane.
    counts: &'a [usize],
    /// Draws of what is dropped; `None` where nothing is trained.
    noise: Option<&'a mut dyn Noise>,
    tape: Vec<Tensor>,
    /// By parameter.
    pub gradients: Vec<Option<Tensor>>,
    spent: Spent,
}

/// What dense layers made in an earlier pass, by parameter: room for the same again, since to clear new
/// room in every step takes as long as to fill it. The next pass overwrites it: what the one before gave
/// must not be needed any more, and no two layers of a network have the same weights.
#[derive(Debug, Default)]
pub struct Spent {
    gradients: Vec<Option<Tensor>>,
    /// What layers with these weights said, and their gradients in what they were given.
    said: Vec<Option<Tensor>>,
    slopes: Vec<Option<Tensor>>,
}

impl Spent {
    fn of(mut self, parameters: usize) -> Self {
        for list in [&mut self.gradients, &mut self.said, &mut self.slopes] {
            list.resize(parameters, None);
        }
        self
    }
}

/// What a layer may not see of its units while it is trained.
pub trait Noise {
    /// [lanes, rows, width], 0 where a unit is dropped, else what makes up for it; `None` when no
    /// lane drops any. `of_place`: rows that belong to one row of the minibatch.
    fn mask(&mut self, of_place: usize, width: usize) -> Result<Option<Tensor>>;

    /// What each lane multiplies its kept units with.
    fn gains(&self) -> &[f32];
}

impl<'a> Pass<'a> {
    /// `spent`: what [`Pass::into_spent`] gave after the pass before, whose gradients, outputs and tape this
    /// one overwrites.
    pub fn trained(
        parameters: &'a [Parameter],
        counts: &'a [usize],
        noise: &'a mut dyn Noise,
        spent: Spent,
    ) -> Self {
        let gradients = vec![None; parameters.len()];
        let spent = spent.of(parameters.len());
        Self { parameters, counts, noise: Some(noise), tape: Vec::new(), gradients, spent }
    }

    fn still(parameters: &'a [Parameter], counts: &'a [usize]) -> Self {
        let (tape, gradients, spent) = (Vec::new(), Vec::new(), Spent::default());
        Self { parameters, counts, noise: None, tape, gradients, spent }
    }

    /// The gradients, and room for the next pass.
    pub fn into_spent(self) -> (Vec<Option<Tensor>>, Spent) {
        (self.gradients, self.spent)
    }

    fn is_trained(&self) -> bool {
        self.noise.is_some()
    }

    fn values(&self, parameter: usize) -> &'a Tensor {
        &self.parameters[parameter].values
    }

    /// Puts on the tape what backward needs.
    fn keep(&mut self, tensor: &Tensor) {
        if self.is_trained() {
            self.tape.push(tensor.clone());
        }
    }

    /// Takes off the tape what was kept last.
    fn take(&mut self) -> Result<Tensor> {
        self.tape.pop().ok_or_else(|| candle_core::Error::Msg("the tape is empty".into()))
    }

    /// Rows of each lane that are real, where each row of the minibatch has become `of_place`.
    fn counts(&self, of_place: usize) -> Vec<usize> {
        self.counts.iter().map(|count| count * of_place).collect()
    }

    fn gains(&self) -> Vec<f32> {
        match &self.noise {
            Some(noise) => noise.gains().to_vec(),
            None => vec![1.0; self.counts.len()],
        }
    }
}

#[cfg(test)]
mod curves;
#[cfg(test)]
pub mod tests;
