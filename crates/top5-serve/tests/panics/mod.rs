//! Panics while a model runs, which no request can make happen: brought about by an engine that panics when it is told to. Each
//! costs its request an answer of 500, and nobody else anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use top5::graph::{
    Device, EngineError, Forward, Graph, Network, NodeId, Retain, Session, SessionOptions, Tensor,
    Training, TrainingOptions, Weights,
};
use top5::{Model, Options as Engine};
use top5_serve::{Options, Server};

use crate::client::{Response, Running, digit, pgm, post};
use crate::{MODEL, PREDICT, assert_equal, assert_refused, expected};

/// What goes wrong.
#[derive(Default)]
struct Orders {
    /// Every pass panics.
    passes: AtomicBool,
    /// No session is made.
    sessions: AtomicBool,
}

/// The CPU engine, but for orders. A pass of an image whose values are all equal panics without any.
struct Faulty {
    inner: Arc<dyn Device>,
    orders: Arc<Orders>,
}

struct FaultyNetwork(Arc<dyn Network>, Arc<Orders>);

struct FaultySession(Box<dyn Session>, Arc<Orders>);

impl Device for Faulty {
    fn network(
        &self,
        graph: &Graph,
        weights: Weights,
        retain: Retain,
    ) -> Result<Arc<dyn Network>, EngineError> {
        let network = self.inner.network(graph, weights, retain)?;
        Ok(Arc::new(FaultyNetwork(network, Arc::clone(&self.orders))))
    }

    fn training(
        &self,
        graph: &Graph,
        weights: &Weights,
        options: &TrainingOptions,
    ) -> Result<Box<dyn Training>, EngineError> {
        self.inner.training(graph, weights, options)
    }
}

impl Network for FaultyNetwork {
    fn graph(&self) -> &Graph {
        self.0.graph()
    }

    fn load(&self, weights: Weights) -> Result<(), EngineError> {
        self.0.load(weights)
    }

    fn session(
        &self,
        form: &Graph,
        options: &SessionOptions,
    ) -> Result<Box<dyn Session>, EngineError> {
        if self.1.sessions.load(Ordering::Relaxed) {
            return Err(EngineError::Memory { needed: 2, allowed: 1 });
        }
        let session = self.0.session(form, options)?;
        Ok(Box::new(FaultySession(session, Arc::clone(&self.1))))
    }
}

impl Session for FaultySession {
    fn graph(&self) -> &Graph {
        self.0.graph()
    }

    fn batch(&self) -> usize {
        self.0.batch()
    }

    fn forward(&mut self, images: &[f32]) -> Result<Forward, EngineError> {
        let sample: usize = self.graph().input().iter().product();
        // Zeros are what a server tries its models with.
        let even = |image: &[f32]| image[0] != 0.0 && image.iter().all(|&value| value == image[0]);
        let ordered = self.1.passes.load(Ordering::Relaxed);
        assert!(!ordered && !images.chunks_exact(sample).any(even), "a panic that a test ordered");
        self.0.forward(images)
    }

    fn backward(&mut self, seed: &Tensor) -> Result<Vec<Tensor>, EngineError> {
        self.0.backward(seed)
    }

    fn switches(&self, pool: NodeId) -> Result<Vec<u32>, EngineError> {
        self.0.switches(pool)
    }
}

/// A server of LeNet on an engine that follows these orders.
fn server(orders: &Arc<Orders>, options: Options) -> Server {
    let inner = top5::device(&Engine { threads: Some(1), ..Engine::default() }).unwrap();
    let device = Faulty { inner: Arc::new(inner), orders: Arc::clone(orders) };
    Server::new(named(), Arc::new(device), options).unwrap()
}

fn named() -> Vec<(String, Model)> {
    vec![(MODEL.to_owned(), Model::lenet_digits().unwrap())]
}

#[track_caller]
fn assert_panicked(response: &Response) {
    assert_refused(response, 500, "the server made a mistake");
}

/// A file whose pass panics.
fn white() -> Vec<u8> {
    let mut image = digit(0);
    image.pixels.fill(255);
    pgm(&image)
}

#[test]
fn passes_that_panic_are_500_each_and_the_server_goes_on() {
    const CLIENTS: u64 = 4;
    const EACH: u64 = 50;
    let orders = Arc::<Orders>::default();
    let running = Running::of(server(&orders, Options::default()));
    let file = pgm(&digit(0));
    orders.passes.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                (0..EACH).for_each(|_| assert_panicked(&running.ask(&post(PREDICT, &file))))
            });
        }
    });
    orders.passes.store(false, Ordering::Relaxed);
    assert_eq!(running.count("top5_requests_total{code=\"500\"}"), CLIENTS * EACH);
    assert_eq!(running.count("top5_images_total"), 0);
    assert_eq!(running.get("/v2/health/ready").status, 200);
    assert_equal(&running.ask(&post(PREDICT, &file)).json(), &expected(&file));
}

#[test]
fn image_whose_pass_panics_fails_alone() {
    let options = Options { batch_delay: Duration::from_millis(300), ..Options::default() };
    let running = Running::of(server(&Arc::default(), options));
    let answers = thread::scope(|scope| {
        let ask = |file: Vec<u8>| {
            let running = &running;
            scope.spawn(move || running.ask(&post(PREDICT, &file)))
        };
        let files = [pgm(&digit(1)), white(), pgm(&digit(2))];
        files.map(ask).map(|asked| asked.join().unwrap())
    });
    assert_panicked(&answers[1]);
    for (answer, file) in [(&answers[0], pgm(&digit(1))), (&answers[2], pgm(&digit(2)))] {
        assert_equal(&answer.json(), &expected(&file));
    }
}

#[test]
fn explanation_that_panics_is_500_and_the_next_one_is_answered() {
    let running = Running::of(server(&Arc::default(), Options::default()));
    let explain =
        |file: &[u8]| running.ask(&post("/v1/explain/lenet-digits?method=gradient", file));
    for _ in 0..2 {
        assert_panicked(&explain(&white()));
        assert_eq!(explain(&pgm(&digit(0))).status, 200);
    }
}

#[test]
fn model_that_cannot_be_made_again_is_not_ready_until_another_is_loaded() {
    let orders = Arc::<Orders>::default();
    let server = server(&orders, Options::default());
    let reloader = server.reloader();
    let running = Running::of(server);
    let file = pgm(&digit(0));
    orders.sessions.store(true, Ordering::Relaxed);
    assert_panicked(&running.ask(&post(PREDICT, &white())));
    running.until(|running| running.get("/v2/health/ready").status == 503);
    assert_eq!(running.get("/v2/health/live").status, 200);
    let refused = running.ask(&post(PREDICT, &file));
    assert_refused(&refused, 503, "does not run");
    let listed = running.ask(&post("/v2/repository/index", b"")).json();
    assert_eq!(listed[0]["state"], "UNAVAILABLE");
    orders.sessions.store(false, Ordering::Relaxed);
    reloader.reload(named()).unwrap();
    assert_eq!(running.get("/v2/health/ready").status, 200);
    assert_equal(&running.ask(&post(PREDICT, &file)).json(), &expected(&file));
}
