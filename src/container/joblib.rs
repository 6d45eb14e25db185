//! joblib: a pickle with the bytes of its arrays between the opcodes (since 0.10), or in files beside it (before).
//!
//! Defined by `joblib/numpy_pickle.py` and `numpy_pickle_compat.py`. Behind the `BUILD` of a `NumpyArrayWrapper` stand a byte
//! with the number of bytes of padding and those (since 1.2), and then the data; for arrays of Python objects another
//! pickle, without padding.

use std::collections::HashMap;
use std::path::Path;

use ::bytes::Bytes;

use crate::container::{Document, Given, compressed};
use crate::error::{self, Code, Error, Result};
use crate::limits::ReadOptions;
use crate::numpy::{NpyHeader, NumpyDtype, RawArray, is_fortran};
use crate::pickle::{self, Between, Broken, GlobalUse, Graph, Node, NodeId, Skip};
use crate::place::Place;
use crate::source::{Region, Source};
use crate::storage::Content;

/// The classes that stand for arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrapper {
    /// The data follows.
    Inline,
    /// The data is in a `.npy` file.
    Companion,
    /// The data is in a compressed file.
    CompressedCompanion,
}

const WRAPPERS: &[(&str, Wrapper)] =
    &[("NumpyArrayWrapper", Wrapper::Inline), ("NDArrayWrapper", Wrapper::Companion), ("ZNDArrayWrapper", Wrapper::CompressedCompanion)];
/// Where joblib lives; scikit-learn had a copy of its own.
const PACKAGES: &[&str] = &["joblib", "sklearn.externals.joblib"];

/// The class of joblib that a global names, by whatever of its modules.
fn wrapper_class(global: &GlobalUse) -> Option<Wrapper> {
    let class = global.name.rsplit('.').next()?;
    let known = WRAPPERS.iter().find(|(name, _)| *name == class)?;
    let path = global.path();
    let ours = PACKAGES.iter().any(|package| path.strip_prefix(package).is_some_and(|rest| rest.starts_with('.')));
    ours.then_some(known.1)
}

/// Whether a global leads to or through such a class, also by another module that has it.
fn mentions_wrapper(global: &GlobalUse) -> bool {
    global.module.split('.').chain(global.name.split('.')).any(|part| WRAPPERS.iter().any(|(name, _)| *name == part))
}

/// The class of joblib that an object is of, made as classes are, or below protocol 2 by `copyreg._reconstructor(class, object, None)`.
fn wrapper(graph: &Graph, id: NodeId) -> Option<Wrapper> {
    let object = graph.object(id)?;
    let global = graph.global(object.callable)?;
    wrapper_class(global).or_else(|| match is_reconstructor(global) {
        true => wrapper_class(graph.global(*graph.tuple(object.args)?.first()?)?),
        false => None,
    })
}

fn is_reconstructor(global: &GlobalUse) -> bool {
    matches!((global.module.as_str(), global.name.as_str()), ("copyreg" | "copy_reg", "_reconstructor"))
}

/// Checks that the classes are used for nothing but making objects, each of which is an array: by a copy, an attribute or an
/// argument, joblib would read an array where none is seen here.
///
/// # Errors
/// `opaque-result`
pub(super) fn check_uses(graph: &Graph) -> Result<()> {
    if !graph.globals().iter().any(mentions_wrapper) {
        return Ok(());
    }
    let odd = |id: NodeId, what: &str| error::opaque(&graph.place(id), format!("a class of joblib {what}, which joblib does not write"));
    // How often each class, or the arguments with it, is referred to, and how often as an object refers to its class.
    let mut excess: HashMap<NodeId, i64> = HashMap::new();
    let is_class = |id: NodeId| graph.global(id).is_some_and(mentions_wrapper);
    let has_class = |id: NodeId| matches!(graph.tuple(id), Some([first, ..]) if is_class(*first));
    for id in graph.ids() {
        for child in graph.children(id).filter(|&child| is_class(child) || has_class(child)) {
            *excess.entry(child).or_default() += 1;
        }
        if graph.global(id).is_some_and(|global| mentions_wrapper(global) && wrapper_class(global).is_none()) {
            return Err(odd(id, "is reached through something else"));
        }
        let (Some(object), Some(_)) = (graph.object(id), wrapper(graph, id)) else { continue };
        if object.states.len() != 1 {
            return Err(odd(id, "makes an object that does not become an array"));
        }
        if is_class(object.callable) {
            *excess.entry(object.callable).or_default() -= 1;
        } else if let Some(&[class, ..]) = graph.tuple(object.args) {
            *excess.entry(object.args).or_default() -= 1;
            *excess.entry(class).or_default() -= 1;
        }
    }
    match excess.into_iter().filter(|(_, excess)| *excess > 0).map(|(id, _)| id).min() {
        Some(id) => Err(odd(id, "is used as a value")),
        None => Ok(()),
    }
}

