//! From a method to what computes it.

use super::explainer::Explainer;
use super::{Explanation, Method, Target, cam, gradients, perturb};
use crate::error::ExplainError;

impl Explainer {
    /// Fails unless the method's settings fit the network's input, and its layer has maps where it looks at one.
    pub fn check(&self, method: &Method) -> Result<(), ExplainError> {
        let [_, height, width] = self.graph().input();
        method.check([height, width])?;
        if method.needs_layer() {
            self.map_layer()?;
        }
        Ok(())
    }

    /// What `method` says of why `image` has the target's score. `progress` gets the images that are done and their number.
    pub fn explain(
        &mut self,
        method: &Method,
        image: &[f32],
        target: Target,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Explanation, ExplainError> {
        target.check(self.graph().classes())?;
        self.check(method)?;
        let expected = self.graph().input().iter().product();
        if image.len() != expected {
            return Err(ExplainError::Shape {
                what: "the prepared image",
                expected,
                got: image.len(),
            });
        }
        match *method {
            Method::Gradient | Method::Deconvnet | Method::Guided => {
                gradients::plain(self, method, image, target)
            }
            Method::GradientTimesInput => gradients::times_input(self, image, target),
            Method::IntegratedGradients { steps } => {
                gradients::integrated(self, image, target, steps, progress)
            }
            Method::Smoothgrad { samples, level, seed } => {
                gradients::smooth(self, image, target, (samples, level, seed), progress)
            }
            Method::GradCam => cam::grad_cam(self, image, target),
            Method::HiresCam => cam::hires_cam(self, image, target),
            Method::GuidedGradCam => cam::guided_grad_cam(self, image, target),
            Method::Occlusion { size, stride } => {
                perturb::occlusion(self, image, target, size, stride, progress)
            }
            Method::Rise { masks, cells, share, seed } => {
                perturb::rise(self, image, target, [masks, cells], share, seed, progress)
            }
            Method::Ablation { size } => perturb::tiles(self, image, target, size, progress),
        }
    }
}
