//! Which tensors of a checkpoint are written, and under which names. What is not chosen is listed with the reason.

mod lowered;
mod root;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use crate::checkpoint::{Checkpoint, Content, Leaf};
use crate::error::{self, Code, Error, Result};
use crate::globals::{Lowering, TensorId};
use crate::limits::Limits;
use crate::names::{PathId, TensorName};

/// What to take from a checkpoint.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Selection {
    /// Where the tensors are.
    pub root: Root,
    /// What happens to tensors that are one and the same under several names.
    pub shared: Shared,
    /// Globs of names; when there are any, only names that match one are taken.
    pub include: Vec<String>,
    /// Globs of names that are left out.
    pub exclude: Vec<String>,
    /// What happens to tensors that safetensors cannot hold as they are.
    pub lower: Lower,
    /// `(OLD, NEW)` names; OLD may also be a path as messages show it.
    pub rename: Vec<(String, String)>,
}

/// Where in the checkpoint the tensors are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Root {
    /// The whole checkpoint if it is a state dict; else the state dict under a well-known key.
    #[default]
    Auto,
    /// Everything.
    Whole,
    /// The part with this dotted name.
    Path(String),
}

/// What happens to tensors that are one and the same under several names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Shared {
    /// One name is kept, the alphabetically first; the others are recorded.
    #[default]
    Drop,
    /// Every name gets a copy.
    Copy,
}

/// What happens to tensors that safetensors cannot hold as they are: quantized, sparse, nested, structured ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lower {
    /// They are written as the plain tensors that they are made of, and recorded.
    #[default]
    Plain,
    /// One that is not left out is an error.
    Refuse,
}

/// What a selection is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To write: there must be tensors, and each of them must be one that can be written.
    Convert,
    /// To show: what cannot be written is listed.
    Inspect,
}

/// The result of a selection.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The dotted name of the root; `.` for the whole checkpoint.
    pub root_name: String,
    /// What is written, sorted by name.
    pub tensors: Vec<Named>,
    /// Names that are the same tensor as another one: dropped name to kept name.
    pub aliases: BTreeMap<TensorName, TensorName>,
    /// What is not written as it was.
    pub lowered: Vec<Lowered>,
    /// What is left out of the root, in the order of the file.
    pub left_out: Vec<LeftOut>,
    /// What is outside the root, by its first step.
    pub outside: Vec<Outside>,
}

/// A tensor under its name in the output.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub name: TensorName,
    pub tensor: TensorId,
    pub path: PathId,
}

/// A tensor that is written as others.
#[derive(Debug, Clone)]
pub(crate) struct Lowered {
    /// The name that it would have.
    pub name: String,
    pub lowering: Arc<Lowering>,
    /// What is written of it.
    pub parts: Vec<TensorName>,
}

/// A tensor that is not written, and why.
#[derive(Debug, Clone)]
pub(crate) struct LeftOut {
    pub name: String,
    pub path: PathId,
    pub dtype: Option<String>,
    pub shape: Option<Vec<i64>>,
    pub reason: String,
    /// The tensor, when it has data and only stands aside from the model.
    aside: Option<TensorId>,
}

/// Tensors outside the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outside {
    /// The dotted name of their part of the checkpoint.
    pub name: String,
    pub tensors: u64,
    pub bytes: u64,
}

