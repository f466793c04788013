//! How good an explanation is, by the measures that the field uses. They disagree with each other (Tomsett et al.,
//! arXiv 1912.01451), so that none is given alone: a [`Table`] holds several with their parameters, beside two controls
//! that know nothing of the network, a random map and a Gaussian in the middle.
//!
//! A map is one value per pixel, `[height, width]` of the network's input in row-major order, larger where more speaks
//! for the class. Maps per channel are summed over the channels first. Everything runs in batches of the session's: no
//! more than one batch of changed images is in memory.

mod controls;
mod error;
mod infidelity;
mod order;
mod pointing;
mod removal;
mod road;
mod sensitivity;
mod stability;
mod subject;
mod table;

pub use controls::{centred_gaussian, random_map};
pub use error::ScoreError;
pub use infidelity::{Infidelity, InfidelityScore, infidelity};
pub use order::descending;
pub use pointing::{Pointing, hits, is_hit};
pub(crate) use removal::gaussian;
pub use removal::{Curve, Removal, Substrate, deletion, insertion};
pub use road::{Road, RoadScore, impute, road};
pub use sensitivity::{SensitivityN, SensitivityScore, pearson, sensitivity_n};
pub use stability::{Explain, MaxSensitivity, max_sensitivity};
pub use subject::{Readout, Subject, sum_channels};
pub use table::{Candidate, Row, Settings, Table, table};
