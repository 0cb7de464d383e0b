//! The kernels' text, compiled as C, against their formulas: every bit.
//!
//! Floor: core.

use std::path::Path;
use std::process::{Command, Stdio};

use candle_core::{DType, Device, Tensor};

use super::TEXT;

/// Reads numbers from a file, runs a kernel over them and writes what it changed.
const MAIN: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int count, char **words) {
    size_t sizes[3], numbers[4];
    float *operands[3];
    FILE *file = fopen(words[2], "rb");
    for (int k = 0; k < 3; k++) sizes[k] = strtoul(words[3 + k], 0, 10);
    for (int k = 0; k < 4; k++) numbers[k] = strtoul(words[6 + k], 0, 10);
    for (int k = 0; k < 3; k++) {
        operands[k] = malloc(sizes[k] * 4 + 4);
        if (fread(operands[k], 4, sizes[k], file) != sizes[k]) return 1;
    }
    float *a = operands[0], *b = operands[1], *c = operands[2];
    const char *name = words[1];
    if (!strcmp(name, "adam")) adam(a, b, c, numbers[0], numbers[1]);
    else if (!strcmp(name, "sgd")) sgd(a, b, c, numbers[0], numbers[1]);
    else if (!strcmp(name, "gate")) gate(a, b, c, numbers[0], numbers[1]);
    else if (!strcmp(name, "add_biases"))
        add_biases(a, b, numbers[0], numbers[1], numbers[2], numbers[3]);
    else return 2;
    return fwrite(a, 4, sizes[0], stdout) == sizes[0] ? 0 : 3;
}
"#;

/// The kernels as a program of the machine, whose compiler the build needs anyway.
fn compiled(folder: &Path) -> std::path::PathBuf {
    let (text, program) = (folder.join("lanes.c"), folder.join("lanes"));
    std::fs::write(&text, format!("{TEXT}\n{MAIN}")).unwrap();
    let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_string()));
    compiler.args(["-O2", "-ffp-contract=off", "-Wall", "-Werror", "-o"]).arg(&program).arg(&text);
    let said = compiler.arg("-lm").output().expect("a C compiler, `cc`");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    program
}

/// What a kernel makes of the first operand.
fn run(kernel: &str, operands: [&[f32]; 3], numbers: [usize; 4]) -> Vec<f32> {
    let folder = tempfile::tempdir().unwrap();
    let program = compiled(folder.path());
    let data: Vec<u8> = operands.concat().iter().flat_map(|x| x.to_le_bytes()).collect();
    let input = folder.path().join("operands");
    std::fs::write(&input, data).unwrap();
    let mut command = Command::new(program);
    command.arg(kernel).arg(input).args(operands.map(|operand| operand.len().to_string()));
    let said = command.args(numbers.map(|n| n.to_string())).stderr(Stdio::inherit()).output();
    let said = said.unwrap();
    assert!(said.status.success(), "{kernel}: {:?}", said.status);
    said.stdout.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Numbers from −2 to 2, of several sizes.
fn drawn(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1u32 << 24) as f32
    };
    (0..count).map(|_| (4.0 * next() - 2.0) * 10f32.powi((next() * 6.0) as i32 - 3)).collect()
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

const LANES: usize = 3;
const ONE: usize = 20;
const N: usize = LANES * ONE;

/// Rate, keep, pull, momentum and corrections, other ones in every lane.
fn paces() -> Vec<f32> {
    let of_lane = |lane: usize| {
        let by = 1.0 + lane as f32;
        [0.01 * by, 1.0 - 0.001 * by, 0.1 * by, 0.9 / by, 10.0 / by, 1_000.0 / by]
    };
    (0..LANES).flat_map(of_lane).collect()
}

