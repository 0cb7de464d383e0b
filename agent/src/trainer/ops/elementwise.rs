//! What is done to each number alone: biases, rectifiers, masks, sums over rows.
//!
//! Floor: core.

use candle_core::{Result, Tensor};

use super::{by_loops, changed2, made1, vectorised};

/// x ← x + b, and with `rectify` below 0 then 0. NaN stays: a rectifier that hid it would hide a
/// divergence.
///
/// Shapes: x [lanes, rows, width], b [lanes, 1, width].
pub fn add_biases(x: &Tensor, biases: &Tensor, rectify: bool) -> Result<Tensor> {
    let (_, rows, width) = x.dims3()?;
    if !by_loops(x) {
        let sum = x.broadcast_add(biases)?;
        return if rectify { composed::rectified(&sum) } else { Ok(sum) };
    }
    changed2(x, biases, |x, biases| {
        vectorised(|| {
            for (lane, biases) in x.chunks_exact_mut(rows * width).zip(biases.chunks_exact(width)) {
                for row in lane.chunks_exact_mut(width) {
                    if rectify {
                        for (h, b) in row.iter_mut().zip(biases) {
                            let sum = *h + b;
                            *h = if sum < 0.0 { 0.0 } else { sum };
                        }
                    } else {
                        row.iter_mut().zip(biases).for_each(|(h, b)| *h += b);
                    }
                }
            }
        });
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
        vectorised(|| {
            for (sums, lane) in sums.chunks_exact_mut(width).zip(x.chunks_exact(rows * width)) {
                for row in lane.chunks_exact(width) {
                    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
            }
        });
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

/// The same of candle's own operations.
mod composed {
    use super::*;

    /// candle's own rectifier makes 0 of what is not a number.
    pub fn rectified(x: &Tensor) -> Result<Tensor> {
        x.lt(0.0)?.where_cond(&x.zeros_like()?, x)
    }
}

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
