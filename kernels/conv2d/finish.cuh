// Sums that were computed in parts: the parts added up in their order, and put where they belong.

#include "gather.cuh"

// out[place(n, i, j), k] of parts [split, (n, i, j), k]; a thread has one element.
extern "C" __global__ void finish(const float* parts, const float* bias, float* out, Grid g, Target target, int relu) {
    const int total = g.groups * g.columns, places = g.places_y * g.places_x, rows = g.images * places;
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (long long)rows * total) return;
    const int row = at / total, k = at % total;
    float value = 0;
    for (int split = 0; split < g.splits; ++split) value += parts[(long long)split * rows * total + at];
    if (bias != nullptr) value += bias[k];
    if (relu) value = value <= 0 ? 0 : value;
    const int n = row / places, i = row % places / g.places_x, j = row % g.places_x;
    out[place_in(target, n, i, j) * total + k] = value;
}

// out[k, c, r, s] of parts [split, group, (r, s, c), k]; a thread has one element.
extern "C" __global__ void finish_weights(const float* parts, float* out, Grid g) {
    const int taps = g.taps_y * g.taps_x;
    const long long size = (long long)g.groups * taps * g.depth * g.columns, at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size) return;
    float value = 0;
    for (int split = 0; split < g.splits; ++split) value += parts[split * size + at];
    const int k = at % g.columns, c = at / g.columns % g.depth, tap = at / g.columns / g.depth % taps, group = at / g.columns / g.depth / taps;
    out[(((long long)group * g.columns + k) * g.depth + c) * taps + tap] = value;
}
