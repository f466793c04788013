//! SIGHUP: the models are read again, checked, tried, and served from then on, while requests go on. Where anything is wrong, the old
//! ones stay.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use top5::CpuDevice;
use top5::graph::Stop;
use top5_serve::Reloader;

use super::{named, opened};
use crate::interrupt::Interrupt;
use crate::memory::check_served;
use crate::output::Output;
use crate::printable;

/// How often it is looked whether the signal came.
const PULSE: Duration = Duration::from_millis(50);

/// What is read again.
pub(super) struct Again {
    /// As it was given.
    pub(super) given: Vec<String>,
    pub(super) offline: bool,
    /// What plans it, and what a plan is for.
    pub(super) device: Arc<CpuDevice>,
    pub(super) batch: usize,
    pub(super) explain: bool,
}

impl Again {
    /// Waits for the signal on a thread of its own, until it is asked to stop. Fails where the system starts none.
    pub(super) fn begin(self, reloader: Reloader, stop: Stop, output: Output) -> io::Result<()> {
        let asked = Interrupt::hangup()?;
        thread::Builder::new().spawn(move || {
            while !stop.is_set() {
                if asked.swap(false, Ordering::Relaxed) {
                    match self.read(&reloader, output) {
                        Ok(names) => output.note(&format!("read again: {names}")),
                        Err(error) => output.warn(&format!(
                            "the models were not read again, and the old ones stay: {}",
                            printable::name(&format!("{error:#}"))
                        )),
                    }
                }
                thread::sleep(PULSE);
            }
        })?;
        Ok(())
    }

    fn read(&self, reloader: &Reloader, output: Output) -> Result<String> {
        let models = opened(&named(&self.given, self.offline)?, output)?;
        check_served(&self.device, &models, self.batch, self.explain)?;
        let names: Vec<String> = models.iter().map(|(name, _)| name.clone()).collect();
        reloader.reload(models)?;
        Ok(printable::list(names.iter().map(String::as_str), 8))
    }
}
