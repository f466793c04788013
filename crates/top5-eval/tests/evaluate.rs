//! Whole datasets and whole images through the CPU engine.

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use top5_cpu::{CpuDevice, CpuNetwork, CpuSession, Options};
use top5_data::{
    Dataset, EmptyClass, Image, ImageFolder, Limits, MemoryDataset, OnBad, Preprocess, Sample,
};
use top5_eval::crops::{Crops, average};
use top5_eval::dense::{Dense, DenseNetwork, Pool};
use top5_eval::{EvaluationError, evaluate, evaluate_with};
use top5_graph::random::Stream;
use top5_graph::{Graph, Param, Retain, Session, SessionOptions, Tensor, Weights, k, net};

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
    let dataset = images(12);
    let mut session = session(graph(8), 4);
    let plain = evaluate(&mut session, &dataset, &preprocess(), &mut |_| {}).unwrap();
    let crops = Crops::One { shorter: 8 };
    let mut classify = |image: &Image| -> Result<Vec<f64>, EvaluationError> {
        let views = crops.views([image.height, image.width], [8, 8]);
        Ok(average(&mut session, image, &views, &preprocess())?)
    };
    let viewed = evaluate_with(dataset.as_ref(), &mut classify, &mut |_| {}).unwrap();
    assert_eq!(
        (viewed.top1, viewed.top5, viewed.confusion),
        (plain.top1, plain.top5, plain.confusion)
    );
    assert!((viewed.loss - plain.loss).abs() < 1e-12);
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
    let dataset = open();
    let mut session = session(graph(8), 4);
    let mut run = || evaluate(&mut session, &dataset, &preprocess(), &mut |_| {});
    assert_eq!(run().unwrap().images, 18);
    for (damaged, left) in [("class0/1.pgm", 17), ("class0/2.pgm", 16), ("class5/2.pgm", 15)] {
        fs::write(folder.path().join(damaged), b"P5\n8 8\n255\n").unwrap();
        let report = run().unwrap();
        assert_eq!((report.images, report.errors.len()), (left, 18 - left));
        assert!(report.errors.iter().any(|bad| bad.error.contains(damaged)), "{report:?}");
    }
    let indices: Vec<usize> = run().unwrap().errors.iter().map(|bad| bad.index).collect();
    assert_eq!(indices, [1, 2, 17]);
    for class in 0..6 {
        fs::remove_dir_all(folder.path().join(format!("class{class}"))).unwrap();
    }
    let error = run().unwrap_err();
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
fn views_are_averaged_whatever_the_batch() {
    let (image, crops) = (noise(20, 30, 7), Crops::Squares { shorter: vec![9, 12] });
    let views = crops.views([20, 30], [8, 8]);
    let mean =
        |batch| average(&mut session(graph(8), batch), &image, &views, &preprocess()).unwrap();
    let one = mean(1);
    assert_eq!(one.len(), 6);
    assert!((one.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert_eq!(mean(5), one);
    assert_eq!(mean(72), one);
    // Both halves of a symmetric list are mirror images: an image and its mirror give nearly the same.
    let mirrored = Image { ..image.flip_horizontal() };
    let square = Crops::Ten { shorter: 20 };
    let of = |image: &Image| {
        let views = square.views([20, 30], [8, 8]);
        average(&mut session(graph(8), 4), image, &views, &preprocess()).unwrap()
    };
    for (a, b) in of(&image).iter().zip(of(&mirrored)) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn dense_map_holds_the_network_at_every_place() {
    let (small, image) = (graph(8), noise(12, 14, 3));
    let weights = network(&small);
    let mut network = DenseNetwork::new(&weights);
    let input: Vec<f32> = image.pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let map = network.map(&input, [1, 12, 14]).unwrap();
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

    let protocol =
        |shorter: &[usize]| Dense { shorter: shorter.to_vec(), pool: Pool::Mean, flip: true };
    let probabilities = network.probabilities(&image, &protocol(&[9, 12]), &preprocess()).unwrap();
    assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    // Smaller than the network's input: stretched to it.
    let stretched = network.probabilities(&image, &protocol(&[4]), &preprocess()).unwrap();
    assert_eq!(stretched.len(), 6);
}
