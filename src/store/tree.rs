//! The files of a store by their names: nothing is opened. Links to files are followed, links to folders are not.

use std::collections::{BTreeMap, HashSet};
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{self, Error, Result};
use crate::filenames::Identity;
use crate::select::Globs;
use crate::store::part::Part;
use crate::temporary;

/// A file of the store.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The path to open.
    pub path: PathBuf,
    /// The path in the store, with slashes: its name in reports, and where its output goes.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// In nanoseconds since 1970, where the system tells.
    pub modified: Option<u64>,
    /// The file that it is, whatever leads to it.
    pub(crate) identity: Identity,
    /// Whether a link leads to it.
    pub(crate) is_link: bool,
    /// Why it cannot be read.
    pub(crate) error: Option<Error>,
}

impl Entry {
    /// Whether it is a link, which may lead out of the store.
    pub fn is_link(&self) -> bool {
        self.is_link
    }
}

/// Where the files of a store are.
#[derive(Debug, Clone)]
pub struct Roots {
    /// Folders, or files among them.
    pub paths: Vec<PathBuf>,
    /// When given, only these files, relative to the one root.
    pub files: Option<Vec<PathBuf>>,
    /// Globs of names in the store; when there are any, only files that match one are looked at.
    pub include: Vec<String>,
    /// Globs of names that are not looked at.
    pub exclude: Vec<String>,
    /// A folder that is left out: that of the outputs, when it is in the store.
    pub without: Option<PathBuf>,
}

impl Roots {
    /// The files, by name.
    ///
    /// # Errors
    /// `usage` when two roots have one name, for globs that are none, and for listed files that are not in the store.
    pub fn walk(&self) -> Result<Vec<Entry>> {
        let mut walk = Walk {
            globs: Globs::new(&self.include, &self.exclude)?,
            without: self.without.as_deref().map(Identity::of),
            found: BTreeMap::new(),
            blobs: Vec::new(),
        };
        match &self.files {
            Some(files) => {
                let [root] = &self.paths[..] else {
                    return Err(Error::usage("a list of files is relative to one store").help("name one folder beside --files-from"));
                };
                for file in files {
                    let name = below(file, root)?;
                    walk.add(root.join(&name), &name)?;
                }
            }
            None => {
                for root in &self.paths {
                    // With one root its files are the store; several are beside each other in it.
                    let name = if self.paths.len() == 1 && root.is_dir() { PathBuf::new() } else { name_of(root)? };
                    walk.look_into(root, &name)?;
                }
            }
        }
        Ok(walk.without_linked_blobs())
    }
}

struct Walk {
    globs: Globs,
    without: Option<Identity>,
    found: BTreeMap<String, Entry>,
    /// The names of files in caches that links may lead to.
    blobs: Vec<String>,
}

impl Walk {
    /// The files, but for those of a cache that have names in it: they are converted under these.
    fn without_linked_blobs(mut self) -> Vec<Entry> {
        let linked: HashSet<Identity> = self.found.values().filter(|entry| entry.is_link).map(|entry| entry.identity.clone()).collect();
        for blob in &self.blobs {
            if self.found.get(blob).is_some_and(|entry| entry.error.is_none() && linked.contains(&entry.identity)) {
                self.found.remove(blob);
            }
        }
        self.found.into_values().collect()
    }

