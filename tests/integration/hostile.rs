//! Hostile files, assembled byte by byte: every error code and every kind of finding has at least one, and an honest twin that
//! converts. A refusal leaves nothing behind, and `scan` says what `convert` says.

use std::collections::BTreeSet;

use depickle::error::Code;
use depickle::finding::KINDS;
use serde_json::Value;

use crate::assemble::{Entry, Legacy, Zip, array, bytes, call, cat, dict, global, int, npy, payload, pickle, tar, tensor, tensor_of};
use crate::assemble::{text, torch_zip, tuple};
use crate::harness::{Scratch, convert, depickle};

struct Case {
    name: &'static str,
    file: Vec<u8>,
    args: &'static [&'static str],
    /// The reason of a refusal; `None` for a file that converts.
    reason: Option<&'static str>,
    /// Kinds that must be found, others may be.
    kinds: &'static [&'static str],
}

fn case(name: &'static str, file: Vec<u8>, reason: Option<&'static str>, kinds: &'static [&'static str]) -> Case {
    Case { name, file, args: &[], reason, kinds }
}

/// A pickle of one array, with `before` in front of it.
fn bare(before: &[u8]) -> Vec<u8> {
    pickle(&cat(&[before, &dict(&[("w", &array(b"abc"))])]))
}

fn zip_with(change: impl FnOnce(&mut Zip)) -> Vec<u8> {
    torch_zip(b"").with(change).file()
}

/// A torch zip whose object is `value`.
fn torch(value: &[u8]) -> Vec<u8> {
    Zip::of(&[("a/data.pkl", &pickle(value)), ("a/data/0", b"\x01\x02\x03\x04")]).file()
}

fn legacy_with(change: impl FnOnce(&mut Legacy)) -> Vec<u8> {
    let mut legacy = Legacy::new();
    change(&mut legacy);
    legacy.file()
}

fn sized(n: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    torch(&dict(&[("w", &tensor_of("ByteStorage", "0", n, offset, shape, strides))]))
}

fn honest() -> Vec<Case> {
    let npz = Zip::of(&[("w.npy", &npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"ab"))]);
    vec![
        case("pickle", bare(b""), None, &[]),
        case("torch zip", torch_zip(b"").file(), None, &[]),
        case("legacy", Legacy::new().file(), None, &[]),
        case("npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"ab"), None, &[]),
        case("npz", npz.file(), None, &[]),
        case("bundle", tar(&[(b"m.pt", &torch_zip(b"").file())]), None, &[]),
    ]
}

