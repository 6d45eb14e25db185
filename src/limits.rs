//! Budgets: what one input may cost. Each is a row here and a `--limit NAME=VALUE` on the command line.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Opcodes of one pickle. Stops streams that are long and hold nothing.
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
    /// Bytes of output; 0 stands for the larger of 16 times the storages and 1 GiB. Stops expanded views.
    output_bytes, "output-bytes" = 0;
    /// Bytes that a compressed file may hold; 0 stands for the larger of 100 times its size and 4 GiB. Stops decompression bombs.
    decompressed_bytes, "decompressed-bytes" = 0;
    /// Entries of a zip archive.
    zip_entries, "zip-entries" = 1_000_000;
    /// Digits of an integer written as text, as CPython allows.
    integer_digits, "integer-digits" = 4_300;
    /// Torch files nested in a pickle inside one another.
    nesting, "nesting" = 4;
}

/// Bytes of an input that are searched for pickles where none should be.
const MAX_SEARCHED: u64 = 256 << 20;

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
    /// Bytes that were decoded of the input so far.
    pub(crate) decoded: Decoded,
    /// Bytes of memory that its pickles took so far.
    memory: Arc<AtomicU64>,
    /// Bytes that were searched for pickles where none should be.
    searched: Arc<AtomicU64>,
}

/// A count that all readers of one input share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decoded {
    bytes: Arc<AtomicU64>,
    /// The most that is allowed, from the size of the input; without one, each piece of data has its own.
    budget: Option<u64>,
}

impl ReadOptions {
    /// The same for an input of its own, which has `bytes`.
    pub(crate) fn for_input(&self, bytes: u64) -> Self {
        let decoded = Decoded { bytes: Arc::default(), budget: Some(self.limits.decompressed_budget(bytes)) };
        ReadOptions { decoded, memory: Arc::default(), searched: Arc::default(), ..self.clone() }
    }

    /// The limits for the next pickle of the input.
    pub(crate) fn limits_left(&self) -> Limits {
        Limits { memory_bytes: self.limits.memory_bytes.saturating_sub(self.memory()), ..self.limits.clone() }
    }

    /// Counts memory that a pickle took.
    pub(crate) fn count_memory(&self, bytes: u64) {
        self.memory.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts memory that records of the input take, before they take it.
    ///
    /// # Errors
    /// The limit on memory.
    pub(crate) fn debit(&self, bytes: u64) -> Result<()> {
        let before = self.memory.fetch_add(bytes, Ordering::Relaxed);
        self.limits.memory_bytes(before.saturating_add(bytes))
    }

    /// Bytes that may still be searched for pickles where none should be.
    pub(crate) fn search_left(&self) -> u64 {
        MAX_SEARCHED.saturating_sub(self.searched.load(Ordering::Relaxed))
    }

    /// Counts bytes that were searched.
    pub(crate) fn count_searched(&self, bytes: u64) {
        self.searched.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Memory that the pickles of the input took so far.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    /// Takes back what was counted of pickles that are dropped again.
    pub(crate) fn forget_memory(&self, before: u64) {
        self.memory.store(before, Ordering::Relaxed);
    }

    /// Counts bytes that were decoded of data that has `compressed` bytes.
    ///
    /// # Errors
    /// The limit on decompressed bytes of the input.
    pub(crate) fn count_decoded(&self, bytes: u64, what: &str, compressed: u64) -> Result<()> {
        let budget = self.decoded.budget.unwrap_or_else(|| self.limits.decompressed_budget(compressed));
        let before = self.decoded.bytes.fetch_add(bytes, Ordering::Relaxed);
        match before.saturating_add(bytes) > budget {
            true => Err(error::limit("decompressed-bytes", format_args!("{what} of {compressed} bytes"), budget)),
            false => Ok(()),
        }
    }

    /// Starts counting again: what was decoded to look into it is decoded again to be read.
    pub(crate) fn forget(&self) {
        self.decoded.bytes.store(0, Ordering::Relaxed);
        self.forget_memory(0);
    }
}

impl Limits {
    /// The budget for the bytes inside compressed data of `compressed_bytes`.
    pub(crate) fn decompressed_budget(&self, compressed_bytes: u64) -> u64 {
        match self.decompressed_bytes {
            0 => compressed_bytes.saturating_mul(100).max(4 << 30),
            set => set,
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
