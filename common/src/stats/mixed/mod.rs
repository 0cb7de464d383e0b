//! Linear mixed models: how much of the spread each grouping factor causes.
//!
//! `y = X beta + sum_k Z_k b_k + e`, `b_k ~ N(0, sigma_k^2 I)`, `e ~ N(0, sigma^2 I)`, with one
//! random intercept per grouping factor, crossed or nested in any way. The road of a fit: formula
//! and columns → rows (canonical order) → terms (cross-products) → objective (the criterion and
//! its slopes) → optimise → fit → interval. Only the first two steps cost time in the number of
//! rows. The result depends neither on the order of the rows nor, up to ties, on the names of the
//! random levels. Deliberately absent: random slopes (a term would get more than one column a
//! level), weights, non-Gaussian responses.
//!
//! Floor: common.

mod arrow;
mod bootstrap;
mod contrast;
mod df;
mod exact;
mod fit;
mod fixed;
mod formula;
mod information;
mod interval;
mod largest_t;
mod objective;
mod optimise;
mod refit;
mod rows;
mod simulate;
mod terms;
#[cfg(test)]
mod tests;

pub use bootstrap::{Bootstrap, Replicate, bootstrap};
pub use contrast::{Contrast, Multiplicity, contrasts, holm};
pub use df::{DfMethod, Freedom, InferenceError, Precision};
pub use exact::{ExactTest, exact_zero_test};
pub use fit::{Blup, Component, Fit, FitError, Fixed, Method, fit};
pub use fixed::fixed_profile_interval;
pub use formula::{Formula, FormulaError};
pub use interval::{Part, ZeroTest, profile_interval, zero_test};
pub use rows::Column;
