// CUDA C++ on the processor: what a .cu file needs to compile as C++ and to run, one block after the other.
//
// The threads of a block are fibers: each has a stack of its own, runs until it waits for others, and goes on when they
// have come. So barriers and shuffles mean what they mean on a GPU, and a debugger or a sanitizer sees ordinary code. What a
// GPU leaves undefined is an error here: a barrier that some threads pass and others do not, a shuffle without its partners.
// Shared memory is full of nan before each block. Threads run in ascending order, or in descending, as `order` says: a
// missing barrier shows in one of the two.

#include <algorithm>
#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
#define __shared__ static __attribute__((section("shared_memory")))

extern "C" char __start_shared_memory[] __attribute__((weak));
extern "C" char __stop_shared_memory[] __attribute__((weak));

// Types ---------------------------------------------------------------------------------------------------------------

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };

#define MINIVGG_VECTORS(T, name)                                                                     \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                                               \
    struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) name##4 { T x, y, z, w; };               \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                       \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
MINIVGG_VECTORS(float, float)
MINIVGG_VECTORS(double, double)
MINIVGG_VECTORS(int, int)
MINIVGG_VECTORS(unsigned, uint)
MINIVGG_VECTORS(unsigned char, uchar)
#undef MINIVGG_VECTORS

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// Fibers --------------------------------------------------------------------------------------------------------------

#define MINIVGG_HERE int line = __builtin_LINE(), const char* file = __builtin_FILE()

