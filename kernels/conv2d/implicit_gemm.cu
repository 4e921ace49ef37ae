// Convolution as a matrix product whose left matrix is read out of the image while it is needed: implicit GEMM.
//
// gather      out [places x columns] = S [places x L] · F [L x columns]
// weights     partial [L x columns] = Sᵀ [L x places] · D [places x columns]
//
// L counts taps and channels: l = (u·taps_x + v)·depth + c. Row (n, i, j) of S holds what place (i, j) of image n looks at: its
// element l is channel c of the source's element (i·step_y + first_y + u·tap_y, j·step_x + first_x + v·tap_x), 0 outside. So
// `gather` is the output of a convolution, and it is the input gradient too, a phase of the stride at a time.
//
// A block computes ROWS x COLUMNS sums, a thread 8x8 of them in registers. Both factors pass through shared memory in slices
// DEPTH deep: while the threads multiply one slice, the next is on its way from global memory into registers. Each of the 16
// numbers that a thread reads there is used 8 times. All arrays are channels last, so threads side by side read VECTOR
// channels each, side by side. The sums of a block may be one of `splits` parts, which finish.cuh adds up in their order.
// No array has more than 2^31 elements, so an element's number fits one register.

#include "finish.cuh"
#include "vector.cuh"

constexpr int ROWS = 128, DEPTH = 8, THREADS = ROWS * COLUMNS / 64;
constexpr int OUTSIDE = -(1 << 30);
constexpr int UNROLLED = VECTOR == 4 ? 2 : 1;  // more, and the compiler keeps more numbers at hand than there are registers

using Values = Vector<float, VECTOR>;

// Where a thread's 8x8 sums lie in the block: rows row + {0..3, 16..19}, columns column + {0..3, 32..35}. The lanes of a warp
// then read 4 different rows and 8 different columns at once, which are neighbours, in different banks of shared memory.
__device__ inline int own_row() { return threadIdx.x / 32 / (COLUMNS / 64) * 32 + threadIdx.x % 32 / 8 * 4; }
__device__ inline int own_column() { return threadIdx.x / 32 % (COLUMNS / 64) * 64 + threadIdx.x % 8 * 4; }

__device__ inline void multiply(const float (&a)[DEPTH][ROWS + 4], const float (&b)[DEPTH][COLUMNS], float (&sums)[8][8]) {
    const int row = own_row(), column = own_column();
#pragma unroll UNROLLED
    for (int l = 0; l < DEPTH; ++l) {
        const Vector<float, 4> left[2] = {load<4>(&a[l][row]), load<4>(&a[l][row + 16])};
        const Vector<float, 4> right[2] = {load<4>(&b[l][column]), load<4>(&b[l][column + 32])};
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
            for (int j = 0; j < 8; ++j) sums[i][j] += left[i / 4].at[i % 4] * right[j / 4].at[j % 4];
    }
}

// A thread's 8 sums of one row, wherever they belong.
template <class Write>
__device__ inline void each_row(const float (&sums)[8][8], Write write) {
#pragma unroll
    for (int i = 0; i < 8; ++i) write(own_row() + i % 4 + i / 4 * 16, sums[i]);
}

__device__ inline int column_of(int j) { return own_column() + j % 4 + j / 4 * 32; }

