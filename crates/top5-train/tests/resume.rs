//! Runs on the CPU engine: stopping anywhere and going on gives the same bits, and what must stop a run does.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use top5_cpu::{CpuDevice, CpuTraining, Options};
use top5_data::{Augment, DataError, Dataset, MemoryDataset, Preprocess, Sample, Splits};
use top5_eval::{EvaluationError, evaluate};
use top5_graph::random::Stream;
use top5_graph::{
    Bucket, EngineError, Graph, Loss, Network, Reducer, Retain, SessionOptions, StepOptions, Stop,
    Targets, Training, TrainingOptions, Update, Weights, net,
};
use top5_train::{
    Checkpoints, EpochRow, Event, FineTuning, FitError, NotFinite, OptimizerName, ParamGroup,
    Recipe, Role, Schedule, State, Trainer, initialise,
};

const EPOCHS: usize = 3;
const STEPS: usize = 4;

fn recipe() -> Recipe {
    let text = include_str!("../../../recipes/lenet-digits.toml");
    Recipe {
        network: "tiny".to_owned(),
        data: "squares".to_owned(),
        epochs: EPOCHS,
        batch_size: 8,
        label_smoothing: 0.1,
        mixup: 0.2,
        cutmix: 1.0,
        checkpoint_steps: Some(1),
        augment: vec![
            Augment::RandomCrop {
                padding: 1,
                padding_mode: top5_data::augment::crop::Padding::Constant,
            },
            Augment::FlipHorizontal { probability: 0.5 },
        ],
        preprocess: None,
        ..Recipe::from_toml(text).unwrap()
    }
}

/// Batch normalisation, dropout and everything else that a resumed run could forget.
fn graph() -> Graph {
    net("tiny", [1, 6, 6], |x| {
        x.conv_bn(4, 3).relu().flatten().dropout(0.5).linear(8).relu().linear(3)
    })
    .unwrap()
}

/// Dark, medium and bright images with noise.
fn images(samples: usize, seed: u64) -> Arc<dyn Dataset> {
    let mut stream = Stream::new(seed, 0);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i % 3).collect();
    let pixel = |&label: &u32, stream: &mut Stream| label as u8 * 70 + stream.below(100) as u8;
    let pixels = labels
        .iter()
        .flat_map(|label| (0..36).map(|_| pixel(label, &mut stream)).collect::<Vec<u8>>())
        .collect();
    let classes = ["dark", "medium", "bright"].map(str::to_owned).to_vec();
    Arc::new(MemoryDataset::new("squares", classes, [1, 6, 6], pixels, labels))
}

fn splits() -> Splits {
    // The last three images of an epoch do not fill a batch.
    let (train, validation) = (images(8 * STEPS + 3, 1), images(20, 2));
    Splits { train, validation, test: None, skipped: Vec::new(), unused: Arc::default() }
}

fn preprocess() -> Preprocess {
    Preprocess::squash([1, 6, 6])
}

fn trainer() -> Trainer {
    Trainer::new(recipe(), &splits(), preprocess())
}

fn device(threads: usize) -> CpuDevice {
    CpuDevice::new(&Options { threads: Some(threads), ..Options::default() }).unwrap()
}

fn training(threads: usize) -> CpuTraining {
    let weights = initialise(&graph(), 7);
    device(threads).cpu_training(&graph(), &weights, &TrainingOptions::new(8)).unwrap()
}

fn begin() -> State {
    trainer().begin(initialise(&graph(), 0))
}

/// Goes on in a new engine, as a new process would, until the step `stop`.
fn go_on(
    state: State,
    checkpoints: Option<&mut Checkpoints>,
    log: &mut Vec<u8>,
    stop: usize,
    threads: usize,
) -> State {
    log.truncate(state.log_bytes as usize);
    let mut observe = |event: Event<'_>| {
        if let Event::Log(line) = event {
            log.extend(line.as_bytes());
        }
        let stops = matches!(event, Event::Step(record) if record.step == stop);
        Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    };
    trainer().run(&mut training(threads), state, checkpoints, &mut observe).unwrap()
}

fn bits(weights: &Weights) -> Vec<u32> {
    weights.iter().flat_map(|(_, tensor)| tensor.data()).map(|value| value.to_bits()).collect()
}

