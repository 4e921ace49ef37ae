// 3x3 convolution, stride 1, on tensor cores, out of patches of the image that stay in shared memory:
//
//     y [places x K] = Σ_uv X_uv [places x C] · W_uv [C x K],    X_uv[(n, i, j), c] = x[n, i + u - top, j + v - left, c]
//
// tensor_cores.cu copies each element of the image nine times, and cuts it into what tensor cores take at every product. Here a block
// computes `down` x `across` places of one image, COLUMNS at the most, for ROWS filters. Of STEP channels at a time it copies the patch that these places
// see, (down + 2) x (across + 2), cuts it once, and finds all nine factors X_uv in it: they begin u lines and v places further.
// The filters are cut ahead, in the order in which they are multiplied.
//
// A row of three taps is a stage: while one is multiplied, the next filters are on their way, and so is the next patch.
//
// The product is computed the other way round, filters times places, because of the registers that an instruction takes. Its left factor
// is four neighbouring registers with numbers of two rows, its right factor two with numbers of one column. What a lane loads at
// once lies side by side in memory, as the numbers of a place do. So places are columns; and filters lie as the instructions take
// them. Otherwise four registers would be copied for each instruction, and take longer than it.

#include "largest.cuh"
#include "product.cuh"

constexpr int MOST = COLUMNS * 3 / 2;  // places of a patch, at the most
constexpr int LINE = 4 * WORDS;        // words of STEP numbers: of a place or a filter, and a part
constexpr int PATCH = PARTS * MOST * LINE, TAP = PARTS * ROWS * LINE, STAGE_WORDS = 3 * TAP;
constexpr int COPIES = 4 * MOST / THREADS, FILTER_COPIES = STAGE_WORDS / 4 / THREADS;
constexpr int RAW = 2 * PATCH + STAGES * STAGE_WORDS, TABLE = RAW + STEP * MOST;  // where copied numbers, and places, lie in shared memory
constexpr int FACTOR = 32 * 4;   // words of 16 filters, of a warp's lanes
constexpr int RESULT = ROWS + 4;  // results of a place in shared memory, and room for others to find other banks
constexpr int TAPS_AT_ONCE = PARTS == 1 ? 3 : 1;  // the next tap's numbers can be read ahead, where there are registers for them
static_assert(COPIES * THREADS == 4 * MOST && FILTER_COPIES * THREADS * 4 == STAGE_WORDS && DOWN % 2 == 0);
static_assert(STAGES == 2 || STAGES == 3);  // a patch is cut before the next but one is copied to where it lay

struct Layer {
    int height, width, channels;      // of the image
    int places_y, places_x, filters;  // of the result
    int top, left;                    // place (0, 0) sees the image from row -top, column -left on
    int down, across;                 // places of a block
    int slices;                       // of STEP channels
};

// The nearest number of 11 bits; infinities and nan stay what they are.
__device__ inline float in_11_bits_or_infinite(float x) {
    const unsigned bits = __float_as_uint(x), exponent = 0x7F800000u, nearest = (bits + 0x1000u) & ~0x1FFFu;
    if ((bits & exponent) == exponent) return x + x;
    return __uint_as_float((nearest & exponent) == exponent ? bits & ~0x1FFFu : nearest);
}

__device__ inline Words cut(const float (&x)[4]) { return words_of(x, in_11_bits_or_infinite); }

__device__ inline void put(const Words& words, unsigned* to, int next_part) {
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        Vector<unsigned, WORDS> some;
#pragma unroll
        for (int i = 0; i < WORDS; ++i) some.at[i] = words.at[part][i];
        store(to + part * next_part, some);
    }
}

__device__ inline Words get(const unsigned* from, int next_part) {
    Words words;
#pragma unroll
    for (int part = 0; part < PARTS; ++part) {
        const Vector<unsigned, WORDS> some = load<WORDS>(from + part * next_part);
#pragma unroll
        for (int i = 0; i < WORDS; ++i) words.at[part][i] = some.at[i];
    }
    return words;
}