impl Selection {
    /// Applies the selection to a checkpoint.
    ///
    /// # Errors
    /// `no-tensors` when nothing is left to write; `name-collision` and `name-invalid`; the error of an unsupported
    /// tensor that was not left out; `usage` when the root or a renamed name does not exist.
    pub(crate) fn apply(&self, checkpoint: &Checkpoint, limits: &Limits, purpose: Purpose) -> Result<Selected> {
        let root = root::find(&self.root, checkpoint)?;
        let mut name_bytes = 0;
        let paths = &checkpoint.paths;
        let globs = Globs { include: matchers(&self.include)?, exclude: matchers(&self.exclude)? };
        let mut chosen = Chosen { renames: &self.rename, used: vec![false; self.rename.len()], names: HashMap::new(), tensors: Vec::new() };
        let mut lowered = lowered::Collector::default();
        let mut aside_lowered = HashSet::new();
        // Paths of tensors in several parts that are left out whole.
        let mut excluded: HashSet<PathId> = HashSet::new();
        let mut left_out = Vec::new();
        let mut outside = OutsideParts::default();
        let depth = paths.ids(root).len();
        for leaf in &checkpoint.leaves {
            let ids = paths.ids(leaf.path);
            if depth > 0 && ids.get(depth - 1) != Some(&root) {
                outside.count(checkpoint, leaf, &ids, root);
                continue;
            }
            let name = match (paths.name_below(root, leaf.path, limits), &leaf.content, leaf.aside) {
                (Ok(name), ..) => name,
                // Without data or aside from the model, a name is only for the list.
                (Err(_), Content::Absent(_), _) | (Err(_), _, Some(_)) => paths.show(leaf.path),
                (Err(error), ..) => return Err(error),
            };
            let bare = leaf.path == root && leaf.lowering.as_ref().is_some_and(|lowering| lowering.is_like_a_dict());
            // The name of the whole of which this is a part.
            let whole = leaf.lowering.is_some().then(|| if bare { "tensor".to_owned() } else { name.clone() });
            let name = if bare { leaf.part.strip_prefix('.').unwrap_or(&leaf.part).to_owned() } else { name + &leaf.part };
            // Names share storage in the file, not in the output; what no header could hold is not built up here.
            name_bytes += name.len() as u64;
            limits.header_bytes(name_bytes)?;
            let whole = whole.as_deref().unwrap_or(&name);
            let mut leave = |reason: &str| left_out.push(left(checkpoint, leaf, name.clone(), reason));
            match (&leaf.content, leaf.aside) {
                (Content::Absent(absence), _) => leave(&absence.reason),
                // Of a lowered tensor that stands aside its name is listed, once.
                (_, Some(reason)) if leaf.lowering.is_some() => {
                    if aside_lowered.insert(leaf.path) {
                        left_out.push(left(checkpoint, leaf, whole.to_owned(), reason));
                    }
                }
                (_, Some(reason)) => leave(reason),
                // A tensor in several parts may be left out by its own name, too.
                (Content::Wrapper, None) if !globs.forbids(&name) => lowered.open(leaf, &name),
                (Content::Wrapper, None) => {
                    excluded.insert(leaf.path);
                    leave(EXCLUDED);
                }
                _ if is_part_of(&excluded, &ids) => {}
                _ if leaf.lowering.is_some() && globs.forbids(whole) => {
                    if excluded.insert(leaf.path) {
                        left_out.push(left(checkpoint, leaf, whole.to_owned(), EXCLUDED));
                    }
                }
                _ if globs.excludes(&name) => leave(EXCLUDED),
                (Content::Unsupported(error), None) if purpose == Purpose::Inspect => leave(error.message()),
                (Content::Unsupported(error), None) => {
                    return Err(error
                        .clone()
                        .help(format!("leave it out with --exclude {} to convert the rest", crate::text::quoted(&name, 200))));
                }
                (Content::Tensor(id), None) => {
                    if self.lower == Lower::Refuse && purpose == Purpose::Convert {
                        lowered.refuse(checkpoint, leaf, *id, &ids, whole)?;
                    }
                    let written = chosen.add(checkpoint, name.clone(), leaf, *id, limits)?;
                    lowered.add(checkpoint, leaf, *id, &ids, whole, &written);
                }
            }
        }
        if let Some(i) = chosen.used.iter().position(|used| !used) {
            return Err(Error::usage(format!("--rename finds no tensor called {}", crate::text::quoted(&self.rename[i].0, 200))));
        }
        let mut tensors = chosen.tensors;
        // What is written under a name of the model is not lost by being an attribute elsewhere too.
        let written: HashSet<TensorId> = tensors.iter().map(|named| named.tensor).collect();
        left_out.retain(|left: &LeftOut| left.aside.is_none_or(|id| !written.contains(&id)));
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let root_name = if root == PathId::ROOT { ".".to_owned() } else { paths.name_below(PathId::ROOT, root, limits)? };
        if tensors.is_empty() && purpose == Purpose::Convert {
            return Err(no_tensors(checkpoint, &left_out, &outside.parts, &root_name));
        }
        let aliases = match self.shared {
            Shared::Copy => BTreeMap::new(),
            Shared::Drop => drop_shared(checkpoint, &mut tensors),
        };
        Ok(Selected { root_name, tensors, aliases, lowered: lowered.finish(), left_out, outside: outside.parts })
    }
}

