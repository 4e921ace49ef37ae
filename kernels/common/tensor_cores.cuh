// What tensor cores multiply, and copies into shared memory that go on while a block computes. Compute capability 8.0.
//
// A warp multiplies 16 x STEP by STEP x 8 numbers at once. Lane 4g + t brings numbers of rows g and g + 8 of the left factor and
// of column g of the right one, at l = t, t + 4, ...; it gets those of rows g and g + 8 in columns 2t and 2t + 1 of the product.
//
// PRECISION says how many significant bits of the factors count; the products are added up in float32 whatever it is:
//
//     24    float32: x = large + small, each of 11 bits, and x·y = large·large + large·small + small·large (Ootomo and Yokota
//           2022, "Recovering single precision accuracy from Tensor Cores"); what is left out is below 2^-22 of x·y. Tensor cores
//           cut sums off where float32 rounds them, so they add up STEP products, and what is left is added outside.
//     11    TF32: one product of numbers rounded to 11 bits
//      8    BF16: the same with 8 bits, at twice the speed

constexpr int STEP = PRECISION == 8 ? 16 : 8;
constexpr int PARTS = PRECISION == 24 ? 2 : 1;
constexpr int PRODUCTS = PRECISION == 24 ? 3 : 1;
constexpr int ORDER[3][2] = {{PARTS - 1, 0}, {0, PARTS - 1}, {0, 0}};  // which parts of the factors are multiplied; the smallest first

template <int N>
struct Factor {
    unsigned at[PARTS][N];  // registers: a number in 11 bits, or two in 8
};

__device__ inline int lane_number() { return threadIdx.x % 32; }

#ifdef MINIVGG_ON_HOST

__device__ inline unsigned in_11_bits(float x) { return emulator::rounded(x, 11); }
__device__ inline unsigned in_8_bits(float low, float high) { return emulator::rounded(low, 8) >> 16 | (emulator::rounded(high, 8) & 0xFFFF0000u); }

template <int N>
__device__ inline void copy_later(float* to, const float* from, int count) { emulator::copy_later(to, from, 4 * count, 4 * N); }
__device__ inline void end_of_copies() { emulator::end_of_copies(); }
template <int GROUPS>
__device__ inline void await_copies() { emulator::await_copies(GROUPS); }

#else

__device__ inline unsigned in_11_bits(float x) {  // halves away from zero
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

__device__ inline unsigned in_8_bits(float low, float high) {  // halves to even
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

__device__ inline void multiply_add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const float (&c)[4]) {
    if constexpr (PRECISION == 8)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
    else
        asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
            : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
}

// N numbers, of which `count` are read and the others are 0. They are there after `await_copies`, for other threads after a barrier too.
template <int N>
__device__ inline void copy_later(float* to, const float* from, int count) {
    const unsigned place = __cvta_generic_to_shared(to);
    if constexpr (N == 4)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(4 * count) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(place), "l"(from), "r"(4 * count) : "memory");
}

// What was copied since the last end is a group.
__device__ inline void end_of_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until no more than GROUPS groups are on their way.
template <int GROUPS>
__device__ inline void await_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory"); }

#endif

template <int N>
__device__ inline void take(Factor<N>& factor, int i, float x) {
    factor.at[0][i] = in_11_bits(x);
    if constexpr (PARTS == 2) factor.at[1][i] = in_11_bits(x - __uint_as_float(factor.at[0][i]));  // nan of infinity
}

// This lane's share of 16 rows: `read(h, i)` is number t + 4i of row g + 8h.
template <class Read>
__device__ inline Factor<4> left_factor(Read read) {
    Factor<4> a;
#pragma unroll
    for (int i = 0; i < 2; ++i)
#pragma unroll
        for (int h = 0; h < 2; ++h)
            if constexpr (PRECISION == 8)
                a.at[0][2 * i + h] = in_8_bits(read(h, 2 * i), read(h, 2 * i + 1));
            else
                take(a, 2 * i + h, read(h, i));
    return a;
}

// And of 8 columns: `read(i)` is number t + 4i of column g.
template <class Read>
__device__ inline Factor<2> right_factor(Read read) {
    Factor<2> b;
#pragma unroll
    for (int i = 0; i < 2; ++i)
        if constexpr (PRECISION == 8)
            b.at[0][i] = in_8_bits(read(2 * i), read(2 * i + 1));
        else
            take(b, i, read(i));
    return b;
}

// sums[i][column] += a[i] · b
template <int DOWN, int ACROSS>
__device__ inline void multiply(float (&sums)[DOWN][ACROSS][4], int column, const Factor<4> (&a)[DOWN], const Factor<2>& b) {
#ifdef MINIVGG_ON_HOST
    emulator::multiply<PRECISION, PRODUCTS>(sums, column, a, b, ORDER);
#else
#pragma unroll
    for (int i = 0; i < DOWN; ++i) {
        float(&own)[4] = sums[i][column];
        if constexpr (PARTS == 1) {
            multiply_add(own, a[i].at[0], b.at[0], own);
        } else {
            float sum[4] = {};
#pragma unroll
            for (int k = 0; k < PRODUCTS; ++k) multiply_add(sum, a[i].at[ORDER[k][0]], b.at[ORDER[k][1]], sum);
#pragma unroll
            for (int e = 0; e < 4; ++e) own[e] += sum[e];
        }
    }
#endif
}
