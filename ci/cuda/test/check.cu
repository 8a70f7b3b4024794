// What the simulated device must be able to run, for `setup --check`.
#include <cuda_bf16.h>

template <class T> __device__ float load(const T *values, int i) { return static_cast<float>(values[i]); }

// Each block's sum, by shared memory and then by the warps' shuffles.
template <class T> __device__ void sum(const T *values, float *sums, int count) {
    __shared__ float partial[256];
    unsigned thread = threadIdx.x;
    int i = blockIdx.x * blockDim.x + thread;
    partial[thread] = i < count ? load(values, i) : 0.0f;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half >= 32; half /= 2) {
        if (thread < half) partial[thread] = __fadd_rn(partial[thread], partial[thread + half]);
        __syncthreads();
    }
    if (thread >= 32) return;
    float total = partial[thread];
    for (int offset = 16; offset > 0; offset /= 2) total += __shfl_down_sync(0xFFFFFFFF, total, offset);
    if (thread == 0) sums[blockIdx.x] = total;
}

extern "C" __global__ void __launch_bounds__(256) sum_f32(const float *__restrict__ values, float *sums, int count) {
    sum(values, sums, count);
}
extern "C" __global__ void sum_bf16(const __nv_bfloat16 *values,
                                    float *sums, int count) {
    sum(values, sums, count);
}

#define SCALE(NAME, T)                                                                                                 \
    extern "C" __global__ void NAME(T *values, T factor, unsigned long long count) {                                   \
        unsigned long long i = blockIdx.x * blockDim.x + threadIdx.x;                                                  \
        if (i < count) values[i] = values[i] * factor;                                                                 \
    }
SCALE(scale_f32, float)
SCALE(scale_bf16, __nv_bfloat16)

extern "C" __global__ void count_up(unsigned long long *counter) { atomicAdd(counter, 1ULL); }

// Wrong on purpose, when launched with more threads than there are values.
extern "C" __global__ void kernel_writes(float *values) { values[threadIdx.x] = 1.0f; }
extern "C" __global__ void kernel_reads(const float *values, float *sum) { *sum += values[threadIdx.x]; }
extern "C" __global__ void kernel_loses(float *values) {
    if (threadIdx.x == 0) __syncthreads();
    else values[0] = __shfl_xor_sync(0xFFFFFFFF, values[0], 1);
}

// Finds NaN: shared memory is not set at a block's start, whatever the block before left there.
extern "C" __global__ void leftover(float *found) {
    __shared__ float unset[8];
    found[blockIdx.x] = unset[threadIdx.x];
    unset[threadIdx.x] = 1.0f;
}
