//! Explanations over HTTP: all methods, progress line by line, and an end when nobody waits any more.

use std::io::Write;
use std::sync::Arc;

use crate::client::{Response, digit, pgm, post, post_with, start, start_with};
use serde_json::Value;
use top5::Model;
use top5::explain::method::Settings;
use top5::explain::{Explainer, Method, Target};
use top5::graph::{Device, Retain};
use top5_serve::Options;

const EXPLAIN: &str = "/v1/explain/lenet-digits";

fn explain(query: &str, index: usize) -> Vec<u8> {
    post(&format!("{EXPLAIN}?{query}"), &pgm(&digit(index)))
}

#[test]
fn every_method_answers_as_the_library_does() {
    let server = start();
    let model = Model::lenet_digits().unwrap().inference();
    let device = top5::device(&top5::Options::default()).unwrap();
    let network = device.network(&model.graph, model.weights, Retain::Tensors).unwrap();
    let mut explainer = Explainer::new(Arc::clone(&network), None, 4).unwrap();
    let mut input = vec![0.0; model.preprocess.size()];
    model.preprocess.apply(&digit(3), &mut input);
    let settings = Settings { masks: Some(50), samples: Some(5), ..Settings::default() };
    for name in Method::NAMES {
        let method = Method::usual(name, 28).unwrap().with(&settings);
        let own = match name {
            "rise" => "&masks=50",
            "smoothgrad" => "&samples=5",
            _ => "",
        };
        let query = format!("method={name}&class=4&against=9{own}");
        let response = server.ask(&explain(&query, 3));
        assert_eq!(response.status, 200, "{name}: {response:?}");
        let said = response.json();
        let target = Target { class: 4, against: Some(9) };
        let map = explainer.explain(&method, &input, target, &mut |_, _| ()).unwrap().map;
        let values = said["map"]["values"].as_array().unwrap();
        let most = map.values().iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert_eq!(values.len(), map.values().len());
        for (said, expected) in values.iter().zip(map.values()) {
            let difference = said.as_f64().unwrap() - f64::from(*expected);
            assert!(difference.abs() <= f64::from(most) * 1e-4, "{name}: {said} {expected}");
        }
        assert_eq!(said["method"]["name"], name);
        assert_eq!(said["warning"].is_string(), method.warning().is_some(), "{name}");
        assert_eq!(said["projection"].is_string(), method.warning().is_some(), "{name}");
        assert!(said["image"].as_str().unwrap().starts_with("data:image/png;base64,"));
        assert_eq!(said["layer"].is_string(), method.needs_layer(), "{name}");
    }
}

#[test]
fn new_weights_give_another_map() {
    let server = start();
    let said = server.ask(&explain("method=gradient&sanity=1", 3)).json();
    let spearman = said["sanity"]["spearman"].as_f64().unwrap();
    assert!(spearman < 0.9, "{spearman}");
    assert_eq!(said["sanity"]["map"]["values"].as_array().unwrap().len(), 784);
    // The network that answers has kept its own.
    let again = server.ask(&explain("method=gradient", 3)).json();
    assert_eq!(again["map"], said["map"]);
}

#[test]
fn progress_comes_line_by_line() {
    let server = start();
    let headers = "Accept: application/x-ndjson\r\nConnection: close\r\n";
    let ask = |query: &str| {
        let mut stream = server.connect();
        let path = format!("{EXPLAIN}?{query}");
        stream.write_all(&post_with(&path, headers, &pgm(&digit(5)))).unwrap();
        let response = Response::read_chunks(&mut stream);
        assert_eq!(response.status, 200);
        let text = String::from_utf8(response.body).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let lines = ask("method=occlusion");
    let (last, progress) = lines.split_last().unwrap();
    assert!(progress.len() > 1, "{lines:?}");
    let done: Vec<u64> = progress.iter().map(|line| line["done"].as_u64().unwrap()).collect();
    assert!(done.is_sorted());
    let whole = server.ask(&explain("method=occlusion", 5)).json();
    assert_eq!(*last, whole);
    let wrong = ask("method=grad-cam&layer=none");
    let error = wrong.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("there is no such layer"), "{error}");
}

