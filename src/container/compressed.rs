//! A compressed file: the bytes inside are decoded once, up to a limit, and opened as what they are.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::container::{Inner, head, hidden};
use crate::error::{self, Code, Error, Result};
use crate::limits::{Pace, ReadOptions};
use crate::pickle::Broken;
use crate::place::Place;
use crate::scratch::Scratch;
use crate::source::{Region, RegionReader};

type Source<'a> = BufReader<RegionReader<'a>>;
type Decode = for<'a> fn(Source<'a>) -> std::io::Result<Box<dyn Read + 'a>>;

/// A form of compression.
struct Form {
    name: &'static str,
    sniff: fn(&[u8]) -> bool,
    decode: Decode,
    pace: Pace,
}

/// The most memory, in KiB, that an xz or lzma stream may ask for; `xz -9` needs a quarter of it.
const MAX_DICTIONARY_KIB: u32 = 256 << 10;

const FORMS: &[Form] = &[
    Form {
        name: "gzip",
        sniff: is_gzip,
        decode: |s| Ok(Box::new(Frames::new(s, is_gzip, |s| Ok(Box::new(GzDecoder::new(s)))))),
        pace: Pace::Usual,
    },
    Form {
        name: "bzip2",
        sniff: |head| head.starts_with(b"BZh"),
        decode: |s| Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(s))),
        pace: Pace::Slow,
    },
    Form {
        name: "xz",
        sniff: |head| head.starts_with(b"\xfd7zXZ\0"),
        decode: |s| Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(s, true, MAX_DICTIONARY_KIB))),
        pace: Pace::Slow,
    },
    Form {
        name: "lzma",
        sniff: is_lzma,
        decode: |s| Ok(Box::new(lzma_rust2::LzmaReader::new_mem_limit(s, MAX_DICTIONARY_KIB, None)?)),
        pace: Pace::Slow,
    },
    Form {
        name: "lz4",
        sniff: is_lz4,
        decode: |s| Ok(Box::new(Frames::new(s, is_lz4, |s| Ok(Box::new(FrameDecoder::new(s)))))),
        pace: Pace::Usual,
    },
    Form { name: "zstd", sniff: is_zstd, decode: |s| Ok(Box::new(Frames::new(s, is_zstd, zstd))), pace: Pace::Usual },
    Form { name: "zlib", sniff: is_zlib, decode: |s| Ok(Box::new(flate2::bufread::ZlibDecoder::new(s))), pace: Pace::Usual },
    Form { name: "joblib-zlib", sniff: |head| head.starts_with(ZFILE), decode: zfile, pace: Pace::Usual },
];

fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(b"\x1f\x8b")
}

fn is_lz4(head: &[u8]) -> bool {
    head.starts_with(b"\x04\x22\x4d\x18")
}

/// A frame, or one that holds something else and is skipped.
fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(b"\x28\xb5\x2f\xfd") || is_skippable(head)
}

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

fn zstd(mut source: Source<'_>) -> std::io::Result<Box<dyn Frame<'_> + '_>> {
    while is_skippable(source.fill_buf()?) {
        let mut header = [0; 8];
        source.read_exact(&mut header)?;
        let len = u32::from_le_bytes([header[4], header[5], header[6], header[7]]).into();
        if std::io::copy(&mut Read::by_ref(&mut source).take(len), &mut std::io::sink())? < len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Box::new(Zstd(StreamingDecoder::new(source).map_err(std::io::Error::other)?)))
}

/// A frame of zstd. Its decoder computes the checksum of the content and leaves the comparison to its user.
struct Zstd<'a>(StreamingDecoder<Source<'a>, ruzstd::decoding::FrameDecoder>);

impl Read for Zstd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.read(buffer)?;
        let frame = &self.0.decoder;
        if n == 0 && frame.get_checksum_from_data().is_some_and(|recorded| frame.get_calculated_checksum() != Some(recorded)) {
            return Err(std::io::Error::other("the checksum of its content is another one"));
        }
        Ok(n)
    }
}

/// A decoder that stops at the end of its frame.
trait Frame<'a>: Read {
    fn into_source(self: Box<Self>) -> Source<'a>;
}

