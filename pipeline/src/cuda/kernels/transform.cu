// From the bytes of samples to the values of a batch, to the bit as the host computes them (src/transform/): each operation is
// rounded by itself, in the same order and precision.

#include <cuda_bf16.h>

typedef unsigned long long u64;

// What the kernels below know of a program (src/transform/lowered.rs).
const unsigned PADDING = 0xFFFFFFFFu; // in the place of a sample's number
const int PLACE_WORDS = 4;            // of a row's plan: sample, top, left, flipped; what is drawn follows
const int MOST_CHANNELS = 64;
enum Kind { LINES, BRIGHTNESS, CONTRAST, STANDARDIZE };

// The line `first`, then `next`.
struct Line {
    double factor, offset;
};
__device__ inline double at(Line line, double value) { return __dadd_rn(__dmul_rn(value, line.factor), line.offset); }
__device__ inline Line then(Line first, Line next) {
    return {__dmul_rn(first.factor, next.factor), __dadd_rn(__dmul_rn(first.offset, next.factor), next.offset)};
}
// (value - center) * factor + target
__device__ inline Line around(double center, double factor, double target) {
    return {factor, __dsub_rn(target, __dmul_rn(center, factor))};
}

// Where the lines of a row's channels lie: a block for each row. What depends on a channel's mean and variance is exact, as
// bytes and their squares are added up in integers.
extern "C" __global__ void __launch_bounds__(256)
    transform_lines(const unsigned *plans, int plan_words, const unsigned char *pixels, int channels, int height, int width,
                    int rows_out, int columns_out, const unsigned *kinds, const double *constants, int operations,
                    int needs_moments, float *lines) {
    __shared__ u64 sums[MOST_CHANNELS];
    __shared__ u64 squares[MOST_CHANNELS];
    __shared__ double means[MOST_CHANNELS];
    __shared__ double variances[MOST_CHANNELS];
    __shared__ double factors[MOST_CHANNELS];
    __shared__ double offsets[MOST_CHANNELS];
    const unsigned *plan = plans + (size_t)blockIdx.x * plan_words;
    int thread = (int)threadIdx.x;
    if (plan[0] == PADDING) return; // for the whole block

    if (thread < channels) {
        sums[thread] = squares[thread] = 0;
        factors[thread] = 1.0;
        offsets[thread] = 0.0;
    }
    __syncthreads();
    if (needs_moments) {
        // The part of the window that lies in the picture; the rest is zeros.
        int top = (int)plan[1], left = (int)plan[2];
        int y0 = max(top, 0), x0 = max(left, 0);
        int inside_height = min(top + rows_out, height) - y0, inside_width = min(left + columns_out, width) - x0;
        int inside = inside_height > 0 && inside_width > 0 ? inside_height * inside_width : 0;
        const unsigned char *picture = pixels + (size_t)plan[0] * channels * height * width;
        for (int c = 0; c < channels; c++) {
            const unsigned char *corner = picture + ((size_t)c * height + y0) * width + x0;
            u64 sum = 0, square = 0;
            for (int i = thread; i < inside; i += (int)blockDim.x) {
                unsigned byte = corner[(size_t)(i / inside_width) * width + i % inside_width];
                sum += byte;
                square += byte * byte;
            }
            for (int distance = 16; distance > 0; distance /= 2) {
                sum += __shfl_down_sync(0xFFFFFFFFu, sum, distance);
                square += __shfl_down_sync(0xFFFFFFFFu, square, distance);
            }
            if (thread % 32 == 0) {
                atomicAdd(&sums[c], sum); // integers: the order doesn't matter
                atomicAdd(&squares[c], square);
            }
        }
        __syncthreads();
        if (thread < channels) {
            u64 count = (u64)rows_out * columns_out;
            u64 spread = count * squares[thread] - sums[thread] * sums[thread];
            means[thread] = __ddiv_rn((double)sums[thread], (double)count);
            variances[thread] = __ddiv_rn((double)spread, (double)(count * count));
        }
        __syncthreads();
    }

    for (int i = 0; i < operations; i++) {
        Line line = {1.0, 0.0};
        if (thread < channels) {
            line = {factors[thread], offsets[thread]};
            double drawn = (double)__uint_as_float(plan[PLACE_WORDS + i]);
            if (kinds[i] == LINES) {
                const double *constant = constants + 2 * ((size_t)i * channels + thread);
                line = then(line, {constant[0], constant[1]});
            } else if (kinds[i] == BRIGHTNESS) {
                line.offset = __dadd_rn(line.offset, drawn);
            } else if (kinds[i] == CONTRAST) {
                double mean = at(line, means[thread]);
                line = then(line, around(mean, drawn, mean));
            } else {
                double count = (double)channels, mean = 0.0, variance = 0.0;
                for (int c = 0; c < channels; c++) mean = __dadd_rn(mean, at({factors[c], offsets[c]}, means[c]));
                mean = __ddiv_rn(mean, count);
                for (int c = 0; c < channels; c++) {
                    double apart = __dsub_rn(at({factors[c], offsets[c]}, means[c]), mean);
                    double own = __dmul_rn(__dmul_rn(factors[c], factors[c]), variances[c]);
                    variance = __dadd_rn(variance, __dadd_rn(own, __dmul_rn(apart, apart)));
                }
                variance = __ddiv_rn(variance, count);
                double values = __dmul_rn((double)((u64)rows_out * columns_out), count);
                double least = __ddiv_rn(1.0, __dsqrt_rn(values));
                line = then(line, around(mean, __ddiv_rn(1.0, fmax(__dsqrt_rn(variance), least)), 0.0));
            }
        }
        __syncthreads(); // all have read
        if (thread < channels) {
            factors[thread] = line.factor;
            offsets[thread] = line.offset;
        }
        __syncthreads();
    }
    if (thread < channels) {
        float *own = lines + 2 * ((size_t)blockIdx.x * channels + thread);
        own[0] = (float)factors[thread];
        own[1] = (float)offsets[thread];
    }
}

