//! `torch.save` since 1.6 (and the opt-in form of 1.4 and 1.5): a zip archive with one top folder, whose `data.pkl`
//! describes the checkpoint and whose `data/KEY` (1.4: `tensors/KEY`) hold the storages.
//!
//! Defined by `_save` and `_load` in `torch/serialization.py`. Little-endian unless the member `byteorder` says `big`.

use std::collections::HashMap;

use crate::container::bare_pickle::protocol;
use crate::container::{Document, Kind, Member, Outcome, zip_member};
use crate::error::{self, Result};
use crate::limits::ReadOptions;
use crate::place::Place;

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

/// Whether an archive has a checkpoint of this kind.
pub(super) fn is_torch_zip(members: &[Member]) -> bool {
    members.iter().any(|member| is_data_pkl(&member.name))
}

impl Member {
    /// The folder of storages that it is in, when its archive is torch's.
    pub(super) fn storage_folder(&self) -> Option<&str> {
        let (_, rest) = self.name.split_once('/')?;
        STORAGE_FOLDERS
            .iter()
            .copied()
            .find(|folder| rest.strip_prefix(*folder).is_some_and(|key| !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit())))
    }
}

/// `data.pkl` in a folder at the top.
fn is_data_pkl(name: &str) -> bool {
    name.split_once('/').is_some_and(|(_, file)| file == "data.pkl")
}

pub(super) fn open(mut members: Vec<Member>, _start: &Place, options: &ReadOptions) -> Outcome {
    let folder = top_folder(&members)?;
    let mut findings = Vec::new();
    let mut facts = Vec::new();
    for (member, fact) in FACTS {
        if let Some(member) = members.iter_mut().find(|m| m.name.strip_prefix(&folder) == Some(member)) {
            member.structural = true;
            let text = member.read(FACT_BYTES, options, &mut findings)?;
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
        if storages.insert(key.clone(), member.storage(&key, big_endian)).is_some() {
            return Err(error::zip_ambiguous(format!("storage {} is in data/ and in tensors/", crate::text::quoted(&key, 80))).into());
        }
        member.storage_key = Some(key);
    }
    let pickle = zip_member::structural(&mut members, &format!("{folder}data.pkl"), "describes the checkpoint")?;
    let (graph, stream) = pickle.pickle(options, &mut findings)?;
    facts.push(("pickle_protocol", protocol(&stream.bytes()?).to_string()));
    Ok(Document { facts, spaces: vec![storages], members, findings, ..Document::of_pickle(Kind::TorchZip, graph, stream) })
}

/// The folder that all members are in, with its slash.
fn top_folder(members: &[Member]) -> Result<String> {
    let mut pickles = members.iter().filter(|member| is_data_pkl(&member.name));
    let pickle = pickles.next().ok_or_else(|| error::missing_entry("data.pkl", "describes the checkpoint"))?;
    if let Some(second) = pickles.next() {
        let [first, second] = [pickle, second].map(|m| crate::text::quoted(&m.name, 200));
        return Err(error::zip_ambiguous(format!("the archive has two checkpoints: {first} and {second}")));
    }
    let folder = pickle.name.split_inclusive('/').next().unwrap_or_default().to_owned();
    if let Some(stray) = members.iter().find(|m| !m.name.starts_with(&folder)) {
        let (stray, folder) = (crate::text::quoted(&stray.name, 200), crate::text::quoted(&folder, 200));
        return Err(error::zip_ambiguous(format!("member {stray} is outside the folder {folder} of the checkpoint")));
    }
    Ok(folder)
}
