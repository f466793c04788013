//! Axes: where round values lie, and how a value becomes a position.

use crate::svg::{INK, MUTED, Svg};

/// The lines of the grid.
const GRID: &str = "#e3e3e3";

/// A scale from values to positions.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// The values at the ends; logarithms when `log`.
    values: [f64; 2],
    positions: [f64; 2],
    log: bool,
    /// Round values within the ends.
    pub(crate) ticks: Vec<f64>,
}

impl Axis {
    /// An axis on which all of `values` have a place between `positions`, with round values at its ends. What is not finite
    /// does not count.
    pub(crate) fn linear(values: impl Iterator<Item = f64>, positions: [f64; 2]) -> Self {
        let [low, high] = range(values).unwrap_or([0.0, 1.0]);
        let [low, high] = if low == high { [low - 0.5, high + 0.5] } else { [low, high] };
        let step = round_step((high - low) / 5.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks = (0..=(last - first) as usize).map(|i| (first + i as f64) * step).collect();
        Self { values: [first * step, last * step], positions, log: false, ticks }
    }

    /// An axis of years, which has a tick for each from the first to the last.
    pub(crate) fn years(values: impl Iterator<Item = f64>, positions: [f64; 2]) -> Self {
        let [first, last] = range(values).unwrap_or([2012.0, 2017.0]);
        let ticks = (0..=(last - first) as usize).map(|i| first + i as f64).collect();
        Self { values: [first, last.max(first + 1.0)], positions, log: false, ticks }
    }

    /// The same with equal ratios at equal distances, for positive values; others do not count. Its ticks are 1, 2 and 5
    /// times powers of ten, and more where that gives but a few.
    pub(crate) fn logarithmic(values: impl Iterator<Item = f64>, positions: [f64; 2]) -> Self {
        let [low, high] = range(values.filter(|v| *v > 0.0)).unwrap_or([1.0, 10.0]);
        // Ticks are at most a factor of 2.5 apart, so that one is always within the ends.
        let margin = if high < 2.0 * low { 1.6 } else { 1.25 };
        let ends = [(low / margin).log10(), (high * margin).log10()];
        let decades = ends[0].floor() as i32..=ends[1].floor() as i32;
        let within = |multiples: &[f64]| -> Vec<f64> {
            let powers = decades.clone().map(|decade| 10f64.powi(decade));
            let ticks = powers.flat_map(|power| multiples.iter().map(move |m| m * power));
            ticks.filter(|tick| (ends[0]..=ends[1]).contains(&tick.log10())).collect()
        };
        let coarse = within(&[1.0, 2.0, 5.0]);
        let ticks = match coarse.len() {
            0..4 => within(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]),
            _ => coarse,
        };
        Self { values: ends, positions, log: true, ticks }
    }

    /// The position of a value; none where it has no place.
    pub(crate) fn position(&self, value: f64) -> Option<f64> {
        let value = if self.log { value.log10() } else { value };
        let [low, high] = self.values;
        let [from, to] = self.positions;
        value.is_finite().then(|| from + (value - low) / (high - low) * (to - from))
    }

    /// Draws it below the chart, whose upper end is at `top`, with grid lines.
    pub(crate) fn draw_horizontal(
        &self,
        svg: &mut Svg,
        [top, bottom]: [f64; 2],
        name: &str,
        text: impl Fn(f64) -> String,
    ) {
        let [left, right] = self.positions;
        for &tick in &self.ticks {
            let Some(x) = self.position(tick) else { continue };
            svg.line([x, top], [x, bottom], GRID);
            svg.coloured_label([x, bottom + 16.0], 11.0, "middle", MUTED, &text(tick));
        }
        svg.line([left, bottom], [right, bottom], INK);
        svg.label([(left + right) / 2.0, bottom + 36.0], 12.0, "middle", name);
    }

    /// Draws it left of the chart, whose ends are `left` and `right`, with grid lines. Its name stands above it.
    pub(crate) fn draw_vertical(
        &self,
        svg: &mut Svg,
        [left, right]: [f64; 2],
        name: &str,
        text: impl Fn(f64) -> String,
    ) {
        let [bottom, top] = self.positions;
        for &tick in &self.ticks {
            let Some(y) = self.position(tick) else { continue };
            svg.line([left, y], [right, y], GRID);
            svg.coloured_label([left - 6.0, y + 4.0], 11.0, "end", MUTED, &text(tick));
        }
        svg.line([left, bottom], [left, top], INK);
        svg.label([left - 40.0, top - 12.0], 12.0, "start", name);
    }
}

/// The least and the greatest finite value.
fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let finite = values.filter(|v| v.is_finite());
    finite.fold(None, |range, v| {
        let [low, high] = range.unwrap_or([v, v]);
        Some([v.min(low), v.max(high)])
    })
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powi(step.log10().floor() as i32);
    let multiple = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= step * (1.0 - 1e-9));
    multiple.unwrap_or(10.0) * power
}

/// A tick's value in as few digits as tell it from its neighbours.
pub(crate) fn tick_text(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_enclose_the_values() {
        let axis = Axis::linear([2.25, 17.0, f64::NAN].into_iter(), [0.0, 100.0]);
        assert_eq!(axis.ticks, [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(
            [0.0, 5.0, 20.0].map(|v| axis.position(v)),
            [Some(0.0), Some(25.0), Some(100.0)]
        );
        assert_eq!(axis.position(f64::NAN), None);
    }

    #[test]
    fn equal_and_missing_values_still_give_an_axis() {
        for values in [vec![3.0], vec![0.0, 0.0], vec![], vec![f64::INFINITY]] {
            for axis in [
                Axis::linear(values.iter().copied(), [0.0, 1.0]),
                Axis::logarithmic(values.iter().copied(), [0.0, 1.0]),
            ] {
                assert!(!axis.ticks.is_empty(), "{values:?}");
                let positions = axis.ticks.iter().map(|&tick| axis.position(tick).unwrap());
                assert!(positions.into_iter().all(|p| (-1e-9..=1.0 + 1e-9).contains(&p)));
            }
        }
    }

    #[test]
    fn logarithmic_ticks_are_1_2_5() {
        let axis = Axis::logarithmic([1e6, 3e7, 0.0, -1.0].into_iter(), [0.0, 1.0]);
        assert_eq!(axis.ticks, [1e6, 2e6, 5e6, 1e7, 2e7]);
        assert_eq!(axis.position(0.0), None);
    }
}
