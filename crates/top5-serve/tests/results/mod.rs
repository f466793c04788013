//! Results of other commands beside the models: their list, documents and pictures, by name and nothing else.

use std::sync::Arc;

use serde_json::{Value, json};
use top5_serve::{Options, Pictures, Shown};

use crate::client::{post, server_of, start_with};

#[derive(Debug)]
struct One;

impl Pictures for One {
    fn picture(&self, name: &str) -> Option<Vec<u8>> {
        assert_ne!(name, "panic.png");
        (name == "0.png").then(|| b"\x89PNG".to_vec())
    }

    fn kept(&self) -> Vec<String> {
        vec!["0.png".to_owned(), "lost.png".to_owned()]
    }
}

fn options() -> Options {
    let shown = |name: &str, pictures| {
        let about = "lenet, digits".to_owned();
        let document = json!({ "images": 2, "of": name });
        Arc::new(Shown::new(name.to_owned(), "evaluation", about, &document, pictures).unwrap())
    };
    Options { shown: vec![shown("a", Some(Arc::new(One))), shown("b", None)], ..Options::default() }
}

#[test]
fn results_are_listed_and_given_by_name() {
    let server = start_with(options());
    let listed = server.get("/v1/results").json();
    let entry = |name, pictures| json!({ "name": name, "kind": "evaluation", "about": "lenet, digits", "pictures": pictures });
    assert_eq!(listed["results"], json!([entry("a", true), entry("b", false)]));
    assert_eq!(server.get("/v1/results/b").json(), json!({ "images": 2, "of": "b" }));
    let picture = server.get("/v1/results/a/0.png");
    assert_eq!(
        (picture.header("content-type"), &picture.body[..]),
        (Some("image/png"), &b"\x89PNG"[..])
    );
    for absent in ["c", "a/1.png", "b/0.png", "a/..%2f0.png", "a/0.png/", ""] {
        let refused = server.get(&format!("/v1/results/{absent}"));
        assert_eq!(refused.status, 404, "{absent}");
        assert!(refused.json()["error"].is_string(), "{absent}");
    }
    for _ in 0..20 {
        let panicked = server.get("/v1/results/a/panic.png");
        assert_eq!(
            (panicked.status, &panicked.json()["error"]),
            (500, &json!("the server made a mistake"))
        );
    }
    for known in ["/v1/results", "/v1/results/a", "/v1/results/a/0.png"] {
        let refused = server.ask(&post(known, b""));
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{known}");
    }
}

#[test]
fn exported_pages_take_results_and_their_pictures_along() {
    let files = server_of(options()).export(&[], &mut |_, _| true).unwrap();
    let file = |name: &str| files.iter().find(|(known, _)| known == name).map(|(_, bytes)| bytes);
    assert_eq!(file("a-0.png").unwrap(), b"\x89PNG");
    let data = String::from_utf8(file("data.js").unwrap().clone()).unwrap();
    let data = data.strip_prefix("globalThis.TOP5 = ").unwrap().strip_suffix(";\n").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["pictures"], json!(["a-0.png"]));
    assert_eq!(data["answers"]["v1/results/a"]["of"], "a");
    assert_eq!(data["answers"]["v1/results"]["results"].as_array().unwrap().len(), 2);
}
