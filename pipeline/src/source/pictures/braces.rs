//! Paths of many shards in one: `train-{000..012}.tar`.

use std::path::{Path, PathBuf};

use crate::error::{Result, invalid};

/// No set has more shards; a typing error may.
const MOST: usize = 1_000_000;

/// The paths that `path` stands for: one for each number of each range in braces, the last range running fastest.
/// Numbers have leading zeros if the first has. Other braces are parts of names.
pub(super) fn expand(path: &Path) -> Result<Vec<PathBuf>> {
    let Some(pattern) = path.to_str() else {
        return Ok(vec![path.to_owned()]);
    };
    let mut expanded = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, range, behind)) = first_range(rest) {
        let (first, last) = (range.0.parse::<usize>(), range.1.parse::<usize>());
        let count = match (first, last) {
            (Ok(first), Ok(last)) if first <= last => (last - first)
                .checked_add(1)
                .and_then(|numbers| numbers.checked_mul(expanded.len()))
                .filter(|&count| count <= MOST),
            _ => None,
        };
        let (Ok(first), Ok(last), Some(_)) = (range.0.parse(), range.1.parse(), count) else {
            return Err(invalid(
                "path",
                format!("{pattern:?}"),
                format!("ranges like {{000..012}}, upwards, of at most {MOST} shards in all"),
            ));
        };
        let width = if range.0.starts_with('0') {
            range.0.len()
        } else {
            0
        };
        expanded = expanded
            .iter()
            .flat_map(|start| {
                (first..=last).map(move |number: usize| format!("{start}{before}{number:0width$}"))
            })
            .collect();
        rest = behind;
    }
    let paths = expanded.into_iter();
    Ok(paths.map(|path| PathBuf::from(path + rest)).collect())
}

/// What stands before the first range, the range, and what stands behind it.
fn first_range(text: &str) -> Option<(&str, (&str, &str), &str)> {
    text.match_indices('{').find_map(|(open, _)| {
        let (range, behind) = text[open + 1..].split_once('}')?;
        let (first, last) = range.split_once("..")?;
        let number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        (number(first) && number(last)).then_some((&text[..open], (first, last), behind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(pattern: &str) -> Vec<String> {
        let paths = expand(pattern.as_ref()).unwrap();
        paths
            .iter()
            .map(|path| path.to_str().unwrap().into())
            .collect()
    }

    #[test]
    fn ranges_become_numbers_with_the_zeros_of_the_first() {
        assert_eq!(
            expanded("t-{008..010}.tar"),
            ["t-008.tar", "t-009.tar", "t-010.tar"]
        );
        assert_eq!(
            expanded("t-{8..10}.tar"),
            ["t-8.tar", "t-9.tar", "t-10.tar"]
        );
        assert_eq!(expanded("{0..1}/{3..4}"), ["0/3", "0/4", "1/3", "1/4"]);
        assert_eq!(expanded("{7..7}{00..01}"), ["700", "701"]);
    }

    #[test]
    fn other_braces_are_parts_of_names() {
        for name in [
            "plain.tar",
            "{a}.tar",
            "{1}.tar",
            "{..}",
            "{1..b}",
            "}{",
            "{{",
            "{1..",
            "{-1..2}",
        ] {
            assert_eq!(expanded(name), [name]);
        }
        assert_eq!(expanded("{x}{1..2}"), ["{x}1", "{x}2"]);
    }

    #[test]
    fn ranges_that_make_no_sense_are_refused() {
        for pattern in [
            "{2..1}",
            "{0..99999999999999999999999}",
            "{0..1000000}",
            "{0..18446744073709551615}",
            "{1..1000}{1..1001}",
        ] {
            let error = expand(pattern.as_ref()).unwrap_err().to_string();
            assert!(
                error.contains(pattern) && error.contains("upwards"),
                "{error}"
            );
        }
    }
}
