// A block's tile of a matrix product, [ROWS x COLUMNS] = [ROWS x length] · [length x COLUMNS], on tensor cores.
//
// Both factors pass through shared memory in slices DEPTH deep. While the warps multiply one slice, the next STAGES - 1 are on
// their way. Whoever calls says where a slice comes from: `fetch(tile)` of each factor starts the copies of its next one. A warp
// has DOWN·16 rows and ACROSS·8 columns.
//
// ALONG says how the factors lie, in memory and in shared memory alike: numbers of one sum side by side (a row of the left matrix, a
// column of the right one), or numbers of different sums. The padding puts what the lanes of a warp read into different banks.

#include "shared_memory.cuh"
#include "tensor_cores.cuh"

constexpr int WARPS_DOWN = ROWS / (16 * DOWN), WARPS_ACROSS = COLUMNS / (8 * ACROSS), THREADS = 32 * WARPS_DOWN * WARPS_ACROSS;

template <int EXTENT>
struct Tile {
    static constexpr int PITCH = ALONG ? DEPTH + 4 : EXTENT + 8, SIZE = ALONG ? EXTENT * PITCH : DEPTH * PITCH;
    static __device__ int at(int row, int l) { return ALONG ? row * PITCH + l : l * PITCH + row; }
};

constexpr int STAGE = Tile<ROWS>::SIZE + Tile<COLUMNS>::SIZE;  // floats of shared memory

__device__ inline int warp_row() { return threadIdx.x / 32 / WARPS_ACROSS * 16 * DOWN; }
__device__ inline int warp_column() { return threadIdx.x / 32 % WARPS_ACROSS * 8 * ACROSS; }

constexpr int UNROLLED = PARTS == 2 ? 1 : DEPTH / STEP;  // more, and the compiler keeps more numbers at hand than there are registers

using Sums = float[DOWN][ACROSS][4];

__device__ inline void multiply_slice(const float* left, const float* right, Sums& sums) {
    const int g = lane_number() / 4, t = lane_number() % 4, row = warp_row() + g, column = warp_column() + g;
#pragma unroll UNROLLED
    for (int l = t; l < DEPTH + t; l += STEP) {
        Factor<4> a[DOWN];
#pragma unroll
        for (int i = 0; i < DOWN; ++i) a[i] = left_factor([&](int h, int e) { return left[Tile<ROWS>::at(row + 16 * i + 8 * h, l + 4 * e)]; });
#pragma unroll
        for (int j = 0; j < ACROSS; ++j)
            multiply(sums, j, a, right_factor([&](int e) { return right[Tile<COLUMNS>::at(column + 8 * j, l + 4 * e)]; }));
    }
}

// The same number by number: infinity has no two parts whose products could be added up.
__device__ inline void multiply_slice_by_numbers(const float* left, const float* right, Sums& sums) {
    const int g = lane_number() / 4, t = lane_number() % 4;
#pragma unroll 1
    for (int l = 0; l < DEPTH; ++l)
#pragma unroll
        for (int i = 0; i < DOWN * ACROSS * 4; ++i) {
            const int down = i / (ACROSS * 4), across = i / 4 % ACROSS, e = i % 4;
            const int row = warp_row() + 16 * down + 8 * (e / 2) + g, column = warp_column() + 8 * across + 2 * t + e % 2;
            sums[down][across][e] += left[Tile<ROWS>::at(row, l)] * right[Tile<COLUMNS>::at(column, l)];
        }
}

template <class Left, class Right>
__device__ inline void sum_up(float* memory, Left& left, Right& right, int slices, bool by_numbers, Sums& sums) {
    const auto fetch = [&](int slice) {
        if (slice < slices) {
            float* tile = memory + slice % STAGES * STAGE;
            left.fetch(tile);
            right.fetch(tile + Tile<ROWS>::SIZE);
        }
        end_of_copies();
    };
    for (int slice = 0; slice < STAGES - 1; ++slice) fetch(slice);
#pragma unroll 1
    for (int slice = 0; slice < slices; ++slice) {
        await_copies<STAGES - 2>();
        __syncthreads();  // all have this slice; and all are done with the one before, whose place the next copies take
        fetch(slice + STAGES - 1);
        const float* tile = memory + slice % STAGES * STAGE;
        if (PARTS == 2 && by_numbers)
            multiply_slice_by_numbers(tile, tile + Tile<ROWS>::SIZE, sums);
        else
            multiply_slice(tile, tile + Tile<ROWS>::SIZE, sums);
    }
}

