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

#[test]
fn what_a_manifest_says_of_its_output_is_compared_to_the_last_field() {
    let scratch = Scratch::new();
    converted(&scratch);
    let manifest = scratch.path("model.safetensors.manifest.json");
    let good = json(&manifest);
    let check = |change: &dyn Fn(&mut serde_json::Value), code: i32, said: &str| {
        let mut bad = good.clone();
        change(&mut bad);
        std::fs::write(&manifest, bad.to_string()).expect("the manifest");
        let run = verify(&manifest);
        assert_eq!((run.code, run.stderr.contains(said)), (code, true), "{said}: {}", run.stderr);
        assert_eq!(run.stderr.matches("error:").count(), usize::from(code != 0), "{}", run.stderr);
    };
    check(&|_| (), 0, "verified");
    check(&|bad| bad["tensors"][1]["data_offsets"] = bad["tensors"][0]["data_offsets"].clone(), 4, "elsewhere than behind the one before");
    check(&|bad| bad["tensors"][0]["data_offsets"] = serde_json::json!([0, u64::MAX]), 4, "elsewhere than behind the one before");
    check(&|bad| bad["tensors"][0]["data_offsets"] = serde_json::json!([u64::MAX, 0]), 4, "elsewhere than behind the one before");
    check(&|bad| bad["outputs"][0]["header_bytes"] = u64::MAX.into(), 4, "smaller than the header");
    check(&|bad| bad["outputs"][0]["header_bytes"] = 0.into(), 4, "bytes of data");
    check(&|bad| bad["outputs"][0]["bytes"] = u64::MAX.into(), 4, "the manifest records 18446744073709551615");
    check(&|bad| bad["tensors"][1]["name"] = bad["tensors"][0]["name"].clone(), 4, "two tensors of one name");
    check(&|bad| bad["tensors"][1]["name"] = "other".into(), 4, "which should be another");
    check(&|bad| bad["tensors"][0]["dtype"] = "U8".into(), 4, "which should be another");
    check(&|bad| bad["tensors"][0]["shape"] = serde_json::json!([1]), 4, "which should be another");
    check(&|bad| bad["tensors"][0]["shape"] = vec![1; 100_000].into(), 2, "at most 80 sizes");
    check(&|bad| drop(bad["tensors"].as_array_mut().and_then(Vec::pop)), 4, "the manifest records tensors of");
    check(&|bad| bad["tensors"][0]["sha256"] = "0".into(), 4, "is not what was written");
    check(&|bad| bad["outputs"][0]["sha256"] = "0".into(), 4, "the header of");
    check(&|bad| bad["aliases"]["a"] = "b".into(), 4, "other tied names");
    check(&|bad| bad["outputs"] = vec![bad["outputs"][0].clone(); 2].into(), 4, "not about the file");
    check(
        &|bad| bad["source"]["companions"] = vec![serde_json::json!({"path": "model.pt", "bytes": 0}); 2].into(),
        4,
        "no longer the file",
    );
    check(&|bad| drop(bad.as_object_mut().and_then(|fields| fields.remove("findings"))), 2, "missing field `findings`");
    check(&|bad| bad["manifest_version"] = 2.into(), 2, "this program reads version 1");
    #[cfg(target_os = "linux")]
    check(&|bad| bad["source"]["path"] = "/dev/zero".into(), 2, "not a regular file");
    check(&|bad| bad["source"]["path"] = "..".into(), 2, "a folder");
}

#[test]
fn without_digests_of_tensors_the_digest_of_the_file_finds_any_change() {
    let scratch = Scratch::new();
    let input = scratch.write("model.pt", &std::fs::read(testdata().join("torch-zip/2.15.0/training.pt")).expect("the input"));
    let output = scratch.path("model.safetensors");
    let run = convert(&input, &output, &["--no-tensor-hashes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let manifest = json(&scratch.path("model.safetensors.manifest.json"));
    assert!(manifest["tensors"].as_array().is_some_and(|tensors| tensors.iter().all(|tensor| tensor.get("sha256").is_none())));
    let run = verify(&output);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("no digests of tensors, only of the file"), "{}", run.stderr);
    let good = std::fs::read(&output).expect("the output");
    for at in [0, 100, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&output, &bad).expect("the output");
        assert_eq!(verify(&output).code, 4);
    }
}
