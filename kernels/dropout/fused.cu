// Dropout: keep = word > limit, and out = x · scale where it is kept, x · 0 elsewhere; out may be x.
//
// Word i of the random stream belongs to element i in row-major order: half of one of the four 64-bit numbers that Philox4x64-10
// (Salmon et al. 2011) makes of a counter. So a thread takes one counter and decides on eight elements, and no thread needs
// another's state. The key is `seed`, or what stands at `place`: a recorded graph finds another one there in each replay.

typedef unsigned long long Word;

__device__ inline void philox(Word key, Word counter, Word words[4]) {
    Word a = counter, b = 0, c = 0, d = 0, second_key = 0;
    for (int round = 0; round < 10; ++round) {
        const Word low = 0xCA5A826395121157ull * c, high = __umul64hi(0xCA5A826395121157ull, c);
        const Word other_low = 0xD2E7470EE14C6C93ull * a, other_high = __umul64hi(0xD2E7470EE14C6C93ull, a);
        a = high ^ b ^ key;
        b = low;
        c = other_high ^ d ^ second_key;
        d = other_low;
        key += 0x9E3779B97F4A7C15ull;
        second_key += 0xBB67AE8584CAA73Bull;
    }
    words[0] = a;
    words[1] = b;
    words[2] = c;
    words[3] = d;
}

extern "C" __global__ void drop(T* out, unsigned char* keep, const T* x, Word seed, const Word* place, unsigned limit, T scale, long long size) {
    const long long counter = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (counter * 8 >= size) return;
    Word words[4];
    philox(place ? *place : seed, Word(counter) + 1, words);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        const long long element = counter * 8 + i;
        if (element < size) {
            const bool kept = unsigned(words[i / 2] >> (i % 2 * 32)) > limit;
            keep[element] = kept;
            out[element] = x[element] * (kept ? scale : T(0));
        }
    }
}

extern "C" __global__ void scale_kept(T* out, const T* grad, const unsigned char* keep, T scale, long long size) {
    const long long element = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (element < size) out[element] = grad[element] * (keep[element] ? scale : T(0));
}
