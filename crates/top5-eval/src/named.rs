//! The protocols of the papers by name.

use crate::crops::{Crops, Squares};
use crate::dense::{Dense, Pool, Scale};
use crate::protocol::{Part, Protocol};

/// The names that [`named`] knows, each with what it is.
pub const NAMES: [(&str, &str); 15] = [
    ("1-crop", "the one crop of the model's own preprocessing"),
    ("mirror", "CIFAR's: the centre of the image at the input's size, and its mirror image"),
    ("10-crop", "AlexNet: corners and centre of the central square, and their mirror images"),
    ("12-crop", "Inception-v3 and v4: an interpretation, the papers do not spell it out"),
    ("144-crop", "GoogLeNet: 4 scales, 3 squares, 6 crops, and their mirror images"),
    ("150-crop", "VGG: 3 scales, a grid of 5x5 crops, and their mirror images"),
    ("vgg-dense", "VGG: the whole image at one scale, and its mirror image"),
    ("vgg-dense-3", "VGG: the whole image at three scales, and its mirror images"),
    ("vgg-crops+dense", "VGG: 150 crops and three scales of whole images, half and half"),
    ("overfeat-1", "OverFeat: the first of its scales, every offset, maximum over places"),
    ("overfeat-4", "OverFeat: scales 1, 2, 4 and 6"),
    ("overfeat", "OverFeat: six scales"),
    ("resnet-dense", "ResNet: fully convolutional at five scales"),
    ("resnet-dense-windows", "ResNet: the same, with windows of the last map as large as at 224"),
    ("320-crop", "ResNeXt and SENet: the centre, 320 wide, of a shorter side of 352"),
];

/// A protocol by name, for a network with an input of `input` [height, width]. `NAME@SIDE,SIDE,…` replaces what the shorter
/// side is scaled to. `None` where there is no such name, or a side is no number from 1 on.
///
/// The papers' scales are for inputs of 221 to 231, and hold as they are for these; for others they are stretched in
/// proportion to 224, which is said to be a choice.
pub fn named(name: &str, input: [usize; 2]) -> Option<Protocol> {
    let (name, sides) = match name.split_once('@') {
        Some((name, sides)) => {
            let side = |text: &str| text.parse().ok().filter(|&side: &usize| side > 0);
            (name, Some(sides.split(',').map(side).collect::<Option<Vec<usize>>>()?))
        }
        None => (name, None),
    };
    let mut protocol =
        Scales { input: input[0].max(input[1]), sides: sides.clone() }.named(name)?;
    if let Some(sides) = sides {
        let sides: Vec<String> = sides.iter().map(usize::to_string).collect();
        protocol.name = format!("{name}@{}", sides.join(","));
    }
    Some(protocol)
}

/// What the papers' scales become.
struct Scales {
    /// The longer side of the network's input: what is cut must lie within the scaled image.
    input: usize,
    /// What the user wants instead.
    sides: Option<Vec<usize>>,
}

/// The inputs that the papers' scales are for.
const PAPERS: std::ops::RangeInclusive<usize> = 221..=231;

impl Scales {
    /// The shorter sides, from those of a paper.
    fn of(&self, paper: &[usize]) -> Vec<usize> {
        let stretched = |&side: &usize| ((side * self.input + 112) / 224).max(1);
        match &self.sides {
            Some(sides) => sides.clone(),
            None if PAPERS.contains(&self.input) => paper.to_vec(),
            None => paper.iter().map(stretched).collect(),
        }
    }

    /// The only shorter side.
    fn one(&self, paper: usize) -> Option<usize> {
        match self.of(&[paper])[..] {
            [side] => Some(side),
            _ => None,
        }
    }

    /// The only shorter side: the input's own unless the user wants another.
    fn at_input(&self) -> Option<usize> {
        match self.sides.as_deref() {
            None => Some(self.input),
            Some(&[side]) => Some(side),
            Some(_) => None,
        }
    }

    /// What is chosen where the scales are not a paper's.
    fn choice(&self) -> Option<String> {
        if self.sides.is_some() {
            return Some("the scales are the user's".to_owned());
        }
        let other = !PAPERS.contains(&self.input);
        other.then(|| {
            let side = self.input;
            format!("the scales of the paper, for 224, are stretched in proportion to {side}")
        })
    }

