//! Moving elements between layouts and ranges of channels, and the channel-wise scale.

use crate::packing::{
    assert_same, elements, layout, pack as to_blocks, part, runs, unpack as to_values, unwritten,
};
use top5_kernels::channels::{
    ScaleEpilogue, copy, flatten, pack, pad_planes, scale, scale_factor_gradient, subsample,
    subsample_gradient, unflatten, unpack,
};
use top5_kernels::{Block, LANES, Layout, Threads};
use top5_testkit::enumerate::CHANNELS;
use top5_testkit::fill::integers;

const N: usize = 2;
const SIZE: [usize; 2] = [3, 4];
const AREA: usize = 12;

/// Index in `[n, channels, h, w]` of the element of `[n, count, h, w]` at `i`, whose channel is `shift` further.
fn shifted(i: usize, count: usize, channels: usize, shift: usize) -> usize {
    let (pixel, c, n) = (i % AREA, i / AREA % count, i / AREA / count);
    (n * channels + c + shift) * AREA + pixel
}

#[test]
fn packing_and_unpacking_keep_every_element() {
    for threads in [1, 3].map(Threads::oversubscribed) {
        for channels in CHANNELS {
            let layout = layout(channels, SIZE, [1, 2]);
            let x = integers("x", elements(N, &layout));
            let mut blocks = unwritten(N, &layout);
            pack(&threads, N, &x, &mut blocks, &layout);
            assert_same("pack", &to_values("pack", N, &layout, &blocks), &x);
            let mut out = vec![f32::NAN; x.len()];
            unpack(N, (&blocks, &layout), &mut out);
            assert_same("unpack", &out, &x);
        }
    }
}

#[test]
fn planes_are_padded_with_zeros() {
    let x = integers("x", 3 * AREA);
    let mut y = vec![f32::NAN; 3 * 6 * 9 + 5];
    pad_planes(&x, [3, 3, 4], &mut y, [6, 9], [2, 3]);
    for (i, y) in y.iter().enumerate() {
        let (row, col) = (i / 9 % 6, i % 9);
        let inside = i < 3 * 54 && (2..5).contains(&row) && (3..7).contains(&col);
        let want = if inside { x[(i / 54 * 3 + row - 2) * 4 + col - 3] } else { 0.0 };
        assert_eq!(*y, want, "element {i}");
    }
}

#[test]
fn any_range_of_channels_is_copied_or_added() {
    for (isa, threads) in runs() {
        for from in [0, 1, 15, 16, 17] {
            for to in [0, 3, 16, 31] {
                for count in [1, 4, 16, 17, 33] {
                    for accumulate in [false, true] {
                        let what =
                            format!("{isa}: {count} from {from} to {to}, adding {accumulate}");
                        let xl = part(layout(from + count + 2, SIZE, [1, 0]));
                        let yl = part(layout(to + count + 5, SIZE, [0, 1]));
                        let x = integers("x", elements(N, &xl));
                        let mut want = integers("y", elements(N, &yl));
                        let mut y = to_blocks(N, &yl, &want);
                        for i in 0..N * count * AREA {
                            let value = x[shifted(i, count, xl.channels, from)];
                            let y = &mut want[shifted(i, count, yl.channels, to)];
                            *y = if accumulate { *y + value } else { value };
                        }
                        let x = to_blocks(N, &xl, &x);
                        let (from_x, to_y) = ((&x[..], &xl), (&mut y[..], &yl));
                        copy(isa, &threads, N, from_x, from, to_y, to, count, accumulate);
                        assert_same(&what, &to_values(&what, N, &yl, &y), &want);
                    }
                }
            }
        }
    }
}

#[test]
fn flattening_keeps_the_order_of_channel_row_column() {
    for threads in [1, 3].map(Threads::oversubscribed) {
        for channels in CHANNELS {
            let map = layout(channels, SIZE, [1, 1]);
            let flat = Layout::new(channels * AREA, 1, 1);
            let x = integers("x", elements(N, &map));
            let mut y = vec![Block([f32::NAN; LANES]); N * flat.blocks()];
            flatten(&threads, N, (&to_blocks(N, &map, &x), &map), &mut y);
            assert_same("flatten", &to_values("flatten", N, &flat, &y), &x);
            for accumulate in [false, true] {
                let start = integers("start", x.len());
                let mut dx =
                    if accumulate { to_blocks(N, &map, &start) } else { unwritten(N, &map) };
                unflatten(&threads, N, &y, (&mut dx, &map), accumulate);
                let kept = |i: usize| if accumulate { start[i] } else { 0.0 };
                let want: Vec<f32> = x.iter().enumerate().map(|(i, x)| kept(i) + x).collect();
                let what = format!("unflatten {channels}, adding {accumulate}");
                assert_same(&what, &to_values(&what, N, &map, &dx), &want);
            }
        }
    }
}

