//! Budgets: what one input may cost. Each is a row here and a `--limit NAME=VALUE` on the command line.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{self, Error, Result};

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $field:ident, $name:literal = $default:expr;)*) => {
        /// What one input may cost before it is refused. Honest checkpoints never meet the defaults.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub struct Limits { $($(#[doc = $doc])* pub $field: u64,)* }

        impl Default for Limits {
            fn default() -> Self { Limits { $($field: $default,)* } }
        }

        impl Limits {
            /// Sets a limit by its command-line name.
            ///
            /// # Errors
            /// When no limit has that name; the message lists those that exist.
            pub fn set(&mut self, name: &str, value: u64) -> Result<()> {
                match name {
                    $($name => self.$field = value,)*
                    _ => {
                        let known = [$($name),*].join(", ");
                        return Err(Error::usage(format!("there is no limit called {name:?}")).help(format!("the limits are {known}")));
                    }
                }
                Ok(())
            }

            /// Every limit, by its command-line name.
            pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field),)*]
            }

            $(#[allow(dead_code, reason = "the limit on output is a budget that depends on the input")]
            pub(crate) fn $field(&self, seen: u64) -> Result<()> {
                if seen > self.$field { Err(exceeded($name, seen, self.$field)) } else { Ok(()) }
            })*
        }
    };
}

fn exceeded(name: &str, seen: u64, allowed: u64) -> Error {
    error::limit(name, seen, allowed)
}

limits! {
    /// Bytes of one pickle member of an archive, after decompression. Stops decompression bombs.
    pickle_bytes, "pickle-bytes" = 512 << 20;
    /// Opcodes of one pickle, and of all pickles of an input that has less than a quarter as many bytes; a larger one may have
    /// four for each byte. Stops streams that are long and hold nothing.
    opcodes, "opcodes" = 200_000_000;
    /// Bytes of memory for what the pickles of one checkpoint build. Stops streams of a million nested containers.
    memory_bytes, "memory-bytes" = 384 << 20;
    /// Keys and indices between the root and a tensor. Stops endless nesting.
    depth, "depth" = 1_000;
    /// Tensors of one checkpoint, aliases included. Stops a billion paths to one tensor.
    tensors, "tensors" = 1_000_000;
    /// Bytes of one tensor name.
    name_bytes, "name-bytes" = 4_096;
    /// Bytes of the safetensors header; its readers refuse more than the default.
    header_bytes, "header-bytes" = 100_000_000;
    /// Bytes of the index of a set of files.
    index_bytes, "index-bytes" = 100_000_000;
    /// Output files of one checkpoint that is split.
    shards, "shards" = 10_000;
    /// Bytes of output; 0 stands for the larger of 16 times the storages and 1 GiB. Stops expanded views.
    output_bytes, "output-bytes" = 0;
    /// Bytes that a compressed file may hold; 0 stands for the larger of 48 times its size and 3 GiB, and where decoding is slow
    /// (bzip2, lzma, xz) of 32 times and 2 GiB. Stops decompression bombs.
    decompressed_bytes, "decompressed-bytes" = 0;
    /// Checkpoints of one bundle. Stops a million files that take a second for a thousand.
    checkpoints, "checkpoints" = 100_000;
    /// Entries of a zip archive.
    zip_entries, "zip-entries" = 1_000_000;
    /// Digits of an integer written as text, as CPython allows.
    integer_digits, "integer-digits" = 4_300;
    /// Torch files nested in a pickle inside one another.
    nesting, "nesting" = 4;
}

/// By which two ranges of bytes are the same: where what they are part of is, as long as it is there; start; length.
pub(crate) type RangeKey = (usize, u64, u64);

/// Bytes of an input that are searched for pickles where none should be.
const MAX_SEARCHED: u64 = 256 << 20;
/// Bytes of an input behind the places where its pickles break that are searched for names; a larger input may have more.
const MAX_BEHIND: u64 = 256 << 20;
/// Opcodes and bytes behind breaks that an input may have for each of its bytes, since some of them may be compressed.
const FOR_EACH_BYTE: u64 = 4;

