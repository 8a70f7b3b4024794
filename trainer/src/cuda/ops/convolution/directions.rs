//! The three things that are computed of a convolution, each of which has algorithms of its own.

use std::ffi::{c_int, c_void};
use std::fmt::Debug;

use cudarc::cudnn::result::{self, CudnnResult};
use cudarc::cudnn::sys::{
    self, cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdDataAlgoPerf_t,
    cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionBwdFilterAlgoPerf_t,
    cudnnConvolutionDescriptor_t, cudnnConvolutionFwdAlgo_t, cudnnConvolutionFwdAlgoPerf_t,
    cudnnFilterDescriptor_t, cudnnHandle_t, cudnnStatus_t, cudnnTensorDescriptor_t,
};
use cudarc::driver::sys::CUdeviceptr;

use super::algorithms::Report;
use crate::cuda::dnn::Owned;

/// The convolution for the library.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) input: Owned<cudnnTensorDescriptor_t>,
    pub(super) filters: Owned<cudnnFilterDescriptor_t>,
    pub(super) output: Owned<cudnnTensorDescriptor_t>,
    /// One for each direction, because their algorithms may multiply in different ways.
    pub(super) forward: Owned<cudnnConvolutionDescriptor_t>,
    pub(super) data: Owned<cudnnConvolutionDescriptor_t>,
    pub(super) filter: Owned<cudnnConvolutionDescriptor_t>,
}

/// Input, filters and output, or their gradients. One of them is written.
#[derive(Debug)]
pub(super) struct Pointers {
    input: *mut c_void,
    filters: *mut c_void,
    output: *mut c_void,
}

impl Pointers {
    pub(super) fn new(input: CUdeviceptr, filters: CUdeviceptr, output: CUdeviceptr) -> Self {
        Self {
            input: input as *mut c_void,
            filters: filters as *mut c_void,
            output: output as *mut c_void,
        }
    }
}

/// Memory to compute in, and how many bytes it has.
pub(super) type Memory = (*mut c_void, usize);

/// Room for so many reports, where to write how many there are, and where to write them.
pub(super) type Room<R> = (c_int, *mut c_int, *mut R);

/// One of the three, by the library's functions.
///
/// # Safety
///
/// Of all of them: handle and descriptors must be open, memory and room be as large as they say, and pointers point to
/// as many numbers of the device as the descriptors say.
pub(super) trait Direction: Debug + Copy {
    type Algorithm: Copy + Debug + Send;
    type Report: Report<Algorithm = Self::Algorithm>;

    /// The descriptor that says how this one multiplies.
    fn convolution(descriptors: &Descriptors) -> &Owned<cudnnConvolutionDescriptor_t>;

    /// Reports by the library's rules of thumb.
    unsafe fn get(
        handle: cudnnHandle_t,
        descriptors: &Descriptors,
        room: Room<Self::Report>,
    ) -> cudnnStatus_t;

    /// Reports by measuring. The result is overwritten.
    unsafe fn find(
        handle: cudnnHandle_t,
        descriptors: &Descriptors,
        pointers: &Pointers,
        memory: Memory,
        room: Room<Self::Report>,
    ) -> cudnnStatus_t;

    /// Bytes that an algorithm computes in.
    unsafe fn workspace(
        handle: cudnnHandle_t,
        descriptors: &Descriptors,
        algorithm: Self::Algorithm,
    ) -> CudnnResult<usize>;

    /// Queues it.
    unsafe fn run(
        handle: cudnnHandle_t,
        descriptors: &Descriptors,
        pointers: &Pointers,
        algorithm: Self::Algorithm,
        memory: Memory,
    ) -> CudnnResult<()>;
}

const ONE: *const c_void = (&raw const NUMBERS[1]).cast();
const ZERO: *const c_void = (&raw const NUMBERS[0]).cast();
static NUMBERS: [f32; 2] = [0.0, 1.0];

