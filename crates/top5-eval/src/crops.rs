//! Several crops of one image, and the average of what a network says of them.
//!
//! A [`View`] is one crop: how the image is scaled, which window of it is taken, and whether it is mirrored. A window that
//! is not of the network's input size is resized to it. The protocols of the papers are lists of views:
//!
//! - one crop: the shorter side scaled, the centre taken
//! - ten crops (Krizhevsky et al., NIPS 2012, section 4.1): of the central square of the scaled image, the four corners
//!   and the centre, and their mirror images
//! - 144 crops (Szegedy et al., CVPR 2015, section 7): at four scales, of the left, central and right square (upper,
//!   central and lower of a portrait), the four corners, the centre and the square itself resized, and their mirror images
//! - a grid (Simonyan & Zisserman, ICLR 2015, section 3.2): at three scales, 5 × 5 windows spread evenly over the whole
//!   image, and their mirror images: 150 crops

use serde::{Deserialize, Serialize};
use top5_data::{CropMode, Image, Preprocess, resize_crop};
use top5_graph::{EngineError, Session};

use crate::metric::softmax;

/// One crop of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Height and width that the image is scaled to.
    pub scaled: [usize; 2],
    /// First row of the window; negative where the scaled image is smaller than the window.
    pub top: isize,
    /// First column of the window.
    pub left: isize,
    /// Height and width of the window.
    pub window: [usize; 2],
    /// Whether it is mirrored.
    pub flip: bool,
}

impl View {
    /// Writes the network's input for this view of `image` into `out`, order C H W. The size, the channels, the filter and
    /// the statistics are those of `preprocess`; its own resize and crop are not done. Panics unless
    /// `out.len() == preprocess.size()`.
    pub fn apply(&self, image: &Image, preprocess: &Preprocess, out: &mut [f32]) {
        let (corner, filter) = ([self.top, self.left], preprocess.interpolation);
        let crop = resize_crop(image, self.scaled, filter, corner, self.window, [0; 3]);
        let crop = if self.flip { crop.flip_horizontal() } else { crop };
        // A window of the input's size passes through this resize unchanged.
        let whole = Preprocess {
            crop_mode: CropMode::Squash,
            crop_pct: 1.0,
            drawn_digits: false,
            ..preprocess.clone()
        };
        whole.apply(&crop, out);
    }
}

/// A protocol of crops. `shorter` is what the shorter side of the image is scaled to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Crops {
    /// The centre.
    One {
        /// The shorter side.
        shorter: usize,
    },
    /// Corners and centre of the central square, mirrored as well: 10 crops.
    Ten {
        /// The shorter side.
        shorter: usize,
    },
    /// GoogLeNet's: per scale 3 squares of 6 crops, mirrored as well; 144 crops for its four scales.
    Squares {
        /// The shorter side at each scale.
        shorter: Vec<usize>,
    },
    /// VGG's: per scale `side` × `side` windows, mirrored as well; 150 crops for its three scales and side 5.
    Grid {
        /// The shorter side at each scale.
        shorter: Vec<usize>,
        /// Windows in a row and in a column.
        side: usize,
    },
}

impl Crops {
    /// The 144 crops of GoogLeNet.
    pub fn googlenet() -> Self {
        Self::Squares { shorter: vec![256, 288, 320, 352] }
    }

    /// The views of an image of `image` [height, width] for a network with an input of `input` [height, width].
    pub fn views(&self, image: [usize; 2], input: [usize; 2]) -> Vec<View> {
        let mut views = Vec::new();
        match self {
            Self::One { shorter } => {
                let scaled = scale(image, *shorter);
                views.push(window(scaled, [0, 0], scaled, input, Place::Centre));
            }
            Self::Ten { shorter } => {
                let scaled = scale(image, *shorter);
                let [top, left] = offset(scaled, [*shorter; 2], Place::Centre);
                let square = |place| window(scaled, [top, left], [*shorter; 2], input, place);
                views.extend(FIVE.map(square));
                mirror(&mut views, 0);
            }
            Self::Squares { shorter } => {
                for &side in shorter {
                    let (scaled, first) = (scale(image, side), views.len());
                    for place in [Place::UpperLeft, Place::Centre, Place::LowerRight] {
                        let at = offset(scaled, [side; 2], place);
                        views.extend(FIVE.map(|place| window(scaled, at, [side; 2], input, place)));
                        let [top, left] = at;
                        views.push(View { scaled, top, left, window: [side; 2], flip: false });
                    }
                    mirror(&mut views, first);
                }
            }
            Self::Grid { shorter, side } => {
                for &shorter in shorter {
                    let (scaled, first) = (scale(image, shorter), views.len());
                    for row in 0..*side {
                        for column in 0..*side {
                            let place = Place::Grid { at: [row, column], of: *side };
                            views.push(window(scaled, [0, 0], scaled, input, place));
                        }
                    }
                    mirror(&mut views, first);
                }
            }
        }
        views
    }

