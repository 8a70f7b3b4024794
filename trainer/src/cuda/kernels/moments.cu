// Mean and variance of each channel of a batch.

#include "numbers.cuh"
#include "sums.cuh"

#include "moments.cuh"

// parts[count, mean or squares][part][channel]
template <typename T>
__device__ void moments(unsigned pixels, unsigned channels, unsigned lanes, const T *input, float *parts) {
    Panel panel = panel_of(lanes);
    Moments<float> own = {0.0f, 0.0f, 0.0f};
    if (panel.channel < channels)
        for (unsigned pixel = panel.first; pixel < pixels; pixel += panel.step)
            own.add(get(input[pixel * channels + panel.channel]));
    merge_lines(lanes, own);
    if (threadIdx.x < lanes && panel.channel < channels) {
        unsigned quantity = gridDim.x * channels;
        parts += blockIdx.x * channels + panel.channel;
        parts[0] = own.count;
        parts[quantity] = own.mean;
        parts[2 * quantity] = own.squares;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    moments_f32(unsigned pixels, unsigned channels, unsigned lanes, const float *input, float *parts) {
    moments(pixels, channels, lanes, input, parts);
}

extern "C" __global__ void __launch_bounds__(256)
    moments_bf16(unsigned pixels, unsigned channels, unsigned lanes, const bf16 *input, float *parts) {
    moments(pixels, channels, lanes, input, parts);
}

// Merges the parts. `means` and `squares` (sums of squared distances) are of each channel; `totals` get each channel's sum,
// and at last the count of its numbers: what ranks add up to have the mean of all.
extern "C" __global__ void __launch_bounds__(256)
    merge_moments(unsigned count, unsigned channels, const float *parts, float *means, float *squares, float *totals) {
    const unsigned LANES = 32;
    unsigned channel = blockIdx.x * LANES + threadIdx.x % LANES, quantity = count * channels;
    Moments<double> own = {0.0, 0.0, 0.0};
    if (channel < channels) {
        for (unsigned part = threadIdx.x / LANES; part < count; part += BLOCK / LANES) {
            const float *from = parts + part * channels + channel;
            own.merge(from[0], from[quantity], from[2 * quantity]);
        }
    }
    merge_lines(LANES, own);
    if (threadIdx.x < LANES && channel < channels) {
        means[channel] = (float)own.mean;
        squares[channel] = (float)own.squares;
        totals[channel] = (float)(own.mean * own.count);
        if (channel == 0)
            totals[channels] = (float)own.count;
    }
}

// After `totals` were added up over all ranks: from this rank's mean to the mean of all, and to the squares around it.
extern "C" __global__ void move_moments(unsigned pixels, unsigned channels, const float *totals, float *means,
                                        float *squares) {
    unsigned channel = thread_number();
    if (channel >= channels)
        return;
    double mean = (double)totals[channel] / totals[channels], distance = means[channel] - mean;
    means[channel] = (float)mean;
    squares[channel] = (float)(squares[channel] + pixels * distance * distance);
}

// After `squares` were added up: 1 / √(variance + ε), and the running statistics move towards the batch's.
extern "C" __global__ void follow_moments(unsigned channels, double momentum, double epsilon, const float *totals,
                                          const float *means, const float *squares, float *inverses,
                                          float *running_means, float *running_variances) {
    unsigned channel = thread_number();
    if (channel >= channels)
        return;
    double count = totals[channels], sum = squares[channel];
    inverses[channel] = (float)(1.0 / sqrt(sum / count + epsilon));
    // The unbiased estimate, as PyTorch and TensorFlow's fused layer keep it.
    double variance = sum / ((count < 2.0 ? 2.0 : count) - 1.0);
    running_means[channel] = (float)(running_means[channel] * momentum + means[channel] * (1.0 - momentum));
    running_variances[channel] = (float)(running_variances[channel] * momentum + variance * (1.0 - momentum));
}

// Mean and 1 / √(variance + ε) of the running statistics.
extern "C" __global__ void running_moments(unsigned channels, double epsilon, const float *running_means,
                                           const float *running_variances, float *means, float *inverses) {
    unsigned channel = thread_number();
    if (channel >= channels)
        return;
    means[channel] = running_means[channel];
    inverses[channel] = (float)(1.0 / sqrt(running_variances[channel] + epsilon));
}
