//! From counts and sums by combinations of levels to the cross-products of a model's columns.
//!
//! Every pair of columns has its product in one cell of one pair of groupings. Deliberately
//! absent: everything about rows, which are gone.
//!
//! Floor: common.

use super::blocks::{Block, picked};
use super::design::DesignColumn;
use super::fit::FitError;
use super::stream::Products;
use super::sums::Wide;
use super::terms::{CONSTANT, Cells};

/// Cross-products before X and y are standardised; shapes as in [`super::terms::Terms`].
pub(super) struct Gathered {
    /// `[X y]' [X y]`, [p + 1, p + 1] by rows.
    pub fixed: Vec<Wide>,
    /// `Z' [X y]`, [q, p + 1] by rows.
    pub border: Vec<Wide>,
    pub own: Vec<Wide>,
    /// [rest, rest] by rows.
    pub gram: Vec<Wide>,
    pub rest: usize,
    /// Levels of the largest block and of others that share rows; a [width, width] part each.
    shared: Vec<Shared>,
    parts: Vec<Wide>,
    p: usize,
    /// Width of the largest block, and its levels.
    first: (usize, usize),
}

/// A level of the largest block, first column of a level of another, and its width.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shared {
    level: u32,
    column: u32,
    width: u32,
    /// Where its part begins.
    part: usize,
}

/// A column of the model among all: the fixed ones, the response, then the stack of Z.
type Place = u32;

impl Gathered {
    pub fn of(products: &Products, columns: &[DesignColumn], blocks: &[Block]) -> Self {
        let p = columns.len();
        let first = blocks.first().map_or((0, 0), |block| (block.width, block.levels.len()));
        let q = blocks.last().map_or(0, |block| block.range().end);
        let rest = q - first.0 * first.1;
        let places = places(products, columns, blocks);
        let mut gathered = Self {
            fixed: vec![Wide::default(); (p + 1) * (p + 1)],
            border: vec![Wide::default(); q * (p + 1)],
            own: vec![Wide::default(); first.1 * first.0 * first.0],
            gram: vec![Wide::default(); rest * rest],
            rest,
            shared: Vec::new(),
            parts: Vec::new(),
            p,
            first,
        };
        gathered.list_shared(products, blocks, &places);
        each_cell(products, &places, |rows, columns, value| {
            let value = value();
            for &row in rows {
                columns.iter().for_each(|&column| gathered.put(row, column, value));
            }
        });
        gathered
    }

    /// Brings the columns of slopes to unit size, about their mean where their term has an
    /// intercept that takes it up.
    pub fn standardise(&mut self, blocks: &mut [Block], n: usize) -> Result<(), FitError> {
        for (place, block) in blocks.iter_mut().enumerate() {
            let width = block.width;
            let moments = self.moments(place, block);
            block.moments = moments.iter().map(|sum| sum.number() / n as f64).collect();
            block.units =
                (0..width * width).map(|at| f64::from(u8::from(at % (width + 1) == 0))).collect();
            for (term, column) in block.slopes() {
                let mut moves = Move { anchor: None, column, scale: 1.0 };
                let mut squares = moments[column * width + column];
                let intercept = block.columns[term.first].is_intercept();
                if intercept && block.columns[column].product.levels.is_empty() {
                    let sum = moments[term.first * width + column];
                    let centre = Wide::from(sum.number() / n as f64);
                    moves.anchor = Some((term.first, centre));
                    squares =
                        squares - (sum + sum) * centre + centre * centre * Wide::from(n as f64);
                }
                let mean = moves.anchor.map_or(0.0, |(_, centre)| centre.number());
                let size = (squares.number().max(0.0) / n as f64).sqrt();
                if size <= CONSTANT * mean.abs() || size == 0.0 {
                    let slope = block.columns[column].name.clone();
                    return Err(FitError::FlatSlope { slope, factor: block.factor.clone() });
                }
                // A power of two changes no digit.
                moves.scale = (-size.log2().round()).exp2();
                block.units[column * width + column] = moves.scale;
                block.units[term.first * width + column] =
                    if column == term.first { moves.scale } else { -mean * moves.scale };
                self.apply(place, block, &moves);
            }
        }
        Ok(())
    }

