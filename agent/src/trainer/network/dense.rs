//! Dense layers: a product, biases, and where asked a rectifier and dropout.
//!
//! Floor: core.

use candle_core::{Result, Tensor};

use super::super::ops::elementwise::{add_biases, gate, multiply, sum_rows};
use super::super::ops::product::{product, product_in};
use super::room::{Room, Size, Use};
use super::{Layer, Pass};

/// x [lanes, rows, inputs] → [lanes, rows, outputs].
#[derive(Debug)]
pub struct Dense {
    /// Parameter [lanes, inputs, outputs].
    pub weights: usize,
    /// Parameter [lanes, 1, outputs].
    pub biases: usize,
    pub rectifies: bool,
    /// Whether units are dropped, which only a layer that rectifies does.
    pub drops: bool,
}

impl Layer for Dense {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let weights = pass.values(self.weights);
        let sums = match pass.is_trained() {
            true => product_in(&mut pass.spent.said[self.weights], &x, weights)?,
            false => product(&x, weights)?,
        };
        let mut said = add_biases(&sums, pass.values(self.biases), self.rectifies)?;
        pass.keep(&x);
        if let Some(noise) = pass.noise.as_mut().filter(|_| self.drops)
            && let Some(mask) = noise.mask(1, said.dim(2)?)?
        {
            said = multiply(said, &mask)?;
        }
        if self.rectifies {
            pass.keep(&said);
        }
        Ok(said)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let d = match self.rectifies {
            true => {
                let gains = if self.drops { pass.gains() } else { vec![1.0; d.dim(0)?] };
                gate(d, &pass.take()?, &gains)?
            }
            false => d,
        };
        let x = pass.take()?;
        let spent = &mut pass.spent.gradients[self.weights];
        pass.gradients[self.weights] = Some(product_in(spent, &x.transpose(1, 2)?, &d)?);
        pass.gradients[self.biases] = Some(sum_rows(&d)?);
        let weights = pass.values(self.weights);
        let spent = &mut pass.spent.slopes[self.weights];
        wanted.then(|| product_in(spent, &d, &weights.transpose(1, 2)?)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let said = given.wide(room.shape(self.biases).1);
        let moment = if self.drops && room.drops { said.numbers() } else { 0 };
        let said_too = self.rectifies;
        room.layer(
            given,
            said,
            Use { input: true, said: said_too, moment, slope_stays: true, ..Use::default() },
        )
    }
}

/// Dropout alone.
#[derive(Debug)]
pub struct Drop {
    /// Rows that belong to one row of the minibatch.
    pub of_place: usize,
}

impl Layer for Drop {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let Some(noise) = pass.noise.as_mut() else { return Ok(x) };
        let width = x.dim(2)?;
        match noise.mask(self.of_place, width)? {
            Some(mask) => {
                pass.keep(&mask);
                // Not in place: what is dropped here may be kept elsewhere.
                &x * &mask
            }
            None => Ok(x),
        }
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let dropped = pass.gains().iter().any(|&gain| gain != 1.0);
        if !dropped {
            return Ok(wanted.then_some(d));
        }
        let mask = pass.take()?;
        wanted.then(|| multiply(d, &mask)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        match room.drops {
            true => room.layer(given, given, Use { more: given.numbers(), ..Use::default() }),
            false => given,
        }
    }
}
