//! What each fuzz target does with bytes, as plain functions. `cargo test` runs them too, on seeded mutations
//! (`tests/integration/fuzz.rs`), so a target cannot rot and its invariants hold on every change.
//!
//! An invariant that does not hold is a panic.

#![allow(dead_code, reason = "a target uses only a part")]

use std::collections::BTreeSet;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use bytes::Bytes;
use depickle::convert::{self, ConvertOptions};
use depickle::inspect::inspect;
use depickle::pickle::{self, Graph, Node};
use depickle::rules::Deny;
use depickle::verify::check_manifest;
use depickle::{Limits, Place, report};
use safetensors::SafeTensors;

/// How the bytes of a fuzzer become a file.
#[derive(Clone, Copy)]
pub enum Form {
    /// Only the pickle machine.
    Stream,
    /// The bytes are the file.
    File,
    /// The bytes are members (see [`members`]), which become a zip archive with right checksums: no byte of its content is out of
    /// reach because of them.
    Zip,
    /// The same for a tar archive.
    Tar,
}

/// A fuzz target.
pub struct Body {
    pub name: &'static str,
    pub form: Form,
    /// Files in `testdata` from which it starts.
    pub seeds: &'static [&'static str],
}

pub const BODIES: &[Body] = &[
    Body {
        name: "pickle",
        form: Form::Stream,
        seeds: &[
            "bare-pickle/numpy-2.4.6-py3.11/keys_p0.pkl",
            "bare-pickle/numpy-1.11.0-py2.7/keys_p2.pkl",
            "bare-pickle/numpy-2.4.6-py3.11/layouts_p5.pkl",
            "hostile/os_system.pkl",
        ],
    },
    Body {
        name: "bare_pickle",
        form: Form::File,
        seeds: &[
            "bare-pickle/numpy-2.4.6-py3.11/keys_p0.pkl",
            "bare-pickle/numpy-2.4.6-py3.11/layouts_p5.pkl",
            "bare-pickle/torch-2.15.0-py3.11/mixed_p5.pkl",
            "regressions/masked_order_flag_is_integer.pkl",
            "hostile/nested_os_system.pkl",
        ],
    },
    Body {
        name: "zip",
        form: Form::File,
        seeds: &[
            "torch-zip/2.15.0/conj_neg.pt",
            "torch-zip/1.6.0/views.pt",
            "torch-zip/2.15.0/deflated.pt",
            "regressions/paddle_beside_plain.zip",
        ],
    },
    Body {
        name: "torch_zip",
        form: Form::Zip,
        seeds: &[
            "torch-zip/2.15.0/views.pt",
            "torch-zip/2.15.0/training.pt",
            "modules/2.15.0/weight_norm.pt",
            "regressions/jagged_with_attribute.pt",
            "torch-zip/2.15.0/big_endian.pt",
        ],
    },
    Body {
        name: "torchscript",
        form: Form::Zip,
        seeds: &["torchscript/2.15.0/scripted.pt", "torchscript/1.0.0/traced.pt", "regressions/mobile_1.6_with_constant.ptl"],
    },
    Body {
        name: "torch_package",
        form: Form::Zip,
        seeds: &["torch-package/2.15.0/one.pt", "torch-package/1.8.1/one.pt", "regressions/package_source_is_pickle.pt"],
    },
    Body { name: "pt2", form: Form::Zip, seeds: &["pt2/2.15.0/linear.pt2", "pt2/2.8.0/linear.pt2", "pt2/2.5.1/linear.pt2"] },
    Body {
        name: "npz",
        form: Form::Zip,
        seeds: &["npz/numpy-2.4.6-py3.11/positional.npz", "npz/numpy-2.4.6-py3.11/objects.npz", "npz/numpy-2.4.6-py3.11/records.npz"],
    },
    Body {
        name: "npy",
        form: Form::File,
        seeds: &["npy/by-hand/escapes.npy", "npy/by-hand/python2_longs.npy", "regressions/field_name_with_accent.npy"],
    },
    Body {
        name: "torch_legacy",
        form: Form::File,
        seeds: &["torch-legacy/1.0.0/views.pt", "torch-legacy/by-hand/storage_views.pt", "torch-legacy/1.5.1/mixed.pt"],
    },
    Body {
        name: "joblib",
        form: Form::File,
        seeds: &["joblib/joblib-1.6.0-py3.13/small.joblib", "joblib/joblib-1.6.0-py3.13/list.pkl", "regressions/joblib_protocol_1.joblib"],
    },
    Body { name: "tar", form: Form::Tar, seeds: &["bundles/base256_size.tar", "bundles/no_end_blocks.tar", "bundles/hostile_twice.tar"] },
    Body { name: "torch_tar", form: Form::Tar, seeds: &["torch-tar/by-hand/state.tar.pt"] },
    Body {
        name: "compressed",
        form: Form::File,
        seeds: &[
            "compressed/state.pkl.gz",
            "compressed/state.pkl.bz2",
            "compressed/state.pkl.lz4",
            "compressed/state.pkl.lzma",
            "compressed/check_none.pkl.xz",
            "compressed/state.pkl.zst",
            "compressed/level_6.pkl.zlib",
        ],
    },
    Body {
        name: "convert",
        form: Form::File,
        seeds: &[
            "torch-zip/2.15.0/conj_neg.pt",
            "torch-legacy/1.0.0/views.pt",
            "bundles/one.tar.gz",
            "torch-tar/by-hand/state.tar.pt",
            "frameworks/paddle/3.3.1/layer_p2.pdparams",
            "npy/by-hand/one_dimension.npy",
        ],
    },
];

