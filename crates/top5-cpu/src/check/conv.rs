//! What convolutions do to memory, in symbols, and whether their loop nests write where they should.

use super::effects::{Done, Interpreter};
use super::meaning::names;
use super::terms::Tensor;
use crate::buffer::BufferId;
use crate::packed::{Content, Fold};
use crate::step::Zeros;
use crate::step::conv::{Conv, ConvInput, ConvSignal, ConvWeights, Nest, SignalNest};
use top5_kernels::Layout;
use top5_kernels::conv::ConvGeom;

impl Interpreter<'_> {
    /// What a convolution or its weight gradient reads: channel blocks with zeros around them, or plain planes.
    pub(super) fn conv_input(&mut self, id: BufferId) -> Result<Tensor, String> {
        let plain = self.plain(id);
        match self.memory.read(self.terms, &plain) {
            Ok(found) => Ok(found.value),
            Err(_) => self.framed(id),
        }
    }

    pub(super) fn convolve(&mut self, conv: &Conv) -> Done {
        let value = self.convolved(conv)?;
        let value = self.plus(value, conv.sum)?;
        let value = self.relu_if(conv.relu, value);
        self.spoil(conv.work);
        self.result(value)
    }

    pub(super) fn convolution_weights(&mut self, step: &ConvWeights) -> Done {
        let (x, dy) = (self.conv_input(step.x)?, self.x(step.dy)?);
        let Content::Matrix { packing, .. } = self.content(step.weight) else {
            return Err("its weights are no matrix".to_owned());
        };
        if step.mask.is_some() != packing.mask().is_some() {
            return Err("the mask of its weights is missing".to_owned());
        }
        self.spoil(step.work);
        self.gradient(step.weight, "dweight", &[x, dy])
    }

    /// What a convolution makes, before sum and ReLU.
    fn convolved(&mut self, conv: &Conv) -> Result<Tensor, String> {
        let &Conv { ref kernel, weight, bias, x, y, .. } = conv;
        let [from, to] = [x, y].map(|id| self.precision(id));
        if !(kernel.reads(from) && kernel.writes(to)) {
            return Err(format!("{} does not read or write this precision", kernel.name()));
        }
        self.check_target(kernel.problem().geom(), y)?;
        let x = self.conv_input(x)?;
        let Content::Matrix { name, packing, fold } = self.content(weight) else {
            return Err("its weights are no matrix".to_owned());
        };
        let form = packing.transform.as_ref().map(|kernel| kernel.name());
        if form != kernel.packs().then_some(kernel.name()) {
            return Err(format!("its weights are in the form of {form:?}"));
        }
        let name = name.clone();
        let (bias, folded) = match bias.map(|bias| self.content(bias)) {
            None => (None, None),
            Some(Content::Vector { name }) => (Some(name.clone()), None),
            Some(Content::FoldedBias { bias, fold }) => (bias.clone(), Some(fold.clone())),
            Some(other) => return Err(format!("a bias was expected: {other:?}")),
        };
        if fold.as_ref().map(|fold| &fold.name) != folded.as_ref().map(|fold| &fold.name) {
            return Err("weights and bias are folded differently".to_owned());
        }
        let Layout { height, width, .. } = self.layout(y);
        let y = self.apply(format!("convolve by {name}, {bias:?} to {height}×{width}"), &[x]);
        Ok(match folded {
            None => y,
            Some(fold) => {
                let [weight, bias] = ["weight", "bias"].map(|role| format!("{}.{role}", fold.name));
                let running = format!("those of {}", fold.name);
                self.apply(names::normal(&weight, &bias, &running, fold.eps), &[y])
            }
        })
    }

    /// Whether a loop nest writes inside the planes of its target.
    fn check_target(&self, geom: &ConvGeom, y: BufferId) -> Done {
        let layout = self.layout(y);
        let pixel = if geom.batch_is_row { 0 } else { geom.y.pixel };
        let last = geom.y.offset + (geom.rows - 1) * geom.y.row + (geom.cols - 1) * pixel;
        let strides = geom.y.image == layout.image() && geom.y.block == layout.plane();
        if strides && geom.y.offset >= layout.start(0) && last < layout.plane() {
            return Ok(());
        }
        Err(format!("the loop nest is not that of {y:?}"))
    }

    pub(super) fn convolve_back(&mut self, step: &ConvInput) -> Done {
        let dy = self.framed(step.dy)?;
        if step.nests.iter().any(Nest::rounds) {
            let rounded = step.rounded.filter(|&id| self.is_bf16(id));
            let rounded = rounded.ok_or("a nest reads bf16, and there is none")?;
            if self.framed(rounded)? != dy {
                return Err("the rounded gradient is another one".to_owned());
            }
        }
        let Content::Matrix { name, packing, .. } = self.content(step.weight) else {
            return Err("its weights are no matrix".to_owned());
        };
        if packing.geom != step.forward || packing.transform.is_some() {
            return Err("its weights have another form".to_owned());
        }
        let name = format!("dx: convolve by {name}");
        let geoms = step.nests.iter().map(|nest| nest.kernel.problem().geom());
        self.check_nests(geoms, step.dx)?;
        self.spoil(step.work);
        self.spoil(step.transposed);
        let dx = self.sized(&name, &[dy]);
        self.result(dx)
    }

    pub(super) fn send_signal(&mut self, step: &ConvSignal) -> Done {
        let mut dy = self.framed(step.dy)?;
        let mut by: Option<(String, Option<Fold>)> = None;
        for SignalNest { kernel, weight } in &step.nests {
            let Content::Matrix { name, packing, fold } = self.content(*weight) else {
                return Err("its weights are no matrix".to_owned());
            };
            let form = packing.transform.as_ref().map(|kernel| kernel.name());
            if packing.backward.is_none() || form != kernel.packs().then_some(kernel.name()) {
                return Err(format!("its weights are in the form of {form:?}"));
            }
            if packing.geom != *kernel.problem().geom() {
                return Err("its weights have another form".to_owned());
            }
            by = Some((name.clone(), fold.clone()));
        }
        let target = step.apart.map_or(step.dx, |(apart, _)| apart);
        let geoms = step.nests.iter().map(|nest| nest.kernel.problem().geom());
        self.check_nests(geoms, target)?;
        if let Some((apart, [down, across])) = step.apart {
            let [from, to] = [apart, step.dx].map(|id| self.layout(id));
            let channels = to.channels * down * across;
            let size = [to.height.div_ceil(down), to.width.div_ceil(across)];
            if [from.height, from.width] != size || from.channels != channels {
                return Err("the pixels of the residues are not those of its input".to_owned());
            }
            self.spoil(apart);
        }
        self.spoil(step.work);
        // Of loop nests that there are none of, nothing comes.
        let Some((name, fold)) = by else { return Err("no loop nest".to_owned()) };
        if let Some(Fold { name, eps }) = fold {
            let [weight, bias] = ["weight", "bias"].map(|role| format!("{name}.{role}"));
            let normal = names::normal(&weight, &bias, &format!("those of {name}"), eps);
            let channels = self.terms.channels(dy);
            dy = self.terms.apply(format!("dx: {normal}"), &[dy], channels);
        }
        let dx = self.sized(&format!("dx: convolve by {name}"), &[dy]);
        self.result(dx)
    }

    /// Whether loop nests together write a map, each pixel once.
    fn check_nests<'g>(&self, geoms: impl Iterator<Item = &'g ConvGeom>, target: BufferId) -> Done {
        let layout = self.layout(target);
        let mut written = vec![0; layout.plane()];
        for geom in geoms {
            self.check_target(geom, target)?;
            for row in 0..geom.rows {
                for col in 0..if geom.batch_is_row { 1 } else { geom.cols } {
                    written[geom.y.offset + row * geom.y.row + col * geom.y.pixel] += 1;
                }
            }
        }
        let inside = (0..layout.height).flat_map(|row| {
            let start = layout.start(row);
            written[start..start + layout.width].iter()
        });
        let (most, least) = (written.iter().max(), inside.min());
        if most.is_some_and(|&most| most > 1) {
            return Err("two loop nests write one pixel".to_owned());
        }
        let zeroed = self.needs_zero() == Zeros::Everywhere;
        if self.step().fresh && least == Some(&0) && !zeroed {
            return Err("pixels that no loop nest writes are not zero".to_owned());
        }
        Ok(())
    }
}
