//! Operations of augmentation against torchvision's results on Pillow images, which `scripts/augment_vectors.py` wrote.

use std::fs;
use std::path::Path;

use flate2::Crc;
use top5_data::augment::colour::{
    adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, adjust_sharpness,
    autocontrast, equalize, gray, invert, posterize, solarize,
};
use top5_data::augment::crop::{Padding, crop_padded};
use top5_data::augment::geometry::{Affine, Sampling, affine, rotate};
use top5_data::augment::policy::{Operation, Policy};
use top5_data::{Filter, Image, resize};

/// The generator of the script.
fn picture(kind: &str, channels: usize, height: usize, width: usize) -> Image {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (state >> 24) as u8;
        match kind {
            "noise" => value,
            "narrow" => value / 3 + 40,
            "coarse" => value / 8 * 8,
            "flat" => 77,
            _ => panic!("no kind of image is called {kind}"),
        }
    };
    let pixels = (0..channels * height * width).map(|_| next()).collect();
    Image { channels, height, width, pixels }
}

fn sampling(word: &str) -> Sampling {
    let all = [Sampling::Nearest, Sampling::Bilinear];
    all.into_iter().find(|sampling| sampling.name() == word).unwrap()
}

fn op(word: &str) -> Operation {
    Operation::ALL.into_iter().find(|(_, name)| *name == word).unwrap().0
}

fn changed(image: &Image, name: &str, words: &[&str]) -> Image {
    let number = |i: usize| -> f64 { words[i].parse().unwrap() };
    let whole = |i: usize| number(i) as isize;
    let size = |i: usize| whole(i) as usize;
    match name {
        "brightness" => adjust_brightness(image, number(0)),
        "contrast" => adjust_contrast(image, number(0)),
        "saturation" => adjust_saturation(image, number(0)),
        "sharpness" => adjust_sharpness(image, number(0)),
        "hue" => adjust_hue(image, number(0)),
        "posterize" => posterize(image, number(0) as u32),
        "solarize" => solarize(image, number(0)),
        "invert" => invert(image),
        "autocontrast" => autocontrast(image),
        "equalize" => equalize(image),
        "grayscale" => gray(image),
        "rotate" => rotate(image, number(0), sampling(words[1])),
        "affine" => {
            let by = Affine {
                angle: number(0),
                translate: [number(1), number(2)],
                scale: number(3),
                shear: [number(4), number(5)],
            };
            affine(image, &by, None, sampling(words[6]))
        }
        "op" => op(words[0]).apply(image, number(1), sampling(words[2])),
        "crop" => image.crop(whole(0), whole(1), size(2), size(3)),
        "pad" => {
            let padding = size(0);
            let (mode, _) = Padding::ALL.into_iter().find(|(_, name)| *name == words[1]).unwrap();
            let window = [image.height + 2 * padding, image.width + 2 * padding];
            crop_padded(image, [-whole(0); 2], window, mode)
        }
        "resized_crop" => {
            let part = image.crop(whole(0), whole(1), size(2), size(3));
            resize(&part, size(4), size(4), Filter::from_name(words[5]).unwrap())
        }
        _ => panic!("no operation is called {name}"),
    }
}

/// Whether a line is as torchvision has it; a policy's line has a magnitude.
fn holds(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let numbers = |at: std::ops::Range<usize>| words[at].iter().map(|word| word.parse::<usize>());
    let policy = match words[0] {
        "rand" => Policy::Rand,
        "trivial" => Policy::TrivialWide,
        kind => {
            let size: Vec<usize> = numbers(1..4).map(Result::unwrap).collect();
            let image = picture(kind, size[0], size[1], size[2]);
            let out = changed(&image, words[4], &words[5..words.len() - 1]);
            let mut crc = Crc::new();
            crc.update(&out.pixels);
            return format!("{:08x}", crc.sum()) == words[words.len() - 1];
        }
    };
    let at: Vec<usize> = numbers(2..6).map(Result::unwrap).collect();
    let magnitude = policy.magnitude(op(words[1]), at[0], at[1], [at[2], at[3]]);
    let expected: f64 = words[7].parse().unwrap();
    (magnitude - expected).abs() <= 5e-6 * expected
}

#[test]
fn operations_are_bit_identical_to_torchvisions_on_pillow_images() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/augment.txt");
    let golden = fs::read_to_string(path).unwrap();
    assert_eq!(golden.lines().count(), 2486);
    let wrong: Vec<&str> = golden.lines().filter(|line| !holds(line)).collect();
    assert!(wrong.is_empty(), "{} lines: {:#?}", wrong.len(), &wrong[..wrong.len().min(60)]);
}
