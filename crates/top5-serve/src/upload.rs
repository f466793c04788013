//! The page without scripts: a form posts an image file, and a page with its five most probable classes comes back.

use std::fmt::Write;
use std::sync::Arc;

use top5::draw::escape;

use crate::answer::{Answer, with_type};
use crate::app::App;
use crate::failure::Failure;
use crate::predict;
use crate::query::Query;
use crate::request::Received;

/// Answers a posted form with a page.
pub(crate) async fn answer(app: &Arc<App>, received: Received) -> Result<Answer, Failure> {
    let said = match classify(app, received).await {
        Ok(said) => said,
        Err(failure) => {
            let mut answer = page(&format!("<p>{}</p>", escape(&failure.message)));
            *answer.status_mut() = failure.status;
            return Ok(answer);
        }
    };
    let mut rows = String::new();
    for one in said["predictions"].as_array().into_iter().flatten() {
        let class = escape(one["class"].as_str().unwrap_or_default());
        let percent = 100.0 * one["probability"].as_f64().unwrap_or(0.0);
        let _ = write!(rows, "<tr><th scope=\"row\">{class}</th><td>{percent:.2} %</td></tr>");
    }
    let model = escape(said["model"].as_str().unwrap_or_default());
    Ok(page(&format!(
        "<table><caption>Top 5 of {model}</caption><thead><tr><th scope=\"col\">Class</th><th scope=\"col\">Probability</th>\
         </tr></thead><tbody>{rows}</tbody></table>"
    )))
}

/// What the first model says of the form's file.
async fn classify(app: &Arc<App>, received: Received) -> Result<serde_json::Value, Failure> {
    let models = app.models();
    let model = models.first().ok_or_else(Failure::internal)?;
    predict::classify(app, model, received, &Query::read(None)?).await
}

fn page(content: &str) -> Answer {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>Top 5</title>\n<link rel=\"stylesheet\" href=\"style.css\">\n\
         </head>\n<body>\n<main>\n<h1>Top 5</h1>\n{content}\n<p><a href=\"./\">Another image</a></p>\n</main>\n</body>\n</html>\n"
    );
    with_type("text/html; charset=utf-8", text)
}
