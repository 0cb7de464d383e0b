//! The numbers behind tensors, for in-place operations on a processor.
//!
//! In-place operations, since candle allocates every result and walks broadcasts by stride: one
//! pass over what lies there is several times faster. Each operation refuses views with gaps.
//!
//! Floor: core.

use candle_core::{CpuStorage, Layout, Result, bail};

/// The numbers of a contiguous 32-bit tensor.
pub fn read<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&numbers[start..end]),
        _ => bail!("an in-place operation needs contiguous 32-bit numbers"),
    }
}

/// [`read`], to change.
pub fn write<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(numbers), Some((start, end))) => Ok(&mut numbers[start..end]),
        _ => bail!("an in-place operation needs contiguous 32-bit numbers"),
    }
}
