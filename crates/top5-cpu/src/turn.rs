//! Whose turn it is to run on a device's threads: first come, first served.
//!
//! A mutex alone goes to whoever asks at the right moment, so that one who runs pass after pass takes it again before those who
//! wait have woken.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The line of those who want to run.
#[derive(Default)]
pub(crate) struct Turns {
    line: Mutex<Line>,
    left: Condvar,
}

#[derive(Default)]
struct Line {
    /// How many have come, and how many of them have run.
    come: u64,
    done: u64,
}

/// The turn of one, until it is dropped.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits until all who came before have run.
    pub(crate) fn take(&self) -> Turn<'_> {
        let mut line = self.line();
        let own = line.come;
        line.come += 1;
        while line.done != own {
            line = self.left.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }

    /// The numbers are whole whatever panics.
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut line = self.0.line();
        line.done += 1;
        if line.come > line.done {
            self.0.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use std::thread;

    /// How many wait or run.
    fn in_line(turns: &Turns) -> u64 {
        let line = turns.line();
        line.come - line.done
    }

    #[test]
    fn one_who_runs_again_and_again_lets_the_others_run_between() {
        let (turns, ended, passes) =
            (Turns::default(), AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let greedy = scope.spawn(|| {
                while !ended.load(SeqCst) {
                    let _turn = turns.take();
                    passes.fetch_add(1, SeqCst);
                    // Not before the other one waits.
                    while in_line(&turns) < 2 && !ended.load(SeqCst) {
                        thread::yield_now();
                    }
                }
            });
            for _ in 0..200 {
                let before = passes.load(SeqCst);
                let turn = turns.take();
                // The pass that ran, and one that began between the look and the wait.
                let waited = passes.load(SeqCst) - before;
                assert!(waited <= 2, "{waited} passes of another one went before");
                drop(turn);
            }
            ended.store(true, SeqCst);
            greedy.join().unwrap();
        });
        assert_eq!(in_line(&turns), 0);
    }

    #[cfg(panic = "unwind")]
    #[test]
    fn a_run_that_panics_ends_its_turn() {
        let turns = Turns::default();
        thread::scope(|scope| {
            let panics = || {
                let _turn = turns.take();
                panic!("a panic that a test ordered")
            };
            assert!(scope.spawn(panics).join().is_err());
        });
        drop(turns.take());
        assert_eq!(in_line(&turns), 0);
    }
}
