//! Convolutions, their gradients, and those by channel alone.
//!
//! Images lie as [height, width, channels]; a sequence is an image of height 1. A convolution is a
//! product of windows with weights [windows' numbers, outputs]; windows are cut out image by image,
//! so that they stay in the nearest cache. A transposed convolution is the gradient of one in its
//! input, and is that function here.
//!
//! Floor: core.

use candle_core::{DType, Result, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::product::{Multiply, transpose};
use super::{by_loops, made2, vectorised};

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub kernel: (usize, usize),
    pub stride: (usize, usize),
    /// Zeros around, on each side.
    pub pad: (usize, usize),
    pub outputs: usize,
}

impl Geometry {
    pub fn out_height(&self) -> usize {
        (self.height + 2 * self.pad.0 - self.kernel.0) / self.stride.0 + 1
    }

    pub fn out_width(&self) -> usize {
        (self.width + 2 * self.pad.1 - self.kernel.1) / self.stride.1 + 1
    }

    /// Pixels of the input.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Pixels of the output.
    pub fn places(&self) -> usize {
        self.out_height() * self.out_width()
    }

    /// Numbers of one window.
    pub fn window(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.channels
    }

    /// The input pixel that tap (`y`, `x`) of output pixel (`row`, `column`) lies on.
    #[inline(always)]
    fn tap(&self, row: usize, column: usize, y: usize, x: usize) -> Option<usize> {
        let (top, left) = (row * self.stride.0 + y, column * self.stride.1 + x);
        let (top, left) = (top.checked_sub(self.pad.0)?, left.checked_sub(self.pad.1)?);
        (top < self.height && left < self.width).then_some(top * self.width + left)
    }

    /// Cuts the windows [places, window] of an image [pixels, channels].
    #[inline(always)]
    fn cut(&self, image: &[f32], windows: &mut [f32]) {
        let channels = self.channels;
        let mut made = windows.chunks_exact_mut(channels);
        for row in 0..self.out_height() {
            for column in 0..self.out_width() {
                for y in 0..self.kernel.0 {
                    for x in 0..self.kernel.1 {
                        let Some(made) = made.next() else { return };
                        match self.tap(row, column, y, x) {
                            Some(at) => {
                                let pixel = &image[at * channels..(at + 1) * channels];
                                made.copy_from_slice(pixel);
                            }
                            None => made.fill(0.0),
                        }
                    }
                }
            }
        }
    }

    /// Adds windows [places, window] to the image [pixels, channels] they were cut from.
    #[inline(always)]
    fn put_back(&self, windows: &[f32], image: &mut [f32]) {
        let channels = self.channels;
        let mut windows = windows.chunks_exact(channels);
        for row in 0..self.out_height() {
            for column in 0..self.out_width() {
                for y in 0..self.kernel.0 {
                    for x in 0..self.kernel.1 {
                        let Some(part) = windows.next() else { return };
                        if let Some(at) = self.tap(row, column, y, x) {
                            let pixel = &mut image[at * channels..(at + 1) * channels];
                            pixel.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
                        }
                    }
                }
            }
        }
    }

    /// For each tap of each place its pixel, or `pixels` where it lies outside: [places · taps].
    fn taps(&self) -> Vec<u32> {
        let mut taps = Vec::with_capacity(self.places() * self.kernel.0 * self.kernel.1);
        for row in 0..self.out_height() {
            for column in 0..self.out_width() {
                for y in 0..self.kernel.0 {
                    for x in 0..self.kernel.1 {
                        let at = self.tap(row, column, y, x).unwrap_or(self.pixels());
                        taps.push(at as u32);
                    }
                }
            }
        }
        taps
    }
}

/// x [lanes, images · pixels, channels], weights [lanes, window, outputs] → [lanes, images · places,
/// outputs].
pub fn convolve(x: &Tensor, weights: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let (lanes, images) = (x.dim(0)?, x.dim(1)? / geometry.pixels());
    let shape = (lanes, images * geometry.places(), geometry.outputs);
    if !by_loops(x) {
        return composed::windows(x, geometry)?.matmul(weights);
    }
    made2([x, weights], shape, |[x, weights], made| {
        Arch::new().dispatch(Forward { x, weights, made, lanes, geometry });
    })
}

/// The gradient of [`convolve`] in its weights: [lanes, window, outputs].
pub fn convolve_weights(x: &Tensor, d: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let lanes = x.dim(0)?;
    let shape = (lanes, geometry.window(), geometry.outputs);
    if !by_loops(x) {
        return composed::windows(x, geometry)?.transpose(1, 2)?.matmul(d);
    }
    made2([x, d], shape, |[x, d], made| {
        Arch::new().dispatch(Weights { x, d, made, lanes, geometry });
    })
}

