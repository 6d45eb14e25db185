//! The one integration test binary: everything here runs the built program as a user would.

#![allow(clippy::expect_used, clippy::panic, clippy::disallowed_types, reason = "tests fail by panicking and start the program")]

mod assemble;
mod budgets;
mod cases;
mod crafted;
mod differential;
mod extras;
mod faults;
mod forging;
mod fuzz;
mod golden;
mod harness;
mod hostile;
mod mutations;
mod outputs;
mod python_dump;
mod record;
mod remade;
mod report;
mod sandbox;
mod sarif;
mod sets;
mod store;
mod tidy;
mod verification;
