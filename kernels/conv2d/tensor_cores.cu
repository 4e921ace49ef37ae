// Implicit GEMM, as in implicit_gemm.cu, on tensor cores: the left factor of product.cuh is read out of the image.
//
// gather      out [places x columns] = S [places x L] · F [L x columns], the numbers of a sum side by side in both
// weights     partial [L x columns] = Sᵀ [L x places] · D [places x columns], the numbers of a sum apart in both
//
// Element l = (u·taps_x + v)·depth + c of a row of S is channel c of what the place's tap (u, v) looks at, 0 outside the image.
// No array has more than 2^31 elements, so an element's number fits one register.

#include "finish.cuh"
#include "product.cuh"

constexpr int OUTSIDE = -(1 << 30);

// Rows of S: a thread copies the same numbers l of a slice for some places.
struct Places {
    static constexpr int LANES = DEPTH / VECTOR, APART = THREADS / LANES, COPIES = ROWS / APART;
    static_assert(ALONG == 0 || (THREADS % LANES == 0 && COPIES * APART == ROWS));

    const float* source;
    const Grid& g;
    int at[COPIES], y[COPIES], x[COPIES];
    int u, v, c;

    __device__ Places(const float* from, const Grid& g, int first_row, int group, int begin) : g(g) {
        const int places = g.places_y * g.places_x, rows = g.images * places;
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const int row = first_row + threadIdx.x / LANES + i * APART, place = row % places;
            y[i] = row < rows ? place / g.places_x * g.step_y + g.first_y : OUTSIDE;
            x[i] = place % g.places_x * g.step_x + g.first_x;
            at[i] = row < rows ? ((row / places * g.height + y[i]) * g.width + x[i]) * g.channels : 0;  // may begin outside: only taps within are read
        }
        const int l = begin + threadIdx.x % LANES * VECTOR;
        source = from + group * g.depth;
        c = l % g.depth, v = l / g.depth % max(g.taps_x, 1), u = l / g.depth / max(g.taps_x, 1);
    }

    __device__ void fetch(float* tile) {
        const int down = u * g.tap_y, right = v * g.tap_x, away = (down * g.width + right) * g.channels + c;
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const bool inside = u < g.taps_y && unsigned(y[i] + down) < unsigned(g.height) && unsigned(x[i] + right) < unsigned(g.width);
            copy_later<VECTOR>(tile + Tile<ROWS>::at(threadIdx.x / LANES + i * APART, threadIdx.x % LANES * VECTOR), source + (inside ? at[i] + away : 0), inside ? VECTOR : 0);
        }
        for (c += DEPTH; c >= g.depth; c -= g.depth)
            if (++v == g.taps_x) v = 0, ++u;
    }
};

// Columns of S: a thread copies the same tap and channels for some places of a slice.
struct Taps {
    static constexpr int LANES = ROWS / VECTOR, APART = THREADS / LANES, COPIES = DEPTH / APART;
    static_assert(ALONG == 1 || (THREADS % LANES == 0 && COPIES * APART == DEPTH));

    const float* source;
    const Grid& g;
    int y, x;
    int n[COPIES], i[COPIES], j[COPIES];

    __device__ Taps(const float* from, const Grid& g, int first_row, int group, int begin) : g(g) {
        const int l = first_row + threadIdx.x % LANES * VECTOR, tap = l / g.depth;
        source = from + group * g.depth + l % g.depth;
        y = l < g.taps_y * g.taps_x * g.depth ? tap / g.taps_x * g.tap_y + g.first_y : OUTSIDE, x = tap % g.taps_x * g.tap_x + g.first_x;
#pragma unroll
        for (int e = 0; e < COPIES; ++e) {
            const int place = begin + threadIdx.x / LANES + e * APART;
            j[e] = place % g.places_x, i[e] = place / g.places_x % g.places_y, n[e] = place / g.places_x / g.places_y;
        }
    }

    __device__ void fetch(float* tile) {
#pragma unroll
        for (int e = 0; e < COPIES; ++e) {
            const int row = y + i[e] * g.step_y, column = x + j[e] * g.step_x;
            const bool inside = n[e] < g.images && unsigned(row) < unsigned(g.height) && unsigned(column) < unsigned(g.width);
            const float* from = inside ? source + ((n[e] * g.height + row) * g.width + column) * g.channels : source;
            copy_later<VECTOR>(tile + Tile<ROWS>::at(threadIdx.x % LANES * VECTOR, threadIdx.x / LANES + e * APART), from, inside ? VECTOR : 0);
            for (j[e] += DEPTH; j[e] >= g.places_x; j[e] -= g.places_x)
                if (++i[e] == g.places_y) i[e] = 0, ++n[e];
        }
    }
};

