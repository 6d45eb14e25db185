//! Budgets that all parts of an input share, and what is said when one is used up.

use std::io::Write;

use serde_json::Value;

use crate::assemble::{Entry, Zip, bytes, call, cat, dict, global, int, payload, pickle, tensor, text, torch_zip, tuple};
use crate::harness::{Run, Scratch, convert, depickle, json};

/// A deflated entry of a zip archive.
fn deflated(name: &str, content: &[u8]) -> Entry {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).expect("memory");
    Entry {
        name: name.as_bytes().to_vec(),
        data: encoder.finish().expect("memory"),
        method: 8,
        crc: Some(crc32fast::hash(content)),
        size: Some(content.len() as u32),
        ..Entry::default()
    }
}

/// A pickle that does nothing with many opcodes, and then makes a payload.
fn long(opcodes: usize) -> Vec<u8> {
    pickle(&cat(&[&b"N0".repeat(opcodes / 2), b"N"]))
}

fn scan(file: &[u8], args: &[&str]) -> (Run, Value) {
    let scratch = Scratch::new();
    let input = scratch.write("input.zip", file);
    let run = depickle(["scan", "--json", input.to_str().expect("a path")].iter().chain(args));
    let said = serde_json::from_str(&run.stdout).expect("JSON");
    (run, said)
}

#[test]
fn the_pickles_of_an_input_share_the_opcodes() {
    let zip = |n: usize| Zip { entries: (0..n).map(|i| deflated(&format!("{i}.pkl"), &long(60_000))).collect(), ..Zip::default() }.file();
    let limit = ["--limit", "opcodes=100000"];
    let (run, said) = scan(&zip(1), &limit);
    assert_eq!((run.code, &said["reason"]), (0, &Value::Null), "{said}");
    let (run, said) = scan(&zip(2), &limit);
    assert_eq!((run.code, said["reason"].as_str()), (1, Some("limit-exceeded")), "{said}");
    // A large input may have more opcodes than the limit of one pickle, a part of an input its share.
    let stored = |i: usize| Entry { name: format!("{i}.pkl").into_bytes(), data: long(60_000), ..Entry::default() };
    let (run, said) = scan(&Zip { entries: (0..4).map(stored).collect(), ..Zip::default() }.file(), &limit);
    assert_eq!((run.code, &said["reason"]), (0, &Value::Null), "{said}");
}

#[test]
fn checkpoints_that_are_converted_one_by_one_share_the_opcodes() {
    let one = |i: usize| deflated(&format!("{i}.pkl"), &pickle(&cat(&[&b"N0".repeat(30_000), &payload()])));
    let scratch = Scratch::new();
    let input = scratch.write("input.zip", &Zip { entries: (0..2).map(one).collect(), ..Zip::default() }.file());
    let folder = format!("{}/", scratch.path("out").display());
    let run = convert(&input, folder.as_ref(), &["--limit", "opcodes=100000", "--json"]);
    let reasons: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["reason"].clone()).collect();
    assert_eq!(reasons, ["denied", "limit-exceeded"]);
}

#[test]
fn inflated_pickles_draw_on_what_the_input_may_hold() {
    let object = pickle(&dict(&[("w", &tensor("0", 4)), ("blob", &bytes(&[0; 100_000]))]));
    let file = torch_zip(b"").with(|zip| zip.entries[0] = deflated("a/data.pkl", &object)).file();
    let scratch = Scratch::new();
    let (input, output) = (scratch.write("model.pt", &file), scratch.path("out.safetensors"));
    assert_eq!(convert(&input, &output, &["--limit", "decompressed-bytes=200000"]).code, 0);
    let run = convert(&input, &output, &["--force", "--limit", "decompressed-bytes=100000"]);
    assert!(run.code == 1 && run.stderr.contains("decompressed-bytes"), "{}", run.stderr);
}

#[test]
fn a_member_that_is_only_inflated_for_its_checksum_draws_on_it_too() {
    let file = torch_zip(b"").with(|zip| zip.entries.push(deflated("a/data/1", &[0; 100_000]))).file();
    let scratch = Scratch::new();
    let (input, output) = (scratch.write("model.pt", &file), scratch.path("out.safetensors"));
    assert_eq!(convert(&input, &output, &[]).code, 0);
    let run = convert(&input, &output, &["--force", "--limit", "decompressed-bytes=50000"]);
    assert!(run.code == 1 && run.stderr.contains("decompressed-bytes"), "{}", run.stderr);
}

