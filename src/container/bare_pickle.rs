//! A file that is one pickle and nothing else, as `pickle.dump` writes it. Array bytes stand inside the stream. What joblib
//! writes is one too, with other bytes between the opcodes.

use ::bytes::Bytes;

use crate::container::joblib::{self, Spliced};
use crate::container::{Document, Kind, Outcome, built, count_memory, look_behind, run_only, trailing};
use crate::error::{self, Code};
use crate::finding::Finding;
use crate::limits::{Limits, ReadOptions};
use crate::pickle::{self, Broken, Decoder, Graph, Node, Op};
use crate::place::Place;
use crate::source::Region;

/// Opcodes that must decode before a file without a `PROTO` opcode passes for a pickle.
const PROBE_OPCODES: usize = 8;

/// `PROTO` with a known version; or, for protocols 0 and 1 which have no magic, a first few opcodes that decode.
pub(super) fn sniff(head: &[u8]) -> bool {
    if let [0x80, version, ..] = head {
        return *version <= 5;
    }
    let limits = Limits::default();
    let mut decoder = Decoder::new(head, &Place::start_of(""), &limits);
    for _ in 0..PROBE_OPCODES {
        match decoder.next_op() {
            Ok((_, Op::Stop)) => return true,
            // A class or function by name is what a hostile file starts with, however soon it breaks after that.
            Ok((_, Op::Global { module, name } | Op::Inst { module, name })) if is_dotted(module) && is_dotted(name) => return true,
            Ok(_) => {}
            // The head may end within an argument, that of the first opcode too; not all that a text could be taken for fits a file.
            Err(e) if e.code() == Code::Truncated => return decoder.position() > 8 || may_go_on(head),
            // A number that this reader refuses, and Python does not.
            Err(_) => return is_odd_number(head),
        }
    }
    true
}

/// Whether the first opcode is one with an argument that may be longer than a head.
fn may_go_on(head: &[u8]) -> bool {
    let limit = Limits::default().pickle_bytes;
    let n = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    match head {
        [b'X' | b'B' | b'T' | 0x8b, a, b, c, d, ..] => n(&[*a, *b, *c, *d]) <= limit,
        [0x8d | 0x8e | 0x96, rest @ ..] if rest.len() >= 8 => n(&rest[..8]) <= limit,
        [b'S', b'\'' | b'"', ..] | [b'V', ..] => true,
        [b'I' | b'L' | b'F' | b'p' | b'g', rest @ ..] => rest.iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    }
}

/// Whether the first line is a number in another spelling than Python writes.
fn is_odd_number(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let [b'I' | b'L' | b'F' | b'p' | b'g', number @ ..] = line else { return false };
    let blank = |byte: &u8| b" \t\x0b\x0c\r\0".contains(byte);
    let start = number.iter().position(|byte| !blank(byte)).unwrap_or(number.len());
    let end = number.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    let number = number[start..end].strip_prefix(b"+").or_else(|| number[start..end].strip_prefix(b"-")).unwrap_or(&number[start..end]);
    let is_digits = number.iter().any(u8::is_ascii_digit)
        && number.iter().all(|byte| blank(byte) || b"+-_.xXoOeEabcdefABCDEFL".contains(byte) || byte.is_ascii_digit());
    is_digits || [&b"nan"[..], b"inf", b"infinity"].iter().any(|word| number.eq_ignore_ascii_case(word))
}

/// Whether bytes start as no text does: with a `PROTO` as Python writes it.
pub(super) fn has_magic(head: &[u8]) -> bool {
    matches!(head, [0x80, 2..=5, ..])
}

/// Whether this could be the name of a module, class or function.
fn is_dotted(name: &str) -> bool {
    name.split('.').all(|part| {
        !part.is_empty() && !part.starts_with(|c: char| c.is_ascii_digit()) && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}

pub(super) fn open(region: &Region, start: &Place, options: &ReadOptions) -> Outcome {
    let stream = region.bytes()?;
    let mut arrays = Spliced::new(&stream, region, start, options);
    let read = count_memory(pickle::run_with(&stream, start, &options.limits_left(), &mut arrays), options);
    let read = look_behind(read, &stream, start, options);
    let read = read.and_then(|graph| match joblib::check_uses(&graph) {
        Ok(()) => Ok(graph),
        Err(error) => Err(Box::<Broken>::from(error).after(vec![graph])),
    });
    let graph = match read {
        Ok(graph) => graph,
        Err(broken) => {
            // Where joblib stops, another reader may go on.
            let at = broken.read_to.min(arrays.first_array().unwrap_or(u64::MAX));
            let plain = match arrays.is_empty() {
                true => Vec::new(),
                false => as_plain_pickle(&stream, start, options, |offset| offset >= at),
            };
            return Err(broken.after(arrays.into_graphs()).after(plain));
        }
    };
    let end = graph.end();
    let findings = match trailing::read(&stream.slice(end as usize..), &start.advanced(end), options) {
        Ok(findings) => findings,
        Err(broken) => return Err(broken.after(arrays.into_graphs()).after(vec![graph])),
    };
    if let Some(id) = graph.ids().find(|&id| matches!(graph.node(id), Node::Persistent(_))) {
        let why = "holds a persistent id, which only the program that wrote the file can resolve";
        let error = error::needs_producer("BINPERSID", why).at(&graph.place(id));
        return Err(Box::<Broken>::from(error).after(arrays.into_graphs()).after(vec![graph]));
    }
    // pickle.load takes the bytes of arrays for opcodes. Pickles between the opcodes are judged by themselves.
    let plain = match arrays.is_empty() {
        true => Vec::new(),
        false => as_plain_pickle(&stream, start, options, |offset| arrays.is_data(offset)),
    };
    let facts = vec![("pickle_protocol", protocol(&stream).to_string())];
    let mut document = Document { facts, findings, ..Document::of_pickle(Kind::BarePickle, graph, region.clone()) };
    if !plain.is_empty() {
        let message = "the bytes of an array are opcodes to a program that does not know joblib";
        document.findings.push(Finding::note("polyglot", start.clone(), message));
        document.side_pickles.extend(plain);
    }
    let spliced = !arrays.is_empty();
    arrays.give_to(&mut document)?;
    match joblib::read_companions(&mut document, options) {
        Ok(companions) => {
            if companions || spliced {
                document.kind = Kind::Joblib;
            }
            Ok(document)
        }
        Err(broken) => Err(broken.after(vec![document.graph])),
    }
}

/// A plain reading, if it makes something where the reading for joblib saw other bytes. What is behind the place where it breaks is
/// mostly the data of arrays, and not looked at.
fn as_plain_pickle(stream: &Bytes, start: &Place, options: &ReadOptions, is_other: impl Fn(u64) -> bool) -> Vec<Graph> {
    let graphs = match run_only(stream, start, options) {
        Ok(graph) => vec![graph],
        Err(broken) => broken.graphs,
    };
    let is_made = |node: Node<'_>| matches!(node, Node::Object(_) | Node::Global(_) | Node::Dynamic(..));
    built(graphs, |graph| graph.ids().any(|id| is_made(graph.node(id)) && is_other(graph.offset(id))), options)
}

/// The protocol that a stream announces; 0 and 1 do not.
pub(super) fn protocol(stream: &[u8]) -> u8 {
    match stream {
        [0x80, version, ..] => *version,
        _ => 0,
    }
}
