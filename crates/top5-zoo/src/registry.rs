//! What is known about a network besides its layers: names, paper, place, published numbers, initialisation and
//! preprocessing. All of it is required: a network cannot be registered without.

use std::fmt;
use top5_graph::{Graph, GraphError, Var, net};

/// What a caller may choose about a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of classes.
    pub classes: usize,
    /// Channels, height and width of the input.
    pub input: [usize; 3],
    /// Whether its auxiliary heads are built, if it has any: only training needs them, and they do not fit every input.
    pub auxiliary: bool,
}

/// A network and everything the zoo knows about it.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Its name: lower case, underscores.
    pub name: &'static str,
    /// Other names under which it is known; none is the name of another network.
    pub aliases: &'static [&'static str],
    /// Its family, as people write it: `VGG`.
    pub family: &'static str,
    /// Year of its paper or contest.
    pub year: u16,
    /// Its place in the contest.
    pub place: Fact<&'static str>,
    /// Its paper.
    pub paper: Paper,
    /// Where the paper, or the code that defines it, describes it: `Table 1, column D`.
    pub section: &'static str,
    /// Channels, height and width of the input.
    pub input: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Learned parameters at that input and number of classes, auxiliary heads included.
    pub params: u64,
    /// Multiply-accumulates of one image at inference (no auxiliary heads), convolutions and linear layers only.
    pub macs: u64,
    /// Published errors, each with its protocol.
    pub published: Fact<&'static [Published]>,
    /// How the graph's weights start, and where that comes from.
    pub init: &'static str,
    /// How its images are prepared at evaluation.
    pub preprocessing: Preprocessing,
    /// How they are prepared for weights in PyTorch's files, where who converted them from Caffe scaled the first layer.
    pub converted: Option<Preprocessing>,
    /// Its layers, from the input to the logits.
    pub layers: for<'g> fn(Var<'g>, &Settings) -> Var<'g>,
}

impl Network {
    /// The number of classes and the input that it is registered with, with its auxiliary heads.
    pub fn settings(&self) -> Settings {
        Settings { classes: self.classes, input: self.input, auxiliary: true }
    }

    /// The network as registered.
    pub fn graph(&self) -> Result<Graph, GraphError> {
        self.with(self.settings())
    }

    /// The network for other classes or another input. The error names the layer that the input does not fit.
    pub fn with(&self, settings: Settings) -> Result<Graph, GraphError> {
        net(self.name, settings.input, |x| (self.layers)(x, &settings))
    }
}

/// Several networks whose probabilities are averaged with weights.
#[derive(Clone, Copy, Debug)]
pub struct Ensemble {
    /// Its name.
    pub name: &'static str,
    /// Other names under which it is known.
    pub aliases: &'static [&'static str],
    /// Its family.
    pub family: &'static str,
    /// Year of the contest.
    pub year: u16,
    /// Its place in the contest.
    pub place: Fact<&'static str>,
    /// Its paper, or what there is in place of one.
    pub paper: Paper,
    /// What is known about its composition, and what is a reconstruction.
    pub section: &'static str,
    /// Names of the networks and their weights, which sum to one. A name that occurs twice is another training run.
    pub members: &'static [(&'static str, f32)],
    /// Published errors, each with its protocol.
    pub published: Fact<&'static [Published]>,
}

/// Something that is known, or the reason why it is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fact<T> {
    /// The value.
    Known(T),
    /// Why there is none.
    Missing(&'static str),
}

impl<T> Fact<T> {
    /// The value, if there is one.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Missing(_) => None,
        }
    }
}

/// A paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// Its authors: `Simonyan & Zisserman`.
    pub authors: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Journal or conference, and year.
    pub venue: &'static str,
    /// Its number at arXiv.
    pub arxiv: Option<&'static str>,
}

/// A published error, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// How often the first guess is wrong.
    pub top1: Option<f32>,
    /// How often none of the first five guesses is right.
    pub top5: Option<f32>,
    /// The images that were classified.
    pub set: Set,
    /// Crops, scales and number of networks.
    pub protocol: &'static str,
    /// Where it is printed.
    pub source: &'static str,
}

