// Steps of the optimizers, with the bits of the CPU: every operation is rounded by itself, none is fused. A thread has one
// parameter.

#include "numbers.cuh"

template <typename T>
__device__ void adam(unsigned count, float rate, float beta1, float beta2, float epsilon, float *values,
                     const float *gradients, float *means, float *squares, T *copy) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    float g = gradients[i], mean = means[i], square = squares[i];
    mean = __fadd_rn(mean, __fmul_rn(__fsub_rn(1.0f, beta1), __fsub_rn(g, mean)));
    square = __fadd_rn(square, __fmul_rn(__fsub_rn(1.0f, beta2), __fsub_rn(__fmul_rn(g, g), square)));
    float step = __fdiv_rn(__fmul_rn(rate, mean), __fadd_rn(sqrtf(square), epsilon));
    float value = __fsub_rn(values[i], step);
    means[i] = mean;
    squares[i] = square;
    values[i] = value;
    if (copy)
        set(copy + i, value);
}

extern "C" __global__ void adam_f32(unsigned count, float rate, float beta1, float beta2, float epsilon, float *values,
                                    const float *gradients, float *means, float *squares, float *copy) {
    adam(count, rate, beta1, beta2, epsilon, values, gradients, means, squares, copy);
}

extern "C" __global__ void adam_bf16(unsigned count, float rate, float beta1, float beta2, float epsilon, float *values,
                                     const float *gradients, float *means, float *squares, bf16 *copy) {
    adam(count, rate, beta1, beta2, epsilon, values, gradients, means, squares, copy);
}

template <typename T>
__device__ void sgd(unsigned count, float rate, float momentum, bool nesterov, float *values, const float *gradients,
                    float *velocities, T *copy) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    float down = __fmul_rn(rate, gradients[i]);
    float velocity = __fsub_rn(__fmul_rn(momentum, velocities[i]), down);
    float step = nesterov ? __fsub_rn(__fmul_rn(momentum, velocity), down) : velocity;
    float value = __fadd_rn(values[i], step);
    velocities[i] = velocity;
    values[i] = value;
    if (copy)
        set(copy + i, value);
}

extern "C" __global__ void sgd_f32(unsigned count, float rate, float momentum, bool nesterov, float *values,
                                   const float *gradients, float *velocities, float *copy) {
    sgd(count, rate, momentum, nesterov, values, gradients, velocities, copy);
}

extern "C" __global__ void sgd_bf16(unsigned count, float rate, float momentum, bool nesterov, float *values,
                                    const float *gradients, float *velocities, bf16 *copy) {
    sgd(count, rate, momentum, nesterov, values, gradients, velocities, copy);
}
