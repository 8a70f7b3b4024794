// The types of numbers that pictures have. Kernels compute with float.

#pragma once

#include <cuda_bf16.h>

typedef __nv_bfloat16 bf16;

__device__ inline float get(float number) { return number; }
__device__ inline float get(bf16 number) { return __bfloat162float(number); }

__device__ inline void set(float *place, float number) { *place = number; }
// The nearest one.
__device__ inline void set(bf16 *place, float number) { *place = __float2bfloat16_rn(number); }

// max(0, x); NaN stays.
__device__ inline float rectified(float x) { return x < 0.0f ? 0.0f : x; }

// The number of this thread in all of a grid of one dimension.
__device__ inline unsigned thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }
