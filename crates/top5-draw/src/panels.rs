//! Small charts of lines in rows and columns, with one legend.

use crate::axis::{Axis, tick_text};
use crate::curves::{COLOURS, path};
use crate::svg::{Svg, wrapped};

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What stands below.
    pub x: String,
    /// What stands above.
    pub y: String,
    /// Its lines.
    pub series: Vec<Series>,
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it: lines of one place in their panels share the name of the first panel's.
    pub name: String,
    /// Places `[x, y]`, in order. One that is not finite leaves a gap.
    pub points: Vec<[f64; 2]>,
}

/// Width and height of a panel with its margins.
const PLACE: [f64; 2] = [360.0, 300.0];
/// Ends of the chart in its place: left, right, top, bottom.
const CHART: [f64; 4] = [64.0, 344.0, 60.0, 240.0];
const TITLE: f64 = 40.0;
const ROW: f64 = 20.0;

/// Draws panels in rows of `columns`.
pub fn panels(title: &str, panels: &[Panel], columns: usize) -> String {
    let columns = columns.max(1);
    let legend = panels.first().map_or(&[][..], |panel| &panel.series);
    let rows = panels.len().div_ceil(columns);
    let (width, below) = (PLACE[0] * columns as f64, TITLE + PLACE[1] * rows as f64);
    let names: Vec<&str> = panels.iter().map(|panel| panel.y.as_str()).collect();
    let description = format!("{} charts: {}.", panels.len(), names.join(", "));
    let height = below + ROW * (legend.len() as f64 + 1.0);
    let mut svg = Svg::new(width, height, title, &description);
    svg.label([30.0, 28.0], 18.0, "start", title);
    for (i, panel) in panels.iter().enumerate() {
        let corner = [PLACE[0] * (i % columns) as f64, TITLE + PLACE[1] * (i / columns) as f64];
        draw(&mut svg, panel, corner);
    }
    for (i, (series, colour)) in legend.iter().zip(COLOURS.iter().cycle()).enumerate() {
        let y = below + ROW * (i as f64 + 0.5);
        let line = svg.element("line").set("x1", 30.0).set("y1", y).set("x2", 54.0).set("y2", y);
        line.set("stroke", *colour).set("stroke-width", 2.0).close();
        // The whole name is at each line.
        let name = match &wrapped(&series.name, 11.0, width - 90.0)[..] {
            [first, _, ..] => format!("{first}…"),
            _ => series.name.clone(),
        };
        svg.label([60.0, y + 4.0], 11.0, "start", &name);
    }
    svg.finish()
}

fn draw(svg: &mut Svg, panel: &Panel, [left, top]: [f64; 2]) {
    let points = || panel.series.iter().flat_map(|series| &series.points);
    let horizontal = [left + CHART[0], left + CHART[1]];
    let vertical = [top + CHART[3], top + CHART[2]];
    let x = Axis::linear(points().map(|point| point[0]), horizontal);
    let y = Axis::linear(points().map(|point| point[1]), vertical);
    x.draw_horizontal(svg, [vertical[1], vertical[0]], &panel.x, tick_text);
    y.draw_vertical(svg, horizontal, &panel.y, tick_text);
    for (series, colour) in panel.series.iter().zip(COLOURS.iter().cycle()) {
        let place = |point: &[f64; 2]| Some([x.position(point[0])?, y.position(point[1])?]);
        let places: Vec<Option<[f64; 2]>> = series.points.iter().map(place).collect();
        let line = svg.element("path").set("d", path(&places)).set("fill", "none");
        line.set("stroke", *colour).set("stroke-width", 1.75).open();
        svg.element("title").text(&series.name);
        svg.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_every_panel_is_drawn() {
        let series = |name: &str| Series {
            name: name.to_owned(),
            points: vec![[0.0, 1.0], [1.0, 2.0], [2.0, f64::NAN], [3.0, 0.5]],
        };
        let panel = |y: &str| Panel {
            x: "amount".to_owned(),
            y: y.to_owned(),
            series: vec![series("a <b>"), series("c")],
        };
        let svg = panels("Three", &[panel("one"), panel("two"), panel("three")], 2);
        assert_eq!(svg.matches("<path").count(), 6);
        // The legend and a tooltip for each line.
        assert_eq!(svg.matches("a &lt;b&gt;").count(), 4);
        assert!(!svg.contains("NaN"));
        assert_eq!(svg, panels("Three", &[panel("one"), panel("two"), panel("three")], 2));
        assert!(panels("None", &[], 0).contains("0 charts"));
    }
}
