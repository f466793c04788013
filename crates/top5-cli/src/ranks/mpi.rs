//! Ranks over MPI.
//!
//! Each kind of call has a communicator and a thread of its own, a lane, so that gradients are added while the backward pass goes
//! on: Open MPI works on a message only inside of a call. Whoever waits for a lane waits for so long and no longer.
//!
//! ```text
//! work ────── add, broadcast, gather ──▶ steering lane ─┐
//! reduction ──────────────────── sum ──▶ gradient lane ─┼─ MPI
//! main ───────────────────── farewell ─▶ last lane ─────┘
//! ```
//!
//! A process that ends without its farewell ends the job: `mpirun` sees to that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::mpi::Threading;
use ::mpi::collective::SystemOperation;
use ::mpi::environment::Universe;
use ::mpi::point_to_point::MatchedReceiveVec;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Destination, Root, Source};
use anyhow::{Context, Result};
use top5::train::{Diverged, FitError, RankError, Ranks};

use super::RanksArgs;
use crate::exit::{self, Stop};
use crate::output::{self, Output, say};

/// Most bytes of one message: MPI counts in 32 bits.
const PIECE: usize = 1 << 30;

/// How long one that has failed waits for the others to have failed, too.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often one that is done looks whether the others are.
const LOOK: Duration = Duration::from_millis(10);
/// How often rank 0 looks whether another one's bytes have come.
const RECEIVE: Duration = Duration::from_millis(1);

/// What a panic ends with.
const PANIC: u8 = 101;

/// Joins the others, does the work and leaves together with them.
pub(super) fn joined(
    args: RanksArgs,
    size: usize,
    output: Output,
    work: impl FnOnce(Option<Arc<dyn Ranks>>, Output) -> Result<()>,
) -> Result<()> {
    let (universe, threading) =
        ::mpi::initialize_with_threading(Threading::Multiple).context("MPI is in use already")?;
    if threading != Threading::Multiple {
        let message =
            "this MPI does not allow several threads: use one built with MPI_THREAD_MULTIPLE";
        return Err(Stop::Resource(message.to_owned()).into());
    }
    let world = World::new(universe, args.timeout())?;
    let rank = world.ranks.rank;
    if world.ranks.size == 1 {
        if size > 1 {
            let message = format!(
                "the launcher started {size} processes, and MPI knows of one: use the launcher of the MPI that top5 is \
                 built with"
            );
            return Err(Stop::Usage(message).into());
        }
        return work(None, output);
    }
    let output = if rank == 0 {
        output
    } else {
        Output { quiet: true, verbose: false, mute: true, ..output }
    };
    let ranks: Arc<dyn Ranks> = world.ranks.clone();
    let done = catch_unwind(AssertUnwindSafe(|| work(Some(ranks), output)));
    let code = match done {
        Ok(Ok(())) => 0,
        Ok(Err(error)) if rank == 0 => output::report(&error),
        Ok(Err(error)) if is_rank_0s(&error) => exit::code(&error),
        Ok(Err(error)) => {
            say(&format!("rank {rank}: error: {}", exit::describe(&error)));
            exit::code(&error)
        }
        // The hook has said which.
        Err(_) => PANIC,
    };
    world.leave(code)
}

/// Whether rank 0 says it for all.
fn is_rank_0s(error: &anyhow::Error) -> bool {
    let is = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<Diverged>()
            || matches!(cause.downcast_ref(), Some(FitError::Elsewhere))
            || matches!(cause.downcast_ref(), Some(Stop::Interrupted { .. } | Stop::Usage(_)))
    };
    error.chain().any(is)
}

/// All processes, until this one leaves.
struct World {
    ranks: Arc<MpiRanks>,
    last: Lane,
    /// After the communicators, which are given up before MPI ends.
    universe: Universe,
}

impl World {
    fn new(universe: Universe, timeout: Duration) -> Result<Self> {
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        // In this order in all processes, as making a communicator takes all of them.
        let [sum, steer, last] = ["gradients", "steering", "farewell"].map(Lane::start);
        let ranks = MpiRanks { rank, size, timeout, sum: sum?, steer: steer? };
        Ok(Self { ranks: Arc::new(ranks), universe, last: last? })
    }

    /// Ends the process when all others end theirs, with the greatest of their codes; or, where it has failed and they have not,
    /// with its own, which ends them.
    fn leave(self, code: u8) -> ! {
        let Self { ranks, universe, last } = self;
        let patience = (code != 0).then_some(FAREWELL);
        match last.ask(Job::Farewell(code), patience) {
            Ok(Job::Farewell(0)) => {}
            // A lane may be in a call that never ends, for which MPI would wait.
            Ok(Job::Farewell(code)) => process::exit(code.into()),
            Ok(_) | Err(_) => process::exit(code.into()),
        };
        drop(last);
        drop(ranks);
        drop(universe);
        process::exit(0)
    }
}

/// What a lane does, and what it answers: the same with what came of it.
enum Job {
    Sum(Vec<f32>),
    Add(Vec<f64>),
    Broadcast(Vec<u8>),
    Gather(Vec<u8>),
    Gathered(Vec<Vec<u8>>),
    Farewell(u8),
}

/// A communicator and its thread.
struct Lane {
    ends: Option<Mutex<Ends>>,
    thread: Option<JoinHandle<()>>,
}

