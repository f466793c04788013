//! What a kernel is made for.

use super::geometry::{ConvGeom, GeomError};

/// A loop nest and how it will be run.
#[derive(Clone, Debug)]
pub struct Problem {
    geom: ConvGeom,
    images: usize,
    training: bool,
}

impl Problem {
    /// This loop nest for at most so many images at once, at least one. While training, weights change from run to run, and are
    /// transformed in each, and activations are in f32; so are they where there is no memory for transformed weights. Fails if
    /// the activations of so many images are in no memory.
    pub fn new(geom: ConvGeom, images: usize, training: bool) -> Result<Self, GeomError> {
        let images = images.max(1);
        if !geom.allows(images) {
            return Err(GeomError::TooLarge("images"));
        }
        Ok(Self { geom, images, training })
    }

    /// The loop nest.
    pub fn geom(&self) -> &ConvGeom {
        &self.geom
    }

    /// Most images at once.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Whether weights change from run to run.
    pub fn training(&self) -> bool {
        self.training
    }
}
