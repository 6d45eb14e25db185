//! Code that stands in an archive beside its pickles: Python modules of a package, TorchScript, expressions that torch.export
//! evaluates, machine code. Loading the archive runs it, or a model that was loaded does.

use std::collections::HashSet;

use serde_json::Value as Json;

use crate::container::{Document, Kind, Member};
use crate::finding::{Finding, Severity, capped};
use crate::limits::ReadOptions;
use crate::rules::python_source;

/// More of one member is not looked at.
const MAX_SOURCE_BYTES: u64 = 16 << 20;
/// Endings of machine code, and of what is compiled when it is loaded.
const MACHINE_CODE: &[&str] = &[".so", ".dll", ".dylib", ".cubin", ".ptx", ".cpp", ".cu", ".o", ".pyd", ".pyc"];
/// What code in TorchScript can do beyond numbers: functions of torch that write or read files.
const SCRIPT_DANGERS: &[&str] = &["torch.save(", "torch.from_file(", "torch.load("];

/// The findings of all members of a document.
pub(crate) fn judge(document: &Document, options: &ReadOptions) -> Vec<Finding> {
    let mut findings: Vec<Finding> = document.members.iter().filter_map(|member| judge_member(document.kind, member, options)).collect();
    if document.kind == Kind::TorchPackage {
        findings.extend(shadowed(document));
    }
    capped(findings)
}

fn judge_member(kind: Kind, member: &Member, options: &ReadOptions) -> Option<Finding> {
    let found = |severity: Severity, message: String| {
        let finding = Finding::note("embedded-source", member.place(), crate::text::printable(&message));
        Some(Finding { severity, ..finding })
    };
    if matches!(kind, Kind::Pt2 | Kind::TorchScript | Kind::TorchPackage)
        && MACHINE_CODE.iter().any(|ending| member.name().ends_with(ending))
    {
        return found(Severity::Dangerous, "the archive carries machine code, or what is compiled to it".to_owned());
    }
    match kind {
        Kind::TorchPackage if member.name().ends_with(".py") => {
            let source = member.text(MAX_SOURCE_BYTES, options)?;
            let uses =
                python_source::dangerous_use(&source).map(|(name, how)| format!("; it names {name}, which {how}")).unwrap_or_default();
            let bytes = crate::text::count(member.len, "byte");
            found(Severity::Unrecognized, format!("the package has a module of {bytes} of Python source, which torch.package runs{uses}"))
        }
        Kind::TorchScript if member.name().ends_with(".py") => {
            let source = member.text(MAX_SOURCE_BYTES, options)?;
            let danger = SCRIPT_DANGERS.iter().find(|danger| source.contains(**danger))?;
            let danger = danger.trim_end_matches('(');
            found(Severity::Dangerous, format!("code in the archive calls {danger}, which reads or writes files"))
        }
        Kind::Pt2 if member.name().ends_with(".json") => {
            let json: Json = serde_json::from_str(&member.text(MAX_SOURCE_BYTES, options)?).ok()?;
            let expression = odd_expression(&json)?;
            let shown = crate::text::quoted(&expression, 80);
            found(
                Severity::Dangerous,
                format!("torch.export would evaluate the expression {shown}, which is not one of numbers and symbols"),
            )
        }
        _ => None,
    }
}

/// The first expression in a program that is more than sympy's numbers, symbols and functions.
fn odd_expression(json: &Json) -> Option<String> {
    let mut pending = vec![json];
    while let Some(value) = pending.pop() {
        match value {
            Json::Object(fields) => {
                let expression = fields.get("expr_str").and_then(Json::as_str);
                if let Some(odd) = expression.filter(|expression| is_odd(expression)) {
                    return Some(odd.to_owned());
                }
                pending.extend(fields.values());
            }
            Json::Array(items) => pending.extend(items),
            _ => {}
        }
    }
    None
}

/// Whether an expression has a dunder, an attribute of something, a text beside the name of a symbol, or a name that is dangerous.
fn is_odd(expression: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_()+-*/%<>=&|~!,. '\"".contains(c);
    let bytes = expression.as_bytes();
    let attribute = |at: usize| bytes.get(at + 1).is_some_and(u8::is_ascii_alphabetic);
    let dotted = expression.match_indices('.').any(|(at, _)| attribute(at));
    !expression.chars().all(plain) || expression.contains("__") || dotted || python_source::dangerous_use(expression).is_some()
}

/// Globals whose module is one of the package's own: they are not what they are called.
fn shadowed(document: &Document) -> Vec<Finding> {
    let modules: HashSet<String> = document.members.iter().filter_map(|member| module_of(&member.name())).collect();
    let own = document.graph.globals().iter().filter(|global| modules.contains(&global.module));
    own.map(|global| {
        let path = global.path();
        let message = format!("loading would use {path} of the source in the package");
        let finding = Finding::note("callable", global.first.clone(), crate::text::printable(&message));
        Finding { severity: Severity::Unrecognized, global: Some(path), ..finding }
    })
    .collect()
}

/// `collections` for `archive/collections.py` and `archive/collections/__init__.py`.
fn module_of(member: &str) -> Option<String> {
    let (_, path) = member.split_once('/')?;
    let path = path.strip_suffix(".py")?;
    Some(path.strip_suffix("/__init__").unwrap_or(path).replace('/', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_numbers_and_symbols_are_honest() {
        for honest in
            ["s0", "Symbol('s0', positive=True, integer=True)", "2*s0 + 1", "Max(1, s0//2)", "True", "0.5*s1", "(s0 < 4) & (s1 >= 2)"]
        {
            assert!(!is_odd(honest), "{honest}");
        }
        for odd in ["__import__('os').system('x')", "s0.func", "eval('1')", "[1][0]", "exec('x')", "().__class__"] {
            assert!(is_odd(odd), "{odd}");
        }
    }

    #[test]
    fn members_are_modules_by_their_paths() {
        assert_eq!(module_of("a/collections.py").as_deref(), Some("collections"));
        assert_eq!(module_of("a/pack/age/__init__.py").as_deref(), Some("pack.age"));
        assert_eq!(module_of("a/data.pkl"), None);
    }
}
