//! TorchScript: what `torch.jit.save` writes since 1.2. Like `torch.save`, with the code beside the object: `data.pkl` with
//! `data/KEY`, and the constants of the code in `constants.pkl` with `constants/KEY`; mobile files (`.ptl`) have a `bytecode.pkl`.
//!
//! Defined by `torch/csrc/jit/serialization/` (`export_module.cpp`, `pickler.cpp`). The objects are read by C++; their attributes
//! are parameters, buffers and plain values alike. That there is a `constants.pkl` is how torch knows such an archive.

use std::collections::{HashMap, HashSet};

use crate::container::bare_pickle::protocol;
use crate::container::torch_archive::{Archive, folder_of, is_in_a_folder};
use crate::container::{Document, Kind, Member, Outcome, Space};
use crate::limits::ReadOptions;
use crate::pickle::{Breaks, Broken};
use crate::place::Place;

/// Whether an archive has a checkpoint of this kind.
pub(super) fn is_torchscript(members: &[Member]) -> bool {
    members.iter().any(|member| is_in_a_folder(&member.name(), "constants.pkl"))
}

pub(super) fn open(members: Vec<Member>, _start: &Place, options: &ReadOptions) -> Outcome {
    let folder = folder_of(&members, "constants.pkl")?;
    let mut archive = Archive::new(members, folder, options)?;
    archive.mark(|name| name.starts_with("code/") || name.starts_with("extra/"));
    let storages = archive.storages(&["data/"], "")?;
    let (graph, stream) = match archive.pickle("data.pkl", "describes the checkpoint", options) {
        Ok(pickle) => pickle,
        Err(broken) => return Err(broken.after(archive.other_pickles(options, &mut Breaks::default()))),
    };
    let mut breaks = Breaks::default();
    let protocol = protocol(&stream.bytes()?).to_string();
    let mut document = Document { spaces: vec![Space::listed(storages)], ..Document::of_pickle(Kind::TorchScript, graph, stream) };
    // The bytecode repeats constants of the code, for programs without a compiler; before 1.9 with storages of its own.
    for (name, folders) in [("constants", &["constants/"][..]), ("bytecode", &["constants/", "bytecode/"])] {
        breaks.take(add(&mut document, &mut archive, name, folders, options));
    }
    // Example inputs and the like are no part of the model; what they would run is judged.
    document.side_pickles = archive.other_pickles(options, &mut breaks);
    document.remade = remade(&archive, options);
    let Archive { members, mut facts, findings, .. } = archive;
    facts.push(("pickle_protocol", protocol));
    Document { facts, members: members.into(), findings, ..document }.unless(breaks)
}

/// More of one member of code is not looked at.
const MAX_SOURCE_BYTES: u64 = 16 << 20;

/// The classes whose code has a `__setstate__`: `code/__torch__/a/b.py` has those of `__torch__.a.b`.
fn remade(archive: &Archive, options: &ReadOptions) -> HashSet<String> {
    let mut found = HashSet::new();
    for member in &archive.members {
        let name = archive.below(member);
        let path = name.as_deref().and_then(|name| name.strip_prefix("code/")?.strip_suffix(".py"));
        let Some((path, source)) = path.and_then(|path| Some((path, member.text(MAX_SOURCE_BYTES, options)?))) else { continue };
        let mut class = "";
        for line in source.lines() {
            if let Some(rest) = line.strip_prefix("class ") {
                class = rest.split(['(', ':']).next().unwrap_or_default().trim();
            } else if line.trim_start().starts_with("def __setstate__") {
                found.insert(format!("{}.{class}", path.replace('/', ".")));
            }
        }
    }
    found
}

/// Adds the pickle called `name`, whose storages are in `folders`, under its name to the object.
fn add(document: &mut Document, archive: &mut Archive, name: &str, folders: &[&str], options: &ReadOptions) -> Result<(), Box<Broken>> {
    let file = format!("{name}.pkl");
    if !archive.has(&file) {
        return Ok(());
    }
    // A later folder stands over an earlier one.
    let mut storages = HashMap::new();
    for folder in folders {
        storages.extend(archive.storages(&[folder], "")?);
    }
    let (graph, stream) = archive.pickle(&file, "holds constants of the code", options)?;
    let added = Document { spaces: vec![Space::listed(storages)], ..Document::of_pickle(Kind::TorchScript, graph, stream) };
    let value = document.adopt(added)?;
    let root = document.graph.root();
    document.graph.attach(root, name, value);
    Ok(())
}
