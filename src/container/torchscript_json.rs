//! TorchScript of torch 1.0 and 1.1: a zip archive whose `model.json` has the modules and a table of tensors, whose bytes are in
//! `tensors/N`. Since 1.1 `attributes.pkl` has the values of other attributes.
//!
//! The JSON is that of the protobuf messages in `caffe2/proto/torch.proto`: numbers of 64 bits are text, what is empty is absent.

use std::collections::HashSet;

use serde_json::Value as Json;

use crate::container::torch_archive::{Archive, folder_of, is_in_a_folder};
use crate::container::{Document, Given, GivenTensor, Kind, Member, Outcome, Space, StorageClass};
use crate::error::{self, Error, Result};
use crate::limits::ReadOptions;
use crate::pickle::{Broken, Graph, NodeId};
use crate::place::Place;
use crate::source::Region;
use crate::tensor::Dtype;

/// The words for dtypes, from `caffe2/proto/caffe2.proto`.
const DTYPES: &[(&str, Dtype)] = &[
    ("FLOAT", Dtype::F32),
    ("DOUBLE", Dtype::F64),
    ("FLOAT16", Dtype::F16),
    ("INT64", Dtype::I64),
    ("INT32", Dtype::I32),
    ("INT16", Dtype::I16),
    ("INT8", Dtype::I8),
    ("UINT8", Dtype::U8),
    ("BYTE", Dtype::U8),
    ("UINT16", Dtype::U16),
    ("BOOL", Dtype::BOOL),
];

/// Makes a tensor of the table's, in `attributes.pkl`.
const FROM_TABLE: &str = "torch.jit._pickle.build_tensor_from_id";

/// Whether an archive has a checkpoint of this kind.
pub(super) fn is_torchscript_json(members: &[Member]) -> bool {
    members.iter().any(|member| is_in_a_folder(&member.name(), "model.json"))
}

pub(super) fn open(members: Vec<Member>, start: &Place, options: &ReadOptions) -> Outcome {
    let folder = folder_of(&members, "model.json")?;
    let mut archive = Archive::new(members, folder, options)?;
    archive.mark(|name| name.starts_with("code/") || name.starts_with("extra/"));
    // Persistent ids are not used; the table names the members.
    let storages = archive.storages(&["tensors/"], "")?;
    let storages = storages.into_iter().map(|(key, storage)| (format!("tensors/{key}"), storage));
    let storages = Space::listed(storages.collect());
    let model = archive.structural("model.json", "describes the modules")?.clone();
    let text = model.read(options.limits.pickle_bytes, options, &mut archive.findings)?;
    let place = model.place();
    let bad = |what: &str| error::zip(format!("model.json {what}")).at(&place);
    let json: Json = serde_json::from_slice(&text).map_err(|e| bad(&format!("is no JSON: {e}")))?;
    let table = json["tensors"].as_array().map_or(&[][..], Vec::as_slice);
    let table: Vec<GivenTensor> =
        table.iter().map(|tensor| tensor_of(tensor).ok_or_else(|| bad("has a tensor of another form"))).collect::<Result<_>>()?;

    let mut names = Names { bad: &bad, tensors: Vec::new(), attributes: Vec::new() };
    names.module(&json["mainModule"], "")?;
    let Names { tensors: mut named, attributes, .. } = names;
    let attribute_values = match archive.has("attributes.pkl") {
        true => Some(archive.pickle("attributes.pkl", "holds the attributes of the modules", options)?),
        false => None,
    };
    let mut used: HashSet<usize> = named.iter().map(|(_, index)| *index).collect();
    if let Some((graph, _)) = &attribute_values {
        used.extend(from_table(graph).map(|(_, index)| index));
    }
    // What no module has, the code has as a constant.
    named.extend((0..table.len()).filter(|index| !used.contains(index)).map(|index| (format!("constants.{index}"), index)));

    let keys: Vec<String> = named.iter().map(|(name, _)| name).chain(attributes.iter().map(|(name, _)| name)).cloned().collect();
    let (graph, values) = Graph::given(start, Some(&keys))?;
    let mut document =
        Document { spaces: vec![storages], ..Document::of_pickle(Kind::TorchScript, graph, Region::memory(Default::default())) };
    let in_table =
        |index: usize| table.get(index).cloned().map(Given::Tensor).ok_or_else(|| bad("refers to a tensor that is not in its table"));
    for ((_, index), value) in named.iter().zip(&values) {
        document.given.insert(*value, in_table(*index)?);
    }
    if let Some((graph, stream)) = attribute_values {
        let root = document.adopt_pickle(graph, stream)?;
        let mut link = || -> Result<()> {
            let items = document.graph.sequence(root).map(<[NodeId]>::to_vec);
            let items = items.ok_or_else(|| bad("has attributes, and attributes.pkl is no list"))?;
            for ((_, index), value) in attributes.iter().zip(&values[named.len()..]) {
                let item = items.get(*index).ok_or_else(|| bad("refers to an attribute that is not in attributes.pkl"))?;
                document.graph.link(*value, *item);
            }
            let made: Vec<(NodeId, usize)> = from_table(&document.graph).collect();
            for (id, index) in made {
                document.given.insert(id, in_table(index)?);
            }
            Ok(())
        };
        if let Err(error) = link() {
            return Err(Box::<Broken>::from(error).after(vec![document.graph]));
        }
    }
    let Archive { members, facts, findings, .. } = archive;
    Ok(Document { facts, members: members.into(), findings, ..document })
}

