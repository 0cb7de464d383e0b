//! Compiling and launching the kernels.
//!
//! Source: candle's own way with kernels (`get_or_load_custom_func`).
//!
//! Floor: core.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{CudaStorage, Layout, Result, bail};

use super::{Lanes, TEXT};

/// Why the kernels do not run on this card, found out once.
pub fn why_not(device: &CudaDevice) -> Option<String> {
    static FOUND: Mutex<BTreeMap<usize, Option<String>>> = Mutex::new(BTreeMap::new());
    let card = device.cuda_stream().context().ordinal();
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found.entry(card).or_insert_with(|| tried(device)).clone()
}

fn tried(device: &CudaDevice) -> Option<String> {
    let ptx = match ptx() {
        Ok(ptx) => ptx,
        Err(why) => return Some(why.clone()),
    };
    let loads = KERNELS.iter().map(|name| device.get_or_load_custom_func(name, MODULE, ptx));
    loads.filter_map(|loaded| Some(loaded.err()?.to_string())).next()
}

/// The kernels for any card, compiled once a process.
fn ptx() -> &'static std::result::Result<String, String> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    PTX.get_or_init(|| {
        let options =
            CompileOptions { fmad: Some(false), arch: Some(ARCHITECTURE), ..Default::default() };
        let compiled = compile_ptx_with_opts(TEXT, options);
        compiled.map(|ptx| ptx.to_src()).map_err(|error| error.to_string())
    })
}

/// Launches a kernel over all numbers of `changed`; all operands lie without gaps.
pub fn launch(
    lanes: &Lanes,
    (changed, of_changed): (&mut CudaStorage, &Layout),
    read: &[(&CudaStorage, &Layout)],
) -> Result<()> {
    let Ok(ptx) = ptx() else { bail!("{} was not compiled", lanes.kernel) };
    let function = changed.device.get_or_load_custom_func(lanes.kernel, MODULE, ptx)?;
    let whole = |layout: &Layout| match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("{} needs contiguous numbers", lanes.kernel),
    };
    let mut views = Vec::with_capacity(read.len());
    for (storage, layout) in read {
        views.push(storage.as_cuda_slice::<f32>()?.slice(whole(layout)?));
    }
    let range = whole(of_changed)?;
    let mut changed = changed.as_cuda_slice_mut::<f32>()?.slice_mut(range);
    let mut call = function.builder();
    call.arg(&mut changed);
    for view in &views {
        call.arg(view);
    }
    call.arg(&lanes.numbers).arg(&lanes.one);
    if lanes.kernel == "add_biases" {
        call.arg(&lanes.more[0]).arg(&lanes.more[1]);
    }
    let grid = LaunchConfig::for_num_elems(u32::try_from(lanes.numbers).unwrap_or(u32::MAX));
    // SAFETY: the arguments are those that the kernel of this name has, in its order, and every kernel
    // stays below `numbers` of the first, of which the sizes of all others were checked to be.
    unsafe { call.launch(grid) }.w()?;
    Ok(())
}

const MODULE: &str = "seedsweep-lanes";
const KERNELS: [&str; 4] = ["adam", "sgd", "add_biases", "gate"];

/// The oldest that CUDA 13 compiles for; a driver brings it to newer cards.
const ARCHITECTURE: &str = "compute_75";
