//! What an engine says while it is on its way back.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 1 << 20, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn what_is_said_to_be_final_does_not_change_any_more(
        (channels, height, width) in (1usize..20, 1usize..12, 1usize..12),
        blocks in prop::collection::vec(block(), 0..3),
        (rows, hidden, seed) in (1usize..20, 1usize..40, any::<u64>()),
        residual in any::<bool>(),
    ) {
        let mut ops = ops(&blocks, hidden);
        if residual {
            // Around a layer as wide as what comes before it.
            let last = ops.len() - 2;
            ops.splice(last..last, [Op::Residual(2), Op::Linear(hidden), Op::Norm]);
        }
        let network = network([channels, height, width], &ops, seed);
        prop_assume!(network.is_some());
        let network = network.unwrap();
        let rows = Rows::new(&network, rows, false, &mut Random::new([seed]));
        let expected = engine_step(&network, &rows, Isa::detect(), 1);

        let mut engine = Engine::new(&network).unwrap();
        let (values, mut statistics) = Engine::read(&network).unwrap();
        let mut sums = vec![f32::NAN; values.len() + Engine::TOTALS];
        let mut told: Vec<(usize, Vec<f32>)> = Vec::new();
        let mut ready = |from: usize, sums: &[f32]| told.push((from, sums[from..].to_vec()));
        let batch = Batch { images: &rows.images, labels: &rows.labels };
        let pass = &rows.pass;
        let totals = engine
            .gradients_with(&values, &mut statistics, batch, SHARE, pass, &mut sums, &mut ready)
            .unwrap();

        prop_assert_eq!(&sums[..values.len()], &expected.gradients);
        prop_assert_eq!(totals, expected.totals);
        prop_assert_eq!(statistics, expected.statistics);
        let behind = [totals.loss as f32, totals.correct as f32];
        prop_assert_eq!(&sums[values.len()..], behind);
        for (from, tail) in &told {
            prop_assert_eq!(tail, &sums[*from..]);
        }
        prop_assert!(told.is_sorted_by(|before, after| before.0 > after.0));
        prop_assert_eq!(told.last().unwrap().0, 0);
        // One layer that is trained says so once.
        let trained = network.layers().filter(|(_, parameters)| !parameters.is_empty());
        prop_assert_eq!(told.len(), trained.count());
    }
}

#[test]
fn buffers_of_another_length_are_refused() {
    let network = models::softmax(1, &Device::Cpu).unwrap();
    let rows = Rows::new(&network, 2, false, &mut Random::new([1]));
    let (values, mut statistics) = Engine::read(&network).unwrap();
    let mut engine = Engine::new(&network).unwrap();
    let batch = Batch {
        images: &rows.images,
        labels: &rows.labels,
    };
    let (pass, mut sums) = (&rows.pass, vec![0.0; values.len()]);
    let result = engine.gradients_with(
        &values,
        &mut statistics,
        batch,
        SHARE,
        pass,
        &mut sums,
        &mut |_, _| {},
    );
    let error = result.unwrap_err().to_string();
    assert!(
        error.starts_with("number of gradients and totals is 7850, expected 7852"),
        "{error}"
    );
}
