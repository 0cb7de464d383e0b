//! Products of small matrices, one a lane.
//!
//! The calling thread does all the work. candle's product is not used: it asks the system for the
//! number of cores in every call, which takes longer than such a product.
//!
//! Floor: core.

use candle_core::{CpuStorage, CustomOp2, InplaceOp3, Layout, Result, Shape, Tensor, bail};
use pulp::{Simd, WithSimd};

use super::slices::write;
use super::tile::{Columns, Left, Panels, Rows, dispatch};
use super::{by_loops, hold_composed};

/// [lanes, m, k] · [lanes, k, n] → [lanes, m, n]; either may be a transposed view.
pub fn product(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    match by_loops(left) {
        true => left.apply_op2_no_bwd(right, &Product),
        false => left.matmul(right),
    }
}

/// [`product`], put where `spent` lies if that has its shape, whose numbers nobody may need any more;
/// kept there for the next time.
pub fn product_in(spent: &mut Option<Tensor>, left: &Tensor, right: &Tensor) -> Result<Tensor> {
    if !by_loops(left) {
        return product(left, right);
    }
    let ((lanes, rows, _), columns) = (left.dims3()?, right.dim(2)?);
    match spent.take().filter(|spent| spent.dims() == [lanes, rows, columns]) {
        Some(room) => {
            room.inplace_op3(left, right, &Product)?;
            Ok(spent.insert(room).clone())
        }
        None => Ok(spent.insert(product(left, right)?).clone()),
    }
}

/// A matrix, row-major or its transpose.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub numbers: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// From a row to the next, or of a transpose from a column to the next.
    pub pitch: usize,
    /// Whether columns lie without gaps, and not rows.
    pub turned: bool,
}

/// result [rows, columns] = left [rows, inner] · right [inner, columns]. `panels` are overwritten.
#[inline(always)]
pub fn multiply<S: Simd>(
    simd: S,
    left: Matrix<'_>,
    right: Matrix<'_>,
    panels: &mut Panels<S::f32s>,
    result: &mut [f32],
) {
    let sizes = (right.rows, right.columns);
    let right = match right.turned {
        true => panels.pack_turned(simd, right.numbers, right.pitch, sizes),
        false => panels.pack(simd, right.numbers, right.pitch, sizes),
    };
    if left.turned {
        let columns = Columns {
            left: left.numbers,
            rows: left.rows,
            inner: left.columns,
            from: |column| column * left.pitch,
            at: |row| row,
            adds: false,
        };
        columns.times(simd, right, result);
    } else {
        let rows = Rows {
            left: left.numbers,
            rows: left.rows,
            from: |row| row * left.pitch,
            to: |row| row * sizes.1,
            runs: &[0],
            run: left.columns,
        };
        rows.times(simd, right, result);
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
        let factors = Factors::new((left, left_layout), (right, right_layout))?;
        let shape = factors.shape();
        let mut numbers = vec![0.0; shape.0 * shape.1 * shape.2];
        factors.multiply(&mut numbers);
        Ok((CpuStorage::F32(numbers), Shape::from(shape)))
    }
}

impl InplaceOp3 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        made: &mut CpuStorage,
        made_layout: &Layout,
        left: &CpuStorage,
        left_layout: &Layout,
        right: &CpuStorage,
        right_layout: &Layout,
    ) -> Result<()> {
        let factors = Factors::new((left, left_layout), (right, right_layout))?;
        factors.multiply(write(made, made_layout)?);
        Ok(())
    }
}

struct Factors<'a> {
    left: Stack<'a>,
    right: Stack<'a>,
}

impl<'a> Factors<'a> {
    fn new(left: (&'a CpuStorage, &Layout), right: (&'a CpuStorage, &Layout)) -> Result<Self> {
        hold_composed();
        let (of_left, of_right) = (left.1, right.1);
        let (left, right) = (Stack::new(left.0, of_left)?, Stack::new(right.0, of_right)?);
        if left.lanes != right.lanes || left.columns != right.rows {
            bail!("no product of {of_left:?} and {of_right:?}");
        }
        Ok(Self { left, right })
    }

    fn shape(&self) -> (usize, usize, usize) {
        (self.left.lanes, self.left.rows, self.right.columns)
    }

