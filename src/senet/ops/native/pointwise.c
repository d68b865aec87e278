/* Pointwise convolutions in inference, with a shortcut, an activation and the gates of SE inside:
 *
 *     y = f(s (W h + b) + shortcut)
 *
 * where the gates s are known beforehand, from the mean of h over space (senet/fuse/early.py). Maps are
 * channels last, so a convolution is a product of matrices, and s, the shortcut and f are applied while
 * its sums are in the cache: SE costs one reading of h, which has fewer channels than y. The layers of
 * the gate are pointwise convolutions as well, of a single position. Where SE comes before the
 * convolution instead, y = f(W (s h) + b + shortcut), a few positions of h are scaled at a time, and what
 * is scaled never leaves the cache.
 *
 * W is packed: for each COLUMNS channels of y, in turn, the weights of all channels of h, COLUMNS side
 * by side. Each sum is over k in order, so results do not depend on how the work is distributed.
 */

#include <stdlib.h>

#include "inline.h"
#include "passes.h"

/* Chosen by measurement; results are correct for any values, but packed weights have COLUMNS. */
enum {
    COLUMNS = 64,     /* channels of y whose weights lie side by side */
    CHUNK = 192,      /* positions that stay in the cache while the channels of y go by */
    MIN_CHUNK = 48,   /* the same, where otherwise threads would have nothing to do */
    MEAN_ROWS = 64,   /* positions that are summed in float before they are added in double */
    SCALED = 1 << 16, /* numbers of h that are scaled at a time */
    LINE = 16,        /* numbers of a cache line */
    MIN_WORK = 1 << 16, /* minimum multiplications for more than one thread */
};

/* Mirrored by `_Layer` in pointwise.py. `f` is an `activation` of inline.h. */
typedef struct {
    const float *weight, *bias; /* packed, and [outputs] */
    long inputs, outputs;
    int f;
} pointwise;

typedef struct {
    const pointwise *layer;
    const float *h, *shortcut;
    const float *s, *of_inputs; /* gates of the channels of y, or of h; NULL for none */
    float *y;
    long N;
} job;

typedef struct {
    void (*convolve)(const job *, long first, long last, long c);
    void (*sum)(const float *h, const float *pivot, long positions, long K, float *sums);
    void (*scale)(const job *, long first, long last, float *out);
} kernel;

/* y of `rows` positions from n on, and of some channels from c on, of which `sums` are W h. */
INLINE void finish_tile(const job *j, activation f, int gated, int add, long n, long rows, long c,
                        long columns, float (*sums)[COLUMNS])
{
    const long C = j->layer->outputs;
    const float *bias = j->layer->bias + c, *s = j->s + n / j->N * C + c;
    long left = j->N - n % j->N; /* positions of this image */
    for (long r = 0; r < rows; r++, left--) {
        if (!left) s += C, left = j->N;
        float *y = j->y + (n + r) * C + c;
        const float *shortcut = j->shortcut + (n + r) * C + c, *sum = sums[r];
#pragma omp simd
        for (long i = 0; i < columns; i++) {
            float u = gated ? s[i] * (sum[i] + bias[i]) : sum[i] + bias[i];
            u = add ? u + shortcut[i] : u;
            y[i] = apply(f, u);
        }
    }
}

/* Fetches the shortcut that finish() will read, while the sums are computed. The addresses jump, and
 * without this a convolution of 64 to 256 channels takes a third longer. */
INLINE void fetch(const job *j, long n, long rows, long c)
{
    const float *shortcut = j->shortcut + n * j->layer->outputs + c;
    for (long r = 0; j->shortcut && r < rows; r++)
        for (int i = 0; i < COLUMNS; i += LINE) __builtin_prefetch(shortcut + r * j->layer->outputs + i);
}

INLINE void finish(const job *j, long n, long rows, long c, float (*sums)[COLUMNS])
{
    const long columns = min(COLUMNS, j->layer->outputs - c);
    WITH_FUNCTION(j->layer->f, WITH(gated, j->s, WITH(add, j->shortcut,
        if (columns == COLUMNS)
            finish_tile(j, f, gated, add, n, rows, c, COLUMNS, sums);
        else
            finish_tile(j, f, gated, add, n, rows, c, columns, sums))))
}