    fn look_into(&mut self, root: &Path, name: &Path) -> Result<()> {
        if !root.is_dir() {
            return self.add(root.to_owned(), name);
        }
        let mut pending = vec![(root.to_owned(), name.to_owned())];
        while let Some((folder, name)) = pending.pop() {
            if self.without.as_ref().is_some_and(|without| *without == Identity::of(&folder)) {
                continue;
            }
            let listed = std::fs::read_dir(&folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
            let entries = match listed {
                Ok(entries) => entries,
                Err(e) => {
                    let error = error::io("list", &folder, &e);
                    self.insert(folder, &name, Err(error), false)?;
                    continue;
                }
            };
            let is_cache = name.file_name().is_some_and(|name| name == "blobs") && folder.with_file_name("snapshots").is_dir();
            for entry in entries {
                let (path, name) = (entry.path(), name.join(entry.file_name()));
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => pending.push((path, name)),
                    _ => {
                        self.add(path, &name)?;
                        // In the cache of the Hugging Face hub, snapshots are links to these files, which are named after their digests.
                        if is_cache {
                            self.blobs.push(slashed(&name));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, name: &Path) -> Result<()> {
        let is_link = path.is_symlink();
        let metadata = match path.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(metadata),
            // A tree must not lead around in a circle.
            Ok(metadata) if metadata.is_dir() && is_link => Err(Error::usage("a link to a folder, which is not followed")),
            Ok(metadata) if metadata.is_dir() => Err(Error::usage("a folder; the list must name files")),
            Ok(_) => Err(Error::usage("not a regular file")),
            Err(e) => Err(error::io("read", &path, &e)),
        };
        self.insert(path, name, metadata, is_link)
    }

    fn insert(&mut self, path: PathBuf, name: &Path, metadata: Result<Metadata>, is_link: bool) -> Result<()> {
        let shown = slashed(name);
        let metadata = match name.to_str() {
            Some(_) => metadata,
            None => Err(Error::usage("its name is not UTF-8, so no report could name it").help("rename the file")),
        };
        if self.globs.excludes(&shown) || is_own(name) {
            return Ok(());
        }
        let (metadata, error) = match metadata {
            Ok(metadata) => (Some(metadata), None),
            Err(error) => (None, Some(error)),
        };
        let entry = Entry {
            bytes: metadata.as_ref().map_or(0, Metadata::len),
            modified: metadata.as_ref().and_then(modified),
            identity: Identity::of(&path),
            name: shown.clone(),
            is_link,
            error,
            path,
        };
        match self.found.insert(shown, entry) {
            Some(other) if other.error.is_none() && other.path != self.found[&other.name].path => {
                let (one, two) = (other.path.display(), self.found[&other.name].path.display());
                Err(Error::usage(format!("{one} and {two} would have one name in the store")).help("convert them into different folders"))
            }
            _ => Ok(()),
        }
    }
}

/// What a run writes for itself: the reports and journals of a store and of its parts, and temporary files.
fn is_own(name: &Path) -> bool {
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    let of = |start: &str, end: &str| name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    let is_part = |part: &str| part.is_empty() || part.strip_prefix('.').is_some_and(Part::is_in_name);
    of("depickle-report", ".json").or_else(|| of(".depickle-journal", ".jsonl")).is_some_and(is_part) || temporary::is_temporary(&name)
}

fn modified(metadata: &Metadata) -> Option<u64> {
    metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos().try_into().ok()
}

fn name_of(root: &Path) -> Result<PathBuf> {
    let name = root.file_name().map(PathBuf::from).or_else(|| root.canonicalize().ok()?.file_name().map(PathBuf::from));
    name.ok_or_else(|| Error::usage(format!("{} has no name of its own; name what is in it", root.display())))
}

/// The path of a listed file in the store.
fn below(file: &Path, root: &Path) -> Result<PathBuf> {
    let name = if file.is_absolute() {
        let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        file.strip_prefix(&root).map(Path::to_owned).ok()
    } else {
        Some(file.components().filter(|part| *part != Component::CurDir).collect())
    };
    let stays = |name: &PathBuf| name.components().all(|part| matches!(part, Component::Normal(_)));
    name.filter(stays).filter(|name| !name.as_os_str().is_empty()).ok_or_else(|| {
        let (file, root) = (crate::text::quoted(&file.to_string_lossy(), 300), root.display());
        Error::usage(format!("the list of files has {file}, which is not in the store")).help(format!("its paths are relative to {root}"))
    })
}

/// A path with slashes on every platform.
pub(crate) fn slashed(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
