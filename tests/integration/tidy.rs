//! The rules of the tree that a compiler does not check: who may use what, and where `unsafe` and printing are.

use std::path::{Path, PathBuf};

fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a source folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { collect(&path, found) } else { found.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    found.sort();
    let rust = found.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    rust.map(|path| {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().replace('\\', "/");
        (name, std::fs::read_to_string(&path).expect("a source file"))
    })
    .collect()
}

fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Files that contain `needle` outside tests and are not in `allowed`.
fn offenders(needle: &str, allowed: &[&str]) -> Vec<String> {
    let named =
        sources().into_iter().filter(|(name, text)| code(text).contains(needle) && !allowed.iter().any(|prefix| name.starts_with(prefix)));
    named.map(|(name, _)| name).collect()
}

#[test]
fn the_pickle_machine_knows_nothing_of_what_is_above_it() {
    let allowed = ["crate::error", "crate::limits", "crate::place", "crate::pickle", "crate::room", "crate::text"];
    for (name, text) in sources().iter().filter(|(name, _)| name.starts_with("pickle/")) {
        for line in code(text).lines().filter(|line| line.contains("crate::")) {
            assert!(allowed.iter().any(|module| line.contains(module)), "{name}: {line}");
        }
    }
}

/// The modules, each using only those before it.
const FLOW: &[&str] = &[
    "text",
    "room",
    "filenames",
    "place",
    "finding",
    "progress",
    "error",
    "limits",
    "source",
    "index",
    "temporary",
    "scratch",
    "storage",
    "pickle",
    "tensor",
    "numpy",
    "names",
    "describe",
    "container",
    "digest",
    "spool",
    "pipeline",
    "globals",
    "checkpoint",
    "input",
    "rules",
    "coverage",
    "select",
    "plan",
    "split",
    "writer",
    "ledger",
    "verify",
    "manifest",
    "output",
    "extras",
    "convert",
    "set",
    "batch",
    "jobs",
    "inspect",
    "scan",
    "store",
    "measured",
    "report",
];

#[test]
fn nothing_flows_back() {
    let floor = |module: &str| FLOW.iter().position(|known| *known == module);
    for (name, text) in sources() {
        let own = name.split(['/', '.']).next().unwrap_or_default();
        if ["lib", "main", "cli"].contains(&own) {
            continue;
        }
        let own_floor = floor(own).unwrap_or_else(|| panic!("{name} has no place in the flow"));
        for used in code(&text).split("use crate::").skip(1).filter_map(|rest| rest.split([':', ';']).next()) {
            let re_exported = ["{Limits", "Limits", "Place"].contains(&used);
            let used_floor =
                floor(used).unwrap_or_else(|| if re_exported { 0 } else { panic!("{name} uses {used}, which has no place in the flow") });
            assert!(used_floor <= own_floor, "{name} uses {used}, which comes after it");
        }
    }
}

#[test]
fn unsafe_is_in_one_file_and_so_is_opening_of_inputs() {
    assert_eq!(offenders("unsafe {", &["source.rs"]), Vec::<String>::new());
    assert_eq!(offenders("File::open(", &["source.rs", "output.rs"]), Vec::<String>::new());
    assert_eq!(offenders("NamedTempFile", &["temporary.rs", "output.rs"]), Vec::<String>::new());
}

#[test]
fn nothing_below_the_command_line_prints_or_exits() {
    for needle in ["println!", "eprintln!", "print!(", "stdout()", "stderr()", "process::exit", "env::var"] {
        assert_eq!(offenders(needle, &["cli/", "main.rs"]), Vec::<String>::new(), "{needle}");
    }
}

#[test]
fn there_is_no_network_and_there_are_no_processes() {
    for needle in ["process::Command", "std::net", "TcpStream", "UdpSocket", "libc::"] {
        assert_eq!(offenders(needle, &[]), Vec::<String>::new(), "{needle}");
    }
}

#[test]
fn the_zip_crate_is_used_in_one_file() {
    assert_eq!(offenders("zip::ZipArchive", &["container/zip_directory.rs"]), Vec::<String>::new());
}

#[test]
fn every_file_says_what_it_owns() {
    for (name, text) in sources() {
        assert!(text.starts_with("//!"), "{name} has no opening lines");
        let lines = text.lines().count();
        assert!(lines <= 600, "{name} has {lines} lines; split it");
    }
}

#[test]
fn the_readme_has_every_limit_and_every_exit_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let limits = std::fs::read_to_string(root.join("src/limits.rs")).expect("the limits");
    let names: Vec<&str> = limits.lines().filter(|line| line.contains("\" = ")).filter_map(|line| line.split('"').nth(1)).collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(readme.contains(&format!("| `{name}` |")), "the README does not list the limit {name}");
    }
    for code in 0..=4 {
        assert!(readme.contains(&format!("\n| {code} |")), "the README does not list the exit code {code}");
    }
}

#[test]
fn the_documents_have_every_kind_of_finding_with_its_meaning() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/findings.md");
    let document = std::fs::read_to_string(path).expect("the document");
    for (kind, meaning) in depickle::finding::KINDS {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{kind}` |")));
        assert!(row.is_some_and(|row| row.ends_with(&format!("| {meaning} |"))), "{kind}: {row:?}");
    }
}
