//! Dense stacks: layers of weights and biases with rectifiers between, many lanes at once.
//!
//! Axis 0 of every tensor is the lane; products are batched over it and never mix lanes. Backward
//! is written out: tracking a graph makes ten times the tensors, and their cost is the cost of
//! training small models. Deliberately absent: which rows, which loss, how weights move.
//!
//! Floor: core.

use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor};
use common::id::Digest;
use common::seed::{Stream, StreamRng};

use super::super::product::product;
use super::super::slices::{read, write};

/// A dense stack for every lane.
#[derive(Clone, Debug)]
pub struct Dense {
    pub layers: Vec<Layer>,
}

#[derive(Clone, Debug)]
pub struct Layer {
    /// [lanes, inputs, outputs].
    pub weights: Parameter,
    /// [lanes, 1, outputs].
    pub biases: Parameter,
}

/// Numbers that training moves, and beside them what the optimizer remembers.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// [copies, lanes, …]: the values, then the moments.
    pub state: Tensor,
    /// [lanes, …]: a view of the first copy, so it follows every change.
    pub values: Tensor,
}

/// What a stack said of one input.
#[derive(Debug)]
pub struct Pass {
    /// What each layer was given, [lanes, rows, inputs].
    pub inputs: Vec<Tensor>,
    /// [lanes, rows, outputs].
    pub outputs: Tensor,
}

/// A layer's gradients; biases' before the sum over the rows, which the optimizer does.
#[derive(Debug)]
pub struct LayerGradient {
    /// [lanes, inputs, outputs].
    pub weights: Tensor,
    /// [lanes, batch, outputs].
    pub biases: Tensor,
}

impl Dense {
    /// A stack with first weights from each lane's `init` seed, and room for `copies` of them.
    ///
    /// Uniform in ±1/√inputs for weights and biases (PyTorch's `Linear`), drawn from the `init`
    /// stream at the layer's position: first the weights by row, then the biases.
    pub fn new(
        widths: &[usize],
        data: &Digest,
        init_seeds: &[u64],
        copies: usize,
        device: &Device,
    ) -> Result<Self> {
        let layers = widths.windows(2).enumerate().map(|(position, ends)| {
            let (inputs, outputs) = (ends[0], ends[1]);
            let (mut weights, mut biases) = (Vec::new(), Vec::new());
            for &seed in init_seeds {
                let mut rng = StreamRng::new(data, Stream::Init, seed, position as u64);
                let bound = 1.0 / (inputs as f32).sqrt();
                let mut draw = || (2.0 * rng.unit_f32() - 1.0) * bound;
                weights.extend((0..inputs * outputs).map(|_| draw()));
                biases.extend((0..outputs).map(|_| draw()));
            }
            let lanes = init_seeds.len();
            Ok(Layer {
                weights: Parameter::new(weights, (lanes, inputs, outputs), copies, device)?,
                biases: Parameter::new(biases, (lanes, 1, outputs), copies, device)?,
            })
        });
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }

    /// What every layer says of `input` [lanes, rows, features].
    ///
    /// `masks`: one a hidden layer, of its shape, multiplied with what it says; or none.
    pub fn forward(&self, input: Tensor, masks: &[Tensor]) -> Result<Pass> {
        let mut inputs = Vec::with_capacity(self.layers.len());
        let mut said = input;
        for (position, layer) in self.layers.iter().enumerate() {
            let rectify = position + 1 < self.layers.len();
            let next = product(&said, &layer.weights.values)?;
            next.inplace_op2(&layer.biases.values, &AddBiases { rectify })?;
            if let Some(mask) = masks.get(position) {
                next.inplace_op2(mask, &Mask)?;
            }
            inputs.push(std::mem::replace(&mut said, next));
        }
        Ok(Pass { inputs, outputs: said })
    }

    /// Gradients of every layer, first layer first.
    ///
    /// `inputs`: of a [`Pass`]. `outputs`: the loss' gradient in the pass' outputs. `gains`: what
    /// each lane's masks hold where they are not 0.
    pub fn backward(
        &self,
        inputs: &[Tensor],
        outputs: Tensor,
        gains: &[f32],
    ) -> Result<Vec<LayerGradient>> {
        let mut gradients = Vec::with_capacity(self.layers.len());
        let mut behind = outputs;
        for (position, (layer, input)) in self.layers.iter().zip(inputs).enumerate().rev() {
            let weights = product(&input.transpose(1, 2)?, &behind)?;
            if position == 0 {
                // Nobody asks for the features' gradient.
                gradients.push(LayerGradient { weights, biases: behind });
                break;
            }
            let before = product(&behind, &layer.weights.values.transpose(1, 2)?)?;
            before.inplace_op2(input, &Gate { gains })?;
            gradients
                .push(LayerGradient { weights, biases: std::mem::replace(&mut behind, before) });
        }
        gradients.reverse();
        Ok(gradients)
    }

