//! The seam between what a network is and how it is computed, in three levels.
//!
//! ```text
//! Device     threads, instruction set, memory limit                          shared by all that follow
//!   ├─ Network      a graph and its parameters, packed once per form         shared by its sessions; loaded anew at once
//!   │    └─ Session     one input size, largest batch and Purpose            forward, backward from a node
//!   └─ Training     owns its parameters, gradients and optimiser state       publishes a Network for validation
//! ```
//!
//! Losses, schedules, protocols and explanations are built on these few calls and never see which engine answers.
//! Results do not depend on the number of threads, nor on who else uses the device.

mod device;
mod error;
mod network;
mod purpose;
mod reduce;
mod session;
mod targets;
mod training;

pub use device::{Device, Retain};
pub use error::EngineError;
pub use network::{Network, check_form};
pub use purpose::{Backward, GateRule, LrnRule, Purpose, ReluRule, Rule, Signals, Statistics};
pub use reduce::{Bucket, Reducer, Values};
pub use session::{Forward, NO_SWITCH, Session, SessionOptions, Stop};
pub use targets::Targets;
pub use training::{Loss, StepOptions, Training, TrainingOptions};

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only where it holds.
    #[test]
    fn devices_and_networks_are_shared_and_sessions_are_sent() {
        fn shared(what: &(impl Send + Sync + ?Sized)) -> usize {
            size_of_val(what)
        }
        fn sent(what: &mut (impl Send + ?Sized)) -> usize {
            size_of_val(what)
        }
        let seam = |device: &dyn Device, network: &dyn Network| shared(device) + shared(network);
        let moved =
            |session: &mut dyn Session, training: &mut dyn Training| sent(session) + sent(training);
        let _ = (seam, moved);
        let mut bucket = Bucket { index: 0, values: Box::new(vec![0.0]) };
        assert_eq!(sent(&mut bucket), size_of::<Bucket>());
    }

    #[test]
    fn a_stop_flag_and_its_clones_are_one() {
        let stop = Stop::new();
        let clone = stop.clone();
        clone.set();
        assert!(stop.is_set());
        stop.clear();
        assert!(!clone.is_set());
    }
}
