//! Several ranks train as one process does with the same batches: threads here, each with an engine of its own.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

use top5_cpu::{CpuDevice, Options};
use top5_data::{Augment, Dataset, MemoryDataset, Preprocess, Splits};
use top5_graph::random::Stream;
use top5_graph::{Device, Graph, TrainingOptions, Weights, k, net};
use top5_train::{
    Event, FitError, LocalRank, RankError, Recipe, RecipeError, State, Trainer, initialise,
};

const BATCH: usize = 12;
const STEPS: usize = 3;

/// What a run may differ by.
#[derive(Clone)]
struct Case {
    graph: Graph,
    recipe: Recipe,
}

/// With batch normalisation over all ranks, or over each one's own images.
fn recipe(sync_bn: bool) -> Recipe {
    let text = include_str!("../../../recipes/lenet-digits.toml");
    Recipe {
        network: "tiny".to_owned(),
        data: "squares".to_owned(),
        epochs: 2,
        batch_size: BATCH,
        sync_bn,
        label_smoothing: 0.1,
        mixup: 0.2,
        cutmix: 1.0,
        augment: vec![Augment::FlipHorizontal { probability: 0.5 }],
        preprocess: None,
        ..Recipe::from_toml(text).unwrap()
    }
}

/// A network without normalisation, and one with a residual block. Both have dropout.
fn graphs() -> [Graph; 2] {
    let plain = net("plain", [1, 8, 8], |x| {
        x.conv(6, 3)
            .relu()
            .dropout(0.2)
            .max_pool(2)
            .flatten()
            .linear(16)
            .relu()
            .dropout(0.5)
            .linear(3)
    });
    let residual = net("residual", [1, 8, 8], |x| {
        let x = x.conv_bn(16, k(3).pad(1)).relu();
        let y = x.conv_bn(16, k(3).pad(1)).relu().conv_bn(16, k(3).pad(1));
        (x + y).relu().global_avg_pool().dropout(0.5).linear(3)
    });
    [plain.unwrap(), residual.unwrap()]
}

/// Dark, medium and bright images with noise.
fn images(samples: usize, seed: u64) -> Arc<dyn Dataset> {
    let mut stream = Stream::new(seed, 0);
    let labels: Vec<u32> = (0..samples as u32).map(|i| i % 3).collect();
    let pixel = |&label: &u32, stream: &mut Stream| label as u8 * 70 + stream.below(100) as u8;
    let pixels = labels
        .iter()
        .flat_map(|label| (0..64).map(|_| pixel(label, &mut stream)).collect::<Vec<u8>>())
        .collect();
    let classes = ["dark", "medium", "bright"].map(str::to_owned).to_vec();
    Arc::new(MemoryDataset::new("squares", classes, [1, 8, 8], pixels, labels))
}

fn trainer(recipe: &Recipe) -> Trainer {
    trainer_of(recipe, BATCH * STEPS + 5)
}

/// That learns from so many images.
fn trainer_of(recipe: &Recipe, samples: usize) -> Trainer {
    let (train, validation) = (images(samples, 1), images(19, 2));
    let splits =
        Splits { train, validation, test: None, skipped: Vec::new(), unused: Arc::default() };
    Trainer::new(recipe.clone(), &splits, Preprocess::squash([1, 8, 8]))
}

