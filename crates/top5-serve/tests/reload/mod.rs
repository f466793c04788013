//! Other models in the place of those that are served: no request is lost, and what does not work changes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use top5::Model;
use top5::graph::Tensor;
use top5_serve::{Options, ReloadError};

use crate::client::{Running, digit, pgm, post, server_of};

const MODEL: &str = "lenet-digits";
const PREDICT: &str = "/v1/predict/lenet-digits?k=1";

/// The embedded model with other names of classes.
fn renamed(prefix: &str) -> Model {
    let mut model = Model::lenet_digits().unwrap();
    model.classes = model.classes.iter().map(|class| format!("{prefix}{class}")).collect();
    model
}

fn named(name: &str, model: Model) -> Vec<(String, Model)> {
    vec![(name.to_owned(), model)]
}

#[test]
fn models_change_while_clients_ask() {
    let server = server_of(Options::default());
    let reloader = server.reloader();
    let running = Running::of(server);
    let (file, over) = (pgm(&digit(0)), AtomicBool::new(false));
    let class = || {
        let answer = running.ask(&post(PREDICT, &file));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["predictions"][0]["class"].as_str().unwrap().to_owned()
    };
    let explain = || {
        let answer = running.ask(&post("/v1/explain/lenet-digits?method=gradient", &file)).json();
        answer["class"]["class"].as_str().unwrap().to_owned()
    };
    let first = class();
    assert_eq!(explain(), first);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    assert!(class().ends_with(&first));
                }
            });
        }
        for round in ["a", "b", "c"] {
            reloader.reload(named(MODEL, renamed(round))).unwrap();
            assert_eq!(class(), format!("{round}{first}"));
            assert_eq!(running.get("/v2/health/ready").status, 200);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(explain(), format!("c{first}"));
    let classes = running.get("/v1/models/lenet-digits/classes").json();
    assert_eq!(classes["classes"][0], "c0");
    assert!(running.count("top5_images_total") > 4, "what was counted is forgotten");
}

#[test]
fn models_that_do_not_work_change_nothing() {
    let server = server_of(Options::default());
    let reloader = server.reloader();
    let running = Running::of(server);
    let wrong = reloader.reload(named("other", renamed("x")));
    assert!(matches!(wrong, Err(ReloadError::Names)), "{wrong:?}");
    assert!(matches!(reloader.reload(Vec::new()), Err(ReloadError::Names)));
    let mut damaged = renamed("x");
    let nan = |(name, tensor): (&str, &Tensor)| {
        let values = vec![f32::NAN; tensor.data().len()];
        (name.to_owned(), Tensor::new(tensor.shape().to_vec(), values).unwrap())
    };
    for (name, tensor) in damaged.weights.iter().map(nan).collect::<Vec<_>>() {
        damaged.weights.insert(name, tensor);
    }
    let wrong = reloader.reload(named(MODEL, damaged));
    assert!(matches!(wrong, Err(ReloadError::Engine(..))), "{wrong:?}");
    let why = wrong.unwrap_err().to_string();
    assert!(why.starts_with(MODEL) && why.contains("infinite or no number"), "{why}");
    let said = running.ask(&post(PREDICT, &pgm(&digit(0)))).json();
    assert!(!said["predictions"][0]["class"].as_str().unwrap().starts_with('x'), "{said}");
}
