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
 * Maps and W are floats, or bfloat16 where the processor multiplies these. Sums and everything after them
 * are floats, and so are the layers of the gate.
 *
 * W is packed: for each COLUMNS channels of y, in turn, the weights of all channels of h, COLUMNS side
 * by side. Each sum is over k in order, so results do not depend on how the work is distributed.
 */

#include <stdlib.h>

#if defined __x86_64__ && defined __GNUC__ && __GNUC__ >= 10
#include <immintrin.h>
#define HAS_BFLOAT16
#endif

#include "inline.h"
#include "passes.h"

/* Chosen by measurement; results are correct for any values, but packed weights have COLUMNS. */
enum {
    COLUMNS = 64,     /* channels of y whose weights lie side by side */
    CHUNK = 192,      /* positions that stay in the cache while the channels of y go by */
    MIN_CHUNK = 48,   /* the same, where otherwise threads would have nothing to do */
    MEAN_ROWS = 64,   /* positions that are summed in float before they are added in double */
    SCALED = 1 << 16, /* numbers of h that are scaled at a time */
    LINE = 64,        /* bytes of a cache line */
    MIN_WORK = 1 << 16, /* minimum multiplications for more than one thread */
};

/* Mirrored by `_Layer` in pointwise.py. `f` is an `activation` and `T` a `type` of inline.h. */
typedef struct {
    const void *weight; /* packed */
    const float *bias;  /* [outputs] */
    long inputs, outputs;
    int f, T;
} pointwise;

typedef struct {
    const pointwise *layer;
    const void *h, *shortcut;
    const float *s, *of_inputs; /* gates of the channels of y, or of h; NULL for none */
    void *y;
    long N;
} job;

typedef struct {
    void (*convolve)(const job *, long first, long last, long c);
    void (*sum)(const void *h, long first, const float *pivot, long positions, long K, float *sums);
    void (*scale)(const job *, long first, long last, void *out);
} kernel;

typedef int pair __attribute__((may_alias)); /* two numbers of bfloat16 */

/* y of `rows` positions from n on, and of some channels from c on, of which `sums` are W h. Numbers of
 * bfloat16 are converted in loops of their own: one loop over numbers of two sizes is not vectorised. */
INLINE void finish_tile(type T, const job *j, activation f, int gated, int add, long n, long rows,
                        long c, long columns, float (*sums)[COLUMNS])
{
    const long C = j->layer->outputs;
    const float *bias = j->layer->bias + c, *s = j->s + n / j->N * C + c;
    long left = j->N - n % j->N; /* positions of this image */
    for (long r = 0; r < rows; r++, left--) {
        if (!left) s += C, left = j->N;
        const long start = (n + r) * C + c;
        float converted[COLUMNS], *sum = sums[r], *y = T == FLOAT32 ? (float *)j->y + start : sum;
        const float *shortcut = T == FLOAT32 ? (const float *)j->shortcut + start : converted;
        for (long i = 0; T != FLOAT32 && add && i < columns; i++)
            converted[i] = load(T, j->shortcut, start + i);
#pragma omp simd
        for (long i = 0; i < columns; i++) {
            float u = gated ? s[i] * (sum[i] + bias[i]) : sum[i] + bias[i];
            u = add ? u + shortcut[i] : u;
            y[i] = apply(f, u);
        }
        for (long i = 0; T != FLOAT32 && i < columns; i++) store(T, j->y, start + i, y[i]);
    }
}

/* Fetches the shortcut that finish() will read, while the sums are computed. The addresses jump, and
 * without this a convolution of 64 to 256 channels takes a third longer. */
INLINE void fetch(type T, const job *j, long n, long rows, long c)
{
    const char *shortcut = j->shortcut;
    for (long r = n; shortcut && r < n + rows; r++) {
        const char *row = shortcut + (r * j->layer->outputs + c) * size_of[T];
        for (long i = 0; i < COLUMNS * size_of[T]; i += LINE) __builtin_prefetch(row + i);
    }
}

INLINE void finish(type T, const job *j, long n, long rows, long c, float (*sums)[COLUMNS])
{
    const long columns = min(COLUMNS, j->layer->outputs - c);
    WITH_FUNCTION(j->layer->f, WITH(gated, j->s, WITH(add, j->shortcut,
        if (columns == COLUMNS)
            finish_tile(T, j, f, gated, add, n, rows, c, COLUMNS, sums);
        else
            finish_tile(T, j, f, gated, add, n, rows, c, columns, sums))))
}

