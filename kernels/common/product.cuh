// A block's tile of a matrix product, [ROWS x COLUMNS] = [ROWS x length] · [length x COLUMNS], on tensor cores.
//
// Both factors pass through shared memory in slices DEPTH deep. While the warps multiply one slice, the next STAGES - 1 are on
// their way. Whoever calls says where a slice comes from: `fetch(tile)` of each factor starts the copies of its next one. A warp
// has DOWN·16 rows and ACROSS·8 columns.
//
// ALONG says how the factors lie, in memory and in shared memory alike: numbers of one sum side by side (a row of the left matrix, a
// column of the right one), or numbers of different sums. A lane reads four that lie side by side at once. Which four it brings to
// which row of an instruction is free, if both factors agree on the numbers of a sum; so it is chosen such that the lanes that
// read together (eight, at 16 bytes each) find all banks of shared memory.

#include "shared_memory.cuh"
#include "tensor_cores.cuh"
#include "vector.cuh"

constexpr int WARPS_DOWN = ROWS / (16 * DOWN), WARPS_ACROSS = COLUMNS / (8 * ACROSS), THREADS = 32 * WARPS_DOWN * WARPS_ACROSS;

// A slice in shared memory: ALONG, all rows' first STEP numbers, then the next ones, each 64 bytes further than they need be; else a
// row for each number of a sum, 32 bytes longer than it need be.
template <int EXTENT>
struct Tile {
    static constexpr int STEPS = DEPTH / STEP, PITCH = ALONG ? STEP : EXTENT + 8, NEXT = ALONG ? EXTENT * STEP + 16 : STEP * PITCH, SIZE = STEPS * NEXT;
    static __device__ int at(int row, int l) { return l / STEP * NEXT + (ALONG ? row * PITCH + l % STEP : l % STEP * PITCH + row); }
};

constexpr int STAGE = Tile<ROWS>::SIZE + Tile<COLUMNS>::SIZE;  // floats of shared memory

constexpr int UNROLLED = ALONG && PARTS == 1 ? DEPTH / STEP : 1;  // the next step's numbers can be read ahead, where there are registers for them

using Sums = float[DOWN][ACROSS][4];

__device__ inline int warp_row() { return threadIdx.x / 32 / WARPS_ACROSS * 16 * DOWN; }
__device__ inline int warp_column() { return threadIdx.x / 32 % WARPS_ACROSS * 8 * ACROSS; }

// Where lanes of group g have their slots: 8 for each row of eight, in a warp's tile.
template <int SLOTS>
__device__ inline int place_of(int slot, int g) {
    constexpr int SIDE = SLOTS < 4 ? SLOTS : 4;
    return ALONG ? 8 * slot + g : slot / SIDE * 8 * SIDE + SIDE * g + slot % SIDE;
}

// This lane's four numbers of each of its rows, of one step.
template <int EXTENT, int SLOTS>
__device__ inline void read_rows(const float* step, int first, float (&x)[SLOTS][4]) {
    const int g = lane_number() / 4, t = lane_number() % 4;
    constexpr int SIDE = ALONG ? 1 : SLOTS < 4 ? SLOTS : 4;
#pragma unroll
    for (int slot = 0; slot < SLOTS; slot += SIDE) {
        const int row = first + place_of<SLOTS>(slot, g);
        if constexpr (ALONG) {
            const Vector<float, 4> four = load<4>(step + Tile<EXTENT>::at(row, 4 * t));
#pragma unroll
            for (int i = 0; i < 4; ++i) x[slot][i] = four.at[i];
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const Vector<float, SIDE> some = load<SIDE>(step + Tile<EXTENT>::at(row, t + 4 * i));
#pragma unroll
                for (int e = 0; e < SIDE; ++e) x[slot + e][i] = some.at[e];
            }
        }
    }
}

__device__ inline void multiply_slice(const float* left, const float* right, Sums& sums) {
#pragma unroll UNROLLED
    for (int step = 0; step < DEPTH / STEP; ++step) {
        float x[2 * DOWN][4], y[ACROSS][4];
        read_rows<ROWS>(left + step * Tile<ROWS>::NEXT, warp_row(), x);
        read_rows<COLUMNS>(right + step * Tile<COLUMNS>::NEXT, warp_column(), y);
        Factor<4> a[DOWN];
#pragma unroll
        for (int i = 0; i < DOWN; ++i) a[i] = left_factor(words_of(x[2 * i]), words_of(x[2 * i + 1]));
#pragma unroll
        for (int j = 0; j < ACROSS; ++j) multiply(sums, j, a, right_factor(words_of(y[j])));
    }
}

// Row of sums[i][j][e] in the block's tile, and its column.
__device__ inline int row_of(int i, int e) { return warp_row() + place_of<2 * DOWN>(2 * i + e / 2, lane_number() / 4); }
__device__ inline int column_of(int j, int e) { return warp_column() + place_of<ACROSS>(j, lane_number() % 4 * 2 + e % 2); }

