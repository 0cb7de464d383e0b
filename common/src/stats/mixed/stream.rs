//! Cross-products of rows that come in chunks.
//!
//! Of every row only its contributions stay: counts and exact sums for each pair of sets of levels
//! that rows share. Rows may come in any order and cut into any chunks; not one bit differs, since
//! no sum rounds. Memory grows with the cells that are filled, not with the rows. Deliberately
//! absent: which columns a model makes of the levels; that needs all of them.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::blocks::{Block, picked};
use super::design::{DesignColumn, Product};
use super::fit::{Fit, FitError, Method, fit_products};
use super::formula::Formula;
use super::rows::{Checked, Kind, Slice, Variable};
use super::sums::{Exact, Wide};

/// Takes rows in chunks and keeps their cross-products.
#[derive(Clone, Debug)]
pub struct Accumulator {
    formula: Formula,
    /// Made when the first chunk tells which variables are numbers.
    products: Option<Products>,
}

impl Accumulator {
    pub fn new(formula: &Formula) -> Self {
        Self { formula: formula.clone(), products: None }
    }

    /// Adds a chunk: rows of every column that the formula names. Other columns are ignored.
    ///
    /// Errors: [`FitError`] when the columns do not suit the formula, and rows counted over all
    /// chunks. After an error the accumulator is not to be used on.
    pub fn add(&mut self, columns: &BTreeMap<&str, Slice<'_>>) -> Result<(), FitError> {
        let products = match &mut self.products {
            Some(products) => products,
            None => self.products.insert(Products::new(&self.formula, columns)?),
        };
        products.add(columns)
    }

    /// Fits the model to all rows that were added, as [`super::fit`] does.
    pub fn fit(&self, method: Method) -> Result<Fit, FitError> {
        match &self.products {
            Some(products) => fit_products(&self.formula, products, method),
            None => Err(FitError::TooFewRows { rows: 0, coefficients: 1 }),
        }
    }
}

/// Counts and sums over all rows, by pairs of groupings.
#[derive(Clone, Debug)]
pub(super) struct Products {
    pub rows: usize,
    /// The response first.
    pub variables: Vec<Variable>,
    /// Fewest variables first; the one of no variable, whose only code is 0, comes first.
    pub groupings: Vec<Grouping>,
    /// Products of numbers, by variables; the one of none, which is 1, comes first.
    pub powers: Vec<Vec<usize>>,
    /// Columns are families of (grouping, power); the response's is the first.
    pub families: Vec<Family>,
    pub pairs: Vec<Pair>,
}

/// Columns with a power of numbers at one combination of levels, and zero elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Family {
    pub grouping: usize,
    pub power: usize,
}

/// The combinations of levels of some variables.
#[derive(Clone, Debug, Default)]
pub(super) struct Grouping {
    pub variables: Vec<usize>,
    /// Codes of each combination, one a variable: [combinations, variables].
    pub codes: Vec<u32>,
    /// For each variable from the second, the pairs of what came before and its code.
    steps: Vec<Index>,
    /// The responses of each combination as one number that ignores their order.
    pub marks: Vec<u128>,
}

/// What the combinations of two groupings share.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub groupings: [usize; 2],
    /// `None` where the first grouping's variables are all among the second's.
    index: Option<Index>,
    /// The two codes of each cell.
    pub codes: Vec<[u32; 2]>,
    /// Rows of each cell.
    pub counts: Vec<f64>,
    /// Pairs of powers whose products are summed, the smaller first; never that of 1 and 1.
    pub powers: Vec<[usize; 2]>,
    /// [cells, powers]
    sums: Vec<Exact>,
}

impl Products {
    /// Of all rows at once.
    #[cfg(test)]
    pub fn of(formula: &Formula, columns: &BTreeMap<&str, Slice<'_>>) -> Result<Self, FitError> {
        let mut products = Self::new(formula, columns)?;
        products.add(columns)?;
        Ok(products)
    }

