//! Tables of vectors, one a token: embeddings.
//!
//! Floor: core.

use candle_core::{DType, Result, Tensor};

use super::{by_loops, made2, vectorised};

/// The vectors of tokens: table [lanes, tokens, width] at `ids` [lanes, rows, 1] → [lanes, rows, width].
///
/// A token is a whole number below the table's length, written as a 32-bit float.
pub fn looked_up(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let (lanes, tokens, width) = table.dims3()?;
    let rows = ids.dim(1)?;
    let shape = (lanes, rows, width);
    if !by_loops(table) {
        let flat = table.reshape((lanes * tokens, width))?;
        return flat.index_select(&composed::flat_ids(table, ids)?, 0)?.reshape(shape);
    }
    made2([table, ids], shape, |[table, ids], made| {
        vectorised(|| {
            let lanes = table.chunks_exact(tokens * width).zip(ids.chunks_exact(rows));
            for ((table, ids), made) in lanes.zip(made.chunks_exact_mut(rows * width)) {
                for (&id, made) in ids.iter().zip(made.chunks_exact_mut(width)) {
                    let start = id as usize * width;
                    made.copy_from_slice(&table[start..start + width]);
                }
            }
        });
    })
}

/// The gradient of [`looked_up`] in its table of so many `tokens`, summed in the order of rows.
pub fn looked_up_back(d: &Tensor, ids: &Tensor, tokens: usize) -> Result<Tensor> {
    let (lanes, rows, width) = d.dims3()?;
    let shape = (lanes, tokens, width);
    if !by_loops(d) {
        let sums = Tensor::zeros((lanes * tokens, width), DType::F32, d.device())?;
        let ids = composed::flat_ids(&sums.reshape(shape)?, ids)?;
        return sums.index_add(&ids, &d.reshape((lanes * rows, width))?, 0)?.reshape(shape);
    }
    made2([d, ids], shape, |[d, ids], made| {
        vectorised(|| {
            let lanes = d.chunks_exact(rows * width).zip(ids.chunks_exact(rows));
            for ((d, ids), made) in lanes.zip(made.chunks_exact_mut(tokens * width)) {
                for (&id, d) in ids.iter().zip(d.chunks_exact(width)) {
                    let start = id as usize * width;
                    let sums = &mut made[start..start + width];
                    sums.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
                }
            }
        });
    })
}

mod composed {
    use super::*;

    /// Rows of the table of all lanes, one below the other: [lanes · rows].
    pub fn flat_ids(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
        let (lanes, tokens, _) = table.dims3()?;
        let first = Tensor::arange(0u32, lanes as u32, table.device())?;
        let first = (first.to_dtype(DType::F32)? * tokens as f64)?.reshape((lanes, 1, 1))?;
        ids.broadcast_add(&first)?.flatten_all()?.to_dtype(DType::U32)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::tests::{drawn, near};
    use super::*;

    #[test]
    fn tables_agree_with_what_candle_composes() {
        let table = drawn(1, &[2, 4, 3]);
        let ids =
            Tensor::new(&[[[3.0f32], [0.0], [3.0]], [[1.0], [2.0], [2.0]]], &Device::Cpu).unwrap();
        let flat = composed::flat_ids(&table, &ids).unwrap();
        let said = looked_up(&table, &ids).unwrap();
        let theirs = table.reshape((8, 3)).unwrap().index_select(&flat, 0).unwrap();
        near(&said, &theirs.reshape((2, 3, 3)).unwrap(), 0.0);
        let d = drawn(2, &[2, 3, 3]);
        let sums = Tensor::zeros((8, 3), DType::F32, &Device::Cpu).unwrap();
        let theirs = sums.index_add(&flat, &d.reshape((6, 3)).unwrap(), 0).unwrap();
        let ours = looked_up_back(&d, &ids, 4).unwrap();
        near(&ours, &theirs.reshape((2, 4, 3)).unwrap(), 1e-6);
    }
}
