//! A Gaussian process over the space, asked where improvement is expected.
//!
//! Told variances, over seeds and folds, are its noise: a score that could be luck is trusted less
//! (Shahriari et al. 2015, Proc. IEEE 104(1), §V). Its parameters are fitted when the told have grown
//! by a quarter, on [`FIT_MAX`] of them at most, and it holds [`ROWS_MAX`] rows at most: a tell costs
//! rows² and an ask as much for every look. All of it happens in the telling, by counts alone, so
//! that a replay repeats it. Open proposals count as told with the expected score. Deliberately
//! absent: averaging over parameters. Looked at: `egobox-ego` 0.42.0 suggests points, but brings 197
//! crates and one nugget for all scores; `friedrich` 0.6.0 grows a factor, with one noise for all
//! scores; so has the process of `optimizer` 1.0.1. None takes a noise for each score.
//!
//! Floor: common.

mod acquire;
mod fit;
mod kernel;

use self::kernel::{Process, Row, Shape, dense};
use super::book::{Book, State};
use super::cube::{Cube, Point};
use crate::stats::summary;

#[derive(Clone, Debug)]
pub(super) struct Gaussian {
    shape: Shape,
    model: Option<Model>,
    /// The number of told configs at the last fit.
    fitted_at: usize,
    /// The worst loss told: what a failed config counts as.
    worst: Option<f64>,
}

#[derive(Clone, Debug)]
struct Model {
    process: Process,
    warp: Warp,
}

impl Gaussian {
    pub fn new(cube: &Cube) -> Self {
        Self { shape: Shape::of(cube), model: None, fitted_at: 0, worst: None }
    }

    /// `None` while too few are told.
    pub fn propose(&self, book: &Book) -> Option<Point> {
        let model = self.model.as_ref()?;
        let open: Vec<usize> = book.open().collect();
        if open.is_empty() {
            return acquire::choose(book, &model.process);
        }
        let mut process = model.process.clone();
        for number in &open[open.len().saturating_sub(OPEN_MAX)..] {
            process.believe(dense(&book.points[*number]));
        }
        acquire::choose(book, &process)
    }

    /// Takes note of the config told last.
    pub fn told(&mut self, book: &Book) {
        let Some(number) = book.told.last() else { return };
        if let Some(loss) = book.states[*number].loss() {
            self.worst = Some(self.worst.map_or(loss, |worst| worst.max(loss)));
        }
        let (count, Some(worst)) = (book.told.len(), self.worst) else { return };
        if count < startup(book.cube.axes()) {
            return;
        }
        if self.model.is_none() || count >= self.fitted_at + (self.fitted_at / 4).max(1) {
            self.fitted_at = count;
            self.rebuild(book, worst, true);
            return;
        }
        match &mut self.model {
            Some(model) if model.process.size() < ROWS_MAX => {
                model.process.grow(model.warp.row(book, *number, worst));
            }
            _ => self.rebuild(book, worst, false),
        }
    }

    /// Chooses rows anew, and parameters where `fit` says so.
    fn rebuild(&mut self, book: &Book, worst: f64, fit: bool) {
        let losses: Vec<f64> = book.losses().map(|(_, loss)| loss).collect();
        let warp = Warp::of(&losses);
        let loss = |number: &usize| book.states[*number].loss().unwrap_or(worst);
        let rows = chosen(&book.told, loss, ROWS_MAX, ROWS_KEPT);
        let row = |number: usize| warp.row(book, number, worst);
        let before = self.model.take().map(|model| model.process.kernel);
        let kernel = match before {
            Some(kernel) if !fit => kernel,
            before => {
                let few = chosen(&rows, loss, FIT_MAX, FIT_MAX);
                let few: Vec<Row> = few.into_iter().map(row).collect();
                fit::fit(&self.shape, &few, before.as_ref())
            }
        };
        let rows = rows.into_iter().map(row).collect();
        let process = Process::new(self.shape.clone(), kernel, rows);
        self.model = Some(Model { process, warp });
    }
}

/// All numbers up to `most`; of more, `kept` of them: half the best, half the last told.
fn chosen(told: &[usize], loss: impl Fn(&usize) -> f64, most: usize, kept: usize) -> Vec<usize> {
    if told.len() <= most {
        return told.to_vec();
    }
    let mut places: Vec<usize> = (0..told.len()).collect();
    places.sort_by(|a, b| loss(&told[*a]).total_cmp(&loss(&told[*b])));
    let mut keep = vec![false; told.len()];
    places.iter().take(kept / 2).for_each(|place| keep[*place] = true);
    let mut left = kept - kept / 2;
    for place in (0..told.len()).rev() {
        if left > 0 && !keep[place] {
            keep[place] = true;
            left -= 1;
        }
    }
    told.iter().zip(keep).filter(|(_, keep)| *keep).map(|(number, _)| *number).collect()
}

/// Losses as the process sees them: mean 0, variance 1, and the worse half drawn together.
///
/// Above the median a loss grows by its logarithm: how bad a bad config is says little about where
/// the good ones are, and a few huge losses would flatten the rest.
#[derive(Clone, Copy, Debug)]
struct Warp {
    median: f64,
    /// From the least to the median; positive.
    half: f64,
    centre: f64,
    spread: f64,
}

impl Warp {
    fn of(losses: &[f64]) -> Self {
        let median = summary::median(losses);
        let least = losses.iter().fold(f64::INFINITY, |least, loss| least.min(*loss));
        // Where most are the least, the distance to the next one.
        let next =
            losses.iter().filter(|loss| **loss > median).fold(f64::INFINITY, |a, b| a.min(*b));
        let half = [median - least, next - median].into_iter().find(|half| *half > 0.0);
        let half = half.filter(|half| half.is_finite()).unwrap_or(1.0);
        let mut warp = Self { median, half, centre: 0.0, spread: 1.0 };
        let drawn: Vec<f64> = losses.iter().map(|loss| warp.drawn(*loss).0).collect();
        let spread = summary::sd(&drawn).filter(|sd| *sd > 0.0 && sd.is_finite());
        (warp.centre, warp.spread) = (summary::mean(&drawn), spread.unwrap_or(1.0));
        warp
    }

    /// The loss drawn in, and how much of a small change is left there.
    fn drawn(&self, loss: f64) -> (f64, f64) {
        let above = (loss - self.median) / self.half;
        match above <= 0.0 {
            true => (loss, 1.0),
            false => (self.median + self.half * above.ln_1p(), 1.0 / (1.0 + above)),
        }
    }

    fn row(&self, book: &Book, number: usize, worst: f64) -> Row {
        let (loss, variance) = match book.states[number] {
            State::Scored { loss, variance } => (loss, variance),
            State::Open | State::Failed => (worst, None),
        };
        let (drawn, left) = self.drawn(loss);
        let variance = variance.map(|variance| variance * (left / self.spread).powi(2));
        Row { x: dense(&book.points[number]), y: (drawn - self.centre) / self.spread, variance }
    }
}

/// Told configs before the first fit.
pub(super) fn startup(axes: usize) -> usize {
    10.min(2 * axes + 2)
}

const ROWS_MAX: usize = 256;
/// Rows that are left when there are too many.
const ROWS_KEPT: usize = 128;
const FIT_MAX: usize = 128;
/// Open proposals that are believed.
const OPEN_MAX: usize = 64;
