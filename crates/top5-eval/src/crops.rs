//! Crops of the network's input size, as the papers cut them:
//!
//! - ten crops (Krizhevsky et al., NIPS 2012, section 4.1): of the central square of the scaled image, the four corners
//!   and the centre, and their mirror images
//! - 144 crops (Szegedy et al., CVPR 2015, section 7): at four scales, of the left, central and right square (upper,
//!   central and lower of a portrait), the four corners, the centre and the square itself resized, and their mirror images
//! - a grid (Simonyan & Zisserman, ICLR 2015, section 3.2): at three scales, 5 × 5 windows spread evenly over the whole
//!   image, and their mirror images: 150 crops

use serde::{Deserialize, Serialize};

use crate::view::{Place, View, offset, scale};

/// A way to cut crops. `shorter` is what the shorter side of the image is scaled to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Crops {
    /// The one crop that the model's own preprocessing makes.
    Own,
    /// The centre.
    Centre {
        /// The shorter side.
        shorter: usize,
        /// Side of the crop, where it is not the network's input.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        side: Option<usize>,
    },
    /// Corners and centre of the central square, mirrored as well: 10 crops.
    Ten {
        /// The shorter side.
        shorter: usize,
    },
    /// GoogLeNet's: per scale some squares of 6 crops, mirrored as well; 144 crops for four scales and three squares.
    Squares {
        /// The shorter side at each scale.
        shorter: Vec<usize>,
        /// Which squares.
        #[serde(default)]
        squares: Squares,
    },
    /// VGG's: per scale `side` × `side` windows, mirrored as well; 150 crops for its three scales and side 5.
    Grid {
        /// The shorter side at each scale.
        shorter: Vec<usize>,
        /// Windows in a row and in a column.
        side: usize,
    },
}

/// Squares of an image, as high or as wide as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Squares {
    /// The first, the central and the last one.
    #[default]
    Three,
    /// The central one.
    Centre,
}

impl Squares {
    fn places(self) -> &'static [Place] {
        match self {
            Self::Three => &[Place::UpperLeft, Place::Centre, Place::LowerRight],
            Self::Centre => &[Place::Centre],
        }
    }
}

