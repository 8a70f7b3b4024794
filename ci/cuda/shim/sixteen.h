// The floating-point numbers of 16 bits. Each operation rounds its result, as the device's does.
#pragma once
#include <cstring>

namespace simulator {

inline unsigned bits_of(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}
inline float float_of(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

struct BFloat {
    static unsigned short encode(float value) {
        unsigned bits = bits_of(value);
        if ((bits & 0x7FFFFFFF) > 0x7F800000) return 0x7FFF; // the device's NaN
        return static_cast<unsigned short>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
    static float decode(unsigned short bits) { return float_of(static_cast<unsigned>(bits) << 16); }
};

struct Half {
    static unsigned short encode(float value) {
        unsigned bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
        if (magnitude > 0x7F800000) return 0x7FFF;
        if (magnitude >= 0x477FF000) return static_cast<unsigned short>(sign | 0x7C00); // rounds to infinity
        if (magnitude < 0x38800000) { // subnormal: the addition rounds to a multiple of 2^-24
            float rounded = float_of(magnitude) + 0.5f;
            return static_cast<unsigned short>(sign | (bits_of(rounded) - 0x3F000000));
        }
        return static_cast<unsigned short>(sign | ((magnitude + 0xFFF + (magnitude >> 13 & 1) - 0x38000000) >> 13));
    }
    static float decode(unsigned short bits) {
        unsigned magnitude = bits & 0x7FFF, sign = (bits & 0x8000u) << 16;
        if (magnitude >= 0x7C00) return float_of(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
        float value = float_of(magnitude << 13) * 0x1p112f; // right for subnormal numbers too
        return float_of(sign | bits_of(value));
    }
};

template <class Format> struct Sixteen {
    unsigned short __x;

    Sixteen() = default;
    Sixteen(float value) : __x(Format::encode(value)) {}
    Sixteen(double value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(int value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(unsigned value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(short value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(unsigned short value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(long value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(unsigned long value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(long long value) : Sixteen(static_cast<float>(value)) {}
    Sixteen(unsigned long long value) : Sixteen(static_cast<float>(value)) {}
    operator float() const { return Format::decode(__x); }

    static Sixteen from_bits(unsigned short bits) {
        Sixteen result;
        result.__x = bits;
        return result;
    }

    friend Sixteen operator+(Sixteen a, Sixteen b) { return Sixteen(float(a) + float(b)); }
    friend Sixteen operator-(Sixteen a, Sixteen b) { return Sixteen(float(a) - float(b)); }
    friend Sixteen operator*(Sixteen a, Sixteen b) { return Sixteen(float(a) * float(b)); }
    friend Sixteen operator/(Sixteen a, Sixteen b) { return Sixteen(float(a) / float(b)); }
    friend Sixteen operator-(Sixteen a) { return from_bits(a.__x ^ 0x8000); }
    friend Sixteen &operator+=(Sixteen &a, Sixteen b) { return a = a + b; }
    friend Sixteen &operator-=(Sixteen &a, Sixteen b) { return a = a - b; }
    friend Sixteen &operator*=(Sixteen &a, Sixteen b) { return a = a * b; }
    friend Sixteen &operator/=(Sixteen &a, Sixteen b) { return a = a / b; }
    friend bool operator==(Sixteen a, Sixteen b) { return float(a) == float(b); }
    friend bool operator!=(Sixteen a, Sixteen b) { return float(a) != float(b); }
    friend bool operator<(Sixteen a, Sixteen b) { return float(a) < float(b); }
    friend bool operator>(Sixteen a, Sixteen b) { return float(a) > float(b); }
    friend bool operator<=(Sixteen a, Sixteen b) { return float(a) <= float(b); }
    friend bool operator>=(Sixteen a, Sixteen b) { return float(a) >= float(b); }

    friend Sixteen __hadd(Sixteen a, Sixteen b) { return a + b; }
    friend Sixteen __hsub(Sixteen a, Sixteen b) { return a - b; }
    friend Sixteen __hmul(Sixteen a, Sixteen b) { return a * b; }
    friend Sixteen __hdiv(Sixteen a, Sixteen b) { return a / b; }
    friend Sixteen __hneg(Sixteen a) { return -a; }
    friend Sixteen __hfma(Sixteen a, Sixteen b, Sixteen c) { return Sixteen(fmaf(a, b, c)); }
    friend bool __hisnan(Sixteen a) { return std::isnan(float(a)); }
    friend Sixteen __habs(Sixteen a) { return from_bits(a.__x & 0x7FFF); }
    friend Sixteen __hmax(Sixteen a, Sixteen b) { return Sixteen(fmaxf(a, b)); }
    friend Sixteen __hmin(Sixteen a, Sixteen b) { return Sixteen(fminf(a, b)); }
    friend Sixteen __hmax_nan(Sixteen a, Sixteen b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmax(a, b); }
    friend Sixteen __hmin_nan(Sixteen a, Sixteen b) { return __hisnan(a) ? a : __hisnan(b) ? b : __hmin(a, b); }
    friend bool __heq(Sixteen a, Sixteen b) { return a == b; }
    friend bool __hlt(Sixteen a, Sixteen b) { return a < b; }
    friend bool __hgt(Sixteen a, Sixteen b) { return a > b; }
    friend Sixteen hsqrt(Sixteen a) { return Sixteen(sqrtf(a)); }
    friend Sixteen hcos(Sixteen a) { return Sixteen(cosf(a)); }
    friend Sixteen hsin(Sixteen a) { return Sixteen(sinf(a)); }
    friend Sixteen hexp(Sixteen a) { return Sixteen(expf(a)); }
    friend Sixteen hlog(Sixteen a) { return Sixteen(logf(a)); }
};

// Two at once.
template <class T> struct alignas(4) Pair {
    T x, y;
    friend Pair __hadd2(Pair a, Pair b) { return {a.x + b.x, a.y + b.y}; }
    friend Pair __hsub2(Pair a, Pair b) { return {a.x - b.x, a.y - b.y}; }
    friend Pair __hmul2(Pair a, Pair b) { return {a.x * b.x, a.y * b.y}; }
    friend Pair __hfma2(Pair a, Pair b, Pair c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
};

} // namespace simulator
