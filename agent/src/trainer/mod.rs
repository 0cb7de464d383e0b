//! The trainer: trials and rows in, one ending a trial out.
//!
//! A lane's outcome is bit-identical whatever its neighbours, however often it is trained, and
//! whatever other threads do: lanes share steps and nothing else, no order of summing depends on
//! how many there are, and no thread but the caller's works. A single trial is a cohort of one. Nor
//! do its bits depend on whether it was broken off after an epoch and gone on with from a checkpoint.
//! Deliberately absent: clocks (the caller measures), the choice of a device, files.
//!
//! Floor: core.

mod checkpoint;
mod constant;
mod evaluate;
mod fit;
mod lanes;
mod loss;
mod minibatch;
mod need;
mod network;
mod ops;
mod optimizer;
mod place;
mod rows;
mod scale;
mod shuffle;
mod width;

use std::cmp::Reverse;
use std::sync::Arc;

use candle_core::{Device, Result};
use common::id::TrialIndex;
use common::metric::Metric;
use common::study::{Model, Study};
use common::table::Dataset;
use common::trial::{Ending, FailReason};

use fit::Member;

pub use checkpoint::{Checkpoint, CheckpointError, Leg, Shelf};
pub use lanes::{Lane, LaneError, StreamSeeds, open, time_order};
pub use need::{Need, NoRoom};
pub use place::{Place, Where};
pub use width::{Climb, Fixed, How, Widths};

/// What trains.
#[derive(Clone, Debug)]
pub struct Machine {
    pub device: Device,
    /// How many lanes train at once; more wait for a place.
    pub widths: Arc<dyn Widths>,
}

impl Default for Machine {
    /// The calling thread, at a width that suits most processors: so many small networks and their
    /// moments lie in a core's second cache.
    fn default() -> Self {
        Self { device: Device::Cpu, widths: Arc::new(Fixed(8)) }
    }
}

/// Trains `trials` and tests each on its outer fold: one ending a trial, in their order.
///
/// Trials of one [`common::study::Shape`] train together; others after one another. `stop` is asked
/// once a step; when it says yes, the answer is `None` and nothing was learnt. Outcomes carry
/// neither duration nor device: both are the caller's to fill in. All work is done by the calling
/// thread, so that an agent runs one trainer a core.
pub fn train(
    study: &Study,
    dataset: &Dataset,
    trials: &[TrialIndex],
    machine: &Machine,
    stop: &dyn Fn() -> bool,
) -> Option<Vec<Ending>> {
    let legs = vec![Leg::default(); trials.len()];
    let trained = train_legs(study, dataset, (trials, &legs), machine, stop)?;
    Some(trained.into_iter().map(|trained| trained.ending).collect())
}

/// How a leg ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// What the lane scored at the end of the leg, as an outcome of so many epochs.
    pub ending: Ending,
    /// Where it stands, if the leg asked for that; never of what was not fitted by us.
    pub checkpoint: Option<Checkpoint>,
}

impl From<Ending> for Trained {
    fn from(ending: Ending) -> Self {
        Self { ending, checkpoint: None }
    }
}

