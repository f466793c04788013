//! Pictures of maps: colour is a view, the numbers are the data.

mod colour;
mod font;
mod png;
mod sheet;
mod svg;

pub use colour::{Ramp, Scale};
pub use png::{base64, data_uri, encode};
pub use sheet::{blocks, enlarge, layout, sheet, side_by_side};
pub use svg::svg;

use top5_data::Image;
use top5_graph::Tensor;

use crate::error::ExplainError;
use crate::map::Map;

/// A map in the colours of a scale, one pixel per value.
pub fn render(map: &Map, scale: &Scale) -> Image {
    let pixels = map.values().iter().flat_map(|&value| scale.colour(value)).collect();
    Image { channels: 3, height: map.height(), width: map.width(), pixels }
}

/// A map, resized to a photograph, over its gray version. `opacity` is the share of the map's colour, 0 to 1; the map must have
/// been placed on the photograph or be of its proportions.
pub fn overlay(photograph: &Image, map: &Map, scale: &Scale, opacity: f32) -> Image {
    let opacity = opacity.clamp(0.0, 1.0);
    let gray = photograph.to_gray().to_rgb();
    let colours = render(&map.resized(gray.height, gray.width), scale);
    let mix = |(&under, &over): (&u8, &u8)| {
        (f32::from(under) * (1.0 - opacity) + f32::from(over) * opacity).round() as u8
    };
    let pixels = gray.pixels.iter().zip(&colours.pixels).map(mix).collect();
    Image { pixels, ..gray }
}

/// A signal at the image, `[1, c, h, w]` with c of 1 or 3, as a picture around middle gray: the greatest magnitude is white or
/// black. All zeros are gray.
pub fn projection(signal: &Tensor) -> Result<Image, ExplainError> {
    let greatest = greatest(signal)?;
    projection_on(signal, greatest)
}

/// As [`projection`], with the magnitude that is white: several pictures can share it.
pub fn projection_on(signal: &Tensor, greatest: f32) -> Result<Image, ExplainError> {
    let (&[1, c @ (1 | 3), h, w] | &[c @ (1 | 3), h, w]) = signal.shape() else {
        let got = signal.shape().iter().product();
        return Err(ExplainError::Shape { what: "a signal at one image", expected: 1, got });
    };
    let scale = if greatest > 0.0 { 127.0 / f64::from(greatest) } else { 0.0 };
    let pixel = |v: f32| (128.0 + f64::from(v) * scale).round().clamp(0.0, 255.0) as u8;
    let mut pixels = vec![0; c * h * w];
    for (channel, plane) in signal.data().chunks_exact(h * w).enumerate() {
        for (at, &v) in plane.iter().enumerate() {
            pixels[at * c + channel] = pixel(v);
        }
    }
    Ok(Image { channels: c, height: h, width: w, pixels }.to_rgb())
}

/// The greatest magnitude of a tensor. Fails where a value is not finite.
pub fn greatest(signal: &Tensor) -> Result<f32, ExplainError> {
    match signal.data().iter().all(|v| v.is_finite()) {
        true => Ok(signal.data().iter().fold(0.0, |m: f32, v| m.max(v.abs()))),
        false => Err(ExplainError::NotFinite { what: "a value of the signal".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projections_are_gray_about_zero() {
        let signal = Tensor::new([1, 1, 1, 3], vec![0.0, 2.0, -2.0]).unwrap();
        let picture = projection(&signal).unwrap();
        assert_eq!(picture.pixels, [128, 128, 128, 255, 255, 255, 1, 1, 1]);
        assert_eq!(projection(&Tensor::zeros([1, 3, 1, 1])).unwrap().pixels, [128; 3]);
        let bad = Tensor::new([1, 1, 1, 1], vec![f32::NAN]).unwrap();
        assert!(matches!(projection(&bad), Err(ExplainError::NotFinite { .. })));
    }

    #[test]
    fn overlays_have_the_photographs_size() {
        let map = Map::new(vec![0.0, 1.0, 1.0, 0.0], 2, 2, false).unwrap();
        let photograph = Image::filled(3, 8, 6, 100);
        let over = overlay(&photograph, &map, &Scale::of(&map), 0.5);
        assert_eq!([over.channels, over.height, over.width], [3, 8, 6]);
        assert_eq!(overlay(&photograph, &map, &Scale::of(&map), 0.0), photograph);
    }
}
