//! The one integration test binary: everything here runs the built program as a user would.

mod golden;
mod harness;
