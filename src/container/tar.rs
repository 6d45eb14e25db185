//! Tar archives: a torch checkpoint of before 0.1.10, or a bundle of files. The headers are read by the `tar` crate; a
//! member that two programs would put into two places is refused.

use std::collections::HashSet;
use std::io::ErrorKind;

use ::tar::{Archive, EntryType};

use crate::container::bundle::{Bundle, Packed, PackedContent};
use crate::container::{Inner, Kind, hidden, torch_tar};
use crate::error::{self, Code, Error, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::Broken;
use crate::place::Place;
use crate::source::Region;

/// A member of a tar archive.
pub(super) struct TarMember {
    pub name: String,
    pub content: Region,
    /// Its first byte.
    pub place: Place,
}

/// The most bytes of a record that says a name or other facts of the next member.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

const BLOCK_BYTES: u64 = 512;

pub(super) fn sniff(head: &[u8]) -> bool {
    head.get(257..).is_some_and(|rest| rest.starts_with(b"ustar")) || is_old(head)
}

/// The format before POSIX has no magic; its checksum tells it.
fn is_old(head: &[u8]) -> bool {
    let Some(header) = head.get(..512) else { return false };
    let field = std::str::from_utf8(&header[148..156]).ok().map(|text| text.trim_matches([' ', '\0']));
    let recorded = field.filter(|text| !text.is_empty()).and_then(|text| u32::from_str_radix(text, 8).ok());
    let sum = header.iter().enumerate().map(|(i, &byte)| if (148..156).contains(&i) { 32 } else { u32::from(byte) }).sum::<u32>();
    recorded == Some(sum)
}

pub(super) fn peek(region: &Region, start: &Place, options: &ReadOptions, depth: u64) -> Result<Inner> {
    let mut members = Vec::new();
    if let Err(error) = read(region, start, options, &mut members) {
        // What its pickles would run is said all the same.
        let options = options.clone();
        return Ok(Inner::Document(Box::new(move || {
            let graphs = members.iter().flat_map(|member| hidden::in_region(&member.content, &member.place, &options, depth + 1));
            Err(Box::<Broken>::from(error).after(graphs.collect()))
        })));
    }
    if torch_tar::is_torch_tar(&members) {
        let options = options.clone();
        return Ok(Inner::Document(Box::new(move || torch_tar::open(&members, &options))));
    }
    let files = members.into_iter().map(|member| Packed { name: member.name, content: PackedContent::Plain(member.content) }).collect();
    let (findings, side_pickles) = (Vec::new(), Vec::new());
    Ok(Inner::Bundle(Bundle { kind: Kind::Tar, facts: Vec::new(), files, findings, side_pickles }))
}

/// Adds the members to `members`, as far as they can be read.
fn read(region: &Region, start: &Place, options: &ReadOptions, members: &mut Vec<TarMember>) -> Result<()> {
    let malformed = |e: &std::io::Error| match e.kind() {
        ErrorKind::UnexpectedEof => error::truncated(&start.advanced(region.len()), "the tar archive", 512, 0),
        _ if e.to_string().contains("failed to read entire block") => {
            error::truncated(&start.advanced(region.len()), "a header of the tar archive", 512, 0)
        }
        _ => Error::new(Code::TarMalformed, format!("the tar archive is damaged: {e}")).at(start).help("download or copy the file again"),
    };
    let ambiguous = |place: &Place, what: String| {
        Error::new(Code::TarAmbiguous, what)
            .at(place)
            .help("two programs could unpack this archive differently; have its author make it again")
    };
    // The names and facts of members are read into memory; none of them is large.
    let mut end = 0;
    let mut archive = Archive::new(region.reader());
    for entry in archive.entries_with_seek().map_err(|e| malformed(&e))?.raw(true) {
        // What is damaged shows again below, behind the members that are whole.
        let Ok(entry) = entry else { break };
        end = entry.raw_file_position().saturating_add(entry.size()).next_multiple_of(BLOCK_BYTES);
        let kind = entry.header().entry_type();
        let extension =
            kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() || kind.is_pax_global_extensions();
        if extension && entry.size() > MAX_EXTENSION_BYTES {
            let what = format!("the tar archive has a name of {} bytes", entry.size());
            return Err(Error::new(Code::TarMalformed, what).at(&start.advanced(entry.raw_header_position())));
        }
    }
    let mut archive = Archive::new(region.reader());
    let mut seen = HashSet::new();
    for entry in archive.entries_with_seek().map_err(|e| malformed(&e))? {
        let mut entry = entry.map_err(|e| malformed(&e))?;
        let place = start.advanced(entry.raw_header_position());
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let shown = crate::text::quoted(&path, 200);
        let (at, len) = (entry.raw_file_position(), entry.size());
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            kind => {
                let what = match kind {
                    EntryType::Symlink | EntryType::Link => "a link",
                    EntryType::Char | EntryType::Block | EntryType::Fifo => "a device or a pipe",
                    EntryType::GNUSparse => "a file with holes",
                    _ => "neither a file nor a folder",
                };
                return Err(ambiguous(&place, format!("member {shown} of the tar archive is {what}")));
            }
        }
        let name = path.split('/').filter(|part| *part != ".").collect::<Vec<_>>().join("/");
        if !seen.insert(name.to_lowercase()) {
            return Err(ambiguous(&place, format!("the tar archive has two members called {shown}")));
        }
        if let Some(Err(e)) = entry.pax_extensions().map_err(|e| malformed(&e))?.into_iter().flatten().find(Result::is_err) {
            return Err(malformed(&e));
        }
        let left = region.len().saturating_sub(at);
        let content = region.slice(at, len);
        let content = content.ok_or_else(|| error::truncated(&start.advanced(at), &format!("member {shown}"), len, left))?;
        // The last block of a member is filled up; one that is not was cut, and so may be members behind it.
        let filled = len.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES);
        if filled > left {
            return Err(error::truncated(&start.advanced(at), &format!("the last block of member {shown}"), filled, left));
        }
        let place = start.inside(&name);
        members.push(TarMember { name, content, place });
        options.limits.zip_entries(members.len() as u64)?;
    }
    // Some programs leave out the blocks of zeros at the end; a cut between two members looks the same.
    if let Some(at) = behind_the_end(region, end)? {
        let place = start.advanced(at);
        members.push(TarMember {
            name: BEHIND_THE_END.to_owned(),
            content: region.slice(at, region.len() - at).unwrap_or_else(|| region.clone()),
            place: place.clone(),
        });
        let what = "other bytes follow the end of the tar archive, which some programs read on";
        return Err(ambiguous(&place, what.to_owned()).with_findings(&[Finding::note("trailing-data", place, what)]));
    }
    Ok(())
}

/// Names what is behind the end where the members are named.
const BEHIND_THE_END: &str = "";

/// Where other bytes than zeros are behind the last member, which ends at `end`.
fn behind_the_end(region: &Region, end: u64) -> Result<Option<u64>> {
    let mut buffer = vec![0; 64 << 10];
    let mut at = end.min(region.len());
    while at < region.len() {
        let chunk = &mut buffer[..(region.len() - at).min(64 << 10) as usize];
        region.read_at(at, chunk)?;
        if let Some(odd) = chunk.iter().position(|&byte| byte != 0) {
            return Ok(Some((at + odd as u64) / BLOCK_BYTES * BLOCK_BYTES));
        }
        at += chunk.len() as u64;
    }
    Ok(None)
}
