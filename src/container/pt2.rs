//! `.pt2`: what `torch.export.save` writes. Weights and constants are, since 2.9, members of raw bytes with their descriptions as
//! JSON; in 2.8 torch files in `data/`; before, torch files at the top.
//!
//! Defined by `torch/export/pt2_archive/_package.py` and `torch/_export/serde/schema.py`. Weights have their own names, constants
//! stand under `constants`. Example inputs are no part of the model.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::container::torch_archive::{Archive, folder_of, is_in_a_folder};
use crate::container::{Document, Given, GivenTensor, Kind, Member, Outcome, Space, StorageClass, check_crc};
use crate::error::{self, Error, Result};
use crate::limits::ReadOptions;
use crate::pickle::{Breaks, Broken, Graph, NodeId};
use crate::place::Place;
use crate::source::Region;
use crate::tensor::Dtype;

const FORMAT: &str = "archive_format";
/// By which archives before 2.8 are known; they have no top folder.
const OLD_PROGRAM: &str = "serialized_exported_program.json";

/// Folders of values, the prefix that their names get, and the torch file of each before 2.8.
const GROUPS: &[(&str, &str, &str)] =
    &[("data/weights/", "", "serialized_state_dict.pt"), ("data/constants/", "constants.", "serialized_constants.pt")];
const CONFIG: &str = "_config.json";

/// How files of constants are named that are no tensors.
const OBJECTS: &[&str] = &["custom_obj_", "opaque_obj_"];

/// `ScalarType` of the schema, which is not that of C++.
const DTYPES: &[(i64, Dtype)] = &[
    (1, Dtype::U8),
    (2, Dtype::I8),
    (3, Dtype::I16),
    (4, Dtype::I32),
    (5, Dtype::I64),
    (6, Dtype::F16),
    (7, Dtype::F32),
    (8, Dtype::F64),
    (9, Dtype::C32),
    (10, Dtype::C64),
    (11, Dtype::C128),
    (12, Dtype::BOOL),
    (13, Dtype::BF16),
    (28, Dtype::U16),
    (29, Dtype::F8_E4M3FN),
    (30, Dtype::F8_E5M2),
    (31, Dtype::F8_E4M3FNUZ),
    (32, Dtype::F8_E5M2FNUZ),
    (33, Dtype::F8_E8M0FNU),
    (34, Dtype::U32),
    (35, Dtype::U64),
];
/// `Layout.Strided` of the schema.
const STRIDED: i64 = 7;

/// Whether an archive has a checkpoint of this kind.
pub(super) fn is_pt2(members: &[Member]) -> bool {
    members.iter().any(|member| member.name() == OLD_PROGRAM || is_in_a_folder(&member.name(), FORMAT))
}

/// A value: its name, and where it is.
struct Entry {
    name: String,
    value: Value,
}

enum Value {
    Tensor(GivenTensor),
    /// A torch file.
    File(String),
}

pub(super) fn open(members: Vec<Member>, start: &Place, options: &ReadOptions) -> Outcome {
    let is_old = members.iter().any(|member| member.name() == OLD_PROGRAM);
    let folder = if is_old { String::new() } else { folder_of(&members, FORMAT)? };
    let mut archive = Archive::new(members, folder, options)?;
    archive.mark(|name| !name.starts_with("data/weights/") && !name.starts_with("data/constants/"));
    let mut storages = std::collections::HashMap::new();
    let mut entries = Vec::new();
    // Torch files that are a dict of the values of their group.
    let mut dicts: Vec<(&str, String)> = Vec::new();
    for (folder, prefix, old) in GROUPS {
        let inside = archive.storages(&[folder], "")?;
        if archive.has(old) {
            dicts.push((prefix, (*old).to_owned()));
        }
        let mut names: Vec<&String> = inside.keys().collect();
        names.sort();
        let configs = names.iter().filter(|name| name.ends_with(CONFIG)).count();
        for name in names {
            if name.ends_with(CONFIG) {
                read_config(&mut archive, &format!("{folder}{name}"), (folder, prefix), configs > 1, options, &mut entries)?;
            } else if name.ends_with(".pt") {
                dicts.push((prefix, format!("{folder}{name}")));
            }
        }
        storages.extend(inside.into_iter().map(|(key, storage)| (format!("{folder}{key}"), storage)));
    }
    let several = GROUPS.iter().any(|(_, prefix, _)| dicts.iter().filter(|(group, _)| group == prefix).count() > 1);
    let keys: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    let (graph, values) = Graph::given(start, Some(&keys))?;
    let mut document =
        Document { spaces: vec![Space::listed(storages)], ..Document::of_pickle(Kind::Pt2, graph, Region::memory(Default::default())) };
    let mut files = Vec::new();
    for (entry, value) in entries.into_iter().zip(values) {
        match entry.value {
            Value::Tensor(tensor) => {
                document.given.insert(value, Given::Tensor(tensor));
            }
            Value::File(name) => files.push((value, name)),
        }
    }
    let mut breaks = Breaks::default();
    for (value, name) in &files {
        if let Some(root) = breaks.take(add_file(&mut document, &mut archive, name, options)) {
            document.graph.link(*value, root);
        }
    }
    for (prefix, name) in &dicts {
        let Some(value) = breaks.take(add_file(&mut document, &mut archive, name, options)) else { continue };
        let root = document.graph.root();
        // Archives of several models have files for each.
        let model = name.rsplit('/').next().and_then(|file| file.strip_suffix(".pt")).filter(|_| several);
        match (model, prefix.strip_suffix('.')) {
            (Some(model), Some(group)) => document.graph.attach(root, &format!("{model}.{group}"), value),
            (Some(model), None) => document.graph.attach(root, model, value),
            (None, Some(group)) => document.graph.attach(document.graph.linked(root).unwrap_or(root), group, value),
            // The names of the weights are those of the checkpoint.
            (None, None) => document.graph.link(root, value),
        }
    }
    // They are loaded with the model, and their tensors are none of its.
    let inputs: Vec<String> = archive.members.iter().filter_map(|member| archive.below(member)).filter(|name| is_example(name)).collect();
    for name in inputs {
        if let Some(mut inputs) = breaks.take(open_file(&mut archive, &name, options)) {
            document.findings.append(&mut inputs.findings);
            document.side_pickles.extend(inputs.into_graphs());
        }
    }
    let Archive { members, facts, mut findings, .. } = archive;
    findings.append(&mut document.findings);
    Arc::make_mut(&mut document.members).extend(members);
    Document { facts, findings, ..document }.unless(breaks)
}

