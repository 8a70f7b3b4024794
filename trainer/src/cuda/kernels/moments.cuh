// Mean and squared distances of some numbers, which can be merged (Welford; Chan, Golub, LeVeque: "Updating Formulae and
// a Pairwise Algorithm for Computing Sample Variances", 1979): exact where sums of squares would cancel.

#pragma once

template <typename T> struct Moments {
    T count, mean, squares;

    __device__ void add(T number) {
        count += 1;
        T distance = number - mean;
        mean += distance / count;
        squares += distance * (number - mean);
    }

    __device__ void merge(T other_count, T other_mean, T other_squares) {
        if (other_count == 0)
            return;
        T both = count + other_count;
        T distance = other_mean - mean, part = other_count / both;
        mean += distance * part;
        squares += other_squares + distance * distance * count * part;
        count = both;
    }
};

// Merges those of all lines: the first line's threads get the result. All threads of the block must call it.
template <typename T> __device__ void merge_lines(unsigned lanes, Moments<T> &own) {
    __shared__ T counts[BLOCK], means[BLOCK], squares[BLOCK];
    unsigned i = threadIdx.x;
    for (unsigned half = BLOCK / 2; half >= lanes; half /= 2) {
        if (i >= half && i < 2 * half) {
            counts[i] = own.count;
            means[i] = own.mean;
            squares[i] = own.squares;
        }
        __syncthreads();
        if (i < half)
            own.merge(counts[i + half], means[i + half], squares[i + half]);
        __syncthreads();
    }
}
