//! The central directory of a zip archive, read strictly: an archive that two programs could read as two different
//! ones is refused before any member is touched.
//!
//! Defined by PKWARE's APPNOTE.TXT; what torch writes by `caffe2/serialize/inline_container.cc` and miniz. Our reading
//! is then compared with that of the `zip` crate, entry by entry.

use std::collections::HashMap;
use std::io::{Cursor, Read};

use ::bytes::Bytes;

use crate::container::Member;
use crate::error::{self, Code, Error, Result};
use crate::finding::Finding;
use crate::limits::{Limits, ReadOptions};
use crate::place::Place;
use crate::source::Region;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const ZIP64_LOCATOR: u32 = 0x0706_4b50;
const ZIP64_END: u32 = 0x0606_4b50;

const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: u64 = 46;
const END_BYTES: u64 = 22;
const ZIP64_LOCATOR_BYTES: u64 = 20;
const ZIP64_END_BYTES: u64 = 56;
const MAX_COMMENT_BYTES: u64 = 0xffff;

const FLAG_ENCRYPTED: u16 = 0x0001;
const FLAG_DATA_DESCRIPTOR: u16 = 0x0008;
const FLAG_STRONG_ENCRYPTION: u16 = 0x0040;
const FLAG_MASKED: u16 = 0x2000;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const EXTRA_ZIP64: u16 = 0x0001;
const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// The members of the archive at `start`, in the order of the central directory.
///
/// # Errors
/// `zip-malformed`, `zip-ambiguous`, `zip-encrypted`, `zip-unsupported-method`, and the limit on entries.
pub(super) fn read(region: &Region, start: &Place, limits: &Limits) -> Result<Vec<Member>> {
    let bytes = region.bytes()?;
    let end = End::find(&bytes)?;
    limits.zip_entries(end.entries)?;
    let mut entries = Vec::new();
    let mut at = end.directory_start;
    while at < end.directory_end {
        let entry = Entry::read(&bytes, at, end.directory_end)?;
        at = entry.record_end;
        entries.push(entry);
        limits.zip_entries(entries.len() as u64)?;
    }
    if entries.len() as u64 != end.entries {
        return Err(error::zip(format!("the directory has {} entries, the end record says {}", entries.len(), end.entries)));
    }
    names_are_distinct(&entries)?;
    let mut starts: Vec<(u64, u64)> = Vec::with_capacity(entries.len());
    let mut members = Vec::with_capacity(entries.len());
    for entry in entries {
        let data_start = entry.check_local_header(&bytes, end.directory_start)?;
        let stored = region.slice(data_start, entry.compressed).filter(|_| data_start + entry.compressed <= end.directory_start);
        let stored = stored.ok_or_else(|| error::zip(format!("entry {} does not end before the directory", entry.shown())))?;
        starts.push((entry.local_start, data_start + entry.compressed));
        members.push(Member {
            place: start.inside(&entry.name),
            name: entry.name,
            len: entry.uncompressed,
            stored,
            deflated: entry.method == DEFLATED,
            crc: entry.crc,
            is_archive: false,
            structural: false,
        });
    }
    starts.sort_unstable();
    if let Some(pair) = starts.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        return Err(error::zip_ambiguous(format!("two entries overlap at offset {:#x}", pair[1].0)));
    }
    agrees_with_zip_crate(bytes, region, &members)?;
    Ok(members)
}

/// Compares the CRC-32 of a member's content with the recorded one. torch writes 0 when it was told not to compute it,
/// so that a 0 which does not fit is no damage; it is worth a finding.
///
/// # Errors
/// `zip-crc` when the archive records another one, unless the options ignore that.
pub(crate) fn check_crc(member: &str, recorded: u32, actual: u32, options: &ReadOptions) -> Result<Option<Finding>> {
    let message = match recorded {
        _ if recorded == actual => return Ok(None),
        0 => "the archive records no checksum for this member".to_owned(),
        _ if options.ignore_crc => format!("the CRC-32 is {actual:08x}, the archive records {recorded:08x}"),
        _ => return Err(error::zip_crc(member, recorded, actual)),
    };
    Ok(Some(Finding::note("zip-crc", Place::start_of(member), message)))
}

/// Checks the checksums of the stored members of a small archive, where no pass over the whole file does.
///
/// # Errors
/// `zip-crc`, and when the archive cannot be read.
pub(crate) fn check_stored(members: &[Member], options: &ReadOptions) -> Result<()> {
    for member in members.iter().filter(|member| !member.deflated) {
        check_crc(&member.place.member, member.crc, crc32fast::hash(&member.stored.bytes()?), options)?;
    }
    Ok(())
}

