//! What a run came to: its document, and its text with what to type next.

use serde::Serialize;
use top5::WEIGHTS_FILE;
use top5::graph::{counted, several};

use super::plan::Plan;
use crate::output::command_line;

/// The document of `--json`.
#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) run: String,
    pub(super) network: String,
    pub(super) data: String,
    pub(super) epochs: usize,
    pub(super) best_epoch: usize,
    /// Absent where there are no validation images.
    pub(super) validation_top1: Option<f64>,
    /// The last epoch in words.
    pub(super) sentence: String,
    /// On the test images; absent where the data have none.
    pub(super) test: Option<Test>,
    pub(super) weights_sha256: String,
    pub(super) seconds: f64,
    /// The most memory that the process had at once; absent where the system does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peak_memory_bytes: Option<u64>,
    /// The run as a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) report: Option<String>,
    /// What was said before the first step.
    pub(super) plan: Plan,
    /// Whether bad files were left out of the data.
    #[serde(skip)]
    pub(super) skipped: bool,
}

#[derive(Serialize)]
pub(super) struct Test {
    pub(super) images: usize,
    /// Images that were left out because they are bad.
    pub(super) skipped: usize,
    pub(super) top1: f64,
    pub(super) top5: f64,
    pub(super) loss: f64,
}

/// The result and what to type next.
pub(super) fn describe(summary: &Summary) -> String {
    let Summary { run, network, data, best_epoch, validation_top1, .. } = summary;
    let epochs = counted(summary.epochs, "epoch");
    let test = match &summary.test {
        Some(test) => format!(
            "top-1 {:.2} %, top-5 {:.2} % on {} test {} that it never saw",
            test.top1,
            test.top5,
            test.images,
            several(test.images, "image")
        ),
        None => "the data have no test images".to_owned(),
    };
    let mut eval = vec!["eval", run, "--per-class"];
    // What is evaluated without it.
    if summary.test.is_none() {
        let split = if validation_top1.is_some() { "validation" } else { "all" };
        eval.extend(["--split", split]);
    }
    if summary.skipped {
        eval.push("--skip-bad");
    }
    let page = summary.report.as_ref().map_or(String::new(), |page| format!(", its report {page}"));
    let per_class = command_line(&eval);
    let predict = command_line(&["predict", "FILE", "--model", run]);
    let chosen = match validation_top1 {
        Some(top1) => {
            format!("best of {epochs}: {best_epoch}, with {top1:.2} % on the validation images")
        }
        None => format!("the last of {epochs}: there are no validation images"),
    };
    format!(
        "{network} on {data}: {test}\n\
         {chosen}; {:.1} s\n\
         the run is in {run}, the model is {run}/{WEIGHTS_FILE}{page}\n\
         next:\n  {per_class}\n  {predict}\n",
        summary.seconds
    )
}
