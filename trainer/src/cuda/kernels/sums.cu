// The gradient of a bias, and the second half of all sums over pixels.

#include "numbers.cuh"
#include "sums.cuh"

// parts[part][channel] = the sums of the gradient. With the output if that was rectified: then the gradient becomes 0
// first where nothing came out.
template <typename T>
__device__ void bias_gradient(unsigned pixels, unsigned channels, unsigned lanes, const T *output, T *gradient,
                              float *parts) {
    Panel panel = panel_of(lanes);
    float sum = 0.0f;
    if (panel.channel < channels) {
        for (unsigned pixel = panel.first; pixel < pixels; pixel += panel.step) {
            unsigned i = pixel * channels + panel.channel;
            float g = get(gradient[i]);
            if (output && !(get(output[i]) > 0.0f)) {
                g = 0.0f;
                set(gradient + i, g);
            }
            sum += g;
        }
    }
    sum = sum_of_lines(lanes, sum);
    if (threadIdx.x < lanes && panel.channel < channels)
        parts[blockIdx.x * channels + panel.channel] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
    bias_gradient_f32(unsigned pixels, unsigned channels, unsigned lanes, const float *output, float *gradient,
                      float *parts) {
    bias_gradient(pixels, channels, lanes, output, gradient, parts);
}

extern "C" __global__ void __launch_bounds__(256)
    bias_gradient_bf16(unsigned pixels, unsigned channels, unsigned lanes, const bf16 *output, bf16 *gradient,
                       float *parts) {
    bias_gradient(pixels, channels, lanes, output, gradient, parts);
}

// sums[quantity][channel] = the sums of parts[quantity][part][channel]. A row of the grid has a quantity, a block 32 of
// its channels.
extern "C" __global__ void __launch_bounds__(256)
    sum_parts(unsigned count, unsigned channels, const float *parts, float *sums) {
    const unsigned LANES = 32;
    unsigned channel = blockIdx.x * LANES + threadIdx.x % LANES;
    parts += blockIdx.y * count * channels;
    double sum = 0.0;
    if (channel < channels)
        for (unsigned part = threadIdx.x / LANES; part < count; part += BLOCK / LANES)
            sum += parts[part * channels + channel];
    sum = sum_of_lines(LANES, sum);
    if (threadIdx.x < LANES && channel < channels)
        sums[blockIdx.y * channels + channel] = (float)sum;
}
