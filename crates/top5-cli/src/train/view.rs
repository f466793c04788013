//! The run drawn on a terminal: a few lines that are drawn again in place. Nothing of the terminal is switched (no other
//! screen, no hidden cursor, no raw mode), so that there is nothing to restore, however the program ends.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::{Term, colors_enabled_stderr, measure_text_width};
use top5::train::{EpochRow, State, StepRecord};

use crate::output::Output;
use crate::printable;

/// Drawn again no sooner than this.
const PERIOD: Duration = Duration::from_millis(200);
/// Images per second are counted over this.
const WINDOW: Duration = Duration::from_secs(5);
/// The size that is assumed of a terminal that tells none.
const SIZE: [usize; 2] = [24, 80];
/// Losses that the curve is drawn from.
const KEPT: usize = 512;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is drawn.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// Network and data.
    title: String,
    epochs: usize,
    steps: usize,
    step: usize,
    /// Of the newest step.
    lr: f32,
    /// Of the running epoch so far: its number, images, and over them the sums of losses and of shares in percent.
    epoch: usize,
    images: usize,
    sums: [f64; 3],
    loss: Losses,
    images_per_second: Option<f64>,
    seconds_left: f64,
    last: Option<EpochRow>,
    /// The best validation top-1 and its epoch.
    best: Option<(f64, usize)>,
}

/// The losses of all steps in at most [`KEPT`] means of equally many.
#[derive(Clone, Debug)]
struct Losses {
    means: Vec<f64>,
    of: usize,
    sum: f64,
    count: usize,
}

impl Default for Losses {
    fn default() -> Self {
        Self { means: Vec::new(), of: 1, sum: 0.0, count: 0 }
    }
}

impl Losses {
    fn add(&mut self, loss: f64) {
        (self.sum, self.count) = (self.sum + loss, self.count + 1);
        if self.count < self.of {
            return;
        }
        self.means.push(self.sum / self.count as f64);
        (self.sum, self.count) = (0.0, 0);
        if self.means.len() == KEPT {
            self.means = self.means.chunks(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
            self.of *= 2;
        }
    }

    /// The curve in so many columns, from the first loss to the last.
    fn curve(&self, columns: usize) -> String {
        let columns = columns.min(self.means.len());
        let means: Vec<f64> = (0..columns)
            .map(|i| {
                let place = |i: usize| i * self.means.len() / columns;
                let part = &self.means[place(i)..place(i + 1)];
                part.iter().sum::<f64>() / part.len() as f64
            })
            .collect();
        let low = means.iter().copied().fold(f64::INFINITY, f64::min);
        let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let bar = |mean: &f64| {
            let height = (mean - low) / (high - low).max(f64::MIN_POSITIVE);
            BARS[(height * 7.0).round() as usize]
        };
        means.iter().map(bar).collect()
    }
}

impl Facts {
    fn step(&mut self, step: &StepRecord) {
        if self.epoch != step.epoch {
            (self.epoch, self.images, self.sums) = (step.epoch, 0, [0.0; 3]);
        }
        let images = step.images.unwrap_or(0);
        self.images += images;
        let values = [step.loss, step.top1.unwrap_or(0.0), step.top5.unwrap_or(0.0)];
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += value * images as f64;
        }
        (self.step, self.lr) = (step.step, step.lr);
        self.loss.add(step.loss);
    }

    /// The lines, each of at most `width` columns: every group begins one, and its cells go on to the next where they must.
    fn lines(&self, width: usize) -> Vec<String> {
        let share = 100 * self.step / self.steps.max(1);
        let mut groups = vec![
            vec![self.title.clone()],
            vec![
                format!("epoch {}/{}", self.epoch.max(1), self.epochs),
                format!("step {}", self.step),
                format!("{share} %"),
                format!("lr {}", rate(self.lr)),
            ],
        ];
        let mut pace = Vec::new();
        pace.extend(self.images_per_second.map(|rate| format!("{rate:.0} images/s")));
        if self.step > 0 {
            pace.push(format!("{} left", time(self.seconds_left)));
        }
        groups[1].append(&mut pace);
        if self.images > 0 {
            let [loss, top1, top5] = self.sums.map(|sum| sum / self.images as f64);
            groups.push(part("training", [Some(loss), Some(top1), Some(top5)]));
        }
        if let Some(row) = &self.last {
            let mut cells = part("validation", [row.eval_loss, row.eval_top1, row.eval_top5]);
            let best = self.best.map(|(top1, epoch)| format!("best {top1:.2} % ({epoch})"));
            cells.extend(best);
            groups.push(cells);
        }
        let mut lines: Vec<String> = groups.iter().flat_map(|cells| flow(cells, width)).collect();
        let curve = self.loss.curve(width.min(KEPT));
        lines.extend(Some(curve).filter(|curve| curve.chars().count() > 1));
        lines
    }
}

