//! The CRC-32 of the members of an archive, while it is read from start to end.

use std::iter::Peekable;
use std::vec::IntoIter;

use crate::container::{Member, check_crc};
use crate::error::Result;
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::source::Source;

/// The members to come, and the checksum of the one that is being read.
pub(crate) struct Checksums<'a> {
    /// Where each starts, in this order.
    stored: Peekable<IntoIter<(u64, &'a Member)>>,
    crc: crc32fast::Hasher,
    options: &'a ReadOptions,
    /// What was wrong, if that is no error.
    pub findings: Vec<Finding>,
}

impl<'a> Checksums<'a> {
    /// For those of `members` that stand in `source` as they are.
    pub fn new(source: &Source, members: &'a [Member], options: &'a ReadOptions) -> Checksums<'a> {
        let stored = members.iter().filter(|member| !member.deflated && !member.is_archive);
        let mut stored: Vec<(u64, &Member)> = stored.filter_map(|member| Some((member.stored().offset_in(source)?, member))).collect();
        stored.sort_by_key(|(offset, _)| *offset);
        Checksums { stored: stored.into_iter().peekable(), crc: crc32fast::Hasher::new(), options, findings: Vec::new() }
    }

    /// Takes the bytes of the source at `at`, which follow those before.
    ///
    /// # Errors
    /// `zip-crc` for a damaged member.
    pub fn update(&mut self, at: u64, chunk: &[u8]) -> Result<()> {
        let chunk_end = at + chunk.len() as u64;
        // Members do not overlap, so at most one is open at a time.
        while let Some(&(start, member)) = self.stored.peek() {
            let end = start + member.stored_len;
            if start >= chunk_end {
                break;
            }
            let from = start.max(at) - at;
            let to = end.min(chunk_end) - at;
            self.crc.update(&chunk[from as usize..to as usize]);
            if end > chunk_end {
                break;
            }
            let actual = std::mem::take(&mut self.crc).finalize();
            self.findings.extend(check_crc(&member.place().member, member.crc, actual, self.options)?);
            self.stored.next();
        }
        Ok(())
    }
}