/// How an input is read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ReadOptions {
    /// What it may cost.
    pub limits: Limits,
    /// Read archive members whose content does not have the recorded checksum.
    pub ignore_crc: bool,
    /// Where large compressed input is decoded to, as an unnamed file; the system's folder for temporary files without it.
    pub scratch: Option<PathBuf>,
    /// The folder of the input, where joblib before 0.10 keeps the arrays of a pickle in files of their own. Without it, they
    /// are missing.
    pub beside: Option<PathBuf>,
    /// Look for pickles also where data should be, such as in the storages of a checkpoint.
    pub everywhere: bool,
    /// Bytes of the input; 0 before there is one.
    input_bytes: u64,
    /// What reading it has cost so far, shared by all its readers.
    spent: Arc<Spent>,
}

/// What reading an input has cost so far.
#[derive(Debug, Default)]
struct Spent {
    /// Bytes that were decoded.
    decoded: AtomicU64,
    /// Bytes of memory that pickles took.
    memory: AtomicU64,
    /// Bytes that were searched for pickles where none should be.
    searched: AtomicU64,
    /// Bytes that were searched for names behind a break.
    behind: AtomicU64,
    /// Opcodes of all pickles.
    opcodes: AtomicU64,
    /// The archive members that were decoded to their end and have the recorded checksum.
    checked: Mutex<HashSet<RangeKey>>,
}

/// How fast data is decoded, next to copying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Usual,
    Slow,
}

impl ReadOptions {
    /// The same for an input of its own, which has `bytes`.
    pub(crate) fn for_input(&self, bytes: u64) -> Self {
        ReadOptions { input_bytes: bytes, spent: Arc::default(), ..self.clone() }
    }

    /// The limits for the next pickle of the input.
    pub(crate) fn limits_left(&self) -> Limits {
        let opcodes_of_all = self.limits.opcodes.max(self.input_bytes.saturating_mul(FOR_EACH_BYTE));
        let opcodes_left = opcodes_of_all.saturating_sub(self.spent.opcodes.load(Ordering::Relaxed));
        Limits {
            memory_bytes: self.limits.memory_bytes.saturating_sub(self.memory()),
            opcodes: self.limits.opcodes.min(opcodes_left),
            ..self.limits.clone()
        }
    }

    /// Counts what a pickle took.
    pub(crate) fn count_pickle(&self, memory: u64, opcodes: u64) {
        self.spent.memory.fetch_add(memory, Ordering::Relaxed);
        self.spent.opcodes.fetch_add(opcodes, Ordering::Relaxed);
    }

    /// Counts memory that records of the input take, before they take it.
    ///
    /// # Errors
    /// The limit on memory.
    pub(crate) fn debit(&self, bytes: u64) -> Result<()> {
        let before = self.spent.memory.fetch_add(bytes, Ordering::Relaxed);
        self.limits.memory_bytes(before.saturating_add(bytes))
    }

    /// Bytes that may still be searched for pickles where none should be.
    pub(crate) fn search_left(&self) -> u64 {
        MAX_SEARCHED.saturating_sub(self.spent.searched.load(Ordering::Relaxed))
    }

