// Borders around pictures, and numbers as float. A thread has one number.

#include "numbers.cuh"

// Copies pictures into pictures of another size, corner on corner: what is beyond an edge is cut off, or 0.
template <typename T>
__device__ void border(unsigned count, unsigned from_height, unsigned from_width, unsigned height, unsigned width,
                       unsigned channels, const T *input, T *output) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    unsigned channel = i % channels, pixel = i / channels;
    unsigned x = pixel % width, y = pixel / width % height, row = pixel / width / height;
    bool inside = x < from_width && y < from_height;
    unsigned place = ((row * from_height + y) * from_width + x) * channels + channel;
    set(output + i, inside ? get(input[place]) : 0.0f);
}

extern "C" __global__ void border_f32(unsigned count, unsigned from_height, unsigned from_width, unsigned height,
                                      unsigned width, unsigned channels, const float *input, float *output) {
    border(count, from_height, from_width, height, width, channels, input, output);
}

extern "C" __global__ void border_bf16(unsigned count, unsigned from_height, unsigned from_width, unsigned height,
                                       unsigned width, unsigned channels, const bf16 *input, bf16 *output) {
    border(count, from_height, from_width, height, width, channels, input, output);
}

template <typename T> __device__ void widen(unsigned count, const T *input, float *output) {
    unsigned i = thread_number();
    if (i < count)
        output[i] = get(input[i]);
}

extern "C" __global__ void widen_f32(unsigned count, const float *input, float *output) { widen(count, input, output); }

extern "C" __global__ void widen_bf16(unsigned count, const bf16 *input, float *output) { widen(count, input, output); }
