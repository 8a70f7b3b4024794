// What the files of the simulated cuDNN (libcudnn.so.9) share: statuses, descriptors and the convolution itself.
#pragma once
#include "numbers.h"
#include "simulator.h"
#include <cstddef>

namespace cudnn {

// Values of cudnn_graph.h, version 9.
enum Status : int {
    SUCCESS = 0,
    NOT_INITIALIZED = 1001,
    BAD_PARAM = 2000,
    BAD_PARAM_NULL_POINTER = 2002,
    BAD_PARAM_STREAM_MISMATCH = 2007,
    BAD_PARAM_SHAPE_MISMATCH = 2008,
    NOT_SUPPORTED = 3000,
    INTERNAL_ERROR = 4000,
    EXECUTION_FAILED = 5000
};
enum DataType : int { DATA_FLOAT = 0, DATA_DOUBLE = 1, DATA_HALF = 2, DATA_BFLOAT16 = 9 };
enum Format : int { NCHW = 0, NHWC = 1, NCHW_VECT_C = 2 };
enum Mode : int { CONVOLUTION = 0, CROSS_CORRELATION = 1 };
enum MathType : int { DEFAULT_MATH = 0, TENSOR_OP_MATH = 1, TENSOR_OP_MATH_ALLOW_CONVERSION = 2, FMA_MATH = 3 };
enum Determinism : int { NON_DETERMINISTIC = 0, DETERMINISTIC = 1 };

constexpr int MAX_DIMENSIONS = 8;

struct Handle {
    int device;
    CUstream stream;
};

// Sizes in the order n, c, h, w (or n, c, ...) whatever the memory's order, with a stride each, in elements.
struct Tensor {
    int type = -1; // -1: not set yet
    int dimensions = 0;
    int sizes[MAX_DIMENSIONS] = {};
    std::ptrdiff_t strides[MAX_DIMENSIONS] = {};

    std::size_t elements_spanned() const {
        std::size_t last = 0;
        for (int i = 0; i < dimensions; i++) last += std::size_t(sizes[i] - 1) * std::size_t(strides[i]);
        return last + 1;
    }
    // Whether the memory is exactly n, c, h, w or n, h, w, c. Both can be true: of one pixel or of one channel.
    bool packed(Format format) const;
};

// Sizes in the order k (out), c (in of a group), r, s. Packed: NCHW means KCRS and NHWC means KRSC.
struct Filter {
    int type = -1;
    Format format = NCHW;
    int dimensions = 0;
    int sizes[MAX_DIMENSIONS] = {};

    std::size_t elements() const {
        std::size_t product = 1;
        for (int i = 0; i < dimensions; i++) product *= std::size_t(sizes[i]);
        return product;
    }
};

struct Convolution {
    int dimensions = 0; // spatial ones
    int padding[MAX_DIMENSIONS] = {}, stride[MAX_DIMENSIONS] = {}, dilation[MAX_DIMENSIONS] = {};
    Mode mode = CROSS_CORRELATION;
    int compute_type = -1;
    MathType math = DEFAULT_MATH;
    int groups = 1;
};

inline bool number_of(int type, simulator::Number &number) {
    switch (type) {
    case DATA_FLOAT: number = simulator::Number::f32; return true;
    case DATA_HALF: number = simulator::Number::f16; return true;
    case DATA_BFLOAT16: number = simulator::Number::bf16; return true;
    default: return false;
    }
}

// A convolution y = x * w or one of its two gradients, described by value so that it can run later.
struct Problem {
    Tensor x, y;
    Filter w;
    Convolution convolution;
    simulator::Number x_type, y_type, w_type;
    bool tf32; // f32 data is rounded to TF32 before it is multiplied
};

enum class Direction { forward, backward_data, backward_filter };

// out = alpha * result + beta * out, where out is y, x (its gradient) or w (its gradient) by direction, and the two
// operands are (x, w), (y's gradient, w) or (x, y's gradient). `turn` changes the order of the sums, and so the last
// bits of the result.
void run(Direction direction, const Problem &problem, float alpha, const void *first, const void *second, float beta,
         void *out, std::size_t turn);

} // namespace cudnn
