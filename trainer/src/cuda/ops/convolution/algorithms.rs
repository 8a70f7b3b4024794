//! Which of cuDNN's algorithms computes a convolution.

use std::ffi::c_int;

use cudarc::cudnn::result;
use cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdDataAlgoPerf_t,
    cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionBwdFilterAlgoPerf_t,
    cudnnConvolutionFwdAlgo_t, cudnnConvolutionFwdAlgoPerf_t, cudnnDeterminism_t, cudnnMathType_t,
    cudnnStatus_t,
};

use super::directions::{Descriptors, Direction, Pointers, Room};
use crate::cuda::Algorithms;
use crate::cuda::dnn::{Dnn, WORKSPACE_LIMIT};
use crate::error::{Error, Result};

/// More than the library reports for any direction: its algorithms, each with every kind of multiplication.
const MOST: usize = 32;

/// What the library says of an algorithm with one kind of multiplication.
pub(super) trait Report {
    type Algorithm: Copy;

    fn algorithm(&self) -> Self::Algorithm;

    /// How it multiplies. All else that is said here is true of it only if the convolution's descriptor says so too.
    fn math(&self) -> cudnnMathType_t;

    /// Bytes that it computes in.
    fn memory(&self) -> usize;

    /// Whether it works at all, and gives the same bits in every run.
    fn repeats(&self) -> bool;
}

macro_rules! report {
    ($report:ty, $algorithm:ty) => {
        impl Report for $report {
            type Algorithm = $algorithm;

            fn algorithm(&self) -> Self::Algorithm {
                self.algo
            }

            fn math(&self) -> cudnnMathType_t {
                self.mathType
            }

            fn memory(&self) -> usize {
                self.memory
            }

            fn repeats(&self) -> bool {
                self.status == cudnnStatus_t::CUDNN_STATUS_SUCCESS
                    && self.determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC
            }
        }
    };
}

report!(cudnnConvolutionFwdAlgoPerf_t, cudnnConvolutionFwdAlgo_t);
report!(
    cudnnConvolutionBwdDataAlgoPerf_t,
    cudnnConvolutionBwdDataAlgo_t
);
report!(
    cudnnConvolutionBwdFilterAlgoPerf_t,
    cudnnConvolutionBwdFilterAlgo_t
);

/// An algorithm, and how many bytes it computes in. How it multiplies stands in the direction's descriptor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chosen<D: Direction> {
    pub(super) algorithm: D::Algorithm,
    pub(super) workspace: usize,
}

impl<D: Direction> Chosen<D> {
    /// Asks the library for what keeps to this `math`, and has the direction's descriptor say how the chosen one
    /// multiplies. With [`Algorithms::Measured`] the result among what `pointers` point to is overwritten. The memory
    /// there has the descriptors' sizes.
    pub(super) fn new(
        dnn: &Dnn,
        choice: Algorithms,
        math: cudnnMathType_t,
        descriptors: &Descriptors,
        pointers: &Pointers,
    ) -> Result<Self> {
        let mut reports = dnn.with_workspace(0, |handle, _| {
            // SAFETY: the handle and the descriptors are open.
            usable::<D>(math, |room| unsafe { D::get(handle, descriptors, room) })
        })??;
        if choice == Algorithms::Measured {
            let bytes = reports.iter().map(Report::memory);
            let bytes = bytes.filter(|&bytes| bytes <= WORKSPACE_LIMIT).max();
            let bytes = bytes.unwrap_or(0);
            reports = dnn.with_workspace(bytes, |handle, memory| {
                let memory = (memory, bytes);
                // SAFETY: as above; pointers are as the caller says, memory as it was asked for.
                usable::<D>(math, |room| unsafe {
                    D::find(handle, descriptors, pointers, memory, room)
                })
            })??;
        }
        for report in reports {
            let algorithm = report.algorithm();
            let math = match math {
                cudnnMathType_t::CUDNN_FMA_MATH => math,
                _ => report.math(),
            };
            let workspace = dnn.with_workspace(0, |handle, _| {
                let convolution = D::convolution(descriptors).get();
                // SAFETY: the handle and the descriptors are open.
                unsafe {
                    result::set_convolution_math_type(convolution, math)
                        .and_then(|()| D::workspace(handle, descriptors, algorithm))
                }
            })?;
            let workspace = workspace.map_err(failed)?;
            if workspace <= WORKSPACE_LIMIT {
                return Ok(Self {
                    algorithm,
                    workspace,
                });
            }
        }
        let limit = WORKSPACE_LIMIT >> 20;
        Err(failed(format!(
            "cuDNN has none that repeats its results with {math:?}, in {limit} MiB of memory"
        )))
    }
}

fn failed(reason: impl std::fmt::Display) -> Error {
    Error::cuda("choose an algorithm for a convolution")(reason)
}

/// The reports of what may be used, fastest first. `call` gets room for them.
fn usable<D: Direction>(
    math: cudnnMathType_t,
    call: impl FnOnce(Room<D::Report>) -> cudnnStatus_t,
) -> Result<Vec<D::Report>> {
    let (mut reports, mut count) = (Vec::with_capacity(MOST), 0);
    let room = (MOST as c_int, &raw mut count, reports.as_mut_ptr());
    call(room).result().map_err(failed)?;
    // SAFETY: there is room for as many as were asked for, and the library has written that many, or fewer.
    unsafe { reports.set_len((count.max(0) as usize).min(MOST)) };
    reports.retain(|own: &D::Report| own.repeats() && keeps_to(math, own.math()));
    reports.sort_by_key(|own: &D::Report| math_rank(math, own.math()));
    Ok(reports)
}

/// Whether what multiplies as `found` is at least as exact as `asked`, or can be made to be: a report that does not
/// settle it may be run with what was asked for.
fn keeps_to(asked: cudnnMathType_t, found: cudnnMathType_t) -> bool {
    match asked {
        cudnnMathType_t::CUDNN_FMA_MATH => {
            found == asked || found == cudnnMathType_t::CUDNN_DEFAULT_MATH
        }
        _ => found != cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION,
    }
}

/// Where plain multiplications are asked for, reports of them come first; else the library's order stays.
fn math_rank(asked: cudnnMathType_t, found: cudnnMathType_t) -> bool {
    asked == cudnnMathType_t::CUDNN_FMA_MATH && found != asked
}
