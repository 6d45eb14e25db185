//! The fuzz targets of `fuzz/bodies.rs` on seeded mutations of small files, the same ones on every run. Longer runs, with a fuzzer
//! that looks for new paths, are described in `fuzz/README.md`.

#![allow(clippy::ptr_arg, reason = "the mutations have one type")]

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use bytes::Bytes;
use depickle::pickle::Decoder;
use depickle::{Limits, Place};

use crate::harness::testdata;
use bodies::{BODIES, Body, Form};

/// Marsaglia's xorshift: no dependence on anything but the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

type Mutation = fn(&mut Vec<u8>, &[Vec<u8>], &mut Random);

const MUTATIONS: &[Mutation] = &[flip, flip, set, cut, insert, repeat, splice, length, number, opcodes, opcodes];

fn flip(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    let at = random.below(data.len());
    if let Some(byte) = data.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn set(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    let at = random.below(data.len());
    if let Some(byte) = data.get_mut(at) {
        *byte = random.of(&[0, 1, 0x7f, 0x80, 0xff, b'.', b'(', b'\n', b'0', b'9', b'/']);
    }
}

fn cut(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    data.truncate(random.below(data.len()));
}

fn insert(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    let at = random.below(data.len() + 1);
    data.insert(at, random.below(256) as u8);
}

fn range(len: usize, random: &mut Random) -> std::ops::Range<usize> {
    let from = random.below(len);
    from..len.min(from + 1 + random.below(40))
}

fn repeat(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    let copied = data[range(data.len(), random)].to_vec();
    let at = random.below(data.len() + 1);
    data.splice(at..at, copied);
}

/// A part of another file in the place of a part of this one.
fn splice(data: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let other = &others[random.below(others.len())];
    let replaced = range(data.len(), random);
    data.splice(replaced, other[range(other.len(), random)].iter().copied());
}

/// What stands as a number of two, four or eight bytes becomes one that is hard to get right.
fn length(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    let value =
        random.of(&[0, 1, 0x7fff_ffff, 0xffff_ffff, 0x8000_0000, 1 << 62, u64::MAX, 1 << 63, data.len() as u64, data.len() as u64 + 1]);
    let at = random.below(data.len());
    let width = random.of(&[2, 4, 8]);
    for (byte, new) in data.iter_mut().skip(at).zip(&value.to_le_bytes()[..width]) {
        *byte = *new;
    }
}

/// The same for decimal text.
fn number(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    let digits: Vec<usize> = (0..data.len()).filter(|&at| data[at].is_ascii_digit()).collect();
    if !digits.is_empty() {
        let at = random.of(&digits);
        let new: &[u8] = random.of(&[&b"0"[..], b"-1", b"00", b"9223372036854775807", b"18446744073709551616", b"1e9", b""]);
        data.splice(at..at + 1, new.iter().copied());
    }
}

/// An opcode of the first pickle in the file goes, comes twice, or becomes another.
fn opcodes(data: &mut Vec<u8>, _: &[Vec<u8>], random: &mut Random) {
    let pickles: Vec<usize> = (0..data.len().saturating_sub(1)).filter(|&at| data[at] == 0x80 && (2..=5).contains(&data[at + 1])).collect();
    let start = if pickles.is_empty() { 0 } else { random.of(&pickles) };
    let stream = Bytes::copy_from_slice(&data[start..]);
    let limits = Limits::default();
    let mut decoder = Decoder::new(&stream, &Place::start_of(""), &limits);
    let mut offsets = Vec::new();
    while offsets.len() < 2_000
        && let Ok((offset, _)) = decoder.next_op()
    {
        offsets.push(start + offset as usize..start + decoder.position() as usize);
    }
    if offsets.is_empty() {
        return;
    }
    let (one, other) = (random.below(offsets.len()), random.below(offsets.len()));
    let copied = data[offsets[other].clone()].to_vec();
    match random.below(4) {
        0 => drop(data.drain(offsets[one].clone())),
        1 => drop(data.splice(offsets[one].clone(), copied)),
        2 => drop(data.splice(offsets[one].start..offsets[one].start, copied)),
        _ => data[offsets[one].start] = random.of(b"(.0129NQRabdelostu)]}\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94"),
    }
}

/// Mutations of each target.
const ROUNDS: u64 = 300;

fn survives(body: &Body) {
    let read = |seed: &&str| bodies::seed(body.form, std::fs::read(testdata().join(seed)).expect("a file of testdata"));
    let seeds: Vec<Vec<u8>> = body.seeds.iter().map(read).collect();
    let rounds = if matches!(body.form, Form::Stream) { 20 * ROUNDS } else { ROUNDS };
    for seed in &seeds {
        bodies::run(body.name, seed);
    }
    for round in 0..rounds {
        // The first steps of a xorshift from a small seed are alike.
        let mut random = Random((round + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut data = seeds[random.below(seeds.len())].clone();
        for _ in 0..random.of(&[1, 1, 2, 3, 8]) {
            if !data.is_empty() {
                random.of(MUTATIONS)(&mut data, &seeds, &mut random);
            }
        }
        let outcome = std::panic::catch_unwind(|| bodies::run(body.name, &data));
        assert!(outcome.is_ok(), "target {}, round {round}: b\"{}\"", body.name, data.escape_ascii());
    }
}

/// Some of the targets by each thread of the tests.
fn some(part: usize) {
    BODIES.iter().skip(part).step_by(4).for_each(survives);
}

#[test]
fn every_target_starts_with_files_that_are_read() {
    for body in BODIES {
        let read = |seed: &&str| bodies::run(body.name, &bodies::seed(body.form, std::fs::read(testdata().join(seed)).expect("a file")));
        assert!(body.seeds.iter().filter(|seed| read(seed)).count() * 2 > body.seeds.len(), "most seeds of {} are read", body.name);
    }
}

#[test]
fn mutations_of_a_quarter_of_the_targets_survive() {
    some(0);
}

#[test]
fn mutations_of_another_quarter_survive() {
    some(1);
}

#[test]
fn mutations_of_a_third_quarter_survive() {
    some(2);
}

#[test]
fn mutations_of_the_last_quarter_survive() {
    some(3);
}