    /// The products of the largest block and the others, as a sparse matrix.
    pub fn cells(&self) -> Cells {
        let (width, levels) = self.first;
        let mut cells = Cells { starts: vec![0], ..Cells::default() };
        let mut next = 0;
        for level in 0..levels {
            let begin = next;
            while next < self.shared.len() && self.shared[next].level as usize == level {
                next += 1;
            }
            for row in 0..width {
                for shared in &self.shared[begin..next] {
                    for column in 0..shared.width as usize {
                        cells.columns.push(shared.column + column as u32);
                        let at = shared.part + row * shared.width as usize + column;
                        cells.values.push(self.parts[at].number());
                    }
                }
                cells.starts.push(cells.columns.len());
            }
        }
        cells
    }

    /// Sums over all rows of the products of a block's columns, [width, width].
    fn moments(&self, place: usize, block: &Block) -> Vec<Wide> {
        let width = block.width;
        let mut moments = vec![Wide::default(); width * width];
        for level in 0..block.levels.len() {
            for (at, sum) in moments.iter_mut().enumerate() {
                let (row, column) = (at / width, at % width);
                *sum = *sum
                    + match place {
                        0 => self.own[level * width * width + at],
                        _ => {
                            let begin = block.at(level) - self.first.0 * self.first.1;
                            self.gram[(begin + row) * self.rest + begin + column]
                        }
                    };
            }
        }
        moments
    }

    /// Finds which levels share rows, in order, and makes room for their products.
    fn list_shared(&mut self, products: &Products, blocks: &[Block], places: &[Vec<Vec<Place>>]) {
        let q1 = self.first.0 * self.first.1;
        each_cell(products, places, |rows, columns, _| {
            for (&a, &b) in rows.iter().flat_map(|a| columns.iter().map(move |b| (a, b))) {
                let (Some(a), Some(b)) = (self.in_stack(a), self.in_stack(b)) else { continue };
                let (low, high) = (a.min(b), a.max(b));
                if low >= q1 || high < q1 {
                    continue;
                }
                let level = (low / self.first.0) as u32;
                if let Some(block) = blocks.iter().find(|block| block.range().contains(&high)) {
                    let column = (block.at((high - block.begin) / block.width) - q1) as u32;
                    let width = block.width as u32;
                    self.shared.push(Shared { level, column, width, part: 0 });
                }
            }
        });
        self.shared.sort_unstable();
        self.shared.dedup();
        let mut part = 0;
        for shared in &mut self.shared {
            shared.part = part;
            part += self.first.0 * shared.width as usize;
        }
        self.parts = vec![Wide::default(); part];
    }

    fn in_stack(&self, place: Place) -> Option<usize> {
        (place as usize).checked_sub(self.p + 1)
    }

    fn put(&mut self, a: Place, b: Place, value: Wide) {
        let (low, high) = (a.min(b) as usize, a.max(b) as usize);
        let width = self.p + 1;
        let q1 = self.first.0 * self.first.1;
        if high < width {
            self.fixed[low * width + high] = value;
            self.fixed[high * width + low] = value;
        } else if low < width {
            self.border[(high - width) * width + low] = value;
        } else if high - width < q1 {
            let k = self.first.0;
            let (row, column) = (low - width, high - width);
            let own = &mut self.own[row / k * k * k..][..k * k];
            own[row % k * k + column % k] = value;
            own[column % k * k + row % k] = value;
        } else if low - width < q1 {
            let (row, column) = (low - width, high - width - q1);
            let level = (row / self.first.0) as u32;
            let after = self.shared.partition_point(|shared| {
                (shared.level, shared.column as usize) <= (level, column)
            });
            let shared = self.shared[after - 1];
            let inside = column - shared.column as usize;
            self.parts[shared.part + row % self.first.0 * shared.width as usize + inside] = value;
        } else {
            let (row, column) = (low - width - q1, high - width - q1);
            self.gram[row * self.rest + column] = value;
            self.gram[column * self.rest + row] = value;
        }
    }