/// The calls that make a tensor of the table's, and its index.
fn from_table(graph: &Graph) -> impl Iterator<Item = (NodeId, usize)> + '_ {
    graph.ids().filter_map(|id| {
        let object = graph.object(id)?;
        let is_one = graph.global(object.callable).is_some_and(|global| global.path() == FROM_TABLE);
        let index = graph.tuple(object.args).filter(|_| is_one).and_then(|args| graph.int(*args.first()?))?;
        Some((id, usize::try_from(index).ok()?))
    })
}

/// `{dims, strides, offset, dataType, data: {key}}`
fn tensor_of(json: &Json) -> Option<GivenTensor> {
    let numbers = |json: &Json| json.as_array().map_or(Some(Vec::new()), |numbers| numbers.iter().map(number).collect());
    let dtype = json["dataType"].as_str()?;
    let (_, dtype) = DTYPES.iter().find(|(name, _)| *name == dtype)?;
    let offset = if json["offset"].is_null() { 0 } else { number(&json["offset"])? };
    Some(GivenTensor {
        storage: json["data"]["key"].as_str()?.to_owned(),
        class: StorageClass::Plain(*dtype),
        dtype: None,
        shape: numbers(&json["dims"])?,
        strides: numbers(&json["strides"])?,
        offset,
    })
}

/// An integer, as a number or as text.
fn number(json: &Json) -> Option<i64> {
    json.as_i64().or_else(|| json.as_str()?.parse().ok())
}

/// The names of tensors and attributes, with their indices.
struct Names<'a> {
    bad: &'a dyn Fn(&str) -> Error,
    tensors: Vec<(String, usize)>,
    attributes: Vec<(String, usize)>,
}

impl Names<'_> {
    /// The depth is that of the JSON, which its parser bounds.
    fn module(&mut self, module: &Json, prefix: &str) -> Result<()> {
        let list = |field: &str| module[field].as_array().map_or(&[][..], Vec::as_slice);
        let entry = |entry: &Json, field: &str| {
            let index = number(&entry[field]).and_then(|index| usize::try_from(index).ok());
            let named = entry["name"].as_str().zip(index);
            named
                .map(|(name, index)| (format!("{prefix}{name}"), index))
                .ok_or_else(|| (self.bad)("has an entry without a name or an index"))
        };
        let tensors = list("parameters").iter().map(|parameter| entry(parameter, "tensorId")).collect::<Result<Vec<_>>>()?;
        let attributes = list("attributes").iter().map(|attribute| entry(attribute, "id")).collect::<Result<Vec<_>>>()?;
        self.tensors.extend(tensors);
        self.attributes.extend(attributes);
        for submodule in list("submodules") {
            let name = submodule["name"].as_str().ok_or_else(|| (self.bad)("has a module without a name"))?;
            self.module(submodule, &format!("{prefix}{name}."))?;
        }
        Ok(())
    }
}
