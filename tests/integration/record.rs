//! The manifest: valid by its schema, the same every time, and complete.

use std::path::{Path, PathBuf};

use crate::harness::{Scratch, convert, depickle, json, testdata};

fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.schema.json");
    jsonschema::validator_for(&json(&path)).expect("a valid schema")
}

/// Inputs that together fill every field of the record.
fn inputs() -> Vec<PathBuf> {
    let names = [
        "torch-zip/2.15.0/training.pt",
        "torch-zip/2.15.0/every_dtype.pt",
        "torch-zip/2.15.0/conj_neg.pt",
        "torch-zip/2.15.0/big_endian.pt",
        "torch-zip/2.15.0/deflated.pt",
        "torch-zip/2.15.0/meta.pt",
        "torch-zip/2.15.0/quantized.pt",
        "torch-zip/2.15.0/views.pt",
        "torch-legacy/1.0.0/mixed.pt",
        "modules/2.15.0/weight_norm.pt",
        "cyclic/omegaconf_checkpoint.pt",
        "save-file/tied_several.pt",
    ];
    names.iter().map(|name| testdata().join(name)).collect()
}

#[test]
fn every_manifest_is_valid_by_the_schema() {
    let schema = schema();
    for input in inputs() {
        let scratch = Scratch::new();
        let output = scratch.path("out.safetensors");
        assert_eq!(convert(&input, &output, &[]).code, 0, "{}", input.display());
        let manifest = json(&scratch.path("out.safetensors.manifest.json"));
        let errors: Vec<String> = schema.iter_errors(&manifest).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", input.display());
        assert!(manifest["source"]["sha256"].is_string() && manifest["outputs"][0]["sha256"].is_string());
        assert!(manifest["tensors"].as_array().is_some_and(|tensors| tensors.iter().all(|tensor| tensor["sha256"].is_string())));
    }
}

#[test]
fn inspect_prints_the_record_of_the_manifest_without_digests() {
    let schema = schema();
    for input in inputs() {
        let scratch = Scratch::new();
        let output = scratch.path("out.safetensors");
        assert_eq!(convert(&input, &output, &[]).code, 0);
        let mut manifest = json(&scratch.path("out.safetensors.manifest.json"));
        let run = depickle([Path::new("inspect"), Path::new("--json"), &input]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let mut inspected: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert!(schema.is_valid(&inspected));
        for record in [&mut manifest, &mut inspected] {
            record["source"].as_object_mut().expect("a source").retain(|key, _| key != "sha256" && key != "path");
            record["outputs"][0].as_object_mut().expect("an output").retain(|key, _| key != "sha256" && key != "path");
            for tensor in record["tensors"].as_array_mut().expect("tensors") {
                tensor.as_object_mut().expect("a tensor").remove("sha256");
            }
            // Damage and missing checksums show when the bytes are read, which inspect does not.
            record["findings"].as_array_mut().expect("findings").retain(|finding| finding["kind"] != "zip-crc");
        }
        assert_eq!(manifest, inspected, "{}", input.display());
    }
}

#[test]
fn converting_twice_gives_the_same_bytes_manifest_and_extras_included() {
    for input in inputs() {
        let read = || {
            let scratch = Scratch::new();
            // The same names in another folder; the path of the source is relative to it, so it is compared by itself.
            let copy = scratch.write("input.pt", &std::fs::read(&input).expect("the input"));
            let extras = scratch.path("extras.json");
            let run = convert(&copy, &scratch.path("out.safetensors"), &["--extras", &extras.to_string_lossy()]);
            assert_eq!(run.code, 0, "{}", run.stderr);
            ["out.safetensors", "out.safetensors.manifest.json", "extras.json"].map(|name| std::fs::read(scratch.path(name)).expect(name))
        };
        assert!(read() == read(), "{}", input.display());
    }
}

#[test]
fn what_is_left_in_a_storage_and_in_an_archive_is_listed() {
    let scratch = Scratch::new();
    let output = scratch.path("out.safetensors");
    let input = testdata().join("torch-zip/2.15.0/views.pt");
    // Only one small view is taken, but coverage is about the checkpoint as a whole.
    assert_eq!(convert(&input, &output, &[]).code, 0);
    let manifest = json(&scratch.path("out.safetensors.manifest.json"));
    for record in manifest["uncovered_storage_bytes"].as_array().expect("a list") {
        assert!(record["uncovered_bytes"].as_u64() <= record["bytes"].as_u64() && record["uncovered_bytes"].as_u64() > Some(0), "{record}");
    }
}