impl<'a> Frame<'a> for GzDecoder<Source<'a>> {
    fn into_source(self: Box<Self>) -> Source<'a> {
        self.into_inner()
    }
}

impl<'a> Frame<'a> for FrameDecoder<Source<'a>> {
    fn into_source(self: Box<Self>) -> Source<'a> {
        self.into_inner()
    }
}

impl<'a> Frame<'a> for Zstd<'a> {
    fn into_source(self: Box<Self>) -> Source<'a> {
        self.0.into_inner()
    }
}

/// Frames one after another, as `cat a.gz b.gz` makes them. Zeros behind a frame are padding, other bytes are an error.
struct Frames<'a> {
    sniff: fn(&[u8]) -> bool,
    start: for<'b> fn(Source<'b>) -> std::io::Result<Box<dyn Frame<'b> + 'b>>,
    between: Option<Source<'a>>,
    inside: Option<Box<dyn Frame<'a> + 'a>>,
}

impl<'a> Frames<'a> {
    fn new(
        source: Source<'a>,
        sniff: fn(&[u8]) -> bool,
        start: for<'b> fn(Source<'b>) -> std::io::Result<Box<dyn Frame<'b> + 'b>>,
    ) -> Self {
        Frames { sniff, start, between: Some(source), inside: None }
    }
}

impl Read for Frames<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if let Some(mut source) = self.between.take() {
                let rest = source.fill_buf()?;
                if rest.is_empty() {
                    return Ok(0);
                }
                if rest[0] == 0 {
                    let zeros = rest.iter().take_while(|&&byte| byte == 0).count();
                    source.consume(zeros);
                    self.between = Some(source);
                    continue;
                }
                if !(self.sniff)(rest) {
                    return Err(std::io::Error::other("other bytes follow its end"));
                }
                self.inside = Some((self.start)(source)?);
            }
            let Some(frame) = &mut self.inside else { return Ok(0) };
            match frame.read(buffer)? {
                0 if !buffer.is_empty() => self.between = self.inside.take().map(Frame::into_source),
                n => return Ok(n),
            }
        }
    }
}

/// How joblib before 0.10 starts a file: then the length in hexadecimal, then zlib.
const ZFILE: &[u8] = b"ZF";
/// As wide as `hex(2**64)`; Python 2 writes an `L` behind it, and so one space more.
const ZFILE_LENGTH: usize = 19;

/// The header of an `.lzma` file as `lzma.FORMAT_ALONE` and `xz --format=lzma` write it: no magic, but properties that all
/// writers choose, a usual size of the dictionary, and a size that is known or all ones.
fn is_lzma(head: &[u8]) -> bool {
    let [0x5d, a, b, c, d, size @ ..] = head else { return false };
    let dictionary = u32::from_le_bytes([*a, *b, *c, *d]);
    // 2^n or 2^n + 2^(n-1), as the xz tools ask of a file without a magic.
    let is_usual =
        dictionary >= 4096 && (dictionary.count_ones() == 1 || (dictionary.count_ones() == 2 && dictionary & (dictionary >> 1) != 0));
    (is_usual || dictionary == u32::MAX) && size.len() >= 8 && (size[..8] == [0xff; 8] || size[5..8] == [0; 3])
}

fn is_zlib(head: &[u8]) -> bool {
    matches!(head, [0x78, flags, ..] if (0x7800 | u16::from(*flags)) % 31 == 0 && flags & 0x20 == 0)
}

fn zfile(mut source: Source<'_>) -> std::io::Result<Box<dyn Read + '_>> {
    let mut header = [0; ZFILE.len() + ZFILE_LENGTH];
    source.read_exact(&mut header)?;
    if source.fill_buf()?.first() == Some(&b' ') {
        source.consume(1);
    }
    let length = std::str::from_utf8(&header[ZFILE.len()..]).ok().map(|text| text.trim().trim_end_matches('L'));
    let length = length.and_then(|text| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok());
    let left = length.ok_or_else(|| std::io::Error::other("its length is no number"))?;
    Ok(Box::new(OfLength { inner: flate2::bufread::ZlibDecoder::new(source), left }))
}

/// Data that must have the length that its header says.
struct OfLength<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for OfLength<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) if n > 0 || left == 0 || buffer.is_empty() => {
                self.left = left;
                Ok(n)
            }
            _ => Err(std::io::Error::other("it has another length than its header says")),
        }
    }
}

