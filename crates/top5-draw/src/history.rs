//! The history of the contest in one figure: error against multiply-accumulates, with the parameters as area and the year as
//! colour.

use std::collections::BTreeSet;

use crate::axis::{Axis, tick_text};
use crate::svg::{INK, MUTED, Svg, magnitude, text_width};

/// A network and its published error.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// When it was published.
    pub year: u16,
    /// Learned parameters.
    pub params: u64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
    /// Published top-5 error, in percent.
    pub top5_error: f64,
    /// How it was measured: crops, scales, set.
    pub protocol: String,
}

const SIZE: [f64; 2] = [1280.0, 880.0];
/// Ends of the chart.
const X: [f64; 2] = [70.0, 1240.0];
const Y: [f64; 2] = [780.0, 90.0];
const LABEL: f64 = 11.0;
/// Radius of a disc for a million parameters.
const RADIUS: f64 = 2.2;

/// Draws the entries whose MACs and error are positive and finite; the description says how many were left out.
pub fn history(entries: &[Entry]) -> String {
    let plotted = |e: &&Entry| e.macs > 0 && e.top5_error.is_finite() && e.top5_error >= 0.0;
    let mut shown: Vec<&Entry> = entries.iter().filter(plotted).collect();
    // Large discs first, so that none hides another.
    shown.sort_by(|a, b| (b.params, &a.name).cmp(&(a.params, &b.name)));
    let x = Axis::logarithmic(shown.iter().map(|entry| entry.macs as f64), X);
    let y = Axis::linear(shown.iter().map(|entry| entry.top5_error).chain([0.0]), Y);

    let title = "Top-5 error against multiply-accumulates";
    let mut svg = Svg::new(SIZE[0], SIZE[1], title, &describe(entries.len(), shown.len()));
    svg.label([X[0] - 40.0, 30.0], 18.0, "start", title);
    let note = "Area: parameters. Colour: year. Errors as published; their protocols differ (see each disc's tooltip).";
    svg.coloured_label([X[0] - 40.0, 50.0], LABEL, "start", MUTED, note);
    x.draw_horizontal(
        &mut svg,
        [Y[1], Y[0]],
        "multiply-accumulates per image (log scale)",
        magnitude,
    );
    y.draw_vertical(&mut svg, X, "top-5 error, %", tick_text);

    let years: Vec<u16> =
        shown.iter().map(|entry| entry.year).collect::<BTreeSet<_>>().into_iter().collect();
    let disc = |entry: &Entry| -> Option<Disc> {
        let center = [x.position(entry.macs as f64)?, y.position(entry.top5_error)?];
        Some(Disc { center, radius: radius(entry.params) })
    };
    let discs: Vec<(&Entry, Disc)> =
        shown.iter().filter_map(|entry| Some((*entry, disc(entry)?))).collect();
    for (entry, Disc { center: [cx, cy], radius }) in &discs {
        svg.element("g").open();
        svg.element("title").text(&tooltip(entry));
        let circle = svg.element("circle").set("cx", *cx).set("cy", *cy).set("r", *radius);
        let circle = circle.set("fill", colour(entry.year, &years)).set("fill-opacity", 0.75);
        circle.set("stroke", INK).set("stroke-width", 0.75).close();
        svg.close();
    }
    draw_names(&mut svg, &discs);
    draw_legend(&mut svg, &years);
    svg.finish()
}

fn describe(all: usize, shown: usize) -> String {
    let missing = all - shown;
    let left_out = match missing {
        0 => String::new(),
        _ => format!(" {missing} more have no error or no cost and are left out."),
    };
    format!(
        "{shown} networks as discs: horizontally the multiply-accumulates of one image on a logarithmic scale, vertically the \
         published top-5 error in percent, as area the number of parameters, as colour the year.{left_out}"
    )
}

fn tooltip(entry: &Entry) -> String {
    let Entry { name, year, params, macs, top5_error, protocol } = entry;
    let [params, macs] = [*params, *macs].map(|value| magnitude(value as f64));
    format!(
        "{name} ({year}): {top5_error} % top-5 error, {params} parameters, {macs} MACs; {protocol}"
    )
}

#[derive(Clone, Copy, Debug)]
struct Disc {
    center: [f64; 2],
    radius: f64,
}

fn radius(params: u64) -> f64 {
    (RADIUS * (params as f64 / 1e6).sqrt()).max(2.0)
}

