//! What torch's zip archives have in common: one top folder, small members that state facts, folders of storages.
//!
//! Written by `caffe2/serialize/inline_container.cc` for all of them.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::container::space::MemberSpace;
use crate::container::{Member, Space};
use crate::error::{self, Error, Result};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::{Breaks, Broken, Graph};
use crate::place::Place;
use crate::source::Region;
use crate::storage::Storage;

/// Small members that describe the archive, and the fact each one states.
const FACTS: &[(&str, &str)] = &[
    ("version", "torch_zip_version"),
    (".data/version", "torch_zip_version"),
    ("archive_format", "archive_format"),
    ("archive_version", "archive_version"),
    ("byteorder", "byteorder"),
    (".format_version", "format_version"),
    (".storage_alignment", "storage_alignment"),
    (".data/serialization_id", "serialization_id"),
    (".data/python_version", "python_version"),
];
/// The versions that are known, of facts that are one.
const VERSIONS: &[(&str, &[&str])] =
    &[("torch_zip_version", &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]), ("format_version", &["1"]), ("archive_version", &["0"])];
/// More than any of the small members ever has.
const FACT_BYTES: u64 = 256;

/// An archive of torch's.
pub(super) struct Archive {
    pub members: Vec<Member>,
    /// The folder that all members are in, with its slash; empty where there is none.
    pub folder: String,
    pub facts: Vec<(&'static str, String)>,
    pub findings: Vec<Finding>,
    big_endian: bool,
}

impl Archive {
    /// Reads the facts. `marker` is the member by which the kind of archive is known; its folder is that of all members.
    ///
    /// # Errors
    /// `zip-ambiguous` for members beside the folder, `zip-malformed` for facts that torch does not write.
    pub fn new(mut members: Vec<Member>, folder: String, options: &ReadOptions) -> Result<Archive> {
        if let Some(stray) = members.iter().find(|m| !m.name().starts_with(&folder)) {
            let (stray, folder) = (crate::text::quoted(&stray.name(), 200), crate::text::quoted(&folder, 200));
            return Err(error::zip_ambiguous(format!("member {stray} is outside the folder {folder} of the checkpoint")));
        }
        let mut findings = Vec::new();
        let mut facts = Vec::new();
        for (member, fact) in FACTS {
            if let Some(member) = members.iter_mut().find(|m| m.name().strip_prefix(&folder) == Some(member)) {
                member.structural = true;
                let text = member.read(FACT_BYTES, options, &mut findings)?;
                let value = String::from_utf8_lossy(&text).trim_end().to_owned();
                let versions = VERSIONS.iter().find(|(versioned, _)| versioned == fact);
                if versions.is_some_and(|(_, known)| !known.contains(&value.as_str())) {
                    let message = format!("{fact} is {}, which is not known here", crate::text::quoted(&value, 40));
                    findings.push(Finding::note("unknown-version", member.place(), message));
                }
                facts.push((*fact, value));
            }
        }
        let big_endian = match facts.iter().find(|(fact, _)| *fact == "byteorder").map(|(_, value)| value.as_str()) {
            None | Some("little") => false,
            Some("big") => {
                let message = "the checkpoint comes from a big-endian machine; its storages are read in that order";
                findings.push(Finding::note("byteorder", Place::start_of(&format!("{folder}byteorder")), message));
                true
            }
            Some(other) => {
                return Err(error::zip(format!("member byteorder says {}, expected little or big", crate::text::quoted(other, 40))));
            }
        };
        Ok(Archive { members, folder, facts, findings, big_endian })
    }

    /// The storages in folders of the archive: their keys are the names there, without `ending`.
    ///
    /// # Errors
    /// `zip-ambiguous` when a key is in two of the folders.
    pub fn storages(&self, folders: &[&str], ending: &str) -> Result<HashMap<String, Storage>> {
        let mut storages = HashMap::new();
        for (_, member, name, from) in self.in_folders(folders) {
            let Some(key) = name[from..].strip_suffix(ending).filter(|key| !key.is_empty()) else { continue };
            if storages.insert(key.to_owned(), member.storage(key, self.big_endian)).is_some() {
                return Err(in_two_folders(key));
            }
        }
        Ok(storages)
    }

