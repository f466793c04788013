//! The server as clients see it, over sockets: answers that equal the library's, and refusals of what must be refused.

mod client;
mod explain;
mod panics;
mod reload;
mod results;
mod views;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use client::{Response, digit, pgm, post, server_of, start, start_with};
use serde_json::{Value, json};
use top5::graph::Stop;
use top5::{Classifier, Model, Options as Engine};
use top5_serve::Options;

const MODEL: &str = "lenet-digits";
const PREDICT: &str = "/v1/predict/lenet-digits";
const INFER: &str = "/v2/models/lenet-digits/infer";

/// What the library says of an image file.
fn expected(file: &[u8]) -> Vec<top5::Prediction> {
    let mut classifier =
        Classifier::new(Model::lenet_digits().unwrap(), 1, &Engine::default()).unwrap();
    let image = top5::data::decode(file, &top5::data::Limits::default()).unwrap();
    classifier.predict(&image, 5).unwrap()
}

#[track_caller]
fn assert_equal(said: &Value, expected: &[top5::Prediction]) {
    let said = said["predictions"].as_array().unwrap();
    assert_eq!(said.len(), expected.len());
    for (said, expected) in said.iter().zip(expected) {
        assert_eq!(said["label"], expected.label);
        assert_eq!(said["class"], expected.class);
        let probability = said["probability"].as_f64().unwrap();
        assert!(
            (probability - f64::from(expected.probability)).abs() < 1e-5,
            "{said} {expected:?}"
        );
    }
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, why: &str) {
    assert_eq!(response.status, status, "{response:?}");
    let said = response.json();
    let error = said["error"].as_str().unwrap();
    assert!(error.contains(why), "{error}");
}

#[test]
fn image_file_gets_the_answer_of_predict() {
    let server = start();
    for index in [0, 7, 30] {
        let file = pgm(&digit(index));
        let response = server.ask(&post(PREDICT, &file));
        assert_eq!(response.status, 200, "{response:?}");
        assert_equal(&response.json(), &expected(&file));
    }
    let two = server.ask(&post("/v1/predict/lenet-digits?k=2", &pgm(&digit(0)))).json();
    assert_eq!(two["predictions"].as_array().unwrap().len(), 2);
    let form = [
        b"--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"x\"\r\n\r\n",
        &pgm(&digit(7))[..],
        b"\r\n--b--\r\n",
    ]
    .concat();
    for path in [PREDICT, "/predictions/lenet-digits", "/v1/explain/lenet-digits"] {
        let headers = "Content-Type: multipart/form-data; boundary=b\r\n";
        let said = server.ask(&client::post_with(path, headers, &form));
        assert_eq!(said.status, 200, "{said:?}");
        if path == PREDICT {
            assert_equal(&said.json(), &expected(&pgm(&digit(7))));
        }
        let refused = server.ask(&client::post_with(path, headers, &pgm(&digit(7))));
        assert_refused(&refused, 400, "a file called image");
    }
    let torch = server.ask(&post("/predictions/lenet-digits", &pgm(&digit(0)))).json();
    assert_eq!(torch.as_object().unwrap().len(), 5);
}

#[test]
fn many_clients_at_once_get_the_answers_of_one() {
    let delay = Duration::from_millis(20);
    let server = start_with(Options { batch_delay: delay, ..Options::default() });
    std::thread::scope(|scope| {
        for client in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let file = pgm(&digit(client));
                let expected = expected(&file);
                for _ in 0..3 {
                    let response = server.ask(&post(PREDICT, &file));
                    assert_equal(&response.json(), &expected);
                }
            });
        }
    });
    let (images, batches) = (server.count("top5_images_total"), server.count("top5_batches_total"));
    assert_eq!(images, 48);
    assert!(batches < images && images <= 8 * batches, "{images} images in {batches} batches");
}

