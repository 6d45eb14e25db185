//! Bundles: archives of files among which are checkpoints, such as allennlp's `model.tar.gz`, stable-baselines3's zips,
//! `.nemo` and `.mar`. Which files are checkpoints is decided by their bytes.

use std::io::Read;

use crate::container::{Document, Inner, Kind, Member, hidden, peek};
use crate::error::{Code, Error, Result};
use crate::filenames;
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::{Broken, Graph};
use crate::place::Place;
use crate::source::Region;

/// An archive of files.
#[derive(Debug)]
pub struct Bundle {
    pub kind: Kind,
    pub facts: Vec<(&'static str, String)>,
    pub files: Vec<Packed>,
    /// What is odd about the archive itself.
    pub findings: Vec<Finding>,
    /// Pickles that stand between its members.
    pub side_pickles: Vec<Graph>,
}

/// A file in an archive.
#[derive(Debug)]
pub struct Packed {
    /// Its path in the archive.
    pub name: String,
    pub content: PackedContent,
}

/// Where the bytes of a file in an archive are.
#[derive(Debug)]
pub enum PackedContent {
    Plain(Region),
    Zipped(Member),
}

/// A checkpoint in a bundle, or in a bundle inside of it.
#[derive(Debug, Clone)]
pub struct Packaged {
    /// Its path in the bundle. Bundles inside of it are folders, named without their ending.
    pub name: String,
    /// Its bytes, or why they cannot be read.
    pub content: Result<Region>,
}

/// What is in a bundle, and in bundles inside of it.
#[derive(Debug, Default)]
pub struct Contents {
    pub checkpoints: Vec<Packaged>,
    /// Other files, with their sizes.
    pub others: Vec<(String, u64)>,
    /// What is odd about the archive, and about those inside of it.
    pub findings: Vec<Finding>,
    /// Pickles that are in no checkpoint: between members, and in files that only now turn out to hold one.
    pub side_pickles: Vec<Graph>,
    /// Why nothing of it may be converted.
    pub refused: Option<Error>,
}

/// Endings of checkpoints and of nothing else: a file that is called so and is none is damaged.
const CHECKPOINT_ENDINGS: &[&str] = &["pkl", "pickle", "pt", "pth", "th", "joblib", "npy", "npz", "pdparams", "ptl"];
/// Endings of other files too. With these a pickle of protocol 0 or 1, which has no magic, is known: any text may look like one.
const OTHER_ENDINGS: &[&str] = &["pk", "p", "ckpt", "bin", "sav", "model"];

impl Bundle {
    /// The checkpoints in it, in the order of the archive.
    pub fn contents(self, options: &ReadOptions) -> Contents {
        let mut found = Contents::default();
        self.collect("", options, 1, &mut found);
        if let Err(error) = options.limits.checkpoints(found.checkpoints.len() as u64) {
            found.refused.get_or_insert(error);
        }
        found
    }

    /// What all pickles in it would run, for a bundle that is no input of its own and inside of `depth` others.
    pub(super) fn graphs(self, start: &Place, options: &ReadOptions, depth: u64) -> Vec<Graph> {
        let mut found = Contents::default();
        let prefix = if start.member.is_empty() { String::new() } else { format!("{}/", start.member) };
        self.collect(&prefix, options, depth + 1, &mut found);
        let mut graphs = found.side_pickles;
        for packaged in found.checkpoints {
            let Ok(region) = packaged.content else { continue };
            graphs.extend(hidden::in_region(&region, &Place::start_of(&packaged.name), options, depth + 1));
        }
        graphs
    }

    fn collect(self, prefix: &str, options: &ReadOptions, depth: u64, found: &mut Contents) {
        found.findings.extend(self.findings);
        found.side_pickles.extend(self.side_pickles);
        if let Err(error) = options.limits.nesting(depth) {
            found.refused.get_or_insert(error);
            return;
        }
        for file in self.files {
            let name = format!("{prefix}{}", file.name);
            if !is_inside(&name) {
                let code = if self.kind == Kind::Zip { Code::ZipAmbiguous } else { Code::TarAmbiguous };
                let shown = crate::text::quoted(&name, 200);
                let error = Error::new(code, format!("member {shown} would be unpacked outside of the archive's folder"));
                found
                    .refused
                    .get_or_insert(error.help("nothing is read of an archive that reaches elsewhere; have its author make it again"));
            }
            match file.checkpoint(&name, options, depth) {
                Ok(None) => {
                    if let Ok(region) = file.region(options) {
                        found.side_pickles.extend(hidden::in_region(&region, &Place::start_of(&name), options, depth + 1));
                    }
                    found.others.push((name, file.len()));
                }
                Ok(Some((region, Inner::Document(_)))) => found.checkpoints.push(Packaged { name, content: Ok(region) }),
                Ok(Some((_, Inner::Bundle(inner)))) => inner.collect(&format!("{}/", stem(&name)), options, depth + 1, found),
                Err(error) => found.checkpoints.push(Packaged { name, content: Err(error) }),
            }
        }
    }
}

impl Packed {
    fn len(&self) -> u64 {
        match &self.content {
            PackedContent::Plain(region) => region.len(),
            PackedContent::Zipped(member) => member.len,
        }
    }

