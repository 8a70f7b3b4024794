//! Kernels on a GPU.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cudarc::driver::{CudaFunction, CudaModule, LaunchConfig};

use super::Gpu;
use crate::error::{Error, Result};

/// Threads of a block, where a kernel has no wish of its own.
const BLOCK: u32 = 256;

/// Compiled kernels, loaded onto a GPU.
#[derive(Debug, Clone)]
pub struct Module {
    module: Arc<CudaModule>,
}

impl Module {
    /// Loads what `nvcc` made of a file of kernels, once for each device. It stays there until the process ends: kernels may
    /// still be queued when nobody knows them any more.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if the driver does not take it, for instance because it is older than the toolkit.
    pub fn load(gpu: &Gpu, ptx: &'static str) -> Result<Self> {
        // By the driver's context, the process's one of the device. A module has it stay.
        static LOADED: LazyLock<Mutex<HashMap<(usize, &str), Module>>> =
            LazyLock::new(Mutex::default);
        let context = gpu.stream().context();
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (context.cu_ctx().addr(), ptx);
        if let Some(module) = loaded.get(&key) {
            return Ok(module.clone());
        }
        let module = context.load_module(ptx.into());
        let module = module.map_err(Error::cuda("load kernels"))?;
        let module = Self { module };
        loaded.insert(key, module.clone());
        Ok(module)
    }

    /// The kernel of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if there is none.
    pub fn function(&self, name: &str) -> Result<CudaFunction> {
        let function = self.module.load_function(name);
        function.map_err(Error::cuda("find a kernel"))
    }

    /// A grid with at least one thread for each of `count` things, in blocks of 256.
    pub fn threads_for(count: usize) -> LaunchConfig {
        let blocks = count.div_ceil(BLOCK as usize).clamp(1, i32::MAX as usize);
        LaunchConfig {
            grid_dim: (blocks as u32, 1, 1),
            block_dim: (BLOCK, 1, 1),
            shared_mem_bytes: 0,
        }
    }
}
