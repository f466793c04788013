//! The measures on linear networks, where their values are known, and on the embedded kind of network for threads.

use top5_cpu::{CpuDevice, Options};
use top5_explain::score::{
    self, Candidate, Infidelity, Readout, Removal, Road, SensitivityN, Settings, Subject, Substrate,
};
use top5_graph::{Device, Graph, Retain, Session, SessionOptions, Tensor, Weights, k, net};

const INPUT: [usize; 3] = [2, 6, 4];
const SIZE: usize = 48;
const PIXELS: usize = 24;

fn session(graph: &Graph, weights: Weights, batch: usize, threads: usize) -> Box<dyn Session> {
    let device = CpuDevice::new(&Options {
        threads: Some(threads),
        oversubscribe: true,
        ..Options::default()
    })
    .unwrap();
    let network = device.network(graph, weights, Retain::Nothing).unwrap();
    network.session(graph, &SessionOptions::inference(batch)).unwrap()
}

/// Values that follow no order.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut stream = top5_graph::random::Stream::new(seed, 0);
    (0..count).map(|_| stream.normal()).collect()
}

/// Two classes, logits w·x and 0.
fn linear(batch: usize) -> (Box<dyn Session>, Vec<f32>) {
    let graph = net("linear", INPUT, |x| x.flatten().linear(2)).unwrap();
    let own = values(SIZE, 1);
    let mut weights = Weights::new();
    let rows = [own.clone(), vec![0.0; SIZE]].concat();
    for (name, param) in graph.params() {
        let data = if param.elements() == 2 { vec![0.0; 2] } else { rows.clone() };
        weights.insert(name, Tensor::new(param.shape.clone(), data).unwrap());
    }
    (session(&graph, weights, batch, 1), own)
}