    fn new(formula: &Formula, columns: &BTreeMap<&str, Slice<'_>>) -> Result<Self, FitError> {
        let variables = Variable::all(formula, columns)?;
        let mut wanted = vec![Product { numbers: vec![0], levels: Vec::new() }];
        wanted.extend(Product::of_effects(&formula.fixed, &variables, &[]));
        for term in &formula.random {
            wanted.extend(Product::of_effects(&term.effects, &variables, &term.group));
        }
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        let mut powers: Vec<Vec<usize>> = vec![Vec::new()];
        for product in &wanted {
            if !sets.contains(&product.levels) {
                sets.push(product.levels.clone());
            }
            if !powers.contains(&product.numbers) {
                powers.push(product.numbers.clone());
            }
        }
        sets.sort_by_key(Vec::len);
        let mut families = Vec::new();
        for product in &wanted {
            let grouping = sets.iter().position(|set| *set == product.levels);
            let power = powers.iter().position(|power| *power == product.numbers);
            let family = Family { grouping: grouping.unwrap_or(0), power: power.unwrap_or(0) };
            if !families.contains(&family) {
                families.push(family);
            }
        }
        let pairs = pairs(&sets, &families);
        let groupings = sets.into_iter().map(Grouping::of).collect();
        Ok(Self { rows: 0, variables, groupings, powers, families, pairs })
    }

    fn add(&mut self, columns: &BTreeMap<&str, Slice<'_>>) -> Result<(), FitError> {
        let rows = match columns.get(self.variables[0].name.as_str()) {
            Some(Slice::Numbers(values)) => values.len(),
            Some(Slice::Levels { codes, .. }) => codes.len(),
            None => 0,
        };
        let mut checked = Vec::with_capacity(self.variables.len());
        for variable in &mut self.variables {
            checked.push(variable.read(columns, rows, self.rows, true)?);
        }
        let powers = self.powers.iter().map(|power| multiplied(power, &checked, rows));
        let powers: Vec<Vec<f64>> = powers.collect();
        for (power, values) in self.powers.iter().zip(&powers) {
            if let Some(row) = values.iter().position(|value| value.abs() > LARGEST) {
                let variable = power.iter().map(|&at| self.variables[at].name.as_str());
                let variable = variable.collect::<Vec<_>>().join(":");
                return Err(FitError::TooLarge { variable, row: self.rows + row });
            }
        }
        let response = &powers[self.families[0].power];
        let codes: Vec<Vec<u32>> =
            self.groupings.iter_mut().map(|set| set.read(&checked, response)).collect();
        for pair in &mut self.pairs {
            let [a, b] = pair.groupings;
            pair.add(&codes[a], &codes[b], &powers);
        }
        self.rows += rows;
        Ok(())
    }

    pub fn family(&self, product: &Product) -> Option<usize> {
        self.families.iter().position(|family| {
            self.groupings[family.grouping].variables == product.levels
                && self.powers[family.power] == product.numbers
        })
    }

    /// The product of a column of a block within the levels of the block's factor.
    pub fn within(&self, column: &DesignColumn, group: &[usize]) -> Product {
        let mut levels = column.product.levels.clone();
        levels.extend(group.iter().filter(|variable| !column.product.levels.contains(variable)));
        levels.sort_unstable();
        Product { numbers: column.product.numbers.clone(), levels }
    }

    /// Pairs of levels of two blocks that share rows; a pair may come more than once.
    pub fn common_levels(&self, a: &Block, b: &Block) -> Vec<(u32, u32)> {
        let sets = [a, b].map(|block| self.within(&block.columns[0], &block.group).levels);
        let at = |set: &[usize]| self.groupings.iter().position(|g| g.variables == set);
        let (Some(of_a), Some(of_b)) = (at(&sets[0]), at(&sets[1])) else { return Vec::new() };
        let groupings = [of_a.min(of_b), of_a.max(of_b)];
        let pair = self.pairs.iter().find(|pair| pair.groupings == groupings);
        let level = |block: &Block, grouping: usize, code: u32| {
            let set = &self.groupings[grouping];
            let key = picked(&set.variables, set.of_code(code as usize), &block.group);
            block.level_of.get(&key).copied()
        };
        let cells = pair.map_or(&[][..], |pair| &pair.codes);
        cells
            .iter()
            .filter_map(|codes| {
                let (first, second) = if of_a <= of_b { (a, b) } else { (b, a) };
                let found =
                    (level(first, groupings[0], codes[0])?, level(second, groupings[1], codes[1])?);
                Some(if of_a <= of_b { found } else { (found.1, found.0) })
            })
            .collect()
    }