// The product, from factors that `make_left()` and `make_right()` begin anew. Where nan comes of it, it may come of infinities.
template <class MakeLeft, class MakeRight>
__device__ inline void product(MakeLeft make_left, MakeRight make_right, int slices, Sums& sums) {
    DYNAMIC_SHARED(float, memory);
#pragma unroll 1
    for (int attempt = 0; attempt < PARTS; ++attempt) {
#pragma unroll
        for (int i = 0; i < DOWN * ACROSS * 4; ++i) sums[i / (ACROSS * 4)][i / 4 % ACROSS][i % 4] = 0;
        auto left = make_left();
        auto right = make_right();
        sum_up(memory, left, right, slices, attempt > 0, sums);
        if (PARTS == 1) break;
        float any = 0;
#pragma unroll
        for (int i = 0; i < DOWN * ACROSS * 4; ++i) any += sums[i / (ACROSS * 4)][i / 4 % ACROSS][i % 4] * 0;
        if (!__syncthreads_or(any != any)) break;
    }
}

// `write(row, column, two)` for each pair of neighbouring sums of this thread; row and column count from the tile's first.
template <class Write>
__device__ inline void each_pair(const Sums& sums, Write write) {
    const int g = lane_number() / 4, t = lane_number() % 4;
#pragma unroll
    for (int i = 0; i < DOWN; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int j = 0; j < ACROSS; ++j)
                write(warp_row() + 16 * i + 8 * h + g, warp_column() + 8 * j + 2 * t, sums[i][j][2 * h], sums[i][j][2 * h + 1]);
}

// Two neighbouring results of a row, where there are so many columns: with the bias, and ReLU if asked.
__device__ inline void store_pair(float* row, int column, int columns, float first, float second, const float* bias, bool relu) {
    const auto finished = [&](float value, int at) {
        if (bias != nullptr) value += bias[at];
        return relu && value <= 0 ? 0 : value;
    };
    if (column >= columns) return;
    float* at = row + column;
    first = finished(first, column);
    if (column + 1 == columns) {
        *at = first;
    } else if (reinterpret_cast<unsigned long long>(at) % 8 == 0) {
        *reinterpret_cast<float2*>(at) = make_float2(first, finished(second, column + 1));
    } else {
        at[0] = first, at[1] = finished(second, column + 1);
    }
}

// A factor that lies in memory as a matrix: number l of row (or column) r is from[r·pitch + l], or from[l·pitch + r] if not ALONG.
template <int EXTENT, class Pitch = long long>
struct Matrix {
    static constexpr int INNER = ALONG ? DEPTH : EXTENT, LANES = INNER / VECTOR, APART = THREADS / LANES, COPIES = EXTENT * DEPTH / VECTOR / THREADS;
    static_assert(THREADS % LANES == 0 && COPIES * THREADS * VECTOR == EXTENT * DEPTH);

    const float* from;
    Pitch pitch;
    int rows, length;  // of them, from here on

    __device__ Matrix(const float* from, Pitch pitch, int rows, int length)
        : from(from + outer() * pitch + inner()), pitch(pitch), rows(rows), length(length) {}

    static __device__ int outer() { return threadIdx.x / LANES; }
    static __device__ int inner() { return threadIdx.x % LANES * VECTOR; }

    __device__ void fetch(float* tile) {
        const int wide = (ALONG ? length : rows) - inner(), high = (ALONG ? rows : length) - outer();
        const int count = min(max(wide, 0), VECTOR);
#pragma unroll
        for (int i = 0; i < COPIES; ++i)
            copy_later<VECTOR>(tile + (outer() + i * APART) * Tile<EXTENT>::PITCH + inner(), from + i * APART * pitch, i * APART < high ? count : 0);
        from += ALONG ? DEPTH : DEPTH * pitch;
        length -= DEPTH;
    }
};
