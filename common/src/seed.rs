//! Streams of randomness: one counter-based generator for each named use of a seed.
//!
//! A stream depends on the data's digest, its name, its seed and a position (an epoch, a layer)
//! alone. So changing one stream never disturbs another, and adding seeds never changes the trials
//! already run. Sampling is written out here: a stream must give the same numbers for ever, and
//! libraries change theirs between releases.
//!
//! Floor: common.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::id::Digest;

/// A named use of a seed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// First weights.
    Init,
    /// The order of the rows in each epoch.
    Order,
    /// Dropout and augmentation.
    Noise,
    /// Which rows train and which test.
    Split,
    /// Draws of a hyperparameter search.
    Search,
    /// Which label each training row of a permuted control gets.
    Labels,
    /// What a report simulates: bootstraps, null distributions, integrals.
    Report,
}

impl Stream {
    pub const TRAINING: [Stream; 3] = [Stream::Init, Stream::Order, Stream::Noise];

    pub fn name(self) -> &'static str {
        match self {
            Stream::Init => "init",
            Stream::Order => "order",
            Stream::Noise => "noise",
            Stream::Split => "split",
            Stream::Search => "search",
            Stream::Labels => "labels",
            Stream::Report => "report",
        }
    }
}

/// Spreads a number's bits over all 64: the output function of SplitMix64 (Steele et al. 2014).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A generator with stable sampling: the same key gives the same numbers in every release.
#[derive(Clone, Debug)]
pub struct StreamRng(ChaCha8Rng);

impl StreamRng {
    /// The stream `stream` of seed number `seed`, at `position` (an epoch or a layer; 0 when there is one use).
    pub fn new(data: &Digest, stream: Stream, seed: u64, position: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("seedsweep 2026 stream v1");
        hasher.update(&data.0);
        hasher.update(stream.name().as_bytes());
        hasher.update(&[0]);
        hasher.update(&seed.to_le_bytes());
        hasher.update(&position.to_le_bytes());
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in [0, 1), 24 bits.
    pub fn unit_f32(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit_f64(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller's cosine branch.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit_f64()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit_f64()).cos()
    }

    /// Uniform in 0..bound without bias (Lemire's multiplication with rejection). `bound` > 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no numbers to draw");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// Fisher and Yates, from the end.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(stream: Stream, seed: u64, position: u64) -> u64 {
        StreamRng::new(&Digest::of(b"data"), stream, seed, position).next_u64()
    }

    #[test]
    fn streams_seeds_and_positions_differ() {
        let draws = [
            first(Stream::Init, 0, 0),
            first(Stream::Order, 0, 0),
            first(Stream::Init, 1, 0),
            first(Stream::Init, 0, 1),
        ];
        let distinct: std::collections::BTreeSet<u64> = draws.into_iter().collect();
        assert_eq!(distinct.len(), draws.len());
    }

    #[test]
    fn a_stream_is_the_same_in_every_release() {
        assert_eq!(first(Stream::Init, 7, 3), GOLDEN_FIRST);
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        StreamRng::new(&Digest::of(b"data"), Stream::Order, 0, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut rng = StreamRng::new(&Digest::of(b"data"), Stream::Noise, 0, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.03, "variance {variance}");
    }

    const GOLDEN_FIRST: u64 = 6_732_634_647_450_479_034;
}