/// Runs the target called `name`. `true` when there was a value or an output.
pub fn run(name: &str, data: &[u8]) -> bool {
    let body = BODIES.iter().find(|body| body.name == name).expect("a target of that name");
    match body.form {
        Form::Stream => stream(data),
        Form::File => file(data),
        Form::Zip => file(&zip(&members(data))),
        Form::Tar => file(&tar(&members(data))),
    }
}

/// What a target starts with for a file of testdata.
pub fn seed(form: Form, file: Vec<u8>) -> Vec<u8> {
    match form {
        Form::Stream | Form::File => file,
        Form::Zip => {
            let mut archive = zip::ZipArchive::new(Cursor::new(file)).expect("a zip archive");
            let read = (0..archive.len()).map(|i| {
                let mut entry = archive.by_index(i).expect("an entry");
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("a whole entry");
                (entry.name().expect("a name").into_owned(), content)
            });
            packed(read)
        }
        Form::Tar => {
            let mut archive = tar::Archive::new(Cursor::new(file));
            packed(archive.entries().expect("a tar archive").map(|entry| {
                let mut entry = entry.expect("an entry");
                let name = entry.path().expect("a path").to_string_lossy().into_owned();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).expect("a whole entry");
                (name, content)
            }))
        }
    }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    for (name, value) in [("memory-bytes", 32 << 20), ("output-bytes", 4 << 20), ("decompressed-bytes", 16 << 20), ("tensors", 2_000)] {
        limits.set(name, value).expect("a limit");
    }
    limits
}

// ---- the pickle machine ---------------------------------------------------------------------------------------------

/// A stream gives a graph all of whose parts can be asked for, or an error that has a place in the stream.
fn stream(data: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(data);
    let place = |at: u64| assert!(at <= data.len() as u64, "a place at {at} in {} bytes", data.len());
    match pickle::run(&bytes, &Place::start_of(""), &limits()) {
        Ok(graph) => {
            assert!(graph.end() >= 1 && graph.ids().any(|id| id == graph.root()));
            place(graph.end());
            // Only the bytes up to the end count.
            let again = pickle::run(&bytes.slice(..graph.end() as usize), &Place::start_of(""), &limits()).expect("the same bytes");
            assert_eq!(walk(&graph), walk(&again));
            true
        }
        Err(broken) => {
            if let Some(at) = broken.error.place() {
                place(at.offset);
            }
            assert!(!broken.error.to_string().contains('\u{1b}'), "a message that could steer a terminal");
            broken.graphs.iter().for_each(|graph| drop(walk(graph)));
            false
        }
    }
}

