//! Names that look alike and are two: by letters of other alphabets, by invisible characters, by spaces.

use std::collections::HashMap;

use unicode_security::confusable_detection::skeleton;

/// Pairs of `names` that look alike, each name with the first one that it looks like. Names of letters that everyone can tell apart are
/// not compared: `l1` and `11` are two honest names.
pub(crate) fn pairs<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<(&'a str, &'a str)> {
    if names.clone().all(is_plain) {
        return Vec::new();
    }
    let mut first_of: HashMap<String, &str> = HashMap::new();
    let mut pairs = Vec::new();
    for name in names {
        let visible: String = name.chars().filter(|c| !is_invisible(*c)).collect();
        match first_of.entry(skeleton(&visible).collect()) {
            std::collections::hash_map::Entry::Occupied(first) if !(is_plain(name) && is_plain(first.get())) => {
                pairs.push((*first.get(), name));
            }
            std::collections::hash_map::Entry::Occupied(_) => {}
            std::collections::hash_map::Entry::Vacant(slot) => {
                slot.insert(name);
            }
        }
    }
    pairs
}

/// Whether a name is what programs write: visible ASCII.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_invisible(c: char) -> bool {
    c.is_whitespace() || crate::text::printable(c.encode_utf8(&mut [0; 4])) != c.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_only_look_the_same_are_pairs() {
        for (a, b) in [("weight", "w\u{435}ight"), ("w", "w "), ("w", "w\u{200b}"), ("caf\u{e9}", "cafe\u{301}"), ("a.b", "a\u{ff0e}b")] {
            assert_eq!(pairs([a, b].into_iter()).len(), 1, "{a:?} {b:?}");
        }
        for names in [["l1", "11"], ["ä", "a"], ["重み", "重さ"], ["W", "w"]] {
            assert!(pairs(names.into_iter()).is_empty(), "{names:?}");
        }
    }
}
