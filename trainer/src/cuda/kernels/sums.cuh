// How sums over pixels are shared out, channel by channel, so that they are the same bits each time.
//
// A block has a panel of `lanes` channels side by side, a power of 2 up to 32, and 256 / lanes lines of threads, which
// take pixels in turns. The blocks of a column of the grid share out the pixels, and each leaves its part of the sums
// behind; a second kernel adds up the parts.

#pragma once

const unsigned BLOCK = 256;

struct Panel {
    // This thread's channel, which may be one too many, and its first pixel.
    unsigned channel, first;
    // Pixels from one of this thread's to the next.
    unsigned step;
};

__device__ inline Panel panel_of(unsigned lanes) {
    unsigned lines = BLOCK / lanes;
    unsigned lane = threadIdx.x % lanes, line = threadIdx.x / lanes;
    return {blockIdx.y * lanes + lane, blockIdx.x * lines + line, gridDim.x * lines};
}

// Adds up the numbers of all lines: the first line's threads get the sums. All threads of the block must call it.
template <typename T> __device__ T sum_of_lines(unsigned lanes, T own) {
    __shared__ T sums[BLOCK];
    sums[threadIdx.x] = own;
    for (unsigned half = BLOCK / 2; half >= lanes; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    T sum = sums[threadIdx.x];
    // The next call writes here.
    __syncthreads();
    return sum;
}
