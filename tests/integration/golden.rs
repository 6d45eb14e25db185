//! Every file in `testdata` against what the library that wrote it says of it (`NAME.expect.json`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Run, Scratch, Tensor, convert, json, read_tensors, sha256, testdata};

const ENDING: &str = ".expect.json";

fn expectations(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of testdata") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            expectations(&path, found);
        } else if path.to_string_lossy().ends_with(ENDING) {
            found.push(path);
        }
    }
}

/// The number of files in `folder` that the README's table of what is read counts: `| ... | 77 in `torch-zip` |`.
fn promised(folder: &str) -> usize {
    let readme = std::fs::read_to_string(testdata().with_file_name("README.md")).expect("the README");
    let ending = format!(" in `{folder}` |");
    let cell = readme.lines().find_map(|line| line.strip_suffix(&ending)?.rsplit('|').next()).map(str::trim);
    cell.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("the README's table has no row for testdata/{folder}"))
}

#[test]
fn the_readme_has_a_row_for_every_folder_of_files_that_are_read() {
    let others = ["make", "save-file", "broken", "hostile", "differential"];
    for entry in std::fs::read_dir(testdata()).expect("testdata") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() && !others.contains(&name.as_str()) {
            promised(&name);
        }
    }
}

/// Checks every file below `folder`, and that there are exactly `count`, so that none goes missing unseen.
fn check_folder(folder: &str, count: usize) {
    let mut found = Vec::new();
    expectations(&testdata().join(folder), &mut found);
    found.sort();
    let failures: Vec<String> = found.iter().filter_map(|path| check(path).err().map(|why| format!("{}: {why}", path.display()))).collect();
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), found.len(), failures.join("\n"));
    assert_eq!(found.len(), count, "files in testdata/{folder}");
}

