//! How long work tells how far it is. The library shows nothing itself.

/// Hears of progress; called from several threads.
pub trait Progress: Sync {
    /// Work on `bytes` starts. A byte may be read and written more than once, so that it takes `work` bytes in all.
    fn start(&self, bytes: u64, work: u64);
    /// `work` bytes more are read or written.
    fn advance(&self, work: u64);
    /// All is computed and written; what is left is to wait for the disk.
    fn syncs(&self) {}
    /// Whether the work is no longer wanted. It then ends with an error and leaves nothing behind.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Nobody listens.
impl Progress for () {
    fn start(&self, _bytes: u64, _work: u64) {}
    fn advance(&self, _work: u64) {}
}

impl<P: Progress + Send + ?Sized> Progress for Box<P> {
    fn start(&self, bytes: u64, work: u64) {
        (**self).start(bytes, work);
    }

    fn advance(&self, work: u64) {
        (**self).advance(work);
    }

    fn syncs(&self) {
        (**self).syncs();
    }

    fn cancelled(&self) -> bool {
        (**self).cancelled()
    }
}
