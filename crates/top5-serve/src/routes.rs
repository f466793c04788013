//! The paths that the server has. Everything else is 404, and another method 405.

use std::sync::Arc;

use hyper::header::HeaderMap;
use hyper::{Method, Request};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::answer::{Answer, document, with_type};
use crate::app::App;
use crate::failure::Failure;
use crate::infer::VERSION;
use crate::query::Query;
use crate::question::Question;
use crate::request::{self, Coming, Received};
use crate::served::Served;
use crate::{
    blocks, explain, infer, metrics, occlude, page, predict, results, run, upload, walk, zoo,
};

const EXTENSIONS: [&str; 2] = ["binary_tensor_data", "classification"];

/// Answers what passed the door.
pub(crate) async fn answer(
    app: &Arc<App>,
    request: &mut Request<Coming>,
) -> Result<Answer, Failure> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let posted = posted(app, &parts);
    if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
        return Err(Failure::method(if posted.is_some() { "POST" } else { "GET, HEAD" }));
    }
    let watched = |headers: &HeaderMap| run::answer(app, &parts, headers);
    if *request.method() != Method::POST {
        if let Some(answer) = watched(request.headers()) {
            return Ok(answer);
        }
        if let Some([name, file]) = picture(&parts) {
            return results::picture(app, name, file).await;
        }
        return match posted {
            Some(Ok(_)) => Err(Failure::method("POST")),
            Some(Err(_)) | None if parts.starts_with(&["v1", "run"]) => Err(run::absent()),
            Some(Err(_)) | None => get(app, &parts),
        };
    }
    match posted {
        Some(asked) => {
            let model = asked?;
            let query = Query::read(request.uri().query())?;
            let received = request::receive(app, request).await?;
            let (deadline, option) = match parts[..] {
                ["v1", kind, _] if kind != "predict" => {
                    (app.options.explain_deadline, "--explain-deadline")
                }
                _ => (app.options.deadline, "--deadline"),
            };
            let answer = timeout(deadline, post(app, &parts, &query, received)).await;
            answer.map_err(|_| {
                if let Some(model) = model {
                    model.metrics.late.add(1);
                }
                Failure::late(option)
            })?
        }
        None if watched(request.headers()).is_some()
            || picture(&parts).is_some()
            || get(app, &parts).is_ok() =>
        {
            Err(Failure::method("GET, HEAD"))
        }
        None => get(app, &parts),
    }
}

/// The result and the name of its picture that a path asks for.
fn picture<'p>(parts: &[&'p str]) -> Option<[&'p str; 2]> {
    match *parts {
        ["v1", "results", name, file] => Some([name, file]),
        _ => None,
    }
}

/// Whether a path takes POST, and the model that it asks if it asks one.
fn posted(app: &App, parts: &[&str]) -> Option<Result<Option<Arc<Served>>, Failure>> {
    match parts {
        ["upload"] | ["v2", "repository", "index"] => Some(Ok(None)),
        ["v2", "repository", "models", _, "load" | "unload"] => Some(Ok(None)),
        ["v1", "predict" | "explain" | "occlude" | "activations" | "blocks", name]
        | ["predictions", name]
        | ["v2", "models", name, "infer"] => Some(app.model(name).map(Some)),
        ["v2", "models", name, "versions", _, "infer"] => {
            Some(versioned(app, name, parts).map(Some))
        }
        _ => None,
    }
}

/// Answers what was posted to a path that takes it.
pub(crate) async fn post(
    app: &Arc<App>,
    parts: &[&str],
    query: &Query,
    received: Received,
) -> Result<Answer, Failure> {
    let Some(asked) = posted(app, parts) else { return page::file(parts) };
    let Some(model) = &asked? else {
        return match parts {
            ["upload"] => upload::answer(app, received).await,
            ["v2", "repository", "index"] => Ok(document(&index(app))),
            _ => {
                let message = "models are loaded by the program (SIGHUP reads them again), and not from the network";
                Err(Failure::bad(message))
            }
        };
    };
    if let ["v1", kind, _] = parts {
        query.only(settings(kind))?;
    }
    let question = |received| Question { app, model, query, received };
    match parts {
        ["v1", "predict", _] => {
            Ok(document(&predict::classify(app, model, received, query).await?))
        }
        ["predictions", _] => {
            let said = predict::classify(app, model, received, query).await?;
            Ok(document(&as_torchserve(&said)))
        }
        ["v1", "explain", _] => explain::answer(question(received)).await,
        ["v1", "occlude", _] => occlude::answer(question(received)).await,
        ["v1", "activations", _] => walk::answer(question(received)).await,
        ["v1", "blocks", _] => blocks::answer(question(received)).await,
        _ => infer::answer(app, model, received).await,
    }
}

