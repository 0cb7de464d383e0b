//! Layers of layers: one after another, around, and beside.
//!
//! Floor: core.

use candle_core::{Result, Tensor};

use super::super::ops::elementwise::add;
use super::room::{Room, Size, Use};
use super::{Layer, Pass};

/// One after another.
#[derive(Debug)]
pub struct Chain(pub Vec<Box<dyn Layer>>);

impl Layer for Chain {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        self.0.iter().try_fold(x, |x, layer| layer.forward(x, pass))
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let mut d = d;
        for (place, layer) in self.0.iter().enumerate().rev() {
            let wanted = wanted || self.0[..place].iter().any(|before| before.has_parameters());
            match layer.backward(d, pass, wanted)? {
                Some(before) => d = before,
                None => return Ok(None),
            }
        }
        Ok(Some(d))
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        self.0.iter().fold(given, |given, layer| {
            let said = layer.room(given, room);
            if layer.has_parameters() {
                room.want_gradients();
            }
            said
        })
    }
}

/// What the body says, added to its input, or to what a shortcut says of that.
#[derive(Debug)]
pub struct Residual {
    pub body: Chain,
    pub shortcut: Option<Chain>,
}

impl Layer for Residual {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let beside = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x.clone(), pass)?,
            None => x.clone(),
        };
        // Into what the body said: the input may be on the tape.
        add(self.body.forward(x, pass)?, &beside)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let through = self.body.backward(d.copy()?, pass, wanted)?;
        let beside = match &self.shortcut {
            Some(shortcut) => shortcut.backward(d, pass, wanted)?,
            None => Some(d),
        };
        through.zip(beside).map(|(through, beside)| add(through, &beside)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        // While the shortcut goes back, the body's gradient in the input waits, and before that, while
        // the body does, the one in what both said.
        let own = (given.numbers(), given.numbers());
        let said = match &self.shortcut {
            Some(shortcut) => {
                let said = room.inside(own, |room| shortcut.room(given, room));
                room.meet_again();
                said
            }
            None => given,
        };
        let held = (said.numbers(), said.numbers());
        room.inside(held, |room| self.body.room(given, room))
    }
}

/// The input and what the body says of it, channel beside channel.
#[derive(Debug)]
pub struct Beside {
    pub body: Chain,
    /// Of the input.
    pub channels: usize,
}

impl Layer for Beside {
    fn forward(&self, x: Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let said = self.body.forward(x.clone(), pass)?;
        Tensor::cat(&[&x, &said], 2)
    }

    fn backward(&self, d: Tensor, pass: &mut Pass<'_>, wanted: bool) -> Result<Option<Tensor>> {
        let rest = d.dim(2)? - self.channels;
        let (own, of_body) = (d.narrow(2, 0, self.channels)?, d.narrow(2, self.channels, rest)?);
        let through = self.body.backward(of_body.contiguous()?, pass, wanted)?;
        through.map(|through| add(through, &own.contiguous()?)).transpose()
    }

    fn room(&self, given: Size, room: &mut Room<'_>) -> Size {
        // The gradient of both parts waits for the body, which says as much as it is given.
        let held = (2 * given.numbers(), given.numbers());
        let body = room.inside(held, |room| self.body.room(given, room));
        let said = given.wide(given.width + body.width);
        room.layer(given, said, Use { moment: body.numbers(), ..Use::default() })
    }
}
