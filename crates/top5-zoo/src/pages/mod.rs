//! The papers: one page each, with its table, its layers and where they depart from it. Names and numbers are in the
//! catalogue.

pub(crate) mod alexnet;
pub(crate) mod bn_inception;
pub(crate) mod densenet;
pub(crate) mod dpn;
pub(crate) mod googlenet;
pub(crate) mod inception_v3;
pub(crate) mod inception_v4;
pub(crate) mod lenet;
pub(crate) mod lenet5;
pub(crate) mod overfeat;
pub(crate) mod preact_resnet;
pub(crate) mod resnet;
pub(crate) mod resnext;
pub(crate) mod senet;
pub(crate) mod senet_released;
pub(crate) mod table3;
pub(crate) mod vgg;
pub(crate) mod wide_resnet;
pub(crate) mod zfnet;
