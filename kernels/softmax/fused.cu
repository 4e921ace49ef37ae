// softmax = e^(x - max) / Σ and log_softmax = x - max - ln Σ of each row, and their gradients.
//
// A row is shared out to the threads of a warp, or of a block if it is long. Bound by the memory: a row is walked through two or
// three times, but comes from the cache after the first; to take e^ again costs less than to keep it.

#include "row.cuh"

extern "C" __global__ void softmax(T* out, const T* x, long long rows, long long classes, int logarithm) {
    __shared__ T parts[32];
    if (row_number() >= rows) return;  // a whole warp or nobody
    const T* row = x + row_number() * classes;
    T* result = out + row_number() * classes;
    T top = row[0], sum = 0;
    for (long long j = threadIdx.x; j < classes; j += blockDim.x) top = Larger()(top, row[j]);
    top = of_row(top, Larger(), parts);
    for (long long j = threadIdx.x; j < classes; j += blockDim.x) sum += exp(row[j] - top);
    sum = of_row(sum, Sum(), parts);
    const T log_of_sum = log(sum);
    for (long long j = threadIdx.x; j < classes; j += blockDim.x)
        result[j] = logarithm ? (row[j] - top) - log_of_sum : T(exp(row[j] - top)) / sum;
}

// x̄ = y · (ȳ - Σ ȳ·y), or ȳ - e^y · Σ ȳ.
extern "C" __global__ void softmax_gradient(T* out, const T* grad, const T* y, long long rows, long long classes, int logarithm) {
    __shared__ T parts[32];
    if (row_number() >= rows) return;
    const T* row = y + row_number() * classes;
    const T* g = grad + row_number() * classes;
    T* result = out + row_number() * classes;
    T sum = 0;
    for (long long j = threadIdx.x; j < classes; j += blockDim.x) sum += logarithm ? g[j] : g[j] * row[j];
    sum = of_row(sum, Sum(), parts);
    for (long long j = threadIdx.x; j < classes; j += blockDim.x)
        result[j] = logarithm ? g[j] - T(exp(row[j])) * sum : row[j] * (g[j] - sum);
}