/// The gradient of [`convolve`] in its input, or the transposed convolution of `d`: [lanes, images ·
/// pixels, channels].
pub fn convolve_back(d: &Tensor, weights: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let (lanes, images) = (d.dim(0)?, d.dim(1)? / geometry.places());
    let shape = (lanes, images * geometry.pixels(), geometry.channels);
    if !by_loops(d) {
        return composed::back(d, weights, geometry);
    }
    made2([d, weights], shape, |[d, weights], made| {
        Arch::new().dispatch(Back { d, weights, made, lanes, geometry });
    })
}

/// Each channel convolved alone: weights [lanes, taps, channels] → [lanes, images · places, channels].
pub fn by_channel(x: &Tensor, weights: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let (lanes, images) = (x.dim(0)?, x.dim(1)? / geometry.pixels());
    let channels = geometry.channels;
    let shape = (lanes, images * geometry.places(), channels);
    if !by_loops(x) {
        return composed::by_channel(x, weights, geometry);
    }
    let each = EachTap::new(geometry, lanes, images);
    made2([x, weights], shape, |[x, weights], made| {
        vectorised(|| {
            each.run(|lane, image, place, tap, pixel| {
                let x = each.pixel(x, lane, image, pixel);
                let made = &mut made[each.place(lane, image, place)];
                let weights = &weights[each.weight(lane, tap)];
                for ((sum, x), w) in made.iter_mut().zip(x).zip(weights) {
                    *sum += x * w;
                }
            });
        });
    })
}

/// The gradient of [`by_channel`] in its weights.
pub fn by_channel_weights(x: &Tensor, d: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let (lanes, images) = (x.dim(0)?, x.dim(1)? / geometry.pixels());
    let shape = (lanes, geometry.kernel.0 * geometry.kernel.1, geometry.channels);
    if !by_loops(x) {
        return composed::by_channel_weights(x, d, geometry);
    }
    let each = EachTap::new(geometry, lanes, images);
    made2([x, d], shape, |[x, d], made| {
        vectorised(|| {
            each.run(|lane, image, place, tap, pixel| {
                let x = each.pixel(x, lane, image, pixel);
                let d = &d[each.place(lane, image, place)];
                for ((sum, x), d) in made[each.weight(lane, tap)].iter_mut().zip(x).zip(d) {
                    *sum += x * d;
                }
            });
        });
    })
}

/// The gradient of [`by_channel`] in its input.
pub fn by_channel_back(d: &Tensor, weights: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let (lanes, images) = (d.dim(0)?, d.dim(1)? / geometry.places());
    let shape = (lanes, images * geometry.pixels(), geometry.channels);
    if !by_loops(d) {
        return composed::by_channel_back(d, weights, geometry);
    }
    let each = EachTap::new(geometry, lanes, images);
    made2([d, weights], shape, |[d, weights], made| {
        vectorised(|| {
            each.run(|lane, image, place, tap, pixel| {
                let d = &d[each.place(lane, image, place)];
                let weights = &weights[each.weight(lane, tap)];
                let start =
                    ((lane * images + image) * geometry.pixels() + pixel) * geometry.channels;
                let made = &mut made[start..start + geometry.channels];
                for ((sum, d), w) in made.iter_mut().zip(d).zip(weights) {
                    *sum += d * w;
                }
            });
        });
    })
}

/// Every tap of every place that lies on a pixel, in one order.
struct EachTap<'a> {
    geometry: &'a Geometry,
    lanes: usize,
    images: usize,
    taps: Vec<u32>,
}

impl<'a> EachTap<'a> {
    fn new(geometry: &'a Geometry, lanes: usize, images: usize) -> Self {
        Self { geometry, lanes, images, taps: geometry.taps() }
    }

