//! cuBLAS: products of matrices.

use std::ffi::c_int;
use std::fmt;
use std::sync::Arc;

use cudarc::cublas::sys::{
    cublasAtomicsMode_t, cublasComputeType_t, cublasGemmAlgo_t, cublasMath_t, cublasOperation_t,
    cublasSetAtomicsMode, cublasSetMathMode, cublasSetWorkspace_v2, cudaDataType_t,
};
use cudarc::cublas::{CudaBlas, result};
use cudarc::driver::{CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut};

use super::Real;
use super::ops::check;
use crate::error::{Error, Result, invalid};

/// What NVIDIA recommends for its newest GPUs, in bytes.
const WORKSPACE: usize = 32 << 20;

/// The library, on one stream.
///
/// It has memory of its own to compute in, and adds up in one order: products are the same bits in every run.
pub(super) struct Blas {
    blas: CudaBlas,
    stream: Arc<CudaStream>,
    /// Used by the library for as long as there is a handle, which therefore stands before it.
    _workspace: CudaSlice<u8>,
}

/// A matrix that goes in, row after row.
pub(super) struct Matrix<'a, 'b, T> {
    pub(super) numbers: &'a CudaView<'b, T>,
    /// As it lies in memory.
    pub(super) columns: usize,
    /// Whether the product is with its transpose.
    pub(super) transposed: bool,
}

impl Blas {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let blas = CudaBlas::new(stream.clone()).map_err(Error::cuda("open cuBLAS"))?;
        let workspace = stream.alloc_zeros(WORKSPACE);
        let mut workspace = workspace.map_err(Error::cuda("get memory for cuBLAS"))?;
        let (pointer, ordered) = workspace.device_ptr_mut(stream);
        let set = || {
            let handle = *blas.handle();
            // SAFETY: the handle is open, and the memory has this size and lives longer.
            unsafe {
                cublasSetWorkspace_v2(handle, pointer as *mut _, WORKSPACE).result()?;
                cublasSetAtomicsMode(handle, cublasAtomicsMode_t::CUBLAS_ATOMICS_NOT_ALLOWED)
                    .result()?;
                let whole = cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
                cublasSetMathMode(handle, whole).result()
            }
        };
        set().map_err(Error::cuda("set up cuBLAS"))?;
        drop(ordered);
        Ok(Self {
            blas,
            stream: stream.clone(),
            _workspace: workspace,
        })
    }

    /// `product` `[rows, columns]` becomes `left` · `right`, with `inner` numbers added up for each of its own, in `f32`.
    /// If `tf32`, `f32`s may be rounded to 10 bits of mantissa before they are multiplied.
    pub(super) fn multiply<T: Real, P: Real>(
        &self,
        tf32: bool,
        [rows, inner, columns]: [usize; 3],
        left: &Matrix<'_, '_, T>,
        right: &Matrix<'_, '_, T>,
        product: &mut CudaViewMut<'_, P>,
    ) -> Result<()> {
        let [a, b] = [left, right].map(|matrix| matrix.numbers.len());
        check("numbers of the left matrix", a, rows * inner)?;
        check("numbers of the right matrix", b, inner * columns)?;
        check("numbers of the product", product.len(), rows * columns)?;
        let operation = |matrix: &Matrix<'_, '_, T>| match matrix.transposed {
            false => cublasOperation_t::CUBLAS_OP_N,
            true => cublasOperation_t::CUBLAS_OP_T,
        };
        // The library takes matrices of `f32` only with it.
        let compute = match T::MATRIX {
            cudaDataType_t::CUDA_R_32F if tf32 => cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            _ => cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let [m, n, k] = [int(columns)?, int(rows)?, int(inner)?];
        let [left_columns, right_columns] = [int(left.columns)?, int(right.columns)?];
        let (a, _right) = right.numbers.device_ptr(&self.stream);
        let (b, _left) = left.numbers.device_ptr(&self.stream);
        let (c, _product) = product.device_ptr_mut(&self.stream);
        let [one, zero] = [1.0f32, 0.0];
        // cuBLAS' matrices lie column after column, so it computes the transpose of what we mean: right · left.
        // SAFETY: the handle is open, the lengths of all three were compared with the sizes above, and the types are
        // those of the views.
        let done = unsafe {
            result::gemm_ex(
                *self.blas.handle(),
                operation(right),
                operation(left),
                m,
                n,
                k,
                (&raw const one).cast(),
                a as *const _,
                T::MATRIX,
                right_columns,
                b as *const _,
                T::MATRIX,
                left_columns,
                (&raw const zero).cast(),
                c as *mut _,
                P::MATRIX,
                m,
                compute,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        done.map_err(Error::cuda("multiply matrices"))
    }
}

/// A size as NVIDIA's libraries take it.
pub(super) fn int(size: usize) -> Result<c_int> {
    let most = || format!("at most {}, or the library can't take it", c_int::MAX);
    c_int::try_from(size).map_err(|_| invalid("size", size, most()))
}

impl fmt::Debug for Blas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blas").finish_non_exhaustive()
    }
}
