//! The registry is walked: every network builds, has the figures it is registered with, and tells all that it must.

use std::collections::{BTreeMap, BTreeSet};
use top5_graph::ops::AlphaOver;
use top5_graph::{DenseForm, Graph, Op, Shape};
use top5_zoo::{
    CONTEST, Fact, Found, Network, Published, Set, Settings, ensembles, find, network, networks,
};

fn graph(name: &str) -> Graph {
    network(name).unwrap().graph().unwrap()
}

fn at(name: &str, height: usize, width: usize) -> Result<Graph, String> {
    let network = network(name).unwrap();
    let input = [network.input[0], height, width];
    network.with(Settings { input, ..network.settings() }).map_err(|error| error.to_string())
}

#[test]
fn every_network_has_the_figures_it_is_registered_with() {
    for network in networks() {
        let graph = network.graph().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(graph.name(), network.name);
        assert_eq!(graph.input(), network.input, "{}", network.name);
        assert_eq!(graph.logits().shape(), Shape::Flat(network.classes), "{}", network.name);
        assert_eq!(graph.param_count() as u64, network.params, "{}", network.name);
        assert_eq!(graph.inference().macs(), network.macs, "{}", network.name);
    }
}

#[test]
fn zoo_is_complete() {
    let stages = |depths: [&str; 5], prefix: &str, suffix: &str| -> Vec<String> {
        depths.iter().map(|depth| format!("{prefix}{depth}{suffix}")).collect()
    };
    const DEPTHS: [&str; 5] = ["18", "34", "50", "101", "152"];
    let mut names: Vec<String> = [
        "lenet lenet5 alexnet alexnet_owt alexnet_28 alexnet_caffe overfeat_fast overfeat_accurate zfnet zfnet_b clarifai",
        "alexnet_without_conv34 alexnet_without_fc7 alexnet_without_fc67 alexnet_without_conv34_fc67 alexnet_fc2048",
        "alexnet_fc8192 zfnet_fc2048 zfnet_fc8192 zfnet_b_fc8192",
        "vgg11 vgg11_lrn vgg13 vgg16 vgg16_c vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn",
        "vgg11_bn_cifar vgg13_bn_cifar vgg16_bn_cifar vgg19_bn_cifar googlenet googlenet_bn googlenet_cifar googlenet_cifar_n5x5",
        "bn_inception bn_inception_slim inception_v3 inception_v4 inception_resnet_v2",
        "resnet50_v1 resnet101_v1 resnet152_v1 resnetv2_50 preact_resnet200 resnet200",
        "resnet20_cifar resnet32_cifar resnet44_cifar resnet56_cifar resnet110_cifar",
        "wide_resnet50_2 wide_resnet101_2 wrn_68_2 trimps_soushen",
        "resnext50_32x4d resnext101_32x4d resnext101_32x8d resnext101_64x4d",
        "resnext50_32x4d_a resnext50_32x4d_b resnext50_cifar resnext101_cifar resnext152_cifar",
        "seresnext50_32x4d seresnext101_32x4d senet154 se_bn_inception seresnet50_cifar_516",
        "legacy_seresnet50 legacy_seresnet101 legacy_seresnet152 legacy_senet154",
        "legacy_seresnext50_32x4d legacy_seresnext101_32x4d",
        "densenet121 densenet161 densenet169 densenet201 dpn68 dpn92 dpn98 dpn107 dpn131",
    ]
    .iter()
    .flat_map(|line| line.split(' ').map(str::to_owned))
    .collect();
    for (prefix, suffix) in
        [("resnet", ""), ("resnet", "_cifar"), ("seresnet", ""), ("seresnet", "_cifar")]
    {
        names.extend(stages(DEPTHS, prefix, suffix));
    }
    let wanted: BTreeSet<String> = names.into_iter().collect();
    let registered = networks().map(|n| n.name).chain(ensembles().map(|e| e.name));
    let registered: BTreeSet<String> = registered.map(str::to_owned).collect();
    assert_eq!(registered, wanted);
}

