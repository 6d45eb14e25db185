//! Whole runs over checkpoints of each kind, durable as they always are, beside a plain copy of the same files.

#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

mod fixtures;

use std::path::{Path, PathBuf};

use depickle::filenames::manifest_path;
use depickle::inspect::inspect;
use depickle::verify::check_manifest;
use depickle::{ConvertOptions, convert};
use divan::Bencher;
use divan::counter::BytesCount;
use fixtures::Fixture;

fn main() {
    if !fixtures::only_make() {
        divan::main();
        fixtures::clear();
    }
}

fn output(input: &Path) -> PathBuf {
    fixtures::folder("out").join(input.with_extension("safetensors").file_name().unwrap_or_default())
}

fn run_convert(input: &Path) -> PathBuf {
    let mut options = ConvertOptions::default();
    options.force = true;
    let output = output(input);
    convert::prepare(input, &output, &options).and_then(|prepared| prepared.write(&output, &options, &())).expect("a conversion");
    output
}

fn run_copy(input: &Path) -> u64 {
    std::fs::copy(input, output(input).with_extension("copy")).expect("a copy")
}

fn measure<T>(bencher: Bencher<'_, '_>, fixture: &Fixture, run: impl Fn(&Path) -> T) {
    run(&fixture.path);
    bencher.counter(BytesCount::new(fixture.bytes)).bench_local(|| run(&fixture.path));
}

/// A conversion and a copy of one file.
macro_rules! case {
    ($name:ident, $fixture:path, $samples:literal) => {
        mod $name {
            use super::*;

            #[divan::bench(sample_count = $samples, sample_size = 1)]
            fn convert(bencher: Bencher<'_, '_>) {
                measure(bencher, &$fixture(), run_convert);
            }

            #[divan::bench(sample_count = $samples, sample_size = 1)]
            fn copy(bencher: Bencher<'_, '_>) {
                measure(bencher, &$fixture(), run_copy);
            }
        }
    };
}

case!(a_large_zip, fixtures::large_zip, 7);
case!(b_large_legacy, fixtures::large_legacy, 7);
case!(c_20000_tensors, fixtures::small, 7);
case!(e_transposed, fixtures::transposed, 7);
case!(f_tiny, fixtures::tiny, 50);

mod d_500_files {
    use super::*;

    fn all<T>(bencher: Bencher<'_, '_>, run: impl Fn(&Path) -> T) {
        let files = fixtures::hundreds();
        let each = || files.iter().for_each(|fixture| drop(run(&fixture.path)));
        each();
        bencher.counter(BytesCount::new(files.iter().map(|fixture| fixture.bytes).sum::<u64>())).bench_local(each);
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn convert(bencher: Bencher<'_, '_>) {
        all(bencher, run_convert);
    }

    #[divan::bench(sample_count = 5, sample_size = 1)]
    fn copy(bencher: Bencher<'_, '_>) {
        all(bencher, run_copy);
    }
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn g_inspect_large_zip(bencher: Bencher<'_, '_>) {
    let options = ConvertOptions::default();
    measure(bencher, &fixtures::large_zip(), |input| inspect(input, &options).expect("a checkpoint"));
}

#[divan::bench(sample_count = 7, sample_size = 1)]
fn h_verify_large_output(bencher: Bencher<'_, '_>) {
    let output = run_convert(&fixtures::large_zip().path);
    let fixture = Fixture { bytes: output.metadata().expect("the output").len(), path: manifest_path(&output) };
    measure(bencher, &fixture, |manifest| check_manifest(manifest, &()).expect("a verification"));
}
