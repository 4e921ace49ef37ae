// out[c] = Σ x[:, c] in two passes, each adding up in one order: parts of every channel, and then the parts.
//
// Channels last, x is [rows, channels]: a thread has VECTOR channels side by side and every so many rows of its part. Row by row, x
// is [images, channels, length], and a block has one channel of a part's images. Bound by the memory: all of x is read once.

#include "row.cuh"
#include "vector.cuh"

constexpr int THREADS = 256;

// parts [part, channels]. blockDim is (threads along the channels, threads along the rows), gridDim (their blocks, parts).
extern "C" __global__ void sums_of_columns(const T* x, T* parts, long long rows, int channels) {
    __shared__ T shares[THREADS * VECTOR];
    const int c = (blockIdx.x * blockDim.x + threadIdx.x) * VECTOR;
    const long long begin = rows * blockIdx.y / gridDim.y, end = rows * (blockIdx.y + 1) / gridDim.y;
    Vector<T, VECTOR> sum = {}, other = {};
    if (c < channels) {
        const long long step = blockDim.y;
        long long row = begin + threadIdx.y;
        for (; row + step < end; row += 2 * step) {  // two sums at once: more is on its way
            const Vector<T, VECTOR> one = load<VECTOR>(x + row * channels + c), two = load<VECTOR>(x + (row + step) * channels + c);
#pragma unroll
            for (int i = 0; i < VECTOR; ++i) sum.at[i] += one.at[i], other.at[i] += two.at[i];
        }
        if (row < end) {
            const Vector<T, VECTOR> one = load<VECTOR>(x + row * channels + c);
#pragma unroll
            for (int i = 0; i < VECTOR; ++i) sum.at[i] += one.at[i];
        }
    }
    T* mine = shares + (threadIdx.y * blockDim.x + threadIdx.x) * VECTOR;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) mine[i] = sum.at[i] + other.at[i];
    for (int half = blockDim.y / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half)
#pragma unroll
            for (int i = 0; i < VECTOR; ++i) mine[i] += mine[half * blockDim.x * VECTOR + i];
    }
    if (threadIdx.y == 0 && c < channels)
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) parts[(long long)blockIdx.y * channels + c + i] = mine[i];
}

// The same of planes: block (channel, part).
extern "C" __global__ void sums_of_planes(const T* x, T* parts, int images, int channels, int length) {
    __shared__ T shares[32];
    const int first = (long long)images * blockIdx.y / gridDim.y, behind = (long long)images * (blockIdx.y + 1) / gridDim.y;
    T sum = 0;
    for (int n = first; n < behind; ++n) {
        const T* plane = x + ((long long)n * channels + blockIdx.x) * length;
        T own = 0;
        for (int i = threadIdx.x * VECTOR; i < length; i += THREADS * VECTOR) {
            const Vector<T, VECTOR> values = load<VECTOR>(plane + i);
#pragma unroll
            for (int e = 0; e < VECTOR; ++e) own += values.at[e];
        }
        sum += own;
    }
    sum = of_row(sum, Sum(), shares);
    if (threadIdx.x == 0) parts[(long long)blockIdx.y * channels + blockIdx.x] = sum;
}

// A block has 32 channels, and a warp of it some of their parts.
extern "C" __global__ void sums_of_parts(const T* parts, T* out, int count, int channels) {
    __shared__ T shares[THREADS];
    const int c = blockIdx.x * 32 + threadIdx.x % 32;
    T sum = 0;
    if (c < channels)
        for (int part = threadIdx.x / 32; part < count; part += THREADS / 32) sum += parts[(long long)part * channels + c];
    shares[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x >= 32 || c >= channels) return;
    for (int warp = 1; warp < THREADS / 32; ++warp) sum += shares[warp * 32 + threadIdx.x];
    out[c] = sum;
}