fn pickles() -> Vec<Case> {
    let malformed = |name, before: &[u8]| case(name, bare(before), Some("pickle-malformed"), &[]);
    let second = cat(&[&bare(b""), &bare(&payload())]);
    let unknown = call(&global("pack.age", "function"), &[&array(b"xy")]);
    let dynamic = cat(&[&call(&global("pack", "name"), &[]), &text("system"), b"\x93", &tuple(&[&text("x")]), b"R0"]);
    vec![
        malformed("INT 010", b"I010\n0"),
        malformed("INT 0x10", b"I0x10\n0"),
        malformed("INT 1_000", b"I1_000\n0"),
        malformed("INT with a NUL", b"I12\x00 3\n0"),
        malformed("LONG 010", b"L010L\n0"),
        malformed("STRING without its end", b"S'x\n0"),
        malformed("FLOAT 1_0", b"F1_0\n0"),
        malformed("FLOAT 1e999", b"F1e999\n0"),
        malformed("PUT -1", b"Np-1\n0"),
        malformed("GLOBAL without a module", b"c\nname\n0"),
        malformed("GLOBAL without a name", b"cmodule\n\n0"),
        malformed("protocol 6", b"\x80\x06"),
        malformed("DUP across a mark", b"N(2"),
        malformed("SETITEMS with an odd number", b"}(Nu0"),
        malformed("a memo entry that was never set", b"h\x07"),
        malformed("no opcode", b"\xff"),
        case("FRAME past the end", cat(&[b"\x80\x04\x95", &u64::MAX.to_le_bytes(), b"N."]), Some("truncated"), &[]),
        case("a length of 2^64", cat(&[b"\x80\x04\x8e", &u64::MAX.to_le_bytes(), b"N."]), Some("truncated"), &[]),
        case("cut", bare(b"")[..40].to_vec(), Some("truncated"), &[]),
        case("LONG_BINPUT 0xffffffff", bare(b"Nr\xff\xff\xff\xff0"), None, &[]),
        case("bool by INT 01", bare(b"I01\n0"), None, &[]),
        case("EXT1", bare(b"\x82\x01"), Some("pickle-unsupported-opcode"), &["extension-code"]),
        case("NEXT_BUFFER", bare(b"\x97"), Some("pickle-unsupported-opcode"), &[]),
        case("PERSID", bare(b"P1\n"), Some("pickle-unsupported-opcode"), &[]),
        case("a second pickle", second, Some("pickle-multiple"), &["callable", "trailing-data"]),
        case("bytes behind the end", cat(&[&bare(b""), b"\x01\x01"]), None, &["trailing-data"]),
        case("a value on the stack", bare(b"N"), None, &["stack-leftover"]),
        case("a key twice", pickle(&dict(&[("w", &array(b"a")), ("w", &array(b"b"))])), None, &["duplicate-key"]),
        case("a dict in itself", pickle(&cat(&[b"}q\x01(", &text("w"), &array(b"a"), &text("self"), b"h\x01u"])), None, &["cycle"]),
        case("an unknown call", bare(&cat(&[&unknown, b"0"])), None, &["callable", "tensor-escapes"]),
        case("an unknown class", bare(&cat(&[&global("pack", "Age"), b")\x810"])), None, &["unknown-class"]),
        case("a name that is computed", bare(&dynamic), Some("denied"), &["dynamic-global"]),
        case("a state for a class", bare(&cat(&[&global("pack", "Age"), b"}b0"])), Some("opaque-result"), &["callable"]),
        case("a call", bare(&cat(&[&payload(), b"0"])), Some("denied"), &["callable"]),
        case("a call, then damage", cat(&[b"\x80\x02", &payload(), b"\xff"]), Some("pickle-malformed"), &["callable"]),
        // `eval` that is called as Paddle does is quiet; the same function on its way to somebody else is not.
        case(
            "a function that was called and is handed on",
            bare(&cat(&[
                &global("builtins", "eval"),
                b"q\x09",
                &tuple(&[&text("data"), &dict(&[("data", b"N")])]),
                b"R0",
                &call(&global("functools", "partial"), &[b"h\x09"]),
                b"0",
            ])),
            Some("denied"),
            &["callable"],
        ),
        case("an unknown function that is handed on", bare(&cat(&[&global("pack", "age"), b"0"])), None, &["callable"]),
        case(
            "a method in a state",
            bare(&cat(&[&global("pack", "Age"), b")\x81", &dict(&[("__setstate__", &global("pack", "age"))]), b"b0"])),
            Some("denied"),
            &["callable"],
        ),
        case(
            "a class of three arguments",
            bare(&cat(&[&call(&global("abc", "ABCMeta"), &[&text("A"), b")", b"}"]), b"0"])),
            Some("denied"),
            &["callable"],
        ),
        case(
            "an attribute of an attribute",
            bare(&cat(&[&call(&global("builtins", "getattr"), &[&global("torch", "nn"), &text("__globals__")]), b"0"])),
            Some("denied"),
            &["callable"],
        ),
        case("a constructor by INST", bare(b"(S'a.yaml'\niultralytics.nn.tasks\nDetectionModel\n0"), None, &["callable"]),
        // What breaks this reader, and no other one, hides nothing that comes behind it.
        case("a number that breaks, then a call", bare(&cat(&[b"I010\n0", &payload(), b"0"])), Some("pickle-malformed"), &["callable"]),
        case("nothing", pickle(b"}"), Some("no-tensors"), &[]),
        case("a million digits", pickle(&cat(&[b"L", &vec![b'9'; 1_000_000], b"L\n"])), Some("limit-exceeded"), &[]),
        case("a name that is no Unicode", pickle(&cat(&[b"}(X\x03\0\0\0\xed\xa0\x80", &array(b"a"), b"u"])), Some("name-invalid"), &[]),
        case(
            "two tensors of one name",
            pickle(&cat(&[b"}(I1\n", &array(b"a"), &text("1"), &array(b"b"), b"u"])),
            Some("name-collision"),
            &[],
        ),
        case("names that look alike", pickle(&dict(&[("w", &array(b"a")), ("w\u{200b}", &array(b"b"))])), None, &["confusable-names"]),
    ]
}

