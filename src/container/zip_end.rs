//! The end records of a zip archive: exactly one may fit, at the very end, and the classic and the zip64 form of it
//! must describe the same directory.

use ::bytes::Bytes;

use crate::container::zip_fields::{u16_at, u32_at, u64_at};
use crate::error::{self, Error, Result};
use crate::finding::Finding;
use crate::place::Place;
use crate::source::Region;

const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const ZIP64_LOCATOR: u32 = 0x0706_4b50;
const ZIP64_END: u32 = 0x0606_4b50;

const END_BYTES: u64 = 22;
const ZIP64_LOCATOR_BYTES: u64 = 20;
const ZIP64_END_BYTES: u64 = 56;
const MAX_COMMENT_BYTES: u64 = 0xffff;
/// How far from the end of a file an archive is looked for that other bytes follow.
const SEARCH_BYTES: u64 = 16 << 20;

/// What the end records say.
pub(super) struct End {
    pub entries: u64,
    pub directory_start: u64,
    pub directory_end: u64,
    /// Where the comment of the archive is, and its bytes.
    pub comment: (u64, u64),
}

impl End {
    /// Reads the records of the archive that is all of `bytes`.
    ///
    /// # Errors
    /// `zip-malformed` where there are none, `zip-ambiguous` where two readers could take two different ones.
    pub fn find(bytes: &Bytes, start: &Place) -> Result<End> {
        let len = bytes.len() as u64;
        let lowest = len.saturating_sub(END_BYTES + MAX_COMMENT_BYTES);
        let fits = |&at: &u64| comment_bytes(bytes, at).is_some_and(|comment| at + END_BYTES + comment == len);
        let mut candidates = (lowest..=len.saturating_sub(END_BYTES)).rev().filter(fits);
        let at = candidates.next().ok_or_else(|| none_at_the_end(bytes, start))?;
        if let Some(other) = candidates.next() {
            let message = format!("the archive has two end records, at {other:#x} and {at:#x}");
            return Err(error::zip_ambiguous_because(Finding::note("zip-comment", start.advanced(other), message)));
        }
        End::at(bytes, at, start)
    }

    /// Reads the record at `at`, and the zip64 form before it.
    fn at(bytes: &Bytes, at: u64, start: &Place) -> Result<End> {
        let short = || error::zip("the end record is cut short");
        let [disk, directory_disk, disk_entries, entries] = [4, 6, 8, 10].map(|field| u16_at(bytes, at + field));
        let (disk, directory_disk) = (disk.ok_or_else(short)?, directory_disk.ok_or_else(short)?);
        let (disk_entries, entries) = (disk_entries.ok_or_else(short)?, entries.ok_or_else(short)?);
        let size = u32_at(bytes, at + 12).ok_or_else(short)?;
        let first = u32_at(bytes, at + 16).ok_or_else(short)?;
        let comment = (at + END_BYTES, comment_bytes(bytes, at).ok_or_else(short)?);
        if (disk, directory_disk) != (0, 0) || disk_entries != entries {
            return Err(error::zip("the archive is spread over several disks"));
        }
        let classic = (u64::from(entries), u64::from(size), u64::from(first));
        let ((entries, size, directory_start), directory_end) = match zip64_end(bytes, at, 0)? {
            None => (classic, at),
            Some((zip64, zip64_at)) => {
                let agree = |classic: u64, saturated: u64, zip64: u64| classic == zip64 || classic == saturated;
                let same =
                    agree(classic.0, 0xffff, zip64.0) && agree(classic.1, 0xffff_ffff, zip64.1) && agree(classic.2, 0xffff_ffff, zip64.2);
                if !same {
                    let message = "the zip64 end record and the classic one describe two different directories";
                    return Err(error::zip_ambiguous_because(Finding::note("zip-header-mismatch", start.advanced(at), message)));
                }
                (zip64, zip64_at)
            }
        };
        match directory_start.checked_add(size) {
            Some(end) if end == directory_end => Ok(End { entries, directory_start, directory_end, comment }),
            // Readers that look from the end take the bytes before the archive for another file's.
            Some(end) if end < directory_end && size > 0 => {
                let message = format!(
                    "the directory should end at {end:#x} and the end record is at {directory_end:#x}: {} other bytes are before the archive or in it",
                    directory_end - end
                );
                Err(error::zip_ambiguous_because(Finding::note("zip-prefix", start.clone(), message)))
            }
            _ => {
                let message = format!(
                    "the directory at {directory_start:#x} with {size} bytes does not end where the end record starts, {directory_end:#x}"
                );
                Err(error::zip_ambiguous_because(Finding::note("zip-header-mismatch", start.advanced(at), message)))
            }
        }
    }
}

/// The length of the comment of the end record at `at`, if one is there.
fn comment_bytes(bytes: &Bytes, at: u64) -> Option<u64> {
    (u32_at(bytes, at)? == END).then(|| u16_at(bytes, at + 20).map(u64::from)).flatten()
}

