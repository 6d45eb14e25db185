//! The one integration test binary: everything here runs the built program as a user would.

mod cases;
mod golden;
mod harness;
mod mutations;
mod outputs;
mod record;
mod tidy;
mod verification;
