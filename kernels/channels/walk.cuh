// Through all numbers of a channel: x is [outer, channels, inner], and its kernels compute with numbers a channel.
//
// LAST: inner is 1, and a thread has VECTOR channels side by side, of every so many rows. Else a block has one channel, and its
// threads VECTOR numbers of a plane at once. gridDim is (what there is of channels, parts), and a block walks through one part;
// blockDim is (threads that lie side by side in memory, the others). Bound by the memory: every number is fetched once.

#include "vector.cuh"

constexpr int THREADS = 256;
constexpr int WIDTH = LAST ? VECTOR : 1;  // channels of a thread
constexpr int STEPS = 64;                 // between two pauses, at most
constexpr int PIECE = 1 << 14;            // numbers of a plane that lie in one part

struct Extent {
    long long outer, inner;
    int channels;
};

struct Walk {
    Extent size;
    int channel;  // the thread's first

    __device__ explicit Walk(const Extent& size) : size(size), channel(LAST ? (blockIdx.x * blockDim.x + threadIdx.x) * VECTOR : blockIdx.x) {}

    __device__ bool has_any() const { return channel < size.channels; }

    // One number of each of the thread's channels, or `other` if there are none.
    __device__ Vector<T, WIDTH> numbers(const T* of_channels, T other) const {
        Vector<T, WIDTH> result;
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) result.at[i] = of_channels == nullptr || !has_any() ? other : of_channels[channel + i];
        return result;
    }

    // body(place) for VECTOR numbers each, and pause() after at most STEPS of them.
    template <class Body, class Pause>
    __device__ void each(Body body, Pause pause) const {
        if (!has_any()) return;
        const long long pieces = LAST ? 1 : (size.inner + PIECE - 1) / PIECE, lines = size.outer * pieces;
        const long long begin = lines * blockIdx.y / gridDim.y, end = lines * (blockIdx.y + 1) / gridDim.y;
        if constexpr (LAST) {
            for (long long from = begin; from < end; from += STEPS * blockDim.y) {
                const long long to = min(end, from + STEPS * blockDim.y);
#pragma unroll 4
                for (long long row = from + threadIdx.y; row < to; row += blockDim.y) body(row * size.channels + channel);
                pause();
            }
        } else {
            for (long long line = begin + threadIdx.y; line < end; line += blockDim.y) {
                const long long image = line / pieces, first = (line - image * pieces) * PIECE, behind = min(size.inner, first + PIECE);
                const long long plane = (image * size.channels + channel) * size.inner;
#pragma unroll 4
                for (long long i = first + threadIdx.x * VECTOR; i < behind; i += blockDim.x * VECTOR) body(plane + i);
                pause();
            }
        }
    }
};