#[test]
fn figures_are_those_counted_elsewhere() {
    // Parameters without auxiliary heads, and billions of multiply-accumulates to the printed digit.
    let counted = [
        ("lenet", 44_426, None),
        ("lenet5", 60_000, None),
        ("alexnet", 60_965_224, Some(0.724)),
        ("alexnet_owt", 61_100_840, Some(0.714)),
        ("alexnet_28", 24_351_434, None),
        ("overfeat_fast", 145_920_872, Some(2.80)),
        ("overfeat_accurate", 144_656_488, Some(5.35)),
        ("zfnet", 62_357_608, Some(1.17)),
        ("zfnet_b", 107_627_624, Some(2.48)),
        ("alexnet_without_conv34", 59_268_712, None),
        ("alexnet_without_fc7", 44_183_912, None),
        ("alexnet_without_fc67", 11_551_080, None),
        ("alexnet_without_conv34_fc67", 9_854_568, None),
        ("alexnet_fc2048", 27_455_848, None),
        ("alexnet_fc8192", 153_149_800, None),
        ("zfnet_fc2048", 28_848_232, None),
        ("zfnet_fc8192", 154_542_184, None),
        ("zfnet_b_fc8192", 237_560_936, None),
        ("vgg11", 132_863_336, Some(7.61)),
        ("vgg13", 133_047_848, Some(11.31)),
        ("vgg16", 138_357_544, Some(15.47)),
        ("vgg19", 143_667_240, Some(19.63)),
        ("googlenet_bn", 6_624_904, Some(1.50)),
        ("googlenet_cifar", 6_402_564, None),
        ("bn_inception", 11_295_240, None),
        ("inception_v3", 23_834_568, Some(5.71)),
        ("inception_v4", 42_679_816, Some(12.25)),
        ("inception_resnet_v2", 55_843_464, Some(13.16)),
        ("resnet18", 11_689_512, Some(1.81)),
        ("resnet34", 21_797_672, Some(3.66)),
        ("resnet50", 25_557_032, Some(4.09)),
        ("resnet50_v1", 25_557_032, Some(3.86)),
        ("resnet101", 44_549_160, Some(7.80)),
        ("resnet152", 60_192_808, Some(11.51)),
        ("resnext50_32x4d", 25_028_904, Some(4.23)),
        ("resnext101_32x4d", 44_177_704, Some(7.97)),
        ("resnext101_64x4d", 83_455_272, Some(15.46)),
        ("seresnet50", 28_088_024, Some(4.09)),
        ("seresnext50_32x4d", 27_559_896, Some(4.23)),
        ("seresnext101_32x4d", 48_955_416, Some(7.98)),
        ("senet154", 115_088_984, Some(20.69)),
        ("dpn92", 37_668_392, Some(6.5)),
        ("dpn98", 61_570_728, Some(11.67)),
        ("dpn131", 79_254_504, Some(16.01)),
    ];
    for (name, params, billions) in counted {
        let graph = graph(name).inference();
        assert_eq!(graph.param_count(), params, "{name}");
        if let Some(billions) = billions {
            let macs = graph.macs() as f64 / 1e9;
            assert!((macs - billions).abs() < 0.0101, "{name}: {macs} and {billions}");
        }
    }
}

#[test]
fn every_network_tells_what_it_must() {
    for network in networks() {
        let Network { name, family, year, paper, section, init, preprocessing, .. } = network;
        for text in [name, family, paper.authors, paper.title, paper.venue, section, init] {
            assert!(!text.is_empty(), "{name}");
        }
        assert!((1998..=2017).contains(year), "{name}");
        if let Fact::Missing(reason) = network.place {
            assert!(!reason.is_empty(), "{name}: why has it no place?");
        }
        published(name, &network.published);
        assert!(preprocessing.std.iter().all(|&std| std > 0.0), "{name}");
        assert!(!preprocessing.source.is_empty() && preprocessing.resize > 0, "{name}");
    }
}

fn published(name: &str, published: &Fact<&[Published]>) {
    match published {
        Fact::Missing(reason) => assert!(!reason.is_empty(), "{name}: why no error?"),
        Fact::Known(errors) => {
            assert!(!errors.is_empty(), "{name}");
            for error in *errors {
                assert!(!error.protocol.is_empty() && !error.source.is_empty(), "{name}");
                let (top1, top5) = (error.top1.unwrap_or(100.0), error.top5.unwrap_or(0.0));
                assert!(error.top1.is_some() || error.top5.is_some(), "{name}");
                assert!((0.0..=top1).contains(&top5) && top1 <= 100.0, "{name}: {error:?}");
            }
        }
    }
}

