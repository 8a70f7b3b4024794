// The simulated cuDNN's arithmetic: every image is copied to floats, channels last, unfolded into a matrix whose row
// is what one output pixel sees, and multiplied.
#include "cudnn.h"
#include "multiply.h"
#include <utility>
#include <vector>

namespace cudnn {
namespace {

using simulator::multiply;
using std::ptrdiff_t;
using std::size_t;

// The sizes of a problem by their usual names; c and k are channels of one group.
struct Sizes {
    size_t images, in_channels, height, width, out_channels, out_height, out_width, kernel_height, kernel_width;
    size_t groups, c, k;

    explicit Sizes(const Problem &p)
        : images(size_t(p.x.sizes[0])), in_channels(size_t(p.x.sizes[1])), height(size_t(p.x.sizes[2])),
          width(size_t(p.x.sizes[3])), out_channels(size_t(p.y.sizes[1])), out_height(size_t(p.y.sizes[2])),
          out_width(size_t(p.y.sizes[3])), kernel_height(size_t(p.w.sizes[2])), kernel_width(size_t(p.w.sizes[3])),
          groups(size_t(p.convolution.groups)), c(in_channels / groups), k(out_channels / groups) {}

    size_t pixels() const { return height * width; }
    size_t out_pixels() const { return out_height * out_width; }
    size_t seen() const { return kernel_height * kernel_width * c; } // numbers that one output depends on
};

void round_if(bool tf32, std::vector<float> &values) {
    if (tf32)
        for (float &value : values) value = simulator::round_to_tf32(value);
}

// One image of a tensor as [h][w][c] floats.
std::vector<float> read_image(const Tensor &tensor, simulator::Number type, const void *memory, size_t image,
                              bool tf32) {
    auto channels = size_t(tensor.sizes[1]), height = size_t(tensor.sizes[2]), width = size_t(tensor.sizes[3]);
    std::vector<float> values(channels * height * width), row(width);
    auto stride = [&](int axis) { return size_t(tensor.strides[axis]); };
    for (size_t h = 0; h < height; h++) {
        size_t first = image * stride(0) + h * stride(2);
        float *pixels = &values[h * width * channels];
        if (stride(1) <= stride(3)) { // channels are the denser ones
            for (size_t w = 0; w < width; w++)
                simulator::read_row(memory, type, first + w * stride(3), tensor.strides[1], channels,
                                    pixels + w * channels);
            continue;
        }
        for (size_t c = 0; c < channels; c++) {
            simulator::read_row(memory, type, first + c * stride(1), tensor.strides[3], width, row.data());
            for (size_t w = 0; w < width; w++) pixels[w * channels + c] = row[w];
        }
    }
    round_if(tf32, values);
    return values;
}

void write_image(const Tensor &tensor, simulator::Number type, void *memory, size_t image,
                 const std::vector<float> &values, float alpha, float beta) {
    auto channels = size_t(tensor.sizes[1]), height = size_t(tensor.sizes[2]), width = size_t(tensor.sizes[3]);
    std::vector<float> row(width);
    auto stride = [&](int axis) { return size_t(tensor.strides[axis]); };
    for (size_t h = 0; h < height; h++) {
        size_t first = image * stride(0) + h * stride(2);
        const float *pixels = &values[h * width * channels];
        if (stride(1) <= stride(3)) {
            for (size_t w = 0; w < width; w++)
                simulator::write_row(memory, type, first + w * stride(3), tensor.strides[1], channels,
                                     pixels + w * channels, alpha, beta);
            continue;
        }
        for (size_t c = 0; c < channels; c++) {
            for (size_t w = 0; w < width; w++) row[w] = pixels[w * channels + c];
            simulator::write_row(memory, type, first + c * stride(1), tensor.strides[3], width, row.data(), alpha,
                                 beta);
        }
    }
}

// Where the number (k, r, s, c) of the filter as it is multiplied lies in memory. A true convolution is a
// cross-correlation with the kernel turned by 180 degrees.
size_t filter_index(const Problem &p, const Sizes &z, size_t k, size_t r, size_t s, size_t c) {
    if (p.convolution.mode == CONVOLUTION) r = z.kernel_height - 1 - r, s = z.kernel_width - 1 - s;
    if (p.w.format == NHWC) return ((k * z.kernel_height + r) * z.kernel_width + s) * z.c + c;
    return ((k * z.c + c) * z.kernel_height + r) * z.kernel_width + s;
}

// Calls body(row, first index, stride) for each row of c channels of the filter as [k][r][s][c].
template <typename Body> void for_filter_rows(const Problem &p, const Sizes &z, Body body) {
    ptrdiff_t stride = p.w.format == NHWC ? 1 : ptrdiff_t(z.kernel_height * z.kernel_width);
    size_t row = 0;
    for (size_t k = 0; k < z.out_channels; k++)
        for (size_t r = 0; r < z.kernel_height; r++)
            for (size_t s = 0; s < z.kernel_width; s++) body(row++, filter_index(p, z, k, r, s, 0), stride);
}

// The filter as [out channel][r][s][c] floats.
std::vector<float> read_filter(const Problem &p, const Sizes &z, const void *memory) {
    std::vector<float> values(z.out_channels * z.seen());
    for_filter_rows(p, z, [&](size_t row, size_t first, ptrdiff_t stride) {
        simulator::read_row(memory, p.w_type, first, stride, z.c, &values[row * z.c]);
    });
    round_if(p.tf32, values);
    return values;
}

// rows x columns to columns x rows.
std::vector<float> transposed(const float *matrix, size_t rows, size_t columns) {
    std::vector<float> result(rows * columns);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) result[j * rows + i] = matrix[i * columns + j];
    return result;
}

// Calls body(numbers of the unfolded matrix, numbers of the image) for the c channels of every pair of an output pixel
// and a kernel element, with nullptr for what lies in the padding.
template <typename Image, typename Body>
void for_seen(const Problem &p, const Sizes &z, size_t group, float *unfolded, Image *image, Body body) {
    const Convolution &v = p.convolution;
    for (size_t oh = 0; oh < z.out_height; oh++)
        for (size_t ow = 0; ow < z.out_width; ow++)
            for (size_t r = 0; r < z.kernel_height; r++)
                for (size_t s = 0; s < z.kernel_width; s++, unfolded += z.c) {
                    auto h = ptrdiff_t(oh) * v.stride[0] - v.padding[0] + ptrdiff_t(r) * v.dilation[0];
                    auto w = ptrdiff_t(ow) * v.stride[1] - v.padding[1] + ptrdiff_t(s) * v.dilation[1];
                    bool inside = h >= 0 && w >= 0 && size_t(h) < z.height && size_t(w) < z.width;
                    body(unfolded, inside ? image + (size_t(h) * z.width + size_t(w)) * z.in_channels + group * z.c
                                          : nullptr);
                }
}

void unfold(const Problem &p, const Sizes &z, size_t group, const float *image, float *unfolded) {
    for_seen(p, z, group, unfolded, image, [&](float *to, const float *from) {
        for (size_t c = 0; c < z.c; c++) to[c] = from ? from[c] : 0.0f;
    });
}

void fold(const Problem &p, const Sizes &z, size_t group, float *unfolded, float *image) {
    for_seen(p, z, group, unfolded, image, [&](float *from, float *to) {
        if (to)
            for (size_t c = 0; c < z.c; c++) to[c] += from[c];
    });
}

// c += a b with the sum over `depth` begun at `turn`.
void multiply_from(size_t turn, size_t rows, size_t columns, size_t depth, const float *a, size_t a_row, const float *b,
                   size_t b_row, float *c, size_t c_row) {
    turn %= depth;
    multiply(rows, columns, depth - turn, a + turn, a_row, 1, b + turn * b_row, b_row, c, c_row);
    multiply(rows, columns, turn, a, a_row, 1, b, b_row, c, c_row);
}

void forward(const Problem &p, float alpha, const void *x, const void *w, float beta, void *y, size_t turn) {
    Sizes z(p);
    std::vector<float> filter = read_filter(p, z, w), unfolded(z.out_pixels() * z.seen());
    std::vector<std::vector<float>> filters; // of each group, as [seen][k]
    for (size_t g = 0; g < z.groups; g++) filters.push_back(transposed(&filter[g * z.k * z.seen()], z.k, z.seen()));
    for (size_t n = 0; n < z.images; n++) {
        std::vector<float> in = read_image(p.x, p.x_type, x, n, p.tf32), out(z.out_pixels() * z.out_channels);
        for (size_t g = 0; g < z.groups; g++) {
            unfold(p, z, g, in.data(), unfolded.data());
            multiply_from(turn, z.out_pixels(), z.k, z.seen(), unfolded.data(), z.seen(), filters[g].data(), z.k,
                          &out[g * z.k], z.out_channels);
        }
        write_image(p.y, p.y_type, y, n, out, alpha, beta);
    }
}

void backward_data(const Problem &p, float alpha, const void *w, const void *dy, float beta, void *dx, size_t turn) {
    Sizes z(p);
    std::vector<float> filter = read_filter(p, z, w);
    for (size_t n = 0; n < z.images; n++) {
        std::vector<float> out = read_image(p.y, p.y_type, dy, n, p.tf32), in(z.pixels() * z.in_channels);
        for (size_t g = 0; g < z.groups; g++) {
            std::vector<float> unfolded(z.out_pixels() * z.seen());
            multiply_from(turn, z.out_pixels(), z.seen(), z.k, &out[g * z.k], z.out_channels,
                          &filter[g * z.k * z.seen()], z.seen(), unfolded.data(), z.seen());
            fold(p, z, g, unfolded.data(), in.data());
        }
        write_image(p.x, p.x_type, dx, n, in, alpha, beta);
    }
}

void backward_filter(const Problem &p, float alpha, const void *x, const void *dy, float beta, void *dw, size_t turn) {
    Sizes z(p);
    std::vector<float> unfolded(z.out_pixels() * z.seen()), filter;
    std::vector<float> sums(z.groups * z.seen() * z.k); // [group][seen][k]
    for (size_t i = 0; i < z.images; i++) {
        size_t n = (i + turn) % z.images;
        std::vector<float> in = read_image(p.x, p.x_type, x, n, p.tf32);
        std::vector<float> out = read_image(p.y, p.y_type, dy, n, p.tf32);
        for (size_t g = 0; g < z.groups; g++) {
            unfold(p, z, g, in.data(), unfolded.data());
            multiply(z.seen(), z.k, z.out_pixels(), unfolded.data(), 1, z.seen(), &out[g * z.k], z.out_channels,
                     &sums[g * z.seen() * z.k], z.k);
        }
    }
    for (size_t g = 0; g < z.groups; g++) {
        std::vector<float> part = transposed(&sums[g * z.seen() * z.k], z.seen(), z.k);
        filter.insert(filter.end(), part.begin(), part.end());
    }
    for_filter_rows(p, z, [&](size_t row, size_t first, ptrdiff_t stride) {
        simulator::write_row(dw, p.w_type, first, stride, z.c, &filter[row * z.c], alpha, beta);
    });
}

} // namespace

void run(Direction direction, const Problem &problem, float alpha, const void *first, const void *second, float beta,
         void *out, size_t turn) {
    switch (direction) {
    case Direction::forward: return forward(problem, alpha, first, second, beta, out, turn);
    case Direction::backward_data: return backward_data(problem, alpha, first, second, beta, out, turn);
    case Direction::backward_filter: return backward_filter(problem, alpha, first, second, beta, out, turn);
    }
}

} // namespace cudnn
