//! The CRC-32 of the members of an archive, while it is read from start to end.

use std::sync::Arc;

use crate::container::{Member, check_crc};
use crate::error::Result;
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::source::Source;

/// The members to come, and the checksum of the one that is being read.
pub(crate) struct Checksums {
    members: Arc<Vec<Member>>,
    /// Where each starts that has a checksum, and its number, in this order.
    stored: Vec<(u64, u32)>,
    /// How many of them are done.
    done: usize,
    crc: crc32fast::Hasher,
    options: ReadOptions,
    /// What was wrong, if that is no error.
    pub findings: Vec<Finding>,
}

impl Checksums {
    /// For those of `members` that stand in `source` as they are.
    pub fn new(source: &Source, members: &Arc<Vec<Member>>, options: &ReadOptions) -> Checksums {
        let stored = members.iter().zip(0..).filter(|(member, _)| !member.deflated && !member.is_archive);
        let mut stored: Vec<(u64, u32)> =
            stored.filter_map(|(member, number)| Some((member.stored().offset_in(source)?, number))).collect();
        stored.sort_unstable();
        let (members, options) = (Arc::clone(members), options.clone());
        Checksums { members, stored, done: 0, crc: crc32fast::Hasher::new(), options, findings: Vec::new() }
    }

    /// Takes the bytes of the source at `at`, which follow those before.
    ///
    /// # Errors
    /// `zip-crc` for a damaged member.
    pub fn update(&mut self, at: u64, chunk: &[u8]) -> Result<()> {
        let chunk_end = at + chunk.len() as u64;
        // Members do not overlap, so at most one is open at a time.
        while let Some(&(start, number)) = self.stored.get(self.done) {
            let member = &self.members[number as usize];
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
            self.findings.extend(check_crc(&member.place().member, member.crc, actual, &self.options)?);
            self.done += 1;
        }
        Ok(())
    }
}
