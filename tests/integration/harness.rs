//! Running the program in a folder of its own, and reading what it wrote with the real safetensors library.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

/// dtype, shape and SHA-256 of a tensor.
pub type Tensor = (String, Vec<u64>, String);

pub fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// A finished run.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn depickle<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_depickle")).args(args).output().expect("the program starts");
    Run::from(output)
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program prints UTF-8");
        Run { code: output.status.code().expect("the program ends by itself"), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// A folder for outputs that goes away with the test.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        Scratch(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in the temporary folder");
        path
    }

    /// The names of everything in the folder, hidden files included.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the temporary folder");
        let mut names: Vec<String> = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// `depickle convert INPUT -o OUTPUT ARGS...`
pub fn convert(input: &Path, output: &Path, args: &[&str]) -> Run {
    let fixed = [OsStr::new("convert"), input.as_os_str(), OsStr::new("-o"), output.as_os_str()];
    depickle(fixed.into_iter().chain(args.iter().map(OsStr::new)))
}

/// What `depickle scan --json ARGS...` says of a file.
pub fn scan(file: &[u8], args: &[&str]) -> (Run, serde_json::Value) {
    let scratch = Scratch::new();
    let input = scratch.write("input.zip", file);
    let run = depickle(["scan", "--json", input.to_str().expect("a path")].iter().chain(args));
    let said = serde_json::from_str(&run.stdout).expect("JSON");
    (run, said)
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the safetensors library reads from a file.
pub fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).expect("the output");
    let file = SafeTensors::deserialize(&bytes).expect("a valid safetensors file");
    let describe = |name: &str| {
        let view = file.tensor(name).expect("a listed tensor");
        (view.dtype().to_string(), view.shape().iter().map(|&size| size as u64).collect(), sha256(view.data()))
    };
    file.names().into_iter().map(|name| (name.to_owned(), describe(name))).collect()
}

pub fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).expect("a JSON file")).expect("valid JSON")
}
