//! Where a convolution finds its numbers.
//!
//! A window is never cut out: once an image has its zeros around, each row of a window lies there
//! without gaps. The gradient in the input is found the same way, in padded gradients. Deliberately
//! absent: arithmetic on what is found.
//!
//! Floor: core.

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

    /// An image with its zeros around.
    pub fn padded(&self) -> Padded {
        let (above, before) = self.pad;
        Padded {
            row: self.width * self.channels,
            above,
            before: before * self.channels,
            pitch: (self.width + 2 * before) * self.channels,
            all: self.height + 2 * above,
        }
    }

    /// Where the window of each place begins in a padded image.
    pub fn windows(&self) -> Vec<usize> {
        let pitch = self.padded().pitch;
        let of_row = |row: usize| {
            let columns = 0..self.out_width();
            columns.map(move |at| row * self.stride.0 * pitch + at * self.stride.1 * self.channels)
        };
        (0..self.out_height()).flat_map(of_row).collect()
    }

    /// Where in a padded image each row of a window begins, from the window's beginning, and the
    /// numbers of one.
    pub fn runs(&self) -> (Vec<usize>, usize) {
        let pitch = self.padded().pitch;
        ((0..self.kernel.0).map(|y| y * pitch).collect(), self.kernel.1 * self.channels)
    }

    /// For each tap of each place its pixel, or `pixels` where it lies outside: [places · taps].
    pub fn taps(&self) -> Vec<u32> {
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

/// Images and what is around them: rows of numbers.
#[derive(Clone, Copy, Debug)]
pub struct Padded {
    /// Numbers of a row.
    row: usize,
    /// Rows of zeros above.
    above: usize,
    /// Zeros before each row.
    before: usize,
    /// From a row to the next.
    pub pitch: usize,
    /// Rows, zeros counted.
    all: usize,
}

impl Padded {
    pub fn size(&self) -> usize {
        self.all * self.pitch
    }

    /// Copies `image` into zeros, which stay around it.
    #[inline(always)]
    pub fn fill(&self, image: &[f32], made: &mut [f32]) {
        let rows = made.chunks_exact_mut(self.pitch).skip(self.above);
        for (row, made) in image.chunks_exact(self.row).zip(rows) {
            made[self.before..self.before + self.row].copy_from_slice(row);
        }
    }
}

/// Input pixels that the same taps of a kernel reach.
pub struct Reached {
    /// Where in padded gradients what reaches each pixel begins: with its last tap's place.
    pub from: Vec<usize>,
    /// Where each pixel's numbers go.
    pub to: Vec<usize>,
    /// From there to the place of each tap.
    pub runs: Vec<usize>,
    /// The taps, in the same order.
    pub taps: Vec<usize>,
}

/// How the gradient behind a convolution lies with zeros around, and what reaches which pixels: with
/// a stride, every so many pixels in each direction have taps of their own.
pub fn reached(g: &Geometry) -> (Padded, Vec<Reached>) {
    let axis = |size: usize, out: usize, kernel: usize, stride: usize, pad: usize| {
        let before = (kernel - 1).saturating_sub(pad).div_ceil(stride);
        let last = (size - 1 + pad) / stride;
        (before, before + out.max(last + 1))
    };
    let (above, all) = axis(g.height, g.out_height(), g.kernel.0, g.stride.0, g.pad.0);
    let (before, wide) = axis(g.width, g.out_width(), g.kernel.1, g.stride.1, g.pad.1);
    let padded = Padded {
        row: g.out_width() * g.outputs,
        above,
        before: before * g.outputs,
        pitch: wide * g.outputs,
        all,
    };
    // Of pixels that are `first` beyond a multiple of the stride: their taps, whose places go back.
    let taps = |first: usize, kernel: usize, stride: usize, pad: usize| -> Vec<usize> {
        ((first + pad) % stride..kernel).step_by(stride).collect()
    };
    let mut classes = Vec::new();
    for (top, left) in (0..g.stride.0).flat_map(|top| (0..g.stride.1).map(move |left| (top, left)))
    {
        let ys = taps(top, g.kernel.0, g.stride.0, g.pad.0);
        let xs = taps(left, g.kernel.1, g.stride.1, g.pad.1);
        let (Some(&low), Some(&near)) = (ys.last(), xs.last()) else { continue };
        let mut class =
            Reached { from: Vec::new(), to: Vec::new(), runs: Vec::new(), taps: Vec::new() };
        for row in (top..g.height).step_by(g.stride.0) {
            for column in (left..g.width).step_by(g.stride.1) {
                let place = above * g.stride.0 + row + g.pad.0 - low;
                let beside = before * g.stride.1 + column + g.pad.1 - near;
                let at = place / g.stride.0 * padded.pitch + beside / g.stride.1 * g.outputs;
                class.from.push(at);
                class.to.push((row * g.width + column) * g.channels);
            }
        }
        for &y in &ys {
            for &x in &xs {
                let (down, right) = ((low - y) / g.stride.0, (near - x) / g.stride.1);
                class.runs.push(down * padded.pitch + right * g.outputs);
                class.taps.push(y * g.kernel.1 + x);
            }
        }
        classes.push(class);
    }
    (padded, classes)
}
