// out = x where y > 0 or y is nan, else 0. ReLU itself has y = x; out may be x, too.
//
// Bound by the memory alone, so each thread moves 16 bytes at once (VECTOR elements of type T), and nothing else matters.

#include "vector.cuh"

__device__ inline T passed(T x, T y) { return y <= 0 ? T(0) : x; }

extern "C" __global__ void pass_positive(T* out, const T* x, const T* y, long long size) {
    const long long first = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * VECTOR;
    if (first + VECTOR <= size) {
        const Vector<T, VECTOR> a = load<VECTOR>(x + first), b = load<VECTOR>(y + first);
        Vector<T, VECTOR> result;
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) result.at[i] = passed(a.at[i], b.at[i]);
        store(out + first, result);
    } else {
        for (long long i = first; i < size; ++i) out[i] = passed(x[i], y[i]);
    }
}
