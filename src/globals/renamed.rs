//! The present names of globals that Python 2 or an older library called otherwise, from `renamed.tsv`.
//!
//! Python maps the names of Python 2 when it loads a pickle below protocol 3 (`Lib/_compat_pickle.py`).

use foldhash::HashMap;
use std::sync::OnceLock;

struct Renamed {
    modules: HashMap<&'static str, &'static str>,
    names: HashMap<(&'static str, &'static str), (&'static str, &'static str)>,
}

fn renamed() -> &'static Renamed {
    static RENAMED: OnceLock<Renamed> = OnceLock::new();
    RENAMED.get_or_init(|| {
        let mut renamed = Renamed { modules: HashMap::default(), names: HashMap::default() };
        for (module, name, now) in super::list::rows(include_str!("renamed.tsv")) {
            match now.split_once(' ') {
                Some(now) => drop(renamed.names.insert((module, name), now)),
                None if name == "*" => drop(renamed.modules.insert(module, now)),
                None => drop(renamed.names.insert((module, name), (now, name))),
            }
        }
        renamed
    })
}

/// Module and name as they are called at present.
pub(super) fn present<'a>(module: &'a str, name: &'a str) -> (&'a str, &'a str) {
    // scikit-learn had a copy of joblib of its own.
    let module = module.strip_prefix("sklearn.externals.").filter(|module| module.starts_with("joblib.")).unwrap_or(module);
    let renamed = renamed();
    if let Some(&now) = renamed.names.get(&(module, name)) {
        return now;
    }
    (renamed.modules.get(module).copied().unwrap_or(module), name)
}
