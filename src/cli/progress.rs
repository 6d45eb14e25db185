//! Progress bars on a terminal, for work that takes over a second; nothing when standard error is no terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, Instant};

use depickle::progress::Progress;
use depickle::text::printable;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Work that is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
const FILE: &str = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
const ALL: &str = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} left";
/// Columns for the name of a file.
const MAX_NAME: usize = 30;

/// Whether the user asked to stop. The first Ctrl-C ends the work in order, the second one ends the process.
pub(super) fn stop_requested() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Where a handler cannot be set, the signal ends the process as it always did.
            let _ = flag::register_conditional_shutdown(signal, 1, Arc::clone(&flag));
            let _ = flag::register(signal, Arc::clone(&flag));
        }
        flag
    })
}

/// Makes a write beyond a limit on file sizes an error like any other; the signal would end the process in the middle of it.
pub(super) fn survive_size_limit() {
    #[cfg(unix)]
    let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// The bars of a run: one for all files where there are several, and one for each file that takes long.
pub(super) struct Board {
    what: &'static str,
    wanted: bool,
    started: Instant,
    bars: MultiProgress,
    all: Option<ProgressBar>,
    shown: Once,
    files: u64,
    ended: AtomicU64,
}

impl Board {
    /// For `files` files with `bytes` bytes in all; nothing is shown if `quiet`.
    pub(super) fn new(what: &'static str, files: u64, bytes: u64, quiet: bool) -> Board {
        stop_requested();
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::hidden());
        let all = (files > 1).then(|| bars.add(bar(ALL, bytes)));
        let board = Board {
            what,
            wanted: !quiet && std::io::stderr().is_terminal(),
            started: Instant::now(),
            bars,
            all,
            shown: Once::new(),
            files,
            ended: AtomicU64::new(0),
        };
        board.count(0);
        board
    }

    /// The bar of one file, to be dropped when it is done.
    pub(super) fn file(&self, name: &str, bytes: u64) -> Bar<'_> {
        let bar = bar(FILE, bytes).with_message(match self.files {
            0 | 1 => self.what.to_owned(),
            _ => format!("  {}", end_of(&printable(name))),
        });
        let (work, done, counted) = (AtomicU64::new(1), AtomicU64::new(0), AtomicU64::new(0));
        Bar { board: self, started: Instant::now(), work, done, counted, bytes, shown: Once::new(), bar }
    }

    /// Whether bars are drawn when the work takes long.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Prints without disturbing the bars.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        if self.wanted { self.bars.suspend(print) } else { print() }
    }

    fn count(&self, ended: u64) {
        let ended = self.ended.fetch_add(ended, Ordering::Relaxed) + ended;
        if let Some(all) = &self.all {
            all.set_message(format!("{} {ended}/{} files", self.what, self.files));
        }
    }

    /// Whether bars may be drawn by now.
    fn is_late(&self, since: Instant) -> bool {
        let late = self.wanted && since.elapsed() > PATIENCE;
        if late {
            self.shown.call_once(|| self.bars.set_draw_target(ProgressDrawTarget::stderr()));
        }
        late
    }
}

/// The lines are cleared, so that what is printed next starts on a clean one.
impl Drop for Board {
    fn drop(&mut self) {
        if let Some(all) = &self.all {
            all.finish_and_clear();
        }
    }
}

/// The bar of one file. It counts the bytes of the file, each of them done when all work on it is.
pub(super) struct Bar<'a> {
    board: &'a Board,
    started: Instant,
    work: AtomicU64,
    done: AtomicU64,
    /// What of the file the bar for all files has counted.
    counted: AtomicU64,
    bytes: u64,
    shown: Once,
    bar: ProgressBar,
}

impl Bar<'_> {
    /// Adds to the bar for all files what was not counted of the file so far.
    fn count_to(&self, position: u64) {
        let before = self.counted.fetch_max(position.min(self.bytes), Ordering::Relaxed);
        if let Some(all) = &self.board.all {
            all.inc(position.min(self.bytes).saturating_sub(before));
        }
    }
}

impl Progress for Bar<'_> {
    fn start(&self, bytes: u64, work: u64) {
        self.bar.set_length(bytes);
        self.work.store(work.max(1), Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        stop_requested().load(Ordering::Relaxed)
    }

    fn advance(&self, work: u64) {
        if !self.board.wanted {
            return;
        }
        let done = self.done.fetch_add(work, Ordering::Relaxed) + work;
        let share = |whole: u64| u128::from(done) * u128::from(whole) / u128::from(self.work.load(Ordering::Relaxed));
        let share = |whole: u64| u64::try_from(share(whole)).unwrap_or(u64::MAX);
        self.bar.set_position(share(self.bar.length().unwrap_or(0)));
        self.count_to(share(self.bytes));
        if self.board.all.is_some() {
            self.board.is_late(self.board.started);
        }
        if self.board.is_late(self.started) {
            self.shown.call_once(|| drop(self.board.bars.add(self.bar.clone())));
        }
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.board.bars.remove(&self.bar);
        self.count_to(self.bytes);
        self.board.count(1);
    }
}

fn bar(template: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

/// The end of a long name, which tells more than its start.
fn end_of(name: &str) -> String {
    let n = name.chars().count();
    match n > MAX_NAME {
        true => format!("...{}", name.chars().skip(n - MAX_NAME + 3).collect::<String>()),
        false => format!("{name:MAX_NAME$}"),
    }
}