    /// The same as a space that leaves them where they are; the members must become those of the document.
    ///
    /// # Errors
    /// `zip-ambiguous` when a key is in two of the folders.
    pub fn space(&self, folders: &[&str]) -> Result<Space> {
        let mut space = MemberSpace::new(self.big_endian);
        for (index, _, name, from) in self.in_folders(folders) {
            if !space.add(index, from, &self.members) {
                return Err(in_two_folders(&name[from..]));
            }
        }
        Ok(space.finish())
    }

    /// The members in some folders, their names, and where the names in the folder start.
    fn in_folders<'a>(&'a self, folders: &'a [&str]) -> impl Iterator<Item = (usize, &'a Member, Cow<'a, str>, usize)> {
        self.members.iter().enumerate().filter_map(|(index, member)| {
            let name = member.name();
            let below = name.strip_prefix(self.folder.as_str())?;
            let key = folders.iter().find_map(|folder| below.strip_prefix(folder)).filter(|key| !key.is_empty() && !key.contains('/'))?;
            let from = name.len() - key.len();
            Some((index, member, name, from))
        })
    }

    /// The name of a member below the top folder.
    pub fn below(&self, member: &Member) -> Option<String> {
        member.name().strip_prefix(&self.folder).map(str::to_owned)
    }

    /// Whether there is a member `name` below the top folder.
    pub fn has(&self, name: &str) -> bool {
        self.members.iter().any(|member| member.name().strip_prefix(&self.folder) == Some(name))
    }

    /// The member `name` below the top folder, which has a part in the format.
    ///
    /// # Errors
    /// `missing-entry`
    pub fn structural(&mut self, name: &str, wanted_by: &str) -> Result<&Member> {
        let full = format!("{}{name}", self.folder);
        let member = self.members.iter_mut().find(|member| member.name() == full);
        let member = member.ok_or_else(|| error::missing_entry(&full, wanted_by))?;
        member.structural = true;
        Ok(member)
    }

    /// Marks members whose names below the top folder are like that as part of the format.
    pub fn mark(&mut self, is_part: impl Fn(&str) -> bool) {
        let folder = &self.folder;
        for member in &mut self.members {
            member.structural |= member.name().strip_prefix(folder).is_some_and(&is_part);
        }
    }

    /// The pickle in the member `name`.
    ///
    /// # Errors
    /// `missing-entry`, and what is wrong with the pickle.
    pub fn pickle(&mut self, name: &str, wanted_by: &str, options: &ReadOptions) -> Result<(Graph, Region), Box<Broken>> {
        let member = self.structural(name, wanted_by)?.clone();
        member.pickle(options, &mut self.findings)
    }

    /// The pickles that have no part in the format.
    pub fn other_pickles(&mut self, options: &ReadOptions, breaks: &mut Breaks) -> Vec<Graph> {
        let others = self.members.iter().filter(|member| !member.structural && member.name().ends_with(".pkl"));
        others.filter_map(|member| breaks.take(member.pickle(options, &mut self.findings))).map(|(graph, _)| graph).collect()
    }
}

fn in_two_folders(key: &str) -> Error {
    error::zip_ambiguous(format!("storage {} is in two folders of the archive", crate::text::quoted(key, 80)))
}

/// The folder of the only member that is `name` in a folder at the top, with its slash.
///
/// # Errors
/// `missing-entry`; `zip-ambiguous` when there are two.
pub(super) fn folder_of(members: &[Member], name: &str) -> Result<String> {
    let mut found = members.iter().filter(|member| is_in_a_folder(&member.name(), name));
    let first = found.next().ok_or_else(|| error::missing_entry(name, "describes the checkpoint"))?;
    if let Some(second) = found.next() {
        let [first, second] = [first, second].map(|m| crate::text::quoted(&m.name(), 200));
        return Err(error::zip_ambiguous(format!("the archive has two checkpoints: {first} and {second}")));
    }
    Ok(first.name().split_inclusive('/').next().unwrap_or_default().to_owned())
}

/// Whether a file in a folder of storages is called as torch calls them: by a number.
pub(super) fn is_storage_key(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a member is `name` in a folder at the top.
pub(super) fn is_in_a_folder(member: &str, name: &str) -> bool {
    member.split_once('/').is_some_and(|(_, rest)| rest == name)
}
