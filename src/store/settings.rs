//! How a store was converted, in the words of the command line: with others the outputs would be others.

use serde_json::{Map, Value, json};

use crate::convert::ConvertOptions;
use crate::limits::Limits;
use crate::rules::Deny;
use crate::select::{Lower, Root, Shared};

/// The settings on which outputs depend and that differ from what they are without arguments.
pub(crate) fn of(options: &ConvertOptions) -> Value {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Option<Value>| settings.extend(value.map(|value| (name.to_owned(), value)));
    let selection = &options.selection;
    set(
        "root",
        match &selection.root {
            Root::Auto => None,
            Root::Whole => Some(json!(".")),
            Root::Path(path) => Some(json!(path)),
        },
    );
    set("shared", (selection.shared != Shared::Drop).then(|| json!("copy")));
    set("lower", (selection.lower != Lower::Plain).then(|| json!("refuse")));
    for (name, list) in [("include", &selection.include), ("exclude", &selection.exclude)] {
        set(name, (!list.is_empty()).then(|| json!(list)));
    }
    set("rename", (!selection.rename.is_empty()).then(|| json!(selection.rename)));
    set(
        "deny",
        match options.deny {
            Deny::Dangerous => None,
            Deny::Unrecognized => Some(json!("unrecognized")),
            Deny::None => Some(json!("none")),
        },
    );
    set("max-shard-size", options.max_shard_size.map(|size| json!(size)));
    set("no-tensor-hashes", options.no_tensor_hashes.then(|| json!(true)));
    set("ignore-crc", options.read.ignore_crc.then(|| json!(true)));
    let (limits, usual) = (options.read.limits.named(), Limits::default().named());
    let changed: Map<String, Value> = limits
        .into_iter()
        .zip(usual)
        .filter(|(now, usual)| now != usual)
        .map(|((name, value), _)| (name.to_owned(), json!(value)))
        .collect();
    set("limit", (!changed.is_empty()).then(|| Value::Object(changed)));
    Value::Object(settings)
}