/// Asks for everything that a graph has, and gives something to compare.
fn walk(graph: &Graph) -> Vec<String> {
    let ids: BTreeSet<_> = graph.ids().collect();
    graph
        .ids()
        .map(|id| {
            assert!(graph.children(id).all(|child| ids.contains(&child)), "a node that is not there");
            let blob = match graph.node(id) {
                Node::Bytes(blob)
                | Node::ByteArray(blob)
                | Node::Text(blob)
                | Node::Str(blob)
                | Node::Long(blob)
                | Node::LongText(blob) => graph.blob_shared(blob),
                _ => Bytes::new(),
            };
            format!(
                "{:?} {:?} {} {blob:?} {:?}",
                graph.node(id),
                graph.global(id),
                graph.offset(id),
                graph.text(id).map(|t| t.lossy().into_owned())
            )
        })
        .collect()
}

// ---- whole files ----------------------------------------------------------------------------------------------------

/// Inspects, converts and verifies a file: an error leaves nothing behind, and an output is what its manifest says.
fn file(data: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let input = folder.path().join("input");
    std::fs::write(&input, data).expect("a file in the temporary folder");
    let output = folder.path().join("out.safetensors");

    let mut options = ConvertOptions::default();
    options.read.limits = limits();
    // What refuses a file because of its calls or of a checksum must not keep the rest of the program out of reach.
    options.deny = Deny::None;
    options.read.ignore_crc = true;
    options.extras = Some(folder.path().join("extras.json"));

    if let Ok(inspected) = inspect(&input, &options) {
        let text = report::text::inspected(&input, &inspected.ledger);
        assert!(!text.contains('\u{1b}'), "a report that could steer a terminal");
    }
    assert_eq!(names(folder.path()), ["input"]);
    match convert::prepare(&input, &output, &options).and_then(|prepared| prepared.write(&output, &options, &())) {
        Err(error) => {
            assert!(!error.to_string().is_empty() && error.exit_code() > 0);
            assert!(error.code().as_str() != "mismatch", "the output is not what was planned: {error}");
            assert_eq!(names(folder.path()), ["input"], "after {error}");
            false
        }
        Ok(converted) => {
            assert_eq!(names(folder.path()), ["extras.json", "input", "out.safetensors", "out.safetensors.manifest.json"]);
            let bytes = std::fs::read(&output).expect("the output");
            let tensors = SafeTensors::deserialize(&bytes).expect("a file that safetensors reads");
            let written: BTreeSet<&str> = tensors.names().into_iter().collect();
            let ledger = converted.ledger();
            let recorded = ledger.tensors.iter().filter(|tensor| written.contains(tensor.name.as_str())).count();
            assert_eq!(recorded, written.len(), "tensors that the manifest does not name");
            check_manifest(&converted.files[0].manifest_path, &()).expect("what was written is what the manifest says");
            true
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the temporary folder");
    let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

// ---- archives -------------------------------------------------------------------------------------------------------

/// Bytes as names and contents: a byte, whose low bits are the length of the name and whose top bit says whether it is deflated; the
/// name; the length of the content as two bytes; the content. What is missing at the end is empty.
pub fn members(mut data: &[u8]) -> Vec<(String, bool, Vec<u8>)> {
    let mut take = |len: usize| {
        let (taken, rest) = data.split_at(len.min(data.len()));
        data = rest;
        taken
    };
    let mut members = Vec::new();
    while let [head] = take(1) {
        let name = String::from_utf8_lossy(take((head & 0x7f).into())).into_owned();
        let len = take(2).iter().rev().fold(0, |len, byte| len << 8 | usize::from(*byte));
        members.push((name, head & 0x80 != 0, take(len).to_vec()));
    }
    members
}

fn packed(members: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in members.filter(|(name, content)| name.len() < 128 && content.len() < 1 << 16) {
        out.push(name.len() as u8);
        out.extend(name.as_bytes());
        out.extend((content.len() as u16).to_le_bytes());
        out.extend(content);
    }
    out
}

fn zip(members: &[(String, bool, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, deflated, content) in members {
        let method = if *deflated { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
        // A name that is there already is refused by the writer.
        if writer.start_file(name.as_str(), zip::write::SimpleFileOptions::default().compression_method(method)).is_ok() {
            writer.write_all(content).expect("memory");
        }
    }
    writer.finish().expect("memory").into_inner()
}

fn tar(members: &[(String, bool, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, _, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if header.set_path(name).is_ok() {
            header.set_cksum();
            builder.append(&header, &content[..]).expect("memory");
        }
    }
    builder.into_inner().expect("memory")
}
