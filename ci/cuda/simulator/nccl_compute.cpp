// The simulated NCCL's arithmetic. Sums are taken as on a ring: each rank's share of the elements begins at another
// rank and is rounded at each step, so that no caller can rely on the order of the ranks; it is the same in every run.
#include "nccl.h"
#include "numbers.h"
#include <algorithm>
#include <cstring>
#include <type_traits>

namespace nccl {
namespace {

using simulator::bf16;
using simulator::f16;

template <typename T> T combine(T a, T b, Reduction reduction) {
    if constexpr (std::is_same<T, bf16>::value || std::is_same<T, f16>::value) {
        return T(combine<float>(a, b, reduction));
    } else {
        if (reduction == MAX) return a < b ? b : a;
        if (reduction == MIN) return b < a ? b : a;
        if constexpr (std::is_integral<T>::value) { // wraps around
            using Unsigned = unsigned long long;
            return reduction == PROD ? T(Unsigned(a) * Unsigned(b)) : T(Unsigned(a) + Unsigned(b));
        } else {
            return reduction == PROD ? a * b : a + b;
        }
    }
}

// values = the reduction over all ranks of their elements [first, first + count), begun at rank `start`.
template <typename T>
void reduce_block(const std::vector<const Operation *> &operations, std::size_t first, std::size_t count,
                  std::size_t start, T *values) {
    std::size_t ranks = operations.size();
    Reduction reduction = operations[0]->reduction;
    for (std::size_t step = 0; step < ranks; step++) {
        const T *in = static_cast<const T *>(operations[(start + step) % ranks]->send) + first;
        for (std::size_t i = 0; i < count; i++) {
            T value = in[i];
            // Averages of floating-point numbers are sums of scaled numbers, those of integers scaled sums.
            if constexpr (!std::is_integral<T>::value)
                if (reduction == AVG) value = T(value * (1.0f / float(ranks)));
            values[i] = step == 0 ? value : combine(values[i], value, reduction);
        }
    }
    if constexpr (std::is_integral<T>::value)
        if (reduction == AVG)
            for (std::size_t i = 0; i < count; i++) values[i] = T(values[i] / T(ranks));
}

// Reduces the elements [first, last) and hands each block to write(values, index of the first, count).
template <typename T, typename Write>
void reduce_range(const std::vector<const Operation *> &operations, std::size_t first, std::size_t last,
                  std::size_t start, Write write) {
    constexpr std::size_t BLOCK = 1024;
    T values[BLOCK];
    for (std::size_t i = first; i < last; i += BLOCK) {
        std::size_t count = std::min(BLOCK, last - i);
        reduce_block(operations, i, count, start, values);
        write(values, i, count);
    }
}

template <typename T> void reduce(const std::vector<const Operation *> &operations) {
    std::size_t ranks = operations.size(), count = operations[0]->count;
    for (std::size_t r = 0; r < ranks; r++) {
        std::size_t start = (r + 1) % ranks;
        if (operations[0]->kind == Kind::reduce_scatter) {
            T *out = static_cast<T *>(operations[r]->receive);
            reduce_range<T>(operations, r * count, (r + 1) * count, start, [&](T *values, std::size_t i, std::size_t n) {
                std::memcpy(out + (i - r * count), values, n * sizeof(T));
            });
            continue;
        }
        reduce_range<T>(operations, count * r / ranks, count * (r + 1) / ranks, start,
                        [&](T *values, std::size_t i, std::size_t n) {
                            for (std::size_t to = 0; to < ranks; to++)
                                if (operations[to]->kind == Kind::all_reduce || int(to) == operations[to]->root)
                                    std::memcpy(static_cast<T *>(operations[to]->receive) + i, values, n * sizeof(T));
                        });
    }
}

} // namespace

std::size_t size_of(Type type) {
    switch (type) {
    case INT8:
    case UINT8: return 1;
    case FLOAT16:
    case BFLOAT16: return 2;
    case INT32:
    case UINT32:
    case FLOAT32: return 4;
    default: return 8;
    }
}

void compute(const std::vector<const Operation *> &operations) {
    const Operation &one = *operations[0];
    std::size_t bytes = one.count * size_of(one.type);
    if (one.kind == Kind::broadcast) {
        const void *from = operations[std::size_t(one.root)]->send;
        for (const Operation *operation : operations)
            if (operation->receive != from) std::memcpy(operation->receive, from, bytes);
        return;
    }
    if (one.kind == Kind::all_gather) {
        for (const Operation *operation : operations)
            for (std::size_t r = 0; r < operations.size(); r++) {
                char *to = static_cast<char *>(operation->receive) + r * bytes;
                if (to != operations[r]->send) std::memcpy(to, operations[r]->send, bytes);
            }
        return;
    }
    switch (one.type) {
    case INT8: return reduce<std::int8_t>(operations);
    case UINT8: return reduce<std::uint8_t>(operations);
    case INT32: return reduce<std::int32_t>(operations);
    case UINT32: return reduce<std::uint32_t>(operations);
    case INT64: return reduce<std::int64_t>(operations);
    case UINT64: return reduce<std::uint64_t>(operations);
    case FLOAT16: return reduce<f16>(operations);
    case FLOAT32: return reduce<float>(operations);
    case FLOAT64: return reduce<double>(operations);
    default: return reduce<bf16>(operations);
    }
}

} // namespace nccl
