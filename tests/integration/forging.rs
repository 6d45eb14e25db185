//! No name in a file steers a terminal or forges a line of a log, in whatever command shows it.

use crate::assemble::{Entry, array, call, cat, dict, global, payload, pickle, text, torch_zip};
use crate::harness::{Scratch, convert, depickle};

/// What would clear a screen, turn text around, end a line, hide, or be a command of a CI system.
const NAMES: &[&str] = &[
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{9b}31m",
    "a\nverified model.pt: 1 tensor",
    "a\r\nclean: model.pt",
    "x\u{2028}y\u{85}z",
    "\u{202e}tensor",
    "\u{2066}\u{200f}\u{200b}\u{ad}\u{feff}\u{e0041}",
    "::error::owned",
    "  ::warning file=a::owned",
    "##vso[task.complete result=Succeeded;]",
    "##[error]owned",
    "##teamcity[message]",
    "\u{8}\u{8}\u{8}\u{7f}",
];

#[track_caller]
fn is_harmless(output: &str) {
    for line in output.split('\n') {
        let odd = line.chars().find(|c| c.is_control() || matches!(*c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'));
        assert_eq!(odd, None, "{}", line.escape_debug());
        assert!(!line.trim_start().starts_with("::") && !line.contains("##"), "{line}");
        assert!(!line.starts_with("verified model.pt") && !line.starts_with("clean: model.pt"), "{line}");
    }
}

fn files(name: &str) -> Vec<Vec<u8>> {
    let member =
        torch_zip(b"").with(|zip| zip.entries.push(Entry { name: format!("a/{name}").into(), data: b"x".to_vec(), ..Entry::default() }));
    let odd_folder =
        torch_zip(b"").with(|zip| zip.entries.iter_mut().for_each(|entry| entry.name.splice(..1, name.bytes()).for_each(drop)));
    let mut files = vec![
        pickle(&dict(&[(name, &array(b"a"))])),
        pickle(&dict(&[(name, &text("a value")), ("w", &array(b"a"))])),
        pickle(&cat(&[&call(&cat(&[&text("pack"), &text(name), b"\x93"]), &[&text(name)]), b"0", &array(b"a")])),
        pickle(&cat(&[&call(&cat(&[&text(name), &text("system"), b"\x93"]), &[&text(name)]), b"0", &array(b"a")])),
        pickle(&cat(&[&call(&global("posix", "system"), &[&text(name)]), b"0", &array(b"a")])),
        pickle(&call(&global("torch._utils", "_rebuild_tensor_v2"), &[&text(name)])),
        pickle(&cat(&[b"}(", &text(name), &array(b"a"), &text(name), &array(b"b"), b"u"])),
        member.file(),
        odd_folder.file(),
        format!("I{name}\n.").into_bytes(),
        format!("{name} is no checkpoint").into_bytes(),
        cat(&[b"\x80\x02", &payload(), name.as_bytes()]),
    ];
    files.push(crate::assemble::tar(&[(b"m.pt", &torch_zip(b"").file()), (name.as_bytes(), &pickle(&payload()))]));
    files
}

#[test]
fn nothing_in_a_file_steers_a_terminal_or_forges_a_log() {
    for name in NAMES {
        for file in files(name) {
            let scratch = Scratch::new();
            let input = scratch.write("model.bin", &file);
            let path = input.to_str().expect("a path");
            let runs = [
                depickle(["inspect", path]),
                depickle(["scan", "--verbose", path]),
                convert(&input, &scratch.path("out.safetensors"), &[]),
                convert(&input, &scratch.path("out.safetensors"), &["--deny", "none", "--root", ".", "--dry-run"]),
                convert(&input, &scratch.path("out.safetensors"), &["--root", "nowhere"]),
            ];
            for run in runs {
                is_harmless(&run.stdout);
                is_harmless(&run.stderr);
            }
        }
    }
}

#[test]
#[cfg(unix)]
fn neither_does_the_name_of_a_file() {
    for name in NAMES.iter().map(|name| name.replace(['/', '\0'], "_")) {
        let scratch = Scratch::new();
        let input = scratch.write(&name, &pickle(&payload()));
        let other = scratch.path("not here").join(&name);
        let folder = scratch.path("");
        for args in [
            ["scan", folder.to_str().expect("a path")],
            ["scan", input.to_str().expect("a path")],
            ["inspect", other.to_str().expect("a path")],
            ["convert", input.to_str().expect("a path")],
            ["verify", input.to_str().expect("a path")],
        ] {
            let run = depickle(args);
            is_harmless(&run.stdout);
            is_harmless(&run.stderr);
        }
    }
}