namespace emulator {

constexpr std::size_t STACK = 256 << 10;

struct Fiber {
    std::unique_ptr<char[]> stack{new char[STACK]};
    ucontext_t start;
    std::jmp_buf at;
    bool started = false;
};

enum State { NEW, READY, AT_BARRIER, IN_WARP, DONE };

struct Thread {
    uint3 index;
    State state = NEW;
    Fiber* fiber = nullptr;
    const char* file = "";
    int line = 0;
};

struct Warp {
    unsigned arrived = 0, mask = 0;
    const char* file = "";
    int line = 0;
    void* lanes[32] = {};
};

static std::vector<Thread> threads;
static std::vector<Warp> warps;
static std::vector<std::unique_ptr<Fiber>> fibers;
static std::vector<Fiber*> idle;
static std::jmp_buf scheduler;
static unsigned current;
static std::function<void()> body;
static std::string failure;
static std::unique_ptr<char[]> dynamic_shared;
static int votes, elected;  // of __syncthreads_or: those that came so far, and those of the last barrier

#if defined(__SANITIZE_ADDRESS__)
static const void* scheduler_stack;
static std::size_t scheduler_size;
static void* fake_stack;
inline void leave(const void* stack, std::size_t size) { __sanitizer_start_switch_fiber(&fake_stack, stack, size); }
inline void arrive(const void** stack, std::size_t* size) { __sanitizer_finish_switch_fiber(nullptr, stack, size); }
inline void leave_for(Fiber* fiber) { leave(fiber->stack.get(), STACK); }
inline void leave_for_scheduler() { leave(scheduler_stack, scheduler_size); }
inline void arrive_in_fiber() { arrive(&scheduler_stack, &scheduler_size); }
inline void arrive_in_scheduler() { arrive(nullptr, nullptr); }
#else
inline void leave_for(Fiber*) {}
inline void leave_for_scheduler() {}
inline void arrive_in_fiber() {}
inline void arrive_in_scheduler() {}
#endif

__attribute__((noinline)) static void to_scheduler() {
    if (_setjmp(threads[current].fiber->at) == 0) {
        leave_for_scheduler();
        _longjmp(scheduler, 1);
    }
    arrive_in_fiber();
}

static void run_threads() {  // a fiber's life: one thread after the other
    arrive_in_fiber();
    for (;;) {
        body();
        threads[current].state = DONE;
        idle.push_back(threads[current].fiber);
        to_scheduler();
    }
}

static Fiber* idle_fiber() {
    if (idle.empty()) {
        fibers.push_back(std::make_unique<Fiber>());
        idle.push_back(fibers.back().get());
    }
    Fiber* fiber = idle.back();
    idle.pop_back();
    return fiber;
}

__attribute__((noinline)) static void resume(unsigned number) {
    Thread& thread = threads[number];
    if (thread.state == NEW) thread.fiber = idle_fiber();
    thread.state = READY;
    current = number;
    threadIdx = thread.index;
    Fiber* fiber = thread.fiber;
    if (_setjmp(scheduler) == 0) {
        leave_for(fiber);
        if (fiber->started) _longjmp(fiber->at, 1);
        fiber->started = true;
        getcontext(&fiber->start);
        fiber->start.uc_stack.ss_sp = fiber->stack.get();
        fiber->start.uc_stack.ss_size = STACK;
        fiber->start.uc_link = nullptr;
        makecontext(&fiber->start, run_threads, 0);
        setcontext(&fiber->start);
    }
    arrive_in_scheduler();
}

static std::string name(const Thread& thread) {
    return "thread (" + std::to_string(thread.index.x) + ", " + std::to_string(thread.index.y) + ", " + std::to_string(thread.index.z) + ")";
}

static std::string place(const char* file, int line) { return std::string(file) + ":" + std::to_string(line); }

static void report(const std::string& text) {  // the first failure of a launch counts
    if (!failure.empty()) return;
    failure = text + " in block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " + std::to_string(blockIdx.z) + ")";
}

static void fail(const std::string& text) {  // the thread never goes on
    report(text);
    threads[current].state = IN_WARP;
    for (;;) to_scheduler();
}

// Nobody can run: the block's barrier is complete, or something is wrong.
static void release_barrier() {
    const Thread* first = nullptr;
    for (Thread& thread : threads) {
        if (thread.state == IN_WARP) report(name(thread) + " waits in its warp at " + place(thread.file, thread.line) + " for lanes that do not come");
        if (thread.state != AT_BARRIER) continue;
        if (first == nullptr) first = &thread;
        if (thread.line != first->line || std::strcmp(thread.file, first->file) != 0)
            report(name(*first) + " waits at the barrier " + place(first->file, first->line) + ", " + name(thread) + " at " + place(thread.file, thread.line));
    }
    for (const Thread& thread : threads)
        if (thread.state == DONE && failure.empty())
            report(name(thread) + " has ended, " + name(*first) + " waits at the barrier " + place(first->file, first->line));
    for (Thread& thread : threads) thread.state = READY;
    elected = votes, votes = 0;
}

// Copies into shared memory that go on while their thread computes: none is seen before the thread has waited for it.
struct Copy {
    void* to;
    const void* from;
    int read, whole;  // bytes; the others become 0
};

struct Copies {
    std::deque<std::vector<Copy>> ended;
    std::vector<Copy> open;
};

static std::vector<Copies> copies;  // of each thread

__attribute__((no_sanitize("address"))) static void poison(char* from, char* to) {
    for (volatile char* at = from; at < to; ++at) *at = char(0xFF);
}

static void run_block(bool descending, unsigned shared) {
    for (Thread& thread : threads) thread.state = NEW, thread.fiber = nullptr;
    for (Warp& warp : warps) warp = Warp();
    copies.assign(threads.size(), Copies());
    votes = 0;
    if (__start_shared_memory != nullptr) poison(__start_shared_memory, __stop_shared_memory);
    if (shared) poison(dynamic_shared.get(), dynamic_shared.get() + shared);
    const unsigned count = threads.size();
    for (unsigned done = 0; done < count && failure.empty();) {
        bool any = false;
        done = 0;
        for (unsigned i = 0; i < count && failure.empty(); ++i) {
            const unsigned number = descending ? count - 1 - i : i;
            if (threads[number].state == NEW || threads[number].state == READY) any = true, resume(number);
            done += threads[number].state == DONE;
        }
        if (!any && done < count) release_barrier();
    }
}

// What the warp's lanes in `mask` do together: each brings `mine`, and the last one to come computes for all.
template <class Mine>
void together(unsigned mask, Mine& mine, void (*all)(Mine* const* lanes), int line, const char* file) {
    Thread& thread = threads[current];
    Warp& warp = warps[current / 32];
    const unsigned lane = current % 32, present = unsigned(threads.size()) - current / 32 * 32;
    if (present < 32) mask &= (1u << present) - 1;
    thread.file = file, thread.line = line;
    if (!(mask >> lane & 1)) fail(name(thread) + " is not in its own mask at " + place(file, line));
    if (warp.arrived == 0) warp.mask = mask, warp.file = file, warp.line = line;
    if (warp.mask != mask || warp.line != line || std::strcmp(warp.file, file) != 0)
        fail("the warp of " + name(thread) + " is at " + place(file, line) + " and at " + place(warp.file, warp.line));
    warp.lanes[lane] = &mine;
    warp.arrived |= 1u << lane;
    if (warp.arrived != mask) {
        thread.state = IN_WARP;
        to_scheduler();
        return;
    }
    Mine* lanes[32] = {};
    for (int i = 0; i < 32; ++i)
        if (mask >> i & 1) lanes[i] = static_cast<Mine*>(warp.lanes[i]);
    all(lanes);
    warp.arrived = 0;
    for (unsigned i = 0; i < 32; ++i)
        if ((mask >> i & 1) && i != lane) threads[current / 32 * 32 + i].state = READY;
}

template <class T>
struct Shuffle { T value, result; int from; };

template <class T>
T shuffle(unsigned mask, T value, int from, int line, const char* file) {
    Shuffle<T> mine{value, value, from};
    together<Shuffle<T>>(mask, mine, [](Shuffle<T>* const* lanes) {
        for (int i = 0; i < 32; ++i)
            if (lanes[i] && lanes[lanes[i]->from]) lanes[i]->result = lanes[lanes[i]->from]->value;
    }, line, file);
    return mine.result;
}

struct Vote { int value; unsigned result; };

inline unsigned ballot(unsigned mask, int value, int line, const char* file) {
    Vote mine{value, 0};
    together<Vote>(mask, mine, [](Vote* const* lanes) {
        unsigned votes = 0;
        for (int i = 0; i < 32; ++i) votes |= unsigned(lanes[i] && lanes[i]->value) << i;
        for (int i = 0; i < 32; ++i)
            if (lanes[i]) lanes[i]->result = votes;
    }, line, file);
    return mine.result;
}

inline void copy_later(void* to, const void* from, int read, int whole, MINIVGG_HERE) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(to) % whole == 0 && reinterpret_cast<std::uintptr_t>(from) % whole == 0;
    if (!aligned) fail(name(threads[current]) + " copies " + std::to_string(whole) + " bytes that begin elsewhere at " + place(file, line));
    copies[current].open.push_back({to, from, read, whole});
}

