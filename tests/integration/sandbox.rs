//! The sandbox of the program, from outside: the record says how far it went, and it is in nobody's way. What it closes is
//! tested beside its code.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Run, Scratch, convert, depickle, json, testdata};

fn level(manifest: &Path) -> String {
    json(manifest)["sandbox"].as_str().expect("a level").to_owned()
}

fn training() -> PathBuf {
    testdata().join("torch-zip/2.15.0/training.pt")
}

/// Whether the program shuts itself in fully on this system, as it says.
fn is_full() -> bool {
    let scratch = Scratch::new();
    assert_eq!(convert(&training(), &scratch.path("x.safetensors"), &[]).code, 0);
    level(&scratch.path("x.safetensors.manifest.json")) == "full"
}

#[test]
fn the_record_says_how_far_the_program_was_shut_in() {
    let scratch = Scratch::new();
    let (inside, outside) = (scratch.path("inside.safetensors"), scratch.path("outside.safetensors"));
    assert_eq!(convert(&training(), &inside, &[]).code, 0);
    assert_eq!(convert(&training(), &outside, &["--no-sandbox"]).code, 0);
    assert_eq!(level(&scratch.path("outside.safetensors.manifest.json")), "none");
    let said = level(&scratch.path("inside.safetensors.manifest.json"));
    assert!(["full", "partial", "none"].contains(&said.as_str()), "{said}");
    assert!(cfg!(target_os = "linux") || said == "none");
    assert_eq!(std::fs::read(inside).expect("an output"), std::fs::read(outside).expect("an output"));

    for (args, expected) in [(vec!["--no-sandbox", "inspect"], "none"), (vec!["inspect"], said.as_str())] {
        let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        args.extend([training().into_os_string(), "--json".into()]);
        let run = depickle(args);
        let record: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
        assert_eq!(record["sandbox"], expected);
    }
}

/// An array of joblib in a file that is not named as joblib names them.
#[test]
fn a_file_that_was_not_given_is_closed_and_the_error_says_what_to_try() {
    let scratch = Scratch::new();
    let folder = testdata().join("joblib/joblib-0.9.4-py3.6");
    let pickle = std::fs::read(folder.join("array.pkl")).expect("the pickle");
    let (name, other) = (b"array.pkl_01.npy", b"array.pkl_01.txt");
    let at = pickle.windows(name.len()).position(|part| part == name).expect("the name of the array");
    let pickle = [&pickle[..at], other, &pickle[at + name.len()..]].concat();
    let input = scratch.write("array.pkl", &pickle);
    scratch.write("array.pkl_01.txt", &std::fs::read(folder.join("array.pkl_01.npy")).expect("the array"));
    std::fs::create_dir(scratch.path("out")).expect("a folder");
    let output = scratch.path("out/array.safetensors");

    let open = convert(&input, &output, &["--no-sandbox"]);
    assert_eq!(open.code, 0, "{}", open.stderr);
    let shut = convert(&input, &output, &["--force"]);
    if shut.code == 0 {
        assert!(!is_full(), "a file that was not given was opened");
        return;
    }
    assert_eq!(shut.code, 1);
    assert!(shut.stderr.contains("array.pkl_01.txt\": permission denied"), "{}", shut.stderr);
    assert!(shut.stderr.contains("--no-sandbox helps"), "{}", shut.stderr);
}

/// Runs a command line in the folder.
fn run_in(folder: &Path, command: &str) -> Run {
    let mut program = Command::new(env!("CARGO_BIN_EXE_depickle"));
    Run::from(program.args(command.split(' ')).current_dir(folder).env("TMPDIR", folder.join("tmp")).output().expect("the program starts"))
}