/// What the end records say.
struct End {
    entries: u64,
    directory_start: u64,
    directory_end: u64,
}

impl End {
    fn find(bytes: &Bytes) -> Result<End> {
        let len = bytes.len() as u64;
        let lowest = len.saturating_sub(END_BYTES + MAX_COMMENT_BYTES);
        let fits = |&at: &u64| {
            u32_at(bytes, at) == Some(END) && u16_at(bytes, at + 20).is_some_and(|comment| at + END_BYTES + u64::from(comment) == len)
        };
        let mut candidates = (lowest..=len.saturating_sub(END_BYTES)).rev().filter(fits);
        let at = candidates
            .next()
            .ok_or_else(|| error::zip("the zip archive has no end record: the file is cut short, or has other bytes after it"))?;
        if let Some(other) = candidates.next() {
            return Err(error::zip_ambiguous(format!("the archive has two end records, at {other:#x} and {at:#x}")));
        }
        let short = || error::zip("the end record is cut short");
        let [disk, directory_disk, disk_entries, entries] = [4, 6, 8, 10].map(|field| u16_at(bytes, at + field));
        let (disk, directory_disk) = (disk.ok_or_else(short)?, directory_disk.ok_or_else(short)?);
        let (disk_entries, entries) = (disk_entries.ok_or_else(short)?, entries.ok_or_else(short)?);
        let size = u32_at(bytes, at + 12).ok_or_else(short)?;
        let start = u32_at(bytes, at + 16).ok_or_else(short)?;
        if (disk, directory_disk) != (0, 0) || disk_entries != entries {
            return Err(error::zip("the archive is spread over several disks"));
        }
        let classic = (u64::from(entries), u64::from(size), u64::from(start));
        let ((entries, size, start), directory_end) = match zip64_end(bytes, at)? {
            None => (classic, at),
            Some((zip64, zip64_at)) => {
                let agree = |classic: u64, saturated: u64, zip64: u64| classic == zip64 || classic == saturated;
                let same =
                    agree(classic.0, 0xffff, zip64.0) && agree(classic.1, 0xffff_ffff, zip64.1) && agree(classic.2, 0xffff_ffff, zip64.2);
                if !same {
                    return Err(error::zip_ambiguous("the zip64 end record and the classic one describe two different directories"));
                }
                (zip64, zip64_at)
            }
        };
        if start.checked_add(size) != Some(directory_end) {
            let message =
                format!("the directory at {start:#x} with {size} bytes does not end where the end record starts, {directory_end:#x}");
            return Err(error::zip_ambiguous(message));
        }
        Ok(End { entries, directory_start: start, directory_end })
    }
}

type EndFields = (u64, u64, u64);

/// Entries, size and start of the directory as the zip64 end record has them, and where that record starts.
fn zip64_end(bytes: &Bytes, end_at: u64) -> Result<Option<(EndFields, u64)>> {
    let Some(locator) = end_at.checked_sub(ZIP64_LOCATOR_BYTES).filter(|&at| u32_at(bytes, at) == Some(ZIP64_LOCATOR)) else {
        return Ok(None);
    };
    let bad = || error::zip("the zip64 end record is damaged");
    let at = u64_at(bytes, locator + 8).ok_or_else(bad)?;
    if u32_at(bytes, at) != Some(ZIP64_END)
        || u32_at(bytes, locator + 4) != Some(0)
        || u32_at(bytes, locator + 16).is_none_or(|disks| disks > 1)
    {
        return Err(bad());
    }
    let record_bytes = u64_at(bytes, at + 4).and_then(|n| n.checked_add(12)).ok_or_else(bad)?;
    if record_bytes < ZIP64_END_BYTES || at.checked_add(record_bytes) != Some(locator) {
        return Err(bad());
    }
    let disk_entries = u64_at(bytes, at + 24).ok_or_else(bad)?;
    let fields = [32, 40, 48].map(|field| u64_at(bytes, at + field));
    match fields {
        [Some(entries), Some(size), Some(start)] if entries == disk_entries => Ok(Some(((entries, size, start), at))),
        _ => Err(bad()),
    }
}

/// One record of the central directory.
struct Entry {
    raw_name: Bytes,
    name: String,
    flags: u16,
    method: u16,
    crc: u32,
    compressed: u64,
    uncompressed: u64,
    local_start: u64,
    record_end: u64,
}

