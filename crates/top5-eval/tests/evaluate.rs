//! Whole datasets and whole images through the CPU engine.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use top5_cpu::{CpuDevice, CpuNetwork, CpuSession, Options};
use top5_data::{
    Dataset, EmptyClass, Image, ImageFolder, Limits, MemoryDataset, OnBad, Preprocess, Sample,
};
use top5_eval::crops::{Crops, Squares};
use top5_eval::dense::{Dense, Pool, SoftmaxAt};
use top5_eval::{
    Average, EvaluationError, Part, Pipe, Protocol, evaluate, evaluate_by, metric, named,
};
use top5_graph::random::Stream;
use top5_graph::{Graph, Param, Retain, Session, SessionOptions, Tensor, Weights, concat, k, net};

/// A convolution, a pooling and a linear layer, with some values in all of them.
fn graph(side: usize) -> Graph {
    net("tiny", [1, side, side], |x| {
        x.conv(3, 3).relu().max_pool(k(2).stride(2)).flatten().linear(6)
    })
    .unwrap()
}

fn weights(graph: &Graph) -> Weights {
    let values = |(name, param): (String, &Param)| {
        let mut stream = Stream::new(1, top5_graph::random::hash(&name));
        let values = (0..param.elements()).map(|_| stream.normal()).collect();
        (name, Tensor::new(param.shape.clone(), values).unwrap())
    };
    graph.params().map(values).collect()
}

fn network(graph: &Graph) -> CpuNetwork {
    let device = CpuDevice::new(&Options::default()).unwrap();
    device.cpu_network(graph, weights(graph), Retain::Tensors).unwrap()
}

fn session(graph: Graph, batch: usize) -> CpuSession {
    network(&graph).cpu_session(&graph, &SessionOptions::inference(batch)).unwrap()
}

fn pipe<'n>(network: &'n CpuNetwork, parts: Vec<Part>, batch: usize, threads: usize) -> Pipe<'n> {
    Pipe::new(network, Protocol::of("test", parts), preprocess(), batch, threads).unwrap()
}

fn noise(height: usize, width: usize, seed: u64) -> Image {
    let mut stream = Stream::new(seed, 5);
    let pixels = (0..height * width).map(|_| stream.below(256) as u8).collect();
    Image { channels: 1, height, width, pixels }
}

fn images(samples: usize) -> Arc<dyn Dataset> {
    let pixels = (0..samples as u64).flat_map(|i| noise(8, 8, i).pixels).collect();
    let classes = (0..6).map(|class| format!("class {class}")).collect();
    let labels = (0..samples as u32).map(|i| i % 6).collect();
    Arc::new(MemoryDataset::new("noise", classes, [1, 8, 8], pixels, labels))
}

fn preprocess() -> Preprocess {
    Preprocess::squash([1, 8, 8])
}

#[test]
fn report_does_not_depend_on_the_batch_and_counts_by_hand() {
    let dataset = images(23);
    let report = |batch| {
        let mut seen = 0;
        let mut session = session(graph(8), batch);
        let report =
            evaluate(&mut session, &dataset, &preprocess(), &mut |done| seen = done).unwrap();
        assert_eq!(seen, 23);
        report
    };
    let one = report(1);
    assert_eq!(one.images, 23);
    for batch in [2, 7, 23, 64] {
        assert_eq!(report(batch), one, "batch {batch}");
    }

    let mut session = session(graph(8), 1);
    let mut input = vec![0.0; 64];
    let (mut right, mut last) = (0, 0);
    for index in 0..23 {
        let Sample { image, label } = dataset.sample(index).unwrap();
        preprocess().apply(&image, &mut input);
        let logits = session.forward(&input).unwrap().logits.into_data();
        let ahead = logits.iter().filter(|&&logit| logit > logits[label as usize]).count();
        right += usize::from(ahead == 0);
        last += usize::from(ahead == 5);
    }
    assert_eq!((one.top1, one.top5), (right, 23 - last));
    assert_eq!(one.per_class.iter().map(|class| class.right).sum::<usize>(), right);
    let diagonal: u32 = (0..6).map(|class| one.confusion.count(class, class)).sum();
    assert_eq!(diagonal as usize, right);
}

#[test]
fn one_view_counts_as_the_plain_evaluation() {
    let (dataset, network) = (images(12), network(&graph(8)));
    let plain = evaluate(&mut session(graph(8), 4), &dataset, &preprocess(), &mut |_| {}).unwrap();
    let centre = Crops::Centre { shorter: 8, side: None };
    for (crops, batch, threads) in [(Crops::Own, 5, 1), (Crops::Own, 3, 4), (centre, 4, 2)] {
        let mut pipe = pipe(&network, vec![Part::Crops(crops)], batch, threads);
        let viewed = evaluate_by(&mut pipe, dataset.as_ref(), &mut |_| {}).unwrap();
        assert_eq!(
            (viewed.top1, viewed.top5, viewed.confusion),
            (plain.top1, plain.top5, plain.confusion.clone())
        );
        assert!((viewed.loss - plain.loss).abs() < 1e-6);
    }
}