fn tensors() -> Vec<Case> {
    let sparse = call(&global("torch._utils", "_rebuild_of_tomorrow"), &[b"N"]);
    let meta = tensor_of("ByteStorage", "0", 4, 0, &[4], &[1]);
    let bools = torch(&dict(&[("w", &tensor_of("BoolStorage", "0", 4, 0, &[4], &[1]))]));
    let device = call(
        &global("torch._utils", "_rebuild_device_tensor_from_numpy"),
        &[&array(b"abcd"), &global("torch", "float32"), &text("xla"), b"\x89"],
    );
    vec![
        case("a view beyond the storage", sized(4, 1, &[4], &[1]), Some("tensor-out-of-bounds"), &[]),
        case("a stride that wraps", sized(4, 0, &[2], &[i32::MAX]), Some("tensor-out-of-bounds"), &[]),
        case("a negative size", sized(4, 0, &[-1], &[1]), Some("tensor-invalid"), &[]),
        case("a negative offset", sized(4, -1, &[1], &[1]), Some("tensor-invalid"), &[]),
        case("a size of 0 far outside", sized(4, 0, &[0, 9], &[7, 7]), None, &[]),
        case("a storage of another size", sized(5, 0, &[4], &[1]), Some("storage-size-mismatch"), &[]),
        case("a storage that is not there", torch(&dict(&[("w", &tensor("9", 4))])), Some("missing-entry"), &[]),
        case("an unknown rebuild", torch(&dict(&[("v", &sparse), ("w", &meta)])), Some("opaque-result"), &[]),
        case("a conversion that torch would make", pickle(&dict(&[("v", &device), ("w", &array(b"a"))])), Some("tensor-unsupported"), &[]),
        Case {
            args: &["--exclude", "v"],
            ..case("the same left out", pickle(&dict(&[("v", &device), ("w", &array(b"a"))])), None, &["unsupported-tensor"])
        },
        case("bools of 1 to 4", bools, None, &["bool-not-0-1"]),
    ]
}

