//! Budgets that all parts of an input share, and what is said when one is used up.

use std::io::Write;

use serde_json::Value;

use crate::assemble::{Entry, Zip, bytes, cat, dict, payload, pickle, tensor, torch_zip};
use crate::harness::{Scratch, convert, json, scan};

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

#[test]
fn a_bundle_may_hold_so_many_checkpoints_and_of_its_errors_the_first_are_listed() {
    let zip = |n: usize, content: &[u8]| {
        let entry = |i: usize| Entry { name: format!("{i}.pkl").into_bytes(), data: content.to_vec(), ..Entry::default() };
        Zip { entries: (0..n).map(entry).collect(), ..Zip::default() }.file()
    };
    let (run, said) = scan(&zip(3, &pickle(b"N")), &["--limit", "checkpoints=2"]);
    assert_eq!((run.code, said["reason"].as_str()), (1, Some("limit-exceeded")), "{said}");
    assert!(said["message"].as_str().is_some_and(|message| message.contains("checkpoints")), "{said}");
    let (_, said) = scan(&zip(3, &pickle(b"N")), &["--limit", "checkpoints=3"]);
    assert_eq!(said["reason"], Value::Null, "{said}");
    // Each of them is cut.
    let (_, said) = scan(&zip(1_200, b"\x80\x02X\xff\0\0\0x"), &[]);
    let errors = said["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 1_001);
    assert!(
        errors.last().is_some_and(|last| last["message"].as_str().is_some_and(|text| text.contains("more of the file"))),
        "{:?}",
        errors.last()
    );
}
