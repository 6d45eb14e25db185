//! One entry of a zip archive: its record in the directory, compared with its local header and its data descriptor.

use crate::container::zip_fields::{slice, u16_at, u32_at, u64_at};
use crate::error::{self, Code, Error, Result};
use crate::finding::Finding;
use crate::place::Place;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const DESCRIPTOR: u32 = 0x0807_4b50;

pub(super) const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: u64 = 46;

const FLAG_ENCRYPTED: u16 = 0x0001;
const FLAG_DATA_DESCRIPTOR: u16 = 0x0008;
const FLAG_STRONG_ENCRYPTION: u16 = 0x0040;
const FLAG_MASKED: u16 = 0x2000;
/// How hard a writer tried to compress, a descriptor behind the data, a name in UTF-8.
const FLAGS_KNOWN: u16 = 0x0006 | FLAG_DATA_DESCRIPTOR | 0x0800;
const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;
const EXTRA_ZIP64: u16 = 0x0001;
const EXTRA_UNICODE_PATH: u16 = 0x7075;

/// One record of the central directory.
pub(super) struct Entry {
    /// Where the record is; the name stays there.
    pub record: u64,
    flags: u16,
    pub method: u16,
    pub crc: u32,
    pub compressed: u64,
    pub uncompressed: u64,
    pub local_start: u64,
    pub record_end: u64,
}

impl Entry {
    /// Reads the record at `at`; `start` is where the archive is.
    ///
    /// # Errors
    /// `zip-malformed`, `zip-encrypted`, `zip-unsupported-method`, `zip-ambiguous`.
    pub fn read(bytes: &[u8], at: u64, directory_end: u64, start: &Place, findings: &mut Vec<Finding>) -> Result<Entry> {
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
        let name = name_of_record(bytes, at).ok_or_else(short)?;
        let extra = slice(bytes, at + CENTRAL_BYTES + name_bytes, extra_bytes).ok_or_else(short)?;
        let shown = || shown(name);
        let here = || start.advanced(at);
        if u16_field(34)? != 0 {
            return Err(error::zip(format!("entry {} is on another disk", shown())));
        }
        if flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED) != 0 {
            let message = format!("entry {} is encrypted", shown());
            let finding = Finding::note("zip-flags", here(), message.clone());
            return Err(Error::new(Code::ZipEncrypted, message)
                .help("decrypt the archive and convert the checkpoint inside")
                .with_findings(&[finding]));
        }
        if method != STORED && method != DEFLATED {
            return Err(Error::new(
                Code::ZipUnsupportedMethod,
                format!("entry {} is compressed by method {method}, expected 0 (stored) or 8 (deflate)", shown()),
            )
            .help("unpack the archive and zip it again with the stored method"));
        }
        let sizes = [u32_field(24)?, u32_field(20)?, u32_field(42)?];
        let extra = Extra::read(extra, &shown, &here)?;
        let [uncompressed, compressed, local_start] = extra.sizes(sizes, &shown)?;
        if method == STORED && compressed != uncompressed {
            let shown = shown();
            let message = format!("entry {shown} is stored, with {compressed} bytes in the file and {uncompressed} in the directory");
            return Err(error::zip_ambiguous_because(Finding::note("zip-header-mismatch", here(), message)));
        }
        if flags & !FLAGS_KNOWN != 0 {
            let unknown = flags & !FLAGS_KNOWN;
            let message = format!("entry {} has flags {flags:#06x}, of which {unknown:#06x} are not known here", shown());
            findings.push(Finding::note("zip-flags", here(), message));
        }
        if comment_bytes > 0 {
            findings.push(Finding::note("zip-comment", here(), format!("entry {} has a comment of {comment_bytes} bytes", shown())));
        }
        Ok(Entry { record: at, flags, method, crc, compressed, uncompressed, local_start, record_end })
    }

    /// The name as it stands in the directory.
    pub fn raw_name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        name_of_record(bytes, self.record).unwrap_or_default()
    }

    /// The name as messages show it.
    pub fn shown(&self, bytes: &[u8]) -> String {
        shown(self.raw_name(bytes))
    }

    /// Compares the local header with this record; returns where the data starts.
    ///
    /// # Errors
    /// `zip-malformed`; `zip-ambiguous` where the two differ.
    pub fn check_local_header(&self, bytes: &[u8], directory_start: u64, start: &Place) -> Result<u64> {
        let at = self.local_start;
        let here = || start.advanced(at);
        let shown = || self.shown(bytes);
        let bad = || error::zip(format!("the local header of entry {} is damaged", shown()));
        if u32_at(bytes, at) != Some(LOCAL) {
            return Err(bad());
        }
        let fields = [6, 8, 26, 28].map(|field| u16_at(bytes, at + field));
        let [Some(flags), Some(method), Some(name_bytes), Some(extra_bytes)] = fields else { return Err(bad()) };
        let name = slice(bytes, at + LOCAL_BYTES, name_bytes.into()).ok_or_else(bad)?;
        let extra = slice(bytes, at + LOCAL_BYTES + u64::from(name_bytes), extra_bytes.into()).ok_or_else(bad)?;
        let differs = |what: &str| {
            let message = format!("entry {} has another {what} in its local header than in the directory", shown());
            error::zip_ambiguous_because(Finding::note("zip-header-mismatch", here(), message))
        };
        if name != self.raw_name(bytes) {
            return Err(differs("name"));
        }
        if method != self.method {
            return Err(differs("compression method"));
        }
        let sizes = [14, 22, 18].map(|field| u32_at(bytes, at + field));
        let [Some(crc), Some(uncompressed), Some(compressed)] = sizes else { return Err(bad()) };
        let extra = Extra::read(extra, &shown, &here)?;
        let [uncompressed, compressed, _] = extra.sizes([uncompressed, compressed, 0], &shown)?;
        let (local, central) = ((crc, uncompressed, compressed), (self.crc, self.uncompressed, self.compressed));
        match flags & FLAG_DATA_DESCRIPTOR {
            0 if local != central => return Err(differs("size or checksum")),
            0 if flags != self.flags => return Err(differs("set of flags")),
            0 => {}
            // Zero or full stands for what the descriptor says; a reader of the stream takes any other value as it is.
            _ if is_open(crc.into(), self.crc.into())
                && is_open(uncompressed, self.uncompressed)
                && is_open(compressed, self.compressed) => {}
            _ => return Err(differs("size or checksum")),
        }
        let data_start = at + LOCAL_BYTES + u64::from(name_bytes) + u64::from(extra_bytes);
        if data_start > directory_start { Err(bad()) } else { Ok(data_start) }
    }

    /// The bytes of the data descriptor behind the data, which ends at `at`. `None` where there should be one that says what the
    /// directory says, and is not.
    pub fn descriptor_bytes(&self, bytes: &[u8], at: u64) -> Option<u64> {
        if self.flags & FLAG_DATA_DESCRIPTOR == 0 {
            return Some(0);
        }
        // With or without a signature, with sizes of four bytes or of eight.
        let signature = if u32_at(bytes, at) == Some(DESCRIPTOR) { 4 } else { 0 };
        let fields = at + signature;
        if u32_at(bytes, fields) != Some(self.crc) {
            return None;
        }
        let sizes = (self.compressed, self.uncompressed);
        let long = u64_at(bytes, fields + 4).zip(u64_at(bytes, fields + 12));
        let short = u32_at(bytes, fields + 4).zip(u32_at(bytes, fields + 8));
        match (long, short) {
            (Some(long), _) if long == sizes => Some(signature + 20),
            (_, Some((compressed, uncompressed))) if (u64::from(compressed), u64::from(uncompressed)) == sizes => Some(signature + 12),
            _ => None,
        }
    }
}

