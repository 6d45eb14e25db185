//! Integers beyond 64 bits: their decimal digits for a name, and one form for each value to compare them in. All of it in limbs of
//! many digits: a file may have a million of them.

/// Longer ones give no name; converting them to decimal takes quadratic time.
pub(super) const MAX_BYTES: u64 = 128;

/// The most that a limb of decimal digits can hold, and one.
const LIMB: u64 = 1_000_000_000;
const LIMB_DIGITS: usize = 9;

/// The decimal digits of a little-endian two's complement integer that is not absurdly long.
pub(crate) fn integer(bytes: &[u8]) -> Option<String> {
    (bytes.len() as u64 <= MAX_BYTES).then(|| decimal(bytes))
}

/// The decimal digits of a little-endian two's complement integer.
pub(super) fn decimal(bytes: &[u8]) -> String {
    let negative = is_negative(bytes);
    let mut magnitude = limbs(&if negative { negated(bytes) } else { bytes.to_vec() });
    let mut groups = Vec::new();
    while let Some(top) = magnitude.last() {
        if *top == 0 {
            magnitude.pop();
            continue;
        }
        let mut remainder = 0u64;
        for limb in magnitude.iter_mut().rev() {
            let value = remainder << 32 | u64::from(*limb);
            *limb = (value / LIMB) as u32; // below 2^32, because the remainder is below LIMB
            remainder = value % LIMB;
        }
        groups.push(remainder);
    }
    let first = groups.pop().unwrap_or(0);
    let mut digits = format!("{}{first}", if negative { "-" } else { "" });
    groups.iter().rev().for_each(|group| digits.push_str(&format!("{group:0LIMB_DIGITS$}")));
    digits
}

/// The shortest little-endian two's complement form of the same value.
pub(super) fn shortest(bytes: &[u8]) -> Vec<u8> {
    let fill = if is_negative(bytes) { 0xff } else { 0 };
    let mut bytes = bytes.to_vec();
    while let [.., next, last] = bytes[..]
        && last == fill
        && (next & 0x80 != 0) == (fill != 0)
    {
        bytes.pop();
    }
    bytes
}

/// The shortest form of decimal digits with an optional minus sign.
pub(super) fn of_text(text: &[u8]) -> Vec<u8> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let mut magnitude: Vec<u32> = Vec::new();
    let (head, groups) = digits.as_rchunks::<LIMB_DIGITS>();
    for group in std::iter::once(head).chain(groups.iter().map(<[u8; LIMB_DIGITS]>::as_slice)) {
        let value = group.iter().fold(0u64, |value, digit| value * 10 + u64::from(digit.wrapping_sub(b'0') % 10));
        let mut carry = value;
        for limb in &mut magnitude {
            carry += u64::from(*limb) * LIMB;
            *limb = carry as u32; // the low half; the high half is carried
            carry >>= 32;
        }
        magnitude.extend((carry > 0).then_some(carry as u32)); // below LIMB
    }
    signed(magnitude.iter().flat_map(|limb| limb.to_le_bytes()).collect(), digits.len() < text.len())
}

/// The shortest form of a float that has an integer value.
pub(super) fn of_float(value: f64) -> Vec<u8> {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1075;
    let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
    let magnitude = match u32::try_from(exponent) {
        _ if value == 0.0 => Vec::new(),
        Ok(shift) => {
            let mut bytes = vec![0; (shift / 8) as usize];
            bytes.extend((mantissa << (shift % 8)).to_le_bytes()); // at most 60 bits
            bytes
        }
        Err(_) => (mantissa >> exponent.unsigned_abs().min(63)).to_le_bytes().to_vec(),
    };
    signed(magnitude, value < 0.0)
}

/// The value, when it fits 64 bits.
pub(super) fn small(bytes: &[u8]) -> Option<i64> {
    let fill = if is_negative(bytes) { 0xff } else { 0 };
    let mut value = [fill; 8];
    value.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(value))
}

fn signed(mut magnitude: Vec<u8>, negative: bool) -> Vec<u8> {
    magnitude.push(0);
    shortest(&if negative { negated(&magnitude) } else { magnitude })
}

fn is_negative(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|&top| top & 0x80 != 0)
}

/// The two's complement of the same length.
fn negated(bytes: &[u8]) -> Vec<u8> {
    let mut carry = true;
    let mut negate = |byte: &u8| {
        let (negated, overflows) = (!*byte).overflowing_add(carry.into());
        carry = overflows;
        negated
    };
    bytes.iter().map(&mut negate).collect()
}

fn limbs(bytes: &[u8]) -> Vec<u32> {
    let limb = |chunk: &[u8]| chunk.iter().rev().fold(0, |limb, &byte| limb << 8 | u32::from(byte));
    bytes.chunks(4).map(limb).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_integers_are_named_in_decimal() {
        assert_eq!(decimal(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), "18446744073709551616");
        assert_eq!(decimal(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff]), "-18446744073709551616");
        assert_eq!(decimal(&[0, 0xca, 0x9a, 0x3b]), "1000000000");
        assert_eq!((decimal(&[]), decimal(&[0x80]), decimal(&[0, 0])), ("0".into(), "-128".into(), "0".into()));
    }

    #[test]
    fn one_value_has_one_form() {
        for text in ["0", "-1", "128", "-128", "18446744073709551616", "-9223372036854775809", "1000000000000000000000000000001"] {
            let bytes = of_text(text.as_bytes());
            assert_eq!(decimal(&bytes), text);
            let fill = if text.starts_with('-') { 0xff } else { 0 };
            assert_eq!(shortest(&[&bytes[..], &[fill; 3]].concat()), bytes, "{text}");
            assert_eq!(small(&bytes).map(|value| value.to_string()).as_deref(), (text.len() <= 4).then_some(text));
        }
        for value in [0.0, -0.0, 1.0, -3.0, 4503599627370496.0, 9007199254740994.0, -1e19, 1e22, 1e300, -1.7e308] {
            assert_eq!(of_float(value), of_text(format!("{:.0}", value + 0.0).as_bytes()), "{value}");
        }
    }
}
