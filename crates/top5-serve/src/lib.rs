//! Models behind an HTTP door that holds: the Open Inference Protocol v2 (KServe's and Triton's) with its binary and
//! classification extensions, image files in, and a page for people.
//!
//! One thread waits for all connections (`connection.rs`) and answers what costs nothing; few others decode and prepare images;
//! each model has one worker (`worker.rs`), which runs what waits for it as one batch, and one for
//! all explains (`looking.rs`). What a stranger may take is limited
//! before it is taken: connections, headers, bodies and their sum, images per request and in the queue, pixels, time. Nothing is
//! written and no connection is opened, whatever a request says. `docs/serving.md` tells users.

#![forbid(unsafe_code)]

mod answer;
mod app;
mod blocks;
mod bundle;
mod connection;
mod door;
mod drawn;
mod explain;
mod export;
mod failure;
mod form;
mod infer;
mod looking;
mod metrics;
mod occlude;
mod page;
mod predict;
mod pressing;
mod query;
mod question;
mod reload;
mod request;
mod results;
mod routes;
mod run;
mod served;
mod squares;
mod start;
mod tensor;
mod upload;
mod walk;
mod worker;
mod zoo;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use top5::data::Limits;
use top5::graph::{Device, Stop};

pub use export::{ExportError, File};
pub use reload::{ReloadError, Reloader};
pub use results::{Pictures, Shown};
pub use run::Feed;
pub use start::StartError;

use app::App;
use served::Served;

/// The longest time that is waited for anything.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The most of anything that is counted.
const MOST: usize = 1 << 20;

/// What the server allows, and how it batches. A time longer than a year is one, and a number of more than 2^20 things that many.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of hosts that requests may be for, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Most images that run at once, and most of a request.
    pub max_batch: usize,
    /// How long a batch waits for more images; not at all by default.
    pub batch_delay: Duration,
    /// Most images of a model that are decoded, wait or run; the next one is refused with 503.
    pub queue: usize,
    /// How long a request may take once it has arrived.
    pub deadline: Duration,
    /// Whether images are explained: it takes a second copy of the weights.
    pub explain: bool,
    /// How long an explanation may wait and run.
    pub explain_deadline: Duration,
    /// Most images that are decoded at a time, each by a thread.
    pub decoders: usize,
    /// How long a client may leave the server waiting for headers, between requests, or for the next bytes of a body.
    pub patience: Duration,
    /// Most bytes of a request's body.
    pub body: usize,
    /// Most connections at a time; others wait until one is closed.
    pub connections: usize,
    /// What an image may claim.
    pub images: Limits,
    /// A training run that is shown, too.
    pub run: Option<Arc<Feed>>,
    /// Results of other commands that are shown, too, each of a name of its own.
    pub shown: Vec<Arc<Shown>>,
    /// How long the server still takes requests after it was asked to stop, while it says that it is not ready.
    pub drain_delay: Duration,
    /// How long requests may take then until they are cut off.
    pub shutdown_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            max_batch: 8,
            batch_delay: Duration::ZERO,
            queue: 128,
            deadline: Duration::from_secs(30),
            explain: true,
            explain_deadline: Duration::from_secs(120),
            decoders: std::thread::available_parallelism().map_or(1, usize::from),
            patience: Duration::from_secs(10),
            body: 10 << 20,
            connections: 1024,
            images: Limits::of_pixels(25_000_000),
            run: None,
            shown: Vec::new(),
            drain_delay: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Without what is more than there can be, so that every time and number can be added to.
    fn bounded(mut self) -> Self {
        let time = |time: &mut Duration| *time = (*time).min(LONGEST);
        time(&mut self.batch_delay);
        time(&mut self.deadline);
        time(&mut self.explain_deadline);
        time(&mut self.patience);
        time(&mut self.drain_delay);
        time(&mut self.shutdown_timeout);
        let count = |count: &mut usize| *count = (*count).clamp(1, MOST);
        count(&mut self.max_batch);
        count(&mut self.queue);
        count(&mut self.connections);
        count(&mut self.decoders);
        self
    }
}

/// Models with the workers that run them, ready to be asked.
pub struct Server {
    app: Arc<App>,
}

impl Server {
    /// Plans each of the models, which have different names of letters, digits, `.`, `_` and `-`, on the device that all of them
    /// share, and starts their workers. Fails where a plan needs more memory than the device may give, where a model's answer
    /// to an image of zeros is no number, or where the system starts no thread.
    pub fn new(
        models: Vec<(String, top5::Model)>,
        device: Arc<dyn Device>,
        options: Options,
    ) -> Result<Self, StartError> {
        let options = options.bounded();
        let served = models.into_iter().map(|(name, model)| {
            Served::start(name, model, &*device, &options, Arc::default()).map(Arc::new)
        });
        let served = served.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { app: Arc::new(App::new(served, device, options)?) })
    }

    /// What changes its models while it runs.
    pub fn reloader(&self) -> Reloader {
        Reloader::of(&self.app)
    }

    /// Answers on this socket until it is asked to stop, and returns when the last request is answered or its time is over.
    /// Fails where the system gives no thread or socket.
    pub fn run(self, listener: TcpListener, stop: &Stop) -> io::Result<()> {
        connection::run(self.app, listener, stop)
    }
}
