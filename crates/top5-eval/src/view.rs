//! One look at an image: how it is scaled, which window of it is taken, and whether it is mirrored.

use top5_data::{CropMode, Image, Preprocess, resize, resize_crop};

/// Most pixels of a scaled image that are kept while windows are taken from it; windows of a larger one are computed alone.
const MOST_PIXELS: usize = 1 << 24;

/// One look at an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Height and width that the image is scaled to.
    pub scaled: [usize; 2],
    /// First row of the window; negative where the scaled image is smaller than the window.
    pub top: isize,
    /// First column of the window.
    pub left: isize,
    /// Height and width of the window.
    pub window: [usize; 2],
    /// Height and width of what the network gets: a window of another size is resized to it.
    pub size: [usize; 2],
    /// Whether it is mirrored.
    pub flip: bool,
}

impl View {
    /// The mirror image.
    pub fn mirrored(self) -> Self {
        Self { flip: true, ..self }
    }

    /// Writes the network's input for this view of `image` into `out`, order C H W. The channels, the filter and the
    /// statistics are those of `preprocess`; its own resize and crop are not done. Panics unless `out` has as many values.
    pub fn apply(&self, image: &Image, preprocess: &Preprocess, out: &mut [f32]) {
        let image = in_channels(image, preprocess.input_size[0]);
        Scaled::new(&image, preprocess, &[*self]).write(&image, preprocess, self, out);
    }
}

/// The image with this many channels.
pub(crate) fn in_channels(image: &Image, channels: usize) -> std::borrow::Cow<'_, Image> {
    use std::borrow::Cow;
    match (channels, image.channels) {
        (1, 3) => Cow::Owned(image.to_gray()),
        (3, 1) => Cow::Owned(image.to_rgb()),
        _ => Cow::Borrowed(image),
    }
}

/// An image scaled for the windows that will be taken from it: the part of it that they lie in.
pub(crate) struct Scaled {
    size: [usize; 2],
    /// The corner of the part and the part; none where it is too large to keep.
    part: Option<([isize; 2], Image)>,
}

impl Scaled {
    /// For the windows of `views`, which are all of one scale and at least one. The image has the network's channels.
    pub(crate) fn new(image: &Image, preprocess: &Preprocess, views: &[View]) -> Self {
        let size = views.first().expect("there is a view").scaled;
        assert!(views.iter().all(|view| view.scaled == size), "views of one scale");
        let corner = |view: &View, axis: usize| [view.top, view.left][axis];
        let range = |axis: usize| {
            let end = |view: &View| corner(view, axis).saturating_add_unsigned(view.window[axis]);
            let first = views.iter().map(|view| corner(view, axis)).min().unwrap_or(0);
            (first, views.iter().map(end).max().unwrap_or(0).abs_diff(first))
        };
        let ((top, height), (left, width)) = (range(0), range(1));
        let kept = height.checked_mul(width).is_some_and(|pixels| pixels <= MOST_PIXELS);
        let part = kept.then(|| {
            let (corner, filter) = ([top, left], preprocess.interpolation);
            (corner, resize_crop(image, size, filter, corner, [height, width], [0; 3]))
        });
        Self { size, part }
    }

    /// Writes the network's input for one of the views into `out`.
    pub(crate) fn write(
        &self,
        image: &Image,
        preprocess: &Preprocess,
        view: &View,
        out: &mut [f32],
    ) {
        let (filter, [height, width]) = (preprocess.interpolation, view.size);
        let (corner, window) = ([view.top, view.left], view.window);
        let crop = match &self.part {
            Some((at, part)) => {
                let [top, left] = [0, 1].map(|axis| corner[axis] - at[axis]);
                part.crop(top, left, window[0], window[1])
            }
            None => resize_crop(image, self.size, filter, corner, window, [0; 3]),
        };
        let crop = if view.flip { crop.flip_horizontal() } else { crop };
        let crop = match window == view.size {
            true => crop,
            false => resize(&crop, height, width, filter),
        };
        let whole = Preprocess {
            input_size: [preprocess.input_size[0], height, width],
            crop_mode: CropMode::Squash,
            crop_pct: 1.0,
            drawn_digits: false,
            ..preprocess.clone()
        };
        whole.apply(&crop, out);
    }
}

/// Height and width when the shorter side becomes `shorter` and the other keeps the proportions, rounded down.
pub(crate) fn scale([height, width]: [usize; 2], shorter: usize) -> [usize; 2] {
    let longer = |long: usize, short: usize| {
        (shorter as u128 * long as u128 / short.max(1) as u128) as usize
    };
    if width <= height {
        [longer(height, width), shorter]
    } else {
        [shorter, longer(width, height)]
    }
}