/// Trains a leg of each trial, as [`train`] does the whole, one leg a trial: weights, scores and curve
/// of a trial are those that one training without a break has after as many epochs.
pub fn train_legs(
    study: &Study,
    dataset: &Dataset,
    (trials, legs): (&[TrialIndex], &[Leg<'_>]),
    machine: &Machine,
    stop: &dyn Fn() -> bool,
) -> Option<Vec<Trained>> {
    let opened = open(study, dataset, trials);
    let mut all: Vec<Option<Trained>> =
        opened.iter().map(|lane| lane.as_ref().err().map(|error| failed(error).into())).collect();
    let (places, lanes): (Vec<usize>, Vec<Lane>) =
        opened.into_iter().enumerate().filter_map(|(at, lane)| Some((at, lane.ok()?))).unzip();
    let members: Vec<Member<'_>> = places
        .iter()
        .zip(&lanes)
        .map(|(&at, lane)| Member { lane, leg: legs.get(at).copied().unwrap_or_default() })
        .collect();
    let asked = evaluate::Asked { metrics: &study.metrics, keep_rows: study.keeps_rows() };
    let trained = train_members(dataset, &members, &asked, machine, stop)?;
    for (at, trained) in places.into_iter().zip(trained) {
        all[at] = Some(trained);
    }
    all.into_iter().collect()
}

/// What trials are, before they are trained.
#[derive(Clone, Debug)]
pub struct About {
    /// Which kind of network, in words.
    pub kind: String,
    /// Of each trial: rows of an epoch, and epochs if it is not stopped early.
    pub rows: Vec<(u64, u64)>,
}

/// About `trials`; `None` where one cannot be opened, or nothing is to be fitted.
pub fn about(study: &Study, dataset: &Dataset, trials: &[TrialIndex]) -> Option<About> {
    let lanes: Vec<Lane> =
        open(study, dataset, trials).into_iter().collect::<std::result::Result<_, _>>().ok()?;
    let first = lanes.iter().find(|lane| lane.model != Model::Constant)?;
    let rows = lanes.iter().map(|lane| {
        (lane.train_rows.len() as u64, lane.hyper.until.unwrap_or(lane.hyper.epochs).into())
    });
    Some(About { kind: width::kind(dataset, first), rows: rows.collect() })
}

/// Trains opened `lanes`, as [`train`] does: one ending a lane, in their order.
///
/// `metrics` in the order in which outcomes shall list them; `keep_rows` asks for one score a test
/// row.
pub fn train_lanes(
    dataset: &Dataset,
    lanes: &[Lane],
    metrics: &[Metric],
    keep_rows: bool,
    machine: &Machine,
    stop: &dyn Fn() -> bool,
) -> Option<Vec<Ending>> {
    let members: Vec<Member<'_>> = lanes.iter().map(Member::from).collect();
    let asked = evaluate::Asked { metrics, keep_rows };
    let trained = train_members(dataset, &members, &asked, machine, stop)?;
    Some(trained.into_iter().map(|trained| trained.ending).collect())
}

fn train_members(
    dataset: &Dataset,
    members: &[Member<'_>],
    asked: &evaluate::Asked<'_>,
    machine: &Machine,
    stop: &dyn Fn() -> bool,
) -> Option<Vec<Trained>> {
    let mut all: Vec<Option<Trained>> = vec![None; members.len()];
    for stack in stacks(members) {
        let together: Vec<Member<'_>> = stack.iter().map(|&at| members[at]).collect();
        let trained = match train_stack(dataset, &together, asked, machine, stop) {
            Ok(trained) => trained?,
            Err(error) if width::is_no_room(&error) => vec![no_room(&error).into(); stack.len()],
            Err(error) => vec![failed(&error).into(); stack.len()],
        };
        for (at, trained) in stack.into_iter().zip(trained) {
            all[at] = Some(trained);
        }
    }
    all.into_iter().collect()
}

/// Places of the lanes that train together: of one shape, the longest first, so that none of them
/// is left to train alone at the end.
fn stacks(members: &[Member<'_>]) -> Vec<Vec<usize>> {
    let steps = |member: &Member<'_>| Reverse((member.epochs_left(), member.lane.train_rows.len()));
    let shape = |at: &usize| members[*at].lane.hyper.shape(members[*at].lane.model);
    let mut places: Vec<usize> = (0..members.len()).collect();
    places.sort_by_cached_key(|at| (shape(at), steps(&members[*at]), *at));
    places.chunk_by(|a, b| shape(a) == shape(b)).map(<[usize]>::to_vec).collect()
}

fn train_stack(
    dataset: &Dataset,
    members: &[Member<'_>],
    asked: &evaluate::Asked<'_>,
    machine: &Machine,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<Trained>>> {
    if members[0].lane.model == Model::Constant {
        let trained = |member: &Member<'_>| {
            let lane = member.lane;
            let outputs = constant::outputs(dataset, &lane.train_rows, lane.test_rows.len());
            evaluate::judged(dataset, lane, &outputs, lane.hyper.epochs, asked).into()
        };
        return Ok(Some(members.iter().map(trained).collect()));
    }
    let Some(fitted) = fitted(dataset, members, machine, stop)? else { return Ok(None) };
    let trained = |(fitted, member): (fit::Fitted<'_>, &Member<'_>)| {
        let ending = evaluate::ending(dataset, member.lane, &fitted, asked, &machine.device)?;
        Ok(Trained { ending, checkpoint: fitted.checkpoint })
    };
    fitted.into_iter().zip(members).map(trained).collect::<Result<_>>().map(Some)
}

/// Fits the lanes as wide as there is memory for: on a processor that is told beforehand.
fn fitted<'a>(
    dataset: &'a Dataset,
    members: &[Member<'a>],
    machine: &Machine,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<fit::Fitted<'a>>>> {
    let lanes: Vec<&Lane> = members.iter().map(|member| member.lane).collect();
    let kind = width::kind(dataset, lanes[0]);
    let on_processor = machine.device.is_cpu();
    let need = on_processor.then(|| Need::of(dataset, &lanes)).transpose()?;
    let begin = || {
        let width = machine.widths.begin(&kind, lanes.len(), need.as_ref());
        width.map_err(candle_core::Error::wrap)
    };
    let fit = |width| fit::fit(dataset, members, width, &machine.device, stop);
    narrowed(lanes.len(), &begin, fit, |width, fitted| {
        let shown = |(fitted, lane): (&fit::Fitted<'_>, &&Lane)| {
            u64::from(fitted.epochs - fitted.begun) * lane.train_rows.len() as u64
        };
        let how = match fitted {
            Ok(Some(fitted)) => How::Trained { rows: fitted.iter().zip(&lanes).map(shown).sum() },
            Err(error) if width > 1 && width::is_no_room(error) => How::NoRoom,
            _ => How::Stopped,
        };
        machine.widths.ended(&kind, width, lanes.len(), how);
    })
}

/// What `fit` gives at the width that `begin` says, at most `lanes`: what there was no room for is tried
/// again at half the width, and no trial has failed by it. `ended` hears of every try.
fn narrowed<T>(
    lanes: usize,
    begin: &dyn Fn() -> Result<usize>,
    fit: impl Fn(usize) -> Result<T>,
    ended: impl Fn(usize, &Result<T>),
) -> Result<T> {
    let mut most = lanes;
    loop {
        let width = begin()?.clamp(1, most);
        let fitted = fit(width);
        ended(width, &fitted);
        match fitted {
            Err(error) if width > 1 && width::is_no_room(&error) => most = width / 2,
            fitted => return fitted,
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Ending {
    Ending::Failed { reason: FailReason::Error, detail: error.to_string() }
}

/// Not even one lane had room.
fn no_room(error: &dyn std::fmt::Display) -> Ending {
    Ending::Failed { reason: FailReason::OutOfMemory, detail: error.to_string() }
}

#[cfg(test)]
mod tests;
