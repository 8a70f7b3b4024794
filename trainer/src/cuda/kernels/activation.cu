// Bias and rectifier. A thread has one number. The buffers may be the same.

#include "numbers.cuh"

template <typename T>
__device__ void forward(unsigned count, unsigned channels, const float *bias, bool rectify, const T *input, T *output) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    float x = get(input[i]);
    if (bias)
        x += bias[i % channels];
    set(output + i, rectify ? rectified(x) : x);
}

extern "C" __global__ void activation_forward_f32(unsigned count, unsigned channels, const float *bias, bool rectify,
                                                  const float *input, float *output) {
    forward(count, channels, bias, rectify, input, output);
}

extern "C" __global__ void activation_forward_bf16(unsigned count, unsigned channels, const float *bias, bool rectify,
                                                   const bf16 *input, bf16 *output) {
    forward(count, channels, bias, rectify, input, output);
}

template <typename T>
__device__ void backward(unsigned count, const T *output, const T *d_output, T *d_input) {
    unsigned i = thread_number();
    if (i < count)
        set(d_input + i, get(output[i]) > 0.0f ? get(d_output[i]) : 0.0f);
}

extern "C" __global__ void activation_backward_f32(unsigned count, const float *output, const float *d_output,
                                                   float *d_input) {
    backward(count, output, d_output, d_input);
}

extern "C" __global__ void activation_backward_bf16(unsigned count, const bf16 *output, const bf16 *d_output,
                                                    bf16 *d_input) {
    backward(count, output, d_output, d_input);
}
