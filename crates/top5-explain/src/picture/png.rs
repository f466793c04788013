//! PNG files with texts in them, so that what a picture must be read with travels with it.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use top5_data::Image;

use crate::error::ExplainError;

/// Length of the signature and of the first chunk, which holds the size.
const HEADER: usize = 8 + 25;

/// The picture as a PNG file with texts by keyword (iTXt: `Description`, `Warning`, …; keywords of 1 to 79 ASCII letters).
pub fn encode(image: &Image, texts: &[(&str, &str)]) -> Result<Vec<u8>, ExplainError> {
    let wrong = |why: String| ExplainError::Picture { why };
    let side = |side: usize| u32::try_from(side).map_err(|error| wrong(error.to_string()));
    let colour = match image.channels {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&image.pixels, side(image.width)?, side(image.height)?, colour)
        .map_err(|error| wrong(error.to_string()))?;
    let chunks: Vec<u8> = texts.iter().flat_map(|(key, text)| chunk(key, text)).collect();
    bytes.splice(HEADER..HEADER, chunks);
    Ok(bytes)
}

/// An uncompressed iTXt chunk (PNG, third edition, section 11.3.3.4).
fn chunk(key: &str, text: &str) -> Vec<u8> {
    let key: String =
        key.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').take(79).collect();
    let text = text.replace('\0', " ");
    let mut body = b"iTXt".to_vec();
    body.extend_from_slice(key.as_bytes());
    // The end of the keyword, no compression of no method, no language, no translated keyword.
    body.extend_from_slice(&[0, 0, 0, 0, 0]);
    body.extend_from_slice(text.as_bytes());
    let length = u32::try_from(body.len() - 4).unwrap_or(u32::MAX);
    let mut chunk = length.to_be_bytes().to_vec();
    chunk.extend_from_slice(&body);
    chunk.extend_from_slice(&crc(&body).to_be_bytes());
    chunk
}

/// CRC-32 of ISO 3309, bit by bit: texts are short.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Base 64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// A PNG file as the address of an image in a page.
pub fn data_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, code) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        assert_eq!(crc(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc(b"IEND"), 0xAE42_6082);
    }

    #[test]
    fn texts_travel_with_the_picture() {
        let image = Image { channels: 3, height: 1, width: 2, pixels: vec![1, 2, 3, 4, 5, 6] };
        let png =
            encode(&image, &[("Warning", "says little of the decision, über alles")]).unwrap();
        let text = String::from_utf8_lossy(&png);
        assert!(text.contains("iTXtWarning") && text.contains("über alles"));
        let again = top5_data::decode(&png, &top5_data::Limits::default()).unwrap();
        assert_eq!(again, image);
    }
}