/// Goes on from a state until `steps` are done; also says what was logged.
fn run(
    trainer: &Trainer,
    graph: &Graph,
    state: State,
    steps: usize,
) -> Result<(State, String), FitError> {
    let device = CpuDevice::new(&Options { threads: Some(1), ..Options::default() })?;
    let options = TrainingOptions { bucket: 1 << 10, ..TrainingOptions::new(trainer.batch()) };
    let mut training = device.training(graph, &initialise(graph, 9), &options)?;
    let mut log = String::new();
    let state = trainer.run(training.as_mut(), state, None, &mut |event| {
        if let Event::Log(line) = event {
            log.push_str(line);
        }
        let stops = matches!(event, Event::Step(record) if record.step >= steps);
        Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok((state, log))
}

fn alone(case: &Case, state: &State, steps: usize) -> (State, String) {
    run(&trainer(&case.recipe), &case.graph, state.clone(), steps).unwrap()
}

/// The same with so many ranks, all of which must come to the same.
fn together(size: usize, case: &Case, state: &State, steps: usize) -> (State, String) {
    let work = |rank: LocalRank| {
        let (case, state) = (case.clone(), state.clone());
        thread::spawn(move || {
            let ranks = Arc::new(rank);
            let trainer = trainer(&case.recipe).ranks(ranks).unwrap();
            run(&trainer, &case.graph, state, steps).unwrap()
        })
    };
    let threads: Vec<_> = LocalRank::ranks(size).into_iter().map(work).collect();
    let mut results = threads.into_iter().map(|thread| thread.join().unwrap());
    let first = results.next().unwrap();
    results.for_each(|other| assert!(other == first, "the ranks end in different states"));
    first
}

fn begin(case: &Case) -> State {
    trainer(&case.recipe).begin(initialise(&case.graph, 3))
}

/// The greatest difference of two sets of tensors, and the greatest value.
fn difference(a: &Weights, b: &Weights) -> [f32; 2] {
    let pairs = a.iter().zip(b.iter()).flat_map(|((name, a), (same, b))| {
        assert_eq!(name, same);
        a.data().iter().zip(b.data())
    });
    pairs.fold([0.0, 0.0], |[most, size], (a, b)| [most.max((a - b).abs()), size.max(b.abs())])
}

#[test]
fn one_rank_is_none_to_the_bit() {
    for graph in graphs() {
        let case = Case { graph, recipe: recipe(true) };
        let start = begin(&case);
        assert!(together(1, &case, &start, 99) == alone(&case, &start, 99));
    }
}

/// From every state of a run, one step of several ranks and of one process.
#[test]
fn step_of_several_ranks_is_that_of_one_process_with_the_whole_batch() {
    for graph in graphs() {
        let case = Case { graph: graph.clone(), recipe: recipe(true) };
        let mut state = begin(&case);
        for step in 1..=2 * STEPS {
            let (one, _) = alone(&case, &state, step);
            for size in [2, 3, 5] {
                let (several, _) = together(size, &case, &state, step);
                assert_eq!((several.step, several.images), (one.step, one.images));
                assert_eq!(several.rows.len(), one.rows.len());
                assert!((several.loss_sum - one.loss_sum).abs() <= 1e-5, "{size}, {step}");
                for (a, b) in several.rows.iter().zip(&one.rows) {
                    let [a_loss, b_loss] = [a, b].map(|row| row.eval_loss.unwrap());
                    assert!((a_loss - b_loss).abs() <= 1e-5, "{a:?} {b:?}");
                    assert_eq!((a.eval_top1, a.eval_top5), (b.eval_top1, b.eval_top5));
                }
                let [most, largest] = difference(&several.weights, &one.weights);
                assert!(
                    most <= 1e-6 * largest.max(1.0),
                    "{}, {size} ranks, step {step}: {most} of {largest}",
                    graph.name()
                );
            }
            state = one;
        }
    }
}

/// The same images, mixed alike, under the same dropout masks, three or five batches a step, on one rank or two.
#[test]
fn step_of_several_batches_is_that_of_one_with_all_their_images() {
    let [graph, _] = graphs();
    let whole = Case { graph, recipe: recipe(false) };
    let mut state = begin(&whole);
    for step in 1..=STEPS + 1 {
        let (one, _) = alone(&whole, &state, step);
        for (accumulate, ranks) in [(2, 1), (3, 1), (12, 1), (3, 2), (2, 5)] {
            let recipe =
                Recipe { batch_size: BATCH / accumulate, accumulate, ..whole.recipe.clone() };
            let trainer = trainer(&recipe);
            assert_eq!((trainer.steps(), trainer.batch()), (2 * STEPS, BATCH / accumulate));
            let begun = State { recipe: recipe.clone(), ..state.clone() };
            let case = Case { recipe, ..whole.clone() };
            let (several, _) = together(ranks, &case, &begun, step);
            assert_eq!((several.step, several.images), (one.step, one.images));
            assert!((several.loss_sum - one.loss_sum).abs() <= 1e-5, "{accumulate}, {step}");
            let [most, largest] = difference(&several.weights, &one.weights);
            let bound = 1e-6 * largest.max(1.0);
            assert!(most <= bound, "{accumulate} batches, {ranks} ranks, step {step}: {most}");
        }
        state = one;
    }
}

/// Asserts that a run that stops after any step goes on to the same bits and the same log. `run` takes a state and the step
/// after which it stops.
fn goes_on_to_the_same_bits(case: &Case, run: impl Fn(&State, usize) -> (State, String)) {
    let start = begin(case);
    let (whole, whole_log) = run(&start, 99);
    assert!(whole.is_finished());
    assert_eq!(whole.step, 2 * STEPS);
    for stop in 1..2 * STEPS {
        let (state, mut log) = run(&start, stop);
        assert_eq!(state.step, stop);
        let (resumed, rest) = run(&state, 99);
        log.truncate(state.log_bytes as usize);
        assert!(resumed == whole, "stopped after step {stop}");
        assert_eq!(log + &rest, whole_log);
    }
}

#[test]
fn run_of_several_batches_a_step_goes_on_to_the_same_bits() {
    for graph in graphs() {
        let recipe = Recipe { batch_size: 4, accumulate: 3, ema: Some(0.9), ..recipe(false) };
        let case = Case { graph, recipe };
        goes_on_to_the_same_bits(&case, |state, steps| alone(&case, state, steps));
    }
}

#[test]
fn more_batches_a_step_than_images_are_refused() {
    let [graph, _] = graphs();
    let recipe = Recipe { batch_size: 1, accumulate: 64, ..recipe(false) };
    let case = Case { graph, recipe };
    let error = run(&trainer(&case.recipe), &case.graph, begin(&case), 99).unwrap_err();
    let is_meant = matches!(&error, FitError::Recipe(RecipeError::Value { key: "accumulate", .. }));
    assert!(is_meant, "{error}");
}

#[test]
fn more_images_may_choose_the_epoch_than_ranks_learn_from() {
    let [graph, _] = graphs();
    for (size, accumulate) in [(2, 1), (3, 1), (2, 2), (3, 2)] {
        let recipe = Recipe { accumulate, ..recipe(false) };
        let work = |rank: LocalRank| {
            let (graph, recipe) = (graph.clone(), recipe.clone());
            thread::spawn(move || {
                let trainer = trainer_of(&recipe, 7).ranks(Arc::new(rank)).unwrap();
                let state = trainer.begin(initialise(&graph, 3));
                run(&trainer, &graph, state, 99).unwrap()
            })
        };
        let threads: Vec<_> = LocalRank::ranks(size).into_iter().map(work).collect();
        for (state, _) in threads.into_iter().map(|thread| thread.join().unwrap()) {
            assert!(state.is_finished(), "{size} {accumulate}");
        }
    }
}

#[test]
fn ranks_stop_together_and_go_on_to_the_same_bits() {
    let [_, graph] = graphs();
    for (synchronises, accumulate) in [(false, 1), (true, 1), (true, 3)] {
        let recipe = Recipe { batch_size: BATCH / accumulate, accumulate, ..recipe(synchronises) };
        let case = Case { graph: graph.clone(), recipe };
        goes_on_to_the_same_bits(&case, |state, steps| together(2, &case, state, steps));
    }
}

#[test]
fn run_goes_on_with_another_number_of_ranks() {
    let [_, graph] = graphs();
    let case = Case { graph, recipe: recipe(true) };
    let start = begin(&case);
    let (whole, _) = alone(&case, &start, 99);
    let (state, _) = together(3, &case, &start, 2);
    let (state, _) = together(2, &case, &state, 4);
    let (resumed, _) = alone(&case, &state, 99);
    assert_eq!((resumed.step, resumed.rows.len()), (whole.step, whole.rows.len()));
    let [most, _] = difference(&resumed.weights, &whole.weights);
    assert!(most < 1e-4, "{most}");
}

#[test]
fn without_synchronisation_each_rank_normalises_its_own_images() {
    let [_, graph] = graphs();
    let case = |synchronises| Case { graph: graph.clone(), recipe: recipe(synchronises) };
    let start = begin(&case(true));
    let [one, synchronised, own] = [
        alone(&case(true), &start, 2).0,
        together(2, &case(true), &start, 2).0,
        together(2, &case(false), &begin(&case(false)), 2).0,
    ];
    assert!(difference(&synchronised.weights, &one.weights)[0] < 1e-5);
    assert!(difference(&own.weights, &one.weights)[0] > 1e-4);
}

#[test]
fn failure_of_one_rank_ends_all() {
    let [graph, _] = graphs();
    let case = Case { graph, recipe: recipe(false) };
    let start = begin(&case);
    let work = |rank: LocalRank, data: u64| {
        let (case, state) = (case.clone(), start.clone());
        thread::spawn(move || {
            let (train, validation) = (images(BATCH * STEPS + 5, data), images(19, 2));
            let (skipped, unused) = Default::default();
            let splits = Splits { train, validation, test: None, skipped, unused };
            let trainer = Trainer::new(case.recipe, &splits, Preprocess::squash([1, 8, 8]));
            let trainer = trainer.ranks(Arc::new(rank)).unwrap();
            run(&trainer, &case.graph, state, 99).map(|_| ()).unwrap_err()
        })
    };
    // The second one's images are others.
    let threads: Vec<_> =
        LocalRank::ranks(2).into_iter().zip([1, 7]).map(|(r, d)| work(r, d)).collect();
    let errors: Vec<FitError> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(matches!(errors[0], FitError::Elsewhere), "{}", errors[0]);
    assert!(matches!(errors[1], FitError::Mismatch { .. }), "{}", errors[1]);
}

#[test]
fn lost_rank_is_an_error_of_the_others() {
    let [graph, _] = graphs();
    let case = Case { graph, recipe: recipe(false) };
    let start = begin(&case);
    let mut ranks = LocalRank::ranks(2);
    drop(ranks.pop());
    let trainer = trainer(&case.recipe).ranks(Arc::new(ranks.remove(0))).unwrap();
    let error = run(&trainer, &case.graph, start, 99).map(|_| ()).unwrap_err();
    assert!(matches!(error, FitError::Ranks(RankError::Lost { .. })), "{error}");
}

#[test]
fn more_ranks_than_images_are_refused() {
    let rank = LocalRank::ranks(BATCH + 1).remove(0);
    let error = trainer(&recipe(false)).ranks(Arc::new(rank)).map(|_| ()).unwrap_err();
    assert_eq!(error, RankError::TooMany { ranks: BATCH + 1, batch: BATCH });
}
