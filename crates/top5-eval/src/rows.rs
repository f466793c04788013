//! How the published numbers were obtained, as data: each row of the article's table of results is an ensemble with a name,
//! a list of networks, each with the protocol that its probabilities are averaged by.
//!
//! What a paper does not say is said to be our choice.

use serde::Serialize;

use crate::named::named;
use crate::protocol::Protocol;

/// Networks of one kind in an ensemble.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Member {
    /// What they are called in the ensemble; each of several has its number, from 1, behind a `-`.
    pub name: String,
    /// Their name in the registry.
    pub network: &'static str,
    /// How many there are, each trained on its own.
    pub models: usize,
    /// The weight of each in the ensemble.
    pub weight: f64,
    /// How each looks at an image.
    pub protocol: Protocol,
}

impl Member {
    /// The name of each of them.
    pub fn names(&self) -> Vec<String> {
        match self.models {
            1 => vec![self.name.clone()],
            models => (1..=models).map(|model| format!("{}-{model}", self.name)).collect(),
        }
    }
}

/// A row of the table of results. Errors are in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultRow {
    /// Its name here, which no other row has.
    pub name: &'static str,
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
    /// Who was averaged; empty where that was never published and nothing can be guessed.
    pub members: Vec<Member>,
    /// What is known of the row beside.
    pub note: &'static str,
    /// What was chosen where its source says nothing, a sentence each.
    pub choices: &'static [&'static str],
}

impl ResultRow {
    /// The name of each network that is averaged.
    pub fn names(&self) -> Vec<String> {
        self.members.iter().flat_map(Member::names).collect()
    }

    /// What was chosen, for the row and for its members' protocols.
    pub fn chosen(&self) -> Vec<&str> {
        let mut chosen = self.choices.to_vec();
        for choice in self.members.iter().flat_map(|member| &member.protocol.choices) {
            if !chosen.contains(&choice.as_str()) {
                chosen.push(choice);
            }
        }
        chosen
    }
}

/// `models` networks that are called as in the registry and weigh as much as any other.
fn all(network: &'static str, models: usize, protocol: Protocol) -> Member {
    Member { name: network.to_owned(), network, models, weight: 1.0, protocol }
}

fn by(name: &str, side: usize) -> Protocol {
    named(name, [side; 2]).expect("the name is known")
}

/// A network of VGG's that was trained at one scale, and looks at three around it.
fn trained_at(network: &'static str, at: usize) -> Member {
    let protocol = by(&format!("vgg-dense-3@{},{at},{}", at - 32, at + 32), 224);
    // The scales are the paper's.
    let protocol = Protocol { choices: Vec::new(), ..protocol };
    Member { name: format!("{network}-{at}"), ..all(network, 1, protocol) }
}

const SAME: &str = "how the networks differ is not printed: in their seeds alone";
const SIDES: &str = "the scales for an input of 299 are those of 224 in proportion";

/// The rows of the article's table of results, in its order.
pub fn article() -> Vec<ResultRow> {
    let mut rows = until_2013();
    rows.extend(of_2014());
    rows.extend(inception());
    rows.extend(since_2015());
    rows
}

/// What rows have that say nothing.
const NOTHING: ResultRow = ResultRow {
    name: "",
    year: None,
    network: "",
    val_top1: None,
    val_top5: None,
    test_top5: None,
    members: Vec::new(),
    note: "",
    choices: &[],
};

fn until_2013() -> Vec<ResultRow> {
    let ten = |side| by("10-crop", side);
    let zeilers = || vec![all("zfnet", 5, ten(224)), all("zfnet_b", 1, ten(224))];
    let overfeats = |network, side| vec![all(network, 7, by("overfeat-4", side))];
    vec![
        ResultRow {
            name: "alexnet-5",
            year: Some(2012),
            network: "AlexNet",
            val_top1: Some(38.1),
            val_top5: Some(16.4),
            test_top5: Some(16.42),
            members: vec![all("alexnet", 5, ten(227))],
            choices: &[SAME],
            ..NOTHING
        },
        ResultRow {
            name: "alexnet-7",
            year: Some(2012),
            network: "AlexNet",
            val_top1: Some(36.7),
            val_top5: Some(15.4),
            test_top5: Some(15.32),
            members: vec![all("alexnet", 7, ten(227))],
            note: "two of the seven have a sixth convolution and were first trained on ImageNet of autumn 2011",
            choices: &[
                "the sixth convolution is not described: seven times the same network",
                SAME,
            ],
        },
        ResultRow {
            name: "overfeat-7",
            year: Some(2013),
            network: "OverFeat",
            test_top5: Some(14.18),
            members: overfeats("overfeat_fast", 231),
            note: "seven fast models",
            choices: &["which scales this entry had is not printed: four", SAME],
            ..NOTHING
        },
        ResultRow {
            name: "overfeat-accurate-7",
            network: "OverFeat",
            test_top5: Some(13.6),
            members: overfeats("overfeat_accurate", 221),
            note: "after the contest; seven accurate models",
            choices: &["which scales this result had is not printed: four", SAME],
            ..NOTHING
        },
        ResultRow {
            name: "zfnet-6",
            year: Some(2013),
            network: "ZFNet",
            test_top5: Some(13.51),
            members: zeilers(),
            note: "the paper reports 14.8 for these members",
            choices: &[
                "the members of the contest's entry were not published: those of the paper's Table 2",
            ],
            ..NOTHING
        },
        ResultRow {
            name: "clarifai",
            year: Some(2013),
            network: "Clarifai",
            test_top5: Some(11.74),
            members: zeilers(),
            note: "several networks, which were not published",
            choices: &[
                "a reconstruction: the members are those of the paper of its founder, Table 2 of ZFNet's",
            ],
            ..NOTHING
        },
        ResultRow {
            name: "clarifai-more-data",
            year: Some(2013),
            network: "Clarifai",
            test_top5: Some(11.20),
            members: zeilers(),
            note: "several networks, which were not published, trained on more data, of 2011",
            choices: &[
                "a reconstruction: the members are those of the paper of its founder, Table 2 of ZFNet's",
            ],
            ..NOTHING
        },
    ]
}

