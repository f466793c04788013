//! Names beside the discs of a chart: each at the nearest place where it hides nothing and no line crosses it.

use std::f64::consts::TAU;

use crate::svg::{MUTED, Svg, text_width};

const LABEL: f64 = 11.0;
/// Half the height of a name.
const HALF: f64 = LABEL / 2.0 + 1.0;
/// Distances from the disc at which places are tried, in steps of this.
const STEP: f64 = 6.0;
const STEPS: usize = 50;
/// Directions in which they are tried: beside and above first.
const DIRECTIONS: usize = 24;
/// From this distance on, a line leads to the name.
const NEAR: f64 = 10.0;

/// A disc of a chart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disc {
    pub(crate) center: [f64; 2],
    pub(crate) radius: f64,
}

/// A rectangle: left, top, right, bottom.
pub(crate) type Area = [f64; 4];

/// A place for a name, and the line to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) area: Area,
    pub(crate) line: Option<[[f64; 2]; 2]>,
}

/// A chart whose discs get names.
pub(crate) struct Panel {
    bounds: Area,
    discs: Vec<(String, Disc)>,
    /// What is written already.
    texts: Vec<Area>,
    lines: Vec<[[f64; 2]; 2]>,
}

impl Panel {
    /// A chart within these bounds.
    pub(crate) fn new(bounds: Area) -> Self {
        Self { bounds, discs: Vec::new(), texts: Vec::new(), lines: Vec::new() }
    }

    /// Writes a text at its place.
    pub(crate) fn fixed(&mut self, svg: &mut Svg, at: [f64; 2], text: &str) {
        svg.coloured_label(at, LABEL, "start", MUTED, text);
        self.texts.push([at[0], at[1] - LABEL, at[0] + text_width(text, LABEL), at[1] + 3.0]);
    }

    /// No name shall lie on this line.
    pub(crate) fn keep_clear(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.lines.push([from, to]);
    }

    /// A disc that is to be named.
    pub(crate) fn disc(&mut self, name: String, disc: Disc) {
        self.discs.push((name, disc));
    }

    /// Writes all names.
    pub(crate) fn draw_names(self, svg: &mut Svg) {
        for (index, Place { area, line }) in self.places() {
            if let Some([from, to]) = line {
                svg.line(from, to, MUTED);
            }
            let middle = [(area[0] + area[2]) / 2.0, (area[1] + area[3]) / 2.0];
            let at = [middle[0], middle[1] + LABEL * 0.36];
            svg.label(at, LABEL, "middle", &self.discs[index].0);
        }
    }

    /// A place for each disc's name, by the disc's position.
    pub(crate) fn places(&self) -> Vec<(usize, Place)> {
        // Those that have most neighbours choose first: the others find a place later.
        let crowd = |disc: &Disc| {
            let near = |other: &&(String, Disc)| {
                let [dx, dy] = [0, 1].map(|i| other.1.center[i] - disc.center[i]);
                dx.abs() < 120.0 && dy.abs() < 60.0
            };
            self.discs.iter().filter(near).count()
        };
        let mut order: Vec<usize> = (0..self.discs.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(crowd(&self.discs[index].1)));
        let (mut texts, mut lines) = (self.texts.clone(), self.lines.clone());
        let mut places = Vec::new();
        for index in order {
            let (name, disc) = &self.discs[index];
            let hidden = |place: &Place| self.hidden(index, place, &texts, &lines);
            let free = candidates(name, disc).find(|place| hidden(place) == 0);
            let least = || candidates(name, disc).min_by_key(hidden);
            let Some(place) = free.or_else(least) else { continue };
            texts.push(place.area);
            lines.extend(place.line);
            places.push((index, place));
        }
        places
    }

    /// How much there is that a place would hide or cross.
    fn hidden(
        &self,
        index: usize,
        place: &Place,
        texts: &[Area],
        lines: &[[[f64; 2]; 2]],
    ) -> usize {
        let [left, top, right, bottom] = place.area;
        let bounds = self.bounds;
        let outside = left < bounds[0] + 2.0
            || right > bounds[2] + 36.0
            || top < bounds[1]
            || bottom > bounds[3];
        let discs = self.discs.iter().filter(|(_, disc)| covers(disc, place.area)).count();
        let texts_hidden = texts.iter().filter(|text| meet(**text, place.area)).count();
        let crossed = lines.iter().filter(|line| crosses(**line, place.area)).count();
        let own = place.line.map_or(0, |line| {
            let of_others = self.discs.iter().enumerate().filter(|(other, _)| *other != index);
            let hit = of_others.filter(|(_, (_, disc))| {
                let half = disc.radius / 2.0;
                let [x, y] = disc.center;
                crosses(line, [x - half, y - half, x + half, y + half])
            });
            let cut = lines.iter().filter(|other| intersect(**other, line)).count();
            texts.iter().filter(|text| crosses(line, **text)).count() * 100 + hit.count() + cut
        });
        (usize::from(outside) * 10 + texts_hidden) * 10_000 + discs * 1000 + crossed * 10 + own
    }
}

