//! Members of a zip archive: their bytes, their checksums, and the storages that they are.

use std::io::{BufReader, Read};

use ::bytes::Bytes;

use crate::container::{Member, run, trailing};
use crate::error::{self, Result};
use crate::finding::Finding;
use crate::limits::{Pace, ReadOptions};
use crate::pickle::{Broken, Graph};
use crate::place::Place;
use crate::scratch::Scratch;
use crate::source::Region;
use crate::storage::{Content, Storage};

impl Member {
    /// Where its bytes are, and in what form.
    pub(super) fn content(&self) -> Content {
        match self.deflated {
            false => Content::Plain(self.stored()),
            true => Content::Deflated { member: self.place().member.to_string(), compressed: self.stored(), crc: self.crc },
        }
    }

    /// The storage that it is.
    pub(super) fn storage(&self, key: &str, big_endian: bool) -> Storage {
        Storage { key: key.to_owned(), len: self.len, head: 0, content: self.content(), place: self.place(), big_endian }
    }

    /// Its content from the start; a reader that goes on to the end must check the checksum.
    pub(super) fn reader(&self) -> Box<dyn Read> {
        let stored = BufReader::new(self.stored().into_reader());
        if self.deflated { Box::new(flate2::bufread::DeflateDecoder::new(stored)) } else { Box::new(stored) }
    }

    /// Inflates its content to `sink` if it is deflated, and returns the checksum.
    ///
    /// # Errors
    /// `zip-malformed` when the data is damaged or of another length; those of `sink`.
    pub(crate) fn decode(&self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<u32> {
        if self.deflated {
            return inflate(&self.place().member, &self.stored(), self.len, sink);
        }
        // The bytes can be read where they are; only their checksum is asked for.
        let mut crc = crc32fast::Hasher::new();
        let mut chunk = vec![0; self.len.min(256 << 10) as usize];
        let mut at = 0;
        while at < self.len {
            let chunk = &mut chunk[..(self.len - at).min(256 << 10) as usize];
            self.stored().read_at(at, chunk)?;
            crc.update(chunk);
            at += chunk.len() as u64;
        }
        Ok(crc.finalize())
    }

    /// Counts the bytes that decoding it makes, before it is done.
    ///
    /// # Errors
    /// The limit on decompressed bytes.
    pub(crate) fn count(&self, options: &ReadOptions) -> Result<()> {
        match self.deflated {
            true => options.count_decoded(self.len, "the members up to one", self.stored_len, Pace::Usual),
            false => Ok(()),
        }
    }

    /// All of its content, its checksum checked.
    ///
    /// # Errors
    /// `zip-malformed` when there is more than `at_most`, `zip-crc`.
    pub(super) fn read(&self, at_most: u64, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<Bytes> {
        let (content, finding) = self.read_damaged(at_most, options);
        findings.extend(finding?);
        Ok(content)
    }

    /// The same with its content as far as it can be read, and then what is wrong with it.
    fn read_damaged(&self, at_most: u64, options: &ReadOptions) -> (Bytes, Result<Option<Finding>>) {
        if self.len > at_most {
            let shown = crate::text::quoted(&self.place().member, 200);
            let error = error::zip(format!("member {shown} has {} bytes, at most {at_most} are expected", self.len));
            return (Bytes::new(), Err(error));
        }
        let (content, crc) = if self.deflated {
            let mut content = Vec::new();
            let crc = self.count(options).and_then(|()| {
                self.decode(&mut |chunk| {
                    content.extend_from_slice(chunk);
                    Ok(())
                })
            });
            (Bytes::from(content), crc)
        } else {
            match self.stored().bytes() {
                Ok(content) => (content.clone(), Ok(crc32fast::hash(&content))),
                Err(error) => (Bytes::new(), Err(error)),
            }
        };
        let finding = crc.and_then(|crc| check_crc(&self.place().member, self.crc, crc, options));
        if let Ok(None) = finding {
            options.note_checked(self.stored().key());
        }
        (content, finding)
    }

    /// Its content as text, for looking at; `None` where it is none, or more than `at_most` bytes.
    pub(crate) fn text(&self, at_most: u64, options: &ReadOptions) -> Option<String> {
        let (content, _) = self.read_damaged(at_most, options);
        (self.len <= at_most).then(|| String::from_utf8_lossy(&content).into_owned())
    }

    /// The content as a region that can be read by position: a large one that is compressed would have to be spooled, and
    /// pickles are not that large.
    ///
    /// # Errors
    /// The limit on the bytes of a pickle; `zip-crc`.
    pub(super) fn pickle_bytes(&self, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<(Bytes, Region)> {
        options.limits.pickle_bytes(self.len)?;
        let content = self.read(options.limits.pickle_bytes, options, findings)?;
        let stream = self.stream(&content);
        Ok((content, stream))
    }

    /// The region that has its content, which was read.
    fn stream(&self, content: &Bytes) -> Region {
        if self.deflated { Region::memory(content.clone()) } else { self.stored() }
    }

    /// Its content as a region, decoded once where it is compressed.
    ///
    /// # Errors
    /// `zip-malformed`, `zip-crc`, the limit on decompressed bytes.
    pub(super) fn region(&self, options: &ReadOptions) -> Result<Region> {
        let mut scratch = Scratch::new(options.scratch.as_deref());
        let crc = self.count(options).and_then(|()| self.decode(&mut |chunk| scratch.write(chunk)))?;
        if check_crc(&self.place().member, self.crc, crc, options)?.is_none() {
            options.note_checked(self.stored().key());
        }
        Ok(if self.deflated { scratch.finish() } else { self.stored() })
    }

    /// The pickle that it is, and its bytes. Bytes behind its end are a finding.
    ///
    /// # Errors
    /// What is wrong with the pickle; `zip-crc`, with what the damaged pickle would run.
    pub(super) fn pickle(&self, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<(Graph, Region), Box<Broken>> {
        options.limits.pickle_bytes(self.len)?;
        let (content, finding) = self.read_damaged(options.limits.pickle_bytes, options);
        match finding {
            Ok(finding) => findings.extend(finding),
            Err(error) => {
                let graphs = match run(&content, &self.place(), options) {
                    Ok(graph) => vec![graph],
                    Err(broken) => broken.graphs,
                };
                return Err(Box::<Broken>::from(error).after(graphs));
            }
        }
        let stream = self.stream(&content);
        let place = self.place();
        let graph = run(&content, &place, options)?;
        let end = graph.end();
        match trailing::read(&content.slice(end as usize..), &place.advanced(end), options) {
            Ok(trailing) => findings.extend(trailing),
            Err(broken) => return Err(broken.after(vec![graph])),
        }
        Ok((graph, stream))
    }
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
        check_crc(&member.place().member, member.crc, crc32fast::hash(&member.stored().bytes()?), options)?;
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
