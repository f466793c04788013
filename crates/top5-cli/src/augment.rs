//! The arguments of `top5 train` that change what the network sees of the images, and what it is to say of them.

use clap::Args;

/// The heading of these flags in `--help`.
const AUGMENTATION: &str = "Augmentation";

/// How images are changed and mixed. A flag is a recipe's key, with dashes.
#[derive(Clone, Debug, Args)]
pub(crate) struct AugmentArgs {
    /// A random change in place of the recipe's: trivial_augment, 'random_crop={padding=4}'; again for more, in order; none
    /// for none (docs/recipes.md lists them)
    #[arg(long, value_name = "CHANGE", help_heading = AUGMENTATION)]
    augment: Vec<String>,
    /// Mix whole images of a batch, in proportions of Beta(α, α): 0.2; 0 for not at all
    #[arg(long, value_name = "ALPHA", help_heading = AUGMENTATION)]
    mixup: Option<String>,
    /// Paste rectangles of other images of the batch, their area of Beta(α, α): 1; 0 for not at all
    #[arg(long, value_name = "ALPHA", help_heading = AUGMENTATION)]
    cutmix: Option<String>,
    /// Share of the target that is spread over all classes: 0.1
    #[arg(long, value_name = "SHARE", help_heading = AUGMENTATION)]
    label_smoothing: Option<String>,
}

impl AugmentArgs {
    /// The keys of a recipe that are set, with their values.
    pub(crate) fn settings(&self) -> Vec<(&str, String)> {
        let change = |text: &String| match text.contains('=') {
            true => format!("{{ {text} }}"),
            false => format!("{{ {text} = {{}} }}"),
        };
        let changes = || self.augment.iter().map(change).collect::<Vec<_>>().join(", ");
        let augment = || match self.augment.as_slice() {
            [none] if none == "none" => "[]".to_owned(),
            _ => format!("[{}]", changes()),
        };
        let flags = [
            ("augment", (!self.augment.is_empty()).then(augment)),
            ("mixup", self.mixup.clone()),
            ("cutmix", self.cutmix.clone()),
            ("label_smoothing", self.label_smoothing.clone()),
        ];
        flags.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}
