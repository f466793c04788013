//! Files of weights that are published for other images than their networks usually get: torchvision's second weights, and those
//! that timm trained. Torch hub's names end with the first digits of the file's SHA-256, which is checked.

use top5_data::{Filter, Preprocess};

/// Side of the input, the share of the scaled side that it is, the filter, and the hashes.
const PUBLISHED: [(usize, f64, Filter, &[&str]); 5] = [
    (
        224,
        0.875,
        Filter::Bicubic,
        &[
            "0757602b", "0ebe02e2", "3b017079", "43635321", "6c502b37", "70a1a3c0", "8234f177",
            "85ebb6e5", "86acaeed", "8efdb4bb", "90cf2d6e", "a26f946b", "a304a460", "b253c8c4",
            "c1edb0dd", "c6d82d59", "cf52900d", "d733960d", "e6a097c1", "f9a8e184",
        ],
    ),
    (176, 0.9, Filter::Bicubic, &["001a1197"]),
    (
        224,
        0.95,
        Filter::Bicubic,
        &[
            "0146ab0a", "0d0e0cc0", "14fe96d1", "1ba180c1", "2eee8a7a", "36d3f2aa", "46f8f793",
            "532a802a", "5ba5e060", "6edb36c7", "82d47d71", "850de0d9", "a2746f79", "b4c6978f",
            "b5a91a1d", "b61bd467", "cdcb52a9", "d01e05b2", "d63eafa0", "dc400468", "efc76add",
            "f39db8af", "ffa00869",
        ],
    ),
    (
        160,
        0.95,
        Filter::Bicubic,
        &["134d4688", "1db14157", "317ecd56", "3e450271", "40c531c8", "59cae1ef", "a20cabb6"],
    ),
    (
        224,
        224.0 / 232.0,
        Filter::Bilinear,
        &[
            "110c445d", "11ad3fa6", "173b62eb", "1a0047aa", "9ba9bcbe", "cd907fc2", "d733dc28",
            "f82ba261",
        ],
    ),
];

/// How images are prepared for the file with this hash in its name, if that is not as usual.
pub(crate) fn preprocess(hash: &str) -> Option<Preprocess> {
    let (side, crop_pct, interpolation, _) =
        PUBLISHED.iter().find(|(.., hashes)| hashes.contains(&hash))?;
    let usual = Preprocess::imagenet(*side, *side);
    Some(Preprocess { crop_pct: *crop_pct, interpolation: *interpolation, ..usual })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_files_have_their_own_images() {
        let described = |hash| preprocess(hash).map(|of| of.describe());
        // torchvision's ResNet-50: `IMAGENET1K_V1`, and the default, `IMAGENET1K_V2`.
        assert_eq!(described("0676ba61"), None);
        assert!(
            described("11ad3fa6")
                .unwrap()
                .contains("shorter side to 232 (bilinear), centre crop 224x224")
        );
        // timm's `resnet50.a1_in1k`.
        assert!(
            described("14fe96d1")
                .unwrap()
                .contains("shorter side to 235 (bicubic), centre crop 224x224")
        );
        let all: Vec<&str> = PUBLISHED.iter().flat_map(|(.., hashes)| *hashes).copied().collect();
        assert!(
            all.iter().all(|hash| hash.len() == 8 && preprocess(hash).unwrap().check().is_ok())
        );
    }
}
