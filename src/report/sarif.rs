//! `scan --format sarif`: the Static Analysis Results Interchange Format 2.1.0 of OASIS, which code hosts and CI systems show.
//! Only the part of it that is used here.

use std::path::{Component, Path};

use serde::Serialize;
use serde_json::{Value, json};

use crate::digest::Hasher;
use crate::error::Error;
use crate::finding::{Finding, KINDS, Severity, called_with};
use crate::scan::Scanned;
use crate::text::printable;

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The report of a whole run.
pub fn log(files: &[Scanned]) -> impl Serialize + use<> {
    let results: Vec<Value> =
        files.iter().enumerate().flat_map(|(index, file)| file.findings.iter().map(move |finding| result(index, file, finding))).collect();
    let notifications: Vec<Value> =
        files.iter().enumerate().flat_map(|(index, file)| file.errors.iter().map(move |error| notification(index, file, error))).collect();
    let artifacts: Vec<Value> = files.iter().map(|file| json!({ "location": { "uri": uri(&file.path) } })).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": env!("CARGO_PKG_NAME"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": KINDS.iter().map(rule).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": notifications.is_empty(),
                "toolExecutionNotifications": notifications,
            }],
            "artifacts": artifacts,
            "results": results,
        }],
    })
}

fn rule((id, meaning): &(&str, &str)) -> Value {
    json!({ "id": id, "name": id, "shortDescription": { "text": meaning }, "helpUri": "https://docs.python.org/3/library/pickle.html" })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Dangerous => "error",
        Severity::Unrecognized => "warning",
        Severity::Note => "note",
    }
}

fn result(index: usize, file: &Scanned, finding: &Finding) -> Value {
    let arguments = called_with(finding.arguments.as_deref());
    json!({
        "ruleId": finding.kind,
        "ruleIndex": KINDS.iter().position(|(id, _)| *id == finding.kind),
        "level": level(finding.severity),
        "message": { "text": format!("{}{arguments} (at {})", printable(&finding.message), finding.place) },
        "locations": [location(index, file, finding)],
        "partialFingerprints": { "depickle/v1": fingerprint(finding) },
        "properties": { "severity": finding.severity.as_str(), "member": &*finding.place.member, "memberOffset": finding.place.offset },
    })
}

fn location(index: usize, file: &Scanned, finding: &Finding) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(&file.path), "index": index } });
    // A member that is compressed has no place of its own in the file.
    if let Some(offset) = file.file_offset(finding) {
        physical["region"] = json!({ "byteOffset": offset });
    }
    let mut logical = Vec::new();
    if !finding.place.member.is_empty() {
        logical.push(json!({ "name": &*finding.place.member, "kind": "member" }));
    }
    logical.extend(finding.global.as_ref().map(|global| json!({ "fullyQualifiedName": global, "kind": "function" })));
    if logical.is_empty() {
        json!({ "physicalLocation": physical })
    } else {
        json!({ "physicalLocation": physical, "logicalLocations": logical })
    }
}

/// The same for the same finding in another copy or version of the file: without its place.
fn fingerprint(finding: &Finding) -> String {
    let mut sha = Hasher::default();
    let parts = [Some(finding.kind), Some(&*finding.place.member), finding.global.as_deref(), finding.arguments.as_deref()];
    for part in parts {
        let part = part.unwrap_or_default();
        sha.update(&(part.len() as u64).to_le_bytes());
        sha.update(part.as_bytes());
    }
    sha.finish().to_string().chars().take(32).collect()
}

fn notification(index: usize, file: &Scanned, error: &Error) -> Value {
    json!({
        "descriptor": { "id": error.code().as_str() },
        "level": "error",
        "message": { "text": printable(&error.to_string()) },
        "locations": [{ "physicalLocation": { "artifactLocation": { "uri": uri(&file.path), "index": index } } }],
    })
}

/// A path as a URI reference: relative as it was given, or with the scheme `file`.
fn uri(path: &Path) -> String {
    let mut uri = String::new();
    if path.is_absolute() {
        uri.push_str("file://");
    }
    for (i, component) in path.components().filter(|component| *component != Component::CurDir).enumerate() {
        if i > 0 && !uri.ends_with('/') {
            uri.push('/');
        }
        match component {
            Component::RootDir => uri.push('/'),
            component => component.as_os_str().as_encoded_bytes().iter().for_each(|&byte| encode(byte, &mut uri)),
        }
    }
    uri
}

fn encode(byte: u8, uri: &mut String) {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        uri.push(char::from(byte));
    } else {
        uri.push_str(&format!("%{byte:02X}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        for (path, expected) in
            [("a b/c.pt", "a%20b/c.pt"), ("./x", "x"), ("/t/m.pt", "file:///t/m.pt"), ("é:x%", "%C3%A9%3Ax%25"), ("../x", "../x")]
        {
            assert_eq!(uri(Path::new(path)), expected);
        }
    }
}