/// The arrays between the opcodes of a pickle.
pub(super) struct Spliced<'a> {
    stream: Bytes,
    region: &'a Region,
    start: &'a Place,
    options: &'a ReadOptions,
    arrays: Vec<(NodeId, RawArray)>,
    pickles: Vec<(NodeId, Graph, Region)>,
}

impl<'a> Spliced<'a> {
    pub fn new(stream: &Bytes, region: &'a Region, start: &'a Place, options: &'a ReadOptions) -> Self {
        Spliced { stream: stream.clone(), region, start, options, arrays: Vec::new(), pickles: Vec::new() }
    }

    /// The pickles between the opcodes, when the pickle around them broke.
    pub fn into_graphs(self) -> Vec<Graph> {
        self.pickles.into_iter().map(|(_, graph, _)| graph).collect()
    }

    /// Where the first bytes stand that are no opcodes.
    pub fn first_array(&self) -> Option<u64> {
        let arrays = self.arrays.iter().map(|(_, array)| array.place.offset);
        let pickles = self.pickles.iter().map(|(_, graph, _)| graph.start().offset);
        arrays.chain(pickles).min().map(|offset| offset.saturating_sub(self.start.offset))
    }

    /// Whether an offset of the stream is in the data of an array.
    pub fn is_data(&self, offset: u64) -> bool {
        let at = self.start.offset + offset;
        self.arrays.iter().any(|(_, array)| (array.place.offset..array.place.offset + array.len).contains(&at))
    }

    /// Whether there was any array.
    pub fn is_empty(&self) -> bool {
        self.arrays.is_empty() && self.pickles.is_empty()
    }

    /// Gives the arrays to the document of the pickle around them.
    ///
    /// # Errors
    /// The limit on memory.
    pub fn give_to(self, document: &mut Document) -> Result<()> {
        document.given.extend(self.arrays.into_iter().map(|(id, array)| (id, Given::Array(array))));
        for (id, graph, region) in self.pickles {
            let root = document.adopt_pickle(graph, region)?;
            document.graph.link(id, root);
        }
        Ok(())
    }