#[test]
fn protocol_answers_in_every_form() {
    let server = start();
    let root = server.get("/v2").json();
    assert_eq!(root["name"], "top5");
    let card = server.get("/v2/models/lenet-digits/versions/1").json();
    assert_eq!(card["inputs"][0]["shape"], json!([-1, 1, 28, 28]));
    assert_eq!(server.get("/v2/health/ready").json(), json!({ "live": true, "ready": true }));

    let values: Vec<f32> = (0..2 * 784).map(|i| (0.1 * i as f32).sin()).collect();
    let input =
        json!({ "name": "input", "datatype": "FP32", "shape": [2, 1, 28, 28], "data": values });
    let flat = server
        .ask(&post(INFER, json!({ "id": "a", "inputs": [input] }).to_string().as_bytes()))
        .json();
    assert_eq!(flat["id"], "a");
    assert_eq!(flat["outputs"][0]["shape"], json!([2, 10]));
    let nested: Vec<Vec<&[f32]>> =
        values.chunks(784).map(|image| image.chunks(28).collect()).collect();
    let input =
        json!({ "name": "input", "datatype": "FP32", "shape": [2, 1, 28, 28], "data": nested });
    let nested =
        server.ask(&post(INFER, json!({ "inputs": [input] }).to_string().as_bytes())).json();
    assert_eq!(nested["outputs"], flat["outputs"]);
    let input = json!({ "name": "input", "datatype": "FP32", "shape": [2, 1, 28, 28], "data": values, "parameters": null });
    let asked = json!({ "id": null, "parameters": null, "inputs": [input], "outputs": null });
    let nulls = server.ask(&post(INFER, asked.to_string().as_bytes())).json();
    assert_eq!((&nulls["outputs"], &nulls["id"]), (&flat["outputs"], &Value::Null));

    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let text = json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": [2, 1, 28, 28],
        "parameters": { "binary_data_size": bytes.len() } }],
        "outputs": [{ "name": "logits", "parameters": { "binary_data": true } }] })
    .to_string();
    let header = format!("Inference-Header-Content-Length: {}\r\n", text.len());
    let binary =
        server.ask(&client::post_with(INFER, &header, &[text.as_bytes(), &bytes].concat()));
    let length: usize = binary.header("inference-header-content-length").unwrap().parse().unwrap();
    let (logits, _) = binary.body[length..].as_chunks::<4>();
    let logits: Vec<f32> = logits.iter().map(|value| f32::from_le_bytes(*value)).collect();
    assert_eq!(json!(logits), flat["outputs"][0]["data"]);

    let file = pgm(&digit(3));
    let raw = client::post_with(INFER, "Inference-Header-Content-Length: 0\r\n", &file);
    assert_eq!(server.ask(&raw).status, 200);
    let framed = [&(file.len() as u32).to_le_bytes()[..], &file].concat();
    let text = json!({ "inputs": [{ "name": "image", "datatype": "BYTES", "shape": [1],
        "parameters": { "binary_data_size": framed.len() } }],
        "outputs": [{ "name": "probabilities", "parameters": { "classification": 3 } }] })
    .to_string();
    let header = format!("Inference-Header-Content-Length: {}\r\n", text.len());
    let classes =
        server.ask(&client::post_with(INFER, &header, &[text.as_bytes(), &framed].concat()));
    let [first, ..] = &expected(&file)[..] else { unreachable!() };
    let top = format!("{:.6}:{}", first.probability, first.label);
    let said = classes.json();
    assert_eq!(said["outputs"][0]["shape"], json!([1, 3]), "{said}");
    assert_eq!(said["outputs"][0]["data"][0], top);
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let server = start();
    let input = |more: Value| {
        let mut input = json!({ "name": "input", "datatype": "FP32", "shape": [1, 1, 28, 28] });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "inputs": [input] }).to_string()
    };
    let nan = [f32::NAN.to_le_bytes(); 784].concat();
    let cases = [
        ("".to_owned(), "EOF"),
        ("{".to_owned(), "EOF"),
        ("{}".to_owned(), "inputs"),
        ("{\"inputs\": []}".to_owned(), "one of the inputs"),
        (format!("{{\"inputs\": {}", "[".repeat(100_000)), "request"),
        (input(json!({ "data": [1] })), "1 values, its shape 784"),
        (input(json!({ "data": "[".repeat(9) })), "values"),
        (input(json!({})), "either data"),
        (input(json!({ "shape": [1_u64 << 32, 1_u64 << 32], "data": [1] })), "too many"),
        (input(json!({ "shape": [-1, 1, 28, 28], "data": [1] })), "-1"),
        (input(json!({ "shape": [0, 1, 28, 28], "data": [] })), "0 images"),
        (input(json!({ "shape": [9, 1, 28, 28], "data": vec![0; 9 * 784] })), "9 images"),
        (input(json!({ "shape": [784], "data": vec![0; 784] })), "must have the shape"),
        (input(json!({ "datatype": "FP64", "data": [1] })), "FP64"),
        (input(json!({ "datatype": "BYTES", "shape": [1], "data": ["AA=="] })), "FP32"),
        (input(json!({ "name": "x", "shape": [1], "data": [1] })), "`input` and `image`"),
        (input(json!({ "parameters": { "binary_data_size": 1_u64 << 40 } })), "more than the body"),
        (input(json!({ "parameters": { "binary_data_size": "1" } })), "whole number"),
        (input(json!({ "parameters": { "x": [] } })), "a parameter must be"),
        (
            json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": [1, 1, 28, 28], "data": vec![0; 784] }],
                "outputs": [{ "name": "logits" }, { "name": "logits" }] })
            .to_string(),
            "wanted twice",
        ),
    ];
    for (body, why) in &cases {
        assert_refused(&server.ask(&post(INFER, body.as_bytes())), 400, why);
    }
    let text = input(json!({ "parameters": { "binary_data_size": nan.len() } }));
    let header = format!("Inference-Header-Content-Length: {}\r\n", text.len());
    let body = [text.as_bytes(), &nan].concat();
    assert_refused(&server.ask(&client::post_with(INFER, &header, &body)), 400, "no number");
    let header = "Inference-Header-Content-Length: 99999999999999999999\r\n";
    assert_refused(&server.ask(&client::post_with(INFER, header, &body)), 400, "not one length");
    let header = "Inference-Header-Content-Length: 9\r\n".repeat(2);
    assert_refused(&server.ask(&client::post_with(INFER, &header, &body)), 400, "not one length");

    let file = pgm(&digit(1));
    for length in [1, 8, 20, 40, file.len() - 20] {
        assert_refused(&server.ask(&post(PREDICT, &file[..length])), 400, "");
    }
    let bomb = b"P5 60000 60000 255\n".as_slice();
    assert_refused(&server.ask(&post(PREDICT, bomb)), 400, "pixels");
    assert_refused(&server.ask(&post(PREDICT, b"")), 400, "empty");
    assert_refused(&server.ask(&post("/v1/predict/lenet-digits?k=0", &file)), 400, "k must be");
    assert_equal(&server.ask(&post(PREDICT, &file)).json(), &expected(&file));
}

