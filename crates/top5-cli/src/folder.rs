//! The folders that pictures go to: made where nothing would be lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use top5::data::files;
use top5::explain::page::Page;
use top5::{WholeFile, append, make_folder, remove_file, write_whole};

use crate::exit::Stop;
use crate::output::{Kind, Output};

/// Most characters of a name that becomes part of a file's.
const LENGTH: usize = 60;

/// In a folder of pictures, the names of the files that the program wrote there, a line each.
const LIST: &str = ".top5-files";

/// The page of a folder of pictures.
const PAGE: &str = "index.html";

/// A folder that a command fills. Once it is full, nothing that an earlier run wrote lies beside what this one did; what others
/// put there stays.
pub(crate) struct Folder {
    path: PathBuf,
    /// What earlier runs wrote.
    older: BTreeSet<String>,
    written: BTreeSet<String>,
}

impl Folder {
    /// Makes the folder, which must be empty, or hold `marker` from an earlier time if there is one.
    pub(crate) fn claim(path: &Path, marker: Option<&str>, output: Output) -> Result<Self> {
        Self::claim_or(path, marker, "choose another folder with --out", output)
    }

    /// Makes the folder that was named without an option, which must be empty.
    pub(crate) fn named(path: &Path, output: Output) -> Result<Self> {
        Self::claim_or(path, None, "choose another folder", output)
    }

    /// Makes `out`, which must be empty, or without it a new folder in `place` called `name`, numbered where that is taken.
    pub(crate) fn fresh(
        out: Option<&Path>,
        place: &str,
        name: &str,
        output: Output,
    ) -> Result<Self> {
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let path = match out {
            Some(path) => path.to_owned(),
            None => names
                .by_ref()
                .map(|name| Path::new(place).join(name))
                .find(|path| path.symlink_metadata().is_err())
                .expect("there is always another number"),
        };
        Self::claim(&path, None, output)
    }

