//! The Python version of CIFAR-10 and CIFAR-100: pickled dictionaries, in which torchvision, too, keeps the sets.
//!
//! A pickle is a program for a stack machine. This machine knows the instructions that lists, dictionaries, texts, numbers
//! and NumPy's arrays are written with, and calls nothing: what a file would have called becomes the arguments of the call.

use std::collections::BTreeMap;

/// Most values that a file may make; CIFAR-100 has 150,000.
const MOST_VALUES: usize = 1 << 20;

/// A dictionary of texts and what is needed of its values.
#[derive(Debug, Default)]
pub(super) struct Pickled<'a> {
    /// Lists of numbers.
    pub(super) numbers: BTreeMap<String, Vec<i64>>,
    /// Lists of texts.
    pub(super) texts: BTreeMap<String, Vec<String>>,
    /// Two-dimensional arrays of bytes: rows, columns and the bytes, row by row.
    pub(super) arrays: BTreeMap<String, (usize, usize, &'a [u8])>,
}

/// Reads a file, or says what is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Pickled<'_>, String> {
    let mut machine = Machine { bytes, at: 0, ..Machine::default() };
    let root = machine.run()?;
    Ok(machine.pickled(root))
}

#[derive(Clone, Debug)]
enum Value<'a> {
    Mark,
    Plain,
    True,
    Int(i64),
    Text(&'a [u8]),
    /// A list, a tuple, a dictionary (keys and values in turn) or a called object (its state): a place in the machine.
    Many(usize),
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value<'a>>,
    memo: BTreeMap<usize, Value<'a>>,
    many: Vec<Vec<Value<'a>>>,
    /// Values made so far.
    values: usize,
}

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (bytes, start) = (self.bytes, self.at);
        let part = start.checked_add(count).and_then(|end| bytes.get(start..end));
        self.at = self.at.saturating_add(count);
        part.ok_or_else(|| "it ends in the middle".to_owned())
    }

    /// A little-endian number of `count` bytes, at most eight.
    fn number(&mut self, count: usize) -> Result<usize, String> {
        let bytes = self.take(count)?.iter().rev();
        Ok(bytes.fold(0u64, |number, &byte| (number << 8) | u64::from(byte)) as usize)
    }

    fn text(&mut self, length_bytes: usize) -> Result<(), String> {
        let length = self.number(length_bytes)?;
        let text = self.take(length)?;
        self.push(Value::Text(text))
    }

    fn line(&mut self) -> Result<(), String> {
        while self.take(1)? != b"\n" {}
        Ok(())
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), String> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(format!("it makes more than {MOST_VALUES} values"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>, String> {
        self.stack.pop().ok_or_else(|| "it takes a value that is not there".to_owned())
    }

    /// Puts a new container of these values on the stack.
    fn hold(&mut self, values: Vec<Value<'a>>) -> Result<(), String> {
        self.many.push(values);
        self.push(Value::Many(self.many.len() - 1))
    }

    /// The values above the last mark.
    fn marked(&mut self) -> Result<Vec<Value<'a>>, String> {
        let mark = self.stack.iter().rposition(|value| matches!(value, Value::Mark));
        let mark = mark.ok_or_else(|| "it lacks a mark".to_owned())?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    /// Adds values to the container on top of the stack.
    fn extend(&mut self, values: Vec<Value<'a>>) -> Result<(), String> {
        match self.stack.last() {
            Some(&Value::Many(place)) => {
                self.many[place].extend(values);
                Ok(())
            }
            Some(_) | None => Err("it adds to what is no container".to_owned()),
        }
    }

    fn last(&mut self, count: usize) -> Result<Vec<Value<'a>>, String> {
        let start = self.stack.len().checked_sub(count);
        let start = start.ok_or_else(|| "it takes values that are not there".to_owned())?;
        Ok(self.stack.split_off(start))
    }

    fn run(&mut self) -> Result<Value<'a>, String> {
        loop {
            match self.take(1)?[0] {
                0x80 => self.take(1).map(|_| ())?,
                0x95 => self.take(8).map(|_| ())?,
                b'.' => return self.pop(),
                b'(' => self.push(Value::Mark)?,
                b'N' | 0x89 => self.push(Value::Plain)?,
                0x88 => self.push(Value::True)?,
                b'K' => self.int(1)?,
                b'M' => self.int(2)?,
                b'J' => self.int(4)?,
                b'U' | b'C' | 0x8c => self.text(1)?,
                b'T' | b'X' | b'B' => self.text(4)?,
                0x8d | 0x8e => self.text(8)?,
                b'}' | b']' | b')' => self.hold(Vec::new())?,
                b't' => {
                    let values = self.marked()?;
                    self.hold(values)?;
                }
                count @ 0x85..=0x87 => {
                    let values = self.last(usize::from(count - 0x84))?;
                    self.hold(values)?;
                }
                b'e' | b'u' => {
                    let values = self.marked()?;
                    self.extend(values)?;
                }
                b'a' => {
                    let values = self.last(1)?;
                    self.extend(values)?;
                }
                b's' => {
                    let values = self.last(2)?;
                    self.extend(values)?;
                }
                b'c' => {
                    self.line()?;
                    self.line()?;
                    self.push(Value::Plain)?;
                }
                0x93 => {
                    self.last(2)?;
                    self.push(Value::Plain)?;
                }
                // A call: what is called is forgotten, and its state will be put into this container.
                b'R' => {
                    self.last(2)?;
                    self.hold(Vec::new())?;
                }
                b'b' => {
                    let state = self.last(1)?;
                    self.extend(state)?;
                }
                b'q' => self.remember(1)?,
                b'r' => self.remember(4)?,
                0x94 => {
                    let top = self.stack.last().cloned();
                    let place = self.memo.len();
                    self.memo.extend(top.map(|value| (place, value)));
                }
                b'h' => self.recall(1)?,
                b'j' => self.recall(4)?,
                other => return Err(format!("it has the instruction {other:#04x}")),
            }
        }
    }

    fn int(&mut self, count: usize) -> Result<(), String> {
        let number = self.number(count)?;
        let signed = if count == 4 { i64::from(number as u32 as i32) } else { number as i64 };
        self.push(Value::Int(signed))
    }

    fn remember(&mut self, count: usize) -> Result<(), String> {
        let place = self.number(count)?;
        self.memo.extend(self.stack.last().cloned().map(|value| (place, value)));
        Ok(())
    }

    fn recall(&mut self, count: usize) -> Result<(), String> {
        let place = self.number(count)?;
        let value = self.memo.get(&place).cloned();
        self.push(value.ok_or_else(|| "it recalls what it never kept".to_owned())?)
    }

    fn values(&self, value: &Value<'a>) -> &[Value<'a>] {
        match value {
            Value::Many(place) => &self.many[*place],
            Value::Mark | Value::Plain | Value::True | Value::Int(_) | Value::Text(_) => &[],
        }
    }

    fn pickled(&self, root: Value<'a>) -> Pickled<'a> {
        let mut pickled = Pickled::default();
        for entry in self.values(&root).chunks_exact(2) {
            let Some(key) = as_text(&entry[0]) else { continue };
            let values = self.values(&entry[1]);
            if let Some(array) = self.array(values) {
                pickled.arrays.insert(key, array);
            } else if let Some(numbers) = values.iter().map(as_int).collect() {
                pickled.numbers.insert(key.clone(), numbers);
                if let Some(texts) = values.iter().map(as_text).collect() {
                    pickled.texts.insert(key, texts);
                }
            } else if let Some(texts) = values.iter().map(as_text).collect() {
                pickled.texts.insert(key, texts);
            }
        }
        pickled
    }

    /// What an array was called with, if it is one of bytes in two dimensions: `(version, shape, type, is by columns, bytes)`.
    fn array(&self, state: &[Value<'a>]) -> Option<(usize, usize, &'a [u8])> {
        let [state] = state else { return None };
        let [_, shape, _, Value::Plain, Value::Text(bytes)] = self.values(state) else {
            return None;
        };
        let &[Value::Int(rows), Value::Int(columns)] = self.values(shape) else { return None };
        let (rows, columns) = (usize::try_from(rows).ok()?, usize::try_from(columns).ok()?);
        (rows.checked_mul(columns) == Some(bytes.len())).then_some((rows, columns, *bytes))
    }
}

fn as_int(value: &Value<'_>) -> Option<i64> {
    if let Value::Int(value) = value { Some(*value) } else { None }
}

fn as_text(value: &Value<'_>) -> Option<String> {
    if let Value::Text(text) = value {
        Some(String::from_utf8_lossy(text).into_owned())
    } else {
        None
    }
}

/// For tests: a batch of `labels` as Python 2 wrote it; each image is filled with its number.
#[cfg(test)]
pub(super) fn batch(key: &str, labels: &[u8], columns: u16) -> Vec<u8> {
    let mut file = b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x05batchq\x03".to_vec();
    file.extend([b'U', key.len() as u8]);
    file.extend(key.bytes().chain(*b"q\x04]q\x05("));
    labels.iter().for_each(|&label| file.extend([b'K', label]));
    file.extend(
        b"eU\x04dataq\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08",
    );
    file.extend(b"K\x00\x85U\x01b\x87Rq\x09(K\x01M");
    file.extend((labels.len() as u16).to_le_bytes());
    file.push(b'M');
    file.extend(columns.to_le_bytes());
    file.extend(b"\x86cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b");
    file.extend(b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T");
    file.extend((labels.len() as u32 * u32::from(columns)).to_le_bytes());
    file.extend((0..labels.len()).flat_map(|i| vec![i as u8; usize::from(columns)]));
    file.extend(b"tbU\x09filenamesq\x0c]q\x0d(U\x05a.pngq\x0ee");
    file.extend(b"u.");
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_pixels_are_read() {
        let file = batch("labels", &[6, 9, 9], 4);
        let pickled = read(&file).unwrap();
        assert_eq!(pickled.numbers["labels"], [6, 9, 9]);
        assert_eq!(pickled.arrays["data"], (3, 4, &[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2][..]));
        assert_eq!(pickled.texts["filenames"], ["a.png"]);
    }

    #[test]
    fn every_cut_is_an_error() {
        let file = batch("labels", &[1, 2], 3);
        for cut in 0..file.len() {
            let error = read(&file[..cut]).unwrap_err();
            assert!(error.contains("ends in the middle"), "cut at {cut}: {error}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for (file, expected) in [
            (&b"\x80\x02."[..], "not there"),
            (b"e.", "mark"),
            (b"(K\x01e.", "no container"),
            (b"K\x01(K\x01e.", "no container"),
            (b"h\x05.", "never kept"),
            (b"\xff", "0xff"),
            (b"B\xff\xff\xff\xff", "ends in the middle"),
            (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "ends in the middle"),
        ] {
            let error = read(file).unwrap_err();
            assert!(error.contains(expected), "{file:?}: {error}");
        }
        let many = [&b"("[..], &b"N".repeat(MOST_VALUES)].concat();
        assert!(read(&many).unwrap_err().contains("more than"));
    }
}
