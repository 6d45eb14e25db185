//! Digests of what is read: SHA-256, and the CRC-32 of every member of an archive that records one.

mod checksums;
mod stream;

pub(crate) use checksums::Checksums;
pub(crate) use stream::{Lane, Segment, Stream};

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::container::{Member, check_crc};
use crate::error::{self, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::progress::Progress;
use crate::source::{Region, Source};

/// Bytes read at a time; small enough that the digests find them in cache.
const CHUNK_BYTES: usize = 256 << 10;

/// A SHA-256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sha(pub [u8; 32]);

impl Sha {
    /// In hexadecimal.
    pub(crate) fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }
}

impl std::fmt::Display for Sha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

/// A SHA-256 being computed.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> Sha {
        Sha(self.0.finalize().into())
    }
}

/// The digest of a region.
///
/// # Errors
/// When it cannot be read, or the work is no longer wanted.
pub(crate) fn region(region: &Region, progress: &dyn Progress) -> Result<Sha> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; region.len().min(CHUNK_BYTES as u64) as usize];
    let mut at = 0;
    while at < region.len() {
        let chunk = &mut buffer[..(region.len() - at).min(CHUNK_BYTES as u64) as usize];
        region.read_at(at, chunk)?;
        hasher.update(chunk);
        at += chunk.len() as u64;
        progress.advance(chunk.len() as u64);
        if progress.cancelled() {
            return Err(error::interrupted());
        }
    }
    Ok(hasher.finish())
}

/// The digest of a file.
///
/// # Errors
/// Those of [`region`], and when it cannot be opened.
pub(crate) fn file(path: &Path, progress: &dyn Progress) -> Result<Sha> {
    region(&Region::file(&Source::open(path)?), progress)
}

/// Checks the checksums of members that nothing else will read to their end: they are compressed, or in another file than
/// the source.
///
/// # Errors
/// Damaged data and `zip-crc`.
pub(crate) fn unread_members<'a>(members: impl Iterator<Item = &'a Member>, options: &ReadOptions) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for member in members {
        let crc = member.count(options).and_then(|()| member.decode(&mut |_| Ok(())))?;
        findings.extend(check_crc(&member.place().member, member.crc, crc, options)?);
    }
    Ok(findings)
}
