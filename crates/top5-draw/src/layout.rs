//! Where blocks and lines go.
//!
//! A strand that reads another one, as an auxiliary head does, hangs below the row that it branches off.
//!
//! A unit is a grid: a block's column is its longest distance from the unit's input, its lane that of the branch it is on, and a
//! line that passes a column has a lane to itself there, so that no line crosses a block. Units follow each other on the axis of a
//! row; rows end where the size of the maps changes, or where the page does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::block::Block;
use crate::fold::Paths;
use crate::fold::span;
use crate::svg::text_width;
use crate::units::{Drawing, Unit};

/// Space between the columns of a unit.
const COLUMN_GAP: f64 = 24.0;
/// Space between lanes.
const LANE_GAP: f64 = 8.0;
/// Half the height of a lane that only holds lines.
const LINE_LANE: f64 = 5.0;
/// Space between rows, in which lines return to the left.
const ROW_GAP: f64 = 40.0;
/// Space between a frame and what is in it, and above that for the line of text over it.
const FRAME: f64 = 7.0;
const FRAME_HEAD: f64 = 24.0;
/// Size of the text above units, and of that above branches.
pub(crate) const CAPTION: f64 = 12.0;
/// From a unit's left end to its frame, and from a column's ends to the frame of a branch.
const FRAME_SIDE: f64 = 5.0;
/// Height of a strand's name, with the space below it.
const HEADING: f64 = 12.0;

/// A block's size and what else its place depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Of the block itself.
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Of the widest label.
    pub(crate) label_width: f64,
    /// Room for labels above and below the block.
    pub(crate) above: f64,
    pub(crate) below: f64,
    /// Height and width of its maps: where they change, a row may end.
    pub(crate) stage: [usize; 2],
    /// Whether it joins branches of equal standing, which are drawn on both sides of the axis. Otherwise the deepest branch
    /// is drawn on the axis and the others above it.
    pub(crate) joins_equals: bool,
}

/// A placed block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Middle of the block.
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// Left and right end of its column.
    pub(crate) column: [f64; 2],
}

/// A line from a block to a block that reads it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) points: Vec<[f64; 2]>,
}

/// A frame around what is drawn once for several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) corner: [f64; 2],
    pub(crate) size: [f64; 2],
}

/// A line of text, by the left end of its baseline.
#[derive(Clone, Debug)]
pub(crate) struct Caption {
    pub(crate) at: [f64; 2],
    pub(crate) text: String,
}

/// Everything placed.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// By block.
    pub(crate) places: Vec<Place>,
    pub(crate) lines: Vec<Line>,
    pub(crate) frames: Vec<Frame>,
    /// What stands above units and branches.
    pub(crate) captions: Vec<Caption>,
    /// Strands after the first, where the name of each goes, and whether it hangs where it branches off.
    pub(crate) headings: Vec<(usize, [f64; 2], bool)>,
    /// Lower right corner.
    pub(crate) size: [f64; 2],
}

/// Places a drawing from (`left`, `top`) on, in rows of about `width` pixels.
pub(crate) fn place(
    drawing: &Drawing,
    forms: &[Form],
    [left, top]: [f64; 2],
    width: f64,
) -> Layout {
    let nowhere = Place { x: 0.0, y: 0.0, column: [0.0; 2] };
    let layout = Layout {
        places: vec![nowhere; drawing.blocks.len()],
        lines: Vec::new(),
        frames: Vec::new(),
        captions: Vec::new(),
        headings: Vec::new(),
        size: [left, top],
    };
    let placed = vec![false; drawing.strands.len()];
    let mut placer = Placer { drawing, forms, layout, placed };
    for number in 0..drawing.strands.len() {
        if placer.placed[number] {
            continue;
        }
        if number > 0 {
            placer.layout.headings.push((number, [left, placer.layout.size[1]], false));
            placer.layout.size[1] += HEADING;
        }
        placer.strand(number, left, width, None);
    }
    placer.layout
}

