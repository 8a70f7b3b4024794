// Enough for candle's kernels to compile; f8 tensors are not simulated.
#pragma once
#include "cuda_fp16.h"

enum __nv_fp8_interpretation_t { __NV_E4M3 };
struct __nv_fp8_e4m3 {
    unsigned char __x;
    __nv_fp8_e4m3() = default;
    template <class T> explicit __nv_fp8_e4m3(T) { __builtin_trap(); }
    operator float() const { __builtin_trap(); }
};
inline __half __nv_cvt_fp8_to_halfraw(unsigned char, __nv_fp8_interpretation_t) { __builtin_trap(); }
