//! What follows the end of a pickle. Python's `pickle.load` ignores it; whoever loads a second time from the same file does not.

use ::bytes::Bytes;

use crate::container::{hidden, run};
use crate::error::{Code, Error};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::{Broken, Graph};
use crate::place::Place;
use crate::source::Region;

/// More pickles are not read.
const MAX_PICKLES: usize = 100_000;

/// Reads the pickles in `rest`, which stands behind the end of one at `place`, and says how many bytes there are.
///
/// # Errors
/// `pickle-multiple`, with all of them, when one makes something: converting the first would lose the others.
pub(super) fn read(rest: &Bytes, place: &Place, options: &ReadOptions) -> Result<Vec<Finding>, Box<Broken>> {
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let message = format!("{} bytes follow the end of the pickle; Python ignores them", rest.len());
    let finding = Finding::note("trailing-data", place.clone(), message);
    let mut graphs: Vec<Graph> = Vec::new();
    let mut at = 0;
    // One that breaks counts too, when it had something to make: cutting a byte off must not hide it.
    while at < rest.len() && graphs.len() < MAX_PICKLES {
        match run(&rest.slice(at..), &place.advanced(at as u64), options) {
            Ok(graph) => {
                at += graph.end() as usize; // within `rest`
                graphs.push(graph);
            }
            Err(broken) => {
                graphs.extend(broken.graphs.into_iter().filter(Graph::does_anything));
                break;
            }
        }
    }
    if graphs.is_empty() && !rest.starts_with(b"PK\x03\x04") {
        // It may be a file of another format, for who loads twice; a zip archive is known by its end.
        graphs = hidden::in_region(&Region::memory(rest.clone()), place, options, options.limits.nesting);
    }
    let all_read = graphs.len() < MAX_PICKLES;
    if all_read && !graphs.iter().any(Graph::holds_data) {
        return Ok(vec![finding]);
    }
    let error = Error::new(Code::PickleMultiple, format!("a second pickle follows the first, {} bytes in all", rest.len()))
        .at(place)
        .help("Python's pickle.load reads only the first one; split the file so that nothing is lost")
        .with_findings(&[finding]);
    Err(Box::<Broken>::from(error).after(graphs))
}
