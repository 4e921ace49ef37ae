// Local response normalisation: out = x / t^beta with t = k + scale · Σ x² over the channels around each, and its gradient.
//
// x is [outer, channels, inner]. A thread has one number; its neighbours' come from the cache, where the threads beside it have put them.
// In the gradient each number also needs what the neighbours divide by, so a block computes that for some numbers more than it has
// results, and hands it on through shared memory. threadIdx.x goes along the memory and threadIdx.y along the channels, except
// channels last (an inner of 1), where threadIdx.x goes along both, from pixel to pixel.

#include "shared_memory.cuh"

struct Problem {
    long long outer, inner;
    int channels, before, after;  // of each channel's neighbours
};

__device__ inline T raise_to(T total, T beta) {
    if (beta == T(0.75)) {  // roots are cheap, a power is not
        const T root = sqrt(total);
        return root * T(sqrt(root));
    }
    return beta == T(0.5) ? T(sqrt(total)) : beta == T(1) ? total : T(pow(total, beta));
}

// Σ of value(distance) over the neighbours that there are, from `down` below channel c to `up` above it.
template <class Value>
__device__ inline T over_neighbours(const Problem& problem, int c, int down, int up, Value value) {
    const int first = max(-down, -c), last = min(up, problem.channels - 1 - c);
    T sum = 0;
    for (int distance = first; distance <= last; ++distance) sum += value(distance);
    return sum;
}

__device__ inline T total_around(const T* at, const Problem& problem, int c, T scale, T k) {
    return k + scale * over_neighbours(problem, c, problem.before, problem.after, [&](int distance) {
               const T neighbour = at[distance * problem.inner];
               return neighbour * neighbour;
           });
}

extern "C" __global__ void normalise(T* out, const T* x, Problem problem, T scale, T beta, T k) {
    const long long place = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (place >= problem.outer * problem.channels * problem.inner) return;
    const int c = int(place / problem.inner % problem.channels);
    out[place] = x[place] / raise_to(total_around(x + place, problem, c, scale, k), beta);
}

// dx = g / t^beta - 2 · beta · scale · x · Σ g · x / t^(beta + 1), the sum over those who have this one as a neighbour.
extern "C" __global__ void gradient(T* dx, const T* grad, const T* x, Problem problem, T scale, T beta, T k) {
    DYNAMIC_SHARED(T, shares);
    const int thread = threadIdx.y * blockDim.x + threadIdx.x, aside = problem.inner > 1 ? blockDim.x : 1;
    const int below = problem.after, above = problem.before;  // who looks at whom is the other way round
    long long place;
    int c, along;
    bool there;
    if (problem.inner > 1) {
        const int tiles = (problem.channels + blockDim.y - below - above - 1) / (blockDim.y - below - above);
        const long long column = (blockIdx.x / tiles) * (long long)blockDim.x + threadIdx.x;  // of all images' pixels
        along = threadIdx.y;
        c = int(blockIdx.x % tiles) * (int(blockDim.y) - below - above) - below + along;
        there = c >= 0 && c < problem.channels && column < problem.outer * problem.inner;
        place = (column / problem.inner * problem.channels + c) * problem.inner + column % problem.inner;
    } else {
        along = threadIdx.x;
        place = blockIdx.x * (long long)(int(blockDim.x) - below - above) - below + along;
        there = place >= 0 && place < problem.outer * problem.channels;
        c = there ? int(place % problem.channels) : 0;
    }
    T direct = 0, share = 0;
    if (there) {
        const T total = total_around(x + place, problem, c, scale, k);
        direct = grad[place] / raise_to(total, beta);
        share = direct * x[place] / total;
    }
    shares[thread] = share;
    __syncthreads();
    const int extent = problem.inner > 1 ? blockDim.y : blockDim.x;
    if (!there || along < below || along >= extent - above) return;
    const T sum = over_neighbours(problem, c, below, above, [&](int distance) { return shares[thread + distance * aside]; });
    dx[place] = direct - (beta + beta) * scale * x[place] * sum;
}