#[test]
fn bad_images_are_listed_and_fatal_only_when_all_are() {
    let folder = TempDir::new().unwrap();
    for class in 0..6 {
        let class = folder.path().join(format!("class{class}"));
        fs::create_dir(&class).unwrap();
        for i in 0..3 {
            let gray = [b"P5\n8 8\n255\n".to_vec(), noise(8, 8, i).pixels].concat();
            fs::write(class.join(format!("{i}.pgm")), gray).unwrap();
        }
    }
    let open = || -> Arc<dyn Dataset> {
        let folder =
            ImageFolder::open(folder.path(), OnBad::Fail, EmptyClass::Refused, Limits::default());
        Arc::new(folder.unwrap().0)
    };
    let network = network(&graph(8));
    let mut pipe = pipe(&network, vec![Part::Crops(Crops::Ten { shorter: 10 })], 7, 3);
    let dataset = open();
    let mut session = session(graph(8), 4);
    let mut run = || evaluate(&mut session, &dataset, &preprocess(), &mut |_| {});
    assert_eq!(run().unwrap().images, 18);
    for (damaged, left) in [("class0/1.pgm", 17), ("class0/2.pgm", 16), ("class5/2.pgm", 15)] {
        fs::write(folder.path().join(damaged), b"P5\n8 8\n255\n").unwrap();
        let report = run().unwrap();
        assert_eq!((report.images, report.errors.len()), (left, 18 - left));
        assert!(report.errors.iter().any(|bad| bad.error.contains(damaged)), "{report:?}");
        let viewed = evaluate_by(&mut pipe, dataset.as_ref(), &mut |_| {}).unwrap();
        assert_eq!((viewed.images, viewed.errors), (left, report.errors));
    }
    let indices: Vec<usize> = run().unwrap().errors.iter().map(|bad| bad.index).collect();
    assert_eq!(indices, [1, 2, 17]);
    for class in 0..6 {
        fs::remove_dir_all(folder.path().join(format!("class{class}"))).unwrap();
    }
    let error = run().unwrap_err();
    assert!(matches!(&error, EvaluationError::Data(error) if error.is_io()), "{error}");
    let error = evaluate_by(&mut pipe, dataset.as_ref(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, EvaluationError::Data(error) if error.is_io()), "{error}");
}

#[test]
fn classes_that_do_not_agree_and_empty_data_are_rejected() {
    let mut other = session(net("other", [1, 8, 8], |x| x.flatten().linear(4)).unwrap(), 2);
    let error = evaluate(&mut other, &images(3), &preprocess(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, EvaluationError::Classes { network: 4, dataset: 6 }), "{error}");
    let mut session = session(graph(8), 2);
    let error = evaluate(&mut session, &images(0), &preprocess(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("noise"), "{error}");
}

#[test]
fn views_are_averaged_whatever_the_batch_and_the_threads() {
    let network = network(&graph(8));
    let squares = Crops::Squares { shorter: vec![9, 12], squares: Squares::Three };
    let whole = Dense::mean(&[9, 12], true);
    let parts = || vec![Part::Crops(squares.clone()), Part::Dense(whole.clone())];
    let folder: Vec<Image> = (0..5).map(|i| noise(20 + i, 30 - 2 * i, 7 + i as u64)).collect();
    let of = |parts: Vec<Part>, batch, threads| -> Vec<Vec<f64>> {
        let mut pipe = pipe(&network, parts, batch, threads);
        folder.iter().map(|image| pipe.image(image).unwrap()).collect()
    };
    let one = of(parts(), 1, 1);
    for probabilities in &one {
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
    for (batch, threads) in [(5, 1), (72, 3), (200, 2)] {
        assert_eq!(of(parts(), batch, threads), one, "{batch} {threads}");
    }
    // Parts count alike, whatever their number of views.
    let apart: Vec<_> = parts().into_iter().map(|part| of(vec![part], 9, 2)).collect();
    for (image, both) in one.iter().enumerate() {
        for (class, p) in both.iter().enumerate() {
            let mean = (apart[0][image][class] + apart[1][image][class]) / 2.0;
            assert!((mean - p).abs() < 1e-12);
        }
    }
}

#[test]
fn mean_of_views_is_what_its_views_give_one_by_one() {
    let (network, image) = (network(&graph(8)), noise(20, 30, 7));
    let ten = Crops::Ten { shorter: 12 };
    let mut session = session(graph(8), 1);
    let rows: Vec<Vec<f32>> = ten
        .views([20, 30], [8, 8])
        .iter()
        .map(|view| {
            let mut input = vec![0.0; 64];
            view.apply(&image, &preprocess(), &mut input);
            session.forward(&input).unwrap().logits.into_data()
        })
        .collect();
    let mean = |rows: Vec<Vec<f64>>| -> Vec<f64> {
        (0..6).map(|class| rows.iter().map(|row| row[class]).sum::<f64>() / 10.0).collect()
    };
    let close = |a: &[f64], b: &[f64]| {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9), "{a:?} {b:?}");
    };
    let mut protocol = Protocol::of("ten", vec![Part::Crops(ten)]);
    let answer = |protocol: &Protocol| {
        let pipe = Pipe::new(&network, protocol.clone(), preprocess(), 3, 2);
        pipe.unwrap().image(&image).unwrap()
    };
    close(&answer(&protocol), &mean(rows.iter().map(|row| metric::softmax(row)).collect()));
    protocol.average = Average::Logits;
    let logits = rows.iter().map(|row| row.iter().copied().map(f64::from).collect()).collect();
    close(&answer(&protocol), &metric::softmax(&mean(logits)));
}