/// The places while they are given out.
struct Placer<'a> {
    drawing: &'a Drawing,
    forms: &'a [Form],
    layout: Layout,
    /// By strand.
    placed: Vec<bool>,
}

impl Placer<'_> {
    /// Places a strand below what is there. A line leads to it from `fork`, where it branches off.
    fn strand(&mut self, number: usize, left: f64, width: f64, fork: Option<(usize, [f64; 2])>) {
        self.placed[number] = true;
        let (drawing, forms) = (self.drawing, self.forms);
        let units = &drawing.strands[number].units;
        let grids: Vec<Grid> =
            units.iter().map(|unit| Grid::new(&drawing.blocks, unit, forms)).collect();
        let first = units[0].blocks.start;
        // How a line gets from the end of the row before to the start of this one.
        let mut around: Vec<[f64; 2]> = Vec::new();
        for row in break_rows(units, &grids, forms, width) {
            let most =
                |side: fn(&Grid) -> f64| grids[row.clone()].iter().map(side).fold(0.0, f64::max);
            let (above, below) = (most(|grid| grid.above), most(|grid| grid.below));
            let axis = self.layout.size[1] + above;
            if !around.is_empty() {
                around.push([left, axis]);
            }
            let blocks = units[row.start].blocks.start..units[row.end - 1].blocks.end;
            let mut x = left + COLUMN_GAP / 2.0;
            for index in row {
                let (unit, grid) = (&units[index], &grids[index]);
                self.unit(unit, grid, [x, axis]);
                for to in unit.blocks.clone() {
                    for &from in &drawing.blocks[to].inputs {
                        let Place { y, column, .. } = self.layout.places[from];
                        let start = [self.right(from), y];
                        let points = if unit.blocks.contains(&from) {
                            vec![start, [column[1], y]]
                        } else if let Some((_, [turn, _])) =
                            fork.filter(|(source, _)| *source == from)
                        {
                            vec![start, [turn, y], [turn, axis], [x, axis]]
                        } else if from < first {
                            // From elsewhere in another strand: a stub.
                            vec![[left, axis], [x, axis]]
                        } else {
                            [vec![start], around.clone(), vec![[x, axis]]].concat()
                        };
                        let lane = grid.passages.get(&(from, to));
                        let passing = lane.map(|lane| axis + grid.lanes[lane]);
                        self.enter((from, to), points, passing);
                    }
                }
                around.clear();
                x += grid.width;
            }
            self.layout.size[0] = self.layout.size[0].max(x + COLUMN_GAP / 2.0);
            self.layout.size[1] = axis + below;
            let right = self.branches(blocks);
            let turn = [x.max(right) + 2.0, self.layout.size[1] + ROW_GAP / 2.0];
            around = vec![[turn[0], axis], turn, [left, turn[1]]];
            self.layout.size[1] += ROW_GAP;
        }
    }

    /// Places the strands that branch off these blocks, those furthest to the right first, so that the lines of the others pass
    /// left of them. Returns their right end.
    fn branches(&mut self, blocks: Range<usize>) -> f64 {
        let source = |number: usize| {
            let units = &self.drawing.strands[number].units;
            let first = units[0].blocks.start;
            let inputs =
                units[0].blocks.clone().flat_map(|block| &self.drawing.blocks[block].inputs);
            let outside = inputs.copied().filter(|&input| input < first).max()?;
            blocks.contains(&outside).then_some(outside)
        };
        let waiting = (0..self.placed.len()).filter(|&number| !self.placed[number]);
        let mut found: Vec<(usize, usize)> =
            waiting.filter_map(|number| Some((number, source(number)?))).collect();
        let right_end = |block: usize| self.layout.places[block].column[1];
        found.sort_by(|a, b| right_end(b.1).total_cmp(&right_end(a.1)));
        let page = self.layout.size[0];
        let mut right = 0.0_f64;
        for (number, source) in found {
            let Place { y, column, .. } = self.layout.places[source];
            let fork = [column[1], y];
            let heading =
                [fork[0] + COLUMN_GAP / 2.0, self.layout.size[1] + ROW_GAP / 2.0 + HEADING];
            self.layout.headings.push((number, heading, true));
            self.layout.size = [0.0, heading[1] + HEADING];
            self.strand(number, fork[0], f64::INFINITY, Some((source, fork)));
            self.layout.size[1] -= ROW_GAP;
            right = right.max(self.layout.size[0]);
        }
        self.layout.size[0] = self.layout.size[0].max(page).max(right);
        right
    }

    /// Right end of a block.
    fn right(&self, block: usize) -> f64 {
        self.layout.places[block].x + self.forms[block].width / 2.0
    }

    fn unit(&mut self, unit: &Unit, grid: &Grid, [x, axis]: [f64; 2]) {
        for (cell, block) in grid.cells.iter().zip(unit.blocks.clone()) {
            let column = [x + grid.columns[cell.column], x + grid.columns[cell.column + 1]];
            let middle = (column[0] + column[1]) / 2.0;
            self.layout.places[block] =
                Place { x: middle, y: axis + grid.height(cell.lane), column };
        }
        let text = caption(unit);
        if !text.is_empty() {
            let at = [x + FRAME_SIDE, axis - grid.above + FRAME_HEAD - FRAME - 4.0];
            self.layout.captions.push(Caption { at, text });
        }
        if unit.repeat > 1 {
            // The lines that fork at the unit's left end are inside, those at the next unit's outside.
            let corner = [x - FRAME_SIDE, axis - grid.above + FRAME_HEAD - FRAME];
            let size = [grid.width - 2.0, grid.above + grid.below - FRAME_HEAD + FRAME];
            self.layout.frames.push(Frame { corner, size });
        }
        for bundle in &grid.bundles {
            let [left, top, right, bottom] = bundle.area;
            let corner = [x + left + FRAME_SIDE, axis + top];
            let size = [right - left - 2.0 * FRAME_SIDE, bottom - top];
            self.layout.frames.push(Frame { corner, size });
            let at = [corner[0] + 4.0, corner[1] - 4.0];
            self.layout.captions.push(Caption { at, text: format!("{} paths", bundle.count) });
        }
    }

    /// A line's way into `to`, from where `points` end: at a column's end, on the height of its source.
    fn enter(
        &mut self,
        (from, to): (usize, usize),
        mut points: Vec<[f64; 2]>,
        passing: Option<f64>,
    ) {
        let target = self.layout.places[to];
        let [x, _] = points[points.len() - 1];
        let passing = passing.unwrap_or(target.y);
        points.extend([[x, passing], [target.column[0], passing], [target.column[0], target.y]]);
        points.push([target.x - self.forms[to].width / 2.0, target.y]);
        self.layout.lines.push(Line { from, to, points });
    }
}