/// The smallest size that keeps an image's proportions, has at least `shorter` as its shorter side, and holds `least`.
pub(crate) fn cover(image: [usize; 2], shorter: usize, least: [usize; 2]) -> [usize; 2] {
    let [short, long] = if image[1] <= image[0] { [1, 0] } else { [0, 1] };
    // The longer side is the shorter one's times the proportion, rounded down.
    let needed = (least[long] as u128 * image[short].max(1) as u128)
        .div_ceil(image[long].max(1) as u128) as usize;
    scale(image, shorter.max(least[short]).max(needed))
}

/// Where a window lies in a larger area.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    UpperLeft,
    UpperRight,
    LowerLeft,
    LowerRight,
    Centre,
    /// Row and column of a grid whose first and last windows touch the borders.
    Grid {
        at: [usize; 2],
        of: usize,
    },
}

/// Row and column at which a window lies in an area. Halves are rounded to even, as torchvision's centre crop does.
pub(crate) fn offset(area: [usize; 2], window: [usize; 2], place: Place) -> [isize; 2] {
    let room = [0, 1].map(|axis| area[axis] as isize - window[axis] as isize);
    let middle = room.map(|room| (room as f64 / 2.0).round_ties_even() as isize);
    match place {
        Place::UpperLeft => [0, 0],
        Place::UpperRight => [0, room[1]],
        Place::LowerLeft => [room[0], 0],
        Place::LowerRight => room,
        Place::Centre => middle,
        Place::Grid { of: 0 | 1, .. } => middle,
        Place::Grid { at, of } => {
            let step = |axis: usize| {
                let share = at[axis] as f64 / (of - 1) as f64;
                (room[axis] as f64 * share).round_ties_even() as isize
            };
            [step(0), step(1)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(height: usize, width: usize) -> Image {
        let pixels = (0..height * width * 3).map(|i| (i * 37 % 251) as u8).collect();
        Image { channels: 3, height, width, pixels }
    }

    #[test]
    fn view_takes_its_window_and_mirrors_it() {
        let image =
            Image { channels: 1, height: 2, width: 3, pixels: vec![10, 20, 30, 40, 50, 60] };
        let preprocess =
            Preprocess { mean: vec![0.0], std: vec![1.0 / 255.0], ..Preprocess::squash([1, 2, 2]) };
        let pixels = |view: View| {
            let mut out = [0.0; 4];
            view.apply(&image, &preprocess, &mut out);
            out.map(f32::round)
        };
        let size = [2, 2];
        let view = View { scaled: [2, 3], top: 0, left: 1, window: size, size, flip: false };
        assert_eq!(pixels(view), [20.0, 30.0, 50.0, 60.0]);
        assert_eq!(pixels(view.mirrored()), [30.0, 20.0, 60.0, 50.0]);
        // A window of another size is resized: two columns of one pixel each become two by two.
        let narrow = View { window: [1, 2], top: 1, left: 0, ..view };
        assert_eq!(pixels(narrow), [40.0, 50.0, 40.0, 50.0]);
        // Beyond the image there are zeros.
        assert_eq!(pixels(View { top: -1, ..view }), [0.0, 0.0, 20.0, 30.0]);
    }

    #[test]
    fn windows_that_share_a_scaled_image_are_those_taken_alone() {
        let (image, preprocess) = (counting(40, 30), Preprocess::imagenet(16, 16));
        let at = |scaled, top, left, side: usize| {
            let (window, size) = ([side; 2], [16, 16]);
            View { scaled, top, left, window, size, flip: top == 3 }
        };
        let views = [at([26, 20], 0, 0, 16), at([26, 20], 3, 4, 16), at([26, 20], -2, 4, 20)];
        let together = Scaled::new(&image, &preprocess, &views);
        for view in &views {
            let [mut shared, mut alone] = [[0.0; 768]; 2];
            together.write(&image, &preprocess, view, &mut shared);
            view.apply(&image, &preprocess, &mut alone);
            assert_eq!(shared, alone, "{view:?}");
        }
    }

    #[test]
    fn proportions_are_kept_where_the_scaled_image_would_be_too_small() {
        assert_eq!(cover([375, 500], 256, [224, 224]), [256, 341]);
        assert_eq!(cover([375, 500], 200, [224, 224]), [224, 298]);
        assert_eq!(cover([500, 375], 100, [231, 231]), [308, 231]);
        // The longer side may be the one that is short.
        assert_eq!(cover([100, 110], 50, [60, 99]), [90, 99]);
        assert_eq!(cover([1, 1], 7, [3, 9]), [9, 9]);
    }
}
