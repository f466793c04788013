//! The page without scripts: a form posts an image file, and a page with its five most probable classes comes back.

use std::fmt::Write;
use std::sync::Arc;

use hyper::header;
use top5::draw::escape;

use crate::answer::{Answer, with_type};
use crate::app::App;
use crate::failure::Failure;
use crate::predict;
use crate::query::Query;
use crate::request::Received;

/// Most parts of a form, and most bytes of a part's headers.
const PARTS: usize = 8;
const HEADERS: usize = 1 << 10;

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
    let content = received.headers.get(header::CONTENT_TYPE);
    let content = content.and_then(|content| content.to_str().ok()).unwrap_or_default();
    let (start, end) = file(content, &received.bytes)?;
    let models = app.models();
    let model = models.first().ok_or_else(Failure::internal)?;
    let received = Received { bytes: received.bytes[start..end].to_vec(), ..received };
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

/// Where the file called `image` lies in a body of `multipart/form-data` (RFC 7578). Goes over the body once.
fn file(content: &str, body: &[u8]) -> Result<(usize, usize), Failure> {
    let wrong = || Failure::bad("expected a form with a file called image");
    let (kind, rest) = content.split_once(';').ok_or_else(wrong)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(wrong());
    }
    let boundary = rest.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
    let boundary =
        boundary.map(|text| text.trim_matches('"')).filter(|text| (1..=70).contains(&text.len()));
    let line = format!("\r\n--{}", boundary.ok_or_else(wrong)?).into_bytes();
    // The first boundary has no line before it.
    if !body.starts_with(&line[2..]) {
        return Err(wrong());
    }
    let mut at = line.len() - 2;
    for _ in 0..PARTS {
        let part = body.get(at..).and_then(|rest| rest.strip_prefix(b"\r\n")).ok_or_else(wrong)?;
        let start = at + 2;
        let headers = find(&part[..part.len().min(HEADERS)], b"\r\n\r\n").ok_or_else(wrong)?;
        let first = start + headers + 4;
        let length = find(&body[first..], &line).ok_or_else(wrong)?;
        let text = String::from_utf8_lossy(&part[..headers]).to_ascii_lowercase();
        if text.contains("form-data") && text.contains("name=\"image\"") {
            return Ok((first, first + length));
        }
        at = first + length + line.len();
    }
    Err(wrong())
}

fn find(within: &[u8], wanted: &[u8]) -> Option<usize> {
    within.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &str = "multipart/form-data; boundary=xyz";

    fn form(parts: &[(&str, &str)]) -> Vec<u8> {
        let part = |(name, value): &(&str, &str)| {
            format!(
                "--xyz\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"<b>\"\r\n\r\n{value}\r\n"
            )
        };
        let parts: String = parts.iter().map(part).collect();
        (parts + "--xyz--\r\n").into_bytes()
    }

    #[test]
    fn the_file_is_found_among_others() {
        let body = form(&[("other", "a\r\n--xy"), ("image", "P5\r\n\r\n--x\n"), ("image", "2")]);
        let (start, end) = file(CONTENT, &body).unwrap();
        assert_eq!(&body[start..end], b"P5\r\n\r\n--x\n");
        let quoted = "multipart/form-data; charset=utf-8; boundary=\"xyz\"";
        assert_eq!(file(quoted, &body).unwrap(), (start, end));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let good = form(&[("image", "x")]);
        let other = form(&[("other", "x")]);
        let many = form(&[("a", ""); 9]);
        for (content, body) in [
            ("text/plain", &good[..]),
            ("multipart/form-data", &good[..]),
            ("multipart/form-data; boundary=", &good[..]),
            ("multipart/form-data; boundary=abc", &good[..]),
            (CONTENT, &b""[..]),
            (CONTENT, &b"--xyz"[..]),
            (CONTENT, &b"--xyz\r\n"[..]),
            (CONTENT, &good[..good.len() - 9]),
            (CONTENT, &many[..]),
            (CONTENT, &other[..]),
        ] {
            let failure = file(content, body).unwrap_err();
            assert!(failure.message.contains("a file called image"), "{content}");
        }
    }
}