fn is_example(name: &str) -> bool {
    name == "serialized_example_inputs.pt" || (name.starts_with("data/sample_inputs/") && name.ends_with(".pt"))
}

/// A torch file in the archive, as part of the document.
fn add_file(document: &mut Document, archive: &mut Archive, name: &str, options: &ReadOptions) -> Result<NodeId, Box<Broken>> {
    let file = open_file(archive, name, options)?;
    Ok(document.adopt(file)?)
}

fn open_file(archive: &mut Archive, name: &str, options: &ReadOptions) -> Outcome {
    let full = format!("{}{name}", archive.folder);
    let member =
        archive.members.iter_mut().find(|member| member.name() == full).ok_or_else(|| error::missing_entry(&full, "holds weights"))?;
    member.structural = true;
    let region = match member.deflated {
        // Its own members are checked when the source is read, but not what is between them.
        false => {
            member.is_archive = true;
            check_crc(&member.place().member, member.crc, member.decode(&mut |_| Ok(()))?, options)?;
            member.stored()
        }
        true => Region::memory(member.read(options.limits.pickle_bytes, options, &mut archive.findings)?),
    };
    super::open(&region, &member.place(), options)
}

/// The descriptions of values: `{config: {name: {path_name, use_pickle, tensor_meta}}}`.
fn read_config(
    archive: &mut Archive,
    name: &str,
    (folder, prefix): (&str, &str),
    several: bool,
    options: &ReadOptions,
    entries: &mut Vec<Entry>,
) -> Result<()> {
    let member = archive.structural(name, "describes weights")?.clone();
    let text = member.read(options.limits.pickle_bytes, options, &mut archive.findings)?;
    let bad = |what: &str| -> Error { error::zip(format!("{} {what}", crate::text::quoted(&member.name(), 200))).at(&member.place()) };
    let json: Json = serde_json::from_slice(&text).map_err(|e| bad(&format!("is no JSON: {e}")))?;
    let config = json["config"].as_object().ok_or_else(|| bad("has no config"))?;
    // Archives of several models have a description for each.
    let model =
        name.strip_prefix(folder).and_then(|file| file.split_once("_weights_config").or_else(|| file.split_once("_constants_config")));
    let model = model.filter(|_| several).map(|(model, _)| format!("{model}.")).unwrap_or_default();
    for (value_name, value) in config {
        let path = value["path_name"].as_str().ok_or_else(|| bad("has a value without a path"))?;
        let file = format!("{folder}{path}");
        let is_pickle = value["use_pickle"].as_bool() == Some(true);
        // Objects of C++ classes have a form of their own; their files stay, as members that nothing refers to.
        if OBJECTS.iter().any(|object| path.starts_with(object)) {
            continue;
        }
        let value = match is_pickle {
            true => Value::File(file),
            false => Value::Tensor(tensor_of(&value["tensor_meta"], file).ok_or_else(|| bad("has a tensor of another form"))?),
        };
        entries.push(Entry { name: format!("{model}{prefix}{value_name}"), value });
    }
    Ok(())
}

fn tensor_of(meta: &Json, storage: String) -> Option<GivenTensor> {
    let int = |json: &Json| json["as_int"].as_i64();
    let ints = |json: &Json| json.as_array()?.iter().map(int).collect::<Option<Vec<i64>>>();
    let number = meta["dtype"].as_i64()?;
    let (_, dtype) = DTYPES.iter().find(|(known, _)| *known == number)?;
    if meta["layout"].as_i64()? != STRIDED {
        return None;
    }
    Some(GivenTensor {
        storage,
        class: StorageClass::Plain(Dtype::U8),
        dtype: Some(*dtype),
        shape: ints(&meta["sizes"])?,
        strides: ints(&meta["strides"])?,
        offset: int(&meta["storage_offset"])?,
    })
}
