// Winograd F(4x4, 3x3): the transforms around a matrix product at each of 36 points. T is the element type.
//
//     V = Bᵀ d B         d: 6x6 input        M[ξ] = V[ξ] · U[ξ]           y = Aᵀ M A       4x4 output
//     U = G g Gᵀ         g: 3x3 filter       at each point ξ              w̄ = A'ᵀ M A'     3x3, of the weight gradient
//     W = G' ȳ G'ᵀ       ȳ: 4x4 gradient     M[ξ] = W[ξ]ᵀ · V[ξ]
//
// The points are 0, ±a, ±b, ∞ with a = 5/8, b = 3/2 (_toom_cook.py says why, and proves the identity). The rows of ±a differ in
// the signs of their odd terms alone, so each pair shares its even and its odd part.
//
// A thread transforms one tile of one channel, whole in registers. Channels are neighbours in memory and so are their threads,
// so every access of a warp is 32 neighbouring elements, in the image and in V[ξ, tile, channel] alike.

#include "largest.cuh"

constexpr T a = T(0.625), b = T(1.5), a2 = a * a, b2 = b * b;

struct Tiles {                // of an image (images, height, width, channels)
    int height, width, channels;
    int across, down;         // tiles of an image
    int first, count;         // which of all images' tiles these are
    int top, left;            // how far the first tile begins outside
};

__device__ inline void to_points(const T (&d)[6], T (&v)[6]) {  // Bᵀ d
    const T even_a = d[4] - b2 * d[2], odd_a = a * (d[3] - b2 * d[1]);
    const T even_b = d[4] - a2 * d[2], odd_b = b * (d[3] - a2 * d[1]);
    v[0] = a2 * b2 * d[0] - (a2 + b2) * d[2] + d[4];
    v[1] = even_a + odd_a, v[2] = even_a - odd_a;
    v[3] = even_b + odd_b, v[4] = even_b - odd_b;
    v[5] = a2 * b2 * d[1] - (a2 + b2) * d[3] + d[5];
}

template <int TAPS>
__device__ inline void filter_to_points(const T (&g)[TAPS], T (&u)[6]) {  // G g: the polynomial's values, each over Π (point - others)
    constexpr T at_a = 1 / (2 * a2 * (a2 - b2)), at_b = 1 / (2 * b2 * (b2 - a2));
    const T cubic = TAPS == 4 ? g[TAPS - 1] : T(0);
    const T even_a = at_a * (g[0] + a2 * g[2]), odd_a = at_a * a * (g[1] + a2 * cubic);
    const T even_b = at_b * (g[0] + b2 * g[2]), odd_b = at_b * b * (g[1] + b2 * cubic);
    u[0] = 1 / (a2 * b2) * g[0];
    u[1] = even_a + odd_a, u[2] = even_a - odd_a;
    u[3] = even_b + odd_b, u[4] = even_b - odd_b;
    u[5] = g[TAPS - 1];
}

template <int OUTPUTS>
__device__ inline void from_points(const T (&m)[6], T (&y)[OUTPUTS]) {  // Aᵀ m: powers of the points
    const T even_a = m[1] + m[2], odd_a = a * (m[1] - m[2]);
    const T even_b = m[3] + m[4], odd_b = b * (m[3] - m[4]);
    y[0] = m[0] + even_a + even_b;
    y[1] = odd_a + odd_b;
    y[2] = a2 * even_a + b2 * even_b;
    if (OUTPUTS == 4) y[OUTPUTS - 1] = a2 * odd_a + b2 * odd_b;
    y[OUTPUTS - 1] += m[5];
}

// A transform of all rows, then of all columns.
template <int FROM, int TO, class Transform>
__device__ inline void both(const T (&from)[FROM][FROM], T (&to)[TO][TO], Transform transform) {
    T half[FROM][TO];
#pragma unroll
    for (int i = 0; i < FROM; ++i) transform(from[i], half[i]);
#pragma unroll
    for (int j = 0; j < TO; ++j) {
        T column[FROM], result[TO];
#pragma unroll
        for (int i = 0; i < FROM; ++i) column[i] = half[i][j];
        transform(column, result);
#pragma unroll
        for (int i = 0; i < TO; ++i) to[i][j] = result[i];
    }
}

// The corner of tile `number` in its image, and which image that is.
struct Corner { int image, row, column; };

__device__ inline Corner corner(const Tiles& tiles, int number) {
    const int tile = tiles.first + number, each = tiles.across * tiles.down;
    return {tile / each, tile % each / tiles.across * 4 - tiles.top, tile % tiles.across * 4 - tiles.left};
}

template <int SIDE>
__device__ inline void read_tile(const T* x, const Tiles& tiles, int number, int channel, T (&d)[SIDE][SIDE]) {
    const Corner at = corner(tiles, number);
    const T* image = x + (long long)at.image * tiles.height * tiles.width * tiles.channels + channel;
#pragma unroll
    for (int i = 0; i < SIDE; ++i)
#pragma unroll
        for (int j = 0; j < SIDE; ++j) {
            const int row = at.row + i, column = at.column + j;
            const bool inside = unsigned(row) < unsigned(tiles.height) && unsigned(column) < unsigned(tiles.width);
            d[i][j] = inside ? image[(long long)(row * tiles.width + column) * tiles.channels] : T(0);
        }
}

