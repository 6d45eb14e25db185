//! `--extras` against what Python sees in the same files (`NAME.values.json`, written by the library that made them).

use serde_json::Value;

use crate::harness::{Scratch, convert, json, testdata};

/// Compares what JSON can hold. Objects that Python shows by their `repr` are text there and text or an object here.
fn differences(path: &str, python: &Value, ours: &Value, found: &mut Vec<String>) {
    let mut differ = |why: String| found.push(format!("{path}: {why}: Python has {python}, the extras {ours}"));
    if ours.get("$ref").is_some() {
        return; // it stands at another place, where it is compared
    }
    match (python, ours) {
        (Value::Object(fields), Value::Object(tensor)) if tensor.contains_key("$tensor") => {
            let is_tensor = fields.contains_key("$tensor") || fields.contains_key("$module");
            if !is_tensor {
                differ("a tensor".to_owned());
            }
        }
        (Value::Object(fields), Value::Object(_)) if python.get("$module").is_none() => {
            // OmegaConf's containers keep their values one level down.
            let content = ours.get("_content").filter(|_| !fields.contains_key("_content")).unwrap_or(ours);
            for (key, value) in fields {
                match content.get(key) {
                    Some(other) => differences(&format!("{path}.{key}"), value, other.get("_val").unwrap_or(other), found),
                    // Slots of frozen classes have no names in the file, and partial functions no fields.
                    None if ours.get("__state__").is_some() => {}
                    None => found.push(format!("{path}.{key}: missing in {content}")),
                }
            }
        }
        (Value::Array(items), Value::Array(others)) => {
            if items.len() != others.len() {
                differ("another length".to_owned());
            }
            for (i, (item, other)) in items.iter().zip(others).enumerate() {
                differences(&format!("{path}.{i}"), item, other, found);
            }
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() != b.as_f64() => differ("another number".to_owned()),
        (Value::Bool(_) | Value::Null, _) if python != ours => differ("another value".to_owned()),
        (Value::String(a), Value::String(b)) => {
            let is_repr = a.contains('(') || a.starts_with(['<', '\'']);
            if a != b && !is_repr {
                differ("another text".to_owned());
            }
        }
        _ => {}
    }
}

#[test]
fn extras_hold_what_python_sees() {
    let mut compared = 0;
    let mut found = Vec::new();
    for folder in std::fs::read_dir(testdata().join("training")).expect("the folder") {
        for entry in std::fs::read_dir(folder.expect("an entry").path()).expect("a folder") {
            let values = entry.expect("an entry").path();
            let Some(input) = values.to_str().and_then(|name| name.strip_suffix(".values.json")) else { continue };
            let scratch = Scratch::new();
            let extras = scratch.path("extras.json");
            let args = ["--root", ".", "--deny", "none", "--extras", extras.to_str().expect("a path"), "--json"];
            let run = convert(std::path::Path::new(input), &scratch.path("out.safetensors"), &args);
            assert_eq!(run.code, 0, "{input}: {}", run.stderr);
            differences(input.rsplit('/').next().expect("a name"), &json(&values), &json(&extras), &mut found);
            compared += 1;
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
    assert!(compared >= 21, "only {compared} files");
}
