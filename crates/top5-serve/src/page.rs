//! The files that are part of the program: the page and the description of the API. What is in the repository is what is
//! served; there is no step between.

use crate::door::{Answer, with_type};
use crate::failure::Failure;

/// The API as OpenAPI 3.1 describes it, for models of these names.
pub(crate) fn openapi<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    include_str!("../page/openapi.json").replace("\"MODEL\"", &quoted.join(", "))
}

const FILES: [(&str, &str, &str); 4] = [
    ("", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("page.js", "text/javascript; charset=utf-8", include_str!("../page/page.js")),
    ("texts.js", "text/javascript; charset=utf-8", include_str!("../page/texts.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("../page/style.css")),
];

/// A file of the page.
pub(crate) fn file(parts: &[&str]) -> Result<Answer, Failure> {
    let absent = || Failure::absent("there is nothing here: GET /openapi.json lists what there is");
    let &[name] = parts else { return Err(absent()) };
    let found = FILES.iter().find(|(known, ..)| *known == name);
    found.map(|(_, content, text)| with_type(content, *text)).ok_or_else(absent)
}
