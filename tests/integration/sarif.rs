//! `scan --format sarif` against the schema of OASIS, which the `serde-sarif` crate carries unchanged.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::assemble::{Zip, cat, payload, pickle, torch_zip};
use crate::harness::{Scratch, depickle, testdata};

/// The schema, found where cargo keeps the source of the crate.
fn schema() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).args(["metadata", "--format-version", "1", "--locked", "--offline"]).output().expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata");
    let packages = metadata["packages"].as_array().expect("packages");
    let package = packages.iter().find(|package| package["name"] == "serde-sarif").expect("the crate is a dependency of the tests");
    let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
    let mut schema = crate::harness::json(&manifest.with_file_name("src").join("schema.json"));
    // The pattern of this property has a bracket too many, so that it is none to strict readers. It is not used here.
    for object in ["run", "toolComponent"] {
        let property = &mut schema["definitions"][object]["properties"]["language"];
        property.as_object_mut().expect("a property").remove("pattern").expect("a pattern");
    }
    schema
}

fn log(args: &[&str]) -> (i32, Value) {
    let run = depickle([&["scan", "--format", "sarif"], args].concat());
    assert_eq!(run.stderr, "");
    (run.code, serde_json::from_str(&run.stdout).expect("JSON"))
}

#[track_caller]
fn is_valid(log: &Value) {
    let validator = jsonschema::validator_for(&schema()).expect("the schema is one");
    let errors: Vec<String> = validator.iter_errors(log).map(|e| format!("{} at {}", e, e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    // The same by types that were made of the schema.
    serde_json::from_value::<serde_sarif::sarif::Sarif>(log.clone()).expect("a SARIF log");
}

#[test]
fn logs_of_everything_in_testdata_are_valid() {
    for folder in ["hostile", "broken", "bundles", "torch-zip/2.15.0"] {
        is_valid(&log(&[testdata().join(folder).to_str().expect("a path")]).1);
    }
    is_valid(&log(&["nowhere"]).1);
}

#[test]
fn a_result_has_its_rule_its_byte_and_its_member() {
    let scratch = Scratch::new();
    let archive = torch_zip(&cat(&[&payload(), b"0"]));
    let file = archive.file();
    let path = scratch.write("a model.pt", &file);
    let (code, log) = log(&[path.to_str().expect("a path")]);
    assert_eq!(code, 3);
    is_valid(&log);
    let run = &log["runs"][0];
    let result = run["results"].as_array().expect("results").iter().find(|result| result["level"] == "error").expect("the call");
    assert_eq!(run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().expect("an index") as usize]["id"], result["ruleId"]);
    let location = &result["locations"][0];
    let physical = &location["physicalLocation"];
    assert!(physical["artifactLocation"]["uri"].as_str().expect("a uri").ends_with("/a%20model.pt"));
    // The offset is that of the opcode in the file itself.
    let offset = physical["region"]["byteOffset"].as_u64().expect("an offset") as usize;
    assert_eq!(file[offset], b'R');
    assert_eq!(location["logicalLocations"][0]["name"], "a/data.pkl");
    assert_eq!(location["logicalLocations"][1]["fullyQualifiedName"], "posix.system");
    assert!(result["message"]["text"].as_str().expect("a text").contains("echo this would have run"));
}

#[test]
fn a_fingerprint_stays_when_the_place_changes() {
    let scratch = Scratch::new();
    let fingerprint = |before: &[u8]| {
        let path = scratch.write("model.pt", &Zip::of(&[("a/data.pkl", &pickle(&cat(&[before, &payload()])))]).file());
        let results = log(&[path.to_str().expect("a path")]).1["runs"][0]["results"].clone();
        results.as_array().expect("results").iter().find(|result| result["level"] == "error").expect("the call")["partialFingerprints"]
            .clone()
    };
    assert_eq!(fingerprint(b""), fingerprint(b"N0N0"));
}

#[test]
fn what_cannot_be_read_is_said_and_not_skipped() {
    let scratch = Scratch::new();
    let path = scratch.write("model.pt", b"PK\x03\x04 is not enough");
    let (code, log) = log(&[path.to_str().expect("a path")]);
    assert_eq!(code, 1);
    is_valid(&log);
    let invocation = &log["runs"][0]["invocations"][0];
    assert_eq!(invocation["executionSuccessful"], false);
    assert_eq!(invocation["toolExecutionNotifications"][0]["descriptor"]["id"], "zip-malformed");
}
