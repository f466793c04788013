//! Trimps-Soushen. ILSVRC-2016: first in classification. There is no paper: what is known is on the slides shown at the
//! contest's workshop, which name five networks and a weighted fusion. The five are on pages of their own.

use crate::registry::{Ensemble, Fact, Paper, Published};

pub(crate) static ENSEMBLES: &[Ensemble] = &[Ensemble {
    name: "trimps_soushen",
    aliases: &["trimps"],
    family: "Trimps-Soushen",
    year: 2016,
    place: Fact::Known("first in classification, ILSVRC-2016"),
    paper: Paper {
        authors: "Trimps-Soushen, the Third Research Institute of the Ministry of Public Security",
        title: "Trimps-Soushen at ILSVRC 2016",
        venue: "slides of the ILSVRC workshop, 2016",
        arxiv: None,
    },
    section: "a reconstruction: the five networks are those of the slides, the wide one by its name alone \
              (WRN-68-2; elsewhere WRN-68-3); the weights were not published, only that Inception-ResNet-v2 \
              counted more than the others",
    members: &[
        ("inception_v3", 1.0 / 6.0),
        ("inception_v4", 1.0 / 6.0),
        ("inception_resnet_v2", 1.0 / 3.0),
        ("preact_resnet200", 1.0 / 6.0),
        ("wrn_68_2", 1.0 / 6.0),
    ],
    published: Fact::Known(&[
        Published::val_top5(
            2.92,
            "5 networks, several scales, dense",
            "the slides, as a review quotes them",
        ),
        Published::test_top5(2.99, "5 networks, several scales, dense", "ILSVRC-2016 results"),
        Published::val_top5(
            3.52,
            "Inception-ResNet-v2 alone, the best",
            "the slides, as a review quotes them",
        ),
        Published::val_top5(
            4.65,
            "the worst of the five alone",
            "the slides, as a review quotes them",
        ),
    ]),
}];
