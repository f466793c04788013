//! Image files to pixels: PNG, JPEG, WebP, BMP and PNM, told apart by content.
//!
//! The pixels are those of Pillow's `convert("RGB")`, except that gray stays one channel: palettes are expanded, 16-bit
//! samples keep their high byte (Pillow cuts gray ones off at 255 instead, and rounds those of PNM), and alpha is dropped unless it alone draws the
//! picture. Sizes are judged from the header, before anything is allocated for pixels; nothing but pixels is unpacked.

mod bmp;
mod png;
mod pnm;

use std::borrow::Cow;
use std::io::Cursor;
use std::panic::catch_unwind;

use image::error::LimitErrorKind;
use image::{ImageDecoder, ImageFormat, ImageReader};

use crate::error::ImageError;
use crate::image::Image;
use crate::jpeg;
use crate::limits::{Limits, reserved, too_large};

/// Decodes an image file held in memory. Of an animation, the first frame.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Image, ImageError> {
    let start = || bytes[..bytes.len().min(8)].to_vec();
    let (format, name) = image::guess_format(bytes)
        .ok()
        .and_then(|format| Some((format, name(format)?)))
        .ok_or_else(|| ImageError::UnknownFormat { start: start() })?;
    // The decoders keep no state outside the call, so that nothing broken can be seen after an unwind.
    let decode = || match format == ImageFormat::Jpeg {
        true => jpeg::decode(bytes, limits),
        false => decode_as(bytes, format, name, limits),
    };
    catch_unwind(decode)
        .unwrap_or_else(|_| Err(damaged(name, "the decoder gave up with an internal error")))
}

fn damaged(format: &'static str, reason: &str) -> ImageError {
    ImageError::Damaged { format, reason: reason.to_owned() }
}

/// The name of a supported format.
fn name(format: ImageFormat) -> Option<&'static str> {
    let supported = [
        (ImageFormat::Png, "PNG"),
        (ImageFormat::Jpeg, "JPEG"),
        (ImageFormat::WebP, "WebP"),
        (ImageFormat::Bmp, "BMP"),
        (ImageFormat::Pnm, "PNM"),
    ];
    supported.iter().find(|(known, _)| *known == format).map(|&(_, name)| name)
}

/// Pixels that a file of the format and length can hold: a header that claims more is lying. A plain lossless WebP image
/// costs hardly a byte, so that the bound for those is what a file is worth.
fn most_pixels(format: &str, bytes: usize) -> u64 {
    let (free, per_byte) = match format {
        "PNM" => (0, 8), // one bit per pixel, uncompressed
        "WebP" => (1 << 22, 1 << 15),
        _ => (0, 1032 * 8), // deflate's best ratio at one bit per pixel; BMP stays below it
    };
    (bytes as u64).saturating_mul(per_byte).saturating_add(free)
}

