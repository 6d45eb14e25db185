//! The central directory of a zip archive, read strictly: an archive that two programs could read as two different
//! ones is refused before any member is touched.
//!
//! Defined by PKWARE's APPNOTE.TXT; what torch writes by `caffe2/serialize/inline_container.cc` and miniz. Our reading
//! is then compared with that of the `zip` crate, entry by entry.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Cursor;
use std::sync::Arc;

use ::bytes::Bytes;

use crate::container::member::{Archived, Member};
use crate::container::zip_end::End;
use crate::container::zip_entry::{DEFLATED, Entry};
use crate::error::{self, Result};
use crate::finding::{Finding, capped};
use crate::limits::Limits;
use crate::place::Place;
use crate::source::Region;

/// What a directory says.
pub(super) struct Directory {
    /// In the order of the directory.
    pub members: Vec<Member>,
    /// What is odd about the archive.
    pub findings: Vec<Finding>,
    /// Bytes of the archive that belong to no member, and where they are.
    pub gaps: Vec<(Place, Region)>,
}

/// The directory of the archive at `start`.
///
/// # Errors
/// `zip-malformed`, `zip-ambiguous`, `zip-encrypted`, `zip-unsupported-method`, and the limit on entries.
pub(super) fn read(region: &Region, start: &Place, limits: &Limits) -> Result<Directory> {
    let bytes = region.bytes()?;
    let end = End::find(&bytes, start)?;
    limits.zip_entries(end.entries)?;
    let mut findings = Vec::new();
    let mut entries = Vec::new();
    let mut at = end.directory_start;
    while at < end.directory_end {
        let entry = Entry::read(&bytes, at, end.directory_end, start, &mut findings)?;
        at = entry.record_end;
        entries.push(entry);
        limits.zip_entries(entries.len() as u64)?;
    }
    if entries.len() as u64 != end.entries {
        return Err(error::zip(format!("the directory has {} entries, the end record says {}", entries.len(), end.entries)));
    }
    names_are_distinct(&entries, &bytes, start)?;
    let archive = Arc::new(Archived { region: region.clone(), bytes: bytes.clone(), start: start.clone() });
    let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(entries.len());
    let mut members = Vec::with_capacity(entries.len());
    for entry in entries {
        let data_start = entry.check_local_header(&bytes, end.directory_start, start)?;
        let data_end = data_start.saturating_add(entry.compressed);
        if data_end > end.directory_start || region.slice(data_start, entry.compressed).is_none() {
            return Err(error::zip(format!("entry {} does not end before the directory", entry.shown(&bytes))));
        }
        let descriptor_bytes = entry.descriptor_bytes(&bytes, data_end);
        if descriptor_bytes.is_none() {
            let message = format!("the data descriptor of entry {} does not say what the directory says", entry.shown(&bytes));
            findings.push(Finding::note("zip-header-mismatch", start.advanced(data_end), message));
        }
        ranges.push((entry.local_start, data_end + descriptor_bytes.unwrap_or(0)));
        members.push(Member {
            archive: Arc::clone(&archive),
            record: entry.record,
            data_start,
            stored_len: entry.compressed,
            len: entry.uncompressed,
            deflated: entry.method == DEFLATED,
            crc: entry.crc,
            is_archive: false,
            structural: false,
        });
    }
    ranges.sort_unstable();
    if let Some(pair) = ranges.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        let message = format!("two entries overlap at offset {:#x}", pair[1].0);
        return Err(error::zip_ambiguous_because(Finding::note("zip-header-mismatch", start.advanced(pair[1].0), message)));
    }
    let mut gaps = Vec::new();
    let mut covered_to = 0;
    for (from, to) in ranges.into_iter().chain([(end.directory_start, end.directory_start)]) {
        if from > covered_to {
            let message = format!("{} bytes of the archive belong to no entry", from - covered_to);
            findings.push(Finding::note("zip-gap", start.advanced(covered_to), message));
            gaps.extend(region.slice(covered_to, from - covered_to).map(|gap| (start.advanced(covered_to), gap)));
        }
        covered_to = to;
    }
    if let (at, bytes @ 1..) = end.comment {
        findings.push(Finding::note("zip-comment", start.advanced(at), format!("the archive has a comment of {bytes} bytes")));
        gaps.extend(region.slice(at, bytes).map(|comment| (start.advanced(at), comment)));
    }
    agrees_with_zip_crate(bytes, region, &members)?;
    Ok(Directory { members, findings: capped(findings), gaps })
}

/// No two names may be equal to a reader that ignores case, stops at a NUL or takes a backslash for a slash: torch's own does
/// the first two, Python on Windows the last.
fn names_are_distinct(entries: &[Entry], bytes: &[u8], start: &Place) -> Result<()> {
    let alike = |entry: &Entry| -> Vec<u8> {
        let cut = entry.raw_name(bytes).split(|&b| b == 0).next().unwrap_or_default();
        cut.iter().map(|&byte| if byte == b'\\' { b'/' } else { byte.to_ascii_lowercase() }).collect()
    };
    // By hashes, so that an archive of a million members costs 16 bytes each.
    let hasher = RandomState::new();
    let mut order: Vec<(u64, u32)> = entries.iter().map(|entry| hasher.hash_one(alike(entry))).zip(0u32..).collect();
    order.sort_unstable();
    let mut first_pair: Option<(u32, u32)> = None;
    for group in order.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
        for &(_, i) in group {
            if let Some(earlier) = seen.insert(alike(&entries[i as usize]), i)
                && first_pair.is_none_or(|(_, second)| i < second)
            {
                first_pair = Some((earlier, i));
            }
        }
    }
    let Some((first, second)) = first_pair.map(|(a, b)| (&entries[a as usize], &entries[b as usize])) else { return Ok(()) };
    let message = format!("entries {} and {} are one and the same to some readers", first.shown(bytes), second.shown(bytes));
    let place = start.inside(&String::from_utf8_lossy(second.raw_name(bytes)));
    Err(error::zip_ambiguous_because(Finding::note("duplicate-entry", place, message)))
}

/// The `zip` crate must see the same archive.
fn agrees_with_zip_crate(bytes: Bytes, region: &Region, members: &[Member]) -> Result<()> {
    let disagree = |what: String| error::zip_ambiguous(format!("a second zip reader sees another archive: {what}"));
    // The archive starts with the region: a directory that another program would find elsewhere is none.
    let config = zip::read::Config { archive_offset: zip::read::ArchiveOffset::Known(0) };
    let mut archive = zip::ZipArchive::with_config(config, Cursor::new(bytes)).map_err(|e| disagree(e.to_string()))?;
    if archive.len() != members.len() {
        return Err(disagree(format!("{} entries instead of {}", archive.len(), members.len())));
    }
    let start = region.file_offset().unwrap_or(0);
    for (i, member) in members.iter().enumerate() {
        let entry = archive.by_index_raw(i).map_err(|e| disagree(e.to_string()))?;
        let theirs = (entry.size(), entry.compressed_size(), entry.crc32(), entry.data_start());
        let data_start = member.stored().file_offset().map(|offset| offset - start);
        let same_start = data_start.is_none() || data_start == theirs.3;
        if String::from_utf8_lossy(entry.name_raw()) != member.name()
            || (theirs.0, theirs.1, theirs.2) != (member.len, member.stored_len, member.crc)
            || !same_start
        {
            return Err(disagree(format!("entry {}", crate::text::quoted(&member.name(), 200))));
        }
    }
    Ok(())
}
