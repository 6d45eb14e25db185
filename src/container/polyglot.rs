//! Files of two formats at once: what one program reads from the start, another reads from the end or from a header further in.
//! Each would see another checkpoint.

use crate::container::{Inner, Open, Outcome, SNIFF, bare_pickle, graphs_of, hidden, sniffed, tar, torch_legacy};
use crate::error::{self, Code, Error};
use crate::finding::Finding;
use crate::limits::ReadOptions;
use crate::pickle::{Broken, Graph};
use crate::place::Place;
use crate::source::Region;

/// Whether a file starts like two formats, each of which is known by bytes that the other does not have there.
pub(super) fn is_two(head: &[u8], region: &Region, start: &Place, options: &ReadOptions) -> bool {
    let sure = SNIFF[..SNIFF.len() - 1].iter().filter(|(sniff, _)| sniff(head)).count();
    // A legacy file starts with a pickle, and is that.
    let pickle = bare_pickle::has_magic(head) && !torch_legacy::sniff(head);
    // The name of its first member may make a tar archive a pickle.
    let pickle = pickle || (tar::sniff(head) && hidden::as_pickle(region, start, options).iter().any(Graph::does_anything));
    sure + usize::from(pickle) > 1
}

/// A file that two programs take for two different ones: an error, with what either of them would run.
pub(super) fn refuse(head: &[u8], region: &Region, start: &Place, options: &ReadOptions, depth: u64) -> Inner {
    let opens: Vec<&'static Open> = sniffed(head).collect();
    let (region, start, options) = (region.clone(), start.clone(), options.clone());
    Inner::Document(Box::new(move || {
        let message = "the file is of two formats at once";
        let error = Error::new(Code::TarAmbiguous, message)
            .at(&start)
            .help("two programs could read two different checkpoints from it; have its author save it again")
            .with_findings(&[Finding::note("polyglot", start.clone(), message)]);
        let mut broken = Box::<Broken>::from(error).after(hidden::as_pickle(&region, &start, &options));
        for open in opens {
            broken.graphs.extend(match open {
                Open::Document(open) => graphs_of(open(&region, &start, &options)),
                Open::Outer(peek) => {
                    peek(&region, &start, &options, depth).map(|inner| inner.graphs(&start, &options, depth)).unwrap_or_default()
                }
            });
        }
        Err(broken)
    }))
}

/// What the zip archive at `at`, with which a file ends, would run.
fn zip_graphs(region: &Region, start: &Place, at: u64, options: &ReadOptions) -> Vec<Graph> {
    let zip = region.slice(at, region.len() - at);
    zip.map(|zip| hidden::in_region(&zip, &start.advanced(at), options, options.limits.nesting)).unwrap_or_default()
}

/// What was read of a file behind which, at `at`, a zip archive is: no part of it, but of another file in one.
pub(super) fn before_a_zip(opened: Outcome, region: &Region, start: &Place, at: u64, options: &ReadOptions) -> Outcome {
    let graphs = zip_graphs(region, start, at, options);
    let message = format!("a zip archive of {} bytes ends with the file, which is something else by its start", region.len() - at);
    let finding = Finding::note("polyglot", start.advanced(at), message);
    let mut document = match opened {
        Ok(document) => document,
        Err(mut broken) => {
            broken.error = broken.error.with_findings(&[finding]);
            broken.graphs.extend(graphs);
            return Err(broken);
        }
    };
    // Bytes of a tensor may be an archive; bytes behind everything that was read are none of its business.
    if document.findings.iter().any(|finding| finding.kind == "trailing-data") {
        let findings: Vec<Finding> = document.findings.drain(..).chain([finding.clone()]).collect();
        let error = error::zip_ambiguous(finding.message.clone()).at(&finding.place).with_findings(&findings);
        return Err(Box::<Broken>::from(error).after(document.into_graphs().into_iter().chain(graphs).collect()));
    }
    document.findings.push(finding);
    document.side_pickles.extend(graphs);
    Ok(document)
}

/// The error for a file that is nothing by its start, and ends as a zip archive.
pub(super) fn prefixed(region: &Region, start: &Place, at: u64, options: &ReadOptions) -> Inner {
    let (region, start, options) = (region.clone(), start.clone(), options.clone());
    Inner::Document(Box::new(move || {
        let message =
            format!("{at} bytes stand before the zip archive; torch looks for it at the start of the file, other programs at its end");
        let error = error::zip_ambiguous_because(Finding::note("zip-prefix", start.clone(), message));
        Err(Box::<Broken>::from(error).after(zip_graphs(&region, &start, at, &options)))
    }))
}