#[track_caller]
fn assert_same_bits(a: &State, b: &State) {
    assert_eq!(bits(&a.weights), bits(&b.weights));
    assert_eq!(bits(&a.optimizer), bits(&b.optimizer));
    assert_eq!(a, b);
}

#[test]
fn resumed_run_has_the_bits_of_one_that_never_stopped() {
    let mut whole_log = Vec::new();
    let whole = go_on(begin(), None, &mut whole_log, usize::MAX, 1);
    assert!(whole.is_finished());
    assert_eq!((whole.step, whole.rows.len()), (EPOCHS * STEPS, EPOCHS));
    assert_eq!(whole_log.len() as u64, whole.log_bytes);
    assert_eq!(whole_log.iter().filter(|&&byte| byte == b'\n').count(), EPOCHS * (STEPS + 1));
    for stop in 1..EPOCHS * STEPS {
        let folder = TempDir::new().unwrap();
        let mut log = Vec::new();
        {
            let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
            let stopped = go_on(begin(), Some(&mut checkpoints), &mut log, stop, 1);
            assert!(!stopped.is_finished());
            assert_eq!(stopped.step, stop);
        }
        // What a killed process wrote after its last checkpoint is cut off.
        log.extend(b"{\"event\":\"st");
        let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
        let found = checkpoints.newest().unwrap();
        assert_eq!(found.damaged, []);
        let resumed = go_on(found.state.unwrap(), Some(&mut checkpoints), &mut log, usize::MAX, 1);
        assert_same_bits(&resumed, &whole);
        assert_eq!(log, whole_log, "stopped after step {stop}");
        assert_eq!(checkpoints.newest().unwrap().state, Some(resumed));
    }
}

#[test]
fn threads_and_checkpoints_change_nothing_and_the_seed_does() {
    let whole = go_on(begin(), None, &mut Vec::new(), usize::MAX, 1);
    assert_same_bits(&go_on(begin(), None, &mut Vec::new(), usize::MAX, 2), &whole);
    let recipe = Recipe { seed: 1, checkpoint_steps: None, ..recipe() };
    let other = Trainer::new(recipe, &splits(), preprocess());
    let state = other.begin(initialise(&graph(), 0));
    let state = other.run(&mut training(1), state, None, &mut |_| Ok(ControlFlow::Continue(())));
    assert_ne!(state.unwrap().weights, whole.weights);
}

#[test]
fn run_learns_and_its_best_epoch_is_kept() {
    let folder = TempDir::new().unwrap();
    let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
    let recipe = Recipe {
        epochs: 12,
        label_smoothing: 0.0,
        mixup: 0.0,
        cutmix: 0.0,
        augment: Vec::new(),
        ..recipe()
    };
    let trainer = Trainer::new(recipe, &splits(), preprocess());
    let mut training = training(2);
    let (mut bests, mut rows) = (Vec::new(), Vec::new());
    let mut observe = |event: Event<'_>| {
        if let Event::Epoch { row, best, .. } = event {
            rows.push(row.clone());
            bests.extend(best.then_some(row.epoch));
        }
        Ok(ControlFlow::Continue(()))
    };
    let state = trainer.begin(initialise(&graph(), 0));
    let state = trainer.run(&mut training, state, Some(&mut checkpoints), &mut observe).unwrap();
    assert_eq!(rows, state.rows);
    let best: EpochRow = state.best().unwrap().clone();
    assert_eq!(bests.last(), Some(&best.epoch));
    assert!(best.eval_top1 > Some(80.0), "{best:?}");
    let kept = checkpoints.load(best.step).unwrap();
    let network = device(2).cpu_network(&graph(), kept.weights, Retain::Nothing).unwrap();
    let mut session = network.cpu_session(&graph(), &SessionOptions::inference(8)).unwrap();
    let report = evaluate(&mut session, &splits().validation, &preprocess(), &mut |_| {}).unwrap();
    assert_eq!((Some(report.top1_percent), Some(report.loss)), (best.eval_top1, best.eval_loss));
}

