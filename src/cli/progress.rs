//! A progress bar on a terminal, for work that takes over a second; nothing when standard error is no terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::{Duration, Instant};

use depickle::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Work that is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
const TEMPLATE: &str = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";

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

/// The bar of one file. It counts the bytes of the file, each of them done when all work on it is.
pub(super) struct Bar {
    wanted: bool,
    started: Instant,
    work: AtomicU64,
    done: AtomicU64,
    shown: Once,
    bar: ProgressBar,
}

impl Bar {
    /// A bar that appears when the work takes long enough and `quiet` is false.
    pub(super) fn new(what: &'static str, quiet: bool) -> Self {
        stop_requested();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()).with_message(what);
        bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        Bar {
            wanted: !quiet && std::io::stderr().is_terminal(),
            started: Instant::now(),
            work: AtomicU64::new(1),
            done: AtomicU64::new(0),
            shown: Once::new(),
            bar,
        }
    }
}

impl Progress for Bar {
    fn start(&self, bytes: u64, work: u64) {
        self.bar.set_length(bytes);
        self.work.store(work.max(1), Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        stop_requested().load(Ordering::Relaxed)
    }

    fn advance(&self, work: u64) {
        if !self.wanted {
            return;
        }
        let done = self.done.fetch_add(work, Ordering::Relaxed) + work;
        let share = u128::from(done) * u128::from(self.bar.length().unwrap_or(0)) / u128::from(self.work.load(Ordering::Relaxed));
        self.bar.set_position(u64::try_from(share).unwrap_or(u64::MAX));
        if self.started.elapsed() > PATIENCE {
            self.shown.call_once(|| self.bar.set_draw_target(ProgressDrawTarget::stderr()));
        }
    }
}

/// The line is cleared, so that what is printed next starts on a clean one.
impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
