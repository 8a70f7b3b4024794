// Transposes every row of a batch: [lines][columns] becomes [columns][lines]. Blocks have 32 × 8 threads and a tile of
// 32 × 32 numbers, which are read and written side by side.

#include "numbers.cuh"

const unsigned TILE = 32;

template <typename T>
__device__ void transpose(unsigned rows, unsigned lines, unsigned columns, const T *input, T *output) {
    // One number more than needed, so that the threads of a warp use different banks.
    __shared__ T tile[TILE][TILE + 1];
    unsigned first_line = blockIdx.y * TILE, first_column = blockIdx.x * TILE;
    for (unsigned row = blockIdx.z; row < rows; row += gridDim.z) {
        unsigned start = row * lines * columns;
        unsigned column = first_column + threadIdx.x;
        for (unsigned i = threadIdx.y; i < TILE; i += blockDim.y)
            if (first_line + i < lines && column < columns)
                tile[i][threadIdx.x] = input[start + (first_line + i) * columns + column];
        __syncthreads();
        unsigned line = first_line + threadIdx.x;
        for (unsigned i = threadIdx.y; i < TILE; i += blockDim.y)
            if (first_column + i < columns && line < lines)
                output[start + (first_column + i) * lines + line] = tile[threadIdx.x][i];
        __syncthreads();
    }
}

extern "C" __global__ void transpose_f32(unsigned rows, unsigned lines, unsigned columns, const float *input,
                                         float *output) {
    transpose(rows, lines, columns, input, output);
}

extern "C" __global__ void transpose_bf16(unsigned rows, unsigned lines, unsigned columns, const bf16 *input,
                                          bf16 *output) {
    transpose(rows, lines, columns, input, output);
}
