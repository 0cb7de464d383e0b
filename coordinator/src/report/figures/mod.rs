//! The report's figures: SVG text, a caption and a table of what is drawn.
//!
//! Each figure is drawn twice, for a page and for a phone, since shrunken text is not readable.
//! Colours are names that the page's style defines for light and dark, with a fallback; hues are
//! Okabe and Ito's, which colour-blind readers tell apart. kuva's scene and SVG writer are named in
//! `canvas.rs` alone.
//!
//! Floor: core.

mod canvas;
mod caterpillar;
mod distribution;
mod estimates;
mod profile;
mod ranks;
mod variance;

use super::page::Sheet;

pub use caterpillar::{caterpillar, no_seed_effect};
pub use distribution::{distribution, distribution_of};
pub use estimates::{estimates, spelled};
pub use profile::profile;
pub use ranks::ranks;
pub use variance::{variance, variance_of};

#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// SVG for a page's column.
    pub wide: String,
    /// SVG for a phone.
    pub narrow: String,
    pub caption: String,
    pub sheet: Sheet,
}

/// Width of the drawing for a page's column, in CSS pixels.
const WIDE: f64 = 720.0;

/// Width of the drawing for a phone.
const NARROW: f64 = 360.0;
