//! Normalisation: over a lane's minibatch by channel, or within each row's own numbers.
//!
//! Rows that pad a minibatch take no part in its mean and variance; they stand last, and a count a
//! lane says how many there are. Scale and shift come after, in `network`.
//!
//! Floor: core.

use candle_core::{D, Result, Tensor};

use super::{by_loops, changed2, made1, made2, made3, vectorised};

/// Mean and variance of each channel over each lane's first rows: [lanes, 2, width].
///
/// Shapes: x [lanes, rows, width]; `counts` [lanes], rows that are real, at least one.
/// Source: Ioffe and Szegedy (2015).
pub fn batch_moments(x: &Tensor, counts: &[usize]) -> Result<Tensor> {
    let (lanes, rows, width) = x.dims3()?;
    if !by_loops(x) {
        return composed::batch_moments(x, counts);
    }
    made1(x, (lanes, 2, width), |x, made| {
        vectorised(|| {
            let each = x.chunks_exact(rows * width).zip(made.chunks_exact_mut(2 * width));
            for ((x, made), &count) in each.zip(counts) {
                let (mean, variance) = made.split_at_mut(width);
                let x = &x[..count * width];
                for row in x.chunks_exact(width) {
                    mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                }
                let share = 1.0 / count as f32;
                mean.iter_mut().for_each(|sum| *sum *= share);
                for row in x.chunks_exact(width) {
                    for ((sum, x), mean) in variance.iter_mut().zip(row).zip(mean.iter()) {
                        *sum += (x - mean) * (x - mean);
                    }
                }
                variance.iter_mut().for_each(|sum| *sum *= share);
            }
        });
    })
}

/// (x − mean) / √(variance + ε) by channel. Shapes: x [lanes, rows, width], moments [lanes, 2, width].
pub fn normalise(x: &Tensor, moments: &Tensor) -> Result<Tensor> {
    let (_, rows, width) = x.dims3()?;
    if !by_loops(x) {
        let centred = x.broadcast_sub(&moments.narrow(1, 0, 1)?)?;
        return centred.broadcast_mul(&composed::spread_of(moments)?);
    }
    made2([x, moments], x.shape(), |[x, moments], made| {
        vectorised(|| {
            let mut spread = vec![0.0; width];
            let lanes = x.chunks_exact(rows * width).zip(made.chunks_exact_mut(rows * width));
            for ((x, made), moments) in lanes.zip(moments.chunks_exact(2 * width)) {
                let (mean, variance) = moments.split_at(width);
                spread_into(variance, &mut spread);
                for (made, x) in made.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let each = x.iter().zip(mean).zip(&spread);
                    for (made, ((x, mean), spread)) in made.iter_mut().zip(each) {
                        *made = (x - mean) * spread;
                    }
                }
            }
        });
    })
}

/// The gradient of batch normalisation in its input, where its moments are the minibatch's own.
///
/// `said`: what [`normalise`] made; all [lanes, rows, width]. Rows that pad get 0.
pub fn batch_back(d: &Tensor, said: &Tensor, moments: &Tensor, counts: &[usize]) -> Result<Tensor> {
    let (_, rows, width) = d.dims3()?;
    if !by_loops(d) {
        return composed::batch_back(d, said, moments, counts);
    }
    made3([d, said, moments], d.shape(), |[d, said, moments], made| {
        vectorised(|| {
            let (mut sums, mut products) = (vec![0.0f32; width], vec![0.0f32; width]);
            let mut spread = vec![0.0; width];
            let lanes = d.chunks_exact(rows * width).zip(said.chunks_exact(rows * width));
            let lanes = lanes.zip(made.chunks_exact_mut(rows * width));
            for ((((d, said), made), moments), &count) in
                lanes.zip(moments.chunks_exact(2 * width)).zip(counts)
            {
                let (d, said) = (&d[..count * width], &said[..count * width]);
                sums.fill(0.0);
                products.fill(0.0);
                for (d, said) in d.chunks_exact(width).zip(said.chunks_exact(width)) {
                    let both = sums.iter_mut().zip(&mut products);
                    for ((sum, product), (d, said)) in both.zip(d.iter().zip(said)) {
                        *sum += d;
                        *product += d * said;
                    }
                }
                let share = 1.0 / count as f32;
                spread_into(&moments[width..], &mut spread);
                let rows = d.chunks_exact(width).zip(said.chunks_exact(width));
                for ((d, said), made) in rows.zip(made.chunks_exact_mut(width)) {
                    for i in 0..width {
                        let mean = (sums[i] + said[i] * products[i]) * share;
                        made[i] = (d[i] - mean) * spread[i];
                    }
                }
            }
        });
    })
}

