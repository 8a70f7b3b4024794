//! How the rows of a batch are shared out among threads.

/// The rows of a batch that are summed up together, chunk by chunk. It follows from their number alone, so sums over
/// the batch are the same to the bit for any number of threads.
pub(crate) fn chunk_rows(rows: usize) -> usize {
    rows.div_ceil((rows / 8).clamp(1, 8))
}

/// The rows that a thread takes at once where nothing is summed up: a quarter of its share, so that threads that are
/// held up can be helped, and a few where there are many.
pub(crate) fn block_rows(rows: usize) -> usize {
    (rows / (4 * rayon::current_num_threads())).clamp(1, 8)
}
