//! `f64` in JSON to the bit: as words, which hold infinities and "not a number", too.

use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // The shortest digits that give the same bits when they are read.
    serializer.collect_str(value)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let word = String::deserialize(deserializer)?;
    word.parse()
        .map_err(|_| de::Error::custom(format!("{word:?} is no number")))
}
