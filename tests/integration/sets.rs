//! Sets of shards: converted file by file with a new index, or as one checkpoint that is split again, as the real libraries wrote
//! and split them; and hostile ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::assemble::{Zip, dict, pickle, tensor_of, torch_zip};
use crate::harness::{Scratch, Tensor, convert, depickle, json, read_tensors, sha256, testdata};

const SETS: [&str; 3] = ["hub-2.4.0", "transformers-4.20.1", "transformers-4.30.2"];
const INDEX: &str = "pytorch_model.bin.index.json";

fn set(name: &str) -> PathBuf {
    testdata().join("index-sets").join(name)
}

fn expected(name: &str) -> Value {
    json(&set(name).join("expect.json"))
}

/// dtype, shape and digest of each tensor, as torch gives them.
fn tensors_of(expected: &Value) -> BTreeMap<String, Tensor> {
    let tensors = expected["tensors"].as_object().expect("tensors");
    let describe = |tensor: &Value| {
        let text = |key: &str| tensor[key].as_str().expect(key).to_owned();
        let shape = tensor["shape"].as_array().expect("a shape").iter().map(|size| size.as_u64().expect("a size")).collect();
        (text("dtype"), shape, text("sha256"))
    };
    tensors.iter().map(|(name, tensor)| (name.clone(), describe(tensor))).collect()
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

/// The tensors of all files of a folder, and the file of each; tied names, too, which `aliases` of the manifests have.
fn read_all(folder: &Path) -> (BTreeMap<String, Tensor>, BTreeMap<String, String>) {
    let (mut tensors, mut places) = (BTreeMap::new(), BTreeMap::new());
    for file in files(folder, ".safetensors") {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        let read = read_tensors(&file);
        let manifest = json(&folder.join(format!("{name}.manifest.json")));
        for (dropped, kept) in manifest["aliases"].as_object().expect("aliases") {
            tensors.insert(dropped.clone(), read[kept.as_str().expect("a name")].clone());
        }
        for (tensor, described) in read {
            assert!(places.insert(tensor.clone(), name.clone()).is_none(), "{tensor} is there twice");
            tensors.insert(tensor, described);
        }
    }
    (tensors, places)
}

fn verify(path: &Path) -> crate::harness::Run {
    depickle([Path::new("verify"), path])
}

#[test]
fn each_shard_becomes_a_file_and_the_index_lists_what_is_in_them() {
    for name in SETS {
        let scratch = Scratch::new();
        let out = scratch.path("out/");
        let run = convert(&set(name).join(INDEX), &out, &[]);
        assert_eq!(run.code, 0, "{name}: {}", run.stderr);
        let (tensors, places) = read_all(&out);
        assert_eq!(tensors, tensors_of(&expected(name)), "{name}");
        let index = json(&out.join("model.safetensors.index.json"));
        assert_eq!(index["weight_map"], json!(places), "{name}");
        assert_eq!(index["metadata"], json(&set(name).join(INDEX))["metadata"], "{name}");
        for path in [out.clone(), out.join("model.safetensors.index.json")] {
            let run = verify(&path);
            assert_eq!(run.code, 0, "{name}: {}", run.stderr);
            assert!(run.stderr.contains("each in the one of"), "{name}: {}", run.stderr);
        }
        // As if each file had been converted by itself.
        for shard in files(&set(name), ".bin") {
            let alone = Scratch::new();
            assert_eq!(convert(&shard, &alone.path("out/"), &[]).code, 0);
            let [file] = &files(&alone.path("out"), ".safetensors")[..] else { panic!("one file") };
            let same = out.join(file.file_name().expect("a name"));
            assert!(std::fs::read(file).expect("a file") == std::fs::read(same).expect("a file"), "{name}");
        }
    }
}

#[test]
fn a_rewritten_index_has_the_form_of_the_hugging_face_libraries() {
    // Nothing is tied inside of a file here, so that only the names of the files change.
    let name = "transformers-4.20.1";
    let scratch = Scratch::new();
    assert_eq!(convert(&set(name).join(INDEX), &scratch.path("out/"), &[]).code, 0);
    let source = std::fs::read_to_string(set(name).join(INDEX)).expect("the index");
    let expected = source.replace("pytorch_model-", "model-").replace(".bin\"", ".safetensors\"");
    assert_eq!(std::fs::read_to_string(scratch.path("out/model.safetensors.index.json")).expect("the index"), expected);
}

/// Splits `input` in every size and compares the files and the index with those of `huggingface_hub`.
fn check_splits(input: &Path, splits: &Value) {
    let schema =
        jsonschema::validator_for(&json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.schema.json"))).expect("a schema");
    let splits = splits.as_object().expect("splits");
    assert!(splits.len() > 3);
    for (size, expected) in splits {
        let scratch = Scratch::new();
        let out = scratch.path("out");
        let run = convert(input, &out.join("model.safetensors"), &["--max-shard-size", size]);
        assert_eq!(run.code, 0, "{size}: {}", run.stderr);
        let manifests: BTreeSet<PathBuf> = files(&out, ".manifest.json").into_iter().collect();
        let written: BTreeMap<String, String> = files(&out, "")
            .into_iter()
            .filter(|path| !manifests.contains(path))
            .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), sha256(&std::fs::read(path).expect("a file"))))
            .collect();
        assert_eq!(json!(written), *expected, "{} in files of {size}", input.display());
        assert_eq!(manifests.len(), written.keys().filter(|name| name.ends_with(".safetensors")).count());
        for manifest in &manifests {
            let manifest = json(manifest);
            let errors: Vec<String> = schema.iter_errors(&manifest).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(errors.is_empty(), "{errors:?}");
            assert!(manifest["source"]["sha256"] == sha256(&std::fs::read(input).expect("the input")));
        }
        assert_eq!(verify(&out).code, 0);
    }
}

