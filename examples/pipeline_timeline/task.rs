//! What both pipelines are to do, and what came of it.

use feedline_pipeline::Transform;

/// Training, to be done behind either pipeline.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub(crate) epochs: u64,
    pub(crate) batch_size: usize,
    pub(crate) seed: u64,
    /// Pictures are cropped to so many pixels on each side.
    pub(crate) crop: usize,
}

impl Task {
    /// What is done to pictures to train on, and to those to test on: that of TensorFlow's CIFAR-10 tutorial.
    pub(crate) fn transforms(&self) -> [Transform; 2] {
        let train = Transform::new()
            .random_crop(self.crop, self.crop, 0)
            .random_flip()
            .scale()
            .random_brightness(63.0 / 255.0)
            .random_contrast(0.2, 1.8);
        let test = Transform::new().center_crop(self.crop, self.crop).scale();
        [train, test].map(Transform::standardize)
    }
}

/// What the epochs have shown. The same batches give the same to the bit.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    /// The sum of the training losses of each epoch.
    pub(crate) losses: Vec<f64>,
    /// How many test pictures were right after it.
    pub(crate) correct: Vec<usize>,
}

impl History {
    pub(crate) fn epoch(&mut self, loss: f64, correct: usize) {
        self.losses.push(loss);
        self.correct.push(correct);
    }
}