extern "C" __global__ void __launch_bounds__(THREADS, 512 / THREADS)
gather(const float* source, const float* filters, const float* bias, float* out, Grid g, int relu) {
    __shared__ __align__(16) float a[2][DEPTH][ROWS + 4];
    __shared__ __align__(16) float b[2][DEPTH][COLUMNS];
    const int column_tiles = (g.columns + COLUMNS - 1) / COLUMNS, pitch = column_tiles * COLUMNS;
    const int first_row = blockIdx.x / column_tiles * ROWS, first_column = blockIdx.x % column_tiles * COLUMNS;
    const int group = blockIdx.y / g.splits, split = blockIdx.y % g.splits;
    const int places = g.places_y * g.places_x, rows = g.images * places;
    const int length = g.taps_y * g.taps_x * g.depth, slices = (length + DEPTH - 1) / DEPTH;
    const int begin = (long long)slices * split / g.splits, end = (long long)slices * (split + 1) / g.splits;

    // Of each slice, a thread fetches l = part .. part + VECTOR - 1 of some rows.
    constexpr int PARTS = DEPTH / VECTOR, APART = THREADS / PARTS, FETCHES = ROWS / APART;
    const int part = threadIdx.x % PARTS * VECTOR;
    int image[FETCHES], y[FETCHES], x[FETCHES];
#pragma unroll
    for (int f = 0; f < FETCHES; ++f) {
        const int row = first_row + threadIdx.x / PARTS + f * APART;
        const int n = row / places, i = row % places / g.places_x, j = row % g.places_x;
        image[f] = n * g.height;
        y[f] = row < rows ? i * g.step_y + g.first_y : OUTSIDE;
        x[f] = j * g.step_x + g.first_x;
    }
    int l = begin * DEPTH + part;
    const int first_channel = group * g.depth, last_channel = first_channel + g.depth;
    int c = first_channel + l % g.depth, v = l / g.depth % max(g.taps_x, 1), u = l / g.depth / max(g.taps_x, 1);

    // And four columns of one row of the filters, which are padded to whole tiles.
    const int filter_row = threadIdx.x / (COLUMNS / 4), filter_column = threadIdx.x % (COLUMNS / 4) * 4;
    int filter = (group * length + begin * DEPTH + filter_row) * pitch + first_column + filter_column;

    Values fetched[FETCHES];
    Vector<float, 4> filter_values;
    auto fetch = [&](int slice) {
#pragma unroll
        for (int f = 0; f < FETCHES; ++f) {
            const int row = y[f] + u * g.tap_y, column = x[f] + v * g.tap_x;
            const bool inside = u < g.taps_y && unsigned(row) < unsigned(g.height) && unsigned(column) < unsigned(g.width);
            fetched[f] = inside ? load<VECTOR>(source + ((image[f] + row) * g.width + column) * g.channels + c) : Values{};
        }
        filter_values = slice * DEPTH + filter_row < length ? load<4>(filters + filter) : Vector<float, 4>{};
        filter += DEPTH * pitch;
        for (c += DEPTH; c >= last_channel; c -= g.depth)
            if (++v == g.taps_x) v = 0, ++u;
    };
    auto keep = [&](int which) {
#pragma unroll
        for (int f = 0; f < FETCHES; ++f)
#pragma unroll
            for (int e = 0; e < VECTOR; ++e) a[which][part + e][threadIdx.x / PARTS + f * APART] = fetched[f].at[e];
        store(&b[which][filter_row][filter_column], filter_values);
    };

    float sums[8][8] = {};
    if (begin < end) fetch(begin), keep(0);
    __syncthreads();
    for (int slice = begin; slice < end; ++slice) {
        const int now = (slice - begin) & 1;
        if (slice + 1 < end) fetch(slice + 1);
        multiply(a[now], b[now], sums);
        if (slice + 1 < end) keep(now ^ 1);
        __syncthreads();
    }

    const int total = g.groups * g.columns;
    each_row(sums, [&](int own, const float(&values)[8]) {
        const int row = first_row + own;
        if (row >= rows) return;
        float* at = out + (split * (long long)rows + row) * total + group * g.columns;
#pragma unroll
        for (int half = 0; half < 8; half += 4) {
            const int column = first_column + column_of(half);
            Vector<float, 4> four;
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                float value = values[half + e];
                if (bias != nullptr && column + e < g.columns) value += bias[group * g.columns + column + e];
                four.at[e] = relu && value <= 0 ? 0 : value;
            }
            if (g.wide && column < g.columns) {
                store(at + column, four);
            } else {
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    if (column + e < g.columns) at[column + e] = four.at[e];
            }
        }
    });
}