// This thread's share of a block's patch: four channels of some places. What it copies, it cuts.
struct Share {
    const float* source;
    int* at;  // where its places lie in the image, -1 outside: in shared memory, because registers are scarce
    int channel, channels;

    __device__ Share(const float* image, const Layer& layer, int first_row, int first_column, int* table)
        : source(image + threadIdx.x % 4 * 4), at(table + threadIdx.x), channel(threadIdx.x % 4 * 4), channels(layer.channels) {
        const int wide = layer.across + 2;
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const int place = (threadIdx.x + i * THREADS) / 4, row = first_row + place / wide, column = first_column + place % wide;
            const bool inside = place < (layer.down + 2) * wide && unsigned(row) < unsigned(layer.height) && unsigned(column) < unsigned(layer.width);
            at[i * THREADS] = inside ? (row * layer.width + column) * layer.channels : -1;
        }
    }

    __device__ void fetch(float* raw) {
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const int from = at[i * THREADS];
            const bool there = from >= 0 && channel < channels;
            copy_later<4>(raw + 4 * (threadIdx.x + i * THREADS), there ? source + from : source - channel, there ? 4 : 0);
        }
        source += STEP, channel += STEP;
    }

    __device__ void cut_up(const float* raw, unsigned* patch) const {
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const int chunk = threadIdx.x + i * THREADS;
            put(cut(load<4>(raw + 4 * chunk).at), patch + chunk / 4 * LINE + chunk % 4 * WORDS, MOST * LINE);
        }
    }
};

template <class Use>
__device__ inline void each_sum(Sums& sums, Use use) {
#pragma unroll
    for (int i = 0; i < DOWN * ACROSS * 4; ++i) use(sums[i / (ACROSS * 4)][i / 4 % ACROSS][i % 4], i);
}

// Filter of a lane's row g + 8·half of the left factor's 16 rows `i`: four neighbours are in one lane, for the store.
__device__ inline int filter_of(int i, int half) { return i / 2 * 32 + lane_number() / 4 * 4 + i % 2 * 2 + half; }

// Three taps, side by side in the patch and in the filters. `at`: where this lane finds its columns.
template <bool LARGE_ALONE>
__device__ inline void multiply_taps(const unsigned* patch, const unsigned* filters, const int (&at)[ACROSS], Sums& sums) {
#pragma unroll TAPS_AT_ONCE
    for (int v = 0; v < 3; ++v) {
        Factor<4> a[DOWN];
        const unsigned* mine = filters + v * TAP + warp_row() * LINE + lane_number() * 4;
#pragma unroll
        for (int part = 0; part < PARTS; ++part)
#pragma unroll
            for (int i = 0; i < DOWN * INSTRUCTIONS; ++i) {
                const Vector<unsigned, 4> four = load<4>(mine + part * ROWS * LINE + i * FACTOR);
#pragma unroll
                for (int e = 0; e < 4; ++e) a[i / INSTRUCTIONS].at[i % INSTRUCTIONS][part][e] = four.at[e];
            }
#pragma unroll
        for (int j = 0; j < ACROSS; ++j) {
            const Factor<2> b = right_factor(get(patch + at[j] + v * LINE, MOST * LINE));
            if constexpr (LARGE_ALONE)
                multiply_large(sums, j, a, b);
            else
                multiply(sums, j, a, b);
        }
    }
}

