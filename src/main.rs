//! The command line of depickle: parse the arguments, run one command, map its outcome to an exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
