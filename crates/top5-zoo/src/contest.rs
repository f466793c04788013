//! Who won: the entries to the classification task of ILSVRC that its story is told by, with their top-5 errors on the contest's
//! test images, and what a human reaches.

/// An entry to the contest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ContestEntry {
    /// What people call it: the network, or the team where that has no name.
    pub name: &'static str,
    /// Year of the contest.
    pub year: u16,
    /// How often none of its first five guesses was right, in percent.
    pub top5_error: f32,
    /// Whether it had the least error of its year.
    pub winner: bool,
    /// The network or ensemble of the registry that it is, or that it was made of.
    pub network: Option<&'static str>,
}

/// The top-5 error of a trained human on 1,500 test images, in percent: Russakovsky et al., "ImageNet Large Scale Visual
/// Recognition Challenge", IJCV 2015, section 6.4.
pub const HUMAN_TOP5_ERROR: f32 = 5.1;

/// The entries by year, the winner first. Those of 2010 and 2011, and the second of 2012, are no convolutional networks. The errors
/// are those that the ranking counted, with more data than the supplied ones in 2012 and 2013.
///
/// Sources: the contest's result pages (image-net.org/challenges/LSVRC), and Russakovsky et al., Table 6.
pub const CONTEST: &[ContestEntry] = &[
    winner(2010, "NEC-UIUC", 28.2, None),
    winner(2011, "XRCE", 25.8, None),
    winner(2012, "AlexNet", 15.3, Some("alexnet")),
    other(2012, "ISI", 26.2, None),
    winner(2013, "Clarifai", 11.2, Some("clarifai")),
    other(2013, "ZFNet", 13.5, None),
    other(2013, "OverFeat", 14.2, Some("overfeat_fast")),
    winner(2014, "GoogLeNet", 6.67, Some("googlenet")),
    other(2014, "VGG", 7.3, Some("vgg16")),
    winner(2015, "ResNet", 3.57, Some("resnet152_v1")),
    winner(2016, "Trimps-Soushen", 2.99, Some("trimps_soushen")),
    other(2016, "ResNeXt", 3.03, Some("resnext101_64x4d")),
    winner(2017, "SENet", 2.25, Some("senet154")),
];

const fn winner(
    year: u16,
    name: &'static str,
    top5_error: f32,
    network: Option<&'static str>,
) -> ContestEntry {
    ContestEntry { name, year, top5_error, winner: true, network }
}

const fn other(
    year: u16,
    name: &'static str,
    top5_error: f32,
    network: Option<&'static str>,
) -> ContestEntry {
    ContestEntry { winner: false, ..winner(year, name, top5_error, network) }
}
