//! `top5 data pack`: the images of a dataset one after the other in tar archives, as files or as pixels.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use serde::Serialize;
use top5::data::packed::{CLASSES, SHARD, folder_of, shard_path, shard_text};
use top5::data::tar::{END, crc32, header, padding};
use top5::data::together::together;
use top5::data::{DataError, Dataset, Filter, Image, Limits, decode, resize};
use top5::graph::counted;
use top5::{WholeFile, remove_file};

use super::{PackArgs, open, parts};
use crate::exit::Stop;
use crate::interrupt::Interrupt;
use crate::output::{Output, taken};
use crate::progress::Progress;

/// Most archives, which are all open until the last one is complete: fewer than files that a process may usually open.
const ARCHIVES: usize = 512;

/// Images that a thread reads before they are written.
const CHUNK: usize = 8;

/// The command, resolved.
pub(crate) struct Task {
    data: String,
    limits: Limits,
    out: PathBuf,
    form: Form,
    /// Most bytes of an archive.
    shard: u64,
    skip_bad: bool,
    threads: usize,
}

/// What is written of an image.
#[derive(Clone, Copy)]
enum Form {
    /// Its file.
    File,
    /// Its pixels, the shorter side no longer than this.
    Pixels(Option<usize>),
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    archives: Vec<String>,
    images: usize,
    bytes: u64,
    classes: usize,
    left_out: Vec<String>,
}

impl Task {
    pub(super) fn resolve(args: PackArgs) -> Result<Self> {
        if args.out.extension().is_none_or(|extension| extension != "tar") {
            let message =
                format!("--out {}: expected a name that ends in .tar", args.out.display());
            return Err(Stop::Usage(message).into());
        }
        let pixels = args.decode || args.side.is_some();
        Ok(Self {
            data: args.source.data,
            limits: args.source.images.limits(),
            out: args.out,
            form: if pixels { Form::Pixels(args.side) } else { Form::File },
            shard: (args.shard_size as u64) << 20,
            skip_bad: args.skip_bad,
            threads: super::threads(args.threads),
        })
    }

    pub(super) fn run(self, output: Output) -> Result<()> {
        let first = shard_path(&self.out, 0);
        if let Some(path) =
            [&self.out, &first].into_iter().find(|path| path.exists() && !output.force)
        {
            return Err(taken(path, ""));
        }
        let splits = open(&self.data, self.limits)?;
        let parts = parts(&splits);
        let images = parts.iter().map(|(_, part)| part.len()).sum();
        // What is written by then is of no use, and goes away.
        let interrupt = Interrupt::default();
        interrupt.listen()?;
        let progress = Progress::new(output, "packing", images);
        let mut archives = Archives::begin(&self.out, self.shard)?;
        let is_folder = parts.iter().all(|(_, part)| is_of_folder(part.as_ref()));
        if !is_folder {
            let names: String =
                splits.train.classes().iter().map(|class| format!("{class}\n")).collect();
            archives.add(CLASSES, names.as_bytes())?;
        }
        let mut left_out = Vec::new();
        let mut done = 0;
        for (name, part) in &parts {
            let prefix = if parts.len() > 1 { format!("{name}/") } else { String::new() };
            let indices: Vec<usize> = (0..part.len()).collect();
            for chunk in indices.chunks(CHUNK * self.threads) {
                for (&index, member) in chunk.iter().zip(self.members(part, chunk)) {
                    match member {
                        Ok((extension, bytes)) => {
                            let name = member_name(part.as_ref(), index, is_folder);
                            archives.add_image(&format!("{prefix}{name}{extension}"), &bytes)?;
                        }
                        Err(error) if self.skip_bad && !error.is_io() => {
                            progress.warn(&format!("left out: {error}"));
                            left_out.push(error.to_string());
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                done += chunk.len();
                if let Some(signal) = interrupt.signal() {
                    let message =
                        format!("stopped after {done} of {images} images; nothing is written");
                    return Err(Stop::Interrupted { signal, message }.into());
                }
                progress.set(done, String::new);
            }
        }
        drop(progress);
        let (paths, bytes) = archives.finish()?;
        paths.iter().for_each(|path| output.note(&format!("written: {}", path.display())));
        let document = Document {
            archives: paths.iter().map(|path| path.display().to_string()).collect(),
            images: images - left_out.len(),
            bytes,
            classes: splits.train.classes().len(),
            left_out,
        };
        match output.json {
            true => output.document(&document),
            false => output.text(&format!(
                "{} of {}, {} MiB; read them with --data {}\n",
                counted(document.images, "image"),
                counted(document.classes, "class"),
                document.bytes.div_ceil(1 << 20),
                self.out.display()
            )),
        }
    }

    /// What is written of each of these images: what is added to its name, and its bytes.
    fn members(
        &self,
        part: &Arc<dyn Dataset>,
        indices: &[usize],
    ) -> Vec<Result<(&'static str, Vec<u8>), DataError>> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&index) = indices.get(at) else { return mine };
                mine.push((at, self.member(part.as_ref(), index)));
            }
        };
        let mut members: Vec<_> = together(self.threads, work).into_iter().flatten().collect();
        members.sort_unstable_by_key(|(at, _)| *at);
        members.into_iter().map(|(_, member)| member).collect()
    }

    /// Every image is decoded, so that no bad one is packed.
    fn member(
        &self,
        part: &dyn Dataset,
        index: usize,
    ) -> Result<(&'static str, Vec<u8>), DataError> {
        let (file, side) = match self.form {
            Form::File => (part.encoded(index)?, None),
            Form::Pixels(side) => (None, side),
        };
        let Some(bytes) = file else {
            return Ok(portable(scaled(part.sample(index)?.image, side)));
        };
        let wrong = |source| DataError::Image { path: part.sample_name(index).into(), source };
        decode(&bytes, &self.limits).map_err(wrong)?;
        Ok(("", bytes))
    }
}

/// The image, its shorter side no longer than this, by the filter and the rounding of torchvision's `Resize`.
fn scaled(image: Image, side: Option<usize>) -> Image {
    let Some(side) = side.filter(|&side| side < image.height.min(image.width)) else {
        return image;
    };
    let longer = |long: usize, short: usize| (side as f64 * long as f64 / short as f64) as usize;
    match image.width <= image.height {
        true => resize(&image, longer(image.height, image.width), side, Filter::Bilinear),
        false => resize(&image, side, longer(image.width, image.height), Filter::Bilinear),
    }
}

/// A PNM file, and the end of its name.
fn portable(image: Image) -> (&'static str, Vec<u8>) {
    let (extension, magic) = if image.channels == 1 { (".pgm", "P5") } else { (".ppm", "P6") };
    let mut bytes = format!("{magic}\n{} {}\n255\n", image.width, image.height).into_bytes();
    bytes.extend(image.pixels);
    (extension, bytes)
}

/// Whether its samples are called by the folders of their classes, which are sorted.
fn is_of_folder(part: &dyn Dataset) -> bool {
    let named = |index: usize| {
        let class = &part.classes()[part.label(index) as usize];
        part.sample_name(index)
            .strip_prefix(class.as_str())
            .is_some_and(|rest| rest.starts_with('/'))
    };
    part.classes().is_sorted() && (0..part.len()).all(named)
}

/// What a sample is called in an archive, but for the end that its pixels get.
fn member_name(part: &dyn Dataset, index: usize, is_folder: bool) -> String {
    let name = part.sample_name(index);
    if is_folder {
        return name;
    }
    let class = folder_of(&part.classes()[part.label(index) as usize]);
    let extension = Path::new(&name).extension().map(|extension| extension.to_string_lossy());
    // Filled up, so that the order of names is that of numbers.
    format!("{class}/{index:08}{}", extension.map_or(String::new(), |e| format!(".{e}")))
}

/// Archives that are being written. They get their names together, so that those of an earlier packing are there until then.
struct Archives {
    out: PathBuf,
    /// Most bytes of one.
    most: u64,
    open: WholeFile,
    /// Images in the open one.
    images: usize,
    /// The complete ones.
    done: Vec<WholeFile>,
}

impl Archives {
    fn begin(out: &Path, most: u64) -> Result<Self> {
        let (open, out) = (WholeFile::create(out)?, out.to_owned());
        Ok(Self { out, most, open, images: 0, done: Vec::new() })
    }

