//! What a model makes of a test set, for a report.

use feedline_pipeline::Source;

use super::predict_with_labels;
use crate::error::{Result, invalid};
use crate::fit::Input;
use crate::nn::Model;
use crate::run::{Evaluation, Filters, Sample};

/// How many pictures are kept to be shown, and how many of them may be mistakes.
const SHOWN: usize = 100;
const MISTAKES: usize = 50;

/// What the model makes of each picture of `input`: how often each class was taken for each, some pictures, and the first
/// kernels of the model, if it has convolutions: its first trainable parameter of four dimensions.
///
/// Of the pictures 100 are kept: up to 50 that were taken for something else, from all over the set, and others from its
/// beginning. `classes` are the classes' names, by label.
///
/// ```
/// use candle_core::Device;
/// use feedline_pipeline::Transform;
/// use feedline_pipeline::dataset::Generated;
/// use feedline_trainer::nn::{Flatten, Linear, Sequential};
/// use feedline_trainer::{Input, inference};
///
/// let network = Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10));
/// let network = network.build(1, &Device::Cpu)?;
/// let data = Generated::open(100, 20)?;
/// let test = Input::new(data.test, Transform::new().scale());
/// let evaluation = inference::evaluate(&network, test, &data.class_names)?;
/// assert_eq!(evaluation.confusion.iter().flatten().sum::<u64>(), 20);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// # Errors
///
/// As [`predict`](super::predict); [`InvalidArgument`](crate::Error::InvalidArgument) if the model, the set and the names have not the same
/// number of classes.
pub fn evaluate(
    model: &impl Model,
    input: Input,
    classes: &[impl AsRef<str>],
) -> Result<Evaluation> {
    let (source, _) = input.clone().into_parts();
    let predicted: Vec<(usize, usize)> = predict_with_labels(model, input)?
        .into_iter()
        .map(
            |(own, label)| match own.probabilities.len() == classes.len() {
                true => Ok((own.class, label as usize)),
                false => Err(invalid(
                    "number of class names",
                    classes.len(),
                    format!("{}, as the model has classes", own.probabilities.len()),
                )),
            },
        )
        .collect::<Result<_>>()?;
    if source.classes() > classes.len() {
        let expected = format!("{}, as the pictures have classes", source.classes());
        return Err(invalid("number of class names", classes.len(), expected));
    }
    let mut confusion = vec![vec![0; classes.len()]; classes.len()];
    let (mut right, mut wrong) = (Vec::new(), Vec::new());
    for (index, &(predicted, label)) in predicted.iter().enumerate() {
        // The loader has checked that the labels are below the source's number of classes.
        confusion[label][predicted] += 1;
        match label == predicted {
            true => right.push(index),
            false => wrong.push(index),
        }
    }
    let mistakes = MISTAKES.min(wrong.len());
    let spread = (0..mistakes).map(|place| wrong[place * wrong.len() / mistakes]);
    let mut shown: Vec<usize> = spread.chain(right).take(SHOWN).collect();
    // As they come in the set.
    shown.sort_unstable();
    let samples = shown
        .into_iter()
        .map(|index| sample(&*source, index, predicted[index].0));
    Ok(Evaluation {
        classes: classes.iter().map(|name| name.as_ref().into()).collect(),
        confusion,
        samples: samples.collect::<Result<_>>()?,
        filters: filters(model)?,
    })
}

fn sample(source: &dyn Source, index: usize, predicted: usize) -> Result<Sample> {
    let shape = source.shape();
    let mut scratch = Vec::new();
    let own = source.sample(index, &mut scratch)?;
    Ok(Sample {
        shape: [shape.channels, shape.height, shape.width],
        pixels: own.pixels.to_vec(),
        predicted,
        label: own.label as usize,
    })
}

/// The kernels of the first convolution.
fn filters(model: &impl Model) -> Result<Option<Filters>> {
    let mut kernels = model.parameters().iter().filter_map(|own| {
        let shape: [usize; 4] = own.value.dims().try_into().ok()?;
        (own.trainable && own.value.elem_count() > 0).then_some((shape, &own.value))
    });
    let Some((shape, value)) = kernels.next() else {
        return Ok(None);
    };
    let values = value.flatten_all()?.to_dtype(candle_core::DType::F32)?;
    Ok(Some(Filters {
        shape,
        values: values.to_vec1()?,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{Device, Tensor};
    use feedline_pipeline::source::InMemory;
    use feedline_pipeline::{Shape, Transform};

    use super::*;
    use crate::nn::{Parameter, Pass};

    /// Takes a picture of one pixel for the class that is its value, but every tenth for class 0.
    struct Reader;

    impl Model for Reader {
        fn forward(&self, images: &Tensor, _: &Pass) -> Result<Tensor> {
            let values = images.flatten_all()?.to_vec1::<f32>()?;
            let rows = values.len();
            let logits = values.into_iter().flat_map(|value| {
                let class = if value >= 10.0 { 0 } else { value as usize };
                (0..3).map(move |own| if own == class { 5.0f32 } else { 0.0 })
            });
            Ok(Tensor::from_vec(logits.collect(), (rows, 3), &Device::Cpu)?)
        }

        fn parameters(&self) -> &[Parameter] {
            &[]
        }
    }

    /// 300 pictures, whose class is their pixel's last digit; of every tenth the pixel says something else.
    fn input() -> Input {
        let labels: Vec<u32> = (0..300).map(|index| 1 + index % 2).collect();
        let pixel =
            |(index, &label): (usize, &u32)| label as u8 + if index % 10 == 3 { 10 } else { 0 };
        let pixels = labels.iter().enumerate().map(pixel).collect();
        let source = InMemory::new(Shape::new(1, 1, 1), 3, pixels, labels).unwrap();
        Input::new(Arc::new(source), Transform::new())
    }

    #[test]
    fn every_picture_is_counted_once_and_mistakes_are_shown_with_what_was_right() {
        let evaluation = evaluate(&Reader, input(), &["zero", "one", "two"]).unwrap();
        assert_eq!(evaluation.confusion, [[0, 0, 0], [0, 150, 0], [30, 0, 120]]);
        assert_eq!(evaluation.samples.len(), 100);
        let wrong = evaluation.samples.iter().filter(|own| own.predicted == 0);
        assert_eq!(wrong.clone().count(), 30);
        assert!(
            wrong
                .into_iter()
                .all(|own| own.label == 2 && own.pixels == [12])
        );
        assert_eq!(evaluation.filters, None);
    }

    #[test]
    fn names_that_are_not_those_of_the_classes_are_refused() {
        for names in [&["zero", "one"][..], &["a", "b", "c", "d"]] {
            let error = evaluate(&Reader, input(), names).unwrap_err();
            assert!(
                error.to_string().contains("number of class names"),
                "{error}"
            );
        }
    }
}
