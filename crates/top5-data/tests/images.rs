//! Files that are no images, or that lie about themselves.

use std::fs;
use std::path::Path;

use top5_data::{ImageError, Limits, decode, normalise_digit};

fn images() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    let mut images: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() != "pixels")
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()))
        .collect();
    images.sort();
    images
}

fn read(bytes: &[u8]) -> Result<top5_data::Image, ImageError> {
    decode(bytes, &Limits::default())
}

#[test]
fn every_cut_is_an_error_or_loses_no_pixel() {
    for (name, bytes) in images() {
        let whole = read(&bytes).unwrap();
        let mut errors = 0;
        for cut in 0..bytes.len() {
            match read(&bytes[..cut]) {
                Ok(image) => assert_eq!(image, whole, "{name} cut at {cut} of {}", bytes.len()),
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().len() > 20, "{name}: {error}");
                }
            }
        }
        // What may be missing: the checksum and end chunk of a PNG, the padding of a row or chunk.
        assert!(errors >= bytes.len() - 20, "{name}: {errors} errors, {} bytes", bytes.len());
    }
}

#[test]
fn changed_bytes_never_escape_as_panics() {
    for (_, bytes) in images() {
        for position in 0..bytes.len() {
            for change in [0xFF, 0x01, 0x80] {
                let mut changed = bytes.clone();
                changed[position] ^= change;
                if let Ok(image) = read(&changed) {
                    assert_eq!(image.pixels.len(), image.channels * image.height * image.width);
                }
            }
        }
    }
}

#[test]
fn other_files_are_named_by_their_first_bytes() {
    let error = read(b"GIF89a....").unwrap_err();
    assert!(error.to_string().contains("47 49 46 38"), "{error}");
    assert_eq!(read(&[]).unwrap_err().to_string(), "the image is empty (0 bytes)");
    assert!(matches!(read(b"hello"), Err(ImageError::UnknownFormat { .. })));
}

/// A PNG header of that size with nothing behind it.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    chunk.extend(width.to_be_bytes());
    chunk.extend(height.to_be_bytes());
    chunk.extend([8, 2, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&chunk);
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0D".to_vec();
    file.extend(chunk);
    file.extend(crc.sum().to_be_bytes());
    file.extend(b"\0\0\0\0IDAT\x35\xAF\x06\x1E");
    file
}

/// A JPEG of that size: frame header, scan header, end.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"\xFF\xD8\xFF\xC0\0\x0B\x08".to_vec();
    file.extend(height.to_be_bytes());
    file.extend(width.to_be_bytes());
    file.extend(b"\x01\x01\x11\0\xFF\xDA\0\x08\x01\x01\0\0\x3F\0\0\xFF\xD9");
    file
}

#[test]
fn bombs_are_refused_from_the_header() {
    let bmp = |side: u32| {
        let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        file.extend(side.to_le_bytes());
        file.extend(side.to_le_bytes());
        file.extend(b"\x01\0\x18\0");
        file.extend([0; 24]);
        file
    };
    let bombs = [
        png(60_000, 60_000),
        png(16_385, 1),
        png(16_000, 16_000),
        jpeg(65_535, 65_535),
        jpeg(16_000, 4_000),
        bmp(60_000),
        b"P6 60000 60000 255 ".to_vec(),
    ];
    for bomb in bombs {
        assert!(matches!(read(&bomb), Err(ImageError::TooLarge { .. })), "{:?}", read(&bomb));
    }
    // Within the limits, but beyond what so short a file can hold.
    for liar in [png(7_000, 7_000), jpeg(7_000, 7_000), b"P6 7000 7000 255 ".to_vec()] {
        assert!(matches!(read(&liar), Err(ImageError::Damaged { .. })), "{:?}", read(&liar));
    }
}

#[test]
fn limits_are_the_callers() {
    let (_, bytes) = images().into_iter().find(|(name, _)| name.ends_with("rgb.png")).unwrap();
    let default = Limits::default();
    for limits in [
        Limits { side: 16, ..default },
        Limits { pixels: 220, ..default },
        Limits { bytes: 600, ..default },
    ] {
        let error = decode(&bytes, &limits).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
    }
    let exact = Limits { side: 17, pixels: 221, ..default };
    assert!(decode(&bytes, &exact).is_ok());
}

#[test]
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn photographs_of_imagenet_have_pillows_pixels() {
    let shared = std::env::var_os("TOP5_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        |path| path.into(),
    );
    let Ok(folder) = fs::read_dir(shared.join("data/imagenet-samples")) else {
        assert!(std::env::var_os("CI").is_none(), "shared data is missing at {}", shared.display());
        eprintln!("skipped: no shared data at {}", shared.display());
        return;
    };
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/jpeg.txt");
    let golden = fs::read_to_string(golden).unwrap();
    assert_eq!((files.len(), golden.lines().count()), (200, 200));
    for (index, (path, line)) in files.iter().zip(golden.lines()).enumerate() {
        let bytes = fs::read(path).unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(&read(&bytes).unwrap().to_rgb().pixels);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(format!("{name} {:08x}", crc.sum()), line);
        for percent in (1..100).step_by(7).filter(|_| index % 20 == 0) {
            let error = read(&bytes[..bytes.len() * percent / 100]).unwrap_err();
            assert!(matches!(error, ImageError::Damaged { .. }), "{name}: {error}");
        }
    }
}

#[test]
fn drawing_on_a_transparent_ground_is_seen() {
    let draw = |ink: [u8; 3], hidden: [u8; 3]| {
        let mut picture = image::RgbaImage::new(60, 80);
        for (x, y, pixel) in picture.enumerate_pixels_mut() {
            let inside = (25..32).contains(&x) && (10..70).contains(&y);
            let ([r, g, b], alpha) = if inside { (ink, 255) } else { (hidden, 0) };
            *pixel = image::Rgba([r, g, b, alpha]);
        }
        let mut file = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
        normalise_digit(&read(file.get_ref()).unwrap())
    };
    let (black, white, blue) = ([0; 3], [255; 3], [20, 20, 90]);
    let reference = draw(black, white);
    assert!(reference.pixels.iter().any(|&v| v > 200));
    for (ink, hidden) in [(black, black), (white, white), (white, black), (blue, black)] {
        assert_eq!(draw(ink, hidden), reference, "{ink:?} over hidden {hidden:?}");
    }
}