#[test]
fn damaged_checkpoint_costs_a_step_and_changes_nothing() {
    let whole = go_on(begin(), None, &mut Vec::new(), usize::MAX, 1);
    let folder = TempDir::new().unwrap();
    let mut log = Vec::new();
    let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
    go_on(begin(), Some(&mut checkpoints), &mut log, 6, 1);
    let path = folder.path().join("step-00000006/optimizer.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
    let found = checkpoints.newest().unwrap();
    let state = found.state.unwrap();
    assert_eq!((state.step, found.damaged.len()), (5, 1));
    let resumed = go_on(state, Some(&mut checkpoints), &mut log, usize::MAX, 1);
    assert_same_bits(&resumed, &whole);
}

#[test]
fn state_of_another_run_is_refused() {
    let refused = |trainer: &Trainer| {
        let run =
            trainer.run(&mut training(1), begin(), None, &mut |_| Ok(ControlFlow::Continue(())));
        match run {
            Err(FitError::Mismatch { differences }) => differences,
            other => panic!("{other:?}"),
        }
    };
    let recipe = Recipe { lr: 0.5, ..recipe() };
    let differences = refused(&Trainer::new(recipe, &splits(), preprocess()));
    assert!(differences.len() == 1 && differences[0].starts_with("lr: 0.5"), "{differences:?}");
    let other = Splits { train: images(40, 9), ..splits() };
    let differences = refused(&Trainer::new(self::recipe(), &other, preprocess()));
    assert!(differences[0].starts_with("training images: "), "{differences:?}");
}

/// Images of which one cannot be read for as long as it is broken.
struct Fragile {
    whole: Arc<dyn Dataset>,
    index: usize,
    broken: Arc<AtomicBool>,
}

impl Dataset for Fragile {
    fn name(&self) -> &str {
        self.whole.name()
    }
    fn classes(&self) -> &[String] {
        self.whole.classes()
    }
    fn len(&self) -> usize {
        self.whole.len()
    }
    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        match index == self.index && self.broken.load(Ordering::SeqCst) {
            true => Err(DataError::Index { name: "broken".to_owned(), index, len: 0 }),
            false => self.whole.sample(index),
        }
    }
    fn label(&self, index: usize) -> u32 {
        self.whole.label(index)
    }
    fn fingerprint(&self) -> u64 {
        self.whole.fingerprint()
    }
}

/// Runs to the end, and counts what was left out.
fn run(
    trainer: Trainer,
    state: State,
    checkpoints: Option<&mut Checkpoints>,
) -> (Result<State, FitError>, usize) {
    let mut left_out = 0;
    let mut observe = |event: Event<'_>| {
        left_out += usize::from(matches!(event, Event::LeftOut { .. }));
        Ok(ControlFlow::Continue(()))
    };
    let ended = trainer.run(&mut training(1), state, checkpoints, &mut observe);
    (ended, left_out)
}

#[test]
fn image_that_cannot_be_read_leaves_a_checkpoint_and_may_be_repaired_or_left_out() {
    let recipe = Recipe { checkpoint_steps: None, ..recipe() };
    let whole = go_on(begin(), None, &mut Vec::new(), usize::MAX, 1);
    let mut steps = Vec::new();
    for (in_validation, index) in [(false, 3), (false, 20), (false, 30), (true, 5)] {
        let broken = Arc::new(AtomicBool::new(true));
        let fragile = |whole| -> Arc<dyn Dataset> {
            Arc::new(Fragile { whole, index, broken: Arc::clone(&broken) })
        };
        let splits = match in_validation {
            true => Splits { validation: fragile(splits().validation), ..splits() },
            false => Splits { train: fragile(splits().train), ..splits() },
        };
        let trainer = || Trainer::new(recipe.clone(), &splits, preprocess());
        let folder = TempDir::new().unwrap();
        let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
        let begin = || trainer().begin(initialise(&graph(), 0));
        match (run(trainer(), begin(), Some(&mut checkpoints)).0, in_validation) {
            (Err(FitError::Data(DataError::Index { .. })), false)
            | (Err(FitError::Evaluation(EvaluationError::Data(DataError::Index { .. }))), true) => {
            }
            (ended, _) => panic!("{ended:?}"),
        }
        let found = checkpoints.newest().unwrap().state;
        steps.push(found.as_ref().map_or(0, |state| state.step));
        let state = || found.clone().unwrap_or_else(begin);
        let (skipped, left_out) = run(trainer().skip_unreadable(), state(), None);
        let skipped = skipped.unwrap();
        assert_eq!(skipped.step, EPOCHS * STEPS);
        // An epoch's last images, which fill no batch, are not read.
        assert!((1..=EPOCHS).contains(&left_out) && (!in_validation || left_out == EPOCHS));
        assert_eq!(bits(&skipped.weights) == bits(&whole.weights), in_validation);
        broken.store(false, Ordering::SeqCst);
        let (repaired, left_out) = run(trainer(), state(), None);
        assert_eq!(left_out, 0);
        assert_eq!(bits(&repaired.unwrap().weights), bits(&whole.weights));
    }
    assert!(steps[3] == STEPS && steps.iter().any(|step| !step.is_multiple_of(STEPS)), "{steps:?}");
}

