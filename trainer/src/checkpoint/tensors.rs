//! The numbers of a checkpoint, in the format [safetensors](https://github.com/huggingface/safetensors).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};

use super::manifest::{Manifest, read_file};
use super::{CheckpointFault, damaged, error};
use crate::error::Result;

/// The file's name.
pub(super) const FILE: &str = "tensors.safetensors";

/// Under which names numbers are stored.
pub(crate) mod key {
    /// The averaged weights' name among what the optimizer keeps.
    pub(crate) const AVERAGE: &str = "average of the weights";
    pub(in super::super) const OPTIMIZER: &str = "optimizer.";

    pub(in super::super) fn parameter(name: &str) -> String {
        format!("model.{name}")
    }

    /// What is not trained, of a rank above 0, all of it side by side.
    pub(in super::super) fn statistics(rank: usize) -> String {
        format!("statistics.{rank}")
    }

    pub(in super::super) fn optimizer(buffer: &str) -> String {
        format!("{OPTIMIZER}{buffer}")
    }
}

/// Numbers and their shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Tensor {
    /// There must be as many values as the shape says.
    pub(super) fn new(shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { shape, values }
    }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.values.iter().flat_map(|value| value.to_le_bytes());
        Cow::Owned(bytes.collect())
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values.as_slice())
    }
}

/// All numbers of a checkpoint.
#[derive(Debug, PartialEq)]
pub(super) struct Tensors(pub(super) BTreeMap<String, Tensor>);

impl Tensors {
    /// The bytes of the file with these.
    pub(super) fn encode<'a>(
        path: &Path,
        tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>,
    ) -> Result<Vec<u8>> {
        let pairs = tensors.into_iter();
        let pairs = pairs.map(|(name, tensor)| (name.as_str(), tensor));
        safetensors::serialize(pairs, None)
            .map_err(|reason| error(path, CheckpointFault::Io, reason))
    }

    /// Reads the file in the checkpoint `folder`, which must be the one that the manifest means.
    pub(super) fn read(folder: &Path, manifest: &Manifest) -> Result<Self> {
        let path = folder.join(FILE);
        let bytes = read_file(&path, |length| match length == manifest.tensors.bytes {
            true => Ok(()),
            false => Err(format!(
                "it has {length} bytes, not the {} that were written",
                manifest.tensors.bytes
            )),
        })?;
        Self::decode_as(&path, &bytes, manifest)
    }

    /// Of the bytes of the file at `path`, which must be the ones that the manifest means.
    pub(super) fn decode_as(path: &Path, bytes: &[u8], manifest: &Manifest) -> Result<Self> {
        if crc32fast::hash(bytes) != manifest.tensors.crc32 {
            return Err(damaged(
                path,
                "its checksum is not that of what was written",
            ));
        }
        let tensors = Self::decode(bytes).map_err(|reason| damaged(path, reason))?;
        for own in &manifest.parameters {
            let name = key::parameter(&own.name);
            if tensors
                .0
                .get(&name)
                .is_none_or(|tensor| tensor.shape != own.shape)
            {
                let reason = format!("it has no tensor {name:?} of shape {:?}", own.shape);
                return Err(damaged(path, reason));
            }
        }
        Ok(tensors)
    }

    /// Of the bytes of a file.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|reason| reason.to_string())?;
        let decode = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
            if view.dtype() != Dtype::F32 {
                return Err(format!("tensor {name:?} is of {:?}, not F32", view.dtype()));
            }
            let (numbers, _) = view.data().as_chunks();
            let values = numbers.iter().map(|&bytes| f32::from_le_bytes(bytes));
            let tensor = Tensor::new(view.shape().to_vec(), values.collect());
            Ok((name.to_owned(), tensor))
        };
        tensors
            .iter()
            .map(decode)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.get(name).map(|tensor| tensor.values.as_slice())
    }

    /// The optimizer's, by their names.
    pub(super) fn buffers(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.0.iter().filter_map(|(name, tensor)| {
            let name = name.strip_prefix(key::OPTIMIZER)?;
            Some((name, tensor.values.as_slice()))
        })
    }
}
