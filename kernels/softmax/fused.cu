// softmax = e^(x - max) / Σ and log_softmax = x - max - ln Σ of each row, and their gradients.
//
// Bound by the memory. A row that fits is held in the registers of a warp, HELD vectors a lane, read once and written once. Another
// (HELD = 0) is shared out to a warp, or to a block if it is long, and walked through two or three times: it comes from the
// cache after the first, and to take e^ again costs less than to keep it.

#include "row.cuh"
#include "vector.cuh"

// A lane's share of a row, all of it at once; what lies beyond its end is `other`.
struct Held {
    Vector<T, VECTOR> at[HELD > 0 ? HELD : 1];

    static __device__ int place(int i) { return (i * 32 + threadIdx.x) * VECTOR; }

    __device__ Held() {}
    __device__ Held(const T* row, long long length, T other) {
#pragma unroll
        for (int i = 0; i < HELD; ++i)
            if (place(i) < length)
                at[i] = load<VECTOR>(row + place(i));
            else
#pragma unroll
                for (int e = 0; e < VECTOR; ++e) at[i].at[e] = other;
    }

    __device__ void keep(T* row, long long length) const {
#pragma unroll
        for (int i = 0; i < HELD; ++i)
            if (place(i) < length) store(row + place(i), at[i]);
    }

    template <class Change>
    __device__ void each(Change change) {  // change(number, which)
#pragma unroll
        for (int i = 0; i < HELD * VECTOR; ++i) change(at[i / VECTOR].at[i % VECTOR], i);
    }

    __device__ T number(int i) const { return at[i / VECTOR].at[i % VECTOR]; }
    __device__ bool within(int i, long long length) const { return place(i / VECTOR) < length; }
};

extern "C" __global__ void softmax(T* out, const T* x, long long rows, long long classes, int logarithm) {
    __shared__ T parts[32];
    if (row_number() >= rows) return;  // a whole warp or nobody
    const T* row = x + row_number() * classes;
    T* result = out + row_number() * classes;
    if constexpr (HELD > 0) {
        Held values(row, classes, row[0]);
        T top = values.number(0), sum = 0;
        values.each([&](T& value, int) { top = Larger()(top, value); });
        top = of_row(top, Larger(), parts);
        Held powers;
        powers.each([&](T& power, int i) {
            power = exp(values.number(i) - top);
            if (values.within(i, classes)) sum += power;
        });
        sum = of_row(sum, Sum(), parts);
        const T log_of_sum = log(sum);
        powers.each([&](T& power, int i) { power = logarithm ? (values.number(i) - top) - log_of_sum : power / sum; });
        powers.keep(result, classes);
    } else {
        T top = row[0], sum = 0;
        for (long long j = threadIdx.x; j < classes; j += blockDim.x) top = Larger()(top, row[j]);
        top = of_row(top, Larger(), parts);
        for (long long j = threadIdx.x; j < classes; j += blockDim.x) sum += exp(row[j] - top);
        sum = of_row(sum, Sum(), parts);
        const T log_of_sum = log(sum);
        for (long long j = threadIdx.x; j < classes; j += blockDim.x)
            result[j] = logarithm ? (row[j] - top) - log_of_sum : T(exp(row[j] - top)) / sum;
    }
}

// x̄ = y · (ȳ - Σ ȳ·y), or ȳ - e^y · Σ ȳ.
extern "C" __global__ void softmax_gradient(T* out, const T* grad, const T* y, long long rows, long long classes, int logarithm) {
    __shared__ T parts[32];
    if (row_number() >= rows) return;
    const T* row = y + row_number() * classes;
    const T* g = grad + row_number() * classes;
    T* result = out + row_number() * classes;
    T sum = 0;
    if constexpr (HELD > 0) {
        const Held values(row, classes, T(0));
        Held gradients(g, classes, T(0));
        gradients.each([&](T& gradient, int i) { sum += logarithm ? gradient : gradient * values.number(i); });
        sum = of_row(sum, Sum(), parts);
        gradients.each([&](T& gradient, int i) {
            const T value = values.number(i);
            gradient = logarithm ? gradient - T(exp(value)) * sum : value * (gradient - sum);
        });
        gradients.keep(result, classes);
    } else {
        for (long long j = threadIdx.x; j < classes; j += blockDim.x) sum += logarithm ? g[j] : g[j] * row[j];
        sum = of_row(sum, Sum(), parts);
        for (long long j = threadIdx.x; j < classes; j += blockDim.x)
            result[j] = logarithm ? g[j] - T(exp(row[j])) * sum : row[j] * (g[j] - sum);
    }
}
