//! Memory that MPI reads and writes.

use std::ops::AddAssign;

use mpi::ffi;

/// The types of numbers that travel between processes.
pub(super) trait Element: Copy + Default + AddAssign + Send + 'static {
    /// MPI's name for it.
    fn datatype() -> ffi::MPI_Datatype;
}

impl Element for f32 {
    fn datatype() -> ffi::MPI_Datatype {
        // SAFETY: the library's names never change.
        unsafe { ffi::RSMPI_FLOAT }
    }
}

impl Element for f64 {
    fn datatype() -> ffi::MPI_Datatype {
        // SAFETY: as above.
        unsafe { ffi::RSMPI_DOUBLE }
    }
}

impl Element for u64 {
    fn datatype() -> ffi::MPI_Datatype {
        // SAFETY: as above.
        unsafe { ffi::RSMPI_UINT64_T }
    }
}

/// What is sent, and what comes. They grow to what is needed and are kept, so that a call allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Buffers<T> {
    pub(super) sent: Vec<T>,
    pub(super) received: Vec<T>,
}

impl<T: Element> Buffers<T> {
    /// Makes room.
    pub(super) fn reserve(&mut self, sent: usize, received: usize) {
        for (values, length) in [(&mut self.sent, sent), (&mut self.received, received)] {
            if values.len() < length {
                values.resize(length, T::default());
            }
        }
    }

    /// Puts the sums of all that was received, `length` values from each rank, into the first `length` to be sent: those
    /// of the ranks in their order, so that the bits are those of every other run.
    pub(super) fn add_up(&mut self, length: usize, world_size: usize) {
        let sums = &mut self.sent[..length];
        let mut ranks = self.received[..length * world_size].chunks_exact(length.max(1));
        if let Some(first) = ranks.next() {
            sums.copy_from_slice(first);
        }
        for values in ranks {
            sums.iter_mut().zip(values).for_each(|(sum, &x)| *sum += x);
        }
    }
}