/// TorchScript of one object of `class`, which has a tensor in its state, and this code.
fn script(class: &str, state: &[u8], code: &str) -> Vec<u8> {
    let (module, name) = class.rsplit_once('.').expect("a module and a class");
    let object = cat(&[&global(module, name), b")\x81", state, b"b"]);
    let path = format!("a/code/{}.py", module.replace('.', "/"));
    Zip::of(&[
        ("a/data.pkl", &pickle(&object)),
        ("a/data/0", b"\x01\x02\x03\x04"),
        ("a/constants.pkl", &pickle(b")")),
        (&path, code.as_bytes()),
        ("a/version", b"3\n"),
    ])
    .file()
}

#[test]
fn a_tensor_that_code_of_the_archive_may_change_is_not_converted() {
    let plain = "class Net(Module):\n  def forward(self: __torch__.Net) -> NoneType:\n    return None\n";
    let remade = "class Other(Module):\n  pass\nclass Net(Module):\n  def __setstate__(self: __torch__.Net,\n    s: Tuple[Tensor, bool]) -> NoneType:\n    self.w = torch.mul((s)[0], 2)\n";
    let (as_dict, as_tuple) = (dict(&[("w", &tensor("0", 4))]), tuple(&[&tensor("0", 4), b"\x89"]));
    let torchs_own = "__torch__.torch.nn.quantized.modules.linear.Net";
    for (class, state, code, converts) in [
        ("__torch__.Net", &as_dict, plain, true),
        ("__torch__.Net", &as_tuple, plain, true),
        ("__torch__.Net", &as_dict, remade, false),
        ("__torch__.Net", &as_tuple, remade, false),
        ("__torch__.own.Net", &as_tuple, remade, false),
        (torchs_own, &as_tuple, remade, true),
        (torchs_own, &as_dict, remade, false),
    ] {
        let scratch = Scratch::new();
        let input = scratch.write("model.pt", &script(class, state, code));
        let run = convert(&input, &scratch.path("out.safetensors"), &["--json"]);
        let said: Value = serde_json::from_str(&run.stdout).expect("JSON");
        let expected = if converts { None } else { Some("tensor-unsupported") };
        assert_eq!(said["reason"].as_str(), expected, "{class}: {said}");
    }
}

#[test]
fn a_member_of_an_enum_that_is_given_a_state_is_unrecognized() {
    let member = call(&global("http", "HTTPStatus"), &[&int(200)]);
    let changed = cat(&[&member, &dict(&[("phrase", &text("changed"))]), b"b"]);
    for (object, code, verdict) in [(&member, 0, "clean"), (&changed, 3, "unrecognized")] {
        let (run, said) = scan(&pickle(object), &["--deny", "unrecognized"]);
        assert_eq!((run.code, said["verdict"].as_str()), (code, Some(verdict)), "{said}");
    }
}

#[test]
fn the_records_of_a_bundle_do_not_repeat_all_of_it_for_each_checkpoint() {
    let checkpoint = torch_zip(b"").file();
    let count = |n_others: usize| {
        let named = |name: String, data: &[u8]| Entry { name: name.into_bytes(), data: data.to_vec(), ..Entry::default() };
        let others = (0..n_others).map(|i| named(format!("{i}.txt"), b"x"));
        let checkpoints = (0..5).map(|i| named(format!("{i}.pt"), &checkpoint));
        let scratch = Scratch::new();
        let input = scratch.write("bundle.zip", &Zip { entries: others.chain(checkpoints).collect(), ..Zip::default() }.file());
        let folder = format!("{}/", scratch.path("out").display());
        assert_eq!(convert(&input, folder.as_ref(), &["--quiet"]).code, 0);
        let manifest = json(&scratch.path("out/bundle/3.safetensors.manifest.json"));
        let listed = manifest["unreferenced_members"].as_array().expect("a list").len();
        (listed, manifest["findings"].to_string().contains("more files that are not listed here"))
    };
    assert_eq!(count(10), (10, false));
    assert_eq!(count(40_010), (40_000, true));
}
