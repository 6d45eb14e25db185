//! Objects of TorchScript that code in the archive makes of their state: what it makes of the tensors there is not known.

use crate::container::Document;
use crate::error::{Code, Error};
use crate::globals::Value;
use crate::pickle::{Node, NodeId};

/// The classes of torch's own quantized layers. Their states are tuples, whose tensors are converted under names that say so.
const TORCHS_OWN: &str = "__torch__.torch.";

/// Such objects that hold tensors, each as what cannot be converted.
pub(super) fn of(document: &Document, holds: &[bool]) -> Vec<(NodeId, Value)> {
    let graph = &document.graph;
    if document.remade.is_empty() {
        return Vec::new();
    }
    let unsupported = |id: NodeId| {
        let object = graph.object(id).filter(|_| holds[id.index()])?;
        let class = graph.global(object.callable)?.path();
        let is_packed = class.starts_with(TORCHS_OWN) && !object.states.iter().any(|&state| matches!(graph.node(state), Node::Dict(_)));
        if !document.remade.contains(&class) || is_packed {
            return None;
        }
        let shown = crate::text::quoted(&class, 200);
        let message = format!("an object of {shown} is made by its __setstate__, code in the archive that may change the tensors");
        let error = Error::new(Code::TensorUnsupported, message).at(&graph.place(id));
        Some((id, Value::Unsupported(error.help("load it with torch in a sandbox and save its state_dict()"))))
    };
    graph.ids().filter_map(unsupported).collect()
}
