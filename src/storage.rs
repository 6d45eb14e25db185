//! Storages: the byte buffers that tensors are views of, wherever the container keeps them.

use ::bytes::Bytes;

use crate::place::Place;
use crate::source::Region;

/// One byte buffer of the checkpoint.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The key that the checkpoint calls it by, or the place of the array for numpy data.
    pub key: String,
    /// Bytes once decoded.
    pub len: u64,
    /// Where the bytes are.
    pub content: Content,
    /// Where they start in the input.
    pub place: Place,
    /// Whether multi-byte values are stored most significant byte first.
    pub big_endian: bool,
}

/// Where a storage's bytes are, and in what form.
#[derive(Debug, Clone)]
pub enum Content {
    /// As they are.
    Plain(Region),
    /// A deflated archive member, with the CRC-32 of its content where the archive records one.
    Deflated { compressed: Region, crc: Option<u32> },
    /// UTF-8 text whose code points are the bytes: how Python 3 writes bytes below pickle protocol 3.
    Latin1(Region),
    /// No data at all: a storage on torch's `meta` device.
    Meta,
}

impl Storage {
    /// A storage in memory.
    pub(crate) fn in_memory(key: String, bytes: Bytes, place: Place) -> Self {
        Storage { key, len: bytes.len() as u64, content: Content::Plain(Region::memory(bytes)), place, big_endian: false }
    }
}

/// An index into the storages of one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(pub(crate) u32);

impl StorageId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}
