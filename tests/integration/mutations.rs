//! Damaged files: real ones cut at every byte, and with one bit of every byte changed.
//!
//! Claimed for every file: there is a conversion or one error that leaves nothing behind, never a panic.
//! Claimed for a cut file ([`CUT`]): an error. A tar archive may also be cut where only zeros follow, which changes no tensor, or
//! ([`BETWEEN_MEMBERS`]) between two members, which makes another archive: the mark at its end is missing, as some programs leave it.
//! Claimed for a changed byte where everything is under a checksum ([`CHECKED`]: zip archives and compressed files): an error, or
//! exactly the tensors of the whole file.
//! Elsewhere a changed byte of data or of a pickle is another file that is as good as the first, which nobody can tell. Of torch's
//! legacy files it is claimed that a changed count of a storage is an error.

use std::collections::BTreeMap;

use depickle::ConvertOptions;
use depickle::convert::prepare;
use depickle::pickle;
use depickle::{Limits, Place};

use crate::harness::{Scratch, Tensor, testdata};

/// Small files of each container.
const CUT: &[&str] = &[
    "torch-zip/2.15.0/bare_tensor.pt",
    "torch-zip/2.15.0/deflated.pt",
    "torch-zip/1.6.0/views.pt",
    "torch-legacy/by-hand/storage_views.pt",
    "torch-legacy/1.0.0/views.pt",
    "torch-tar/by-hand/state.tar.pt",
    "torchscript/2.15.0/scripted.pt",
    "torch-package/1.8.1/one.pt",
    "pt2/2.5.1/linear.pt2",
    "bare-pickle/numpy-1.11.0-py2.7/keys_p2.pkl",
    "bare-pickle/numpy-2.4.6-py3.11/keys_p0.pkl",
    "bare-pickle/numpy-2.4.6-py3.11/layouts_p5.pkl",
    "npy/by-hand/one_dimension.npy",
    "npz/numpy-2.4.6-py3.11/positional.npz",
    "npz/numpy-2.4.6-py3.11/objects_compressed.npz",
    "joblib/joblib-1.6.0-py3.13/small.joblib",
    "joblib/joblib-1.6.0-py3.13/small.lz4.joblib",
    "bundles/one.tar.gz",
    "bundles/served.mar",
    "bundles/no_end_blocks.tar",
    "compressed/state.pkl.gz",
    "compressed/two_members.pkl.gz",
    "compressed/state.pkl.bz2",
    "compressed/state.pkl.lzma",
    "compressed/check_none.pkl.xz",
    "compressed/checksum.pkl.zst",
    "compressed/level_6.pkl.zlib",
];

/// Where a file may be cut.
const BETWEEN_MEMBERS: &[(&str, usize)] = &[("bundles/no_end_blocks.tar", 1024)];

/// Files in which every byte that a tensor is made of is under a checksum.
const CHECKED: &[&str] = &[
    "torch-zip/2.15.0/bare_tensor.pt",
    "torch-zip/2.15.0/deflated.pt",
    "regressions/package_source_is_pickle.pt",
    "npz/numpy-2.4.6-py3.11/positional.npz",
    "npz/numpy-2.4.6-py3.11/objects_compressed.npz",
    "bundles/one.tar.gz",
    "bundles/served.mar",
    "compressed/state.pkl.gz",
    "compressed/two_members.pkl.gz",
    "compressed/state.pkl.bz2",
    "compressed/check_crc32.pkl.xz",
    "compressed/checksum.pkl.zst",
    "compressed/checksums.pkl.lz4",
    "compressed/level_6.pkl.zlib",
];

/// Files without checksums, whose changed bytes must only not panic.
const UNCHECKED: &[&str] = &[
    "torch-legacy/by-hand/storage_views.pt",
    "bare-pickle/numpy-1.11.0-py2.7/keys_p2.pkl",
    "bare-pickle/numpy-2.4.6-py3.11/layouts_p5.pkl",
    "npy/by-hand/one_dimension.npy",
    "npy/by-hand/escapes.npy",
    "joblib/joblib-1.6.0-py3.13/small.joblib",
    "bundles/base256_size.tar",
];

type Tensors = BTreeMap<String, Tensor>;

/// The tensors that a file converts to. It is done in this process, where a panic fails the test; an error leaves nothing behind.
fn tensors(scratch: &Scratch, bytes: &[u8]) -> Option<Tensors> {
    let input = scratch.write("input", bytes);
    let output = scratch.path("out.safetensors");
    let options = ConvertOptions::default();
    let result = prepare(&input, &output, &options).and_then(|prepared| prepared.write(&output, &options, &()));
    let converted = result.ok().map(|converted| {
        std::fs::remove_file(&converted.files[0].output).expect("an output");
        std::fs::remove_file(&converted.files[0].manifest_path).expect("a manifest");
        let tensors = converted.ledger().tensors.iter();
        tensors.map(|t| (t.name.clone(), (t.dtype.clone(), t.shape.clone(), t.sha256.clone().expect("a digest")))).collect()
    });
    assert_eq!(scratch.names(), ["input"]);
    converted
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(testdata().join(name)).expect(name)
}

