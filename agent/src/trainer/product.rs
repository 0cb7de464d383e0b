//! Products of small matrices, one a lane.
//!
//! Every number is summed in the order of the inner axis with fused multiply-adds, which round the
//! same way on every processor: its bits depend on its own row and column, not on the matrices'
//! size, the processor's vectors, or a number of threads. The calling thread does all the work.
//! candle's product is not used: it asks the system for the number of cores in every call, which
//! takes longer than such a product.
//!
//! Floor: core.

use std::array::from_fn;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use pulp::{Arch, NullaryFnOnce};

/// [lanes, m, k] · [lanes, k, n] → [lanes, m, n]; either may be a transposed view.
pub fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    left.apply_op2_no_bwd(right, &Product)
}

struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        left: &CpuStorage,
        left_layout: &Layout,
        right: &CpuStorage,
        right_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (left, right) = (Stack::new(left, left_layout)?, Stack::new(right, right_layout)?);
        if left.lanes != right.lanes || left.columns != right.rows {
            bail!("no product of {left_layout:?} and {right_layout:?}");
        }
        let mut numbers = vec![0.0; left.lanes * left.rows * right.columns];
        Arch::new().dispatch(All { left, right, numbers: &mut numbers });
        let shape = Shape::from((left.lanes, left.rows, right.columns));
        Ok((CpuStorage::F32(numbers), shape))
    }
}

/// A matrix a lane, row-major or its transpose.
#[derive(Clone, Copy)]
struct Stack<'a> {
    numbers: &'a [f32],
    lanes: usize,
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Stack<'a> {
    fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (lanes, rows, columns) = layout.shape().dims3()?;
        let transposed = !layout.is_contiguous();
        let plain = match transposed {
            true => layout.transpose(1, 2)?,
            false => layout.clone(),
        };
        match (storage, plain.contiguous_offsets()) {
            (CpuStorage::F32(numbers), Some((start, end))) => {
                Ok(Self { numbers: &numbers[start..end], lanes, rows, columns, transposed })
            }
            _ => bail!("a product needs 32-bit matrices without gaps"),
        }
    }

    fn lane(&self, lane: usize) -> &'a [f32] {
        let size = self.rows * self.columns;
        &self.numbers[lane * size..(lane + 1) * size]
    }
}

/// The products of all lanes: compiled once for each kind of processor, chosen when it runs.
struct All<'a, 'c> {
    left: Stack<'a>,
    right: Stack<'a>,
    numbers: &'c mut [f32],
}

impl NullaryFnOnce for All<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (left, columns, inner) = (self.left, self.right.columns, self.left.columns);
        let mut plain = Vec::new();
        let products = self.numbers.chunks_exact_mut((left.rows * columns).max(1));
        for (lane, result) in products.enumerate() {
            let mut right = self.right.lane(lane);
            if self.right.transposed {
                transpose(right, inner, &mut plain);
                right = &plain;
            }
            let rows = Rows { numbers: left.lane(lane), inner, all: left.rows };
            match left.transposed {
                true => multiply::<true>(rows, right, columns, result),
                false => multiply::<false>(rows, right, columns, result),
            }
        }
    }
}

/// `plain` becomes row-major of `stride` rows, from its transpose.
#[inline(always)]
fn transpose(numbers: &[f32], stride: usize, plain: &mut Vec<f32>) {
    plain.clear();
    for column in 0..stride {
        plain.extend(numbers[column..].iter().step_by(stride));
    }
}

/// The left matrix of one lane.
#[derive(Clone, Copy)]
struct Rows<'a> {
    numbers: &'a [f32],
    inner: usize,
    all: usize,
}

#[inline(always)]
fn multiply<const TRANSPOSED: bool>(
    left: Rows<'_>,
    right: &[f32],
    columns: usize,
    result: &mut [f32],
) {
    let mut row = 0;
    while row < left.all {
        if left.all - row >= TALL {
            band::<TALL, TRANSPOSED>(left, row, right, columns, result);
            row += TALL;
        } else {
            band::<1, TRANSPOSED>(left, row, right, columns, result);
            row += 1;
        }
    }
}

/// `HEIGHT` rows of the result, from `row` on.
#[inline(always)]
fn band<const HEIGHT: usize, const TRANSPOSED: bool>(
    left: Rows<'_>,
    row: usize,
    right: &[f32],
    columns: usize,
    result: &mut [f32],
) {
    let mut column = 0;
    while column < columns {
        let at = (row, column);
        column += match columns - column {
            16.. => tile::<HEIGHT, 16, TRANSPOSED>(left, at, right, columns, result),
            8.. => tile::<HEIGHT, 8, TRANSPOSED>(left, at, right, columns, result),
            4.. => tile::<HEIGHT, 4, TRANSPOSED>(left, at, right, columns, result),
            2.. => tile::<HEIGHT, 2, TRANSPOSED>(left, at, right, columns, result),
            _ => tile::<HEIGHT, 1, TRANSPOSED>(left, at, right, columns, result),
        };
    }
}