    /// Number of views of one image.
    pub fn count(&self) -> usize {
        match self {
            Self::One { .. } => 1,
            Self::Ten { .. } => 10,
            Self::Squares { shorter } => shorter.len() * 3 * 6 * 2,
            Self::Grid { shorter, side } => shorter.len() * side * side * 2,
        }
    }
}

/// Where a window lies in a larger area.
#[derive(Clone, Copy)]
enum Place {
    UpperLeft,
    UpperRight,
    LowerLeft,
    LowerRight,
    Centre,
    /// Row and column of a grid whose first and last windows touch the borders.
    Grid {
        at: [usize; 2],
        of: usize,
    },
}

const FIVE: [Place; 5] =
    [Place::UpperLeft, Place::UpperRight, Place::LowerLeft, Place::LowerRight, Place::Centre];

/// Height and width when the shorter side becomes `shorter` and the other keeps the proportions, rounded down.
pub(crate) fn scale([height, width]: [usize; 2], shorter: usize) -> [usize; 2] {
    let longer = |long: usize, short: usize| {
        (shorter as u128 * long as u128 / short.max(1) as u128) as usize
    };
    if width <= height {
        [longer(height, width), shorter]
    } else {
        [shorter, longer(width, height)]
    }
}

/// Row and column at which a window lies in an area. Halves are rounded to even, as torchvision's centre crop does.
fn offset(area: [usize; 2], window: [usize; 2], place: Place) -> [isize; 2] {
    let room = [0, 1].map(|axis| area[axis] as isize - window[axis] as isize);
    let middle = room.map(|room| (room as f64 / 2.0).round_ties_even() as isize);
    match place {
        Place::UpperLeft => [0, 0],
        Place::UpperRight => [0, room[1]],
        Place::LowerLeft => [room[0], 0],
        Place::LowerRight => room,
        Place::Centre => middle,
        Place::Grid { of: 0 | 1, .. } => middle,
        Place::Grid { at, of } => {
            let step = |axis: usize| {
                let share = at[axis] as f64 / (of - 1) as f64;
                (room[axis] as f64 * share).round_ties_even() as isize
            };
            [step(0), step(1)]
        }
    }
}

/// The window of the network's input size in an area of the scaled image.
fn window(
    scaled: [usize; 2],
    at: [isize; 2],
    area: [usize; 2],
    input: [usize; 2],
    place: Place,
) -> View {
    let [top, left] = offset(area, input, place);
    View { scaled, top: at[0] + top, left: at[1] + left, window: input, flip: false }
}

/// Appends the mirror images of the views from `first` on.
fn mirror(views: &mut Vec<View>, first: usize) {
    let mirrored: Vec<View> =
        views[first..].iter().map(|&view| View { flip: true, ..view }).collect();
    views.extend(mirrored);
}

