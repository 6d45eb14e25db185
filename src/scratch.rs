//! Bytes that had to be decoded before they can be read by position: in memory as long as they are few, then in an unnamed
//! temporary file.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::{SpooledData, SpooledTempFile};

use crate::error::{self, Result};
use crate::source::{Region, Source};

/// Up to this many bytes stay in memory.
const IN_MEMORY: usize = 4 << 20;

/// Decoded bytes, as they come.
pub(crate) struct Scratch {
    file: SpooledTempFile,
    folder: PathBuf,
    len: u64,
}

impl Scratch {
    /// For bytes that become a temporary file in `folder` when they are many; without one, where the system keeps
    /// temporary files.
    pub fn new(folder: Option<&Path>) -> Self {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        Scratch { file: SpooledTempFile::new_in(IN_MEMORY, &folder), folder, len: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `io` when the temporary file cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| error::io("write a temporary file in", &self.folder, &e))
    }

    /// All of them.
    ///
    /// # Errors
    /// `io` when the temporary file cannot be written.
    pub fn finish(mut self) -> Result<Region> {
        let writing = |e: std::io::Error| error::io("write a temporary file in", &self.folder, &e);
        self.file.flush().map_err(writing)?;
        self.file.seek(SeekFrom::Start(0)).map_err(writing)?;
        Ok(match self.file.into_inner() {
            SpooledData::InMemory(bytes) => Region::memory(bytes.into_inner().into()),
            SpooledData::OnDisk(file) => Region::file(&Source::own(file, &self.folder, self.len)),
        })
    }
}
