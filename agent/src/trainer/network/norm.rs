//! Normalising layers, each with a scale and a shift by channel.
//!
//! Floor: core.

use candle_core::{Result, Tensor};

use super::super::ops::elementwise::{gate, rectified, sum_rows};
use super::super::ops::norm::{
    Sets, batch_back, batch_moments, normalise, normalise_sets, run_on, scaled, scaled_back,
    sets_back,
};
use super::room::{Room, Size, Use};
use super::{Layer, Pass};

/// Over the minibatch by channel; once trained, by the means and variances that ran along.
#[derive(Debug)]
pub struct BatchNorm {
    pub scale: usize,
    pub shift: usize,
    /// Parameter [lanes, 2, channels], not trained.
    pub running: usize,
    /// Rows that belong to one row of the minibatch.
    pub of_place: usize,
}

impl Layer for BatchNorm {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let running = pass.values(self.running);
        let moments = match pass.is_trained() {
            true => {
                let counts = pass.counts(self.of_place);
                let moments = batch_moments(&x, &counts)?;
                run_on(running, &moments, &counts)?;
                moments
            }
            false => running.contiguous()?,
        };
        let said = normalise(&x, &moments)?;
        pass.keep(&said);
        pass.keep(&moments);
        scaled(&said, pass.values(self.scale), pass.values(self.shift))
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let (moments, said) = (pass.take()?, pass.take()?);
        let counts = pass.counts(self.of_place);
        pass.gradients[self.shift] = Some(sum_rows(&d)?);
        pass.gradients[self.scale] = Some(sum_rows(&(&d * &said)?)?);
        let d = scaled_back(&d, pass.values(self.scale))?;
        wanted.then(|| batch_back(&d, &said, &moments, &counts)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let more = given.numbers() + 2 * given.width;
        room.layer(given, given, Use { more, moment: given.numbers(), ..Use::default() })
    }
}

/// Within each row's own sets: layer norm and group norm.
#[derive(Debug)]
pub struct SetNorm {
    pub scale: usize,
    pub shift: usize,
    pub sets: Sets,
}

impl Layer for SetNorm {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let said = normalise_sets(&x, self.sets)?;
        pass.keep(&x);
        pass.keep(&said);
        scaled(&said, pass.values(self.scale), pass.values(self.shift))
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let (said, x) = (pass.take()?, pass.take()?);
        pass.gradients[self.shift] = Some(sum_rows(&d)?);
        pass.gradients[self.scale] = Some(sum_rows(&(&d * &said)?)?);
        let d = scaled_back(&d, pass.values(self.scale))?;
        wanted.then(|| sets_back(&d, &x, &said, self.sets)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        let (more, moment) = (given.numbers(), given.numbers());
        room.layer(given, given, Use { input: true, more, moment, ..Use::default() })
    }
}

/// Below 0 then 0.
#[derive(Debug)]
pub struct Rectify;

impl Layer for Rectify {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let said = rectified(x)?;
        pass.keep(&said);
        Ok(said)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let said = pass.take()?;
        let ones = vec![1.0; d.dim(0)?];
        wanted.then(|| gate(d, &said, &ones)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        room.layer(given, given, Use { said: true, ..Use::default() })
    }
}
