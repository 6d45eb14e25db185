//! Globs of names: what is asked for and what is asked to be left out.

use globset::{GlobBuilder, GlobMatcher};

use crate::error::{Error, Result};

/// The names that are wanted.
pub(crate) struct Globs {
    include: Vec<Glob>,
    exclude: Vec<Glob>,
}

impl Globs {
    /// # Errors
    /// `usage` for a pattern that is no glob.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Globs> {
        Ok(Globs { include: matchers(include)?, exclude: matchers(exclude)? })
    }

    /// Whether a name is asked to be left out; not being asked for is another matter.
    pub fn forbids(&self, name: &str) -> bool {
        self.exclude.iter().any(|glob| glob.matches(name))
    }

    /// Whether a name is asked to be left out or not asked for.
    pub fn excludes(&self, name: &str) -> bool {
        self.forbids(name) || (!self.include.is_empty() && !self.include.iter().any(|glob| glob.matches(name)))
    }
}

/// A pattern, which also matches the name that is spelled like it: names may have brackets.
struct Glob {
    spelled: String,
    matcher: GlobMatcher,
}

impl Glob {
    fn matches(&self, name: &str) -> bool {
        self.spelled == name || self.matcher.is_match(name)
    }
}

fn matchers(globs: &[String]) -> Result<Vec<Glob>> {
    // Names are not paths: `*` matches everything, dots and slashes included.
    let compile = |glob: &String| GlobBuilder::new(glob).literal_separator(false).backslash_escape(true).build();
    globs
        .iter()
        .map(|glob| {
            compile(glob)
                .map(|compiled| Glob { spelled: glob.clone(), matcher: compiled.compile_matcher() })
                .map_err(|e| Error::usage(format!("{} is no valid glob: {}", crate::text::quoted(glob, 100), e.kind())))
        })
        .collect()
}
