//! Self-attention of short sequences, by heads.
//!
//! What a head weighs its tokens by is computed anew on the way back: for short sequences that costs
//! less than to keep it.
//!
//! Floor: core.

use candle_core::{D, Result, Tensor};
use pulp::bytemuck::Pod;
use pulp::{Simd, WithSimd};

use super::product::{Matrix, multiply};
use super::tile::{Panels, dispatch};
use super::{by_loops, made1, made2};

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Of one sequence.
    pub tokens: usize,
    pub heads: usize,
    /// Numbers of a token, over all heads.
    pub width: usize,
}

impl Heads {
    fn of_head(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.of_head() as f32).sqrt()
    }
}

/// softmax(q·kᵀ / √width of a head)·v for each sequence and head (Vaswani et al. 2017).
///
/// Shapes: x [lanes, sequences · tokens, 3 · width], queries, keys and values beside each other →
/// [lanes, sequences · tokens, width].
pub fn attend(x: &Tensor, heads: &Heads) -> Result<Tensor> {
    let (lanes, rows, _) = x.dims3()?;
    if !by_loops(x) {
        return composed::attend(x, heads);
    }
    made1(x, (lanes, rows, heads.width), |x, made| {
        dispatch(heads.tokens.min(heads.of_head()), Attend { x, made, heads: *heads });
    })
}

/// The gradient of [`attend`]. Shapes: d [lanes, sequences · tokens, width] → as x.
pub fn attend_back(d: &Tensor, x: &Tensor, heads: &Heads) -> Result<Tensor> {
    if !by_loops(d) {
        return composed::attend_back(d, x, heads);
    }
    made2([d, x], x.shape(), |[d, x], made| {
        dispatch(heads.tokens.min(heads.of_head()), Back { d, x, made, heads: *heads });
    })
}

/// Matrices of one head, reused for all of them.
struct Scratch<V> {
    panels: Panels<V>,
    /// [tokens, tokens], each row what a token weighs the others by.
    weights: Vec<f32>,
    /// [tokens, of a head].
    said: Vec<f32>,
    /// [tokens, tokens].
    slopes: Vec<f32>,
}

impl<V: Pod> Scratch<V> {
    fn new(heads: &Heads) -> Self {
        let square = vec![0.0; heads.tokens * heads.tokens];
        let said = vec![0.0; heads.tokens * heads.of_head()];
        Self { panels: Panels::new(), weights: square.clone(), said, slopes: square }
    }

    /// Fills `weights` for the head whose queries begin at `at` of one sequence's numbers.
    #[inline(always)]
    fn weigh<S: Simd<f32s = V>>(&mut self, simd: S, x: &[f32], at: usize, heads: &Heads) {
        let (tokens, pitch, of_head) = (heads.tokens, 3 * heads.width, heads.of_head());
        let queries = plain(&x[at..], tokens, of_head, pitch);
        let keys = plain(&x[at + heads.width..], tokens, of_head, pitch);
        multiply(simd, queries, turned(keys), &mut self.panels, &mut self.weights);
        for row in self.weights.chunks_exact_mut(tokens) {
            row.iter_mut().for_each(|score| *score *= heads.scale());
            crate::trainer::loss::softmax(row);
        }
    }
}

/// Rows that are `pitch` apart.
fn plain(numbers: &[f32], rows: usize, columns: usize, pitch: usize) -> Matrix<'_> {
    Matrix { numbers, rows, columns, pitch, turned: false }
}

fn turned(of: Matrix<'_>) -> Matrix<'_> {
    Matrix { rows: of.columns, columns: of.rows, turned: true, ..of }
}

struct Attend<'a> {
    x: &'a [f32],
    made: &'a mut [f32],
    heads: Heads,
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Heads { tokens, heads, width } = self.heads;
        let (pitch, of_head) = (3 * width, self.heads.of_head());
        let mut scratch = Scratch::new(&self.heads);
        let sequences = self.x.chunks_exact(tokens * pitch);
        for (x, made) in sequences.zip(self.made.chunks_exact_mut(tokens * width)) {
            for head in 0..heads {
                let at = head * of_head;
                scratch.weigh(simd, x, at, &self.heads);
                let weights = plain(&scratch.weights, tokens, tokens, tokens);
                let values = plain(&x[at + 2 * width..], tokens, of_head, pitch);
                multiply(simd, weights, values, &mut scratch.panels, &mut scratch.said);
                for (said, made) in
                    scratch.said.chunks_exact(of_head).zip(made.chunks_exact_mut(width))
                {
                    made[at..at + of_head].copy_from_slice(said);
                }
            }
        }
    }
}