/// Gradient times input of the linear network, summed over the channels: what each pixel adds to the logit.
fn exact(weights: &[f32], image: &[f32]) -> Vec<f32> {
    let product: Vec<f32> = weights.iter().zip(image).map(|(w, x)| w * x).collect();
    score::sum_channels(&product, INPUT[0])
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// The image whose linear logit is positive, with the sign of the drawn one turned if need be.
fn image(weights: &[f32]) -> Vec<f32> {
    let image = values(SIZE, 2);
    let logit: f32 = weights.iter().zip(&image).map(|(w, x)| w * x).sum();
    image.into_iter().map(|x| x * logit.signum()).collect()
}

#[test]
fn deletion_and_insertion_of_a_linear_network_are_sums() {
    let (mut session, weights) = linear(3);
    let image = image(&weights);
    let map = exact(&weights, &image);
    let mut subject = Subject::new(&mut *session, &image, None).unwrap();
    assert_eq!(subject.class(), 0);
    let order = score::descending(&map);
    for step in [1, 5, 24, 0] {
        let pixels_at_once = if step == 0 { 4 } else { step };
        let removal = Removal { step, substrate: Substrate::Zero };
        let deletion = score::deletion(&mut subject, &map, &removal).unwrap();
        let insertion = score::insertion(&mut subject, &map, &removal).unwrap();
        let count = PIXELS.div_ceil(pixels_at_once) + 1;
        assert_eq!([deletion.scores.len(), insertion.scores.len()], [count; 2]);
        let mut area = 0.0;
        for i in 0..count {
            let (gone, left) = order.split_at(PIXELS.min(i * pixels_at_once));
            let sum = |of: &[usize]| of.iter().map(|&pixel| f64::from(map[pixel])).sum::<f64>();
            assert!((deletion.scores[i] - sigmoid(sum(left))).abs() < 1e-5, "{step} {i}");
            assert!((insertion.scores[i] - sigmoid(sum(gone))).abs() < 1e-5, "{step} {i}");
            let ends = if i == 0 || i == count - 1 { 0.5 } else { 1.0 };
            area += ends * sigmoid(sum(left)) / (count - 1) as f64;
        }
        assert!((deletion.auc - area).abs() < 1e-5, "{step}");
        // Nothing beats the true order, nor does worse than its reverse.
        let reversed: Vec<f32> = map.iter().map(|value| -value).collect();
        let worst = score::deletion(&mut subject, &reversed, &removal).unwrap();
        if step != 24 {
            assert!(deletion.auc < worst.auc);
        }
    }
}

#[test]
fn linear_network_is_explained_exactly() {
    let (mut session, weights) = linear(7);
    let image = image(&weights);
    let map = exact(&weights, &image);
    let mut subject = Subject::new(&mut *session, &image, Some(0)).unwrap();
    let options = SensitivityN { subsets: 20, ..SensitivityN::default() };
    let own = score::sensitivity_n(&mut subject, &map, &options).unwrap();
    assert!(own.correlations.iter().all(|found| found.unwrap() > 1.0 - 1e-6), "{own:?}");
    let turned: Vec<f32> = map.iter().map(|value| -2.0 * value).collect();
    let against = score::sensitivity_n(&mut subject, &turned, &options).unwrap();
    assert!(against.mean.unwrap() < -1.0 + 1e-6, "{against:?}");
    let whole = SensitivityN { percents: vec![100.0], ..options };
    assert_eq!(score::sensitivity_n(&mut subject, &map, &whole).unwrap().mean, None);

    let options = Infidelity { side: 2, samples: 30, seed: 4 };
    let own = score::infidelity(&mut subject, &map, &options).unwrap();
    assert!(own.raw < 1e-9 && own.scaled.unwrap() < 1e-9, "{own:?}");
    let twice: Vec<f32> = map.iter().map(|value| 2.0 * value).collect();
    let twice = score::infidelity(&mut subject, &twice, &options).unwrap();
    assert!(twice.raw > 1e-3 && twice.scaled.unwrap() < 1e-9, "{twice:?}");
    assert!((twice.factor - 0.5).abs() < 1e-4);
}

#[test]
fn road_prefers_the_true_order() {
    let (mut session, weights) = linear(4);
    let image = image(&weights);
    let map = exact(&weights, &image);
    let mut subject = Subject::new(&mut *session, &image, None).unwrap();
    let options = Road { noise: 0.0, ..Road::default() };
    let own = score::road(&mut subject, &map, &options).unwrap();
    // Every answer is that of the imputed image.
    let order = score::descending(&map);
    for (i, percent) in options.percentiles.iter().enumerate() {
        let removed = (percent / 100.0 * PIXELS as f64).round() as usize;
        let imputed = score::impute(&image, INPUT, &order[..removed]);
        let logit: f64 =
            weights.iter().zip(&imputed).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
        assert!((own.morf[i] - sigmoid(logit)).abs() < 1e-5);
    }
    let turned: Vec<f32> = map.iter().map(|value| -value).collect();
    let against = score::road(&mut subject, &turned, &options).unwrap();
    assert!(own.score > 0.0 && (own.score + against.score).abs() < 1e-9, "{own:?} {against:?}");
    // Noise follows its seed.
    let noisy = |seed| Road { seed, noise: 0.5, ..Road::default() };
    let first = score::road(&mut subject, &map, &noisy(1)).unwrap();
    assert_eq!(first, score::road(&mut subject, &map, &noisy(1)).unwrap());
    assert_ne!(first, score::road(&mut subject, &map, &noisy(2)).unwrap());
}

#[test]
fn constant_and_negative_maps_have_scores() {
    let (mut session, weights) = linear(8);
    let image = image(&weights);
    let mut subject = Subject::new(&mut *session, &image, None).unwrap();
    let candidate =
        |name: &str, map: Vec<f32>| Candidate { name: name.to_owned(), map, explain: None };
    let negative: Vec<f32> = exact(&weights, &image).iter().map(|value| value - 100.0).collect();
    let candidates = vec![
        candidate("zero", vec![0.0; PIXELS]),
        candidate("constant", vec![3.0; PIXELS]),
        candidate("negative", negative),
    ];
    let mut settings = Settings::seeded(5);
    settings.sensitivity_n.subsets = 10;
    settings.infidelity.samples = 10;
    let passes = subject.passes();
    let table = score::table(&mut subject, candidates, settings.clone()).unwrap();
    let names: Vec<&str> = table.rows.iter().map(|row| &*row.name).collect();
    assert_eq!(names, ["zero", "constant", "negative", "random", "centred Gaussian"]);
    assert_eq!(table.rows.iter().filter(|row| row.control).count(), 2);
    assert_eq!(subject.passes() - passes, 5 * settings.passes(PIXELS, INPUT[2]));
    for row in &table.rows {
        assert!(row.deletion.auc.is_finite() && row.insertion.auc.is_finite());
        assert!(row.road.score.is_finite() && row.infidelity.raw.is_finite());
    }
    for constant in &table.rows[..2] {
        assert_eq!(constant.sensitivity_n.mean, None);
        assert_eq!(constant.deletion, table.rows[0].deletion);
    }
    // A constant less changes no order.
    let own = exact(&weights, &image);
    let own = score::deletion(&mut subject, &own, &settings.deletion).unwrap();
    assert_eq!(table.rows[2].deletion, own);
    let text = serde_json::to_string(&table).unwrap();
    for parameter in ["\"percentiles\"", "\"noise\"", "\"sigma\":5.0", "\"radius\"", "\"subsets\""]
    {
        assert!(text.contains(parameter), "{parameter}: {text}");
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let (mut session, weights) = linear(2);
    let image = image(&weights);
    let class = Subject::new(&mut *session, &image, Some(2)).err().unwrap().to_string();
    assert!(class.contains("below 2"), "{class}");
    let short = Subject::new(&mut *session, &image[1..], None).err().unwrap().to_string();
    assert!(short.contains("48 values"), "{short}");
    let mut subject = Subject::new(&mut *session, &image, None).unwrap();
    let deletion = Removal::deletion();
    let short = score::deletion(&mut subject, &[1.0; 5], &deletion).unwrap_err().to_string();
    assert!(short.contains("6 x 4"), "{short}");
    let mut map = vec![0.0; PIXELS];
    map[3] = f32::NAN;
    let nan = score::deletion(&mut subject, &map, &deletion).unwrap_err().to_string();
    assert!(nan.contains("NaN at pixel 3"), "{nan}");
    map[3] = 0.0;
    let blur = Removal { step: 1, substrate: Substrate::Blur { side: 4, sigma: 1.0 } };
    let refused = score::insertion(&mut subject, &map, &blur).unwrap_err().to_string();
    assert!(refused.contains("odd number of taps"), "{refused}");
    for percentiles in [vec![], vec![0.0], vec![101.0], vec![f64::NAN]] {
        let options = Road { percentiles, ..Road::default() };
        let refused = score::road(&mut subject, &map, &options).unwrap_err().to_string();
        assert!(refused.contains("percentiles"), "{refused}");
        let options = SensitivityN { percents: options.percentiles, ..SensitivityN::default() };
        let refused = score::sensitivity_n(&mut subject, &map, &options).unwrap_err().to_string();
        assert!(refused.contains("percent"), "{refused}");
    }
    let options = Infidelity { side: 5, ..Infidelity::default() };
    let refused = score::infidelity(&mut subject, &map, &options).unwrap_err().to_string();
    assert!(refused.contains("side up to 4"), "{refused}");
}

#[test]
fn one_and_two_threads_give_the_same_scores() {
    let graph = net("small", [3, 8, 8], |x| {
        x.conv(5, k(3).pad(1)).relu().max_pool(k(2).stride(2)).flatten().linear(4)
    })
    .unwrap();
    let weights: Weights = graph
        .params()
        .enumerate()
        .map(|(seed, (name, param))| {
            let data = values(param.elements(), 10 + seed as u64);
            (name, Tensor::new(param.shape.clone(), data).unwrap())
        })
        .collect();
    let image = values(3 * 64, 7);
    let table = |threads: usize| {
        let mut session = session(&graph, weights.clone(), 6, threads);
        let mut seen = 0;
        let mut progress = |passes| seen = passes;
        let mut subject =
            Subject::new(&mut *session, &image, None).unwrap().reporting(&mut progress);
        let mut settings = Settings::seeded(1);
        settings.sensitivity_n.subsets = 8;
        settings.infidelity.samples = 8;
        let mut explain = |image: &[f32]| Ok(score::sum_channels(image, 3));
        let candidate = Candidate {
            name: "input".to_owned(),
            map: score::sum_channels(&image, 3),
            explain: Some(&mut explain),
        };
        let table = score::table(&mut subject, vec![candidate], settings).unwrap();
        assert!(table.rows[0].max_sensitivity.unwrap() > 0.0);
        assert!((0.0..=1.0).contains(&subject.answer(Readout::Probability)));
        let passes = subject.passes();
        assert_eq!(seen, passes);
        serde_json::to_string(&table).unwrap()
    };
    assert_eq!(table(1), table(2));
}