impl Entry {
    fn read(bytes: &Bytes, at: u64, directory_end: u64) -> Result<Entry> {
        let bad = |what: &str| error::zip(format!("the directory record at {at:#x} {what}"));
        if u32_at(bytes, at) != Some(CENTRAL) {
            return Err(bad("has no signature"));
        }
        let short = || bad("is cut short");
        let u16_field = |field: u64| u16_at(bytes, at + field).ok_or_else(short);
        let u32_field = |field: u64| u32_at(bytes, at + field).ok_or_else(short);
        let (flags, method) = (u16_field(8)?, u16_field(10)?);
        let crc = u32_field(16)?;
        let [name_bytes, extra_bytes, comment_bytes] = [u16_field(28)?, u16_field(30)?, u16_field(32)?].map(u64::from);
        let record_end = at + CENTRAL_BYTES + name_bytes + extra_bytes + comment_bytes;
        if record_end > directory_end {
            return Err(short());
        }
        let raw_name = slice(bytes, at + CENTRAL_BYTES, name_bytes).ok_or_else(short)?;
        let extra = slice(bytes, at + CENTRAL_BYTES + name_bytes, extra_bytes).ok_or_else(short)?;
        let name = String::from_utf8_lossy(&raw_name).into_owned();
        let shown = crate::text::quoted(&name, 200);
        if u16_field(34)? != 0 {
            return Err(error::zip(format!("entry {shown} is on another disk")));
        }
        if flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED) != 0 {
            return Err(Error::new(Code::ZipEncrypted, format!("entry {shown} is encrypted"))
                .help("decrypt the archive and convert the checkpoint inside"));
        }
        if method != STORED && method != DEFLATED {
            return Err(Error::new(
                Code::ZipUnsupportedMethod,
                format!("entry {shown} is compressed by method {method}, expected 0 (stored) or 8 (deflate)"),
            )
            .help("unpack the archive and zip it again with the stored method"));
        }
        let sizes = [u32_field(24)?, u32_field(20)?, u32_field(42)?];
        let [uncompressed, compressed, local_start] = zip64_sizes(&extra, sizes, &shown)?;
        if method == STORED && compressed != uncompressed {
            return Err(error::zip_ambiguous(format!(
                "entry {shown} is stored, with {compressed} bytes in the file and {uncompressed} in the directory"
            )));
        }
        Ok(Entry { raw_name, name, flags, method, crc, compressed, uncompressed, local_start, record_end })
    }

    fn shown(&self) -> String {
        crate::text::quoted(&self.name, 200)
    }

    /// Compares the local header with this record; returns where the data starts.
    fn check_local_header(&self, bytes: &Bytes, directory_start: u64) -> Result<u64> {
        let at = self.local_start;
        let bad = || error::zip(format!("the local header of entry {} is damaged", self.shown()));
        if u32_at(bytes, at) != Some(LOCAL) {
            return Err(bad());
        }
        let fields = [6, 8, 26, 28].map(|field| u16_at(bytes, at + field));
        let [Some(flags), Some(method), Some(name_bytes), Some(extra_bytes)] = fields else { return Err(bad()) };
        let name = slice(bytes, at + LOCAL_BYTES, name_bytes.into()).ok_or_else(bad)?;
        let extra = slice(bytes, at + LOCAL_BYTES + u64::from(name_bytes), extra_bytes.into()).ok_or_else(bad)?;
        let differs = |what: &str| {
            error::zip_ambiguous(format!("entry {} has another {what} in its local header than in the directory", self.shown()))
        };
        if name != self.raw_name {
            return Err(differs("name"));
        }
        if method != self.method {
            return Err(differs("compression method"));
        }
        let sizes = [14, 22, 18].map(|field| u32_at(bytes, at + field));
        let [Some(crc), Some(uncompressed), Some(compressed)] = sizes else { return Err(bad()) };
        if flags & FLAG_DATA_DESCRIPTOR == 0 {
            let [uncompressed, compressed, _] = zip64_sizes(&extra, [uncompressed, compressed, 0], &self.shown())?;
            if (crc, uncompressed, compressed) != (self.crc, self.uncompressed, self.compressed) {
                return Err(differs("size or checksum"));
            }
            if flags != self.flags {
                return Err(differs("set of flags"));
            }
        }
        let data_start = at + LOCAL_BYTES + u64::from(name_bytes) + u64::from(extra_bytes);
        if data_start > directory_start { Err(bad()) } else { Ok(data_start) }
    }
}

