//! `torch.save` since 1.6 (and the opt-in form of 1.4 and 1.5): a zip archive with one top folder, whose `data.pkl`
//! describes the checkpoint and whose `data/KEY` (1.4: `tensors/KEY`) hold the storages.
//!
//! Defined by `_save` and `_load` in `torch/serialization.py`. Little-endian unless the member `byteorder` says `big`.

use crate::container::bare_pickle::protocol;
use crate::container::torch_archive::{Archive, folder_of, is_in_a_folder, is_storage_key};
use crate::container::{Document, Kind, Member, Outcome};
use crate::limits::ReadOptions;
use crate::place::Place;

const STORAGE_FOLDERS: &[&str] = &["data/", "tensors/"];

/// Whether an archive has a checkpoint of this kind.
pub(super) fn is_torch_zip(members: &[Member]) -> bool {
    members.iter().any(|member| is_in_a_folder(&member.name, "data.pkl"))
}

/// Whether a member would be a storage of such a checkpoint.
pub(super) fn is_storage(member: &Member) -> bool {
    let below = member.name.split_once('/').map(|(_, rest)| rest);
    let key = below.and_then(|rest| STORAGE_FOLDERS.iter().find_map(|folder| rest.strip_prefix(folder)));
    key.is_some_and(is_storage_key)
}

pub(super) fn open(members: Vec<Member>, _start: &Place, options: &ReadOptions) -> Outcome {
    let folder = folder_of(&members, "data.pkl")?;
    let mut archive = Archive::new(members, folder, options)?;
    let storages = archive.storages(STORAGE_FOLDERS, "")?;
    let (graph, stream) = archive.pickle("data.pkl", "describes the checkpoint", options)?;
    let Archive { members, mut facts, findings, .. } = archive;
    facts.push(("pickle_protocol", protocol(&stream.bytes()?).to_string()));
    Ok(Document { facts, spaces: vec![storages], members, findings, ..Document::of_pickle(Kind::TorchZip, graph, stream) })
}
