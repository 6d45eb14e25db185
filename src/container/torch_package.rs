//! `torch.package`: a zip archive of Python packages, in which some resources are pickles. They share the storages in
//! `.data/N.storage` (torch 1.8: `data/KEY`); scripted modules are in `.data/ts_code/N/`.
//!
//! Defined by `torch/package/package_exporter.py` and `package_importer.py`. The checkpoint is a dict of the pickles by path.

use std::collections::HashMap;
use std::io::Read;

use crate::container::bundle::may_be_checkpoint;
use crate::container::torch_archive::{Archive, folder_of, is_in_a_folder, is_storage_key};
use crate::container::{Document, Inner, Kind, Member, Outcome, Space, bare_pickle};
use crate::error::{self, Code, Result};
use crate::finding::{Finding, Severity};
use crate::limits::ReadOptions;
use crate::names::{Identity, identity};
use crate::pickle::{Breaks, Broken, Graph, Node, NodeId};
use crate::place::Place;
use crate::source::Region;

/// The list of modules from outside, by which such an archive is known; torch 1.8 has it at the top.
const MARKERS: &[&str] = &[".data/extern_modules", "extern_modules"];
const SCRIPTS: &str = ".data/ts_code/";
/// Makes a scripted module of the archive's, by its number.
const UNPACKAGE_SCRIPT: &str = "torch.jit._script.unpackage_script_module";

/// Whether an archive has a checkpoint of this kind.
pub(super) fn is_torch_package(members: &[Member]) -> bool {
    MARKERS.iter().any(|marker| members.iter().any(|member| is_in_a_folder(&member.name(), marker)))
}

pub(super) fn open(members: Vec<Member>, start: &Place, options: &ReadOptions) -> Outcome {
    let is_new = members.iter().any(|member| is_in_a_folder(&member.name(), MARKERS[0]));
    let folder = folder_of(&members, MARKERS[usize::from(!is_new)])?;
    let mut archive = Archive::new(members, folder, options)?;
    archive.mark(|name| name.ends_with(".py") || (name.starts_with(".data/") && !name.ends_with(".storage")) || name == MARKERS[1]);
    // Resources have any name, also one of a source file; a pickle is known by its first bytes, or by the name that is usual.
    let is_resource = |name: &str| !name.starts_with(".data/") && (is_new || !is_old_storage(name));
    let mut pickles = Vec::new();
    let mut files = Vec::new();
    for member in &archive.members {
        let Some(name) = archive.below(member).filter(|name| is_resource(name)) else { continue };
        let mut head = Vec::new();
        let is_pickle = member.reader().take(2).read_to_end(&mut head).is_ok() && bare_pickle::has_magic(&head);
        if is_pickle || name.ends_with(".pkl") {
            pickles.push(name.to_owned());
        } else if may_be_checkpoint(member) {
            files.push(name.to_owned());
        }
    }
    let keys: Vec<String> = pickles.iter().chain(&files).cloned().collect();
    let mut storages = match is_new {
        true => archive.storages(&[".data/"], ".storage")?,
        false => archive.storages(&["data/"], "")?,
    };
    // Scripted modules call their storages by the names of the members.
    let with_ending: Vec<_> = storages.iter().map(|(key, storage)| (format!("{key}.storage"), storage.clone())).collect();
    storages.extend(with_ending);

    let (graph, values) = Graph::given(start, Some(&keys))?;
    let mut document = Document {
        spaces: vec![Space::listed(storages)],
        ..Document::of_pickle(Kind::TorchPackage, graph, Region::memory(Default::default()))
    };
    let mut breaks = Breaks::default();
    for (name, value) in pickles.iter().zip(&values) {
        if let Some((graph, stream)) = breaks.take(archive.pickle(name, "is a resource of the package", options)) {
            let root = document.adopt_pickle(graph, stream)?;
            document.graph.link(*value, root);
        }
    }
    // Other checkpoints that the package carries, each in a form of its own.
    for (name, value) in files.iter().zip(&values[pickles.len()..]) {
        let member = archive.structural(name, "is a resource of the package")?.clone();
        if let Some(Some(nested)) = breaks.take(open_nested(&member, options, &mut archive.findings)) {
            document.put(*value, nested)?;
        }
    }
    breaks.take(reduce_packaged(&mut document, &mut archive, options));
    let Archive { members, facts, mut findings, .. } = archive;
    findings.append(&mut document.findings);
    Document { facts, members: members.into(), findings, ..document }.unless(breaks)
}

