//! Tiles: the arithmetic that every product and convolution is made of.
//!
//! A tile is several rows by one or two vectors of columns, whose sums stay in registers while the
//! inner axis is walked in order. Each step of each sum is one fused multiply-add, which rounds the
//! same way on every processor: a number's bits depend on its own row and column, not on the size of
//! a tile or of a vector. The right matrix is copied into panels first, so that a tile meets it in
//! whole vectors, one after another; the left one is read where it lies, since images overlap there.
//!
//! Floor: core.

use std::array::from_fn;

use pulp::bytemuck::{Pod, cast_slice_mut};
use pulp::{Arch, Simd, WithSimd};

use super::turn::turn;

/// Compiles and runs `work` for the vectors that this processor has, and that `columns` fill.
#[inline(always)]
pub fn dispatch<W: WithSimd>(columns: usize, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if let (1..=8, Arch::V4(simd)) = (columns, Arch::new()) {
        // Half of each longer vector would be empty.
        return Simd::vectorize(*simd, work);
    }
    Arch::new().dispatch(work)
}

/// A right matrix [inner, columns]: for the vectors of columns that a tile has all rows, and then for
/// the next ones; padded with zeros.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a, V> {
    vectors: &'a [V],
    inner: usize,
    columns: usize,
}

/// Room for a right matrix.
#[derive(Debug, Default)]
pub struct Panels<V>(Vec<V>);

impl<V: Pod> Panels<V> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    /// The matrix `right`, whose rows are `pitch` apart; itself where it lies as it shall.
    #[inline(always)]
    pub fn pack<'a, S: Simd<f32s = V>>(
        &'a mut self,
        simd: S,
        right: &'a [f32],
        pitch: usize,
        (inner, columns): (usize, usize),
    ) -> Right<'a, V> {
        let wide = columns.div_ceil(S::F32_LANES);
        if columns == pitch && columns == width_of::<S>(wide) * S::F32_LANES {
            let (vectors, _) = S::as_simd_f32s(&right[..inner * columns]);
            return Right { vectors, inner, columns };
        }
        self.0.resize(inner * wide, simd.splat_f32s(0.0));
        let mut made = self.0.as_mut_slice();
        let mut first = 0;
        while first < wide {
            let width = width_of::<S>(wide - first);
            let (panel, rest) = made.split_at_mut(inner * width);
            let start = first * S::F32_LANES;
            let end = (start + width * S::F32_LANES).min(columns);
            for (row, panel) in panel.chunks_exact_mut(width).enumerate() {
                let numbers = &right[row * pitch + start..row * pitch + end];
                let (whole, part) = S::as_simd_f32s(numbers);
                for (made, &whole) in panel.iter_mut().zip(whole) {
                    *made = whole;
                }
                if let Some(made) = panel.get_mut(whole.len()) {
                    *made = simd.partial_load_f32s(part);
                }
            }
            made = rest;
            first += width;
        }
        Right { vectors: &self.0, inner, columns }
    }

    /// The transpose of `numbers` [columns, inner], whose rows are `pitch` apart.
    #[inline(always)]
    pub fn pack_turned<S: Simd<f32s = V>>(
        &mut self,
        simd: S,
        numbers: &[f32],
        pitch: usize,
        (inner, columns): (usize, usize),
    ) -> Right<'_, V> {
        let wide = columns.div_ceil(S::F32_LANES);
        if columns < wide * S::F32_LANES {
            self.0.clear();
        }
        self.0.resize(inner * wide, simd.splat_f32s(0.0));
        let mut made = self.0.as_mut_slice();
        let mut first = 0;
        while first < wide {
            let width = width_of::<S>(wide - first);
            let (panel, rest) = made.split_at_mut(inner * width);
            let (start, across) = (first * S::F32_LANES, width * S::F32_LANES);
            let numbers = &numbers[start * pitch..];
            let rows = (columns - start).min(across);
            turn(numbers, pitch, (rows, inner), cast_slice_mut(panel), across);
            made = rest;
            first += width;
        }
        Right { vectors: &self.0, inner, columns }
    }
}

/// A left matrix: where its numbers lie, and so how a tile of it is summed.
pub trait Left {
    fn rows(&self) -> usize;

    /// Products of the rows from `row` on with `panel`, whose vectors are those of `place`.
    fn tile<S: Simd, const HEIGHT: usize, const WIDTH: usize>(
        &self,
        simd: S,
        row: usize,
        panel: &[S::f32s],
        place: Place,
        result: &mut [f32],
    );

    /// All rows times `right`, whose inner axis is walked as the left one lies.
    #[inline(always)]
    fn times<S: Simd>(&self, simd: S, right: Right<'_, S::f32s>, result: &mut [f32]) {
        let wide = right.columns.div_ceil(S::F32_LANES);
        let mut rest = right.vectors;
        let mut first = 0;
        while first < wide {
            let width = width_of::<S>(wide - first);
            let (panel, after) = rest.split_at(right.inner * width);
            let place = Place { column: first * S::F32_LANES, columns: right.columns };
            match width {
                1 => self.panel::<S, 1>(simd, panel, place, result),
                2 => self.panel::<S, 2>(simd, panel, place, result),
                _ => self.panel::<S, 4>(simd, panel, place, result),
            }
            first += width;
            rest = after;
        }
    }

