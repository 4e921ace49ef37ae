// Dropout: keep = word > limit, and out = x · scale where it is kept, x · 0 elsewhere; out may be x.
//
// Word i of the random stream belongs to element i in row-major order: half of one of the four 64-bit numbers that Philox4x64-10
// (Salmon et al. 2011) makes of a counter. So a thread takes one counter and decides on eight elements, and no thread needs
// another's state. The key is `seed`, or what stands at `place`: a recorded graph finds another one there in each replay.
//
// A GPU multiplies 32 bits at a time, so of a round's two products of 64 bits each is made of four.

#include "vector.cuh"

typedef unsigned long long Word;

constexpr int DECIDED = 8;

__device__ inline void multiply(Word a, Word b, Word& high, Word& low) {
    const unsigned a0 = unsigned(a), a1 = unsigned(a >> 32), b0 = unsigned(b), b1 = unsigned(b >> 32);
    const Word first = Word(a0) * b0, second = Word(a1) * b0 + (first >> 32), third = Word(a0) * b1 + unsigned(second);
    high = Word(a1) * b1 + (second >> 32) + (third >> 32);
    low = third << 32 | unsigned(first);
}

__device__ inline void philox(Word key, Word counter, Word (&words)[4]) {
    Word a = counter, b = 0, c = 0, d = 0, second_key = 0;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        Word high, low, other_high, other_low;
        multiply(0xCA5A826395121157ull, c, high, low);
        multiply(0xD2E7470EE14C6C93ull, a, other_high, other_low);
        a = high ^ b ^ key;
        b = low;
        c = other_high ^ d ^ second_key;
        d = other_low;
        key += 0x9E3779B97F4A7C15ull;
        second_key += 0xBB67AE8584CAA73Bull;
    }
    words[0] = a, words[1] = b, words[2] = c, words[3] = d;
}

// Which of the elements of a counter are kept, a bit each.
__device__ inline unsigned decided(Word key, Word counter, unsigned limit) {
    Word words[4];
    philox(key, counter, words);
    unsigned kept = 0;
#pragma unroll
    for (int i = 0; i < DECIDED; ++i) kept |= unsigned(unsigned(words[i / 2] >> (i % 2 * 32)) > limit) << i;
    return kept;
}

// A warp reads and writes its elements in the order of its lanes, which are not the ones that decide on them: those are asked.
extern "C" __global__ void drop(T* out, unsigned char* keep, const T* x, Word seed, const Word* place, unsigned limit, T scale, long long size) {
    constexpr int LOADS = DECIDED / VECTOR;
    const int lane = threadIdx.x % 32;
    const long long counter = blockIdx.x * (long long)blockDim.x + threadIdx.x, first = counter * DECIDED, of_warp = first - lane * DECIDED;
    const bool whole = of_warp + 32 * DECIDED <= size;
    Vector<T, VECTOR> values[LOADS];
    if (whole)
#pragma unroll
        for (int i = 0; i < LOADS; ++i) values[i] = load<VECTOR>(x + of_warp + (i * 32 + lane) * VECTOR);  // on their way while numbers are drawn
    Word words[4];
    philox(place ? *place : seed, Word(counter) + 1, words);
    unsigned kept = 0;
    Vector<unsigned char, DECIDED> bytes;
#pragma unroll
    for (int i = 0; i < DECIDED; ++i) {
        bytes.at[i] = unsigned(words[i / 2] >> (i % 2 * 32)) > limit;
        kept |= unsigned(bytes.at[i]) << i;
    }
    if (!whole) {
        for (int i = 0; i < DECIDED && first + i < size; ++i) {
            out[first + i] = x[first + i] * (bytes.at[i] ? scale : T(0));
            keep[first + i] = bytes.at[i];
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < LOADS; ++i) {
        const int at = (i * 32 + lane) * VECTOR;
        const unsigned mine = __shfl_sync(~0u, kept, at / DECIDED) >> at % DECIDED;
#pragma unroll
        for (int e = 0; e < VECTOR; ++e) values[i].at[e] *= mine >> e & 1 ? scale : T(0);
        store(out + of_warp + at, values[i]);
    }
    if constexpr (VECTOR > 1)
        store(keep + first, bytes);
    else
#pragma unroll
        for (int i = 0; i < DECIDED; ++i) keep[first + i] = bytes.at[i];
}

// The same where memory is [images, pixels, channels]: the stream still goes along [images, channels, pixels], so a thread takes
// DECIDED pixels of one channel, whose words come of two counters where they do not begin with one; a warp has channels side by side.
extern "C" __global__ void drop_channels_last(
    T* out, unsigned char* keep, const T* x, Word seed, const Word* place, unsigned limit, T scale, int images, int channels, int pixels) {
    const int groups = (pixels + DECIDED - 1) / DECIDED, c = blockIdx.y * blockDim.x + threadIdx.x;
    const long long group = (long long)blockIdx.x * blockDim.y + threadIdx.y, image = group / groups;
    if (image >= images || c >= channels) return;
    const int first = int(group - image * groups) * DECIDED, count = min(DECIDED, pixels - first);
    const long long number = (image * channels + c) * pixels + first, at = (image * pixels + first) * channels + c;
    T values[DECIDED];
#pragma unroll
    for (int i = 0; i < DECIDED; ++i) values[i] = i < count ? x[at + (long long)i * channels] : T(0);
    const Word key = place ? *place : seed;
    const int aside = int(number % DECIDED);
    unsigned kept = decided(key, number / DECIDED + 1, limit);
    if (aside + count > DECIDED) kept |= decided(key, number / DECIDED + 2, limit) << DECIDED;
    kept >>= aside;
#pragma unroll
    for (int i = 0; i < DECIDED; ++i)
        if (i < count) {
            out[at + (long long)i * channels] = values[i] * (kept >> i & 1 ? scale : T(0));
            keep[at + (long long)i * channels] = kept >> i & 1;
        }
}

extern "C" __global__ void scale_kept(T* out, const T* grad, const unsigned char* keep, T scale, long long size) {
    const long long first = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * VECTOR;
    if (first + VECTOR <= size) {
        Vector<T, VECTOR> values = load<VECTOR>(grad + first);
        const Vector<unsigned char, VECTOR> kept = load<VECTOR>(keep + first);
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) values.at[i] *= kept.at[i] ? scale : T(0);
        store(out + first, values);
    } else {
        for (long long i = first; i < size; ++i) out[i] = grad[i] * (keep[i] ? scale : T(0));
    }
}