/// Whether an archive ends in the last bytes of `bytes`, wherever it starts: the offset behind it.
pub(super) fn last_end(bytes: &[u8]) -> Option<u64> {
    let lowest = bytes.len().saturating_sub(SEARCH_BYTES as usize);
    let signature = END.to_le_bytes();
    let mut from = bytes.len();
    while let Some(found) = bytes[lowest..from].windows(4).rposition(|window| window == signature) {
        let at = lowest + found;
        let record = bytes.get(at..)?;
        if let Some(comment) = u16_at(record, 20) {
            let size = u32_at(record, 12)?;
            let end = at as u64 + END_BYTES + u64::from(comment);
            // A directory that could be there, and all of the comment.
            if u64::from(size) <= at as u64 && (size > 0 || at == 0) && end <= bytes.len() as u64 {
                return Some(end);
            }
        }
        from = at + 3;
    }
    None
}

/// Where the archive starts that ends with `region` and does not start with it: its end record and its directory are where they
/// should be.
pub(super) fn archive_at_the_end(region: &Region) -> Option<u64> {
    let (tail, tail_start, at) = end_record(region)?;
    let (size, first) = (u64::from(u32_at(&tail, at + 12)?), u64::from(u32_at(&tail, at + 16)?));
    let end = match zip64_end(&tail, at, tail_start) {
        Ok(Some((_, zip64_at))) => zip64_at,
        _ => tail_start + at,
    };
    let directory = end.checked_sub(size)?;
    let signature = region.slice(directory, 4)?.bytes().ok()?;
    let start = directory.checked_sub(first).filter(|&start| start > 0)?;
    (size > 0 && *signature == CENTRAL.to_le_bytes()).then_some(start)
}

/// Whether `region` ends as a zip archive does, wherever that says that it starts: some readers make their own sense of it.
pub(super) fn ends_with_an_archive(region: &Region) -> bool {
    end_record(region).is_some()
}

/// The end of a region, where that starts, and where in it the end record is.
fn end_record(region: &Region) -> Option<(Bytes, u64, u64)> {
    let tail_bytes = region.len().min(END_BYTES + MAX_COMMENT_BYTES);
    let tail_start = region.len() - tail_bytes;
    let tail = region.slice(tail_start, tail_bytes)?.bytes().ok()?;
    let fits = |&at: &u64| comment_bytes(&tail, at).is_some_and(|comment| at + END_BYTES + comment == tail_bytes);
    let at = (0..=tail_bytes.checked_sub(END_BYTES)?).rev().find(fits)?;
    Some((tail, tail_start, at))
}

fn none_at_the_end(bytes: &Bytes, start: &Place) -> Error {
    match last_end(bytes) {
        Some(end) => {
            let message = format!("{} bytes follow the end of the archive", bytes.len() as u64 - end);
            error::zip_ambiguous_because(Finding::note("zip-trailing-data", start.advanced(end), message))
        }
        None => error::zip("the zip archive has no end record: the file is cut short"),
    }
}

type EndFields = (u64, u64, u64);

/// Entries, size and start of the directory as the zip64 end record has them, and where that record starts; `bytes` start at `base`.
fn zip64_end(bytes: &Bytes, end_at: u64, base: u64) -> Result<Option<(EndFields, u64)>> {
    let Some(locator) = end_at.checked_sub(ZIP64_LOCATOR_BYTES).filter(|&at| u32_at(bytes, at) == Some(ZIP64_LOCATOR)) else {
        return Ok(None);
    };
    let bad = || error::zip("the zip64 end record is damaged");
    let at = u64_at(bytes, locator + 8).and_then(|at| at.checked_sub(base)).ok_or_else(bad)?;
    if u32_at(bytes, at) != Some(ZIP64_END)
        || u32_at(bytes, locator + 4) != Some(0)
        || u32_at(bytes, locator + 16).is_none_or(|disks| disks > 1)
    {
        return Err(bad());
    }
    if [16, 20].iter().any(|field| u32_at(bytes, at + field) != Some(0)) {
        return Err(error::zip("the archive is spread over several disks, its zip64 end record says"));
    }
    let record_bytes = u64_at(bytes, at + 4).and_then(|n| n.checked_add(12)).ok_or_else(bad)?;
    if record_bytes < ZIP64_END_BYTES || at.checked_add(record_bytes) != Some(locator) {
        return Err(bad());
    }
    let disk_entries = u64_at(bytes, at + 24).ok_or_else(bad)?;
    let fields = [32, 40, 48].map(|field| u64_at(bytes, at + field));
    match fields {
        [Some(entries), Some(size), Some(start)] if entries == disk_entries => Ok(Some(((entries, size, start), at + base))),
        _ => Err(bad()),
    }
}
