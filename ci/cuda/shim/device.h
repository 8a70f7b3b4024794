// CUDA C++ for g++: what nvcc predefines for a .cu file, as far as our kernels (and candle's) use it. The stand-in nvcc
// includes it before everything else, and rewrites `__global__` and `__shared__` itself.
#pragma once
#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <math.h>
#include <type_traits>
#include <utility>
#include "simulator_abi.h"

#define __CUDACC__ 1
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __CUDA_ARCH__ 800

#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))

// Indices and sizes.
typedef uint3 dim3;
#define threadIdx simulator_thread_index
#define blockIdx simulator_block_index
#define blockDim simulator_block_size
#define gridDim simulator_grid_size
constexpr int warpSize = 32;

// Vectors, with the alignment that wide loads need.
#define SIMULATOR_VECTOR(T, NAME)                                                                                      \
    struct alignas(2 * sizeof(T)) NAME##2 {                                                                            \
        T x, y;                                                                                                        \
    };                                                                                                                 \
    struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) NAME##4 {                                                  \
        T x, y, z, w;                                                                                                  \
    };                                                                                                                 \
    inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                                                         \
    inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SIMULATOR_VECTOR(float, float)
SIMULATOR_VECTOR(double, double)
SIMULATOR_VECTOR(int, int)
SIMULATOR_VECTOR(unsigned, uint)
SIMULATOR_VECTOR(short, short)
SIMULATOR_VECTOR(unsigned short, ushort)
SIMULATOR_VECTOR(signed char, char)
SIMULATOR_VECTOR(unsigned char, uchar)
SIMULATOR_VECTOR(long long, longlong)
SIMULATOR_VECTOR(unsigned long long, ulonglong)
struct float3 {
    float x, y, z;
};
struct uchar3 {
    unsigned char x, y, z;
};
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline uchar3 make_uchar3(unsigned char x, unsigned char y, unsigned char z) { return {x, y, z}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

// Threads of a block and of a warp.
inline void __syncthreads() { simulator_syncthreads(); }
inline unsigned __ballot_sync(unsigned mask, int vote) { return simulator_ballot(mask, vote != 0); }
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, !vote) == 0; }
inline void __syncwarp(unsigned mask = 0xFFFFFFFF) { simulator_ballot(mask, false); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __threadfence(); }

namespace simulator {
// A source outside the thread's group of `width` is the thread itself.
template <class T> T exchange(unsigned mask, T value, int source, unsigned lane, int width) {
    int first = static_cast<int>(lane) / width * width;
    if (source < first || source >= first + width) source = static_cast<int>(lane);
    T received;
    simulator_exchange(mask, &value, &received, sizeof(T), source);
    return received;
}
} // namespace simulator
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    unsigned lane = simulator_lane();
    return simulator::exchange(mask, value, lane / width * width + (source & (width - 1)), lane, width);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    unsigned lane = simulator_lane();
    return simulator::exchange(mask, value, int(lane) - int(delta), lane, width);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    unsigned lane = simulator_lane();
    return simulator::exchange(mask, value, int(lane + delta), lane, width);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int other, int width = 32) {
    unsigned lane = simulator_lane();
    return simulator::exchange(mask, value, int(lane ^ other), lane, width);
}

