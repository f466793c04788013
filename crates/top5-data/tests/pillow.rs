//! Decoding and resizing against Pillow's results, which `golden/make.py` wrote.

use std::fs;
use std::path::{Path, PathBuf};

use flate2::Crc;
use top5_data::{Filter, Image, Limits, decode, resize};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The generator of `make.py`.
fn noise(channels: usize, height: usize, width: usize) -> Image {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels = (0..channels * height * width).map(|_| next()).collect();
    Image { channels, height, width, pixels }
}

#[test]
fn resizing_is_bit_identical_to_pillow() {
    let golden = fs::read_to_string(here("golden/resize.txt")).unwrap();
    assert_eq!(golden.lines().count(), 240);
    for line in golden.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [channels, height, width, to_height, to_width] =
            std::array::from_fn(|i| words[i].parse().unwrap());
        let filter = Filter::from_name(words[5]).unwrap();
        let resized = resize(&noise(channels, height, width), to_height, to_width, filter);
        let mut crc = Crc::new();
        crc.update(&resized.pixels);
        assert_eq!(format!("{:08x}", crc.sum()), words[6], "{line}");
    }
}

#[test]
fn decoding_is_pillows() {
    let mut files = 0;
    for entry in fs::read_dir(here("images")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".pixels") {
            continue;
        }
        files += 1;
        let expected = fs::read(path.with_file_name(name.replace('.', "_") + ".pixels")).unwrap();
        let image = decode(&fs::read(&path).unwrap(), &Limits::default()).unwrap();
        assert_eq!([image.height, image.width], [13, 17], "{name}");
        let gray = ["gray.png", "gray.pgm", "gray.jpg", "gray_alpha.png", "bits.png", "bits.pbm"];
        let is_gray = gray.contains(&name.as_str()) || name == "most_100.pgm";
        assert_eq!(image.channels == 1, is_gray, "{name}");
        let pixels = image.to_rgb().pixels;
        assert_eq!(pixels.len(), expected.len());
        let worst = pixels.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert_eq!(worst, 0, "{name}");
    }
    assert_eq!(files, 48);
}