#[test]
fn every_way_to_name_inputs_and_outputs_still_works() {
    let scratch = Scratch::new();
    let root = scratch.path("");
    for folder in ["a", "b/c", "elsewhere", "tmp", "real"] {
        std::fs::create_dir_all(scratch.path(folder)).expect("a folder");
    }
    let from = |name: &str| std::fs::read(testdata().join(name)).expect("a fixture");
    scratch.write("a/x.pt", &from("torch-zip/2.15.0/training.pt"));
    scratch.write("b/c/y.pt", &from("torch-legacy/1.0.0/mixed.pt"));
    scratch.write("a/deflated.pt", &from("torch-zip/2.15.0/deflated.pt"));
    for entry in std::fs::read_dir(testdata().join("joblib/joblib-0.8.4-py2.7")).expect("fixtures").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("full.joblib") {
            scratch.write(&format!("a/{name}"), &std::fs::read(entry.path()).expect("a fixture"));
        }
    }
    // More than stays in memory when it is decoded, in a compressed file and in a bundle.
    let mut array = Vec::from(*b"\x93NUMPY\x01\x00\x76\x00");
    writeln!(array, "{:117}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2000000,), }").expect("a header");
    array.resize(128 + 8_000_000, 1);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&array).expect("memory");
    let gzip = gzip.finish().expect("memory");
    scratch.write("a/big.npy.gz", &gzip);
    let mut bundle = tar::Builder::new(Vec::new());
    for (name, bytes) in [("agent/policy.npy.gz", &gzip), ("agent/deep/x.pt", &from("torch-zip/2.15.0/training.pt"))] {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        bundle.append_data(&mut header, name, bytes.as_slice()).expect("memory");
    }
    scratch.write("a/run.tar", &bundle.into_inner().expect("memory"));
    #[cfg(unix)]
    for (target, link) in [("../a/x.pt", "elsewhere/link.pt"), ("real", "linked")] {
        std::os::unix::fs::symlink(target, scratch.path(link)).expect("a link");
    }

    let mut commands = vec![
        "convert a/x.pt",
        "convert x.pt --force",
        "verify x.safetensors",
        "convert ./../a/x.pt -o ../b/x.safetensors --extras ../elsewhere/x.json",
        "convert a/x.pt -o new/",
        "convert a/x.pt -o new/deeper/still/x.safetensors",
        "convert a/x.pt -o missing/../other/x.safetensors",
        "convert a/x.pt b/c/y.pt -o both/",
        "convert a/x.pt b/c/y.pt --force",
        "convert a/deflated.pt -o b/",
        "convert a/full.joblib -o joblib/",
        "inspect a/full.joblib",
        "convert a/big.npy.gz",
        "convert a/big.npy.gz -o big/big.safetensors",
        "convert a/big.npy.gz -o planned/ --dry-run",
        "inspect a/big.npy.gz",
        "convert a/run.tar",
        "convert a/run.tar -o bundle/",
        "convert a/run.tar -o run.safetensors",
        "convert a/run.tar -o planned/ --dry-run",
        "inspect a/run.tar",
        "verify .",
    ];
    if cfg!(unix) {
        commands.extend(["convert elsewhere/link.pt", "convert a/x.pt -o linked/", "verify real", "verify linked/x.safetensors"]);
    }
    for command in commands {
        let folder = if command.contains(" x.") || command.contains("./../a") { root.join("a") } else { root.clone() };
        let run = run_in(&folder, command);
        assert_eq!(run.code, 0, "{command}: {}", run.stderr);
    }
    assert!(scratch.path("other/x.safetensors").exists() && scratch.path("both/y.safetensors").exists());
    assert!(scratch.path("bundle/run/agent/deep/x.safetensors").exists() && scratch.path("elsewhere/x.json").exists());
    assert!(!scratch.path("planned").exists());
    assert_eq!(std::fs::read_dir(scratch.path("tmp")).expect("a folder").count(), 0, "temporary files have no names");
}

#[cfg(target_os = "linux")]
#[test]
fn an_input_can_be_a_descriptor_and_an_output_can_be_in_memory() {
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
    let output = memory.path().join("new/x.safetensors");
    for descriptor in ["/dev/stdin", "/proc/self/fd/0"] {
        let input = std::fs::File::open(training()).expect("the input");
        let mut program = Command::new(env!("CARGO_BIN_EXE_depickle"));
        let run = Run::from(program.args(["convert", descriptor, "--force", "-o"]).arg(&output).stdin(input).output().expect("a run"));
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    assert!(output.exists());
}
