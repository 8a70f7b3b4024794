//! What operations on a GPU need: its stream, the kernels, and the libraries.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::driver::CudaFunction;
use feedline_pipeline::cuda::{Gpu, Module};

use super::blas::Blas;
#[cfg(feature = "cudnn")]
use super::dnn::Dnn;
use super::ops;
use crate::error::{Error, Result};

/// The kernels of a file.
pub(super) struct Kernels {
    /// The file, compiled.
    pub(super) ptx: &'static str,
    /// Those that there are for each type of numbers: `name` stands for `name_f32` and `name_bf16`.
    pub(super) typed: &'static [&'static str],
    /// The others.
    pub(super) plain: &'static [&'static str],
}

/// Kernels by their names and their numbers' suffix.
type Loaded = HashMap<(&'static str, &'static str), CudaFunction>;

/// A GPU with all that operations on it need; made once per replica.
pub(crate) struct Context {
    pub(crate) gpu: Gpu,
    blas: OnceLock<Blas>,
    #[cfg(feature = "cudnn")]
    dnn: OnceLock<Dnn>,
    kernels: Arc<Loaded>,
}

impl Context {
    /// Loads all kernels, unless they are on the device already. The libraries are opened when they are first needed.
    pub(crate) fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self {
            gpu: gpu.clone(),
            blas: OnceLock::new(),
            #[cfg(feature = "cudnn")]
            dnn: OnceLock::new(),
            kernels: loaded(gpu)?,
        })
    }

    /// cuBLAS on the GPU's stream.
    pub(super) fn blas(&self) -> Result<&Blas> {
        opened(&self.blas, || Blas::new(self.gpu.stream()))
    }

    /// cuDNN on the GPU's stream.
    #[cfg(feature = "cudnn")]
    pub(super) fn dnn(&self) -> Result<&Dnn> {
        opened(&self.dnn, || Dnn::new(self.gpu.stream()))
    }

    /// The kernel of this name for the type of numbers with this suffix, or the one that has no type if it is empty.
    pub(crate) fn kernel(&self, name: &'static str, suffix: &'static str) -> Result<&CudaFunction> {
        let kernel = self.kernels.get(&(name, suffix));
        kernel.ok_or_else(|| Error::Cuda {
            action: "find a kernel",
            reason: format!("{name} {suffix} is in no list of `ops`"),
        })
    }
}

/// All kernels. They are kept for as long as the process runs: all streams of a device share them.
fn loaded(gpu: &Gpu) -> Result<Arc<Loaded>> {
    static KEPT: Mutex<BTreeMap<usize, Arc<Loaded>>> = Mutex::new(BTreeMap::new());
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    // The kernels keep their context open, so no other one gets its address.
    let address = gpu.stream().context().cu_ctx() as usize;
    if let Some(kernels) = kept.get(&address) {
        return Ok(kernels.clone());
    }
    let mut kernels = HashMap::new();
    for file in ops::KERNELS {
        let module = Module::load(gpu, file.ptx)?;
        for &name in file.typed {
            for suffix in ["f32", "bf16"] {
                let kernel = module.function(&format!("{name}_{suffix}"))?;
                kernels.insert((name, suffix), kernel);
            }
        }
        for &name in file.plain {
            kernels.insert((name, ""), module.function(name)?);
        }
    }
    let kernels = Arc::new(kernels);
    kept.insert(address, kernels.clone());
    Ok(kernels)
}

/// What is there, or else what `open` opens.
fn opened<L>(library: &OnceLock<L>, open: impl FnOnce() -> Result<L>) -> Result<&L> {
    if let Some(library) = library.get() {
        return Ok(library);
    }
    let new = open()?;
    Ok(library.get_or_init(|| new))
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}