    fn add_image(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if self.images > 0 && self.open.bytes() + bytes.len() as u64 > self.most {
            self.end(false)?;
            let number = self.done.len() + 1;
            if number == ARCHIVES {
                let message = format!(
                    "--shard-size {}: more than {ARCHIVES} archives; take a larger size",
                    self.most >> 20
                );
                return Err(Stop::BadInput(message).into());
            }
            let next = WholeFile::create(&shard_path(&self.out, number))?;
            self.done.push(std::mem::replace(&mut self.open, next));
            self.images = 0;
        }
        self.images += 1;
        self.add(name, bytes)
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let len = bytes.len() as u64;
        let header = header(name, len, crc32(bytes))
            .ok_or_else(|| Stop::BadInput(format!("{name:?}: a longer name than archives take")))?;
        for bytes in [&header[..], bytes, &vec![0; padding(len)]] {
            self.open.write(bytes)?;
        }
        Ok(())
    }

    /// Writes the end of the open archive.
    fn end(&mut self, last: bool) -> Result<()> {
        let text = shard_text(self.done.len(), self.images, last);
        self.add(SHARD, text.as_bytes())?;
        Ok(self.open.write(&END)?)
    }

    /// Ends the last archive and gives all their names. Removes those of an earlier packing that would pass for more of it.
    fn finish(mut self) -> Result<(Vec<PathBuf>, u64)> {
        self.end(true)?;
        let Self { out, open, done: mut files, .. } = self;
        files.push(open);
        let bytes = files.iter().map(WholeFile::bytes).sum();
        let names: Vec<PathBuf> = match files.len() {
            1 => vec![out.clone()],
            several => (0..several).map(|number| shard_path(&out, number)).collect(),
        };
        for (at, (file, path)) in files.into_iter().zip(&names).enumerate() {
            if let Err(error) = file.finish(path) {
                // Archives that lack others are of no use. Where one stays, reading it tells that others are missing.
                names[..at].iter().for_each(|path| drop(remove_file(path)));
                return Err(error.into());
            }
        }
        let shards = (0..).map(|shard| shard_path(&out, shard)).take_while(|path| path.exists());
        let stale = shards.chain([out.clone()]).filter(|path| !names.contains(path));
        for path in stale.filter(|path| path.exists()).collect::<Vec<_>>() {
            remove_file(&path)?;
        }
        Ok((names, bytes))
    }
}
