//! How the published numbers were obtained, as data: each row of the article's table of results is a list of networks,
//! each with the protocol that its probabilities are averaged by.
//!
//! What a paper does not say is said to be our choice in the row's note.

use serde::Serialize;

use crate::named::named;
use crate::protocol::Protocol;

/// Networks of one kind in an ensemble.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// Their name in the registry.
    pub network: &'static str,
    /// How many there are, each trained on its own.
    pub models: usize,
    /// The weight of each in the ensemble.
    pub weight: f64,
    /// How each looks at an image.
    pub protocol: Protocol,
}

/// A row of the table of results. Errors are in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The year of the contest; none where the row is no entry of a contest.
    pub year: Option<u16>,
    /// The network as the article calls it.
    pub network: &'static str,
    /// Top-1 error on the validation images.
    pub val_top1: Option<f32>,
    /// Top-5 error on the validation images.
    pub val_top5: Option<f32>,
    /// Top-5 error on the test images.
    pub test_top5: Option<f32>,
    /// Who was averaged; empty where that was never published.
    pub members: Vec<Member>,
    /// What the rest of the row does not say.
    pub note: &'static str,
}

/// The rows of the article's table of results, in its order.
pub fn article() -> Vec<Row> {
    let by = |name: &str, side: usize| named(name, [side; 2]).expect("the name is known");
    let ten = |side| by("10-crop", side);
    let squares = |side| by("144-crop", side);
    let trained_at = |network, at: usize| Member {
        network,
        models: 1,
        weight: 1.0,
        protocol: by(&format!("vgg-dense-3@{},{at},{}", at - 32, at + 32), 224),
    };
    let all = |network, models, protocol| Member { network, models, weight: 1.0, protocol };
    vec![
        Row {
            year: Some(2012),
            network: "AlexNet",
            val_top1: Some(38.1),
            val_top5: Some(16.4),
            test_top5: Some(16.42),
            members: vec![all("alexnet", 5, ten(227))],
            note: "",
        },
        Row {
            year: Some(2012),
            network: "AlexNet",
            val_top1: Some(36.7),
            val_top5: Some(15.4),
            test_top5: Some(15.32),
            members: vec![all("alexnet", 7, ten(227))],
            note: "two of the seven have a sixth convolution and were first trained on ImageNet of autumn 2011",
        },
        Row {
            year: Some(2013),
            network: "OverFeat",
            val_top1: None,
            val_top5: None,
            test_top5: Some(14.18),
            members: vec![all("overfeat_fast", 7, by("overfeat-4", 231))],
            note: "seven fast models; which scales is not said for this entry: four",
        },
        Row {
            year: None,
            network: "OverFeat",
            val_top1: None,
            val_top5: None,
            test_top5: Some(13.6),
            members: vec![all("overfeat_accurate", 7, by("overfeat-4", 221))],
            note: "after the contest; four scales",
        },
        Row {
            year: Some(2013),
            network: "ZFNet",
            val_top1: None,
            val_top5: None,
            test_top5: Some(13.51),
            members: vec![all("zfnet", 5, ten(224)), all("zfnet_b", 1, ten(224))],
            note: "the members are the paper's, which reports 14.8 for them; those of the contest were not published",
        },
        Row {
            year: Some(2013),
            network: "Clarifai",
            val_top1: None,
            val_top5: None,
            test_top5: Some(11.74),
            members: Vec::new(),
            note: "not published",
        },
        Row {
            year: Some(2013),
            network: "Clarifai",
            val_top1: None,
            val_top5: None,
            test_top5: Some(11.20),
            members: Vec::new(),
            note: "not published; trained on more data, of 2011",
        },
        Row {
            year: Some(2014),
            network: "VGG",
            val_top1: None,
            val_top5: None,
            test_top5: Some(7.32),
            members: vec![
                trained_at("vgg16", 256),
                trained_at("vgg16", 384),
                all("vgg16", 1, by("vgg-dense-3", 224)),
                trained_at("vgg16_c", 256),
                trained_at("vgg16_c", 384),
                trained_at("vgg19", 256),
                trained_at("vgg19", 384),
            ],
            note: "",
        },
        Row {
            year: None,
            network: "VGG",
            val_top1: Some(23.7),
            val_top5: Some(6.8),
            test_top5: Some(6.8),
            members: ["vgg16", "vgg19"]
                .map(|network| all(network, 1, by("vgg-crops+dense", 224)))
                .to_vec(),
            note: "after the contest; crops and dense evaluation",
        },
        Row {
            year: Some(2014),
            network: "GoogLeNet v1",
            val_top1: None,
            val_top5: None,
            test_top5: Some(6.67),
            members: vec![all("googlenet", 7, squares(224))],
            note: "the seven started from the same weights and differ in the sampling of images; one of them is a wider network",
        },
        Row {
            year: None,
            network: "GoogLeNet v2",
            val_top1: Some(20.1),
            val_top5: Some(4.9),
            test_top5: Some(4.82),
            members: vec![all("bn_inception", 6, squares(224))],
            note: "",
        },
        Row {
            year: None,
            network: "GoogLeNet v3",
            val_top1: Some(17.2),
            val_top5: None,
            test_top5: Some(3.58),
            members: vec![all("inception_v3", 4, squares(299))],
            note: "the scales for an input of 299 are our choice: those of 224 in proportion",
        },
        Row {
            year: None,
            network: "GoogLeNet v4",
            val_top1: Some(16.5),
            val_top5: Some(3.1),
            test_top5: Some(3.08),
            members: vec![
                all("inception_v4", 1, squares(299)),
                all("inception_resnet_v2", 3, squares(299)),
            ],
            note: "the scales for an input of 299 are our choice: those of 224 in proportion",
        },
        Row {
            year: Some(2015),
            network: "ResNet",
            val_top1: None,
            val_top5: None,
            test_top5: Some(3.57),
            members: ["resnet152_v1", "resnet101_v1", "resnet50_v1"]
                .map(|network| all(network, 2, by("resnet-dense", 224)))
                .to_vec(),
            note: "the paper says six models of different depth, two of 152 layers; the other four are our choice",
        },
        Row {
            year: Some(2016),
            network: "Trimps-Soushen",
            val_top1: None,
            val_top5: None,
            test_top5: Some(2.99),
            members: [
                ("inception_v3", 1.0),
                ("inception_v4", 1.0),
                ("inception_resnet_v2", 2.0),
                ("preact_resnet200", 1.0),
                ("wrn_68_2", 1.0),
            ]
            .map(|(network, weight)| Member {
                network,
                models: 1,
                weight,
                protocol: by("vgg-dense-3", 224),
            })
            .to_vec(),
            note: "slides only: weights and scales are our choice; they say that one network weighed more",
        },
        Row {
            year: Some(2016),
            network: "ResNeXt",
            val_top1: None,
            val_top5: None,
            test_top5: Some(3.03),
            members: Vec::new(),
            note: "second place; who was averaged was not published",
        },
        Row {
            year: Some(2017),
            network: "SENet",
            val_top1: None,
            val_top5: None,
            test_top5: Some(2.25),
            members: Vec::new(),
            note: "SENet-154 with others that were not published, at several scales and crops",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_rows_of_the_article() {
        let rows = article();
        let tests: Vec<f32> = rows.iter().filter_map(|row| row.test_top5).collect();
        assert_eq!(
            tests,
            [
                16.42, 15.32, 14.18, 13.6, 13.51, 11.74, 11.2, 7.32, 6.8, 6.67, 4.82, 3.58, 3.08,
                3.57, 2.99, 3.03, 2.25
            ]
        );
        for row in &rows {
            assert!(!row.members.is_empty() || !row.note.is_empty(), "{row:?}");
            let complete =
                |m: &Member| m.models > 0 && m.weight > 0.0 && m.protocol.check().is_ok();
            assert!(row.members.iter().all(complete), "{row:?}");
        }
        let models = |row: &Row| row.members.iter().map(|member| member.models).sum::<usize>();
        let counts: Vec<usize> = rows.iter().map(models).collect();
        assert_eq!(counts, [5, 7, 7, 7, 6, 0, 0, 7, 2, 7, 6, 4, 4, 6, 5, 0, 0]);
    }
}