#[inline(always)]
fn spread_into(variance: &[f32], spread: &mut [f32]) {
    for (spread, variance) in spread.iter_mut().zip(variance) {
        *spread = 1.0 / (variance + EPSILON).sqrt();
    }
}

/// Moves running moments a tenth of the way to those of a minibatch, whose variance is corrected for
/// the number of its rows. Shapes: both [lanes, 2, width]. PyTorch's rule.
pub fn run_on(running: &Tensor, moments: &Tensor, counts: &[usize]) -> Result<()> {
    let (_, _, width) = running.dims3()?;
    let correction = |count: usize| count as f32 / (count as f32 - 1.0).max(1.0);
    if !by_loops(running) {
        let by: Vec<f32> = counts.iter().flat_map(|&count| [1.0, correction(count)]).collect();
        let by = Tensor::from_vec(by, (counts.len(), 2, 1), running.device())?;
        let share = f64::from(SHARE);
        let moved = ((running * (1.0 - share))? + (moments.broadcast_mul(&by)? * share)?)?;
        return running.slice_set(&moved, 0, 0);
    }
    changed2(running, moments, |running, moments| {
        let lanes = running.chunks_exact_mut(2 * width).zip(moments.chunks_exact(2 * width));
        for ((running, moments), &count) in lanes.zip(counts) {
            let by = [1.0, correction(count)];
            let parts = running.chunks_exact_mut(width).zip(moments.chunks_exact(width)).zip(by);
            for ((running, moments), by) in parts {
                for (running, moment) in running.iter_mut().zip(moments) {
                    *running += SHARE * (moment * by - *running);
                }
            }
        }
    })
}

/// How the numbers of a row set are cut into sets that are normalised alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets {
    /// Rows of one set: the pixels of an image, or 1.
    pub rows: usize,
    /// Groups of neighbouring channels, each a set of its own.
    pub groups: usize,
}

/// Each set's numbers, less their mean and divided by √(variance + ε).
///
/// Shapes: x [lanes, rows, width]. Source: Wu and He (2018); with one group of one row Ba et al. (2016).
pub fn normalise_sets(x: &Tensor, sets: Sets) -> Result<Tensor> {
    let width = x.dim(2)?;
    if !by_loops(x) {
        return composed::normalise_sets(x, sets);
    }
    made1(x, x.shape(), |x, made| {
        vectorised(|| {
            let of_group = width / sets.groups;
            let share = 1.0 / (sets.rows * of_group) as f32;
            let blocks = x.chunks_exact(sets.rows * width);
            for (x, made) in blocks.zip(made.chunks_exact_mut(sets.rows * width)) {
                for group in 0..sets.groups {
                    let columns = group * of_group..(group + 1) * of_group;
                    let rows = || x.chunks_exact(width).map(|row| &row[columns.clone()]);
                    let mean: f32 = rows().map(|row| row.iter().sum::<f32>()).sum::<f32>() * share;
                    let apart =
                        |row: &[f32]| row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
                    let variance = rows().map(apart).sum::<f32>() * share;
                    let spread = 1.0 / (variance + EPSILON).sqrt();
                    for (row, made) in rows().zip(made.chunks_exact_mut(width)) {
                        for (made, x) in made[columns.clone()].iter_mut().zip(row) {
                            *made = (x - mean) * spread;
                        }
                    }
                }
            }
        });
    })
}

