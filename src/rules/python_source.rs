//! A look at Python source for names that run code, touch files or reach the network. It is a look and no proof: source can
//! build any name. That a file carries source to be run is said in any case.

use crate::globals::{Meaning, meaning};

/// More is not looked at, and no class has as much.
const MAX_BYTES: usize = 16 << 20;

/// The first name in `source` that is dangerous, and what it does.
pub(super) fn dangerous_use(source: &str) -> Option<(&str, &'static str)> {
    if source.len() > MAX_BYTES {
        return Some(("more than any class", "cannot be looked through"));
    }
    let mut previous = "";
    for (at, name) in names(source) {
        let called = source[at + name.len()..].trim_start().starts_with('(');
        let found = match name.split_once('.') {
            Some((module, rest)) => danger(module, rest),
            None if matches!(previous, "import" | "from") => danger(name, "_"),
            None if called => danger("builtins", name),
            None => None,
        };
        if let Some(how) = found {
            return Some((name, how));
        }
        previous = name;
    }
    None
}

fn danger(module: &str, name: &str) -> Option<&'static str> {
    match meaning(module, name) {
        Some(Meaning::Dangerous(how) | Meaning::DangerousCall(how)) => Some(how),
        _ => None,
    }
}

/// The names in `source`, dotted ones as one, with their offsets. Those in texts and comments are names too.
fn names(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    source.split(move |c: char| !is_part(c)).filter_map(move |word| {
        let name = word.trim_matches('.');
        let starts = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        starts.then(|| (name.as_ptr().addr() - source.as_ptr().addr(), name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_source_is_quiet_and_the_rest_is_not() {
        let honest = "import numpy as np\nimport scipy.signal\nimport torch\nfrom torch_utils import misc, persistence\n\
            from torch_utils.ops import bias_act\n@persistence.persistent_class\nclass Generator(torch.nn.Module):\n    \
            def forward(self, x):\n        f = scipy.signal.firwin(numtaps=3, cutoff=0.5)\n        misc.assert_shape(x, [None])\n        \
            return torch.nn.functional.conv2d(x, self.weight.to(x.dtype)) # opens nothing\n";
        assert_eq!(dangerous_use(honest), None);
        for (source, name) in [
            ("import os\nos.system('x')", "os"),
            ("from subprocess import run", "subprocess"),
            ("import numpy, os.path", "os.path"),
            ("x = eval('1')", "eval"),
            ("class A:\n    __import__ ('o' + 's')", "__import__"),
            ("torch.hub.load('a')", "torch.hub.load"),
        ] {
            assert_eq!(dangerous_use(source).map(|(name, _)| name), Some(name), "{source}");
        }
    }
}
