//! How text from a file is shown: a terminal, a log or a line of a report must not be steered by a name.

use std::borrow::Cow;

/// `text` with every control, bidirectional-override and invisible character written as an escape, and so that no CI system
/// takes a line of a log for a command: `::error::` at its start for GitHub, `##vso[` and `##teamcity[` anywhere for others.
///
/// JSON output carries names exactly; everything that a person reads goes through here.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Nearly every name is of this kind.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'#' | b':')) {
        return Cow::Borrowed(text);
    }
    let command = text.trim_start().starts_with("::");
    if !command && !text.contains("##") && !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut colon = command;
    let mut previous = ' ';
    for c in text.chars() {
        if is_unsafe(c) {
            shown.extend(c.escape_default());
        } else if (c == '#' && previous == '#') || (c == ':' && std::mem::take(&mut colon)) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        previous = c;
    }
    Cow::Owned(shown)
}

/// `text` in double quotes, printable, and cut to at most `max_chars` characters.
pub fn quoted(text: &str, max_chars: usize) -> String {
    let cut = if text.len() <= max_chars { None } else { text.char_indices().nth(max_chars) };
    match cut {
        None => ["\"", &printable(text), "\""].concat(),
        Some((cut, _)) => format!("\"{}\"...", printable(&text[..cut])),
    }
}

/// A count of bytes for people: `512 B`, `1.5 KB`, `2.16 GB` (powers of 1000, as `ls` and the hubs show sizes).
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value < 9.995 {
        2
    } else if value < 99.95 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// `1 tensor`, `2 tensors`, `20_000 tensors` written as `20,000 tensors`.
pub fn count(n: u64, noun: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(n))
}

/// `n` with a comma between groups of three digits.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Whether a character steers what is shown, or is not to be seen.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_escape_or_a_bidi_override_is_shown_not_sent() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}c\nd"), "a\\u{1b}[31mb\\u{202e}c\\nd");
        assert_eq!(printable("größe_α"), "größe_α");
    }

    #[test]
    fn a_log_is_not_steered_by_a_name() {
        assert_eq!(printable("::error::x"), "\\u{3a}:error::x");
        assert_eq!(printable("  ::stop-commands::x"), "  \\u{3a}:stop-commands::x");
        assert_eq!(printable("a ##vso[task.complete]"), "a #\\u{23}vso[task.complete]");
        assert_eq!(printable("###"), "#\\u{23}\\u{23}");
        assert_eq!(printable("std::vector #1"), "std::vector #1");
    }

    #[test]
    fn sizes_read_like_a_person_would_write_them() {
        for (n, shown) in [(0, "0 B"), (999, "999 B"), (1500, "1.50 KB"), (2_160_000_000, "2.16 GB"), (999_999, "1.00 MB")] {
            assert_eq!(bytes(n), shown);
        }
        assert_eq!(count(20_000, "tensor"), "20,000 tensors");
        assert_eq!(count(1, "tensor"), "1 tensor");
    }
}