    /// Replaces one column of every level of a block, wherever it enters.
    fn apply(&mut self, place: usize, block: &Block, moves: &Move) {
        let (p, k, q1) = (self.p + 1, block.width, self.first.0 * self.first.1);
        for level in 0..block.levels.len() {
            let at = block.at(level);
            moves.rows(&mut self.border[at * p..(at + k) * p], p);
            if place == 0 {
                let own = &mut self.own[level * k * k..(level + 1) * k * k];
                moves.rows(own, k);
                own.chunks_mut(k).for_each(|row| moves.rows(row, 1));
            } else {
                let at = at - q1;
                let rest = self.rest;
                moves.rows(&mut self.gram[at * rest..(at + k) * rest], rest);
                self.gram.chunks_mut(rest).for_each(|row| moves.rows(&mut row[at..at + k], 1));
            }
        }
        for shared in &self.shared {
            let width = shared.width as usize;
            let part = &mut self.parts[shared.part..shared.part + self.first.0 * width];
            let begin = shared.column as usize + q1;
            if place == 0 {
                moves.rows(part, width);
            } else if block.range().contains(&begin) {
                part.chunks_mut(width).for_each(|row| moves.rows(row, 1));
            }
        }
    }
}

impl Block {
    /// Columns that are not intercepts, each with its term.
    fn slopes(&self) -> Vec<(super::blocks::Term, usize)> {
        let columns = self.terms.iter().flat_map(|term| {
            (term.first..term.first + term.width).map(move |column| (term.clone(), column))
        });
        columns.filter(|(_, column)| !self.columns[*column].is_intercept()).collect()
    }
}

/// A column becomes `scale (itself - centre anchor)`.
struct Move {
    anchor: Option<(usize, Wide)>,
    column: usize,
    scale: f64,
}

impl Move {
    /// Applied to the rows of a matrix with rows of `width` entries.
    fn rows(&self, matrix: &mut [Wide], width: usize) {
        for at in 0..width {
            let mut value = matrix[self.column * width + at];
            if let Some((anchor, centre)) = self.anchor {
                value = value - centre * matrix[anchor * width + at];
            }
            matrix[self.column * width + at] = value.times_power(self.scale);
        }
    }
}

/// Calls `visit` with the columns of the model on either side of every cell, and its sum.
fn each_cell(
    products: &Products,
    places: &[Vec<Vec<Place>>],
    mut visit: impl FnMut(&[Place], &[Place], &dyn Fn() -> Wide),
) {
    for pair in &products.pairs {
        let [a, b] = pair.groupings;
        for (one, first) in products.families.iter().enumerate() {
            // Within one grouping each pair of families has its sum once.
            let from = if a == b { one } else { 0 };
            for (other, second) in products.families.iter().enumerate().skip(from) {
                if first.grouping != a || second.grouping != b {
                    continue;
                }
                for (cell, codes) in pair.codes.iter().enumerate() {
                    let rows = &places[one][codes[0] as usize];
                    let columns = &places[other][codes[1] as usize];
                    if !rows.is_empty() && !columns.is_empty() {
                        visit(rows, columns, &|| pair.sum(cell, first.power, second.power));
                    }
                }
            }
        }
    }
}

/// For each family and code, the columns of the model that are this column.
fn places(products: &Products, columns: &[DesignColumn], blocks: &[Block]) -> Vec<Vec<Vec<Place>>> {
    let mut places: Vec<Vec<Vec<Place>>> = (products.families.iter())
        .map(|family| vec![Vec::new(); products.groupings[family.grouping].len()])
        .collect();
    places[0][0].push(columns.len() as u32);
    for (place, column) in columns.iter().enumerate() {
        let Some(family) = products.family(&column.product) else { continue };
        let grouping = &products.groupings[products.families[family].grouping];
        for code in (0..grouping.len()).filter(|&code| grouping.of_code(code) == column.levels) {
            places[family][code].push(place as u32);
        }
    }
    for block in blocks {
        for (c, column) in block.columns.iter().enumerate() {
            let Some(family) = products.family(&products.within(column, &block.group)) else {
                continue;
            };
            let grouping = &products.groupings[products.families[family].grouping];
            for (code, places) in places[family].iter_mut().enumerate() {
                let codes = grouping.of_code(code);
                let inner = picked(&grouping.variables, codes, &column.product.levels);
                let group = picked(&grouping.variables, codes, &block.group);
                if inner == column.levels
                    && let Some(&level) = block.level_of.get(&group)
                {
                    let stacked = block.at(level as usize) + c;
                    places.push((columns.len() + 1 + stacked) as u32);
                }
            }
        }
    }
    places
}
