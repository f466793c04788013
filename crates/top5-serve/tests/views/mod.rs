//! What the page's views ask for: hidden squares, figure 7, activations, the registry, samples, a form without scripts, and the page
//! as files.

use serde_json::Value;
use top5_serve::Options;

use crate::client::{
    Running, digit, pgm, post, post_with, server_of, server_with, start, start_with,
};

const MODEL: &str = "lenet-digits";

#[test]
fn hidden_squares_change_the_answer() {
    let server = start();
    let ask = |query: &str| {
        let path = format!("/v1/predict/{MODEL}?{query}");
        server.ask(&post(&path, &pgm(&digit(3))))
    };
    let whole = ask("seen=true").json();
    assert!(whole["seen"].as_str().unwrap().starts_with("data:image/png;base64,"));
    assert_eq!(ask("hide=0,0,1").json()["seen"], Value::Null);
    let hidden = ask("hide=0,0,28").json();
    let first = |said: &Value| said["predictions"][0]["probability"].as_f64().unwrap();
    assert!(first(&hidden) < first(&whole), "{hidden}");
    for wrong in ["hide=1", "hide=1,2,x", "hide=-1,0,1"] {
        assert_eq!(ask(wrong).status, 400, "{wrong}");
    }
}

#[test]
fn figure_seven_has_its_panels() {
    let server = start();
    let path = format!("/v1/occlude/{MODEL}");
    let said = server.ask(&post(&path, &pgm(&digit(3)))).json();
    let [height, width] = [&said["probability"]["height"], &said["probability"]["width"]]
        .map(|side| side.as_u64().unwrap() as usize);
    assert_eq!(said["labels"].as_array().unwrap().len(), height * width);
    assert_eq!(said["activation"]["values"].as_array().unwrap().len(), height * width);
    assert!(said["warning"].as_str().unwrap().contains("DeconvNet"));
    for (query, why) in [
        ("size=29", "size must be"),
        ("size=4&stride=5", "stride must be"),
        ("size=1&stride=1", "at most 400"),
        ("class=x", "class: no such class"),
    ] {
        let refused = server.ask(&post(&format!("{path}?{query}"), &pgm(&digit(3))));
        assert_eq!(refused.status, 400);
        assert!(refused.json()["error"].as_str().unwrap().contains(why), "{query}");
    }
}

/// Every value of a layer is the sum that the formula says.
#[test]
fn values_are_the_sums_of_their_products() {
    let server = start();
    let layers = server.get(&format!("/v1/models/{MODEL}/layers")).json();
    let mut sums = 0;
    for layer in layers["layers"].as_array().unwrap().iter().skip(1) {
        let name = layer["name"].as_str().unwrap();
        let ask = |query: &str| {
            let path = format!("/v1/activations/{MODEL}?layer={name}{query}");
            server.ask(&post(&path, &pgm(&digit(5)))).json()
        };
        let all = ask("");
        let [channels, height, width] =
            std::array::from_fn(|at| all["output"][at].as_u64().unwrap() as usize);
        assert_eq!(all["maps"].as_array().unwrap().len(), channels, "{name}");
        let (row, column) = (height / 2, width - 1);
        let map = channels - 1;
        let said = ask(&format!("&map={map}&row={row}&column={column}"));
        let value = said["unit"]["value"].as_f64().unwrap();
        assert_eq!(said["map"]["values"][row * width + column].as_f64().unwrap(), value, "{name}");
        let formula = &said["unit"]["formula"];
        if formula.is_null() {
            continue;
        }
        sums += 1;
        let total = formula["total"].as_f64().unwrap();
        let products =
            formula["terms"].as_array().unwrap().iter().map(|term| {
                (term["weight"].as_f64().unwrap() * term["input"].as_f64().unwrap()).abs()
            });
        let size = products.fold(1.0, |sum, product| sum + product);
        assert!((total - value).abs() < 1e-6 * size, "{name}: {total} {value}");
        assert!(ask(&format!("&map={channels}"))["error"].is_string(), "{name}");
    }
    assert!(sums >= 5, "{sums} layers are sums");
}

