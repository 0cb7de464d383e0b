//! What every side trains: a network, its rows, and how often it meets them.
//!
//! The rows are those of the repository's demonstrations, scaled here once for the sides that do not
//! scale their own.
//!
//! Floor: wiring.

use std::fs;
use std::path::Path;

use agent::trainer::{Lane, StreamSeeds};
use anyhow::{Result, anyhow};
use common::metric::Metric;
use common::seed::{Stream, StreamRng};
use common::study::{Checked, Hyper, Layers, Model, Optimizer, check};
use common::table::{Dataset, Target};
use serde_json::json;

/// One network and its rows.
pub struct Work {
    /// What its files are called.
    pub name: &'static str,
    pub model: Model,
    pub hyper: Hyper,
    pub dataset: Dataset,
    pub train_rows: Vec<u32>,
    /// Tell whether something was learnt.
    pub test_rows: Vec<u32>,
    /// Multiplications and additions of one training's products, there and back.
    pub flop: f64,
}

/// Rows as a network meets them.
#[derive(Clone)]
pub struct Scaled {
    /// [rows, width].
    pub features: Vec<f32>,
    /// One a row, or one a pixel.
    pub labels: Vec<u32>,
}

impl Work {
    /// The multilayer perceptron 30-64-64-2 on 455 of the 569 tumours.
    pub fn mlp() -> Result<Self> {
        let csv = include_bytes!("../../../coordinator/demo/wdbc/breast-cancer.csv");
        let study = include_str!("../../../coordinator/demo/wdbc/study.toml");
        let dataset = dataset(study, csv)?;
        let mut order: Vec<u32> = (0..dataset.rows() as u32).collect();
        StreamRng::new(&dataset.digest, Stream::Split, 0, 0).shuffle(&mut order);
        let (train, test) = order.split_at_mut(455);
        train.sort_unstable();
        test.sort_unstable();
        let (batches, width) = (train.len().div_ceil(BATCH), dataset.width);
        let hyper = Hyper { epochs: 50, hidden: vec![64, 64], ..hyper() };
        // The first layer has no gradient in its input.
        let of_row = 2 * width * 64 + 3 * 64 * 64 + 3 * 64 * 2;
        Ok(Self {
            name: "mlp",
            model: Model::Mlp,
            flop: (2 * of_row * BATCH * batches) as f64 * f64::from(hyper.epochs),
            hyper,
            train_rows: train.to_vec(),
            test_rows: test.to_vec(),
            dataset,
        })
    }

    /// Convolutions 3 × 3 to 8 channels, 3 × 3 to 16 at every second pixel, and a linear layer, on all
    /// 1,797 digits. A fourth of them is tested on, though trained on too: no generalisation is meant.
    pub fn cnn() -> Result<Self> {
        let npz = include_bytes!("../../../coordinator/demo/digits/digits.npz");
        let study = include_str!("../../../coordinator/demo/digits/study.toml");
        let dataset = dataset(study, npz)?;
        let rows = dataset.rows() as u32;
        let layers = Layers { channels: vec![8, 16], kernel: 3, ..Layers::default() };
        let hyper = Hyper { epochs: 2, hidden: Vec::new(), layers, ..hyper() };
        let batches = dataset.rows().div_ceil(BATCH);
        let of_row = 2 * 64 * 9 * 8 + 3 * 16 * 72 * 16 + 3 * 256 * 10;
        Ok(Self {
            name: "cnn",
            model: Model::Cnn,
            flop: (2 * of_row * BATCH * batches) as f64 * f64::from(hyper.epochs),
            hyper,
            train_rows: (0..rows).collect(),
            test_rows: (0..rows).step_by(4).collect(),
            dataset,
        })
    }

    /// Steps of one training; the last of an epoch is padded to the size of the others.
    pub fn steps(&self) -> usize {
        self.train_rows.len().div_ceil(BATCH) * self.hyper.epochs as usize
    }

    pub fn classes(&self) -> usize {
        match &self.dataset.target {
            Target::Classes { classes, .. } | Target::Masks { classes, .. } => *classes as usize,
            Target::Values(_) => 1,
        }
    }

