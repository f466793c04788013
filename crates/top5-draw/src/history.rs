//! The history of the contest in one figure: above, error against year, as people know it, with the winners and a human; below,
//! error against multiply-accumulates, with the parameters as area and the year as colour.

use std::collections::BTreeSet;

use crate::axis::{Axis, tick_text};
use crate::names::{Disc, Panel};
use crate::svg::{INK, MUTED, Svg, magnitude};

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

/// An entry to the contest.
#[derive(Clone, Debug, PartialEq)]
pub struct Contestant {
    /// What people call it.
    pub name: String,
    /// Year of the contest.
    pub year: u16,
    /// Top-5 error on the contest's test images, in percent.
    pub top5_error: f64,
    /// Whether it won that year.
    pub winner: bool,
}

const WIDTH: f64 = 1280.0;
const HEIGHT: f64 = 1410.0;
/// Left and right end of both charts.
const X: [f64; 2] = [70.0, 1240.0];
/// Lower and upper end of each.
const CONTEST: [f64; 2] = [480.0, 90.0];
const COST: [f64; 2] = [1310.0, 620.0];
const LABEL: f64 = 11.0;
/// Radius of a disc for a million parameters.
const RADIUS: f64 = 1.4;
/// Radius of a winner's disc, and of those of others, which are seen around it.
const MARK: f64 = 4.5;
const RING: f64 = 6.5;
/// Two networks of a year whose parameters differ by less than this share are twins.
const TWINS: f64 = 0.005;

/// Draws the contest, with the error of a human in percent, and below it the entries whose MACs and error are positive and finite.
/// Of twins, which have the same year and parameters, the first is drawn; the description says how many were left out.
pub fn history(contest: &[Contestant], human: f64, entries: &[Entry]) -> String {
    let mut shown: Vec<&Entry> = Vec::new();
    for entry in entries.iter().filter(|e| e.macs > 0 && e.top5_error.is_finite()) {
        if entry.top5_error > 0.0 && !shown.iter().any(|other| are_twins(entry, other)) {
            shown.push(entry);
        }
    }
    // Large discs first, so that none hides another.
    shown.sort_by(|a, b| (b.params, &a.name).cmp(&(a.params, &b.name)));
    let description = describe(contest, human, entries.len(), shown.len());
    let mut svg = Svg::new(WIDTH, HEIGHT, "The contest and its networks", &description);
    draw_contest(&mut svg, contest, human);
    draw_costs(&mut svg, &shown);
    svg.finish()
}

fn are_twins(a: &Entry, b: &Entry) -> bool {
    let [a_params, b_params] = [a, b].map(|entry| entry.params as f64);
    a.year == b.year && (a_params - b_params).abs() <= TWINS * a_params.max(b_params)
}

fn heading(svg: &mut Svg, top: f64, title: &str, note: &str) {
    svg.label([X[0] - 40.0, top - 60.0], 18.0, "start", title);
    svg.coloured_label([X[0] - 40.0, top - 40.0], LABEL, "start", MUTED, note);
}

/// Error against year.
fn draw_contest(svg: &mut Svg, contest: &[Contestant], human: f64) {
    let note = "Filled: the winner of each year. Errors on the contest's test images, several networks at once.";
    heading(svg, CONTEST[1], "The contest: top-5 error by year", note);
    let years = contest.iter().map(|contestant| f64::from(contestant.year));
    let x = Axis::years(years, [X[0] + 60.0, X[1] - 60.0]);
    let errors = contest.iter().map(|contestant| contestant.top5_error);
    let y = Axis::linear(errors.chain([0.0, human]), CONTEST);
    x.draw_horizontal(svg, [CONTEST[1], CONTEST[0]], "", tick_text);
    y.draw_vertical(svg, X, "top-5 error, %", tick_text);
    svg.line([X[0], CONTEST[0]], [X[1], CONTEST[0]], INK);

    let mut panel = Panel::new([X[0], CONTEST[1], X[1], CONTEST[0]]);
    if let Some(level) = y.position(human) {
        let line = svg.element("line").set("x1", X[0]).set("y1", level).set("x2", X[1]);
        line.set("y2", level).set("stroke", MUTED).set("stroke-dasharray", "6 4").close();
        panel.keep_clear([X[0], level], [X[1], level]);
        panel.fixed(svg, [X[0] + 6.0, level - 5.0], &format!("a human: {}", tick_text(human)));
    }
    let place = |contestant: &Contestant| -> Option<[f64; 2]> {
        Some([x.position(f64::from(contestant.year))?, y.position(contestant.top5_error)?])
    };
    let winners = contest.iter().filter(|contestant| contestant.winner);
    let points: Vec<[f64; 2]> = winners.filter_map(place).collect();
    for ends in points.windows(2) {
        svg.line(ends[0], ends[1], MUTED);
        panel.keep_clear(ends[0], ends[1]);
    }
    let mut contestants: Vec<&Contestant> = contest.iter().collect();
    contestants.sort_by_key(|contestant| contestant.winner);
    for contestant in contestants {
        let Some(center) = place(contestant) else { continue };
        let name = format!("{} {}", contestant.name, tick_text(contestant.top5_error));
        let circle = svg.element("circle").set("cx", center[0]).set("cy", center[1]);
        let (radius, fill) = if contestant.winner { (MARK, WINNER) } else { (RING, "#ffffff") };
        circle.set("r", radius).set("fill", fill).set("stroke", INK).close();
        panel.disc(name, Disc { center, radius });
    }
    panel.draw_names(svg);
}

