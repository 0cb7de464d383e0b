//! X as orthonormal columns, and y as what they leave of it, from cross-products alone.
//!
//! `X'X = L L'`, `Q = X L^-T`. All in numbers of twice the usual precision, so that columns far
//! from zero lose nothing that matters. Deliberately absent: rows.
//!
//! Floor: common.

use faer::Mat;

use super::sums::Wide;

/// The lower Cholesky factor of X'X.
pub(super) struct Orthonormal {
    /// [p, p] by rows.
    factor: Vec<Wide>,
    p: usize,
}

/// The response's part in the space of X, and the size of the rest.
pub(super) struct Projected {
    /// Products of Q and y, [p].
    with_q: Vec<Wide>,
    /// Root mean square of what X leaves of y.
    pub scale: f64,
    /// Least-squares coefficients of X, [p].
    pub offset: Vec<f64>,
}

impl Orthonormal {
    /// `products` is `[X y]' [X y]`, [p + 1, p + 1] by rows; `scales` judges what is left of each
    /// column, and is `None` for a constant one. Errors: the first column that follows from those
    /// before it.
    pub fn of(products: &[Wide], scales: &[Option<f64>]) -> Result<Self, usize> {
        let p = scales.len();
        let mut factor = vec![Wide::default(); p * p];
        for j in 0..p {
            for i in j..p {
                let known = (0..j).map(|k| factor[i * p + k] * factor[j * p + k]);
                let rest = known.fold(products[i * (p + 1) + j], |rest, known| rest - known);
                if i > j {
                    factor[i * p + j] = rest.over(factor[j * p + j]);
                    continue;
                }
                match scales[j] {
                    Some(scale) if rest.number() > DEPENDENT * scale => {
                        factor[j * p + j] = rest.root();
                    }
                    _ => return Err(j),
                }
            }
        }
        Ok(Self { factor, p })
    }

    pub fn project(&self, products: &[Wide], n: usize) -> Projected {
        let p = self.p;
        let mut with_q: Vec<Wide> = (0..p).map(|j| products[j * (p + 1) + p]).collect();
        self.products_with_q(&mut with_q);
        let mut squares = products[p * (p + 1) + p];
        for &value in &with_q {
            squares = squares - value * value;
        }
        let scale = (squares.number().max(0.0) / n as f64).sqrt();
        let mut offset = with_q.clone();
        self.coefficients_of_x(&mut offset);
        let offset = offset.into_iter().map(Wide::number).collect();
        Projected { with_q, scale, offset }
    }

    /// `Z' [Q y]` from `Z' [X y]`, [q, p + 1], y what X leaves of it over its scale.
    pub fn border(&self, border: &[Wide], y: &Projected) -> Mat<f64> {
        let width = self.p + 1;
        let mut scaled = Mat::zeros(border.len() / width, width);
        for (row, products) in border.chunks(width).enumerate() {
            let mut with_x = products[..self.p].to_vec();
            self.products_with_q(&mut with_x);
            let mut with_y = products[self.p];
            for (j, (&a, &b)) in with_x.iter().zip(&y.with_q).enumerate() {
                scaled[(row, j)] = a.number();
                with_y = with_y - a * b;
            }
            scaled[(row, self.p)] = with_y.number() / y.scale;
        }
        scaled
    }

    pub fn back(&self, y_scale: f64) -> Mat<f64> {
        let p = self.p;
        let mut back = Mat::zeros(p, p);
        for j in 0..p {
            let mut unit = vec![Wide::default(); p];
            unit[j] = Wide::from(y_scale);
            self.coefficients_of_x(&mut unit);
            unit.iter().enumerate().for_each(|(i, value)| back[(i, j)] = value.number());
        }
        back
    }

    pub fn log_det(&self) -> f64 {
        2.0 * (0..self.p).map(|i| self.factor[i * self.p + i].number().ln()).sum::<f64>()
    }

    /// `L^-1 v`: products with X become products with Q.
    fn products_with_q(&self, products: &mut [Wide]) {
        for i in 0..products.len() {
            let row = &self.factor[i * self.p..];
            let known = (0..i).map(|j| row[j] * products[j]);
            products[i] = known.fold(products[i], |rest, known| rest - known).over(row[i]);
        }
    }

    /// `L^-T v`: coefficients of Q become coefficients of X.
    fn coefficients_of_x(&self, coefficients: &mut [Wide]) {
        for i in (0..coefficients.len()).rev() {
            let known =
                (i + 1..coefficients.len()).map(|j| self.factor[j * self.p + i] * coefficients[j]);
            let rest = known.fold(coefficients[i], |rest, known| rest - known);
            coefficients[i] = rest.over(self.factor[i * self.p + i]);
        }
    }
}

/// Squared norm left of a dependent column, as a share of its own.
const DEPENDENT: f64 = 1e-10;
