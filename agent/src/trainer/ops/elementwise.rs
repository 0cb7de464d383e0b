//! What is done to each number alone: biases, rectifiers, masks, sums over rows.
//!
//! Floor: core.

use candle_core::{Result, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::{by_kernels, by_loops, changed2, made1, vectorised};

/// x ← x + b, and with `rectify` below 0 then 0. NaN stays: a rectifier that hid it would hide a
/// divergence.
///
/// Shapes: x [lanes, rows, width], b [lanes, 1, width].
pub fn add_biases(x: &Tensor, biases: &Tensor, rectify: bool) -> Result<Tensor> {
    let (_, rows, width) = x.dims3()?;
    if !by_loops(x) {
        if by_kernels(&[x, biases]) {
            kernels::add_biases(x, biases, rectify)?;
            return Ok(x.clone());
        }
        let sum = x.broadcast_add(biases)?;
        return if rectify { composed::rectified(&sum) } else { Ok(sum) };
    }
    changed2(x, biases, |x, biases| {
        Arch::new().dispatch(AddBiases { x, biases, rows, width, rectify });
    })?;
    Ok(x.clone())
}

/// Below 0 then 0; NaN stays.
pub fn rectified(x: Tensor) -> Result<Tensor> {
    if !by_loops(&x) {
        return composed::rectified(&x);
    }
    made1(&x, x.shape(), |x, made| {
        vectorised(|| {
            for (made, &x) in made.iter_mut().zip(x) {
                *made = if x < 0.0 { 0.0 } else { x };
            }
        });
    })
}

/// d ← d · gain where the layer spoke, else 0: the gradient of rectifier and mask together, since a
/// unit is above 0 exactly when its sum is and its mask is not 0.
///
/// Shapes: d and what the layer said, both [lanes, rows, width]; one gain a lane.
pub fn gate(gradient: Tensor, said: &Tensor, gains: &[f32]) -> Result<Tensor> {
    if !by_loops(&gradient) {
        if by_kernels(&[&gradient, said]) {
            let gains = Tensor::from_slice(gains, gains.len(), gradient.device())?;
            kernels::gate(&gradient, said, &gains)?;
            return Ok(gradient);
        }
        let spoke = said.gt(0.0)?.to_dtype(gradient.dtype())?;
        let gains = Tensor::from_slice(gains, (gains.len(), 1, 1), gradient.device())?;
        return (gradient * spoke)?.broadcast_mul(&gains);
    }
    let per_lane = gradient.elem_count() / gains.len();
    changed2(&gradient, said, |gradient, said| {
        vectorised(|| {
            let lanes = gradient.chunks_exact_mut(per_lane).zip(said.chunks_exact(per_lane));
            for ((gradient, said), &gain) in lanes.zip(gains) {
                for (d, h) in gradient.iter_mut().zip(said) {
                    // A choice of factors compiles to one without a jump, which would be guessed wrong.
                    *d *= if *h > 0.0 { gain } else { 0.0 };
                }
            }
        });
    })?;
    Ok(gradient)
}

/// x ← x · y, of one shape.
pub fn multiply(x: Tensor, y: &Tensor) -> Result<Tensor> {
    if !by_loops(&x) {
        return x * y;
    }
    changed2(&x, y, |x, y| vectorised(|| x.iter_mut().zip(y).for_each(|(x, y)| *x *= y)))?;
    Ok(x)
}

/// x ← x + y, of one shape.
pub fn add(x: Tensor, y: &Tensor) -> Result<Tensor> {
    if !by_loops(&x) {
        return x + y;
    }
    changed2(&x, y, |x, y| vectorised(|| x.iter_mut().zip(y).for_each(|(x, y)| *x += y)))?;
    Ok(x)
}

/// Sums over the rows of [lanes, rows, width] in their order: [lanes, 1, width].
pub fn sum_rows(x: &Tensor) -> Result<Tensor> {
    let (lanes, rows, width) = x.dims3()?;
    if !by_loops(x) {
        return x.sum_keepdim(1);
    }
    made1(x, (lanes, 1, width), |x, sums| {
        Arch::new().dispatch(SumRows { x, sums, rows, width });
    })
}

/// Means over stretches of `run` rows: [lanes, rows, width] → [lanes, rows / run, width].
pub fn mean_of_runs(x: &Tensor, run: usize) -> Result<Tensor> {
    let (lanes, rows, width) = x.dims3()?;
    let shape = (lanes, rows / run, width);
    if !by_loops(x) {
        return x.reshape((lanes, rows / run, run, width))?.mean(2)?.reshape(shape);
    }
    made1(x, shape, |x, means| {
        vectorised(|| {
            let share = 1.0 / run as f32;
            for (mean, rows) in means.chunks_exact_mut(width).zip(x.chunks_exact(run * width)) {
                for row in rows.chunks_exact(width) {
                    mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
                mean.iter_mut().for_each(|sum| *sum *= share);
            }
        });
    })
}

/// The gradient of [`mean_of_runs`]: each row of `d` to all rows of its stretch, divided by `run`.
pub fn spread_over_runs(d: &Tensor, run: usize) -> Result<Tensor> {
    let (lanes, rows, width) = d.dims3()?;
    let shape = (lanes, rows * run, width);
    if !by_loops(d) {
        let wide = d.reshape((lanes, rows, 1, width))?.broadcast_as((lanes, rows, run, width))?;
        return (wide / run as f64)?.reshape(shape);
    }
    made1(d, shape, |d, made| {
        vectorised(|| {
            let share = 1.0 / run as f32;
            for (row, made) in d.chunks_exact(width).zip(made.chunks_exact_mut(run * width)) {
                for made in made.chunks_exact_mut(width) {
                    made.iter_mut().zip(row).for_each(|(made, d)| *made = d * share);
                }
            }
        });
    })
}

/// Not a closure: what is compiled apart from it would miss the wide vectors.
struct AddBiases<'a> {
    x: &'a mut [f32],
    biases: &'a [f32],
    rows: usize,
    width: usize,
    rectify: bool,
}

impl WithSimd for AddBiases<'_> {
    type Output = ();

    /// Of narrow rows several at once.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let run = self.width * (RUN / self.width).max(1);
        let mut repeated = vec![0.0; run];
        let lanes = self.x.chunks_exact_mut(self.rows * self.width);
        for (lane, biases) in lanes.zip(self.biases.chunks_exact(self.width)) {
            repeated.chunks_exact_mut(self.width).for_each(|part| part.copy_from_slice(biases));
            for rows in lane.chunks_mut(run) {
                for (h, b) in rows.iter_mut().zip(&repeated) {
                    let sum = *h + b;
                    *h = if self.rectify && sum < 0.0 { 0.0 } else { sum };
                }
            }
        }
    }
}

