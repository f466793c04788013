//! A picture as SVG: the pixels embedded, the scale and its numbers as text that can be searched and read aloud.

use top5_data::Image;

use super::colour::{Scale, number};
use super::png::{data_uri, encode};
use crate::error::ExplainError;
use top5_draw::{escape, wrapped};

/// A picture below its title, with notes under it and the bar of its scale, if it has one. Texts take as many lines as they need.
pub fn svg(
    image: &Image,
    scale: Option<&Scale>,
    title: &str,
    notes: &[&str],
) -> Result<String, ExplainError> {
    const LINE: usize = 18;
    const MARGIN: usize = 12;
    let zoom = (448 / image.height.max(1)).max(1);
    let [height, width] = [image.height * zoom, image.width * zoom];
    let bar = if scale.is_some() { 110 } else { 0 };
    let across = (width + bar + 2 * MARGIN).max(360);
    let lines = |text: &str, size: f64| wrapped(text, size, (across - 2 * MARGIN) as f64);
    // Bold letters are wider.
    let head = lines(title, 14.5);
    let below: Vec<String> = notes.iter().flat_map(|note| lines(note, 13.0)).collect();
    let total = [across, height + (head.len() + below.len() + 1) * LINE + 2 * MARGIN];
    let uri = data_uri(&encode(image, &[("Title", title)])?);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" \
         font-family=\"system-ui, 'DejaVu Sans', Arial, sans-serif\" font-size=\"13\" fill=\"#1a1a1a\">\n\
         <title>{2}</title>\n<desc>{3}</desc>\n<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
        total[0],
        total[1],
        escape(title),
        escape(&notes.join(" "))
    );
    let write = |line: &str, y: usize, style: &str| {
        format!("<text x=\"{MARGIN}\" y=\"{y}\" {style}>{}</text>\n", escape(line))
    };
    for (i, line) in head.iter().enumerate() {
        text += &write(line, MARGIN + 13 + LINE * i, "font-weight=\"600\"");
    }
    let top = MARGIN + LINE * head.len() + 4;
    text += &format!(
        "<image x=\"{MARGIN}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" image-rendering=\"pixelated\" \
         href=\"{uri}\"/>\n"
    );
    if let Some(scale) = scale {
        text += &gradient(scale, [MARGIN + width + 14, top], height);
    }
    for (i, line) in below.iter().enumerate() {
        text += &write(line, top + height + LINE * (i + 1), "fill=\"#595959\"");
    }
    Ok(text + "</svg>\n")
}

fn gradient(scale: &Scale, [left, top]: [usize; 2], height: usize) -> String {
    const STEPS: usize = 16;
    let [low, _, high] = scale.ticks().map(f64::from);
    let stop = |i: usize| {
        let share = i as f64 / STEPS as f64;
        let [r, g, b] = scale.colour((high + (low - high) * share) as f32);
        format!("<stop offset=\"{share}\" stop-color=\"#{r:02x}{g:02x}{b:02x}\"/>")
    };
    let stops: String = (0..=STEPS).map(stop).collect();
    let mut text = format!(
        "<linearGradient id=\"scale\" x1=\"0\" y1=\"0\" x2=\"0\" y2=\"1\">{stops}</linearGradient>\n\
         <rect x=\"{left}\" y=\"{top}\" width=\"16\" height=\"{height}\" fill=\"url(#scale)\" stroke=\"#595959\"/>\n"
    );
    let places = [top + height, top + height / 2 + 4, top + 11];
    for (value, y) in scale.ticks().into_iter().zip(places) {
        text += &format!("<text x=\"{}\" y=\"{y}\">{}</text>\n", left + 22, number(value));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Ramp;

    #[test]
    fn titles_are_escaped_and_numbers_are_there() {
        let scale = Scale { low: 0.0, high: 2.5, ramp: Ramp::Sequential };
        let image = Image::filled(3, 4, 4, 9);
        let text = svg(&image, Some(&scale), "<script>", &["a & b"]).unwrap();
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"));
        assert!(text.contains("a &amp; b") && text.contains(">2.5<") && text.contains(">1.25<"));
        assert!(text.contains("data:image/png;base64,"));
    }

    #[test]
    fn long_texts_take_more_lines_and_none_leaves_the_picture() {
        let image = Image::filled(3, 4, 4, 9);
        let one = svg(&image, None, "grad-cam", &["a note"]).unwrap();
        assert_eq!(one.matches("<text ").count(), 2);
        let long = "a warning that must be read whole ".repeat(9);
        let text = svg(&image, None, &"W".repeat(200), &[&long]).unwrap();
        let words: Vec<&str> =
            text.split("<text ").skip(1).filter_map(|t| t.split(['>', '<']).nth(1)).collect();
        assert!(words.len() > 8 && words.iter().all(|line| line.len() < 90), "{words:?}");
        assert_eq!(words.concat().matches("whole").count(), 9);
        let number = |key: &str, text: &str| -> f64 {
            text.split(key).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
        };
        let lowest =
            text.split("<text ").skip(1).map(|line| number("y=\"", line)).fold(0.0, f64::max);
        assert!(lowest < number("height=\"", &text));
    }
}