/// What stands above a unit: how often it comes, by how much it grows, and its name.
fn caption(unit: &Unit) -> String {
    let mut parts = Vec::new();
    if unit.repeat > 1 {
        parts.push(format!("×{}", unit.repeat));
    }
    if unit.growth > 0 {
        parts.push(format!("+{} channels each", unit.growth));
    }
    let title = span(&unit.titles);
    if !title.is_empty() {
        parts.push(title);
    }
    parts.join(" · ")
}

/// Ranges of units that make a row.
fn break_rows(units: &[Unit], grids: &[Grid], forms: &[Form], width: f64) -> Vec<Range<usize>> {
    let stage = |unit: usize| forms[units[unit].blocks.end - 1].stage;
    let (mut rows, mut start, mut used) = (Vec::new(), 0, 0.0);
    for unit in 0..units.len() {
        // A stage is kept together where a row can hold it.
        let begins_stage = unit > 0 && stage(unit) != stage(unit - 1);
        let together = if begins_stage { units.len() } else { unit + 1 };
        let group = (unit..together).take_while(|&other| stage(other) == stage(unit));
        let needed: f64 = group.map(|other| grids[other].width).sum();
        if unit > start && used + needed > width {
            rows.push(start..unit);
            (start, used) = (unit, 0.0);
        }
        used += grids[unit].width;
    }
    rows.push(start..units.len());
    rows
}