#[test]
fn wrong_questions_are_told_what_is_wrong() {
    let server = start();
    for (query, why) in [
        ("method=magic", "expected one of gradient"),
        ("class=cat", "class: no such class"),
        ("class=10", "from 0 to 9"),
        ("against=-1", "against: no such class"),
        ("class=3&against=3", "another class"),
        ("layer=none", "no such layer"),
        ("layer=fc3", "more than one cell"),
        ("method=rise&masks=1001", "at most 1000"),
        ("method=occlusion&size=2&stride=1", "at most 400"),
        ("method=occlusion&size=29", "1 to 28 pixels"),
        ("method=smoothgrad&level=2", "level must be"),
        ("steps=0", "steps must be"),
        (
            "method=gradient&steps=4",
            "steps changes nothing here: a setting of integrated-gradients",
        ),
        ("method=occlusion&layer=relu1", "layer changes nothing here: a setting of grad-cam"),
    ] {
        let response = server.ask(&explain(query, 0));
        assert_eq!(response.status, 400, "{query}: {response:?}");
        let said = response.json();
        let error = said["error"].as_str().unwrap();
        assert!(error.contains(why), "{query}: {error}");
    }
    assert_eq!(server.ask(&post(EXPLAIN, b"")).status, 400);
    assert_eq!(server.ask(&post("/v1/explain/none", b"x")).status, 404);
    assert_eq!(server.get(EXPLAIN).status, 405);
    let server = start_with(Options { explain: false, ..Options::default() });
    let refused = server.ask(&explain("", 0));
    assert!(refused.json()["error"].as_str().unwrap().contains("--no-explain"));
}

#[test]
fn too_many_wait_their_turn_and_those_that_left_do_not_run() {
    let server = start();
    let long = explain("method=rise&masks=1000", 1);
    let mut streams: Vec<_> = (0..24).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&long).unwrap();
    }
    let statuses: Vec<u16> =
        streams.iter_mut().map(|stream| Response::read(stream).status).collect();
    assert!(statuses.iter().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&503), "{statuses:?}");
    let before = server.count("top5_explanations_total");
    let mut streams: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&long).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(30));
    drop(streams);
    server.until(|server| {
        let done = server.count("top5_explanations_total") - before;
        done + server.count("top5_cancelled_total") == 8
    });
    assert!(server.count("top5_cancelled_total") > 0);
    assert_eq!(server.ask(&explain("method=gradient", 1)).status, 200);
}

#[test]
fn late_explanations_are_503() {
    let deadline = std::time::Duration::from_millis(1);
    let server = start_with(Options { explain_deadline: deadline, ..Options::default() });
    let late = server.ask(&explain("method=rise&masks=1000", 1));
    assert_eq!(late.status, 503, "{late:?}");
    assert!(late.json()["error"].as_str().unwrap().contains("--explain-deadline"));
}

#[test]
fn layers_and_classes_are_listed() {
    let server = start();
    let said = server.get("/v1/models/lenet-digits/layers").json();
    let layers = said["layers"].as_array().unwrap();
    let usual = said["usual"].as_str().unwrap();
    let maps: Vec<&str> = layers
        .iter()
        .filter(|layer| layer["map"] == true)
        .map(|layer| layer["name"].as_str().unwrap())
        .collect();
    assert!(maps.contains(&usual) && maps.len() < layers.len(), "{said}");
    for layer in maps {
        assert_eq!(server.ask(&explain(&format!("layer={layer}"), 2)).status, 200, "{layer}");
    }
    let classes = server.get("/v1/models/lenet-digits/classes").json();
    assert_eq!(classes["classes"][9], "9");
}
