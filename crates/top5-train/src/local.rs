//! Ranks that are threads of one process. They add in the order of the ranks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::ranks::{RankError, Ranks};

/// One of several threads that train together. When it is dropped, the others get an error where they wait for it.
pub struct LocalRank {
    rank: usize,
    shared: Arc<Shared>,
}

/// A meeting place for each kind of call.
struct Shared {
    sum: Meeting<f32>,
    add: Meeting<f64>,
    broadcast: Meeting<u8>,
    gather: Meeting<Vec<u8>>,
}

/// Where ranks bring values and take a result.
struct Meeting<T> {
    round: Mutex<Round<T>>,
    changed: Condvar,
}

struct Round<T> {
    /// What each rank has brought to this round.
    brought: Vec<Option<Vec<T>>>,
    /// What became of it, until all have taken it.
    result: Option<Arc<Vec<T>>>,
    taken: usize,
    /// Whether a rank is gone.
    lost: bool,
}

impl LocalRank {
    /// So many ranks, the first of which is rank 0.
    pub fn ranks(size: usize) -> Vec<Self> {
        let shared = Arc::new(Shared {
            sum: Meeting::of(size),
            add: Meeting::of(size),
            broadcast: Meeting::of(size),
            gather: Meeting::of(size),
        });
        (0..size).map(|rank| Self { rank, shared: Arc::clone(&shared) }).collect()
    }
}

impl Drop for LocalRank {
    fn drop(&mut self) {
        self.shared.sum.leave();
        self.shared.add.leave();
        self.shared.broadcast.leave();
        self.shared.gather.leave();
    }
}

impl<T: Clone> Meeting<T> {
    fn of(size: usize) -> Self {
        let round = Round { brought: vec![None; size], result: None, taken: 0, lost: false };
        Self { round: Mutex::new(round), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Round<T>> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self) {
        self.lock().lost = true;
        self.changed.notify_all();
    }

    /// Brings values and takes what `combine` makes of those of all ranks.
    fn meet(
        &self,
        rank: usize,
        values: Vec<T>,
        combine: impl FnOnce(Vec<Vec<T>>) -> Vec<T>,
    ) -> Result<Arc<Vec<T>>, RankError> {
        let mut round = self.lock();
        // Some have not yet taken the last result.
        while round.result.is_some() {
            round = self.wait(round)?;
        }
        round.brought[rank] = Some(values);
        if round.brought.iter().all(Option::is_some) {
            let brought = round.brought.iter_mut().filter_map(Option::take).collect();
            round.result = Some(Arc::new(combine(brought)));
            self.changed.notify_all();
        }
        let result = loop {
            match &round.result {
                Some(result) => break Arc::clone(result),
                None => round = self.wait(round)?,
            }
        };
        round.taken += 1;
        if round.taken == round.brought.len() {
            (round.result, round.taken) = (None, 0);
            self.changed.notify_all();
        }
        Ok(result)
    }

    fn wait<'a>(
        &self,
        round: MutexGuard<'a, Round<T>>,
    ) -> Result<MutexGuard<'a, Round<T>>, RankError> {
        if round.lost {
            return Err(RankError::Lost { why: "its thread has ended".to_owned() });
        }
        Ok(self.changed.wait(round).unwrap_or_else(PoisonError::into_inner))
    }
}

/// The sum over ranks, in their order.
fn sum<T: Copy + std::ops::AddAssign>(brought: Vec<Vec<T>>) -> Vec<T> {
    let mut brought = brought.into_iter();
    let mut sum = brought.next().unwrap_or_default();
    for values in brought {
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    sum
}

impl Ranks for LocalRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.shared.add.lock().brought.len()
    }

    fn sum(&self, values: &mut [f32]) -> Result<(), RankError> {
        values.copy_from_slice(&self.shared.sum.meet(self.rank, values.to_vec(), sum)?);
        Ok(())
    }

    fn add(&self, values: &mut [f64]) -> Result<(), RankError> {
        values.copy_from_slice(&self.shared.add.meet(self.rank, values.to_vec(), sum)?);
        Ok(())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RankError> {
        let first = |brought: Vec<Vec<u8>>| brought.into_iter().next().unwrap_or_default();
        let given = self.shared.broadcast.meet(self.rank, std::mem::take(bytes), first)?;
        bytes.clone_from(&given);
        Ok(())
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RankError> {
        let all = self.shared.gather.meet(self.rank, vec![bytes], |brought| brought.concat())?;
        Ok(if self.rank == 0 { all.to_vec() } else { Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn sums_and_bytes_reach_all_ranks_however_often() {
        let work = |rank: LocalRank| {
            let mut results = Vec::new();
            for round in 0..100 {
                let mut sums = [rank.rank() as f64, round as f64];
                rank.add(&mut sums).unwrap();
                let mut gradients = vec![0.1 + rank.rank() as f32; 3];
                rank.sum(&mut gradients).unwrap();
                let mut bytes = vec![rank.rank() as u8 + 7; rank.rank() + 1];
                rank.broadcast(&mut bytes).unwrap();
                let gathered = rank.gather(vec![7; rank.rank() + round]).unwrap();
                results.push((sums, gradients, bytes, (rank.rank(), gathered)));
            }
            results
        };
        let threads: Vec<_> =
            LocalRank::ranks(3).into_iter().map(|rank| thread::spawn(move || work(rank))).collect();
        for thread in threads {
            let results = thread.join().unwrap();
            for (round, (sums, gradients, bytes, (rank, gathered))) in
                results.into_iter().enumerate()
            {
                assert_eq!(sums, [3.0, 3.0 * round as f64]);
                assert_eq!(gradients, vec![0.1f32 + 1.1 + 2.1; 3]);
                assert_eq!(bytes, [7]);
                let lengths: Vec<usize> = gathered.iter().map(Vec::len).collect();
                let expected = if rank == 0 { vec![round, round + 1, round + 2] } else { vec![] };
                assert_eq!(lengths, expected);
            }
        }
    }

    #[test]
    fn lost_rank_is_an_error_and_no_hang() {
        let mut ranks = LocalRank::ranks(2);
        let second = ranks.pop().unwrap();
        let waiting = thread::spawn(move || ranks[0].add(&mut [1.0]));
        drop(second);
        assert!(matches!(waiting.join().unwrap(), Err(RankError::Lost { .. })));
    }
}
