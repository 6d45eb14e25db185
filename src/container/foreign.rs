//! Formats that are recognised by name so that the error can say what the file is and what to do with it.

use crate::error::{self, Code, Error};

/// Magic bytes, their offset, what the file is, and what to do.
const FOREIGN: &[(usize, &[u8], &str, &str)] = &[
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "extract it and convert the checkpoint inside"),
    (0, b"Rar!", "a RAR archive", "extract it and convert the checkpoint inside"),
    (0, b"\x1f\x8b", "gzip data", "decompress it with gunzip and convert the result"),
    (0, b"BZh", "bzip2 data", "decompress it with bunzip2 and convert the result"),
    (0, b"\xfd7zXZ\0", "xz data", "decompress it with unxz and convert the result"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data", "decompress it with unzstd and convert the result"),
    (0, b"\x04\x22\x4d\x18", "lz4 data", "decompress it with unlz4 and convert the result"),
    (257, b"ustar", "a tar archive", "extract it and convert the checkpoint inside"),
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

pub(super) fn error(head: &[u8]) -> Error {
    let matches = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    match FOREIGN.iter().find(|(offset, magic, ..)| matches(*offset, magic)) {
        Some((_, _, what, advice)) => error::unsupported_container(what, advice),
        None => {
            let shown = head.iter().take(8).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
            Error::new(Code::UnknownFormat, format!("the file is no checkpoint that depickle knows: it starts with {shown}"))
                .help("expected a torch zip, a torch legacy file or a pickle; check that the download is complete and is the right file")
        }
    }
}
