//! What an image file may claim, judged from its header before memory is taken for pixels.

use crate::error::ImageError;

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
    /// As many pixels as Pillow reads without a warning.
    fn default() -> Self {
        Self::of_pixels(89_478_485)
    }
}

impl Limits {
    /// For images of at most so many pixels: sides up to 65,535, which is JPEG's limit, and six bytes of memory per pixel,
    /// but at least 512 MiB.
    pub fn of_pixels(pixels: u64) -> Self {
        Self { side: 65_535, pixels, bytes: pixels.saturating_mul(6).max(512 << 20) }
    }

    /// Refuses a size that a header of this format claims, if it is over the limits.
    pub(crate) fn check_size(
        &self,
        format: &'static str,
        width: u32,
        height: u32,
    ) -> Result<(), ImageError> {
        if width.max(height) > self.side {
            let (limit, [width, height]) =
                (format!("{} pixels per side", self.side), [width, height].map(u64::from));
            let may_be_raised = false;
            return Err(ImageError::TooLarge { format, width, height, limit, may_be_raised });
        }
        if u64::from(width) * u64::from(height) > self.pixels {
            return Err(too_large(format, width, height, format!("{} pixels", self.pixels)));
        }
        Ok(())
    }
}

/// Memory for so many values of an image of this size, if it is to be had.
pub(crate) fn reserved<T>(
    length: usize,
    format: &'static str,
    [width, height]: [u32; 2],
) -> Result<Vec<T>, ImageError> {
    let mut values = Vec::new();
    let bytes = (length as u64).saturating_mul(size_of::<T>() as u64);
    let reserved = values.try_reserve_exact(length);
    reserved.map_err(|_| ImageError::Memory { format, width, height, bytes })?;
    Ok(values)
}

/// The error of a size that is over a limit which may be raised.
pub(crate) fn too_large(
    format: &'static str,
    width: u32,
    height: u32,
    limit: String,
) -> ImageError {
    let [width, height] = [width, height].map(u64::from);
    ImageError::TooLarge { format, width, height, limit, may_be_raised: true }
}