#[test]
fn branches_are_switched_off_and_on_again() {
    let network = top5::zoo::network("resnet20_cifar").unwrap();
    let model = top5::Model::untrained(network, 1).unwrap();
    let server = Running::of(server_with("r", model, Options::default()));
    let listed = server.get("/v1/models/r/blocks").json();
    let blocks = listed["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 9);
    let name = blocks[8]["name"].as_str().unwrap();
    assert_eq!(blocks[8]["branches"].as_array().unwrap().len(), 2);
    let ask = |query: &str| server.ask(&post(&format!("/v1/blocks/r?{query}"), &pgm(&digit(3))));
    let whole = ask("");
    let said = whole.json();
    assert_eq!(said["whole"], said["predictions"]);
    assert_eq!(said["block"], blocks[0]["name"]);
    assert!(said["branches"][1]["size"].as_f64().unwrap() > 0.0 && said["gates"].is_null());
    let off = ask(&format!("block={name}&off={name}:0")).json();
    assert_eq!(off["whole"], said["whole"]);
    assert_ne!(off["predictions"], off["whole"]);
    assert_eq!(off["block"].as_str(), Some(name));
    // On again, it is the same to the bit.
    assert_eq!(ask("").body, whole.body);
    for wrong in
        ["off=x:0", "off=x", &format!("off={name}:2"), &format!("off={name}:-1"), "block=x"]
    {
        let refused = ask(wrong);
        assert_eq!(refused.status, 400, "{wrong}");
        let why = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(why.contains("/v1/models/r/blocks"), "{wrong}: {why}");
    }
    let lenet = start();
    let listed = lenet.get(&format!("/v1/models/{MODEL}/blocks")).json();
    assert_eq!(listed["blocks"], serde_json::json!([]));
    assert_eq!(lenet.ask(&post(&format!("/v1/blocks/{MODEL}"), &pgm(&digit(3)))).status, 400);
}

#[test]
fn registry_and_samples_are_there() {
    let server = start();
    let zoo = server.get("/v1/zoo").json();
    assert_eq!(zoo["models"].as_array().unwrap().len(), {
        top5::zoo::networks().count() + top5::zoo::ensembles().count()
    });
    let mut models = zoo["models"].as_array().unwrap().iter();
    let resnet20 = models.find(|one| one["name"] == "resnet20_cifar").unwrap();
    assert!(resnet20.to_string().contains("8.27,"), "{resnet20}");
    assert_eq!(zoo["contest"].as_array().unwrap().len(), top5::zoo::CONTEST.len());
    let layers = server.get("/v1/zoo/resnet50/layers").json();
    let graph = top5::zoo::network("resnet50").unwrap().graph().unwrap();
    assert_eq!(layers["layers"].as_array().unwrap().len(), top5::graph::rows(&graph).len());
    assert_eq!(server.get("/v1/zoo/resnet51/layers").status, 404);
    let samples = server.get("/v1/samples").json();
    let samples = samples["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 10);
    let mut right = 0;
    for sample in samples {
        let png = server.get(&format!("/{}", sample["image"].as_str().unwrap()));
        assert_eq!(png.header("content-type"), Some("image/png"));
        let said = server.ask(&post(&format!("/v1/predict/{MODEL}"), &png.body)).json();
        right += usize::from(said["predictions"][0]["class"] == sample["label"]);
    }
    assert!(right >= 9, "{right} of 10");
    assert_eq!(server.get("/v1/samples/none.png").status, 404);
}

#[test]
fn forms_without_scripts_get_a_page() {
    let server = start();
    let send = |name: &str, file: &[u8]| {
        let head = format!(
            "--x\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"<b>\"\r\n\r\n"
        );
        let body = [head.as_bytes(), file, b"\r\n--x--\r\n"].concat();
        let content = "Content-Type: multipart/form-data; boundary=x\r\n";
        server.ask(&post_with("/upload", content, &body))
    };
    let page = send("image", &pgm(&digit(7)));
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let text = String::from_utf8(page.body).unwrap();
    assert_eq!(text.matches("<tr><th scope=\"row\">").count(), 5, "{text}");
    for refused in [send("other", b"x"), send("image", b"no image")] {
        assert_eq!(refused.status, 400);
        assert!(String::from_utf8(refused.body).unwrap().contains("<h1>"));
    }
    assert_eq!(server.get("/upload").status, 405);
}

#[test]
fn page_is_exported_with_the_answers_of_the_server() {
    let options = Options::default();
    let server = server_of(options.clone());
    let mut told = Vec::new();
    let files = server
        .export(&["gradient".to_owned()], &mut |done, all| {
            told.push((done, all));
            true
        })
        .unwrap();
    let (done, all) = *told.last().unwrap();
    assert_eq!(done, all);
    let text = |name: &str| {
        let (_, bytes) = files.iter().find(|(known, _)| known == name).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    let data = text("data.js");
    let data = data.strip_prefix("globalThis.TOP5 = ").unwrap().strip_suffix(";\n").unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let png = &files.iter().find(|(name, _)| name == "digit-4.png").unwrap().1;
    let running = start_with(options);
    for path in [
        format!("v1/explain/{MODEL}?method=gradient"),
        format!("v1/occlude/{MODEL}"),
        format!("v1/activations/{MODEL}?layer=conv1"),
    ] {
        let said = running.ask(&post(&format!("/{path}"), png)).json();
        let number = &data["questions"][&path];
        let part = text(&format!("answers-{number}.js"));
        let part = part.strip_prefix(&format!("globalThis.TOP5.parts[{number}] = ")).unwrap();
        let part: Value = serde_json::from_str(part.strip_suffix(";\n").unwrap()).unwrap();
        assert_eq!((&part["digit-4"], part.as_object().unwrap().len()), (&said, 10), "{path}");
    }
    assert_eq!(data["answers"]["v1/zoo"], running.get("/v1/zoo").json());
    let stopped = server_of(Options::default()).export(&[], &mut |_, _| false);
    assert!(matches!(stopped, Err(top5_serve::ExportError::Stopped)));
}
