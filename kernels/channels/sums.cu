// Sums over the numbers of each channel, and what is made of them: a bias' gradient, mean and variance, the gradients of a normalisation.
//
// In two passes, each adding up in one order: each part of every channel, and then the parts. A thread adds up some numbers in the
// precision of the elements, and these sums in float64, so that the error does not grow with the image.

#include "walk.cuh"

template <int COUNT>
struct Sums {
    Vector<T, VECTOR> some[COUNT] = {};
    double all[COUNT * WIDTH] = {};

    __device__ void pause() {
#pragma unroll
        for (int s = 0; s < COUNT; ++s) {
#pragma unroll
            for (int c = 0; c < WIDTH; ++c) {
                T sum = 0;
#pragma unroll
                for (int e = c; e < VECTOR; e += WIDTH) sum += some[s].at[e];
                all[s * WIDTH + c] += sum;
            }
            some[s] = {};
        }
    }

    // parts[part, s, channel], of all threads that have the same channels; `shares` has room for COUNT * WIDTH numbers a thread.
    __device__ void keep(const Walk& walk, double* parts, double* shares) {
        const int thread = threadIdx.y * blockDim.x + threadIdx.x, least = LAST ? blockDim.x : 1;
        double* mine = shares + thread * COUNT * WIDTH;
#pragma unroll
        for (int i = 0; i < COUNT * WIDTH; ++i) mine[i] = all[i];
        for (int half = THREADS / 2; half >= least; half /= 2) {
            __syncthreads();
            if (thread < half)
#pragma unroll
                for (int i = 0; i < COUNT * WIDTH; ++i) mine[i] += mine[half * COUNT * WIDTH + i];
        }
        if (thread >= least || !walk.has_any()) return;
#pragma unroll
        for (int s = 0; s < COUNT; ++s)
#pragma unroll
            for (int c = 0; c < WIDTH; ++c) parts[((long long)blockIdx.y * COUNT + s) * walk.size.channels + walk.channel + c] = mine[s * WIDTH + c];
    }
};

// Σ x.
extern "C" __global__ void sums(double* parts, const T* x, Extent size) {
    __shared__ double shares[THREADS * WIDTH];
    const Walk walk(size);
    Sums<1> sums;
    walk.each(
        [&](long long place) {
            const Vector<T, VECTOR> values = load<VECTOR>(x + place);
#pragma unroll
            for (int e = 0; e < VECTOR; ++e) sums.some[0].at[e] += values.at[e];
        },
        [&] { sums.pause(); });
    sums.keep(walk, parts, shares);
}

// Near the mean of a channel, so that little cancels in what is left of its numbers: the mean of the first few.
__device__ inline T center_of(const T* x, int channel, const Extent& size) {
    const long long step = LAST ? size.channels : 1, count = min(8ll, LAST ? size.outer : size.inner);
    T sum = 0;
    for (int i = 0; i < count; ++i) sum += x[channel * size.inner + i * step];
    return sum / T(count);
}

// Σ d and Σ d², with d = x - center.
extern "C" __global__ void moments(double* parts, const T* x, Extent size) {
    __shared__ double shares[THREADS * 2 * WIDTH];
    const Walk walk(size);
    Vector<T, WIDTH> center = {};
    if (walk.has_any())
#pragma unroll
        for (int i = 0; i < WIDTH; ++i) center.at[i] = center_of(x, walk.channel + i, size);
    Sums<2> sums;
    walk.each(
        [&](long long place) {
            const Vector<T, VECTOR> values = load<VECTOR>(x + place);
#pragma unroll
            for (int e = 0; e < VECTOR; ++e) {
                const T d = values.at[e] - center.at[e % WIDTH];
                sums.some[0].at[e] += d;
                sums.some[1].at[e] += d * d;
            }
        },
        [&] { sums.pause(); });
    sums.keep(walk, parts, shares);
}