    /// Of a few columns and many rows that lie turned, the transpose is made instead: its rows fill
    /// whole vectors, and each sum is of the same numbers in the same order.
    fn multiply(&self, numbers: &mut [f32]) {
        let Self { left, right } = *self;
        let narrow = right.columns <= NARROW && left.rows > right.columns;
        if !(narrow && left.turned && !right.turned) {
            return dispatch(right.columns, All { left, right, numbers });
        }
        let mut turned = vec![0.0; numbers.len()];
        let (upper, lower) = (right.transposed(), left.transposed());
        dispatch(lower.columns, All { left: upper, right: lower, numbers: &mut turned });
        let size = left.rows * right.columns;
        for (made, turned) in numbers.chunks_exact_mut(size).zip(turned.chunks_exact(size)) {
            for (row, made) in made.chunks_exact_mut(right.columns).enumerate() {
                for (column, made) in made.iter_mut().enumerate() {
                    *made = turned[column * left.rows + row];
                }
            }
        }
    }
}

/// A matrix a lane, row-major or its transpose.
#[derive(Clone, Copy)]
struct Stack<'a> {
    numbers: &'a [f32],
    lanes: usize,
    rows: usize,
    columns: usize,
    turned: bool,
}

impl<'a> Stack<'a> {
    fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (lanes, rows, columns) = layout.shape().dims3()?;
        let turned = !layout.is_contiguous();
        let plain = match turned {
            true => layout.transpose(1, 2)?,
            false => layout.clone(),
        };
        match (storage, plain.contiguous_offsets()) {
            (CpuStorage::F32(numbers), Some((start, end))) => {
                Ok(Self { numbers: &numbers[start..end], lanes, rows, columns, turned })
            }
            _ => bail!("a product needs 32-bit matrices without gaps"),
        }
    }

    fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, turned: !self.turned, ..self }
    }

    fn lane(&self, lane: usize) -> Matrix<'a> {
        let Self { rows, columns, turned, .. } = *self;
        let size = rows * columns;
        let numbers = &self.numbers[lane * size..(lane + 1) * size];
        Matrix { numbers, rows, columns, pitch: if turned { rows } else { columns }, turned }
    }
}

/// Columns that fill no vector.
const NARROW: usize = 4;

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
        let size = self.left.rows * self.right.columns;
        let mut panels = Panels::new();
        for lane in 0..self.left.lanes {
            let made = &mut self.numbers[lane * size..(lane + 1) * size];
            multiply(simd, self.left.lane(lane), self.right.lane(lane), &mut panels, made);
        }
    }
}

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
            (lanes, m, k, n) in (1usize..4, 1usize..40, 1usize..40, 1usize..150),
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

    /// What `work` makes with one kind of vector after another, as far as the processor has them.
    #[cfg(target_arch = "x86_64")]
    fn by_each_vector(left: &Tensor, right: &Tensor) -> Vec<Vec<f32>> {
        let (a, b) = (numbers(left), numbers(right));
        let ((m, k), n) = ((left.dim(1).unwrap(), left.dim(2).unwrap()), right.dim(2).unwrap());
        let stack =
            |numbers, rows, columns| Stack { numbers, lanes: 1, rows, columns, turned: false };
        let by = |work: &dyn Fn(All<'_, '_>)| {
            let mut made = vec![0.0; m * n];
            work(All { left: stack(&a, m, k), right: stack(&b, k, n), numbers: &mut made });
            made
        };
        let mut all = vec![by(&|work| Simd::vectorize(pulp::Scalar, work))];
        if let Some(simd) = pulp::x86::V3::try_new() {
            all.push(by(&|work| Simd::vectorize(simd, work)));
        }
        if let Some(simd) = pulp::x86::V4::try_new() {
            all.push(by(&|work| Simd::vectorize(simd, work)));
        }
        all
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn products_have_the_same_bits_in_every_kind_of_vector() {
        for (m, k, n) in [(9, 33, 70), (32, 64, 64), (5, 40, 2), (13, 1, 8)] {
            let (left, right) = (matrix(1, (1, m, k)), matrix(2, (1, k, n)));
            let all = by_each_vector(&left, &right);
            let said = numbers(&product(&left, &right).unwrap());
            assert!(all.iter().all(|made| *made == said), "{m} {k} {n}");
        }
    }

    #[test]
    fn a_product_of_nothing_is_0() {
        for (m, n) in [(1, 2), (9, 20), (12, 70)] {
            let (left, right) = (matrix(1, (2, m, 0)), matrix(2, (2, 0, n)));
            assert_eq!(numbers(&product(&left, &right).unwrap()), vec![0.0; 2 * m * n]);
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