    /// Whether some level of a block has rows with different levels of `variables`.
    pub fn shares_levels(&self, variables: &[usize], block: &Block) -> bool {
        let at = |set: &[usize]| self.groupings.iter().position(|g| g.variables == set);
        let set = self.within(&block.columns[0], &block.group).levels;
        let (Some(a), Some(b)) = (at(variables), at(&set)) else { return false };
        let groupings = [a.min(b), a.max(b)];
        let Some(pair) = self.pairs.iter().find(|pair| pair.groupings == groupings) else {
            return false;
        };
        let (of_fixed, of_block) = if a <= b { (0, 1) } else { (1, 0) };
        let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
        pair.codes.iter().any(|codes| {
            let code = codes[of_fixed];
            *seen.entry(codes[of_block]).or_insert(code) != code
        })
    }

    /// The largest size of the response.
    pub fn largest_response(&self) -> f64 {
        match self.variables[0].kind {
            Kind::Numbers { largest } => largest,
            Kind::Levels { .. } => 0.0,
        }
    }

    /// The squares of a column, about its mean if `about_mean`, and that mean; `None` for a column
    /// that is zero in every row.
    pub fn spread(&self, column: &DesignColumn, about_mean: bool) -> Option<(f64, f64)> {
        let family = self.families[self.family(&column.product)?];
        let pair = self.pairs.iter().find(|p| p.groupings == [family.grouping; 2])?;
        let set = &self.groupings[family.grouping];
        let code = (0..set.len()).find(|&code| set.of_code(code) == column.levels)?;
        let cell = pair.codes.iter().position(|codes| codes[0] as usize == code)?;
        let squares = pair.sum(cell, family.power, family.power);
        if family.power == 0 || !about_mean {
            return Some((squares.number(), 0.0));
        }
        let sum = pair.sum(cell, 0, family.power);
        let mean = sum.over(Wide::from(pair.counts[cell]));
        Some(((squares - sum * mean).number(), mean.number()))
    }

    /// Names of the levels of a variable; none for numbers.
    pub fn names(&self, variable: usize) -> &[String] {
        match &self.variables[variable].kind {
            Kind::Levels { names, .. } => names,
            Kind::Numbers { .. } => &[],
        }
    }
}