// The same number by number, in float32: for infinities, which have no parts.
__device__ inline void multiply_slice_by_numbers(const float* left, const float* right, Sums& sums) {
#pragma unroll 1
    for (int l = 0; l < DEPTH; ++l)
#pragma unroll
        for (int i = 0; i < DOWN; ++i)
#pragma unroll
            for (int j = 0; j < ACROSS; ++j)
#pragma unroll
                for (int e = 0; e < 4; ++e) sums[i][j][e] += left[Tile<ROWS>::at(row_of(i, e), l)] * right[Tile<COLUMNS>::at(column_of(j, e), l)];
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
        if (by_numbers)
            multiply_slice_by_numbers(tile, tile + Tile<ROWS>::SIZE, sums);
        else
            multiply_slice(tile, tile + Tile<ROWS>::SIZE, sums);
    }
}

constexpr int ATTEMPTS = PRECISION == 8 ? 1 : 2;

// The product, from factors that `make_left()` and `make_right()` begin anew. Where nan comes of it, it may come of infinities.
template <class MakeLeft, class MakeRight>
__device__ inline void product(MakeLeft make_left, MakeRight make_right, int slices, Sums& sums) {
    DYNAMIC_SHARED(float, memory);
#pragma unroll 1
    for (int attempt = 0; attempt < ATTEMPTS; ++attempt) {
#pragma unroll
        for (int i = 0; i < DOWN * ACROSS * 4; ++i) sums[i / (ACROSS * 4)][i / 4 % ACROSS][i % 4] = 0;
        auto left = make_left();
        auto right = make_right();
        sum_up(memory, left, right, slices, attempt > 0, sums);
        if (ATTEMPTS == 1) break;
        float any = 0;
#pragma unroll
        for (int i = 0; i < DOWN * ACROSS * 4; ++i) any += sums[i / (ACROSS * 4)][i / 4 % ACROSS][i % 4] * 0;
        if (!__syncthreads_or(any != any)) break;
    }
}

// `write(row, column, first, second)` for each pair of sums of this thread that are neighbours; both count from the tile's first.
template <class Write>
__device__ inline void each_pair(const Sums& sums, Write write) {
#pragma unroll
    for (int i = 0; i < DOWN; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int j = 0; j < ACROSS; ++j)
                if constexpr (ALONG || ACROSS == 1)
                    write(row_of(i, 2 * h), column_of(j, 0), sums[i][j][2 * h], sums[i][j][2 * h + 1]);
                else if (j % 2 == 0)
#pragma unroll
                    for (int e = 0; e < 2; ++e) write(row_of(i, 2 * h), column_of(j, e), sums[i][j][2 * h + e], sums[i][j + 1][2 * h + e]);
}

// A sum of column `at`, with the bias, and ReLU if asked.
__device__ inline float finished(float value, const float* bias, int at, bool relu) {
    if (bias != nullptr) value += bias[at];
    return relu && value <= 0 ? 0 : value;
}

// Two neighbouring results of a row, where there are so many columns.
__device__ inline void store_pair(float* row, int column, int columns, float first, float second, const float* bias, bool relu) {
    if (column >= columns) return;
    float* at = row + column;
    first = finished(first, bias, column, relu);
    if (column + 1 == columns) {
        *at = first;
    } else if (reinterpret_cast<unsigned long long>(at) % 8 == 0) {
        *reinterpret_cast<float2*>(at) = make_float2(first, finished(second, bias, column + 1, relu));
    } else {
        at[0] = first, at[1] = finished(second, bias, column + 1, relu);
    }
}

// A factor that lies in memory as a matrix: number l of row (or column) r is from[r·pitch + l], or from[l·pitch + r] if not ALONG.
template <int EXTENT>
struct Matrix {
    static constexpr int INNER = ALONG ? DEPTH : EXTENT, LANES = INNER / VECTOR, APART = THREADS / LANES, COPIES = EXTENT * DEPTH / VECTOR / THREADS;
    static_assert(THREADS % LANES == 0 && COPIES * THREADS * VECTOR == EXTENT * DEPTH);

    const float* from;
    int pitch, rows, length;  // rows and numbers: of them, from here on

    __device__ Matrix(const float* from, int pitch, int rows, int length)
        : from(from + outer() * pitch + inner()), pitch(pitch), rows(rows), length(length) {}

    static __device__ int outer() { return threadIdx.x / LANES; }
    static __device__ int inner() { return threadIdx.x % LANES * VECTOR; }

    __device__ void fetch(float* tile) {
        const int wide = (ALONG ? length : rows) - inner(), high = (ALONG ? rows : length) - outer();
        const int count = min(max(wide, 0), VECTOR);
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const int at = outer() + i * APART;
            float* to = tile + (ALONG ? Tile<EXTENT>::at(at, inner()) : Tile<EXTENT>::at(inner(), at));
            copy_later<VECTOR>(to, from + i * APART * pitch, i * APART < high ? count : 0);
        }
        from += ALONG ? DEPTH : DEPTH * pitch;
        length -= DEPTH;
    }
};