/// A block's place in its unit. Without a lane it is on the axis, in a column of its own.
#[derive(Clone, Copy, Debug)]
struct Cell {
    column: usize,
    lane: Option<isize>,
}

/// A unit by itself; heights are relative to the axis.
#[derive(Debug)]
struct Grid {
    cells: Vec<Cell>,
    /// The lanes of lines that pass at least one column.
    passages: BTreeMap<(usize, usize), isize>,
    /// Left ends of the columns, and the right end of the last.
    columns: Vec<f64>,
    /// Middle of each lane.
    lanes: BTreeMap<isize, f64>,
    bundles: Vec<Bundle>,
    width: f64,
    above: f64,
    below: f64,
}

/// Where the frame of branches goes that are drawn once: left, top, right, bottom, and how many they are.
#[derive(Debug)]
struct Bundle {
    area: [f64; 4],
    count: usize,
}

impl Grid {
    fn new(blocks: &[Block], unit: &Unit, forms: &[Form]) -> Self {
        let joins_equals = forms[unit.blocks.end - 1].joins_equals;
        let Lanes { cells, passages, .. } = Lanes::assign(blocks, unit, joins_equals);
        let bare = &forms[unit.blocks.clone()];
        let mut forms = bare.to_vec();
        for block in unit.paths.iter().flat_map(|paths| &paths.blocks) {
            let form = &mut forms[block - unit.blocks.start];
            form.above += FRAME_HEAD;
            form.below += FRAME;
        }

        let mut widths = vec![0.0_f64; cells[cells.len() - 1].column + 1];
        let mut halves: BTreeMap<isize, [f64; 2]> = BTreeMap::new();
        let [mut above, mut below] = [0.0_f64; 2];
        for (cell, form) in cells.iter().zip(&forms) {
            let width = form.width.max(form.label_width) + COLUMN_GAP;
            widths[cell.column] = widths[cell.column].max(width);
            let [up, down] = match cell.lane {
                Some(lane) => halves.entry(lane).or_insert([0.0; 2]).each_mut(),
                None => [&mut above, &mut below],
            };
            *up = up.max(form.height / 2.0 + form.above);
            *down = down.max(form.height / 2.0 + form.below);
        }
        for &lane in passages.values() {
            halves.entry(lane).or_insert([LINE_LANE; 2]);
        }
        let mut columns = vec![0.0];
        for width in widths {
            columns.push(columns[columns.len() - 1] + width);
        }
        let (lanes, [top, bottom]) = stack(&halves, joins_equals);
        let text = caption(unit);
        let head = if text.is_empty() { 0.0 } else { FRAME_HEAD };
        let foot = if unit.repeat > 1 { FRAME } else { 0.0 };
        let bundle = |paths: &Paths| {
            let mut area = [f64::INFINITY, f64::INFINITY, 0.0, f64::NEG_INFINITY];
            for at in paths.blocks.iter().map(|block| block - unit.blocks.start) {
                let (cell, form): (&Cell, &Form) = (&cells[at], &bare[at]);
                let middle = cell.lane.map_or(0.0, |lane| lanes[&lane]);
                let above = middle - form.height / 2.0 - form.above - FRAME;
                let below = middle + form.height / 2.0 + form.below + FRAME;
                area = [
                    area[0].min(columns[cell.column]),
                    area[1].min(above),
                    area[2].max(columns[cell.column + 1]),
                    area[3].max(below),
                ];
            }
            Bundle { area, count: paths.count }
        };
        Self {
            bundles: unit.paths.iter().map(bundle).collect(),
            // The text above is no wider.
            width: columns[columns.len() - 1].max(text_width(&text, CAPTION) + COLUMN_GAP),
            above: above.max(-top) + head,
            below: below.max(bottom) + foot,
            cells,
            passages,
            columns,
            lanes,
        }
    }

