// Reading and writing the number types of device memory, for the simulated libraries. They compute in float (or
// double for f64) and round once at the end, as the real ones do.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace simulator {

enum class Number { f32, f64, f16, bf16 };

inline std::size_t size_of(Number type) { return type == Number::f64 ? 8 : type == Number::f32 ? 4 : 2; }

inline float float_of_bits(std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline std::uint32_t bits_of_float(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

struct bf16 {
    std::uint16_t bits;
    bf16() = default;
    // To the nearest, ties to even; what overflows becomes infinite.
    explicit bf16(float value) {
        std::uint32_t wide = bits_of_float(value);
        if (value != value)
            bits = std::uint16_t((wide >> 16) | 0x40);
        else
            bits = std::uint16_t((wide + 0x7fff + ((wide >> 16) & 1)) >> 16);
    }
    operator float() const { return float_of_bits(std::uint32_t(bits) << 16); }
};

struct f16 {
    std::uint16_t bits;
    f16() = default;
    explicit f16(float value) {
        std::uint32_t wide = bits_of_float(value), sign = (wide >> 16) & 0x8000;
        wide &= 0x7fffffff;
        if (wide >= 0x7f800000) // infinite or not a number
            bits = std::uint16_t(sign | 0x7c00 | (wide > 0x7f800000 ? 0x200 | ((wide >> 13) & 0x3ff) : 0));
        else if (wide >= 0x477ff000) // 65520 and above round to infinity
            bits = std::uint16_t(sign | 0x7c00);
        else if (wide >= 0x38800000) // a normal number: 2^-14 and above
            bits = std::uint16_t(sign | ((wide - 0x38000000 + 0xfff + ((wide >> 13) & 1)) >> 13));
        else // a multiple of 2^-24: adding 0.5 leaves the multiple, rounded to even, in the lowest bits
            bits = std::uint16_t(sign | (bits_of_float(float_of_bits(wide) + 0.5f) - 0x3f000000));
    }
    operator float() const {
        std::uint32_t sign = std::uint32_t(bits & 0x8000) << 16, rest = bits & 0x7fff;
        if (rest >= 0x7c00) return float_of_bits(sign | 0x7f800000 | ((rest & 0x3ff) << 13));
        if (rest >= 0x400) return float_of_bits(sign | ((rest << 13) + 0x38000000));
        float magnitude = float(rest) * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
};

// The 19 bits that a tensor core reads of a float in TF32 mode.
inline float round_to_tf32(float value) {
    std::uint32_t bits = bits_of_float(value);
    if ((bits & 0x7f800000) == 0x7f800000) return value;
    return float_of_bits((bits + 0xfff + ((bits >> 13) & 1)) & ~0x1fffu);
}

// Calls `body` with a pointer of the element type.
template <typename Pointer, typename Body> void with_type(Number type, Pointer *memory, Body body) {
    constexpr bool is_const = std::is_const<Pointer>::value;
    switch (type) {
    case Number::f32: return body(static_cast<std::conditional_t<is_const, const float, float> *>(memory));
    case Number::f64: return body(static_cast<std::conditional_t<is_const, const double, double> *>(memory));
    case Number::f16: return body(static_cast<std::conditional_t<is_const, const f16, f16> *>(memory));
    case Number::bf16: return body(static_cast<std::conditional_t<is_const, const bf16, bf16> *>(memory));
    }
}

// values[i] = memory[first + i * stride] for i < count.
template <typename Wide>
void read_row(const void *memory, Number type, std::size_t first, std::ptrdiff_t stride, std::size_t count,
              Wide *values) {
    with_type(type, memory, [=](auto *elements) {
        for (std::size_t i = 0; i < count; i++) values[i] = Wide(elements[first + std::ptrdiff_t(i) * stride]);
    });
}

// memory[first + i * stride] = alpha * values[i] + beta * what was there. With beta = 0 what was there is not read.
template <typename Wide>
void write_row(void *memory, Number type, std::size_t first, std::ptrdiff_t stride, std::size_t count,
               const Wide *values, Wide alpha, Wide beta) {
    with_type(type, memory, [=](auto *elements) {
        using Element = std::remove_pointer_t<decltype(elements)>;
        for (std::size_t i = 0; i < count; i++) {
            Element &element = elements[first + std::ptrdiff_t(i) * stride];
            Wide value = alpha * values[i];
            if (beta != Wide(0)) value += beta * Wide(element);
            element = Element(value);
        }
    });
}

} // namespace simulator