#[test]
fn subsampling_and_its_gradient_are_exact() {
    let threads = Threads::oversubscribed(2);
    for stride in [1, 2, 3] {
        for channels in CHANNELS {
            let size = [7, 8];
            let small = size.map(|size: usize| size.div_ceil(stride));
            let (xl, yl) = (layout(channels, size, [1, 0]), layout(channels, small, [0, 1]));
            let (x, dy) = (integers("x", elements(N, &xl)), integers("dy", elements(N, &yl)));
            let source = |i: usize| {
                let (row, col) = (i / small[1] % small[0], i % small[1]);
                i / (small[0] * small[1]) * 56 + row * stride * 8 + col * stride
            };
            let want: Vec<f32> = (0..dy.len()).map(|i| x[source(i)]).collect();
            let what = format!("stride {stride}, {channels} channels");
            let mut y = unwritten(N, &yl);
            let xb = to_blocks(N, &xl, &x);
            subsample(&threads, N, stride, (&xb, &xl), (&mut y, &yl));
            assert_same(&what, &to_values(&what, N, &yl, &y), &want);
            for accumulate in [false, true] {
                let mut want = if accumulate { x.clone() } else { vec![0.0; x.len()] };
                dy.iter().enumerate().for_each(|(i, dy)| want[source(i)] += dy);
                let mut dx = if accumulate { xb.clone() } else { unwritten(N, &xl) };
                let dyb = to_blocks(N, &yl, &dy);
                subsample_gradient(&threads, N, stride, (&dyb, &yl), (&mut dx, &xl), accumulate);
                assert_same(&what, &to_values(&what, N, &xl, &dx), &want);
            }
        }
    }
}

#[test]
fn scale_and_its_gradients_are_exact() {
    for (isa, threads) in runs() {
        for channels in CHANNELS {
            for accumulate in [false, true] {
                let (xl, yl) = (layout(channels, SIZE, [1, 0]), layout(channels, SIZE, [0, 2]));
                let vector = Layout::new(channels, 1, 1);
                let (x, start) = (integers("x", elements(N, &xl)), integers("y", elements(N, &yl)));
                let (factors, fstart) = (integers("f", N * channels), integers("df", N * channels));
                let kept = |value: f32| if accumulate { value } else { 0.0 };
                let want: Vec<f32> =
                    (0..x.len()).map(|i| kept(start[i]) + x[i] * factors[i / AREA]).collect();
                let mut dfwant: Vec<f32> = fstart.iter().map(|&f| kept(f)).collect();
                (0..x.len()).for_each(|i| dfwant[i / AREA] += x[i] * start[i]);
                let what = format!("{isa} {channels} channels, adding {accumulate}");
                let (xb, sb) = (to_blocks(N, &xl, &x), to_blocks(N, &yl, &start));
                let fb = to_blocks(N, &vector, &factors);
                let mut y = if accumulate { sb.clone() } else { unwritten(N, &yl) };
                let epilogue = ScaleEpilogue { accumulate, ..ScaleEpilogue::default() };
                scale(isa, &threads, N, (&xb, &xl), &fb, &epilogue, (&mut y, &yl));
                assert_same(&what, &to_values(&what, N, &yl, &y), &want);
                let mut y = unwritten(N, &yl);
                let add = Some((sb.as_slice(), &yl));
                let epilogue = ScaleEpilogue { add, accumulate: false, relu: true };
                scale(isa, &threads, N, (&xb, &xl), &fb, &epilogue, (&mut y, &yl));
                let sum = |i: usize| (start[i] + x[i] * factors[i / AREA]).max(0.0);
                let summed: Vec<f32> = (0..x.len()).map(sum).collect();
                assert_same(&what, &to_values(&what, N, &yl, &y), &summed);
                let mut df =
                    if accumulate { to_blocks(N, &vector, &fstart) } else { unwritten(N, &vector) };
                scale_factor_gradient(
                    isa,
                    &threads,
                    N,
                    (&xb, &xl),
                    (&sb, &yl),
                    &mut df,
                    accumulate,
                );
                assert_same(&what, &to_values(&what, N, &vector, &df), &dfwant);
            }
        }
    }
}