/// The gradient of [`normalise_sets`]. Shapes: d, x and what it said, all [lanes, rows, width].
pub fn sets_back(d: &Tensor, x: &Tensor, said: &Tensor, sets: Sets) -> Result<Tensor> {
    let width = d.dim(2)?;
    if !by_loops(d) {
        return composed::sets_back(d, x, said, sets);
    }
    made3([d, x, said], d.shape(), |[d, x, said], made| {
        vectorised(|| {
            let of_group = width / sets.groups;
            let share = 1.0 / (sets.rows * of_group) as f32;
            let size = sets.rows * width;
            for block in 0..d.len() / size {
                let own = block * size..(block + 1) * size;
                let (d, x, said) = (&d[own.clone()], &x[own.clone()], &said[own.clone()]);
                let made = &mut made[own];
                for group in 0..sets.groups {
                    let columns = group * of_group..(group + 1) * of_group;
                    let part = |numbers: &'_ [f32], row: usize| -> std::ops::Range<usize> {
                        debug_assert!(numbers.len() == size);
                        row * width + columns.start..row * width + columns.end
                    };
                    let (mut mean, mut sum, mut product) = (0.0f32, 0.0f32, 0.0f32);
                    for row in 0..sets.rows {
                        let at = part(d, row);
                        mean += x[at.clone()].iter().sum::<f32>();
                        sum += d[at.clone()].iter().sum::<f32>();
                        let products = d[at.clone()].iter().zip(&said[at]).map(|(d, s)| d * s);
                        product += products.sum::<f32>();
                    }
                    mean *= share;
                    let mut variance = 0.0f32;
                    for row in 0..sets.rows {
                        let apart = x[part(x, row)].iter().map(|x| (x - mean) * (x - mean));
                        variance += apart.sum::<f32>();
                    }
                    let spread = 1.0 / (variance * share + EPSILON).sqrt();
                    for row in 0..sets.rows {
                        for at in part(d, row) {
                            made[at] = (d[at] - (sum + said[at] * product) * share) * spread;
                        }
                    }
                }
            }
        });
    })
}

/// x · scale + shift by channel. Shapes: x [lanes, rows, width], the others [lanes, 1, width].
pub fn scaled(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let (_, rows, width) = x.dims3()?;
    if !by_loops(x) {
        return x.broadcast_mul(scale)?.broadcast_add(shift);
    }
    made3([x, scale, shift], x.shape(), |[x, scale, shift], made| {
        vectorised(|| {
            let lanes = x.chunks_exact(rows * width).zip(made.chunks_exact_mut(rows * width));
            let by = scale.chunks_exact(width).zip(shift.chunks_exact(width));
            for ((x, made), (scale, shift)) in lanes.zip(by) {
                for (x, made) in x.chunks_exact(width).zip(made.chunks_exact_mut(width)) {
                    let each = x.iter().zip(scale).zip(shift);
                    for (made, ((x, scale), shift)) in made.iter_mut().zip(each) {
                        *made = x * scale + shift;
                    }
                }
            }
        });
    })
}

/// x · scale by channel.
pub fn scaled_back(x: &Tensor, scale: &Tensor) -> Result<Tensor> {
    let (_, rows, width) = x.dims3()?;
    if !by_loops(x) {
        return x.broadcast_mul(scale);
    }
    made2([x, scale], x.shape(), |[x, scale], made| {
        vectorised(|| {
            let lanes = x.chunks_exact(rows * width).zip(made.chunks_exact_mut(rows * width));
            for ((x, made), scale) in lanes.zip(scale.chunks_exact(width)) {
                for (x, made) in x.chunks_exact(width).zip(made.chunks_exact_mut(width)) {
                    for (made, (x, scale)) in made.iter_mut().zip(x.iter().zip(scale)) {
                        *made = x * scale;
                    }
                }
            }
        });
    })
}

/// The same of candle's own operations.
mod composed {
    use super::*;

    /// 1 for real rows, 0 for those that pad: [lanes, rows, 1]; and the counts [lanes, 1, 1].
    fn real(x: &Tensor, counts: &[usize]) -> Result<(Tensor, Tensor)> {
        let rows = x.dim(1)?;
        let real: Vec<f32> =
            counts.iter().flat_map(|&c| (0..rows).map(move |r| f32::from(r < c))).collect();
        let counted: Vec<f32> = counts.iter().map(|&count| count as f32).collect();
        let real = Tensor::from_vec(real, (counts.len(), rows, 1), x.device())?;
        Ok((real, Tensor::from_vec(counted, (counts.len(), 1, 1), x.device())?))
    }

    pub fn batch_moments(x: &Tensor, counts: &[usize]) -> Result<Tensor> {
        let (real, counted) = real(x, counts)?;
        let mean = x.broadcast_mul(&real)?.sum_keepdim(1)?.broadcast_div(&counted)?;
        let apart = x.broadcast_sub(&mean)?.broadcast_mul(&real)?.sqr()?;
        let variance = apart.sum_keepdim(1)?.broadcast_div(&counted)?;
        Tensor::cat(&[mean, variance], 1)
    }

