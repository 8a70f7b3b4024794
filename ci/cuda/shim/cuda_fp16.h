#pragma once
#include "sixteen.h"

typedef simulator::Sixteen<simulator::Half> __half;
typedef __half half;
typedef simulator::Pair<__half> __half2;
typedef __half2 half2;
typedef __half __half_raw;

inline __half __float2half(float value) { return __half(value); }
inline __half __float2half_rn(float value) { return __half(value); }
inline float __half2float(__half value) { return value; }
inline unsigned short __half_as_ushort(__half value) { return value.__x; }
inline __half __ushort_as_half(unsigned short bits) { return __half::from_bits(bits); }
