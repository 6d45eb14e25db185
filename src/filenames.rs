//! How files are named after one another: an output after its input, a manifest after its output.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Endings that the name of a checkpoint loses; any other ending is kept as part of the name.
const CHECKPOINT_ENDINGS: &[&str] = &[
    "pt", "pth", "bin", "ckpt", "pkl", "pickle", "th", "t7", "tar", "model", "p", "save", "sav", "weights", "pdparams", "pdopt", "pk",
    "dat", "npy", "npz", "joblib", "jl", "ptl", "pt2", "zip", "mar", "nemo",
];
/// Endings of compressed files, which come before those.
const COMPRESSION_ENDINGS: &[&str] = &["gz", "bz2", "xz", "lzma", "lz4", "zst", "zlib", "z"];
const ENDING: &str = "safetensors";
/// What the name of an index has behind the name of the one file that its set would be.
const INDEX_ENDING: &str = ".index.json";

/// The output that belongs to an input, beside it: `x.pt` gives `x.safetensors`, and the names of the Hugging Face
/// convention become each other, `pytorch_model.bin` to `model.safetensors`.
pub fn default_output(input: &Path) -> PathBuf {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    // An index has the name of the one file that its set would be.
    let name = name.strip_suffix(INDEX_ENDING).filter(|name| !name.is_empty()).unwrap_or(&name);
    if let Some(middle) = name.strip_prefix("pytorch_model").and_then(|rest| rest.strip_suffix(".bin")) {
        return input.with_file_name(format!("model{middle}.{ENDING}"));
    }
    let stem = without(without(name, COMPRESSION_ENDINGS), CHECKPOINT_ENDINGS);
    input.with_file_name(format!("{stem}.{ENDING}"))
}

/// A name without its ending, if that is one of these.
fn without<'a>(name: &'a str, endings: &[&str]) -> &'a str {
    let stem = name.rsplit_once('.').filter(|(stem, ending)| !stem.is_empty() && endings.contains(&ending.to_ascii_lowercase().as_str()));
    stem.map_or(name, |(stem, _)| stem)
}

/// The folder for the outputs of a bundle, in `folder` or beside it: `model.tar.gz` gives `model`.
pub fn bundle_output(input: &Path, folder: Option<&Path>) -> PathBuf {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    let stem = match archive_stem(&name) {
        // Beside the bundle itself, whose name has no ending.
        same if same == name => format!("{name}.converted"),
        stem => stem.to_owned(),
    };
    match folder {
        Some(folder) => folder.join(stem),
        None => input.with_file_name(stem),
    }
}

/// The name of an archive without its ending, `model.tar.gz` without both; the whole name where nothing would be left but dots,
/// which name other folders.
pub(crate) fn archive_stem(name: &str) -> &str {
    let is_name = |stem: &&str| stem.contains(|c| c != '.');
    let stem = name.rsplit_once('.').map(|(stem, _)| stem).filter(is_name).unwrap_or(name);
    stem.strip_suffix(".tar").filter(is_name).unwrap_or(stem)
}

/// The output of a checkpoint in a bundle, below the folder for its outputs.
pub fn packaged_output(name: &str) -> PathBuf {
    default_output(Path::new(name))
}

/// The manifest that belongs to an output: `x.safetensors.manifest.json`.
pub fn manifest_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(".manifest.json");
    output.with_file_name(name)
}

/// The index of the files that an output is split into: `model.safetensors.index.json`.
pub fn index_path(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_os_string();
    name.push(INDEX_ENDING);
    output.with_file_name(name)
}

/// Whether a file is named as the index of a set is.
pub fn is_index(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.len() > INDEX_ENDING.len() && name.ends_with(INDEX_ENDING)
}

/// File `number` of the `count` that an output is split into: `model-00001-of-00003.safetensors`.
pub fn shard_path(output: &Path, number: usize, count: usize) -> PathBuf {
    let mut name = output.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{number:05}-of-{count:05}"));
    if let Some(ending) = output.extension() {
        name.push(".");
        name.push(ending);
    }
    output.with_file_name(name)
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The deepest folder that exists of those that a file is in, or will be when the others are made.
pub fn existing_folder_of(path: &Path) -> &Path {
    folder_of(path).ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."))
}

/// `path` as seen from `folder`, with slashes on every platform; as it is when it does not exist.
pub(crate) fn relative(path: &Path, folder: &Path) -> String {
    let relative = || {
        let (path, folder) = (path.canonicalize().ok()?, resolved(folder)?);
        let common = path.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
        let ups = folder.components().skip(common).map(|_| "..".to_owned());
        let downs = path.components().skip(common).map(|part| part.as_os_str().to_string_lossy().into_owned());
        Some(ups.chain(downs).collect::<Vec<_>>().join("/"))
    };
    relative().unwrap_or_else(|| path.to_string_lossy().into_owned())
}

/// The path without links and dots, also when its last parts do not exist yet.
pub fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(resolved) = path.canonicalize() {
        return Some(resolved);
    }
    // `..` after a folder that does not exist leads back to where that folder will be.
    match path.components().next_back()? {
        Component::Normal(name) => Some(resolved(folder_of(path))?.join(name)),
        Component::ParentDir => Some(resolved(path.parent()?)?.parent()?.to_owned()),
        _ => None,
    }
}

/// Which file a path leads to, there or to come: two paths to one file have the same, until one of them is made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    there: There,
    /// What is still to be made in it.
    to_come: Vec<OsString>,
}