/// What the query of a question of this kind may say.
fn settings(kind: &str) -> &'static [&'static str] {
    match kind {
        "predict" => &["k", "seen", "hide"],
        "explain" => &[
            "method", "class", "against", "layer", "steps", "samples", "level", "masks", "size",
            "stride", "seed", "sanity",
        ],
        "occlude" => &["class", "layer", "size", "stride"],
        "activations" => &["layer", "map", "row", "column"],
        "blocks" => &["block", "off"],
        _ => &[],
    }
}

/// The models as the repository's index has them.
fn index(app: &App) -> Vec<Value> {
    let entry = |model: &Arc<Served>| {
        let state = if model.is_alive() { "READY" } else { "UNAVAILABLE" };
        json!({ "name": model.name, "version": VERSION, "state": state, "reason": "" })
    };
    app.models().iter().map(entry).collect()
}

/// What is read and costs nothing.
pub(crate) fn get(app: &Arc<App>, parts: &[&str]) -> Result<Answer, Failure> {
    let ready = |ready: bool, value: Value| match ready {
        true => Ok(document(&value)),
        false => Err(Failure::busy("not ready")),
    };
    match parts {
        ["ping"] => ready(app.is_ready(), json!({ "status": "Healthy" })),
        ["metrics"] => {
            let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let models = app.models();
            let counted: Vec<_> =
                models.iter().map(|m| (m.name.as_str(), m.graph.name(), &*m.metrics)).collect();
            Ok(with_type(content, metrics::text(&app.metrics, &counted)))
        }
        ["openapi.json"] => {
            let models = app.models();
            let names = models.iter().map(|model| model.name.as_str());
            Ok(with_type("application/json", page::openapi(names)))
        }
        ["v1", "models"] => {
            let cards: Vec<Value> = app.models().iter().map(|model| model.card()).collect();
            Ok(document(&json!({ "models": cards, "run": app.options.run.is_some() })))
        }
        ["v1", "models", name] => Ok(document(&app.model(name)?.card())),
        ["v1", "models", name, "classes"] => {
            let model = app.model(name)?;
            let classes = &model.classes;
            Ok(document(&json!({ "classes": &classes[..] })))
        }
        ["v1", "models", name, "layers"] => Ok(document(&layers(&*app.model(name)?))),
        ["v1", "models", name, "blocks"] => Ok(document(&blocks::listed(&*app.model(name)?))),
        ["v1", "models", name, "structure.svg"] => {
            Ok(with_type("image/svg+xml", app.model(name)?.structure.clone()))
        }
        ["v1", "zoo"] => Ok(document(zoo::registry()?)),
        ["v1", "zoo", name, "layers"] => Ok(document(&zoo::layers(name)?)),
        ["v1", "results"] => Ok(document(&results::index(app))),
        ["v1", "results", name] => results::document(app, name),
        ["v1", "samples"] => Ok(document(&zoo::samples())),
        ["v1", "samples", file] => Ok(with_type("image/png", zoo::sample(file)?)),
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
            let model = versioned(app, name, parts)?;
            Ok(document(&infer::metadata(&model)))
        }
        _ => page::file(parts),
    }
}

/// A model's layers in their order, and whether explanations can look at their maps.
fn layers(model: &Served) -> Value {
    let rows = zoo::rows(&model.graph).map(|mut row| {
        let name = row["name"].as_str().unwrap_or_default();
        row["map"] = top5::explain::layers::map_layer(&model.graph, Some(name)).is_ok().into();
        row
    });
    let usual = top5::explain::layers::default_layer(&model.graph);
    let usual = usual.map(|layer| &model.graph.node(layer).name);
    json!({ "layers": rows.collect::<Vec<_>>(), "usual": usual })
}

/// The model of a path that may say which version it means.
fn versioned(app: &App, name: &str, parts: &[&str]) -> Result<Arc<Served>, Failure> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_those_that_the_description_has() {
        let described: Value = serde_json::from_str(include_str!("../page/openapi.json")).unwrap();
        let mut kinds = 0;
        for (path, operations) in described["paths"].as_object().unwrap() {
            let parts: Vec<&str> = path.split('/').skip(1).collect();
            let (["v1", kind, _], Some(post)) = (&parts[..], operations.get("post")) else {
                continue;
            };
            let listed = post["parameters"].as_array().into_iter().flatten();
            let mut listed: Vec<&str> = listed
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            let mut known = settings(kind).to_vec();
            listed.sort_unstable();
            known.sort_unstable();
            assert_eq!(listed, known, "{path}");
            kinds += 1;
        }
        assert_eq!(kinds, 5);
    }
}