    pub fn spread_of(moments: &Tensor) -> Result<Tensor> {
        (moments.narrow(1, 1, 1)? + f64::from(EPSILON))?.sqrt()?.recip()
    }

    pub fn batch_back(
        d: &Tensor,
        said: &Tensor,
        moments: &Tensor,
        counts: &[usize],
    ) -> Result<Tensor> {
        let (real, counted) = real(d, counts)?;
        let d = d.broadcast_mul(&real)?;
        let mean = d.sum_keepdim(1)?.broadcast_div(&counted)?;
        let along = (&d * said)?.sum_keepdim(1)?.broadcast_div(&counted)?;
        let rest = d.broadcast_sub(&mean)?.sub(&said.broadcast_mul(&along)?)?;
        rest.broadcast_mul(&spread_of(moments)?)?.broadcast_mul(&real)
    }

    /// [lanes · sets, rows, groups, channels of a group].
    fn cut(x: &Tensor, sets: Sets) -> Result<Tensor> {
        let (lanes, rows, width) = x.dims3()?;
        x.reshape((lanes * rows / sets.rows, sets.rows, sets.groups, width / sets.groups))
    }

    fn mean(x: &Tensor) -> Result<Tensor> {
        x.mean_keepdim(D::Minus1)?.mean_keepdim(1)
    }

    fn spread(x: &Tensor) -> Result<Tensor> {
        let apart = x.broadcast_sub(&mean(x)?)?.sqr()?;
        (mean(&apart)? + f64::from(EPSILON))?.sqrt()?.recip()
    }

    pub fn normalise_sets(x: &Tensor, sets: Sets) -> Result<Tensor> {
        let shape = x.shape();
        let x = cut(x, sets)?;
        x.broadcast_sub(&mean(&x)?)?.broadcast_mul(&spread(&x)?)?.reshape(shape)
    }

    pub fn sets_back(d: &Tensor, x: &Tensor, said: &Tensor, sets: Sets) -> Result<Tensor> {
        let shape = d.shape();
        let (d, x, said) = (cut(d, sets)?, cut(x, sets)?, cut(said, sets)?);
        let along = said.broadcast_mul(&mean(&(&d * &said)?)?)?;
        let rest = d.broadcast_sub(&mean(&d)?)?.sub(&along)?;
        rest.broadcast_mul(&spread(&x)?)?.reshape(shape)
    }
}

/// Of a minibatch in running moments.
const SHARE: f32 = 0.1;
/// Added to every variance; PyTorch's default.
pub const EPSILON: f32 = 1e-5;

#[cfg(test)]
mod tests {
    use super::super::tests::{drawn, near, numbers};
    use super::*;

    #[test]
    fn moments_leave_padding_out() {
        let x = drawn(1, &[2, 6, 5]);
        let counts = [6, 4];
        near(
            &batch_moments(&x, &counts).unwrap(),
            &composed::batch_moments(&x, &counts).unwrap(),
            1e-5,
        );
        let alone = x.narrow(0, 1, 1).unwrap().narrow(1, 0, 4).unwrap().contiguous().unwrap();
        let alone = batch_moments(&alone, &[4]).unwrap();
        assert_eq!(numbers(&batch_moments(&x, &counts).unwrap())[10..], numbers(&alone));
    }

    #[test]
    fn batch_gradients_agree_with_what_candle_composes() {
        let (x, d, counts) = (drawn(1, &[2, 6, 5]), drawn(2, &[2, 6, 5]), [6, 4]);
        let moments = batch_moments(&x, &counts).unwrap();
        let said = normalise(&x, &moments).unwrap();
        let ours = batch_back(&d, &said, &moments, &counts).unwrap();
        near(&ours, &composed::batch_back(&d, &said, &moments, &counts).unwrap(), 1e-5);
    }

    #[test]
    fn sets_agree_with_what_candle_composes() {
        for sets in [Sets { rows: 3, groups: 2 }, Sets { rows: 1, groups: 1 }] {
            let (x, d) = (drawn(1, &[2, 6, 8]), drawn(2, &[2, 6, 8]));
            let said = normalise_sets(&x, sets).unwrap();
            near(&said, &composed::normalise_sets(&x, sets).unwrap(), 1e-5);
            let ours = sets_back(&d, &x, &said, sets).unwrap();
            near(&ours, &composed::sets_back(&d, &x, &said, sets).unwrap(), 1e-5);
        }
    }
}