// filters [groups, columns, length]; out [rows, all columns], or parts of it.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
gather(const float* source, const float* filters, const float* bias, float* out, Grid g, int slices, int relu) {
    if constexpr (ALONG == 1) {
        const int column_tiles = (g.columns + COLUMNS - 1) / COLUMNS, total = g.groups * g.columns;
        const int first_row = blockIdx.x / column_tiles * ROWS, first_column = blockIdx.x % column_tiles * COLUMNS;
        const int group = blockIdx.y / g.splits, split = blockIdx.y % g.splits;
        const int rows = g.images * g.places_y * g.places_x, whole = g.taps_y * g.taps_x * g.depth;
        const int begin = split * slices * DEPTH, length = max(0, min(whole - begin, slices * DEPTH));
        const float* own = filters + ((long long)group * g.columns + first_column) * whole + begin;
        Sums sums;
        product([&] { return Places(source, g, first_row, group, begin); },
                [&] { return Matrix<COLUMNS>(own, whole, g.columns - first_column, length); }, (length + DEPTH - 1) / DEPTH, sums);
        out += (long long)split * rows * total + group * g.columns;
        each_pair(sums, [&](int i, int j, float first, float second) {
            const int row = first_row + i;
            const float* plus = bias == nullptr ? nullptr : bias + group * g.columns;
            if (row < rows) store_pair(out + (long long)row * total, first_column + j, g.columns, first, second, plus, relu);
        });
    }
}

// parts [splits, groups, length, columns]
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
weights(const float* source, const float* gradient, float* parts, Grid g, int slices) {
    if constexpr (ALONG == 0) {
        const int column_tiles = (g.columns + COLUMNS - 1) / COLUMNS, total = g.groups * g.columns;
        const int first_row = blockIdx.x / column_tiles * ROWS, first_column = blockIdx.x % column_tiles * COLUMNS;
        const int group = blockIdx.y / g.splits, split = blockIdx.y % g.splits;
        const int places = g.images * g.places_y * g.places_x, length = g.taps_y * g.taps_x * g.depth;
        const int begin = split * slices * DEPTH, sum = max(0, min(places - begin, slices * DEPTH));
        const float* own = gradient + (long long)begin * total + group * g.columns + first_column;
        Sums sums;
        product([&] { return Taps(source, g, first_row, group, begin); },
                [&] { return Matrix<COLUMNS>(own, total, g.columns - first_column, sum); }, (sum + DEPTH - 1) / DEPTH, sums);
        float* part = parts + ((long long)split * g.groups + group) * length * g.columns;
        each_pair(sums, [&](int i, int j, float first, float second) {
            if (first_row + i < length) store_pair(part + (long long)(first_row + i) * g.columns, first_column + j, g.columns, first, second, nullptr, false);
        });
    }
}

struct Windows {
    int images, height, width, channels;  // of the input
    int places_y, places_x, taps_y, taps_x, stride_y, stride_x, top, left, dilation_y, dilation_x;
};

// The input gradient of few channels: dx[n, h, w, c] = Σ products[(c, r, s), (n, p, q)] over the places (p, q) whose tap (r, s) meets (h, w).
// A thread has one place of the input and some of its channels, so neighbours read neighbouring products.
extern "C" __global__ void fold(const float* products, float* dx, Windows s) {
    constexpr int CHANNELS = 4;
    const long long place = (long long)blockIdx.x * blockDim.x + threadIdx.x, places = (long long)s.images * s.places_y * s.places_x;
    if (place >= (long long)s.images * s.height * s.width) return;
    const int w = place % s.width, h = place / s.width % s.height, n = place / s.width / s.height, taps = s.taps_y * s.taps_x;
    for (int first = 0; first < s.channels; first += CHANNELS) {
        float sums[CHANNELS] = {};
        for (int r = 0; r < s.taps_y; ++r) {
            const int down = h + s.top - r * s.dilation_y, p = s.stride_y == 1 ? down : down / s.stride_y;  // a division takes longer than the rest
            if (down < 0 || p * s.stride_y != down || p >= s.places_y) continue;
            for (int t = 0; t < s.taps_x; ++t) {
                const int right = w + s.left - t * s.dilation_x, q = s.stride_x == 1 ? right : right / s.stride_x;
                if (right < 0 || q * s.stride_x != right || q >= s.places_x) continue;
                const float* product = products + (first * taps + r * s.taps_x + t) * places + ((long long)n * s.places_y + p) * s.places_x + q;
#pragma unroll
                for (int c = 0; c < CHANNELS; ++c)
                    if (first + c < s.channels) sums[c] += product[c * taps * places];
            }
        }
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c)
            if (first + c < s.channels) dx[place * s.channels + first + c] = sums[c];
    }
}
