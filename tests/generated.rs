//! The generated set keeps its promise: a linear model can't learn it, a small convolutional network can.

use candle_core::Device;
use feedline_pipeline::Transform;
use feedline_pipeline::dataset::Generated;
use feedline_trainer::nn::{Conv2d, Flatten, Linear, MaxPool2d, Relu, Sequential};
use feedline_trainer::optim::Adam;
use feedline_trainer::{Input, Replicas, Result, Trainer};

/// The accuracy on 1,000 test pictures after each epoch of training on 3,000, in percent.
fn test_accuracies(
    epochs: u64,
    model: impl Fn(&Device) -> Result<Sequential> + Send + Sync + 'static,
) -> Vec<f64> {
    let data = Generated::open(3_000, 1_000).unwrap();
    let transform = Transform::new().scale().normalize([0.5; 3], [0.25; 3]);
    let fitted = Trainer::new(model)
        .optimizer(Adam::new(0.004))
        .epochs(epochs)
        .batch_size(32)
        .replicas(Replicas::cpu(2).unwrap())
        .seed(7)
        .progress(false)
        .fit(
            Input::new(data.train, transform.clone()),
            Some(Input::new(data.test, transform)),
        )
        .unwrap();
    let tested = fitted.history.epochs.into_iter().filter_map(|own| own.test);
    tested.map(|test| 100.0 * test.accuracy).collect()
}

#[test]
fn a_linear_model_stays_below_60_percent_on_the_generated_pictures() {
    let accuracies = test_accuracies(10, |device| {
        let network = Sequential::builder([3, 32, 32]).add(Flatten);
        network.add(Linear::new(10)).build(1, device)
    });
    assert!(accuracies.iter().all(|&own| own < 60.0), "{accuracies:?}");
}

#[test]
fn a_small_convolutional_network_passes_90_percent_on_the_generated_pictures() {
    let accuracies = test_accuracies(3, |device| {
        Sequential::builder([3, 32, 32])
            .add(Conv2d::new(8, 3))
            .add(Relu)
            .add(MaxPool2d::new(2, 2))
            .add(Conv2d::new(16, 3))
            .add(Relu)
            .add(MaxPool2d::new(2, 2))
            .add(Flatten)
            .add(Linear::new(10))
            .build(1, device)
    });
    assert!(accuracies.last() > Some(&90.0), "{accuracies:?}");
}
