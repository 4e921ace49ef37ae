// Whether a cell of a window is larger than the largest before it. Of equal cells the first wins, and the last nan if there is one.

template <class T>
__device__ inline bool wins(T value, T largest) {
    return value > largest || value != value;
}