    /// The array that follows `object`, and where the opcodes go on behind it.
    ///
    /// # Errors
    /// `truncated`, and whatever is wrong with the array.
    fn array(&mut self, graph: &Graph, object: NodeId, at: u64) -> Result<Skip> {
        let place = self.start.advanced(at);
        let bad = |what: &str| error::tensor_invalid(&place, format!("an array of joblib {what}"));
        let state = State::of(graph, object).ok_or_else(|| bad("has no state that joblib writes"))?;
        let dtype = state.get("dtype").ok_or_else(|| bad("has no dtype"))?;
        let dtype = NumpyDtype::from_pickle(graph, dtype).map_err(|what| bad(&format!("has a dtype that {what}")))?;
        if dtype.has_objects() {
            let mut limits = self.options.limits_left();
            limits.memory_bytes = limits.memory_bytes.saturating_sub(graph.memory());
            let nested = pickle::run(&self.stream.slice(at as usize..), &place, &limits);
            let nested = nested.map_err(|broken| {
                // What it would run is judged with the rest.
                let Broken { error, graphs, .. } = *broken;
                self.pickles.extend(graphs.into_iter().map(|graph| (object, graph, self.region.clone())));
                error
            })?;
            let end = at + nested.end();
            let memory = nested.memory();
            let region = self.region.slice(at, nested.end()).unwrap_or_else(|| self.region.clone());
            self.pickles.push((object, nested, region));
            return Ok(Skip { to: end, memory });
        }
        let shape = state.dims("shape").ok_or_else(|| bad("has no shape"))?;
        let fortran = match state.get("order").and_then(|order| graph.str(order)) {
            Some("C") => false,
            Some("F") => true,
            _ => return Err(bad("has an order other than C and F")),
        };
        let padded = state.get("numpy_array_alignment_bytes").is_some_and(|n| graph.node(n) != Node::None);
        let padding = match (padded, self.stream.get(at as usize)) {
            (false, _) => 0,
            (true, Some(&n)) => 1 + u64::from(n),
            (true, None) => return Err(error::truncated(&place, "the padding of an array", 1, 0)),
        };
        let len = array_bytes(&dtype, &shape).ok_or_else(|| bad("has more bytes than 64 bits count"))?;
        let data = at + padding;
        let left = self.region.len().saturating_sub(data);
        let region = self.region.slice(data, len);
        let region = region.ok_or_else(|| error::truncated(&self.start.advanced(data), "the data of an array", len, left))?;
        let place = self.start.advanced(data);
        let content = Content::Plain(region);
        self.arrays.push((object, RawArray { dtype, shape, fortran, content, content_bytes: len, offset: 0, len, place }));
        Ok(Skip { to: data + len, memory: size_of::<RawArray>() as u64 })
    }
}

impl Between for Spliced<'_> {
    fn after_build(&mut self, graph: &Graph, object: NodeId, at: u64) -> Result<Option<Skip>> {
        match wrapper(graph, object) {
            Some(Wrapper::Inline) => self.array(graph, object, at).map(Some),
            _ => Ok(None),
        }
    }

    /// What joblib has replaced by an array is a wrapper still where it is used again.
    fn reused(&self, graph: &Graph, value: NodeId) -> Result<()> {
        match wrapper(graph, value) {
            Some(_) => Err(error::opaque(&graph.place(value), "an array of joblib is used a second time, which joblib does not write")),
            None => Ok(()),
        }
    }
}

fn array_bytes(dtype: &NumpyDtype, shape: &[i64]) -> Option<u64> {
    shape.iter().try_fold(dtype.item_bytes()?, |n, &size| n.checked_mul(u64::try_from(size).ok()?))
}

/// Reads the arrays that stand in files beside the pickle.
///
/// # Errors
/// `missing-entry` for a file that is not there or whose name leads elsewhere, and whatever is wrong with it.
pub(super) fn read_companions(document: &mut Document, options: &ReadOptions) -> Result<bool, Box<Broken>> {
    let mut any = false;
    if !document.graph.globals().iter().any(mentions_wrapper) {
        return Ok(false);
    }
    for id in document.graph.ids() {
        let graph = &document.graph;
        let compressed = match wrapper(graph, id) {
            Some(Wrapper::Companion) => false,
            Some(Wrapper::CompressedCompanion) => true,
            Some(Wrapper::Inline) | None => continue,
        };
        any = true;
        let place = graph.place(id);
        let bad = |what: &str| error::tensor_invalid(&place, format!("an array of joblib {what}"));
        let state = State::of(graph, id).ok_or_else(|| bad("has no state that joblib writes"))?;
        if graph.object(id).is_some_and(|object| object.states.iter().any(|&state| graph.changed_since_built(state, id))) {
            return Err(error::opaque(&place, "the state of an array of joblib is changed after it was given").into());
        }
        let name = state.get("filename").and_then(|name| graph.str_or_ascii(name)).ok_or_else(|| bad("names no file"))?;
        let source = companion(name, options.beside.as_deref()).map_err(|e| e.at(&place))?;
        let region = Region::file(&source);
        let start = Place::start_of(name);
        if compressed {
            let array = compressed_array(graph, &state, &region, start, options).map_err(|e| e.at(&place))?;
            document.given.insert(id, Given::Array(array));
        } else {
            if let Err(error) = NpyHeader::read(&mut region.reader(), region.len(), &start) {
                // numpy takes a file that is no array for a pickle.
                return Err(Box::<Broken>::from(error).after(super::hidden::as_pickle(&region, &start, options)));
            }
            let array = super::npy::open(&region, &start, options)?;
            document.put(id, array)?;
        }
        document.companions.push(source);
    }
    Ok(any)
}

