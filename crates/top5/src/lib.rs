//! The ImageNet champions, from LeNet to SENet: train, evaluate, look inside and ship

#![forbid(unsafe_code)]
