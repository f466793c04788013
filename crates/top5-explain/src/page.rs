//! A page that opens from a folder: pictures inside it, no scripts, no network, light and dark.

use std::fmt::Write as _;

use top5_draw::escape;

use crate::picture::{base64, data_uri};

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:72rem;padding:1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}caption{text-align:left;font-weight:600;padding:.25rem 0}
th,td{padding:.2rem .7rem;border-bottom:1px solid #767676;text-align:left}
figure{margin:0 0 1.5rem;max-width:100%}figcaption{max-width:60rem}img{max-width:100%;height:auto;image-rendering:pixelated}
.wide{overflow-x:auto}.row{display:flex;flex-wrap:wrap;gap:1rem}.warning{border-left:.3rem solid #b35806;padding-left:.8rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere}h1,h2,p,td,figcaption{overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{color:#eee;background:#111}img{background:#fff}}";

/// A page that is being written, at once or in pieces. All texts are escaped.
pub struct Page {
    text: String,
}

impl Page {
    /// A page with this title.
    pub fn new(title: &str) -> Self {
        let title = escape(title);
        let text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
             content=\"width=device-width,initial-scale=1\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             </head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        );
        Self { text }
    }

    /// A heading of the second level.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.text, "<h2>{}</h2>", escape(text));
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p>{}</p>", escape(text));
    }

    /// A paragraph that must not be passed over.
    pub fn warning(&mut self, text: &str) {
        let _ =
            writeln!(self.text, "<p class=\"warning\"><strong>Mind:</strong> {}</p>", escape(text));
    }

    /// Text as it was typed, a command for instance.
    pub fn code(&mut self, text: &str) {
        let _ = writeln!(self.text, "<pre><code>{}</code></pre>", escape(text));
    }

    /// A picture (a PNG file), what it shows in words for those who do not see it, and a caption.
    pub fn figure(&mut self, png: &[u8], alt: &str, caption: &str) {
        let _ = writeln!(
            self.text,
            "<figure><img src=\"{}\" alt=\"{}\"><figcaption>{}</figcaption></figure>",
            data_uri(png),
            escape(alt),
            escape(caption)
        );
    }

    /// A drawing (an SVG file), what it shows in words, and a caption.
    pub fn drawing(&mut self, svg: &str, alt: &str, caption: &str) {
        let _ = writeln!(
            self.text,
            "<figure><img src=\"data:image/svg+xml;base64,{}\" alt=\"{}\"><figcaption>{}</figcaption></figure>",
            base64(svg.as_bytes()),
            escape(alt),
            escape(caption)
        );
    }

    /// Begins a row of figures, which ends with [`Page::end_row`].
    pub fn begin_row(&mut self) {
        self.text.push_str("<div class=\"row\">\n");
    }

    /// Ends the row.
    pub fn end_row(&mut self) {
        self.text.push_str("</div>\n");
    }

    /// A table of many columns, which moves sideways where the window is narrow.
    pub fn wide_table(&mut self, caption: &str, head: &[&str], rows: &[Vec<String>]) {
        let _ = writeln!(
            self.text,
            "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"{}\">",
            escape(caption)
        );
        self.table(caption, head, rows);
        self.text.push_str("</div>\n");
    }

    /// A table.
    pub fn table(&mut self, caption: &str, head: &[&str], rows: &[Vec<String>]) {
        let _ = write!(self.text, "<table>\n<caption>{}</caption>\n<thead><tr>", escape(caption));
        for cell in head {
            let _ = write!(self.text, "<th scope=\"col\">{}</th>", escape(cell));
        }
        self.text.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.text.push_str("<tr>");
            for cell in row {
                let _ = write!(self.text, "<td>{}</td>", escape(cell));
            }
            self.text.push_str("</tr>\n");
        }
        self.text.push_str("</tbody>\n</table>\n");
    }

    /// The text since the last piece: pages with many pictures need not be in memory.
    pub fn piece(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// The finished page, or its last piece.
    pub fn finish(self) -> String {
        self.text + "</main>\n</body>\n</html>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_page() {
        let write = |between: &mut dyn FnMut(&mut Page)| {
            let mut page = Page::new("t");
            between(&mut page);
            page.figure(b"x", "a", "b");
            between(&mut page);
            page.finish()
        };
        let (whole, mut pieces) = (write(&mut |_| ()), String::new());
        let last = write(&mut |page| pieces += &page.piece());
        assert_eq!(pieces + &last, whole);
        assert!(!last.contains("base64"), "what was taken is kept");
    }

    #[test]
    fn what_others_wrote_stays_text() {
        let mut page = Page::new("<b>");
        page.paragraph("a\u{1}\u{202e}<script>alert(1)</script>");
        page.figure(b"x", "\" onload=\"", "c & d");
        page.table("t", &["<i>"], &[vec!["<u>".to_owned()]]);
        let text = page.finish();
        for wrong in ["<b>", "<script", "\" onload", "<i>", "<u>", "\u{1}", "\u{202e}"] {
            assert!(!text.contains(wrong), "{wrong}");
        }
        assert!(text.contains("alt=\"&quot; onload=&quot;\"") && text.contains("base64,eA=="));
        assert!(!text.contains("http"), "nothing is fetched");
    }
}
