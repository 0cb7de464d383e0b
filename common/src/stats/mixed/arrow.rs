//! A design cut into parts that only a few levels join.
//!
//! The small factors and the fixed effects form the border; without the border's levels the
//! levels of the other factors fall apart into components. Of a study with folds, seeds and
//! configs, folds are the border and every config is a component of its own, so a Cholesky factor
//! of thousands of levels becomes many of dozens. Components with the same cross-products share
//! one shape, so in a complete design one config's arithmetic serves all. Everything here is
//! counted once a fit; what depends on theta is in `refit`. Deliberately absent: responses.
//!
//! Floor: common.

use std::collections::{BTreeMap, BTreeSet};

use faer::Mat;

use super::terms::Terms;

pub(super) struct Arrow<'a> {
    pub terms: &'a Terms,
    /// `blocks[inner..]` are the border.
    pub inner: usize,
    /// First level of the border in the stack.
    pub border_begin: usize,
    pub shapes: Vec<Shape>,
    pub members: Vec<Member>,
    /// Members of each shape.
    pub count: Vec<f64>,
}

/// The cross-products of a component: n1 levels of the largest factor, m of the other inner
/// ones, and w columns of the border: the levels that it touches, then its share of Q.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Rows of each level of the largest factor, [n1].
    pub counts: Vec<f64>,
    /// Rows shared by another level and a level of the largest factor, [m, n1].
    pub cells: Mat<f64>,
    /// Rows shared by two of the other levels, [m, m].
    pub gram: Mat<f64>,
    /// The block of each of the other levels, [m].
    pub block_of: Vec<usize>,
    /// Products of each level of the largest factor with the border, [n1] rows, not the zeros.
    pub first: Vec<Vec<(usize, f64)>>,
    /// Products of the other levels with the border, [m, w].
    pub rest: Mat<f64>,
}

/// Where a component's levels and columns are.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub shape: usize,
    /// In the stack: levels of the largest factor, [n1], and the others, [m].
    pub first: Vec<usize>,
    pub rest: Vec<usize>,
    /// The border's levels that it touches, counted from the border's first.
    pub border: Vec<usize>,
    /// Its products with Q are the shape's last columns times this, [rank, p].
    pub expand: Mat<f64>,
}

impl<'a> Arrow<'a> {
    /// Cuts where an evaluation costs least. Of models with a random term.
    pub fn of(terms: &'a Terms) -> Self {
        let cost = |inner: &usize| cost(terms, border_begin(terms, *inner));
        let inner = (1..=terms.blocks.len()).min_by(|a, b| cost(a).total_cmp(&cost(b)));
        Self::cut(terms, inner.unwrap_or(0))
    }

    /// The cheapest cut of random intercepts, where an evaluation by it costs a small part of one by
    /// the dense equations and those are large.
    pub fn quicker(terms: &'a Terms) -> Option<Self> {
        let dense = terms.gram.nrows();
        if dense < DENSE_MIN || !terms.intercepts_alone() {
            return None;
        }
        let costs =
            (1..=terms.blocks.len()).map(|inner| (cost(terms, border_begin(terms, inner)), inner));
        let (cost, inner) = costs.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (cost <= QUICKER * (dense as f64).powi(3)).then(|| Self::cut(terms, inner))
    }

    /// Columns of the border: its levels and Q.
    pub fn border_width(&self) -> usize {
        self.terms.border.nrows() - self.border_begin + self.terms.p
    }

    /// Cuts before the block `inner`, 1 or more.
    pub fn cut(terms: &'a Terms, inner: usize) -> Self {
        let border_begin = border_begin(terms, inner);
        let mut arrow =
            Self { terms, inner, border_begin, shapes: vec![], members: vec![], count: vec![] };
        for (first, rest) in components(terms, border_begin) {
            arrow.add(first, rest);
        }
        arrow
    }