struct Back<'a> {
    d: &'a [f32],
    x: &'a [f32],
    made: &'a mut [f32],
    heads: Heads,
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Heads { tokens, heads, width } = self.heads;
        let (pitch, of_head) = (3 * width, self.heads.of_head());
        let mut scratch = Scratch::new(&self.heads);
        let sequences =
            self.d.chunks_exact(tokens * width).zip(self.x.chunks_exact(tokens * pitch));
        for ((d, x), made) in sequences.zip(self.made.chunks_exact_mut(tokens * pitch)) {
            for head in 0..heads {
                let at = head * of_head;
                scratch.weigh(simd, x, at, &self.heads);
                let mut put = |said: &[f32], part: usize| {
                    let at = part * width + at;
                    for (said, made) in said.chunks_exact(of_head).zip(made.chunks_exact_mut(pitch))
                    {
                        made[at..at + of_head].copy_from_slice(said);
                    }
                };
                let of_token = |part: usize| plain(&x[at + part * width..], tokens, of_head, pitch);
                let d = plain(&d[at..], tokens, of_head, width);
                let Scratch { panels, weights, said, slopes } = &mut scratch;
                let square = |numbers| plain(numbers, tokens, tokens, tokens);
                multiply(simd, turned(square(&*weights)), d, panels, said);
                put(said, 2);
                multiply(simd, d, turned(of_token(2)), panels, slopes);
                let rows = slopes.chunks_exact_mut(tokens).zip(weights.chunks_exact(tokens));
                for (slopes, weights) in rows {
                    let mean: f32 = slopes.iter().zip(weights).map(|(d, w)| d * w).sum();
                    for (slope, weight) in slopes.iter_mut().zip(weights) {
                        *slope = (*slope - mean) * weight * self.heads.scale();
                    }
                }
                multiply(simd, square(&*slopes), of_token(1), panels, said);
                put(said, 0);
                multiply(simd, turned(square(&*slopes)), of_token(0), panels, said);
                put(said, 1);
            }
        }
    }
}

/// The same of candle's own operations.
mod composed {
    use super::*;

    /// Queries, keys and values, each [lanes · sequences · heads, tokens, of a head].
    fn parts(x: &Tensor, heads: &Heads) -> Result<[Tensor; 3]> {
        let rows = x.dim(0)? * x.dim(1)?;
        let (of_head, tokens) = (heads.of_head(), heads.tokens);
        let shape = vec![rows / tokens, tokens, 3, heads.heads, of_head];
        let x = x.reshape(shape)?.permute(vec![2, 0, 3, 1, 4])?.contiguous()?;
        let part =
            |part: usize| x.get(part)?.reshape((rows / tokens * heads.heads, tokens, of_head));
        Ok([part(0)?, part(1)?, part(2)?])
    }

    fn weights(queries: &Tensor, keys: &Tensor, heads: &Heads) -> Result<Tensor> {
        let scores = (queries.matmul(&keys.transpose(1, 2)?)? * f64::from(heads.scale()))?;
        candle_nn::ops::softmax(&scores, D::Minus1)
    }

    /// [sequences · heads, tokens, of a head] → [lanes, sequences · tokens, width] in `width` columns.
    fn joined(x: &Tensor, lanes: usize, heads: &Heads) -> Result<Tensor> {
        let sequences = x.dim(0)? / heads.heads;
        let shape = (sequences, heads.heads, heads.tokens, heads.of_head());
        let x = x.reshape(shape)?.transpose(1, 2)?.contiguous()?;
        x.reshape((lanes, sequences * heads.tokens / lanes, heads.width))
    }

    pub fn attend(x: &Tensor, heads: &Heads) -> Result<Tensor> {
        let [queries, keys, values] = parts(x, heads)?;
        joined(&weights(&queries, &keys, heads)?.matmul(&values)?, x.dim(0)?, heads)
    }

    pub fn attend_back(d: &Tensor, x: &Tensor, heads: &Heads) -> Result<Tensor> {
        let (lanes, [queries, keys, values]) = (x.dim(0)?, parts(x, heads)?);
        let weights = weights(&queries, &keys, heads)?;
        let sequences = d.dim(0)? * d.dim(1)? / heads.tokens;
        let d = d.reshape((sequences, heads.tokens, heads.heads, heads.of_head()))?;
        let d = d.transpose(1, 2)?.contiguous()?.reshape(queries.shape())?;
        let of_values = weights.transpose(1, 2)?.contiguous()?.matmul(&d)?;
        let of_weights = d.matmul(&values.transpose(1, 2)?)?;
        let mean = (&of_weights * &weights)?.sum_keepdim(D::Minus1)?;
        let slopes = (of_weights.broadcast_sub(&mean)? * &weights)?;
        let slopes = (slopes * f64::from(heads.scale()))?;
        let of_queries = slopes.matmul(&keys)?;
        let of_keys = slopes.transpose(1, 2)?.contiguous()?.matmul(&queries)?;
        let all = [of_queries, of_keys, of_values];
        let all = all.iter().map(|part| joined(part, lanes, heads)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&all, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drawn, near};
    use super::*;

    #[test]
    fn attention_agrees_with_what_candle_composes() {
        let heads = Heads { tokens: 5, heads: 2, width: 12 };
        let x = drawn(1, &[2, 3 * 5, 36]);
        near(&attend(&x, &heads).unwrap(), &composed::attend(&x, &heads).unwrap(), 1e-5);
        let d = drawn(2, &[2, 3 * 5, 12]);
        let ours = attend_back(&d, &x, &heads).unwrap();
        near(&ours, &composed::attend_back(&d, &x, &heads).unwrap(), 1e-5);
    }
}