impl Grouping {
    fn of(variables: Vec<usize>) -> Self {
        let steps = vec![Index::default(); variables.len().saturating_sub(1)];
        Self { variables, steps, ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Codes of combination `at`.
    pub fn of_code(&self, at: usize) -> &[u32] {
        let width = self.variables.len();
        &self.codes[at * width..(at + 1) * width]
    }

    fn read(&mut self, checked: &[Checked], response: &[f64]) -> Vec<u32> {
        let levels = |variable: usize| match &checked[variable] {
            Checked::Levels(codes) => codes.as_slice(),
            Checked::Numbers(_) => unreachable!("a grouping is made of levels"),
        };
        let mut codes = match self.variables.first() {
            Some(&variable) => levels(variable).to_vec(),
            None => vec![0; response.len()],
        };
        for (step, &variable) in self.steps.iter_mut().zip(self.variables.iter().skip(1)) {
            for (code, &own) in codes.iter_mut().zip(levels(variable)) {
                *code = step.place(*code, own);
            }
        }
        for (row, (&code, &response)) in codes.iter().zip(response).enumerate() {
            // New codes come one by one, in their order.
            if code as usize == self.marks.len() {
                self.marks.push(0);
                self.codes.extend(self.variables.iter().map(|&variable| levels(variable)[row]));
            }
            let mark = &mut self.marks[code as usize];
            *mark = mark.wrapping_add(mixed(response));
        }
        codes
    }
}

impl Pair {
    /// A cell's sum of the product of two powers.
    pub fn sum(&self, cell: usize, a: usize, b: usize) -> Wide {
        let powers = [a.min(b), a.max(b)];
        if powers == [0, 0] {
            return Wide::from(self.counts[cell]);
        }
        match self.powers.iter().position(|known| *known == powers) {
            Some(at) => self.sums[cell * self.powers.len() + at].wide(),
            None => unreachable!("every product of two families is summed"),
        }
    }

    fn add(&mut self, a: &[u32], b: &[u32], powers: &[Vec<f64>]) {
        let width = self.powers.len();
        for row in 0..a.len() {
            let cell = match &mut self.index {
                Some(index) => index.place(a[row], b[row]),
                None => b[row],
            } as usize;
            if cell == self.counts.len() {
                self.counts.push(0.0);
                self.codes.push([a[row], b[row]]);
                self.sums.resize(self.sums.len() + width, Exact::default());
            }
            self.counts[cell] += 1.0;
            let sums = &mut self.sums[cell * width..(cell + 1) * width];
            for (sum, &[first, second]) in sums.iter_mut().zip(&self.powers) {
                if first == 0 {
                    sum.add(powers[second][row]);
                } else {
                    sum.add_product(powers[first][row], powers[second][row]);
                }
            }
        }
    }
}

fn pairs(sets: &[Vec<usize>], families: &[Family]) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = Vec::new();
    for (at, one) in families.iter().enumerate() {
        for other in &families[at..] {
            let groupings = [one.grouping.min(other.grouping), one.grouping.max(other.grouping)];
            let [a, b] = groupings;
            let known = pairs.iter().position(|pair| pair.groupings == groupings);
            let place = known.unwrap_or(pairs.len());
            if known.is_none() {
                let inside = sets[a].iter().all(|variable| sets[b].contains(variable));
                let index = (!inside).then(Index::default);
                let (codes, counts, powers, sums) = Default::default();
                pairs.push(Pair { groupings, index, codes, counts, powers, sums });
            }
            let powers = [one.power.min(other.power), one.power.max(other.power)];
            if powers != [0, 0] && !pairs[place].powers.contains(&powers) {
                pairs[place].powers.push(powers);
            }
        }
    }
    pairs
}

/// A product of numbers for every row. Adding zero turns -0 into 0, which is the same number.
fn multiplied(power: &[usize], checked: &[Checked], rows: usize) -> Vec<f64> {
    let mut values = vec![1.0; rows];
    for &variable in power {
        if let Checked::Numbers(numbers) = &checked[variable] {
            values.iter_mut().zip(numbers).for_each(|(value, number)| *value *= number + 0.0);
        }
    }
    values
}

/// Places of pairs of codes, in the order in which they came. Open addressing.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Keys and places; an empty slot has the place [`FREE`]. A power of two long.
    slots: Vec<(u64, u32)>,
    used: u32,
}

impl Index {
    fn place(&mut self, a: u32, b: u32) -> u32 {
        if self.used as usize * 2 >= self.slots.len() {
            self.grow();
        }
        let key = u64::from(a) << 32 | u64::from(b);
        let at = self.find(key);
        if self.slots[at].1 == FREE {
            self.slots[at] = (key, self.used);
            self.used += 1;
        }
        self.slots[at].1
    }

    /// The slot of a key, or the free one where it belongs.
    fn find(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (key.wrapping_mul(SPREAD) >> 32) as usize & mask;
        while self.slots[at].1 != FREE && self.slots[at].0 != key {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        let length = (2 * self.slots.len()).max(16);
        let old = std::mem::replace(&mut self.slots, vec![(0, FREE); length]);
        for (key, place) in old.into_iter().filter(|(_, place)| *place != FREE) {
            let at = self.find(key);
            self.slots[at] = (key, place);
        }
    }
}

/// A number's bits, so mixed that sums over different sets of numbers differ.
fn mixed(number: f64) -> u128 {
    let half = |start: u64| {
        let mut bits = number.to_bits().wrapping_add(start);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    };
    u128::from(half(SPREAD)) << 64 | u128::from(half(SPREAD.wrapping_mul(3)))
}

/// The square of a larger number, summed, could leave the range of floating-point numbers.
const LARGEST: f64 = 1e140;
const FREE: u32 = u32::MAX;
/// 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
