//! The 1000 classes of ILSVRC-2012, in the order that everyone's networks have them: by WordNet's number (WNID). The names are
//! the first of WordNet's, two of which are made distinct as torchvision does (`crane bird`, `maillot tank suit`); WordNet's others
//! for the same class find it, too.

use std::collections::{BTreeMap, BTreeSet};

/// A line per class: its WNID, a space, its names with commas between them.
static CLASSES: &str = include_str!("imagenet.txt");

/// The digits of their WNIDs in the order of the contest's development kit (`ILSVRC2012_ID` in its meta.mat, also map_clsloc.txt),
/// which is another one.
static DEVKIT: &str = include_str!("devkit.txt");

/// How many there are.
pub const COUNT: usize = 1000;

/// The WNID and all names of each class, with commas between them.
fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    CLASSES.lines().filter_map(|line| line.split_once(' '))
}

/// The WNID and the name of each class.
pub fn classes() -> impl Iterator<Item = (&'static str, &'static str)> {
    lines().map(|(wnid, names)| (wnid, names.split(',').next().unwrap_or(names)))
}

/// The WNID and the name of each class in the order of the contest's development kit, the first of which is its number 1.
pub fn devkit() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of: BTreeMap<&str, (&str, &str)> = classes().map(|class| (&class.0[1..], class)).collect();
    DEVKIT.split_whitespace().filter_map(move |digits| of.get(digits).copied())
}

/// For each class of some data, the class of a network: by equal names, also without regard to case and with `_` for a space; or,
/// where the network's classes are ImageNet's in any order, by a WNID (also in front of a name, as `n01440764_tench`) or one of
/// WordNet's names, however its words are joined. Where a class of the data has none, its name is the error.
pub fn matching(data: &[String], network: &[String]) -> Result<Vec<usize>, String> {
    let plain = |name: &str| name.trim().to_lowercase().replace('_', " ");
    let places = |of: &dyn Fn(&str) -> String| -> BTreeMap<String, usize> {
        network.iter().enumerate().rev().map(|(place, name)| (of(name), place)).collect()
    };
    let (equal, alike) = (places(&str::to_owned), places(&plain));
    let known = Known::new();
    let numbers = known.of_network(network);
    let find = |name: &String| {
        let own = equal.get(name).or_else(|| alike.get(&plain(name))).copied();
        own.or_else(|| numbers.get(&known.number(name)?).copied()).ok_or_else(|| name.clone())
    };
    data.iter().map(find).collect()
}

/// Gives those of a thousand names that occur twice the names by which ImageNet's classes differ, where all of them are names of
/// ImageNet's class at their place: the lists that are around have `crane` for a bird and for a machine.
pub fn tell_apart(names: &mut [String]) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    names.iter().for_each(|name| *counts.entry(name.clone()).or_default() += 1);
    let twice = |name: &str| counts.get(name).is_some_and(|&count| count > 1);
    let theirs: Vec<(usize, &str)> = (lines().enumerate().zip(names.iter()))
        .filter(|(_, name)| twice(name))
        .filter_map(|((place, (_, all)), name)| {
            let mut all = all.split(',');
            let first = all.clone().next()?;
            all.any(|one| letters(one) == letters(name)).then_some((place, first))
        })
        .collect();
    if names.len() == COUNT && theirs.len() == names.iter().filter(|name| twice(name)).count() {
        theirs.into_iter().for_each(|(place, name)| names[place] = name.to_owned());
    }
}

/// The number of each class among ImageNet's, where all are different ones of these by WNID or name.
pub fn numbers(data: &[String]) -> Option<Vec<usize>> {
    let known = Known::new();
    let numbers: Vec<usize> = data.iter().map(|name| known.number(name)).collect::<Option<_>>()?;
    let distinct = numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len();
    distinct.then_some(numbers)
}

/// What finds a class by what it may be called.
struct Known {
    wnids: BTreeMap<&'static str, usize>,
    names: BTreeMap<&'static str, usize>,
    /// By letters and digits alone: by the name, by all names, by another of WordNet's names. None where several have it.
    alike: [BTreeMap<String, Option<usize>>; 3],
}

impl Known {
    fn new() -> Self {
        let mut alike = [const { BTreeMap::new() }; 3];
        let mut put = |tier: usize, name: &str, number: usize| {
            let entry = alike[tier].entry(letters(name)).or_insert(Some(number));
            *entry = entry.filter(|&before| before == number);
        };
        for (number, (_, names)) in lines().enumerate() {
            put(1, names, number);
            for (place, name) in names.split(',').enumerate() {
                put(if place == 0 { 0 } else { 2 }, name, number);
            }
        }
        let wnids = classes().enumerate().map(|(number, (wnid, _))| (wnid, number)).collect();
        let names = classes().enumerate().map(|(number, (_, name))| (name, number)).collect();
        Self { wnids, names, alike }
    }

