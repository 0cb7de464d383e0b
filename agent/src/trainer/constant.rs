//! The constant: says the same of every row, by the training rows' targets alone.
//!
//! A control: what does better has learned something from the features. Nothing of it is drawn, so
//! every seed gives the same.
//!
//! Floor: core.

use common::table::{Dataset, Target};

/// What it says of each of `rows`: the share of each class [rows, classes] (of a mask at each pixel
/// [rows · pixels, classes]), or the mean [rows] of the
/// values of `train_rows`, which are at least one.
pub fn outputs(dataset: &Dataset, train_rows: &[u32], rows: usize) -> Vec<f32> {
    let count = train_rows.len() as f64;
    let one: Vec<f32> = match &dataset.target {
        Target::Classes { labels, classes } => {
            let mut counts = vec![0u32; *classes as usize];
            train_rows.iter().for_each(|&row| counts[labels[row as usize] as usize] += 1);
            counts.into_iter().map(|of_class| (f64::from(of_class) / count) as f32).collect()
        }
        Target::Masks { labels, pixels, classes } => {
            // Of each pixel's place alone: what most training rows have there.
            let mut shares = vec![0.0; pixels * *classes as usize];
            for &row in train_rows {
                let mask = &labels[row as usize * pixels..(row as usize + 1) * pixels];
                for (pixel, &class) in mask.iter().enumerate() {
                    shares[pixel * *classes as usize + class as usize] += (1.0 / count) as f32;
                }
            }
            shares
        }
        Target::Values(values) => {
            let sum: f64 = train_rows.iter().map(|&row| f64::from(values[row as usize])).sum();
            vec![(sum / count) as f32]
        }
    };
    one.repeat(rows)
}