fn of_2014() -> Vec<ResultRow> {
    vec![
        ResultRow {
            name: "vgg-7",
            year: Some(2014),
            network: "VGG",
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
            note: "configurations D, C and E; a number is the scale that a network was trained at, 256 to 512 without one",
            ..NOTHING
        },
        ResultRow {
            name: "vgg-2",
            network: "VGG",
            val_top1: Some(23.7),
            val_top5: Some(6.8),
            test_top5: Some(6.8),
            members: ["vgg16", "vgg19"]
                .map(|network| all(network, 1, by("vgg-crops+dense", 224)))
                .to_vec(),
            note: "after the contest; configurations D and E, crops and dense evaluation",
            ..NOTHING
        },
        ResultRow {
            name: "googlenet-7",
            year: Some(2014),
            network: "GoogLeNet v1",
            test_top5: Some(6.67),
            members: vec![all("googlenet", 7, by("144-crop", 224))],
            note: "the seven started from the same weights and differ in the sampling of images; one of them is a wider network",
            choices: &["the wider network is not described: seven times the same network"],
            ..NOTHING
        },
    ]
}

fn inception() -> Vec<ResultRow> {
    let squares = |side| by("144-crop", side);
    vec![
        ResultRow {
            name: "bn-inception-6",
            network: "GoogLeNet v2",
            val_top1: Some(20.1),
            val_top5: Some(4.9),
            test_top5: Some(4.82),
            members: vec![all("bn_inception", 6, squares(224))],
            note: "BN-x30 with larger initial weights, dropout of 5 or 10 %, or a normalisation of each place",
            choices: &["which of the six has which is not printed: six times the same network"],
            ..NOTHING
        },
        ResultRow {
            name: "inception-v3-4",
            network: "GoogLeNet v3",
            val_top1: Some(17.2),
            test_top5: Some(3.58),
            members: vec![all("inception_v3", 4, squares(299))],
            choices: &[SIDES, SAME],
            ..NOTHING
        },
        ResultRow {
            name: "inception-v4-4",
            network: "GoogLeNet v4",
            val_top1: Some(16.5),
            val_top5: Some(3.1),
            test_top5: Some(3.08),
            members: vec![
                all("inception_v4", 1, squares(299)),
                all("inception_resnet_v2", 3, squares(299)),
            ],
            choices: &[SIDES, SAME],
            ..NOTHING
        },
    ]
}

fn since_2015() -> Vec<ResultRow> {
    vec![
        ResultRow {
            name: "resnet-6",
            year: Some(2015),
            network: "ResNet",
            test_top5: Some(3.57),
            members: ["resnet152_v1", "resnet101_v1", "resnet50_v1"]
                .map(|network| all(network, 2, by("resnet-dense", 224)))
                .to_vec(),
            note: "six networks of different depth, two of them of 152 layers",
            choices: &["the other four are not named: two of 101 and two of 50 layers"],
            ..NOTHING
        },
        ResultRow {
            name: "trimps-5",
            year: Some(2016),
            network: "Trimps-Soushen",
            test_top5: Some(2.99),
            members: [
                ("inception_v3", 1.0),
                ("inception_v4", 1.0),
                ("inception_resnet_v2", 2.0),
                ("preact_resnet200", 1.0),
                ("wrn_68_2", 1.0),
            ]
            .map(|(network, weight)| Member { weight, ..all(network, 1, by("vgg-dense-3", 224)) })
            .to_vec(),
            note: "slides only, which say that Inception-ResNet-v2 counted more than the others, several scales, dense",
            choices: &[
                "the weights were not published: 2 for Inception-ResNet-v2, 1 for each other",
                "the scales were not published: 256, 384 and 512, and mirror images",
            ],
            ..NOTHING
        },
        ResultRow {
            name: "resnext",
            year: Some(2016),
            network: "ResNeXt",
            test_top5: Some(3.03),
            note: "second place; who was averaged was not published",
            ..NOTHING
        },
        ResultRow {
            name: "senet",
            year: Some(2017),
            network: "SENet",
            test_top5: Some(2.25),
            members: ["senet154", "seresnext101_32x4d", "seresnet152"]
                .map(|network| all(network, 1, by("144-crop", 224)))
                .to_vec(),
            note: "SENet-154 and a few other SENets, \"standard multi-scale and multi-crop fusion\"",
            choices: &[
                "the other networks are not named: SE-ResNeXt-101 and SE-ResNet-152",
                "scales and crops are not named: GoogLeNet's 144",
            ],
            ..NOTHING
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
        let counts: Vec<usize> = rows.iter().map(|row| row.names().len()).collect();
        assert_eq!(counts, [5, 7, 7, 7, 6, 6, 6, 7, 2, 7, 6, 4, 4, 6, 5, 0, 3]);
    }

    #[test]
    fn every_row_and_every_member_of_it_has_its_own_name() {
        let rows = article();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
        for row in &rows {
            let members: BTreeSet<String> = row.names().into_iter().collect();
            assert_eq!(members.len(), row.names().len(), "{}", row.name);
        }
        assert_eq!(rows[0].names()[4], "alexnet-5");
        let vgg = rows.iter().find(|row| row.name == "vgg-7").unwrap().names();
        assert_eq!(vgg[..4], ["vgg16-256", "vgg16-384", "vgg16", "vgg16_c-256"]);
    }
}
