//! Following a run for those who watch it in the page: a thread reads what its files have gained. A run that trains does
//! nothing for it but to write its log, whether it is watched from its own process or from another.

use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use top5::CpuDevice;
use top5::data::files::Regular;
use top5::graph::Stop;
use top5::train::Recipe;
use top5_serve::{Feed, Options, Server, StartError};

use crate::listen;
use crate::output::Output;
use crate::run_folder::{LOG, MOMENTS, RunFolder, read_recipe};

/// How often the files are looked at.
const PULSE: Duration = Duration::from_millis(250);
/// Pulses after which it is looked whether the run was given more epochs.
const RECIPE: u32 = 20;
/// How long a run that has ended waits for those who watch it.
const LINGER: Duration = Duration::from_secs(2);
/// Most bytes that are read of a file at once.
const PIECE: u64 = 4 << 20;

/// A run that is to be followed.
pub(crate) struct Followed {
    folder: PathBuf,
    recipe: Recipe,
}

impl Followed {
    /// The run in this folder, which need not train any more. Fails where there is none.
    pub(crate) fn resolve(folder: &Path) -> Result<Self> {
        RunFolder::look(folder)?;
        let recipe = read_recipe(folder)?.context("the run has no recipe")?;
        Ok(Self { folder: folder.to_owned(), recipe })
    }

    /// Follows it on a thread of its own until that is asked to stop, and has read what was written before.
    pub(crate) fn begin(self, stop: Stop) -> Result<(Arc<Feed>, JoinHandle<()>)> {
        let Self { folder, recipe: Recipe { network, data, epochs, .. } } = self;
        let name = folder.display().to_string();
        let feed = Arc::new(Feed::new(name, network, data, epochs));
        let fed = Arc::clone(&feed);
        let follow = move || {
            let paths = [LOG, MOMENTS].map(|name| folder.join(name));
            let mut follower = Follower { paths, taken: [0; 2] };
            let mut pulses = 0_u32;
            loop {
                let last = stop.is_set();
                // Without rest where there is more.
                while follower.look(&fed) > PIECE / 2 {}
                if pulses.is_multiple_of(RECIPE)
                    && let Ok(Some(recipe)) = read_recipe(&folder)
                {
                    fed.prolong(recipe.epochs);
                }
                if last {
                    return;
                }
                pulses = pulses.wrapping_add(1);
                thread::sleep(PULSE);
            }
        };
        let follower = thread::Builder::new().spawn(follow).map_err(StartError::from)?;
        Ok((feed, follower))
    }
}

struct Follower {
    paths: [PathBuf; 2],
    /// Bytes of each that are known.
    taken: [u64; 2],
}

impl Follower {
    /// Takes what is new, and returns how many bytes that is. A file that cannot be read now may be read later.
    fn look(&mut self, feed: &Feed) -> u64 {
        let mut pieces = [Vec::new(), Vec::new()];
        for ((path, taken), piece) in self.paths.iter().zip(self.taken).zip(&mut pieces) {
            match read_from(path, taken) {
                Ok(Some(bytes)) => *piece = bytes,
                Ok(None) => {
                    self.taken = [0; 2];
                    feed.begin_anew();
                    return 0;
                }
                Err(_) => {}
            }
        }
        let whole = feed.add(&pieces[0], &pieces[1]);
        for (taken, whole) in self.taken.iter_mut().zip(whole) {
            *taken += whole as u64;
        }
        whole.iter().sum::<usize>() as u64
    }
}

/// The next bytes of a file; None where what was read before is no longer there: the run went on from an earlier step, and
/// what it had written was cut off.
fn read_from(path: &Path, taken: u64) -> std::io::Result<Option<Vec<u8>>> {
    let regular = Regular::open(path)?;
    let len = regular.len();
    if len < taken {
        return Ok(None);
    }
    let mut file = regular.into_file();
    // With the line feed before.
    let before = taken.min(1);
    file.seek(SeekFrom::Start(taken - before))?;
    let mut bytes = Vec::new();
    file.take((len - taken).min(PIECE) + before).read_to_end(&mut bytes)?;
    if before == 1 && bytes.first() != Some(&b'\n') {
        return Ok(None);
    }
    bytes.drain(..before as usize);
    Ok(Some(bytes))
}

/// The server of a run that trains in this process, which ends when this is dropped.
pub(crate) struct Watched {
    listener: TcpListener,
    /// What whoever watches may call it.
    host: String,
}

impl Watched {
    /// Takes the address: before anything is computed.
    pub(crate) fn bind((host, port): (String, u16)) -> Result<Self> {
        let listener = listen::bind(&host, port, "--watch")?;
        Ok(Self { listener, host })
    }

    /// Serves the run in this folder from now on.
    pub(crate) fn serve(
        self,
        device: &CpuDevice,
        folder: &Path,
        recipe: &Recipe,
        output: Output,
    ) -> Result<Serving> {
        let Self { listener, host } = self;
        let address = listener.local_addr()?;
        let followed = Followed { folder: folder.to_owned(), recipe: recipe.clone() };
        let (following, serving) = (Asked::default(), Asked::default());
        let (feed, follower) = followed.begin(following.stop())?;
        let (run, shutdown_timeout) = (Some(feed), LINGER);
        let options = Options { run, hosts: vec![host], shutdown_timeout, ..Options::default() };
        let server = Server::new(Vec::new(), Arc::new(device.clone()), options)?;
        if !address.ip().is_loopback() {
            output.warn("whoever reaches this machine may watch the run: there are no passwords");
        }
        output.note(&format!("the run can be watched at http://{address}/run.html"));
        // What becomes of the page is no reason to end the run.
        let stop = serving.stop();
        let serve = move || drop(server.run(listener, &stop));
        let server = thread::Builder::new().spawn(serve).map_err(StartError::from)?;
        Ok(Serving { threads: vec![(following, follower), (serving, server)] })
    }
}

/// A server that goes on until it is dropped, and then tells those who watch how the run ended.
pub(crate) struct Serving {
    threads: Vec<(Asked, JoinHandle<()>)>,
}

/// Whether a thread was asked to stop.
#[derive(Default)]
struct Asked(Arc<AtomicBool>);

impl Asked {
    fn stop(&self) -> Stop {
        Stop::of(Arc::clone(&self.0))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for (asked, thread) in self.threads.drain(..) {
            asked.0.store(true, Ordering::Relaxed);
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_was_cut_off_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let error = read_from(&path, 0).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(read_from(&path, 0).unwrap().unwrap(), b"one\ntwo\nthr");
        assert_eq!(read_from(&path, 8).unwrap().unwrap(), b"thr");
        assert_eq!(read_from(&path, 11).unwrap(), None, "no line ends there");
        fs::write(&path, "one\n").unwrap();
        assert_eq!(read_from(&path, 8).unwrap(), None);
        assert_eq!(read_from(&path, 4).unwrap().unwrap(), b"");
    }
}