struct Globs {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

/// A pattern, which also matches the name that is spelled like it: names may have brackets.
struct Glob {
    spelled: String,
    matcher: GlobMatcher,
}

impl Glob {
    fn matches(&self, name: &str) -> bool {
        self.spelled == name || self.matcher.is_match(name)
    }
}

const EXCLUDED: &str = "it was excluded on request";

/// Whether a path is at or below one of these.
fn is_part_of(excluded: &HashSet<PathId>, ids: &[PathId]) -> bool {
    !excluded.is_empty() && std::iter::once(&PathId::ROOT).chain(ids).any(|id| excluded.contains(id))
}

impl Globs {
    /// Whether a name is asked to be left out; not being asked for is another matter.
    fn forbids(&self, name: &str) -> bool {
        self.exclude.iter().any(|glob| glob.matches(name))
    }

    fn excludes(&self, name: &str) -> bool {
        (!self.include.is_empty() && !self.include.iter().any(|glob| glob.matches(name)))
            || self.exclude.iter().any(|glob| glob.matches(name))
    }
}

fn matchers(globs: &[String]) -> Result<Vec<Glob>> {
    // Names are not paths: `*` matches everything, dots and slashes included.
    let compile = |glob: &String| GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build();
    globs
        .iter()
        .map(|glob| {
            compile(glob)
                .map(|compiled| Glob { spelled: glob.clone(), matcher: compiled.compile_matcher() })
                .map_err(|e| Error::usage(format!("{} is no valid glob: {}", crate::text::quoted(glob, 100), e.kind())))
        })
        .collect()
}

/// The tensors chosen so far, each name once.
struct Chosen<'a> {
    renames: &'a [(String, String)],
    used: Vec<bool>,
    /// The leaf that each name came from, by its path and part, and its tensor.
    names: HashMap<TensorName, (PathId, Arc<str>, TensorId)>,
    tensors: Vec<Named>,
}

impl Chosen<'_> {
    fn add(&mut self, checkpoint: &Checkpoint, name: String, leaf: &Leaf, tensor: TensorId, limits: &Limits) -> Result<TensorName> {
        let shown = |path: PathId, part: &str| checkpoint.paths.show(path) + part;
        let show = || shown(leaf.path, &leaf.part);
        let renamed = self.renames.iter().position(|(old, _)| *old == name || *old == show());
        let name = match renamed {
            Some(i) => {
                self.used[i] = true;
                self.renames[i].1.clone()
            }
            None => name,
        };
        let name = TensorName::new(name, &show, limits)?;
        match self.names.entry(name.clone()) {
            Entry::Vacant(free) => free.insert((leaf.path, Arc::clone(&leaf.part), tensor)),
            // Objects that are dicts and have their items as attributes too hold one tensor in both places.
            Entry::Occupied(taken) if taken.get().2 == tensor => return Ok(name),
            Entry::Occupied(taken) => {
                let (path, part, _) = taken.get();
                return Err(error::collision(name.as_str(), &shown(*path, part), &show()));
            }
        };
        self.tensors.push(Named { name: name.clone(), tensor, path: leaf.path });
        Ok(name)
    }
}

