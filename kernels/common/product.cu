// out[b] = left[b] · right[b] + bias, many products at once; sums may be cut into `splits` parts, which `add_up` adds in their order.

#include "product.cuh"

struct Product {
    int products, rows, columns, length, splits, slices;                            // slices of DEPTH: of a part
    long long left_pitch, right_pitch, out_pitch, left_next, right_next, out_next;  // to the next row, and to the next product; of a factor below 2^23
};

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
multiply_matrices(const float* left, const float* right, const float* bias, float* out, Product p) {
    const int down = (p.rows + ROWS - 1) / ROWS, across = (p.columns + COLUMNS - 1) / COLUMNS;
    const int column = blockIdx.x % across * COLUMNS, row = blockIdx.x / across % down * ROWS, part = blockIdx.x / across / down;
    const int which = part % p.products, begin = part / p.products * p.slices * DEPTH, length = min(p.length - begin, p.slices * DEPTH);
    left += which * p.left_next + (ALONG ? row * p.left_pitch + begin : begin * p.left_pitch + row);
    right += which * p.right_next + (ALONG ? column * p.right_pitch + begin : begin * p.right_pitch + column);
    Sums sums;
    product([&] { return Matrix<ROWS>(left, int(p.left_pitch), p.rows - row, length); },
            [&] { return Matrix<COLUMNS>(right, int(p.right_pitch), p.columns - column, length); }, (length + DEPTH - 1) / DEPTH, sums);
    out += part * p.out_next;
    each_pair(sums, [&](int i, int j, float first, float second) {
        if (row + i < p.rows) store_pair(out + (row + i) * p.out_pitch, column + j, p.columns, first, second, bias, false);
    });
}

// out[b, i, j] = Σ_split parts[split, b, i, j] + bias[j]; a thread has one element.
extern "C" __global__ void add_up(const float* parts, const float* bias, float* out, Product p) {
    const long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x, size = (long long)p.products * p.rows * p.columns;
    if (at >= size) return;
    const int column = at % p.columns;
    float sum = 0;
    for (int split = 0; split < p.splits; ++split) sum += parts[split * size + at];
    if (bias != nullptr) sum += bias[column];
    out[at / p.columns / p.rows * p.out_next + at / p.columns % p.rows * p.out_pitch + column] = sum;
}