    #[inline(always)]
    fn run(&self, mut f: impl FnMut(usize, usize, usize, usize, usize)) {
        let (taps, outside) =
            (self.geometry.kernel.0 * self.geometry.kernel.1, self.geometry.pixels() as u32);
        for lane in 0..self.lanes {
            for image in 0..self.images {
                for (place, pixels) in self.taps.chunks_exact(taps).enumerate() {
                    for (tap, &pixel) in pixels.iter().enumerate() {
                        if pixel != outside {
                            f(lane, image, place, tap, pixel as usize);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn pixel<'x>(&self, x: &'x [f32], lane: usize, image: usize, pixel: usize) -> &'x [f32] {
        let at = (lane * self.images + image) * self.geometry.pixels() + pixel;
        &x[at * self.geometry.channels..(at + 1) * self.geometry.channels]
    }

    #[inline(always)]
    fn place(&self, lane: usize, image: usize, place: usize) -> std::ops::Range<usize> {
        let at = (lane * self.images + image) * self.geometry.places() + place;
        at * self.geometry.channels..(at + 1) * self.geometry.channels
    }

    #[inline(always)]
    fn weight(&self, lane: usize, tap: usize) -> std::ops::Range<usize> {
        let at = lane * self.geometry.kernel.0 * self.geometry.kernel.1 + tap;
        at * self.geometry.channels..(at + 1) * self.geometry.channels
    }
}

struct Forward<'a> {
    x: &'a [f32],
    weights: &'a [f32],
    made: &'a mut [f32],
    lanes: usize,
    geometry: &'a Geometry,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let g = self.geometry;
        let (image, result) = (g.pixels() * g.channels, g.places() * g.outputs);
        let images = self.x.len() / self.lanes.max(1);
        let mut windows = vec![0.0; g.places() * g.window()];
        let weights = self.weights.chunks_exact(g.window() * g.outputs);
        let mut results = self.made.chunks_exact_mut(result);
        for (x, weights) in self.x.chunks_exact(images).zip(weights) {
            for (image, result) in x.chunks_exact(image).zip(&mut results) {
                g.cut(image, &mut windows);
                let (inner, columns) = (g.window(), g.outputs);
                let one = Multiply {
                    left: &windows,
                    strides: (inner, 1),
                    right: weights,
                    pitch: columns,
                    inner,
                    columns,
                    adds: false,
                };
                one.run(simd, result);
            }
        }
    }
}

struct Weights<'a> {
    x: &'a [f32],
    d: &'a [f32],
    made: &'a mut [f32],
    lanes: usize,
    geometry: &'a Geometry,
}

impl WithSimd for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let g = self.geometry;
        let (image, behind) = (g.pixels() * g.channels, g.places() * g.outputs);
        let images = self.x.len() / self.lanes.max(1);
        let mut windows = vec![0.0; g.places() * g.window()];
        let results = self.made.chunks_exact_mut(g.window() * g.outputs);
        let mut behind = self.d.chunks_exact(behind);
        for (x, result) in self.x.chunks_exact(images).zip(results) {
            for (image, d) in x.chunks_exact(image).zip(&mut behind) {
                g.cut(image, &mut windows);
                let one = Multiply {
                    left: &windows,
                    strides: (1, g.window()),
                    right: d,
                    pitch: g.outputs,
                    inner: g.places(),
                    columns: g.outputs,
                    adds: true,
                };
                one.run(simd, result);
            }
        }
    }
}

struct Back<'a> {
    d: &'a [f32],
    weights: &'a [f32],
    made: &'a mut [f32],
    lanes: usize,
    geometry: &'a Geometry,
}

impl WithSimd for Back<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let g = self.geometry;
        let (image, behind) = (g.pixels() * g.channels, g.places() * g.outputs);
        let images = self.d.len() / self.lanes.max(1);
        let mut windows = vec![0.0; g.places() * g.window()];
        let mut turned = Vec::new();
        let weights = self.weights.chunks_exact(g.window() * g.outputs);
        let mut made = self.made.chunks_exact_mut(image);
        for (d, weights) in self.d.chunks_exact(images).zip(weights) {
            transpose(weights, g.outputs, g.window(), g.outputs, &mut turned);
            for (d, image) in d.chunks_exact(behind).zip(&mut made) {
                let one = Multiply {
                    left: d,
                    strides: (g.outputs, 1),
                    right: &turned,
                    pitch: g.window(),
                    inner: g.outputs,
                    columns: g.window(),
                    adds: false,
                };
                one.run(simd, &mut windows);
                g.put_back(&windows, image);
            }
        }
    }
}

/// The same of candle's own operations, for devices without loops of ours.
mod composed {
    use super::*;

    /// [lanes, images · places, window] of x [lanes, images · pixels, channels].
    pub fn windows(x: &Tensor, g: &Geometry) -> Result<Tensor> {
        let (lanes, images) = (x.dim(0)?, x.dim(1)? / g.pixels());
        let x = x.reshape((lanes * images, g.pixels(), g.channels))?.pad_with_zeros(1, 0, 1)?;
        let taps = Tensor::new(g.taps(), x.device())?;
        let windows = x.contiguous()?.index_select(&taps, 1)?;
        windows.reshape((lanes, images * g.places(), g.window()))
    }

    /// The sum of windows [lanes, images · places, window] where they overlap.
    fn put_back(windows: &Tensor, g: &Geometry) -> Result<Tensor> {
        let (lanes, images) = (windows.dim(0)?, windows.dim(1)? / g.places());
        let taps = Tensor::new(g.taps(), windows.device())?;
        let windows = windows.reshape((lanes * images, taps.dim(0)?, g.channels))?;
        let shape = (lanes * images, g.pixels() + 1, g.channels);
        let sums = Tensor::zeros(shape, DType::F32, windows.device())?;
        let sums = sums.index_add(&taps, &windows.contiguous()?, 1)?.narrow(1, 0, g.pixels())?;
        sums.contiguous()?.reshape((lanes, images * g.pixels(), g.channels))
    }

