//! The arguments of the commands that look inside a network.

use std::path::PathBuf;

use clap::Args;

use crate::args::{DataArgs, ImageArgs, TunedArgs, WeightsArgs, finite, positive};
use crate::eval::Split;

pub(crate) const GALLERY_EXAMPLES: &str = "\
Examples:
  top5 gallery lenet                                  what the embedded LeNet's maps answer to
  top5 gallery runs/resnet20_cifar-photos --split test --all-maps --out gallery
  top5 gallery vgg16 --weights vgg16.pth --data photos/ --split all --layers relu5,relu10 --maps 3,17";

pub(crate) const EVOLVE_EXAMPLES: &str = "\
Examples:
  top5 train lenet --keep-epochs 1,2,5 --out run && top5 evolve run
  top5 evolve run --layers relu2 --random 12 --images 2000 --out evolution";

pub(crate) const INVARIANCE_EXAMPLES: &str = "\
Examples:
  top5 invariance lenet digit.png
  top5 invariance runs/mine photos/ --layers relu1,relu7 --class beagle --out invariance";

pub(crate) const FILTERS_EXAMPLES: &str = "\
Examples:
  top5 filters lenet                                  and which of its maps are dead or saturated on the test digits
  top5 filters alexnet --weights alexnet.pth --data photos/ --split all --radius 0.1";

pub(crate) const CORRESPOND_EXAMPLES: &str = "\
Examples:
  top5 correspond runs/mine parts.csv                 lines: image,part,top,left,height,width
  top5 correspond vgg16 parts.csv --weights vgg16.pth --layers relu8,relu15 --json";

/// Which model is looked into.
#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// A run's folder, a weights file, a timm folder or a network's name
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    /// Layers by name, as `top5 show` lists them
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) layers: Vec<String>,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

/// Which maps of a layer.
#[derive(Clone, Debug, Args)]
pub(crate) struct MapArgs {
    /// These maps of each layer, by number
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with_all = ["random", "all_maps"])]
    pub(crate) maps: Vec<usize>,
    /// So many maps of each layer, drawn with --seed; 16 by default
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "all_maps")]
    pub(crate) random: Option<usize>,
    /// Every map of each layer
    #[arg(long)]
    pub(crate) all_maps: bool,
    /// Seed of what is drawn
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct GalleryArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    #[command(flatten)]
    pub(crate) maps: MapArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Which part of the data
    #[arg(long, value_enum, default_value = "test")]
    pub(crate) split: Split,
    /// Look at so many images only, evenly spread over the part
    #[arg(long, value_name = "N")]
    pub(crate) images: Option<usize>,
    /// Patches per map, of as many images
    #[arg(long, short = 'k', value_name = "N", default_value = "9", value_parser = positive)]
    pub(crate) top: usize,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "32", value_parser = positive)]
    pub(crate) batch_size: usize,
    /// Write down how far the search is after so many images; the same command goes on from there
    #[arg(long, value_name = "N", default_value = "2000", value_parser = positive)]
    pub(crate) save_every: usize,
    /// The folder to write
    #[arg(long, short, value_name = "DIR", default_value = "gallery")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct EvolveArgs {
    /// The folder of a run with epochs that `train --keep-epochs` kept
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,
    /// Layers by name; one for each size of map by default
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) layers: Vec<String>,
    #[command(flatten)]
    pub(crate) maps: MapArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Look at so many training images, evenly spread
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(crate) images: usize,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "32", value_parser = positive)]
    pub(crate) batch_size: usize,
    /// The folder to write
    #[arg(long, short, value_name = "DIR", default_value = "evolution")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InvarianceArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// Image files or folders of images; the paper has five
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    /// The class whose probability is followed, by name or number; each image's most probable one by default
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,
    /// Steps along each axis
    #[arg(long, value_name = "N", default_value = "40", value_parser = positive)]
    pub(crate) steps: usize,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "8", value_parser = positive)]
    pub(crate) batch_size: usize,
    /// The folder to write
    #[arg(long, short, value_name = "DIR", default_value = "invariance")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct FiltersArgs {
    /// A run's folder, a weights file, a timm folder or a network's name
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) weights: WeightsArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Which part of the data
    #[arg(long, value_enum, default_value = "test")]
    pub(crate) split: Split,
    /// Look at so many images only, evenly spread over the part
    #[arg(long, value_name = "N")]
    pub(crate) images: Option<usize>,
    /// Scale filters down to this root mean square in the second picture; the paper's is 0.1, for images from −128 to 128; the
    /// filters' median by default
    #[arg(long, value_name = "RMS", value_parser = finite::<f64>)]
    pub(crate) radius: Option<f64>,
    /// Images at once
    #[arg(long, short, value_name = "N", default_value = "32", value_parser = positive)]
    pub(crate) batch_size: usize,
    /// The folder to write
    #[arg(long, short, value_name = "DIR", default_value = "filters")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) engine: TunedArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CorrespondArgs {
    #[command(flatten)]
    pub(crate) subject: SubjectArgs,
    /// A CSV file with the header image,part,top,left,height,width: rectangles in pixels of images, whose files are named from
    /// the CSV's folder
    #[arg(value_name = "PARTS.csv")]
    pub(crate) parts: PathBuf,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    /// Seed of the random rectangles
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
}
