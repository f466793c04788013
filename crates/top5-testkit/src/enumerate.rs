//! Small geometries, all of them, smallest first: the first failure of a test is then already minimal.

use top5_graph::{Window, k};

/// Numbers of channels around the layouts' blocks of 16.
pub const CHANNELS: [usize; 12] = [1, 2, 3, 5, 15, 16, 17, 20, 31, 32, 33, 40];

/// (input channels, output channels, groups) of convolutions.
const CONNECTIONS: [[usize; 3]; 17] = [
    [1, 1, 1],
    [3, 5, 1],
    [1, 17, 1],
    [16, 16, 1],
    [17, 3, 1],
    [4, 4, 4],
    [20, 40, 1],
    [6, 10, 2],
    [33, 20, 1],
    [32, 32, 2],
    [24, 40, 8],
    [16, 16, 4],
    [16, 16, 2],
    [32, 32, 8],
    [32, 32, 4],
    [48, 48, 12],
    [48, 48, 6],
];

/// A convolution's geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvCase {
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Kernel, stride, padding, dilation.
    pub window: Window,
    /// Height and width of the output.
    pub output: [usize; 2],
}

/// A pooling's geometry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolCase {
    /// Channels.
    pub channels: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Kernel, stride, padding, dilation, rounding.
    pub window: Window,
    /// Height and width of the output.
    pub output: [usize; 2],
}

/// Heights and widths, square and not.
const SIZES: [[usize; 2]; 9] =
    [[1, 1], [1, 4], [2, 2], [3, 2], [3, 5], [5, 5], [6, 7], [9, 8], [10, 13]];

/// Windows: square and asymmetric kernels, strides, paddings (equal, unequal, at the end only) and dilations.
fn windows() -> impl Iterator<Item = Window> {
    let kernels = [[1, 1], [2, 2], [1, 3], [3, 1], [3, 3], [2, 5], [5, 5]];
    let strides = [[1, 1], [2, 2], [1, 2], [3, 3]];
    let pads = [[0, 0], [1, 1], [0, 1], [2, 2]];
    let dilations = [[1, 1], [2, 2], [1, 2]];
    kernels.into_iter().flat_map(move |kernel| {
        strides.into_iter().flat_map(move |stride| {
            pads.into_iter().flat_map(move |pad| {
                let plain = k(kernel).stride(stride).pad(pad);
                let uneven = plain.pad_end([pad[0] + 1, pad[1]]);
                let dilated = dilations.into_iter().map(move |dilation| plain.dilation(dilation));
                dilated.chain([uneven])
            })
        })
    })
}

/// Convolutions: every window that fits, on every size, with channels and groups in turn; by multiply-accumulates.
pub fn convs() -> Vec<ConvCase> {
    let mut turn = CONNECTIONS.into_iter().cycle();
    let mut cases = Vec::new();
    for input in SIZES {
        for window in windows() {
            let Ok(output) = window.output(input) else { continue };
            let [in_channels, out_channels, groups] = turn.next().expect("a cycle has no end");
            cases.push(ConvCase { in_channels, out_channels, groups, input, window, output });
        }
    }
    let macs = |case: &ConvCase| {
        let area: usize = case.output.iter().chain(&case.window.kernel).product();
        area * case.in_channels * case.out_channels / case.groups
    };
    cases.sort_by_key(macs);
    cases
}

/// Poolings: every window that fits, rounded down and up, on every size, with channels in turn; by size of the output.
pub fn pools() -> Vec<PoolCase> {
    let mut turn = CHANNELS.into_iter().cycle();
    let mut cases = Vec::new();
    for input in SIZES {
        for window in windows().flat_map(|window| [window, window.ceil()]) {
            let Ok(output) = window.pool_output(input) else { continue };
            if !touches(&window, input, output) {
                continue;
            }
            let channels = turn.next().expect("a cycle has no end");
            cases.push(PoolCase { channels, input, window, output });
        }
    }
    cases.sort_by_key(|case| case.channels * case.output[0] * case.output[1]);
    cases
}

/// Whether every window holds an element of the input: a dilated one may pass over a small input.
fn touches(window: &Window, input: [usize; 2], output: [usize; 2]) -> bool {
    (0..2).all(|axis| {
        let inside = |at: usize| (window.pad[axis]..window.pad[axis] + input[axis]).contains(&at);
        (0..output[axis]).map(|out| out * window.stride[axis]).all(|start| {
            (0..window.kernel[axis]).any(|tap| inside(start + tap * window.dilation[axis]))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convolutions_are_many_and_of_all_sorts() {
        let cases = convs();
        assert!(cases.len() > 1000, "{}", cases.len());
        let any = |what: fn(&ConvCase) -> bool| cases.iter().any(what);
        assert!(any(|c| c.window.pad != c.window.pad_end));
        assert!(any(|c| c.window.dilation[1] > 1 && c.window.stride[1] > 1));
        assert!(any(|c| c.groups == c.in_channels && c.groups > 1));
        assert!(any(|c| c.groups > 1 && c.groups < c.in_channels));
        assert!(any(|c| {
            let padded = c.input[0] + c.window.pad[0] + c.window.pad_end[0];
            !(padded - c.window.span()[0]).is_multiple_of(c.window.stride[0])
        }));
        for [i, o, g] in CONNECTIONS {
            assert!(cases.iter().any(|c| [c.in_channels, c.out_channels, c.groups] == [i, o, g]));
        }
    }

    #[test]
    fn poolings_are_rounded_both_ways() {
        let cases = pools();
        assert!(cases.len() > 500, "{}", cases.len());
        let matters = |c: &&PoolCase| {
            c.window.ceil && Window { ceil: false, ..c.window }.output(c.input) != Ok(c.output)
        };
        assert!(cases.iter().filter(matters).count() > 20);
    }
}
