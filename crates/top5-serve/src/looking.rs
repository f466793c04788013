//! The one worker that looks inside networks: explanations take as long as many predictions, so they have a queue of their own,
//! run one at a time in small batches, tell their progress, and end when their client leaves or their time is over.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use top5::explain::{ExplainError, Explainer, Pace};
use top5::graph::{EngineError, Network, Stop};

use crate::failure::Failure;
use crate::pressing::Pressing;
use crate::served::Served;

/// Most explanations that wait, run or are being sent.
const ROOM: usize = 8;
/// Images at once.
const BATCH: usize = 4;
/// The longest rest between passes while predictions come.
const REST: Duration = Duration::from_millis(2);
/// Events that wait for a client; further progress is not told until it has read them.
const EVENTS: usize = 16;

/// What looks: it gets the network and where to tell progress, and gives the JSON document of its answer.
type Task = Box<dyn FnOnce(&mut Explainer, Progress<'_>) -> Looked + Send>;
pub(crate) type Looked = Result<Vec<u8>, ExplainError>;
/// Gets how much is done, and of how much.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(usize, usize);

/// The document of an answer.
pub(crate) fn written(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("values of ours have a form in JSON")
}

/// What is told of a job.
enum Event {
    Progress(usize, usize),
    Done(Vec<u8>),
    Failed(Failure),
}

/// What the worker is told.
enum Order {
    Look(Box<Job>),
    /// No model is what it was.
    Forget,
}

struct Job {
    number: u64,
    model: Arc<Served>,
    layer: Option<String>,
    task: Task,
    until: Instant,
    left: Arc<AtomicBool>,
    events: mpsc::Sender<Event>,
}

/// The job that runs, and what ends it.
#[derive(Default)]
struct Running {
    job: Mutex<Option<u64>>,
    stop: Stop,
}

/// The door to the worker.
pub(crate) struct Looking {
    room: Arc<Semaphore>,
    numbers: AtomicU64,
    running: Arc<Running>,
    jobs: std::sync::mpsc::Sender<Order>,
}

/// A job's events. Dropping it ends the job.
pub(crate) struct Events {
    events: mpsc::Receiver<Event>,
    number: u64,
    left: Arc<AtomicBool>,
    running: Arc<Running>,
    /// Its place, and whatever else is held until the answer is sent.
    _held: Box<dyn Any + Send>,
}

impl Looking {
    /// Starts the worker.
    pub(crate) fn start(pressing: Arc<Pressing>) -> io::Result<Self> {
        let (jobs, waiting) = std::sync::mpsc::channel();
        let running = Arc::<Running>::default();
        let worker = Worker { running: Arc::clone(&running), pace: pace(pressing), ready: None };
        thread::Builder::new().spawn(move || worker.run(&waiting))?;
        let room = Arc::new(Semaphore::new(ROOM));
        Ok(Self { room, numbers: AtomicU64::new(0), running, jobs })
    }

    /// Frees what is kept of models that are served no more.
    pub(crate) fn forget(&self) {
        // A worker that is gone keeps nothing.
        let _ = self.jobs.send(Order::Forget);
    }

    /// A place in the queue, to be asked for before anything is decoded.
    pub(crate) fn admit(&self, model: &Served) -> Result<OwnedSemaphorePermit, Failure> {
        if model.network.is_none() {
            let message = "this server does not explain: it was started with --no-explain";
            return Err(Failure::bad(message));
        }
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            model.metrics.explaining.add(1);
            Failure::busy("too many explanations wait already")
        })
    }

    /// Queues a task on a model's network and the layer of methods that look at one.
    pub(crate) fn look(
        &self,
        model: &Arc<Served>,
        layer: Option<String>,
        until: Instant,
        held: impl Send + 'static,
        task: Task,
    ) -> Result<Events, Failure> {
        let (sender, events) = mpsc::channel(EVENTS);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let left = Arc::new(AtomicBool::new(false));
        let model = Arc::clone(model);
        let job =
            Job { number, model, layer, task, until, left: Arc::clone(&left), events: sender };
        self.jobs.send(Order::Look(Box::new(job))).map_err(|_| Failure::internal())?;
        let running = Arc::clone(&self.running);
        Ok(Events { events, number, left, running, _held: Box::new(held) })
    }
}

impl Events {
    /// The answer, whole.
    pub(crate) async fn last(mut self) -> Result<Vec<u8>, Failure> {
        while let Some(event) = self.events.recv().await {
            match event {
                Event::Progress(..) => {}
                Event::Done(document) => return Ok(document),
                Event::Failed(failure) => return Err(failure),
            }
        }
        Err(Failure::internal())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.left.store(true, Ordering::Relaxed);
        let running = self.running.job.lock().unwrap_or_else(PoisonError::into_inner);
        if *running == Some(self.number) {
            self.running.stop.set();
        }
    }
}

