//! A result beside an earlier one on the same images: what `--against` tells.

use serde::{Deserialize, Serialize};
use top5::eval::Paired;

use crate::exit::Stop;
use crate::printable;

/// The comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Against {
    /// The earlier report, as it was named.
    report: String,
    /// The share of its images whose class came first, and of these now, in percent.
    before: f64,
    now: f64,
    /// On which images the results differ; the earlier one is the first.
    paired: Paired,
}

/// The share of images whose class came first, in percent, and which they are.
pub(crate) type First<'a> = (f64, &'a [bool]);

impl Against {
    /// Compares with the earlier report of this name, about the same images.
    pub(crate) fn new(report: &str, before: First<'_>, now: First<'_>) -> Self {
        let paired = Paired::new(before.1, now.1);
        Self { report: report.to_owned(), before: before.0, now: now.0, paired }
    }

    /// In words.
    pub(crate) fn sentence(&self) -> String {
        let Self { report, before, now, paired } = self;
        let report = printable::path(report);
        let said = paired.sentence("the earlier one", "this one");
        format!("against {report} ({before:.2} %, now {now:.2} %): {said}")
    }

    /// Fails where this result is significantly worse.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        match self.paired.differs() && self.now < self.before {
            true => Err(Stop::CheckFailed(self.sentence())),
            false => Ok(()),
        }
    }
}
