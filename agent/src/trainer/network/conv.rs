//! Convolutional layers, pooling, and what brings images back to rows.
//!
//! Floor: core.

use candle_core::{Result, Tensor};

use super::super::ops::conv::{
    Geometry, by_channel, by_channel_back, by_channel_weights, convolve, convolve_back,
    convolve_weights,
};
use super::super::ops::elementwise::{add_biases, gate, mean_of_runs, spread_over_runs, sum_rows};
use super::super::ops::pool::{Squares, largest, largest_back};
use super::room::{Room, Size, Use};
use super::{Layer, Pass};

/// How a convolution is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// Each channel alone.
    ByChannel,
    /// The gradient of a plain one in its input: from its outputs to its channels.
    Transposed,
}

#[derive(Debug)]
pub struct Conv {
    pub kind: Kind,
    pub geometry: Geometry,
    pub weights: usize,
    pub biases: Option<usize>,
    pub rectifies: bool,
}

impl Layer for Conv {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let (weights, g) = (pass.values(self.weights), &self.geometry);
        let mut said = match self.kind {
            Kind::Plain => convolve(&x, weights, g)?,
            Kind::ByChannel => by_channel(&x, weights, g)?,
            Kind::Transposed => convolve_back(&x, weights, g)?,
        };
        pass.keep(&x);
        if let Some(biases) = self.biases {
            said = add_biases(&said, pass.values(biases), self.rectifies)?;
        }
        if self.rectifies {
            pass.keep(&said);
        }
        Ok(said)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let d = match self.rectifies {
            true => {
                let ones = vec![1.0; d.dim(0)?];
                gate(d, &pass.take()?, &ones)?
            }
            false => d,
        };
        let (x, weights, g) = (pass.take()?, pass.values(self.weights), &self.geometry);
        if let Some(biases) = self.biases {
            pass.gradients[biases] = Some(sum_rows(&d)?);
        }
        pass.gradients[self.weights] = Some(match self.kind {
            Kind::Plain => convolve_weights(&x, &d, g)?,
            Kind::ByChannel => by_channel_weights(&x, &d, g)?,
            Kind::Transposed => convolve_weights(&d, &x, g)?,
        });
        wanted
            .then(|| match self.kind {
                Kind::Plain => convolve_back(&d, weights, g),
                Kind::ByChannel => by_channel_back(&d, weights, g),
                Kind::Transposed => convolve(&d, weights, g),
            })
            .transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let (pixels, places) = (self.geometry.pixels(), self.geometry.places());
        let (rows, width) = match self.kind {
            Kind::Plain => (given.rows / pixels * places, self.geometry.outputs),
            Kind::ByChannel => (given.rows / pixels * places, self.geometry.channels),
            Kind::Transposed => (given.rows / places * pixels, self.geometry.channels),
        };
        let of = Use { input: true, said: self.rectifies, ..Use::default() };
        room.layer(given, Size { rows, width }, of)
    }
}

/// The largest of each square of pixels.
#[derive(Debug)]
pub struct Pool(pub Squares);

impl Layer for Pool {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let said = largest(&x, &self.0)?;
        pass.keep(&x);
        pass.keep(&said);
        Ok(said)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let (said, x) = (pass.take()?, pass.take()?);
        wanted.then(|| largest_back(&d, &x, &said, &self.0)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let said = Size { rows: given.rows / self.0.pixels() * self.0.places(), ..given };
        room.layer(given, said, Use { input: true, said: true, ..Use::default() })
    }
}

/// The mean over all pixels or tokens of one row: [lanes, rows · run, width] → [lanes, rows, width].
#[derive(Debug)]
pub struct MeanOver(pub usize);

impl Layer for MeanOver {
    fn forward(&self, x: Tensor, _: &mut Pass<'_>) -> Result<Tensor> {
        mean_of_runs(&x, self.0)
    }

    fn backward(&self, d: Tensor, _: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        wanted.then(|| spread_over_runs(&d, self.0)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        room.layer(given, Size { rows: given.rows / self.0, ..given }, Use::default())
    }
}

/// The pixels of a row beside each other: [lanes, rows · run, width] → [lanes, rows, run · width]; or
/// the other way where `run` is what a row becomes.
#[derive(Debug)]
pub struct Reshape {
    /// Rows that go into one; 0 where one row becomes several.
    pub joins: usize,
    /// Rows that one becomes; 0 where rows are joined.
    pub cuts: usize,
}

impl Reshape {
    fn reshaped(x: &Tensor, joins: usize, cuts: usize) -> Result<Tensor> {
        let (lanes, rows, width) = x.dims3()?;
        match (joins, cuts) {
            (0, cuts) => x.reshape((lanes, rows * cuts, width / cuts)),
            (joins, _) => x.reshape((lanes, rows / joins, width * joins)),
        }
    }
}

impl Layer for Reshape {
    fn forward(&self, x: Tensor, _: &mut Pass<'_>) -> Result<Tensor> {
        Self::reshaped(&x, self.joins, self.cuts)
    }

    fn backward(&self, d: Tensor, _: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        wanted.then(|| Self::reshaped(&d, self.cuts, self.joins)).transpose()
    }

    /// The same numbers where they lie.
    fn room(&self, given: Size, _: &mut Room<'_>) -> Size {
        match (self.joins, self.cuts) {
            (0, cuts) => Size { rows: given.rows * cuts, width: given.width / cuts },
            (joins, _) => Size { rows: given.rows / joins, width: given.width * joins },
        }
    }

    fn has_parameters(&self) -> bool {
        false
    }
}