    /// What the file is, when it is a checkpoint or a bundle. `name` is its path.
    fn checkpoint(&self, name: &str, options: &ReadOptions, depth: u64) -> Result<Option<(Region, Inner)>> {
        let may_be_one = match &self.content {
            PackedContent::Plain(region) => looks_like_one(name, &mut region.reader()),
            PackedContent::Zipped(member) => may_be_checkpoint(member),
        };
        if !may_be_one {
            return Ok(None);
        }
        let region = self.region(options)?;
        match peek(&region, &Place::start_of(name), options, depth) {
            Ok(inner) => Ok(Some((region, inner))),
            // One whose name says that it is a checkpoint must not go missing when it is damaged.
            Err(e) if !is_named_like_a_checkpoint(name) && is_unknown(&e) => Ok(None),
            Err(e) => Err(e.at(&Place::start_of(name))),
        }
    }

    fn region(&self, options: &ReadOptions) -> Result<Region> {
        match &self.content {
            PackedContent::Plain(region) => Ok(region.clone()),
            PackedContent::Zipped(member) => member.region(options),
        }
    }
}

fn is_unknown(error: &Error) -> bool {
    matches!(error.code(), Code::UnknownFormat | Code::UnsupportedContainer | Code::EmptyFile)
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending.to_ascii_lowercase().as_str()))
}

/// Whether a file is called as checkpoints are and nothing else is.
pub(crate) fn is_named_like_a_checkpoint(name: &str) -> bool {
    has_ending(name, CHECKPOINT_ENDINGS)
}

/// Whether a member of a zip archive starts, or is named, like a checkpoint.
pub(super) fn may_be_checkpoint(member: &Member) -> bool {
    looks_like_one(&member.name(), &mut *member.reader())
}

fn looks_like_one(name: &str, content: &mut dyn Read) -> bool {
    let mut head = Vec::new();
    let by_name = has_ending(name, CHECKPOINT_ENDINGS) || has_ending(name, OTHER_ENDINGS);
    match content.take(super::HEAD_BYTES).read_to_end(&mut head) {
        Ok(_) => super::has_magic(&head) || by_name,
        // What cannot be read is an error later on, if its name says that it matters.
        Err(_) => by_name,
    }
}

/// The path of a file without its ending; the folder stays the same.
pub(crate) fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    &name[..file + filenames::archive_stem(&name[file..]).len()]
}

/// Whether a path stays where it is unpacked, on every system.
fn is_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\\', '\0'])
        && name.split('/').all(|part| !matches!(part, "" | "..") && !part.ends_with(':'))
        && name.as_bytes().get(1).is_none_or(|&byte| byte != b':')
}

/// Several checkpoints as one: a dict of them by name.
///
/// # Errors
/// The limit on memory.
pub(crate) fn merge(kind: Kind, facts: Vec<(&'static str, String)>, checkpoints: Vec<(String, Document)>) -> Result<Document, Box<Broken>> {
    let keys: Vec<String> = checkpoints.iter().map(|(name, _)| name.clone()).collect();
    let (graph, values) = Graph::given(&Place::start_of(""), Some(&keys))?;
    let mut merged = Document { facts, ..Document::of_pickle(kind, graph, Region::memory(Default::default())) };
    for ((_, document), value) in checkpoints.into_iter().zip(values) {
        merged.put(value, document)?;
    }
    Ok(merged)
}

/// The files of a set as one checkpoint: each stands in it by its name, which is no part of the names of its tensors.
///
/// # Errors
/// The limit on memory.
pub(crate) fn join(files: Vec<(String, Document)>) -> Result<Document, Box<Broken>> {
    let (graph, _) = Graph::given(&Place::start_of(""), Some(&[]))?;
    let mut joined = Document::of_pickle(Kind::TorchIndex, graph, Region::memory(Default::default()));
    let mut facts: Option<Vec<(&'static str, String)>> = None;
    for (name, document) in files {
        // What all of them say.
        match &mut facts {
            Some(facts) => facts.retain(|fact| document.facts.contains(fact)),
            None => facts = Some(document.facts.clone()),
        }
        let root = joined.adopt(document)?;
        joined.graph.attach(joined.graph.root(), &name, root);
    }
    joined.facts = facts.unwrap_or_default();
    Ok(joined)
}

/// The error for a bundle in which nothing is a checkpoint.
pub(crate) fn no_checkpoints(kind: Kind) -> Error {
    Error::new(
        Code::NoTensors,
        format!("the file holds no tensors: it is a {} archive, and none of its members is a checkpoint", kind.as_str()),
    )
    .help("there is nothing to convert")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_not_inside() {
        for name in ["", "/a", "../a", "a/../b", "a//b", "C:a", "c:/a", "a\\b", "a\0", "a/", "a:/b"] {
            assert!(!is_inside(name), "{name:?}");
        }
        for name in ["a", "a/b.pt", "..a", "a..", "a/.b", "模型/w.pt"] {
            assert!(is_inside(name), "{name:?}");
        }
    }

    #[test]
    fn stems_lose_one_ending_and_archives_both() {
        for (name, expected) in [
            ("x/...zip", "x/...zip"),
            ("...tar.gz", "...tar"),
            ("..zip", "..zip"),
            ("a.pt", "a"),
            ("x/a.b.pt", "x/a.b"),
            ("x.y/a", "x.y/a"),
            ("m.tar.gz", "m"),
            (".hidden", ".hidden"),
            ("x/.tar", "x/.tar"),
        ] {
            assert_eq!(stem(name), expected);
        }
    }
}
