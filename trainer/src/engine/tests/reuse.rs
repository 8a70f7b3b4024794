//! What a step leaves behind does not matter to the next.

use super::*;

fn network() -> Sequential {
    Sequential::builder([2, 7, 6])
        .add(Conv2d::new(5, 3).padding(Padding::Same))
        .add(Relu)
        .add(MaxPool2d::new(3, 2))
        .add(BatchNorm::new())
        .add(Conv2d::new(7, 2))
        .add(Flatten)
        .add(Linear::new(20))
        .add(Dropout::new(0.3))
        .add(Linear::new(9))
        .add(Relu)
        .add(Linear::new(3))
        .build(1, &Device::Cpu)
        .unwrap()
}

/// A step on so many rows, which may all be NaN.
fn step(engine: &mut Engine, network: &Sequential, rows: usize, broken: bool) -> Step {
    let mut batch = Rows::new(network, rows, false, &mut Random::new([rows as u64]));
    if broken {
        batch.images.fill(f32::NAN);
    }
    let (values, mut statistics) = Engine::read(network).unwrap();
    let mut gradients = vec![f32::NAN; values.len()];
    let images = Batch {
        images: &batch.images,
        labels: &batch.labels,
    };
    let totals = engine
        .gradients(
            &values,
            &mut statistics,
            images,
            SHARE,
            &batch.pass,
            &mut gradients,
        )
        .unwrap();
    Step {
        totals,
        gradients,
        statistics,
    }
}

#[test]
fn batches_of_any_sizes_and_broken_ones_leave_nothing_behind() {
    let network = network();
    let mut used = Engine::new(&network).unwrap();
    for (rows, broken) in [
        (20, false),
        (3, false),
        (33, true),
        (1, false),
        (33, false),
        (7, true),
        (7, false),
    ] {
        let found = step(&mut used, &network, rows, broken);
        if broken {
            assert!(found.totals.loss.is_nan());
            continue;
        }
        let mut fresh = Engine::new(&network).unwrap();
        assert_eq!(
            found,
            step(&mut fresh, &network, rows, false),
            "{rows} rows"
        );
        assert!(found.gradients.iter().all(|g| g.is_finite()), "{rows} rows");
    }
}

#[test]
fn what_is_read_can_be_written_back() {
    let network = network();
    let (mut values, mut statistics) = Engine::read(&network).unwrap();
    values.iter_mut().for_each(|value| *value += 1.0);
    statistics.iter_mut().for_each(|value| *value *= 2.0);
    Engine::write(&network, &values, &statistics).unwrap();
    assert_eq!(
        Engine::read(&network).unwrap(),
        (values.clone(), statistics.clone())
    );
    let error = Engine::write(&network, &values[1..], &statistics).unwrap_err();
    assert!(
        error.to_string().contains("number of parameters"),
        "{error}"
    );
}

#[test]
fn strides_longer_than_the_picture_and_large_pools_that_overlap_work() {
    let flat = |builder: crate::nn::SequentialBuilder| {
        let builder = builder.add(Flatten).add(Linear::new(3));
        builder.build(1, &Device::Cpu).unwrap()
    };
    let huge = usize::MAX / 2;
    let strides = Sequential::builder([1, 4, 5])
        .add(Conv2d::new(2, 2).stride(huge).padding(Padding::Same))
        .add(MaxPool2d::new(1, huge));
    let overlapping = Sequential::builder([1, 64, 64])
        .add(Conv2d::new(2, 1))
        .add(Conv2d::new(100, 1))
        .add(MaxPool2d::new(8, 1));
    for network in [flat(strides), flat(overlapping)] {
        let rows = Rows::new(&network, 2, false, &mut Random::new([1]));
        let one = engine_step(&network, &rows, Isa::detect(), 1);
        let expected = tape_step(&network, &rows);
        let (error, place) = worst(&network, &one.gradients, &expected.gradients, 0.1);
        assert!(error < 1e-4, "{error:e}: {place}");
    }
}

#[test]
fn what_is_no_row_of_logits_has_no_engine() {
    let builder = Sequential::builder([1, 4, 4]).add(Conv2d::new(3, 4));
    assert!(Engine::new(&builder.build(1, &Device::Cpu).unwrap()).is_none());
}