struct SumRows<'a> {
    x: &'a [f32],
    sums: &'a mut [f32],
    rows: usize,
    width: usize,
}

impl WithSimd for SumRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let lanes = self.x.chunks_exact(self.rows * self.width);
        for (sums, lane) in self.sums.chunks_exact_mut(self.width).zip(lanes) {
            let mut column = 0;
            while column < self.width {
                column += match self.width - column {
                    64.. => sum_columns::<64>(lane, column, sums),
                    16.. => sum_columns::<16>(lane, column, sums),
                    8.. => sum_columns::<8>(lane, column, sums),
                    _ => sum_columns::<1>(lane, column, sums),
                };
            }
        }
    }
}

/// Sums of `N` columns, kept in registers; `N`.
#[inline(always)]
fn sum_columns<const N: usize>(lane: &[f32], column: usize, sums: &mut [f32]) -> usize {
    let mut kept = [0.0; N];
    for row in lane.chunks_exact(sums.len()) {
        let row = &row[column..column + N];
        for (sum, value) in kept.iter_mut().zip(row) {
            *sum += value;
        }
    }
    sums[column..column + N].copy_from_slice(&kept);
    N
}

/// The same of candle's own operations.
mod composed {
    use super::*;

    /// candle's own rectifier makes 0 of what is not a number.
    pub fn rectified(x: &Tensor) -> Result<Tensor> {
        x.lt(0.0)?.where_cond(&x.zeros_like()?, x)
    }
}

/// Numbers that are changed at once.
const RUN: usize = 128;

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::{drawn, near, numbers};
    use super::*;

    #[test]
    fn rectifiers_keep_what_is_not_a_number() {
        let x = Tensor::new(&[f32::NAN, -1.0, 2.0], &Device::Cpu).unwrap();
        for said in [composed::rectified(&x).unwrap(), rectified(x).unwrap()] {
            let said = numbers(&said);
            assert!(said[0].is_nan() && said[1..] == [0.0, 2.0]);
        }
    }

    #[test]
    fn sums_and_means_agree_with_candle() {
        let x = drawn(1, &[2, 6, 5]);
        near(&sum_rows(&x).unwrap(), &x.sum_keepdim(1).unwrap(), 1e-5);
        let means = x.reshape((2, 2, 3, 5)).unwrap().mean(2).unwrap();
        near(&mean_of_runs(&x, 3).unwrap(), &means, 1e-6);
        let spread = means.reshape((2, 2, 1, 5)).unwrap().broadcast_as((2, 2, 3, 5)).unwrap();
        let spread = (spread / 3.0).unwrap().reshape((2, 6, 5)).unwrap();
        near(&spread_over_runs(&means, 3).unwrap(), &spread, 1e-6);
    }

    #[test]
    fn gates_open_where_the_layer_spoke() {
        let said = Tensor::new(&[[[0.0f32, 2.0]], [[1.0, 0.0]]], &Device::Cpu).unwrap();
        let gradient = Tensor::new(&[[[3.0f32, 4.0]], [[5.0, 6.0]]], &Device::Cpu).unwrap();
        let gated = gate(gradient, &said, &[1.0, 2.0]).unwrap();
        assert_eq!(numbers(&gated), [0.0, 4.0, 10.0, 0.0]);
    }
}
