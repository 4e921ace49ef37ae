// N elements that one instruction loads or stores; their address must be a multiple of their size.

template <class T, int N>
struct alignas(N * sizeof(T)) Vector {
    T at[N];
};

template <int N, class T>
__device__ inline Vector<T, N> load(const T* from) {
    return *reinterpret_cast<const Vector<T, N>*>(from);
}

template <class T, int N>
__device__ inline void store(T* to, const Vector<T, N>& values) {
    *reinterpret_cast<Vector<T, N>*>(to) = values;
}