/// Whether this is a storage as torch 1.8 names them; other files in that folder are resources of a package of its name.
fn is_old_storage(name: &str) -> bool {
    name.strip_prefix("data/").is_some_and(is_storage_key)
}

/// A checkpoint in a form of its own; `None` for a file that only starts or is named like one.
fn open_nested(member: &Member, options: &ReadOptions, findings: &mut Vec<Finding>) -> Result<Option<Document>, Box<Broken>> {
    let (_, region) = member.pickle_bytes(options, findings)?;
    match super::peek(&region, &member.place(), options, 1) {
        Ok(Inner::Document(open)) => open().map(|document| Some(document.without_members())),
        Ok(Inner::Bundle(_)) => Ok(None),
        Err(e) if matches!(e.code(), Code::UnknownFormat | Code::UnsupportedContainer) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A persistent id `('reduce_package', number, function, args)`, which stands for `function(importer, *args)`.
struct Reduction {
    id: NodeId,
    function: String,
    args: NodeId,
    /// The first argument as text, for a scripted module its number.
    script: Option<String>,
}

impl Reduction {
    fn is_script(&self) -> bool {
        self.function == UNPACKAGE_SCRIPT
    }
}

/// Those of all pickles.
///
/// # Errors
/// `opaque-result` when two of one pickle have one number and different things beside it: torch makes the object of a number once,
/// whatever stands beside it later.
fn reductions(graph: &Graph) -> Result<Vec<Reduction>> {
    let mut reductions: Vec<Reduction> = Vec::new();
    let mut by_number: HashMap<(usize, Identity<'_>), usize> = HashMap::new();
    for id in graph.ids() {
        let Node::Persistent(pid) = graph.node(id) else { continue };
        let Some(&[tag, number, function, args]) = graph.tuple(pid) else { continue };
        if !graph.is_word_or_bytes(tag, "reduce_package") {
            continue;
        }
        let function = graph.global(function).map(|global| global.path()).unwrap_or_default();
        let script = graph.tuple(args).and_then(|args| graph.str_or_ascii(*args.first()?)).map(str::to_owned);
        let this = Reduction { id, function, args, script };
        let first = *by_number.entry((graph.stream_of(id), identity(graph, number))).or_insert(reductions.len());
        if let Some(first) = reductions.get(first) {
            let same_args = if this.is_script() { first.script == this.script } else { first.args == this.args };
            if first.function != this.function || !same_args {
                let message = "two objects of a package have one id and are made of different things";
                return Err(error::opaque(&graph.place(id), message));
            }
        }
        reductions.push(this);
    }
    Ok(reductions)
}

/// Puts in the place of each such id the scripted module, or what the code of the package makes something of: its arguments,
/// which stay in sight.
fn reduce_packaged(document: &mut Document, archive: &mut Archive, options: &ReadOptions) -> Result<(), Box<Broken>> {
    let mut scripts: HashMap<String, NodeId> = HashMap::new();
    for reduction in reductions(&document.graph)? {
        let place = document.graph.place(reduction.id);
        if !reduction.is_script() {
            let path = reduction.function;
            let message = crate::text::printable(&format!("loading would call {path}, which is not known here")).into_owned();
            let finding = Finding::note("callable", place, message);
            document.findings.push(Finding { severity: Severity::Unrecognized, global: Some(path), ..finding });
            document.graph.link(reduction.id, reduction.args);
            continue;
        }
        let script = reduction.script.ok_or_else(|| error::tensor_invalid(&place, "a scripted module has no number"))?;
        let root = match scripts.get(&script) {
            Some(&known) => known,
            None => {
                let root = add_script(document, archive, &script, options)?;
                scripts.insert(script, root);
                root
            }
        };
        document.graph.link(reduction.id, root);
    }
    Ok(())
}

/// Adds a scripted module with the constants of its code; all storages are those of the package.
fn add_script(document: &mut Document, archive: &mut Archive, script: &str, options: &ReadOptions) -> Result<NodeId, Box<Broken>> {
    let (graph, stream) = archive.pickle(&format!("{SCRIPTS}{script}/data.pkl"), "is a scripted module", options)?;
    let root = document.adopt_pickle(graph, stream)?;
    let constants = format!("{SCRIPTS}{script}/constants.pkl");
    if archive.has(&constants) {
        let (graph, stream) = archive.pickle(&constants, "holds constants of the code", options)?;
        let value = document.adopt_pickle(graph, stream)?;
        document.graph.attach(root, "constants", value);
    }
    Ok(root)
}