fn check(expect_path: &Path) -> Result<(), String> {
    let expect = json(expect_path);
    let name = expect_path.to_string_lossy();
    let input = PathBuf::from(name.strip_suffix(ENDING).expect("an expectation"));
    let args: Vec<&str> = expect["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let scratch = Scratch::new();
    let output = scratch.path("out.safetensors");
    let run = convert(&input, &output, &[&args[..], &["--json"]].concat());
    match expect["error"].as_str() {
        Some(code) => check_refusal(&run, code, &expect, &scratch),
        None => check_tensors(&run, &expect, &output),
    }
}

fn check_refusal(run: &Run, code: &str, expect: &Value, scratch: &Scratch) -> Result<(), String> {
    let said: Value = serde_json::from_str(&run.stdout).map_err(|e| format!("{e}: {}{}", run.stdout, run.stderr))?;
    if said["reason"] != code || i64::from(run.code) != expect["exit"].as_i64().unwrap_or(1) {
        return Err(format!("expected {code}, got exit {} and {}", run.code, run.stdout.trim_end()));
    }
    let found: Vec<&str> = said["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["global"].as_str()).collect();
    if let Some(unseen) = expect["calls"].as_array().into_iter().flatten().find(|call| !found.contains(&call.as_str().unwrap_or_default()))
    {
        return Err(format!("the call of {unseen} is not among the findings: {found:?}"));
    }
    if !scratch.names().is_empty() {
        return Err(format!("the refusal left {:?} behind", scratch.names()));
    }
    Ok(())
}

fn check_tensors(run: &Run, expect: &Value, output: &Path) -> Result<(), String> {
    if run.code != 0 {
        return Err(format!("exit {}: {}", run.code, run.stderr.trim_end()));
    }
    let wanted: BTreeMap<String, Tensor> = expect["tensors"]
        .as_object()
        .ok_or("no tensors are expected")?
        .iter()
        .map(|(name, tensor)| {
            let shape = tensor["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
            (name.clone(), (text(&tensor["dtype"]), shape, text(&tensor["sha256"])))
        })
        .collect();
    let got = read_tensors(output);
    if got != wanted {
        let differ: BTreeSet<&String> = got.keys().chain(wanted.keys()).filter(|name| got.get(*name) != wanted.get(*name)).collect();
        let shown: Vec<String> =
            differ.iter().take(4).map(|name| format!("{name:?}: got {:?}, expected {:?}", got.get(*name), wanted.get(*name))).collect();
        return Err(format!("{} tensors differ: {}", differ.len(), shown.join("; ")));
    }
    let manifest = json(&output.with_file_name("out.safetensors.manifest.json"));
    let in_manifest: BTreeMap<String, String> =
        manifest["tensors"].as_array().into_iter().flatten().map(|t| (text(&t["name"]), text(&t["sha256"]))).collect();
    if in_manifest != wanted.iter().map(|(name, (.., sha))| (name.clone(), sha.clone())).collect() {
        return Err("the manifest has other digests than the library that made the file".to_owned());
    }
    if let Some(left_out) = expect["left_out"].as_array() {
        let wanted: BTreeSet<String> = left_out.iter().map(text).collect();
        let got: BTreeSet<String> = manifest["left_out"].as_array().into_iter().flatten().map(|left| text(&left["name"])).collect();
        if got != wanted {
            return Err(format!("left out {got:?}, expected {wanted:?}"));
        }
    }
    for (name, wanted) in expect["lowered"].as_object().into_iter().flatten() {
        let got = &manifest["lowered"][name];
        let same = wanted.as_object().into_iter().flatten().all(|(field, value)| &got[field] == value);
        let parts: Vec<String> = got["parts"].as_array().into_iter().flatten().map(text).collect();
        if !same || parts.is_empty() || !parts.iter().all(|part| in_manifest.contains_key(part)) {
            return Err(format!("{name} is recorded as {got}, expected {wanted}"));
        }
    }
    if let Some(aliases) = expect.get("aliases")
        && &manifest["aliases"] != aliases
    {
        return Err(format!("aliases are {}, expected {aliases}", manifest["aliases"]));
    }
    if let Some(wanted) = expect["save_file_sha256"].as_str() {
        let bytes = std::fs::read(output).map_err(|e| e.to_string())?;
        if sha256(&bytes) != wanted {
            let header = String::from_utf8_lossy(&bytes[8..bytes.len().min(600)]).into_owned();
            return Err(format!("save_file writes other bytes; header is {header}, expected {}", expect["save_file_header"]));
        }
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[test]
fn torch_zips_of_every_version_are_exact() {
    check_folder("torch-zip", promised("torch-zip"));
}

#[test]
fn torch_legacy_files_of_every_version_are_exact() {
    check_folder("torch-legacy", promised("torch-legacy"));
}

#[test]
fn bare_pickles_of_numpy_and_torch_are_exact() {
    check_folder("bare-pickle", promised("bare-pickle"));
}

#[test]
fn torch_tars_are_exact() {
    check_folder("torch-tar", promised("torch-tar"));
}

#[test]
fn npy_files_are_exact() {
    check_folder("npy", promised("npy"));
}

#[test]
fn npz_archives_are_exact() {
    check_folder("npz", promised("npz"));
}

#[test]
fn joblib_files_of_every_version_are_exact() {
    check_folder("joblib", promised("joblib"));
}

#[test]
fn compressed_files_are_what_is_inside() {
    check_folder("compressed", promised("compressed"));
}

#[test]
fn bundles_give_every_checkpoint_inside() {
    check_folder("bundles", promised("bundles"));
}

#[test]
fn lowered_tensors_are_exact_and_recorded() {
    check_folder("lowered", promised("lowered"));
}

#[test]
fn every_kind_of_numpy_array_is_exact_or_listed() {
    check_folder("numpy-kinds", promised("numpy-kinds"));
}

#[test]
fn torchscript_of_every_version_is_exact() {
    check_folder("torchscript", promised("torchscript"));
}

#[test]
fn torch_packages_and_exported_programs_are_exact() {
    check_folder("torch-package", promised("torch-package"));
    check_folder("pt2", 6);
}

#[test]
fn files_of_other_frameworks_are_exact() {
    check_folder("frameworks", promised("frameworks"));
}

#[test]
fn training_checkpoints_are_exact() {
    check_folder("training", promised("training"));
}

#[test]
fn modules_give_their_state_dict_names() {
    check_folder("modules", promised("modules"));
}

#[test]
fn cycles_end_and_lose_nothing() {
    check_folder("cyclic", promised("cyclic"));
}

#[test]
fn outputs_are_the_bytes_that_save_file_writes() {
    check_folder("save-file", 19);
}

#[test]
fn what_once_went_wrong_is_exact() {
    check_folder("regressions", promised("regressions"));
}

#[test]
fn published_checkpoints_are_exact() {
    check_folder("corpus", promised("corpus"));
}

#[test]
fn broken_files_are_one_clear_error_and_leave_nothing_behind() {
    check_folder("broken", 38);
}

#[test]
fn hostile_files_are_refused_and_leave_nothing_behind() {
    check_folder("hostile", 56);
}