    fn named(&self, name: &str) -> Option<Protocol> {
        let (parts, source, choices) = match name {
            "1-crop" if self.sides.is_none() => return Some(Protocol::own()),
            "1-crop" => {
                let crops = Crops::Centre { shorter: self.one(256)?, side: None };
                (vec![Part::Crops(crops)], "", vec![])
            }
            "mirror" => {
                let crops = Crops::Grid { shorter: vec![self.at_input()?], side: 1 };
                (vec![Part::Crops(crops)], "Jordan, arXiv:2404.00498", vec![NO_SHIFTS])
            }
            "10-crop" => (
                vec![Part::Crops(Crops::Ten { shorter: self.one(256)? })],
                "Krizhevsky et al., NIPS 2012, section 4.1",
                vec![],
            ),
            "12-crop" => self.twelve()?,
            "144-crop" => {
                let shorter = self.of(&[256, 288, 320, 352]);
                (
                    vec![Part::Crops(Crops::Squares { shorter, squares: Squares::Three })],
                    "Szegedy et al., CVPR 2015, section 7",
                    vec![],
                )
            }
            "150-crop" => {
                (vec![self.grid()], "Simonyan & Zisserman, ICLR 2015, section 3.2", vec![GRID])
            }
            "vgg-dense" | "dense" => self.vgg(&[256]),
            "vgg-dense-3" | "dense-3" => self.vgg(&[256, 384, 512]),
            "vgg-crops+dense" => {
                let (mut parts, source, _) = self.vgg(&[256, 384, 512]);
                parts.push(self.grid());
                (parts, source, vec![GRID])
            }
            "overfeat-1" => self.overfeat(&[0]),
            "overfeat-4" => self.overfeat(&[0, 1, 3, 5]),
            "overfeat" => self.overfeat(&[0, 1, 2, 3, 4, 5]),
            "resnet-dense" | "dense-5" => self.resnet(false),
            "resnet-dense-windows" => self.resnet(true),
            "320-crop" => {
                let side = if self.input == 224 { 320 } else { (self.input * 320 + 112) / 224 };
                let crops = Crops::Centre { shorter: self.one(352)?, side: Some(side) };
                (
                    vec![Part::Crops(crops)],
                    "Hu et al., CVPR 2018, Table 3; Xie et al., CVPR 2017, Table 5",
                    vec!["the papers do not say what the shorter side is scaled to: 352"],
                )
            }
            _ => return None,
        };
        let of_scales = self.choice().filter(|_| name != "mirror" || self.sides.is_some());
        Some(Protocol {
            source: source.to_owned(),
            choices: choices.into_iter().map(str::to_owned).chain(of_scales).collect(),
            ..Protocol::of(name, parts)
        })
    }

    fn twelve(&self) -> Option<Described> {
        let crops = Crops::Squares { shorter: vec![self.one(256)?], squares: Squares::Centre };
        Some((
            vec![Part::Crops(crops)],
            "Szegedy et al., CVPR 2016, Table 4, and AAAI 2017, Table 3",
            vec![
                "an interpretation: the papers refer to one that has no 12 crops; read as those of GoogLeNet's \
                 144 that are of the central square at one scale",
            ],
        ))
    }

    fn grid(&self) -> Part {
        Part::Crops(Crops::Grid { shorter: self.of(&[256, 384, 512]), side: 5 })
    }

    fn vgg(&self, sides: &[usize]) -> Described {
        let dense = Dense::mean(&self.of(sides), true);
        (vec![Part::Dense(dense)], "Simonyan & Zisserman, ICLR 2015, section 3.2", vec![])
    }

    fn resnet(&self, windows: bool) -> Described {
        let dense = Dense { windows, ..Dense::mean(&self.of(&[224, 256, 384, 480, 640]), false) };
        let choice = match windows {
            false => {
                "the paper names neither mirror images nor softmax nor windows: none, probabilities, the mean of \
                      the whole last map"
            }
            true => {
                "the paper names neither mirror images nor softmax nor windows: none, probabilities, the mean over \
                     windows as large as the last map is at the network's own input"
            }
        };
        (vec![Part::Dense(dense)], "He et al., CVPR 2016, section 3.4", vec![choice])
    }

    fn overfeat(&self, which: &[usize]) -> Described {
        // The fast network's step is 16, the accurate one's 12.
        let fast = self.input > 226;
        let own = |side: usize| match fast {
            true => 231 + 16 * ((side as f64 - 231.0) / 16.0).round() as usize,
            false => side,
        };
        let scales: Vec<Scale> = match &self.sides {
            Some(sides) => sides.iter().copied().map(Scale::Shorter).collect(),
            None if PAPERS.contains(&self.input) => {
                which.iter().map(|&i| Scale::Window(OVERFEAT[i].map(own))).collect()
            }
            None => {
                let shorter: Vec<usize> = which.iter().map(|&i| OVERFEAT[i][0]).collect();
                self.of(&shorter).into_iter().map(Scale::Shorter).collect()
            }
        };
        let dense = Dense {
            scales,
            flip: true,
            pool: Pool::Max,
            every_offset: true,
            ..Dense::mean(&[], true)
        };
        let mut choices = vec![
            "the paper does not say whether softmax comes before the maximum over places: after it",
            "the paper prints sizes, and not how images come to them: proportions kept, the centre, sides exchanged \
             for portraits",
        ];
        if fast && self.sides.is_none() && PAPERS.contains(&self.input) {
            choices.push(
                "the printed sizes are the accurate network's: the nearest ones at which the fast one's maps end",
            );
        }
        let source = "Sermanet et al., ICLR 2014, section 3.3 and Table 5";
        (vec![Part::Dense(dense)], source, choices)
    }
}

