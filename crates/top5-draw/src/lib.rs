//! Figures as SVG: architectures, histories and curves

#![forbid(unsafe_code)]