template <bool LARGE_ALONE>
__device__ inline void convolve(unsigned* memory, Share share, const unsigned* filters, const Layer& layer, Sums& sums) {
    unsigned *patches = memory, *ring = memory + 2 * PATCH;
    float* raw = reinterpret_cast<float*>(memory + RAW);
    const int stages = 3 * layer.slices, wide = layer.across + 2;

    int at[ACROSS];
#pragma unroll
    for (int j = 0; j < ACROSS; ++j) {
        const int place = warp_column() + 8 * j + lane_number() / 4;
        at[j] = (place < layer.down * layer.across ? place / layer.across * wide + place % layer.across : 0) * LINE + lane_number() % 4 * WORDS;
    }
    each_sum(sums, [](float& sum, int) { sum = 0; });

    const auto fetch = [&](int stage) {
        if (stage < stages) {
            const float* from = reinterpret_cast<const float*>(filters) + (long long)stage * STAGE_WORDS;
            float* to = reinterpret_cast<float*>(ring + stage % STAGES * STAGE_WORDS);
#pragma unroll
            for (int i = 0; i < FILTER_COPIES; ++i) copy_later<4>(to + 4 * (threadIdx.x + i * THREADS), from + 4 * (threadIdx.x + i * THREADS), 4);
            if (stage % 3 == 2 && stage + 1 < stages) share.fetch(raw);
        }
        end_of_copies();
    };

    share.fetch(raw);
    end_of_copies();
    for (int stage = 0; stage < STAGES - 1; ++stage) fetch(stage);
    await_copies<STAGES - 1>();
    share.cut_up(raw, patches);
#pragma unroll 1
    for (int slice = 0; slice < layer.slices; ++slice) {
        const unsigned* patch = patches + slice % 2 * PATCH;
#pragma unroll 1  // unrolled, it takes more registers than there are
        for (int u = 0; u < 3; ++u) {
            const int stage = 3 * slice + u;
            await_copies<STAGES - 2>();
            __syncthreads();  // all have these filters and this patch; and all are done with the stage before, whose place the next copies take
            if (u == 2 && slice + 1 < layer.slices) share.cut_up(raw, patches + (slice + 1) % 2 * PATCH);
            fetch(stage + STAGES - 1);
            multiply_taps<LARGE_ALONE>(patch + u * wide * LINE, ring + stage % STAGES * STAGE_WORDS, at, sums);
        }
    }
    await_copies<0>();
    __syncthreads();
}

__device__ inline void store_four(float* to, const float (&sums)[4], const float* bias, bool relu) {
    Vector<float, 4> four;
#pragma unroll
    for (int i = 0; i < 4; ++i) four.at[i] = finished(sums[i], bias, i, relu);
    if (reinterpret_cast<unsigned long long>(to) % 16 == 0)
        store(to, four);
    else
#pragma unroll
        for (int i = 0; i < 4; ++i) to[i] = four.at[i];
}

// The whole 2x2 windows of a block's results: out [N, P/2, Q/2, K] has the largest of each, cells (may be null) which one that is.
__device__ inline void pool_windows(const float* results, int first_row, int first_column, int first_k, int n, const Layer& layer, float* out, unsigned char* cells) {
    const int rows = layer.places_y / 2, columns = layer.places_x / 2, across = layer.across / 2;
    for (int at = threadIdx.x; at < layer.down / 2 * across * ROWS; at += THREADS) {
        const int k = at % ROWS, i = at / ROWS / across, j = at / ROWS % across, row = first_row / 2 + i, column = first_column / 2 + j;
        if (row >= rows || column >= columns || first_k + k >= layer.filters) continue;
        const float* window = results + (2 * i * layer.across + 2 * j) * RESULT + k;
        float largest = window[0];
        unsigned char cell = 0;
#pragma unroll
        for (int other = 1; other < 4; ++other) {
            const float value = window[(other / 2 * layer.across + other % 2) * RESULT];
            if (wins(value, largest)) largest = value, cell = other;
        }
        const long long to = (((long long)n * rows + row) * columns + column) * layer.filters + first_k + k;
        out[to] = largest;
        if (cells != nullptr) cells[to] = cell;
    }
}

