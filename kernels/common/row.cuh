// A row of numbers that blockDim.x threads share: a warp, or a whole block of up to 32 warps.

__device__ inline long long row_number() { return blockIdx.x * (long long)blockDim.y + threadIdx.y; }

struct Larger {
    template <class T>
    __device__ T operator()(T a, T b) const {
        return b <= a ? a : b;
    }
};

struct Sum {
    template <class T>
    __device__ T operator()(T a, T b) const {
        return a + b;
    }
};

// What all of them have, combined in one order: halves of a warp by shuffles, then the warps by `parts`, 32 places of shared memory.
template <class T, class Combine>
__device__ inline T of_row(T mine, Combine combine, T* parts) {
    for (int distance = 16; distance > 0; distance /= 2) mine = combine(mine, __shfl_xor_sync(0xFFFFFFFFu, mine, distance));
    if (blockDim.x == 32) return mine;
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = mine;
    __syncthreads();
    mine = parts[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) mine = combine(mine, parts[warp]);
    __syncthreads();  // all have read before the next call writes
    return mine;
}