#[test]
fn image_and_its_mirror_image_look_alike_to_ten_crops() {
    let (network, image) = (network(&graph(8)), noise(20, 30, 7));
    let mut pipe = pipe(&network, vec![Part::Crops(Crops::Ten { shorter: 20 })], 4, 1);
    let [a, b] = [&image, &image.flip_horizontal()].map(|image| pipe.image(image).unwrap());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn greatest_over_places_are_probabilities_again() {
    let (network, image) = (network(&graph(8)), noise(20, 30, 7));
    let dense = Dense {
        pool: Pool::Max,
        softmax: SoftmaxAt::Place,
        every_offset: true,
        ..Dense::mean(&[20], true)
    };
    let probabilities = pipe(&network, vec![Part::Dense(dense)], 4, 1).image(&image).unwrap();
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

/// As if the network's last layer had never had them.
#[test]
fn parts_count_alike_also_where_the_greatest_over_places_sum_to_more() {
    let network = network(&graph(8));
    let place = Dense { softmax: SoftmaxAt::Place, pool: Pool::Max, ..Dense::mean(&[16], true) };
    let (dense, own) = (Part::Dense(place), Part::Crops(Crops::Own));
    let image = noise(16, 16, 5);
    let of = |parts| pipe(&network, parts, 4, 1).image(&image).unwrap();
    let (both, dense, own) = (of(vec![dense.clone(), own.clone()]), of(vec![dense]), of(vec![own]));
    for class in 0..6 {
        let mean = (dense[class] + own[class]) / 2.0;
        assert!((both[class] - mean).abs() < 1e-9, "{class}: {} {mean}", both[class]);
    }
}

#[test]
fn classes_that_are_left_out_have_no_part_in_any_view() {
    let (six, chosen) = (graph(8), [4, 1]);
    let two = net("tiny", [1, 8, 8], |x| {
        x.conv(3, 3).relu().max_pool(k(2).stride(2)).flatten().linear(2)
    })
    .unwrap();
    let mut of_six = weights(&six);
    let bias = |weights: &Weights| {
        let found = weights.iter().find(|(_, tensor)| tensor.shape() == [6]);
        found.unwrap().0.to_owned()
    };
    // So sure of a class that the others have a probability of zero.
    let name = bias(&of_six);
    let mut values = of_six.remove(&name).unwrap().into_data();
    values[0] = 1e5;
    of_six.insert(&name, Tensor::new(vec![6], values).unwrap());
    let mut of_two = Weights::new();
    for (name, tensor) in of_six.iter() {
        let rows = tensor.shape()[0];
        let row = tensor.data().len() / rows;
        let kept: Vec<usize> = if rows == 6 { chosen.to_vec() } else { (0..rows).collect() };
        let values = kept.iter().flat_map(|at| &tensor.data()[at * row..(at + 1) * row]);
        let shape = [&[kept.len()], &tensor.shape()[1..]].concat();
        of_two.insert(name, Tensor::new(shape, values.copied().collect()).unwrap());
    }
    let device = CpuDevice::new(&Options::default()).unwrap();
    let network = |graph: &Graph, weights: Weights| {
        device.cpu_network(graph, weights, Retain::Tensors).unwrap()
    };
    let (six, two) = (network(&six, of_six), network(&two, of_two));
    let place = Dense { softmax: SoftmaxAt::Place, ..Dense::mean(&[11, 14], true) };
    for parts in [
        vec![Part::Crops(Crops::Ten { shorter: 12 })],
        vec![Part::Crops(Crops::Ten { shorter: 12 }), Part::Dense(Dense::mean(&[11, 14], true))],
        vec![Part::Dense(place)],
    ] {
        for average in [Average::Probabilities, Average::Logits] {
            let protocol = Protocol { average, ..Protocol::of("test", parts.clone()) };
            let Ok(pipe) = Pipe::new(&six, protocol.clone(), preprocess(), 4, 1) else {
                assert_eq!(average, Average::Logits);
                continue;
            };
            let image = noise(20, 30, 9);
            let narrow = pipe.among(chosen.to_vec()).image(&image).unwrap();
            let mut pipe = Pipe::new(&two, protocol, preprocess(), 4, 1).unwrap();
            let expected = pipe.image(&image).unwrap();
            assert!(
                narrow.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6),
                "{parts:?}: {narrow:?} {expected:?}"
            );
        }
    }
}

#[test]
fn dense_map_holds_the_network_at_every_place() {
    let (small, image) = (graph(8), noise(12, 14, 3));
    let network = network(&small);
    let input: Vec<f32> = image.pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let dense = small.dense([1, 12, 14]).unwrap();
    let mut whole = network.cpu_session(&dense, &SessionOptions::inference(1)).unwrap();
    let map = whole.forward(&input).unwrap().logits;
    assert_eq!(map.shape(), [1, 6, 3, 4]);
    let mut session = session(graph(8), 1);
    for row in 0..3 {
        for column in 0..4 {
            // The network's stride is 2.
            let window: Vec<f32> = (0..8)
                .flat_map(|y| &input[(2 * row + y) * 14 + 2 * column..][..8])
                .copied()
                .collect();
            let logits = session.forward(&window).unwrap().logits.into_data();
            for (class, logit) in logits.into_iter().enumerate() {
                let dense = map.data()[class * 12 + row * 4 + column];
                assert!((dense - logit).abs() < 1e-4, "{dense} {logit}");
            }
        }
    }
}

#[test]
fn image_of_a_size_that_a_network_cannot_take_is_named_and_the_others_go_on() {
    // Of an odd side the convolution rounds up and the pooling down.
    let graph = net("even", [1, 8, 8], |x| {
        let halves = [x.conv(3, k(3).stride(2).pad(1)), x.max_pool(k(2).stride(2))];
        concat(halves).global_avg_pool().linear(6)
    });
    let folder = TempDir::new().unwrap();
    for (class, width) in [8, 9, 10, 8, 9, 10].into_iter().enumerate() {
        let class = folder.path().join(format!("class{class}"));
        fs::create_dir(&class).unwrap();
        let gray = [format!("P5\n{width} 8\n255\n").into_bytes(), noise(8, width, 1).pixels];
        fs::write(class.join("a.pgm"), gray.concat()).unwrap();
    }
    let limits = Limits::default();
    let dataset = ImageFolder::open(folder.path(), OnBad::Fail, EmptyClass::Refused, limits);
    let network = network(&graph.unwrap());
    // At twice the size there is a form for all.
    for scales in [[8, 16], [16, 8]] {
        let mut pipe = pipe(&network, vec![Part::Dense(Dense::mean(&scales, false))], 4, 2);
        let report = evaluate_by(&mut pipe, &dataset.as_ref().unwrap().0, &mut |_| {}).unwrap();
        assert_eq!((report.images, report.errors.len()), (4, 2));
        for (bad, class) in report.errors.iter().zip([1, 4]) {
            let says = format!("class{class}/a.pgm: even cannot look at 8x9");
            assert!(bad.error.starts_with(&says), "{report:?}");
        }
    }
}

#[test]
fn network_without_a_dense_form_says_why() {
    let graph =
        net("strided", [1, 8, 8], |x| x.conv(3, k(3).stride(2)).flatten().linear(6)).unwrap();
    let network = network(&graph);
    let protocol = named("overfeat-1", [8, 8]).unwrap();
    let error = Pipe::new(&network, protocol, preprocess(), 1, 1).err().unwrap();
    assert!(matches!(error, EvaluationError::NoForm { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("strided") && text.contains("maximum pooling"), "{text}");
    let small = Part::Crops(Crops::Ten { shorter: 7 });
    for parts in [vec![], vec![small]] {
        let senseless = Protocol::of("none", parts);
        let error = Pipe::new(&network, senseless, preprocess(), 1, 1).err().unwrap();
        assert!(matches!(error, EvaluationError::Protocol(_)), "{error}");
    }
}
