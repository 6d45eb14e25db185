//! The header of a `.npy` file: magic, version, length, and a Python literal. Defined by `numpy/lib/format.py`.

use std::io::Read;

use crate::error::{self, Code, Error, Result};
use crate::numpy::NumpyDtype;
use crate::numpy::literal::Literal;
use crate::place::Place;

/// The first bytes of every `.npy` file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
/// A header of this size describes tens of thousands of fields.
const MAX_HEADER_BYTES: u64 = 4 << 20;

/// What a `.npy` file says before its data.
#[derive(Debug)]
pub(crate) struct NpyHeader {
    pub version: u8,
    pub dtype: NumpyDtype,
    pub shape: Vec<i64>,
    pub fortran: bool,
    /// Bytes before the data.
    pub bytes: u64,
}

impl NpyHeader {
    /// Reads the header at the start of a file of `len` bytes, which stands at `start` in the input.
    ///
    /// # Errors
    /// `truncated`, and `npy-malformed` for anything that numpy would not write.
    pub fn read(file: &mut dyn Read, len: u64, start: &Place) -> Result<NpyHeader> {
        let bad = |what: String| malformed(start, what);
        let short = |needed: u64| error::truncated(start, "the header", needed, len);
        let mut take = |bytes: u64| -> Result<Vec<u8>> {
            let mut taken = Vec::new();
            let failed = |e: &std::io::Error| error::within(e).unwrap_or_else(|| bad(format!("the header cannot be read: {e}")));
            let read = file.take(bytes).read_to_end(&mut taken).map_err(|e| failed(&e))?;
            if read as u64 == bytes { Ok(taken) } else { Err(short(bytes)) }
        };
        let version = match take(8)?.as_slice() {
            [_, _, _, _, _, _, version @ 1..=3, 0] => *version,
            [.., major, minor] => return Err(bad(format!("the version of the .npy format is {major}.{minor}, expected 1, 2 or 3"))),
            _ => return Err(short(8)),
        };
        let len_bytes = if version == 1 { 2 } else { 4 };
        let header_len = take(len_bytes)?.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
        if header_len > MAX_HEADER_BYTES {
            return Err(bad(format!("the header has {header_len} bytes, at most {MAX_HEADER_BYTES} are expected")));
        }
        let header = take(header_len)?;
        let text = match version {
            3 => String::from_utf8(header).map_err(|_| bad("the header is no UTF-8".to_owned()))?,
            _ => header.iter().map(|&byte| char::from(byte)).collect(),
        };
        let literal = Literal::parse(&text).map_err(|why| bad(format!("the header is no literal that numpy writes: {why}")))?;
        if !literal.has_keys(&["descr", "fortran_order", "shape"]) {
            return Err(bad("the header has other keys than descr, fortran_order and shape".to_owned()));
        }
        let missing = |key: &str| bad(format!("the header has no valid {key}"));
        let fortran = match literal.get("fortran_order") {
            Some(Literal::Bool(fortran)) => *fortran,
            _ => return Err(missing("fortran_order")),
        };
        let shape = match literal.get("shape") {
            Some(shape @ Literal::Tuple(_)) => shape.dims(),
            _ => None,
        };
        let shape = shape.filter(|shape| shape.iter().all(|&size| size >= 0)).ok_or_else(|| missing("shape"))?;
        let dtype = literal.get("descr").and_then(NumpyDtype::from_descr);
        // numpy makes an array of subarrays an array of more dimensions, and never writes one.
        let dtype = dtype.filter(|dtype| !matches!(dtype, NumpyDtype::Subarray { .. })).ok_or_else(|| missing("descr"))?;
        Ok(NpyHeader { version, dtype, shape, fortran, bytes: 8 + len_bytes + header_len })
    }

    /// Bytes of the data; an error when they are more than 64 bits count.
    pub fn data_bytes(&self, start: &Place) -> Result<u64> {
        let item = self.dtype.item_bytes();
        let sizes = self.shape.iter().try_fold(item.unwrap_or(u64::MAX), |n, &size| n.checked_mul(u64::try_from(size).ok()?));
        sizes.ok_or_else(|| malformed(start, format!("an array of shape {:?} has more bytes than 64 bits count", self.shape)))
    }
}

fn malformed(place: &Place, what: String) -> Error {
    Error::new(Code::NpyMalformed, what).at(place).help("the file is damaged; download or copy it again")
}