/// Keeps, of names that are the same view of the same storage, the alphabetically first. `tensors` is sorted by name.
fn drop_shared(checkpoint: &Checkpoint, tensors: &mut Vec<Named>) -> BTreeMap<TensorName, TensorName> {
    let mut kept = HashMap::new();
    let mut aliases = BTreeMap::new();
    tensors.retain(|named| {
        let tensor = checkpoint.tensor(named.tensor);
        // As in the reference, tensors without elements share nothing.
        if tensor.view.n_elements() == 0 {
            return true;
        }
        match kept.entry(tensor.identity()) {
            Entry::Vacant(first) => {
                first.insert(named.name.clone());
                true
            }
            Entry::Occupied(first) => {
                aliases.insert(named.name.clone(), first.get().clone());
                false
            }
        }
    });
    aliases
}

fn left(checkpoint: &Checkpoint, leaf: &Leaf, name: String, reason: &str) -> LeftOut {
    let (dtype, shape) = match &leaf.content {
        Content::Absent(absence) => (absence.dtype.clone(), absence.shape.clone()),
        Content::Tensor(id) => {
            let tensor = checkpoint.tensor(*id);
            let shape = tensor.view.shape().iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX)).collect();
            (Some(tensor.dtype.name().to_owned()), Some(shape))
        }
        Content::Unsupported(_) | Content::Wrapper => (None, None),
    };
    let aside = match (&leaf.content, leaf.aside) {
        (Content::Tensor(id), Some(_)) => Some(*id),
        _ => None,
    };
    LeftOut { name, path: leaf.path, dtype, shape, reason: reason.to_owned(), aside }
}

/// The parts of the checkpoint outside the root, by the first step that leads away from it.
#[derive(Default)]
struct OutsideParts {
    parts: Vec<Outside>,
    positions: HashMap<PathId, usize>,
}

impl OutsideParts {
    fn count(&mut self, checkpoint: &Checkpoint, leaf: &Leaf, ids: &[PathId], root: PathId) {
        let common = ids.iter().zip(checkpoint.paths.ids(root)).take_while(|(a, b)| **a == *b).count();
        let part = ids.get(common).copied().unwrap_or(leaf.path);
        let position = *self.positions.entry(part).or_insert_with(|| {
            let steps: Vec<&str> = checkpoint.paths.steps(part).into_iter().map(|step| &*step.name).collect();
            self.parts.push(Outside { name: steps.join("."), tensors: 0, bytes: 0 });
            self.parts.len() - 1
        });
        self.parts[position].tensors += 1;
        if let Content::Tensor(id) = &leaf.content {
            self.parts[position].bytes += checkpoint.tensor(*id).output_bytes();
        }
    }
}

fn no_tensors(checkpoint: &Checkpoint, left_out: &[LeftOut], outside: &[Outside], root_name: &str) -> Error {
    let error = |message: String| Error::new(Code::NoTensors, message);
    if let Some(first) = left_out.first() {
        let n = crate::text::count(left_out.len() as u64, "value");
        return error(format!(
            "there are no tensors to write: {n} left out, the first, {}, because {}",
            crate::text::quoted(&first.name, 100),
            first.reason
        ));
    }
    if let Some(part) = outside.first() {
        return error(format!("there are no tensors under {}", crate::text::quoted(root_name, 100)))
            .help(format!("there are some under {}; --root . takes everything", crate::text::quoted(&part.name, 100)));
    }
    error(format!(
        "the file holds no tensors: it is {}",
        crate::describe::value(&checkpoint.document.graph, checkpoint.document.graph.root())
    ))
    .help("there is nothing to convert; --extras writes what it holds as JSON when there are tensors too")
}
