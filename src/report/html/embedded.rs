//! Data inside a page: JSON that cannot end the element that it is in, and in which every character that steers text or is not to be
//! seen is written out, as `text::printable` does it, so that whatever the page shows of it is what is there.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};

use crate::text::is_unsafe;

/// Writes a value as the content of a `<script type="application/json">`.
pub(super) fn write(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(out, Embedded))?;
    Ok(())
}

/// Text as the content of an element.
pub(super) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            c if is_unsafe(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

struct Embedded;

impl Embedded {
    /// A character as `char::escape_default` writes it, as text of a JSON string.
    fn visible<W: Write + ?Sized>(out: &mut W, c: char) -> io::Result<()> {
        write!(out, "\\{}", c.escape_default())
    }
}

impl Formatter for Embedded {
    fn write_string_fragment<W: Write + ?Sized>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| matches!(c, '<' | '>' | '&') || is_unsafe(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            match c {
                '<' | '>' | '&' => write!(out, "\\u{:04x}", u32::from(c))?,
                c => Embedded::visible(out, c)?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: Write + ?Sized>(&mut self, out: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => out.write_all(b"\\\""),
            CharEscape::ReverseSolidus => out.write_all(b"\\\\"),
            CharEscape::Solidus => out.write_all(b"/"),
            CharEscape::Backspace => Embedded::visible(out, '\u{8}'),
            CharEscape::FormFeed => Embedded::visible(out, '\u{c}'),
            CharEscape::LineFeed => Embedded::visible(out, '\n'),
            CharEscape::CarriageReturn => Embedded::visible(out, '\r'),
            CharEscape::Tab => Embedded::visible(out, '\t'),
            CharEscape::AsciiControl(byte) => Embedded::visible(out, char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, &text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_plain_stays_and_what_is_not_seen_is_written_out() {
        let odd = ["layer.0", "größe_α 模型", "a\"b\\c/d", "${x} `y` {{z}}", "<b>&amp;</b>", "</script><!--", "a\nb\tc\rd\u{8}\u{c}\u{1}"];
        let invisible = ["\u{202e}cod.exe", "a\u{2028}b\u{2029}c", "\u{feff}x\u{200b}\u{ad}", "\u{7f}\u{9b}31m"];
        for text in odd.iter().chain(&invisible) {
            let json = written(text);
            assert!(!json.contains(['<', '>', '&']) && !json.chars().any(is_unsafe), "{json}");
            let visible: String = text
                .chars()
                .flat_map(|c| if is_unsafe(c) { c.escape_default().to_string() } else { c.to_string() }.chars().collect::<Vec<_>>())
                .collect();
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), visible, "{json}");
        }
        assert_eq!(written("a\u{202e}b</script>"), "\"a\\\\u{202e}b\\u003c/script\\u003e\"");
    }

    #[test]
    fn text_in_an_element_is_text() {
        assert_eq!(escaped("<img src=x onerror='1'>&\"\u{202e}\n"), "&lt;img src=x onerror=&#39;1&#39;&gt;&amp;&quot;\\u{202e}\\n");
    }
}
