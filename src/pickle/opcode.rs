//! The opcodes of pickle protocols 0 to 5 and their names, from CPython's `pickletools.py`.

macro_rules! opcodes {
    ($($byte:literal $name:ident;)*) => {
        $(pub(super) const $name: u8 = $byte;)*

        /// The name of an opcode, or `None` for a byte that is not one.
        pub fn name(byte: u8) -> Option<&'static str> {
            match byte { $($byte => Some(stringify!($name)),)* _ => None }
        }
    };
}

opcodes! {
    // protocol 0
    b'(' MARK; b'.' STOP; b'0' POP; b'2' DUP; b'F' FLOAT; b'I' INT; b'L' LONG; b'N' NONE; b'P' PERSID; b'R' REDUCE;
    b'S' STRING; b'V' UNICODE; b'a' APPEND; b'b' BUILD; b'c' GLOBAL; b'd' DICT; b'g' GET; b'i' INST; b'l' LIST;
    b'p' PUT; b's' SETITEM; b't' TUPLE;
    // protocol 1
    b'1' POP_MARK; b'G' BINFLOAT; b'J' BININT; b'K' BININT1; b'M' BININT2; b'Q' BINPERSID; b'T' BINSTRING;
    b'U' SHORT_BINSTRING; b'X' BINUNICODE; b'e' APPENDS; b'h' BINGET; b'j' LONG_BINGET; b'q' BINPUT;
    b'r' LONG_BINPUT; b'o' OBJ; b'u' SETITEMS; b')' EMPTY_TUPLE; b']' EMPTY_LIST; b'}' EMPTY_DICT;
    // protocol 2
    0x80 PROTO; 0x81 NEWOBJ; 0x82 EXT1; 0x83 EXT2; 0x84 EXT4; 0x85 TUPLE1; 0x86 TUPLE2; 0x87 TUPLE3; 0x88 NEWTRUE;
    0x89 NEWFALSE; 0x8a LONG1; 0x8b LONG4;
    // protocol 3
    b'B' BINBYTES; b'C' SHORT_BINBYTES;
    // protocol 4
    0x8c SHORT_BINUNICODE; 0x8d BINUNICODE8; 0x8e BINBYTES8; 0x8f EMPTY_SET; 0x90 ADDITEMS; 0x91 FROZENSET;
    0x92 NEWOBJ_EX; 0x93 STACK_GLOBAL; 0x94 MEMOIZE; 0x95 FRAME;
    // protocol 5
    0x96 BYTEARRAY8; 0x97 NEXT_BUFFER; 0x98 READONLY_BUFFER;
}
