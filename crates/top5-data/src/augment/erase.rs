//! Rectangles that are blotted out of the network's input, after all other changes and after normalisation, so that what is
//! there is the mean.

use top5_graph::random::Stream;

/// Top, left, height and width of a part with a drawn area and proportions; None after ten that are not smaller than the image
/// (Zhong et al., arXiv:1708.04896; torchvision's `RandomErasing.get_params`).
pub(super) fn draw_part(
    [height, width]: [usize; 2],
    scale: [f32; 2],
    ratio: [f32; 2],
    draws: &mut Stream,
) -> Option<[usize; 4]> {
    let between =
        |[from, to]: [f64; 2], draws: &mut Stream| from + (to - from) * f64::from(draws.uniform());
    (0..10).find_map(|_| {
        let area = (height * width) as f64 * between(scale.map(f64::from), draws);
        let ratio = between(ratio.map(|r| f64::from(r).ln()), draws).exp();
        let h = (area * ratio).sqrt().round_ties_even() as usize;
        let w = (area / ratio).sqrt().round_ties_even() as usize;
        let fits = h < height && w < width;
        fits.then(|| [draws.below(height - h + 1), draws.below(width - w + 1), h, w])
    })
}

/// The square of this side about a drawn pixel, as far as it lies within the image (DeVries & Taylor, arXiv:1708.04552, and
/// their code, in which an odd side counts as the even one below it).
pub(super) fn draw_square(
    [height, width]: [usize; 2],
    side: usize,
    draws: &mut Stream,
) -> [usize; 4] {
    let mut span = |size: usize| {
        let middle = draws.below(size);
        let first = middle.saturating_sub(side / 2);
        (first, (middle + side / 2).min(size) - first)
    };
    let ((top, h), (left, w)) = (span(height), span(width));
    [top, left, h, w]
}

/// Sets a part of `[channels, height, width]` values to zero, or to numbers drawn from N(0, 1).
pub(super) fn erase(
    out: &mut [f32],
    [_, height, width]: [usize; 3],
    [top, left, h, w]: [usize; 4],
    mut noise: Option<Stream>,
) {
    for plane in out.chunks_exact_mut(height * width) {
        for row in plane.chunks_exact_mut(width).skip(top).take(h) {
            row[left..left + w].fill_with(|| noise.as_mut().map_or(0.0, Stream::normal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_is_erased() {
        let mut out = [1.0; 2 * 3 * 4];
        erase(&mut out, [2, 3, 4], [1, 2, 2, 1], None);
        let expected = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0];
        assert_eq!(out[..12], expected);
        assert_eq!(out[12..], expected);
        erase(&mut out, [2, 3, 4], [0, 0, 3, 4], Some(Stream::new(1, 2)));
        assert!(out.iter().all(|v| ![0.0, 1.0].contains(v)));
    }

    #[test]
    fn parts_lie_within_the_image_and_have_the_area() {
        let mut draws = Stream::new(5, 6);
        let mut whole = 0;
        for _ in 0..500 {
            let [top, left, h, w] =
                draw_part([20, 30], [0.02, 0.33], [0.3, 3.3], &mut draws).unwrap();
            assert!(top + h <= 20 && left + w <= 30, "{top} {left} {h} {w}");
            assert!((8..=220).contains(&(h * w)), "{h}x{w}");
            let [top, left, h, w] = draw_square([20, 30], 8, &mut draws);
            assert!(top + h <= 20 && left + w <= 30 && h <= 8 && w <= 8 && h >= 4 && w >= 4);
            whole += usize::from([h, w] == [8, 8]);
        }
        // Of the middles, 13/20 and 23/30 leave room.
        assert!((200..300).contains(&whole), "{whole}");
        assert_eq!(draw_part([1, 1], [1.0, 1.0], [1.0, 1.0], &mut draws), None);
    }
}