/// A flag that is set after any step ends the run in the next one, or in the validation, and nothing is lost.
#[test]
fn run_that_is_stopped_within_a_step_goes_on_with_the_same_bits() {
    let whole = go_on(begin(), None, &mut Vec::new(), usize::MAX, 1);
    for at in 1..=EPOCHS * STEPS {
        let stop = Stop::new();
        let folder = TempDir::new().unwrap();
        let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
        let options = TrainingOptions { stop: Some(stop.clone()), ..TrainingOptions::new(8) };
        let mut training =
            device(1).cpu_training(&graph(), &initialise(&graph(), 7), &options).unwrap();
        let mut observe = |event: Event<'_>| {
            if matches!(event, Event::Step(record) if record.step == at) {
                stop.set();
            }
            Ok(ControlFlow::Continue(()))
        };
        let trainer = trainer().stop(stop.clone());
        let stopped = trainer.run(&mut training, begin(), Some(&mut checkpoints), &mut observe);
        let stopped = stopped.unwrap();
        assert!(!stopped.is_finished());
        assert_eq!(stopped.step, at);
        let found = checkpoints.newest().unwrap().state.unwrap();
        assert_same_bits(&found, &stopped);
        let mut log = vec![b' '; stopped.log_bytes as usize];
        assert_same_bits(&go_on(found, None, &mut log, usize::MAX, 1), &whole);
    }
}

/// A run by this recipe that stops after the step, as a new process goes on from, and the whole run.
fn stopped_and_whole(recipe: &Recipe, stop: usize) -> [State; 2] {
    let trainer = Trainer::new(recipe.clone(), &splits(), preprocess());
    let run = |state: State, stop: usize| {
        let mut observe = |event: Event<'_>| {
            let stops = matches!(event, Event::Step(record) if record.step == stop);
            Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        trainer.run(&mut training(1), state, None, &mut observe).unwrap()
    };
    let begin = || trainer.begin(initialise(&graph(), 0));
    let folder = TempDir::new().unwrap();
    let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
    checkpoints.save(&run(begin(), stop)).unwrap();
    let stopped = checkpoints.newest().unwrap().state.unwrap();
    assert_eq!(stopped.step, stop);
    [run(stopped, usize::MAX), run(begin(), usize::MAX)]
}

#[test]
fn every_optimiser_goes_on_to_the_bit() {
    for (optimizer, name) in OptimizerName::ALL {
        let momentum = optimizer.keys().contains(&"momentum").then_some(0.9);
        let recipe = Recipe {
            optimizer,
            momentum,
            nesterov: false,
            centered: optimizer.keys().contains(&"centered"),
            lr: 0.01,
            clip_norm: Some(1.0),
            ema: Some(0.9),
            ema_warmup: true,
            no_decay: vec![Role::Norms, Role::Biases],
            ..recipe()
        };
        for stop in [1, 5] {
            let [resumed, whole] = stopped_and_whole(&recipe, stop);
            assert_same_bits(&resumed, &whole);
            let states = recipe.update(0.1, 1).states().len();
            let learned = graph().params().filter(|(_, param)| param.learned).count();
            let kept = states * learned + graph().params().count();
            assert_eq!(whole.optimizer.len(), kept, "{name}");
        }
    }
}

