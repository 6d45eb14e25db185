//! Storages that can be read by position. Most are already; what is compressed or written as text is decoded once into
//! an unnamed temporary file beside the output, so that memory does not grow with it.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::container::{check_crc, inflate};
use crate::error::{self, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::source::{Region, Source};
use crate::storage::{Content, Storage, StorageId, decode_latin1};
use crate::temporary;

/// Bytes copied at a time.
const COPY_BYTES: u64 = 256 << 10;

/// The storages of a checkpoint that are needed, each as a region to read from.
#[derive(Debug)]
pub struct Opened {
    regions: Vec<Option<Region>>,
    /// What decoding them gave reason to say.
    pub findings: Vec<Finding>,
}

impl Opened {
    /// Opens the storages of a checkpoint, with `None` for those that nobody needs.
    ///
    /// # Errors
    /// Damaged compressed data, a wrong checksum, no space for the temporary file.
    pub fn open(storages: impl Iterator<Item = Option<Storage>>, folder: &Path, options: &ReadOptions) -> Result<Opened> {
        let writing = |e: std::io::Error| error::io("write a temporary file in", folder, &e);
        let mut spool = None;
        let mut spooled: Vec<(usize, u64, u64)> = Vec::new();
        let mut at = 0u64;
        let mut regions = Vec::new();
        let mut findings = Vec::new();
        for (i, storage) in storages.enumerate() {
            regions.push(None);
            let Some(storage) = storage else { continue };
            if let Content::Plain(region) = &storage.content {
                regions[i] = Some(region.clone());
                continue;
            }
            let file = match &mut spool {
                Some(file) => file,
                none => none.insert(BufWriter::with_capacity(256 << 10, temporary::unnamed(folder).map_err(writing)?)),
            };
            let mut sink = |chunk: &[u8]| file.write_all(chunk).map_err(writing);
            decode(&storage.content, &storage, options, &mut findings, &mut sink)?;
            spooled.push((i, at, storage.len));
            at += storage.len;
        }
        if let Some(spool) = spool {
            let file = spool.into_inner().map_err(|e| writing(e.into_error()))?;
            let source: Arc<Source> = Source::own(file, folder, at);
            let whole = Region::file(&source);
            for (i, start, len) in spooled {
                regions[i] = whole.slice(start, len);
            }
        }
        Ok(Opened { regions, findings })
    }

    /// The bytes of a storage that was opened.
    pub fn region(&self, id: StorageId) -> &Region {
        match self.regions.get(id.index()) {
            Some(Some(region)) => region,
            _ => unreachable!("every storage that the plan reads was opened"),
        }
    }
}

/// Hands the bytes of `content`, which is `storage` or a piece of it, to `sink`.
fn decode(
    content: &Content,
    storage: &Storage,
    options: &ReadOptions,
    findings: &mut Vec<Finding>,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    match content {
        Content::Plain(region) => {
            let mut chunk = vec![0; region.len().min(COPY_BYTES) as usize];
            let mut at = 0;
            while at < region.len() {
                let chunk = &mut chunk[..(region.len() - at).min(COPY_BYTES) as usize];
                region.read_at(at, chunk)?;
                sink(chunk)?;
                at += chunk.len() as u64;
            }
            Ok(())
        }
        Content::Deflated { member, compressed, crc } => {
            let actual = inflate(member, compressed, storage.len, sink)?;
            findings.extend(check_crc(member, *crc, actual, options)?);
            Ok(())
        }
        Content::Latin1(text) => decode_latin1(&text.bytes()?, sink).map_err(|e| e.at(&storage.place)),
        Content::Joined(pieces) => pieces.iter().try_for_each(|(piece, _)| decode(piece, storage, options, findings, sink)),
        Content::Meta => unreachable!("nothing is a view of a meta storage"),
    }
}
