//! Decodes image files.
use crate::error::ImageError;
use crate::image::Image;

/// What an image may claim before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest side, in pixels.
    pub side: u32,
    /// Most pixels.
    pub pixels: u64,
    /// Most bytes that decoding may allocate.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { side: 16_384, pixels: 50_000_000, bytes: 512 << 20 }
    }
}

/// Decodes a PNG, JPEG, WebP, BMP or PNM image.
pub fn decode(_bytes: &[u8], _limits: &Limits) -> Result<Image, ImageError> {
    todo!()
}