/// Loss, top-1 and top-5 of a part.
fn part(name: &str, [loss, top1, top5]: [Option<f64>; 3]) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    cells.extend(loss.map(|loss| format!("loss {loss:.4}")));
    cells.extend(top1.map(|share| format!("top-1 {share:.2} %")));
    cells.extend(top5.map(|share| format!("top-5 {share:.2} %")));
    if cells.len() > 1 { cells } else { Vec::new() }
}

/// Cells in lines of at most `width` columns; what is longer is cut off.
fn flow(cells: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for cell in cells {
        let cell = fitted(cell, width);
        let needed = 2 + measure_text_width(&cell);
        match lines.last_mut().filter(|line| measure_text_width(line) + needed <= width) {
            Some(line) => *line += &format!("  {cell}"),
            None => lines.push(cell),
        }
    }
    lines
}

/// The beginning of a text that fits into `width` columns.
fn fitted(text: &str, width: usize) -> String {
    let mut fitted = String::new();
    for c in text.chars() {
        fitted.push(c);
        if measure_text_width(&fitted) > width {
            fitted.pop();
            break;
        }
    }
    fitted
}

fn rate(lr: f32) -> String {
    if lr != 0.0 && lr.abs() < 1e-3 { format!("{lr:.2e}") } else { format!("{lr:.4}") }
}