fn zips() -> Vec<Case> {
    let ambiguous = |name, change: fn(&mut Zip), kinds| case(name, zip_with(change), Some("zip-ambiguous"), kinds);
    let copy =
        |zip: &mut Zip, name: &str, data: &[u8]| zip.entries.push(Entry { name: name.into(), data: data.to_vec(), ..Entry::default() });
    let evil = pickle(&payload());
    let end = |zip: &Zip| zip.file()[zip.file().len() - 22..].to_vec();
    // An entry inside of the data of another one.
    let inner = Zip::of(&[("a/x", b"inner")]).file();
    let outer = zip_with(|zip| {
        copy(zip, "a/outer", &inner);
        let start = zip.file().windows(inner.len()).position(|window| window == inner).expect("the data") as u32;
        let extra = Zip::of(&[("a/x", b"inner")]).entries[0].extra.clone();
        zip.entries.push(Entry { name: b"a/x".to_vec(), data: b"inner".to_vec(), extra, start: Some(start), ..Entry::default() });
    });
    let deflated = zip_with(|zip| zip.entries[1].method = 8);
    let honest = torch_zip(b"").file();
    vec![
        ambiguous("two entries of one name", |zip| zip.entries.push(zip.entries[0].clone()), &["duplicate-entry"]),
        ambiguous("names that differ by case", |zip| zip.entries[2].name = b"a/DATA.PKL".to_vec(), &["duplicate-entry"]),
        ambiguous("a name with a NUL", |zip| zip.entries[2].name = b"a/data.pkl\0x".to_vec(), &["duplicate-entry"]),
        ambiguous("names with both slashes", |zip| zip.entries[2].name = b"a\\data.pkl".to_vec(), &["duplicate-entry"]),
        ambiguous("another local name", |zip| zip.entries[0].local_name = Some(b"a/data.pkx".to_vec()), &["zip-header-mismatch"]),
        ambiguous("another local size", |zip| zip.entries[0].local_size = Some(3), &["zip-header-mismatch"]),
        ambiguous("another size when stored", |zip| zip.entries[1].size = Some(3), &["zip-header-mismatch"]),
        ambiguous("a Unicode path", |zip| zip.entries[0].extra = b"\x75\x70\x05\0\x01\0\0\0\0".to_vec(), &["zip-unicode-path"]),
        ambiguous("an entry beside the folder", |zip| zip.entries[2].name = b"b/version".to_vec(), &[]),
        case("too many entries said", zip_with(|zip| zip.more_entries = 1), Some("zip-malformed"), &[]),
        case("cut", honest[..honest.len() - 30].to_vec(), Some("zip-malformed"), &[]),
        case("bytes behind", cat(&[&honest, b"junk"]), Some("zip-ambiguous"), &["zip-trailing-data"]),
        case("bytes before", cat(&[b"\x01\x02junk", &honest]), Some("zip-ambiguous"), &["zip-prefix"]),
        case("another archive before", cat(&[&honest, &honest]), Some("zip-ambiguous"), &["zip-prefix"]),
        case("two end records", zip_with(|zip| zip.comment = end(zip)), Some("zip-ambiguous"), &["zip-comment"]),
        case("an entry inside of another one", outer, Some("zip-ambiguous"), &["zip-header-mismatch"]),
        case("encrypted", zip_with(|zip| zip.entries[1].flags = 1), Some("zip-encrypted"), &["zip-flags"]),
        case("a flag that nobody sets", zip_with(|zip| zip.entries[1].flags = 0x80), None, &["zip-flags"]),
        case("method 12", zip_with(|zip| zip.entries[1].method = 12), Some("zip-unsupported-method"), &[]),
        case("a wrong checksum", zip_with(|zip| zip.entries[1].crc = Some(7)), Some("zip-crc"), &[]),
        case("no checksum", zip_with(|zip| zip.entries[1].crc = Some(0)), None, &["zip-crc"]),
        case("data that does not inflate", deflated, Some("zip-malformed"), &[]),
        case("a comment", zip_with(|zip| zip.comment = b"hello".to_vec()), None, &["zip-comment"]),
        case("a comment of an entry", zip_with(|zip| zip.entries[0].comment = b"hello".to_vec()), None, &["zip-comment"]),
        case("a gap", zip_with(|zip| zip.entries[2].gap = b"gap".to_vec()), None, &["zip-gap"]),
        case(
            "an entry that is not listed",
            zip_with(|zip| {
                copy(zip, "a/x", &evil);
                zip.entries[3].unlisted = true;
            }),
            Some("denied"),
            &["zip-gap", "callable"],
        ),
        case("an entry that is not used", zip_with(|zip| copy(zip, "a/extra", b"x")), None, &["unreferenced-entry"]),
        case("a pickle under another name", zip_with(|zip| copy(zip, "a/.picture", &evil)), Some("denied"), &["callable"]),
        case("entries that are not aligned", zip_with(|zip| zip.entries[1].extra = Vec::new()), None, &["noncanonical-layout"]),
        case("a version of tomorrow", zip_with(|zip| zip.entries[2].data = b"99\n".to_vec()), None, &["unknown-version"]),
        case("big-endian", zip_with(|zip| copy(zip, "a/byteorder", b"big")), None, &["byteorder"]),
        case(
            "a call, then a wrong checksum",
            torch_zip(&cat(&[&payload(), b"0"])).with(|zip| zip.entries[1].crc = Some(7)).file(),
            Some("denied"),
            &["callable"],
        ),
        case(
            "a call in an ambiguous archive",
            torch_zip(&cat(&[&payload(), b"0"])).with(|zip| zip.entries.push(zip.entries[0].clone())).file(),
            Some("zip-ambiguous"),
            &["callable"],
        ),
    ]
}

