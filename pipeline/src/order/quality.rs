//! How good the shuffles are, on the worst data there is: 50,000 samples that are sorted by class.

use super::Order;

const SAMPLES: usize = 50_000;
const CLASSES: usize = 10;
const BATCH: usize = 128;
const EPOCHS: u64 = 5;

/// Means over the epochs.
#[derive(Debug, Default)]
struct Quality {
    /// How far samples move, in lengths of the source. Uniform: a third.
    displacement: f64,
    /// The chi-square statistic of the classes in a batch. Uniform: 9, as many as there are degrees of freedom.
    chi: f64,
    worst_chi: f64,
    /// Which part of all neighbours is of one class. Uniform: a tenth.
    pairs: f64,
    /// The longest run of one class. Uniform: about 5, the logarithm of 45,000 to base 10.
    run: f64,
    /// How many neighbours in the source still are neighbours, in that order. Uniform: 1.
    together: f64,
}

fn quality(order: &Order) -> Quality {
    let mut mean = Quality::default();
    let mut add = |field: fn(&mut Quality) -> &mut f64, value: f64| {
        *field(&mut mean) += value / EPOCHS as f64;
    };
    for epoch in 0..EPOCHS {
        let epoch = order.epoch(epoch);
        let order: Vec<usize> = (0..SAMPLES).map(|position| epoch.index(position)).collect();
        let classes: Vec<usize> = order
            .iter()
            .map(|index| index / (SAMPLES / CLASSES))
            .collect();
        let moved = order
            .iter()
            .enumerate()
            .map(|(position, &index)| position.abs_diff(index) as f64);
        add(
            |q| &mut q.displacement,
            moved.sum::<f64>() / SAMPLES.pow(2) as f64,
        );

        let batches: Vec<f64> = classes.chunks_exact(BATCH).map(chi_square).collect();
        add(
            |q| &mut q.chi,
            batches.iter().sum::<f64>() / batches.len() as f64,
        );
        add(
            |q| &mut q.worst_chi,
            batches.into_iter().fold(0.0, f64::max),
        );

        let same = classes.windows(2).filter(|pair| pair[0] == pair[1]).count();
        add(|q| &mut q.pairs, same as f64 / (SAMPLES - 1) as f64);
        let longest = classes.chunk_by(|a, b| a == b).map(<[_]>::len).max();
        add(|q| &mut q.run, longest.unwrap_or(0) as f64);
        let together = order
            .windows(2)
            .filter(|pair| pair[0] + 1 == pair[1])
            .count();
        add(|q| &mut q.together, together as f64);
    }
    mean
}

fn chi_square(classes: &[usize]) -> f64 {
    let mut counts = [0f64; CLASSES];
    classes.iter().for_each(|&class| counts[class] += 1.0);
    let expected = classes.len() as f64 / CLASSES as f64;
    counts
        .iter()
        .map(|count| (count - expected).powi(2) / expected)
        .sum()
}

fn block_shuffled(window: usize) -> Quality {
    quality(&Order::block_shuffled(SAMPLES, 341, window, 42).unwrap())
}

fn is_as_good_as_a_perfect_shuffle(quality: &Quality) {
    println!("{quality:?}");
    // Bounds are five standard errors of the mean, or more.
    assert!((quality.displacement - 1.0 / 3.0).abs() < 0.003);
    assert!((quality.chi - 9.0).abs() < 0.5);
    assert!(quality.worst_chi < 40.0);
    assert!((quality.pairs - 0.1).abs() < 0.003);
    assert!((4.0..8.0).contains(&quality.run));
    assert!(quality.together < 4.0);
}

#[test]
fn a_full_shuffle_is_as_good_as_a_perfect_one() {
    is_as_good_as_a_perfect_shuffle(&quality(&Order::shuffled(SAMPLES, 42)));
}

#[test]
fn a_block_shuffle_with_one_window_is_as_good_as_a_full_one() {
    is_as_good_as_a_perfect_shuffle(&block_shuffled(usize::MAX));
}

#[test]
fn block_shuffles_are_as_weak_as_their_documentation_says() {
    let rows = [
        (
            "all samples, shuffled",
            quality(&Order::shuffled(SAMPLES, 42)),
        ),
        ("64 blocks", block_shuffled(64)),
        ("16 blocks", block_shuffled(16)),
        ("4 blocks", block_shuffled(4)),
        ("not shuffled", quality(&Order::sequential(SAMPLES))),
    ];
    let mut missing = String::new();
    for (name, q) in &rows {
        let row = format!(
            "| {name} | {:.0} | {:.0} | {:.0} % | {:.0} | {:.1} % |",
            q.chi,
            q.worst_chi,
            q.pairs * 100.0,
            q.run,
            q.displacement * 100.0
        );
        println!("{row} {q:?}");
        if !include_str!("block.rs").contains(&row) {
            missing += &format!("    /// {row}\n");
        }
    }
    assert!(missing.is_empty(), "the documentation lacks\n{missing}");

    let (_, q) = &rows[2];
    // About 9 · (1 + 128 / 16), less as the blocks are drawn without replacement.
    assert!((50.0..90.0).contains(&q.chi), "{q:?}");
    // Blocks travel as far as samples do in a full shuffle, but there are few of them.
    assert!((q.displacement - 1.0 / 3.0).abs() < 0.03, "{q:?}");
    assert!(q.together < 30.0, "{q:?}");
}
