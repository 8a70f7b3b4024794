// Max-pooling. A thread has one number of the result.

#include "numbers.cuh"

struct Pool {
    unsigned height, width, channels;
    unsigned pooled_height, pooled_width;
    // Pixels along a side of a window, and from one window to the next.
    unsigned window, step;
    // How far the first window begins above the first row, and left of the first column.
    unsigned top, left;
};

// The part of a window that lies in a picture, along one side of `size` pixels, when the window begins at `start` after
// `before` pixels of nothing.
struct Inside {
    unsigned first, end;
    __device__ Inside(unsigned window, unsigned start, unsigned before, unsigned size)
        : first(before > start ? before - start : 0), end(min(window, size + before - start)) {}
};

// No place in a window: those are below 2^16.
constexpr unsigned NOWHERE = ~0u;

template <typename T>
__device__ void forward(unsigned count, Pool pool, const float *bias, bool rectify, const T *input, T *output,
                        unsigned short *places) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    unsigned channel = i % pool.channels, pixel = i / pool.channels;
    unsigned x = pixel % pool.pooled_width * pool.step;
    unsigned y = pixel / pool.pooled_width % pool.pooled_height * pool.step;
    unsigned picture = pixel / pool.pooled_width / pool.pooled_height;
    Inside rows(pool.window, y, pool.top, pool.height), columns(pool.window, x, pool.left, pool.width);
    // Before the comparison, because different numbers may be equal with it.
    float added = bias ? bias[channel] : 0.0f;
    float largest = 0.0f;
    unsigned place = NOWHERE;
    for (unsigned row = rows.first; row < rows.end; row++) {
        unsigned line = (picture * pool.height + y + row - pool.top) * pool.width + x - pool.left;
        for (unsigned column = columns.first; column < columns.end; column++) {
            float value = get(input[(line + column) * pool.channels + channel]);
            if (bias)
                value += added;
            // NaN counts as the largest.
            if (value > largest || value != value || place == NOWHERE) {
                largest = value;
                place = row * pool.window + column;
            }
        }
    }
    set(output + i, rectify ? rectified(largest) : largest);
    places[i] = (unsigned short)place;
}

extern "C" __global__ void pool_forward_f32(unsigned count, Pool pool, const float *bias, bool rectify,
                                            const float *input, float *output, unsigned short *places) {
    forward(count, pool, bias, rectify, input, output, places);
}

extern "C" __global__ void pool_forward_bf16(unsigned count, Pool pool, const float *bias, bool rectify,
                                             const bf16 *input, bf16 *output, unsigned short *places) {
    forward(count, pool, bias, rectify, input, output, places);
}

// The windows that contain a pixel, along one side with these many windows.
struct Windows {
    unsigned first, end;
    __device__ Windows(unsigned place, unsigned window, unsigned step, unsigned count)
        : first(place < window ? 0 : (place - window) / step + 1), end(min(count, place / step + 1)) {}
};

// A pixel asks all windows that contain it whether they took it: nothing is added to by two threads.
template <typename T>
__device__ void backward(unsigned count, Pool pool, const T *output, const unsigned short *places, const T *d_output,
                         T *d_input) {
    unsigned i = thread_number();
    if (i >= count)
        return;
    unsigned channel = i % pool.channels, pixel = i / pool.channels;
    unsigned x = pixel % pool.width + pool.left;
    unsigned y = pixel / pool.width % pool.height + pool.top;
    unsigned picture = pixel / pool.width / pool.height;
    Windows rows(y, pool.window, pool.step, pool.pooled_height);
    Windows columns(x, pool.window, pool.step, pool.pooled_width);
    float sum = 0.0f;
    for (unsigned row = rows.first; row < rows.end; row++) {
        for (unsigned column = columns.first; column < columns.end; column++) {
            unsigned place = (y - row * pool.step) * pool.window + x - column * pool.step;
            unsigned window = (picture * pool.pooled_height + row) * pool.pooled_width + column;
            unsigned j = window * pool.channels + channel;
            if (places[j] == place && (!output || get(output[j]) > 0.0f))
                sum += get(d_output[j]);
        }
    }
    set(d_input + i, sum);
}

extern "C" __global__ void pool_backward_f32(unsigned count, Pool pool, const float *output,
                                             const unsigned short *places, const float *d_output, float *d_input) {
    backward(count, pool, output, places, d_output, d_input);
}

extern "C" __global__ void pool_backward_bf16(unsigned count, Pool pool, const bf16 *output,
                                              const unsigned short *places, const bf16 *d_output, bf16 *d_input) {
    backward(count, pool, output, places, d_output, d_input);
}
