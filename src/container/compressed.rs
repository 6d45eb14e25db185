//! A compressed file: the bytes inside are decoded once, up to a limit, and opened as what they are.

use std::io::{BufRead, BufReader, ErrorKind, Read};

use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;

use crate::container::{Inner, head};
use crate::error::{self, Code, Error, Result};
use crate::limits::ReadOptions;
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
}

/// The most memory, in KiB, that an xz or lzma stream may ask for; `xz -9` needs a quarter of it.
const MAX_DICTIONARY_KIB: u32 = 256 << 10;

const FORMS: &[Form] = &[
    Form { name: "gzip", sniff: is_gzip, decode: |s| Ok(Box::new(Frames::new(s, is_gzip, |s| Ok(Box::new(GzDecoder::new(s)))))) },
    Form { name: "bzip2", sniff: |head| head.starts_with(b"BZh"), decode: |s| Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(s))) },
    Form {
        name: "xz",
        sniff: |head| head.starts_with(b"\xfd7zXZ\0"),
        decode: |s| Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(s, true, MAX_DICTIONARY_KIB))),
    },
    Form { name: "lzma", sniff: is_lzma, decode: |s| Ok(Box::new(lzma_rust2::LzmaReader::new_mem_limit(s, MAX_DICTIONARY_KIB, None)?)) },
    Form { name: "lz4", sniff: is_lz4, decode: |s| Ok(Box::new(Frames::new(s, is_lz4, |s| Ok(Box::new(FrameDecoder::new(s)))))) },
    Form { name: "zstd", sniff: is_zstd, decode: |s| Ok(Box::new(Frames::new(s, is_zstd, zstd))) },
    Form { name: "zlib", sniff: is_zlib, decode: |s| Ok(Box::new(flate2::bufread::ZlibDecoder::new(s))) },
    Form { name: "joblib-zlib", sniff: |head| head.starts_with(ZFILE), decode: zfile },
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
/// writers choose, a dictionary of whole KiB, and a size that is known or all ones.
fn is_lzma(head: &[u8]) -> bool {
    matches!(head, [0x5d, 0, 0, _, _, size @ ..] if size.len() >= 8 && (size[..8] == [0xff; 8] || size[5..8] == [0; 3]))
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
    Ok(Box::new(flate2::bufread::ZlibDecoder::new(source)))
}

pub(super) fn sniff(head: &[u8]) -> bool {
    form(head).is_some()
}

fn form(head: &[u8]) -> Option<&'static Form> {
    FORMS.iter().find(|form| (form.sniff)(head))
}

pub(super) fn peek(region: &Region, start: &Place, options: &ReadOptions, depth: u64) -> Result<Inner> {
    let (form, inside) = decompress(region, options)?;
    let fact = ("compression", form.to_owned());
    let member = if start.member.is_empty() { format!("{form} content") } else { format!("{form} content of {}", start.member) };
    let peeked = super::peek(&inside, &Place::start_of(&member), options, depth + 1).map_err(|e| match e.code() {
        Code::UnknownFormat => {
            error::unsupported_container(&format!("{form} data in which no checkpoint is"), "check that it is the right file")
        }
        _ => e,
    });
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

/// The content of a compressed region, and the name of its form.
///
/// # Errors
/// `truncated`, `compression-malformed`, the limit on decompressed bytes.
pub(super) fn decompress(region: &Region, options: &ReadOptions) -> Result<(&'static str, Region)> {
    match form(&head(region)?) {
        Some(form) => Ok((form.name, decode(region, form, options)?)),
        None => Err(Error::new(Code::CompressionMalformed, "data that should be compressed is not")),
    }
}

fn decode(region: &Region, form: &Form, options: &ReadOptions) -> Result<Region> {
    let failed = |e: &std::io::Error| match ends_early(e) {
        true => error::truncated(&Place::start_of(""), &format!("its {} data", form.name), region.len() + 1, region.len()),
        false => Error::new(Code::CompressionMalformed, format!("the {} data is damaged: {e}", form.name))
            .help("download or copy the file again"),
    };
    let source = BufReader::with_capacity(128 << 10, region.reader());
    let mut decoder = (form.decode)(source).map_err(|e| failed(&e))?;
    let mut scratch = Scratch::new(options.scratch.as_deref());
    let mut buffer = vec![0; 256 << 10];
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return scratch.finish(),
            Ok(n) => {
                options.count_decoded(n as u64, &format!("{} data", form.name), region.len())?;
                scratch.write(&buffer[..n])?;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(&e)),
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
