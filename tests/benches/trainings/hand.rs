//! A training written by hand: the same steps without a framework, products by the `gemm` crate.
//!
//! One flat list of parameters, buffers made once, every pass in one function. It meets the same rows
//! in the same minibatches, the last one of an epoch padded to 32 with rows that weigh nothing.
//!
//! Floor: wiring.

use common::seed::{Stream, StreamRng};

use crate::side::Side;
use crate::work::{BATCH, Scaled, Work};

/// One training a turn.
pub fn side(work: &Work) -> Side<'_> {
    let (train, test) = (work.scaled(&work.train_rows), work.scaled(&work.test_rows));
    let mut seed = 0;
    Side::here(NAME, move || {
        seed += 1;
        let mut network = Network::new(work, seed);
        let mut order: Vec<u32> = (0..train.labels.len() as u32).collect();
        for epoch in 0..work.hyper.epochs {
            let of_epoch = (seed << 8) + u64::from(epoch);
            StreamRng::new(&work.dataset.digest, Stream::Order, of_epoch, 0).shuffle(&mut order);
            for rows in order.chunks(BATCH) {
                network.step(&train, rows, work.hyper.lr as f32);
            }
        }
        Ok((1, network.accuracy(&test)))
    })
}

pub const NAME: &str = "by hand on the gemm crate, one by one";

/// Inputs, two hidden layers, classes.
struct Network {
    sizes: [usize; 4],
    /// Weights [inputs, outputs] and biases of each layer, one after another.
    values: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    gradients: Vec<f32>,
    steps: i32,
    /// What each layer is given [32, inputs], and what the last one says.
    said: [Vec<f32>; 4],
    /// The gradients in those.
    slopes: [Vec<f32>; 4],
    turned: Vec<f32>,
}

impl Network {
    fn new(work: &Work, seed: u64) -> Self {
        let hidden = work.hyper.hidden.iter().map(|&width| width as usize);
        let mut sizes = [work.dataset.width, 0, 0, work.classes()];
        sizes[1..3].iter_mut().zip(hidden).for_each(|(size, width)| *size = width);
        let mut rng = StreamRng::new(&work.dataset.digest, Stream::Init, seed, 0);
        let mut values = Vec::new();
        for pair in sizes.windows(2) {
            let bound = 1.0 / (pair[0] as f32).sqrt();
            let drawn = || (2.0 * rng.unit_f32() - 1.0) * bound;
            values.extend(std::iter::repeat_with(drawn).take((pair[0] + 1) * pair[1]));
        }
        let zeros = vec![0.0; values.len()];
        let rows = sizes.map(|size| vec![0.0; BATCH * size]);
        Self {
            sizes,
            first: zeros.clone(),
            second: zeros.clone(),
            gradients: zeros,
            values,
            steps: 0,
            said: rows.clone(),
            slopes: rows,
            turned: vec![0.0; sizes[1] * sizes[2].max(sizes[3])],
        }
    }

    /// Where a layer's weights begin, and where its biases.
    fn places(&self, layer: usize) -> (usize, usize, usize) {
        let size = |at: usize| (self.sizes[at] + 1) * self.sizes[at + 1];
        let start = (0..layer).map(size).sum::<usize>();
        (start, start + self.sizes[layer] * self.sizes[layer + 1], start + size(layer))
    }

    fn forward(&mut self) {
        for layer in 0..3 {
            let (start, biases, end) = self.places(layer);
            let (inputs, outputs) = (self.sizes[layer], self.sizes[layer + 1]);
            let (given, said) = self.said.split_at_mut(layer + 1);
            let (given, said) = (&given[layer], &mut said[0]);
            let weights = Matrix::plain(&self.values[start..biases], outputs);
            product([BATCH, inputs, outputs], Matrix::plain(given, inputs), weights, said);
            let biases = &self.values[biases..end];
            for row in said.chunks_exact_mut(outputs) {
                for (sum, bias) in row.iter_mut().zip(biases) {
                    let biased = *sum + bias;
                    *sum = if layer < 2 { biased.max(0.0) } else { biased };
                }
            }
        }
    }

