//! The only file that opens inputs, and the only `unsafe`: a read-only mapping for structure (pickles, headers,
//! directories). Bulk bytes are read by position into the caller's buffer, which is faster and cannot fault.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use ::bytes::Bytes;
use memmap2::Mmap;

use crate::error::{self, Error, Result};
use crate::limits::RangeKey;

/// An open input file.
#[derive(Debug)]
pub struct Source {
    file: File,
    path: PathBuf,
    len: u64,
    modified: Option<SystemTime>,
    mapping: OnceLock<Bytes>,
}

impl Source {
    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When the path is missing, unreadable, or not a regular file.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let opening = |e| error::io("open", path, &e);
        // Asked before opening: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(path).map_err(opening)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
            return Err(Error::usage(format!("{} is {what}", crate::text::quoted(&path.to_string_lossy(), 300)))
                .help("name one checkpoint file; data from a pipe must be saved to a file first"));
        }
        let file = File::open(path).map_err(opening)?;
        let metadata = file.metadata().map_err(opening)?;
        Ok(Arc::new(Source::new(file, path, metadata.len(), metadata.modified().ok())))
    }

    /// A file that this process wrote itself, `len` bytes long.
    pub(crate) fn own(file: File, path: &Path, len: u64) -> Arc<Self> {
        Arc::new(Source::new(file, path, len, None))
    }

    fn new(file: File, path: &Path, len: u64, modified: Option<SystemTime>) -> Self {
        Source { file, path: path.to_owned(), len, modified, mapping: OnceLock::new() }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes in the file when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// When the read fails, or the file has become shorter.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, offset, buffer).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => error::source_changed(&self.path),
            _ => error::io("read", &self.path, &e),
        })
    }

    /// The whole file as one mapped slice; pages are read when they are touched.
    ///
    /// # Errors
    /// When the operating system refuses the mapping.
    pub fn map(&self) -> Result<Bytes> {
        if let Some(mapped) = self.mapping.get() {
            return Ok(mapped.clone());
        }
        let mapped = if self.len == 0 {
            Bytes::new()
        } else {
            #[allow(unsafe_code, reason = "mapping a file is the one thing here that the compiler cannot check")]
            // SAFETY: the mapping is private and read-only, and lives as long as the `Bytes` made of it. Another process
            // that changes or cuts the file while we read could change what we see or end this process by a signal, as
            // with any mapped input; no output survives that, because outputs are renamed into place last, and only
            // after `unchanged` was asked.
            let map = unsafe { Mmap::map(&self.file) }.map_err(|e| error::io("map", &self.path, &e))?;
            Bytes::from_owner(map)
        };
        Ok(self.mapping.get_or_init(|| mapped).clone())
    }

    /// Size and modification time at opening: what tells whether a file is still the same.
    pub(crate) fn stamp(&self) -> (u64, Option<SystemTime>) {
        (self.len, self.modified)
    }

    /// Fails when size or modification time are no longer those at opening.
    pub(crate) fn unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|e| error::io("look at", &self.path, &e))?;
        let same = now.len() == self.len && (self.modified.is_none() || now.modified().ok() == self.modified);
        if same { Ok(()) } else { Err(error::source_changed(&self.path)) }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut buffer: &mut [u8]) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                buffer = &mut buffer[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// A range of bytes that can be read by position: part of a file, or of memory.
#[derive(Debug, Clone)]
pub struct Region {
    backing: Backing,
    offset: u64,
    len: u64,
}

#[derive(Debug, Clone)]
enum Backing {
    File(Arc<Source>),
    Memory(Arc<Bytes>),
}

impl Region {
    /// A whole file.
    pub fn file(source: &Arc<Source>) -> Self {
        Region { backing: Backing::File(Arc::clone(source)), offset: 0, len: source.len() }
    }

    /// Bytes in memory.
    pub fn memory(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        Region { backing: Backing::Memory(Arc::new(bytes)), offset: 0, len }
    }

    /// The number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The part that starts at `offset` and has `len` bytes, or `None` when it does not lie inside.
    pub fn slice(&self, offset: u64, len: u64) -> Option<Region> {
        let end = offset.checked_add(len)?;
        (end <= self.len).then(|| Region { backing: self.backing.clone(), offset: self.offset + offset, len })
    }

    /// Where the region starts in the input file; `None` for memory.
    pub fn file_offset(&self) -> Option<u64> {
        matches!(self.backing, Backing::File(_)).then_some(self.offset)
    }

    /// Where the region starts in `source`; `None` when it is part of something else.
    pub fn offset_in(&self, source: &Source) -> Option<u64> {
        match &self.backing {
            Backing::File(backing) if std::ptr::eq(Arc::as_ptr(backing), source) => Some(self.offset),
            _ => None,
        }
    }

    /// What tells it from other regions.
    pub(crate) fn key(&self) -> RangeKey {
        let whole = match &self.backing {
            Backing::File(source) => Arc::as_ptr(source).addr(),
            Backing::Memory(bytes) => bytes.as_ptr().addr(),
        };
        (whole, self.offset, self.len)
    }

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// When the range does not lie inside, or the read fails.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let part = self.slice(offset, buffer.len() as u64);
        match (&self.backing, part) {
            (Backing::File(source), Some(part)) => source.read_at(part.offset, buffer),
            (Backing::Memory(bytes), Some(part)) => {
                buffer.copy_from_slice(&bytes[part.offset as usize..(part.offset + part.len) as usize]);
                Ok(())
            }
            (_, None) => Err(error::mismatch(format!("a read of {} bytes at {offset} leaves its region of {}", buffer.len(), self.len))),
        }
    }

    /// The bytes, mapped or in memory; nothing is copied.
    ///
    /// # Errors
    /// When the operating system refuses the mapping.
    pub fn bytes(&self) -> Result<Bytes> {
        let whole = match &self.backing {
            Backing::File(source) => source.map()?,
            Backing::Memory(bytes) => Bytes::clone(bytes),
        };
        let range = self.offset as usize..(self.offset + self.len) as usize;
        match &self.backing {
            Backing::File(source) if whole.len() < range.end => Err(error::source_changed(source.path())),
            _ => Ok(whole.slice(range)),
        }
    }

    /// The region as a reader from its start.
    pub fn reader(&self) -> RegionReader<'_> {
        RegionReader { region: Cow::Borrowed(self), pos: 0 }
    }

    /// The same as a reader that keeps the region.
    pub fn into_reader(self) -> RegionReader<'static> {
        RegionReader { region: Cow::Owned(self), pos: 0 }
    }
}

/// Reads a [`Region`] from start to end, or from where it is sought to.
#[derive(Debug)]
pub struct RegionReader<'a> {
    region: Cow<'a, Region>,
    pos: u64,
}

impl std::io::Read for RegionReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.region.len.saturating_sub(self.pos);
        let len = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0); // also beyond the end, where a seek may lead
        }
        self.region.read_at(self.pos, &mut buffer[..len]).map_err(std::io::Error::other)?;
        self.pos += len as u64;
        Ok(len)
    }
}

impl std::io::Seek for RegionReader<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            std::io::SeekFrom::Start(offset) => Some(offset),
            std::io::SeekFrom::End(delta) => self.region.len.checked_add_signed(delta),
            std::io::SeekFrom::Current(delta) => self.pos.checked_add_signed(delta),
        };
        self.pos = target.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(self.pos)
    }
}
