//! `verify` finds any change of an output, and names what changed.

use std::path::Path;

use crate::harness::{Run, Scratch, convert, depickle, json, testdata};

fn verify(path: &Path) -> Run {
    depickle([Path::new("verify"), path])
}

fn converted(scratch: &Scratch) -> std::path::PathBuf {
    let input = scratch.write("model.pt", &std::fs::read(testdata().join("torch-zip/2.15.0/training.pt")).expect("the input"));
    let output = scratch.path("model.safetensors");
    let run = convert(&input, &output, &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    output
}

#[test]
fn a_flipped_bit_in_any_byte_is_found_and_named() {
    let scratch = Scratch::new();
    let output = converted(&scratch);
    assert_eq!(verify(&output).code, 0);
    let good = std::fs::read(&output).expect("the output");
    let manifest = json(&scratch.path("model.safetensors.manifest.json"));
    let header_bytes = manifest["outputs"][0]["header_bytes"].as_u64().expect("a number") as usize;
    for at in (0..good.len()).step_by(7).chain(header_bytes..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&output, &bad).expect("the output");
        let run = verify(&output);
        assert_eq!(run.code, 4, "byte {at}: {}", run.stderr);
        let holder = manifest["tensors"].as_array().into_iter().flatten().find(|tensor| {
            let offset = |i: usize| tensor["data_offsets"][i].as_u64().expect("a number") as usize + header_bytes;
            (offset(0)..offset(1)).contains(&at)
        });
        let named = holder.map_or("the header", |tensor| tensor["name"].as_str().expect("a name"));
        assert!(run.stderr.contains(named), "byte {at} is in {named}: {}", run.stderr);
    }
}

#[test]
fn a_folder_is_verified_and_a_changed_source_is_a_difference() {
    let scratch = Scratch::new();
    let output = converted(&scratch);
    let folder = output.parent().expect("a folder");
    let run = verify(folder);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("the source too"), "{}", run.stderr);

    let source = scratch.path("model.pt");
    let mut bytes = std::fs::read(&source).expect("the source");
    bytes[100] ^= 1;
    std::fs::write(&source, bytes).expect("the source");
    assert_eq!(verify(folder).code, 4);

    std::fs::remove_file(&source).expect("the source");
    let run = verify(folder);
    assert_eq!(run.code, 0);
    assert!(run.stderr.contains("the source is not there"), "{}", run.stderr);
}

#[test]
fn a_longer_or_shorter_output_and_a_missing_one_are_errors() {
    let scratch = Scratch::new();
    let output = converted(&scratch);
    let good = std::fs::read(&output).expect("the output");
    for bad in [&good[..good.len() - 1], &[&good[..], b"x"].concat()] {
        std::fs::write(&output, bad).expect("the output");
        assert_eq!(verify(&output).code, 4);
    }
    std::fs::remove_file(&output).expect("the output");
    assert_eq!(verify(&output).code, 1);
}

#[test]
fn a_manifest_cannot_point_out_of_its_folder() {
    let scratch = Scratch::new();
    converted(&scratch);
    let manifest = scratch.path("model.safetensors.manifest.json");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    std::fs::write(&manifest, text.replace("\"path\":\"model.safetensors\"", "\"path\":\"../model.safetensors\"")).expect("the manifest");
    let run = verify(&manifest);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("not about the file"), "{}", run.stderr);
}