/// The colour of winners.
const WINNER: &str = "#e69f00";

/// Error against multiply-accumulates.
fn draw_costs(svg: &mut Svg, shown: &[&Entry]) {
    let note = "Area: parameters. Colour: year. Errors as published, on the validation images where there are any; their protocols \
                differ (see each disc's tooltip).";
    heading(svg, COST[1], "Top-5 error against multiply-accumulates", note);
    let x = Axis::logarithmic(shown.iter().map(|entry| entry.macs as f64), X);
    let y = Axis::logarithmic(shown.iter().map(|entry| entry.top5_error), COST);
    let name = "multiply-accumulates per image (log scale)";
    x.draw_horizontal(svg, [COST[1], COST[0]], name, magnitude);
    y.draw_vertical(svg, X, "top-5 error, % (log scale)", tick_text);

    let years: Vec<u16> =
        shown.iter().map(|entry| entry.year).collect::<BTreeSet<_>>().into_iter().collect();
    let mut panel = Panel::new([X[0], COST[1], X[1], COST[0]]);
    for entry in shown {
        let place = [x.position(entry.macs as f64), y.position(entry.top5_error)];
        let [Some(cx), Some(cy)] = place else { continue };
        let radius = radius(entry.params);
        svg.element("g").open();
        svg.element("title").text(&tooltip(entry));
        let circle = svg.element("circle").set("cx", cx).set("cy", cy).set("r", radius);
        let circle = circle.set("fill", colour(entry.year, &years)).set("fill-opacity", 0.75);
        circle.set("stroke", INK).set("stroke-width", 0.75).close();
        svg.close();
        panel.disc(entry.name.clone(), Disc { center: [cx, cy], radius });
    }
    panel.draw_names(svg);
    draw_legend(svg, &years);
}

fn describe(contest: &[Contestant], human: f64, all: usize, shown: usize) -> String {
    let winners = contest.iter().filter(|contestant| contestant.winner);
    let winners: Vec<String> = winners
        .map(|winner| format!("{} {} {} %", winner.year, winner.name, tick_text(winner.top5_error)))
        .collect();
    let left_out = match all - shown {
        0 => String::new(),
        missing => format!(
            " {missing} more have no error or no cost, or are twins of one that is drawn, and are left out."
        ),
    };
    format!(
        "Above, the winners of the contest with their top-5 errors: {}; a human makes {} %. Below, {shown} networks as discs: \
         horizontally the multiply-accumulates of one image, vertically the published top-5 error in percent, both on logarithmic \
         scales, as area the number of parameters, as colour the year.{left_out}",
        winners.join(", "),
        tick_text(human)
    )
}