/// From dark violet to yellow over the years (after viridis).
fn colour(year: u16, years: &[u16]) -> String {
    const STOPS: [[f64; 3]; 5] = [
        [68.0, 1.0, 84.0],
        [59.0, 82.0, 139.0],
        [33.0, 145.0, 140.0],
        [94.0, 201.0, 98.0],
        [253.0, 231.0, 37.0],
    ];
    let first = years.first().copied().unwrap_or(year);
    let span = f64::from(years.last().map_or(1, |last| last - first).max(1));
    let place = f64::from(year - first) / span * (STOPS.len() - 1) as f64;
    let stop = (place as usize).min(STOPS.len() - 2);
    let between = place - stop as f64;
    let channel =
        |c: usize| (STOPS[stop][c] + (STOPS[stop + 1][c] - STOPS[stop][c]) * between).round() as u8;
    format!("#{:02x}{:02x}{:02x}", channel(0), channel(1), channel(2))
}

/// A rectangle: left, top, right, bottom.
type Area = [f64; 4];

fn overlap([l, t, r, b]: Area, [left, top, right, bottom]: Area) -> f64 {
    (r.min(right) - l.max(left)).max(0.0) * (b.min(bottom) - t.max(top)).max(0.0)
}

/// Names each disc beside it where there is room: the first free place of several, or the one that hides least. A line leads
/// to the far ones.
fn draw_names(svg: &mut Svg, discs: &[(&Entry, Disc)]) {
    let covered = |Disc { center: [x, y], radius }: Disc| {
        // The square of the disc's area: its corners are free.
        let half = radius * 0.886;
        [x - half, y - half, x + half, y + half]
    };
    let mut taken: Vec<Area> = discs.iter().map(|(_, disc)| covered(*disc)).collect();
    // Small discs first: their names have to be near.
    for (entry, Disc { center: [x, y], radius }) in discs.iter().rev() {
        let width = text_width(&entry.name, LABEL);
        let mut best: Option<(f64, Area, f64)> = None;
        for (order, (distance, direction)) in [3.0, 14.0, 28.0, 44.0, 62.0]
            .into_iter()
            .flat_map(|d| (0..8).map(move |a| (d, a)))
            .enumerate()
        {
            let angle =
                f64::from([0, 4, 2, 6, 1, 7, 3, 5][direction]) * std::f64::consts::FRAC_PI_4;
            let (sin, cos) = angle.sin_cos();
            let reach = radius + distance;
            let middle = [x + cos * (reach + width / 2.0), y - sin * (reach + LABEL / 2.0)];
            let area = [
                middle[0] - width / 2.0,
                middle[1] - LABEL / 2.0 - 1.0,
                middle[0] + width / 2.0,
                middle[1] + LABEL / 2.0 + 1.0,
            ];
            let inside =
                area[0] > X[0] && area[2] < SIZE[0] - 4.0 && area[1] > Y[1] - 8.0 && area[3] < Y[0];
            let hidden: f64 = taken.iter().map(|other| overlap(area, *other)).sum();
            let cost = hidden + if inside { 0.0 } else { 1e4 } + order as f64 * 1e-3;
            if best.is_none_or(|(least, ..)| cost < least) {
                best = Some((cost, area, distance));
            }
        }
        let Some((_, area, distance)) = best else { continue };
        let middle = [(area[0] + area[2]) / 2.0, (area[1] + area[3]) / 2.0];
        if distance > 10.0 {
            let end = [x.clamp(area[0], area[2]), y.clamp(area[1], area[3])];
            let length = (end[0] - x).hypot(end[1] - y).max(1.0);
            let start = [x + (end[0] - x) / length * radius, y + (end[1] - y) / length * radius];
            svg.line(start, end, MUTED);
        }
        svg.label([middle[0], middle[1] + LABEL * 0.36], LABEL, "middle", &entry.name);
        taken.push(area);
    }
}

fn draw_legend(svg: &mut Svg, years: &[u16]) {
    let y = SIZE[1] - 24.0;
    let mut x = X[0];
    for &year in years {
        let circle = svg.element("circle").set("cx", x).set("cy", y).set("r", 6.0);
        circle
            .set("fill", colour(year, years))
            .set("fill-opacity", 0.75)
            .set("stroke", INK)
            .close();
        svg.label([x + 10.0, y + 4.0], LABEL, "start", &year.to_string());
        x += 56.0;
    }
    let mut x = X[1] - 230.0;
    for millions in [5, 25, 140] {
        let radius = radius(millions * 1_000_000);
        x += radius;
        let circle = svg.element("circle").set("cx", x).set("cy", y - 10.0).set("r", radius);
        circle.set("fill", "none").set("stroke", MUTED).close();
        svg.label([x + radius + 4.0, y - 6.0], LABEL, "start", &format!("{millions} M"));
        x += radius + 42.0;
    }
}