#[test]
fn average_of_the_weights_is_validated_and_kept() {
    let recipe = Recipe { ema: Some(0.9), ..recipe() };
    let trainer = Trainer::new(recipe, &splits(), preprocess());
    let state = trainer.begin(initialise(&graph(), 0));
    let state =
        trainer.run(&mut training(1), state, None, &mut |_| Ok(ControlFlow::Continue(()))).unwrap();
    assert_ne!(state.model(), state.weights);
    let last = state.rows.last().unwrap();
    assert!(last.ema);
    let network = device(2).cpu_network(&graph(), state.model(), Retain::Nothing).unwrap();
    let mut session = network.cpu_session(&graph(), &SessionOptions::inference(8)).unwrap();
    let report = evaluate(&mut session, &splits().validation, &preprocess(), &mut |_| {});
    let report = report.unwrap();
    assert_eq!((Some(report.top1_percent), Some(report.loss)), (last.eval_top1, last.eval_loss));
    assert_eq!(begin().model(), begin().weights);
}

#[test]
fn frozen_parameters_stay() {
    let frozen = ParamGroup { params: "fc1".to_owned(), lr: 1.0, decay: 1.0, frozen: true };
    let recipe = Recipe { groups: vec![frozen], ..recipe() };
    let [resumed, whole] = stopped_and_whole(&recipe, 3);
    assert_same_bits(&resumed, &whole);
    let start = initialise(&graph(), 0);
    for (name, tensor) in start.iter() {
        let moved = whole.weights.tensor(name).unwrap() != tensor;
        assert_eq!(moved, !name.starts_with("fc1"), "{name}");
    }
}