struct Ends {
    jobs: Sender<Job>,
    answers: Receiver<Job>,
}

impl Lane {
    /// Starts a lane; returns when its communicator is made.
    fn start(name: &str) -> Result<Self> {
        let (jobs, asked) = channel::<Job>();
        let (answer, answers) = channel::<Job>();
        let (made, is_made) = channel();
        let work = move || {
            let communicator = SimpleCommunicator::world().duplicate();
            if made.send(()).is_err() {
                return;
            }
            for job in asked {
                if answer.send(done(job, &communicator)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = thread.context("starting a thread for MPI")?;
        is_made.recv().context("making an MPI communicator")?;
        Ok(Self { ends: Some(Mutex::new(Ends { jobs, answers })), thread: Some(thread) })
    }

    /// Gives it a job and waits for the answer, for so long or without end.
    fn ask(&self, job: Job, patience: Option<Duration>) -> Result<Job, RankError> {
        let ended = || RankError::Lost { why: "its thread for MPI has ended".to_owned() };
        let ends = self.ends.as_ref().ok_or_else(ended)?;
        let ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.jobs.send(job).map_err(|_| ended())?;
        let Some(patience) = patience else { return ends.answers.recv().map_err(|_| ended()) };
        ends.answers.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Disconnected => ended(),
            RecvTimeoutError::Timeout => RankError::Lost {
                why: format!("it has not answered for {} s (--rank-timeout)", patience.as_secs()),
            },
        })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.ends = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Does a job together with the same lane of the other processes.
fn done(job: Job, communicator: &SimpleCommunicator) -> Job {
    match job {
        Job::Sum(values) => {
            let mut sums = vec![0.0; values.len()];
            communicator.all_reduce_into(&values[..], &mut sums[..], SystemOperation::sum());
            Job::Sum(sums)
        }
        Job::Add(values) => {
            let mut sums = vec![0.0; values.len()];
            communicator.all_reduce_into(&values[..], &mut sums[..], SystemOperation::sum());
            Job::Add(sums)
        }
        Job::Broadcast(mut bytes) => {
            let root = communicator.process_at_rank(0);
            let mut length = bytes.len() as u64;
            root.broadcast_into(&mut length);
            bytes.resize(length as usize, 0);
            for piece in bytes.chunks_mut(PIECE) {
                root.broadcast_into(piece);
            }
            Job::Broadcast(bytes)
        }
        Job::Gather(bytes) => Job::Gathered(gather(bytes, communicator)),
        Job::Gathered(all) => Job::Gathered(all),
        Job::Farewell(code) => {
            // Others may still be at work for long: waiting inside of a call would take their processor.
            let mut request = communicator.immediate_barrier();
            while let Err(unfinished) = request.test() {
                request = unfinished;
                thread::sleep(LOOK);
            }
            let mut greatest = 0;
            communicator.all_reduce_into(&code, &mut greatest, SystemOperation::max());
            Job::Farewell(greatest)
        }
    }
}

/// Sends bytes to rank 0: their number, then they, in pieces. There, receives all ranks'.
fn gather(bytes: Vec<u8>, communicator: &SimpleCommunicator) -> Vec<Vec<u8>> {
    if communicator.rank() > 0 {
        let root = communicator.process_at_rank(0);
        root.send(&(bytes.len() as u64));
        bytes.chunks(PIECE).for_each(|piece| root.send(piece));
        return Vec::new();
    }
    let receive = |rank: i32| {
        let source = communicator.process_at_rank(rank);
        // The others may be at work for long: waiting inside of a call would take their processor.
        let probed = loop {
            match source.immediate_matched_probe() {
                Some(probed) => break probed,
                None => thread::sleep(RECEIVE),
            }
        };
        let (length, _) = probed.matched_receive_vec::<u64>();
        let length = length.first().map_or(0, |&length| length as usize);
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            bytes.extend(source.receive_vec::<u8>().0);
        }
        bytes
    };
    std::iter::once(bytes).chain((1..communicator.size()).map(receive)).collect()
}

/// The processes, as this one sees them.
struct MpiRanks {
    rank: usize,
    size: usize,
    timeout: Duration,
    sum: Lane,
    steer: Lane,
}

/// What a lane says that answers with another job.
fn confused() -> RankError {
    RankError::Lost { why: "its thread for MPI gave another answer".to_owned() }
}

impl Ranks for MpiRanks {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, values: &mut [f32]) -> Result<(), RankError> {
        let answer = self.sum.ask(Job::Sum(values.to_vec()), Some(self.timeout))?;
        let Job::Sum(sums) = answer else { return Err(confused()) };
        values.copy_from_slice(&sums);
        Ok(())
    }

    fn add(&self, values: &mut [f64]) -> Result<(), RankError> {
        let answer = self.steer.ask(Job::Add(values.to_vec()), Some(self.timeout))?;
        let Job::Add(sums) = answer else { return Err(confused()) };
        values.copy_from_slice(&sums);
        Ok(())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<(), RankError> {
        let job = Job::Broadcast(std::mem::take(bytes));
        let Job::Broadcast(given) = self.steer.ask(job, Some(self.timeout))? else {
            return Err(confused());
        };
        *bytes = given;
        Ok(())
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RankError> {
        let answer = self.steer.ask(Job::Gather(bytes), Some(self.timeout))?;
        let Job::Gathered(all) = answer else { return Err(confused()) };
        Ok(all)
    }
}
