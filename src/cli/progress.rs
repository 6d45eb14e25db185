//! A progress bar on a terminal, for work that takes over a second; nothing when standard error is no terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use depickle::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Work that is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_secs(1);
const TEMPLATE: &str = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";

/// Whether the user asked to stop. The first Ctrl-C ends the work in order, the second one ends the process.
fn stop_requested() -> &'static Arc<AtomicBool> {
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

/// The bar of one file.
pub(super) struct Bar {
    visible: bool,
    started: Instant,
    total: AtomicU64,
    done: AtomicU64,
    message: OnceLock<String>,
    bar: OnceLock<ProgressBar>,
}

impl Bar {
    /// A bar that appears when the work takes long enough and `quiet` is false.
    pub(super) fn new(quiet: bool) -> Self {
        stop_requested();
        Bar {
            visible: !quiet && std::io::stderr().is_terminal(),
            started: Instant::now(),
            total: AtomicU64::new(0),
            done: AtomicU64::new(0),
            message: OnceLock::new(),
            bar: OnceLock::new(),
        }
    }

    fn shown(&self) -> &ProgressBar {
        self.bar.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(Some(self.total.load(Ordering::Relaxed)), ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_message(self.message.get().cloned().unwrap_or_default());
            bar
        })
    }
}

impl Progress for Bar {
    fn start(&self, what: &str, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.message.get_or_init(|| what.to_owned());
    }

    fn cancelled(&self) -> bool {
        stop_requested().load(Ordering::Relaxed)
    }

    fn advance(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.visible && self.started.elapsed() > PATIENCE {
            self.shown().set_position(done);
        }
    }
}

/// The line is cleared, so that what is printed next starts on a clean one.
impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
