//! Damaged files: whatever the bytes are, there is a conversion or one error, never a panic.

use std::path::Path;

use depickle::ConvertOptions;
use depickle::convert::prepare;

use crate::harness::{Scratch, testdata};

const FILES: &[&str] = &[
    "torch-zip/2.15.0/conj_neg.pt",
    "torch-zip/1.6.0/views.pt",
    "torch-zip/2.15.0/deflated.pt",
    "torch-legacy/1.0.0/views.pt",
    "bare-pickle/numpy-2.4.6-py3.11/keys_p0.pkl",
    "bare-pickle/numpy-2.4.6-py3.11/layouts_p5.pkl",
    "bare-pickle/torch-2.15.0-py3.11/mixed_p5.pkl",
];

/// Converts in this process, where a panic fails the test; what the outcome is does not matter here, only that it is
/// one, and that an error leaves nothing behind.
fn survives(scratch: &Scratch, bytes: &[u8]) -> bool {
    let input = scratch.write("input", bytes);
    let output = scratch.path("out.safetensors");
    let options = ConvertOptions::default();
    let result = prepare(&input, &output, &options).and_then(|prepared| prepared.write(&output, &options, &()));
    let converted = result.is_ok();
    for path in result.into_iter().flat_map(|converted| [converted.output, converted.manifest_path]) {
        std::fs::remove_file(path).expect("an output");
    }
    assert_eq!(scratch.names(), ["input"]);
    converted
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(testdata().join(Path::new(name))).expect(name)
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let scratch = Scratch::new();
    for name in FILES {
        let bytes = read(name);
        assert!(survives(&scratch, &bytes), "{name} itself converts");
        let step = bytes.len() / 200 + 1;
        for len in (0..bytes.len()).step_by(step) {
            assert!(!survives(&scratch, &bytes[..len]), "{name} cut to {len} of {} bytes converts", bytes.len());
        }
    }
}

#[test]
fn a_changed_byte_never_panics() {
    let scratch = Scratch::new();
    for name in FILES {
        let bytes = read(name);
        let step = bytes.len() / 400 + 1;
        for at in (0..bytes.len()).step_by(step) {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                survives(&scratch, &changed);
            }
        }
    }
}
