//! Training: recipes, schedules, the loop and checkpoints, for any engine.
//!
//! A [`Recipe`] and the parts of a dataset make a [`Trainer`]. It takes an engine and a [`State`], the one that it
//! [begins](Trainer::begin) with or the [newest](Checkpoints::newest) of a run that was stopped, and tells an observer
//! what happens. Nothing is printed here and no clock is read.

#![forbid(unsafe_code)]

mod checkpoint;
mod failure;
mod filters;
mod fine_tune;
mod fit;
mod group;
mod init;
mod local;
mod log;
mod ranks;
mod recipe;
mod reduction;
mod schedule;
mod sentence;
mod state;

pub use checkpoint::{
    CheckpointError, Checkpoints, Damaged, Found, STATE as CHECKPOINT_STATE,
    WEIGHTS as CHECKPOINT_WEIGHTS, newest_folder,
};
pub use failure::{Diverged, FitError, NotFinite, ObserverError};
pub use fine_tune::{FineTuning, head};
pub use fit::{Event, Observer, Trainer};
pub use init::{initialise, initialise_by};
pub use local::LocalRank;
pub use log::{EpochRow, History, Moment, Record, StepRecord, TimedStep, line, moments_until};
pub use ranks::{RankError, Ranks};
pub use recipe::{
    About, EmaBuffersName, InitName, OptimizerName, Outcome, ParamGroup, PrecisionName, Recipe,
    RecipeError, Role,
};
pub use schedule::{Figure, Plateau, Rate, Schedule};
pub use sentence::sentence;
pub use state::State;