/// Places for a disc's name, the nearest first.
fn candidates<'a>(name: &str, disc: &'a Disc) -> impl Iterator<Item = Place> + 'a {
    let half = text_width(name, LABEL) / 2.0;
    let all = (0..STEPS).flat_map(|step| (0..DIRECTIONS).map(move |turn| (step, turn)));
    all.map(move |(step, turn)| {
        let [x, y] = disc.center;
        let distance = 3.0 + step as f64 * STEP;
        // Right, left, then in between.
        let side = turn as f64 / 2.0;
        let angle = if turn % 2 == 0 { side } else { DIRECTIONS as f64 / 2.0 - side + 0.5 };
        let (sin, cos) = (angle / DIRECTIONS as f64 * TAU).sin_cos();
        let reach = disc.radius + distance;
        let middle = [x + cos * (reach + half), y - sin * (reach + HALF)];
        let area = [middle[0] - half, middle[1] - HALF, middle[0] + half, middle[1] + HALF];
        let end = [x.clamp(area[0], area[2]), y.clamp(area[1], area[3])];
        let length = (end[0] - x).hypot(end[1] - y).max(1.0);
        let start =
            [0, 1].map(|i| disc.center[i] + (end[i] - disc.center[i]) / length * disc.radius);
        Place { area, line: (distance > NEAR).then_some([start, end]) }
    })
}

/// Whether a disc reaches into an area.
fn covers(disc: &Disc, [left, top, right, bottom]: Area) -> bool {
    let [x, y] = disc.center;
    (x.clamp(left, right) - x).hypot(y.clamp(top, bottom) - y) < disc.radius
}

/// Whether two areas overlap.
pub(crate) fn meet([l, t, r, b]: Area, [left, top, right, bottom]: Area) -> bool {
    l < right && left < r && t < bottom && top < b
}

/// Whether a line passes through an area.
fn crosses([from, to]: [[f64; 2]; 2], [left, top, right, bottom]: Area) -> bool {
    // What is left of the line between the area's sides, one direction after the other (Liang and Barsky).
    let mut share = [0.0_f64, 1.0];
    for (axis, low, high) in [(0, left, right), (1, top, bottom)] {
        let way = to[axis] - from[axis];
        let ends = [low, high].map(|end| (end - from[axis]) / way);
        if way == 0.0 {
            if from[axis] <= low || from[axis] >= high {
                return false;
            }
            continue;
        }
        share = [share[0].max(ends[0].min(ends[1])), share[1].min(ends[0].max(ends[1]))];
    }
    share[0] < share[1]
}

/// Whether two lines cross between their ends.
fn intersect([a, b]: [[f64; 2]; 2], [c, d]: [[f64; 2]; 2]) -> bool {
    let side = |p: [f64; 2], q: [f64; 2], r: [f64; 2]| {
        (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
    };
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_areas_that_meet_are_told() {
        let area = [0.0, 0.0, 10.0, 4.0];
        assert!(crosses([[-5.0, 2.0], [15.0, 2.0]], area));
        assert!(crosses([[-5.0, -5.0], [9.0, 9.0]], area));
        assert!(!crosses([[-5.0, 5.0], [15.0, 5.0]], area));
        assert!(!crosses([[11.0, 2.0], [15.0, 2.0]], area));
        assert!(intersect([[0.0, 0.0], [2.0, 2.0]], [[0.0, 2.0], [2.0, 0.0]]));
        assert!(!intersect([[0.0, 0.0], [2.0, 2.0]], [[3.0, 0.0], [2.0, 0.0]]));
        assert!(meet(area, [9.0, 3.0, 12.0, 5.0]) && !meet(area, [10.0, 0.0, 12.0, 4.0]));
    }

    #[test]
    fn names_hide_neither_each_other_nor_discs_where_there_is_room() {
        let mut panel = Panel::new([0.0, 0.0, 1200.0, 700.0]);
        for i in 0..40 {
            let center = [500.0 + f64::from(i % 8) * 20.0, 300.0 + f64::from(i / 8) * 12.0];
            panel.disc(format!("network_{i}"), Disc { center, radius: 3.0 + f64::from(i % 5) });
        }
        let places = panel.places();
        assert_eq!(places.len(), 40);
        for (at, (index, place)) in places.iter().enumerate() {
            let later = &places[at + 1..];
            assert!(later.iter().all(|(_, other)| !meet(place.area, other.area)), "{index}");
            assert!(panel.discs.iter().all(|(_, disc)| !covers(disc, place.area)), "{index}");
        }
    }
}
