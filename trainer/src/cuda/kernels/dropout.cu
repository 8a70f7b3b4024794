// Dropout, with the masks that the CPU draws. A column of the grid has a row of the batch.

#include "numbers.cuh"
#include "random.cuh"

// output = input times what each number's own choice makes of it. The row's choices are counted channel by channel, the
// numbers of a row lie pixel by pixel.
template <typename T>
__device__ void apply(unsigned pixels, unsigned channels, float rate, float kept, u64 seed, u64 step, u64 layer,
                      u64 first_row, const T *input, T *output) {
    __shared__ u64 stream;
    if (threadIdx.x == 0) {
        u64 key[4] = {seed, step, layer, first_row + blockIdx.x};
        stream = stream_of(key, 4);
    }
    __syncthreads();
    unsigned count = pixels * channels;
    input += (u64)blockIdx.x * count;
    output += (u64)blockIdx.x * count;
    for (unsigned i = blockIdx.y * blockDim.x + threadIdx.x; i < count; i += gridDim.y * blockDim.x) {
        unsigned number = i % channels * pixels + i / channels;
        set(output + i, get(input[i]) * (unit(stream, number) < rate ? 0.0f : kept));
    }
}

extern "C" __global__ void dropout_f32(unsigned pixels, unsigned channels, float rate, float kept, u64 seed, u64 step,
                                       u64 layer, u64 first_row, const float *input, float *output) {
    apply(pixels, channels, rate, kept, seed, step, layer, first_row, input, output);
}

extern "C" __global__ void dropout_bf16(unsigned pixels, unsigned channels, float rate, float kept, u64 seed, u64 step,
                                        u64 layer, u64 first_row, const bf16 *input, bf16 *output) {
    apply(pixels, channels, rate, kept, seed, step, layer, first_row, input, output);
}
