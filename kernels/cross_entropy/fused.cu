// Cross entropy of each row, Σ_c q[c] · (log - (x[c] - top)) with log = ln Σ e^(x - top), q = (1 - ε) · [c = target] + ε / C; and its gradient.
//
// A row is shared out to the threads of a warp, or of a block if it is long. Bound by the memory: scores are read from it once,
// no probabilities are written, and what the second walk through a row reads lies in the cache.

#include "row.cuh"

extern "C" __global__ void cross_entropy(
    T* losses, T* tops, T* logs, const T* x, const long long* targets, long long rows, long long classes, T smoothing) {
    __shared__ T parts[32];
    const long long i = row_number();
    if (i >= rows) return;  // a whole warp or nobody
    const T* row = x + i * classes;
    T top = row[0], powers = 0, scores = 0;
    for (long long j = threadIdx.x; j < classes; j += blockDim.x) top = Larger()(top, row[j]);
    top = of_row(top, Larger(), parts);
    for (long long j = threadIdx.x; j < classes; j += blockDim.x) {
        powers += exp(row[j] - top);
        scores += row[j] - top;
    }
    const T log_of_sum = log(of_row(powers, Sum(), parts));
    scores = of_row(scores, Sum(), parts);
    if (threadIdx.x != 0) return;
    tops[i] = top;
    logs[i] = log_of_sum;
    T loss = 0;
    if (targets[i] >= 0) {
        loss = log_of_sum - (row[targets[i]] - top);
        if (smoothing != 0) loss = (1 - smoothing) * loss + smoothing * (log_of_sum - scores / T(classes));
    }
    losses[i] = loss;
}

// x̄ = (e^(x - top - log) - q) · scale, and 0 where the target is negative.
extern "C" __global__ void cross_entropy_gradient(
    T* dx, const T* x, const long long* targets, const T* tops, const T* logs, const T* scale, long long rows, long long classes, T smoothing) {
    const long long i = row_number();
    if (i >= rows) return;
    const T top = tops[i], log_of_sum = logs[i], factor = scale[i], rest = smoothing / T(classes);
    const long long target = targets[i];
    for (long long j = threadIdx.x; j < classes; j += blockDim.x) {
        const T share = j == target ? rest + (1 - smoothing) : rest;
        dx[i * classes + j] = target < 0 ? T(0) : (T(exp((x[i * classes + j] - top) - log_of_sum)) - share) * factor;
    }
}
