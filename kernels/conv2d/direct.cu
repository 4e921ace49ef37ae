// Convolution by its definition, on tiles in shared memory: any stride, padding, dilation and groups. T is the element type.
//
// gather      A block has 8x8 places and 32 columns k. It copies the patch of the source that these places look at into shared
//             memory, some channels at a time, and a thread adds up 8 places of one column in registers: each filter number
//             that it reads serves all 8. Lanes are neighbouring columns. In a dense convolution they read the same number
//             of the patch, which is a broadcast; in a depthwise one they read neighbouring channels. So the patch holds the
//             channels of all groups that the 32 columns belong to.
// weights     A warp has 32 columns k, one channel of their groups, and up to 9 taps, whose sums each lane keeps in registers
//             over a share of the places. The warps' shares, and then the blocks' parts, are added up in their order.

#include "gather.cuh"
#include "shared_memory.cuh"

constexpr int TILE = 8, LANES = 32, WARPS = 8, TAPS = 9;

__device__ inline int divide_up(int x, int by) { return (x + by - 1) / by; }

// filters [taps, depth, all columns]; chunk channels of each group at a time.
extern "C" __global__ void __launch_bounds__(LANES * WARPS, 3)
gather(const T* source, const T* filters, const T* bias, T* out, Grid g, Target target, int relu, int chunk) {
    DYNAMIC_SHARED(T, patch);
    const int total = g.groups * g.columns, tiles_x = divide_up(g.places_x, TILE), tiles_y = divide_up(g.places_y, TILE);
    const int image = blockIdx.x / (tiles_x * tiles_y);
    const int i0 = blockIdx.x / tiles_x % tiles_y * TILE, j0 = blockIdx.x % tiles_x * TILE;
    const int lane = threadIdx.x % LANES, own = threadIdx.x / LANES, first_k = blockIdx.y * LANES;
    const int k = min(first_k + lane, total - 1);  // lanes beyond the last column compute it once more, and keep it to themselves
    const int first_group = first_k / g.columns, groups = min(first_k + LANES - 1, total - 1) / g.columns - first_group + 1;

    // The patch: rows from the topmost that a place looks at, which is another tap's if taps go upwards.
    const int above = min(0, (g.taps_y - 1) * g.tap_y), before = min(0, (g.taps_x - 1) * g.tap_x);
    const int rows = (TILE - 1) * g.step_y + max(0, g.taps_y - 1) * abs(g.tap_y) + 1;
    const int columns = (TILE - 1) * g.step_x + max(0, g.taps_x - 1) * abs(g.tap_x) + 1;
    const int top = i0 * g.step_y + g.first_y + above, left = j0 * g.step_x + g.first_x + before, width = groups * chunk;

    T sums[TILE] = {};
    for (int c0 = 0; c0 < g.depth; c0 += chunk) {
        __syncthreads();
        for (int e = threadIdx.x; e < rows * columns * width; e += LANES * WARPS) {
            const int c = c0 + e % chunk, group = first_group + e % width / chunk;
            const int row = top + e / width / columns, column = left + e / width % columns;
            const bool inside = c < g.depth && unsigned(row) < unsigned(g.height) && unsigned(column) < unsigned(g.width);
            const long long at = ((long long)image * g.height + row) * g.width + column;
            patch[e] = inside ? source[at * g.channels + group * g.depth + c] : T(0);
        }
        __syncthreads();
        const int channels = min(chunk, g.depth - c0);
        for (int u = 0; u < g.taps_y; ++u)
            for (int v = 0; v < g.taps_x; ++v) {
                const int row = own * g.step_y + u * g.tap_y - above, column = v * g.tap_x - before;
                const T* seen = patch + (row * columns + column) * width + (k / g.columns - first_group) * chunk;
                const T* filter = filters + ((long long)(u * g.taps_x + v) * g.depth + c0) * total + k;
                for (int c = 0; c < channels; ++c) {
                    const T weight = filter[(long long)c * total];
#pragma unroll
                    for (int j = 0; j < TILE; ++j) sums[j] += weight * seen[j * g.step_x * width + c];
                }
            }
    }

    const int i = i0 + own;
    if (i >= g.places_y || first_k + lane >= total) return;
    const T plus = bias == nullptr ? T(0) : bias[k];
#pragma unroll
    for (int j = 0; j < TILE; ++j) {
        if (j0 + j >= g.places_x) continue;
        const T value = sums[j] + plus;
        out[place_in(target, image, i, j0 + j) * total + k] = relu && value <= 0 ? T(0) : value;
    }
}

// parts [split, depth, taps, all columns].
extern "C" __global__ void __launch_bounds__(LANES * WARPS) weights(const T* source, const T* gradient, T* parts, Grid g) {
    __shared__ T shares[WARPS][LANES];
    const int total = g.groups * g.columns, taps = g.taps_y * g.taps_x, k_tiles = divide_up(total, LANES), tap_tiles = divide_up(taps, TAPS);
    const int lane = threadIdx.x % LANES, own = threadIdx.x / LANES, k = blockIdx.x % k_tiles * LANES + lane;
    const int first_tap = blockIdx.x / k_tiles % tap_tiles * TAPS, c = blockIdx.x / k_tiles / tap_tiles;
    const int places = g.images * g.places_y * g.places_x;
    const int begin = (long long)places * blockIdx.y / g.splits, end = (long long)places * (blockIdx.y + 1) / g.splits;
    const int channel = min(k, total - 1) / g.columns * g.depth + c;

    T sums[TAPS] = {};
    for (int place = begin + own; place < end; place += WARPS) {
        const int j = place % g.places_x, i = place / g.places_x % g.places_y, n = place / g.places_x / g.places_y;
        const T grad = k < total ? gradient[(long long)place * total + k] : T(0);
#pragma unroll
        for (int t = 0; t < TAPS; ++t) {
            const int tap = first_tap + t, row = i * g.step_y + g.first_y + tap / g.taps_x * g.tap_y;
            const int column = j * g.step_x + g.first_x + tap % g.taps_x * g.tap_x;
            if (tap < taps && unsigned(row) < unsigned(g.height) && unsigned(column) < unsigned(g.width))
                sums[t] += grad * source[(((long long)n * g.height + row) * g.width + column) * g.channels + channel];
        }
    }
#pragma unroll
    for (int t = 0; t < TAPS; ++t) {
        shares[own][lane] = sums[t];
        __syncthreads();
        if (own == 0 && k < total && first_tap + t < taps) {
            T sum = shares[0][lane];
            for (int warp = 1; warp < WARPS; ++warp) sum += shares[warp][lane];
            parts[(((long long)blockIdx.y * g.depth + c) * taps + first_tap + t) * total + k] = sum;
        }
        __syncthreads();
    }
}

// out [K, C/G, R·S]; a thread has one element.
extern "C" __global__ void finish_weights(const T* parts, T* out, Grid g) {
    const int total = g.groups * g.columns, taps = g.taps_y * g.taps_x;
    const long long size = (long long)g.depth * taps * total, at = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size) return;
    T sum = 0;
    for (int split = 0; split < g.splits; ++split) sum += parts[split * size + at];
    out[at % total * g.depth * taps + at / total] = sum;
}
