//! Steps of a conversion, each alone: opcodes, graphs, gathering, digests.

#![allow(clippy::expect_used, reason = "a benchmark fails by panicking")]

mod fixtures;

use bytes::Bytes;
use depickle::pickle::{Decoder, Op};
use depickle::{Limits, Place, measured, pickle};
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
    fixtures::clear();
}

/// The pickle of a checkpoint of 20,000 tensors, and how many opcodes it has.
fn stream() -> (Bytes, usize) {
    let stream = Bytes::from(fixtures::state_dict(&fixtures::many(20_000), false));
    let n_ops = count_ops(&stream);
    (stream, n_ops)
}

fn count_ops(stream: &[u8]) -> usize {
    let (limits, place) = (Limits::default(), Place::start_of(""));
    let mut decoder = Decoder::new(stream, &place, &limits);
    let mut n_ops = 1;
    while !matches!(decoder.next_op().expect("an opcode"), (_, Op::Stop)) {
        n_ops += 1;
    }
    n_ops
}

#[divan::bench(sample_count = 20)]
fn decode_opcodes(bencher: Bencher<'_, '_>) {
    let (stream, n_ops) = stream();
    bencher.counter(BytesCount::new(stream.len())).counter(ItemsCount::new(n_ops)).bench_local(|| count_ops(black_box(&stream)));
}

#[divan::bench(sample_count = 20)]
fn build_graph(bencher: Bencher<'_, '_>) {
    let (stream, n_ops) = stream();
    let (limits, place) = (Limits::default(), Place::start_of(""));
    bencher
        .counter(BytesCount::new(stream.len()))
        .counter(ItemsCount::new(n_ops))
        .bench_local(|| pickle::run(black_box(&stream), &place, &limits).expect("a graph"));
}

/// A view of 64 MiB: its name, dtype, shape and strides, and whether bytes are swapped.
struct Layout(&'static str, &'static str, &'static [i64], &'static [i64], bool);

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

const LAYOUTS: &[Layout] = &[
    Layout("contiguous", "bfloat16", &[8192, 4096], &[4096, 1], false),
    Layout("swapped", "float32", &[4096, 4096], &[4096, 1], true),
    Layout("transposed", "uint8", &[8192, 8192], &[1, 8192], false),
    Layout("transposed", "bfloat16", &[8192, 4096], &[1, 8192], false),
    Layout("transposed", "float32", &[4096, 4096], &[1, 4096], false),
    Layout("transposed", "float64", &[4096, 2048], &[1, 4096], false),
    Layout("channels last", "float32", &[16, 256, 64, 64], &[1_048_576, 1, 16_384, 256], false),
    Layout("every second", "bfloat16", &[4096, 4096], &[8192, 2], false),
];

#[divan::bench(sample_count = 10, sample_size = 1, args = LAYOUTS)]
fn gather(bencher: Bencher<'_, '_>, layout: &Layout) {
    let file = fixtures::matrix().path;
    let &Layout(_, dtype, shape, strides, swap) = layout;
    let mut bytes = 0;
    measured::gather(&file, dtype, shape, strides, swap, &mut |chunk| bytes += chunk.len()).expect("a view of the file");
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        measured::gather(&file, dtype, shape, strides, swap, &mut |chunk| {
            black_box(chunk);
        })
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn digest_one_file(bencher: Bencher<'_, '_>) {
    let fixture = fixtures::matrix();
    bencher.counter(BytesCount::new(fixture.bytes)).bench_local(|| measured::sha256(&fixture.path));
}
