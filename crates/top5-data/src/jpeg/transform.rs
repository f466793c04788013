//! From coefficients that came in several scans to samples.

use top5_kernels::jpeg;

use super::frame::Frame;
use super::smooth;

impl Frame {
    /// Turns coefficients that came in several scans into samples. Components without a scan become gray.
    pub(super) fn transform(&mut self) {
        if self.components.iter().all(|component| component.blocks.is_empty()) {
            return;
        }
        let smooth = smooth::is_useful(self);
        for index in 0..self.components.len() {
            let mut samples = std::mem::take(&mut self.components[index].samples);
            let component = &self.components[index];
            let quantisers = component.quantisers.unwrap_or([0; 64]);
            let stride = component.columns * 8;
            for row in 0..component.height.div_ceil(8) {
                for column in 0..component.width.div_ceil(8) {
                    let at = row * 8 * stride + column * 8;
                    let out = &mut samples[at..];
                    if smooth {
                        let block = smooth::block(self, component, row, column);
                        jpeg::inverse(&block, 63, &quantisers, out, stride);
                    } else {
                        let block = &component.blocks[row * component.columns + column];
                        jpeg::inverse(block, 63, &quantisers, out, stride);
                    }
                }
            }
            self.components[index].samples = samples;
        }
    }
}