/// One JSON document a line: progress as it comes, and the answer or what went wrong.
impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let event = ready!(self.events.poll_recv(context));
        let line = event.map(|event| {
            let mut line = match event {
                Event::Progress(done, of) => json!({ "done": done, "of": of }).to_string().into(),
                Event::Done(document) => document,
                Event::Failed(failure) => failure.body(),
            };
            line.push(b'\n');
            Ok(Frame::data(line.into()))
        });
        Poll::Ready(line)
    }
}

/// While predictions come a pass has no more images than they, so that none waits much longer than it runs, and a rest before it as
/// long as the last one was, up to [`REST`]: the threads that bring predictions find a core at once.
fn pace(pressing: Arc<Pressing>) -> Pace {
    let resumed = Mutex::new(Instant::now());
    Arc::new(move || {
        let mut resumed = resumed.lock().unwrap_or_else(PoisonError::into_inner);
        let images = pressing.images(Instant::now());
        if images > 0 {
            thread::sleep(resumed.elapsed().min(REST));
        }
        *resumed = Instant::now();
        if images == 0 { BATCH } else { images }
    })
}

struct Worker {
    running: Arc<Running>,
    pace: Pace,
    /// The explainer that was used last, with its model's network and layer.
    ready: Option<(Arc<dyn Network>, Option<String>, Explainer)>,
}

impl Worker {
    fn run(mut self, waiting: &std::sync::mpsc::Receiver<Order>) {
        while let Ok(order) = waiting.recv() {
            let Order::Look(job) = order else {
                self.ready = None;
                continue;
            };
            let number = job.number;
            let begin = |number| {
                *self.running.job.lock().unwrap_or_else(PoisonError::into_inner) = number;
            };
            begin(Some(number));
            self.running.stop.clear();
            let (model, events) = (Arc::clone(&job.model), job.events.clone());
            let (left, late) = (Arc::clone(&job.left), job.until);
            let done = match left.load(Ordering::Relaxed) {
                true => Err(Failure::stopped()),
                false => {
                    catch_unwind(AssertUnwindSafe(|| self.answer(*job))).unwrap_or_else(|_| {
                        // Half of a pass may lie in its memory.
                        self.ready = None;
                        Err(Failure::internal())
                    })
                }
            };
            *self.running.job.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if left.load(Ordering::Relaxed) {
                model.metrics.cancelled.add(1);
                continue;
            }
            let late = Instant::now() > late;
            let event = match done {
                Ok(document) => Event::Done(document),
                Err(_) if late => {
                    model.metrics.late.add(1);
                    Event::Failed(Failure::late("--explain-deadline"))
                }
                Err(failure) => Event::Failed(failure),
            };
            model.metrics.explanations.add(1);
            // There is always a place for the last one.
            let _ = events.try_send(event);
        }
    }

    fn answer(&mut self, job: Job) -> Result<Vec<u8>, Failure> {
        let Job { model, layer, task, until, events, .. } = job;
        let stop = self.running.stop.clone();
        let explainer = self.explainer(&model, layer)?;
        let mut progress = |done: usize, of: usize| {
            if Instant::now() > until {
                stop.set();
            }
            if events.capacity() > 1 {
                let _ = events.try_send(Event::Progress(done, of));
            }
        };
        progress(0, 1);
        task(explainer, &mut progress).map_err(failure)
    }

    /// The explainer of a model and layer. Another one's memory is freed first.
    fn explainer(
        &mut self,
        model: &Served,
        layer: Option<String>,
    ) -> Result<&mut Explainer, Failure> {
        let network = model.network.clone().ok_or_else(Failure::internal)?;
        let fits = |ready: &(Arc<dyn Network>, Option<String>, Explainer)| {
            Arc::ptr_eq(&ready.0, &network) && ready.1 == layer
        };
        if !self.ready.as_ref().is_some_and(fits) {
            self.ready = None;
            let explainer = Explainer::new(Arc::clone(&network), layer.as_deref(), BATCH);
            let explainer = explainer.map_err(failure)?;
            let explainer =
                explainer.stopped_by(self.running.stop.clone()).paced_by(Arc::clone(&self.pace));
            self.ready = Some((network, layer, explainer));
        }
        self.ready.as_mut().map(|(.., explainer)| explainer).ok_or_else(Failure::internal)
    }
}

/// What a client is told: limits of this machine are no fault of the request.
fn failure(error: ExplainError) -> Failure {
    if error == ExplainError::Engine(EngineError::Stopped) {
        Failure::stopped()
    } else if matches!(error, ExplainError::Engine(EngineError::Memory { .. })) {
        Failure::busy(error.to_string())
    } else {
        Failure::bad(error.to_string())
    }
}
