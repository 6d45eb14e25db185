//! The bytes of a file or of a part of one, from start to end.

use std::sync::Mutex;

use super::{Chunk, Feed, Filler, Parts};
use crate::digest::Checksums;
use crate::error::Result;
use crate::finding::Finding;
use crate::progress::Progress;
use crate::source::Region;

/// A region from its start to its end.
pub(crate) struct Bytes<'a> {
    region: Region,
    checksums: Option<Mutex<Checksums>>,
    progress: &'a dyn Progress,
}

impl<'a> Bytes<'a> {
    /// The bytes of `region`.
    pub fn new(region: Region, progress: &'a dyn Progress) -> Bytes<'a> {
        Bytes { region, checksums: None, progress }
    }

    /// With the checksums of the members in it.
    pub fn with(self, checksums: Checksums) -> Bytes<'a> {
        Bytes { checksums: Some(Mutex::new(checksums)), ..self }
    }

    /// What the checksums gave reason to say.
    pub fn findings(self) -> Vec<Finding> {
        let checksums = self.checksums.map(|checksums| checksums.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        checksums.map(|checksums| checksums.findings).unwrap_or_default()
    }
}

impl Parts for Bytes<'_> {
    fn count(&self) -> usize {
        1
    }

    fn bytes(&self, _part: usize) -> u64 {
        self.region.len()
    }
}

impl Feed for Bytes<'_> {
    fn parts(&self) -> &dyn Parts {
        self
    }

    fn filler(&self) -> Box<dyn Filler + '_> {
        Box::new(self)
    }

    fn show(&self, chunk: &Chunk, bytes: &[u8]) -> Result<()> {
        self.progress.advance(bytes.len() as u64);
        match &self.checksums {
            Some(checksums) => checksums.lock().unwrap_or_else(std::sync::PoisonError::into_inner).update(chunk.at, bytes),
            None => Ok(()),
        }
    }
}

impl Filler for &Bytes<'_> {
    fn fill(&mut self, chunk: &Chunk, buffer: &mut [u8]) -> Result<()> {
        self.region.read_at(chunk.at, buffer)
    }
}
