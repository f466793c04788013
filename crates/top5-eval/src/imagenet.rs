//! The 1000 classes of ILSVRC-2012, in the order that everyone's networks have them: by WordNet's number (WNID). The names are
//! the first of WordNet's, two of which are made distinct as torchvision does (`crane bird`, `maillot tank suit`).

/// A line per class: its WNID, a space, its name.
static CLASSES: &str = include_str!("imagenet.txt");

/// The digits of their WNIDs in the order of the contest's development kit (`ILSVRC2012_ID` in its meta.mat, also map_clsloc.txt),
/// which is another one.
static DEVKIT: &str = include_str!("devkit.txt");

/// How many there are.
pub const COUNT: usize = 1000;

/// The WNID and the name of each class.
pub fn classes() -> impl Iterator<Item = (&'static str, &'static str)> {
    CLASSES.lines().filter_map(|line| line.split_once(' '))
}

/// The WNID of each class in the order of the contest's development kit, the first of which is its number 1.
pub fn devkit() -> impl Iterator<Item = String> {
    DEVKIT.split_whitespace().map(|digits| format!("n{digits}"))
}

/// For each class of some data, the class of a network, by name: equal names without regard to case, with `_` for a space; or,
/// where the network's classes are ImageNet's, a WNID (also in front of a name, as `n01440764_tench`) or a name of it. Where a
/// class of the data has none, its name is the error.
pub fn matching(data: &[String], network: &[String]) -> Result<Vec<usize>, String> {
    let plain = |name: &str| name.trim().to_lowercase().replace('_', " ");
    let names: Vec<String> = network.iter().map(|name| plain(name)).collect();
    let known: Vec<(&str, &str)> = if is_imagenet(network) { classes().collect() } else { vec![] };
    let find = |name: &String| -> Option<usize> {
        let wanted = plain(name);
        let wnid = wanted.split(' ').next().unwrap_or_default();
        let of_network = names.iter().position(|name| *name == wanted);
        let of_network =
            of_network.or_else(|| names.iter().position(|name| is_wnid(wnid) && name == wnid));
        of_network
            .or_else(|| known.iter().position(|(id, _)| *id == wnid))
            .or_else(|| known.iter().position(|(_, name)| plain(name) == wanted))
            // WNIDs in another order, and a name.
            .or_else(|| {
                let (id, _) = classes().find(|(_, name)| plain(name) == wanted)?;
                names.iter().position(|name| name == id)
            })
    };
    data.iter().map(|name| find(name).ok_or_else(|| name.clone())).collect()
}

/// Whether the classes of a network are, by their number and what is known of their names, those of ImageNet.
pub fn is_imagenet(network: &[String]) -> bool {
    let plain = |name: &str| name.trim().to_lowercase().replace('_', " ");
    let alike = |(number, (own, (wnid, name))): (usize, (&String, (&str, &str)))| {
        let own = plain(own);
        let first = own.split(',').next().unwrap_or_default().to_owned();
        own == number.to_string()
            || own.starts_with(wnid)
            || first == plain(name)
            || own == plain(name)
    };
    let count = network.iter().zip(classes()).enumerate().filter(|&pair| alike(pair)).count();
    // A few names are written in several ways.
    network.len() == COUNT && count * 10 >= COUNT * 9
}

fn is_wnid(word: &str) -> bool {
    word.len() == 9 && word.starts_with('n') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn classes_are_a_thousand_in_the_order_of_their_wnids() {
        let all: Vec<_> = classes().collect();
        assert_eq!(all.len(), COUNT);
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(all.iter().all(|(wnid, name)| is_wnid(wnid) && !name.is_empty()));
        assert_eq!(all[0], ("n01440764", "tench"));
        assert_eq!(all[134], ("n02012849", "crane bird"));
        assert_eq!(all[999], ("n15075141", "toilet tissue"));
        let mut names: Vec<_> = all.iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COUNT);
    }

    #[test]
    fn development_kit_has_the_same_classes_in_another_order() {
        let devkit: Vec<String> = devkit().collect();
        let mut sorted = devkit.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().zip(classes()).all(|(ours, (wnid, _))| ours == wnid));
        assert_eq!(sorted.len(), COUNT);
        // Numbers from 1, with the names that the kit gives them.
        let name = |id: usize| classes().find(|(wnid, _)| *wnid == devkit[id - 1]).unwrap().1;
        for (id, expected) in [
            (1, "kit fox"),
            (100, "proboscis monkey"),
            (213, "koala"),
            (219, "revolver"),
            (429, "crane bird"),
            (449, "tench"),
            (545, "crane"),
            (601, "trilobite"),
            (782, "maillot"),
            (889, "toilet tissue"),
            (977, "maillot tank suit"),
            (1000, "dumbbell"),
        ] {
            assert!(name(id).starts_with(expected), "{id}: {}", name(id));
        }
        let data = texts(&["n02119789", "tench", "n03255030_dumbbell"]);
        assert_eq!(matching(&data, &devkit), Ok(vec![0, 448, 999]));
    }

    #[test]
    fn subsets_are_matched_by_wnid_or_name() {
        let numbered: Vec<String> = (0..COUNT).map(|i| i.to_string()).collect();
        let data = texts(&["n01443537", "n01440764_tench", "Great_White_shark"]);
        assert_eq!(matching(&data, &numbered), Ok(vec![1, 0, 2]));
        let named: Vec<String> = classes().map(|(_, name)| name.to_owned()).collect();
        assert_eq!(matching(&data, &named), Ok(vec![1, 0, 2]));
        let wnids: Vec<String> = classes().map(|(wnid, _)| wnid.to_owned()).collect();
        assert_eq!(matching(&data, &wnids), Ok(vec![1, 0, 2]));
        assert_eq!(matching(&texts(&["unicorn"]), &numbered), Err("unicorn".to_owned()));
        let few = texts(&["cat", "sea dog", "ape"]);
        assert_eq!(matching(&texts(&["Sea_Dog", "cat"]), &few), Ok(vec![1, 0]));
        assert!(!is_imagenet(&few));
        assert_eq!(matching(&texts(&["n01440764"]), &few), Err("n01440764".to_owned()));
    }
}