template <typename T> __device__ inline T rounded(float value);
template <> __device__ inline float rounded<float>(float value) { return value; }
template <> __device__ inline __nv_bfloat16 rounded<__nv_bfloat16>(float value) { return __float2bfloat16_rn(value); }

// Values that a thread writes, one block apart.
const int VALUES = 4;

// Reads each row's window and writes each value once: a block for each part of a row, neighbouring threads write
// neighbouring values. `line_stride` is the lines between two rows: 0 if all share them.
template <typename T, bool NHWC>
__device__ void transform(const unsigned *plans, int plan_words, const unsigned char *pixels, const unsigned *labels,
                          int channels, int height, int width, int rows_out, int columns_out, const float *lines,
                          int line_stride, int parts, T *images, unsigned *labels_out) {
    unsigned row = blockIdx.x / parts, part = blockIdx.x % parts;
    const unsigned *plan = plans + (size_t)row * plan_words;
    unsigned sample = plan[0];
    int top = (int)plan[1], left = (int)plan[2], flipped = (int)plan[3];
    unsigned plane = (unsigned)rows_out * columns_out, values = plane * channels;
    const unsigned char *picture = pixels + (size_t)(sample == PADDING ? 0 : sample) * channels * height * width;
    const float *own = lines + 2 * (size_t)row * line_stride;
    T *output = images + (size_t)row * values;
    if (part == 0 && threadIdx.x == 0) labels_out[row] = sample == PADDING ? 0 : labels[sample];
    for (int k = 0; k < VALUES; k++) {
        unsigned i = (part * VALUES + k) * blockDim.x + threadIdx.x;
        if (i >= values) return;
        if (sample == PADDING) {
            output[i] = rounded<T>(0.0f);
            continue;
        }
        unsigned channel = NHWC ? i % channels : i / plane;
        unsigned pixel = NHWC ? i / channels : i % plane;
        int y = (int)(pixel / columns_out), x = (int)(pixel % columns_out);
        x = left + (flipped ? columns_out - 1 - x : x);
        y = top + y;
        bool inside = y >= 0 && y < height && x >= 0 && x < width;
        float byte = inside ? (float)picture[((size_t)channel * height + y) * width + x] : 0.0f;
        output[i] = rounded<T>(__fadd_rn(__fmul_rn(byte, own[2 * channel]), own[2 * channel + 1]));
    }
}

// Values that the host has computed (NCHW), in the order of the batch, and their labels.
template <typename T, bool NHWC>
__device__ void arrange(const T *values, const unsigned *labels, int channels, int plane, int parts, T *images,
                        unsigned *labels_out) {
    unsigned row = blockIdx.x / parts, part = blockIdx.x % parts, count = (unsigned)plane * channels;
    const T *input = values + (size_t)row * count;
    T *output = images + (size_t)row * count;
    if (part == 0 && threadIdx.x == 0) labels_out[row] = labels[row];
    for (int k = 0; k < VALUES; k++) {
        unsigned i = (part * VALUES + k) * blockDim.x + threadIdx.x;
        if (i >= count) return;
        output[i] = input[NHWC ? i % channels * plane + i / channels : i];
    }
}

#define KERNELS(T, NHWC, NAME)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) transform_##NAME(                                                 \
        const unsigned *plans, int plan_words, const unsigned char *pixels, const unsigned *labels, int channels,       \
        int height, int width, int rows_out, int columns_out, const float *lines, int line_stride, int parts,           \
        T *images, unsigned *labels_out) {                                                                              \
        transform<T, NHWC>(plans, plan_words, pixels, labels, channels, height, width, rows_out, columns_out, lines,    \
                           line_stride, parts, images, labels_out);                                                     \
    }                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(256)                                                                   \
        arrange_##NAME(const T *values, const unsigned *labels, int channels, int plane, int parts,      \
                       T *images, unsigned *labels_out) {                                                               \
        arrange<T, NHWC>(values, labels, channels, plane, parts, images, labels_out);                             \
    }
KERNELS(float, false, nchw_f32)
KERNELS(float, true, nhwc_f32)
KERNELS(__nv_bfloat16, false, nchw_bf16)
KERNELS(__nv_bfloat16, true, nhwc_bf16)
