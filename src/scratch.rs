//! Bytes that had to be decoded before they can be read by position: in memory as long as they are few, then in an unnamed
//! temporary file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::{self, Error, Result};
use crate::source::{Region, Source};
use crate::temporary;

/// Up to this many bytes stay in memory.
const IN_MEMORY: usize = 4 << 20;

/// Decoded bytes, as they come.
pub(crate) struct Scratch {
    memory: Vec<u8>,
    /// Once there is a file, everything is in it.
    file: Option<File>,
    folder: PathBuf,
    len: u64,
}

impl Scratch {
    /// For bytes that become a temporary file in `folder` when they are many; without one, where the system keeps
    /// temporary files.
    pub fn new(folder: Option<&Path>) -> Self {
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        Scratch { memory: Vec::new(), file: None, folder, len: 0 }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// `io` when the temporary file cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        if self.file.is_none() && self.len > IN_MEMORY as u64 {
            let mut file = temporary::unnamed(&self.folder).map_err(|e| self.writing(&e))?;
            file.write_all(&std::mem::take(&mut self.memory)).map_err(|e| self.writing(&e))?;
            self.file = Some(file);
        }
        match &mut self.file {
            None => self.memory.extend_from_slice(bytes),
            Some(file) => file.write_all(bytes).map_err(|e| self.writing(&e))?,
        }
        Ok(())
    }

    fn writing(&self, cause: &std::io::Error) -> Error {
        error::io("write a temporary file in", &self.folder, cause)
    }

    /// All of them.
    pub fn finish(self) -> Region {
        match self.file {
            None => Region::memory(self.memory.into()),
            Some(file) => Region::file(&Source::own(file, &self.folder, self.len)),
        }
    }
}
