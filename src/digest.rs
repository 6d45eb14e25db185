//! Digests of what is read: of any region, and of the source in one pass together with the CRC-32 of every member of an
//! archive that records one.

use std::sync::atomic::{AtomicBool, Ordering};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sha(pub [u8; 32]);

impl std::fmt::Display for Sha {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
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

/// Reads `source` once from start to end; stops early, with an arbitrary digest, when `cancelled` becomes true.
///
/// # Errors
/// When the source cannot be read, and `zip-crc` for a damaged member.
pub(crate) fn source(
    source: &Source,
    members: &[Member],
    options: &ReadOptions,
    progress: &dyn Progress,
    cancelled: &AtomicBool,
) -> Result<(Sha, Vec<Finding>)> {
    let mut findings = Vec::new();
    let mut stored: Vec<(u64, &Member)> =
        members.iter().filter(|m| !m.deflated && !m.is_archive).filter_map(|m| Some((m.stored.offset_in(source)?, m))).collect();
    stored.sort_by_key(|(offset, _)| *offset);
    let mut stored = stored.into_iter().peekable();
    let mut crc = crc32fast::Hasher::new();
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0u64;
    while at < source.len() && !cancelled.load(Ordering::Relaxed) {
        let len = (source.len() - at).min(CHUNK_BYTES as u64) as usize;
        let chunk = &mut chunk[..len];
        source.read_at(at, chunk)?;
        hasher.update(chunk);
        let chunk_end = at + len as u64;
        // Members do not overlap, so at most one is open at a time.
        while let Some(&(start, member)) = stored.peek() {
            let end = start + member.stored.len();
            if start >= chunk_end {
                break;
            }
            let from = start.max(at) - at;
            let to = end.min(chunk_end) - at;
            crc.update(&chunk[from as usize..to as usize]);
            if end > chunk_end {
                break;
            }
            findings.extend(check_crc(&member.place.member, member.crc, std::mem::take(&mut crc).finalize(), options)?);
            stored.next();
        }
        at = chunk_end;
        progress.advance(len as u64);
    }
    Ok((hasher.finish(), findings))
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
        findings.extend(check_crc(&member.place.member, member.crc, crc, options)?);
    }
    Ok(findings)
}