/// The mean of the probabilities that the network gives for these views of an image, in f64 and in the order of the views.
/// Empty where there are no views.
pub fn average(
    session: &mut dyn Session,
    image: &Image,
    views: &[View],
    preprocess: &Preprocess,
) -> Result<Vec<f64>, EngineError> {
    let (classes, size) = (session.graph().classes(), preprocess.size());
    let mut mean = vec![0.0; if views.is_empty() { 0 } else { classes }];
    for views in views.chunks(session.batch().max(1)) {
        let mut images = vec![0.0; views.len() * size];
        for (view, out) in views.iter().zip(images.chunks_exact_mut(size)) {
            view.apply(image, preprocess, out);
        }
        let logits = session.forward(&images)?.logits;
        for logits in logits.data().chunks_exact(classes) {
            mean.iter_mut().zip(softmax(logits)).for_each(|(mean, p)| *mean += p);
        }
    }
    mean.iter_mut().for_each(|mean| *mean /= views.len() as f64);
    Ok(mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const INPUT: [usize; 2] = [224, 224];

    /// Upper left corners, mirrored or not.
    fn corners(views: &[View], flip: bool) -> Vec<(isize, isize)> {
        views.iter().filter(|view| view.flip == flip).map(|view| (view.top, view.left)).collect()
    }

    #[test]
    fn one_crop_is_the_centre() {
        let views = Crops::One { shorter: 256 }.views([375, 500], INPUT);
        // 256·500/375 = 341.33; (341 − 224)/2 = 58.5 goes to the even 58.
        let expected = View { scaled: [256, 341], top: 16, left: 58, window: INPUT, flip: false };
        assert_eq!(views, [expected]);
    }

    #[test]
    fn ten_crops_lie_in_the_central_square() {
        let views = Crops::Ten { shorter: 256 }.views([512, 256], INPUT);
        assert_eq!(views.len(), 10);
        // Of 512 rows the square has 128..384.
        let expected = [(128, 0), (128, 32), (160, 0), (160, 32), (144, 16)];
        assert_eq!(corners(&views, false), expected);
        assert_eq!(corners(&views, true), expected);
        assert!(views.iter().all(|view| view.scaled == [512, 256] && view.window == INPUT));
    }

    #[test]
    fn googlenet_takes_144_crops_of_three_squares_at_four_scales() {
        let crops = Crops::googlenet();
        let views = crops.views([300, 400], INPUT);
        assert_eq!((views.len(), crops.count()), (144, 144));
        let at_256: Vec<View> =
            views.iter().copied().filter(|view| view.scaled == [256, 341]).collect();
        assert_eq!(at_256.len(), 36);
        // Squares at columns 0, 42 (42.5 to even) and 85; in each four corners, the centre and the square itself.
        let square = |left: isize| {
            [(0, left), (0, left + 32), (32, left), (32, left + 32), (16, left + 16), (0, left)]
        };
        assert_eq!(corners(&at_256, false), [square(0), square(42), square(85)].concat());
        assert_eq!(at_256.iter().filter(|view| view.window == [256, 256]).count(), 6);
        // A portrait's squares lie one above the other.
        let portrait = crops.views([400, 300], INPUT);
        let tops: BTreeSet<isize> =
            portrait.iter().filter(|view| view.window == [352, 352]).map(|view| view.top).collect();
        assert_eq!(tops, BTreeSet::from([0, 58, 117]));
    }

    #[test]
    fn square_image_has_144_crops_too() {
        assert_eq!(Crops::googlenet().views([64, 64], INPUT).len(), 144);
    }

    #[test]
    fn vgg_takes_150_crops_from_border_to_border() {
        let crops = Crops::Grid { shorter: vec![256, 384, 512], side: 5 };
        let views = crops.views([256, 320], INPUT);
        assert_eq!((views.len(), crops.count()), (150, 150));
        let first = corners(&views[..25], false);
        assert_eq!(first[..5], [(0, 0), (0, 24), (0, 48), (0, 72), (0, 96)]);
        assert_eq!(first[24], (32, 96));
        assert_eq!(first[10].0, 16);
        let single = Crops::Grid { shorter: vec![256], side: 1 }.views([256, 256], INPUT);
        assert_eq!(corners(&single, true), [(16, 16)]);
    }

    #[test]
    fn view_takes_its_window_and_mirrors_it() {
        let image =
            Image { channels: 1, height: 2, width: 3, pixels: vec![10, 20, 30, 40, 50, 60] };
        let preprocess =
            Preprocess { mean: vec![0.0], std: vec![1.0 / 255.0], ..Preprocess::squash([1, 2, 2]) };
        let pixels = |view: View| {
            let mut out = [0.0; 4];
            view.apply(&image, &preprocess, &mut out);
            out.map(f32::round)
        };
        let view = View { scaled: [2, 3], top: 0, left: 1, window: [2, 2], flip: false };
        assert_eq!(pixels(view), [20.0, 30.0, 50.0, 60.0]);
        assert_eq!(pixels(View { flip: true, ..view }), [30.0, 20.0, 60.0, 50.0]);
        // A window of another size is resized: two columns of one pixel each become two by two.
        let narrow = View { window: [1, 2], top: 1, left: 0, ..view };
        assert_eq!(pixels(narrow), [40.0, 50.0, 40.0, 50.0]);
        // Beyond the image there are zeros.
        assert_eq!(pixels(View { top: -1, ..view }), [0.0, 0.0, 20.0, 30.0]);
    }
}
