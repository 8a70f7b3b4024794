//! A network as a table.

use std::fmt;

/// A network's layers, their output shapes and numbers of parameters. Prints as a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) output: Vec<usize>,
    pub(super) trainable: usize,
    pub(super) fixed: usize,
}

impl Summary {
    pub(super) fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// Numbers that gradients change.
    pub fn trainable(&self) -> usize {
        self.rows.iter().map(|row| row.trainable).sum()
    }

    /// Numbers that are held but not trained: running statistics.
    pub fn not_trainable(&self) -> usize {
        self.rows.iter().map(|row| row.fixed).sum()
    }

    /// All numbers that the network holds.
    pub fn parameters(&self) -> usize {
        self.trainable() + self.not_trainable()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<16} {:<16} {:>12}", "layer", "output", "parameters")?;
        for row in &self.rows {
            let sides: Vec<String> = row.output.iter().map(usize::to_string).collect();
            let shape = sides.join(" × ");
            let count = grouped(row.trainable + row.fixed);
            writeln!(f, "{:<16} {shape:<16} {count:>12}", row.name)?;
        }
        write!(f, "{:<33} {:>12}", "total", grouped(self.parameters()))?;
        if self.not_trainable() > 0 {
            write!(f, " ({} not trained)", grouped(self.not_trainable()))?;
        }
        Ok(())
    }
}

/// 1068810 as "1,068,810".
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(5), "5");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_068_810), "1,068,810");
    }
}