    fn add(&mut self, mut first: Vec<usize>, mut rest: Vec<usize>) {
        let terms = self.terms;
        // In the order of the borders' levels, so that components of a complete design are alike.
        first.sort_by_cached_key(|&level| (self.touched(level), terms.counts[level] as u64, level));
        rest.sort_by_cached_key(|&level| (self.touched(level), level));
        let mut border: Vec<usize> =
            first.iter().flat_map(|&level| self.touched(level)).map(|(j, _)| j).collect();
        border.sort_unstable();
        border.dedup();
        let place: BTreeMap<usize, usize> =
            border.iter().enumerate().map(|(at, &j)| (j, at)).collect();
        let levels: Vec<usize> = first.iter().chain(&rest).copied().collect();
        let (share, expand) =
            low_rank(Mat::from_fn(levels.len(), terms.p, |i, j| terms.border[(levels[i], j)]));
        let width = border.len() + share.ncols();
        let row = |i: usize| {
            let touched = self.touched(levels[i]).into_iter().map(|(j, n)| (place[&j], n as f64));
            let fixed = (0..share.ncols()).map(|j| (border.len() + j, share[(i, j)]));
            touched.chain(fixed).filter(|(_, value)| *value != 0.0).collect::<Vec<_>>()
        };
        let (n1, q1) = (first.len(), terms.counts.len());
        let mut below = Mat::zeros(rest.len(), width);
        for i in 0..rest.len() {
            row(n1 + i).into_iter().for_each(|(j, value)| below[(i, j)] = value);
        }
        let mut cells = Mat::zeros(rest.len(), n1);
        let at: BTreeMap<usize, usize> =
            rest.iter().enumerate().map(|(i, &l)| (l - q1, i)).collect();
        for (i, &level) in first.iter().enumerate() {
            let inside = terms.cells.row(level).filter_map(|(j, n)| Some((*at.get(&j)?, n)));
            inside.for_each(|(j, n)| cells[(j, i)] = n);
        }
        let block_of =
            |level: &usize| terms.blocks.iter().position(|block| block.range().contains(level));
        let shape = Shape {
            counts: first.iter().map(|&level| terms.counts[level]).collect(),
            cells,
            gram: Mat::from_fn(rest.len(), rest.len(), |i, j| {
                terms.gram[(rest[i] - q1, rest[j] - q1)]
            }),
            block_of: rest.iter().filter_map(block_of).collect(),
            first: (0..n1).map(row).collect(),
            rest: below,
        };
        let known = self.shapes.iter().position(|other| other.like(&shape));
        let shape = known.unwrap_or_else(|| {
            self.shapes.push(shape);
            self.count.push(0.0);
            self.shapes.len() - 1
        });
        self.count[shape] += 1.0;
        self.members.push(Member { shape, first, rest, border, expand });
    }

    /// The border's levels that share rows with a level, and how many.
    fn touched(&self, level: usize) -> Vec<(usize, u64)> {
        let q1 = self.terms.counts.len();
        let begin = self.border_begin - q1;
        if level < q1 {
            let cells = self.terms.cells.row(level).filter(|(j, _)| *j >= begin);
            return cells.map(|(j, n)| (j - begin, n as u64)).collect();
        }
        let shared =
            (begin..self.terms.gram.nrows()).map(|j| (j, self.terms.gram[(j, level - q1)]));
        shared.filter(|(_, n)| *n > 0.0).map(|(j, n)| (j - begin, n as u64)).collect()
    }
}

impl Shape {
    /// Counts are equal, and shares of Q up to rounding.
    fn like(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= ALIKE * a.abs().max(1.0);
        let rows = |a: &Vec<(usize, f64)>, b: &Vec<(usize, f64)>| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
        };
        self.counts == other.counts
            && self.block_of == other.block_of
            && self.rest.ncols() == other.rest.ncols()
            && self.cells == other.cells
            && self.gram == other.gram
            && self.first.iter().zip(&other.first).all(|(a, b)| rows(a, b))
            && self
                .rest
                .col_iter()
                .zip(other.rest.col_iter())
                .all(|(a, b)| a.iter().zip(b.iter()).all(|(a, b)| near(*a, *b)))
    }
}

