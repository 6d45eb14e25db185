//! Python literals, as the header of a `.npy` file is one: dicts, tuples, lists, text, integers, `True`, `False`, `None`.
//! Nothing else is read, and nothing is evaluated.

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    None,
    Bool(bool),
    Int(i64),
    Text(String),
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
    Dict(Vec<(Literal, Literal)>),
}

/// Literals nested deeper are given up.
const MAX_DEPTH: u32 = 32;

impl Literal {
    /// Reads the whole of `text` as one literal; the message says what is wrong and where.
    pub fn parse(text: &str) -> Result<Literal, String> {
        let mut parser = Parser { rest: text, len: text.len() };
        let literal = parser.value(MAX_DEPTH)?;
        parser.space();
        if parser.rest.is_empty() { Ok(literal) } else { Err(parser.wrong("the end")) }
    }

    /// The integers of a tuple, or one integer: a shape.
    pub fn dims(&self) -> Option<Vec<i64>> {
        match self {
            Literal::Int(size) => Some(vec![*size]),
            Literal::Tuple(items) | Literal::List(items) => {
                items.iter().map(|item| if let Literal::Int(size) = item { Some(*size) } else { None }).collect()
            }
            _ => None,
        }
    }

    /// Whether this is a dict with exactly these keys.
    pub fn has_keys(&self, keys: &[&str]) -> bool {
        match self {
            Literal::Dict(pairs) => {
                let known = |key: &Literal| matches!(key, Literal::Text(text) if keys.contains(&text.as_str()));
                pairs.iter().all(|(key, _)| known(key)) && keys.iter().all(|key| self.get(key).is_some())
            }
            _ => false,
        }
    }

    /// The value of a key of a dict; the last one, as in Python.
    pub fn get(&self, key: &str) -> Option<&Literal> {
        match self {
            Literal::Dict(pairs) => pairs.iter().rev().find(|(k, _)| matches!(k, Literal::Text(text) if text == key)).map(|(_, v)| v),
            _ => None,
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    len: usize,
}

impl<'a> Parser<'a> {
    fn wrong(&self, expected: &str) -> String {
        let shown = crate::text::quoted(self.rest, 20);
        format!("{expected} is expected at byte {} of the header, and there is {shown}", self.len - self.rest.len())
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\t', '\r']);
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth_left: u32) -> Result<Literal, String> {
        let depth_left = depth_left.checked_sub(1).ok_or("the header is nested too deep")?;
        for (word, literal) in [("None", Literal::None), ("True", Literal::Bool(true)), ("False", Literal::Bool(false))] {
            if self.take(word) {
                return Ok(literal);
            }
        }
        if self.take("(") {
            let (items, comma) = self.items(")", depth_left)?;
            return match <[Literal; 1]>::try_from(items) {
                Ok([item]) if !comma => Ok(item),
                Ok(items) => Ok(Literal::Tuple(items.into())),
                Err(items) => Ok(Literal::Tuple(items)),
            };
        }
        if self.take("[") {
            return Ok(Literal::List(self.items("]", depth_left)?.0));
        }
        if self.take("{") {
            return self.dict(depth_left);
        }
        self.space();
        match self.rest.chars().next() {
            Some('-' | '0'..='9') => self.int(),
            Some('\'' | '"' | 'u') => self.text(),
            _ => Err(self.wrong("a value")),
        }
    }

    /// Items up to `close`, and whether a comma stood behind the last one.
    fn items(&mut self, close: &str, depth_left: u32) -> Result<(Vec<Literal>, bool), String> {
        let mut items = Vec::new();
        let mut comma = false;
        while !self.take(close) {
            if !items.is_empty() && !comma {
                return Err(self.wrong("a comma"));
            }
            items.push(self.value(depth_left)?);
            comma = self.take(",");
        }
        Ok((items, comma))
    }

    fn dict(&mut self, depth_left: u32) -> Result<Literal, String> {
        let mut pairs = Vec::new();
        let mut comma = true;
        while !self.take("}") {
            if !comma {
                return Err(self.wrong("a comma"));
            }
            let key = self.value(depth_left)?;
            if !self.take(":") {
                return Err(self.wrong("a colon"));
            }
            pairs.push((key, self.value(depth_left)?));
            comma = self.take(",");
        }
        Ok(Literal::Dict(pairs))
    }

    fn int(&mut self) -> Result<Literal, String> {
        let end = self.rest[1..].find(|c: char| !c.is_ascii_digit()).map_or(self.rest.len(), |end| end + 1);
        let digits = self.rest[..end].trim_start_matches('-');
        if digits.len() > 1 && digits.starts_with('0') {
            return Err(self.wrong("an integer without leading zeros"));
        }
        let value = self.rest[..end].parse().map_err(|_| self.wrong("a 64-bit integer"))?;
        self.rest = &self.rest[end..];
        // Python 2 writes an `L` behind its long integers.
        self.rest = self.rest.strip_prefix('L').unwrap_or(self.rest);
        Ok(Literal::Int(value))
    }

    fn text(&mut self) -> Result<Literal, String> {
        let body = self.rest.strip_prefix('u').unwrap_or(self.rest);
        let quote = body.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(|| self.wrong("text"))?;
        let mut text = String::new();
        let mut chars = body[1..].chars();
        loop {
            match chars.next() {
                Some(c) if c == quote => break,
                Some('\\') => text.push(Self::escape(&mut chars).ok_or_else(|| self.wrong("text with known escapes"))?),
                Some(c) => text.push(c),
                None => return Err(self.wrong("text with an end")),
            }
        }
        self.rest = chars.as_str();
        Ok(Literal::Text(text))
    }

    fn escape(chars: &mut std::str::Chars<'_>) -> Option<char> {
        let digits = match chars.next()? {
            c @ ('\\' | '\'' | '"') => return Some(c),
            'n' => return Some('\n'),
            't' => return Some('\t'),
            'r' => return Some('\r'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let hex: String = chars.take(digits).collect();
        char::from_u32(u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_pythons_are_read() {
        let header = Literal::parse("{'descr': '<f4', 'fortran_order': False, 'shape': (3L, 4), }   \n").unwrap();
        assert_eq!(header.get("shape").unwrap().dims(), Some(vec![3, 4]));
        assert_eq!(Literal::parse("(3,)").unwrap().dims(), Some(vec![3]));
        assert_eq!(Literal::parse(r#"[('\xe9"', "<i4"), (u'b', '|b1', (2,))]"#).unwrap(), {
            let text = |t: &str| Literal::Text(t.to_owned());
            let b = Literal::Tuple(vec![text("b"), text("|b1"), Literal::Tuple(vec![Literal::Int(2)])]);
            Literal::List(vec![Literal::Tuple(vec![text("é\""), text("<i4")]), b])
        });
    }

    #[test]
    fn nothing_but_a_literal_is_read() {
        for text in
            ["__import__('os')", "{'a': 1", "(1 2)", "'x", "1+1", "{'a' 1}", "'\\q'", "f'x'", "99999999999999999999", "03", "b'x'", ""]
        {
            assert!(Literal::parse(text).is_err(), "{text}");
        }
        assert!(Literal::parse(&"(".repeat(100_000)).is_err());
    }
}
