//! Pickles that no library writes, assembled by hand in protocol 0: what a file says twice, or says and takes back.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Scratch, convert, json, sha256};

/// The opcodes of a `uint8` array whose bytes are those of `text`, left on the stack.
fn array(text: &str) -> String {
    let n = text.len();
    format!(
        "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I{n}\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntRI00\nS'{text}'\ntb"
    )
}

struct Outcome {
    code: i32,
    reason: Option<String>,
    /// Names and the text that each tensor's bytes are.
    tensors: BTreeMap<String, String>,
    findings: Vec<String>,
}

fn run(pickle: &str, args: &[&str]) -> Outcome {
    let scratch = Scratch::new();
    let input = scratch.write("input.pkl", pickle.as_bytes());
    let output = scratch.path("out.safetensors");
    let run = convert(&input, &output, &[&["--json", "--root", "."][..], args].concat());
    let said: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let list = |value: &Value, field: &str| {
        value.as_array().into_iter().flatten().map(|item| item[field].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let mut tensors = BTreeMap::new();
    let mut findings = list(&said["findings"], "kind");
    if run.code == 0 {
        let bytes = std::fs::read(&output).expect("the output");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("a valid file");
        for name in file.names() {
            let data = file.tensor(name).expect("a tensor").data();
            tensors.insert(name.to_owned(), String::from_utf8_lossy(data).into_owned());
        }
        let manifest = json(&scratch.path("out.safetensors.manifest.json"));
        findings = list(&manifest["findings"], "kind");
        assert_eq!(manifest["outputs"][0]["sha256"], sha256(&bytes));
    } else {
        assert_eq!(scratch.names(), ["input.pkl"], "a refusal leaves nothing behind");
    }
    Outcome { code: run.code, reason: said["reason"].as_str().map(str::to_owned), tensors, findings }
}

fn tensors(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn an_array_is_what_its_state_says() {
    assert_eq!(run(&format!("{}.", array("ab")), &[]).tensors, tensors(&[("tensor", "ab")]));
}

#[test]
fn a_second_state_or_a_set_item_would_change_a_tensor_and_is_refused() {
    let a = array("ab");
    let second_state = "(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntRI00\nS'xy'\ntb";
    for pickle in [format!("{a}{second_state}."), format!("{a}I0\nI7\ns."), format!("{a}(I0\nI7\nu."), format!("{a}I7\na.")] {
        let outcome = run(&pickle, &[]);
        assert_eq!((outcome.code, outcome.reason.as_deref()), (1, Some("opaque-result")), "{}", pickle.escape_debug());
    }
}

#[test]
fn of_equal_keys_the_last_value_counts_as_in_python_and_is_a_finding() {
    let pickle = format!("(dI1\n{}sF1.0\n{}sI01\n{}s.", array("aa"), array("bb"), array("cc"));
    let outcome = run(&pickle, &[]);
    assert_eq!(outcome.tensors, tensors(&[("1", "cc")]));
    assert_eq!(outcome.findings, ["duplicate-key"]);
}

#[test]
fn keys_that_differ_and_would_give_one_name_are_an_error() {
    let pickle = format!("(dI1\n{}sS'1'\n{}s.", array("aa"), array("bb"));
    assert_eq!(run(&pickle, &[]).reason.as_deref(), Some("name-collision"));
    let dotted = format!("(dS'a.b'\n{}sS'a'\n(dS'b'\n{}ss.", array("aa"), array("bb"));
    assert_eq!(run(&dotted, &[]).reason.as_deref(), Some("name-collision"));
}

#[test]
fn an_ordered_dict_is_filled_by_its_constructor_or_later_and_nothing_given_to_it_is_lost() {
    let a = array("aa");
    let ordered = "ccollections\nOrderedDict\n";
    assert_eq!(run(&format!("{ordered}(((S'k'\n{a}tltR."), &[]).tensors, tensors(&[("k", "aa")]));
    assert_eq!(run(&format!("{ordered}(tRS'k'\n{a}s."), &[]).tensors, tensors(&[("k", "aa")]));
    // A list of something else than pairs, and an object of unknown class: walked under the name of the argument.
    assert_eq!(run(&format!("{ordered}(({a}ltR."), &[]).tensors, tensors(&[("__args__.0.0", "aa")]));
    assert_eq!(run(&format!("{ordered}(cpack\nage\n({a}tRtR."), &[]).tensors, tensors(&[("__args__.0.__args__.0", "aa")]));
}

#[test]
fn the_parts_of_an_unknown_object_are_walked() {
    let pickle = format!("cpack\nage\n({}tR(dS'attribute'\n{}sbS'key'\n{}sI7\n{}s.", array("aa"), array("bb"), array("cc"), array("dd"));
    let outcome = run(&pickle, &[]);
    assert_eq!(outcome.tensors, tensors(&[("7", "dd"), ("__args__.0", "aa"), ("attribute", "bb"), ("key", "cc")]));
    assert_eq!(outcome.findings, ["callable", "tensor-escapes"]);
    assert_eq!(run(&pickle, &["--deny", "unrecognized"]).code, 3);
}

#[test]
fn a_call_whose_result_is_dropped_still_counts() {
    let pickle = format!("cos\nsystem\n(S'true'\ntR0{}.", array("ab"));
    assert_eq!(run(&pickle, &[]).code, 3);
    let outcome = run(&pickle, &["--deny", "none"]);
    assert_eq!((outcome.tensors, outcome.findings), (tensors(&[("tensor", "ab")]), vec!["callable".to_owned()]));
}

#[test]
fn a_function_that_is_handed_on_is_as_dangerous_as_one_that_is_called() {
    let pickle = format!("(dS'f'\ncfunctools\npartial\n(cos\nsystem\nS'true'\ntRsS'w'\n{}s.", array("ab"));
    assert_eq!(run(&pickle, &[]).code, 3);
}

#[test]
fn a_second_pickle_is_an_error_and_other_bytes_behind_the_first_are_a_finding() {
    let a = array("ab");
    assert_eq!(run(&format!("{a}.{a}."), &[]).reason.as_deref(), Some("pickle-multiple"));
    let outcome = run(&format!("{a}.\u{1}\u{1}"), &[]);
    assert_eq!((outcome.tensors, outcome.findings), (tensors(&[("tensor", "ab")]), vec!["trailing-data".to_owned()]));
}

#[test]
fn a_dict_that_contains_itself_ends_and_says_so() {
    let outcome = run(&format!("(dp0\nS'self'\ng0\nsS'w'\n{}s.", array("ab")), &[]);
    assert_eq!((outcome.tensors, outcome.findings), (tensors(&[("w", "ab")]), vec!["cycle".to_owned()]));
}

#[test]
fn shared_containers_give_every_name_and_nesting_without_end_is_a_limit() {
    let outcome = run(&format!("(({}lp0\ng0\nl.", array("ab")), &["--shared", "copy"]);
    assert_eq!(outcome.tensors, tensors(&[("0.0", "ab"), ("1.0", "ab")]));
    // 40 lists, each twice in the next: 2^40 paths to one array.
    let doubled: String = (0..40).map(|i| format!("(g{i}\ng{i}\nlp{}\n0", i + 1)).collect();
    let bomb = format!("{}p0\n0{doubled}g40\n.", array("ab"));
    assert_eq!(run(&bomb, &[]).reason.as_deref(), Some("limit-exceeded"));
    // The same without an array is nothing to walk.
    let empty = format!("(lp0\n0{doubled}(lp41\ng40\na{}a.", array("ab"));
    assert_eq!(run(&empty, &[]).tensors, tensors(&[("1", "ab")]));
    let deep = format!("{}{}{}.", "(".repeat(2000), array("ab"), "l".repeat(2000));
    assert_eq!(run(&deep, &[]).reason.as_deref(), Some("limit-exceeded"));
}

#[test]
fn a_device_tensor_that_was_saved_as_an_array_is_that_array() {
    let rebuilt =
        |dtype: &str| format!("ctorch._utils\n_rebuild_device_tensor_from_numpy\n({}ctorch\n{dtype}\nS'xla:0'\nI00\ntR.", array("ab"));
    assert_eq!(run(&rebuilt("uint8"), &[]).tensors, tensors(&[("tensor", "ab")]));
    // torch would convert the numbers; that is not ours to do.
    assert_eq!(run(&rebuilt("float32"), &[]).reason.as_deref(), Some("tensor-unsupported"));
}

#[test]
fn an_unknown_rebuild_is_an_error_that_excluding_the_tensor_avoids() {
    let pickle = format!("(dS'a'\n{}sS'b'\nctorch._utils\n_rebuild_of_tomorrow\n({}tRs.", array("ab"), array("cd"));
    assert_eq!(run(&pickle, &[]).reason.as_deref(), Some("opaque-result"));
    assert_eq!(run(&pickle, &["--exclude", "b"]).tensors, tensors(&[("a", "ab")]));
}

#[test]
fn one_tensor_in_two_places_of_one_name_is_written_once() {
    let object = format!("cpack\nage\n(tR(dS'w'\n{}p7\nsbS'w'\ng7\ns.", array("ab"));
    assert_eq!(run(&object, &[]).tensors, tensors(&[("w", "ab")]));
}

#[test]
fn a_tensor_that_is_a_key_is_not_lost() {
    let pickle = format!("(d{}I1\nsS'w'\n{}s.", array("ab"), array("cd"));
    assert_eq!(run(&pickle, &[]).tensors, tensors(&[("__keys__.0", "ab"), ("w", "cd")]));
}

#[test]
fn a_payload_is_reported_whatever_is_wrong_behind_it() {
    let payload = "cos\nsystem\n(S'true'\ntR.";
    let legacy = format!("L119547037146038801333356L\n.I1001\n.(d.{payload}");
    let second_pickle = format!("{payload}{payload}");
    for (pickle, reason, findings) in [
        (legacy.clone(), "truncated", &["callable"][..]),
        (format!("{legacy}(S'0'\nl."), "legacy-malformed", &["callable"]),
        (second_pickle, "pickle-multiple", &["trailing-data", "callable", "callable"]),
    ] {
        let outcome = run(&pickle, &[]);
        let found: Vec<&str> = outcome.findings.iter().map(String::as_str).collect();
        assert_eq!((outcome.reason.as_deref(), &found[..]), (Some(reason), findings), "{}", pickle.escape_debug());
    }
}
