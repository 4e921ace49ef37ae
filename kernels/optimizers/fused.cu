// One step of an optimiser on one parameter, in place: everything is read once and written once, VECTOR elements a thread.
//
// Bound by the memory alone. An array that is not there is a null pointer; an option that is off does not touch its number, so that
// it spreads no nan.

#include "vector.cuh"

// `body(first, elements)` for this thread's elements: all at once, or at the end of the arrays one by one.
template <class Body>
__device__ inline void each(long long size, Body body) {
    const long long first = (blockIdx.x * (long long)blockDim.x + threadIdx.x) * VECTOR;
    if (first + VECTOR <= size)
        body(first, Vector<T, VECTOR>());
    else
        for (long long i = first; i < size; ++i) body(i, Vector<T, 1>());
}

template <class Values>
constexpr int count = sizeof(Values) / sizeof(T);

template <class Values>
__device__ inline Values some(const T* from, long long first) {
    return from == nullptr ? Values() : load<count<Values>>(from + first);
}

template <class Values>
__device__ inline void keep(T* to, long long first, const Values& values) {
    if (to != nullptr) store(to + first, values);
}

extern "C" __global__ void sgd(T* p, T* v, const T* g, T lr, T momentum, T fresh, T decay, T sign, int nesterov, long long size) {
    each(size, [&](long long first, auto kind) {
        using Values = decltype(kind);
        Values param = some<Values>(p, first), velocity = some<Values>(v, first);
        const Values gradient = some<Values>(g, first);
#pragma unroll
        for (int i = 0; i < count<Values>; ++i) {
            T d = sign * gradient.at[i];
            if (decay != 0) d += decay * param.at[i];
            if (v != nullptr) {
                velocity.at[i] = momentum * velocity.at[i] + fresh * d;
                d = nesterov ? d + momentum * velocity.at[i] : velocity.at[i];
            }
            param.at[i] -= lr * d;
        }
        keep(v, first, velocity);
        keep(p, first, param);
    });
}

extern "C" __global__ void adam(
    T* p, T* m, T* v, T* w, const T* g, T step_size, T rest1, T beta2, T rest2, T root, T eps, T decay, T shrink, T sign, long long size) {
    each(size, [&](long long first, auto kind) {
        using Values = decltype(kind);
        Values param = some<Values>(p, first), mean = some<Values>(m, first), square = some<Values>(v, first), largest = some<Values>(w, first);
        const Values gradient = some<Values>(g, first);
#pragma unroll
        for (int i = 0; i < count<Values>; ++i) {
            T d = sign * gradient.at[i];
            if (decay != 0) d += decay * param.at[i];
            mean.at[i] += rest1 * (d - mean.at[i]);
            square.at[i] = beta2 * square.at[i] + rest2 * d * d;
            T under = square.at[i];
            if (w != nullptr) under = largest.at[i] = under <= largest.at[i] ? largest.at[i] : under;
            param.at[i] = shrink * param.at[i] - step_size * mean.at[i] / (sqrt(under) / root + eps);
        }
        keep(m, first, mean);
        keep(v, first, square);
        keep(w, first, largest);
        keep(p, first, param);
    });
}

extern "C" __global__ void rmsprop(
    T* p, T* v, T* a, T* b, const T* g, T lr, T alpha, T rest, T eps, T decay, T momentum, T sign, long long size) {
    each(size, [&](long long first, auto kind) {
        using Values = decltype(kind);
        Values param = some<Values>(p, first), square = some<Values>(v, first), average = some<Values>(a, first), velocity = some<Values>(b, first);
        const Values gradient = some<Values>(g, first);
#pragma unroll
        for (int i = 0; i < count<Values>; ++i) {
            T d = sign * gradient.at[i];
            if (decay != 0) d += decay * param.at[i];
            square.at[i] = alpha * square.at[i] + rest * d * d;
            T under = square.at[i];
            if (a != nullptr) {
                average.at[i] += rest * (d - average.at[i]);
                under -= average.at[i] * average.at[i];
                under = under < 0 ? T(0) : under;
            }
            d /= sqrt(under) + eps;
            if (b != nullptr) d = velocity.at[i] = momentum * velocity.at[i] + d;
            param.at[i] -= lr * d;
        }
        keep(v, first, square);
        keep(a, first, average);
        keep(b, first, velocity);
        keep(p, first, param);
    });
}

extern "C" __global__ void scaled(T* g, T factor, long long size) {
    each(size, [&](long long first, auto kind) {
        using Values = decltype(kind);
        Values values = some<Values>(g, first);
#pragma unroll
        for (int i = 0; i < count<Values>; ++i) values.at[i] *= factor;
        keep(g, first, values);
    });
}
