//! Predictions that are under way, to which explanations give way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long after a prediction the next one is expected.
const LULL: Duration = Duration::from_millis(100);

/// What is known of them.
#[derive(Default)]
pub(crate) struct Pressing(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    under_way: usize,
    /// When one was answered last.
    last: Option<Instant>,
}

/// One of them, until it is dropped.
pub(crate) struct Prediction(Arc<Pressing>);

impl Pressing {
    /// One more.
    pub(crate) fn begin(self: &Arc<Self>) -> Prediction {
        self.seen().under_way += 1;
        Prediction(Arc::clone(self))
    }

    /// Whether there are any at this time, or were a moment ago: clients that wait for an answer before they ask again come soon.
    pub(crate) fn is_felt(&self, now: Instant) -> bool {
        let seen = self.seen();
        let recent = seen.last.is_some_and(|last| now.saturating_duration_since(last) < LULL);
        seen.under_way > 0 || recent
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Prediction {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.under_way -= 1;
        seen.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_are_felt_while_they_are_under_way_and_for_a_moment() {
        let pressing = Arc::<Pressing>::default();
        let begun = Instant::now();
        let later = |lulls| begun + lulls * LULL;
        assert!(!pressing.is_felt(begun));
        let (one, other) = (pressing.begin(), pressing.begin());
        drop(one);
        assert!(pressing.is_felt(later(1000)), "one is under way");
        drop(other);
        assert!(pressing.is_felt(begun), "it was answered a moment ago");
        assert!(!pressing.is_felt(later(1000)), "it was answered long ago");
    }
}