/// The raw bytes of an array in a file of their own: the pickle has the state without them, `(version, shape, dtype, is_fortran)`.
fn compressed_array(graph: &Graph, state: &State<'_>, region: &Region, place: Place, options: &ReadOptions) -> Result<RawArray> {
    let bad = |what: &str| Error::new(Code::TensorInvalid, format!("an array of joblib {what}"));
    let items = state.get("state").and_then(|state| graph.tuple(state)).unwrap_or_default();
    let &[.., shape, dtype, fortran] = items else { return Err(bad("has no state of an array")) };
    let dtype = NumpyDtype::from_pickle(graph, dtype).map_err(|what| bad(&format!("has a dtype that {what}")))?;
    let shape =
        graph.tuple(shape).and_then(|shape| shape.iter().map(|&size| graph.int(size)).collect()).ok_or_else(|| bad("has no shape"))?;
    let fortran = is_fortran(graph, fortran).ok_or_else(|| bad("has no order flag"))?;
    let (_, content) = compressed::decompress(region, options)?;
    let len = content.len();
    Ok(RawArray { dtype, shape, fortran, content: Content::Plain(content), content_bytes: len, offset: 0, len, place })
}

/// The file `name` beside the input: a plain name of a regular file, never a path or a link.
fn companion(name: &str, folder: Option<&Path>) -> Result<std::sync::Arc<Source>> {
    let shown = crate::text::quoted(name, 200);
    let missing = |why: &str| {
        Error::new(Code::MissingEntry, format!("the pickle keeps an array in the file {shown}, {why}"))
            .help("joblib before 0.10 wrote several files; keep them in one folder, under their names")
    };
    let is_plain = Path::new(name).file_name().is_some_and(|file| file == name) && !name.contains(['/', '\\', ':', '\0']);
    if !is_plain {
        return Err(missing("which is a path and not the name of a file beside it"));
    }
    let path = folder.ok_or_else(|| missing("and it is not known where that is"))?.join(name);
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Source::open(&path),
        Ok(_) => Err(missing("which is no regular file")),
        Err(_) => Err(missing("which is not beside it")),
    }
}

/// The attributes that wrappers have.
const ATTRIBUTES: &[&str] =
    &["subclass", "shape", "order", "dtype", "allow_mmap", "numpy_array_alignment_bytes", "filename", "init_args", "state"];

/// More pairs only repeat some.
const MAX_ATTRIBUTES: usize = 100;

/// The attributes of a wrapper.
struct State<'a> {
    graph: &'a Graph,
    dict: NodeId,
}

impl<'a> State<'a> {
    fn of(graph: &'a Graph, id: NodeId) -> Option<Self> {
        match graph.object(id)?.states {
            [state] => match graph.node(*state) {
                // Another attribute could stand over a method of the class.
                Node::Dict(pairs)
                    if pairs.len() <= MAX_ATTRIBUTES
                        && pairs.iter().all(|(key, _)| ATTRIBUTES.iter().any(|attribute| graph.is_word_or_bytes(*key, attribute))) =>
                {
                    Some(State { graph, dict: *state })
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn get(&self, name: &str) -> Option<NodeId> {
        self.graph.get(self.dict, name)
    }

    fn dims(&self, name: &str) -> Option<Vec<i64>> {
        let sizes = self.graph.tuple(self.get(name)?)?;
        sizes.iter().map(|&size| self.graph.int(size)).collect()
    }
}
