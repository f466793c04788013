//! The paths that the server has. Everything else is 404, and another method 405.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::door::{Answer, with_type};
use crate::failure::Failure;
use crate::served::{App, Served};
use crate::{infer, metrics, page, predict, request, run};

/// The version that every model has: one file, one version.
pub(crate) const VERSION: &str = "1";
const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "classification"];
/// Classes per image unless told otherwise.
const TOP: usize = 5;

/// A JSON document.
pub(crate) fn document(value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).expect("values of ours have a form in JSON");
    with_type("application/json", text)
}

/// Answers what passed the door.
pub(crate) async fn answer(app: &Arc<App>, request: Request<Incoming>) -> Result<Answer, Failure> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let posts = *request.method() == Method::POST;
    if let Some(answer) = run::answer(app, &parts, request.headers()).filter(|_| !posts) {
        return Ok(answer);
    }
    match (posts, &parts[..]) {
        (true, ["v1", "predict", name] | ["predictions", name]) => {
            let model = app.model(name)?;
            let top = request::number(request.uri().query(), "k", TOP)?;
            let torch = parts[0] == "predictions";
            let received = request::receive(app, request).await?;
            let said = predict::classify(app, model, received, top).await?;
            Ok(document(&if torch { as_torchserve(&said) } else { said }))
        }
        (
            true,
            ["v2", "models", name, "infer"] | ["v2", "models", name, "versions", _, "infer"],
        ) => {
            let model = versioned(app, name, &parts)?;
            let received = request::receive(app, request).await?;
            infer::answer(app, model, received).await
        }
        (true, ["v2", "repository", "index"]) => {
            request::receive(app, request).await?;
            let entry = |model: &Arc<Served>| {
                let state = if model.is_alive() { "READY" } else { "UNAVAILABLE" };
                json!({ "name": model.name, "version": VERSION, "state": state, "reason": "" })
            };
            Ok(document(&app.models.iter().map(entry).collect::<Vec<Value>>()))
        }
        (true, ["v2", "repository", "models", _, "load" | "unload"]) => {
            Err(Failure::bad("models are loaded when the server starts, and not from the network"))
        }
        (false, ["v1", "run", ..]) => Err(run::absent()),
        (_, _) if posts && get(app, &parts).is_ok() => Err(Failure::method("GET, HEAD")),
        (false, _) if is_posted(app, &parts) => Err(Failure::method("POST")),
        (_, _) => get(app, &parts),
    }
}

/// Whether a path takes POST only.
fn is_posted(app: &App, parts: &[&str]) -> bool {
    match parts {
        ["v2", "repository", ..] => true,
        ["v1", "predict", name] | ["predictions", name] | ["v2", "models", name, "infer"] => {
            app.model(name).is_ok()
        }
        ["v2", "models", name, "versions", _, "infer"] => versioned(app, name, parts).is_ok(),
        _ => false,
    }
}

/// What is read and costs nothing.
fn get(app: &Arc<App>, parts: &[&str]) -> Result<Answer, Failure> {
    let ready = |ready: bool, value: Value| match ready {
        true => Ok(document(&value)),
        false => Err(Failure::busy("not ready")),
    };
    match parts {
        ["ping"] => ready(app.is_ready(), json!({ "status": "Healthy" })),
        ["metrics"] => {
            let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            Ok(with_type(content, metrics::text(app)))
        }
        ["openapi.json"] => {
            let names = app.models.iter().map(|model| model.name.as_str());
            Ok(with_type("application/json", page::openapi(names)))
        }
        ["v1", "models"] => {
            let cards: Vec<Value> = app.models.iter().map(|model| model.card()).collect();
            Ok(document(&json!({ "models": cards })))
        }
        ["v1", "models", name] => Ok(document(&app.model(name)?.card())),
        ["v1", "models", name, "structure.svg"] => {
            Ok(with_type("image/svg+xml", app.model(name)?.structure.clone()))
        }
        ["v2"] | ["v2", ""] => {
            let version = env!("CARGO_PKG_VERSION");
            Ok(document(&json!({ "name": "top5", "version": version, "extensions": EXTENSIONS })))
        }
        ["v2", "health", "live"] => Ok(document(&json!({ "live": true }))),
        ["v2", "health", "ready"] => ready(app.is_ready(), json!({ "live": true, "ready": true })),
        ["v2", "models", name, "ready"] | ["v2", "models", name, "versions", _, "ready"] => {
            let model = versioned(app, name, parts)?;
            ready(app.is_ready(), json!({ "name": model.name, "ready": true }))
        }
        ["v2", "models", name] | ["v2", "models", name, "versions", _] => {
            Ok(document(&infer::metadata(versioned(app, name, parts)?)))
        }
        _ => page::file(parts),
    }
}

/// The model of a path that may say which version it means.
fn versioned<'a>(app: &'a App, name: &str, parts: &[&str]) -> Result<&'a Arc<Served>, Failure> {
    let model = app.model(name)?;
    match parts {
        [_, _, _, "versions", version, ..] if *version != VERSION => {
            Err(Failure::absent(format!("the model has no version but {VERSION}")))
        }
        _ => Ok(model),
    }
}

/// Probabilities by class, as TorchServe's image classifiers answer.
fn as_torchserve(said: &Value) -> Value {
    let mut classes = Map::new();
    for prediction in said["predictions"].as_array().into_iter().flatten() {
        if let Some(class) = prediction["class"].as_str() {
            classes.insert(class.to_owned(), prediction["probability"].clone());
        }
    }
    Value::Object(classes)
}
