//! Colour maps that survive colour blindness and gray printing: lightness rises along the sequential one, and the diverging
//! one goes from blue over white to orange. No jet, no red against green.

use crate::map::Map;

/// Stops of a colour map at equal distances, interpolated in sRGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ramp {
    /// Dark violet over green to yellow, after matplotlib's viridis (van der Walt & Smith 2015).
    Sequential,
    /// Blue, white at zero, orange (after ColorBrewer's PuOr and RdBu).
    Diverging,
}

const SEQUENTIAL: [[u8; 3]; 9] = [
    [0x44, 0x01, 0x54],
    [0x47, 0x2d, 0x7b],
    [0x3b, 0x52, 0x8b],
    [0x2c, 0x72, 0x8e],
    [0x21, 0x91, 0x8c],
    [0x28, 0xae, 0x80],
    [0x5e, 0xc9, 0x62],
    [0xad, 0xdc, 0x30],
    [0xfd, 0xe7, 0x25],
];

const DIVERGING: [[u8; 3]; 9] = [
    [0x05, 0x30, 0x61],
    [0x21, 0x66, 0xac],
    [0x43, 0x93, 0xc3],
    [0x92, 0xc5, 0xde],
    [0xf7, 0xf7, 0xf7],
    [0xfd, 0xb8, 0x63],
    [0xe0, 0x82, 0x14],
    [0xb3, 0x58, 0x06],
    [0x7f, 0x3b, 0x08],
];

impl Ramp {
    /// The colour at a share from 0 to 1.
    pub fn at(self, share: f32) -> [u8; 3] {
        let stops = match self {
            Self::Sequential => &SEQUENTIAL,
            Self::Diverging => &DIVERGING,
        };
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        let place = share * (stops.len() - 1) as f32;
        let low = (place as usize).min(stops.len() - 2);
        let part = place - low as f32;
        let between = |c: usize| {
            let [a, b] = [stops[low][c], stops[low + 1][c]].map(f32::from);
            (a + (b - a) * part).round() as u8
        };
        [between(0), between(1), between(2)]
    }
}

/// Which number has which colour. Maps that are compared share one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The number of the first colour.
    pub low: f32,
    /// The number of the last colour.
    pub high: f32,
    /// The colours.
    pub ramp: Ramp,
}

impl Scale {
    /// The scale of one map: of a signed one diverging and even about zero, of another from zero, or its least value, to its
    /// greatest.
    pub fn of(map: &Map) -> Self {
        Self::shared([map]).expect("there is a map")
    }

    /// One scale for several maps; diverging if one of them is signed. `None` of no maps.
    pub fn shared<'a>(maps: impl IntoIterator<Item = &'a Map>) -> Option<Self> {
        let (mut low, mut high, mut signed, mut any) = (0.0f32, f32::NEG_INFINITY, false, false);
        for map in maps {
            let [least, most] = map.range();
            (low, high) = (low.min(least), high.max(most));
            signed |= map.signed();
            any = true;
        }
        let even = high.max(-low);
        match () {
            () if !any => None,
            () if signed => Some(Self { low: -even, high: even, ramp: Ramp::Diverging }),
            () => Some(Self { low, high, ramp: Ramp::Sequential }),
        }
    }

    /// The colour of a number. Where low and high are equal it is that of the middle of a diverging scale, the low end of a
    /// sequential one.
    pub fn colour(&self, value: f32) -> [u8; 3] {
        let span = f64::from(self.high) - f64::from(self.low);
        let share = (f64::from(value) - f64::from(self.low)) / span;
        match (span > 0.0, self.ramp) {
            (true, ramp) => ramp.at(share as f32),
            (false, Ramp::Sequential) => Ramp::Sequential.at(0.0),
            (false, Ramp::Diverging) => Ramp::Diverging.at(0.5),
        }
    }

    /// The numbers at its ends and in its middle, lowest first.
    pub fn ticks(&self) -> [f32; 3] {
        let middle = (f64::from(self.low) + f64::from(self.high)) / 2.0;
        [self.low, middle as f32, self.high]
    }
}

/// A number of a scale in three digits: `0.0123`, `1.2e-7`, `-34.5`.
pub(crate) fn number(value: f32) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if !(1e-3..1e5).contains(&magnitude) {
        return format!("{value:.2e}");
    }
    let digits = (2 - magnitude.log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lightness([r, g, b]: [u8; 3]) -> f32 {
        0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b)
    }

    #[test]
    fn the_sequential_ramp_grows_lighter() {
        let light: Vec<f32> =
            (0..=100).map(|i| lightness(Ramp::Sequential.at(i as f32 / 100.0))).collect();
        assert!(light.windows(2).all(|pair| pair[0] <= pair[1] + 0.6), "{light:?}");
        assert!(light[100] - light[0] > 150.0);
    }

    #[test]
    fn zero_is_white_on_signed_maps() {
        let map = Map::new(vec![-1.0, 0.0, 4.0], 1, 3, true).unwrap();
        let scale = Scale::of(&map);
        assert_eq!([scale.low, scale.high], [-4.0, 4.0]);
        assert_eq!(scale.colour(0.0), [0xf7; 3]);
        let [below, above] = [scale.colour(-4.0), scale.colour(4.0)];
        assert!(below[2] > below[0] && above[0] > above[2]);
    }

    #[test]
    fn maps_of_one_value_have_a_colour() {
        for signed in [false, true] {
            let map = Map::new(vec![0.0; 4], 2, 2, signed).unwrap();
            assert_eq!(Scale::of(&map).colour(0.0), Scale::of(&map).colour(0.0));
        }
        assert!(Scale::shared([]).is_none());
    }

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.012345, -34.54, 1.25e-7, 1234.4, 2e6].map(number);
        assert_eq!(texts, ["0", "0.0123", "-34.5", "1.25e-7", "1234", "2.00e6"]);
    }
}
