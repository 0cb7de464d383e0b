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
use pulp::{Arch, Simd, WithSimd};

use super::{by_loops, hold_composed};

/// [lanes, m, k] · [lanes, k, n] → [lanes, m, n]; either may be a transposed view.
pub fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    match by_loops(left) {
        true => left.apply_op2_no_bwd(right, &Product),
        false => left.matmul(right),
    }
}

/// One matrix product: result [rows, columns] = left [rows, inner] · right [inner, columns].
pub struct Multiply<'a> {
    pub left: &'a [f32],
    /// From a row of the left matrix to the next, and from a column; one of both is 1.
    pub strides: (usize, usize),
    pub right: &'a [f32],
    /// From a row of the right matrix to the next.
    pub pitch: usize,
    pub inner: usize,
    pub columns: usize,
    /// Whether the product is added to what is there.
    pub adds: bool,
}

impl Multiply<'_> {
    /// All rows of `result`, whose length says how many.
    #[inline(always)]
    pub fn run<S: Simd>(&self, simd: S, result: &mut [f32]) {
        // One of both is 1; told apart here, so that no tile multiplies by it.
        match self.strides.1 == 1 {
            true => self.bands::<S, true>(simd, result),
            false => self.bands::<S, false>(simd, result),
        }
    }

    #[inline(always)]
    fn bands<S: Simd, const PLAIN: bool>(&self, simd: S, result: &mut [f32]) {
        let rows = result.len() / self.columns.max(1);
        let mut row = 0;
        while row + TALL <= rows {
            self.band::<S, TALL, PLAIN>(simd, row, result);
            row += TALL;
        }
        while row < rows {
            self.band::<S, 1, PLAIN>(simd, row, result);
            row += 1;
        }
    }

    /// `HEIGHT` rows of the result, from `row` on.
    #[inline(always)]
    fn band<S: Simd, const HEIGHT: usize, const PLAIN: bool>(
        &self,
        simd: S,
        row: usize,
        result: &mut [f32],
    ) {
        let mut column = 0;
        while column + 2 * S::F32_LANES <= self.columns {
            self.tile::<S, HEIGHT, 2, PLAIN>(simd, row, column, result);
            column += 2 * S::F32_LANES;
        }
        while column + S::F32_LANES <= self.columns {
            self.tile::<S, HEIGHT, 1, PLAIN>(simd, row, column, result);
            column += S::F32_LANES;
        }
        if column < self.columns {
            self.edge::<S, HEIGHT>(simd, row, column, result);
        }
    }

    /// `HEIGHT` rows by `WIDTH` vectors of the result. By index, since behind iterators the sums are
    /// not kept in registers. `PLAIN`: the left matrix' rows lie without gaps, else its columns do.
    #[inline(always)]
    fn tile<S: Simd, const HEIGHT: usize, const WIDTH: usize, const PLAIN: bool>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        result: &mut [f32],
    ) {
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; HEIGHT];
        if self.adds {
            for (r, sums) in sums.iter_mut().enumerate() {
                let start = (row + r) * self.columns + column;
                let (there, _) = S::as_simd_f32s(&result[start..start + WIDTH * S::F32_LANES]);
                sums.copy_from_slice(&there[..WIDTH]);
            }
        }
        let rows: [&[f32]; HEIGHT] = match PLAIN {
            true => from_fn(|r| &self.left[(row + r) * self.strides.0..][..self.inner]),
            false => [&[]; HEIGHT],
        };
        #[expect(
            clippy::needless_range_loop,
            reason = "columns are walked, of several rows at once"
        )]
        for inner in 0..self.inner {
            let start = inner * self.pitch + column;
            let (below, _) = S::as_simd_f32s(&self.right[start..start + WIDTH * S::F32_LANES]);
            let across: [f32; HEIGHT] = match PLAIN {
                true => from_fn(|r| rows[r][inner]),
                false => {
                    let across = &self.left[inner * self.strides.1 + row..][..HEIGHT];
                    from_fn(|r| across[r])
                }
            };
            for r in 0..HEIGHT {
                let across = simd.splat_f32s(across[r]);
                for w in 0..WIDTH {
                    sums[r][w] = simd.mul_add_f32s(across, below[w], sums[r][w]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let start = (row + r) * self.columns + column;
            let (result, _) = S::as_mut_simd_f32s(&mut result[start..start + WIDTH * S::F32_LANES]);
            result[..WIDTH].copy_from_slice(sums);
        }
    }

    /// `HEIGHT` rows of the last columns, fewer than a vector has room for.
    #[inline(always)]
    fn edge<S: Simd, const HEIGHT: usize>(
        &self,
        simd: S,
        row: usize,
        column: usize,
        result: &mut [f32],
    ) {
        let width = self.columns - column;
        let mut sums = [simd.splat_f32s(0.0); HEIGHT];
        if self.adds {
            for (r, sum) in sums.iter_mut().enumerate() {
                let start = (row + r) * self.columns + column;
                *sum = simd.partial_load_f32s(&result[start..start + width]);
            }
        }
        for inner in 0..self.inner {
            let start = inner * self.pitch + column;
            let below = simd.partial_load_f32s(&self.right[start..start + width]);
            let across: [f32; HEIGHT] = self.left_at(row, inner);
            for (sum, across) in sums.iter_mut().zip(across) {
                *sum = simd.mul_add_f32s(simd.splat_f32s(across), below, *sum);
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            let start = (row + r) * self.columns + column;
            simd.partial_store_f32s(&mut result[start..start + width], sum);
        }
    }

    /// The left matrix' numbers of `HEIGHT` rows from `row` on, in one column.
    #[inline(always)]
    fn left_at<const HEIGHT: usize>(&self, row: usize, column: usize) -> [f32; HEIGHT] {
        let start = row * self.strides.0 + column * self.strides.1;
        let rows = &self.left[start..start + (HEIGHT - 1) * self.strides.0 + 1];
        from_fn(|r| rows[r * self.strides.0])
    }
}

/// `plain` becomes [columns, rows] from `numbers` [rows, columns], whose rows are `pitch` apart.
///
/// By squares, so that both are walked in lines of the cache.
#[inline(always)]
pub fn transpose(numbers: &[f32], pitch: usize, rows: usize, columns: usize, plain: &mut Vec<f32>) {
    plain.resize(rows * columns, 0.0);
    for top in (0..rows).step_by(SQUARE) {
        let bottom = (top + SQUARE).min(rows);
        for left in (0..columns).step_by(SQUARE) {
            let right = (left + SQUARE).min(columns);
            for column in left..right {
                let made = &mut plain[column * rows + top..column * rows + bottom];
                for (row, made) in (top..bottom).zip(made) {
                    *made = numbers[row * pitch + column];
                }
            }
        }
    }
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
        hold_composed();
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

/// The products of all lanes, compiled for each kind of vector and chosen at run time.
struct All<'a, 'c> {
    left: Stack<'a>,
    right: Stack<'a>,
    numbers: &'c mut [f32],
}

impl WithSimd for All<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (rows, inner, columns) = (self.left.rows, self.left.columns, self.right.columns);
        let strides = if self.left.transposed { (1, rows) } else { (inner, 1) };
        let mut plain = Vec::new();
        for lane in 0..self.left.lanes {
            let mut right = self.right.lane(lane);
            if self.right.transposed {
                transpose(right, inner, columns, inner, &mut plain);
                right = &plain;
            }
            let left = self.left.lane(lane);
            let one =
                Multiply { left, strides, right, pitch: columns, inner, columns, adds: false };
            one.run(simd, &mut self.numbers[lane * rows * columns..(lane + 1) * rows * columns]);
        }
    }
}

/// Rows of a tile: with two vectors of columns its sums fill half of 16 vector registers.
const TALL: usize = 4;
/// Side of a square that is transposed at once.
const SQUARE: usize = 8;

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