#if defined __x86_64__ && defined __GNUC__
#define ISA avx512
#define TARGET AVX512
#define LANES 16
#define VECTORS 4
#define ROWS 6
#include "pointwise.h"
#define ISA avx2
#define TARGET AVX2
#define LANES 8
#define VECTORS 2
#define ROWS 6
#include "pointwise.h"
#endif
#define ISA baseline
#define TARGET
#define LANES 4
#define VECTORS 2
#define ROWS 4
#include "pointwise.h"

static const kernel *kernel_in_use(void)
{
#if defined __x86_64__ && defined __GNUC__
    if (senet_vector_bits() == 512) return &avx512;
    if (senet_vector_bits() == 256) return &avx2;
#endif
    return &baseline;
}

int senet_mean(const float *h, const float *pivot, float *z, long B, long N, long K, int threads)
{
    const kernel *k = kernel_in_use();
    const long parts = ceil_div(N, MEAN_ROWS);
    double *total = malloc(K * sizeof *total + B * parts * K * sizeof(float));
    float *partial = (float *)(total + K);
    if (!total) return 1;
    if (B * N * K < MIN_WORK) threads = 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long i = 0; i < B * parts; i++) {
        const long first = i % parts * MEAN_ROWS;
        k->sum(h + (i / parts * N + first) * K, pivot, min(MEAN_ROWS, N - first), K, partial + i * K);
    }
    for (long b = 0; b < B; b++) {
        for (long c = 0; c < K; c++) total[c] = 0;
        for (long part = b * parts; part < (b + 1) * parts; part++)
            for (long c = 0; c < K; c++) total[c] += partial[part * K + c];
        for (long c = 0; c < K; c++) z[b * K + c] = total[c] / N;
    }
    free(total);
    return 0;
}

/* The positions are divided among the threads, and if there are few, the channels of y too. Returns 1 if
 * there is no memory, else 0. */
static int convolve(const job *j, long M, int threads)
{
    const kernel *k = kernel_in_use();
    const long K = j->layer->inputs, C = j->layer->outputs, panels = ceil_div(C, COLUMNS);
    if (M * K * C < MIN_WORK) threads = 1;
    const long tall = max(1, min(threads, M / MIN_CHUNK)), wide = min(panels, ceil_div(threads, tall));
    const long chunk = j->of_inputs ? max(MIN_CHUNK, min(CHUNK, SCALED / K)) : CHUNK;
    float *scaled = j->of_inputs ? malloc(tall * wide * chunk * K * sizeof *scaled) : NULL;
    if (j->of_inputs && !scaled) return 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long i = 0; i < tall * wide; i++) {
        const long row = i / wide, column = i % wide;
        const long last = M * (row + 1) / tall, until = panels * (column + 1) / wide;
        for (long n = M * row / tall; n < last; n += chunk) {
            const long end = min(n + chunk, last);
            job part = *j;
            if (scaled) {
                float *mine = scaled + i * chunk * K;
                k->scale(j, n, end, mine);
                part.h = mine - n * K;
            }
            for (long p = panels * column / wide; p < until; p++)
                k->convolve(&part, n, end, p * COLUMNS);
        }
    }
    free(scaled);
    return 0;
}

/* The pointwise convolution `layers[0]`, with the gates that the other layers, if there are any, compute
 * from the mean of h: those of the channels of y, or with `of_inputs` of h. h is [B, N, K], y and the
 * shortcut, which may be y or NULL, are [B, N, C]. Returns 1 if there is no memory, else 0. */
int senet_pointwise(const pointwise *layers, int number, int of_inputs, const float *h,
                    const float *shortcut, float *y, long B, long N, int threads)
{
    job j = {.layer = layers, .h = h, .shortcut = shortcut, .y = y, .N = N};
    long size = B * layers->inputs;
    for (int i = 1; i < number; i++) size += B * layers[i].outputs;
    float *scratch = number > 1 ? malloc(size * sizeof *scratch) : NULL, *s = scratch;
    if (number > 1 && !scratch) return 1;
    int failed = scratch && senet_mean(h, NULL, s, B, N, layers->inputs, threads);
    for (int i = 1; i < number && !failed; i++) {
        const job gate = {.layer = layers + i, .h = s, .y = s + B * layers[i].inputs, .N = 1};
        failed = convolve(&gate, B, threads);
        s = gate.y;
    }
    if (of_inputs) j.of_inputs = s;
    else j.s = s;
    failed = failed || convolve(&j, B * N, threads);
    free(scratch);
    return failed;
}