inline void end_of_copies() {
    Copies& mine = copies[current];
    mine.ended.push_back(std::move(mine.open));
    mine.open.clear();
}

inline void await_copies(unsigned groups) {
    for (std::deque<std::vector<Copy>>& ended = copies[current].ended; ended.size() > groups; ended.pop_front())
        for (const Copy& copy : ended.front()) {
            std::memset(copy.to, 0, copy.whole);
            std::memcpy(copy.to, copy.from, copy.read);
        }
}

// Tensor cores --------------------------------------------------------------------------------------------------------

inline unsigned bits_of(float x) { unsigned bits; std::memcpy(&bits, &x, 4); return bits; }
inline float float_of(unsigned bits) { float x; std::memcpy(&x, &bits, 4); return x; }

// The upper half of x's bits, with the number rounded to it: 8 significant bits, halves to even.
inline unsigned in_8_bits(float x) {
    const unsigned bits = bits_of(x);
    return std::isnan(x) ? 0x7FFF0000u : (bits + 0x7FFFu + (bits >> 16 & 1)) & 0xFFFF0000u;
}

inline float toward_zero(double x) {
    const float nearest = float(x);
    return std::isfinite(x) && std::fabs(double(nearest)) > std::fabs(x) ? std::nextafter(nearest, 0.0f) : nearest;
}

