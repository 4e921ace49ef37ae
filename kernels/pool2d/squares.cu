// Pooling by 2x2 windows side by side, row by row: what most networks do. A thread reads 16 bytes of two rows, which are VECTOR / 2 windows.
//
// `lanes` threads share a row of windows; the image is twice as high and twice as wide as the result, so that row i of all results
// looks at rows 2i and 2i + 1 of all images. direct.cu has every other pooling.

#include "largest.cuh"
#include "vector.cuh"

constexpr int WINDOWS = VECTOR / 2;

struct Place {
    unsigned number;
    long long above, below;  // where the windows begin
};

__device__ inline Place place_of(int lanes) {
    const unsigned number = blockIdx.x * blockDim.x + threadIdx.x, line = number / unsigned(lanes);
    const long long above = (2ll * line * lanes + (number - line * lanes)) * VECTOR;
    return {number, above, above + (long long)lanes * VECTOR};
}

extern "C" __global__ void largest(T* out, unsigned char* numbers, const T* x, int lanes, int size) {
    const Place place = place_of(lanes);
    if (place.number >= unsigned(size)) return;
    const Vector<T, VECTOR> above = load<VECTOR>(x + place.above), below = load<VECTOR>(x + place.below);
    Vector<T, WINDOWS> best;
    Vector<unsigned char, WINDOWS> number;
#pragma unroll
    for (int k = 0; k < WINDOWS; ++k) {
        const T cells[4] = {above.at[2 * k], above.at[2 * k + 1], below.at[2 * k], below.at[2 * k + 1]};
        best.at[k] = cells[0], number.at[k] = 0;
#pragma unroll
        for (int i = 1; i < 4; ++i)
            if (wins(cells[i], best.at[k])) best.at[k] = cells[i], number.at[k] = i;
    }
    store(out + (long long)place.number * WINDOWS, best);
    if (numbers != nullptr) store(numbers + (long long)place.number * WINDOWS, number);
}

extern "C" __global__ void to_largest(T* dx, const T* grad, const unsigned char* numbers, int lanes, int size) {
    const Place place = place_of(lanes);
    if (place.number >= unsigned(size)) return;
    const Vector<T, WINDOWS> given = load<WINDOWS>(grad + (long long)place.number * WINDOWS);
    const Vector<unsigned char, WINDOWS> won = load<WINDOWS>(numbers + (long long)place.number * WINDOWS);
    Vector<T, VECTOR> above, below;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
        above.at[i] = won.at[i / 2] == i % 2 ? given.at[i / 2] : T(0);
        below.at[i] = won.at[i / 2] == 2 + i % 2 ? given.at[i / 2] : T(0);
    }
    store(dx + place.above, above);
    store(dx + place.below, below);
}

extern "C" __global__ void average(T* out, const T* x, int lanes, int size, T divisor) {
    const Place place = place_of(lanes);
    if (place.number >= unsigned(size)) return;
    const Vector<T, VECTOR> above = load<VECTOR>(x + place.above), below = load<VECTOR>(x + place.below);
    Vector<T, WINDOWS> result;
#pragma unroll
    for (int k = 0; k < WINDOWS; ++k) result.at[k] = ((above.at[2 * k] + above.at[2 * k + 1]) + (below.at[2 * k] + below.at[2 * k + 1])) / divisor;
    store(out + (long long)place.number * WINDOWS, result);
}

extern "C" __global__ void to_average(T* dx, const T* grad, int lanes, int size, T divisor) {
    const Place place = place_of(lanes);
    if (place.number >= unsigned(size)) return;
    const Vector<T, WINDOWS> given = load<WINDOWS>(grad + (long long)place.number * WINDOWS);
    Vector<T, VECTOR> row;
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) row.at[i] = given.at[i / 2] / divisor;
    store(dx + place.above, row);
    store(dx + place.below, row);
}
