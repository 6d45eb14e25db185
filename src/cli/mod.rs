//! The commands. Each file has the arguments of one and its `run`; the logic is in the library.

mod convert;
mod inspect;
mod open_files;
mod options;
mod printer;
mod progress;
mod report;
mod sandbox;
mod scan;
mod store;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use depickle::Error;
use depickle::error::Code;
use depickle::finding::Severity;
use depickle::text::printable;

/// Reads Python pickle checkpoints without executing anything and writes verified safetensors files.
#[derive(Debug, Parser)]
#[command(name = "depickle", version, about, long_about = None, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Run without the sandbox, in which the program can open only its inputs and the folders of its outputs, and reach no
    /// network and start no program (Linux)
    #[arg(long, global = true, display_order = 900)]
    no_sandbox: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 the input or the system failed, 2 usage, 3 refused because of findings, \
4 a verification found a difference. With several inputs the highest counts.";

#[derive(Debug, Subcommand)]
enum Command {
    Convert(convert::Args),
    Inspect(inspect::Args),
    Scan(scan::Args),
    Verify(verify::Args),
    Report(report::Args),
}

/// Runs the command of this process.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    progress::survive_size_limit();
    open_files::allow_many();
    let code = match cli.command {
        Command::Convert(args) => convert::run(&args, !cli.no_sandbox),
        Command::Inspect(args) => inspect::run(&args, !cli.no_sandbox),
        Command::Scan(args) => scan::run(&args, !cli.no_sandbox),
        Command::Verify(args) => verify::run(&args, !cli.no_sandbox),
        Command::Report(args) => report::run(&args, !cli.no_sandbox),
    };
    ExitCode::from(code)
}

/// Help, the version, or what is wrong with the arguments. An argument may be the name of a file that somebody else chose.
fn usage(error: &clap::Error) -> ExitCode {
    let odd = std::env::args_os().any(|argument| matches!(printable(&argument.to_string_lossy()), std::borrow::Cow::Owned(_)));
    if !error.use_stderr() || !odd {
        // There is nowhere left to report that it cannot be printed.
        let _ = error.print();
    } else {
        error.to_string().lines().for_each(|line| say(&format!("{}\n", printable(line))));
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

/// Writes data to standard output. A reader that has gone, such as `head`, ends the command quietly.
fn print(text: &str) -> u8 {
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => 0,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(e) => {
            say(&format!("error: cannot write to standard output: {e}\n"));
            1
        }
    }
}

/// Writes a message to standard error.
fn say(text: &str) {
    // There is nowhere left to report that standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The same as the last step of something that gives an exit code.
fn say_ok(text: &str) -> u8 {
    say(text);
    0
}

/// Findings that are shown with an error; `--json` has all.
const MAX_SHOWN: usize = 10;

/// Reports an error and gives its exit code.
fn report(subject: &std::path::Path, error: &Error) -> u8 {
    say(&described(subject, error));
    error.exit_code()
}

/// An error with all that is said of it.
fn described(subject: &std::path::Path, error: &Error) -> String {
    let subject = printable(&subject.to_string_lossy()).into_owned();
    let message = printable(&error.to_string()).into_owned();
    // Errors of the system name the file themselves.
    let mut text = if message.contains(&subject) { format!("error: {message}\n") } else { format!("error: {subject}: {message}\n") };
    if let Some(help) = error.advice() {
        text.push_str(&format!("  help: {}\n", printable(help)));
    }
    if error.code() == Code::Io && error.message().ends_with("permission denied") && sandbox::is_entered() {
        text.push_str("  help: if they are right, see whether --no-sandbox helps: the program closes what it was not given\n");
    }
    // What the file would have run is worth more than why it is broken.
    let dangerous = error.findings().iter().filter(|finding| finding.severity == Severity::Dangerous && error.code() != Code::Denied);
    let dangerous: Vec<_> = dangerous.collect();
    for finding in dangerous.iter().take(MAX_SHOWN) {
        text.push_str(&format!("  and {} (at {})\n", printable(&finding.message), finding.place));
    }
    if dangerous.len() > MAX_SHOWN {
        text.push_str(&format!("  and {}\n", depickle::text::count((dangerous.len() - MAX_SHOWN) as u64, "more finding")));
    }
    text
}
