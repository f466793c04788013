//! Several right answers per image: ReaL's labels of the ImageNet validation images (Beyer et al., arXiv:2006.07159).

use std::path::Path;

use anyhow::{Context, Result};
use top5::data::files::read_text;

use crate::exit::Stop;

/// The classes that are right for each validation image, in the order of their numbers.
pub(crate) struct Real {
    shown: String,
    right: Vec<Vec<u32>>,
}

/// What the files of the validation images are called, before their number from 1 on.
const VALIDATION: &str = "ILSVRC2012_val_";

impl Real {
    /// Reads `real.json`: a list of lists of classes.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let text = read_text(path).with_context(|| format!("reading {shown}"))?;
        let right: Vec<Vec<u32>> = serde_json::from_str(&text).map_err(|error| {
            Stop::BadInput(format!("{shown}: expected a list of lists of classes: {error}"))
        })?;
        Ok(Self { shown, right })
    }

    /// The classes that are right for an image: by the number in its file's name, or by its place where there are as many
    /// images as labels.
    pub(crate) fn right(
        &self,
        image: &str,
        place: usize,
        images: usize,
        classes: usize,
    ) -> Result<&[u32]> {
        let number = image.split(['/', '\\']).next_back().and_then(|file| {
            let digits = file.strip_prefix(VALIDATION)?.split('.').next()?;
            digits.parse::<usize>().ok()?.checked_sub(1)
        });
        let place = number.or((images == self.right.len()).then_some(place));
        let wrong = |reason: &str| Stop::BadInput(format!("{}: {image}: {reason}", self.shown));
        let right = place.and_then(|place| self.right.get(place));
        let right = right.ok_or_else(|| {
            wrong("no label for it: expected files called ILSVRC2012_val_00000001.JPEG, or as many labels as images")
        })?;
        match right.iter().all(|&class| (class as usize) < classes) {
            true => Ok(right),
            false => Err(wrong("its label is none of the classes").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_by_number_or_place() {
        let real = Real { shown: "real.json".to_owned(), right: vec![vec![1], vec![], vec![0, 2]] };
        let file = "n01440764/ILSVRC2012_val_00000003.JPEG";
        assert_eq!(real.right(file, 0, 1, 3).unwrap(), [0, 2]);
        assert_eq!(real.right("x.png", 0, 3, 3).unwrap(), [1]);
        assert!(real.right("x.png", 1, 3, 3).unwrap().is_empty());
        for (image, images, classes, says) in [
            ("x.png", 2, 3, "no label"),
            ("ILSVRC2012_val_00000004.JPEG", 3, 3, "no label"),
            (file, 3, 2, "none of"),
        ] {
            let error = real.right(image, 0, images, classes).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