fn others() -> Vec<Case> {
    let evil = pickle(&payload());
    let objects = |value: &[u8]| npy("{'descr': '|O', 'fortran_order': False, 'shape': (), }", &pickle(value));
    let nested = call(&global("torch.storage", "_load_from_bytes"), &[&bytes(&legacy_with(|l| l.object = evil.clone()))]);
    let with_payload = |change: fn(&mut Legacy, Vec<u8>)| legacy_with(|legacy| change(legacy, pickle(&payload())));
    let joblib = |data: &[u8]| {
        let shape = tuple(&[&int(data.len() as i32)]);
        let dtype = call(&global("numpy", "dtype"), &[&text("u1"), b"\x89", b"\x88"]);
        let state = dict(&[
            ("subclass", &global("numpy", "ndarray")),
            ("shape", &shape),
            ("order", &text("C")),
            ("dtype", &dtype),
            ("allow_mmap", b"\x89"),
        ]);
        cat(&[b"\x80\x02", &global("joblib.numpy_pickle", "NumpyArrayWrapper"), b")\x81", &state, b"b", data, b"."])
    };
    // Two tensors over parts of one storage, by the keys and offsets of the parts.
    let part = |(key, offset): (&str, i32)| {
        let view = tuple(&[&text(key), &int(offset), &int(2)]);
        let pid = tuple(&[&text("storage"), &global("torch", "ByteStorage"), &text("7"), &text("cpu"), &int(4), &view]);
        let hooks = call(&global("collections", "OrderedDict"), &[]);
        let args = tuple(&[&cat(&[&pid, b"Q"]), &int(0), &tuple(&[&int(2)]), &tuple(&[&int(1)]), b"\x89", &hooks]);
        cat(&[&global("torch._utils", "_rebuild_tensor_v2"), &args, b"R"])
    };
    let parts = |first, second| pickle(&dict(&[("a", &part(first)), ("b", &part(second))]));
    let mut tar_pickle = evil.clone();
    tar_pickle.resize(90, b'x');
    vec![
        case("empty", Vec::new(), Some("empty-file"), &[]),
        case("anything", b"\x01\x02\x03\x04\x05\x06\x07\x08\x09".to_vec(), Some("unknown-format"), &[]),
        case("7z", b"7z\xbc\xaf\x27\x1c\0\0\0\0".to_vec(), Some("unsupported-container"), &[]),
        case(
            "legacy: a call for the magic number",
            with_payload(|l, evil| l.magic = cat(&[&l.magic[..14], b"0", &evil[2..]])),
            Some("legacy-malformed"),
            &["callable"],
        ),
        case("legacy: a call for the version", with_payload(|l, evil| l.version = evil), Some("legacy-malformed"), &["callable"]),
        case("legacy: a call for the facts", with_payload(|l, evil| l.system = evil), Some("legacy-malformed"), &["callable"]),
        case("legacy: a call for the object", with_payload(|l, evil| l.object = evil), Some("legacy-malformed"), &["callable"]),
        case("legacy: a call for the keys", with_payload(|l, evil| l.keys = evil), Some("legacy-malformed"), &["callable"]),
        case(
            "legacy: a call behind the tail",
            with_payload(|l, evil| l.tail.extend(evil)),
            Some("pickle-multiple"),
            &["callable", "trailing-data"],
        ),
        case("legacy: two parts with one key", legacy_with(|l| l.object = parts(("v", 0), ("v", 2))), Some("legacy-malformed"), &[]),
        case(
            "legacy: a part with the key of a whole storage",
            legacy_with(|l| l.object = parts(("7", 0), ("v", 2))),
            Some("legacy-malformed"),
            &[],
        ),
        case("legacy: two parts", legacy_with(|l| l.object = parts(("u", 0), ("v", 2))), None, &[]),
        case("legacy: a storage is missing", legacy_with(|l| l.keys = pickle(b"]")), Some("legacy-malformed"), &[]),
        case("legacy: a storage of another size", legacy_with(|l| l.tail[0] = 3), Some("storage-size-mismatch"), &[]),
        case("legacy: big-endian", legacy_with(|l| l.system = pickle(&dict(&[("little_endian", b"\x89")]))), None, &["byteorder"]),
        case("npy: no header", npy("{'descr': ", b""), Some("npy-malformed"), &[]),
        case("npy: an array of objects", objects(b"]"), Some("object-array"), &[]),
        case("npy: a call in an array of objects", objects(&payload()), Some("denied"), &["callable"]),
        case(
            "npy: a second one behind it",
            cat(&[&npy("{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", b"ab"), &objects(&payload())]),
            Some("pickle-multiple"),
            &["callable"],
        ),
        case("npz: a call in an array of objects", Zip::of(&[("w.npy", &objects(&payload()))]).file(), Some("denied"), &["callable"]),
        case("nested", bare(&cat(&[&nested, b"0"])), Some("denied"), &["callable"]),
        case(
            "joblib: an array that is opcodes to others",
            joblib(&cat(&[b"0", &payload(), b"0N."])),
            Some("denied"),
            &["polyglot", "callable"],
        ),
        case(
            "gzip that is damaged",
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
            Some("compression-malformed"),
            &[],
        ),
        case(
            "tar: a bad size",
            {
                let mut file = tar(&[(b"m.pt", b"x")]);
                file[512 + 124] = b'9';
                file[124] = b'9';
                file
            },
            Some("tar-malformed"),
            &[],
        ),
        case("tar: out of its folder", tar(&[(b"../m.pt", &bare(&payload()))]), Some("tar-ambiguous"), &["callable"]),
        case("tar: a pickle too", tar(&[(&tar_pickle, b"x")]), Some("tar-ambiguous"), &["polyglot", "callable"]),
        case(
            "tar: a pickle under another name",
            tar(&[(b"m.pt", &torch_zip(b"").file()), (b"notes.txt", &evil)]),
            Some("denied"),
            &["callable"],
        ),
        case(
            "tar: a text that is a pickle",
            tar(&[(b"m.pt", &torch_zip(b"").file()), (b"notes.txt", b"cposix\nsystem\n(S'x'\ntR.")]),
            Some("denied"),
            &["callable"],
        ),
        case(
            "a pickle and a zip behind it",
            cat(&[&bare(b""), &torch_zip(&payload()).file()]),
            Some("zip-ambiguous"),
            &["polyglot", "callable"],
        ),
        case(
            "source of a class",
            legacy_with(|l| {
                let pid = tuple(&[&text("module"), &global("pack", "Age"), &text("age.py"), &text("class Age: pass")]);
                l.object = cat(&[&l.object[..2], &pid, b"Q0", &l.object[2..]]);
            }),
            None,
            &["embedded-source"],
        ),
    ]
}

