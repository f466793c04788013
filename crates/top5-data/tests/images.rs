//! Files that are no images, or that lie about themselves.

use std::fs;
use std::path::{Path, PathBuf};

use top5_data::{Image, ImageError, Limits, decode, normalise_digit};

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

fn read(bytes: &[u8]) -> Result<Image, ImageError> {
    decode(bytes, &Limits::default())
}

#[test]
fn every_cut_is_an_error_or_loses_no_pixel() {
    for (name, bytes) in images() {
        let whole = read(&bytes).unwrap();
        // Of a number in text nobody knows whether digits follow.
        let is_text = [b"P1", b"P2", b"P3"].iter().any(|&magic| bytes.starts_with(magic));
        let last = bytes.iter().rposition(u8::is_ascii_whitespace).filter(|_| is_text);
        let certain = last.map_or(bytes.len(), |space| space + 2);
        let mut errors = 0;
        for cut in 0..certain {
            match read(&bytes[..cut]) {
                Ok(image) => assert_eq!(image, whole, "{name} cut at {cut} of {}", bytes.len()),
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().len() > 20, "{name}: {error}");
                }
            }
        }
        // What may be missing: the checksum and end chunk of a PNG, the last marker of a JPEG and what follows it, the
        // padding of a row or chunk.
        let is_jpeg = name.ends_with(".jpg");
        let end = bytes.windows(2).position(|pair| is_jpeg && pair == [0xFF, 0xD9]);
        let needed = end.unwrap_or(bytes.len()) - 20;
        assert!(errors >= needed, "{name}: {errors} errors, {} bytes", bytes.len());
    }
}

#[test]
fn jpeg_without_its_last_marker_is_whole() {
    for (name, bytes) in images().into_iter().filter(|(name, _)| name.ends_with(".jpg")) {
        if let Some(cut) = bytes.strip_suffix(&[0xFF, 0xD9])
            && !["early_end", "bad_code", "arithmetic", "means_alone", "unfinished"]
                .iter()
                .any(|other| name.contains(other))
        {
            assert_eq!(read(cut), read(&bytes), "{name}");
        }
    }
}

#[test]
fn jpeg_whose_data_break_off_at_a_marker_is_refused_as_by_pillow() {
    let (_, bytes) = images().into_iter().find(|(name, _)| name.ends_with(".jpg")).unwrap();
    let end = bytes.len() - 2;
    let with = |marker| read(&[&bytes[..end], &[0xFF, marker, 0, 2], &bytes[end..]].concat());
    for (marker, why) in [(0x9C, "break off"), (0xD8, "inside of it"), (0xC8, "lossless")] {
        let error = with(marker).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(with(0xD3), read(&bytes));
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
        png(65_536, 1),
        png(1 << 31, 1 << 31),
        png(16_000, 16_000),
        jpeg(65_535, 65_535),
        jpeg(16_000, 6_000),
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
fn sizes_beyond_the_decoder_are_named() {
    let error = read(&png(1 << 31, 1 << 31)).unwrap_err().to_string();
    assert!(error.contains("claims 2147483648x2147483648 pixels"), "{error}");
}

#[test]
fn profiles_are_not_unpacked() {
    let (_, bytes) = images().into_iter().find(|(name, _)| name.ends_with("rgb.png")).unwrap();
    let mut profile = b"iCCPname\0\0".to_vec();
    let mut deflate = flate2::write::ZlibEncoder::new(&mut profile, flate2::Compression::fast());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 16 << 20), &mut deflate).unwrap();
    deflate.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(&profile);
    let (header, rest) = bytes.split_at(33);
    let length = (profile.len() as u32 - 4).to_be_bytes();
    let bomb = [header, &length, &profile, &crc.sum().to_be_bytes(), rest].concat();
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    assert_eq!(decode(&bomb, &limits).unwrap(), read(&bytes).unwrap());
}

#[test]
fn webp_of_many_pixels_in_few_bytes_is_refused() {
    let (_, bytes) = images().into_iter().find(|(name, _)| name.ends_with("less.webp")).unwrap();
    let claim = |side: u32| {
        let mut file = bytes.clone();
        assert_eq!(file[20], 0x2F);
        file[21..25].copy_from_slice(&((side - 1) | ((side - 1) << 14)).to_le_bytes());
        read(&file).map_or_else(|error| error.to_string(), |_| String::new())
    };
    assert!(claim(7_000).contains("7000x7000 pixels in 110 bytes"), "{}", claim(7_000));
    // Fewer are worth a try.
    assert!(!claim(2_048).contains("pixels in"), "{}", claim(2_048));
}

#[test]
fn default_limits_are_pillows() {
    let limits = Limits::default();
    assert_eq!((limits.pixels, limits.bytes), (89_478_485, 512 << 20));
    let more = Limits::of_pixels(178_956_970);
    assert!(more.bytes > limits.bytes && more.pixels > limits.pixels);
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

/// A folder of the shared files; none where they are missing and need not be there.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn shared(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("TOP5_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        |path| path.into(),
    );
    let folder = shared.join(folder);
    if !folder.is_dir() {
        assert!(std::env::var_os("CI").is_none(), "shared data is missing at {}", folder.display());
        eprintln!("skipped: no shared data at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn crc(image: &Image) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(&image.to_rgb().pixels);
    crc.sum()
}

#[test]
fn images_from_the_field_have_pillows_pixels() {
    let Some(field) = shared("field") else { return };
    let open = |name: &str| read(&fs::read(field.join(name)).unwrap());
    // CRC-32 of what Pillow decodes.
    let files = [
        ("I1/nodht.jpg", 0x1cea_1161),
        ("I2/arith.jpg", 0xa429_1008),
        ("I3/thin1.png", 0x0db0_3a83),
        ("I4/52mp.png", 0x3945_46dd),
    ];
    for (name, expected) in files {
        assert_eq!(crc(&open(name).unwrap()), expected, "{name}");
    }
    for bits in ["555", "565"] {
        let [bmp, png] = [".bmp", "_pillow.png"].map(|end| open(&format!("I5/red{bits}{end}")));
        assert_eq!(bmp.unwrap(), png.unwrap());
    }
    let error = open("attacks/hdr2g.png").unwrap_err().to_string();
    assert!(error.contains("claims 2147483647x2147483647 pixels"), "{error}");
    assert!(error.ends_with("65535 pixels per side: scale the image down first"), "{error}");
}

#[test]
fn photographs_of_imagenet_have_pillows_pixels() {
    let Some(folder) = shared("data/imagenet-samples") else { return };
    let folder = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/jpeg.txt");
    let golden = fs::read_to_string(golden).unwrap();
    assert_eq!((files.len(), golden.lines().count()), (200, 200));
    for (index, (path, line)) in files.iter().zip(golden.lines()).enumerate() {
        let bytes = fs::read(path).unwrap();
        let crc = crc(&read(&bytes).unwrap());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(format!("{name} {crc:08x}"), line);
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