/// Uncompressed size, compressed size and header offset, from the zip64 extra field where the classic one is full.
fn zip64_sizes(extra: &[u8], classic: [u32; 3], shown: &str) -> Result<[u64; 3]> {
    let mut rest = extra;
    let mut zip64: Option<&[u8]> = None;
    while let [a, b, c, d, tail @ ..] = rest {
        let (id, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let Some((field, tail)) = tail.split_at_checked(len) else {
            return Err(error::zip(format!("entry {shown} has an extra field that is cut short")));
        };
        match id {
            EXTRA_UNICODE_PATH => return Err(error::zip_ambiguous(format!("entry {shown} has a second name in a Unicode path field"))),
            EXTRA_ZIP64 if zip64.is_some() => return Err(error::zip_ambiguous(format!("entry {shown} has two zip64 fields"))),
            EXTRA_ZIP64 => zip64 = Some(field),
            _ => {}
        }
        rest = tail;
    }
    let mut field = zip64.unwrap_or_default();
    let mut sizes = classic.map(u64::from);
    for size in sizes.iter_mut().filter(|size| **size == 0xffff_ffff) {
        // Without a zip64 field the value is what it says.
        if zip64.is_none() {
            continue;
        }
        let Some((value, rest)) = field.split_first_chunk::<8>() else {
            return Err(error::zip(format!("entry {shown} has a zip64 field that is cut short")));
        };
        *size = u64::from_le_bytes(*value);
        field = rest;
    }
    Ok(sizes)
}

/// No two names may be equal to a reader that ignores case or stops at a NUL: torch's own does both.
fn names_are_distinct(entries: &[Entry]) -> Result<()> {
    let mut seen: HashMap<Vec<u8>, &Entry> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let cut = entry.raw_name.split(|&b| b == 0).next().unwrap_or_default();
        if let Some(first) = seen.insert(cut.to_ascii_lowercase(), entry) {
            return Err(error::zip_ambiguous(format!(
                "entries {} and {} are one and the same to some readers",
                first.shown(),
                entry.shown()
            )));
        }
    }
    Ok(())
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
        let data_start = member.stored.file_offset().map(|offset| offset - start);
        let same_start = data_start.is_none() || data_start == theirs.3;
        if String::from_utf8_lossy(entry.name_raw()) != member.name
            || (theirs.0, theirs.1, theirs.2) != (member.len, member.stored.len(), member.crc)
            || !same_start
        {
            return Err(disagree(format!("entry {}", crate::text::quoted(&member.name, 200))));
        }
    }
    Ok(())
}

/// Inflates a deflated member to `sink` and returns the CRC-32 of its content.
///
/// # Errors
/// `zip-malformed` when the data is damaged or its size is not the recorded one; those of `sink`.
pub(crate) fn inflate(name: &str, compressed: &Region, len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u32> {
    let shown = crate::text::quoted(name, 200);
    let mut crc = crc32fast::Hasher::new();
    let input = std::io::BufReader::with_capacity(128 << 10, compressed.reader());
    let mut decoder = flate2::bufread::DeflateDecoder::new(input);
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0u64;
    loop {
        let n = decoder.read(&mut buffer).map_err(|e| error::zip(format!("the compressed data of member {shown} is damaged: {e}")))?;
        if n == 0 {
            break;
        }
        total += n as u64;
        if total > len {
            return Err(error::zip(format!("member {shown} inflates to more than the {len} bytes that the directory says")));
        }
        crc.update(&buffer[..n]);
        sink(&buffer[..n])?;
    }
    if total != len || decoder.total_in() != compressed.len() {
        return Err(error::zip(format!(
            "member {shown} inflates to {total} bytes from {} of {}, expected {len}",
            decoder.total_in(),
            compressed.len()
        )));
    }
    Ok(crc.finalize())
}

fn slice(bytes: &Bytes, at: u64, len: u64) -> Option<Bytes> {
    let from = usize::try_from(at).ok()?;
    let to = usize::try_from(at.checked_add(len)?).ok()?;
    (to <= bytes.len()).then(|| bytes.slice(from..to))
}

fn array_at<const N: usize>(bytes: &[u8], at: u64) -> Option<[u8; N]> {
    bytes.get(usize::try_from(at).ok()?..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: u64) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: u64) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}
