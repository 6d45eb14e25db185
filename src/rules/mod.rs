//! What is worth saying about a file beyond its tensors.

mod attribute;
mod callable;
mod duplicate_key;
mod embedded_source;
mod oddity;
mod preview;
mod python_source;
mod scipy_template;
pub(crate) mod sources;
mod state;
mod tensor_escapes;

use crate::error::{self, Result};
use crate::finding::{Finding, Severity, called_with, capped};
use crate::pickle::Graph;

/// What a rule finds, one after another: of a million findings only the first are kept.
type Findings<'a> = Box<dyn Iterator<Item = Finding> + 'a>;

/// The rules beside that on calls, one file each. They judge a pickle by its graph alone.
const RULES: &[for<'a> fn(&'a Graph) -> Findings<'a>] =
    &[oddity::judge, state::judge, embedded_source::judge, tensor_escapes::judge, duplicate_key::judge, stack_leftover];

/// Everything that the rules have to say of one pickle.
pub(crate) fn judge(graph: &Graph) -> Vec<Finding> {
    let is_call = |finding: &Finding| matches!(finding.kind, "callable" | "unknown-class");
    let (calls, others): (Vec<Finding>, Vec<Finding>) = callable::judge(graph).into_iter().partition(is_call);
    let others = others.into_iter().chain(RULES.iter().flat_map(|rule| rule(graph)));
    let (more_calls, others): (Vec<Finding>, Vec<Finding>) = capped(others).into_iter().partition(is_call);
    calls.into_iter().chain(more_calls).chain(others).collect()
}

fn stack_leftover(graph: &Graph) -> Findings<'_> {
    Box::new(graph.streams().iter().filter(|stream| stream.leftover() > 0).map(|stream| {
        let place = stream.start().advanced(stream.end());
        let values = crate::text::count(stream.leftover() as u64, "value");
        let message = format!("{values} stay on the stack when the pickle ends; Python drops them");
        Finding::note("stack-leftover", place, message)
    }))
}

/// From which severity on findings refuse a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deny {
    /// A known way to run code refuses the file.
    #[default]
    Dangerous,
    /// Any call or class that is not known refuses it.
    Unrecognized,
    /// Nothing refuses it; findings are recorded.
    None,
}

impl Deny {
    /// The lowest severity that is denied.
    pub fn from(self) -> Option<Severity> {
        match self {
            Deny::Dangerous => Some(Severity::Dangerous),
            Deny::Unrecognized => Some(Severity::Unrecognized),
            Deny::None => None,
        }
    }
}

/// Fails when a finding is at or above what is denied.
///
/// # Errors
/// `denied`, with the first such finding and its place.
pub(crate) fn refuse(findings: &[Finding], deny: Deny) -> Result<()> {
    let Some(from) = deny.from() else { return Ok(()) };
    let denied: Vec<&Finding> = findings.iter().filter(|finding| finding.severity >= from).collect();
    let Some(worst) = denied.iter().max_by_key(|finding| (finding.severity, std::cmp::Reverse(finding.place.offset))) else {
        return Ok(());
    };
    let more = match denied.len() {
        1 => String::new(),
        n => format!(", and {}", crate::text::count(n as u64 - 1, "more finding")),
    };
    let arguments = called_with(worst.arguments.as_deref());
    Err(error::denied(format!("{}{arguments}{more}", worst.message)).at(&worst.place))
}