// Σ g and Σ g · (x - mean).
extern "C" __global__ void projections(double* parts, const T* x, const T* grad, const T* mean, Extent size) {
    __shared__ double shares[THREADS * 2 * WIDTH];
    const Walk walk(size);
    const Vector<T, WIDTH> center = walk.numbers(mean, T(0));
    Sums<2> sums;
    walk.each(
        [&](long long place) {
            const Vector<T, VECTOR> values = load<VECTOR>(x + place), given = load<VECTOR>(grad + place);
#pragma unroll
            for (int e = 0; e < VECTOR; ++e) {
                sums.some[0].at[e] += given.at[e];
                sums.some[1].at[e] += given.at[e] * (values.at[e] - center.at[e % WIDTH]);
            }
        },
        [&] { sums.pause(); });
    sums.keep(walk, parts, shares);
}

// A block has 32 channels, and a warp of it some of their parts. Returns the channel to those who have its sums, else -1.
template <int COUNT>
__device__ inline int of_parts(const double* parts, int count, int channels, double* shares, double (&sum)[COUNT]) {
    const int c = blockIdx.x * 32 + threadIdx.x % 32;
#pragma unroll
    for (int s = 0; s < COUNT; ++s) sum[s] = 0;
    if (c < channels)
#pragma unroll 4
        for (int part = threadIdx.x / 32; part < count; part += THREADS / 32)
#pragma unroll
            for (int s = 0; s < COUNT; ++s) sum[s] += parts[((long long)part * COUNT + s) * channels + c];
#pragma unroll
    for (int s = 0; s < COUNT; ++s) shares[s * THREADS + threadIdx.x] = sum[s];
    __syncthreads();
    if (threadIdx.x >= 32 || c >= channels) return -1;
    for (int warp = 1; warp < THREADS / 32; ++warp)
#pragma unroll
        for (int s = 0; s < COUNT; ++s) sum[s] += shares[s * THREADS + warp * 32 + threadIdx.x];
    return c;
}

extern "C" __global__ void total(T* out, const double* parts, int count, int channels) {
    __shared__ double shares[THREADS];
    double sum[1];
    const int c = of_parts(parts, count, channels, shares, sum);
    if (c >= 0) out[c] = T(sum[0]);
}

// Of the moments: mean, variance, and slope = w / √(variance + eps).
extern "C" __global__ void statistics(T* mean, T* variance, T* slope, const double* parts, int count, const T* x, const T* w, double eps, Extent size) {
    __shared__ double shares[2 * THREADS];
    double sum[2];
    const int c = of_parts(parts, count, size.channels, shares, sum);
    if (c < 0) return;
    const double numbers = double(size.outer) * double(size.inner), shift = sum[0] / numbers, spread = sum[1] / numbers - shift * shift;
    const double squared = spread < 0 ? 0 : spread;  // nan stays
    mean[c] = T(double(center_of(x, c, size)) + shift);
    variance[c] = T(squared);
    slope[c] = T((w == nullptr ? 1 : double(w[c])) / sqrt(squared + eps));
}

// Of the projections: dw, db, and the three numbers a channel with which dx = numbers[0] · g + numbers[1] · (x - mean) + numbers[2].
extern "C" __global__ void coefficients(T* dw, T* db, T* numbers, const double* parts, int count, const T* w, const T* variance, double eps, Extent size) {
    __shared__ double shares[2 * THREADS];
    double sum[2];
    const int c = of_parts(parts, count, size.channels, shares, sum);
    if (c < 0) return;
    const double root = 1 / sqrt(double(variance[c]) + eps), factor = (w == nullptr ? 1 : double(w[c])) * root;
    const double elements = double(size.outer) * double(size.inner);
    dw[c] = T(sum[1] * root);
    db[c] = T(sum[0]);
    numbers[c] = T(factor);
    numbers[size.channels + c] = T(-factor * root * root * sum[1] / elements);
    numbers[2 * size.channels + c] = T(-factor * sum[0] / elements);
}
