//! Pooling: the largest number of each square of pixels.
//!
//! Squares do not overlap; pixels left over at the right and below are not seen.
//!
//! Floor: core.

use candle_core::{Result, Tensor};

use super::{by_loops, made1, made3, vectorised};

/// Images of [height, width, channels] cut into squares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Squares {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Height and width of one.
    pub side: (usize, usize),
}

impl Squares {
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub fn places(&self) -> usize {
        (self.height / self.side.0) * (self.width / self.side.1)
    }

    /// The pixels of each place's square.
    fn pixels_of(&self) -> Vec<usize> {
        let mut pixels = Vec::with_capacity(self.pixels());
        for top in 0..self.height / self.side.0 {
            for left in 0..self.width / self.side.1 {
                for y in 0..self.side.0 {
                    for x in 0..self.side.1 {
                        let (row, column) = (top * self.side.0 + y, left * self.side.1 + x);
                        pixels.push(row * self.width + column);
                    }
                }
            }
        }
        pixels
    }
}

/// x [lanes, images · pixels, channels] → [lanes, images · places, channels].
pub fn largest(x: &Tensor, squares: &Squares) -> Result<Tensor> {
    let (lanes, images) = (x.dim(0)?, x.dim(1)? / squares.pixels());
    let shape = (lanes, images * squares.places(), squares.channels);
    if !by_loops(x) {
        return composed::largest(x, squares)?.reshape(shape);
    }
    let (pixels_of, channels) = (squares.pixels_of(), squares.channels);
    let of_one = squares.side.0 * squares.side.1;
    made1(x, shape, |x, made| {
        vectorised(|| {
            let mut made = made.chunks_exact_mut(channels);
            for image in x.chunks_exact(squares.pixels() * channels) {
                for (pixels, made) in pixels_of.chunks_exact(of_one).zip(&mut made) {
                    made.fill(f32::NEG_INFINITY);
                    for &pixel in pixels {
                        let pixel = &image[pixel * channels..(pixel + 1) * channels];
                        for (most, &x) in made.iter_mut().zip(pixel) {
                            // What is not a number wins, so that a divergence is not hidden.
                            *most = if x > *most || x.is_nan() { x } else { *most };
                        }
                    }
                }
            }
        });
    })
}

/// The gradient of [`largest`]: to the first of the largest numbers of each square.
///
/// Shapes: d and what it said [lanes, images · places, channels], x [lanes, images · pixels, channels].
pub fn largest_back(d: &Tensor, x: &Tensor, said: &Tensor, squares: &Squares) -> Result<Tensor> {
    if !by_loops(d) {
        return composed::largest_back(d, x, said, squares);
    }
    let (pixels_of, channels) = (squares.pixels_of(), squares.channels);
    let of_one = squares.side.0 * squares.side.1;
    made3([d, x, said], x.shape(), |[d, x, said], made| {
        vectorised(|| {
            let size = squares.pixels() * channels;
            let mut behind = d.chunks_exact(channels).zip(said.chunks_exact(channels));
            for (x, made) in x.chunks_exact(size).zip(made.chunks_exact_mut(size)) {
                for (pixels, (d, said)) in pixels_of.chunks_exact(of_one).zip(&mut behind) {
                    for channel in 0..channels {
                        let mut at = pixels.iter().map(|pixel| pixel * channels + channel);
                        if let Some(first) = at.find(|&at| x[at] == said[channel]) {
                            made[first] = d[channel];
                        }
                    }
                }
            }
        });
    })
}

/// The same of candle's own operations.
mod composed {
    use super::*;

    /// [lanes · images · rows of squares, columns of squares, height and width of one, channels], as
    /// six axes in one: [images, rows, height, columns, width, channels] with rows first.
    pub fn cut(x: &Tensor, s: &Squares) -> Result<Tensor> {
        let images = x.dim(0)? * x.dim(1)? / s.pixels();
        let (rows, columns) = (s.height / s.side.0, s.width / s.side.1);
        let x = x.reshape((images, s.height, s.width, s.channels))?;
        let x = x.narrow(1, 0, rows * s.side.0)?.narrow(2, 0, columns * s.side.1)?.contiguous()?;
        x.reshape(vec![images, rows, s.side.0, columns, s.side.1, s.channels])
    }

    /// [images, rows of squares, columns of squares, channels].
    pub fn largest(x: &Tensor, s: &Squares) -> Result<Tensor> {
        let cut = cut(x, s)?;
        // 0, or not a number where one of them is not: a device's maximum passes that over.
        let torn = (cut.sum(4)?.sum(2)? * 0.0)?;
        cut.max(4)?.max(2)?.contiguous()? + torn
    }

    pub fn largest_back(d: &Tensor, x: &Tensor, said: &Tensor, s: &Squares) -> Result<Tensor> {
        let cut = cut(x, s)?;
        let (images, rows, columns) = (cut.dim(0)?, cut.dim(1)?, cut.dim(3)?);
        let wide = |t: &Tensor| t.reshape(vec![images, rows, 1, columns, 1, s.channels]);
        let most = cut.broadcast_eq(&wide(said)?)?.to_dtype(d.dtype())?;
        let made = first(&most, s)?.broadcast_mul(&wide(d)?)?;
        let shape = (images, rows * s.side.0, columns * s.side.1, s.channels);
        let made = made.reshape(shape)?;
        let (below, right) = (s.height - rows * s.side.0, s.width - columns * s.side.1);
        made.pad_with_zeros(1, 0, below)?
            .pad_with_zeros(2, 0, right)?
            .contiguous()?
            .reshape(x.shape())
    }

    /// Of the numbers that are 1 in each square, cut as by [`cut`], the first alone.
    fn first(most: &Tensor, s: &Squares) -> Result<Tensor> {
        let mut free = most.narrow(2, 0, 1)?.narrow(4, 0, 1)?.ones_like()?;
        let mut rows = Vec::with_capacity(s.side.0);
        for y in 0..s.side.0 {
            let mut row = Vec::with_capacity(s.side.1);
            for x in 0..s.side.1 {
                let taken = (most.narrow(2, y, 1)?.narrow(4, x, 1)? * &free)?;
                free = (free - &taken)?;
                row.push(taken);
            }
            rows.push(Tensor::cat(&row, 4)?);
        }
        Tensor::cat(&rows, 2)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::{drawn, near, numbers};
    use super::*;

    #[test]
    fn pooling_agrees_with_what_candle_composes() {
        for side in [(2, 2), (1, 3)] {
            let squares = Squares { height: 4, width: 7, channels: 3, side };
            // Rounded, so that some squares have two of their largest.
            let x = drawn(1, &[2, 2 * squares.pixels(), 3]).round().unwrap();
            let said = largest(&x, &squares).unwrap();
            let theirs = composed::largest(&x, &squares).unwrap();
            near(&said, &theirs.reshape(said.shape()).unwrap(), 0.0);
            let d = drawn(2, said.dims());
            let ours = largest_back(&d, &x, &said, &squares).unwrap();
            near(&ours, &composed::largest_back(&d, &x, &said, &squares).unwrap(), 0.0);
        }
    }

    #[test]
    fn what_is_not_a_number_is_the_largest() {
        let squares = Squares { height: 2, width: 2, channels: 1, side: (2, 2) };
        let x = Tensor::new(&[[[1.0f32], [f32::NAN], [3.0], [2.0]]], &Device::Cpu).unwrap();
        for said in [largest(&x, &squares).unwrap(), composed::largest(&x, &squares).unwrap()] {
            assert!(numbers(&said)[0].is_nan());
        }
    }
}