// Atomics. Kernels of several streams run at the same time, so they must be.
namespace simulator {
template <class T, class Change> T change(T *address, Change change) {
    typedef std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>> Bits;
    static_assert(sizeof(T) == sizeof(Bits), "atomics are of 2, 4 or 8 bytes");
    Bits *bits = reinterpret_cast<Bits *>(address);
    Bits before = __atomic_load_n(bits, __ATOMIC_SEQ_CST), after;
    T old;
    do {
        std::memcpy(&old, &before, sizeof(T));
        T changed = change(old);
        std::memcpy(&after, &changed, sizeof(T));
    } while (!__atomic_compare_exchange_n(bits, &before, after, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    return old;
}
template <class T> struct same {
    typedef T type;
};
} // namespace simulator
#define SIMULATOR_ATOMIC(NAME, EXPRESSION)                                                                             \
    template <class T> T NAME(T *address, typename simulator::same<T>::type value) {                                   \
        return simulator::change(address, [=](T old) -> T { return EXPRESSION; });                                     \
    }
SIMULATOR_ATOMIC(atomicAdd, old + value)
SIMULATOR_ATOMIC(atomicSub, old - value)
SIMULATOR_ATOMIC(atomicExch, ((void)old, value))
SIMULATOR_ATOMIC(atomicMin, old < value ? old : value)
SIMULATOR_ATOMIC(atomicMax, old > value ? old : value)
SIMULATOR_ATOMIC(atomicAnd, old &value)
SIMULATOR_ATOMIC(atomicOr, old | value)
SIMULATOR_ATOMIC(atomicXor, old ^ value)
SIMULATOR_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
template <class T>
T atomicCAS(T *address, typename simulator::same<T>::type expected, typename simulator::same<T>::type value) {
    return simulator::change(address, [=](T old) -> T { return old == expected ? value : old; });
}

// Arithmetic of one rounding. Compiled with -ffp-contract=off, the plain operators are just that.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __frsqrt_rn(float a) { return static_cast<float>(1.0 / sqrt(static_cast<double>(a))); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline double __drcp_rn(double a) { return 1.0 / a; }

// Macros, as newer C libraries declare functions of these names.
inline float simulator_rsqrtf(float a) { return 1.0f / sqrtf(a); }
inline double simulator_rsqrt(double a) { return 1.0 / sqrt(a); }
#define rsqrtf simulator_rsqrtf
#define rsqrt simulator_rsqrt
inline float normcdff(float a) { return 0.5f * erfcf(-a * 0.70710678118654752f); }
inline double normcdf(double a) { return 0.5 * erfc(-a * 0.70710678118654752); }
inline float __expf(float a) { return expf(a); }
inline float __logf(float a) { return logf(a); }
inline float __log2f(float a) { return log2f(a); }
inline float __powf(float a, float b) { return powf(a, b); }
inline float __sinf(float a) { return sinf(a); }
inline float __cosf(float a) { return cosf(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float fdividef(float a, float b) { return a / b; }
inline float __saturatef(float a) { return fminf(fmaxf(a, 0.0f), 1.0f); }

// As on the device, of two types the common one decides.
#define SIMULATOR_INTEGERS_AND_FLOATS                                                                                  \
    template <class A, class B, class = std::enable_if_t<std::is_arithmetic<A>::value && std::is_arithmetic<B>::value>>
SIMULATOR_INTEGERS_AND_FLOATS std::common_type_t<A, B> simulator_min(A a, B b) {
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point<T>::value) return std::fmin(T(a), T(b));
    else return T(a) < T(b) ? T(a) : T(b);
}
SIMULATOR_INTEGERS_AND_FLOATS std::common_type_t<A, B> simulator_max(A a, B b) {
    typedef std::common_type_t<A, B> T;
    if constexpr (std::is_floating_point<T>::value) return std::fmax(T(a), T(b));
    else return T(a) > T(b) ? T(a) : T(b);
}
SIMULATOR_INTEGERS_AND_FLOATS auto min(A a, B b) { return simulator_min(a, b); }
SIMULATOR_INTEGERS_AND_FLOATS auto max(A a, B b) { return simulator_max(a, b); }

// Bits.
template <class To, class From> To simulator_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}
inline unsigned __float_as_uint(float a) { return simulator_cast<unsigned>(a); }
inline int __float_as_int(float a) { return simulator_cast<int>(a); }
inline float __uint_as_float(unsigned a) { return simulator_cast<float>(a); }
inline float __int_as_float(int a) { return simulator_cast<float>(a); }
inline long long __double_as_longlong(double a) { return simulator_cast<long long>(a); }
inline double __longlong_as_double(long long a) { return simulator_cast<double>(a); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
inline int __clz(int a) { return a ? __builtin_clz(a) : 32; }
inline int __clzll(long long a) { return a ? __builtin_clzll(a) : 64; }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<uint64_t>(a) * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned __int128>(a) * b >> 64;
}
template <class T> T __ldg(const T *address) { return *address; }
inline void __trap() { __builtin_trap(); }

// Conversions that name their rounding.
inline float __int2float_rn(int a) { return static_cast<float>(a); }
inline float __uint2float_rn(unsigned a) { return static_cast<float>(a); }
inline float __ll2float_rn(long long a) { return static_cast<float>(a); }
inline float __ull2float_rn(unsigned long long a) { return static_cast<float>(a); }
inline double __ull2double_rn(unsigned long long a) { return static_cast<double>(a); }
inline float __double2float_rn(double a) { return static_cast<float>(a); }
inline int __float2int_rn(float a) { return static_cast<int>(rintf(a)); }
inline int __float2int_rz(float a) { return static_cast<int>(a); }
inline int __float2int_rd(float a) { return static_cast<int>(floorf(a)); }
inline unsigned __float2uint_rn(float a) { return static_cast<unsigned>(rintf(a)); }

// The driver's view of a kernel. The stand-in nvcc adds one to the file for each kernel.
namespace simulator {
template <auto kernel> struct Call;
template <class... P, void (*kernel)(P...)> struct Call<kernel> {
    template <std::size_t... I> static void with(void **arguments, std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_cv_t<P> *>(arguments[I])...);
    }
    static void run(void **arguments) { with(arguments, std::index_sequence_for<P...>()); }
    // One more than there are, as an array must not be empty.
    static constexpr simulator_parameter parameters[] = {{sizeof(P), std::is_pointer<P>::value}..., {0, false}};
    static constexpr unsigned count = sizeof...(P);
};
template <auto kernel> constexpr simulator_kernel describe(const char *name, unsigned max_threads) {
    return {name, Call<kernel>::run, Call<kernel>::count, Call<kernel>::parameters, max_threads};
}
} // namespace simulator