    /// Counts bytes that were searched.
    pub(crate) fn count_searched(&self, bytes: u64) {
        self.spent.searched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many of `bytes` behind a break may be searched for names; they are counted.
    pub(crate) fn take_behind(&self, bytes: u64) -> u64 {
        let most = MAX_BEHIND.max(self.input_bytes.saturating_mul(FOR_EACH_BYTE));
        let before = self.spent.behind.fetch_add(bytes, Ordering::Relaxed);
        bytes.min(most.saturating_sub(before))
    }

    /// Memory that the pickles of the input took so far.
    pub(crate) fn memory(&self) -> u64 {
        self.spent.memory.load(Ordering::Relaxed)
    }

    /// Takes back what was counted of pickles that are dropped again.
    pub(crate) fn forget_memory(&self, before: u64) {
        self.spent.memory.store(before, Ordering::Relaxed);
    }

    /// Counts bytes that were decoded of data that has `compressed` bytes.
    ///
    /// # Errors
    /// The limit on decompressed bytes of the input.
    pub(crate) fn count_decoded(&self, bytes: u64, what: &str, compressed: u64, pace: Pace) -> Result<()> {
        let of = if self.input_bytes == 0 { compressed } else { self.input_bytes };
        let budget = self.limits.decompressed_budget(of, pace);
        let before = self.spent.decoded.fetch_add(bytes, Ordering::Relaxed);
        match before.saturating_add(bytes) > budget {
            true => Err(error::limit("decompressed-bytes", format_args!("{what} of {compressed} bytes"), budget)),
            false => Ok(()),
        }
    }

    /// Notes that an archive member has the recorded checksum.
    pub(crate) fn note_checked(&self, member: RangeKey) {
        self.spent.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(member);
    }

    /// Whether that was noted.
    pub(crate) fn was_checked(&self, member: RangeKey) -> bool {
        self.spent.checked.lock().unwrap_or_else(PoisonError::into_inner).contains(&member)
    }

    /// Starts counting bytes again: what was decoded to look into it is decoded again to be read.
    pub(crate) fn forget(&self) {
        self.spent.decoded.store(0, Ordering::Relaxed);
        self.forget_memory(0);
        self.spent.checked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Limits {
    /// The budget for the bytes inside compressed data of `compressed_bytes`. Weights shrink to a third at most, zeros to a thousandth and
    /// less. So a ratio says much of a large file and nothing of a small one, which may hold what can be decoded in some seconds.
    fn decompressed_budget(&self, compressed_bytes: u64, pace: Pace) -> u64 {
        match (self.decompressed_bytes, pace) {
            (0, Pace::Usual) => compressed_bytes.saturating_mul(48).max(3 << 30),
            (0, Pace::Slow) => compressed_bytes.saturating_mul(32).max(2 << 30),
            (set, _) => set,
        }
    }

    /// The budget for output bytes when the storages hold `storage_bytes`.
    pub(crate) fn output_budget(&self, storage_bytes: u64) -> u64 {
        match self.output_bytes {
            0 => storage_bytes.saturating_mul(16).max(1 << 30),
            set => set,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn compressed_data_may_hold_what_is_decoded_in_seconds_or_a_ratio_of_its_size() {
        let limits = Limits::default();
        for (compressed, pace, allowed) in [
            (1, Pace::Usual, 3 << 30),
            (64 * MIB, Pace::Usual, 3 << 30),
            (128 * MIB, Pace::Usual, 6 << 30),
            (1, Pace::Slow, 2 << 30),
            (64 * MIB, Pace::Slow, 2 << 30),
            (128 * MIB, Pace::Slow, 4 << 30),
        ] {
            let options = ReadOptions { limits: limits.clone(), ..ReadOptions::default() }.for_input(compressed);
            assert!(options.count_decoded(allowed, "data", compressed, pace).is_ok(), "{compressed}");
            assert!(options.count_decoded(1, "data", compressed, pace).is_err(), "{compressed}");
        }
    }

    #[test]
    fn bytes_behind_breaks_are_searched_up_to_a_limit() {
        let options = ReadOptions::default().for_input(10);
        assert_eq!(options.take_behind(MAX_BEHIND - 1), MAX_BEHIND - 1);
        assert_eq!(options.take_behind(5), 1);
        assert_eq!(options.take_behind(5), 0);
        assert_eq!(ReadOptions::default().for_input(MAX_BEHIND).take_behind(2 * MAX_BEHIND), 2 * MAX_BEHIND);
    }
}