#[test]
fn a_split_checkpoint_is_what_huggingface_hub_writes_of_it_byte_for_byte() {
    check_splits(&set("hub-2.4.0").join("one.pt"), &expected("hub-2.4.0")["one"]);
}

#[test]
fn a_set_that_is_split_again_is_what_huggingface_hub_writes_of_it_byte_for_byte() {
    for name in SETS {
        check_splits(&set(name).join(INDEX), &expected(name)["splits"]);
    }
}

#[test]
fn every_file_of_a_set_is_recorded_with_its_digest() {
    let (name, scratch) = ("transformers-4.30.2", Scratch::new());
    let out = scratch.path("out");
    assert_eq!(convert(&set(name).join(INDEX), &out.join("model.safetensors"), &["--max-shard-size", "3KB"]).code, 0);
    let (tensors, _) = read_all(&out);
    assert_eq!(tensors, tensors_of(&expected(name)));
    let shards = files(&set(name), ".bin");
    for manifest in files(&out, ".manifest.json") {
        let manifest = json(&manifest);
        assert_eq!(manifest["source"]["container"], "torch-index");
        assert_eq!(manifest["outputs"][0]["index"], "model.safetensors.index.json");
        let companions = manifest["source"]["companions"].as_array().expect("companions");
        assert_eq!(companions.len(), shards.len());
        for (companion, shard) in companions.iter().zip(&shards) {
            let bytes = std::fs::read(shard).expect("a shard");
            assert!(companion["path"].as_str().expect("a path").ends_with(&*shard.file_name().expect("a name").to_string_lossy()));
            assert_eq!((&companion["bytes"], &companion["sha256"]), (&json!(bytes.len()), &json!(sha256(&bytes))));
        }
    }
}

#[test]
fn a_set_can_become_one_file() {
    for name in SETS {
        let scratch = Scratch::new();
        let run = convert(&set(name).join(INDEX), &scratch.path("one.safetensors"), &[]);
        assert_eq!(run.code, 0, "{name}: {}", run.stderr);
        assert_eq!(scratch.names(), ["one.safetensors", "one.safetensors.manifest.json"]);
        assert_eq!(read_all(&scratch.path("")).0, tensors_of(&expected(name)), "{name}");
        assert_eq!(verify(&scratch.path("one.safetensors")).code, 0);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let read = |threads: &str| {
        let scratch = Scratch::new();
        let run =
            convert(&set("hub-2.4.0").join(INDEX), &scratch.path("x.safetensors"), &["--max-shard-size", "1KB", "--threads", threads]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let files = files(&scratch.path(""), "").into_iter();
        files.map(|path| sha256(&std::fs::read(path).expect("a file"))).collect::<Vec<_>>()
    };
    assert_eq!(read("1"), read("3"));
}

// ---- hostile sets ---------------------------------------------------------------------------------------------

/// A torch file of tensors of one byte with these names.
fn shard(names: &[&str]) -> Vec<u8> {
    let tensor = tensor_of("ByteStorage", "0", 4, 0, &[1], &[1]);
    let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, tensor.as_slice())).collect();
    Zip::of(&[("a/data.pkl", &pickle(&dict(&entries))), ("a/data/0", b"\x01\x02\x03\x04")]).file()
}