    /// What an outcome tells.
    pub fn metric(&self) -> Metric {
        match &self.dataset.target {
            Target::Masks { .. } => Metric::Dice,
            _ => Metric::Accuracy,
        }
    }

    /// A training with first weights and an order of its own.
    pub fn lane(&self, seed: u64) -> Lane {
        Lane {
            model: self.model,
            hyper: self.hyper.clone(),
            seeds: StreamSeeds { init: seed, order: seed, noise: seed },
            train_rows: self.train_rows.clone(),
            test_rows: self.test_rows.clone(),
            labels: None,
            chooses: false,
            validation_rows: Vec::new(),
        }
    }

    /// Rows with mean 0 and deviation 1 over the training rows: of each feature, of images over all.
    pub fn scaled(&self, rows: &[u32]) -> Scaled {
        let (width, features) = (self.dataset.width, &self.dataset.features);
        let together = if self.dataset.shape.len() > 1 { width } else { 1 };
        let mut by = Vec::with_capacity(width);
        for first in (0..width).step_by(together) {
            let each = || {
                let of_row = |&row: &u32| row as usize * width + first;
                self.train_rows.iter().map(of_row).flat_map(|at| &features[at..at + together])
            };
            let count = each().count() as f64;
            let mean = each().map(|x| f64::from(*x)).sum::<f64>() / count;
            let squares = each().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>();
            by.resize(by.len() + together, (mean, (squares / count).sqrt()));
        }
        let of_row = |&row: &u32| {
            let own = &features[row as usize * width..(row as usize + 1) * width];
            own.iter().zip(&by).map(|(x, (mean, sd))| ((f64::from(*x) - mean) / sd) as f32)
        };
        let labels = match &self.dataset.target {
            Target::Classes { labels, .. } => {
                rows.iter().map(|&row| labels[row as usize]).collect()
            }
            Target::Masks { labels, pixels, .. } => {
                let of_row = |&row: &u32| &labels[row as usize * pixels..][..*pixels];
                rows.iter().flat_map(of_row).map(|&class| u32::from(class)).collect()
            }
            Target::Values(_) => Vec::new(),
        };
        Scaled { features: rows.iter().flat_map(of_row).collect(), labels }
    }

    /// Leaves in `folder` what the peers read: sizes, then training rows and test rows.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (train, test) = (self.scaled(&self.train_rows), self.scaled(&self.test_rows));
        let layers = &self.hyper.layers;
        let about = json!({
            "model": self.model.name(),
            "train_rows": self.train_rows.len(),
            "width": self.dataset.width,
            "shape": self.dataset.shape,
            "blocks": layers.blocks,
            "token_width": layers.width,
            "heads": layers.heads,
            "classes": self.classes(),
            "hidden": self.hyper.hidden,
            "channels": layers.channels,
            "epochs": self.hyper.epochs,
            "batch": self.hyper.batch,
            "lr": self.hyper.lr,
        });
        fs::write(folder.join(format!("{}.json", self.name)), about.to_string())?;
        let features = train.features.iter().chain(&test.features).flat_map(|x| x.to_le_bytes());
        fs::write(folder.join(format!("{}.features", self.name)), features.collect::<Vec<_>>())?;
        let labels = train.labels.iter().chain(&test.labels).flat_map(|y| y.to_le_bytes());
        fs::write(folder.join(format!("{}.labels", self.name)), labels.collect::<Vec<_>>())?;
        Ok(())
    }
}

pub fn hyper() -> Hyper {
    Hyper { optimizer: Optimizer::AdamW, batch: BATCH as u32, lr: 1e-3, ..Hyper::default() }
}

pub fn dataset(study: &str, bytes: &[u8]) -> Result<Dataset> {
    let checked = check(study, &mut |_| Ok(bytes.to_vec()));
    checked.map(|Checked { dataset, .. }| dataset).map_err(|errors| anyhow!("{errors}"))
}

/// Rows of a minibatch.
pub const BATCH: usize = 32;
