//! The pickle machine against CPython's own readers: thousands of generated streams and what C's `pickle` made of them with inert
//! stubs, recorded by `testdata/make/make_differential.py`, which also tells the form of the record and of the dump.
//!
//! Where C returns a value, the graph must be that value and end at the same byte, or the machine refuses for one of the
//! [`REFUSALS`]; a stream as a pickler writes it is never refused. Where C raises, there is an error, but for the classes of
//! [`GOES_ON`]. Where Python's readers make different values of one stream, there is always an error.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use depickle::pickle::{self, Graph};
use depickle::{Limits, Place};
use sha2::{Digest, Sha256};

use crate::harness::testdata;
use crate::python_dump;

const MAGIC: &[u8] = b"depickle differential 1\n";
const LOADS: u8 = 1;
const MEMORY: u8 = 8;
const READERS_DIFFER: u8 = 16;
const CANONICAL: u8 = 32;
const PYTHON_FAILS: u8 = 128;

/// Where C raises and the machine goes on: flag, and why.
const GOES_ON: &[(u8, &str)] = &[(4, "the arguments of a call come from a call: the stub is no tuple, the real object might be")];

/// What the machine refuses although C returns a value: a part of the message, and why.
const REFUSALS: &[(&str, &str)] = &[
    ("the one it is inside of", "a frame in a frame that ends behind it"),
    ("which Python's own readers do not all read alike", "text that no pickler writes"),
    ("holds a persistent id as text", "PERSID"),
    ("copyreg registry", "EXT"),
    ("is applied to", "items or a state for what is no object: a persistent object, a list"),
    ("for every later use of it", "items or a state for a global itself"),
    ("STACK_GLOBAL needs a module and a name", "empty names, or names that are no text"),
    ("goes on behind", "a frame that is cut by an argument or by STOP"),
];

struct Recorded<'a> {
    flags: u8,
    source: u8,
    end: u64,
    digest: u32,
    stream: &'a [u8],
}

fn record() -> Vec<u8> {
    let compressed = std::fs::read(testdata().join("differential/record.bin.xz")).expect("the record");
    let mut bytes = Vec::new();
    lzma_rust2::XzReader::new(&compressed[..], false).read_to_end(&mut bytes).expect("a whole record");
    bytes
}

fn rows(record: &[u8]) -> Vec<Recorded<'_>> {
    let mut rest = record.strip_prefix(MAGIC).expect("a record");
    let mut take = |len: usize| {
        let (taken, after) = rest.split_at(len);
        rest = after;
        taken
    };
    let u16s = |bytes: &[u8]| bytes.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two)).collect::<Vec<_>>();
    let n = u32::from_le_bytes(take(4).try_into().expect("four bytes")) as usize;
    let (flags, sources, lengths, ends) = (take(n), take(n), u16s(take(2 * n)), u16s(take(2 * n)));
    let digests = take(4 * n).as_chunks::<4>().0;
    let mut row = |i: usize| Recorded {
        flags: flags[i],
        source: sources[i],
        end: ends[i].into(),
        digest: u32::from_le_bytes(digests[i]),
        stream: take(lengths[i].into()),
    };
    (0..n).map(&mut row).collect()
}

fn digest(dump: &str) -> u32 {
    let sha = Sha256::digest(dump.as_bytes());
    u32::from_le_bytes([sha[0], sha[1], sha[2], sha[3]])
}

/// Why a reading is not what it should be, or the reason for which it is another outcome than C's.
fn judge(row: &Recorded<'_>, read: Result<Graph, String>) -> Result<Option<&'static str>, String> {
    let has = |flag: u8| row.flags & flag != 0;
    match read {
        Err(message) if !has(LOADS) || has(READERS_DIFFER) => drop(message),
        Err(message) if has(CANONICAL) => return Err(format!("refused: {message}")),
        Err(message) => {
            let known = REFUSALS.iter().find(|(part, _)| message.contains(part));
            return known.map(|(_, why)| Some(*why)).ok_or_else(|| format!("refused for a reason of no kind: {message}"));
        }
        Ok(_) if has(READERS_DIFFER) => return Err("Python's readers differ, and it is read".to_owned()),
        Ok(_) if !has(LOADS) => {
            let known = GOES_ON.iter().find(|(flag, _)| has(*flag));
            return known.map(|(_, why)| Some(*why)).ok_or_else(|| "C raises, and it is read".to_owned());
        }
        Ok(graph) if graph.end() != row.end => return Err(format!("it ends at {}, C at {}", graph.end(), row.end)),
        Ok(graph) => {
            let dump = python_dump::dump(&graph);
            if digest(&dump) != row.digest {
                return Err(format!("it is another value: {dump}"));
            }
        }
    }
    Ok(None)
}

#[test]
fn a_stream_is_what_cpython_makes_of_it_or_it_is_refused() {
    let record = record();
    let rows = rows(&record);
    let mut wrong = Vec::new();
    let mut reasons = BTreeMap::new();
    let mut same = 0;
    for row in &rows {
        let read = pickle::run(&Bytes::copy_from_slice(row.stream), &Place::start_of(""), &Limits::default());
        let read = read.map_err(|broken| broken.error.to_string());
        same += usize::from(read.is_ok() && row.flags & LOADS != 0);
        match judge(row, read) {
            Ok(None) => {}
            Ok(Some(reason)) => *reasons.entry(reason).or_insert(0) += 1,
            Err(why) => wrong.push(format!("b\"{}\" (source {}, flags {:#x}): {why}", row.stream.escape_ascii(), row.source, row.flags)),
        }
    }
    let count = |flag: u8| rows.iter().filter(|row| row.flags & flag != 0).count();
    assert!(wrong.is_empty(), "{} of {} streams:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    assert_eq!(reasons.len(), REFUSALS.len() + GOES_ON.len(), "a row that no stream needs is one too many: {reasons:?}");
    // The record itself must not be one that anything passes.
    assert!(rows.len() > 4_000 && count(CANONICAL) > 2_000 && same > 2_500, "{} {} {same}", rows.len(), count(CANONICAL));
    assert!(count(READERS_DIFFER) > 10 && count(MEMORY) > 10 && count(PYTHON_FAILS) > 10);
}
