//! Layers of a transformer: tokens to vectors, places, attention.
//!
//! Floor: core.

use candle_core::{Result, Tensor};

use super::super::ops::attention::{Heads, attend, attend_back};
use super::super::ops::elementwise::add;
use super::super::ops::table::{looked_up, looked_up_back};
use super::room::{Room, Size, Use};
use super::{Layer, Pass};

/// Tokens to their vectors: [lanes, rows, 1] → [lanes, rows, width].
#[derive(Debug)]
pub struct Embed {
    /// Parameter [lanes, tokens, width].
    pub table: usize,
}

impl Layer for Embed {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        pass.keep(&x);
        looked_up(pass.values(self.table), &x)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, _: bool) -> Result<Option<Tensor>> {
        let ids = pass.take()?;
        let tokens = pass.values(self.table).dim(1)?;
        pass.gradients[self.table] = Some(looked_up_back(&d, &ids, tokens)?);
        Ok(None)
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let said = given.wide(room.shape(self.table).1);
        room.layer(given, said, Use { input: true, ..Use::default() })
    }
}

/// Adds to each token of a sequence the vector of its place.
#[derive(Debug)]
pub struct Places {
    /// Parameter [lanes, tokens of a sequence, width].
    pub table: usize,
}

impl Layer for Places {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let (lanes, rows, width) = x.dims3()?;
        let table = pass.values(self.table);
        let tokens = table.dim(1)?;
        let table = table.reshape((lanes, 1, tokens, width))?;
        let wide = table.broadcast_as((lanes, rows / tokens, tokens, width))?;
        add(x, &wide.contiguous()?.reshape((lanes, rows, width))?)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let (lanes, rows, width) = d.dims3()?;
        let tokens = pass.values(self.table).dim(1)?;
        let sums = d.reshape((lanes, rows / tokens, tokens * width))?;
        let sums = super::super::ops::elementwise::sum_rows(&sums)?;
        pass.gradients[self.table] = Some(sums.reshape((lanes, tokens, width))?);
        Ok(wanted.then_some(d))
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        room.layer(given, given, Use::default())
    }
}

/// Attention alone: [lanes, rows, 3 · width] → [lanes, rows, width].
#[derive(Debug)]
pub struct Attention(pub Heads);

impl Layer for Attention {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        pass.keep(&x);
        attend(&x, &self.0)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let x = pass.take()?;
        wanted.then(|| attend_back(&d, &x, &self.0)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let said = given.wide(self.0.width);
        room.layer(given, said, Use { input: true, ..Use::default() })
    }
}

/// Columns of levels replaced by vectors: x [lanes, rows, inputs] → [lanes, rows, outputs], numeric
/// columns as they are and each text column's levels as their vector.
#[derive(Debug)]
pub struct EmbedLevels {
    pub columns: Vec<Column>,
}

/// A stretch of neighbouring features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub start: usize,
    pub width: usize,
    /// Parameter [lanes, levels, width of a vector]; `None` for numbers.
    pub table: Option<usize>,
}

impl Layer for EmbedLevels {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        pass.keep(&x);
        let part = |column: &Column| {
            let part = x.narrow(2, column.start, column.width)?.contiguous()?;
            match column.table {
                // One level is 1 and the others 0, so the product is that level's vector.
                Some(table) => super::super::ops::product::product(&part, pass.values(table)),
                None => Ok(part),
            }
        };
        let parts = self.columns.iter().map(part).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 2)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, _: bool) -> Result<Option<Tensor>> {
        let x = pass.take()?;
        let mut at = 0;
        for column in &self.columns {
            let Some(table) = column.table else {
                at += column.width;
                continue;
            };
            let width = pass.values(table).dim(2)?;
            let part = x.narrow(2, column.start, column.width)?.contiguous()?;
            let d = d.narrow(2, at, width)?.contiguous()?;
            let gradient = super::super::ops::product::product(&part.transpose(1, 2)?, &d)?;
            pass.gradients[table] = Some(gradient);
            at += width;
        }
        Ok(None)
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let wide = |column: &Column| column.table.map_or(column.width, |table| room.shape(table).1);
        let said = given.wide(self.columns.iter().map(wide).sum());
        // Columns are cut out, and what becomes of them is put side by side.
        let moment = given.numbers() + said.numbers();
        room.layer(given, said, Use { input: true, moment, ..Use::default() })
    }
}
