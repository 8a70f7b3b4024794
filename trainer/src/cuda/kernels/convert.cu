// From one type of numbers to another. A thread has one number.

#include "numbers.cuh"

extern "C" __global__ void convert_f32(unsigned count, const float *input, float *output) {
    unsigned i = thread_number();
    if (i < count)
        output[i] = input[i];
}

extern "C" __global__ void convert_bf16(unsigned count, const float *input, bf16 *output) {
    unsigned i = thread_number();
    if (i < count)
        set(output + i, input[i]);
}
