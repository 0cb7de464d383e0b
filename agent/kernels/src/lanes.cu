// Operations over lanes, in place. NVRTC compiles this with --fmad=false, so that each operation rounds
// by itself; the tests compile the same text as C, where a grid is one thread.
//
// n: numbers that are changed; one: how many of them are a lane's.

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define EACH(i, n)                                                                                 \
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < (n);                        \
         i += (size_t)blockDim.x * gridDim.x)
#else
#include <math.h>
#include <stddef.h>
#define KERNEL void
#define EACH(i, n) for (size_t i = 0; i < (n); i++)
#endif

// What a lane's step needs, in this order: rate, keep, pull, momentum, and the corrections of both
// moments.
#define PACE 6

// State: values, first moments, second moments; n of each.
KERNEL adam(float *state, const float *gradient, const float *paces, size_t n, size_t one) {
    const float b1 = 0.9f, b2 = 0.999f, a1 = (float)(1.0 - 0.9), a2 = (float)(1.0 - 0.999);
    EACH(i, n) {
        const float *pace = paces + i / one * PACE;
        const float g = gradient[i] + pace[2] * state[i];
        const float m = state[n + i] * b1 + g * a1;
        const float v = state[2 * n + i] * b2 + g * g * a2;
        state[n + i] = m;
        state[2 * n + i] = v;
        state[i] = state[i] * pace[1] - m * pace[4] / (sqrtf(v * pace[5]) + 1e-8f) * pace[0];
    }
}

// State: values and velocities; n of each.
KERNEL sgd(float *state, const float *gradient, const float *paces, size_t n, size_t one) {
    EACH(i, n) {
        const float *pace = paces + i / one * PACE;
        const float u = state[n + i] * pace[3] + gradient[i];
        state[n + i] = u;
        state[i] = state[i] * pace[1] - u * pace[0];
    }
}

// x [lanes, rows, width] + b [lanes, 1, width], and with `rectify` below 0 then 0; NaN stays.
KERNEL add_biases(float *x, const float *biases, size_t n, size_t one, size_t width,
                  size_t rectify) {
    EACH(i, n) {
        const float sum = x[i] + biases[i / one * width + i % width];
        x[i] = rectify && sum < 0.0f ? 0.0f : sum;
    }
}

// d * gain of the lane where the layer spoke, else * 0.
KERNEL gate(float *d, const float *said, const float *gains, size_t n, size_t one) {
    EACH(i, n) { d[i] *= said[i] > 0.0f ? gains[i / one] : 0.0f; }
}
