// What tensor cores multiply, and copies into shared memory that go on while a block computes. Compute capability 8.0.
//
// In a step a warp multiplies 16 x STEP by STEP x 8 numbers. Lane 4g + t brings four numbers of rows g and g + 8 of the left factor and
// of column g of the right one, the same four of each; it gets rows g and g + 8, columns 2t and 2t + 1 of the product.
//
// PRECISION says how many significant bits of the factors count; the products are added up in float32 whatever it is:
//
//     24    float32: x = large + small, each of 11 bits, and x·y = large·large + large·small + small·large (Ootomo and Yokota
//           2022, "Recovering single precision accuracy from Tensor Cores"); what is left out is below 2^-21 of x·y. Tensor cores
//           cut sums off where float32 rounds them, so they add up one step's products, and the steps are added up outside.
//     11    TF32: one product of numbers rounded to 11 bits
//      8    BF16: the same with 8 bits, at twice the speed
//
// Of a register that holds a number of 11 bits, tensor cores ignore the bits below.

constexpr int STEP = 16;
constexpr int PARTS = PRECISION == 24 ? 2 : 1, PRODUCTS = PRECISION == 24 ? 3 : 1;
constexpr int ORDER[3][2] = {{PARTS - 1, 0}, {0, PARTS - 1}, {0, 0}};  // which parts are multiplied; the smallest products first
constexpr int INSTRUCTIONS = PRECISION == 8 ? 1 : 2;                   // of a step, for each product of parts

template <int N>
struct Factor {
    unsigned at[INSTRUCTIONS][PARTS][N];  // registers: a number in each, or two of 8 bits
};

__device__ inline int lane_number() { return threadIdx.x % 32; }

#ifdef MINIVGG_ON_HOST

__device__ inline unsigned in_8_bits(float low, float high) { return emulator::in_8_bits(low) >> 16 | emulator::in_8_bits(high); }

template <int N>
__device__ inline void copy_later(float* to, const float* from, int count) { emulator::copy_later(to, from, 4 * count, 4 * N); }
__device__ inline void end_of_copies() { emulator::end_of_copies(); }
template <int GROUPS>
__device__ inline void await_copies() { emulator::await_copies(GROUPS); }

#else

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

// The nearest number of 11 bits (Veltkamp 1968): 8193·x, rounded, less 8192·x. An infinity, and what is beyond 2^114, gives nan.
__device__ inline float in_11_bits(float x) { return __fmaf_rn(x, -8192.0f, __fmul_rn(x, 8193.0f)); }

// What tensor cores take of four numbers: a word for each number, or for two of 8 bits; of each part that a number is cut into.
constexpr int WORDS = PRECISION == 8 ? 2 : 4;

struct Words {
    unsigned at[PARTS][WORDS];
};

// `round` gives the nearest number of 11 bits.
template <class Round>
__device__ inline Words words_of(const float (&x)[4], Round round) {
    Words words;
    if constexpr (PRECISION == 8) {
#pragma unroll
        for (int i = 0; i < 2; ++i) words.at[0][i] = in_8_bits(x[2 * i], x[2 * i + 1]);
    } else {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int i = e / 2 + e % 2 * 2;  // an order in which compilers find registers for all
            const float large = round(x[i]);
            words.at[0][i] = __float_as_uint(large);
            if constexpr (PARTS == 2) words.at[1][i] = __float_as_uint(x[i] - large);
        }
    }
    return words;
}

__device__ inline Words words_of(const float (&x)[4]) {
    return words_of(x, [](float number) { return in_11_bits(number); });
}

// This lane's share of 16 rows of the left factor: its numbers of row g and of row g + 8.
__device__ inline Factor<4> left_factor(const Words& x, const Words& y) {
    Factor<4> a;
#pragma unroll
    for (int part = 0; part < PARTS; ++part)
#pragma unroll
        for (int i = 0; i < WORDS; ++i) a.at[i / 2][part][2 * (i % 2)] = x.at[part][i], a.at[i / 2][part][2 * (i % 2) + 1] = y.at[part][i];
    return a;
}

// And of 8 columns of the right factor: its numbers of column g.
__device__ inline Factor<2> right_factor(const Words& x) {
    Factor<2> b;
#pragma unroll
    for (int part = 0; part < PARTS; ++part)
#pragma unroll
        for (int i = 0; i < WORDS; ++i) b.at[i / 2][part][i % 2] = x.at[part][i];
    return b;
}

// sums[i][column] += a[i] · b, of the large parts alone
template <int DOWN, int ACROSS>
__device__ inline void multiply_large(float (&sums)[DOWN][ACROSS][4], int column, const Factor<4> (&a)[DOWN], const Factor<2>& b) {
#ifdef MINIVGG_ON_HOST
    constexpr int LARGE[3][2] = {};
    emulator::multiply<PRECISION, INSTRUCTIONS, 1>(sums, column, a, b, LARGE);
#else
#pragma unroll
    for (int k = 0; k < INSTRUCTIONS; ++k)
#pragma unroll
        for (int i = 0; i < DOWN; ++i) multiply_add(sums[i][column], a[i].at[k][0], b.at[k][0], sums[i][column]);
#endif
}

// sums[i][column] += a[i] · b
template <int DOWN, int ACROSS>
__device__ inline void multiply(float (&sums)[DOWN][ACROSS][4], int column, const Factor<4> (&a)[DOWN], const Factor<2>& b) {
    if constexpr (PARTS == 1) {
        multiply_large(sums, column, a, b);
    } else {
#ifdef MINIVGG_ON_HOST
        emulator::multiply<PRECISION, INSTRUCTIONS, PRODUCTS>(sums, column, a, b, ORDER);
#else
        float sum[DOWN][4] = {};
#pragma unroll
        for (int p = 0; p < PRODUCTS * INSTRUCTIONS; ++p)
#pragma unroll
            for (int i = 0; i < DOWN; ++i)  // each takes some cycles, so others come between two of one sum
                multiply_add(sum[i], a[i].at[p % INSTRUCTIONS][ORDER[p / INSTRUCTIONS][0]], b.at[p % INSTRUCTIONS][ORDER[p / INSTRUCTIONS][1]], sum[i]);
#pragma unroll
        for (int i = 0; i < DOWN * 4; ++i) sums[i / 4][column][i % 4] += sum[i / 4][i % 4];
#endif
    }
}
