// Max and average pooling, and their gradients. Images are (images, H, W, inner): channels last, `inner` is the channels, and a
// thread takes VECTOR of them at once; row by row, each plane is an image, `inner` is 1, and neighbours in a warp take neighbours in a row.
//
// Bound by the memory alone: a window's cells are read again by the windows beside it, but from the cache. What could hold
// a GPU up besides is dividing by numbers that it learns at the launch, so the windows of most networks are constants of the
// program: TWO says that they are 2x2, side by side and whole. Both gradients are gathers: each cell adds up what the windows over
// it give, in the order of the windows, so that no atomics are needed and every run gives the same bits.

#include "largest.cuh"
#include "vector.cuh"

// Along rows or columns: cell r of window p is p·stride + r·dilation - padding.
struct Axis {
    int kernel, stride, padding, dilation, cells, windows;
};

struct Range {
    int first, behind;
};

// The cells of a window that lie inside the image, by their numbers r; no window is without any.
__device__ inline Range inside(const Axis& axis, int window) {
    if (TWO) return {0, 2};
    const int start = window * axis.stride - axis.padding;
    return {start < 0 ? (-start - 1) / axis.dilation + 1 : 0, min(axis.kernel, (axis.cells - 1 - start) / axis.dilation + 1)};
}

// The windows over a cell, and with a dilation some that step over it.
__device__ inline Range over(const Axis& axis, int cell) {
    if (TWO) return {cell / 2, min(axis.windows, cell / 2 + 1)};
    const int end = cell + axis.padding, missed = end - (axis.kernel - 1) * axis.dilation;
    return {missed > 0 ? (missed - 1) / axis.stride + 1 : 0, min(axis.windows, end / axis.stride + 1)};
}

// The number of the cell within a window of `over`, or -1 where the window steps over it.
__device__ inline int number_within(const Axis& axis, int window, int cell) {
    if (TWO) return cell % 2;
    const int distance = cell + axis.padding - window * axis.stride;
    if (axis.dilation == 1) return distance;
    return distance % axis.dilation ? -1 : distance / axis.dilation;
}

// What a window counts of an axis in its average: all cells but those that ceil_mode lays beyond the padding, or those inside.
__device__ inline int counted(const Axis& axis, int window, bool padding_too) {
    if (TWO) return 2;
    const Range cells = inside(axis, window);
    return padding_too ? min(axis.kernel, axis.cells + 2 * axis.padding - window * axis.stride) : cells.behind - cells.first;
}

__device__ inline T divisor_of(const Axis& rows, const Axis& columns, int p, int q, int padding_too, T divisor) {
    return divisor != 0 ? divisor : T((long long)counted(rows, p, padding_too) * counted(columns, q, padding_too));
}

// `body(line, row, column, channel)` for what this thread computes: row y of the block, all images' rows being one after the
// other, and every so many places of that row.
template <class Body>
__device__ inline void each_place(int images, int rows, int columns, int inner, Body body) {
    const long long line = (long long)blockIdx.x * blockDim.y + threadIdx.y;
    if (line >= (long long)images * rows) return;
    const int image = int(line) / rows, row = int(line) % rows, lanes = inner / VECTOR;
    for (int place = blockIdx.y * blockDim.x + threadIdx.x; place < columns * lanes; place += gridDim.y * blockDim.x) {
        const int column = lanes == 1 ? place : place / lanes;
        body(image, row, column, (place - column * lanes) * VECTOR);
    }
}

extern "C" __global__ void largest(T* out, unsigned char* numbers, const T* x, Axis rows, Axis columns, int images, int inner) {
    each_place(images, rows.windows, columns.windows, inner, [&](int image, int p, int q, int channel) {
        const Range r = inside(rows, p), s = inside(columns, q);
        const int top = p * rows.stride - rows.padding, left = q * columns.stride - columns.padding;
        const auto cell = [&](int i, int j) {
            const long long line = image * rows.cells + top + i * rows.dilation;
            return load<VECTOR>(x + (line * columns.cells + left + j * columns.dilation) * inner + channel);
        };
        Vector<T, VECTOR> best = cell(r.first, s.first);
        Vector<unsigned char, VECTOR> number;
#pragma unroll
        for (int k = 0; k < VECTOR; ++k) number.at[k] = r.first * columns.kernel + s.first;
        for (int i = r.first; i < r.behind; ++i)
            for (int j = s.first; j < s.behind; ++j) {
                const Vector<T, VECTOR> value = cell(i, j);
#pragma unroll
                for (int k = 0; k < VECTOR; ++k)
                    if (wins(value.at[k], best.at[k]))
                        best.at[k] = value.at[k], number.at[k] = i * columns.kernel + j;
            }
        const long long to = ((image * rows.windows + p) * (long long)columns.windows + q) * inner + channel;
        store(out + to, best);
        if (numbers != nullptr) store(numbers + to, number);
    });
}

