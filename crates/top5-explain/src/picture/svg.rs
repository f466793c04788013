//! A picture as SVG: the pixels embedded, the scale and its numbers as text that can be searched and read aloud.

use top5_data::Image;

use super::colour::{Scale, number};
use super::png::{data_uri, encode};
use crate::error::ExplainError;
use top5_draw::escape;

/// A picture with its title, a line of notes below it and the bar of its scale, if it has one.
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
    let total =
        [(width + bar + 2 * MARGIN).max(360), height + (notes.len() + 2) * LINE + 2 * MARGIN];
    let uri = data_uri(&encode(image, &[("Title", title)])?);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" \
         font-family=\"system-ui, 'DejaVu Sans', Arial, sans-serif\" font-size=\"13\" fill=\"#1a1a1a\">\n\
         <title>{2}</title>\n<desc>{3}</desc>\n<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"{4}\" font-weight=\"600\">{2}</text>\n",
        total[0],
        total[1],
        escape(title),
        escape(&notes.join(" ")),
        MARGIN + 13
    );
    let top = MARGIN + LINE + 4;
    text += &format!(
        "<image x=\"{MARGIN}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" image-rendering=\"pixelated\" \
         href=\"{uri}\"/>\n"
    );
    if let Some(scale) = scale {
        text += &gradient(scale, [MARGIN + width + 14, top], height);
    }
    for (i, note) in notes.iter().enumerate() {
        let y = top + height + LINE * (i + 1);
        text +=
            &format!("<text x=\"{MARGIN}\" y=\"{y}\" fill=\"#595959\">{}</text>\n", escape(note));
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
}
