//! Bytes to opcodes: every argument is length-checked against the bytes that remain before anything else happens.
//!
//! Opcodes that differ only in how they spell an argument (`BININT`, `BININT1`, `LONG1`, `INT` ...) become one [`Op`].

use crate::error::{self, Result};
use crate::limits::Limits;
use crate::pickle::opcode::{self as op, name};
use crate::pickle::text;
use crate::place::Place;

/// One decoded opcode. Byte arguments borrow the stream, except text that had to be unescaped.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the opcodes of pickletools.py")]
pub enum Op<'a> {
    Proto(u8),
    Frame,
    Stop,
    Mark,
    Pop,
    PopMark,
    Dup,
    None,
    Bool(bool),
    Int(i64),
    /// An integer that does not fit 64 bits: two's complement, little-endian.
    Long(&'a [u8]),
    /// The same as decimal text.
    LongText(&'a [u8]),
    Float(f64),
    Bytes(&'a [u8]),
    ByteArray(&'a [u8]),
    /// UTF-8, in which lone surrogates may occur.
    Text(&'a [u8]),
    /// The text of a `UNICODE` opcode, unescaped.
    TextOwned(Vec<u8>),
    /// A Python 2 `str`.
    Str(&'a [u8]),
    /// The Python 2 `str` of a `STRING` opcode, unescaped.
    StrOwned(Vec<u8>),
    EmptyTuple,
    EmptyList,
    EmptyDict,
    EmptySet,
    /// Everything above the mark.
    Tuple,
    /// The top 1, 2 or 3 values.
    TupleOf(usize),
    List,
    Dict,
    FrozenSet,
    Append,
    Appends,
    SetItem,
    SetItems,
    AddItems,
    Get(u32),
    Put(u32),
    Memoize,
    Global {
        module: &'a str,
        name: &'a str,
    },
    StackGlobal,
    Reduce,
    Build,
    Inst {
        module: &'a str,
        name: &'a str,
    },
    Obj,
    NewObj,
    NewObjEx,
    /// A persistent id whose value is on the stack.
    BinPersId,
    /// A number of the producer's `copyreg` registry.
    Extension(u32),
    ReadOnlyBuffer,
}

/// Reads one pickle from `stream`, opcode by opcode.
pub struct Decoder<'a> {
    stream: &'a [u8],
    pos: usize,
    /// Where the last frame ends.
    frame_end: u64,
    start: Place,
    limits: &'a Limits,
}

impl<'a> Decoder<'a> {
    /// A decoder over `stream`, whose first byte is at `start` in the input.
    pub fn new(stream: &'a [u8], start: &Place, limits: &'a Limits) -> Self {
        Decoder { stream, pos: 0, frame_end: 0, start: start.clone(), limits }
    }

    /// A decoder that goes on at an offset, outside of any frame.
    pub(super) fn at(stream: &'a [u8], start: &Place, limits: &'a Limits, offset: u64) -> Self {
        let mut decoder = Decoder::new(stream, start, limits);
        decoder.skip_to(offset);
        decoder
    }

    /// The place in the input of an offset in the stream.
    pub fn place(&self, offset: u64) -> Place {
        self.start.advanced(offset)
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.pos as u64
    }

    /// Whether there is nothing left to read.
    pub(super) fn is_at_the_end(&self) -> bool {
        self.pos >= self.stream.len()
    }

    /// Whether the opcode at `offset` has a line of text as its argument.
    pub(super) fn starts_a_line(&self, offset: u64) -> bool {
        self.stream.get(offset as usize).is_some_and(|byte| b"cigpILFSVP".contains(byte))
    }

    /// Whether the current frame goes on: a reader has taken the rest of it already.
    pub(super) fn is_inside_a_frame(&self) -> bool {
        self.frame_end > self.position()
    }

    /// Goes on at an offset in the stream, past bytes that are no opcodes.
    pub(super) fn skip_to(&mut self, offset: u64) {
        self.pos = usize::try_from(offset).unwrap_or(usize::MAX).clamp(self.pos, self.stream.len());
    }

    /// The next opcode and its offset in the stream.
    ///
    /// # Errors
    /// A byte that is no opcode, an argument that runs past the end, or one that Python's readers disagree about.
    #[inline(always)] // moving an `Op` out of two results stalls on what was just stored
    pub fn next_op(&mut self) -> Result<(u64, Op<'a>)> {
        let offset = self.position();
        let byte = self.take(1, "an opcode")?[0];
        let decoded = self.argument(byte).map_err(|e| e.at(&self.place(offset)))?;
        Ok((offset, decoded))
    }

    #[inline(always)]
    fn argument(&mut self, byte: u8) -> Result<Op<'a>> {
        Ok(match byte {
            op::PROTO => match self.u8()? {
                version @ 0..=5 => Op::Proto(version),
                newer => return Err(self.malformed(format!("pickle protocol {newer} does not exist, expected 0 to 5"))),
            },
            op::FRAME => {
                let frame_bytes = self.u64()?;
                let left = self.left();
                if frame_bytes > left {
                    return Err(error::pickle_truncated(&self.here(), "a frame", frame_bytes, left));
                }
                let end = self.position() + frame_bytes;
                if self.is_inside_a_frame() && end > self.frame_end {
                    return Err(
                        self.malformed("a frame goes on behind the one it is inside of: Python's own readers do not all read it alike")
                    );
                }
                self.frame_end = end.max(self.frame_end);
                Op::Frame
            }
            op::STOP if self.is_inside_a_frame() => {
                return Err(self.malformed("the frame goes on behind STOP: Python's own readers do not agree where the pickle ends"));
            }
            op::STOP => Op::Stop,
            op::MARK => Op::Mark,
            op::POP => Op::Pop,
            op::POP_MARK => Op::PopMark,
            op::DUP => Op::Dup,
            op::NONE => Op::None,
            op::NEWTRUE => Op::Bool(true),
            op::NEWFALSE => Op::Bool(false),
            op::BININT => Op::Int(i64::from(i32::from_le_bytes(self.array()?))),
            op::BININT1 => Op::Int(i64::from(self.u8()?)),
            op::BININT2 => Op::Int(i64::from(u16::from_le_bytes(self.array()?))),
            op::LONG1 => {
                let len = u64::from(self.u8()?);
                self.long(len)?
            }
            op::LONG4 => match i32::from_le_bytes(self.array()?) {
                len @ 0.. => self.long(len.unsigned_abs().into())?,
                negative => return Err(self.malformed(format!("LONG4 has a negative length: {negative}"))),
            },
            op::INT => match self.line("INT")? {
                b"00" => Op::Bool(false),
                b"01" => Op::Bool(true),
                digits => self.decimal("INT", digits)?,
            },
            op::LONG => {
                let line = self.line("LONG")?;
                self.decimal("LONG", line.strip_suffix(b"L").unwrap_or(line))?
            }
            op::FLOAT => {
                let line = self.line("FLOAT")?;
                Op::Float(text::float(line).ok_or_else(|| self.bad_literal("FLOAT", line))?)
            }
            op::BINFLOAT => Op::Float(f64::from_be_bytes(self.array()?)),
            op::STRING => {
                let line = self.line("STRING")?;
                Op::StrOwned(text::string(line).ok_or_else(|| self.bad_literal("STRING", line))?)
            }
            op::BINSTRING => match i32::from_le_bytes(self.array()?) {
                len @ 0.. => Op::Str(self.take(len.unsigned_abs().into(), "a string")?),
                negative => return Err(self.malformed(format!("BINSTRING has a negative length: {negative}"))),
            },
            op::SHORT_BINSTRING => Op::Str(self.counted_u8("a string")?),
            op::UNICODE => {
                let line = self.line("UNICODE")?;
                Op::TextOwned(text::unicode(line).ok_or_else(|| self.bad_literal("UNICODE", line))?)
            }
            op::SHORT_BINUNICODE => {
                let bytes = self.counted_u8("text")?;
                self.utf8(bytes)?
            }
            op::BINUNICODE => {
                let bytes = self.counted_u32("text")?;
                self.utf8(bytes)?
            }
            op::BINUNICODE8 => {
                let bytes = self.counted_u64("text")?;
                self.utf8(bytes)?
            }
            op::SHORT_BINBYTES => Op::Bytes(self.counted_u8("bytes")?),
            op::BINBYTES => Op::Bytes(self.counted_u32("bytes")?),
            op::BINBYTES8 => Op::Bytes(self.counted_u64("bytes")?),
            op::BYTEARRAY8 => Op::ByteArray(self.counted_u64("a bytearray")?),
            op::EMPTY_TUPLE => Op::EmptyTuple,
            op::EMPTY_LIST => Op::EmptyList,
            op::EMPTY_DICT => Op::EmptyDict,
            op::EMPTY_SET => Op::EmptySet,
            op::TUPLE => Op::Tuple,
            op::TUPLE1 => Op::TupleOf(1),
            op::TUPLE2 => Op::TupleOf(2),
            op::TUPLE3 => Op::TupleOf(3),
            op::LIST => Op::List,
            op::DICT => Op::Dict,
            op::FROZENSET => Op::FrozenSet,
            op::APPEND => Op::Append,
            op::APPENDS => Op::Appends,
            op::SETITEM => Op::SetItem,
            op::SETITEMS => Op::SetItems,
            op::ADDITEMS => Op::AddItems,
            op::GET => Op::Get(self.memo_index("GET")?),
            op::BINGET => Op::Get(self.u8()?.into()),
            op::LONG_BINGET => Op::Get(u32::from_le_bytes(self.array()?)),
            op::PUT => Op::Put(self.memo_index("PUT")?),
            op::BINPUT => Op::Put(self.u8()?.into()),
            op::LONG_BINPUT => Op::Put(u32::from_le_bytes(self.array()?)),
            op::MEMOIZE => Op::Memoize,
            op::GLOBAL => {
                let (module, name) = self.global()?;
                Op::Global { module, name }
            }
            op::INST => {
                let (module, name) = self.global()?;
                // Those of GLOBAL are UTF-8.
                if !module.is_ascii() || !name.is_ascii() {
                    return Err(self.malformed("INST names a class in text that is not ASCII"));
                }
                Op::Inst { module, name }
            }
            op::STACK_GLOBAL => Op::StackGlobal,
            op::REDUCE => Op::Reduce,
            op::BUILD => Op::Build,
            op::OBJ => Op::Obj,
            op::NEWOBJ => Op::NewObj,
            op::NEWOBJ_EX => Op::NewObjEx,
            op::BINPERSID => Op::BinPersId,
            op::READONLY_BUFFER => Op::ReadOnlyBuffer,
            op::PERSID => return Err(self.foreign(byte, "holds a persistent id as text, which no torch version reads")),
            op::EXT1 => self.extension::<1>()?,
            op::EXT2 => self.extension::<2>()?,
            op::EXT4 => self.extension::<4>()?,
            op::NEXT_BUFFER => return Err(self.foreign(byte, "takes its data from a buffer that is not in the file")),
            unknown => return Err(self.malformed(format!("byte {unknown:#04x} is not a pickle opcode"))),
        })
    }

    fn left(&self) -> u64 {
        (self.stream.len() - self.pos) as u64
    }

    fn here(&self) -> Place {
        self.place(self.position())
    }

    fn take(&mut self, len: u64, what: &str) -> Result<&'a [u8]> {
        let left = self.left();
        if len > left {
            return Err(error::pickle_truncated(&self.here(), what, len, left));
        }
        self.stays_in_frame(len)?;
        let from = self.pos;
        self.pos += len as usize; // at most `left`, which fits
        Ok(&self.stream[from..self.pos])
    }

    /// An argument of `len` bytes that begins in a frame must end in it: from a file that cannot peek C drops the part inside, so
    /// that it reads `I345` where others read `I12345`, and `sys` where they read `os.sys`.
    fn stays_in_frame(&self, len: u64) -> Result<()> {
        match self.is_inside_a_frame() && self.frame_end - self.position() < len {
            true => Err(self.malformed("the argument goes on behind its frame: Python's own readers do not all read it alike")),
            false => Ok(()),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, "an argument")?);
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn counted_u8(&mut self, what: &str) -> Result<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into(), what)
    }

    fn counted_u32(&mut self, what: &str) -> Result<&'a [u8]> {
        let len = u32::from_le_bytes(self.array()?);
        self.take(len.into(), what)
    }

    fn counted_u64(&mut self, what: &str) -> Result<&'a [u8]> {
        let len = self.u64()?;
        self.take(len, what)
    }

    fn long(&mut self, len: u64) -> Result<Op<'a>> {
        let bytes = self.take(len, "an integer")?;
        Ok(match text::small_int(bytes) {
            Some(value) => Op::Int(value),
            None => Op::Long(bytes),
        })
    }

    fn line(&mut self, what: &str) -> Result<&'a [u8]> {
        let rest = &self.stream[self.pos..];
        let Some(len) = rest.iter().position(|&b| b == b'\n') else {
            return Err(error::pickle_truncated(&self.here(), &format!("the line of {what}"), self.left() + 1, self.left()));
        };
        self.stays_in_frame(len as u64 + 1)?;
        self.pos += len + 1;
        Ok(&rest[..len])
    }

    fn decimal(&self, what: &str, digits: &'a [u8]) -> Result<Op<'a>> {
        if !text::is_canonical_integer(digits) {
            return Err(self.bad_literal(what, digits));
        }
        self.limits.integer_digits(digits.strip_prefix(b"-").unwrap_or(digits).len() as u64)?;
        Ok(match std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok()) {
            Some(value) => Op::Int(value),
            None => Op::LongText(digits),
        })
    }

    fn memo_index(&mut self, what: &str) -> Result<u32> {
        let line = self.line(what)?;
        match self.decimal(what, line)? {
            Op::Int(index) => u32::try_from(index).map_err(|_| self.bad_literal(what, line)),
            _ => Err(self.bad_literal(what, line)),
        }
    }

    fn extension<const N: usize>(&mut self) -> Result<Op<'a>> {
        let number = self.array::<N>()?.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte));
        match i32::try_from(number) {
            Ok(1..) => Ok(Op::Extension(number)),
            _ => Err(self.malformed(format!("the number of an extension is {number}, expected 1 to {}", i32::MAX))),
        }
    }

    fn global(&mut self) -> Result<(&'a str, &'a str)> {
        let module = self.identifier("the module of a global")?;
        let name = self.identifier("the name of a global")?;
        Ok((module, name))
    }

    fn identifier(&mut self, what: &str) -> Result<&'a str> {
        let line = self.line(what)?;
        match std::str::from_utf8(line) {
            Ok("") => Err(self.malformed(format!("{what} is empty"))),
            Ok(text) => Ok(text),
            Err(_) => Err(self.malformed(format!("{what} is not UTF-8"))),
        }
    }

    fn utf8(&self, bytes: &'a [u8]) -> Result<Op<'a>> {
        if text::is_utf8_with_surrogates(bytes) { Ok(Op::Text(bytes)) } else { Err(self.malformed("text that is not UTF-8")) }
    }

    fn malformed(&self, what: impl Into<String>) -> error::Error {
        error::pickle(&self.here(), what)
    }

    fn bad_literal(&self, opcode: &str, line: &[u8]) -> error::Error {
        let shown = crate::text::quoted(&String::from_utf8_lossy(line), 60);
        self.malformed(format!("{opcode} holds {shown}, which Python's own readers do not all read alike"))
    }

    fn foreign(&self, byte: u8, why: &str) -> error::Error {
        error::needs_producer(name(byte).unwrap_or("?"), why).at(&self.here())
    }
}
