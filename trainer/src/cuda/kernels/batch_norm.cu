// Batch normalization with moments that are known, and its gradients.

#include "numbers.cuh"
#include "sums.cuh"

// output = (input − mean) · scale / deviation + shift, rectified if asked for. A thread has one number.
template <typename T>
__device__ void normalize(unsigned count, unsigned channels, bool rectify, const float *means, const float *inverses,
                          const float *scales, const float *shifts, const T *input, T *output) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    unsigned channel = i % channels;
    float factor = scales[channel] * inverses[channel];
    float y = (get(input[i]) - means[channel]) * factor + shifts[channel];
    set(output + i, rectify ? rectified(y) : y);
}

extern "C" __global__ void normalize_f32(unsigned count, unsigned channels, bool rectify, const float *means,
                                         const float *inverses, const float *scales, const float *shifts,
                                         const float *input, float *output) {
    normalize(count, channels, rectify, means, inverses, scales, shifts, input, output);
}

extern "C" __global__ void normalize_bf16(unsigned count, unsigned channels, bool rectify, const float *means,
                                          const float *inverses, const float *scales, const float *shifts,
                                          const bf16 *input, bf16 *output) {
    normalize(count, channels, rectify, means, inverses, scales, shifts, input, output);
}

// The gradient of what was normalized: none where the rectified output, if it was, is not above 0.
template <typename T> __device__ float passed(const T *output, const T *d_output, unsigned i) {
    return !output || get(output[i]) > 0.0f ? get(d_output[i]) : 0.0f;
}

// parts[quantity][part][channel]: the sums of the gradient, and of its products with input − mean.
template <typename T>
__device__ void gradient_sums(unsigned pixels, unsigned channels, unsigned lanes, const float *means, const T *input,
                              const T *output, const T *d_output, float *parts) {
    Panel panel = panel_of(lanes);
    float sum = 0.0f, product = 0.0f;
    if (panel.channel < channels) {
        float mean = means[panel.channel];
        for (unsigned pixel = panel.first; pixel < pixels; pixel += panel.step) {
            unsigned i = pixel * channels + panel.channel;
            float g = passed(output, d_output, i);
            sum += g;
            product += g * (get(input[i]) - mean);
        }
    }
    sum = sum_of_lines(lanes, sum);
    product = sum_of_lines(lanes, product);
    if (threadIdx.x < lanes && panel.channel < channels) {
        parts += blockIdx.x * channels + panel.channel;
        parts[0] = sum;
        parts[gridDim.x * channels] = product;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    gradient_sums_f32(unsigned pixels, unsigned channels, unsigned lanes, const float *means, const float *input,
                      const float *output, const float *d_output, float *parts) {
    gradient_sums(pixels, channels, lanes, means, input, output, d_output, parts);
}

extern "C" __global__ void __launch_bounds__(256)
    gradient_sums_bf16(unsigned pixels, unsigned channels, unsigned lanes, const float *means, const bf16 *input,
                       const bf16 *output, const bf16 *d_output, float *parts) {
    gradient_sums(pixels, channels, lanes, means, input, output, d_output, parts);
}

// The gradients of scale and shift, from sums[quantity][channel] of this rank's rows.
extern "C" __global__ void line_gradient(unsigned channels, const float *sums, const float *inverses, float *d_scales,
                                         float *d_shifts) {
    unsigned channel = thread_number();
    if (channel >= channels)
        return;
    d_scales[channel] = sums[channels + channel] * inverses[channel];
    d_shifts[channel] = sums[channel];
}

// The gradient of the input, from sums[quantity][channel] over all `totals[channels]` numbers of a channel. Without
// totals, mean and variance are not the batch's. A thread has one number.
template <typename T>
__device__ void gradient(unsigned count, unsigned channels, const float *means, const float *inverses,
                         const float *scales, const float *sums, const float *totals, const T *input, const T *output,
                         const T *d_output, T *d_input) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    unsigned channel = i % channels;
    float g = passed(output, d_output, i), inverse = inverses[channel];
    if (totals) {
        float part = 1.0f / totals[channels];
        float normalized = (get(input[i]) - means[channel]) * inverse;
        g -= (sums[channel] + normalized * (sums[channels + channel] * inverse)) * part;
    }
    set(d_input + i, g * (scales[channel] * inverse));
}

extern "C" __global__ void normalize_gradient_f32(unsigned count, unsigned channels, const float *means,
                                                  const float *inverses, const float *scales, const float *sums,
                                                  const float *totals, const float *input, const float *output,
                                                  const float *d_output, float *d_input) {
    gradient(count, channels, means, inverses, scales, sums, totals, input, output, d_output, d_input);
}

extern "C" __global__ void normalize_gradient_bf16(unsigned count, unsigned channels, const float *means,
                                                   const float *inverses, const float *scales, const float *sums,
                                                   const float *totals, const bf16 *input, const bf16 *output,
                                                   const bf16 *d_output, bf16 *d_input) {
    gradient(count, channels, means, inverses, scales, sums, totals, input, output, d_output, d_input);
}