    /// One lane's stack, as a view: axis 0 has length 1.
    pub fn lane(&self, lane: usize) -> Result<Self> {
        let one = |parameter: &Parameter| -> Result<Parameter> {
            Ok(Parameter {
                state: parameter.state.narrow(1, lane, 1)?,
                values: parameter.values.narrow(0, lane, 1)?,
            })
        };
        let layers = self
            .layers
            .iter()
            .map(|layer| Ok(Layer { weights: one(&layer.weights)?, biases: one(&layer.biases)? }));
        Ok(Self { layers: layers.collect::<Result<_>>()? })
    }
}

impl Parameter {
    /// `values`: [lanes, rows, columns]; the moments start at 0.
    pub fn new(
        values: Vec<f32>,
        shape: (usize, usize, usize),
        copies: usize,
        device: &Device,
    ) -> Result<Self> {
        let (lanes, rows, columns) = shape;
        let mut state = values;
        state.resize(state.len() * copies, 0.0);
        let state = Tensor::from_vec(state, (copies, lanes, rows, columns), device)?;
        debug_assert_eq!(state.dtype(), DType::F32);
        let values = state.get(0)?;
        Ok(Self { state, values })
    }
}

/// h ← h + b, and below 0 then 0. NaN stays: a rectifier that hid it would hide a divergence.
///
/// Operands: h [lanes, rows, width], b [lanes, 1, width].
struct AddBiases {
    rectify: bool,
}

impl InplaceOp2 for AddBiases {
    fn name(&self) -> &'static str {
        "add-biases"
    }

    fn cpu_fwd(
        &self,
        sums: &mut CpuStorage,
        sums_layout: &Layout,
        biases: &CpuStorage,
        biases_layout: &Layout,
    ) -> Result<()> {
        let (_, rows, width) = sums_layout.shape().dims3()?;
        let lanes = write(sums, sums_layout)?.chunks_exact_mut(rows * width);
        for (lane, biases) in lanes.zip(read(biases, biases_layout)?.chunks_exact(width)) {
            for row in lane.chunks_exact_mut(width) {
                if self.rectify {
                    for (h, b) in row.iter_mut().zip(biases) {
                        let sum = *h + b;
                        *h = if sum < 0.0 { 0.0 } else { sum };
                    }
                } else {
                    row.iter_mut().zip(biases).for_each(|(h, b)| *h += b);
                }
            }
        }
        Ok(())
    }
}

/// h ← h · mask.
struct Mask;

impl InplaceOp2 for Mask {
    fn name(&self) -> &'static str {
        "mask"
    }

    fn cpu_fwd(
        &self,
        said: &mut CpuStorage,
        said_layout: &Layout,
        mask: &CpuStorage,
        mask_layout: &Layout,
    ) -> Result<()> {
        let said = write(said, said_layout)?;
        said.iter_mut().zip(read(mask, mask_layout)?).for_each(|(h, mask)| *h *= mask);
        Ok(())
    }
}

/// d ← d · gain where the layer spoke, else 0: the gradient of rectifier and mask together, since a
/// unit is above 0 exactly when its sum is and its mask is not 0.
///
/// Operands: d and what the layer said, both [lanes, rows, width].
struct Gate<'a> {
    gains: &'a [f32],
}

impl InplaceOp2 for Gate<'_> {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(
        &self,
        gradient: &mut CpuStorage,
        gradient_layout: &Layout,
        said: &CpuStorage,
        said_layout: &Layout,
    ) -> Result<()> {
        let (_, rows, width) = gradient_layout.shape().dims3()?;
        let lanes = write(gradient, gradient_layout)?.chunks_exact_mut(rows * width);
        let said = read(said, said_layout)?.chunks_exact(rows * width);
        for ((gradient, said), &gain) in lanes.zip(said).zip(self.gains) {
            for (d, h) in gradient.iter_mut().zip(said) {
                // A choice of factors compiles to one without a jump, which would be guessed wrong.
                *d *= if *h > 0.0 { gain } else { 0.0 };
            }
        }
        Ok(())
    }
}
