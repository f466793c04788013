//! Counters, and their text in the form of OpenMetrics. Labels are names of models and codes that we chose: no request makes a
//! new series.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Time that was spent.
#[derive(Default)]
pub(crate) struct Spent(AtomicU64);

impl Spent {
    pub(crate) fn add(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// What is counted of a model.
#[derive(Default)]
pub(crate) struct OfModel {
    /// Images that ran, and the batches that they ran in.
    pub(crate) images: Counter,
    pub(crate) batches: Counter,
    /// Requests that found no room among the images, and among the explanations, and those whose time was over.
    pub(crate) full: Counter,
    pub(crate) explaining: Counter,
    pub(crate) late: Counter,
    /// Images and explanations that did not run, or not to their end, since their clients had left, or their time was over.
    pub(crate) cancelled: Counter,
    /// Explanations that were answered.
    pub(crate) explanations: Counter,
    pub(crate) decode: Spent,
    /// To the network's size, form and scale.
    pub(crate) resize: Spent,
    pub(crate) queue: Spent,
    pub(crate) forward: Spent,
    /// Of predictions, to what their answers say.
    pub(crate) encode: Spent,
}

/// The statuses that answers have.
const STATUSES: [u16; 14] = [200, 400, 403, 404, 405, 408, 411, 413, 415, 421, 422, 431, 500, 503];

/// What is counted of all requests.
#[derive(Default)]
pub(crate) struct OfServer {
    answers: [Counter; STATUSES.len()],
}

impl OfServer {
    /// Counts an answer.
    pub(crate) fn answered(&self, status: u16) {
        if let Some(at) = STATUSES.iter().position(|known| *known == status) {
            self.answers[at].add(1);
        }
    }
}

/// The text, whose type is `application/openmetrics-text`: of all requests, and of models, each with its name and its network's.
pub(crate) fn text(server: &OfServer, models: &[(&str, &str, &OfModel)]) -> String {
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text).expect("a text takes what is written");
        out.push('\n');
    };
    line(format_args!("# TYPE top5_requests counter\n# HELP top5_requests Answers by status."));
    for (status, count) in STATUSES.iter().zip(&server.answers) {
        line(format_args!("top5_requests_total{{code=\"{status}\"}} {}", count.value()));
    }
    line(format_args!("# TYPE top5_model info\n# HELP top5_model What is served."));
    for (model, network, _) in models {
        line(format_args!("top5_model_info{{model=\"{model}\",network=\"{network}\"}} 1"));
    }
    type Read = fn(&OfModel) -> u64;
    let counters: [(&str, &str, Read); 4] = [
        ("images", "Images that ran.", |of| of.images.value()),
        ("batches", "Batches that ran.", |of| of.batches.value()),
        ("cancelled", "Images and explanations whose clients had left.", |of| of.cancelled.value()),
        ("explanations", "Explanations that were answered.", |of| of.explanations.value()),
    ];
    for (name, help, value) in counters {
        line(format_args!("# TYPE top5_{name} counter\n# HELP top5_{name} {help}"));
        for (model, _, of) in models {
            line(format_args!("top5_{name}_total{{model=\"{model}\"}} {}", value(of)));
        }
    }
    line(format_args!("# TYPE top5_rejected counter"));
    line(format_args!("# HELP top5_rejected Requests that were answered with 503, by reason."));
    for (model, _, of) in models {
        for (reason, count) in
            [("queue", &of.full), ("explanations", &of.explaining), ("deadline", &of.late)]
        {
            let count = count.value();
            line(format_args!(
                "top5_rejected_total{{model=\"{model}\",reason=\"{reason}\"}} {count}"
            ));
        }
    }
    line(format_args!("# TYPE top5_stage_seconds counter\n# UNIT top5_stage_seconds seconds"));
    line(format_args!("# HELP top5_stage_seconds Time spent by stage."));
    for (model, _, of) in models {
        for (stage, spent) in [
            ("decode", &of.decode),
            ("resize", &of.resize),
            ("queue", &of.queue),
            ("forward", &of.forward),
            ("encode", &of.encode),
        ] {
            let seconds = spent.seconds();
            line(format_args!(
                "top5_stage_seconds_total{{model=\"{model}\",stage=\"{stage}\"}} {seconds}"
            ));
        }
    }
    line(format_args!("# EOF"));
    out
}