/// timm's name of the weights that a protocol speaks of.
fn weights_in_timm(name: &str, protocol: &str) -> String {
    let name = name.strip_suffix("_a").or_else(|| name.strip_suffix("_b")).unwrap_or(name);
    let tag = match protocol {
        "1 crop, torchvision's weights" => "tv_in1k",
        "1 crop, gluon's weights" => "gluon_in1k",
        "1 crop, TF-slim's weights" => "tf_in1k",
        _ => return format!("legacy_{}.in1k", name.strip_prefix("legacy_").unwrap_or(name)),
    };
    format!("{name}.{tag}")
}

#[test]
fn errors_from_timm_are_those_of_its_results() {
    // Lines of results/results-imagenet.csv at commit 7479d45.
    let results: BTreeMap<&str, Vec<&str>> = include_str!("timm_results.csv")
        .lines()
        .map(|line| {
            let (name, rest) = line.split_once(',').unwrap();
            (name, rest.split(',').collect())
        })
        .collect();
    let mut seen = BTreeSet::new();
    for network in networks() {
        let errors = network.published.known().copied().unwrap_or_default();
        for error in errors.iter().filter(|error| error.source == "timm's results at 7479d45") {
            let weights = weights_in_timm(network.name, error.protocol);
            let line = results.get(weights.as_str()).unwrap_or_else(|| panic!("{weights}?"));
            for (ours, printed) in [(error.top1, line[2]), (error.top5, line[4])] {
                let printed: f32 = printed.parse().unwrap();
                assert!((ours.unwrap() - printed).abs() < 0.0051, "{weights}: {ours:?}, {printed}");
            }
            seen.insert(weights);
        }
    }
    assert_eq!(seen.len(), results.len() - 1, "{seen:?}");
}

#[test]
fn every_ensemble_averages_registered_networks() {
    for ensemble in ensembles() {
        let total: f32 = ensemble.members.iter().map(|(_, weight)| weight).sum();
        assert!((total - 1.0).abs() < 1e-6, "{}: {total}", ensemble.name);
        for (member, _) in ensemble.members {
            assert_eq!(network(member).unwrap().name, *member);
        }
        published(ensemble.name, &ensemble.published);
    }
}

#[test]
fn every_name_stands_for_one_thing() {
    let names = networks().flat_map(|n| std::iter::once(&n.name).chain(n.aliases));
    let names = names.chain(ensembles().flat_map(|e| std::iter::once(&e.name).chain(e.aliases)));
    let mut seen = BTreeSet::new();
    for name in names {
        assert_eq!(*name, name.to_lowercase(), "names are in lower case");
        assert!(!name.contains(['-', '.', ' ']), "{name}");
        assert!(seen.insert(*name), "{name} is there twice");
    }
}

#[test]
fn names_are_found_however_they_are_written() {
    for name in ["vgg16", "VGG16", "vgg16.tv_in1k", "VGG16.in1k", "vgg16.fb_swsl_ig1b_ft_in1k"] {
        assert_eq!(network(name).unwrap().name, "vgg16");
    }
    assert_eq!(network("Inception-v1").unwrap().name, "googlenet");
    // Weights of torchvision's are for what it calls so.
    for (name, meant) in [
        ("alexnet.tv_in1k", "alexnet_owt"),
        ("GoogLeNet.tv_in1k", "googlenet_bn"),
        ("resnet50.tv2_in1k", "resnet50"),
        ("alexnet.in1k", "alexnet"),
    ] {
        assert_eq!(network(name).unwrap().name, meant, "{name}");
    }
    assert!(matches!(find("Clarifai"), Ok(Found::Ensemble(_))));
    let error = network("clarifai").unwrap_err();
    assert!(error.members.contains(&"zfnet_b") && error.to_string().contains("ensemble, of"));
    for name in ["vgg16.pth", "vgg16.safetensors", "vgg16.in", "vgg16.", "vgg16.resink"] {
        assert!(network(name).unwrap_err().members.is_empty(), "{name}");
    }
}

