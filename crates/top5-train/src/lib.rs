//! Training: initialisation, recipes, schedules, checkpoints and the loop

#![forbid(unsafe_code)]
