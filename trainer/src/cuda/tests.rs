//! What the tests on GPUs have in common.

use feedline_pipeline::cuda::Gpu;

/// Whether there are GPUs: without, a test says that it is skipped. A GPU that is there and can't be used fails the test.
pub(super) fn gpus() -> bool {
    match Gpu::count() {
        Ok(_) => true,
        Err(error @ feedline_pipeline::Error::NoGpu { .. }) => {
            eprintln!("skipped: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}
