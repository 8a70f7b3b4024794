// Softmax and cross-entropy. A warp has one row of logits.

#include "numbers.cuh"

const unsigned WARP = 32;

// A logit and its class.
struct Largest {
    float value;
    unsigned place;
};

// Of equal values the first counts; NaN counts as the largest, and of several the last.
__device__ inline Largest larger(Largest a, Largest b) {
    bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    bool first = a_nan || b_nan ? a_nan && (!b_nan || a.place > b.place)
                                : a.value > b.value || (a.value == b.value && a.place < b.place);
    return first ? a : b;
}

template <typename T>
__device__ void cross_entropy(unsigned rows, unsigned classes, float share, const T *logits, const unsigned *labels,
                              float *losses, T *gradient) {
    unsigned row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= rows)
        return;
    logits += (size_t)row * classes;

    Largest largest = {-INFINITY, ~0u};
    for (unsigned i = lane; i < classes; i += WARP)
        largest = larger(largest, {get(logits[i]), i});
    for (unsigned apart = WARP / 2; apart > 0; apart /= 2) {
        float value = __shfl_xor_sync(~0u, largest.value, apart);
        unsigned place = __shfl_xor_sync(~0u, largest.place, apart);
        largest = larger(largest, {value, place});
    }

    // The largest logit is subtracted, so that none is too large for the exponential.
    float top = largest.value, sum = 0.0f;
    for (unsigned i = lane; i < classes; i += WARP)
        sum += expf(get(logits[i]) - top);
    for (unsigned apart = WARP / 2; apart > 0; apart /= 2)
        sum += __shfl_xor_sync(~0u, sum, apart);

    unsigned label = labels[row];
    bool known = label < classes;
    if (lane == 0) {
        losses[2 * row] = known ? logf(sum) - (get(logits[label]) - top) : NAN;
        losses[2 * row + 1] = known && largest.place == label ? 1.0f : 0.0f;
    }
    if (!gradient)
        return;
    gradient += (size_t)row * classes;
    float factor = known ? share / sum : NAN;
    for (unsigned i = lane; i < classes; i += WARP) {
        float softmax = expf(get(logits[i]) - top) * factor;
        set(gradient + i, i == label ? softmax - share : softmax);
    }
}

extern "C" __global__ void cross_entropy_f32(unsigned rows, unsigned classes, float share, const float *logits,
                                             const unsigned *labels, float *losses, float *gradient) {
    cross_entropy(rows, classes, share, logits, labels, losses, gradient);
}

extern "C" __global__ void cross_entropy_bf16(unsigned rows, unsigned classes, float share, const bf16 *logits,
                                              const unsigned *labels, float *losses, bf16 *gradient) {
    cross_entropy(rows, classes, share, logits, labels, losses, gradient);
}

const unsigned BLOCK = 256;

// Adds up the pairs of all rows, in the same order each time. One block, whose first thread gets the sums.
__device__ inline void sum_up(unsigned rows, const float *losses, double *loss, double *right) {
    __shared__ double sums[2][BLOCK];
    double own[2] = {0.0, 0.0};
    for (unsigned row = threadIdx.x; row < rows; row += BLOCK)
        for (unsigned i = 0; i < 2; i++)
            own[i] += losses[2 * row + i];
    for (unsigned i = 0; i < 2; i++)
        sums[i][threadIdx.x] = own[i];
    for (unsigned half = BLOCK / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half)
            for (unsigned i = 0; i < 2; i++)
                sums[i][threadIdx.x] += sums[i][threadIdx.x + half];
    }
    *loss = sums[0][0];
    *right = sums[1][0];
}

extern "C" __global__ void __launch_bounds__(256) loss_totals(unsigned rows, const float *losses, float *totals) {
    double loss, right;
    sum_up(rows, losses, &loss, &right);
    if (threadIdx.x == 0) {
        totals[0] = (float)loss;
        totals[1] = (float)right;
    }
}

extern "C" __global__ void __launch_bounds__(256) add_loss_totals(unsigned rows, const float *losses, double *totals) {
    double loss, right;
    sum_up(rows, losses, &loss, &right);
    if (threadIdx.x == 0) {
        totals[0] += loss;
        totals[1] += right;
    }
}