extern "C" __global__ void to_largest(T* dx, const T* grad, const unsigned char* numbers, Axis rows, Axis columns, int images, int inner) {
    each_place(images, rows.cells, columns.cells, inner, [&](int image, int h, int w, int channel) {
        const Range p = over(rows, h), q = over(columns, w);
        Vector<T, VECTOR> total = {};
        for (int i = p.first; i < p.behind; ++i)
            for (int j = q.first; j < q.behind; ++j) {
                const int r = number_within(rows, i, h), s = number_within(columns, j, w);
                if (r < 0 || s < 0) continue;
                const long long from = ((image * rows.windows + i) * (long long)columns.windows + j) * inner + channel;
                const Vector<T, VECTOR> given = load<VECTOR>(grad + from);
                const Vector<unsigned char, VECTOR> won = load<VECTOR>(numbers + from);
#pragma unroll
                for (int k = 0; k < VECTOR; ++k) total.at[k] += won.at[k] == r * columns.kernel + s ? given.at[k] : T(0);
            }
        store(dx + ((image * rows.cells + h) * (long long)columns.cells + w) * inner + channel, total);
    });
}

// A window's rows are added up one by one, then their sums: of large windows that rounds less than one long sum.
extern "C" __global__ void average(T* out, const T* x, Axis rows, Axis columns, int images, int inner, int padding_too, T divisor) {
    each_place(images, rows.windows, columns.windows, inner, [&](int image, int p, int q, int channel) {
        const Range r = inside(rows, p), s = inside(columns, q);
        const int top = p * rows.stride - rows.padding, left = q * columns.stride - columns.padding;
        Vector<T, VECTOR> total = {};
        for (int i = r.first; i < r.behind; ++i) {
            Vector<T, VECTOR> sum = {};
            for (int j = s.first; j < s.behind; ++j) {
                const Vector<T, VECTOR> value = load<VECTOR>(x + ((image * rows.cells + top + i) * (long long)columns.cells + left + j) * inner + channel);
#pragma unroll
                for (int k = 0; k < VECTOR; ++k) sum.at[k] += value.at[k];
            }
#pragma unroll
            for (int k = 0; k < VECTOR; ++k) total.at[k] += sum.at[k];
        }
        const T share = divisor_of(rows, columns, p, q, padding_too, divisor);
#pragma unroll
        for (int k = 0; k < VECTOR; ++k) total.at[k] /= share;
        store(out + ((image * rows.windows + p) * (long long)columns.windows + q) * inner + channel, total);
    });
}

extern "C" __global__ void to_average(T* dx, const T* grad, Axis rows, Axis columns, int images, int inner, int padding_too, T divisor) {
    each_place(images, rows.cells, columns.cells, inner, [&](int image, int h, int w, int channel) {
        const Range p = over(rows, h), q = over(columns, w);
        Vector<T, VECTOR> total = {};
        for (int i = p.first; i < p.behind; ++i) {
            Vector<T, VECTOR> sum = {};
            for (int j = q.first; j < q.behind; ++j) {
                const Vector<T, VECTOR> given = load<VECTOR>(grad + ((image * rows.windows + i) * (long long)columns.windows + j) * inner + channel);
                const T share = divisor_of(rows, columns, i, j, padding_too, divisor);
#pragma unroll
                for (int k = 0; k < VECTOR; ++k) sum.at[k] += given.at[k] / share;
            }
#pragma unroll
            for (int k = 0; k < VECTOR; ++k) total.at[k] += sum.at[k];
        }
        store(dx + ((image * rows.cells + h) * (long long)columns.cells + w) * inner + channel, total);
    });
}
