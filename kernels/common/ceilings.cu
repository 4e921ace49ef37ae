// Nothing but multiply-adds: what the CUDA cores can do at the most. It computes s = s a + b, `repeats` times, in CHAINS sums a thread.
//
// A multiply-add's result is ready some cycles later; the other sums, and the other threads, fill them.

extern "C" __global__ void multiply_add(float* out, float a, float b, int repeats) {
    float sums[CHAINS];
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) sums[i] = float(i);
#pragma unroll 16
    for (int repeat = 0; repeat < repeats; ++repeat) {
#pragma unroll
        for (int i = 0; i < CHAINS; ++i) sums[i] = __fmaf_rn(sums[i], a, b);
    }
    float total = 0;
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) total += sums[i];  // used, or the compiler leaves all of it out
    out[blockIdx.x * blockDim.x + threadIdx.x] = total;
}
