//! What people and machines are shown. Text goes through `text::printable`; JSON carries names exactly.

pub mod html;
pub mod json;
pub mod sarif;
pub mod scanned;
pub mod store;
pub mod text;
