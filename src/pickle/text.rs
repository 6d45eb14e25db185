//! The literals of protocol 0. Only the spellings that Python's own pickler writes are accepted: where the C reader,
//! the pure-Python reader and pickletools disagree about a spelling, a scanner could be shown another value.

/// A two's complement little-endian integer that fits 64 bits, however many bytes repeat its sign.
pub(super) fn small_int(bytes: &[u8]) -> Option<i64> {
    let fill = if bytes.last().is_some_and(|&top| top & 0x80 != 0) { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut extended = [fill; 8];
    extended[..low.len()].copy_from_slice(low);
    let value = i64::from_le_bytes(extended);
    (high.iter().all(|&byte| byte == fill) && (value < 0) == (fill != 0)).then_some(value)
}

/// `0`, or digits without a leading zero, with an optional minus sign.
pub(super) fn is_canonical_integer(text: &[u8]) -> bool {
    match text.strip_prefix(b"-").unwrap_or(text) {
        b"0" => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// What `repr(float)` writes: `1.5`, `-2e-05`, `1e+20`, `inf`, `-inf`, `nan`. Overflow to infinity is not a literal.
pub(super) fn float(text: &[u8]) -> Option<f64> {
    match text {
        b"inf" => return Some(f64::INFINITY),
        b"-inf" => return Some(f64::NEG_INFINITY),
        b"nan" => return Some(f64::NAN),
        _ if text.len() > 1024 => return None,
        _ => {}
    }
    let text = std::str::from_utf8(text).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = digits.split_once(['e', 'E']).map_or((digits, None), |(m, e)| (m, Some(e)));
    let (whole, fraction) = mantissa.split_once('.').map_or((mantissa, None), |(w, f)| (w, Some(f)));
    let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let exponent_ok = exponent.is_none_or(|e| all_digits(e.strip_prefix(['+', '-']).unwrap_or(e)));
    if !all_digits(whole) || !fraction.is_none_or(|f| f.is_empty() || all_digits(f)) || !exponent_ok {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The argument of `STRING`: a Python 2 string literal in matching quotes.
pub(super) fn string(line: &[u8]) -> Option<Vec<u8>> {
    let inner = match line {
        [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
        _ => return None,
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match rest.next()? {
            escaped @ (b'\\' | b'\'' | b'"') => out.push(escaped),
            b'a' => out.push(7),
            b'b' => out.push(8),
            b't' => out.push(b'\t'),
            b'n' => out.push(b'\n'),
            b'v' => out.push(11),
            b'f' => out.push(12),
            b'r' => out.push(b'\r'),
            b'x' => out.push(u8::try_from(hex(&mut rest, 2)?).ok()?),
            first @ b'0'..=b'7' => {
                let mut value = u32::from(first - b'0');
                for _ in 0..2 {
                    match rest.clone().next() {
                        Some(digit @ b'0'..=b'7') => value = value * 8 + u32::from(digit - b'0'),
                        _ => break,
                    }
                    rest.next();
                }
                out.push((value & 0xff) as u8); // as PyBytes_DecodeEscape truncates
            }
            // CPython keeps an unknown escape as it stands.
            other => out.extend([b'\\', other]),
        }
    }
    Some(out)
}

/// The argument of `UNICODE`: raw-unicode-escape, in which only `\u` and `\U` are escapes and other bytes are Latin-1.
pub(super) fn unicode(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line.iter().copied();
    while let Some(byte) = rest.next() {
        let digits = match (byte, rest.clone().next()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            // Any other backslash pair stands for itself, so that `\\u0041` is not an escape.
            (b'\\', Some(next)) => {
                rest.next();
                push_code_point(&mut out, b'\\'.into())?;
                push_code_point(&mut out, next.into())?;
                continue;
            }
            _ => {
                push_code_point(&mut out, byte.into())?;
                continue;
            }
        };
        rest.next();
        push_code_point(&mut out, hex(&mut rest, digits)?)?;
    }
    Some(out)
}

fn hex(rest: &mut impl Iterator<Item = u8>, digits: usize) -> Option<u32> {
    (0..digits).try_fold(0u32, |value, _| {
        let digit = char::from(rest.next()?).to_digit(16)?;
        Some((value << 4) | digit)
    })
}

/// Appends a code point as UTF-8; a lone surrogate in the three bytes that Python's `surrogatepass` writes.
fn push_code_point(out: &mut Vec<u8>, code: u32) -> Option<()> {
    match char::from_u32(code) {
        Some(c) => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None if (0xd800..0xe000).contains(&code) => {
            out.extend([0xed, 0x80 | ((code >> 6) & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]);
        }
        None => return None,
    }
    Some(())
}

/// UTF-8 as `surrogatepass` reads it: valid except that surrogates may stand as three bytes each.
pub(super) fn is_utf8_with_surrogates(mut bytes: &[u8]) -> bool {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(_) => return true,
            Err(e) => match &bytes[e.valid_up_to()..] {
                [0xed, 0xa0..=0xbf, 0x80..=0xbf, rest @ ..] => bytes = rest,
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_spellings_that_python_writes_are_integers() {
        for good in ["0", "7", "-7", "10", "123456789012345678901234567890"] {
            assert!(is_canonical_integer(good.as_bytes()), "{good}");
        }
        for bad in ["", "-", "-0", "010", "0x10", "1_000", "+1", " 1", "1 ", "12\0 3", "1L"] {
            assert!(!is_canonical_integer(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn floats_are_what_repr_writes() {
        assert_eq!(float(b"-2e-05"), Some(-2e-5));
        assert_eq!(float(b"1e+20"), Some(1e20));
        assert_eq!(float(b"1.5"), Some(1.5));
        assert!(float(b"nan").is_some_and(f64::is_nan));
        for bad in ["", "1_0", "1e999", "0x1p3", ".5", "1e", "infinity", " 1.0", "--1"] {
            assert_eq!(float(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn strings_are_unescaped_as_cpython_does() {
        assert_eq!(string(br"'a\x00\n\\\'\101\q'").as_deref(), Some(&b"a\0\n\\'A\\q"[..]));
        for bad in [&br"'x"[..], b"x", br"'\x4'", br"'\", b"'a\""] {
            assert_eq!(string(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn unicode_escapes_and_latin_1_bytes_become_utf_8() {
        assert_eq!(unicode(b"a\\u03b1\xe9\\U0001f600").as_deref(), Some("aα\u{e9}😀".as_bytes()));
        assert_eq!(unicode(b"\\ud800").as_deref(), Some(&[0xed, 0xa0, 0x80][..]));
        assert!(is_utf8_with_surrogates(&[b'a', 0xed, 0xa0, 0x80, b'b']));
        assert!(!is_utf8_with_surrogates(&[0xff]));
        assert_eq!(unicode(b"\\u12"), None);
    }

    #[test]
    fn small_integers_are_sign_extended() {
        assert_eq!(small_int(b""), Some(0));
        assert_eq!(small_int(&[0xff]), Some(-1));
        assert_eq!(small_int(&[0xff, 0]), Some(255));
        assert_eq!(small_int(&[7, 0, 0, 0, 0, 0, 0, 0, 0]), Some(7));
        assert_eq!(small_int(&[0xff; 12]), Some(-1));
        assert_eq!(small_int(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0]), None);
        assert_eq!(small_int(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }
}
