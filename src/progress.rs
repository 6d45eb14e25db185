//! How long work tells how far it is. The library shows nothing itself.

/// Hears of progress, in bytes of work; called from several threads.
pub trait Progress: Sync {
    /// Work on `what` starts and will take `total` bytes of reading and writing.
    fn start(&self, what: &str, total: u64);
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);
    /// Whether the work is no longer wanted. It then ends with an error and leaves nothing behind.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Nobody listens.
impl Progress for () {
    fn start(&self, _what: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
}