/// Hours, minutes and seconds.
fn time(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let [hours, minutes, rest] = [seconds / 3600, seconds / 60 % 60, seconds % 60];
    match hours {
        0 => format!("{minutes}:{rest:02}"),
        hours => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

/// Rows that lines of so many columns take on a terminal of this width, to which it has fitted them if it was made narrower
/// since.
fn rows(columns: &[usize], width: usize) -> usize {
    columns.iter().map(|columns| columns.div_ceil(width.max(1)).max(1)).sum()
}

/// The picture of a run on stderr.
pub(super) struct View {
    facts: Facts,
    output: Output,
    term: Term,
    /// The columns of each line that stands there.
    drawn: Vec<usize>,
    when: Option<Instant>,
    /// When, and how many images until then, not long ago.
    pace: VecDeque<(Instant, usize)>,
    images: usize,
}

impl View {
    /// Of a run of so many steps that goes on from `state`.
    pub(super) fn new(output: Output, steps: usize, state: &State) -> Self {
        let recipe = &state.recipe;
        let title = printable::name(&format!("{} on {}", recipe.network, recipe.data)).into_owned();
        let mut facts = Facts { title, epochs: recipe.epochs, steps, ..Facts::default() };
        (facts.step, facts.epoch) = (state.step, state.rows.len() + 1);
        facts.epoch = facts.epoch.min(recipe.epochs);
        facts.look_back(&state.rows);
        let pace = VecDeque::from([(Instant::now(), 0)]);
        let term = Term::stderr();
        Self { facts, output, term, drawn: Vec::new(), when: None, pace, images: 0 }
    }

    /// A step was done.
    pub(super) fn step(&mut self, step: &StepRecord, seconds_left: f64) {
        self.facts.step(step);
        self.images += step.images.unwrap_or(0);
        let now = Instant::now();
        if self.when.is_some_and(|when| now - when < PERIOD) {
            return;
        }
        self.pace.push_back((now, self.images));
        while self.pace.len() > 2 && now - self.pace[1].0 > WINDOW {
            self.pace.pop_front();
        }
        let (since, images) = self.pace[0];
        let seconds = (now - since).as_secs_f64();
        self.facts.images_per_second = Some((self.images - images) as f64 / seconds);
        self.facts.seconds_left = seconds_left;
        self.when = Some(now);
        self.draw(None);
    }

    /// An epoch was done, the last of these, of which the line tells that stays.
    pub(super) fn epoch(&mut self, rows: &[EpochRow], line: &str) {
        self.facts.look_back(rows);
        self.note(line);
    }

    /// Writes a line that stays, above the picture.
    pub(super) fn note(&mut self, text: &str) {
        let text = printable::message(text);
        self.draw(Some(&text));
    }

    /// Takes the picture away while something else is said.
    pub(super) fn aside(&mut self, say: impl FnOnce(Output)) {
        self.clear();
        say(self.output);
        self.draw(None);
    }

    fn draw(&mut self, above: Option<&str>) {
        let [height, width] = match self.term.size_checked() {
            Some((height, width)) if height > 1 && width > 1 => [height, width].map(usize::from),
            Some(_) | None => SIZE,
        };
        // The last column stays free: some terminals begin a new line after it.
        let mut lines = self.facts.lines(width - 1);
        lines.truncate(height - 1);
        let mut text = self.erasing(width);
        if let Some(above) = above {
            text += &format!("{above}\r\n");
        }
        for line in &lines {
            text += &format!("{}\r\n", coloured(line));
        }
        self.drawn = lines.iter().map(|line| measure_text_width(line)).collect();
        self.write(&text);
    }

    fn clear(&mut self) {
        let width = self.term.size_checked().map_or(SIZE[1], |(_, width)| usize::from(width));
        let text = self.erasing(width);
        self.drawn.clear();
        self.write(&text);
    }

    /// What takes the picture away.
    fn erasing(&self, width: usize) -> String {
        match rows(&self.drawn, width) {
            0 => "\r".to_owned(),
            rows => format!("\r\x1b[{rows}A\x1b[J"),
        }
    }

    /// In one piece, so that nothing flickers. That nobody can read it is no reason to stop.
    fn write(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

impl Facts {
    fn look_back(&mut self, rows: &[EpochRow]) {
        self.last = rows.last().cloned();
        let known = rows.iter().filter_map(|row| Some((row.eval_top1?, row.epoch)));
        self.best = known.rev().max_by(|a, b| a.0.total_cmp(&b.0));
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A curve in colour, where colours are wanted (`NO_COLOR`, `CLICOLOR`).
fn coloured(line: &str) -> String {
    match line.starts_with(BARS) && colors_enabled_stderr() {
        true => format!("\x1b[36m{line}\x1b[0m"),
        false => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(steps: usize) -> Facts {
        let mut facts = Facts {
            title: "resnet20_cifar on ~/photographs/各地的花卉".to_owned(),
            epochs: 300,
            steps: 123_456,
            ..Facts::default()
        };
        for step in 1..=steps {
            let loss = 2.0 / step as f64;
            let (images, top1, top5) = (Some(128), Some(50.0), Some(100.0));
            facts.step(&StepRecord { step, epoch: 7, images, loss, top1, top5, lr: 1e-5 });
        }
        let row = EpochRow {
            epoch: 6,
            step: 10,
            train_loss: 1.0,
            train_top1: 10.0,
            train_top5: None,
            eval_loss: Some(0.25),
            eval_top1: Some(91.5),
            eval_top5: Some(99.75),
            ema: false,
            lr: 0.1,
        };
        facts.look_back(&[EpochRow { epoch: 5, eval_top1: Some(92.0), ..row.clone() }, row]);
        facts.images_per_second = Some(812.3);
        facts.seconds_left = 3723.0;
        facts
    }

    #[test]
    fn picture_fits_every_width() {
        let facts = facts(1000);
        for width in 1..200 {
            for line in facts.lines(width) {
                assert!(measure_text_width(&line) <= width, "{width}: {line}");
            }
        }
        for width in [20, 80] {
            let text = facts.lines(width).join("\n");
            for words in [
                "epoch 7/300",
                "lr 1.00e-5",
                "812 images/s",
                "1:02:03 left",
                "loss 0.2500",
                "top-1 50.00 %",
                "top-5 100.00 %",
                "top-1 91.50 %",
                "top-5 99.75 %",
                "best 92.00 % (5)",
                "▁",
            ] {
                assert!(text.contains(words), "{words}: {text}");
            }
        }
        assert!(facts.lines(100).len() <= 5, "{:?}", facts.lines(100));
    }

    #[test]
    fn run_that_has_not_begun_is_drawn() {
        let facts = Facts { title: "lenet on digits".to_owned(), epochs: 3, ..Facts::default() };
        let lines = facts.lines(80);
        assert_eq!(lines, ["lenet on digits", "epoch 1/3  step 0  0 %  lr 0.0000"]);
    }

    #[test]
    fn curve_keeps_beginning_and_end_of_any_run() {
        let mut losses = Losses::default();
        assert_eq!(losses.curve(20), "");
        for i in 0..100_000 {
            losses.add(f64::from(i));
        }
        assert!(losses.means.len() < KEPT);
        assert_eq!(losses.curve(8), "▁▂▃▄▅▆▇█");
        let mut equal = Losses::default();
        (0..4).for_each(|_| equal.add(1.0));
        assert_eq!(equal.curve(20), "▁▁▁▁");
        equal.add(f64::NAN);
        assert_eq!(equal.curve(20).chars().count(), 5);
    }

    #[test]
    fn lines_of_a_terminal_made_narrower_take_more_rows() {
        assert_eq!(rows(&[], 80), 0);
        assert_eq!(rows(&[0, 79, 40], 80), 3);
        assert_eq!(rows(&[0, 79, 40], 20), 1 + 4 + 2);
        assert_eq!(rows(&[5], 0), 5);
    }
}
