//! The architectures of Table 3 of Zeiler & Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
//! arXiv:1311.2901, section 5.1: AlexNet and ZFNet without some of their layers, or with other widths.
//! Departures: those of `alexnet` and `zfnet`. Convolutions and linear layers keep their numbers where others are
//! removed. Without layer 7 the classifier follows layer 6; without both it follows the last pooling, and there is no
//! dropout.

pub(crate) use super::alexnet::alexnet_changed;
pub(crate) use super::zfnet::zfnet;
