//! Members of a zip archive: their bytes, their checksums, and the storages that they are.

use std::io::{BufReader, Read};

use ::bytes::Bytes;

use crate::container::{Member, check_crc, inflate};
use crate::error::{self, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::{self, Broken, Graph};
use crate::source::Region;
use crate::storage::{Content, Storage};

impl Member {
    /// Where its bytes are, and in what form.
    pub(super) fn content(&self) -> Content {
        match self.deflated {
            false => Content::Plain(self.stored.clone()),
            true => Content::Deflated { member: self.place.member.to_string(), compressed: self.stored.clone(), crc: self.crc },
        }
    }

    /// The storage that it is.
    pub(super) fn storage(&self, key: &str, big_endian: bool) -> Storage {
        Storage { key: key.to_owned(), len: self.len, head: 0, content: self.content(), place: self.place.clone(), big_endian }
    }

    /// Its content from the start; a reader that goes on to the end must check the checksum.
    pub(super) fn reader(&self) -> Box<dyn Read + '_> {
        let stored = BufReader::new(self.stored.reader());
        if self.deflated { Box::new(flate2::bufread::DeflateDecoder::new(stored)) } else { Box::new(stored) }
    }

    /// Inflates its content to `sink` if it is deflated, and returns the checksum.
    ///
    /// # Errors
    /// `zip-malformed` when the data is damaged or of another length; those of `sink`.
    pub(crate) fn decode(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u32> {
        if self.deflated {
            return inflate(&self.place.member, &self.stored, self.len, sink);
        }
        // The bytes can be read where they are; only their checksum is asked for.
        let mut crc = crc32fast::Hasher::new();
        let mut chunk = vec![0; self.len.min(256 << 10) as usize];
        let mut at = 0;
        while at < self.len {
            let chunk = &mut chunk[..(self.len - at).min(256 << 10) as usize];
            self.stored.read_at(at, chunk)?;
            crc.update(chunk);
            at += chunk.len() as u64;
        }
        Ok(crc.finalize())
    }

    /// All of its content, its checksum checked.
    ///
    /// # Errors
    /// `zip-malformed` when there is more than `at_most`, `zip-crc`.
    pub(super) fn read(&self, at_most: u64, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<Bytes> {
        if self.len > at_most {
            let shown = crate::text::quoted(&self.place.member, 200);
            return Err(error::zip(format!("member {shown} has {} bytes, at most {at_most} are expected", self.len)));
        }
        let (content, crc) = if self.deflated {
            let mut content = Vec::new();
            let crc = inflate(&self.place.member, &self.stored, self.len, &mut |chunk| {
                content.extend_from_slice(chunk);
                Ok(())
            })?;
            (Bytes::from(content), crc)
        } else {
            let content = self.stored.bytes()?;
            let crc = crc32fast::hash(&content);
            (content, crc)
        };
        findings.extend(check_crc(&self.place.member, self.crc, crc, options)?);
        Ok(content)
    }

    /// The content as a region that can be read by position: a large one that is compressed would have to be spooled, and
    /// pickles are not that large.
    ///
    /// # Errors
    /// The limit on the bytes of a pickle; `zip-crc`.
    pub(super) fn pickle_bytes(&self, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<(Bytes, Region)> {
        options.limits.pickle_bytes(self.len)?;
        let content = self.read(options.limits.pickle_bytes, options, findings)?;
        let stream = if self.deflated { Region::memory(content.clone()) } else { self.stored.clone() };
        Ok((content, stream))
    }

    /// The pickle that it is, and its bytes. Bytes behind its end are a finding.
    ///
    /// # Errors
    /// What is wrong with the pickle; `zip-crc`.
    pub(super) fn pickle(&self, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<(Graph, Region), Box<Broken>> {
        let (content, stream) = self.pickle_bytes(options, findings)?;
        let place = self.place.clone();
        let graph = pickle::run(&content, &place, &options.limits)?;
        if graph.end() < stream.len() {
            let message = format!("{} bytes follow the end of the pickle; Python ignores them", stream.len() - graph.end());
            findings.push(Finding::note("trailing-data", place.advanced(graph.end()), message));
        }
        Ok((graph, stream))
    }
}
