//! Pickles where no reader of a format looks for one: in members that nothing refers to, between the members of an archive,
//! in an archive that is refused. They are read only to be judged; whatever is wrong with them is no error.

use std::io::Read;

use crate::container::zip_entry::{DEFLATED, LOCAL_BYTES};
use crate::container::zip_fields::u16_at;
use crate::container::{HEAD_BYTES, Member, bare_pickle, built, has_magic, head, is_sure, peek, run, run_only};
use crate::error::Code;
use crate::limits::{Pace, ReadOptions};
use crate::pickle::{Broken, Graph, Node, OddityKind};
use crate::place::Place;
use crate::source::Region;

/// More pickles are not looked for in one place.
const MAX_PICKLES: usize = 100_000;
/// In a file that is no archive to us, headers of members are looked for in this many bytes at its start and at its end.
const SEARCH_BYTES: u64 = 64 << 20;
/// Bytes that all deflated members found there may hold together.
const INFLATED_BYTES: u64 = 256 << 20;

/// What would run if the bytes at the start of `region` were loaded: a pickle, or an archive of them, inside of `depth` others.
pub(super) fn in_region(region: &Region, start: &Place, options: &ReadOptions, depth: u64) -> Vec<Graph> {
    let Ok(head) = head(region) else { return Vec::new() };
    if is_sure(&head) {
        return peek(region, start, options, depth).map(|inner| inner.graphs(start, options, depth)).unwrap_or_default();
    }
    match bare_pickle::sniff(&head) {
        true => alone(region, start, options),
        false => Vec::new(),
    }
}

/// The same for a member of an archive.
pub(super) fn in_member(member: &Member, options: &ReadOptions, depth: u64) -> Vec<Graph> {
    let mut head = Vec::new();
    if member.reader().take(HEAD_BYTES).read_to_end(&mut head).is_err() && head.is_empty() {
        return Vec::new();
    }
    if !is_sure(&head) && !bare_pickle::sniff(&head) {
        return Vec::new();
    }
    match member.region(options) {
        Ok(region) => in_region(&region, &member.place(), options, depth),
        Err(_) => Vec::new(),
    }
}

/// The same for several members. When the memory for all pickles is used up, the first one that cannot be read says so, and no more
/// are tried.
pub(super) fn in_members<'a>(members: impl Iterator<Item = &'a Member>, options: &ReadOptions, depth: u64) -> Vec<Graph> {
    let mut graphs = Vec::new();
    for member in members {
        let is_spent = options.memory() >= options.limits.memory_bytes;
        let found = in_member(member, options, depth);
        let is_said = found.iter().any(|graph| graph.oddities().iter().any(|oddity| matches!(oddity.what, OddityKind::Unread(_))));
        graphs.extend(found);
        if is_spent && is_said {
            break;
        }
    }
    graphs
}

/// Pickles in the bytes that a pickle holds, also as the text that protocols below 3 make of bytes.
pub(crate) fn in_bytes(graph: &Graph, options: &ReadOptions) -> Vec<Graph> {
    let mut graphs = Vec::new();
    for id in graph.ids() {
        let bytes = match graph.node(id) {
            Node::Bytes(blob) | Node::ByteArray(blob) | Node::Str(blob) if has_magic(graph.blob(blob)) => graph.blob_shared(blob),
            Node::Text(blob) => match latin1(graph.blob(blob)) {
                Some(bytes) => bytes.into(),
                None => continue,
            },
            _ => continue,
        };
        if graphs.len() < MAX_PICKLES {
            graphs.extend(in_region(&Region::memory(bytes), &graph.place(id).nested(), options, 1));
        }
    }
    graphs
}

/// The bytes that a text stands for, when they start like a container.
fn latin1(text: &[u8]) -> Option<Vec<u8>> {
    let starts = text.starts_with(b"\xc2\x80") || text.starts_with(b"PK\x03\x04");
    let text = std::str::from_utf8(text).ok().filter(|_| starts)?;
    let bytes = text.chars().map(|c| u8::try_from(u32::from(c))).collect::<Result<Vec<u8>, _>>().ok()?;
    has_magic(&bytes).then_some(bytes)
}

/// The pickle at the start of `region`, if it makes anything.
fn alone(region: &Region, start: &Place, options: &ReadOptions) -> Vec<Graph> {
    let Ok(bytes) = region.bytes() else { return Vec::new() };
    let graphs = match run(&bytes, start, options) {
        Ok(graph) => vec![graph],
        Err(broken) => with_the_reason(*broken),
    };
    built(graphs, is_worth_a_look, options)
}

/// What a pickle had built when it broke. That a limit stopped it is said: what comes behind was not seen.
fn with_the_reason(broken: Broken) -> Vec<Graph> {
    let Broken { error, mut graphs, .. } = broken;
    if error.code() == Code::LimitExceeded
        && let Some(graph) = graphs.last_mut()
    {
        graph.note_unread(error.message());
    }
    graphs
}