fn decode_as(
    bytes: &[u8],
    format: ImageFormat,
    name: &'static str,
    limits: &Limits,
) -> Result<Image, ImageError> {
    let memory = || format!("{} bytes of memory", limits.bytes);
    let failed = |error: image::ImageError, width: u32, height: u32| {
        if let image::ImageError::Limits(limit) = &error
            && limit.kind() == LimitErrorKind::InsufficientMemory
        {
            return too_large(name, width, height, memory());
        }
        damaged(name, &error.to_string())
    };
    let is_png = format == ImageFormat::Png;
    let (width, height) = png::size(bytes).filter(|_| is_png).unwrap_or_default();
    limits.check_size(name, width, height)?;
    let pixels_alone = if is_png { png::pixels_alone(bytes) } else { Cow::Borrowed(bytes) };
    let mut reader = ImageReader::with_format(Cursor::new(&pixels_alone[..]), format);
    let mut allowed = image::Limits::no_limits();
    allowed.max_alloc = Some(limits.bytes);
    reader.limits(allowed);
    let decoder = reader.into_decoder().map_err(|error| failed(error, width, height))?;

    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ImageError::Empty { format: name });
    }
    limits.check_size(name, width, height)?;
    let size = decoder.total_bytes();
    if size > limits.bytes {
        return Err(too_large(name, width, height, memory()));
    }
    if pixels > most_pixels(name, bytes.len()) {
        return Err(damaged(name, &format!("{width}x{height} pixels in {} bytes", bytes.len())));
    }

    let colour = decoder.color_type();
    // Decoders have no answer to a lack of memory: it is asked for what they take beside the samples, eight bytes per pixel
    // at most (WebP), and given back.
    drop(reserved::<u8>((size + 8 * pixels) as usize, name, [width, height])?);
    let mut samples = reserved(size as usize, name, [width, height])?;
    samples.resize(size as usize, 0);
    decoder.read_image(&mut samples).map_err(|error| failed(error, width, height))?;
    let stored = usize::from(colour.channel_count());
    let sample = usize::from(colour.bytes_per_pixel()) / stored;
    let channels = if colour.has_color() { 3 } else { 1 };
    let image = |pixels| Image { channels, height: height as usize, width: width as usize, pixels };
    let largest = if format == ImageFormat::Pnm { pnm::largest(bytes) } else { None };
    if stored == channels && sample == 1 {
        if let Some(bits) = bmp::bits(bytes).filter(|_| format == ImageFormat::Bmp && channels == 3)
        {
            bmp::cut_off(&mut samples, bits);
        }
        if let Some(largest) = largest.filter(|&largest| largest < 255) {
            let values = samples.iter_mut();
            values.for_each(|value| *value = pnm::rounded(u32::from(*value), 255, largest));
        }
        return Ok(image(samples));
    }
    if let (Some(largest), 3, 2) = (largest, stored, sample) {
        let mut pixels = reserved(samples.len() / sample, name, [width, height])?;
        let values = samples.as_chunks::<2>().0.iter().map(|&value| u16::from_ne_bytes(value));
        pixels.extend(values.map(|value| pnm::rounded(u32::from(value), 0xFFFF, largest)));
        return Ok(image(pixels));
    }
    let high = if cfg!(target_endian = "little") { sample - 1 } else { 0 };
    let stored_pixels = || samples.chunks_exact(stored * sample);
    let of_colour = |pixel: &'_ [u8]| -> [u8; 3] {
        std::array::from_fn(|c| pixel[c.min(channels - 1) * sample + high])
    };
    let mut pixels = reserved(samples.len() / stored / sample * channels, name, [width, height])?;
    pixels.extend(stored_pixels().flat_map(|pixel| of_colour(pixel).into_iter().take(channels)));
    let opaque = image(pixels);
    if stored == channels {
        return Ok(opaque);
    }
    let alpha = || stored_pixels().map(|pixel| pixel[channels * sample + high]);
    Ok(lay_on_paper(opaque, alpha))
}

/// A drawing of one tone on a transparent ground, which would be blank without its alpha, on a paper that contrasts with
/// it. Other images are left alone.
fn lay_on_paper<A: Iterator<Item = u8>>(image: Image, alpha: impl Fn() -> A) -> Image {
    /// Tones that differ by less are one.
    const CONTRAST: u8 = 24;
    let range = |values: &mut dyn Iterator<Item = u8>| {
        values.fold((u8::MAX, 0), |(least, most), v| (v.min(least), v.max(most)))
    };
    let (least_alpha, most_alpha) = range(&mut alpha());
    if least_alpha == most_alpha {
        return image;
    }
    let (darkest, lightest) = range(&mut image.to_gray().pixels.into_iter());
    if lightest - darkest >= CONTRAST {
        return image;
    }
    let paper = if darkest < 128 { 255 } else { 0 };
    let cover = |v: u8, alpha: u8| {
        let [v, alpha, paper] = [v, alpha, paper].map(u16::from);
        ((v * alpha + paper * (255 - alpha) + 127) / 255) as u8
    };
    let mut laid = image;
    for (pixel, alpha) in laid.pixels.chunks_exact_mut(laid.channels).zip(alpha()) {
        pixel.iter_mut().for_each(|v| *v = cover(*v, alpha));
    }
    laid
}
