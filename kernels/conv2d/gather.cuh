// What a convolution's output, and each phase of its input gradient, gathers: see _gather.py. All arrays are channels last.

struct Grid {
    int images, height, width, channels;   // the source
    int places_y, places_x;                // of the result, in each image
    int step_y, step_x, first_y, first_x;  // source row of place i and tap u: i·step_y + first_y + u·tap_y
    int taps_y, taps_x, tap_y, tap_x;
    int depth, columns;                    // channels of a group: of the source, and of the other array
    int groups, splits;                    // splits: into how many parts sums are cut
    int wide;                              // whether four columns can be stored at once
};

struct Target {  // where place (i, j) lies in the result: (i·step_y + first_y, j·step_x + first_x)
    int height, width, step_y, step_x, first_y, first_x;
};

// The number of that place among all of the result's.
__device__ inline long long place_in(const Target& target, int image, int i, int j) {
    return ((long long)image * target.height + i * target.step_y + target.first_y) * target.width + j * target.step_x + target.first_x;
}
