//! The log of a run: one JSON object per line, for each step and each epoch. No line holds a time, so that a resumed run
//! writes the same bytes as one that was never stopped. When each of them was done is told by lines of their own, in another
//! file: [`Moment`].
//!
//! Both files are only added to, so that a run which is killed leaves whole lines and at most one that is cut off. Readers
//! take the whole ones: [`History`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Record {
    /// A step was done.
    Step(StepRecord),
    /// An epoch was done and evaluated.
    Epoch(EpochRow),
}

/// What a step came to. What is optional is missing in logs of earlier versions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: usize,
    /// The epoch that it belongs to, from 1.
    pub epoch: usize,
    /// Its images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// Its mean loss.
    pub loss: f64,
    /// Share of its images that were classified right, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Share of its images whose class was among the first five, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Its learning rate.
    pub lr: f32,
}

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Its number, from 1.
    pub epoch: usize,
    /// Steps done at its end.
    pub step: usize,
    /// Mean loss of its images while learning from them.
    pub train_loss: f64,
    /// Share of its images that were classified right while learning from them, in percent.
    pub train_top1: f64,
    /// Share of its images whose class was among the first five meanwhile, in percent; earlier versions did not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_top5: Option<f64>,
    /// Mean loss on the validation images; absent, like the two that follow, where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_loss: Option<f64>,
    /// Top-1 on the validation images, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_top1: Option<f64>,
    /// Top-5 on the validation images, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_top5: Option<f64>,
    /// Whether the validated weights are the average of the weights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ema: bool,
    /// Learning rate of its last step.
    pub lr: f32,
}

/// When something happened: a line of the file beside the log. Times are seconds since 1970, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Moment {
    /// A process began to train, or went on.
    Begin {
        /// Steps done before.
        step: usize,
        /// When.
        time: f64,
    },
    /// A step was done.
    Step {
        /// Steps done, this one included.
        step: usize,
        /// When.
        time: f64,
    },
    /// An epoch was done and evaluated.
    Epoch {
        /// Its number, from 1.
        epoch: usize,
        /// When.
        time: f64,
    },
}

impl Moment {
    /// When it was.
    pub fn time(self) -> f64 {
        match self {
            Self::Begin { time, .. } | Self::Step { time, .. } | Self::Epoch { time, .. } => time,
        }
    }

    /// Whether it was before the end of so many steps and epochs.
    fn is_within(self, steps: usize, epochs: usize) -> bool {
        match self {
            Self::Begin { step, .. } | Self::Step { step, .. } => step <= steps,
            Self::Epoch { epoch, .. } => epoch <= epochs,
        }
    }
}

/// A line of the log or of the file beside it, with the line feed at its end.
pub fn line(record: &impl Serialize) -> String {
    let mut line = serde_json::to_string(record).expect("numbers always have a JSON form");
    line.push('\n');
    line
}

/// How many bytes of the [`Moment`]s of a run stay where it goes on after so many steps and epochs: whole lines before the first
/// that is later, or that cannot be read.
pub fn moments_until(bytes: &[u8], steps: usize, epochs: usize) -> usize {
    let mut kept = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let moment = whole(line).and_then(|line| serde_json::from_slice::<Moment>(line).ok());
        match moment {
            Some(moment) if moment.is_within(steps, epochs) => kept += line.len(),
            Some(_) | None => break,
        }
    }
    kept
}

fn whole(line: &[u8]) -> Option<&[u8]> {
    line.strip_suffix(b"\n")
}

/// Some step, and when it was done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimedStep {
    /// The step.
    pub record: StepRecord,
    /// When it was done, in seconds since 1970; None where that is not known.
    pub time: Option<f64>,
    /// Seconds that it took, with the waiting for its images; None where that is not known.
    pub seconds: Option<f64>,
}

/// What the log of a run and the file beside it tell, read in pieces as they grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The steps, each once and in order.
    pub steps: Vec<TimedStep>,
    /// The epochs, each once and in order.
    pub rows: Vec<EpochRow>,
    /// When the newest moment was.
    pub time: Option<f64>,
    /// Seconds of training and validation, without the time between processes.
    pub seconds: f64,
    /// Lines that are whole and no lines of the log: the disk or somebody else has changed them.
    pub unreadable: usize,
    /// How often a record took the place of later ones.
    pub revisions: usize,
    /// Steps whose records have not come yet: when they were done, and the seconds that they took.
    early: Vec<(usize, f64, Option<f64>)>,
}

