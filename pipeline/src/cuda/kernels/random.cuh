// The pipeline's random numbers (src/random.rs), to the bit: SplitMix64 streams, each of which belongs to a key.

#pragma once

typedef unsigned long long u64;

__device__ inline u64 mix(u64 z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

const u64 GOLDEN = 0x9E3779B97F4A7C15ull;

// The state of a key's stream before its first number; `length` is that of the key.
__device__ inline u64 stream_of(const u64 *key, int length) {
    u64 state = mix((u64)length + GOLDEN);
    for (int i = 0; i < length; i++)
        state = mix((state + GOLDEN) ^ mix(key[i] + GOLDEN));
    return state;
}

// The stream's number `index`, from 0, in 0..1: a multiple of 2^-24.
__device__ inline float unit(u64 state, u64 index) {
    return (float)(mix(state + (index + 1) * GOLDEN) >> 40) * (1.0f / 16777216.0f);
}