    #[inline(always)]
    fn panel<S: Simd, const WIDTH: usize>(
        &self,
        simd: S,
        panel: &[S::f32s],
        place: Place,
        result: &mut [f32],
    ) {
        let (mut row, rows) = (0, self.rows());
        if WIDTH == 1 {
            while row + 8 <= rows {
                self.tile::<S, 8, WIDTH>(simd, row, panel, place, result);
                row += 8;
            }
        }
        while row + 4 <= rows {
            self.tile::<S, 4, WIDTH>(simd, row, panel, place, result);
            row += 4;
        }
        while row < rows {
            self.tile::<S, 1, WIDTH>(simd, row, panel, place, result);
            row += 1;
        }
    }
}

/// Left rows that each lie in one or more runs of the same length.
pub struct Rows<'a, F, T> {
    pub left: &'a [f32],
    pub rows: usize,
    /// Where each row begins.
    pub from: F,
    /// Where in the result each row's products go.
    pub to: T,
    /// Where each run begins, from its row's beginning.
    pub runs: &'a [usize],
    /// Numbers of a run.
    pub run: usize,
}

impl<F: Fn(usize) -> usize, T: Fn(usize) -> usize> Left for Rows<'_, F, T> {
    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows
    }

    /// By index, since behind iterators the sums are not kept in registers.
    #[inline(always)]
    fn tile<S: Simd, const HEIGHT: usize, const WIDTH: usize>(
        &self,
        simd: S,
        row: usize,
        panel: &[S::f32s],
        place: Place,
        result: &mut [f32],
    ) {
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; HEIGHT];
        let from: [usize; HEIGHT] = from_fn(|r| (self.from)(row + r));
        let (panel, _) = panel.as_chunks::<WIDTH>();
        // Without numbers in a run there is no panel either.
        if self.run > 0 {
            for (run, below) in self.runs.iter().zip(panel.chunks_exact(self.run)) {
                let rows: [&[f32]; HEIGHT] = from_fn(|r| &self.left[from[r] + run..][..self.run]);
                for inner in 0..self.run {
                    for r in 0..HEIGHT {
                        let across = simd.splat_f32s(rows[r][inner]);
                        for w in 0..WIDTH {
                            sums[r][w] = simd.mul_add_f32s(across, below[inner][w], sums[r][w]);
                        }
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            place.store(simd, sums, (self.to)(row + r), result);
        }
    }
}

/// Left rows of which each column lies at its own place: the transpose of something.
pub struct Columns<'a, F, A> {
    pub left: &'a [f32],
    pub rows: usize,
    pub inner: usize,
    /// Where each column begins.
    pub from: F,
    /// Where each row is, from its column's beginning.
    pub at: A,
    /// Whether products are added to what is there.
    pub adds: bool,
}

impl<F: Fn(usize) -> usize, A: Fn(usize) -> usize> Left for Columns<'_, F, A> {
    #[inline(always)]
    fn rows(&self) -> usize {
        self.rows
    }

    #[inline(always)]
    fn tile<S: Simd, const HEIGHT: usize, const WIDTH: usize>(
        &self,
        simd: S,
        row: usize,
        panel: &[S::f32s],
        place: Place,
        result: &mut [f32],
    ) {
        let rows: [usize; HEIGHT] = from_fn(|r| (self.at)(row + r));
        let reach = rows.iter().max().map_or(0, |last| last + 1);
        let mut sums = [[simd.splat_f32s(0.0); WIDTH]; HEIGHT];
        if self.adds {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (w, sum) in sums.iter_mut().enumerate() {
                    *sum = place.load(simd, (row + r) * place.columns, w, result);
                }
            }
        }
        let (panel, _) = panel.as_chunks::<WIDTH>();
        for (inner, below) in panel[..self.inner].iter().enumerate() {
            let column = &self.left[(self.from)(inner)..][..reach];
            for r in 0..HEIGHT {
                let across = simd.splat_f32s(column[rows[r]]);
                for w in 0..WIDTH {
                    sums[r][w] = simd.mul_add_f32s(across, below[w], sums[r][w]);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            place.store(simd, sums, (row + r) * place.columns, result);
        }
    }
}

/// The columns of a tile.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The first.
    column: usize,
    /// Of the whole result.
    columns: usize,
}

impl Place {
    /// A vector of a row that begins at `start`; 0 beyond its end.
    #[inline(always)]
    fn load<S: Simd>(self, simd: S, start: usize, vector: usize, result: &[f32]) -> S::f32s {
        let row = &result[start + self.column..start + self.columns];
        match row.get(vector * S::F32_LANES..(vector + 1) * S::F32_LANES) {
            Some(whole) => S::as_simd_f32s(whole).0[0],
            None => simd.partial_load_f32s(&row[vector * S::F32_LANES..]),
        }
    }

    #[inline(always)]
    fn store<S: Simd, const WIDTH: usize>(
        self,
        simd: S,
        sums: &[S::f32s; WIDTH],
        start: usize,
        result: &mut [f32],
    ) {
        let row = &mut result[start + self.column..start + self.columns];
        for (w, &sums) in sums.iter().enumerate() {
            match row.get_mut(w * S::F32_LANES..(w + 1) * S::F32_LANES) {
                Some(whole) => S::as_mut_simd_f32s(whole).0[0] = sums,
                None => simd.partial_store_f32s(&mut row[w * S::F32_LANES..], sums),
            }
        }
    }
}

/// Vectors of columns in the next tile, of so many that are left: with four rows, as many as leave
/// registers for what the sums are made of.
#[inline(always)]
fn width_of<S: Simd>(left: usize) -> usize {
    match left {
        4.. if S::REGISTER_COUNT >= 32 => 4,
        2.. => 2,
        _ => 1,
    }
}