    fn claim_or(path: &Path, marker: Option<&str>, advice: &str, output: Output) -> Result<Self> {
        let taken = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if taken && !output.force && !marker.is_some_and(|marker| path.join(marker).is_file()) {
            let without =
                marker.map(|marker| format!(" and holds no {marker}")).unwrap_or_default();
            let message =
                format!("{} is not empty{without}: {advice}, or give --force", path.display());
            return Err(Stop::Resource(message).into());
        }
        make_folder(path)?;
        // Found before the work that is to be written there, not after it.
        WholeFile::create(&path.join(PAGE))?;
        let older = files::read(&path.join(LIST), files::TEXT).unwrap_or_default();
        let older = String::from_utf8_lossy(&older).lines().map(str::to_owned).collect();
        Ok(Self { path: path.to_owned(), older, written: BTreeSet::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, whatever is there.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.own(name)?;
        Ok(write_whole(&self.path.join(name), bytes)?)
    }

    /// Writes a file and says so. Fails where something of another kind has its name.
    pub(crate) fn report(
        &mut self,
        name: &str,
        kind: Kind,
        bytes: &[u8],
        output: Output,
    ) -> Result<()> {
        output.check_file(&self.path.join(name), kind)?;
        self.own(name)?;
        output.file(&self.path.join(name), kind, bytes)
    }

    /// Begins the folder's page. Fails where something of another kind has its name.
    pub(crate) fn page(&self, title: &str, output: Output) -> Result<PageFile> {
        let path = self.path.join(PAGE);
        output.check_file(&path, Kind::ReportHtml)?;
        let mut page = PageFile { text: Page::new(title), file: WholeFile::create(&path)? };
        page.flush()?;
        Ok(page)
    }

    /// Writes the page's end and gives it its name.
    pub(crate) fn finish_page(&mut self, page: PageFile, output: Output) -> Result<()> {
        let PageFile { text, mut file } = page;
        file.write(text.finish().as_bytes())?;
        self.own(PAGE)?;
        let path = self.path.join(PAGE);
        file.finish(&path)?;
        output.note(&format!("written: {}", path.display()));
        Ok(())
    }

    /// Says that the file of this name is the program's, before it is written: a run that is ended leaves nothing that is not
    /// listed.
    pub(crate) fn own(&mut self, name: &str) -> Result<()> {
        if !self.written.insert(name.to_owned()) || self.older.contains(name) {
            return Ok(());
        }
        Ok(append(&self.path.join(LIST), format!("{name}\n").as_bytes())?)
    }

    /// Removes what earlier runs wrote and this one did not.
    pub(crate) fn finish(self) -> Result<()> {
        let root = self.path.canonicalize().ok();
        // The list may come from elsewhere: nothing outside the folder is touched, nor what is no file.
        let is_within = |path: &Path| {
            let real = path.canonicalize().ok().zip(root.as_ref());
            real.is_some_and(|(real, root)| real.starts_with(root))
        };
        for name in self.older.difference(&self.written) {
            let path = self.path.join(name);
            if path.symlink_metadata().is_ok_and(|there| there.is_file()) && is_within(&path) {
                remove_file(&path)?;
            }
        }
        let names: String = self.written.iter().map(|name| format!("{name}\n")).collect();
        Ok(write_whole(&self.path.join(LIST), names.as_bytes())?)
    }
}

/// A page that goes to its file while it is written, so that only what is new of it is in memory.
pub(crate) struct PageFile {
    pub(crate) text: Page,
    file: WholeFile,
}

impl PageFile {
    /// Brings what was written since the last time to the file.
    pub(crate) fn flush(&mut self) -> Result<()> {
        Ok(self.file.write(self.text.piece().as_bytes())?)
    }
}

/// A name, of a layer or an image, as part of a file's: what a file system might not take is replaced.
pub(crate) fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    name.chars().take(LENGTH).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_to_their_files_in_pieces_and_have_their_names_only_when_whole() {
        let place = tempfile::tempdir().unwrap();
        let output = Output { json: false, quiet: true, verbose: false, force: false, mute: true };
        let mut folder = Folder::claim(place.path(), None, output).unwrap();
        let there = || fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap());
        let lengths = || there().map(|entry| entry.metadata().unwrap().len()).collect::<Vec<_>>();
        let mut page = folder.page("t", output).unwrap();
        let before = lengths()[0];
        page.text.figure(&[0; 3000], "a", "b");
        page.flush().unwrap();
        assert!(lengths()[0] > before + 4000 && page.text.piece().is_empty());
        assert!(!place.path().join(PAGE).exists());
        drop(page);
        assert!(
            lengths().is_empty(),
            "a page that was not finished stays, or makes its folder taken"
        );
        let page = folder.page("t", output).unwrap();
        folder.finish_page(page, output).unwrap();
        folder.finish().unwrap();
        let text = fs::read_to_string(place.path().join(PAGE)).unwrap();
        assert!(text.starts_with("<!doctype html>") && text.ends_with("</html>\n"));
        assert_eq!(fs::read_to_string(place.path().join(LIST)).unwrap(), format!("{PAGE}\n"));
    }

    #[test]
    fn a_full_folder_holds_nothing_of_an_earlier_run_and_all_that_others_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let output = Output { json: false, quiet: true, verbose: false, force: true, mute: true };
        let claim = || Folder::claim(path, None, output).unwrap();
        let there = || -> Vec<String> {
            let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> =
                names.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        fs::write(path.join("mine"), "1").unwrap();
        // One that is ended before it is full, and one that is full.
        claim().write("ended", b"1").unwrap();
        let mut full = claim();
        full.write("old", b"1").unwrap();
        full.write("both", b"1").unwrap();
        full.finish().unwrap();
        assert_eq!(there(), [LIST, "both", "mine", "old"]);
        // A list that somebody wrote reaches nothing outside, and no folder.
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("kept"), "1").unwrap();
        fs::create_dir(path.join("inner")).unwrap();
        let outside = other.path().join("kept");
        let around = format!("../{}/kept", other.path().file_name().unwrap().to_string_lossy());
        let list = format!("old\nboth\ninner\n{around}\n{}\n", outside.display());
        fs::write(path.join(LIST), list).unwrap();
        let mut again = claim();
        again.write("both", b"2").unwrap();
        again.write("both", b"3").unwrap();
        again.report("report.json", Kind::ReportJson, b"{}", output).unwrap();
        again.finish().unwrap();
        assert_eq!(there(), [LIST, "both", "inner", "mine", "report.json"]);
        assert!(outside.exists());
        assert_eq!(fs::read_to_string(path.join(LIST)).unwrap(), "both\nreport.json\n");
        // Without --force it is refused as before.
        let strict = Output { force: false, ..output };
        let refused = Folder::claim(path, None, strict).err().map(|error| error.to_string());
        assert!(refused.is_some_and(|error| error.contains("is not empty")));
    }
}
