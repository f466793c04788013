//! Work that several threads do side by side, however many of them the system starts.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// Does `work` on this thread and on others beside it, up to `threads` in all, and returns what each came to, this one first.
/// Where the system starts no more threads there are fewer, so `work` must take what is left to do from a place that all share.
/// A panic on any of them goes on here.
pub fn together<T: Send>(threads: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    scope(|scope| {
        let start = |_| Builder::new().spawn_scoped(scope, &work).ok();
        let others: Vec<_> = (1..threads).map_while(start).collect();
        let mut done = vec![work()];
        done.extend(
            others.into_iter().map(|other| other.join().unwrap_or_else(|p| resume_unwind(p))),
        );
        done
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_is_done_once_by_any_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let next = AtomicUsize::new(0);
            let done = together(threads, || {
                let mut mine = Vec::new();
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        at @ 0..100 => mine.push(at),
                        _ => return mine,
                    }
                }
            });
            assert_eq!(done.len(), threads.max(1));
            let mut done = done.concat();
            done.sort_unstable();
            assert!(done.into_iter().eq(0..100), "{threads}");
        }
    }
}
