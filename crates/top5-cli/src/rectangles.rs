//! Files of rectangles in images, as parts and objects are marked: CSV with the header `image,NAME,top,left,height,width`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use top5::data::{Image, files};
use top5::explain::zfnet::field::Rectangle;

use crate::exit::Stop;
use crate::table;

/// A rectangle in an image, and what it is called.
#[derive(Debug, PartialEq)]
pub(crate) struct Marked {
    pub(crate) image: PathBuf,
    pub(crate) name: String,
    pub(crate) rectangle: Rectangle,
}

/// Reads a file whose second column is called `column`. Images are named from its folder.
pub(crate) fn read(path: &Path, column: &str) -> Result<Vec<Marked>> {
    let reading = || format!("reading {}", path.display());
    let text = files::read_text(path).with_context(reading)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let wrong = |why| Stop::BadInput(format!("{}: {why}", path.display())).into();
    parse(&text, column, folder).map_err(wrong)
}

/// The rectangles, in their order. Says what is wrong, and in which line.
pub(crate) fn parse(text: &str, column: &str, folder: &Path) -> Result<Vec<Marked>, String> {
    let header = format!("image,{column},top,left,height,width");
    let mut records = table::records(text);
    let joined =
        |cells: &[String]| cells.iter().map(|cell| cell.trim()).collect::<Vec<_>>().join(",");
    if records.next().map(|(_, cells)| joined(&cells)).as_deref() != Some(&*header) {
        return Err(format!("expected {header} in the first line"));
    }
    let marked = |(number, cells): (usize, Vec<String>)| {
        let wrong = || {
            let got = joined(&cells);
            format!("line {number}: expected {header} with whole numbers, got {got:?}")
        };
        let cells: Vec<&str> = cells.iter().map(|cell| cell.trim()).collect();
        let [image, name, ref numbers @ ..] = cells[..] else { return Err(wrong()) };
        let numbers: Result<Vec<usize>, _> = numbers.iter().map(|cell| cell.parse()).collect();
        let Ok(&[top, left, height, width]) = numbers.as_deref() else { return Err(wrong()) };
        let rectangle = Rectangle { top, left, height, width };
        Ok(Marked { image: folder.join(image), name: name.to_owned(), rectangle })
    };
    records.filter(|(_, cells)| !joined(cells).is_empty()).map(marked).collect()
}

/// Fails unless the rectangle has pixels and lies in the image; `what` is what it marks.
pub(crate) fn check(what: &str, marked: &Marked, image: &Image) -> Result<()> {
    let Rectangle { top, left, height, width } = marked.rectangle;
    let within = |from: usize, length: usize, side: usize| {
        length > 0 && from.checked_add(length).is_some_and(|end| end <= side)
    };
    if within(top, height, image.height) && within(left, width, image.width) {
        return Ok(());
    }
    let message = format!(
        "{}: the {what} at row {top}, column {left}, {height} high and {width} wide does not lie in the image of {}×{}",
        marked.image.display(),
        image.height,
        image.width
    );
    Err(Stop::BadInput(message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_rectangles_are_read_or_say_what_is_wrong() {
        let header = "image,part,top,left,height,width";
        let good = format!("{header}\na.png,eye,1,2,3,4\nb.png,eye,5,6,7,8\n\n");
        let parts = parse(&good, "part", Path::new("dogs")).unwrap();
        let rectangle = Rectangle { top: 1, left: 2, height: 3, width: 4 };
        let (image, name) = (PathBuf::from("dogs/a.png"), "eye".to_owned());
        assert_eq!(parts[0], Marked { image, name, rectangle });
        assert_eq!(parts.len(), 2);
        // ImageNet's names have commas, and a line of spaces is none.
        let quoted = format!("{header}\r\n\"a, b.png\",\"tench, \"\"Tinca\"\"\",1,2,3,4\r\n  \r\n");
        let parts = parse(&quoted, "part", Path::new("")).unwrap();
        assert_eq!((parts.len(), &*parts[0].name), (1, "tench, \"Tinca\""));
        assert_eq!(parts[0].image, Path::new("a, b.png"));
        for lines in ["a.png,eye,1,2,3", "a.png,eye,1,2,3,x", "a.png,eye,1,2,3,-4", "a.png"] {
            let error = parse(&format!("{header}\n{lines}\n"), "part", Path::new("")).unwrap_err();
            assert!(error.contains("line 2"), "{error}");
        }
        assert!(parse(&good, "class", Path::new("")).unwrap_err().contains("first line"));
    }
}
