//! Where blocks and lines go.
//!
//! A unit is a grid: a block's column is its longest distance from the unit's input, its lane that of the branch it is on, and a
//! line that passes a column has a lane to itself there, so that no line crosses a block. Units follow each other on the axis of a
//! row; rows end where the size of the maps changes, or where the page does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::blocks::{Block, Drawing, Strand, Unit};

/// Space between the columns of a unit.
const COLUMN_GAP: f64 = 24.0;
/// Space between lanes.
const LANE_GAP: f64 = 8.0;
/// Half the height of a lane that only holds lines.
const LINE_LANE: f64 = 5.0;
/// Space between rows, in which lines return to the left.
const ROW_GAP: f64 = 40.0;
/// Space below a repeated unit, and above it, with its number, for the frame.
const FRAME: f64 = 7.0;
const FRAME_HEAD: f64 = 24.0;

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

/// A frame around a repeated unit: left, top, width, height.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) corner: [f64; 2],
    pub(crate) size: [f64; 2],
    pub(crate) repeat: usize,
}

/// Everything placed.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// By block.
    pub(crate) places: Vec<Place>,
    pub(crate) lines: Vec<Line>,
    pub(crate) frames: Vec<Frame>,
    /// For each strand after the first, where its name goes.
    pub(crate) headings: Vec<[f64; 2]>,
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
    let mut layout = Layout {
        places: vec![nowhere; drawing.blocks.len()],
        lines: Vec::new(),
        frames: Vec::new(),
        headings: Vec::new(),
        size: [left, top],
    };
    for (number, strand) in drawing.strands.iter().enumerate() {
        if number > 0 {
            layout.headings.push([left, layout.size[1]]);
            layout.size[1] += 12.0;
        }
        layout.place_strand(drawing, strand, forms, left, width);
    }
    layout
}

impl Layout {
    fn place_strand(
        &mut self,
        drawing: &Drawing,
        strand: &Strand,
        forms: &[Form],
        left: f64,
        width: f64,
    ) {
        let grids: Vec<Grid> =
            strand.units.iter().map(|unit| Grid::new(&drawing.blocks, unit, forms)).collect();
        let first = strand.units[0].blocks.start;
        // How a line gets from the end of the row before to the start of this one.
        let mut around: Vec<[f64; 2]> = Vec::new();
        for row in break_rows(&strand.units, &grids, forms, width) {
            let most =
                |side: fn(&Grid) -> f64| grids[row.clone()].iter().map(side).fold(0.0, f64::max);
            let (above, below) = (most(|grid| grid.above), most(|grid| grid.below));
            let axis = self.size[1] + above;
            if !around.is_empty() {
                around.push([left, axis]);
            }
            let mut x = left + COLUMN_GAP / 2.0;
            for index in row {
                let (unit, grid) = (&strand.units[index], &grids[index]);
                self.place_unit(unit, grid, [x, axis]);
                for to in unit.blocks.clone() {
                    for &from in &drawing.blocks[to].inputs {
                        let start =
                            [self.places[from].x + forms[from].width / 2.0, self.places[from].y];
                        let points = if unit.blocks.contains(&from) {
                            vec![start, [self.places[from].column[1], start[1]]]
                        } else if from < first {
                            // From another strand: a stub, whose origin is written beside it.
                            vec![[left, axis], [x, axis]]
                        } else {
                            [vec![start], around.clone(), vec![[x, axis]]].concat()
                        };
                        let lane = grid.passages.get(&(from, to));
                        let passing = lane.map(|lane| axis + grid.lanes[lane]);
                        self.enter((from, to), points, passing, forms);
                    }
                }
                around.clear();
                x += grid.width;
            }
            self.size[0] = self.size[0].max(x + COLUMN_GAP / 2.0);
            self.size[1] = axis + below + ROW_GAP;
            let turn = axis + below + ROW_GAP / 2.0;
            around = vec![[x + 2.0, axis], [x + 2.0, turn], [left, turn]];
        }
    }

    fn place_unit(&mut self, unit: &Unit, grid: &Grid, [x, axis]: [f64; 2]) {
        for (cell, block) in grid.cells.iter().zip(unit.blocks.clone()) {
            let column = [x + grid.columns[cell.column], x + grid.columns[cell.column + 1]];
            let middle = (column[0] + column[1]) / 2.0;
            self.places[block] = Place { x: middle, y: axis + grid.height(cell.lane), column };
        }
        if unit.repeat > 1 {
            // The lines that fork at the unit's left end are inside, those at the next unit's outside.
            let corner = [x - 5.0, axis - grid.above + FRAME_HEAD - FRAME];
            let size = [grid.width - 2.0, grid.above + grid.below - FRAME_HEAD + FRAME];
            self.frames.push(Frame { corner, size, repeat: unit.repeat });
        }
    }

    /// A line's way into `to`, from where `points` end: at a column's end, on the height of its source.
    fn enter(
        &mut self,
        (from, to): (usize, usize),
        mut points: Vec<[f64; 2]>,
        passing: Option<f64>,
        forms: &[Form],
    ) {
        let target = self.places[to];
        let [x, _] = points[points.len() - 1];
        let passing = passing.unwrap_or(target.y);
        points.extend([[x, passing], [target.column[0], passing], [target.column[0], target.y]]);
        points.push([target.x - forms[to].width / 2.0, target.y]);
        self.lines.push(Line { from, to, points });
    }
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
    width: f64,
    above: f64,
    below: f64,
}

impl Grid {
    fn new(blocks: &[Block], unit: &Unit, forms: &[Form]) -> Self {
        let joins_equals = forms[unit.blocks.end - 1].joins_equals;
        let Lanes { cells, passages, .. } = Lanes::assign(blocks, unit, joins_equals);
        let forms = &forms[unit.blocks.clone()];

        let mut widths = vec![0.0_f64; cells[cells.len() - 1].column + 1];
        let mut halves: BTreeMap<isize, [f64; 2]> = BTreeMap::new();
        let [mut above, mut below] = [0.0_f64; 2];
        for (cell, form) in cells.iter().zip(forms) {
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
        let [head, foot] = if unit.repeat > 1 { [FRAME_HEAD, FRAME] } else { [0.0; 2] };
        Self {
            width: columns[columns.len() - 1],
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