impl Crops {
    /// The views of an image of `image` [height, width] for a network with an input of `input` [height, width]. Of
    /// [`Crops::Own`] it is a stand-in for what the preprocessing itself makes.
    pub fn views(&self, image: [usize; 2], input: [usize; 2]) -> Vec<View> {
        let mut views = Vec::new();
        match self {
            Self::Own => views.push(window(input, [0, 0], input, input, Place::Centre)),
            Self::Centre { shorter, side } => {
                let scaled = scale(image, *shorter);
                let input = side.map_or(input, |side| [side; 2]);
                views.push(window(scaled, [0, 0], scaled, input, Place::Centre));
            }
            Self::Ten { shorter } => {
                let scaled = scale(image, *shorter);
                let at = offset(scaled, [*shorter; 2], Place::Centre);
                let square = |place| window(scaled, at, [*shorter; 2], input, place);
                views.extend(FIVE.map(square));
                mirror(&mut views, 0);
            }
            Self::Squares { shorter, squares } => {
                for &side in shorter {
                    let (scaled, first) = (scale(image, side), views.len());
                    for &place in squares.places() {
                        let at = offset(scaled, [side; 2], place);
                        let square = View { window: [side; 2], ..at_corner(scaled, at, input) };
                        views.extend(FIVE.map(|place| window(scaled, at, [side; 2], input, place)));
                        views.push(square);
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
            Self::Own | Self::Centre { .. } => 1,
            Self::Ten { .. } => 10,
            Self::Squares { shorter, squares } => shorter.len() * squares.places().len() * 6 * 2,
            Self::Grid { shorter, side } => shorter.len() * side * side * 2,
        }
    }

    /// What the shorter side is scaled to, at each scale.
    pub(crate) fn shorter(&self) -> &[usize] {
        match self {
            Self::Own => &[],
            Self::Centre { shorter, .. } | Self::Ten { shorter } => std::slice::from_ref(shorter),
            Self::Squares { shorter, .. } | Self::Grid { shorter, .. } => shorter,
        }
    }

    /// Whether windows for an input of `input` [height, width] lie within the scaled image, whatever its proportions.
    pub(crate) fn fit(&self, input: [usize; 2]) -> bool {
        let longer = input[0].max(input[1]);
        let least = match self {
            Self::Own => return true,
            Self::Centre { side, .. } => side.unwrap_or(longer),
            Self::Grid { .. } | Self::Ten { .. } | Self::Squares { .. } => longer,
        };
        self.shorter().iter().all(|&shorter| shorter >= least)
    }
}

const FIVE: [Place; 5] =
    [Place::UpperLeft, Place::UpperRight, Place::LowerLeft, Place::LowerRight, Place::Centre];

/// The window of the network's input size in an area of the scaled image.
fn window(
    scaled: [usize; 2],
    at: [isize; 2],
    area: [usize; 2],
    input: [usize; 2],
    place: Place,
) -> View {
    let [top, left] = offset(area, input, place);
    at_corner(scaled, [at[0] + top, at[1] + left], input)
}

/// The window of the network's input size with this corner.
fn at_corner(scaled: [usize; 2], [top, left]: [isize; 2], input: [usize; 2]) -> View {
    View { scaled, top, left, window: input, size: input, flip: false }
}

/// Appends the mirror images of the views from `first` on.
fn mirror(views: &mut Vec<View>, first: usize) {
    let mirrored: Vec<View> = views[first..].iter().map(|&view| view.mirrored()).collect();
    views.extend(mirrored);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const INPUT: [usize; 2] = [224, 224];

    fn googlenet() -> Crops {
        Crops::Squares { shorter: vec![256, 288, 320, 352], squares: Squares::Three }
    }

    /// Upper left corners, mirrored or not.
    fn corners(views: &[View], flip: bool) -> Vec<(isize, isize)> {
        views.iter().filter(|view| view.flip == flip).map(|view| (view.top, view.left)).collect()
    }

    #[test]
    fn one_crop_is_the_centre() {
        let views = Crops::Centre { shorter: 256, side: None }.views([375, 500], INPUT);
        // 256·500/375 = 341.33; (341 − 224)/2 = 58.5 goes to the even 58.
        let (window, size) = (INPUT, INPUT);
        let expected = View { scaled: [256, 341], top: 16, left: 58, window, size, flip: false };
        assert_eq!(views, [expected]);
    }

    #[test]
    fn crops_fit_where_the_scaled_image_is_as_large() {
        for (shorter, fits) in [(224, true), (223, false)] {
            let side = Some(shorter + 1);
            assert!(!Crops::Centre { shorter, side }.fit(INPUT));
            assert_eq!(Crops::Centre { shorter, side: None }.fit(INPUT), fits);
            assert_eq!(Crops::Ten { shorter }.fit(INPUT), fits);
            assert_eq!(Crops::Grid { shorter: vec![256, shorter], side: 2 }.fit(INPUT), fits);
            // A portrait's shorter side is its width.
            assert!(!Crops::Ten { shorter }.fit([100, 225]));
            assert!(!Crops::Grid { shorter: vec![shorter], side: 2 }.fit([100, 225]));
            assert!(!Crops::Centre { shorter, side: None }.fit([225, 100]));
        }
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
        let crops = googlenet();
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
        assert_eq!(googlenet().views([64, 64], INPUT).len(), 144);
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
    fn twelve_crops_are_those_of_the_central_square() {
        let crops = Crops::Squares { shorter: vec![342], squares: Squares::Centre };
        let views = crops.views([342, 500], [299, 299]);
        assert_eq!((views.len(), crops.count()), (12, 12));
        let left = 79;
        let five = [(0, 79), (0, 122), (43, 79), (43, 122), (22, 101), (0, left)];
        assert_eq!(corners(&views, false), five);
        assert_eq!(views[5].window, [342, 342]);
        assert!(views.iter().all(|view| view.size == [299, 299]));
    }

    #[test]
    fn crop_may_be_larger_than_the_input() {
        let views = Crops::Centre { shorter: 352, side: Some(320) }.views([352, 400], INPUT);
        assert_eq!((views[0].window, views[0].size), ([320, 320], [320, 320]));
        assert_eq!((views[0].top, views[0].left), (16, 40));
    }

    #[test]
    fn alexnets_ten_crops_are_of_256_for_227_too() {
        let views = Crops::Ten { shorter: 256 }.views([256, 256], [227, 227]);
        assert_eq!(corners(&views, false), [(0, 0), (0, 29), (29, 0), (29, 29), (14, 14)]);
    }
}