/// A folder with two shards and an index of this content.
fn folder(index: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    scratch.write("a.bin", &shard(&["x"]));
    scratch.write("b.bin", &shard(&["y"]));
    let path = scratch.write("s.bin.index.json", index.as_bytes());
    (scratch, path)
}

fn index(weight_map: &Value) -> String {
    json!({"metadata": {"total_size": 2}, "weight_map": weight_map}).to_string()
}

/// Both ways of converting must refuse the set for this reason, say so, and write nothing.
#[track_caller]
fn refused(scratch: &Scratch, path: &Path, code: i32, reason: &str, said: &str) {
    let before = scratch.names();
    for args in [&["--json"][..], &["--json", "--max-shard-size", "1GB"]] {
        let run = convert(path, &scratch.path("out/"), args);
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains(said), "{}", run.stderr);
        let line: Value = serde_json::from_str(run.stdout.lines().last().expect("a line")).expect("JSON");
        assert_eq!((line["decision"].as_str(), line["reason"].as_str()), (Some("refuse"), Some(reason)), "{}", run.stdout);
        assert_eq!(scratch.names(), before);
    }
}

#[track_caller]
fn index_refused(text: &str, reason: &str, said: &str) {
    let (scratch, path) = folder(text);
    refused(&scratch, &path, 1, reason, said);
}

