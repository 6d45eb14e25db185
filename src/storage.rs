//! Storages: the byte buffers that tensors are views of, wherever the container keeps them.

use crate::error::{Code, Error, Result};
use crate::place::Place;
use crate::source::Region;

/// One byte buffer of the checkpoint.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The key that the checkpoint calls it by, or the place of the array for numpy data.
    pub key: String,
    /// Bytes once decoded.
    pub len: u64,
    /// Bytes at its start that say what the others are, and are no data: the header of a compressed `.npy`.
    pub head: u64,
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
    /// A deflated archive member, with the recorded CRC-32 of its content (0 where none was computed).
    Deflated { member: String, compressed: Region, crc: u32 },
    /// UTF-8 text whose code points are the bytes: how Python 3 writes bytes below pickle protocol 3.
    Latin1(Region),
    /// Several pieces one after another, each with its length once decoded.
    Joined(Vec<(Content, u64)>),
    /// No data at all: a storage on torch's `meta` device.
    Meta,
}

impl Storage {
    /// The archive member that must be inflated to read the storage.
    pub(crate) fn member(&self) -> Option<&str> {
        match &self.content {
            Content::Deflated { member, .. } => Some(member),
            _ => None,
        }
    }
}

/// One of the storages that a checkpoint refers to.
#[derive(Debug)]
pub(crate) enum Referred {
    /// A storage of the container: the index of its space, and its number there.
    Stored(u32, u32),
    /// One that belongs to a node of the graph.
    Own(Box<Storage>),
}

/// An index into the storages of one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(pub(crate) u32);

impl StorageId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Decodes [`Content::Latin1`] text to `sink`.
///
/// # Errors
/// When the text has a code point beyond 0xff; those of `sink`.
pub(crate) fn decode_latin1(text: &[u8], sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut chunk = Vec::with_capacity(64 << 10);
    let mut rest = text;
    while let Some(&first) = rest.first() {
        let (byte, len) = match (first, rest.get(1)) {
            (0..=0x7f, _) => (first, 1),
            (0xc2 | 0xc3, Some(&low)) => ((first << 6) | (low & 0x3f), 2),
            _ => return Err(Error::new(Code::TensorInvalid, "array data written as text has a character beyond Latin-1")),
        };
        chunk.push(byte);
        rest = &rest[len..];
        if chunk.len() == chunk.capacity() {
            sink(&chunk)?;
            chunk.clear();
        }
    }
    sink(&chunk)
}

/// The bytes that Latin-1 text of valid UTF-8 stands for: one for each code point.
pub(crate) fn latin1_len(text: &[u8]) -> u64 {
    text.iter().filter(|&&byte| byte & 0xc0 != 0x80).count() as u64
}
