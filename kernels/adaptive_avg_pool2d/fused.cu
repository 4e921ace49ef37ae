// Averages over bins that divide rows and columns as evenly as they can, and the transpose. Images are (images, H, W, inner), as in
// pool2d/direct.cu: channels last, or with an `inner` of 1.
//
// Along an axis, bin i of `to` covers what bin(from, to, i) says of `from` cells, and cell h lies in the bins that bin(to, from, h) says:
// neighbours may share a cell. So both directions are gathers over rectangles. A large bin is shared out to a `team` of threads of a block,
// who take every so many of its cells; they add up what they have through shared memory, in one order.

#include "vector.cuh"

constexpr int THREADS = 256;
constexpr int RUN = 64;  // cells that are added up before their sum is added to the others: of many cells that rounds less

struct Shape {
    int images, inner, rows, columns, of_rows, of_columns;  // of the result, and of what it looks at
};

struct Range {
    int first, behind;
    __device__ int size() const { return behind - first; }
};

__device__ inline Range bin(int from, int to, int i) {
    return {i * from / to, ((i + 1) * from + to - 1) / to};
}

struct Place {
    int image, row, column, channel;
};

__device__ inline Place place_of(const Shape& shape, int number) {
    const int lanes = shape.inner / VECTOR, pixel = number / lanes, line = pixel / shape.columns, image = line / shape.rows;
    return {image, line - image * shape.rows, pixel - line * shape.columns, (number - pixel * lanes) * VECTOR};
}

// Members of a team lie side by side in memory: in a warp if cells do, else far apart in the block, with other channels between them.
extern "C" __global__ void average(T* out, const T* x, Shape shape, int results, int team) {
    __shared__ Vector<T, VECTOR> shares[THREADS];
    const int slots = THREADS / team, slot = shape.inner > 1 ? threadIdx.x % slots : threadIdx.x / team;
    const int member = shape.inner > 1 ? threadIdx.x / slots : threadIdx.x % team, step = shape.inner > 1 ? slots : 1;
    const int number = blockIdx.x * slots + slot;
    Vector<T, VECTOR> total = {};
    Place at = {};
    int count = 1;
    if (number < results) {
        at = place_of(shape, number);
        const Range rows = bin(shape.of_rows, shape.rows, at.row), columns = bin(shape.of_columns, shape.columns, at.column);
        const int width = columns.size();
        count = rows.size() * width;
        for (int i = member; i < count;) {
            Vector<T, VECTOR> some = {};
            for (int steps = 0; steps < RUN && i < count; ++steps, i += team) {
                const long long row = at.image * shape.of_rows + rows.first + i / width;
                const Vector<T, VECTOR> value = load<VECTOR>(x + (row * shape.of_columns + columns.first + i % width) * shape.inner + at.channel);
#pragma unroll
                for (int k = 0; k < VECTOR; ++k) some.at[k] += value.at[k];
            }
#pragma unroll
            for (int k = 0; k < VECTOR; ++k) total.at[k] += some.at[k];
        }
    }
    for (int half = team / 2; half > 0; half /= 2) {
        shares[threadIdx.x] = total;
        __syncthreads();
        if (member < half) {
            const Vector<T, VECTOR> other = shares[threadIdx.x + half * step];
#pragma unroll
            for (int k = 0; k < VECTOR; ++k) total.at[k] += other.at[k];
        }
        __syncthreads();
    }
    if (member > 0 || number >= results) return;
#pragma unroll
    for (int k = 0; k < VECTOR; ++k) total.at[k] /= T(count);
    store(out + (long long)number * VECTOR, total);
}

// Each cell adds up its shares of the bins over it, row by row of bins; there are few, so nobody has a team.
extern "C" __global__ void to_average(T* dx, const T* grad, Shape shape, int results, int) {
    const int number = blockIdx.x * THREADS + threadIdx.x;
    if (number >= results) return;
    const Place at = place_of(shape, number);
    const Range p = bin(shape.of_rows, shape.rows, at.row), q = bin(shape.of_columns, shape.columns, at.column);
    Vector<T, VECTOR> total = {};
    for (int i = p.first; i < p.behind; ++i) {
        const int height = bin(shape.rows, shape.of_rows, i).size();
        Vector<T, VECTOR> sum = {};
        for (int j = q.first; j < q.behind; ++j) {
            const T cells = T(height * bin(shape.columns, shape.of_columns, j).size());
            const Vector<T, VECTOR> given = load<VECTOR>(grad + ((long long)(at.image * shape.of_rows + i) * shape.of_columns + j) * shape.inner + at.channel);
#pragma unroll
            for (int k = 0; k < VECTOR; ++k) sum.at[k] += given.at[k] / cells;
        }
#pragma unroll
        for (int k = 0; k < VECTOR; ++k) total.at[k] += sum.at[k];
    }
    store(dx + (long long)number * VECTOR, total);
}
