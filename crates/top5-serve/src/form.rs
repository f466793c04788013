//! Forms with files, `multipart/form-data` (RFC 7578), as browsers and `curl -F` send them: where their file lies.

use crate::failure::Failure;

/// Most parts of a form, and most bytes of a part's headers.
const PARTS: usize = 8;
const HEADERS: usize = 1 << 10;
/// What the part of an image is called: here and in TorchServe's examples.
const NAMES: [&str; 3] = ["image", "data", "file"];

/// Whether a body of this type is a form.
pub(crate) fn is_form(content: &str) -> bool {
    let kind = content.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("multipart/form-data")
}

/// Where the file called `image`, `data` or `file` lies in a form, the first if there are several. Goes over the body once.
pub(crate) fn file(content: &str, body: &[u8]) -> Result<(usize, usize), Failure> {
    let wrong = || Failure::bad("expected a form with a file called image");
    let boundary = parameter(content, "boundary").filter(|text| (1..=70).contains(&text.len()));
    let line = format!("\r\n--{}", boundary.ok_or_else(wrong)?).into_bytes();
    // The first boundary may have no line before it.
    let mut at = match body.starts_with(&line[2..]) {
        true => line.len() - 2,
        false => find(body, &line).ok_or_else(wrong)? + line.len(),
    };
    for _ in 0..PARTS {
        let padding = body[at..].iter().take_while(|&&byte| byte == b' ' || byte == b'\t').count();
        at += padding;
        let part = body[at..].strip_prefix(b"\r\n").ok_or_else(wrong)?;
        let start = at + 2;
        let headers = find(&part[..part.len().min(HEADERS)], b"\r\n\r\n").ok_or_else(wrong)?;
        let first = start + headers + 4;
        let length = find(&body[first..], &line).ok_or_else(wrong)?;
        let text = String::from_utf8_lossy(&part[..headers]);
        let named = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let wanted = name.trim().eq_ignore_ascii_case("content-disposition");
            wanted.then(|| parameter(value, "name")).flatten()
        });
        if named.is_some_and(|name| NAMES.contains(&name)) {
            return Ok((first, first + length));
        }
        at = first + length + line.len();
    }
    Err(wrong())
}

/// The value of a header's parameter, `; key=value` or `; key="value"`.
fn parameter<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let (_, mut rest) = header.split_once(';')?;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let (value, next) = quoted.split_once('"')?;
                (value, next.split_once(';').map(|(_, next)| next))
            }
            None => match after.split_once(';') {
                Some((value, next)) => (value.trim(), Some(next)),
                None => (after.trim(), None),
            },
        };
        if name.trim().eq_ignore_ascii_case(key) {
            return Some(value);
        }
        rest = next?;
    }
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
    fn forms_are_read_as_the_standards_allow_them() {
        let body = form(&[("data", "P5")]);
        let file_of = |content: &str, body: &[u8]| {
            let (start, end) = file(content, body).unwrap();
            String::from_utf8(body[start..end].to_vec()).unwrap()
        };
        for content in [
            "Multipart/Form-Data; Boundary=xyz",
            "multipart/form-data ; boundary = xyz ; charset=utf-8",
            "multipart/form-data; charset=\"a;boundary=b\"; boundary=\"xyz\"",
        ] {
            assert!(is_form(content), "{content}");
            assert_eq!(file_of(content, &body), "P5", "{content}");
        }
        let text = String::from_utf8(body).unwrap();
        for other in [
            format!("\r\n{text}"),
            format!("for clients of other kinds\r\n{text}"),
            text.replace("--xyz\r\n", "--xyz \t\r\n"),
            text.replace("\"data\"", "data"),
            text.replace("Content-Disposition: form-data", "X: y\r\ncontent-disposition:Form-Data"),
        ] {
            assert_eq!(file_of(CONTENT, other.as_bytes()), "P5", "{other}");
        }
        // A file's own name is not the part's.
        let other = text.replace("\"data\"; filename=\"<b>\"", "\"x\"; filename=\"image\"");
        let refused = file(CONTENT, other.as_bytes()).unwrap_err();
        assert!(refused.message.contains("called image"), "{other}");
    }

    #[test]
    fn what_is_no_form_is_refused() {
        let good = form(&[("image", "x")]);
        let other = form(&[("other", "x")]);
        let many = form(&[("a", ""); 9]);
        for (content, body) in [
            ("multipart/form-data; boundary", &good[..]),
            ("multipart/form-data; boundary=\"xyz", &good[..]),
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