    /// The number of a class of ImageNet.
    fn number(&self, name: &str) -> Option<usize> {
        let first: String = name.trim().chars().take_while(char::is_ascii_alphanumeric).collect();
        let first = first.to_ascii_lowercase();
        if is_wnid(&first) {
            return self.wnids.get(&*first).copied();
        }
        // `Cardigan` is a dog, `cardigan` is not.
        let exact = self.names.get(&*name.trim().replace('_', " ")).copied();
        let letters = letters(name);
        exact.or_else(|| *self.alike.iter().find_map(|tier| tier.get(&letters))?)
    }

    /// The place of each of ImageNet's numbers among a network's classes. Without nine names in ten of ImageNet's thousand, or all
    /// of its numbers, only WNIDs tell.
    fn of_network(&self, network: &[String]) -> BTreeMap<usize, usize> {
        let all = network.len() == COUNT;
        if all && network.iter().enumerate().all(|(number, name)| *name == number.to_string()) {
            return (0..COUNT).map(|number| (number, number)).collect();
        }
        let numbers: Vec<Option<usize>> = network.iter().map(|name| self.number(name)).collect();
        let is_imagenet = all && numbers.iter().flatten().count() * 10 >= COUNT * 9;
        let tells = |name: &str| is_imagenet || name.get(..9).is_some_and(is_wnid);
        let mut places = BTreeMap::new();
        for (place, (name, number)) in network.iter().zip(numbers).enumerate() {
            if let Some(number) = number.filter(|_| tells(name)) {
                places.entry(number).or_insert(place);
            }
        }
        places
    }
}

/// The letters and digits of a name, without case.
fn letters(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
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
    fn names_that_occur_twice_in_usual_lists_are_told_apart() {
        let all: Vec<String> = classes().map(|(_, name)| name.to_owned()).collect();
        let usual = |bird: &str| {
            let mut usual = all.clone();
            usual[134] = bird.to_owned();
            usual[638] = "maillot".to_owned();
            usual[639] = "maillot".to_owned();
            usual
        };
        let mut names = usual("crane");
        tell_apart(&mut names);
        assert_eq!(names, all);
        // A name that is another class's is left for whoever wrote it.
        let wrong = usual("tench");
        let mut names = wrong.clone();
        tell_apart(&mut names);
        assert_eq!(names, wrong);
        let mut few = texts(&["crane", "crane"]);
        tell_apart(&mut few);
        assert_eq!(few, ["crane", "crane"]);
    }

    #[test]
    fn development_kit_has_the_same_classes_in_another_order() {
        let devkit: Vec<_> = devkit().collect();
        let mut sorted = devkit.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(classes()));
        assert_eq!(sorted.len(), COUNT);
        // Numbers from 1, with the names that the kit gives them.
        let name = |id: usize| devkit[id - 1].1;
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
        let (wnids, names): (Vec<_>, Vec<_>) = devkit.into_iter().unzip();
        for network in [wnids, names] {
            assert_eq!(matching(&data, &texts(&network)), Ok(vec![0, 448, 999]));
        }
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
        assert_eq!(matching(&texts(&["n01440764"]), &few), Err("n01440764".to_owned()));
        assert_eq!(matching(&texts(&["tench"]), &texts(&["hen", "n01440764"])), Ok(vec![1]));
        assert_eq!(matching(&texts(&["chicken"]), &texts(&["hen"])), Err("chicken".to_owned()));
    }

    #[test]
    fn folders_are_called_in_many_ways() {
        for (name, number) in [
            ("N01440764", 0),
            ("n01440764-tench", 0),
            ("Tinca tinca", 0),
            ("tench, Tinca tinca", 0),
            ("EnglishSpringer", 217),
            ("english-springer", 217),
            ("chainsaw", 491),
            ("jack_o_lantern", 607),
            ("Cardigan", 264),
            ("cardigan", 474),
            ("crane", 517),
            ("crane_bird", 134),
            ("maillot", 638),
            ("maillot, tank suit", 639),
            ("American robin", 15),
        ] {
            assert_eq!(numbers(&texts(&[name])), Some(vec![number]), "{name}");
        }
        // Several classes are called so, or none.
        for name in ["CARDIGAN", "panther", "n00000001", "n00000001 tench", "", "7"] {
            assert_eq!(numbers(&texts(&[name])), None, "{name}");
        }
        assert_eq!(numbers(&texts(&["tench", "n01440764"])), None);
    }
}
