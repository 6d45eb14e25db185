//! What is written where: never over something, never half, never with a rest.

use std::path::Path;

use crate::harness::{Scratch, convert, depickle, json, read_tensors, testdata};

fn training() -> std::path::PathBuf {
    testdata().join("torch-zip/2.15.0/training.pt")
}

#[test]
fn an_existing_output_is_kept_unless_forced() {
    let scratch = Scratch::new();
    let output = scratch.write("out.safetensors", b"precious");
    let run = convert(&training(), &output, &[]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
    assert_eq!(std::fs::read(&output).expect("the file"), b"precious");
    assert_eq!(scratch.names(), ["out.safetensors"]);
    assert_eq!(convert(&training(), &output, &["--force"]).code, 0);
    assert_eq!(read_tensors(&output).len(), 8);
}

#[test]
fn the_input_is_never_overwritten() {
    let scratch = Scratch::new();
    let bytes = std::fs::read(training()).expect("the input");
    let input = scratch.write("model.safetensors", &bytes);
    for args in [&[][..], &["--force"]] {
        assert_eq!(convert(&input, &input, args).code, 2);
        assert_eq!(std::fs::read(&input).expect("the input"), bytes);
    }
    let extras = input.to_string_lossy().into_owned();
    assert_eq!(convert(&input, &scratch.path("out.safetensors"), &["--extras", &extras, "--force"]).code, 2);
    assert_eq!(std::fs::read(&input).expect("the input"), bytes);
    assert_eq!(scratch.names(), ["model.safetensors"]);
}

#[test]
fn a_dry_run_writes_nothing() {
    let scratch = Scratch::new();
    let run = convert(&training(), &scratch.path("folder/"), &["--dry-run"]);
    assert_eq!(run.code, 0);
    assert!(scratch.names().is_empty());
}

#[test]
fn several_inputs_go_to_a_folder_and_one_failure_stops_none() {
    let scratch = Scratch::new();
    let folder = scratch.path("out/");
    let inputs = [training(), testdata().join("broken/zip_crc.pt"), testdata().join("torch-legacy/1.0.0/mixed.pt")];
    let args = [Path::new("convert"), &inputs[0], &inputs[1], &inputs[2], Path::new("-o"), &folder];
    let run = depickle(args);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let mut names: Vec<String> =
        std::fs::read_dir(&folder).expect("the folder").map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(
        names,
        ["mixed.safetensors", "mixed.safetensors.manifest.json", "training.safetensors", "training.safetensors.manifest.json"]
    );
}

#[test]
fn two_inputs_never_share_an_output() {
    let scratch = Scratch::new();
    let other = testdata().join("torch-legacy/2.15.0/training.pt");
    let run = depickle([Path::new("convert"), &training(), &other, Path::new("-o"), &scratch.path("out/"), Path::new("--force")]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("two inputs"), "{}", run.stderr);
}

#[test]
fn a_call_of_code_refuses_the_file_and_runs_nothing() {
    let scratch = Scratch::new();
    let witness = scratch.path("witness");
    // {'w': <call of os.system>} by hand: the opcodes that CPython's pickler would write.
    let command = format!("touch {}", witness.display());
    let pickle = format!("}}(S'w'\ncposix\nsystem\n(S'{command}'\ntRu.");
    let input = scratch.write("evil.pkl", pickle.as_bytes());
    let output = scratch.path("out.safetensors");
    let run = convert(&input, &output, &["--json"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let said: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!((&said["decision"], &said["reason"]), (&"refuse".into(), &"denied".into()));
    assert_eq!((&said["findings"][0]["global"], &said["findings"][0]["severity"]), (&"posix.system".into(), &"dangerous".into()));
    assert!(said["findings"][0]["arguments"].as_str().is_some_and(|arguments| arguments.contains("touch")));
    assert!(!witness.exists() && scratch.names() == ["evil.pkl"]);
}

#[test]
fn extras_hold_what_is_no_tensor_and_show_cycles_as_references() {
    let scratch = Scratch::new();
    let extras = scratch.path("extras.json");
    let run = convert(&training(), &scratch.path("out.safetensors"), &["--extras", &extras.to_string_lossy()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let values = json(&extras);
    assert_eq!(values["epoch"], 7);
    assert_eq!(values["args"]["$class"], "argparse.Namespace");
    assert_eq!(values["state_dict"]["conv.weight"]["$tensor"], "[\"state_dict\"][\"conv.weight\"]");

    let cyclic = scratch.path("cyclic.json");
    let run = convert(
        &testdata().join("cyclic/omegaconf_checkpoint.pt"),
        &scratch.path("cyclic.safetensors"),
        &["--extras", &cyclic.to_string_lossy()],
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(json(&cyclic)["cfg"]["_content"]["model"]["_parent"]["$ref"], "[\"cfg\"]");
}

#[test]
fn what_is_taken_and_how_it_is_called_can_be_chosen() {
    let taken = |args: &[&str]| {
        let scratch = Scratch::new();
        let output = scratch.path("out.safetensors");
        let run = convert(&training(), &output, args);
        assert_eq!(run.code, 0, "{args:?}: {}", run.stderr);
        read_tensors(&output).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(taken(&["--include", "head.*"]), ["head.weight"]);
    assert_eq!(taken(&["--exclude", "norm.*", "--exclude", "conv.*"]), ["head.weight"]);
    assert_eq!(taken(&["--include", "head.*", "--rename", "head.weight=classifier.weight"]), ["classifier.weight"]);
    assert_eq!(taken(&["--root", "optimizer.state.0"]), ["exp_avg", "exp_avg_sq", "step"]);
    assert!(taken(&["--root", "."]).contains(&"optimizer.state.0.exp_avg".to_owned()));
    let refused = |args: &[&str]| convert(&training(), &Scratch::new().path("out.safetensors"), args).code;
    assert_eq!(refused(&["--rename", "nothing=x"]), 2);
    assert_eq!(refused(&["--root", "nothing"]), 2);
    assert_eq!(refused(&["--include", "nothing"]), 1);
    assert_eq!(refused(&["--include", "["]), 2);
    assert_eq!(refused(&["--limit", "nothing=1"]), 2);
}

#[test]
fn names_that_cannot_be_are_renamed_on_request() {
    let scratch = Scratch::new();
    let collision = testdata().join("broken/name_collision.pt");
    let output = scratch.path("out.safetensors");
    let run = convert(&collision, &output, &["--root", ".", "--rename", "[1]=one"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(read_tensors(&output).contains_key("one"));
    let metadata = testdata().join("broken/name_metadata.pt");
    let output = scratch.path("metadata.safetensors");
    let run = convert(&metadata, &output, &["--rename", "__metadata__=metadata"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(read_tensors(&output).contains_key("metadata"));
}

#[test]
fn a_wrong_checksum_can_be_ignored_and_is_recorded() {
    let scratch = Scratch::new();
    let output = scratch.path("out.safetensors");
    let run = convert(&testdata().join("broken/zip_crc.pt"), &output, &["--ignore-crc"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let manifest = json(&scratch.path("out.safetensors.manifest.json"));
    assert_eq!(manifest["findings"][0]["kind"], "zip-crc");
}

#[test]
fn a_failure_leaves_no_folder_behind_that_was_made_for_it() {
    let scratch = Scratch::new();
    // The checksum is found to be wrong while the output is being written.
    let run = convert(&testdata().join("broken/zip_crc.pt"), &scratch.path("new/deeper/out.safetensors"), &[]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(scratch.names().is_empty(), "{:?}", scratch.names());
    let run = convert(&training(), &scratch.path("new/deeper/out.safetensors"), &[]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(scratch.names(), ["new"]);
}

#[test]
fn archives_in_archives_stay_in_the_folder_whatever_they_are_called() {
    let array = std::fs::read(testdata().join("npy/numpy-1.11.0-py2.7/big_f8.npy")).expect("the array");
    let archive = |name: &str, content: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).expect("a member");
        builder.into_inner().expect("an archive")
    };
    for inner in ["...tar", "..tar", "...tar.zip", "x/...tar"] {
        let scratch = Scratch::new();
        let bundle = scratch.write("bundle.tar", &archive(inner, &archive("...tar", &archive("a.npy", &array))));
        let run = depickle([Path::new("convert"), &bundle, Path::new("-o"), &scratch.path("deep/er/out/")]);
        assert_eq!(run.code, 0, "{inner}: {}", run.stderr);
        assert_eq!(scratch.names(), ["bundle.tar", "deep"]);
        let expected = format!("deep/er/out/bundle/{inner}/...tar/a.safetensors").replace("...tar.zip", "...tar");
        assert!(scratch.path(&expected).is_file(), "{inner}: {}", run.stdout);
    }
}

#[test]
fn what_is_said_and_written_does_not_depend_on_how_many_files_are_converted_at_once() {
    let folders = ["torch-zip/2.15.0", "torch-zip/2.8.0", "torch-legacy/1.0.0", "npz", "broken", "bundles"];
    let mut inputs: Vec<_> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(testdata().join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .collect();
    inputs.sort();
    let run = |jobs: &str| {
        let scratch = Scratch::new();
        let mut args = vec!["convert".into(), "--json".into(), "--jobs".into(), jobs.into(), "-o".into(), scratch.path("out/")];
        args.extend(inputs.iter().cloned());
        let run = depickle(&args);
        let manifest =
            |name: &String| name.ends_with(".manifest.json").then(|| std::fs::read(scratch.path("out").join(name)).expect("a manifest"));
        let out = std::fs::read_dir(scratch.path("out"))
            .expect("outputs")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = out.collect();
        names.sort();
        let manifests: Vec<_> = names.iter().filter_map(manifest).collect();
        let place = scratch.path("").to_string_lossy().into_owned();
        (run.code, run.stdout.replace(&place, ""), run.stderr.replace(&place, ""), names, manifests)
    };
    let one = run("1");
    assert!(one.3.len() > 20 && one.2.contains("is the output of two inputs"), "{}", one.2);
    for jobs in ["2", "16"] {
        assert!(run(jobs) == one, "--jobs {jobs} gives something else");
    }
}