/// `HEIGHT` by `WIDTH` numbers of the result, held in registers; `WIDTH`.
#[inline(always)]
fn tile<const HEIGHT: usize, const WIDTH: usize, const TRANSPOSED: bool>(
    left: Rows<'_>,
    (row, column): (usize, usize),
    right: &[f32],
    columns: usize,
    result: &mut [f32],
) -> usize {
    let mut sums = [[0f32; WIDTH]; HEIGHT];
    let mut add = |a: [f32; HEIGHT], b: &[f32; WIDTH]| {
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = a.mul_add(*b, *sum);
            }
        }
    };
    let below = right[column..].chunks(columns).filter_map(|row| row.first_chunk::<WIDTH>());
    if TRANSPOSED {
        let across = left.numbers[row..].chunks(left.all);
        let across = across.filter_map(|inner| inner.first_chunk::<HEIGHT>());
        across.zip(below).for_each(|(a, b)| add(*a, b));
    } else {
        let rows: [&[f32]; HEIGHT] =
            from_fn(|r| &left.numbers[(row + r) * left.inner..(row + r + 1) * left.inner]);
        let across = (0..left.inner).map(|inner| from_fn(|r| rows[r][inner]));
        across.zip(below).for_each(|(a, b)| add(a, b));
    }
    for (r, sums) in sums.iter().enumerate() {
        let start = (row + r) * columns + column;
        result[start..start + WIDTH].copy_from_slice(sums);
    }
    WIDTH
}

/// Rows of a tile: with 16 columns its sums fill half of 16 vector registers of 8 numbers.
const TALL: usize = 4;

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use common::id::Digest;
    use common::seed::{Stream, StreamRng};
    use proptest::prelude::*;

    use super::*;

    fn matrix(seed: u64, shape: (usize, usize, usize)) -> Tensor {
        let mut rng = StreamRng::new(&Digest::of(b"matrix"), Stream::Init, seed, 0);
        let numbers = (0..shape.0 * shape.1 * shape.2).map(|_| rng.normal() as f32).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
    }

    /// The same matrices, laid out by column.
    fn by_column(tensor: &Tensor) -> Tensor {
        tensor.transpose(1, 2).unwrap().contiguous().unwrap().transpose(1, 2).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    proptest! {
        #[test]
        fn products_are_sums_in_order(
            (lanes, m, k, n) in (1usize..4, 1usize..40, 1usize..40, 1usize..40),
        ) {
            let (left, right) = (matrix(1, (lanes, m, k)), matrix(2, (lanes, k, n)));
            let (a, b) = (numbers(&left), numbers(&right));
            let mut expected = vec![0f32; lanes * m * n];
            for (at, sum) in expected.iter_mut().enumerate() {
                let (lane, row, column) = (at / (m * n), at / n % m, at % n);
                for inner in 0..k {
                    let b = b[lane * k * n + inner * n + column];
                    *sum = a[lane * m * k + row * k + inner].mul_add(b, *sum);
                }
            }
            for left in [&left, &by_column(&left)] {
                for right in [&right, &by_column(&right)] {
                    prop_assert_eq!(&numbers(&product(left, right).unwrap()), &expected);
                }
            }
        }
    }

    #[test]
    fn products_agree_with_candle() {
        let (left, right) = (matrix(1, (2, 33, 70)), matrix(2, (2, 70, 21)));
        let ours = numbers(&product(&left, &right).unwrap());
        let theirs = numbers(&left.matmul(&right).unwrap());
        let near = ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(near);
    }

    #[test]
    fn a_lane_of_a_stack_multiplies_as_alone() {
        let (left, right) = (matrix(1, (3, 5, 7)), matrix(2, (3, 7, 9)));
        let all = numbers(&product(&left, &right).unwrap());
        let (one, other) = (left.narrow(0, 1, 1).unwrap(), right.narrow(0, 1, 1).unwrap());
        assert_eq!(numbers(&product(&one, &other).unwrap()), all[45..90]);
    }

    #[test]
    fn sizes_that_do_not_meet_are_refused() {
        assert!(product(&matrix(1, (1, 2, 3)), &matrix(2, (1, 2, 3))).is_err());
    }
}
