//! The report's figures: SVG text, a caption and a table of what is drawn.
//!
//! Each figure is drawn twice, for a page and for a phone, since shrunken text is not readable.
//! Colours are names that the page's style defines for light and dark, with a fallback; hues are
//! Okabe and Ito's, which colour-blind readers tell apart. kuva's scene and SVG writer are named in
//! `canvas.rs` alone.
//!
//! Floor: core.

mod axes;
mod canvas;
mod caterpillar;
mod choosing;
mod critical;
mod curves;
mod distribution;
mod estimates;
mod forest;
mod interaction;
mod looks;
mod lottery;
mod missingness;
mod posterior;
mod profile;
mod quantiles;
mod ranks;
mod replication;
mod sequential;
mod tradeoff;
mod variance;
mod winner;
mod worth;
mod zeta;

use super::content::{ComparisonPart, Contrast, Outlook, Report};
use super::page::Sheet;
use canvas::Ink;

pub use caterpillar::{caterpillar, no_seed_effect};
pub use choosing::{expected_best, slopes};
pub use critical::critical;
pub use curves::curves;
pub use distribution::{distribution, distribution_of};
pub use estimates::{estimates, spelled};
pub use forest::{arms_forest, contrast_forest};
pub use interaction::interaction;
pub use looks::looks;
pub use lottery::lottery;
pub use missingness::missingness;
pub use posterior::posterior;
pub use profile::profile;
pub use quantiles::{effect_quantiles, residual_quantiles};
pub use ranks::ranks;
pub use replication::replication;
pub use sequential::sequential;
pub use tradeoff::{Planner, tradeoff};
pub use variance::{variance, variance_of};
pub use winner::winner;
pub use worth::worth;
pub use zeta::zeta;

#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Names the figure in a page's address.
    pub name: &'static str,
    /// SVG for a page's column.
    pub wide: String,
    /// SVG for a phone.
    pub narrow: String,
    pub caption: String,
    pub sheet: Sheet,
}

impl Figure {
    /// Draws `draw` for a page's column and for a phone.
    fn drawn(
        name: &'static str,
        caption: String,
        sheet: Sheet,
        draw: impl Fn(f64, &str) -> String,
    ) -> Self {
        Self { name, wide: draw(WIDE, &caption), narrow: draw(NARROW, &caption), caption, sheet }
    }
}

/// Outline and colour of an arm, the same in every figure.
fn sign_of(report: &Report, arm: &str) -> (usize, Ink) {
    sign_at(report.arms.iter().position(|part| part.arm == arm).unwrap_or(0))
}

/// Of the arm at this place.
fn sign_at(place: usize) -> (usize, Ink) {
    (place % canvas::SHAPES, Ink::Hue(place % HUES_OF_ARMS))
}

/// The study's first pair that has an outlook: chosen by the order of the study file, never by its
/// scores.
fn headline(report: &Report) -> Option<(&ComparisonPart, &Contrast, &Outlook)> {
    report
        .comparisons
        .iter()
        .find_map(|pair| Some((pair, pair.contrast.as_ref()?, pair.outlook.as_ref()?)))
}

/// Which of several pairs a figure of one shows.
fn of_pair(report: &Report, pair: &ComparisonPart) -> String {
    match report.comparisons.len() {
        1 => String::new(),
        _ => format!(" Shown for {} and {}, the study's first pair.", pair.a, pair.b),
    }
}

/// Hues before grey.
const HUES_OF_ARMS: usize = 6;

/// Width of the drawing for a page's column, in CSS pixels.
const WIDE: f64 = 720.0;

/// Width of the drawing for a phone.
const NARROW: f64 = 360.0;