impl Identity {
    /// The identity of the file at `path`.
    pub fn of(path: &Path) -> Identity {
        if let Some(there) = There::at(path) {
            return Identity { there, to_come: Vec::new() };
        }
        match path.components().next_back() {
            Some(Component::Normal(name)) => {
                let mut folder = Identity::of(folder_of(path));
                folder.to_come.push(name.to_owned());
                folder
            }
            // `..` after a folder that does not exist leads back to where that folder will be.
            Some(Component::ParentDir) => {
                let mut folder = Identity::of(path.parent().unwrap_or(Path::new("")));
                folder.to_come.pop();
                folder
            }
            _ => Identity { there: There::nowhere(path), to_come: Vec::new() },
        }
    }
}

/// A file or folder that is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum There {
    /// By its device and its number on it.
    #[cfg(unix)]
    Number(u64, u64),
    /// By its path.
    Path(PathBuf),
}

impl There {
    #[cfg(unix)]
    fn at(path: &Path) -> Option<There> {
        use std::os::unix::fs::MetadataExt;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        path.metadata().ok().map(|metadata| There::Number(metadata.dev(), metadata.ino()))
    }

    #[cfg(not(unix))]
    fn at(path: &Path) -> Option<There> {
        path.canonicalize().ok().map(There::Path)
    }

    fn nowhere(path: &Path) -> There {
        There::Path(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_seen_from_a_folder_that_does_not_exist_yet() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("model.pt");
        std::fs::write(&input, b"x").unwrap();
        assert_eq!(relative(&input, folder.path()), "model.pt");
        assert_eq!(relative(&input, &folder.path().join("new/out")), "../../model.pt");
    }

    #[test]
    #[cfg(unix)]
    fn two_ways_to_one_file_are_seen_also_when_it_does_not_exist_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("a")).unwrap();
        std::fs::write(path("a/x"), b"x").unwrap();
        std::os::unix::fs::symlink(path("a"), path("link")).unwrap();
        std::fs::hard_link(path("a/x"), path("second")).unwrap();
        for (one, other) in [
            ("a/x", "link/x"),
            ("a/x", "second"),
            ("a/new", "link/new"),
            ("a/new/deeper", "link/./new/deeper"),
            ("a/new", "a/missing/../new"),
            ("a/new", "link/missing/deeper/../../new"),
        ] {
            assert_eq!(Identity::of(&path(one)), Identity::of(&path(other)), "{one} {other}");
        }
        for (one, other) in [("a/x", "a/y"), ("a/y", "y"), ("a/new", "new"), ("a/x/y", "a/y")] {
            assert_ne!(Identity::of(&path(one)), Identity::of(&path(other)), "{one} {other}");
        }
        assert_eq!(Identity::of(Path::new("missing")), Identity::of(Path::new("./missing")));
    }

    #[test]
    fn the_folder_of_a_file_to_come_is_looked_for_upwards() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(existing_folder_of(&folder.path().join("x")), folder.path());
        assert_eq!(existing_folder_of(&folder.path().join("new/deeper/x")), folder.path());
        for relative in ["x", "missing/x", "./x", ""] {
            assert!(existing_folder_of(Path::new(relative)).is_dir(), "{relative}");
        }
    }

    #[test]
    fn a_bundle_becomes_a_folder_of_its_name() {
        for (input, output) in [
            ("a/model.tar.gz", "a/model"),
            ("a/model.nemo", "a/model"),
            ("a/model", "a/model.converted"),
            (".zip", ".zip.converted"),
            ("a/...zip", "a/...zip.converted"),
            ("a/...tar.gz", "a/...tar"),
        ] {
            assert_eq!(bundle_output(Path::new(input), None), Path::new(output), "{input}");
        }
        assert_eq!(bundle_output(Path::new("a/m.zip"), Some(Path::new("b"))), Path::new("b/m"));
        assert_eq!(packaged_output("x/weights.th"), Path::new("x/weights.safetensors"));
    }

    #[test]
    fn the_files_of_a_split_are_named_as_the_hugging_face_libraries_name_them() {
        let output = Path::new("a/model.v1.safetensors");
        assert_eq!(shard_path(output, 2, 13), Path::new("a/model.v1-00002-of-00013.safetensors"));
        assert_eq!(shard_path(Path::new("plain"), 1, 2), Path::new("plain-00001-of-00002"));
        assert_eq!(index_path(output), Path::new("a/model.v1.safetensors.index.json"));
        for (name, expected) in [("a/pytorch_model.bin.index.json", true), (".index.json", false), ("index.json", false)] {
            assert_eq!(is_index(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn outputs_are_named_as_users_of_the_hub_expect() {
        for (input, output) in [
            ("a/pytorch_model.bin", "a/model.safetensors"),
            ("pytorch_model-00001-of-00002.bin", "model-00001-of-00002.safetensors"),
            ("pytorch_model.fp16.bin", "model.fp16.safetensors"),
            ("x.pt", "x.safetensors"),
            ("x.PTH", "x.safetensors"),
            ("yolov8n.v1.2.pt", "yolov8n.v1.2.safetensors"),
            ("tetris", "tetris.safetensors"),
            ("a/arrays.npz", "a/arrays.safetensors"),
            ("forest.pkl.gz", "forest.safetensors"),
            ("forest.joblib.Z", "forest.safetensors"),
            ("model.gz", "model.safetensors"),
            (".gz", ".gz.safetensors"),
            ("model.v2", "model.v2.safetensors"),
            ("a/pytorch_model.bin.index.json", "a/model.safetensors"),
            ("x.pt.index.json", "x.safetensors"),
            (".pt", ".pt.safetensors"),
        ] {
            assert_eq!(default_output(Path::new(input)), Path::new(output), "{input}");
        }
    }
}
