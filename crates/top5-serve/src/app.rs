//! What all connections share: the models, and what is taken of each limit.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::Semaphore;
use top5::graph::Device;

use crate::Options;
use crate::failure::Failure;
use crate::looking::Looking;
use crate::metrics::OfServer;
use crate::pressing::Pressing;
use crate::served::Served;
use crate::start::StartError;

/// Most bytes of all bodies together, in bodies of the largest size.
const BODIES: usize = 32;
/// Most values that are written sooner than another thread is woken up for them, as those of an image and a thousand classes.
const FEW: usize = 2048;

/// All that requests are answered from.
pub(crate) struct App {
    models: RwLock<Arc<[Arc<Served>]>>,
    pub(crate) options: Options,
    pub(crate) metrics: OfServer,
    /// Whether the server is about to stop.
    pub(crate) draining: AtomicBool,
    /// As many images are decoded at once.
    decoders: Arc<Semaphore>,
    /// What looks inside networks, and what makes others of new weights.
    pub(crate) looking: Looking,
    /// Predictions, to which it gives way.
    pub(crate) pressing: Arc<Pressing>,
    pub(crate) device: Arc<dyn Device>,
    /// Bytes of bodies that are held.
    bodies: AtomicUsize,
}

impl App {
    pub(crate) fn new(
        models: Vec<Arc<Served>>,
        device: Arc<dyn Device>,
        options: Options,
    ) -> Result<Self, StartError> {
        let pressing = Arc::<Pressing>::default();
        Ok(Self {
            models: RwLock::new(models.into()),
            decoders: Arc::new(Semaphore::new(options.decoders)),
            options,
            looking: Looking::start(Arc::clone(&pressing))?,
            pressing,
            device,
            metrics: OfServer::default(),
            draining: AtomicBool::new(false),
            bodies: AtomicUsize::new(0),
        })
    }

    /// The models that are served now.
    pub(crate) fn models(&self) -> Arc<[Arc<Served>]> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves others from now on; what remembers an old one forgets it.
    pub(crate) fn replace(&self, models: Arc<[Arc<Served>]>) {
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = models;
        self.looking.forget();
    }

    /// The model of this name.
    pub(crate) fn model(&self, name: &str) -> Result<Arc<Served>, Failure> {
        let found = self.models().iter().find(|model| model.name == name).cloned();
        found.ok_or_else(|| {
            Failure::absent("there is no model of this name: GET /v1/models lists them")
        })
    }

    /// Whether requests are welcome.
    pub(crate) fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed) && self.models().iter().all(|model| model.is_alive())
    }

    /// Does what takes long on a thread of its own, of which there are few.
    pub(crate) async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(&self.decoders).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        });
        done.await.unwrap_or_else(|_| Err(Failure::internal()))
    }

    /// Writes an answer of a model about so many values. Many take long, and therefore such a thread, as soon as one is free: it needs no turn.
    pub(crate) async fn written<T: Send + 'static>(
        &self,
        model: &Served,
        values: usize,
        write: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let metrics = Arc::clone(&model.metrics);
        let write = move || {
            let begun = Instant::now();
            let written = write();
            metrics.encode.add(begun.elapsed());
            written
        };
        if values <= FEW {
            return Ok(write());
        }
        tokio::task::spawn_blocking(write).await.map_err(|_| Failure::internal())
    }

    /// Takes bytes for a body, until what is returned is dropped.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { app: Arc::clone(self), bytes: 0 }
    }
}

/// Bytes of a body.
pub(crate) struct Held {
    app: Arc<App>,
    bytes: usize,
}

impl Held {
    /// Takes more, if there is room.
    pub(crate) fn more(&mut self, bytes: usize) -> Result<(), Failure> {
        let all = self.app.bodies.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        if all > self.app.options.body.saturating_mul(BODIES) {
            return Err(Failure::busy("too much is being sent at once"));
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.app.bodies.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