/// Parts, source and choices.
type Described = (Vec<Part>, &'static str, Vec<&'static str>);

const NO_SHIFTS: &str = "of the paper's views the mirror images only, not those shifted by a pixel";

const GRID: &str = "where the 25 crops of a scale lie is not printed: evenly from border to border";

/// The six sizes of OverFeat's Table 5: height and width.
const OVERFEAT: [[usize; 2]; 6] =
    [[245, 245], [281, 317], [317, 389], [389, 461], [425, 497], [461, 569]];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn papers_have_their_numbers_of_views() {
        for (name, views) in [
            ("1-crop", 1),
            ("mirror", 2),
            ("10-crop", 10),
            ("12-crop", 12),
            ("144-crop", 144),
            ("150-crop", 150),
            ("vgg-dense", 2),
            ("vgg-dense-3", 6),
            ("vgg-crops+dense", 156),
            ("overfeat-1", 2),
            ("overfeat-4", 8),
            ("overfeat", 12),
            ("resnet-dense", 5),
            ("resnet-dense-windows", 5),
            ("320-crop", 1),
        ] {
            for side in [28, 221, 224, 227, 231, 299] {
                let protocol = named(name, [side, side]).unwrap();
                assert_eq!((protocol.count(), protocol.name.as_str()), (views, name), "{side}");
                assert_eq!(protocol.check(), Ok(()), "{name} {side}");
            }
            assert!(NAMES.iter().any(|(known, _)| *known == name));
        }
        assert!(NAMES.iter().all(|(name, _)| named(name, [224, 224]).is_some()));
        assert_eq!(named("11-crop", [224, 224]), None);
    }

    #[test]
    fn scales_are_the_papers_for_their_inputs_and_stretched_for_others() {
        let ten = |side: usize| named("10-crop", [side, side]).unwrap();
        for side in [221, 224, 227, 231] {
            assert_eq!(ten(side).parts, [Part::Crops(Crops::Ten { shorter: 256 })]);
            assert!(ten(side).choices.is_empty());
        }
        assert_eq!(ten(299).parts, [Part::Crops(Crops::Ten { shorter: 342 })]);
        assert_eq!(ten(28).parts, [Part::Crops(Crops::Ten { shorter: 32 })]);
        assert!(ten(299).choices[0].contains("in proportion to 299"));
        let own = named("vgg-dense@224,300", [224, 224]).unwrap();
        assert_eq!(own.parts, [Part::Dense(Dense::mean(&[224, 300], true))]);
        assert_eq!(own.name, "vgg-dense@224,300");
        assert_eq!(named("10-crop@1,2", [224, 224]), None);
        assert_eq!(named("10-crop@x", [224, 224]), None);
    }

    /// Whatever the proportions of the input and of the image.
    #[test]
    fn crops_lie_within_the_scaled_image() {
        for input in [[160, 224], [224, 160], [28, 32], [300, 100]] {
            for (name, _) in NAMES.iter().filter(|(name, _)| *name != "1-crop") {
                let views = named(name, input).unwrap().parts;
                let images = [[400, 300], [300, 400], [300, 300]];
                let views =
                    views.iter().flat_map(|part| images.map(|image| part.views(image, input)));
                for view in views.flatten() {
                    let end = [view.top, view.left]
                        .map(|corner| corner.try_into().unwrap_or(usize::MAX / 2));
                    let within =
                        [0, 1].map(|axis| end[axis] + view.window[axis] <= view.scaled[axis]);
                    assert_eq!(within, [true; 2], "{name} {input:?} {view:?}");
                }
            }
        }
    }

    #[test]
    fn mirror_is_at_the_inputs_own_size_or_the_users() {
        let shorter = |name| match &named(name, [32, 32]).unwrap().parts[..] {
            [Part::Crops(Crops::Grid { shorter, side: 1 })] => shorter.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((shorter("mirror"), shorter("mirror@40")), (vec![32], vec![40]));
        assert_eq!(named("mirror@32,40", [32, 32]), None);
        let choices = |name| named(name, [32, 32]).unwrap().choices.len();
        assert_eq!((choices("mirror"), choices("mirror@40")), (1, 2));
    }

    #[test]
    fn overfeats_sizes_are_those_of_its_table() {
        let scales = |side: usize| match &named("overfeat", [side, side]).unwrap().parts[..] {
            [Part::Dense(dense)] => dense.scales.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(scales(221)[4], Scale::Window([425, 497]));
        // 231 and 16 for each further place.
        assert_eq!(scales(231)[0], Scale::Window([247, 247]));
        assert_eq!(scales(231)[5], Scale::Window([455, 567]));
        assert!(named("overfeat", [231, 231]).unwrap().choices.len() == 3);
    }
}