fn border_begin(terms: &Terms, inner: usize) -> usize {
    terms.blocks.get(inner).map_or(terms.border.nrows(), |block| block.begin)
}

/// Multiplications of one evaluation with the border from `begin` on, roughly.
fn cost(terms: &Terms, begin: usize) -> f64 {
    let q1 = terms.counts.len();
    let of_component = |(first, rest): &(Vec<usize>, Vec<usize>)| {
        let touched: BTreeSet<usize> = first
            .iter()
            .flat_map(|&level| terms.cells.row(level).map(|(j, _)| q1 + j))
            .filter(|&level| level >= begin)
            .collect();
        let (n1, m, w) = (first.len() as f64, rest.len() as f64, touched.len() as f64 + 1.0);
        let own = 2.0 * m * m * n1 + m * m * m;
        own + 2.0 * m * m * w + 2.0 * m * w * w + n1 * w * (m + w) + MOVED * w * w
    };
    let components: f64 = components(terms, begin).iter().map(of_component).sum();
    components + ((terms.border.nrows() - begin + terms.p) as f64).powi(3)
}

/// Levels below `end` in the stack that share rows, however indirectly: those of the largest
/// factor, and the others.
fn components(terms: &Terms, end: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let q1 = terms.counts.len();
    let mut parent: Vec<usize> = (0..end).collect();
    fn root(parent: &mut [usize], mut level: usize) -> usize {
        while parent[level] != level {
            parent[level] = parent[parent[level]];
            level = parent[level];
        }
        level
    }
    // Every row has a level of the largest factor, so its cells know all that is joined.
    for level in 0..q1 {
        for (j, _) in terms.cells.row(level).filter(|(j, _)| q1 + j < end) {
            let (a, b) = (root(&mut parent, level), root(&mut parent, q1 + j));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut parts: BTreeMap<usize, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for level in 0..end {
        let part = parts.entry(root(&mut parent, level)).or_default();
        if level < q1 { part.0.push(level) } else { part.1.push(level) }
    }
    parts.into_values().collect()
}

/// `matrix = share expand`, by elimination with complete pivoting.
fn low_rank(mut matrix: Mat<f64>) -> (Mat<f64>, Mat<f64>) {
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let (mut share, mut expand): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    let mut largest_first = 0.0;
    while share.len() < rows.min(columns) {
        let entries = (0..columns).flat_map(|j| (0..rows).map(move |i| (i, j)));
        // The first of those that are equal up to rounding, so that like components end alike.
        let (mut pivot, mut largest) = ((0, 0), 0.0);
        for at in entries {
            if matrix[at].abs() > largest * (1.0 + 1e-9) {
                (pivot, largest) = (at, matrix[at].abs());
            }
        }
        if share.is_empty() {
            largest_first = largest;
        }
        if largest <= DEPENDENT * largest_first || largest == 0.0 {
            break;
        }
        let column: Vec<f64> = (0..rows).map(|i| matrix[(i, pivot.1)] / matrix[pivot]).collect();
        let row: Vec<f64> = (0..columns).map(|j| matrix[(pivot.0, j)]).collect();
        for j in 0..columns {
            (0..rows).for_each(|i| matrix[(i, j)] -= column[i] * row[j]);
        }
        share.push(column);
        expand.push(row);
    }
    let rank = share.len();
    let share = Mat::from_fn(rows, rank, |i, j| share[j][i]);
    (share, Mat::from_fn(rank, columns, |i, j| expand[i][j]))
}

/// Columns of dense equations that are small.
const DENSE_MIN: usize = 200;
/// Of the cost of the dense equations.
const QUICKER: f64 = 0.25;
/// Multiplications that take as long as it does to bring a number to the border and back.
const MOVED: f64 = 20.0;
const ALIKE: f64 = 1e-12;
const DEPENDENT: f64 = 1e-12;
