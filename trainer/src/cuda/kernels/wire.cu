// Gradients on their way between GPUs, in half as many bytes.
#include <cuda_bf16.h>

extern "C" __global__ void wire_pack(unsigned long long count, const float *values, __nv_bfloat16 *packed) {
    unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;
    if (i < count) packed[i] = __float2bfloat16_rn(values[i]);
}

extern "C" __global__ void wire_unpack(unsigned long long count, const __nv_bfloat16 *packed, float *values) {
    unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;
    if (i < count) values[i] = __bfloat162float(packed[i]);
}
