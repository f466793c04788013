//! A writer of SVG: elements, escaping, and numbers whose text does not depend on the machine.

use std::fmt::Write;

/// Dark text on the light ground.
pub(crate) const INK: &str = "#1a1a1a";
/// Less important text and lines; still 4.5:1 against the ground.
pub(crate) const MUTED: &str = "#595959";
/// The ground.
pub(crate) const GROUND: &str = "#ffffff";

/// A document that is being written.
pub(crate) struct Svg {
    text: String,
    open: Vec<&'static str>,
}

impl Svg {
    /// A document of `width` x `height` pixels on a light ground.
    pub(crate) fn new(width: f64, height: f64, title: &str, description: &str) -> Self {
        let mut svg = Self { text: String::new(), open: Vec::new() };
        svg.element("svg")
            .set("xmlns", "http://www.w3.org/2000/svg")
            .set("width", width)
            .set("height", height)
            .set("viewBox", format!("0 0 {} {}", number(width), number(height)))
            .set("role", "img")
            .set("aria-label", title)
            .set("font-family", "system-ui, 'DejaVu Sans', Arial, sans-serif")
            .set("fill", INK)
            .open();
        svg.element("title").text(title);
        svg.element("desc").text(description);
        svg.element("rect").set("width", width).set("height", height).set("fill", GROUND).close();
        svg
    }

    /// Begins an element.
    pub(crate) fn element(&mut self, name: &'static str) -> Element<'_> {
        self.text.extend(std::iter::repeat_n(' ', self.open.len()));
        self.text += "<";
        self.text += name;
        Element { svg: self, name }
    }

    /// Closes the innermost open element.
    pub(crate) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.text.extend(std::iter::repeat_n(' ', self.open.len()));
            self.text += &format!("</{name}>\n");
        }
    }

    /// A line of text of `size` pixels; `anchor` is `start`, `middle` or `end`.
    pub(crate) fn label(&mut self, [x, y]: [f64; 2], size: f64, anchor: &str, text: &str) {
        self.coloured_label([x, y], size, anchor, INK, text);
    }

    /// The same in another colour than black.
    pub(crate) fn coloured_label(
        &mut self,
        [x, y]: [f64; 2],
        size: f64,
        anchor: &str,
        fill: &str,
        text: &str,
    ) {
        let element = self.element("text").set("x", x).set("y", y).set("font-size", size);
        let element = if anchor == "start" { element } else { element.set("text-anchor", anchor) };
        let element = if fill == INK { element } else { element.set("fill", fill) };
        element.text(text);
    }

    /// A straight line.
    pub(crate) fn line(&mut self, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2], stroke: &str) {
        let line = self.element("line").set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2);
        line.set("stroke", stroke).close();
    }

    /// The finished document.
    pub(crate) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }
}

/// An element whose attributes are being written.
pub(crate) struct Element<'a> {
    svg: &'a mut Svg,
    name: &'static str,
}

impl Element<'_> {
    /// An attribute.
    pub(crate) fn set(self, name: &str, value: impl Value) -> Self {
        self.svg.text += &format!(" {name}=\"{}\"", escape(&value.text()));
        self
    }

    /// Ends it with nothing inside.
    pub(crate) fn close(self) {
        self.svg.text += "/>\n";
    }

    /// Ends it with text inside.
    pub(crate) fn text(self, text: &str) {
        let Self { svg, name } = self;
        svg.text += &format!(">{}</{name}>\n", escape(text));
    }

    /// Leaves it open: what follows is inside, up to [`Svg::close`].
    pub(crate) fn open(self) {
        self.svg.text += ">\n";
        self.svg.open.push(self.name);
    }
}

/// What an attribute may hold.
pub(crate) trait Value {
    fn text(&self) -> String;
}

impl Value for f64 {
    fn text(&self) -> String {
        number(*self)
    }
}

impl Value for &str {
    fn text(&self) -> String {
        (*self).to_owned()
    }
}

impl Value for String {
    fn text(&self) -> String {
        self.clone()
    }
}

/// At most two decimals, without trailing zeros; 0 for what is not finite.
pub(crate) fn number(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A broken line through `points`, its corners rounded, as a path's `d`.
pub(crate) fn polyline(points: &[[f64; 2]]) -> String {
    const RADIUS: f64 = 5.0;
    let mut corners: Vec<[f64; 2]> = Vec::new();
    for &point in points {
        if corners.last() != Some(&point) {
            corners.push(point);
        }
    }
    let mut path = String::new();
    for (i, &[x, y]) in corners.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        if i == 0 || i + 1 == corners.len() {
            write_point(&mut path, command, [x, y]);
            continue;
        }
        let towards = |[px, py]: [f64; 2]| {
            let length = (px - x).hypot(py - y);
            let share = (RADIUS / length).min(0.5);
            [x + (px - x) * share, y + (py - y) * share]
        };
        write_point(&mut path, command, towards(corners[i - 1]));
        write_point(&mut path, 'Q', [x, y]);
        write_point(&mut path, ' ', towards(corners[i + 1]));
    }
    path
}

fn write_point(path: &mut String, command: char, [x, y]: [f64; 2]) {
    write!(path, "{command}{},{}", number(x), number(y)).expect("writing to a String cannot fail");
}

/// Text as it may stand in XML and HTML, in elements and in quoted attributes. What XML 1.0 cannot express, control characters,
/// and those that turn the direction of what follows become U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            '\n' | '\t' => escaped.push(c),
            '\0'..'\u{20}' | '\u{7f}'..='\u{9f}' | '\u{FFFE}' | '\u{FFFF}' => {
                escaped.push('\u{FFFD}');
            }
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{FFFD}'),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// The lines of a text at this size that are no wider than `width` pixels: broken at spaces, and within words that are too long
/// for a line.
pub fn wrapped(text: &str, size: f64, width: f64) -> Vec<String> {
    let fits = |line: &str| text_width(line, size) <= width;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if fits(&format!("{line} {word}")) => *line = format!("{line} {word}"),
            _ => lines.push(String::new()),
        }
        if lines.last().is_some_and(|line| !line.is_empty()) {
            continue;
        }
        for c in word.chars() {
            let line = lines.last_mut().expect("one was pushed above");
            if line.is_empty() || fits(&format!("{line}{c}")) {
                line.push(c);
            } else {
                lines.push(c.to_string());
            }
        }
    }
    lines
}

/// Width in pixels that `text` takes at `size`: in DejaVu Sans, the widest of the fonts that viewers may choose.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let width = |c: char| match c {
        ' ' | 'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | '·' | '/' | '\'' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '-' | '⌈' | '⌉' => 0.42,
        'm' | 'M' | 'W' | '%' => 0.98,
        'w' | '×' | '+' => 0.84,
        'A'..='Z' => 0.76,
        // Of Chinese, Japanese and Korean fonts.
        '\u{2e80}'.. => 1.0,
        _ => 0.64,
    };
    size * text.chars().map(width).sum::<f64>()
}

/// 1234567 as `1.2 M`, with a prefix for every power of a thousand.
pub(crate) fn magnitude(value: f64) -> String {
    let (scale, prefix) = match value {
        v if v >= 1e12 => (1e12, " T"),
        v if v >= 1e9 => (1e9, " G"),
        v if v >= 1e6 => (1e6, " M"),
        v if v >= 1e3 => (1e3, " k"),
        _ => (1.0, ""),
    };
    let scaled = value / scale;
    let text = if scaled < 10.0 { format!("{scaled:.1}") } else { format!("{scaled:.0}") };
    text.strip_suffix(".0").unwrap_or(&text).to_owned() + prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_finite() {
        let texts = [1.0, -0.001, 2.345, 1e6, f64::NAN, f64::INFINITY, -12.50].map(number);
        assert_eq!(texts, ["1", "0", "2.35", "1000000", "0", "0", "-12.5"]);
    }

    #[test]
    fn lines_keep_to_their_width_and_lose_nothing() {
        let text = format!("a word and {} or\ttwo {}", "W".repeat(50), "漢".repeat(9));
        for width in [1.0, 40.0, 100.0, 1000.0] {
            let lines = wrapped(&text, 13.0, width);
            let narrow =
                |line: &String| text_width(line, 13.0) <= width || line.chars().count() == 1;
            assert!(lines.iter().all(narrow), "{lines:?}");
            let letters = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(&text));
        }
        assert_eq!(wrapped("one two  three", 10.0, 45.0), ["one two", "three"]);
        assert_eq!(wrapped(" ", 10.0, 45.0), Vec::<String>::new());
    }

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(
            escape("a<b & \"c\" 'd' >\u{1}×"),
            "a&lt;b &amp; &quot;c&quot; &#39;d&#39; &gt;\u{FFFD}×"
        );
    }

    #[test]
    fn corners_are_rounded_and_repeated_points_dropped() {
        let path = polyline(&[[0.0, 0.0], [20.0, 0.0], [20.0, 0.0], [20.0, 20.0]]);
        assert_eq!(path, "M0,0L15,0Q20,0 20,5L20,20");
    }

    #[test]
    fn magnitudes_have_two_digits() {
        let texts = [0.0, 12.0, 61_706.0, 1_582_671_872.0, 999.9].map(magnitude);
        assert_eq!(texts, ["0", "12", "62 k", "1.6 G", "1000"]);
    }
}