fn flipped(bytes: &[u8], at: usize, mask: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] ^= mask;
    changed
}

fn cut_anywhere(part: usize) {
    let scratch = Scratch::new();
    let mut wrong = Vec::new();
    for name in CUT.iter().skip(part).step_by(2) {
        let mut bytes = read(name);
        let whole = tensors(&scratch, &bytes).unwrap_or_else(|| panic!("{name} itself converts"));
        if name.contains(".tar") && !name.ends_with("gz") {
            // As far as there is anything but zeros, and one block of them.
            let used = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
            bytes.truncate(used.next_multiple_of(512) + 512);
        }
        // The larger ones are zip archives, whose directory is at the end.
        let step = if bytes.len() > 4096 { 5 } else { 1 };
        for len in (0..bytes.len()).step_by(step) {
            match tensors(&scratch, &bytes[..len]) {
                None => {}
                Some(tensors) if tensors == whole && bytes[len..].iter().all(|&byte| byte == 0) => {}
                Some(_) if BETWEEN_MEMBERS.contains(&(*name, len)) => {}
                Some(_) => wrong.push(format!("{name} cut to {len} of {} bytes converts", bytes.len())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    cut_anywhere(0);
}

#[test]
fn another_file_cut_anywhere_is_one_too() {
    cut_anywhere(1);
}

#[test]
fn a_changed_byte_under_a_checksum_is_an_error_or_changes_no_tensor() {
    let scratch = Scratch::new();
    let mut wrong = Vec::new();
    for name in CHECKED {
        let bytes = read(name);
        let whole = tensors(&scratch, &bytes).unwrap_or_else(|| panic!("{name} itself converts"));
        for at in 0..bytes.len() {
            let mask = 1 << (at % 8);
            if tensors(&scratch, &flipped(&bytes, at, mask)).is_some_and(|tensors| tensors != whole) {
                wrong.push(format!("{name} with byte {at:#x} changed by {mask:#x} converts to something else"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of a compressed array only the header is read to plan; these bits make the shape or the dtype another.
#[test]
fn a_damaged_header_of_a_compressed_array_is_found_although_no_data_of_it_is_read() {
    let scratch = Scratch::new();
    let bytes = read("npz/numpy-2.4.6-py3.11/objects_compressed.npz");
    for (at, mask) in [(0x51, 0x80), (0x52, 0x02), (0x52, 0x08), (0x53, 0x02), (0x74, 0x40), (0x22b, 0x01)] {
        assert_eq!(tensors(&scratch, &flipped(&bytes, at, mask)), None, "{at:#x}");
    }
}

#[test]
fn a_changed_byte_never_panics() {
    let scratch = Scratch::new();
    for name in UNCHECKED {
        let bytes = read(name);
        for at in 0..bytes.len() {
            let mask = if at % 3 == 0 { 0xff } else { 1 << (at % 8) };
            tensors(&scratch, &flipped(&bytes, at, mask));
        }
    }
}

#[test]
fn a_changed_count_of_a_legacy_storage_is_an_error_and_its_data_changes_only_data() {
    let scratch = Scratch::new();
    for name in ["torch-legacy/1.0.0/views.pt", "torch-legacy/1.5.1/views.pt", "torch-legacy/by-hand/storage_views.pt"] {
        let bytes = bytes::Bytes::from(read(name));
        let whole = tensors(&scratch, &bytes).expect("a file that converts");
        let mut tail = 0;
        let mut storages = 0;
        for _ in 0..5 {
            let graph = pickle::run(&bytes.slice(tail..), &Place::start_of(""), &Limits::default()).expect("one of five pickles");
            tail += graph.end() as usize;
            storages = graph.sequence(graph.root()).map_or(0, <[_]>::len);
        }
        let kinds = |tensors: &Tensors| tensors.values().map(|(dtype, shape, _)| (dtype.clone(), shape.clone())).collect::<Vec<_>>();
        let mut errors = 0;
        for at in tail..bytes.len() {
            match tensors(&scratch, &flipped(&bytes, at, 1 << (at % 8))) {
                Some(tensors) => assert_eq!(kinds(&tensors), kinds(&whole), "{name} with byte {at:#x} changed"),
                None => errors += 1,
            }
        }
        assert_eq!(errors, 8 * storages, "{name}: each storage begins with a count of eight bytes");
    }
}