// mma.sync of a 16 x 8 tile, as PTX lays it out: register 2i + h of the left factor is row g + 8h, l = t + 4i, or l = 2t + 8i and the next
// one in its two halves; register i of the right factor likewise. A sum is cut off, not rounded.
template <int PRECISION, int INSTRUCTIONS, int PRODUCTS, int DOWN, int ACROSS, class Left, class Right>
void multiply(float (&sums)[DOWN][ACROSS][4], int column, const Left (&a)[DOWN], const Right& b, const int (&order)[3][2], MINIVGG_HERE) {
    struct Mine {
        float (*sums)[ACROSS][4];
        int column;
        const Left* a;
        const Right* b;
        const int (*order)[2];
    } mine{sums, column, a, &b, order};
    together<Mine>(~0u, mine, [](Mine* const* lanes) {
        constexpr int L = PRECISION == 8 ? 16 : 8;
        const auto number = [](unsigned bits, int half) { return float_of(PRECISION != 8 ? bits & 0xFFFFE000u : half ? bits & 0xFFFF0000u : bits << 16); };
        const auto l_of = [](int t, int i, int half) { return PRECISION == 8 ? 2 * t + 8 * i + half : t + 4 * i; };
        for (int i = 0; i < DOWN; ++i) {
            static float apart[32][4];
            for (int step = 0; step < PRODUCTS * INSTRUCTIONS; ++step) {
                const int k = step % INSTRUCTIONS, left = lanes[0]->order[step / INSTRUCTIONS][0], right = lanes[0]->order[step / INSTRUCTIONS][1];
                float A[16][L], B[8][L];
                for (int lane = 0; lane < 32; ++lane)
                    for (int r = 0; r < 2; ++r)
                        for (int half = 0; half < L / 8; ++half) {
                            const int g = lane / 4, l = l_of(lane % 4, r, half);
                            A[g][l] = number(lanes[lane]->a[i].at[k][left][2 * r], half);
                            A[g + 8][l] = number(lanes[lane]->a[i].at[k][left][2 * r + 1], half);
                            B[g][l] = number(lanes[lane]->b->at[k][right][r], half);
                        }
                for (int lane = 0; lane < 32; ++lane)
                    for (int e = 0; e < 4; ++e) {
                        float& result = lanes[lane]->sums[i][lanes[lane]->column][e];
                        if (PRODUCTS > 1 && step == 0) apart[lane][e] = result, result = 0;
                        double sum = result;
                        for (int l = 0; l < L; ++l) sum += double(A[lane / 4 + e / 2 * 8][l]) * B[lane % 4 * 2 + e % 2][l];
                        result = toward_zero(sum);
                        if (PRODUCTS > 1 && step == PRODUCTS * INSTRUCTIONS - 1) result += apart[lane][e];
                    }
            }
        }
    }, line, file);
}

// Launch --------------------------------------------------------------------------------------------------------------

// One letter and the size of each parameter, as NumPy writes it: "*f4 i4" is (float*, int).
template <class T>
std::string kind() {
    if (std::is_pointer<T>::value) return "*" + kind<std::conditional_t<std::is_pointer<T>::value, std::remove_cv_t<std::remove_pointer_t<T>>, char>>();
    return (std::is_same<T, bool>::value ? "b" : std::is_floating_point<T>::value ? "f" : !std::is_integral<T>::value ? "V" : std::is_signed<T>::value ? "i" : "u") + std::to_string(sizeof(T));
}

template <class... P>
const char* signature(void (*)(P...)) {
    static std::string text;
    text.clear();
    ((text += kind<std::remove_cv_t<P>>() + " "), ...);
    return text.c_str();
}

template <class... P, std::size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
}

// Run all blocks; null, or what went wrong.
template <class... P>
const char* launch(void (*kernel)(P...), const unsigned* extents, unsigned shared, int descending, void** arguments) {
    gridDim = {extents[0], extents[1], extents[2]}, blockDim = {extents[3], extents[4], extents[5]};
    body = [=] { call(kernel, arguments, std::index_sequence_for<P...>{}); };
    threads.assign(blockDim.x * blockDim.y * blockDim.z, Thread());
    warps.assign((threads.size() + 31) / 32, Warp());
    for (unsigned i = 0; i < threads.size(); ++i) threads[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
    dynamic_shared.reset(shared ? new char[shared] : nullptr);
    failure.clear();
    for (blockIdx.z = 0; blockIdx.z < gridDim.z && failure.empty(); ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y && failure.empty(); ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x && failure.empty(); ++blockIdx.x) run_block(descending, shared);
    if (failure.empty()) return nullptr;
    idle.clear(), fibers.clear();  // some are in the middle of a thread
    return failure.c_str();
}

}  // namespace emulator