impl History {
    /// That of whole files.
    pub fn read(log: &[u8], moments: &[u8]) -> Self {
        let mut history = Self::default();
        history.add_log(log);
        history.add_moments(moments);
        history
    }

    /// Takes the next lines of the log and returns how many bytes they have: a line without its end stays for later. A record
    /// takes the place of those from its step or epoch on, which were written before the run was stopped.
    pub fn add_log(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Some(whole) = whole(line) else { break };
            taken += line.len();
            match self.parse(whole) {
                Some(Record::Step(record)) => self.add_step(record),
                Some(Record::Epoch(row)) => {
                    let before = self.rows.partition_point(|known| known.epoch < row.epoch);
                    self.revisions += usize::from(before < self.rows.len());
                    self.rows.truncate(before);
                    self.rows.push(row);
                }
                None => {}
            }
        }
        taken
    }

    /// The same for the [`Moment`]s.
    pub fn add_moments(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let Some(whole) = whole(line) else { break };
            taken += line.len();
            let Some(moment) = self.parse::<Moment>(whole) else { continue };
            let (begins, time) = (matches!(moment, Moment::Begin { .. }), moment.time());
            // A clock may be set back.
            let passed = self.time.filter(|_| !begins).map(|before| (time - before).max(0.0));
            self.time = Some(time);
            self.seconds += passed.unwrap_or(0.0);
            let Moment::Step { step, .. } = moment else { continue };
            match self.steps.binary_search_by_key(&step, |known| known.record.step) {
                Ok(at) => (self.steps[at].time, self.steps[at].seconds) = (Some(time), passed),
                Err(_) => self.early.push((step, time, passed)),
            }
        }
        taken
    }

    fn parse<T: DeserializeOwned>(&mut self, line: &[u8]) -> Option<T> {
        let parsed = serde_json::from_slice(line).ok();
        self.unreadable += usize::from(parsed.is_none());
        parsed
    }

    fn add_step(&mut self, record: StepRecord) {
        let before = self.steps.partition_point(|known| known.record.step < record.step);
        self.revisions += usize::from(before < self.steps.len());
        self.steps.truncate(before);
        while self.rows.last().is_some_and(|row| row.step >= record.step) {
            self.rows.pop();
        }
        self.early.retain(|&(step, ..)| step >= record.step);
        let early = self.early.iter().rposition(|&(step, ..)| step == record.step);
        let early = early.map(|at| self.early.swap_remove(at));
        let (time, seconds) = (early.map(|(_, time, _)| time), early.and_then(|early| early.2));
        self.steps.push(TimedStep { record, time, seconds });
    }

    /// Images per second over the newest `steps` whose time and images are known.
    pub fn images_per_second(&self, steps: usize) -> Option<f64> {
        let newest = self.steps.iter().rev().take(steps);
        let known = newest.filter_map(|step| Some((step.record.images?, step.seconds?)));
        let (images, seconds) =
            known.fold((0, 0.0), |(n, t), (images, seconds)| (n + images, t + seconds));
        (seconds > 0.0).then(|| images as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: usize) -> StepRecord {
        let (images, top1, top5) = (Some(8), Some(50.0), Some(100.0));
        StepRecord { step, epoch: 1, images, loss: 1.0 / 3.0, top1, top5, lr: 0.1 }
    }

    fn row(epoch: usize, step: usize) -> EpochRow {
        EpochRow {
            epoch,
            step,
            train_loss: 1.0,
            train_top1: 50.0,
            train_top5: Some(100.0),
            eval_loss: Some(1.0),
            eval_top1: Some(50.0),
            eval_top5: Some(100.0),
            ema: false,
            lr: 0.1,
        }
    }

    #[test]
    fn lines_are_read_back_to_the_bit() {
        let text = line(&Record::Step(step(3)));
        assert_eq!(
            text,
            "{\"event\":\"step\",\"step\":3,\"epoch\":1,\"images\":8,\"loss\":0.3333333333333333,\"top1\":50.0,\
             \"top5\":100.0,\"lr\":0.1}\n"
        );
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), Record::Step(step(3)));
        let text = line(&Moment::Step { step: 3, time: 1.7644e9 });
        assert_eq!(text, "{\"event\":\"step\",\"step\":3,\"time\":1764400000.0}\n");
    }

    /// As version 0.1 wrote them before steps told their images.
    #[test]
    fn logs_of_earlier_versions_are_read() {
        let log = "{\"event\":\"step\",\"step\":1,\"epoch\":1,\"loss\":2.5,\"lr\":0.1}\n\
                   {\"event\":\"epoch\",\"epoch\":1,\"step\":1,\"train_loss\":2.5,\"train_top1\":10.0,\"eval_loss\":2.0,\
                   \"eval_top1\":20.0,\"eval_top5\":60.0,\"lr\":0.1}\n";
        let history = History::read(log.as_bytes(), b"");
        assert_eq!((history.steps.len(), history.rows.len(), history.unreadable), (1, 1, 0));
        assert_eq!((history.steps[0].seconds, history.images_per_second(9)), (None, None));
    }

    /// Killed after any byte of either file, taken up again at an earlier step: no step is there twice.
    #[test]
    fn cut_off_anywhere_a_history_has_every_step_once() {
        let steps = |range: std::ops::RangeInclusive<usize>| {
            range.map(|n| line(&Record::Step(step(n)))).collect::<String>()
        };
        let epoch = |n: usize| line(&Record::Epoch(row(n, 4 * n)));
        let log = steps(1..=4) + &epoch(1) + &steps(5..=7);
        let mut moments = line(&Moment::Begin { step: 0, time: 100.0 });
        for n in 1..=7 {
            moments += &line(&Moment::Step { step: n, time: 100.0 + n as f64 });
            if n == 4 {
                moments += &line(&Moment::Epoch { epoch: 1, time: 104.5 });
            }
        }
        for cut in 0..=log.len() {
            let history = History::read(&log.as_bytes()[..cut], moments.as_bytes());
            assert_eq!(history.unreadable, 0);
            let known = history.steps.iter().map(|step| step.record.step);
            assert!(known.eq(1..=history.steps.len()), "{cut}");
            // What was lost comes again; what was not lost, too, since the checkpoint was at step 4.
            let whole = log[..cut].rfind('\n').map_or(0, |at| at + 1);
            let again = log[..whole].to_owned() + &steps(5..=8) + &epoch(2);
            if whole >= steps(1..=4).len() {
                let history = History::read(again.as_bytes(), b"");
                assert!(history.steps.iter().map(|step| step.record.step).eq(1..=8), "{cut}");
                assert_eq!(history.rows.last().unwrap().epoch, 2);
            }
        }
        let whole = moments.as_bytes();
        let until_4 = moments_until(whole, 4, 1);
        for cut in until_4..=whole.len() {
            assert_eq!(moments_until(&whole[..cut], 4, 1), until_4, "{cut}");
        }
        // The epoch was lost with the checkpoint after it.
        assert!(moments_until(whole, 4, 0) < until_4);
        let later = line(&Moment::Begin { step: 4, time: 900.0 })
            + &line(&Moment::Step { step: 5, time: 901.0 });
        let moments = [&whole[..until_4], later.as_bytes()].concat();
        let history = History::read(log.as_bytes(), &moments);
        // Nobody trained between 104.5 and 900.
        assert_eq!((history.seconds, history.time), (5.5, Some(901.0)));
        let seconds: Vec<_> = history.steps.iter().map(|step| step.seconds).collect();
        assert_eq!(seconds[3..], [Some(1.0), Some(1.0), None, None]);
        assert_eq!(history.images_per_second(100), Some(8.0));
    }

    #[test]
    fn files_read_while_they_grow_tell_the_same() {
        let log: String = (1..=5).map(|n| line(&Record::Step(step(n)))).collect();
        let mut moments = line(&Moment::Begin { step: 0, time: 0.0 });
        moments +=
            &(1..=5).map(|n| line(&Moment::Step { step: n, time: n as f64 })).collect::<String>();
        let (log, moments) = (log.into_bytes(), moments.into_bytes());
        let whole = History::read(&log, &moments);
        for chunk in [1, 7, 50] {
            for ahead in [0, 100] {
                let mut history = History::default();
                let mut taken = [0, 0];
                for end in (0..log.len() + ahead + chunk).step_by(chunk) {
                    let [to, of] = [end.min(log.len()), (end + ahead).min(moments.len())];
                    taken[1] += history.add_moments(&moments[taken[1]..of]);
                    taken[0] += history.add_log(&log[taken[0]..to]);
                }
                history.add_moments(&moments[taken[1]..]);
                assert_eq!(history, whole, "{chunk} {ahead}");
            }
        }
    }

    #[test]
    fn lines_that_are_no_records_are_counted_and_passed_over() {
        let log = [b"\0\0\0\n\xff\n".as_slice(), line(&Record::Step(step(1))).as_bytes()].concat();
        let history = History::read(&log, b"{}\n");
        assert_eq!((history.steps.len(), history.unreadable), (1, 3));
    }
}
