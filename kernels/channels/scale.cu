// A linear combination with numbers a channel: what normalises, and what its gradient is. One pass.

#include "walk.cuh"

// out = slope · (x - center) + offset; a null pointer is a slope of 1, a center or an offset of 0.
extern "C" __global__ void scale(T* out, const T* x, const T* slopes, const T* centers, const T* offsets, Extent size) {
    const Walk walk(size);
    const Vector<T, WIDTH> slope = walk.numbers(slopes, T(1)), center = walk.numbers(centers, T(0)), offset = walk.numbers(offsets, T(0));
    walk.each(
        [&](long long place) {
            Vector<T, VECTOR> values = load<VECTOR>(x + place);
#pragma unroll
            for (int e = 0; e < VECTOR; ++e) values.at[e] = slope.at[e % WIDTH] * (values.at[e] - center.at[e % WIDTH]) + offset.at[e % WIDTH];
            store(out + place, values);
        },
        [] {});
}

// out = factor · g + slope · (x - center) + offset, these being numbers[0], numbers[1] and numbers[2] of each channel.
extern "C" __global__ void combine(T* out, const T* x, const T* grad, const T* numbers, const T* centers, Extent size) {
    const Walk walk(size);
    const Vector<T, WIDTH> factor = walk.numbers(numbers, T(0)), slope = walk.numbers(numbers + size.channels, T(0));
    const Vector<T, WIDTH> offset = walk.numbers(numbers + 2 * size.channels, T(0)), center = walk.numbers(centers, T(0));
    walk.each(
        [&](long long place) {
            const Vector<T, VECTOR> values = load<VECTOR>(x + place);
            Vector<T, VECTOR> result = load<VECTOR>(grad + place);
#pragma unroll
            for (int e = 0; e < VECTOR; ++e)
                result.at[e] = factor.at[e % WIDTH] * result.at[e] + (slope.at[e % WIDTH] * (values.at[e] - center.at[e % WIDTH]) + offset.at[e % WIDTH]);
            store(out + place, result);
        },
        [] {});
}