fn cases() -> Vec<Case> {
    [honest(), pickles(), tensors(), zips(), others()].into_iter().flatten().collect()
}

/// Codes and kinds that no input file gives: they have tests of their own in `outputs`, `verification`, `faults` and `sets`.
const OF_OTHER_TESTS: &[&str] = &["usage", "output-exists", "io", "mismatch", "index-malformed", "set-incomplete"];
const KINDS_OF_OTHER_TESTS: &[&str] = &["index-differs"];

#[test]
fn every_code_and_every_kind_has_a_file() {
    let cases = cases();
    let codes: BTreeSet<&str> = cases.iter().filter_map(|case| case.reason).chain(OF_OTHER_TESTS.iter().copied()).collect();
    let kinds: BTreeSet<&str> = cases.iter().flat_map(|case| case.kinds).chain(KINDS_OF_OTHER_TESTS).copied().collect();
    assert_eq!(codes, Code::ALL.iter().map(|code| code.as_str()).collect());
    assert_eq!(kinds, KINDS.iter().map(|(kind, _)| *kind).collect());
}

fn kinds(said: &Value) -> BTreeSet<&str> {
    said["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["kind"].as_str()).collect()
}

fn check(case: &Case) -> Result<(), String> {
    let scratch = Scratch::new();
    let input = scratch.write("input", &case.file);
    let output = scratch.path("out.safetensors");
    let run = convert(&input, &output, &[case.args, &["--json"]].concat());
    let said: Value = serde_json::from_str(&run.stdout).map_err(|e| format!("{e}: {} {}", run.stdout, run.stderr))?;
    let found = match run.code {
        0 => crate::harness::json(&scratch.path("out.safetensors.manifest.json")),
        _ => said.clone(),
    };
    let (reason, found) = (said["reason"].as_str(), kinds(&found));
    let expected: BTreeSet<&str> = case.kinds.iter().copied().collect();
    if reason != case.reason || !found.is_superset(&expected) {
        return Err(format!("{reason:?} with {found:?}: {}", said["message"]));
    }
    let exit = match reason {
        None => 0,
        Some("denied") => 3,
        Some(_) => 1,
    };
    if run.code != exit {
        return Err(format!("exit code {}, expected {exit}", run.code));
    }
    if exit != 0 && scratch.names() != ["input"] {
        return Err(format!("left behind: {:?}", scratch.names()));
    }
    // A payload ends a scan with 3, however broken the file is.
    let scan = depickle(["scan", "--json", input.to_str().expect("a path")]);
    let scanned: Value = serde_json::from_str(&scan.stdout).map_err(|e| e.to_string())?;
    let dangerous = |said: &Value| said["findings"].as_array().into_iter().flatten().any(|finding| finding["severity"] == "dangerous");
    let payload = exit == 3 || dangerous(&said);
    if payload != (scan.code == 3) || payload != dangerous(&scanned) {
        return Err(format!("scan: exit code {} and {}", scan.code, scan.stdout));
    }
    Ok(())
}

#[test]
fn hostile_files_are_refused_and_said_what_they_are() {
    let failures: Vec<String> = cases().iter().filter_map(|case| check(case).err().map(|why| format!("{}: {why}", case.name))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_call_is_shown_with_its_arguments_and_its_place() {
    let scratch = Scratch::new();
    let input = scratch.write("model.pt", &torch_zip(&cat(&[&payload(), b"0"])).file());
    let scan = depickle(["scan", input.to_str().expect("a path")]);
    assert_eq!(scan.code, 3);
    for part in ["dangerous", "posix.system", "runs programs", "(\"echo this would have run\")", "a/data.pkl+0x2f"] {
        assert!(scan.stdout.contains(part), "{part}: {}", scan.stdout);
    }
}

#[test]
fn many_calls_of_int_and_dict_do_not_hide_one_that_counts() {
    let quiet: Vec<u8> = (0..20_000).flat_map(|i| cat(&[&call(&global("pack", "age"), &[&int(i)]), b"0"])).collect();
    let scratch = Scratch::new();
    let input = scratch.write("model.pkl", &bare(&cat(&[&quiet, &payload(), b"0"])));
    assert_eq!(depickle(["scan", "--quiet", input.to_str().expect("a path")]).code, 3);
}
