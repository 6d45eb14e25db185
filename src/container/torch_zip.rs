//! `torch.save` since 1.6 (and the opt-in form of 1.4 and 1.5): a zip archive with one top folder, whose `data.pkl`
//! describes the checkpoint and whose `data/KEY` (1.4: `tensors/KEY`) hold the storages.
//!
//! Defined by `_save` and `_load` in `torch/serialization.py`. Little-endian unless the member `byteorder` says `big`.

use crate::container::bare_pickle::protocol;
use crate::container::torch_archive::{Archive, folder_of, is_in_a_folder, is_storage_key};
use crate::container::{Document, Kind, Member, Outcome};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::place::Place;

const STORAGE_FOLDERS: &[&str] = &["data/", "tensors/"];

/// Whether an archive has a checkpoint of this kind.
pub(super) fn is_torch_zip(members: &[Member]) -> bool {
    members.iter().any(|member| is_in_a_folder(&member.name(), "data.pkl"))
}

/// Whether a member would be a storage of such a checkpoint.
pub(super) fn is_storage(member: &Member) -> bool {
    let name = member.name();
    let below = name.split_once('/').map(|(_, rest)| rest);
    let key = below.and_then(|rest| STORAGE_FOLDERS.iter().find_map(|folder| rest.strip_prefix(folder)));
    key.is_some_and(is_storage_key)
}

pub(super) fn open(members: Vec<Member>, start: &Place, options: &ReadOptions) -> Outcome {
    let folder = folder_of(&members, "data.pkl")?;
    let mut archive = Archive::new(members, folder, options)?;
    let storages = archive.space(STORAGE_FOLDERS)?;
    let (graph, stream) = archive.pickle("data.pkl", "describes the checkpoint", options)?;
    let Archive { members, mut facts, mut findings, .. } = archive;
    // Inside of another file, where a member starts is that one's business.
    if start.member.is_empty() {
        findings.extend(layout(&members));
    }
    facts.push(("pickle_protocol", protocol(&stream.bytes()?).to_string()));
    Ok(Document { facts, spaces: vec![storages], members: members.into(), findings, ..Document::of_pickle(Kind::TorchZip, graph, stream) })
}

/// torch stores every member as it is, at a multiple of this.
const ALIGNMENT: u64 = 64;

/// Whether the archive is laid out as torch does it; it may have been zipped again by another program.
fn layout(members: &[Member]) -> Option<Finding> {
    let odd = |member: &&Member| member.deflated || member.stored().file_offset().is_some_and(|at| at % ALIGNMENT != 0 && member.len > 0);
    let first = members.iter().find(odd)?;
    let n = crate::text::count(members.iter().filter(odd).count() as u64, "member");
    let message = format!("of {n} each is compressed or starts at no multiple of {ALIGNMENT} bytes, where torch would put it");
    Some(Finding::note("noncanonical-layout", first.place().clone(), message))
}
