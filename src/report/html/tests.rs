//! Whole pages, of reports with names that are made to break out.

use serde_json::{Value, json};

use super::*;
use crate::text::is_unsafe;

/// Names that would be markup, script, templates, ends of elements, or would steer how the text around them is shown.
const NAMES: [&str; 9] = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]><svg onload=alert(1)>",
    "${alert(1)} {{alert(1)}} `x`",
    "\" onclick=\"alert(1)\" '",
    "line\u{2028}end\u{2029}\r\n",
    "\u{202e}gpj.tp\u{202c}\u{feff}",
    "&lt;b&gt; &#60; @@data@@",
];

fn hostile() -> Report {
    let row = |name: &str| {
        serde_json::from_value(json!({
            "path": name, "also": [name], "bytes": 1, "state": "failed", "sha256": name, "container": name,
            "outputs": [{ "path": name, "bytes": 2, "sha256": name, "manifest": name, "member": name, "tensors": 3, "root": name }],
            "reasons": [{ "member": name, "reason": name, "message": name, "place": name, "help": name }],
            "findings": [{ "kind": name, "severity": name, "global": name, "member": name, "offset": 1, "message": name, "arguments": name }],
        }))
        .unwrap()
    };
    let mut report =
        Report::new(NAMES[0].into(), json!({ NAMES[0]: NAMES[1] }), Some(NAMES[2].into()), NAMES.iter().map(|name| row(name)).collect());
    report.tool.name = NAMES[0].into();
    report
}

fn page_of(report: &Report) -> String {
    let mut out = Vec::new();
    page(report, Path::new("not-there"), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every text of a value, keys too.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            found.push(key.clone());
            texts(value, found);
        }),
        _ => {}
    }
}

fn visible(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// What stands between a tag and the next end of its element.
fn content<'a>(page: &'a str, tag: &str) -> &'a str {
    page.split_once(tag).unwrap().1.split_once("</script>").unwrap().0
}

#[test]
fn nothing_from_a_file_becomes_markup() {
    let page = page_of(&hostile());
    let harmless = Report::new(
        "x".into(),
        json!({ "x": "x" }),
        Some("x".into()),
        hostile().inputs.into_iter().map(|row| Row { path: "x".into(), ..row }).collect(),
    );
    let harmless = Report { inputs: harmless.inputs.into_iter().map(|row| rename(&row)).collect(), ..harmless };
    let tags = |page: &str| page.matches('<').count();
    assert_eq!(tags(&page), tags(&page_of(&harmless)), "as many tags as with names that are no markup");
    assert!(!page.contains("<img") && !page.contains("<svg") && !page.contains("alert(1)</"));
    assert!(!page.chars().any(|c| is_unsafe(c) && c != '\n'), "no character steers the text of the page");
}

/// A row with every text an `x`.
fn rename(row: &Row) -> Row {
    fn all(value: &mut Value, key: &str) {
        match value {
            Value::String(text) if key != "state" => *text = "x".into(),
            Value::Array(items) => items.iter_mut().for_each(|item| all(item, key)),
            Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| all(value, key)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(row).unwrap();
    all(&mut value, "");
    serde_json::from_value(value).unwrap()
}

#[test]
fn the_data_of_the_page_is_the_report() {
    let report = hostile();
    let page = page_of(&report);
    let text = content(&page, "<script type=\"application/json\" id=\"report\">");
    assert!(!text.contains(['<', '>', '&']));
    let data: Value = serde_json::from_str(text).unwrap();
    let (mut shown, mut meant) = (Vec::new(), Vec::new());
    texts(&data["report"], &mut shown);
    texts(&serde_json::to_value(&report).unwrap(), &mut meant);
    assert_eq!(shown, meant.iter().map(|text| visible(text)).collect::<Vec<_>>());
    assert_eq!(data["report"]["totals"], serde_json::to_value(&report.totals).unwrap());
    // Manifests that are not there are said, one by one.
    assert_eq!(serde_json::from_str::<Value>(content(&page, "id=\"listing\">")).unwrap()["unreadable"], NAMES.len());
}

#[test]
fn the_page_allows_its_own_script_and_style_and_no_request() {
    let page = page_of(&Report::new("store".into(), json!({}), None, Vec::new()));
    assert!(page.as_bytes().starts_with(PAGE_START));
    assert!(page.contains("content=\"default-src 'none'; style-src 'sha256-"));
    for needle in ["http:", "https:", "url(", "@import", "unsafe-inline", "unsafe-eval", " style=", " onclick="] {
        assert!(!page.contains(needle), "{needle}");
    }
    for needle in
        ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "setTimeout(\"", "fetch(", ".src", ".href"]
    {
        assert!(!SCRIPT.contains(needle), "the script puts data into the page as text only: {needle}");
    }
    assert!(!SCRIPT.contains("</") && !STYLE.contains("</") && !SCRIPT.contains("<!--") && !SCRIPT.contains('\r'));
}

#[test]
fn base64_is_that_of_the_standard() {
    for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}

#[test]
fn a_verdict_says_what_is_left_to_think_about() {
    let of = |converted, refused, failed, planned| verdict(&Totals { converted, refused, failed, planned, ..Totals::default() });
    assert_eq!(of(3, 0, 0, 0), "Every checkpoint was converted, and verified bit for bit.");
    assert_eq!(of(3, 1, 2, 0), "1 file was refused and 2 files were not converted. Their originals are as they were.");
    assert_eq!(of(0, 0, 0, 0), "There was nothing to convert.");
    assert_eq!(of(0, 0, 0, 5), "This is a plan: nothing was written yet.");
}