/// The name in the directory's record at `at`.
pub(super) fn name_of_record(bytes: &[u8], at: u64) -> Option<&[u8]> {
    let len = u16_at(bytes, at + 28)?;
    let from = usize::try_from(at + CENTRAL_BYTES).ok()?;
    bytes.get(from..from + usize::from(len))
}

fn shown(name: &[u8]) -> String {
    crate::text::quoted(&String::from_utf8_lossy(name), 200)
}

/// Whether a field of a local header leaves its value to the descriptor, or has the same.
fn is_open(local: u64, central: u64) -> bool {
    local == 0 || local == 0xffff_ffff || local == central
}

/// The extra fields of a record, of which only the one with zip64 sizes counts.
struct Extra<'a> {
    zip64: Option<&'a [u8]>,
}

impl<'a> Extra<'a> {
    fn read(extra: &'a [u8], shown: &dyn Fn() -> String, here: &dyn Fn() -> Place) -> Result<Self> {
        let mut rest = extra;
        let mut zip64: Option<&[u8]> = None;
        while let [a, b, c, d, tail @ ..] = rest {
            let (id, len) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
            let Some((field, tail)) = tail.split_at_checked(len) else {
                return Err(error::zip(format!("entry {} has an extra field that is cut short", shown())));
            };
            match id {
                EXTRA_UNICODE_PATH => {
                    let message = format!("entry {} has a second name in a Unicode path field", shown());
                    return Err(error::zip_ambiguous_because(Finding::note("zip-unicode-path", here(), message)));
                }
                EXTRA_ZIP64 if zip64.is_some() => {
                    let message = format!("entry {} has two zip64 fields", shown());
                    return Err(error::zip_ambiguous_because(Finding::note("zip-header-mismatch", here(), message)));
                }
                EXTRA_ZIP64 => zip64 = Some(field),
                _ => {}
            }
            rest = tail;
        }
        Ok(Extra { zip64 })
    }

    /// Uncompressed size, compressed size and header offset, from the zip64 field where the classic one is full.
    fn sizes(&self, classic: [u32; 3], shown: &dyn Fn() -> String) -> Result<[u64; 3]> {
        let mut sizes = classic.map(u64::from);
        // Without a zip64 field the value is what it says.
        let Some(mut field) = self.zip64 else { return Ok(sizes) };
        for size in sizes.iter_mut().filter(|size| **size == 0xffff_ffff) {
            let Some((value, rest)) = field.split_first_chunk::<8>() else {
                return Err(error::zip(format!("entry {} has a zip64 field that is cut short", shown())));
            };
            *size = u64::from_le_bytes(*value);
            field = rest;
        }
        Ok(sizes)
    }
}
