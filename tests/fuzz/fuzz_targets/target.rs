//! Hands libFuzzer's inputs to the target that `SEEDSWEEP_FUZZ_TARGET` names.
//!
//! One program for all targets, since each would link the whole project again.
//!
//! Floor: wiring.

#![no_main]

use std::sync::OnceLock;

use tests::targets::{Target, target};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        forgive_decoders();
        target(&std::env::var("SEEDSWEEP_FUZZ_TARGET").expect("a target; see tests/fuzz/run"))
    });
    (target.run)(input);
});

/// What the libraries for Parquet and images assert of damaged files is caught where they are called.
/// libFuzzer's own hook would end the process before.
fn forgive_decoders() {
    let libraries = ["/parquet-", "/png-", "/zune-"];
    let ends = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let file = panic.location().map_or("", |place| place.file());
        if !libraries.iter().any(|library| file.contains(library)) {
            ends(panic);
        }
    }));
}
