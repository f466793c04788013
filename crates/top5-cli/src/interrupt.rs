//! Signals. Work that is kept when it is cut off asks for them: the first Ctrl-C or SIGTERM then asks to stop, which takes no longer
//! than a step of the plan, and the second ends the program at once. Other commands have nothing to lose and end at the first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use top5::graph::Stop;

use crate::exit::Stop::Interrupted;

/// Whether a signal has asked to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    received: Arc<AtomicUsize>,
    asked: Arc<AtomicBool>,
}

impl Interrupt {
    /// From now on signals are noted here instead of ending the program.
    pub(crate) fn listen(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in this order: the shutdown must look at the flag before this signal sets it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&self.asked))?;
            flag::register_usize(signal, Arc::clone(&self.received), signal as usize)?;
            flag::register(signal, Arc::clone(&self.asked))?;
        }
        Ok(())
    }

    /// A flag that SIGHUP sets from now on, instead of ending the program; where there is no such signal, nothing sets it.
    pub(crate) fn hangup() -> io::Result<Arc<AtomicBool>> {
        let asked = Arc::<AtomicBool>::default();
        #[cfg(unix)]
        flag::register(signal_hook::consts::SIGHUP, Arc::clone(&asked))?;
        Ok(asked)
    }

    /// The flag that a signal sets.
    pub(crate) fn stop(&self) -> Stop {
        Stop::of(Arc::clone(&self.asked))
    }

    /// The error of work in a folder that a signal ended: what is `done` of `all` will be written.
    pub(crate) fn ended<T>(
        &self,
        result: &anyhow::Result<T>,
        [done, all]: [usize; 2],
    ) -> Option<anyhow::Error> {
        let signal = self.signal().filter(|_| result.is_err())?;
        let kept = if done > 0 { ", which are written" } else { "" };
        let message = format!("stopped after {done} of {all}{kept}");
        Some(Interrupted { signal, message }.into())
    }

    /// One that this signal has already reached.
    #[cfg(test)]
    pub(crate) fn by(signal: usize) -> Self {
        let interrupt = Self::default();
        interrupt.received.store(signal, Ordering::Relaxed);
        interrupt
    }

    /// The number of the signal that asked to stop.
    pub(crate) fn signal(&self) -> Option<u8> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as u8),
        }
    }
}

/// From now on a file that grows beyond what the process may write is an error of that write, and not the end of the program.
pub(crate) fn survive_long_files() {
    // Where it fails, the system's default stays.
    #[cfg(unix)]
    let _ = flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}
