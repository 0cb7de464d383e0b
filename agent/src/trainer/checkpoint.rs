//! Checkpoints: all that one lane has at the end of an epoch, to go on from with the same bits.
//!
//! Orders of rows, augmentation, dropout, steps taken and the place in a schedule follow from the
//! number of epochs done and from the lane itself, so none of them is written. A checkpoint names the
//! training that it is of, and a lane goes on from no other: of another lane, another program or
//! another kind of device it is worth nothing. Deliberately absent: files.
//!
//! The bytes: [`VERSION`], the digest of the rest, the rest by the codec.
//!
//! Floor: core.

use std::fmt::Debug;

use candle_core::{Device, Result};
use common::curve::Trace;
use common::id::Digest;
use common::study::Hyper;
use common::table::Dataset;
use common::wire::codec::{self, CodecError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::lanes::Lane;
use super::network::Network;

/// Where a lane stands between two epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What [`training`] says of it.
    pub(super) of: Digest,
    /// Epochs done; never 0.
    pub(super) epochs: u32,
    /// Whether the loss of the last one was not finite.
    pub(super) diverged: bool,
    /// By parameter [copies · rows · columns]: values, then moments.
    pub(super) state: Vec<Vec<f32>>,
    pub(super) best: Option<Best<Vec<f32>>>,
    pub(super) trace: Trace,
}

/// What was best by the validation rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best<V> {
    pub loss: f32,
    /// From 1.
    pub epoch: u32,
    /// By parameter.
    pub values: Vec<V>,
}

/// Which part of a training is to be done; by default all of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leg<'a> {
    /// Where it may begin: at the first of these that is believed. One of another training, or of more
    /// epochs than are wanted, is not; when none is, the training begins anew.
    pub from: &'a [Checkpoint],
    /// The epoch, from 1, after which it ends; `None`, or more than it has: its last.
    pub until: Option<u32>,
    /// Whether to give back where it stands at its end.
    pub keep: bool,
    /// Is offered where it stands at the end of every other epoch.
    pub shelf: Option<&'a dyn Shelf>,
}

/// Takes what one lane has to go on from, while it trains.
pub trait Shelf: Debug + Sync {
    /// Whether it takes one now.
    fn wants(&self) -> bool;

    /// The lane begins after so many epochs.
    fn goes_on(&self, _epochs: u32) {}

    fn keep(&self, checkpoint: Checkpoint);
}

impl Checkpoint {
    /// Epochs done.
    pub fn epochs(&self) -> u32 {
        self.epochs
    }

    /// For [`Checkpoint::read`].
    pub fn bytes(&self) -> std::result::Result<Vec<u8>, CodecError> {
        let rest = codec::encode(self)?;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + rest.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&Digest::of(&rest).0);
        bytes.extend_from_slice(&rest);
        Ok(bytes)
    }

    /// What [`Checkpoint::bytes`] gave; anything else is refused.
    pub fn read(bytes: &[u8]) -> std::result::Result<Self, CheckpointError> {
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(CheckpointError::Damaged);
        };
        if header[0] != VERSION {
            return Err(CheckpointError::Version { found: header[0] });
        }
        if Digest::of(rest).0 != header[1..] {
            return Err(CheckpointError::Damaged);
        }
        codec::decode(rest).map_err(|source| CheckpointError::Unread { source })
    }

    /// Whether it is of the training `of`, and has as many numbers as a lane of `network`.
    pub(super) fn is_of(&self, of: &Digest, network: &Network) -> Result<bool> {
        let sizes = network.sizes()?;
        let copies = network.parameters.first().map_or(Ok(1), |first| first.state.dim(0))?;
        let fits = |numbers: &[Vec<f32>], copies: usize| {
            let each = sizes.iter().map(|size| size * copies);
            numbers.iter().map(Vec::len).eq(each)
        };
        let best = self.best.as_ref();
        let best_fits = best
            .is_none_or(|best| (1..=self.epochs).contains(&best.epoch) && fits(&best.values, 1));
        Ok(self.of == *of && self.epochs > 0 && best_fits && fits(&self.state, copies))
    }
}

/// Names what decides every bit of a lane's weights: its rows, its labels, its hyperparameters and
/// seeds, this program, and whether its loops or a card's kernels train.
pub(super) fn training(dataset: &Dataset, lane: &Lane, device: &Device) -> Result<Digest> {
    let program = (env!("CARGO_PKG_VERSION"), device.is_cpu());
    let rows = (dataset.digest, dataset.width, &dataset.shape, &dataset.names);
    let seeds = [lane.seeds.init, lane.seeds.order, lane.seeds.noise];
    // Whoever stops it after some of its epochs, it is the same training.
    let hyper = Hyper { until: None, ..lane.hyper.clone() };
    let how = (lane.model, hyper, seeds);
    let which = (&lane.train_rows, &lane.validation_rows, &lane.labels);
    let bytes = codec::encode(&("checkpoint", program, rows, how, which));
    bytes.map(|bytes| Digest::of(&bytes)).map_err(candle_core::Error::wrap)
}

/// Why bytes are no checkpoint.
#[derive(Debug, Error)]
pub enum CheckpointError {
    #[error("the checkpoint is cut off or damaged")]
    Damaged,
    #[error("the checkpoint has format {found}, and this program reads {VERSION}")]
    Version { found: u8 },
    #[error("the checkpoint cannot be read")]
    Unread { source: CodecError },
}

/// Of the bytes.
const VERSION: u8 = 1;

const HEADER_BYTES: usize = 1 + 32;

#[cfg(test)]
mod tests;
