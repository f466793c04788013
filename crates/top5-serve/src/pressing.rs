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
    /// Their images.
    images: usize,
    /// When one was answered last.
    last: Option<Instant>,
}

/// One of them, until it is dropped, with its images.
pub(crate) struct Prediction(Arc<Pressing>, usize);

impl Pressing {
    /// One more, of so many images.
    pub(crate) fn begin(self: &Arc<Self>, images: usize) -> Prediction {
        self.seen().images += images;
        Prediction(Arc::clone(self), images)
    }

    /// How many images they have at this time. One where there are none, but were a moment ago: clients that wait for an answer
    /// before they ask again come soon.
    pub(crate) fn images(&self, now: Instant) -> usize {
        let seen = self.seen();
        let recent = seen.last.is_some_and(|last| now.saturating_duration_since(last) < LULL);
        seen.images.max(usize::from(recent))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Prediction {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.images -= self.1;
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
        assert_eq!(pressing.images(begun), 0);
        let (one, other) = (pressing.begin(1), pressing.begin(4));
        assert_eq!(pressing.images(later(1000)), 5);
        drop(one);
        assert_eq!(pressing.images(later(1000)), 4, "one is under way");
        drop(other);
        assert_eq!(pressing.images(begun), 1, "it was answered a moment ago");
        assert_eq!(pressing.images(later(1000)), 0, "it was answered long ago");
    }
}