// words: of pack_filters. Float32: infinities have no parts, so what is nan is computed once more, of the large parts alone.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
patches(const float* x, const unsigned* words, const float* bias, float* out, unsigned char* cells, Layer layer, int relu, int pool) {
    DYNAMIC_SHARED(unsigned, memory);
    const int filter_tiles = (layer.filters + ROWS - 1) / ROWS;
    const int tiles_x = (layer.places_x + layer.across - 1) / layer.across, tiles_y = (layer.places_y + layer.down - 1) / layer.down;
    const int first_k = blockIdx.x % filter_tiles * ROWS, tile = blockIdx.x / filter_tiles;
    const int left = tile % tiles_x * layer.across, top = tile / tiles_x % tiles_y * layer.down, n = tile / tiles_x / tiles_y;
    const Share share(x + (long long)n * layer.height * layer.width * layer.channels, layer, top - layer.top, left - layer.left, reinterpret_cast<int*>(memory + TABLE));
    const unsigned* filters = words + (long long)(blockIdx.x % filter_tiles) * layer.slices * 3 * STAGE_WORDS;

    Sums sums;
    convolve<false>(memory, share, filters, layer, sums);
    if constexpr (PARTS == 2) {
        float any = 0;
        each_sum(sums, [&](float& sum, int) { any += sum * 0; });
        if (__syncthreads_or(any != any)) {
            volatile float before[DOWN * ACROSS * 4];  // in memory: the registers are needed
            each_sum(sums, [&](float& sum, int i) { before[i] = sum; });
            convolve<true>(memory, share, filters, layer, sums);
            each_sum(sums, [&](float& sum, int i) { sum = before[i] == before[i] ? before[i] : sum; });
        }
    }
    float* results = reinterpret_cast<float*>(memory);
#pragma unroll
    for (int j = 0; j < ACROSS; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int place = warp_column() + 8 * j + lane_number() % 4 * 2 + e, row = top + place / layer.across, column = left + place % layer.across;
            if (place >= layer.down * layer.across || row >= layer.places_y || column >= layer.places_x) continue;
            float* to = pool ? results + place * RESULT : out + (((long long)n * layer.places_y + row) * layer.places_x + column) * layer.filters + first_k;
#pragma unroll
            for (int i = 0; i < DOWN; i += 2) {
                const int k = warp_row() + filter_of(i, 0);
                if (first_k + k >= layer.filters) continue;
                const float plus[4] = {sums[i][j][e], sums[i][j][2 + e], sums[i + 1][j][e], sums[i + 1][j][2 + e]};
                store_four(to + k, plus, bias == nullptr ? nullptr : bias + first_k + k, relu);
            }
        }
    if (pool) {
        __syncthreads();
        pool_windows(results, top, left, first_k, n, layer, out, cells);
    }
}

// words [tiles of filters, slices, 9 taps, PARTS, ROWS / 16, INSTRUCTIONS, 32 lanes, 4] of filters w [K, C, 3, 3]: what each lane takes at once.
// Turned by 180°, with C as filters, they are the input gradient's. A thread has a lane's two filters.
extern "C" __global__ void pack_filters(const float* w, unsigned* words, int filters, int channels, int slices, int turned) {
    const long long number = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const int group = number / 32 % (ROWS / 16), tap = number / 32 / (ROWS / 16) % 9, slice = number / 32 / (ROWS / 16) / 9 % slices;
    const int tile = number / 32 / (ROWS / 16) / 9 / slices;
    if (tile * ROWS >= filters) return;
    Words rows[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int k = tile * ROWS + filter_of(group, half);
        float x[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int c = slice * STEP + lane_number() % 4 * 4 + i;
            const long long filter = turned ? (long long)c * filters + k : (long long)k * channels + c;
            x[i] = k < filters && c < channels ? w[filter * 9 + (turned ? 8 - tap : tap)] : 0;
        }
        rows[half] = cut(x);
    }
    const Factor<4> factor = left_factor(rows[0], rows[1]);
    unsigned* to = words + ((long long)(tile * slices + slice) * 9 + tap) * TAP + group * INSTRUCTIONS * FACTOR + lane_number() * 4;
#pragma unroll
    for (int part = 0; part < PARTS; ++part)
#pragma unroll
        for (int q = 0; q < INSTRUCTIONS; ++q) {
            Vector<unsigned, 4> four;
#pragma unroll
            for (int e = 0; e < 4; ++e) four.at[e] = factor.at[q][part][e];
            store(to + part * ROWS * LINE + q * FACTOR, four);
        }
}