    fn height(&self, lane: Option<isize>) -> f64 {
        lane.map_or(0.0, |lane| self.lanes[&lane])
    }
}

/// The middles of lanes of these half heights, one below the other, and the stack's upper and lower end. The middle of lane 0,
/// or of the whole stack, is at 0.
fn stack(halves: &BTreeMap<isize, [f64; 2]>, centred: bool) -> (BTreeMap<isize, f64>, [f64; 2]) {
    let (mut lanes, mut bottom) = (BTreeMap::new(), 0.0);
    for (&lane, [up, down]) in halves {
        lanes.insert(lane, bottom + up);
        bottom += up + down + LANE_GAP;
    }
    bottom = (bottom - LANE_GAP).max(0.0);
    let zero = if centred { bottom / 2.0 } else { lanes.get(&0).copied().unwrap_or(0.0) };
    lanes.values_mut().for_each(|middle| *middle -= zero);
    (lanes, [-zero, bottom - zero])
}

/// The lanes of a unit while they are given out.
struct Lanes<'a> {
    blocks: &'a [Block],
    unit: &'a Unit,
    joins_equals: bool,
    /// Columns to the join, by position in the unit.
    depths: Vec<usize>,
    cells: Vec<Cell>,
    passages: BTreeMap<(usize, usize), isize>,
    taken: BTreeSet<(isize, usize)>,
}

impl<'a> Lanes<'a> {
    fn assign(blocks: &'a [Block], unit: &'a Unit, joins_equals: bool) -> Self {
        let start = unit.blocks.start;
        let mut cells: Vec<Cell> = Vec::new();
        for block in unit.blocks.clone() {
            let inside = blocks[block].inputs.iter().filter(|&&input| input >= start);
            let column = inside.map(|input| cells[input - start].column + 1).max().unwrap_or(0);
            cells.push(Cell { column, lane: None });
        }
        let mut depths = vec![0; cells.len()];
        for block in unit.blocks.clone().rev() {
            for input in blocks[block].inputs.iter().filter(|&&input| input >= start) {
                depths[input - start] = depths[input - start].max(depths[block - start] + 1);
            }
        }
        let (passages, taken) = (BTreeMap::new(), BTreeSet::new());
        let mut lanes = Self { blocks, unit, joins_equals, depths, cells, passages, taken };
        let outside = unit.blocks.clone().flat_map(|block| blocks[block].inputs.iter().copied());
        let outside: BTreeSet<usize> = outside.filter(|&input| input < start).collect();
        outside.into_iter().for_each(|source| lanes.follow(source, 0, 0));
        lanes
    }

    /// Gives lanes to all that is read from `source`, which is in `lane`, from `column` on; a branch at a time.
    fn follow(&mut self, source: usize, lane: isize, column: usize) {
        let (start, join) = (self.unit.blocks.start, self.unit.blocks.end - 1);
        let reads = |&block: &usize| self.blocks[block].inputs.contains(&source);
        let mut users: Vec<usize> = self.unit.blocks.clone().filter(reads).collect();
        if !self.joins_equals {
            users.sort_by_key(|user| Reverse(self.depths[user - start]));
        }
        for user in users {
            let cell = self.cells[user - start];
            let arrives = user != join && cell.lane.is_none();
            let passed = column..cell.column;
            let occupied = column..cell.column + usize::from(arrives);
            if occupied.is_empty() {
                continue;
            }
            let step = if self.joins_equals { 1 } else { -1 };
            let mut chosen = lane;
            while occupied.clone().any(|column| self.taken.contains(&(chosen, column))) {
                chosen += step;
            }
            // A new lane is the branch's from the start, so that it does not look like the end of another branch.
            let from = if chosen == lane { column } else { 0 };
            self.taken.extend((from..occupied.end).map(|column| (chosen, column)));
            if !passed.is_empty() {
                self.passages.insert((source, user), chosen);
            }
            if arrives {
                self.cells[user - start].lane = Some(chosen);
                self.follow(user, chosen, cell.column + 1);
            }
        }
    }
}
