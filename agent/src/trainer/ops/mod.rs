//! Operations over stacks of lanes, on candle's tensors.
//!
//! Axis 0 is the lane; no number of a lane is read for another's. On a processor each is a loop of
//! ours, compiled for the widest vectors that the machine has: every sum is taken in one order, so
//! its bits depend neither on those vectors nor on who trains beside. On a card four are kernels of
//! ours (the crate `kernels`), where these compile. Elsewhere each is composed of candle's own
//! operations; the tests hold both against one another, and train every model by both.
//!
//! Floor: core.

pub mod attention;
pub mod conv;
pub mod elementwise;
pub mod exponential;
mod geometry;
pub mod norm;
pub mod pool;
pub mod product;
mod slices;
pub mod table;
pub mod tile;
mod turn;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, InplaceOp2, Layout, Result, Shape, Tensor,
};

use slices::{read, write};

/// Whether our loops work on `x`: it lies on a processor.
pub fn by_loops(x: &Tensor) -> bool {
    has_loops(x.device())
}

/// Whether our loops work on this device.
pub fn has_loops(device: &Device) -> bool {
    #[cfg(test)]
    if tests::COMPOSED.get() {
        return false;
    }
    device.is_cpu()
}

/// Whether our kernels work on these: they lie on a card that has them, without gaps.
pub fn by_kernels(operands: &[&Tensor]) -> bool {
    operands.iter().all(|x| x.is_contiguous()) && kernels::on(operands[0].device())
}

/// A new tensor of `shape` from the numbers of `a`, which lie without gaps.
pub fn made1(
    a: &Tensor,
    shape: impl Into<Shape>,
    f: impl Fn(&[f32], &mut [f32]),
) -> Result<Tensor> {
    let f = |operands: &[&[f32]], made: &mut [f32]| f(operands[0], made);
    a.apply_op1_no_bwd(&Made { shape: shape.into(), f })
}

pub fn made2(
    [a, b]: [&Tensor; 2],
    shape: impl Into<Shape>,
    f: impl Fn([&[f32]; 2], &mut [f32]),
) -> Result<Tensor> {
    let f = |operands: &[&[f32]], made: &mut [f32]| f([operands[0], operands[1]], made);
    a.apply_op2_no_bwd(b, &Made { shape: shape.into(), f })
}

pub fn made3(
    [a, b, c]: [&Tensor; 3],
    shape: impl Into<Shape>,
    f: impl Fn([&[f32]; 3], &mut [f32]),
) -> Result<Tensor> {
    let f =
        |operands: &[&[f32]], made: &mut [f32]| f([operands[0], operands[1], operands[2]], made);
    a.apply_op3_no_bwd(b, c, &Made { shape: shape.into(), f })
}

/// Changes the numbers of `a` by those of `b`, which both lie without gaps.
pub fn changed2(a: &Tensor, b: &Tensor, f: impl Fn(&mut [f32], &[f32])) -> Result<()> {
    let f = |changed: &mut [f32], operands: &[&[f32]]| f(changed, operands[0]);
    a.inplace_op2(b, &Changed { f })
}

/// Runs `f`, compiled for the vectors that this processor has.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

struct Made<F> {
    shape: Shape,
    f: F,
}

impl<F: Fn(&[&[f32]], &mut [f32])> Made<F> {
    fn make(&self, operands: &[(&CpuStorage, &Layout)]) -> Result<(CpuStorage, Shape)> {
        hold_composed();
        let mut slices: [&[f32]; 3] = [&[]; 3];
        for (slice, (storage, layout)) in slices.iter_mut().zip(operands) {
            *slice = read(storage, layout)?;
        }
        let mut made = vec![0.0; self.shape.elem_count()];
        (self.f)(&slices[..operands.len()], &mut made);
        Ok((CpuStorage::F32(made), self.shape.clone()))
    }
}

impl<F: Fn(&[&[f32]], &mut [f32])> CustomOp1 for Made<F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, a: &CpuStorage, of_a: &Layout) -> Result<(CpuStorage, Shape)> {
        self.make(&[(a, of_a)])
    }
}

impl<F: Fn(&[&[f32]], &mut [f32])> CustomOp2 for Made<F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        of_a: &Layout,
        b: &CpuStorage,
        of_b: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.make(&[(a, of_a), (b, of_b)])
    }
}

impl<F: Fn(&[&[f32]], &mut [f32])> CustomOp3 for Made<F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        of_a: &Layout,
        b: &CpuStorage,
        of_b: &Layout,
        c: &CpuStorage,
        of_c: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.make(&[(a, of_a), (b, of_b), (c, of_c)])
    }
}

struct Changed<F> {
    f: F,
}

impl<F: Fn(&mut [f32], &[&[f32]])> InplaceOp2 for Changed<F> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        of_a: &Layout,
        b: &CpuStorage,
        of_b: &Layout,
    ) -> Result<()> {
        hold_composed();
        (self.f)(write(a, of_a)?, &[read(b, of_b)?]);
        Ok(())
    }
}

/// In tests of what other devices do, no loop of ours may run.
fn hold_composed() {
    #[cfg(test)]
    assert!(!tests::COMPOSED.get(), "a device has no loops of ours");
}

/// What candle calls an operation of ours in its errors.
const NAME: &str = "an operation over lanes";

#[cfg(test)]
pub mod tests {
    use std::cell::Cell;

    use candle_core::Tensor;
    use common::id::Digest;
    use common::seed::{Stream, StreamRng};

    use super::Device;

    thread_local! {
        pub static COMPOSED: Cell<bool> = const { Cell::new(false) };
    }

    /// What `f` gives where every operation is composed of candle's own, as on other devices.
    pub fn composed<R>(f: impl FnOnce() -> R) -> R {
        COMPOSED.set(true);
        let made = f();
        COMPOSED.set(false);
        made
    }

    /// Normal numbers of a shape.
    pub fn drawn(seed: u64, shape: &[usize]) -> Tensor {
        let mut rng = StreamRng::new(&Digest::of(b"drawn"), Stream::Init, seed, 0);
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count).map(|_| rng.normal() as f32).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    pub fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Whether both have one shape, and numbers no more than `by` apart.
    pub fn near(ours: &Tensor, theirs: &Tensor, by: f32) {
        assert_eq!(ours.dims(), theirs.dims());
        let apart = numbers(ours).into_iter().zip(numbers(theirs)).map(|(a, b)| (a - b).abs());
        let most = apart.fold(0.0, f32::max);
        assert!(most <= by, "{most} apart");
    }
}