// What kernels call ---------------------------------------------------------------------------------------------------

inline void __syncthreads(MINIVGG_HERE) {
    emulator::Thread& thread = emulator::threads[emulator::current];
    thread.state = emulator::AT_BARRIER, thread.line = line, thread.file = file;
    emulator::to_scheduler();
}

inline int __syncthreads_or(int mine, MINIVGG_HERE) {
    emulator::votes |= mine != 0;
    __syncthreads(line, file);
    return emulator::elected;
}

inline void __syncwarp(unsigned mask = ~0u, MINIVGG_HERE) { emulator::ballot(mask, 0, line, file); }

inline int lane_of_thread() { return emulator::current % 32; }

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, MINIVGG_HERE) {
    return emulator::shuffle(mask, value, (lane_of_thread() & ~(width - 1)) | (from & (width - 1)), line, file);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, MINIVGG_HERE) {
    const int lane = lane_of_thread(), from = lane ^ bits;
    return emulator::shuffle(mask, value, from / width == lane / width ? from : lane, line, file);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, int distance, int width = 32, MINIVGG_HERE) {
    const int lane = lane_of_thread(), from = lane + distance;
    return emulator::shuffle(mask, value, from / width == lane / width ? from : lane, line, file);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, int distance, int width = 32, MINIVGG_HERE) {
    const int lane = lane_of_thread(), from = lane - distance;
    return emulator::shuffle(mask, value, from >= 0 && from / width == lane / width ? from : lane, line, file);
}

inline unsigned __ballot_sync(unsigned mask, int value, MINIVGG_HERE) { return emulator::ballot(mask, value, line, file); }
inline int __any_sync(unsigned mask, int value, MINIVGG_HERE) { return emulator::ballot(mask, value, line, file) != 0; }
inline int __all_sync(unsigned mask, int value, MINIVGG_HERE) { return emulator::ballot(mask, !value, line, file) == 0; }

#define MINIVGG_ATOMIC(name, expression)                                             \
    template <class T>                                                               \
    T name(T* at, std::common_type_t<T> value) {                                     \
        static_assert(std::is_integral<T>::value, "an atomic on floats has no order"); \
        const T old = *at;                                                           \
        *at = (expression);                                                          \
        return old;                                                                  \
    }
MINIVGG_ATOMIC(atomicAdd, old + value)
MINIVGG_ATOMIC(atomicMax, old > value ? old : value)
MINIVGG_ATOMIC(atomicMin, old < value ? old : value)
MINIVGG_ATOMIC(atomicAnd, old & value)
MINIVGG_ATOMIC(atomicOr, old | value)
MINIVGG_ATOMIC(atomicExch, value)
#undef MINIVGG_ATOMIC

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __trap(MINIVGG_HERE) { emulator::fail("a trap at " + emulator::place(file, line)); }

template <class T> T __ldg(const T* at) { return *at; }
template <class T> T __ldcs(const T* at) { return *at; }
template <class T> void __stcs(T* at, std::common_type_t<T> value) { *at = value; }

template <class A, class B> constexpr std::common_type_t<A, B> min(A a, B b) { return b < a ? b : a; }
template <class A, class B> constexpr std::common_type_t<A, B> max(A a, B b) { return a < b ? b : a; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(std::uint64_t(a) * b >> 32); }
inline std::uint64_t __umul64hi(std::uint64_t a, std::uint64_t b) { return std::uint64_t((unsigned __int128)(a) * b >> 64); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline float __int_as_float(int x) { float y; std::memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; std::memcpy(&y, &x, 4); return y; }
inline float __uint_as_float(unsigned x) { return __int_as_float(int(x)); }
inline unsigned __float_as_uint(float x) { return unsigned(__float_as_int(x)); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
