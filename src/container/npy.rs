//! `.npy`: one array of numpy, or one pickle in which an array of Python objects is. Defined by `numpy/lib/format.py`.

use crate::container::{Document, Kind, Member, Outcome, bare_pickle, hidden, run, trailing};
use crate::error::{self, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::numpy::{MAGIC, NpyHeader, RawArray};
use crate::pickle::{Broken, Graph};
use crate::place::Place;
use crate::source::Region;
use crate::storage::Content;

pub(super) fn sniff(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

pub(super) fn open(region: &Region, start: &Place, options: &ReadOptions) -> Outcome {
    let header = match NpyHeader::read(&mut region.reader(), region.len(), start) {
        Ok(header) => header,
        Err(error) => return Err(Box::<Broken>::from(error).after(behind_a_header(region, start, options))),
    };
    if header.dtype.has_objects() {
        return objects(region, &header, start, options);
    }
    let document = array(&header, Content::Plain(region.clone()), region.len(), start)?;
    // Who loads from the same file again reads what follows.
    let end = header.bytes + header.data_bytes(start)?;
    let rest = region.slice(end, region.len() - end).map_or_else(|| Ok(Default::default()), |rest| rest.bytes())?;
    trailing::read(&rest, &start.advanced(end), options)?;
    Ok(document)
}

/// The same in an archive, where the data may be compressed.
pub(super) fn open_member(member: &Member, options: &ReadOptions) -> Outcome {
    let start = member.place();
    let header = NpyHeader::read(&mut member.reader(), member.len, &start)?;
    if header.dtype.has_objects() {
        let mut findings = Vec::new();
        let (_, region) = member.pickle_bytes(options, &mut findings)?;
        let mut document = objects(&region, &header, &start, options)?;
        document.findings.append(&mut findings);
        return Ok(document);
    }
    array(&header, member.content(), member.len, &start).map_err(Into::into)
}

/// The pickle behind a header that is not read here: numpy may know its dtype.
fn behind_a_header(region: &Region, start: &Place, options: &ReadOptions) -> Vec<Graph> {
    let mut fixed = [0; 12];
    if region.len() < 12 || region.read_at(0, &mut fixed).is_err() {
        return Vec::new();
    }
    let bytes = match fixed[6] {
        1 => 10 + u64::from(u16::from_le_bytes([fixed[8], fixed[9]])),
        _ => 12 + u64::from(u32::from_le_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
    };
    let data = region.slice(bytes, region.len().saturating_sub(bytes));
    data.map(|data| hidden::as_pickle(&data, &start.advanced(bytes), options)).unwrap_or_default()
}

/// An array of Python objects is one pickle of the whole array.
fn objects(region: &Region, header: &NpyHeader, start: &Place, options: &ReadOptions) -> Outcome {
    let place = start.advanced(header.bytes);
    let stream = region.slice(header.bytes, region.len().saturating_sub(header.bytes)).unwrap_or_else(|| region.clone());
    let bytes = stream.bytes()?;
    let graph = run(&bytes, &place, options)?;
    let facts = vec![version(header), ("pickle_protocol", bare_pickle::protocol(&bytes).to_string())];
    let end = graph.end();
    match trailing::read(&bytes.slice(end as usize..), &place.advanced(end), options) {
        Ok(findings) => Ok(Document { facts, findings, ..Document::of_pickle(Kind::Npy, graph, stream) }),
        Err(broken) => Err(broken.after(vec![graph])),
    }
}

/// The array behind a header; `len` are the bytes of `content`, header included.
fn array(header: &NpyHeader, content: Content, len: u64, start: &Place) -> Result<Document> {
    let (at, data) = (header.bytes, header.data_bytes(start)?);
    let place = start.advanced(at);
    let left = len.saturating_sub(at);
    if data > left {
        return Err(error::truncated(&place, "the data of the array", data, left));
    }
    let (dtype, shape, fortran) = (header.dtype.clone(), header.shape.clone(), header.fortran);
    // Where it can, the content is cut to the data; compressed, it is decoded with the header before it.
    let (content, content_bytes, offset, start_of_content) = match content {
        Content::Plain(region) => match region.slice(at, data) {
            Some(region) => (Content::Plain(region), data, 0, place.clone()),
            None => return Err(error::truncated(&place, "the data of the array", data, left)),
        },
        content => (content, len, at, start.clone()),
    };
    let array = RawArray { dtype, shape, fortran, content, content_bytes, offset, len: data, place: start_of_content };
    let findings = after_the_array(&place, data, left);
    Ok(Document { facts: vec![version(header)], findings, ..Document::of_arrays(Kind::Npy, start, None, vec![array])? })
}

fn version(header: &NpyHeader) -> (&'static str, String) {
    ("npy_version", header.version.to_string())
}

fn after_the_array(place: &Place, used: u64, len: u64) -> Vec<Finding> {
    let note = || {
        let message = format!("{} bytes follow the end of the array; numpy ignores them", len - used);
        Finding::note("trailing-data", place.advanced(used), message)
    };
    (used < len).then(note).into_iter().collect()
}
