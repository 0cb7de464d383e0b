//! Operations over lanes on an NVIDIA card: one launch each, in place.
//!
//! Composed of candle's own operations an optimiser's step takes some fifteen launches and five uploads
//! a parameter, and a bias with a rectifier four launches; a launch costs more than the arithmetic of a
//! small network. The kernels are text that NVRTC compiles when a card is first used; where it or the
//! driver refuses, [`on`] is false and the caller composes. Deliberately absent: what
//! candle does in one launch, and what a processor does.
//!
//! Source: Kingma and Ba (2015); Loshchilov and Hutter (2019), algorithm 2.
//!
//! Floor: core.

#[cfg(feature = "cuda")]
mod launch;

use candle_core::{
    CpuStorage, CudaStorage, Device, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail,
};

/// Whether the kernels run on this device.
pub fn on(device: &Device) -> bool {
    why_not(device).is_none()
}

/// Why they do not.
pub fn why_not(device: &Device) -> Option<String> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => launch::why_not(device),
        _ => Some("not a card".to_string()),
    }
}

/// One step of Adam or AdamW.
///
/// Shapes: `state` [3, …] holds values, first and second moments, `gradient` one of them, lanes first;
/// `paces` [lanes, 6]: rate, keep, pull, momentum, 1 / (1 − β₁ᵗ), 1 / (1 − β₂ᵗ).
pub fn adam(state: &Tensor, gradient: &Tensor, paces: &Tensor) -> Result<()> {
    hold_sizes(state, (3, gradient), paces)?;
    state.inplace_op3(gradient, paces, &Lanes::of("adam", gradient, paces.dim(0)?))
}

/// One step of gradient descent with momentum; shapes as [`adam`]'s, of two copies.
pub fn sgd(state: &Tensor, gradient: &Tensor, paces: &Tensor) -> Result<()> {
    hold_sizes(state, (2, gradient), paces)?;
    state.inplace_op3(gradient, paces, &Lanes::of("sgd", gradient, paces.dim(0)?))
}

/// x ← x + b, and with `rectify` below 0 then 0; NaN stays. Shapes: x [lanes, rows, width], b [lanes, 1,
/// width].
pub fn add_biases(x: &Tensor, biases: &Tensor, rectify: bool) -> Result<()> {
    let (lanes, _, width) = x.dims3()?;
    if biases.elem_count() != lanes * width {
        bail!("{:?} are no biases of {:?}", biases.shape(), x.shape());
    }
    let lanes = Lanes::of("add_biases", x, lanes);
    x.inplace_op2(biases, &Lanes { more: [width, usize::from(rectify)], ..lanes })
}

/// d ← d · gain of the lane where the layer spoke, else d · 0. Shapes: d and what the layer said alike,
/// lanes first; gains [lanes].
pub fn gate(d: &Tensor, said: &Tensor, gains: &Tensor) -> Result<()> {
    if d.dims() != said.dims() || d.dim(0)? != gains.elem_count() {
        bail!("no gate of {:?} by {:?} and {:?}", d.shape(), said.shape(), gains.shape());
    }
    d.inplace_op3(said, gains, &Lanes::of("gate", d, gains.dim(0)?))
}

/// A kernel believes its sizes: what does not fit would be written beyond.
fn hold_sizes(state: &Tensor, (copies, gradient): (usize, &Tensor), paces: &Tensor) -> Result<()> {
    let fits = state.elem_count() == copies * gradient.elem_count();
    if fits && paces.dims() == [gradient.dim(0)?, PACE] {
        return Ok(());
    }
    bail!("no step of {:?} by {:?} and {:?}", state.shape(), gradient.shape(), paces.shape())
}

/// Numbers of a pace.
const PACE: usize = 6;

/// A launch.
struct Lanes {
    kernel: &'static str,
    /// Numbers that are changed, and how many of them are a lane's.
    numbers: usize,
    one: usize,
    /// What `add_biases` needs besides.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    more: [usize; 2],
}

impl Lanes {
    fn of(kernel: &'static str, changed: &Tensor, lanes: usize) -> Self {
        let numbers = changed.elem_count();
        Self { kernel, numbers, one: (numbers / lanes.max(1)).max(1), more: [0; 2] }
    }

    fn run(
        &self,
        changed: (&mut CudaStorage, &Layout),
        read: &[(&CudaStorage, &Layout)],
    ) -> Result<()> {
        #[cfg(feature = "cuda")]
        return launch::launch(self, changed, read);
        #[cfg(not(feature = "cuda"))]
        {
            let _ = (changed, read, self.numbers, self.one);
            bail!("built without the feature cuda")
        }
    }
}

impl InplaceOp2 for Lanes {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        bail!("{} is for a card", self.kernel)
    }

    fn cuda_fwd(
        &self,
        changed: &mut CudaStorage,
        of_changed: &Layout,
        a: &CudaStorage,
        of_a: &Layout,
    ) -> Result<()> {
        self.run((changed, of_changed), &[(a, of_a)])
    }
}

impl InplaceOp3 for Lanes {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(
        &self,
        _: &mut CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        bail!("{} is for a card", self.kernel)
    }

    fn cuda_fwd(
        &self,
        changed: &mut CudaStorage,
        of_changed: &Layout,
        a: &CudaStorage,
        of_a: &Layout,
        b: &CudaStorage,
        of_b: &Layout,
    ) -> Result<()> {
        self.run((changed, of_changed), &[(a, of_a), (b, of_b)])
    }
}

/// The kernels, as the card's library compiles them.
#[cfg(any(test, feature = "cuda"))]
const TEXT: &str = include_str!("lanes.cu");

#[cfg(test)]
mod tests;