#[test]
fn an_honest_set_of_two_files_converts() {
    let (scratch, path) = folder(&index(&json!({"x": "a.bin", "y": "b.bin"})));
    for args in [&[][..], &["--max-shard-size", "1B", "--force"]] {
        let run = convert(&path, &scratch.path("out/"), args);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
}

#[test]
fn what_is_no_index_is_refused_with_the_reason() {
    for (text, said) in [
        ("", "EOF"),
        ("[]", "expected an object with a weight_map"),
        ("{\"a\": 1}", "it has no weight_map"),
        ("{\"weight_map\": []}", "expected a weight_map from names of tensors"),
        ("{\"weight_map\": {}}", "lists no tensor"),
        ("{\"weight_map\": {\"x\": 1}}", "invalid type: integer"),
        ("{\"weight_map\": {\"x\": [\"a.bin\"]}}", "invalid type: sequence"),
        ("{\"weight_map\": {\"x\": \"a.bin\"}, \"metadata\": 1}", "expected metadata that is an object"),
        ("{\"weight_map\": {\"x\": \"a.bin\"}} x", "trailing characters"),
        ("{\"weight_map\": {\"x\": \"a.bin\", \"y\": \"b.bin\", \"x\": \"b.bin\"}}", "the key \"x\" twice"),
        ("{\"weight_map\": {\"x\": \"a.bin\"}, \"weight_map\": {\"x\": \"b.bin\"}}", "the key \"weight_map\" twice"),
        ("{\"metadata\": {\"a\": 1, \"a\": 2}, \"weight_map\": {\"x\": \"a.bin\"}}", "the key \"a\" twice"),
    ] {
        index_refused(text, "index-malformed", said);
    }
}

#[test]
fn a_shard_is_a_file_beside_its_index() {
    for name in ["", ".", "..", "../a.bin", "/etc/passwd", "sub/a.bin", "..\\a.bin", "c:a.bin", "a\0.bin"] {
        index_refused(&index(&json!({"x": name, "y": "b.bin"})), "index-malformed", "not the name of a file beside the index");
    }
    index_refused(&index(&json!({"x": "s.bin.index.json"})), "index-malformed", "called as an index itself");
    index_refused(&index(&json!({"x": "a".repeat(300)})), "index-malformed", "longer than the name of a file can be");
}

#[test]
fn missing_files_are_listed_together() {
    let weight_map = json!({"x": "a.bin", "y": "c.bin", "z": "d.bin", "w": "b.bin"});
    index_refused(&index(&weight_map), "set-incomplete", "of the 4 files of the set, 2 are missing: \"c.bin\", \"d.bin\"");
}

#[test]
fn missing_tensors_are_listed_together() {
    let weight_map = json!({"x": "a.bin", "y": "b.bin", "v": "a.bin", "w": "b.bin"});
    index_refused(&index(&weight_map), "set-incomplete", "lists 2 tensors that no file of the set has: \"v\", \"w\"");
}

#[test]
fn a_tensor_in_two_files_is_refused_whatever_the_index_says() {
    let (scratch, path) = folder(&index(&json!({"x": "a.bin", "y": "b.bin"})));
    scratch.write("b.bin", &shard(&["y", "x"]));
    refused(&scratch, &path, 1, "name-collision", "tensor \"x\" is in two files of the set: \"a.bin\" and \"b.bin\"");
}

#[test]
fn an_index_that_is_too_large_is_not_read() {
    let (scratch, path) = folder(&index(&json!({"x": "a.bin", "y": "b.bin"})));
    for args in [&["--limit", "index-bytes=10"], &["--limit", "tensors=1"]] {
        let run = convert(&path, &scratch.path("out/"), args);
        assert_eq!(run.code, 1);
        assert!(run.stderr.contains(&args[1].replace("=10", "").replace("=1", "")), "{}", run.stderr);
    }
    let run = convert(&path, &scratch.path("out/"), &["--max-shard-size", "1B", "--limit", "shards=1"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("the limit shards is exceeded: 2"), "{}", run.stderr);
}

#[test]
fn what_is_in_the_files_counts_and_not_what_the_index_says() {
    let said =
        ["the index says that \"x\" is in \"b.bin\", and it is in \"a.bin\"", "the index does not list \"z\", which is in \"a.bin\""];
    let make = || {
        let (scratch, path) = folder(&index(&json!({"w": "a.bin", "x": "b.bin", "y": "b.bin"})));
        scratch.write("a.bin", &shard(&["w", "x", "z"]));
        (scratch, path)
    };
    let (scratch, path) = make();
    let run = convert(&path, &scratch.path("out/"), &["--shared", "copy"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(said.iter().all(|said| run.stderr.contains(said)), "{}", run.stderr);
    let expected = json!({"w": "a.safetensors", "x": "a.safetensors", "y": "b.safetensors", "z": "a.safetensors"});
    assert_eq!(json(&scratch.path("out/s.safetensors.index.json"))["weight_map"], expected);
    assert_eq!(verify(&scratch.path("out")).code, 0);

    let (scratch, path) = make();
    let run = convert(&path, &scratch.path("out/"), &["--max-shard-size", "1B", "--json", "--shared", "copy"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let line: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let findings = line["findings"].as_array().expect("findings");
    assert!(
        findings.iter().zip(said).all(|(finding, said)| finding["kind"] == "index-differs" && finding["message"] == said),
        "{findings:?}"
    );
    assert_eq!(read_all(&scratch.path("out")).0.len(), 4);
    for manifest in files(&scratch.path("out"), ".manifest.json") {
        assert_eq!(json(&manifest)["findings"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn a_call_of_code_in_any_file_refuses_the_set() {
    let (scratch, path) = folder(&index(&json!({"x": "a.bin", "y": "b.bin"})));
    scratch.write("b.bin", &torch_zip(&crate::assemble::payload()).file());
    refused(&scratch, &path, 3, "denied", "system");
}

#[test]
fn a_damaged_file_leaves_nothing_of_a_split_behind() {
    let (scratch, path) = folder(&index(&json!({"x": "a.bin", "y": "b.bin"})));
    let mut damaged = shard(&["y"]);
    let at = damaged.windows(4).position(|bytes| bytes == b"\x01\x02\x03\x04").expect("the data");
    damaged[at] ^= 1;
    scratch.write("b.bin", &damaged);
    let before = scratch.names();
    let run = convert(&path, &scratch.path("out/"), &["--max-shard-size", "1B"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("CRC-32"), "{}", run.stderr);
    assert_eq!(scratch.names(), before);
}

#[test]
fn a_file_that_would_be_read_instead_of_the_split_is_not_left_beside_it() {
    let input = set("hub-2.4.0").join("one.pt");
    let scratch = Scratch::new();
    let output = scratch.write("model.safetensors", b"precious");
    for args in [&["--max-shard-size", "1KB"][..], &["--max-shard-size", "1KB", "--force"]] {
        let run = convert(&input, &output, args);
        assert_eq!(run.code, 2, "{}", run.stderr);
        assert!(run.stderr.contains("instead of the files"), "{}", run.stderr);
    }
    assert_eq!(scratch.names(), ["model.safetensors"]);
}

#[test]
fn files_that_exist_are_kept_unless_forced() {
    let input = set("hub-2.4.0").join("one.pt");
    for taken in ["model-00002-of-00005.safetensors", "model.safetensors.index.json", "model-00003-of-00005.safetensors.manifest.json"] {
        let scratch = Scratch::new();
        scratch.write(taken, b"precious");
        let run = convert(&input, &scratch.path("model.safetensors"), &["--max-shard-size", "1KB"]);
        assert_eq!((run.code, run.stderr.contains("already exists")), (2, true), "{taken}: {}", run.stderr);
        assert_eq!(scratch.names(), [taken]);
        let run = convert(&input, &scratch.path("model.safetensors"), &["--max-shard-size", "1KB", "--force"]);
        assert_eq!(run.code, 0, "{taken}: {}", run.stderr);
        assert_eq!(verify(&scratch.path("")).code, 0);
    }
}

#[test]
fn an_index_that_lists_something_else_than_its_files_is_found() {
    let scratch = Scratch::new();
    assert_eq!(convert(&set("hub-2.4.0").join("one.pt"), &scratch.path("model.safetensors"), &["--max-shard-size", "1KB"]).code, 0);
    let path = scratch.path("model.safetensors.index.json");
    let good = json(&path);
    let check = |change: &dyn Fn(&mut serde_json::Map<String, Value>), code: i32, said: &str| {
        let mut bad = good.clone();
        change(bad["weight_map"].as_object_mut().expect("a map"));
        std::fs::write(&path, bad.to_string()).expect("the index");
        for path in [&path, &scratch.path("")] {
            let run = verify(path);
            assert_eq!((run.code, run.stderr.contains(said)), (code, true), "{said}: {}", run.stderr);
        }
    };
    check(&|_| (), 0, "verified");
    check(&|map| drop(map.remove("scalar")), 4, "does not list \"scalar\"");
    check(&|map| drop(map.insert("other".into(), map["scalar"].clone())), 4, "\"other\"");
    check(&|map| drop(map.insert("scalar".into(), map["lm_head.weight"].clone())), 4, "says that \"scalar\" is in");
    check(&|map| drop(map.insert("scalar".into(), "missing.safetensors".into())), 1, "is missing: \"missing.safetensors\"");
}

#[test]
fn a_file_that_an_index_lists_must_have_its_manifest() {
    let scratch = Scratch::new();
    assert_eq!(convert(&set("hub-2.4.0").join("one.pt"), &scratch.path("model.safetensors"), &["--max-shard-size", "1KB"]).code, 0);
    std::fs::remove_file(scratch.path("model-00002-of-00005.safetensors.manifest.json")).expect("a manifest");
    for path in ["", "model.safetensors.index.json"] {
        assert_eq!(verify(&scratch.path(path)).code, 1, "{path}");
    }
    // A folder of files that others made has no manifests at all.
    for manifest in files(&scratch.path(""), ".manifest.json") {
        std::fs::remove_file(manifest).expect("a manifest");
    }
    let run = verify(&scratch.path(""));
    assert!(run.code == 1 && run.stderr.contains("there is no manifest in"), "{}", run.stderr);
}

#[test]
fn a_source_of_many_files_is_read_once_to_verify_them() {
    let scratch = Scratch::new();
    let source = scratch.write("one.pt", &std::fs::read(set("hub-2.4.0").join("one.pt")).expect("the source"));
    assert_eq!(convert(&source, &scratch.path("model.safetensors"), &["--max-shard-size", "1KB"]).code, 0);
    let run = verify(&scratch.path(""));
    assert_eq!((run.code, run.stderr.matches("the source too").count()), (0, 5), "{}", run.stderr);
    let mut changed = std::fs::read(&source).expect("the source");
    changed[100] ^= 1;
    std::fs::write(&source, changed).expect("the source");
    let run = verify(&scratch.path(""));
    assert_eq!((run.code, run.stderr.matches("no longer the file").count()), (4, 5), "{}", run.stderr);
}

#[test]
fn a_part_of_a_set_cannot_be_chosen_by_its_root() {
    let run = convert(&set("hub-2.4.0").join(INDEX), &Scratch::new().path("x.safetensors"), &["--root", "h"]);
    assert_eq!((run.code, run.stderr.contains("--root takes a part of one checkpoint")), (2, true), "{}", run.stderr);
}

#[test]
fn names_are_chosen_in_a_set_as_in_a_file() {
    let scratch = Scratch::new();
    let input = set("hub-2.4.0").join(INDEX);
    let args = ["--exclude", "h.0.attn.*", "--rename", "scalar=s"];
    for (out, more) in [("files/", &[][..]), ("split/", &["--max-shard-size", "1KB"])] {
        let run = match more {
            // A name is renamed in the file that has it; in the others it is not there.
            [] => convert(&input, &scratch.path(out), &args[..2]),
            more => convert(&input, &scratch.path(out), &[&args[..], more].concat()),
        };
        assert_eq!(run.code, 0, "{out}: {}", run.stderr);
        let (tensors, _) = read_all(&scratch.path(out));
        assert!(!tensors.contains_key("h.0.attn.bias") && tensors.contains_key("h.0.mask"));
        assert_eq!(tensors.contains_key("s"), !more.is_empty());
        assert_eq!(verify(&scratch.path(out)).code, 0);
    }
}

#[test]
fn a_set_is_inspected_as_one_checkpoint_and_scanned_as_files() {
    let input = set("transformers-4.20.1").join(INDEX);
    let run = depickle([Path::new("inspect"), Path::new("--json"), &input]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let ledger: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(ledger["source"]["container"], "torch-index");
    assert_eq!(ledger["tensors"].as_array().map(Vec::len), Some(tensors_of(&expected("transformers-4.20.1")).len()));
    let run = depickle([Path::new("scan"), &set("transformers-4.20.1")]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("4 clean") || run.stdout.contains("4 clean"), "{} {}", run.stdout, run.stderr);
}

/// Does something when the work has come this far.
struct At<'a> {
    step: usize,
    steps: std::sync::atomic::AtomicUsize,
    cancel: bool,
    act: &'a (dyn Fn() + Sync),
}

impl depickle::progress::Progress for At<'_> {
    fn start(&self, _: u64, _: u64) {}

    fn advance(&self, _: u64) {
        if self.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == self.step {
            (self.act)();
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel && self.steps.load(std::sync::atomic::Ordering::Relaxed) >= self.step
    }
}

#[test]
fn a_split_that_is_interrupted_or_comes_too_late_leaves_nothing_behind() {
    let input = set("hub-2.4.0").join(INDEX);
    let mut options = depickle::ConvertOptions::default();
    options.max_shard_size = std::num::NonZeroU64::new(1000);
    let attempt = |scratch: &Scratch, step: usize, cancel: bool, act: &(dyn Fn() + Sync)| {
        let output = scratch.path("new/model.safetensors");
        let progress = At { step, steps: 0.into(), cancel, act };
        let result = depickle::convert::prepare(&input, &output, &options).expect("a set").write(&output, &options, &progress);
        (result, progress.steps.into_inner())
    };
    let (result, steps) = attempt(&Scratch::new(), usize::MAX, false, &|| {});
    assert_eq!(result.expect("a conversion").files.len(), 5);
    assert!(steps > 10, "{steps}");
    for step in 0..steps {
        let scratch = Scratch::new();
        let (result, _) = attempt(&scratch, step, true, &|| {});
        assert_eq!(result.expect_err("it is cancelled").message(), "interrupted", "{step}");
        assert!(scratch.names().is_empty(), "{step}: {:?}", scratch.names());
    }
    // Another program writes one of the files meanwhile.
    for taken in ["model.safetensors.index.json", "model-00004-of-00005.safetensors", "model-00001-of-00005.safetensors.manifest.json"] {
        let scratch = Scratch::new();
        let (result, _) =
            attempt(&scratch, steps - 1, false, &|| std::fs::write(scratch.path("new").join(taken), b"precious").expect(taken));
        assert_eq!(result.expect_err("it is taken").code(), depickle::error::Code::OutputExists, "{taken}");
        assert_eq!(files(&scratch.path("new"), ""), [scratch.path("new").join(taken)], "{taken}");
    }
}

#[test]
#[cfg(unix)]
fn files_of_a_set_may_be_links_as_in_the_cache_of_the_hub() {
    let scratch = Scratch::new();
    for folder in ["blobs", "snapshot"] {
        std::fs::create_dir(scratch.path(folder)).expect("a folder");
    }
    for file in files(&set("hub-2.4.0"), "").iter().filter(|file| !file.ends_with("expect.json")) {
        let name = file.file_name().expect("a name").to_string_lossy();
        let hash = sha256(name.as_bytes());
        std::fs::copy(file, scratch.path("blobs").join(&hash)).expect("a copy");
        std::os::unix::fs::symlink(format!("../blobs/{hash}"), scratch.path("snapshot").join(&*name)).expect("a link");
    }
    for args in [&[][..], &["--max-shard-size", "1KB", "--force"]] {
        let run = convert(&scratch.path("snapshot").join(INDEX), &scratch.path("out/"), args);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    assert_eq!(verify(&scratch.path("out/model-00001-of-00005.safetensors")).code, 0);
}
