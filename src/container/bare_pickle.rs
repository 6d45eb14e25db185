//! A file that is one pickle and nothing else, as `pickle.dump` writes it. Array bytes stand inside the stream. What joblib
//! writes is one too, with other bytes between the opcodes.

use crate::container::joblib::{self, Spliced};
use crate::container::{Document, Kind, Outcome, count_memory, trailing};
use crate::error::{self, Code};
use crate::limits::{Limits, ReadOptions};
use crate::pickle::{self, Broken, Decoder, Node, Op};
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
            // The head may end within an argument of an honest, longer file.
            Err(e) => return e.code() == Code::Truncated && decoder.position() > 8,
        }
    }
    true
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
    let run = count_memory(pickle::run_with(&stream, start, &options.limits_left(), &mut arrays), options);
    let run = run.and_then(|graph| match joblib::check_uses(&graph) {
        Ok(()) => Ok(graph),
        Err(error) => Err(Box::<Broken>::from(error).after(vec![graph])),
    });
    let graph = match run {
        Ok(graph) => graph,
        Err(broken) => return Err(broken.after(arrays.into_graphs())),
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
    let facts = vec![("pickle_protocol", protocol(&stream).to_string())];
    let mut document = Document { facts, findings, ..Document::of_pickle(Kind::BarePickle, graph, region.clone()) };
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

/// The protocol that a stream announces; 0 and 1 do not.
pub(super) fn protocol(stream: &[u8]) -> u8 {
    match stream {
        [0x80, version, ..] => *version,
        _ => 0,
    }
}
