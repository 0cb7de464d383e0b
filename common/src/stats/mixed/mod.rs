//! Linear mixed models: how much of the spread each grouping factor causes.
//!
//! `y = X beta + sum_k Z_k b_k + e`, one level's effects `~ N(0, sigma^2 L L')`, `e ~ N(0, sigma^2
//! I)`, with random intercepts and slopes of grouping factors, crossed or nested in any way. The
//! road of a fit: formula and rows → stream (counts and exact sums) → blocks, design, gather,
//! orthonormal → terms (cross-products) → objective (criterion and slopes) → search over optimise
//! → estimates → interval. Only the stream costs time in the number of rows. The result
//! depends neither on the order of the rows nor, up to ties, on the names of the random levels.
//! Deliberately absent: weights, non-Gaussian responses, residuals that are correlated.
//!
//! Floor: common.

mod arrow;
mod blocks;
mod bootstrap;
mod connected;
mod contrast;
mod correlation;
mod design;
mod df;
mod estimates;
mod exact;
mod fit;
mod fixed;
mod formula;
mod gather;
mod held;
mod information;
mod interval;
mod largest;
mod largest_t;
mod objective;
mod optimise;
mod orthonormal;
mod predict;
mod redraw;
mod refit;
mod relative;
mod rows;
mod search;
mod simulate;
#[cfg(test)]
mod slope_tests;
mod stream;
mod sums;
mod terms;
#[cfg(test)]
mod tests;
mod tokens;

pub use bootstrap::{Bootstrap, Replicate, bootstrap};
pub use connected::Between;
pub use contrast::{Contrast, Multiplicity, contrasts};
pub use correlation::profile_correlation;
pub use df::{DfMethod, Freedom, InferenceError, Precision};
pub use exact::{ExactTest, exact_zero_test};
pub use fit::{Blup, Component, Correlation, Fit, FitError, Fixed, Method, fit};
pub use fixed::fixed_profile_interval;
pub use formula::{Formula, FormulaError};
pub use interval::{Part, ZeroTest, profile_interval, profile_zeta, zero_test};
pub use rows::{Column, Slice};
pub use stream::Accumulator;