extern "C" __global__ void __launch_bounds__(THREADS, 512 / THREADS)
weights(const float* source, const float* gradient, float* parts, Grid g) {
    __shared__ __align__(16) float a[2][DEPTH][ROWS + 4];
    __shared__ __align__(16) float b[2][DEPTH][COLUMNS];
    const int column_tiles = (g.columns + COLUMNS - 1) / COLUMNS;
    const int first_row = blockIdx.x / column_tiles * ROWS, first_column = blockIdx.x % column_tiles * COLUMNS;
    const int group = blockIdx.y / g.splits, split = blockIdx.y % g.splits;
    const int places = g.images * g.places_y * g.places_x, length = g.taps_y * g.taps_x * g.depth;
    const int slices = (places + DEPTH - 1) / DEPTH;
    const int begin = (long long)slices * split / g.splits, end = (long long)slices * (split + 1) / g.splits;

    // Of each slice, a thread fetches rows l .. l + VECTOR - 1 at some places: its tap and channel stay the same.
    constexpr int PARTS = ROWS / VECTOR, APART = THREADS / PARTS, FETCHES = DEPTH / APART;
    const int own = threadIdx.x % PARTS * VECTOR, l = first_row + own;
    const int c = group * g.depth + l % g.depth, tap = l / g.depth;
    const int y = l < length ? tap / g.taps_x * g.tap_y + g.first_y : OUTSIDE, x = tap % g.taps_x * g.tap_x + g.first_x;
    int n[FETCHES], i[FETCHES], j[FETCHES];
#pragma unroll
    for (int f = 0; f < FETCHES; ++f) {
        const int place = begin * DEPTH + threadIdx.x / PARTS + f * APART;
        j[f] = place % g.places_x, i[f] = place / g.places_x % g.places_y, n[f] = place / g.places_x / g.places_y;
    }
    constexpr int COLUMN_PARTS = COLUMNS / VECTOR, COLUMN_APART = THREADS / COLUMN_PARTS, COLUMN_FETCHES = DEPTH / COLUMN_APART;
    const int own_part = threadIdx.x % COLUMN_PARTS * VECTOR, column = first_column + own_part;

    Values fetched[FETCHES], gradients[COLUMN_FETCHES];
    auto fetch = [&](int slice) {
#pragma unroll
        for (int f = 0; f < FETCHES; ++f) {
            const int row = y + i[f] * g.step_y, at = x + j[f] * g.step_x;
            const bool inside = n[f] < g.images && unsigned(row) < unsigned(g.height) && unsigned(at) < unsigned(g.width);
            fetched[f] = inside ? load<VECTOR>(source + ((n[f] * g.height + row) * g.width + at) * g.channels + c) : Values{};
            for (j[f] += DEPTH; j[f] >= g.places_x; j[f] -= g.places_x)
                if (++i[f] == g.places_y) i[f] = 0, ++n[f];
        }
#pragma unroll
        for (int f = 0; f < COLUMN_FETCHES; ++f) {
            const int place = slice * DEPTH + threadIdx.x / COLUMN_PARTS + f * COLUMN_APART;
            const bool inside = place < places && column < g.columns;
            gradients[f] = inside ? load<VECTOR>(gradient + (place * g.groups + group) * g.columns + column) : Values{};
        }
    };
    auto keep = [&](int which) {
#pragma unroll
        for (int f = 0; f < FETCHES; ++f) store(&a[which][threadIdx.x / PARTS + f * APART][own], fetched[f]);
#pragma unroll
        for (int f = 0; f < COLUMN_FETCHES; ++f) store(&b[which][threadIdx.x / COLUMN_PARTS + f * COLUMN_APART][own_part], gradients[f]);
    };

    float sums[8][8] = {};
    if (begin < end) fetch(begin), keep(0);
    __syncthreads();
    for (int slice = begin; slice < end; ++slice) {
        const int now = (slice - begin) & 1;
        if (slice + 1 < end) fetch(slice + 1);
        multiply(a[now], b[now], sums);
        if (slice + 1 < end) keep(now ^ 1);
        __syncthreads();
    }

    float* part = parts + ((long long)split * g.groups + group) * length * g.columns;
    each_row(sums, [&](int own, const float(&values)[8]) {
        const int row = first_row + own;
        if (row >= length) return;
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            const int k = first_column + column_of(e);
            if (k < g.columns) part[(long long)row * g.columns + k] = values[e];
        }
    });
}