#[test]
fn adam_moves_values_and_moments_by_each_lanes_pace() {
    let (mut state, gradient, paces) = (drawn(1, 3 * N), drawn(2, N), paces());
    state[2 * N..].iter_mut().for_each(|v| *v = v.abs());
    let seen = run("adam", [&state, &gradient, &paces], [N, ONE, 0, 0]);

    let (b1, b2, a1, a2) = (0.9f64, 0.999f64, 1.0 - 0.9f64, 1.0 - 0.999f64);
    let (b1, b2, a1, a2) = (b1 as f32, b2 as f32, a1 as f32, a2 as f32);
    for i in 0..N {
        let pace = &paces[i / ONE * 6..][..6];
        let g = gradient[i] + pace[2] * state[i];
        let m = state[N + i] * b1 + g * a1;
        let v = state[2 * N + i] * b2 + g * g * a2;
        state[i] = state[i] * pace[1] - m * pace[4] / ((v * pace[5]).sqrt() + 1e-8) * pace[0];
        (state[N + i], state[2 * N + i]) = (m, v);
    }
    assert_eq!(bits(&seen), bits(&state));
}

#[test]
fn sgd_moves_values_and_velocities_by_each_lanes_pace() {
    let (mut state, gradient, paces) = (drawn(3, 2 * N), drawn(4, N), paces());
    let seen = run("sgd", [&state, &gradient, &paces], [N, ONE, 0, 0]);

    for i in 0..N {
        let pace = &paces[i / ONE * 6..][..6];
        state[N + i] = state[N + i] * pace[3] + gradient[i];
        state[i] = state[i] * pace[1] - state[N + i] * pace[0];
    }
    assert_eq!(bits(&seen), bits(&state));
}

#[test]
fn biases_belong_to_their_lane_and_column_and_nan_stays() {
    const WIDTH: usize = 5;
    let (mut x, biases) = (drawn(5, N), drawn(6, LANES * WIDTH));
    x[7] = f32::NAN;
    for rectify in [false, true] {
        let seen = run("add_biases", [&x, &biases, &[]], [N, ONE, WIDTH, usize::from(rectify)]);

        let expected = (0..N).map(|i| {
            let sum = x[i] + biases[i / ONE * WIDTH + i % WIDTH];
            if rectify && sum < 0.0 { 0.0 } else { sum }
        });
        assert!(seen[7].is_nan());
        assert_eq!(bits(&seen), bits(&expected.collect::<Vec<f32>>()));
    }
}

#[test]
fn gates_open_where_the_layer_spoke() {
    let (d, mut said, gains) = (drawn(7, N), drawn(8, N), [1.0, 2.0, 1.25]);
    said[3] = 0.0;
    let seen = run("gate", [&d, &said, &gains], [N, ONE, 0, 0]);

    let expected = (0..N).map(|i| d[i] * if said[i] > 0.0 { gains[i / ONE] } else { 0.0 });
    assert_eq!(bits(&seen), bits(&expected.collect::<Vec<f32>>()));
    assert_eq!(seen[3], 0.0);
}

#[test]
fn sizes_that_do_not_fit_are_refused_before_any_launch() {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (gradient, paces) = (zeros(&[2, 1, 4]), zeros(&[2, 6]));
    let refused = |done: candle_core::Result<()>| done.unwrap_err().to_string();
    let short = super::adam(&zeros(&[2, 2, 1, 4]), &gradient, &paces);
    assert!(refused(short).contains("no step"));
    let fits = super::adam(&zeros(&[3, 2, 1, 4]), &gradient, &paces);
    assert!(refused(fits).contains("for a card"));
    assert!(
        refused(super::sgd(&zeros(&[2, 2, 1, 4]), &gradient, &zeros(&[3, 6]))).contains("no step")
    );
    let biases = super::add_biases(&zeros(&[2, 3, 4]), &zeros(&[2, 1, 3]), true);
    assert!(refused(biases).contains("no biases"));
    assert!(refused(super::gate(&gradient, &zeros(&[2, 1, 3]), &zeros(&[2]))).contains("no gate"));
}
