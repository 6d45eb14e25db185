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
fn storage_bytes_that_no_tensor_covers_are_listed() {
    let scratch = Scratch::new();
    // uint32 [10], of which the file has [7:] and [3]: 6 of 10 elements are nowhere.
    let input = testdata().join("torch-zip/2.15.0/untyped_views.pt");
    assert_eq!(convert(&input, &scratch.path("out.safetensors"), &[]).code, 0);
    let manifest = json(&scratch.path("out.safetensors.manifest.json"));
    let expected = serde_json::json!([{ "storage": "1", "bytes": 40, "uncovered_bytes": 24 }]);
    assert_eq!(manifest["uncovered_storage_bytes"], expected);
}

#[test]
fn archive_members_that_nothing_refers_to_are_listed() {
    let scratch = Scratch::new();
    let original = std::fs::File::open(testdata().join("torch-zip/2.15.0/deflated.pt")).expect("the input");
    let mut archive = zip::ZipArchive::new(original).expect("a zip");
    let folder = archive.by_index(0).expect("a member").name().expect("a name").split('/').next().expect("a folder").to_owned();
    let mut copy = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for i in 0..archive.len() {
        copy.raw_copy_file(archive.by_index_raw(i).expect("a member")).expect("a copy");
    }
    for name in ["data/99", "notes.txt"] {
        copy.start_file(format!("{folder}/{name}"), zip::write::SimpleFileOptions::default()).expect("a member");
        std::io::Write::write_all(&mut copy, b"stray").expect("its content");
    }
    let input = scratch.write("input.pt", &copy.finish().expect("the archive").into_inner());
    let run = convert(&input, &scratch.path("out.safetensors"), &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let manifest = json(&scratch.path("out.safetensors.manifest.json"));
    let names: Vec<&str> = manifest["unreferenced_members"].as_array().into_iter().flatten().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names, [format!("{folder}/data/99"), format!("{folder}/notes.txt")]);
}
