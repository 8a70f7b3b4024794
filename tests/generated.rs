//! The generated set keeps its promise: a linear model can't learn it, a small convolutional network can.

use candle_core::Device;
use feedline_pipeline::Transform;
use feedline_pipeline::dataset::Generated;
use feedline_trainer::nn::{Conv2d, Flatten, Linear, MaxPool2d, Relu, Sequential};
use feedline_trainer::{Input, Replicas, Result, Trainer};

/// The accuracy on 1,000 test pictures after training on 3,000, in percent.
fn test_accuracy(
    epochs: u64,
    model: impl Fn(&Device) -> Result<Sequential> + Send + Sync + 'static,
) -> f64 {
    let data = Generated::open(3_000, 1_000).unwrap();
    let transform = Transform::new().scale().normalize([0.5; 3], [0.25; 3]);
    let fitted = Trainer::new(model)
        .epochs(epochs)
        .batch_size(64)
        .replicas(Replicas::cpu(2).unwrap())
        .seed(7)
        .progress(true)
        .fit(
            Input::new(data.train, transform.clone()),
            Some(Input::new(data.test, transform)),
        )
        .unwrap();
    100.0 * fitted.history.last_test().unwrap().accuracy
}

#[test]
fn a_linear_model_stays_below_60_percent_on_the_generated_pictures() {
    let accuracy = test_accuracy(10, |device| {
        let network = Sequential::builder([3, 32, 32]).add(Flatten);
        network.add(Linear::new(10)).build(1, device)
    });
    assert!((10.0..60.0).contains(&accuracy), "{accuracy:.1} %");
}

#[test]
fn a_small_convolutional_network_passes_90_percent_on_the_generated_pictures() {
    let accuracy = test_accuracy(6, |device| {
        Sequential::builder([3, 32, 32])
            .add(Conv2d::new(8, 5))
            .add(Relu)
            .add(MaxPool2d::new(3, 3))
            .add(Conv2d::new(24, 3))
            .add(Relu)
            .add(MaxPool2d::new(2, 2))
            .add(Flatten)
            .add(Linear::new(10))
            .build(1, device)
    });
    assert!(accuracy > 90.0, "{accuracy:.1} %");
}
