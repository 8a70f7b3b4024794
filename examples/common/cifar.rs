//! CIFAR-10 for the examples that can do without.

use feedline::{Result, Training};
use feedline_pipeline::Error as PipelineError;
use feedline_pipeline::dataset::{Cifar10, Dataset};

/// CIFAR-10, or `None` after a word about how to get it.
pub(crate) fn open(training: &Training, generated: bool) -> Result<Option<Dataset>> {
    let folder = training.folder();
    if generated {
        return Ok(None);
    }
    if training.may_download()? {
        return Ok(Some(Cifar10::download(folder)?));
    }
    let missing = match Cifar10::open(folder) {
        Ok(cifar) => return Ok(Some(cifar)),
        // Who names a folder wants what is in it.
        Err(error) if training.data.is_some() => return Err(error.into()),
        Err(error) => error,
    };
    // Something that is there and wrong is not to be passed over.
    if !matches!(missing, PipelineError::DatasetNotFound { .. }) {
        return Err(missing.into());
    }
    feedline::print_once(format_args!(
        "No CIFAR-10 in {}: training on generated pictures instead.\n\
         For the real ones: --download fetches them (170 MB) into that folder, and --data DIR takes them from\n\
         another: cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html, extracted or not.\n",
        folder.display()
    ))?;
    Ok(None)
}