// Point ξ = (i, j) of a matrix [36, size], at one place of it.
__device__ inline void write_points(const T (&v)[6][6], T* to, long long size, long long place) {
#pragma unroll
    for (int i = 0; i < 6; ++i)
#pragma unroll
        for (int j = 0; j < 6; ++j) to[(i * 6 + j) * size + place] = v[i][j];
}

__device__ inline void read_points(const T* from, long long size, long long place, T (&m)[6][6]) {
#pragma unroll
    for (int i = 0; i < 6; ++i)
#pragma unroll
        for (int j = 0; j < 6; ++j) m[i][j] = from[(i * 6 + j) * size + place];
}

__device__ inline long long thread_number() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }

// V [36, tiles, channels] of an input.
extern "C" __global__ void transform_inputs(const T* x, T* v, Tiles tiles) {
    const long long place = thread_number(), size = (long long)tiles.count * tiles.channels;
    if (place >= size) return;
    T d[6][6], points[6][6];
    read_tile(x, tiles, place / tiles.channels, place % tiles.channels, d);
    both(d, points, [](const T(&from)[6], T(&to)[6]) { to_points(from, to); });
    write_points(points, v, size, place);
}

// W [36, tiles, channels] of an output's gradient.
extern "C" __global__ void transform_gradients(const T* dy, T* w, Tiles tiles) {
    const long long place = thread_number(), size = (long long)tiles.count * tiles.channels;
    if (place >= size) return;
    T d[4][4], points[6][6];
    read_tile(dy, tiles, place / tiles.channels, place % tiles.channels, d);
    both(d, points, [](const T(&from)[4], T(&to)[6]) { filter_to_points(from, to); });
    write_points(points, w, size, place);
}

// Uᵀ [36, K, C] of filters [K, C, 3, 3]; turned by 180° it is [36, C, K], for the input gradient.
extern "C" __global__ void transform_filters(const T* w, T* u, int filters, int depth, int turned) {
    const long long place = thread_number(), size = (long long)filters * depth;
    if (place >= size) return;
    const int k = turned ? place % filters : place / depth, c = turned ? place / filters : place % depth;
    const T* taps = w + ((long long)k * depth + c) * 9;
    T g[3][3], points[6][6];
#pragma unroll
    for (int i = 0; i < 9; ++i) g[i / 3][i % 3] = taps[turned ? 8 - i : i];
    both(g, points, [](const T(&from)[3], T(&to)[6]) { filter_to_points(from, to); });
    write_points(points, u, size, place);
}

// 4x4 results of a tile: bias, and ReLU if asked.
__device__ inline void results(const T* m, const T* bias, const Tiles& tiles, long long place, int relu, T (&y)[4][4]) {
    T points[6][6];
    read_points(m, (long long)tiles.count * tiles.channels, place, points);
    both(points, y, [](const T(&from)[6], T(&to)[4]) { from_points(from, to); });
    const T plus = bias == nullptr ? T(0) : bias[place % tiles.channels];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
        T& value = y[i / 4][i % 4];
        value += plus;
        if (relu && value <= 0) value = 0;
    }
}

// y [N, P, Q, K] of M [36, tiles, K].
extern "C" __global__ void transform_outputs(const T* m, const T* bias, T* y, Tiles tiles, int relu) {
    const long long place = thread_number();
    if (place >= (long long)tiles.count * tiles.channels) return;
    T tile[4][4];
    results(m, bias, tiles, place, relu, tile);
    const Corner at = corner(tiles, place / tiles.channels);
    T* image = y + (long long)at.image * tiles.height * tiles.width * tiles.channels + place % tiles.channels;
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (at.row + i < tiles.height && at.column + j < tiles.width)
                image[(long long)((at.row + i) * tiles.width + at.column + j) * tiles.channels] = tile[i][j];
}

// The largest of each whole 2x2 window [N, P/2, Q/2, K], and which of its cells that is (may be null).
extern "C" __global__ void transform_and_pool(const T* m, const T* bias, T* y, unsigned char* cells, Tiles tiles, int relu) {
    const long long place = thread_number();
    if (place >= (long long)tiles.count * tiles.channels) return;
    T tile[4][4];
    results(m, bias, tiles, place, relu, tile);
    const Corner at = corner(tiles, place / tiles.channels);
    const int height = tiles.height / 2, width = tiles.width / 2;
    const long long image = (long long)at.image * height * width * tiles.channels + place % tiles.channels;
#pragma unroll
    for (int i = 0; i < 4; i += 2)
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            const int row = (at.row + i) / 2, column = (at.column + j) / 2;
            if (row >= height || column >= width) continue;
            T largest = tile[i][j];
            unsigned char cell = 0;
#pragma unroll
            for (int other = 1; other < 4; ++other) {
                const T value = tile[i + other / 2][j + other % 2];
                if (wins(value, largest)) largest = value, cell = other;
            }
            const long long to = image + (long long)(row * width + column) * tiles.channels;
            y[to] = largest;
            if (cells != nullptr) cells[to] = cell;
        }
}

// w̄ [K, C, 3, 3] of M [36, K, C].
extern "C" __global__ void transform_weights(const T* m, T* dw, int size) {
    const long long place = thread_number();
    if (place >= size) return;
    T points[6][6], g[3][3];
    read_points(m, size, place, points);
    both(points, g, [](const T(&from)[6], T(&to)[3]) { from_points(from, to); });
#pragma unroll
    for (int i = 0; i < 9; ++i) dw[place * 9 + i] = g[i / 3][i % 3];
}
