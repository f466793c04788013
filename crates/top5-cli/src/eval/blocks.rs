//! The images of an evaluation that several ranks share: block after block, of which each looks at its part. Rank 0 learns what all
//! came to, in the order of the images, so that its numbers are those of one process to the bit.

use std::ops::Range;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use top5::eval::{EvaluationError, Shard};
use top5::train::Ranks;

use crate::exit::Stop;

/// What an image came to, or why it has no answer.
pub(super) type Told = Result<Said, Unread>;

/// What was said of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    /// What tells its pixels from others.
    pub(super) pixels: String,
    /// The probability of each class.
    pub(super) probabilities: Vec<f64>,
}

/// Takes what an image of this number came to.
pub(super) type Take<'t> = &'t mut dyn FnMut(usize, Told);

/// Why an image has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unread {
    pub(super) reason: String,
    is_io: bool,
    /// Whether it may be left out, where that is asked for.
    pub(super) is_bad: bool,
}

impl From<&EvaluationError> for Unread {
    fn from(error: &EvaluationError) -> Self {
        let (is_io, is_bad) = if let EvaluationError::Data(error) = error {
            (error.is_io(), error.is_bad_sample())
        } else {
            (false, true)
        };
        Self { reason: error.to_string(), is_io, is_bad }
    }
}

impl From<Unread> for Stop {
    fn from(Unread { reason, is_io, .. }: Unread) -> Self {
        if is_io { Self::Resource(reason) } else { Self::BadInput(reason) }
    }
}

/// Batches of a rank in a block: enough that what it cannot do ahead at the border of two counts for little.
const BATCHES: usize = 8;

/// Images of a rank in a block.
pub(super) fn images(batch: usize, views: usize) -> usize {
    batch.saturating_mul(BATCHES).div_ceil(views.max(1)).max(1)
}

/// Looks at the images of `all`, each rank at up to `images` of a block. `look` gives what its own came to, `take` is called on rank
/// 0 for every image, in their order.
pub(super) fn together(
    ranks: &dyn Ranks,
    all: Range<usize>,
    images: usize,
    look: &mut dyn FnMut(Range<usize>) -> Result<Vec<Told>>,
    take: Take<'_>,
) -> Result<()> {
    let (rank, size) = (ranks.rank(), ranks.size());
    let mut next = all.start;
    while next < all.end {
        let length = images.saturating_mul(size).min(all.end - next);
        let Shard { start, end, .. } = Shard::new(rank + 1, size, length);
        let own = look(next + start..next + end)?;
        let brought = ranks.gather(serde_json::to_vec(&own)?)?;
        let mut image = next;
        for bytes in brought {
            let told: Vec<Told> =
                serde_json::from_slice(&bytes).context("reading another rank's answers")?;
            for told in told {
                take(image, told);
                image += 1;
            }
        }
        next += length;
    }
    Ok(())
}

/// Fails on all ranks where one of them looks at other things than rank 0, or in another way: `what` says them.
pub(super) fn check_same(ranks: &dyn Ranks, what: &str) -> Result<()> {
    let mut first = what.as_bytes().to_vec();
    ranks.broadcast(&mut first)?;
    let mut others = [f64::from(u8::from(first != what.as_bytes()))];
    ranks.add(&mut others)?;
    if others != [0.0] {
        let message = format!(
            "{} of {} processes look at other images than the first one, or with other weights or settings: use the same data, \
             weights and arguments for all",
            others[0],
            ranks.size()
        );
        return Err(Stop::BadInput(message).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use top5::train::LocalRank;

    use super::*;

    fn told(image: usize) -> Told {
        match image % 5 {
            3 => {
                let is_io = image.is_multiple_of(2);
                Err(Unread { reason: format!("{image}.png"), is_io, is_bad: !is_io })
            }
            _ => Ok(Said {
                pixels: image.to_string(),
                probabilities: vec![1.0 / image as f64, f64::MIN_POSITIVE / 3.0, 0.1 + 0.2],
            }),
        }
    }

    /// What `work` gives on each of so many ranks.
    fn on<T: Send + 'static>(size: usize, work: fn(&dyn Ranks) -> T) -> Vec<T> {
        let ranks = LocalRank::ranks(size).into_iter();
        let threads: Vec<_> = ranks.map(|rank| thread::spawn(move || work(&rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    /// Also where there are fewer images than ranks.
    #[test]
    fn first_rank_learns_all_in_order_to_the_bit() {
        for size in 1..5 {
            let taken = on(size, |ranks| {
                [(2..3, 1), (1..23, 2), (1..24, 100), (7..7, 1)].map(|(all, images)| {
                    let mut taken = Vec::new();
                    let mut look = |range: Range<usize>| Ok(range.map(told).collect());
                    let mut take = |image: usize, told: Told| taken.push((image, told));
                    together(ranks, all.clone(), images, &mut look, &mut take).unwrap();
                    (all, taken)
                })
            });
            for (rank, taken) in taken.into_iter().enumerate() {
                for (all, taken) in taken {
                    let all = if rank == 0 { all } else { 0..0 };
                    assert_eq!(taken, all.map(|image| (image, told(image))).collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn ranks_that_look_at_other_things_are_refused_by_all() {
        let check = |ranks: &dyn Ranks| {
            let differs = |of: usize| ranks.rank() == of;
            check_same(ranks, "a").unwrap();
            check_same(ranks, if differs(1) { "b" } else { "a" }).unwrap_err().to_string()
        };
        for error in on(3, check) {
            assert!(error.starts_with("1 of 3 processes look at other images"), "{error}");
        }
    }

    #[test]
    fn blocks_hold_some_batches_of_views() {
        assert_eq!((images(64, 1), images(64, 150), images(1, 150)), (512, 4, 1));
        assert_eq!(images(usize::MAX, 0), usize::MAX);
    }
}
