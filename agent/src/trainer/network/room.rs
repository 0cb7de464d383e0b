//! How many numbers a step of one lane holds at once, told from the layers alone.
//!
//! What forward keeps lies on a tape until backward comes to its layer, which then holds beside it
//! the gradient in what it said and the one in its input; the latter stays from step to step where a
//! layer uses its room again. So the most is at one of the layers, and each tells what it adds. Numbers of tensors are counted; deliberately absent: what a product packs
//! for a moment, which is of one lane however many there are.
//!
//! Floor: core.

use super::Parameter;

/// What a layer is given or says of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub width: usize,
}

impl Size {
    pub fn numbers(&self) -> usize {
        self.rows * self.width
    }

    /// As many rows of another width.
    pub fn wide(&self, width: usize) -> Self {
        Self { width, ..*self }
    }
}

/// Numbers of one lane, counted from the first layer to the last.
#[derive(Debug)]
pub struct Room<'a> {
    parameters: &'a [Parameter],
    /// Whether units are dropped.
    pub drops: bool,
    /// Whether a gradient is wanted in what the next layer is given.
    wanted: bool,
    /// On the tape.
    tape: usize,
    /// Whether what the last layer said is on it.
    kept: bool,
    /// What layers around the next one hold meanwhile: on the way back, and where nothing is trained.
    around: (usize, usize),
    /// The most at once of a step.
    pub trained: usize,
    /// The most at once where nothing is trained.
    pub still: usize,
}

/// What a layer adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// It keeps its input.
    pub input: bool,
    /// It keeps what it says.
    pub said: bool,
    /// Numbers that it keeps besides.
    pub more: usize,
    /// Numbers that it holds for a moment, there or back.
    pub moment: usize,
    /// The gradient in its input stays until the next step overwrites it.
    pub slope_stays: bool,
}

impl<'a> Room<'a> {
    /// Before the first layer. `drops`: some of the lanes drop units.
    pub fn new(parameters: &'a [Parameter], drops: bool) -> Self {
        Self {
            parameters,
            drops,
            wanted: false,
            tape: 0,
            kept: false,
            around: (0, 0),
            trained: 0,
            still: 0,
        }
    }

    /// Rows and columns of a parameter.
    pub fn shape(&self, parameter: usize) -> (usize, usize) {
        self.parameters[parameter].shape().unwrap_or_default()
    }

    /// A layer that makes a tensor `said` of the one `given`; `said`.
    pub fn layer(&mut self, given: Size, said: Size, of: Use) -> Size {
        if of.input && !self.kept {
            self.tape += given.numbers();
        }
        self.tape += of.more + if of.said { said.numbers() } else { 0 };
        self.kept = of.said;
        let slope = if self.wanted { given.numbers() } else { 0 };
        let (stays, goes) = if of.slope_stays { (slope, 0) } else { (0, slope) };
        self.tape += stays;
        let back = self.tape + self.around.0 + goes + said.numbers() + of.moment;
        self.trained = self.trained.max(back);
        let forth = self.around.1 + given.numbers() + said.numbers() + of.more + of.moment;
        self.still = self.still.max(forth);
        said
    }

    /// After a layer with parameters.
    pub fn want_gradients(&mut self) {
        self.wanted = true;
    }

    /// What `of` counts while a layer around it holds so many numbers, back and forth.
    pub fn inside<R>(&mut self, held: (usize, usize), of: impl FnOnce(&mut Self) -> R) -> R {
        self.around = (self.around.0 + held.0, self.around.1 + held.1);
        let made = of(self);
        self.around = (self.around.0 - held.0, self.around.1 - held.1);
        made
    }

    /// The next layer is given what one before kept.
    pub fn meet_again(&mut self) {
        self.kept = true;
    }
}
