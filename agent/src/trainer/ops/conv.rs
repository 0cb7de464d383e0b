//! Convolutions, their gradients, and those by channel alone.
//!
//! Images lie as [height, width, channels]; a sequence is an image of height 1. A convolution is a
//! product of windows with weights [windows' numbers, outputs], image by image, so that they stay in
//! the nearest cache. A transposed convolution is the gradient of one in its input, and is that
//! function here.
//!
//! Floor: core.

use candle_core::{DType, Result, Tensor};
use pulp::{Simd, WithSimd};

pub use super::geometry::Geometry;
use super::geometry::{Reached, reached};
use super::tile::{Columns, Left, Panels, Rows, dispatch};
use super::turn::turn;
use super::{by_loops, made2, vectorised};

/// x [lanes, images · pixels, channels], weights [lanes, window, outputs] → [lanes, images · places,
/// outputs].
pub fn convolve(x: &Tensor, weights: &Tensor, geometry: &Geometry) -> Result<Tensor> {
    let (lanes, images) = (x.dim(0)?, x.dim(1)? / geometry.pixels());
    let shape = (lanes, images * geometry.places(), geometry.outputs);
    if !by_loops(x) {
        return composed::windows(x, geometry)?.matmul(weights);
    }
    made2([x, weights], shape, |[x, weights], made| {
        dispatch(geometry.outputs, Forward { x, weights, made, lanes, geometry });
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
        dispatch(geometry.outputs, Weights { x, d, made, lanes, geometry });
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
        dispatch(geometry.channels, Back { d, weights, made, lanes, geometry });
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
        let (g, padded) = (self.geometry, self.geometry.padded());
        let (size, result) = (g.pixels() * g.channels, g.places() * g.outputs);
        let images = self.x.len() / self.lanes.max(1);
        let (windows, mut image) = (g.windows(), vec![0.0; padded.size()]);
        let (runs, run) = g.runs();
        let mut panels = Panels::new();
        let weights = self.weights.chunks_exact(g.window() * g.outputs);
        let mut results = self.made.chunks_exact_mut(result);
        for (x, weights) in self.x.chunks_exact(images).zip(weights) {
            let weights = panels.pack(simd, weights, g.outputs, (g.window(), g.outputs));
            for (x, result) in x.chunks_exact(size).zip(&mut results) {
                padded.fill(x, &mut image);
                let rows = Rows {
                    left: &image,
                    rows: g.places(),
                    from: |place| windows[place],
                    to: |place| place * g.outputs,
                    runs: &runs,
                    run,
                };
                rows.times(simd, weights, result);
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

    /// In parts of so many places that images and gradients stay in the nearest cache; small images
    /// are taken several at once.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (g, padded) = (self.geometry, self.geometry.padded());
        let (size, behind) = (g.pixels() * g.channels, g.places() * g.outputs);
        let images = self.x.len() / self.lanes.max(1);
        let at_once = (PLACES_AT_ONCE / g.places()).max(1);
        let mut padded_images = vec![0.0; at_once * padded.size()];
        let of_image = |image| g.windows().into_iter().map(move |at| image * padded.size() + at);
        let windows: Vec<usize> = (0..at_once).flat_map(of_image).collect();
        let (runs, run) = g.runs();
        let taps: Vec<usize> = runs.iter().flat_map(|&at| at..at + run).collect();
        let mut panels = Panels::new();
        let results = self.made.chunks_exact_mut(g.window() * g.outputs);
        let of_lane = images / size * behind;
        for ((x, d), result) in
            self.x.chunks_exact(images).zip(self.d.chunks_exact(of_lane)).zip(results)
        {
            for (x, d) in x.chunks(at_once * size).zip(d.chunks(at_once * behind)) {
                let made = padded_images.chunks_exact_mut(padded.size());
                x.chunks_exact(size).zip(made).for_each(|(x, made)| padded.fill(x, made));
                let d = d.chunks(PLACES_AT_ONCE * g.outputs);
                for (windows, d) in windows.chunks(PLACES_AT_ONCE).zip(d) {
                    let inner = d.len() / g.outputs;
                    let d = panels.pack(simd, d, g.outputs, (inner, g.outputs));
                    let columns = Columns {
                        left: &padded_images,
                        rows: g.window(),
                        inner,
                        from: |place| windows[place],
                        at: |tap| taps[tap],
                        adds: true,
                    };
                    columns.times(simd, d, result);
                }
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
        let (padded, classes) = reached(g);
        let (size, behind) = (g.pixels() * g.channels, g.places() * g.outputs);
        let images = self.d.len() / self.lanes.max(1);
        let of_tap = g.channels * g.outputs;
        let mut gradients = vec![0.0; padded.size()];
        // Of each class, weights [taps · outputs, channels] and room to cut them.
        let room = |class: &Reached| (vec![0.0; class.taps.len() * of_tap], Panels::new());
        let mut rooms: Vec<_> = classes.iter().map(room).collect();
        let weights = self.weights.chunks_exact(g.window() * g.outputs);
        let mut made = self.made.chunks_exact_mut(size);
        for (d, weights) in self.d.chunks_exact(images).zip(weights) {
            let mut cut = Vec::with_capacity(classes.len());
            for (class, (turned, panels)) in classes.iter().zip(&mut rooms) {
                for (&tap, turned) in class.taps.iter().zip(turned.chunks_exact_mut(of_tap)) {
                    let weights = &weights[tap * of_tap..(tap + 1) * of_tap];
                    turn(weights, g.outputs, (g.channels, g.outputs), turned, g.channels);
                }
                let inner = class.taps.len() * g.outputs;
                cut.push(panels.pack(simd, turned, g.channels, (inner, g.channels)));
            }
            for (d, image) in d.chunks_exact(behind).zip(&mut made) {
                padded.fill(d, &mut gradients);
                for (class, weights) in classes.iter().zip(&cut) {
                    let rows = Rows {
                        left: &gradients,
                        rows: class.from.len(),
                        from: |pixel| class.from[pixel],
                        to: |pixel| class.to[pixel],
                        runs: &class.runs,
                        run: g.outputs,
                    };
                    rows.times(simd, *weights, image);
                }
            }
        }
    }
}

/// Places whose part of a gradient is summed at once: so many lie in the nearest cache.
const PLACES_AT_ONCE: usize = 128;

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
            // Pixels that no tap reaches; strides that differ; gradients from beyond the last place.
            Geometry { kernel: (1, 1), stride: (2, 2), pad: (0, 0), ..square },
            Geometry { kernel: (5, 4), stride: (3, 2), pad: (2, 1), height: 11, ..square },
            Geometry { kernel: (3, 3), stride: (4, 2), pad: (0, 0), width: 8, ..square },
            // More places than are summed at once, and more outputs than a tile has columns.
            Geometry { height: 13, width: 14, outputs: 70, ..square },
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
