//! PyTorch and Keras compute from exported weights what this crate computes.
//!
//! Needs their interpreters: `FEEDLINE_TORCH_PYTHON` and `FEEDLINE_KERAS_PYTHON` name them. Without one its test says that
//! it is skipped.

use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use feedline_pipeline::Random;
use feedline_trainer::inference::{Layout, export};
use feedline_trainer::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Model, Padding, Pass, Relu, Sequential,
};

/// Something of everything, with statistics and biases that are not what they begin as. The scripts build the same.
fn network() -> Sequential {
    let network = Sequential::builder([3, 12, 10])
        .add(Conv2d::new(6, 3).padding(Padding::Same))
        .add(BatchNorm::new())
        .add(Relu)
        .add(MaxPool2d::new(2, 2))
        .add(Conv2d::new(5, 3))
        .add(Relu)
        .add(Flatten)
        .add(Linear::new(20))
        .add(BatchNorm::new())
        .add(Relu)
        .add(Dropout::new(0.3))
        .add(Linear::new(4));
    let network = network.build(5, &Device::Cpu).unwrap();
    for (place, own) in network.parameters().iter().enumerate() {
        if own.value.dims().len() == 1 {
            let mut random = Random::new([place as u64]);
            let number = |_| 0.5 + random.below(1000) as f32 / 1000.0;
            let values: Vec<_> = (0..own.value.elem_count()).map(number).collect();
            let values = Tensor::from_vec(values, own.value.dims(), &Device::Cpu);
            own.value.set(&values.unwrap()).unwrap();
        }
    }
    network
}

/// Writes weights, pictures and logits into a folder, and has the script compare.
fn compare(interpreter: &str, layout: Layout, file: &str, script: &str) {
    let Some(python) = std::env::var_os(interpreter) else {
        eprintln!("skipped: {interpreter} names no interpreter");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let network = network();
    export(&network, layout, folder.path().join(file)).unwrap();
    let images = Tensor::rand(0f32, 1.0, (7, 3, 12, 10), &Device::Cpu).unwrap();
    let logits = network.forward(&images, &Pass::evaluation()).unwrap();
    assert_eq!(logits.dtype(), DType::F32);
    Tensor::write_npz(
        &[("images", images), ("logits", logits)],
        folder.path().join("expected.npz"),
    )
    .unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/export")
        .join(script);
    let run = Command::new(python).arg(script).arg(folder.path()).output();
    let run = run.unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{out}{err}");
    eprintln!("{out}");
}

#[test]
fn pytorch_computes_the_same_logits() {
    compare(
        "FEEDLINE_TORCH_PYTHON",
        Layout::PyTorch,
        "weights.safetensors",
        "pytorch.py",
    );
}

#[test]
fn keras_computes_the_same_logits() {
    compare(
        "FEEDLINE_KERAS_PYTHON",
        Layout::Keras,
        "weights.npz",
        "keras.py",
    );
}

#[test]
fn linear_weights_are_turned_for_pytorch_and_filters_for_keras() {
    let folder = tempfile::tempdir().unwrap();
    let network = network();
    let path = folder.path().join("weights.safetensors");
    export(&network, Layout::PyTorch, &path).unwrap();
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    assert_eq!(tensors["0.weight"].dims(), [6, 3, 3, 3]);
    assert_eq!(tensors["11.weight"].dims(), [4, 20]);
    let path = folder.path().join("weights.npz");
    export(&network, Layout::Keras, &path).unwrap();
    let arrays = Tensor::read_npz(&path).unwrap();
    let (name, filters) = &arrays[0];
    assert_eq!(
        (name.as_str(), filters.dims()),
        ("000.conv2d.kernel", &[3, 3, 3, 6][..])
    );
}

#[test]
fn a_file_that_cannot_be_written_is_an_error_that_names_it() {
    let error = export(&network(), Layout::PyTorch, "/nowhere/weights").unwrap_err();
    assert!(error.to_string().contains("/nowhere/weights"), "{error}");
}