fn tooltip(entry: &Entry) -> String {
    let Entry { name, year, params, macs, top5_error, protocol } = entry;
    let [params, macs] = [*params, *macs].map(|value| magnitude(value as f64));
    let error = tick_text(*top5_error);
    format!("{name} ({year}): {error} % top-5 error, {params} parameters, {macs} MACs; {protocol}")
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

fn draw_legend(svg: &mut Svg, years: &[u16]) {
    let y = HEIGHT - 24.0;
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
        let circle = svg.element("circle").set("cx", x).set("cy", y - 4.0).set("r", radius);
        circle.set("fill", "none").set("stroke", MUTED).close();
        svg.label([x + radius + 4.0, y], LABEL, "start", &format!("{millions} M"));
        x += radius + 50.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Area, meet};
    use crate::svg::text_width;

    fn entry(name: &str, year: u16, params: u64, top5_error: f64) -> Entry {
        let protocol = "1 crop".to_owned();
        Entry { name: name.to_owned(), year, params, macs: 1_000_000_000, top5_error, protocol }
    }

    #[test]
    fn names_of_the_zoo_collide_with_nothing() {
        let contest = top5_zoo::CONTEST.iter().map(|entry| Contestant {
            name: entry.name.to_owned(),
            year: entry.year,
            top5_error: f64::from(entry.top5_error),
            winner: entry.winner,
        });
        let entries = top5_zoo::networks().filter_map(|network| {
            let published = network.published.known()?.iter();
            let mut published =
                published.filter(|error| error.set.to_string().starts_with("ILSVRC"));
            let top5_error = f64::from(published.find_map(|error| error.top5)?);
            let (params, macs) = (network.params, network.macs);
            Some(Entry { macs, ..entry(network.name, network.year, params, top5_error) })
        });
        let svg = history(&contest.collect::<Vec<_>>(), 5.1, &entries.collect::<Vec<_>>());
        let value = |line: &str, name: &str| -> Option<f64> {
            line.split_once(&format!(" {name}=\""))?.1.split_once('"')?.0.parse().ok()
        };
        let texts: Vec<(Area, &str)> = svg
            .lines()
            .filter(|line| line.trim_start().starts_with("<text"))
            .filter_map(|line| {
                let text = line.split_once('>')?.1.strip_suffix("</text>")?;
                let (x, y, size) =
                    (value(line, "x")?, value(line, "y")?, value(line, "font-size")?);
                let width = text_width(text, size);
                let left = match line {
                    _ if line.contains("\"middle\"") => x - width / 2.0,
                    _ if line.contains("\"end\"") => x - width,
                    _ => x,
                };
                Some(([left, y - 0.7 * size, left + width, y + 0.2 * size], text))
            })
            .collect();
        assert!(texts.len() > 60, "{}", texts.len());
        for (i, (area, text)) in texts.iter().enumerate() {
            let other = texts[..i].iter().find(|(other, _)| meet(*area, *other));
            assert!(other.is_none(), "{text} and {other:?}");
            assert!(area[0] >= 0.0 && area[2] <= WIDTH && area[3] <= HEIGHT, "{text}");
        }
        let circles: Vec<[f64; 3]> = svg
            .lines()
            .filter(|line| line.trim_start().starts_with("<circle"))
            .filter_map(|line| Some([value(line, "cx")?, value(line, "cy")?, value(line, "r")?]))
            .collect();
        for (area, text) in &texts {
            let hit = circles.iter().find(|[x, y, radius]| {
                let [dx, dy] = [x.clamp(area[0], area[2]) - x, y.clamp(area[1], area[3]) - y];
                dx.hypot(dy) < *radius
            });
            assert!(hit.is_none(), "{text} on {hit:?}");
        }
    }

    #[test]
    fn twins_and_what_has_no_place_are_left_out_and_counted() {
        let entries = [
            entry("one", 2015, 25_557_032, 7.1),
            entry("its_twin", 2015, 25_600_000, 6.7),
            entry("next_year", 2016, 25_557_032, 6.5),
            entry("no_error", 2015, 1_000_000, f64::NAN),
        ];
        let winner = Contestant {
            name: "one & only".to_owned(),
            year: 2015,
            top5_error: 3.57,
            winner: true,
        };
        let svg = history(&[winner], 5.1, &entries);
        for (text, there) in [
            (">one</text>", true),
            (">its_twin</text>", false),
            (">next_year</text>", true),
            (">no_error</text>", false),
            (">one &amp; only 3.57</text>", true),
            (">a human: 5.1</text>", true),
            ("2 more have no error", true),
        ] {
            assert_eq!(svg.contains(text), there, "{text}: {svg}");
        }
    }
}