#[test]
fn unknown_name_is_answered_with_the_nearest() {
    let error = network("vgg61").unwrap_err();
    assert_eq!(error.nearest.len(), 3);
    assert!(error.nearest.contains(&"vgg11"), "{error}");
    assert!(error.to_string().contains("no network is called \"vgg61\"; nearest: vgg"), "{error}");
    for (wanted, near) in [
        ("resnet20", "resnet20_cifar"),
        ("resnet56", "resnet56_cifar"),
        ("inceptionv1", "googlenet"),
        ("alexnet_", "alexnet"),
    ] {
        assert_eq!(network(wanted).unwrap_err().nearest[0], near, "{wanted}");
    }
    // A name from a file may be of any length.
    assert_eq!(network(&"vgg16".repeat(1 << 18)).unwrap_err().nearest.len(), 3);
}

#[test]
fn every_network_takes_another_number_of_classes() {
    for network in networks() {
        let settings = Settings { classes: 7, ..network.settings() };
        let graph = network.with(settings).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(graph.classes(), 7, "{}", network.name);
        assert!(graph.outputs().iter().all(|o| graph.node(o.node).shape() == Shape::Flat(7)));
        for wrong in [
            Settings { classes: 0, ..settings },
            Settings { classes: usize::MAX, ..settings },
            Settings { input: [3, 0, 0], ..settings },
        ] {
            let message = network.with(wrong).unwrap_err().to_string();
            assert!(message.starts_with(network.name), "{message}");
        }
    }
}

#[test]
fn pooled_heads_take_other_sizes() {
    for name in [
        "googlenet_cifar",
        "bn_inception",
        "bn_inception_slim",
        "inception_v4",
        "resnet50",
        "resnet20_cifar",
        "preact_resnet200",
        "resnext50_32x4d",
        "resnext50_32x4d_a",
        "senet154",
        "se_bn_inception",
        "seresnet18_cifar",
        "densenet121",
        "dpn92",
    ] {
        let network = network(name).unwrap();
        let [_, height, width] = network.input;
        let graph = at(name, height + 32, width + 64).unwrap();
        assert_eq!(graph.param_count() as u64, network.params, "{name}");
    }
    for (name, side) in [("vgg16", 448), ("alexnet_owt", 416)] {
        let params = at(name, side, side).unwrap().param_count();
        assert_eq!(params as u64, network(name).unwrap().params, "{name}");
    }
}

#[test]
fn variants_for_cifar_take_its_images() {
    let cifar: Vec<_> = networks().filter(|network| network.name.ends_with("_cifar")).collect();
    assert_eq!(cifar.len(), 4 + 1 + 5 + 5 + 3 + 5);
    for network in cifar {
        assert_eq!(network.input, [3, 32, 32], "{}", network.name);
        assert!(matches!(network.classes, 10 | 100), "{}", network.name);
    }
}

