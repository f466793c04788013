//! What a request's query says: texts and numbers by key, decoded as forms encode them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::failure::Failure;

/// Digits of numbers that nobody means.
const LONG: usize = 19;

/// Characters of a key that is told.
const LONG_KEY: usize = 40;

/// The pairs of a query, in their order.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Fails where a text is no UTF-8.
    pub(crate) fn read(text: Option<&str>) -> Result<Self, Failure> {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(key)?, decode(value)?))
        });
        Ok(Self(pairs.collect::<Result<_, Failure>>()?))
    }

    /// Fails where a key is none of these, or is there twice: what a client means is not guessed.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        for (at, (key, _)) in self.0.iter().enumerate() {
            if !known.contains(&key.as_str()) {
                let key: String = key.chars().take(LONG_KEY).collect();
                let known = known.join(", ");
                let message = format!("{key}: there is no such setting; there are {known}");
                return Err(Failure::bad(message));
            }
            if self.0[..at].iter().any(|(earlier, _)| earlier == key) {
                return Err(Failure::bad(format!("{key} is there more than once")));
            }
        }
        Ok(())
    }

    /// The first text of this key, unless it is empty, as a form leaves it.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The number of this key, which must be in a range.
    pub(crate) fn number<T>(
        &self,
        key: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Failure>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.text(key) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let wrong = || {
            let (first, last) = (range.start(), range.end().to_string());
            // The last one that can be written is no limit.
            let last = if last.len() < LONG { format!(" to {last}") } else { " on".to_owned() };
            Failure::bad(format!("{key} must be a number from {first}{last}"))
        };
        number.map(Some).ok_or_else(wrong)
    }
}

/// A text as `application/x-www-form-urlencoded` has it.
fn decode(text: &str) -> Result<String, Failure> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((16 * high + low) as u8);
                at += 2;
            }
            (b'+', ..) => decoded.push(b' '),
            (byte, ..) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8(decoded).map_err(|_| Failure::bad("the query is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let query = Query::read(Some("class=tiger+cat%21&k=7&empty=&odd=%4&%6b=8&flag")).unwrap();
        assert_eq!(query.text("class"), Some("tiger cat!"));
        assert_eq!(query.number("k", 1..=10).unwrap(), Some(7));
        for absent in ["empty", "flag", "none"] {
            assert_eq!(query.text(absent), None);
        }
        assert_eq!(query.text("odd"), Some("%4"));
        assert!(query.number("k", 1..=6).unwrap_err().message.contains("from 1 to 6"));
        let wrong = query.number("class", 1..=usize::MAX).unwrap_err();
        assert_eq!(wrong.message, "class must be a number from 1 on");
        let wrong = query.number("class", 0.0..=1.0).unwrap_err();
        assert_eq!(wrong.message, "class must be a number from 0 to 1");
        let wrong = Query::read(Some("a=%ff")).err().unwrap();
        assert_eq!(wrong.message, "the query is no text");
        assert_eq!(Query::read(None).unwrap().text("a"), None);
    }
}