    /// One minibatch of `rows`, 32 at most.
    fn step(&mut self, train: &Scaled, rows: &[u32], lr: f32) {
        let (width, classes) = (self.sizes[0], self.sizes[3]);
        for (place, given) in self.said[0].chunks_exact_mut(width).enumerate() {
            let row = *rows.get(place).unwrap_or(&rows[0]) as usize;
            given.copy_from_slice(&train.features[row * width..(row + 1) * width]);
        }
        self.forward();
        let weight = 1.0 / rows.len() as f32;
        let each = self.said[3].chunks_exact(classes).zip(self.slopes[3].chunks_exact_mut(classes));
        for (place, (said, slopes)) in each.enumerate() {
            slopes.fill(0.0);
            let Some(&row) = rows.get(place) else { continue };
            let top = said.iter().fold(f32::MIN, |a, &b| a.max(b));
            slopes.iter_mut().zip(said).for_each(|(slope, said)| *slope = (said - top).exp());
            let share = weight / slopes.iter().sum::<f32>();
            slopes.iter_mut().for_each(|slope| *slope *= share);
            slopes[train.labels[row as usize] as usize] -= weight;
        }
        self.backward();
        self.adam(lr);
    }

    fn backward(&mut self) {
        for layer in (0..3).rev() {
            let (start, biases, end) = self.places(layer);
            let (inputs, outputs) = (self.sizes[layer], self.sizes[layer + 1]);
            let (before, behind) = self.slopes.split_at_mut(layer + 1);
            let (before, behind) = (&mut before[layer], &behind[0]);
            let (given, slopes) = (&self.said[layer], Matrix::plain(behind, outputs));
            let turned = Matrix { numbers: given, row: 1, column: inputs };
            product([inputs, BATCH, outputs], turned, slopes, &mut self.gradients[start..biases]);
            let sums = &mut self.gradients[biases..end];
            sums.fill(0.0);
            for row in behind.chunks_exact(outputs) {
                sums.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
            }
            if layer == 0 {
                return;
            }
            for (row, weights) in self.values[start..biases].chunks_exact(outputs).enumerate() {
                for (column, &weight) in weights.iter().enumerate() {
                    self.turned[column * inputs + row] = weight;
                }
            }
            let weights = Matrix::plain(&self.turned[..inputs * outputs], inputs);
            product([BATCH, outputs, inputs], slopes, weights, before);
            for (slope, said) in before.iter_mut().zip(given) {
                *slope *= if *said > 0.0 { 1.0 } else { 0.0 };
            }
        }
    }

    fn adam(&mut self, lr: f32) {
        self.steps += 1;
        let correction = |beta: f64| (1.0 / (1.0 - beta.powi(self.steps))) as f32;
        let (of_first, of_second) = (correction(0.9), correction(0.999));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((value, g), (m, v)) in self.values.iter_mut().zip(&self.gradients).zip(moments) {
            *m = *m * 0.9 + g * 0.1;
            *v = *v * 0.999 + g * g * 0.001;
            *value -= *m * of_first / ((*v * of_second).sqrt() + 1e-8) * lr;
        }
    }

    fn accuracy(&mut self, test: &Scaled) -> f64 {
        let (width, classes) = (self.sizes[0], self.sizes[3]);
        let mut right = 0;
        for (rows, labels) in test.features.chunks(BATCH * width).zip(test.labels.chunks(BATCH)) {
            self.said[0][..rows.len()].copy_from_slice(rows);
            self.forward();
            for (said, &label) in self.said[3].chunks_exact(classes).zip(labels) {
                let best = (0..classes).max_by(|&a, &b| said[a].total_cmp(&said[b]));
                right += usize::from(best == Some(label as usize));
            }
        }
        right as f64 / test.labels.len() as f64
    }
}

/// A matrix and how far its rows and its columns are apart.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    numbers: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Matrix<'a> {
    fn plain(numbers: &'a [f32], columns: usize) -> Self {
        Self { numbers, row: columns, column: 1 }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row + (columns - 1) * self.column < self.numbers.len()
    }
}

/// result [m, n] = left [m, k] · right [k, n].
#[expect(unsafe_code, reason = "the gemm crate has no other interface")]
fn product([m, k, n]: [usize; 3], left: Matrix<'_>, right: Matrix<'_>, result: &mut [f32]) {
    assert!(left.holds(m, k) && right.holds(k, n) && result.len() == m * n);
    // SAFETY: every number that the sizes and strides reach lies in its slice, which was just checked.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            result.as_mut_ptr(),
            1,
            n as isize,
            false,
            left.numbers.as_ptr(),
            left.column as isize,
            left.row as isize,
            right.numbers.as_ptr(),
            right.column as isize,
            right.row as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
