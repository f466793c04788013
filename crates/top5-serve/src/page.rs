//! The files that are part of the program: the page and the description of the API. What is in the repository is what is
//! served; there is no step between.

use crate::answer::{Answer, with_type};
use crate::bundle::bundle;
use crate::failure::Failure;

/// The API as OpenAPI 3.1 describes it, for models of these names.
pub(crate) fn openapi<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
    include_str!("../page/openapi.json").replace("\"MODEL\"", &quoted.join(", "))
}

const INDEX: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");

/// A script of the page, by its name.
macro_rules! script {
    ($name:literal) => {
        ($name, "text/javascript; charset=utf-8", include_str!(concat!("../page/", $name)))
    };
}

/// Names, types and texts.
const FILES: [(&str, &str, &str); 21] = [
    ("", "text/html; charset=utf-8", INDEX),
    ("style.css", "text/css; charset=utf-8", STYLE),
    script!("page.js"),
    script!("core.js"),
    script!("texts.js"),
    script!("maps.js"),
    script!("drawing.js"),
    script!("classify.js"),
    script!("champions.js"),
    script!("explain.js"),
    script!("occlude.js"),
    script!("walk.js"),
    script!("blocks.js"),
    script!("results.js"),
    script!("evaluation.js"),
    script!("gallery.js"),
    script!("evolution.js"),
    script!("compare.js"),
    script!("kernel.js"),
    script!("zoo.js"),
    script!("history.js"),
];

/// A file of the page.
pub(crate) fn file(parts: &[&str]) -> Result<Answer, Failure> {
    let absent = || Failure::absent("there is nothing here: GET /openapi.json lists what there is");
    let &[name] = parts else { return Err(absent()) };
    let found = FILES.iter().find(|(known, ..)| *known == name);
    found.map(|(_, content, text)| with_type(content, *text)).ok_or_else(absent)
}

/// The page's own files of an exported page.
pub(crate) fn exported() -> Vec<(String, Vec<u8>)> {
    let scripts: Vec<(&str, &str)> = FILES
        .iter()
        .filter(|(name, ..)| name.ends_with(".js"))
        .map(|&(name, _, text)| (name, text))
        .collect();
    // A folder takes no uploads and has no API.
    let page = without(INDEX, "<noscript>", "</noscript>\n");
    let page = without(&page, "<span id=\"links\">", "</span>").replace(
        "<script type=\"module\" src=\"page.js\">",
        "<script src=\"data.js\" defer></script>\n<script src=\"page.js\" defer>",
    );
    vec![
        ("index.html".to_owned(), page.into_bytes()),
        ("style.css".to_owned(), STYLE.as_bytes().to_vec()),
        ("page.js".to_owned(), bundle(&scripts, "page.js").into_bytes()),
    ]
}

/// A text without what lies between two marks, and without them.
fn without(text: &str, first: &str, last: &str) -> String {
    let parts = text.split_once(first).and_then(|(before, rest)| {
        rest.split_once(last).map(|(_, after)| format!("{before}{after}"))
    });
    parts.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_pages_have_no_modules_no_uploads_and_no_links_to_the_api() {
        let files = exported();
        let text = |name: &str| {
            let (_, bytes) = files.iter().find(|(known, _)| known == name).unwrap();
            String::from_utf8(bytes.clone()).unwrap()
        };
        let page = text("index.html");
        for absent in ["module", "noscript", "upload", "openapi.json"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("data.js") && page.contains("data-text=\"local\""));
        let script = text("page.js");
        let code = || script.lines().filter(|line| !line.trim_start().starts_with(['/', '*']));
        assert!(code().all(|line| !line.starts_with("import ") && !line.starts_with("export ")));
        for name in ["core.js", "texts.js", "history.js", "page.js"] {
            assert_eq!(script.matches(&format!("modules[\"{name}\"] = ")).count(), 1, "{name}");
        }
    }
}
