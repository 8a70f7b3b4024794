// cuRAND: numbers of the asked distribution, by another generator than the real library's. A seed gives the same
// numbers each time, on every device.
#include "simulator.h"
#include <cmath>
#include <cstdint>

struct curandGenerator_st {
    CUstream stream = nullptr;
    std::uint64_t next = 0; // the counter of numbers given out
    std::uint64_t seed = 0;
};
typedef curandGenerator_st *curandGenerator_t;

enum curandStatus { success = 0, not_initialized = 101, launch_failure = 201 };

namespace {

std::uint64_t number(std::uint64_t seed, std::uint64_t index) { // SplitMix64
    std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}
// In (0, 1], as cuRAND's.
double uniform(std::uint64_t bits) { return ((bits >> 11) + 1) * 0x1p-53; }
double normal(std::uint64_t a, std::uint64_t b) { return std::sqrt(-2 * std::log(uniform(a))) * std::cos(6.283185307179586 * uniform(b)); }

// `make` turns two random words into a value.
template <class T, class Make> int generate(curandGenerator_t generator, T *out, std::size_t count, Make make) {
    if (!generator) return not_initialized;
    simulator::check_device_memory(out, count * sizeof(T), simulator::device_of(generator->stream), "cuRAND's output");
    std::uint64_t seed = generator->seed, first = generator->next;
    generator->next += 2 * count;
    simulator::enqueue(generator->stream, [=] {
        for (std::size_t i = 0; i < count; i++)
            out[i] = static_cast<T>(make(number(seed, first + 2 * i), number(seed, first + 2 * i + 1)));
    });
    return success;
}

} // namespace

extern "C" {

int curandCreateGenerator(curandGenerator_t *generator, int) {
    if (simulator::device_count() == 0) return not_initialized;
    *generator = new curandGenerator_st;
    return success;
}
int curandDestroyGenerator(curandGenerator_t generator) { return delete generator, success; }
int curandSetStream(curandGenerator_t generator, CUstream stream) { return generator->stream = stream, success; }
int curandSetPseudoRandomGeneratorSeed(curandGenerator_t generator, unsigned long long seed) {
    generator->seed = seed;
    generator->next = 0;
    return success;
}
int curandSetGeneratorOffset(curandGenerator_t generator, unsigned long long offset) {
    return generator->next = 2 * offset, success;
}
int curandGenerateSeeds(curandGenerator_t) { return success; }
int curandGenerate(curandGenerator_t generator, unsigned *out, std::size_t count) {
    return generate(generator, out, count, [](std::uint64_t a, std::uint64_t) { return a >> 32; });
}
int curandGenerateUniform(curandGenerator_t generator, float *out, std::size_t count) {
    return generate(generator, out, count, [](std::uint64_t a, std::uint64_t) { return ((a >> 40) + 1) * 0x1p-24; });
}
int curandGenerateUniformDouble(curandGenerator_t generator, double *out, std::size_t count) {
    return generate(generator, out, count, [](std::uint64_t a, std::uint64_t) { return uniform(a); });
}
// The real library wants an even count for normal numbers.
int curandGenerateNormal(curandGenerator_t generator, float *out, std::size_t count, float mean, float deviation) {
    if (count % 2) return 105; // CURAND_STATUS_LENGTH_NOT_MULTIPLE
    return generate(generator, out, count, [=](std::uint64_t a, std::uint64_t b) { return mean + deviation * normal(a, b); });
}
int curandGenerateNormalDouble(curandGenerator_t generator, double *out, std::size_t count, double mean, double deviation) {
    if (count % 2) return 105;
    return generate(generator, out, count, [=](std::uint64_t a, std::uint64_t b) { return mean + deviation * normal(a, b); });
}

} // extern "C"