    pub fn back(d: &Tensor, weights: &Tensor, g: &Geometry) -> Result<Tensor> {
        put_back(&d.matmul(&weights.transpose(1, 2)?)?, g)
    }

    /// Windows as [lanes, rows, taps, channels].
    fn by_tap(x: &Tensor, g: &Geometry) -> Result<Tensor> {
        let windows = windows(x, g)?;
        let (lanes, rows, _) = windows.dims3()?;
        windows.reshape((lanes, rows, g.kernel.0 * g.kernel.1, g.channels))
    }

    pub fn by_channel(x: &Tensor, weights: &Tensor, g: &Geometry) -> Result<Tensor> {
        by_tap(x, g)?.broadcast_mul(&weights.unsqueeze(1)?)?.sum(2)
    }

    pub fn by_channel_weights(x: &Tensor, d: &Tensor, g: &Geometry) -> Result<Tensor> {
        by_tap(x, g)?.broadcast_mul(&d.unsqueeze(2)?)?.sum(1)
    }

    pub fn by_channel_back(d: &Tensor, weights: &Tensor, g: &Geometry) -> Result<Tensor> {
        let windows = d.unsqueeze(2)?.broadcast_mul(&weights.unsqueeze(1)?)?;
        let (lanes, rows, taps, channels) = windows.dims4()?;
        put_back(&windows.reshape((lanes, rows, taps * channels))?, g)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drawn, near};
    use super::*;

    fn geometries() -> Vec<Geometry> {
        let square = Geometry {
            height: 6,
            width: 5,
            channels: 3,
            kernel: (3, 3),
            stride: (1, 1),
            pad: (1, 1),
            outputs: 7,
        };
        vec![
            square,
            Geometry { stride: (2, 2), outputs: 16, ..square },
            Geometry { kernel: (2, 2), stride: (2, 2), pad: (0, 0), width: 4, ..square },
            Geometry { height: 1, width: 9, kernel: (1, 5), pad: (0, 2), ..square },
            Geometry { kernel: (1, 1), pad: (0, 0), channels: 1, ..square },
        ]
    }

    #[test]
    fn convolutions_agree_with_what_candle_composes() {
        for g in geometries() {
            let (lanes, images) = (2, 3);
            let x = drawn(1, &[lanes, images * g.pixels(), g.channels]);
            let w = drawn(2, &[lanes, g.window(), g.outputs]);
            let d = drawn(3, &[lanes, images * g.places(), g.outputs]);
            let windows = composed::windows(&x, &g).unwrap();
            near(&convolve(&x, &w, &g).unwrap(), &windows.matmul(&w).unwrap(), 1e-5);
            let by_windows = windows.transpose(1, 2).unwrap().matmul(&d).unwrap();
            near(&convolve_weights(&x, &d, &g).unwrap(), &by_windows, 1e-4);
            let back = composed::back(&d, &w, &g).unwrap();
            near(&convolve_back(&d, &w, &g).unwrap(), &back, 1e-4);
        }
    }

    #[test]
    fn convolutions_by_channel_agree_with_what_candle_composes() {
        for g in geometries() {
            let (lanes, images) = (2, 3);
            let x = drawn(1, &[lanes, images * g.pixels(), g.channels]);
            let w = drawn(2, &[lanes, g.kernel.0 * g.kernel.1, g.channels]);
            let d = drawn(3, &[lanes, images * g.places(), g.channels]);
            near(
                &by_channel(&x, &w, &g).unwrap(),
                &composed::by_channel(&x, &w, &g).unwrap(),
                1e-5,
            );
            let weights = composed::by_channel_weights(&x, &d, &g).unwrap();
            near(&by_channel_weights(&x, &d, &g).unwrap(), &weights, 1e-4);
            let back = composed::by_channel_back(&d, &w, &g).unwrap();
            near(&by_channel_back(&d, &w, &g).unwrap(), &back, 1e-4);
        }
    }

    #[test]
    fn convolutions_agree_with_candles_own() {
        let g = geometries()[1];
        let x = drawn(1, &[1, 2 * g.pixels(), g.channels]);
        let w = drawn(2, &[1, g.window(), g.outputs]);
        let image = x.reshape((2, g.height, g.width, g.channels)).unwrap();
        let image = image.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap();
        let kernel = w.reshape((3, 3, g.channels, g.outputs)).unwrap();
        let kernel = kernel.permute((3, 2, 0, 1)).unwrap().contiguous().unwrap();
        let theirs = image.conv2d(&kernel, 1, 2, 1, 1).unwrap();
        let theirs = theirs.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let ours = convolve(&x, &w, &g).unwrap();
        near(&ours, &theirs.reshape(ours.shape()).unwrap(), 1e-5);
    }
}