fn is_worth_a_look(graph: &Graph) -> bool {
    graph.does_anything() || !graph.mentions().is_empty()
}

/// The pickle that the bytes of another format are too, if it makes anything.
pub(super) fn as_pickle(region: &Region, start: &Place, options: &ReadOptions) -> Vec<Graph> {
    match head(region) {
        Ok(head) if bare_pickle::sniff(&head) => alone(region, start, options),
        _ => Vec::new(),
    }
}

/// What is in bytes of an archive that belong to no member, or in an archive that cannot be read: behind every header of a
/// member, listed or not.
pub(super) fn in_gap(region: &Region, start: &Place, options: &ReadOptions) -> Vec<Graph> {
    let bytes_left = (4 * region.len() + (1 << 20)).min(options.search_left());
    let mut search = Search { options, graphs: as_pickle(region, start, options), bytes_left, inflated_left: INFLATED_BYTES };
    let head_bytes = region.len().min(SEARCH_BYTES);
    let tail_bytes = (region.len() - head_bytes).min(SEARCH_BYTES);
    for (from, len) in [(0, head_bytes), (region.len() - tail_bytes, tail_bytes)] {
        let Some(bytes) = region.slice(from, len).and_then(|part| part.bytes().ok()) else { continue };
        for at in local_headers(&bytes) {
            search.behind_header(region, from + at, start);
        }
    }
    options.count_searched(bytes_left - search.bytes_left);
    search.graphs
}

fn local_headers(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.windows(4).enumerate().filter(|(_, window)| window == b"PK\x03\x04").map(|(at, _)| at as u64)
}

/// What a try costs at least, in bytes.
const MIN_COST: u64 = 4 << 10;

/// A search for members, which may overlap: all of them together are not read more than a few times.
struct Search<'a> {
    options: &'a ReadOptions,
    graphs: Vec<Graph>,
    bytes_left: u64,
    inflated_left: u64,
}

impl Search<'_> {
    /// The pickle in the member whose local header is at `at`, whatever its sizes say.
    fn behind_header(&mut self, region: &Region, at: u64, start: &Place) {
        if self.graphs.len() >= MAX_PICKLES || self.bytes_left == 0 {
            return;
        }
        let header = |len: u64| region.slice(at, len.min(region.len().saturating_sub(at))).and_then(|header| header.bytes().ok());
        let Some(fixed) = header(LOCAL_BYTES) else { return };
        let [Some(method), Some(name_bytes), Some(extra_bytes)] = [8, 26, 28].map(|field| u16_at(&fixed, field)) else { return };
        let data = at + LOCAL_BYTES + u64::from(name_bytes) + u64::from(extra_bytes);
        let rest_bytes = region.len().saturating_sub(data).min(self.bytes_left);
        let Some(rest) = region.slice(data, rest_bytes) else { return };
        let name = header(LOCAL_BYTES + u64::from(name_bytes)).unwrap_or_default();
        let place = start.inside(&String::from_utf8_lossy(name.get(LOCAL_BYTES as usize..).unwrap_or_default()));
        if method == 0 {
            return self.pickle(&rest, &place);
        }
        if method != DEFLATED {
            return;
        }
        let mut content = Vec::new();
        let at_most = self.options.limits.pickle_bytes.min(self.bytes_left).min(self.inflated_left);
        let mut decoder = flate2::bufread::DeflateDecoder::new(std::io::BufReader::new(rest.reader()));
        // Data that is cut short is judged as far as it goes.
        let _ = Read::by_ref(&mut decoder).take(at_most).read_to_end(&mut content);
        self.bytes_left = self.bytes_left.saturating_sub(decoder.total_in().max(MIN_COST));
        self.inflated_left = self.inflated_left.saturating_sub(content.len() as u64);
        if self.options.count_decoded(content.len() as u64, "a member", rest.len(), Pace::Usual).is_ok() {
            self.pickle(&Region::memory(content.into()), &place);
        }
    }

    fn pickle(&mut self, region: &Region, place: &Place) {
        let (Ok(head), Ok(bytes)) = (head(region), region.bytes()) else { return };
        if !bare_pickle::sniff(&head) && !bare_pickle::has_magic(&head) {
            self.bytes_left = self.bytes_left.saturating_sub(head.len() as u64);
            return;
        }
        // What is behind a break is not looked at: members may overlap, and each would be read to the end of the file.
        let (read_to, graphs) = match run_only(&bytes, place, self.options) {
            Ok(graph) => (graph.end(), vec![graph]),
            Err(broken) => (broken.read_to, with_the_reason(*broken)),
        };
        self.bytes_left = self.bytes_left.saturating_sub(read_to.max(MIN_COST / 16));
        self.graphs.extend(built(graphs, is_worth_a_look, self.options));
    }
}
