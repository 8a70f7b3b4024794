//! Weights in the layouts of other frameworks.

use std::any::Any;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use candle_core::Tensor;

use crate::error::{Error, Result, file};
use crate::nn::{BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Model, Relu, Sequential};

/// Whose layout weights are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// A safetensors file of what `torch.nn.Sequential` with the same modules in the same order calls its state:
    /// `0.weight`, `0.bias`, … Pictures are `[channels, height, width]` there as here.
    ///
    /// ```python
    /// model.load_state_dict(safetensors.torch.load_file("weights.safetensors"))
    /// ```
    PyTorch,
    /// An `.npz` file of NumPy arrays in the order of `get_weights()` of the `keras.Sequential` with the same layers.
    /// Pictures are `[height, width, channels]` there, so filters and what follows a flatten are put in that order.
    ///
    /// ```python
    /// arrays = numpy.load("weights.npz")
    /// model.set_weights([arrays[name] for name in arrays.files])
    /// ```
    Keras,
}

/// Writes a network's weights to a file as another framework has them. The file appears under its name when all of it is
/// written; one of that name is replaced then, and not before.
///
/// What is no weight has to be the same there: epsilon of a [`BatchNorm`] is 0.001 here and in Keras, 0.00001 in PyTorch;
/// [`Padding::Same`](crate::nn::Padding::Same) puts an odd pixel at the end, as Keras does, where `torch.nn.Conv2d` and
/// `torch.nn.MaxPool2d` have a padding of both sides: put a `ZeroPad2d` (or, before a pool, a `ConstantPad2d` of
/// −∞) before them.
///
/// # Errors
///
/// [`InvalidModel`](Error::InvalidModel) names a layer that has no counterpart there: one of your own. [`File`](Error::File)
/// if the file can't be written.
pub fn export(network: &Sequential, layout: Layout, path: impl AsRef<Path>) -> Result<()> {
    let (path, tensors) = (path.as_ref(), tensors(network, layout)?);
    // Through links, and in the place of nothing but a file: a device would be gone.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|own| !own.is_file()) {
        let reason = std::io::Error::other("it is there, and no file");
        return Err(file("write", path)(reason));
    }
    let mut beside = OsString::from(path);
    // Two that export to the same file at once do not write into each other's.
    beside.push(format!(".{}.part", std::process::id()));
    let beside = Path::new(&beside);
    let written = match layout {
        Layout::PyTorch => {
            // Not by a function that gives the file rights of its own.
            let bytes = safetensors::serialize(tensors, None);
            bytes
                .map_err(std::io::Error::other)
                .and_then(|bytes| fs::write(beside, bytes))
        }
        Layout::Keras => Tensor::write_npz(&tensors, beside).map_err(std::io::Error::other),
    };
    let moved = written
        .and_then(|()| File::open(beside)?.sync_all())
        .and_then(|()| fs::rename(beside, path));
    moved.map_err(|error| {
        // What there is of it; that it can't be removed would say nothing new.
        let _ = fs::remove_file(beside);
        file("write", path)(error)
    })
}

/// The weights by their names there, in the order of the layers.
fn tensors(network: &Sequential, layout: Layout) -> Result<Vec<(String, Tensor)>> {
    let mut tensors = Vec::new();
    // The shape of what the last flatten took, until a layer mixes its features.
    let mut flattened: Option<Vec<usize>> = None;
    let mut shape = network.input().to_vec();
    for (place, (layer, parameters)) in network.layers().enumerate() {
        let own = &network.parameters()[parameters];
        let value = |index: usize| own[index].value.as_detached_tensor();
        let any = layer as &dyn Any;
        let named: Vec<(&str, Tensor)> = match layout {
            _ if any.is::<Flatten>() => {
                flattened = Some(shape.clone());
                Vec::new()
            }
            _ if any.is::<Relu>() || any.is::<MaxPool2d>() || any.is::<Dropout>() => Vec::new(),
            Layout::PyTorch if any.is::<Conv2d>() => {
                vec![("weight", value(0)), ("bias", value(1))]
            }
            Layout::PyTorch if any.is::<Linear>() => {
                vec![("weight", value(0).t()?.contiguous()?), ("bias", value(1))]
            }
            Layout::PyTorch if any.is::<BatchNorm>() => {
                let names = ["weight", "bias", "running_mean", "running_var"];
                names.into_iter().zip((0..4).map(value)).collect()
            }
            Layout::Keras if any.is::<Conv2d>() => {
                let kernel = value(0).permute((2, 3, 1, 0))?.contiguous()?;
                vec![("kernel", kernel), ("bias", value(1))]
            }
            Layout::Keras if any.is::<Linear>() => {
                let kernel = match flattened.take() {
                    Some(shape) => channels_last(&value(0), &shape)?,
                    None => value(0),
                };
                vec![("kernel", kernel), ("bias", value(1))]
            }
            Layout::Keras if any.is::<BatchNorm>() => {
                let names = ["gamma", "beta", "moving_mean", "moving_variance"];
                let values = (0..4).map(value).map(|own| match &flattened {
                    Some(shape) => channels_last(&own, shape),
                    None => Ok(own),
                });
                let values = values.collect::<Result<Vec<_>>>()?;
                names.into_iter().zip(values).collect()
            }
            Layout::PyTorch | Layout::Keras => {
                return Err(Error::InvalidModel {
                    layer: layer.kind().into(),
                    reason: format!("{layout:?} has no layer that is known to be the same"),
                });
            }
        };
        tensors.extend(named.into_iter().map(|(name, tensor)| match layout {
            Layout::PyTorch => (format!("{place}.{name}"), tensor),
            Layout::Keras => (format!("{place:03}.{}.{name}", layer.kind()), tensor),
        }));
        shape = layer
            .output_shape(&shape)
            .map_err(|reason| Error::InvalidModel {
                layer: layer.kind().into(),
                reason,
            })?;
    }
    Ok(tensors)
}

/// Puts the first dimension, which is pixels of this shape, from channel after channel to pixel after pixel.
fn channels_last(tensor: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let &[channels, height, width] = shape else {
        return Ok(tensor.clone());
    };
    let rest = tensor.elem_count() / (channels * height * width).max(1);
    let apart = tensor.reshape((channels, height, width, rest))?;
    Ok(apart.permute((1, 2, 0, 3))?.reshape(tensor.shape())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let network = Sequential::builder([1, 2, 2])
            .add(Flatten)
            .add(Linear::new(3));
        let network = network.build(7, &Device::Cpu).unwrap();
        // A folder with something in it can't be replaced.
        let path = folder.path().join("weights");
        fs::create_dir_all(path.join("other")).unwrap();
        for layout in [Layout::PyTorch, Layout::Keras] {
            let error = export(&network, layout, &path).unwrap_err();
            assert!(error.to_string().contains("weights"), "{error}");
        }
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        // A file can.
        let path = folder.path().join("file");
        fs::write(&path, "earlier").unwrap();
        export(&network, Layout::PyTorch, &path).unwrap();
        let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(read["1.weight"].dims(), [3, 4]);
    }
}
