//! Formats that are recognised by name so that the error can say what the file is and what to do with it.

use crate::error::{self, Code, Error};

/// The offset of magic bytes, those, what the file is, and what to do.
type Row = (usize, &'static [u8], &'static str, &'static str);

const FOREIGN: &[Row] = &[
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras weights?)", "HDF5 holds no pickle; use a Keras or h5py tool"),
    (0, b"GGUF", "a GGUF model", "GGUF holds no pickle and is safe to load as it is"),
    (0, b"version https://git-lfs", "a git-LFS pointer", "fetch the file with: git lfs pull"),
    (0, b"<!DOCTYPE", "an HTML page", "the download link led to a web page; check the address and log in if needed"),
    (0, b"<!doctype", "an HTML page", "the download link led to a web page; check the address and log in if needed"),
    (0, b"<html", "an HTML page", "the download link led to a web page; check the address and log in if needed"),
    (0, b"<?xml", "an XML document", "this is usually a server's error message; check the download address"),
    (0, b"{\"", "a JSON document", "this is usually a server's error message or a model's configuration; look inside"),
    (0, b"{\n", "a JSON document", "this is usually a server's error message or a model's configuration; look inside"),
    (8, b"{\"", "a safetensors file", "it holds no pickle and needs no conversion"),
];

/// The same for archives that may hold a pickle.
const ARCHIVES: &[Row] = &[
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "extract it and convert the checkpoint inside"),
    (0, b"Rar!", "a RAR archive", "extract it and convert the checkpoint inside"),
    (0, b"MSCF", "a cabinet archive", "extract it and convert the checkpoint inside"),
    (0, b"!<arch>\n", "an ar archive", "extract it and convert the checkpoint inside"),
    (0, b"\x1f\x9d", "data of compress", "decompress it with uncompress and convert the result"),
    (0, b"LZIP", "lzip data", "decompress it with lzip and convert the result"),
    (0, b"PK\x07\x08", "a zip archive that is split or spanned", "join its parts and convert the checkpoint inside"),
];

fn find(rows: &[Row], head: &[u8]) -> Option<Row> {
    let text = head.trim_ascii_start();
    let matches = |offset: usize, magic: &[u8]| {
        head.get(offset..).is_some_and(|rest| rest.starts_with(magic)) || (offset == 0 && magic.is_ascii() && text.starts_with(magic))
    };
    rows.iter().find(|(offset, magic, ..)| matches(*offset, magic)).copied()
}

/// Whether it is an archive that may hold a pickle.
pub(super) fn is_archive(head: &[u8]) -> bool {
    find(ARCHIVES, head).is_some()
}

pub(super) fn error(head: &[u8]) -> Error {
    match find(ARCHIVES, head).or_else(|| find(FOREIGN, head)) {
        Some((_, _, what, advice)) => error::unsupported_container(what, advice),
        None => {
            let shown = head.iter().take(8).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
            Error::new(Code::UnknownFormat, format!("the file is no checkpoint that depickle knows: it starts with {shown}"))
                .help("expected a torch zip, a torch legacy file or a pickle; check that the download is complete and is the right file")
        }
    }
}