#[test]
fn connected_heads_refuse_other_sizes() {
    for (name, side, says) in
        [("vgg16_bn_cifar", 64, "flatten it first"), ("lenet5", 28, "does not fit 4×4")]
    {
        let error = at(name, side, side).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

/// As in PyTorch, where the pooling before them is adaptive.
#[test]
fn heads_after_adaptive_poolings_take_other_sizes() {
    for (name, [height, width]) in [
        ("vgg16", [256, 256]),
        ("vgg11_bn", [64, 96]),
        ("alexnet", [320, 200]),
        ("zfnet", [300, 300]),
        ("overfeat_fast", [250, 400]),
        ("googlenet", [192, 256]),
        ("googlenet", [299, 299]),
        ("googlenet", [2000, 2000]),
        ("googlenet_bn", [192, 256]),
    ] {
        let network = network(name).unwrap();
        let settings = Settings { input: [3, height, width], ..network.settings() };
        let sized = network.with(settings).unwrap();
        assert_eq!(sized.param_count(), graph(name).param_count(), "{name}");
        assert_eq!(sized.outputs().len(), graph(name).outputs().len(), "{name}");
        let bare = network.with(Settings { auxiliary: false, ..settings }).unwrap();
        assert_eq!(bare.param_count(), graph(name).inference().param_count(), "{name}");
        assert_eq!((bare.outputs().len(), bare.input()), (1, [3, height, width]));
    }
}

#[test]
fn inference_has_no_auxiliary_heads() {
    for (name, heads) in [("googlenet", 2), ("googlenet_bn", 2), ("inception_v3", 1)] {
        let graph = graph(name);
        assert_eq!(graph.outputs().len(), 1 + heads, "{name}");
        let bare = graph.inference();
        assert_eq!(bare.outputs().len(), 1, "{name}");
        assert!(!bare.nodes().iter().any(|node| node.name.to_lowercase().contains("aux")));
    }
}

#[test]
fn without_auxiliary_heads_other_sizes_fit() {
    for (name, [height, width]) in [("inception_v3", [75, 75]), ("inception_v3", [200, 298])] {
        let network = network(name).unwrap();
        let settings = Settings { input: [3, height, width], ..network.settings() };
        assert!(network.with(settings).unwrap_err().to_string().to_lowercase().contains("aux"));
        let bare = network.with(Settings { auxiliary: false, ..settings }).unwrap();
        assert_eq!(bare.param_count(), graph(name).inference().param_count(), "{name}");
        assert_eq!((bare.outputs().len(), bare.input()), (1, [3, height, width]));
    }
}

#[test]
fn images_are_prepared_as_the_published_weights_want_them() {
    let of = |name: &str| network(name).unwrap().preprocessing;
    assert_eq!((of("resnetv2_50").mean, of("resnetv2_50").std), ([0.5; 3], [0.5; 3]));
    assert_eq!(of("resnext101_64x4d").resize, 232);
    let legacy = network("legacy_senet154").unwrap();
    assert_eq!(legacy.preprocessing.mean[0], 103.939 / 255.0);
    assert_eq!(legacy.converted.unwrap().std, [0.229, 0.224, 0.225]);
    assert_eq!(of("resnet18_cifar").mean[0], 0.507_075_159_237_132_3);
}

#[test]
fn dense_vgg_gives_a_map_of_logits() {
    let dense = graph("vgg16").dense([3, 256, 288]).unwrap();
    assert_eq!(dense.logits().shape(), Shape::Map([1000, 2, 3]));
    assert_eq!(dense.param_count(), 138_357_544);
}

#[test]
fn networks_have_dense_forms_or_say_which_layer_forbids_one() {
    let mut without = Vec::new();
    for network in networks() {
        let graph = network.graph().unwrap().inference();
        let [channels, height, width] = graph.input();
        let form = DenseForm { windows: true, ..DenseForm::default() };
        match graph.dense_form([channels, height, width], form) {
            Ok(own) => {
                let logits = own.logits().shape();
                assert_eq!((logits.channels(), logits.size()), (graph.classes(), [1, 1]));
                let larger = [channels, 2 * height, 3 * height];
                let larger = graph.dense_form(larger, form).unwrap().logits().shape().size();
                assert!(larger[1] > larger[0] && larger[0] > 1, "{} {larger:?}", network.name);
            }
            Err(error) => without.push((network.name, error.node.clone(), error.kind)),
        }
    }
    assert_eq!(without, [("lenet5", "output".to_owned(), "EuclideanRbf")]);
}

#[test]
fn dense_overfeat_has_the_maps_of_its_table() {
    // The paper's Table 5: layer 5 before pooling, then the spatial output of one offset and of all nine.
    let graph = graph("overfeat_accurate");
    let before = graph.nodes().iter().rposition(|node| matches!(node.op, Op::MaxPool2d(_)));
    let before = graph.nodes()[before.unwrap()].inputs[0];
    for (input, layer_5, coarse, fine) in [
        ([245, 245], [17, 17], [1, 1], [3, 3]),
        ([281, 317], [20, 23], [2, 3], [6, 9]),
        ([317, 389], [23, 29], [3, 5], [9, 15]),
        ([389, 461], [29, 35], [5, 7], [15, 21]),
        ([425, 497], [32, 38], [6, 8], [18, 24]),
        ([461, 569], [35, 44], [7, 10], [21, 30]),
    ] {
        let input = [3, input[0], input[1]];
        let dense = graph.dense(input).unwrap();
        assert_eq!(dense.node(before).shape().size(), layer_5);
        assert_eq!(dense.logits().shape().size(), coarse);
        let form = DenseForm { every_offset: true, ..DenseForm::default() };
        assert_eq!(graph.dense_form(input, form).unwrap().logits().shape().size(), fine);
    }
}

#[test]
fn zfnet_has_the_printed_maps() {
    let sizes: Vec<usize> = graph("zfnet").nodes().iter().map(|n| n.shape().size()[0]).collect();
    let mut sizes = sizes;
    sizes.dedup();
    assert_eq!(sizes, [224, 110, 55, 26, 13, 6, 1]);
}

#[test]
fn response_normalisation_keeps_each_convention() {
    let of = |name: &str| {
        let graph = graph(name);
        let node = graph.nodes().iter().find(|node| node.spec.kind == "LocalResponseNorm");
        let Op::LocalResponseNorm(lrn) = &node.unwrap().op else { unreachable!() };
        (lrn.size, lrn.alpha, lrn.beta, lrn.k, lrn.over)
    };
    assert_eq!(of("alexnet"), (5, 1e-4, 0.75, 2.0, AlphaOver::Sum));
    assert_eq!(of("googlenet"), (5, 1e-4, 0.75, 1.0, AlphaOver::Mean));
}

#[test]
fn bn_inception_has_the_widths_of_its_sources() {
    let channels = |name: &str| -> Vec<usize> {
        let graph = graph(name);
        let modules = graph.nodes().iter().filter(|node| matches!(node.op, Op::Concat(_)));
        modules.map(|node| node.shape().channels()).collect()
    };
    assert_eq!(channels("bn_inception"), [256, 320, 576, 576, 576, 608, 608, 1056, 1024, 1024]);
    assert_eq!(
        channels("bn_inception_slim"),
        [256, 320, 576, 576, 576, 576, 576, 1024, 1024, 1024]
    );
}

#[test]
fn tensorflow_networks_have_its_eps() {
    for (name, eps) in [
        ("googlenet_bn", 1e-3),
        ("googlenet_cifar", 1e-5),
        ("seresnet50_cifar", 1e-5),
        ("bn_inception", 1e-5),
        ("inception_v3", 1e-3),
        ("inception_v4", 1e-3),
        ("inception_resnet_v2", 1e-3),
    ] {
        for node in graph(name).nodes() {
            if let Op::BatchNorm2d(norm) = &node.op {
                assert_eq!(norm.eps, eps, "{name}: {}", node.name);
            }
        }
    }
}

#[test]
fn the_slip_of_the_articles_googlenet_is_kept_under_its_own_name() {
    let graph = graph("googlenet_cifar_n5x5");
    for node in graph.nodes() {
        if let Op::BatchNorm2d(norm) = &node.op {
            let slipped = node.name.ends_with("b3.4");
            let channels = node.shape().channels() as f32;
            assert_eq!(norm.eps, if slipped { channels } else { 1e-5 }, "{}", node.name);
        }
    }
    assert_eq!(graph.nodes().iter().filter(|node| node.name.ends_with("b3.4")).count(), 9);
}

#[test]
fn contest_has_one_winner_a_year_and_the_errors_that_the_papers_print() {
    for year in 2010..=2017 {
        let entries: Vec<_> = CONTEST.iter().filter(|entry| entry.year == year).collect();
        let least = entries.iter().map(|entry| entry.top5_error).fold(f32::MAX, f32::min);
        let winners: Vec<_> = entries.iter().filter(|entry| entry.winner).collect();
        assert!(matches!(winners[..], [winner] if winner.top5_error == least), "{year}");
    }
    assert!(CONTEST.is_sorted_by_key(|entry| entry.year));
    for entry in CONTEST {
        let Some(name) = entry.network else { continue };
        let published = match find(name).unwrap() {
            Found::Network(network) => network.published,
            Found::Ensemble(ensemble) => ensemble.published,
        };
        let errors = published.known().into_iter().flat_map(|published| published.iter());
        let mut tested = errors.filter(|error| error.set == Set::Test).filter_map(|e| e.top5);
        // To the printed digit.
        assert!(tested.any(|error| (error - entry.top5_error).abs() < 0.05), "{name}");
    }
}
