//! Training curves: loss and top-1 over the epochs, for several runs.

use crate::axis::{Axis, tick_text};
use crate::svg::{MUTED, Svg, number, text_width};

/// What was measured after one epoch. A value that is missing or not finite leaves a gap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its number.
    pub epoch: f64,
    /// Mean loss on the training data.
    pub train_loss: Option<f64>,
    /// Mean loss on the validation data.
    pub validation_loss: Option<f64>,
    /// Validation images whose first guess is right, in percent.
    pub top1: Option<f64>,
}

/// A training run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// What the legend calls it.
    pub name: String,
    /// In order.
    pub epochs: Vec<Epoch>,
}

const WIDTH: f64 = 960.0;
/// Ends of the two charts.
const CHARTS: [[f64; 2]; 2] = [[70.0, 460.0], [550.0, 940.0]];
const Y: [f64; 2] = [350.0, 70.0];
/// Told apart by the colour-blind, and dark enough for lines on white (after Okabe & Ito).
pub(crate) const COLOURS: [&str; 6] =
    ["#0072b2", "#d55e00", "#00805c", "#a6488a", "#8a6d00", "#1a1a1a"];

type Measure = fn(&Epoch) -> Option<f64>;

/// Draws the runs: loss on the left (training dashed, validation solid), validation top-1 on the right.
pub fn curves(runs: &[Run]) -> String {
    let rows = legend_rows(runs);
    let height = Y[0] + 64.0 + 20.0 * rows.last().map_or(1.0, |(_, row)| row + 1.0);
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let description = format!(
        "Loss (training dashed, validation solid) and validation top-1 in percent over the epochs of {} runs: {}.",
        runs.len(),
        names.join(", ")
    );
    let mut svg = Svg::new(WIDTH, height, "Training curves", &description);
    svg.label([30.0, 30.0], 18.0, "start", "Training curves");
    let losses: [(Measure, bool); 2] = [(|e| e.train_loss, true), (|e| e.validation_loss, false)];
    let top1: [(Measure, bool); 1] = [(|e| e.top1, false)];
    draw_chart(&mut svg, runs, CHARTS[0], "loss (training dashed, validation solid)", &losses);
    draw_chart(&mut svg, runs, CHARTS[1], "validation top-1, %", &top1);
    for ((run, colour), (x, row)) in runs.iter().zip(COLOURS.iter().cycle()).zip(rows) {
        let y = Y[0] + 58.0 + 20.0 * row;
        let line = svg.element("line").set("x1", x).set("y1", y).set("x2", x + 24.0).set("y2", y);
        line.set("stroke", *colour).set("stroke-width", 2.0).close();
        svg.label([x + 30.0, y + 4.0], 11.0, "start", &run.name);
    }
    svg.finish()
}

/// For each run, where its name in the legend begins and in which row it is.
fn legend_rows(runs: &[Run]) -> Vec<(f64, f64)> {
    let (mut x, mut row) = (CHARTS[0][0], 0.0);
    let place = |run: &Run| {
        let width = text_width(&run.name, 11.0) + 50.0;
        if x + width > WIDTH && x > CHARTS[0][0] {
            (x, row) = (CHARTS[0][0], row + 1.0);
        }
        x += width;
        (x - width, row)
    };
    runs.iter().map(place).collect()
}

fn draw_chart(
    svg: &mut Svg,
    runs: &[Run],
    ends: [f64; 2],
    name: &str,
    measures: &[(Measure, bool)],
) {
    let epochs = || runs.iter().flat_map(|run| &run.epochs);
    let x = Axis::linear(epochs().map(|epoch| epoch.epoch), ends);
    let values = measures.iter().flat_map(|(measure, _)| epochs().filter_map(measure));
    let y = Axis::linear(values, Y);
    x.draw_horizontal(svg, [Y[1], Y[0]], "epoch", tick_text);
    y.draw_vertical(svg, ends, name, tick_text);
    for (run, colour) in runs.iter().zip(COLOURS.iter().cycle()) {
        for (measure, dashed) in measures {
            let point =
                |epoch: &Epoch| Some([x.position(epoch.epoch)?, y.position(measure(epoch)?)?]);
            let points: Vec<Option<[f64; 2]>> = run.epochs.iter().map(point).collect();
            let path = svg.element("path").set("d", path(&points)).set("fill", "none");
            let path = path.set("stroke", *colour).set("stroke-width", 1.75);
            let path = if *dashed { path.set("stroke-dasharray", "5 3") } else { path };
            path.open();
            svg.element("title").text(&format!(
                "{}: {}",
                run.name,
                if *dashed { "training" } else { "validation" }
            ));
            svg.close();
        }
    }
    if epochs().next().is_none() {
        svg.coloured_label([(ends[0] + ends[1]) / 2.0, 210.0], 12.0, "middle", MUTED, "no epochs");
    }
}

/// Straight lines between neighbours, as a path's `d`; a lone point becomes a short dash.
pub(crate) fn path(points: &[Option<[f64; 2]>]) -> String {
    let mut path = String::new();
    for (i, point) in points.iter().enumerate() {
        let Some([x, y]) = point else { continue };
        let before = i > 0 && points[i - 1].is_some();
        let after = points.get(i + 1).is_some_and(Option::is_some);
        path += &format!("{}{},{}", if before { 'L' } else { 'M' }, number(*x), number(*y));
        if !before && !after {
            path += "h2";
        }
    }
    path
}
