//! The trainer: trials and rows in, one ending a trial out.
//!
//! A lane's outcome is bit-identical whatever its neighbours, however often it is trained, and
//! whatever other threads do: lanes share steps and nothing else, no order of summing depends on
//! how many there are, and no thread but the caller's works. A single trial is a cohort of one.
//! Deliberately absent: clocks (the caller measures), devices other than the processor, files.
//!
//! Floor: core.

mod evaluate;
mod fit;
mod lanes;
mod loss;
mod minibatch;
mod models;
mod optimizer;
mod product;
mod scale;
mod shuffle;
mod slices;

use candle_core::Result;
use common::id::TrialIndex;
use common::metric::Metric;
use common::study::{Model, Study};
use common::table::Dataset;
use common::trial::{Ending, FailReason};

pub use lanes::{Lane, LaneError, StreamSeeds, open};

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
    stop: &dyn Fn() -> bool,
) -> Option<Vec<Ending>> {
    let opened = open(study, dataset, trials);
    let mut endings: Vec<Option<Ending>> =
        opened.iter().map(|lane| lane.as_ref().err().map(|error| failed(error))).collect();
    let (places, lanes): (Vec<usize>, Vec<Lane>) =
        opened.into_iter().enumerate().filter_map(|(at, lane)| Some((at, lane.ok()?))).unzip();
    let trained = train_lanes(dataset, &lanes, &study.metrics, study.keeps_rows(), stop)?;
    for (at, ending) in places.into_iter().zip(trained) {
        endings[at] = Some(ending);
    }
    endings.into_iter().collect()
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
    stop: &dyn Fn() -> bool,
) -> Option<Vec<Ending>> {
    let mut endings: Vec<Option<Ending>> = vec![None; lanes.len()];
    let report = evaluate::Asked { metrics, keep_rows };
    for stack in stacks(lanes) {
        let members: Vec<&Lane> = stack.iter().map(|&at| &lanes[at]).collect();
        let outcomes = match train_stack(dataset, &members, &report, stop) {
            Ok(outcomes) => outcomes?,
            Err(error) => vec![failed(&error); stack.len()],
        };
        for (at, ending) in stack.into_iter().zip(outcomes) {
            endings[at] = Some(ending);
        }
    }
    endings.into_iter().collect()
}

/// Places of the lanes that train together: of one shape, and of similar length, since a stack
/// lasts as long as its longest lane.
fn stacks(lanes: &[Lane]) -> Vec<Vec<usize>> {
    let steps = |lane: &Lane| (lane.hyper.epochs, lane.train_rows.len());
    let shape = |at: &usize| lanes[*at].hyper.shape(lanes[*at].model);
    let mut places: Vec<usize> = (0..lanes.len()).collect();
    places.sort_by_cached_key(|at| (shape(at), steps(&lanes[*at]), *at));
    let alike = places.chunk_by(|a, b| shape(a) == shape(b));
    alike.flat_map(|alike| alike.chunks(STACK_LANES)).map(<[usize]>::to_vec).collect()
}

fn train_stack(
    dataset: &Dataset,
    lanes: &[&Lane],
    asked: &evaluate::Asked<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<Ending>>> {
    if lanes[0].model == Model::Constant {
        let ending = |lane: &&Lane| {
            let outputs =
                models::constant::outputs(dataset, &lane.train_rows, lane.test_rows.len());
            evaluate::judged(dataset, lane, &outputs, asked)
        };
        return Ok(Some(lanes.iter().map(ending).collect()));
    }
    let Some(fitted) = fit::fit(dataset, lanes, stop)? else {
        return Ok(None);
    };
    let lanes = fitted.iter().zip(lanes);
    let endings = lanes.map(|(fitted, lane)| evaluate::ending(dataset, lane, fitted, asked));
    endings.collect::<Result<_>>().map(Some)
}

fn failed(error: &dyn std::fmt::Display) -> Ending {
    Ending::Failed { reason: FailReason::Error, detail: error.to_string() }
}

/// Lanes trained at once. On a processor more are slower: their state leaves the nearest caches.
const STACK_LANES: usize = 8;

#[cfg(test)]
mod tests;