#ifdef HAS_BFLOAT16
#define ISA avx512_bfloat16
#define TARGET AVX512_BFLOAT16
#define PAIRS
#define T BFLOAT16
#define LANES 16
#define VECTORS 4
#define ROWS 6
#include "pointwise.h"
#undef PAIRS
#endif
#if defined __x86_64__ && defined __GNUC__
#define ISA avx512
#define TARGET AVX512
#define T FLOAT32
#define LANES 16
#define VECTORS 4
#define ROWS 6
#include "pointwise.h"
#define ISA avx2
#define TARGET AVX2
#define T FLOAT32
#define LANES 8
#define VECTORS 2
#define ROWS 6
#include "pointwise.h"
#endif
#define ISA baseline
#define TARGET
#define T FLOAT32
#define LANES 4
#define VECTORS 2
#define ROWS 4
#include "pointwise.h"

/* The kernel for numbers of this type; NULL if there is none. */
static const kernel *kernel_for(int T)
{
#ifdef HAS_BFLOAT16
    if (T == BFLOAT16 && senet_vector_bits() == 512 && __builtin_cpu_supports("avx512bf16"))
        return &avx512_bfloat16;
#endif
    if (T != FLOAT32) return NULL;
#if defined __x86_64__ && defined __GNUC__
    if (senet_vector_bits() == 512) return &avx512;
    if (senet_vector_bits() == 256) return &avx2;
#endif
    return &baseline;
}

int senet_has_pointwise(int T) { return kernel_for(T) != NULL; }

int senet_mean(const void *h, const float *pivot, float *z, long B, long N, long K, int T, int threads)
{
    const kernel *k = kernel_for(T);
    const long parts = ceil_div(N, MEAN_ROWS);
    double *total = malloc(K * sizeof *total + B * parts * K * sizeof(float));
    float *partial = (float *)(total + K);
    if (!total) return 1;
    if (B * N * K < MIN_WORK) threads = 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long i = 0; i < B * parts; i++) {
        const long first = i % parts * MEAN_ROWS, positions = min(MEAN_ROWS, N - first);
        k->sum(h, i / parts * N + first, pivot, positions, K, partial + i * K);
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
    const kernel *k = kernel_for(j->layer->T);
    const long K = j->layer->inputs, C = j->layer->outputs, panels = ceil_div(C, COLUMNS);
    if (M * K * C < MIN_WORK) threads = 1;
    const long tall = max(1, min(threads, M / MIN_CHUNK)), wide = min(panels, ceil_div(threads, tall));
    const long chunk = j->of_inputs ? max(MIN_CHUNK, min(CHUNK, SCALED / K)) : CHUNK;
    const long row_size = K * size_of[j->layer->T];
    char *scaled = j->of_inputs ? malloc(tall * wide * chunk * row_size) : NULL;
    if (j->of_inputs && !scaled) return 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long i = 0; i < tall * wide; i++) {
        const long row = i / wide, column = i % wide;
        const long last = M * (row + 1) / tall, until = panels * (column + 1) / wide;
        for (long n = M * row / tall; n < last; n += chunk) {
            const long end = min(n + chunk, last);
            job part = *j;
            if (scaled) {
                char *mine = scaled + i * chunk * row_size;
                k->scale(j, n, end, mine);
                part.h = mine - n * row_size;
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
 * shortcut, which may be y or NULL, are [B, N, C]. There must be a kernel for their type, and with
 * BFLOAT16 the channels of h must be even. Returns 1 if there is no memory, else 0. */
int senet_pointwise(const pointwise *layers, int number, int of_inputs, const void *h,
                    const void *shortcut, void *y, long B, long N, int threads)
{
    job j = {.layer = layers, .h = h, .shortcut = shortcut, .y = y, .N = N};
    long size = B * layers->inputs;
    for (int i = 1; i < number; i++) size += B * layers[i].outputs;
    float *scratch = number > 1 ? malloc(size * sizeof *scratch) : NULL, *s = scratch;
    if (number > 1 && !scratch) return 1;
    int failed = scratch && senet_mean(h, NULL, s, B, N, layers->inputs, layers->T, threads);
    for (int i = 1; i < number && !failed; i++) {
        const job gate = {.layer = layers + i, .h = s, .y = s + B * layers[i].inputs, .N = 1};
        failed = convolve(&gate, B, threads);
        s += B * layers[i].inputs;
    }
    if (of_inputs) j.of_inputs = s;
    else j.s = s;
    failed = failed || convolve(&j, B * N, threads);
    free(scratch);
    return failed;
}