/// Implements a direction: which functions, and in which order they take the descriptors and pointers.
macro_rules! direction {
    (
        $(#[$comment:meta])*
        $direction:ident: $algorithm:ty, $report:ty,
        $get:ident, $find:ident, $workspace:ident, $run:ident,
        $convolution:ident: $first:ident, $second:ident => $third:ident
    ) => {
        $(#[$comment])*
        #[derive(Debug, Clone, Copy)]
        pub(super) struct $direction;

        impl Direction for $direction {
            type Algorithm = $algorithm;
            type Report = $report;

            fn convolution(d: &Descriptors) -> &Owned<cudnnConvolutionDescriptor_t> {
                &d.$convolution
            }

            unsafe fn get(
                handle: cudnnHandle_t,
                d: &Descriptors,
                (most, count, reports): Room<$report>,
            ) -> cudnnStatus_t {
                let (first, second, third) = (d.$first.get(), d.$second.get(), d.$third.get());
                let convolution = d.$convolution.get();
                // SAFETY: the caller's promise.
                unsafe {
                    sys::$get(handle, first, second, convolution, third, most, count, reports)
                }
            }

            unsafe fn find(
                handle: cudnnHandle_t,
                d: &Descriptors,
                pointers: &Pointers,
                (memory, bytes): Memory,
                (most, count, reports): Room<$report>,
            ) -> cudnnStatus_t {
                let Pointers { $first: a, $second: b, $third: c } = *pointers;
                let (first, second, third) = (d.$first.get(), d.$second.get(), d.$third.get());
                let convolution = d.$convolution.get();
                // SAFETY: the caller's promise.
                unsafe {
                    sys::$find(
                        handle, first, a, second, b, convolution, third, c, most, count, reports,
                        memory, bytes,
                    )
                }
            }

            unsafe fn workspace(
                handle: cudnnHandle_t,
                d: &Descriptors,
                algorithm: $algorithm,
            ) -> CudnnResult<usize> {
                let (first, second, third) = (d.$first.get(), d.$second.get(), d.$third.get());
                let convolution = d.$convolution.get();
                // SAFETY: the caller's promise.
                unsafe {
                    result::$workspace(handle, first, second, convolution, third, algorithm)
                }
            }

            unsafe fn run(
                handle: cudnnHandle_t,
                d: &Descriptors,
                pointers: &Pointers,
                algorithm: $algorithm,
                (memory, bytes): Memory,
            ) -> CudnnResult<()> {
                let Pointers { $first: a, $second: b, $third: c } = *pointers;
                let (first, second, third) = (d.$first.get(), d.$second.get(), d.$third.get());
                let convolution = d.$convolution.get();
                // SAFETY: the caller's promise.
                unsafe {
                    result::$run(
                        handle, ONE, first, a, second, b, convolution, algorithm, memory, bytes,
                        ZERO, third, c,
                    )
                }
            }
        }
    };
}

direction! {
    /// The output.
    Forward: cudnnConvolutionFwdAlgo_t, cudnnConvolutionFwdAlgoPerf_t,
    cudnnGetConvolutionForwardAlgorithm_v7, cudnnFindConvolutionForwardAlgorithmEx,
    get_convolution_forward_workspace_size, convolution_forward,
    forward: input, filters => output
}

direction! {
    /// The gradient of the input.
    Data: cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdDataAlgoPerf_t,
    cudnnGetConvolutionBackwardDataAlgorithm_v7, cudnnFindConvolutionBackwardDataAlgorithmEx,
    get_convolution_backward_data_workspace_size, convolution_backward_data,
    data: filters, output => input
}

direction! {
    /// The gradient of the filters.
    Filter: cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionBwdFilterAlgoPerf_t,
    cudnnGetConvolutionBackwardFilterAlgorithm_v7, cudnnFindConvolutionBackwardFilterAlgorithmEx,
    get_convolution_backward_filter_workspace_size, convolution_backward_filter,
    filter: input, output => filters
}