#[test]
fn doors_that_are_closed_say_so() {
    let server = start();
    for path in [
        "/%2e%2e/etc",
        "/..;/x",
        "/v1/predict",
        "/v1/models/none",
        "/v2/models/lenet-digits/versions/2",
    ] {
        assert_refused(&server.get(path), 404, "");
    }
    for (method, path, allow) in [
        ("DELETE", "/v1/models", "GET, HEAD"),
        ("PUT", PREDICT, "POST"),
        ("TRACE", "/", "GET, HEAD"),
        ("GET", PREDICT, "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ] {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let response = server.ask(request.as_bytes());
        assert_refused(&response, 405, "only");
        assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
    }
    let ask = |headers: &str| {
        server.ask(
            format!("POST /v2/repository/index HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n")
                .as_bytes(),
        )
    };
    assert_refused(&ask("Host: evil.example\r\n"), 421, "--allow-host");
    assert_refused(&ask(""), 400, "no host");
    let proxied = |host: &str| {
        server.ask(format!("GET http://{host}/ping HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    };
    assert_refused(&proxied("evil.example"), 421, "--allow-host");
    assert_refused(&proxied("localhost@evil.example"), 421, "--allow-host");
    assert_eq!(proxied("localhost:1").status, 200);
    for list in ["[]", " [null, {}, []]", "7"] {
        let refused = server.ask(&post(INFER, list.as_bytes()));
        assert_refused(&refused, 400, "expected a JSON object");
    }
    assert_refused(&ask("Host: localhost\r\nHost: localhost\r\n"), 400, "more than once");
    assert_refused(
        &ask("Host: localhost\r\nOrigin: http://evil.example\r\n"),
        403,
        "other origins",
    );
    assert_refused(&ask("Host: localhost\r\nOrigin: null\r\n"), 403, "other origins");
    assert_refused(&ask("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"), 403, "other origins");
    for coding in [
        "Content-Encoding: gzip",
        "Content-Encoding: identity, br",
        "Content-Encoding: identity\r\nContent-Encoding: gzip",
    ] {
        assert_refused(&ask(&format!("Host: localhost\r\n{coding}\r\n")), 415, "compressed");
    }
    let transfer = b"POST /v2/repository/index HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    assert_refused(&server.ask(transfer), 415, "compressed");
    assert_eq!(ask("Host: localhost\r\nContent-Encoding: Identity\r\n").status, 200);
    assert_eq!(ask("Host: localhost:1\r\nOrigin: http://localhost:1\r\n").status, 200);
    let load = server.ask(&post("/v2/repository/models/x/load", b""));
    assert_refused(&load, 400, "not from the network");
}

#[test]
fn settings_that_nobody_knows_are_refused() {
    let server = start();
    let image = pgm(&digit(7));
    for (path, why) in [
        ("predict/lenet-digits?top=3", "top: there is no such setting; there are k, seen, hide"),
        ("predict/lenet-digits?k=3&k=4", "k is there more than once"),
        ("predict/lenet-digits?seen=yes", "seen must be true or false"),
        ("explain/lenet-digits?metod=rise", "metod: there is no such setting; there are method,"),
        ("occlude/lenet-digits?k=1", "k: there is no such setting"),
        ("activations/lenet-digits?size=1", "size: there is no such setting"),
        ("activations/lenet-digits?row=1", "say which, map=NUMBER"),
        ("blocks/lenet-digits?layer=conv1", "layer: there is no such setting"),
    ] {
        assert_refused(&server.ask(&post(&format!("/v1/{path}"), &image)), 400, why);
    }
    // Other protocols' clients may say more than we know.
    assert_eq!(server.ask(&post("/predictions/lenet-digits?top=3", &image)).status, 200);
}

#[test]
fn headers_have_a_limit() {
    let server = start();
    for (length, status) in [(60_000, 200), (70_000, 431), (100_000, 431), (200_000, 431)] {
        let long = "x".repeat(length);
        let asked = format!("GET /ping HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n");
        assert_eq!(server.ask(asked.as_bytes()).status, status, "{length}");
    }
}

#[test]
fn bodies_have_a_limit() {
    let server = start_with(Options { body: 1000, ..Options::default() });
    assert_refused(&server.ask(&post(PREDICT, &[0; 1000])), 400, "");
    assert_refused(&server.ask(&post(PREDICT, &[0; 1001])), 413, "longer than 1000");
    assert_refused(&server.ask(&post(PREDICT, &[0; 3 << 20])), 413, "longer than 1000");
    let head =
        format!("POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked = format!("{head}{}0\r\n\r\n", chunk.repeat(3));
    assert_refused(&server.ask(chunked.as_bytes()), 413, "longer than 1000");
    let lying =
        format!("POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nabc");
    let mut stream = server.connect();
    stream.write_all(lying.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(server.get("/ping").status, 200);
}

#[test]
fn refusals_reach_clients_that_still_send() {
    let server = start();
    let long = vec![0; 8 << 20];
    assert_refused(&server.ask(&post("/v1/predict/absent", &long)), 404, "no model");
    assert_refused(&server.ask(&post("/ping", &long)), 405, "GET, HEAD");
    let evil = client::post_with(PREDICT, "Origin: http://evil.example\r\n", &long);
    assert_refused(&server.ask(&evil), 403, "other origins");
    let packed = client::post_with(PREDICT, "Content-Encoding: gzip\r\n", &long);
    assert_refused(&server.ask(&packed), 415, "compressed");
    // One that asks first is not told to send what nobody wants.
    let expect = "Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    let head = format!("POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\n{expect}");
    assert_refused(&server.ask(head.as_bytes()), 413, "longer than");
}

#[test]
fn limits_may_be_none() {
    let (time, most) = (Duration::MAX, usize::MAX);
    let server = start_with(Options {
        deadline: time,
        explain_deadline: time,
        patience: time,
        body: most,
        queue: most,
        connections: most,
        decoders: most,
        ..Options::default()
    });
    let file = pgm(&digit(0));
    assert_equal(&server.ask(&post(PREDICT, &file)).json(), &expected(&file));
    assert_eq!(server.ask(&post("/v1/explain/lenet-digits", &file)).status, 200);
    let server =
        start_with(Options { queue: 0, connections: 0, decoders: 0, ..Options::default() });
    assert_equal(&server.ask(&post(PREDICT, &file)).json(), &expected(&file));
}

#[test]
fn slow_clients_are_cut_off() {
    let patience = Duration::from_millis(300);
    let server = start_with(Options { patience, ..Options::default() });
    for begun in ["", "GET / HTTP/1.1\r\nHost: loc"] {
        let mut stream = server.connect();
        stream.write_all(begun.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // Closed by the server, or the read would last as long as the test may.
        stream.read_to_end(&mut rest).unwrap();
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
    let head =
        format!("POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\nab");
    assert_refused(&server.ask(head.as_bytes()), 408, "too slowly");
}

#[test]
fn full_queue_and_late_answers_are_503() {
    let delay = Duration::from_millis(400);
    let deadline = Duration::from_millis(100);
    let server = start_with(Options { deadline, batch_delay: delay, ..Options::default() });
    let late = server.ask(&post(PREDICT, &pgm(&digit(0))));
    assert_refused(&late, 503, "--deadline");
    assert_eq!(late.header("retry-after"), Some("1"));
    let reasons = ["deadline", "queue", "explanations"].map(|reason| {
        let name = format!("top5_rejected_total{{model=\"lenet-digits\",reason=\"{reason}\"}}");
        server.count(&name)
    });
    assert_eq!(reasons, [1, 0, 0]);
    assert_eq!(server.count("top5_model_info{model=\"lenet-digits\",network=\"lenet\"}"), 1);
    server.until(|server| server.count("top5_cancelled_total") == 1);
    assert_eq!(server.count("top5_images_total"), 0);

    // A request is late, too, where others keep the threads that read it.
    let server = start_with(Options { deadline, decoders: 1, ..Options::default() });
    let large = [&b"P4 5000 5000\n"[..], &[0; 625 * 5000]].concat();
    // Whose body is read first is up to the system.
    let late = (0..100).find_map(|_| {
        let others = [(); 3].map(|()| {
            let mut other = server.connect();
            other.write_all(&post(PREDICT, &large)).unwrap();
            other
        });
        let late = server.ask(&post(INFER, b"{}"));
        drop(others);
        (late.status == 503).then_some(late)
    });
    assert_refused(&late.expect("no request is late behind three large images"), 503, "--deadline");

    let delay = Duration::from_secs(2);
    let server =
        start_with(Options { max_batch: 64, queue: 64, batch_delay: delay, ..Options::default() });
    let images = |count: usize| {
        let (shape, data) = ([count, 1, 28, 28], vec![0; count * 784]);
        let input = json!({ "name": "input", "datatype": "FP32", "shape": shape, "data": data });
        post(INFER, json!({ "inputs": [input] }).to_string().as_bytes())
    };
    let mut first = server.connect();
    first.write_all(&images(60)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_refused(&server.ask(&images(5)), 503, "too many images");
    assert_eq!(Response::read(&mut first).status, 200);
    assert!(server.count("top5_rejected_total") >= 1);
}

#[test]
fn clients_that_left_cost_no_pass() {
    let batch_delay = Duration::from_secs(1);
    let server = start_with(Options { batch_delay, ..Options::default() });
    // One that leaves before its image is decoded is not counted: then it takes another round, after the batch of this one.
    server.until(|server| {
        for _ in 0..5 {
            let mut stream = server.connect();
            stream.write_all(&post(PREDICT, &pgm(&digit(0)))).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(2 * batch_delay);
        server.count("top5_cancelled_total") >= 5
    });
    assert_eq!(server.count("top5_images_total"), 0);
    assert_eq!(server.ask(&post(PREDICT, &pgm(&digit(0)))).status, 200);
}

#[test]
fn stop_lets_requests_finish() {
    let delay = Duration::from_millis(400);
    let server =
        start_with(Options { batch_delay: delay, drain_delay: delay, ..Options::default() });
    let mut stream = server.connect();
    stream.write_all(&post(PREDICT, &pgm(&digit(0)))).unwrap();
    server.stop.set();
    server.until(|server| server.get("/v2/health/ready").status == 503);
    assert_eq!(server.get("/v2/health/live").status, 200);
    assert_eq!(Response::read(&mut stream).status, 200);
    server.join();
}

#[test]
fn stop_answers_what_lies_in_the_system() {
    let (server, stop) = (server_of(Options::default()), Stop::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // More than are accepted at once.
    let asked = [(); 100].map(|()| {
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.write_all(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream
    });
    stop.set();
    server.run(listener, &stop).unwrap();
    for mut stream in asked {
        assert_eq!(Response::read(&mut stream).status, 503, "it drains");
    }
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let server = start_with(Options {
        connections: 4,
        patience: Duration::from_millis(300),
        ..Options::default()
    });
    let idle: Vec<_> = (0..12).map(|_| server.connect()).collect();
    assert_eq!(server.get("/ping").status, 200);
    drop(idle);
}

#[test]
fn page_and_api_carry_headers_that_keep_browsers_safe() {
    let server = start();
    for (path, content) in [
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/texts.js", "text/javascript"),
        ("/v1/zoo", "application/json"),
        ("/v1/samples/digit-0.png", "image/png"),
        ("/style.css", "text/css"),
        ("/openapi.json", "application/json"),
        ("/metrics", "application/openmetrics-text; version=1.0.0"),
        ("/v1/models", "application/json"),
        ("/v1/models/lenet-digits/structure.svg", "image/svg+xml"),
        ("/nothing", "application/json"),
    ] {
        let response = server.get(path);
        assert!(response.header("content-type").unwrap().starts_with(content), "{path}");
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
    let page = String::from_utf8(server.get("/").body).unwrap();
    assert!(
        !page.contains("<style") && !page.contains("://www") && !page.contains("onclick"),
        "{page}"
    );
    let api = server.get("/openapi.json").json();
    let parameters = &api["paths"]["/v1/predict/{model}"]["post"]["parameters"];
    assert_eq!(parameters[0]["schema"]["enum"], json!(["lenet-digits"]));
    for (path, operations) in api["paths"].as_object().unwrap() {
        let known =
            [("model", MODEL), ("version", "1"), ("network", "lenet"), ("sample", "digit-0.png")];
        let asked = known
            .iter()
            .fold(path.clone(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let status =
            match (path.contains("/run"), path.contains("/{result}"), operations.get("get")) {
                // There is none here.
                (true, ..) | (_, true, _) => 404,
                (.., Some(_)) => 200,
                (.., None) => 405,
            };
        assert_eq!(server.get(&asked).status, status, "{path}");
    }
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let before = text.lines().count();
    (0..50).for_each(|i| assert_eq!(server.get(&format!("/v1/models/m{i}")).status, 404));
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    assert!(text.ends_with("# EOF\n") && text.lines().count() == before, "{text}");
}

#[test]
fn texts_are_there_in_both_languages() {
    let texts = include_str!("../page/texts.js");
    let keys = |language: &str| -> Vec<&str> {
        let (_, rest) = texts.split_once(&format!("  {language}: {{\n")).unwrap();
        let (own, _) = rest.split_once("\n  },").unwrap();
        let keys = own.lines().filter_map(|line| line.trim().split_once(": "));
        keys.map(|(key, _)| key.trim_matches('"')).collect()
    };
    assert_eq!(keys("en"), keys("zh"));
    let server = start();
    let mut used = String::from_utf8(server.get("/").body).unwrap();
    let script = String::from_utf8(server.get("/page.js").body).unwrap();
    let imported = |text: &str| -> Vec<String> {
        let parts = text.split("\"./").skip(1).filter_map(|rest| rest.split_once('"'));
        parts.map(|(name, _)| name.to_owned()).filter(|name| name != "texts.js").collect()
    };
    for name in
        imported(&script).into_iter().chain(["maps.js", "results.js", "page.js"].map(str::to_owned))
    {
        let script = server.get(&format!("/{name}"));
        assert_eq!(script.status, 200, "{name}");
        let script = String::from_utf8(script.body).unwrap();
        for other in imported(&script) {
            assert_eq!(server.get(&format!("/{other}")).status, 200, "{other}");
        }
        used += &script;
    }
    for key in keys("en") {
        let stem = key.split_once('-').map_or(key, |(stem, _)| stem);
        let said = used.contains(&format!("\"{key}\"")) || used.contains(&format!("`{stem}-${{"));
        assert!(said, "{key} is never said");
    }
}

#[test]
fn head_is_answered_without_a_body() {
    let server = start();
    let head = b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(head).unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("\r\n\r\n"), "{all}");
}
