//! `torch.save` since 1.6 (and the opt-in form of 1.4 and 1.5): a zip archive with one top folder, whose `data.pkl`
//! describes the checkpoint and whose `data/KEY` (1.4: `tensors/KEY`) hold the storages.
//!
//! Defined by `_save` and `_load` in `torch/serialization.py`. Little-endian unless the member `byteorder` says `big`.

use std::collections::HashMap;

use ::bytes::Bytes;

use crate::container::bare_pickle::protocol;
use crate::container::{Document, Kind, Member, Outcome, zip_directory};
use crate::error::{self, Code, Error, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle;
use crate::place::Place;
use crate::source::Region;
use crate::storage::{Content, Storage};

/// Small members that describe the archive, and the fact each one states.
const FACTS: &[(&str, &str)] = &[
    ("version", "torch_zip_version"),
    ("byteorder", "byteorder"),
    (".format_version", "format_version"),
    (".storage_alignment", "storage_alignment"),
    (".data/serialization_id", "serialization_id"),
];
const STORAGE_FOLDERS: &[&str] = &["data/", "tensors/"];
/// More than any of the small members ever has.
const FACT_BYTES: u64 = 256;

pub(super) fn sniff(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04")
}

pub(super) fn open(region: &Region, _start: &Place, options: &ReadOptions) -> Outcome {
    let mut members = zip_directory::read(region, &options.limits)?;
    let folder = top_folder(&members)?;
    let mut findings = Vec::new();
    let mut facts = Vec::new();
    for (member, fact) in FACTS {
        if let Some(member) = members.iter_mut().find(|m| m.name.strip_prefix(&folder) == Some(member)) {
            member.structural = true;
            let text = read_member(member, FACT_BYTES, options, &mut findings)?;
            facts.push((*fact, String::from_utf8_lossy(&text).trim_end().to_owned()));
        }
    }
    let big_endian = match facts.iter().find(|(fact, _)| *fact == "byteorder").map(|(_, value)| value.as_str()) {
        None | Some("little") => false,
        Some("big") => true,
        Some(other) => {
            return Err(error::zip(format!("member byteorder says {}, expected little or big", crate::text::quoted(other, 40))).into());
        }
    };
    let mut storages = HashMap::new();
    for member in &mut members {
        let key = member.name.strip_prefix(&folder).and_then(|rest| STORAGE_FOLDERS.iter().find_map(|f| rest.strip_prefix(f)));
        let Some(key) = key.filter(|key| !key.is_empty() && !key.contains('/')).map(str::to_owned) else { continue };
        let storage = storage(member, &key, big_endian);
        if storages.insert(key.clone(), storage).is_some() {
            return Err(error::zip_ambiguous(format!("storage {} is in data/ and in tensors/", crate::text::quoted(&key, 80))).into());
        }
        member.storage_key = Some(key);
    }
    let name = format!("{folder}data.pkl");
    let pickle_member =
        members.iter_mut().find(|m| m.name == name).ok_or_else(|| error::missing_entry(&name, "describes the checkpoint"))?;
    pickle_member.structural = true;
    options.limits.pickle_bytes(pickle_member.len)?;
    let content = read_member(pickle_member, options.limits.pickle_bytes, options, &mut findings)?;
    let place = Place::start_of(&name);
    let stream = if pickle_member.deflated { Region::memory(content.clone()) } else { pickle_member.stored.clone() };
    let graph = pickle::run(&content, &place, &options.limits)?;
    facts.push(("pickle_protocol", protocol(&content).to_string()));
    if graph.end() < stream.len() {
        let message = format!("{} bytes follow the end of the pickle; Python ignores them", stream.len() - graph.end());
        findings.push(Finding::note("trailing-data", place.advanced(graph.end()), message));
    }
    Ok(Document { kind: Kind::TorchZip, facts, graph, stream, storages, members, side_pickles: Vec::new(), findings })
}

/// The folder that all members are in, with its slash. Archives that are no torch checkpoint are told by name.
fn top_folder(members: &[Member]) -> Result<String> {
    let has = |test: &dyn Fn(&str) -> bool| members.iter().any(|m| test(&m.name));
    let inside = |name: &str, file: &str| name.split_once('/').is_some_and(|(_, rest)| rest == file);
    let advice = "this version of depickle does not read it";
    if has(&|n| inside(n, "constants.pkl")) || has(&|n| inside(n, "model.json")) {
        return Err(error::unsupported_container("a TorchScript archive", advice));
    }
    if has(&|n| n.contains("/.data/extern_modules")) {
        return Err(error::unsupported_container("a torch.package archive", advice));
    }
    let mut pickles = members.iter().filter(|m| inside(&m.name, "data.pkl"));
    let Some(pickle) = pickles.next() else { return Err(no_data_pkl(members)) };
    if let Some(second) = pickles.next() {
        let [first, second] = [pickle, second].map(|m| crate::text::quoted(&m.name, 200));
        return Err(error::zip_ambiguous(format!("the archive has two checkpoints: {first} and {second}")));
    }
    let folder = pickle.name.split_inclusive('/').next().unwrap_or_default().to_owned();
    if let Some(stray) = members.iter().find(|m| !m.name.starts_with(&folder)) {
        let message = format!(
            "member {} is outside the folder {} of the checkpoint",
            crate::text::quoted(&stray.name, 200),
            crate::text::quoted(&folder, 200)
        );
        return Err(error::zip_ambiguous(message));
    }
    Ok(folder)
}

fn no_data_pkl(members: &[Member]) -> Error {
    let ending = |end: &str| members.iter().any(|m| m.name.ends_with(end));
    let advice = "extract it and convert the checkpoint inside";
    if !members.is_empty() && members.iter().all(|m| m.name.ends_with(".npy")) {
        return error::unsupported_container("a numpy .npz archive", "this version of depickle does not read it");
    }
    if ending(".pth") || ending(".pt") || ending(".bin") || ending(".ckpt") || ending(".pkl") {
        return error::unsupported_container("a zip archive of other files", advice);
    }
    if members.iter().any(|m| m.name == "data.pkl") {
        return Error::new(Code::ZipMalformed, "member data.pkl is not in a folder, where torch writes it")
            .help("the archive was zipped again without its folder; zip the folder itself");
    }
    error::missing_entry("data.pkl", "describes the checkpoint")
}

fn storage(member: &Member, key: &str, big_endian: bool) -> Storage {
    let content = match member.deflated {
        false => Content::Plain(member.stored.clone()),
        true => Content::Deflated { member: member.name.clone(), compressed: member.stored.clone(), crc: member.crc },
    };
    Storage { key: key.to_owned(), len: member.len, content, place: Place::start_of(&member.name), big_endian }
}

/// The content of a small member, its checksum checked.
fn read_member(member: &Member, at_most: u64, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<Bytes> {
    if member.len > at_most {
        return Err(error::zip(format!(
            "member {} has {} bytes, at most {at_most} are expected",
            crate::text::quoted(&member.name, 200),
            member.len
        )));
    }
    let (content, crc) = if member.deflated {
        let mut content = Vec::new();
        let crc = zip_directory::inflate(&member.name, &member.stored, member.len, &mut |chunk| {
            content.extend_from_slice(chunk);
            Ok(())
        })?;
        (Bytes::from(content), crc)
    } else {
        let content = member.stored.bytes()?;
        let crc = crc32fast::hash(&content);
        (content, crc)
    };
    findings.extend(zip_directory::check_crc(&member.name, member.crc, crc, options)?);
    Ok(content)
}
