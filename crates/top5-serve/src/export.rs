//! The page as files: the same scripts in one, with answers computed beforehand, so that it opens from a folder. Browsers load no
//! modules and ask for no files there: each module becomes a function, and the answers are scripts, too.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use serde_json::Value;
use tokio::runtime::Builder;
use top5::zoo as registry;

use crate::Server;
use crate::app::App;
use crate::failure::Failure;
use crate::page;
use crate::query::Query;
use crate::request::Received;
use crate::results;
use crate::routes;
use crate::zoo;

/// Networks that lessons compare, beside those of the contest.
const COMPARED: [&str; 5] = ["resnet50", "resnet50_v1", "vgg16", "vgg19", "lenet"];

/// Why a page is not exported.
#[derive(Debug)]
pub enum ExportError {
    /// The system gives no thread.
    Io(io::Error),
    /// A question of the page has no answer.
    Answer {
        /// The question.
        path: String,
        /// Why.
        reason: String,
    },
    /// It was asked to stop.
    Stopped,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Answer { path, reason } => write!(f, "{path}: {reason}"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for ExportError {}

/// A file of an exported page: its name and its bytes.
pub type File = (String, Vec<u8>);

impl Server {
    /// The page as files, with answers to what it asks about the embedded images by these methods. `progress` gets how many
    /// answers there are and how many there will be, and says whether to go on.
    pub fn export(
        self,
        methods: &[String],
        progress: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Vec<File>, ExportError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(ExportError::Io)?;
        let app = &self.app;
        let samples = zoo::sample_files();
        let asked = questions(app, methods);
        let all = asked.gets.len() + asked.posts.len() * samples.len();
        let (mut answers, mut done) = (BTreeMap::new(), 0);
        let mut told = || {
            done += 1;
            if progress(done, all) { Ok(()) } else { Err(ExportError::Stopped) }
        };
        for path in asked.gets {
            let parts: Vec<&str> = path.split('/').collect();
            let answer = runtime.block_on(whole(async { routes::get(app, &parts) }));
            answers.insert(path.clone(), answer.map_err(|failure| wrong(&path, &failure))?);
            told()?;
        }
        let mut files = page::exported();
        let mut questions = BTreeMap::new();
        for (number, path) in asked.posts.into_iter().enumerate() {
            let mut part = BTreeMap::new();
            for (name, png) in &samples {
                let answer = runtime.block_on(whole(post(app, &path, png)));
                part.insert(name, answer.map_err(|failure| wrong(&path, &failure))?);
                told()?;
            }
            // Each question's answers are a file of their own: all together are too long to be read at once.
            let part = serde_json::json!(part);
            let script = format!("globalThis.TOP5.parts[{number}] = {part};\n");
            files.push((format!("answers-{number}.js"), script.into_bytes()));
            questions.insert(path, number);
        }
        let pictures = results::exported(app);
        let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
        let data = serde_json::json!({ "answers": answers, "questions": questions, "parts": [], "pictures": names });
        files.push(("data.js".to_owned(), format!("globalThis.TOP5 = {data};\n").into_bytes()));
        files.extend(samples.into_iter().map(|(name, png)| (format!("{name}.png"), png)));
        files.extend(pictures);
        Ok(files)
    }
}

/// What the page asks.
struct Questions {
    gets: Vec<String>,
    /// Of each image.
    posts: Vec<String>,
}

fn questions(app: &App, methods: &[String]) -> Questions {
    let mut gets: Vec<String> =
        ["v1/models", "v1/samples", "v1/zoo", "v1/results"].map(str::to_owned).into();
    gets.extend(app.options.shown.iter().map(|one| format!("v1/results/{}", one.name())));
    let contest = registry::CONTEST.iter().filter_map(|entry| entry.network);
    let networks =
        contest.chain(COMPARED).filter(|&name| registry::networks().any(|n| n.name == name));
    let networks: std::collections::BTreeSet<&str> = networks.collect();
    gets.extend(networks.into_iter().map(|name| format!("v1/zoo/{name}/layers")));
    let mut posts = Vec::new();
    for model in app.models().iter() {
        let name = &model.name;
        gets.extend(["classes", "layers", "blocks"].map(|what| format!("v1/models/{name}/{what}")));
        posts.push(format!("v1/predict/{name}?k=5"));
        if model.network.is_none() {
            continue;
        }
        posts.push(format!("v1/occlude/{name}"));
        posts.extend(methods.iter().map(|method| format!("v1/explain/{name}?method={method}")));
        let layers = model.graph.nodes().iter().filter(|node| !node.inputs.is_empty());
        posts.extend(layers.map(|node| format!("v1/activations/{name}?layer={}", node.name)));
        let joins = model.blocks.iter().map(|block| &model.graph.node(block.join).name);
        posts.extend(joins.map(|join| format!("v1/blocks/{name}?block={join}")));
    }
    Questions { gets, posts }
}

async fn post(app: &Arc<App>, path: &str, png: &[u8]) -> Result<crate::answer::Answer, Failure> {
    let (place, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = place.split('/').collect();
    let received = Received { headers: HeaderMap::new(), bytes: png.to_vec(), held: app.hold() };
    routes::post(app, &parts, &Query::read(Some(query))?, received).await
}

/// The document of an answer.
async fn whole(
    answer: impl Future<Output = Result<crate::answer::Answer, Failure>>,
) -> Result<Value, Failure> {
    let Ok(body) = answer.await?.into_body().collect().await;
    serde_json::from_slice(&body.to_bytes()).map_err(|_| Failure::internal())
}

fn wrong(path: &str, failure: &Failure) -> ExportError {
    ExportError::Answer { path: path.to_owned(), reason: failure.message.clone() }
}