/// A set of images that errors are measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// The 50,000 validation images of ILSVRC-2012.
    Validation,
    /// The training images of ILSVRC-2012.
    Training,
    /// The contest's test images.
    Test,
    /// The 10,000 test images of MNIST.
    MnistTest,
    /// The 10,000 test images of CIFAR-10.
    Cifar10Test,
    /// The 10,000 test images of CIFAR-100.
    Cifar100Test,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validation => "ILSVRC-2012 validation",
            Self::Training => "ILSVRC-2012 training",
            Self::Test => "ILSVRC test",
            Self::MnistTest => "MNIST test",
            Self::Cifar10Test => "CIFAR-10 test",
            Self::Cifar100Test => "CIFAR-100 test",
        })
    }
}

impl Published {
    /// Top-1 and top-5 on the validation images.
    pub(crate) const fn val(
        top1: f32,
        top5: f32,
        protocol: &'static str,
        source: &'static str,
    ) -> Self {
        Self { top1: Some(top1), top5: Some(top5), set: Set::Validation, protocol, source }
    }

    /// Top-5 alone on the validation images.
    pub(crate) const fn val_top5(top5: f32, protocol: &'static str, source: &'static str) -> Self {
        Self { top1: None, top5: Some(top5), set: Set::Validation, protocol, source }
    }

    /// Top-1 alone on the training images: how well the network fits what it has seen.
    pub(crate) const fn training(top1: f32, protocol: &'static str, source: &'static str) -> Self {
        Self { top1: Some(top1), top5: None, set: Set::Training, protocol, source }
    }

    /// Top-5 on the contest's test images: what the contest ranks by.
    pub(crate) const fn test_top5(top5: f32, protocol: &'static str, source: &'static str) -> Self {
        Self { top1: None, top5: Some(top5), set: Set::Test, protocol, source }
    }
}

/// The order of an image's colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// One channel.
    Grey,
    /// Red first.
    Rgb,
    /// Blue first, as Caffe has it.
    Bgr,
}

/// How a shorter or longer side is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resample {
    /// Triangle filter.
    Bilinear,
    /// Catmull-Rom filter.
    Bicubic,
}

/// The evaluation pipeline of one crop: the shorter side to `resize`, the centre of the network's input size,
/// `(pixel / 255 − mean) / std` per channel in the order of `colours`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Length of the shorter side before the crop, in pixels.
    pub resize: usize,
    /// How it is resampled.
    pub resample: Resample,
    /// The order of the channels.
    pub colours: Colours,
    /// Subtracted, in units of a pixel's full range; a grey image uses the first.
    pub mean: [f32; 3],
    /// Divided by, in the same units.
    pub std: [f32; 3],
    /// Whose convention this is.
    pub source: &'static str,
}

impl Preprocessing {
    /// What torchvision's networks expect: mean and deviation of ImageNet, red first.
    pub(crate) const fn torchvision(resize: usize) -> Self {
        Self {
            resize,
            resample: Resample::Bilinear,
            colours: Colours::Rgb,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            source: "torchvision",
        }
    }

    /// What Caffe's networks expect: bytes from 0 to 255, blue first, the mean subtracted.
    pub const fn caffe(resize: usize) -> Self {
        Self {
            resize,
            resample: Resample::Bilinear,
            colours: Colours::Bgr,
            mean: [103.939 / 255.0, 116.779 / 255.0, 123.68 / 255.0],
            std: [1.0 / 255.0; 3],
            source: "Caffe's model zoo",
        }
    }

    /// What the Inception networks expect: from −1 to 1.
    pub(crate) const fn inception(resize: usize) -> Self {
        Self {
            resize,
            resample: Resample::Bicubic,
            colours: Colours::Rgb,
            mean: [0.5; 3],
            std: [0.5; 3],
            source: "TF-slim",
        }
    }

    /// CIFAR's images as they are, with the mean and deviation of CIFAR-100's training part, in all digits of the code.
    pub(crate) const fn cifar() -> Self {
        Self {
            resize: 32,
            resample: Resample::Bilinear,
            colours: Colours::Rgb,
            mean: [0.507_075_159_237_132_3, 0.486_548_873_314_950_95, 0.440_917_843_367_034_3],
            std: [0.267_334_285_879_240_1, 0.256_438_462_917_088_3, 0.276_150_471_325_684_04],
            source: "pytorch-cifar100",
        }
    }

    /// Digits as they are, with the mean and deviation of MNIST's training part.
    pub(crate) const fn mnist(side: usize) -> Self {
        Self {
            resize: side,
            resample: Resample::Bilinear,
            colours: Colours::Grey,
            mean: [0.1307; 3],
            std: [0.3081; 3],
            source: "PyTorch's MNIST example",
        }
    }
}
