// The matrix product that the simulated cuBLAS and cuDNN share: one thread, but blocked for registers and caches, so
// that tests with a few hundred million operations take a fraction of a second.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

// AVX2 where the processor has it. Never FMA: the numbers would depend on the machine.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define SIMULATOR_VECTORIZED __attribute__((target_clones("avx2", "default")))
#else
#define SIMULATOR_VECTORIZED
#endif

namespace simulator {

// Columns of a panel of b, and the length of a partial sum, which is added to c at its end.
constexpr std::size_t PANEL = 16, DEPTH = 256;

// One block of rows x PANEL elements of c += a b, held in registers.
template <std::size_t ROWS, typename T>
inline __attribute__((always_inline)) void multiply_block(std::size_t depth, std::size_t columns, const T *a,
                                                          std::size_t a_row, std::size_t a_column, const T *panel, T *c,
                                                          std::size_t c_row) {
    T sums[ROWS][PANEL] = {};
    for (std::size_t p = 0; p < depth; p++)
        for (std::size_t i = 0; i < ROWS; i++) {
            T factor = a[i * a_row + p * a_column];
            for (std::size_t j = 0; j < PANEL; j++) sums[i][j] += factor * panel[p * PANEL + j];
        }
    for (std::size_t i = 0; i < ROWS; i++)
        for (std::size_t j = 0; j < columns; j++) c[i * c_row + j] += sums[i][j];
}

template <typename T>
inline __attribute__((always_inline)) void multiply_all(std::size_t rows, std::size_t columns, std::size_t depth,
                                                        const T *a, std::size_t a_row, std::size_t a_column,
                                                        const T *b, std::size_t b_row, T *c, std::size_t c_row,
                                                        T *panel) {
    for (std::size_t p = 0; p < depth; p += DEPTH) {
        std::size_t deep = std::min(DEPTH, depth - p);
        for (std::size_t j = 0; j < columns; j += PANEL) {
            std::size_t wide = std::min(PANEL, columns - j);
            for (std::size_t q = 0; q < deep; q++)
                for (std::size_t l = 0; l < PANEL; l++)
                    panel[q * PANEL + l] = l < wide ? b[(p + q) * b_row + j + l] : T(0);
            std::size_t i = 0;
            const T *part = a + p * a_column;
            for (; i + 4 <= rows; i += 4)
                multiply_block<4>(deep, wide, part + i * a_row, a_row, a_column, panel, c + i * c_row + j, c_row);
            for (; i < rows; i++)
                multiply_block<1>(deep, wide, part + i * a_row, a_row, a_column, panel, c + i * c_row + j, c_row);
        }
    }
}

SIMULATOR_VECTORIZED static void multiply_floats(std::size_t rows, std::size_t columns, std::size_t depth,
                                                 const float *a, std::size_t a_row, std::size_t a_column,
                                                 const float *b, std::size_t b_row, float *c, std::size_t c_row,
                                                 float *panel) {
    multiply_all(rows, columns, depth, a, a_row, a_column, b, b_row, c, c_row, panel);
}

// c += a b, where a is rows x depth with any two strides, b (depth x columns) and c (rows x columns) have contiguous
// rows. The order of each sum depends on the sizes alone.
inline void multiply(std::size_t rows, std::size_t columns, std::size_t depth, const float *a, std::size_t a_row,
                     std::size_t a_column, const float *b, std::size_t b_row, float *c, std::size_t c_row) {
    float panel[DEPTH * PANEL];
    multiply_floats(rows, columns, depth, a, a_row, a_column, b, b_row, c, c_row, panel);
}

inline void multiply(std::size_t rows, std::size_t columns, std::size_t depth, const double *a, std::size_t a_row,
                     std::size_t a_column, const double *b, std::size_t b_row, double *c, std::size_t c_row) {
    std::vector<double> panel(DEPTH * PANEL);
    multiply_all(rows, columns, depth, a, a_row, a_column, b, b_row, c, c_row, panel.data());
}

} // namespace simulator