/// Frozen normalisations are affine maps in the engine; what is written down is the network's own.
#[test]
fn run_with_frozen_normalisations_goes_on_from_its_checkpoint_with_the_same_bits() {
    let freeze = vec!["conv1".to_owned(), "bn1".to_owned()];
    let recipe = Recipe { freeze, ema: Some(0.9), ..recipe() };
    let tuning = FineTuning::new(&graph(), &recipe).unwrap();
    let trainer = Trainer::new(recipe, &splits(), preprocess()).fine_tuning(tuning.clone());
    let go_on = |state: State, checkpoints: Option<&mut Checkpoints>, stop: usize| {
        let weights = tuning.inward(&state.weights);
        let options = TrainingOptions::new(8);
        let mut training = device(1).cpu_training(tuning.graph(), &weights, &options).unwrap();
        trainer
            .run(&mut training, state, checkpoints, &mut |event| {
                let stops = matches!(event, Event::Step(record) if record.step == stop);
                Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
            .unwrap()
    };
    // Statistics that are not those of a network that has seen nothing.
    let mut weights = initialise(&graph(), 0);
    for (name, value) in [("bn1.running_mean", 0.3), ("bn1.running_var", 0.7)] {
        weights.tensor_mut(name).unwrap().data_mut().fill(value);
    }
    let whole = go_on(trainer.begin(weights.clone()), None, usize::MAX);
    let folder = TempDir::new().unwrap();
    let mut checkpoints = Checkpoints::open(folder.path().join("checkpoints")).unwrap();
    go_on(trainer.begin(weights.clone()), Some(&mut checkpoints), 5);
    let kept = checkpoints.newest().unwrap().state.unwrap();
    assert_eq!(kept.step, 5);
    assert_same_bits(&go_on(kept, None, usize::MAX), &whole);
    for (name, tensor) in weights.iter() {
        let stays = name.starts_with("conv1") || name.starts_with("bn1");
        assert_eq!(whole.weights.tensor(name).unwrap() == tensor, stays, "{name}");
    }
}

/// A rate that becomes infinite, and weights that do while the loss is finite.
#[test]
fn what_is_not_finite_never_becomes_a_checkpoint() {
    let infinite_rate = Schedule::Step { milestones: vec![1.0 / STEPS as f64], gamma: 1e41 };
    // The last update of the run takes the weights beyond f32; no gradient follows it.
    let last = (EPOCHS * STEPS - 1) as f64 / STEPS as f64;
    let infinite_weights = Schedule::Step { milestones: vec![last], gamma: 1e39 };
    for (schedule, rate) in [(infinite_rate, true), (infinite_weights, false)] {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
        let recipe = Recipe { schedule, warmup_epochs: 0.0, ..recipe() };
        let trainer = Trainer::new(recipe, &splits(), preprocess());
        let state = trainer.begin(initialise(&graph(), 0));
        let run = trainer.run(&mut training(1), state, Some(&mut checkpoints), &mut |_| {
            Ok(ControlFlow::Continue(()))
        });
        let Err(FitError::Diverged(diverged)) = run else { panic!("{run:?}") };
        if rate {
            assert_eq!(diverged.what, NotFinite::Rate, "{diverged}");
        } else {
            let of_weights =
                matches!(diverged.what, NotFinite::Weight(_) | NotFinite::ValidationLoss);
            assert!(of_weights, "{diverged}");
        }
        let newest = checkpoints.newest().unwrap().state.unwrap();
        assert!(newest.step >= 1 && newest.step < EPOCHS * STEPS);
        let tensors = newest.weights.iter().chain(newest.optimizer.iter());
        assert!(tensors.flat_map(|(_, t)| t.data()).all(|v| v.is_finite()), "{diverged}");
    }
}

/// `ValueError: Expected more than 1 value per channel when training` in PyTorch.
#[test]
fn batch_normalisation_over_one_value_is_refused() {
    let graph = net("small", [1, 6, 6], |x| x.conv_bn(4, 6).relu().flatten().linear(3)).unwrap();
    let recipe = Recipe { batch_size: 1, augment: Vec::new(), ..recipe() };
    let trainer = Trainer::new(recipe, &splits(), preprocess());
    let weights = initialise(&graph, 0);
    let device = CpuDevice::new(&Options::default()).unwrap();
    let mut training = device.cpu_training(&graph, &weights, &TrainingOptions::new(8)).unwrap();
    let state = trainer.begin(weights);
    let run = trainer.run(&mut training, state, None, &mut |_| Ok(ControlFlow::Continue(())));
    let error = run.unwrap_err();
    let refused =
        matches!(&error, FitError::Engine(EngineError::Unsupported { node, .. }) if node == "bn1");
    assert!(refused && error.to_string().contains("more than one value per channel"), "{error}");
}

/// The training's plan is for what it learns from, and validation goes through a plan of that size.
#[test]
fn more_images_may_choose_the_epoch_than_a_step_learns_from() {
    for accumulate in [1, 2] {
        let splits = Splits { train: images(5, 1), ..splits() };
        let recipe = Recipe { accumulate, ..recipe() };
        let trainer = Trainer::new(recipe, &splits, preprocess());
        let options = TrainingOptions::new(trainer.batch());
        let weights = initialise(&graph(), 0);
        let mut training = device(1).cpu_training(&graph(), &weights, &options).unwrap();
        let state = trainer.begin(weights);
        let run = trainer.run(&mut training, state, None, &mut |_| Ok(ControlFlow::Continue(())));
        assert!(run.is_ok_and(|state| state.is_finished()), "{accumulate}");
    }
}

#[test]
fn observer_that_fails_ends_the_run() {
    let mut observe = |event: Event<'_>| {
        let full = matches!(event, Event::Log(_));
        if full { Err("the log's disk is full".into()) } else { Ok(ControlFlow::Continue(())) }
    };
    let error = trainer().run(&mut training(1), begin(), None, &mut observe).unwrap_err();
    assert_eq!(error.to_string(), "the log's disk is full");
}

/// Training on the CPU, with one value made infinite in one step.
struct Broken {
    inner: CpuTraining,
    step: usize,
    at: usize,
    loss: bool,
    updates: usize,
}

impl Training for Broken {
    fn graph(&self) -> &Graph {
        self.inner.graph()
    }

    fn batch(&self) -> usize {
        self.inner.batch()
    }

    fn load(&mut self, weights: &Weights) -> Result<(), EngineError> {
        self.inner.load(weights)
    }

    fn weights(&self) -> Weights {
        self.inner.weights()
    }

    fn gradients(
        &mut self,
        images: &[f32],
        targets: Targets<'_>,
        options: &StepOptions,
        _: Option<&mut dyn Reducer>,
    ) -> Result<Loss, EngineError> {
        self.step += 1;
        let mut breaking = Breaking(Vec::new());
        let breaks: Option<&mut dyn Reducer> =
            if self.step == self.at && !self.loss { Some(&mut breaking) } else { None };
        let mut loss = self.inner.gradients(images, targets, options, breaks)?;
        if self.step == self.at && self.loss {
            loss.value = f64::NAN;
            loss.finite = false;
        }
        Ok(loss)
    }

    fn gradient_tensors(&self) -> Weights {
        self.inner.gradient_tensors()
    }

    fn update(&mut self, update: &Update) {
        self.updates += 1;
        self.inner.update(update);
    }

    fn state(&self) -> Weights {
        self.inner.state()
    }

    fn load_state(&mut self, state: &Weights) -> Result<(), EngineError> {
        self.inner.load_state(state)
    }

    fn publish(&mut self) -> Result<Arc<dyn Network>, EngineError> {
        self.inner.publish()
    }
}

/// Makes one gradient infinite.
struct Breaking(Vec<Bucket>);

impl Reducer for Breaking {
    fn ready(&mut self, mut bucket: Bucket) -> Result<(), EngineError> {
        bucket.values.values_mut()[0] = f32::INFINITY;
        self.0.push(bucket);
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<Bucket>, EngineError> {
        Ok(std::mem::take(&mut self.0))
    }
}

#[test]
fn run_stops_before_an_update_that_is_not_finite() {
    for loss in [true, false] {
        let folder = TempDir::new().unwrap();
        let mut checkpoints = Checkpoints::open(folder.path()).unwrap();
        let mut broken = Broken { inner: training(1), step: 0, at: 7, loss, updates: 0 };
        let run = trainer().run(&mut broken, begin(), Some(&mut checkpoints), &mut |_| {
            Ok(ControlFlow::Continue(()))
        });
        let Err(FitError::Diverged(diverged)) = run else { panic!("{run:?}") };
        assert_eq!((diverged.epoch, diverged.step, broken.updates), (2, 7, 6));
        let names: Vec<String> = graph().params().map(|(name, _)| name).collect();
        match diverged.what {
            NotFinite::Loss => assert!(loss),
            NotFinite::Gradient(name) => assert!(!loss && names.contains(&name), "{name}"),
            other @ (NotFinite::ValidationLoss | NotFinite::Rate | NotFinite::Weight(_)) => {
                panic!("{other:?}")
            }
        }
        // The last good state is kept, and the run can go on from it with a sound engine.
        let last = checkpoints.newest().unwrap().state.unwrap();
        assert_eq!(last.step, 6);
        assert!(last.weights.iter().all(|(_, t)| t.data().iter().all(|v| v.is_finite())));
    }
}

#[test]
fn learning_rate_that_is_far_too_high_diverges() {
    let recipe = Recipe { lr: 1e30, warmup_epochs: 0.0, ..recipe() };
    let trainer = Trainer::new(recipe, &splits(), preprocess());
    let state = trainer.begin(initialise(&graph(), 0));
    let run = trainer.run(&mut training(1), state, None, &mut |_| Ok(ControlFlow::Continue(())));
    assert!(matches!(run, Err(FitError::Diverged(_))), "{run:?}");
}

#[test]
fn filters_are_scaled_to_the_greatest_size_and_a_resumed_run_has_the_same_bits() {
    const MOST: f64 = 0.1;
    let recipe = Recipe { max_filter_rms: Some(MOST), ema: Some(0.9), ..recipe() };
    let trainer = Trainer::new(recipe, &splits(), preprocess());
    let go_on = |state: State, stop: usize| {
        trainer
            .run(&mut training(1), state, None, &mut |event| {
                let stops = matches!(event, Event::Step(record) if record.step == stop);
                Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })
            .unwrap()
    };
    let begin = || trainer.begin(initialise(&graph(), 0));
    let rms = |state: &State| -> Vec<f64> {
        let filters = state.weights.tensor("conv1.weight").unwrap().data().chunks_exact(9);
        let square = |filter: &[f32]| filter.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        filters.map(|filter| (square(filter) / 9.0).sqrt()).collect()
    };
    assert!(rms(&begin()).iter().any(|&rms| rms > MOST));
    let whole = go_on(begin(), usize::MAX);
    assert!(rms(&whole).iter().all(|&rms| rms < MOST * (1.0 + 1e-6)), "{:?}", rms(&whole));
    assert!(rms(&whole).iter().any(|&rms| rms > MOST * (1.0 - 1e-6)), "{:?}", rms(&whole));
    assert_same_bits(&go_on(go_on(begin(), 5), usize::MAX), &whole);
}