pub(super) fn sniff(head: &[u8]) -> bool {
    form(head).is_some()
}

fn form(head: &[u8]) -> Option<&'static Form> {
    FORMS.iter().find(|form| (form.sniff)(head))
}

pub(super) fn peek(region: &Region, start: &Place, options: &ReadOptions, depth: u64) -> Result<Inner> {
    let form = known_form(region)?;
    let member =
        if start.member.is_empty() { format!("{} content", form.name) } else { format!("{} content of {}", form.name, start.member) };
    let place = Place::start_of(&member);
    let (inside, damage) = decode(region, form, options)?;
    if let Some(error) = damage {
        // A reader of the stream runs what comes before the damage.
        let options = options.clone();
        return Ok(Inner::Document(Box::new(move || {
            let graphs = hidden::in_region(&inside, &place, &options, depth + 1);
            Err(Box::<Broken>::from(error).after(graphs))
        })));
    }
    let peeked = super::peek(&inside, &place, options, depth + 1).map_err(|e| match e.code() {
        Code::UnknownFormat => {
            error::unsupported_container(&format!("{} data in which no checkpoint is", form.name), "check that it is the right file")
        }
        _ => e,
    });
    let fact = ("compression", form.name.to_owned());
    Ok(match peeked? {
        Inner::Document(open) => Inner::Document(Box::new(move || {
            let mut document = open()?;
            document.facts.insert(0, fact);
            Ok(document)
        })),
        Inner::Bundle(mut bundle) => {
            bundle.facts.insert(0, fact);
            Inner::Bundle(bundle)
        }
    })
}

fn known_form(region: &Region) -> Result<&'static Form> {
    form(&head(region)?).ok_or_else(|| Error::new(Code::CompressionMalformed, "data that should be compressed is not"))
}

/// The content of a compressed region, and the name of its form.
///
/// # Errors
/// `truncated`, `compression-malformed`, the limit on decompressed bytes.
pub(super) fn decompress(region: &Region, options: &ReadOptions) -> Result<(&'static str, Region)> {
    let form = known_form(region)?;
    match decode(region, form, options)? {
        (content, None) => Ok((form.name, content)),
        (_, Some(error)) => Err(error),
    }
}

/// What is inside, as far as it can be read, and then what is wrong with it.
///
/// # Errors
/// When it cannot be read at all; the limit on decompressed bytes.
fn decode(region: &Region, form: &Form, options: &ReadOptions) -> Result<(Region, Option<Error>)> {
    let failed = |e: &std::io::Error| match (error::within(e), ends_early(e)) {
        (Some(error), _) => error,
        (None, true) => error::truncated(&Place::start_of(""), &format!("its {} data", form.name), region.len() + 1, region.len()),
        (None, false) => Error::new(Code::CompressionMalformed, format!("the {} data is damaged: {e}", form.name))
            .help("download or copy the file again"),
    };
    let source = BufReader::with_capacity(128 << 10, region.reader());
    let mut decoder = (form.decode)(source).map_err(|e| failed(&e))?;
    let mut scratch = Scratch::new(options.scratch.as_deref());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return Ok((scratch.finish(), None)),
            Ok(n) => {
                options.count_decoded(n as u64, &format!("{} data", form.name), region.len(), form.pace)?;
                scratch.write(&buffer[..n])?;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Ok((scratch.finish(), Some(failed(&e)))),
        }
    }
}

/// Whether the input ended before the data did, however deep the decoder says so.
fn ends_early(e: &std::io::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = e.get_ref().map(|inner| inner as _);
    while let Some(inner) = cause {
        if inner.downcast_ref::<std::io::Error>().is_some_and(ends_early) {
            return true;
        }
        cause = inner.source();
    }
    e.kind() == ErrorKind::UnexpectedEof
}
