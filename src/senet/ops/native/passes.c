/* The streaming passes on the CPU, in C and OpenMP. The contract is senet/ops/passes.py:
 *
 *     moments        sum (x - p)  and  sum (x - p)^2
 *     affine         y = relu(A (x - p) + D + shortcut), and the mask of the ReLU
 *     grad_scale     g = dy where the mask passes it, else 0;  sum g  and  sum g (x - p)
 *     grad_affine    dx = A g + E - K (x - p)
 *
 * and with an activation f between norm and SE, where u = a (x - p) + b:
 *
 *     pooled         sum f(u)
 *     activate       y = S f(u)
 *     grad_pooled    sum g  and  sum g (x - p),  with g = dy f'(u);
 *                    and sum dy f(u),  sum f'(u)  and  sum f'(u) (x - p)
 *     grad_activate  dx = f'(u) (A dy + E) - L - K (x - p)
 *
 * Where an activation is flat the gradient is 0 even if it is infinite: the code selects 0 and does not
 * multiply by it.
 *
 * A call fills in a `job`. run() distributes its items over the threads, and each item is a `panel` of
 * the maps that is processed row by row; each number of a map is read once and written once. The loops
 * are plain C that compilers vectorise, compiled for several instruction sets.
 *
 * Sums are accumulated in float over a few rows, and these partial sums are added in double. How a map
 * is partitioned depends on its shape alone: results do not depend on the number of threads. Every pass
 * reads memory forwards, whole rows at a time, so the hardware prefetcher needs no hints.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inline.h"
#include "passes.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

/* Chosen by measurement; results are correct for any values. */
enum {
    WIDTH = 2048,           /* maximum columns of a panel, so that its vectors stay in the L1 cache */
    NARROW = 1024,          /* the same for passes with many vectors */
    PAD = 272,              /* numbers between scratch rows, which would otherwise share cache sets */
    LONG_ROW = 1024,        /* columns from which rows are summed four at a time */
    MAX_SUMS = 5,           /* maximum sums of a pass */
    JOINED = 128,           /* rows of the map are joined up to about this width */
    LANES = 16,             /* accumulators of a single column */
    WORD = 16,              /* numbers whose mask bits are read and written together */
    FLOAT_ROWS = 16,        /* rows that are summed in float before they are added in double */
    ITEMS = 256,            /* items per map, if it is large enough */
    MIN_ITEM = 1 << 14,     /* minimum numbers of an item */
    MIN_PARALLEL = 1 << 16, /* minimum numbers of a map for more than one thread */
    LAYER_PART = 64,        /* outputs of a layer whose function is applied together */
    MIN_LARGE = 1 << 22,    /* minimum bytes of an array for large pages */
};

INLINE long round_up_to_word(long numbers) { return ceil_div(numbers, WORD) * WORD; }

/* f'(u) times a gradient, 0 where f is flat. */
INLINE float backward(activated f, float gradient) { return f.flat ? 0 : f.slope * gradient; }

/* ------------------------------------------------------------------------------ jobs and panels */

/* The memory layout of the maps of a call: `images` blocks of `rows` x `columns` numbers. Channels-last
 * maps have an image for each b, a row for each position and a column for each channel. Contiguous maps
 * have an image for each (b, c), a row for each position and a single column. In both, column c of image
 * i has index (i columns + c) in a [B, C] array, and that modulo `channels` in a [C] array. */
typedef struct {
    long images, rows, columns, channels;
    type T;
} layout;

typedef struct {
    layout map;
    long parts, part_rows, blocks, block_columns; /* how an image is partitioned into items */
    long joined;                                  /* rows of the map in one row of a panel */

    const void *dy, *y, *x, *shortcut;
    uint8_t *bits; /* the mask of a ReLU, one bit for each number of a map */
    const float *pivot, *a, *b, *A, *D, *E, *K, *L, *S;
    int relu;
    activation f;
    void *out;
    float *sums[MAX_SUMS]; /* each [B, C] */
    double *partial;   /* per part, [images, parts, sums, columns], if there are several parts */
} job;

/* The numbers that one item processes: `rows` rows of `width` numbers, `stride` apart, then a last row
 * of `tail`. If an image has few columns, several of its rows are joined into one row of the panel; if
 * it has a single column, as many as fit. */
typedef struct {
    long start;  /* offset of the first number in a map */
    long vector; /* offset of the first column in a [B, C] array */
    long part;   /* index among the parts of all images */
    long left;   /* offset of the first column in the image */
    long columns;
    long rows, width, stride, tail;
} panel;

INLINE panel panel_of(const job *j, long image, long part, long block)
{
    layout map = j->map;
    long top = part * j->part_rows, left = block * j->block_columns;
    long rows = min(j->part_rows, map.rows - top);
    long columns = min(j->block_columns, map.columns - left);
    return (panel){
        .start = (image * map.rows + top) * map.columns + left,
        .vector = image * map.columns + left,
        .part = image * j->parts + part,
        .left = left,
        .columns = columns,
        .rows = rows / j->joined,
        .width = j->joined * columns,
        .stride = j->joined * map.columns,
        .tail = rows % j->joined * columns,
    };
}

/* The panel's columns of a [B, C] array, and its channels of a [C] array. */
INLINE const float *image_vector(const float *v, const panel *p) { return v ? v + p->vector : NULL; }

INLINE const float *channel_vector(const float *v, const job *j, const panel *p)
{
    return v ? v + p->vector % j->map.channels : NULL;
}

/* The vector `v` broadcast to the numbers of a panel's row. With `inc` = 1 it is repeated for each row of
 * the map that is joined there; with 0 it is the one number of the single column. Without v, all numbers
 * are `otherwise`. A row reads number inc * n of the result for its number n. */
INLINE const float *broadcast(int inc, float *scratch, const float *v, float otherwise, const panel *p)
{
    if (!v)
        for (long c = 0; c < (inc ? p->width : 1); c++) scratch[c] = otherwise;
    else if (inc)
        for (long c = 0; c < p->width; c += p->columns) memcpy(scratch + c, v, p->columns * sizeof *v);
    else
        return v;
    return scratch;
}

/* The norm of a column: p, and for an activation a and b. */
typedef struct {
    const float *p, *a, *b;
} norm_vectors;

INLINE norm_vectors broadcast_norm(int inc, float scratch[][WIDTH], const job *j, const panel *p)
{
    return (norm_vectors){
        .p = broadcast(inc, scratch[0], channel_vector(j->pivot, j, p), 0, p),
        .a = j->a ? broadcast(inc, scratch[1], channel_vector(j->a, j, p), 1, p) : NULL,
        .b = j->b ? broadcast(inc, scratch[2], channel_vector(j->b, j, p), 0, p) : NULL,
    };
}

/* Numbers of a map as floats: in place, or converted into `scratch`. Loops with more arithmetic than
 * loads are compiled for floats only. */
INLINE const float *load_floats(type T, const void *map, long start, long numbers, float *scratch)
{
    if (T == FLOAT32) return (const float *)map + start;
    if (T == BFLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) scratch[k] = load(BFLOAT16, map, start + k);
    if (T == FLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) scratch[k] = load(FLOAT16, map, start + k);
    return scratch;
}

/* Where to write the floats of a map's numbers; store_floats() then converts them. */
INLINE float *output_floats(type T, void *map, long start, float *scratch)
{
    return T == FLOAT32 ? (float *)map + start : scratch;
}

INLINE void store_floats(type T, void *map, long start, long numbers, const float *scratch)
{
    if (T == BFLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) store(BFLOAT16, map, start + k, scratch[k]);
    if (T == FLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) store(FLOAT16, map, start + k, scratch[k]);
}

/* Copies number i of a map if the condition holds; otherwise writes 0. */
INLINE void copy_if(type T, void *to, const void *from, long i, int condition)
{
    if (T == FLOAT32)
        ((float *)to)[i] = condition ? ((const float *)from)[i] : 0;
    else
        ((uint16_t *)to)[i] = condition ? ((const uint16_t *)from)[i] : 0;
}

/* ------------------------------------------------------------------------------ the mask in bits
 *
 * Bit i % 8 of byte i / 8 is 1 if the ReLU passed number i of the map. Bits are written and read in
 * little-endian words; no word belongs to two rows or to two items. */

/* Whether the output y of a ReLU is neither 0 nor -0: a NaN passes. */
INLINE int passes_relu(type T, const void *y, long i)
{
    return T == FLOAT32 ? ((const uint32_t *)y)[i] << 1 != 0
                        : (uint16_t)(((const uint16_t *)y)[i] << 1) != 0;
}

INLINE void store_mask(type T, const void *y, uint8_t *bits, long start, long numbers)
{
    for (long i = start; i < start + numbers; i += WORD) {
        uint32_t all = 0;
#pragma omp simd reduction(| : all)
        for (int k = 0; k < WORD; k++) all |= passes_relu(T, y, i + k) ? 1u << k : 0;
        const uint16_t word = all;
        memcpy(bits + i / 8, &word, sizeof word);
    }
}

INLINE uint16_t load_mask(const uint8_t *bits, long i)
{
    uint16_t word;
    memcpy(&word, bits + i / 8, sizeof word);
    return word;
}

/* ------------------------------------------------------------------------------------- the sums */

typedef enum {
    MOMENTS,
    GRAD_SCALE,
    GRAD_SCALE_Y,    /* after a ReLU with output y */
    GRAD_SCALE_BITS, /* after a ReLU with its mask in bits */
    POOLED,
    GRAD_POOLED,
    GRAD_POOLED_SE,
} sum_kind;

INLINE int number_of_sums(sum_kind kind) { return kind == POOLED ? 1 : kind == GRAD_POOLED_SE ? 5 : 2; }

/* Adds `rows` rows of `width` numbers to the sums of their columns. Sum k of column c is
 * sum[k step + c]. After a ReLU also writes g. */
INLINE void add_rows(type T, const job *j, sum_kind kind, int inc, long start, int rows, long width,
                     long stride, const float *p, float *sum, const long step)
{
    const long chunk = kind == GRAD_SCALE_BITS ? WORD : max(1, width);
    for (long left = 0; left < width; left += chunk) {
        uint16_t mask[4] = {0};
        if (kind == GRAD_SCALE_BITS)
            for (int r = 0; r < rows; r++) mask[r] = load_mask(j->bits, start + r * stride + left);
#pragma omp simd
        for (long k = 0; k < chunk; k++)
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                long c = left + k, i = start + r * stride + c;
                float v = load(T, j->x, i) - p[inc * c];
                float u = kind == MOMENTS ? v : load(T, j->dy, i);
                if (kind == GRAD_SCALE_Y || kind == GRAD_SCALE_BITS) {
                    int kept = kind == GRAD_SCALE_Y ? !(load(T, j->y, i) <= 0) : mask[r] & 1 << k;
                    u = kept ? u : 0;
                    copy_if(T, j->out, j->dy, i, kept);
                }
                sum[c] += u;
                sum[step + c] += u * v;
            }
    }
}

/* The same with an activation, one row at a time. */
INLINE void add_activated(type T, const job *j, sum_kind kind, activation f, int inc, long start,
                          long width, norm_vectors v, float *sum, const long step)
{
    float scratch[2][WIDTH + PAD];
    const float *x = load_floats(T, j->x, start, width, scratch[0]);
    const float *dy = kind == POOLED ? NULL : load_floats(T, j->dy, start, width, scratch[1]);
#pragma omp simd
    for (long i = 0; i < width; i++) {
        long c = inc * i;
        float centred = x[i] - v.p[c];
        activated out = activate(f, v.a[c] * centred + v.b[c]);
        if (kind == POOLED) {
            sum[i] += out.value;
        } else {
            float g = backward(out, dy[i]), slope = backward(out, 1);
            sum[i] += g;
            sum[step + i] += g * centred;
            if (kind == GRAD_POOLED_SE) {
                sum[2 * step + i] += dy[i] * out.value;
                sum[3 * step + i] += slope;
                sum[4 * step + i] += slope * centred;
            }
        }
    }
}

INLINE void add(type T, const job *j, sum_kind kind, activation f, int inc, long start, int rows,
                long width, long stride, norm_vectors v, float *sum, const long step)
{
    if (kind < POOLED)
        add_rows(T, j, kind, inc, start, rows, width, stride, v.p, sum, step);
    else
        add_activated(T, j, kind, f, inc, start, width, v, sum, step);
}

/* Channels last: the sums of each column. Sum k of column c is total[k][c]. */
INLINE void sum_columns(type T, const job *j, sum_kind kind, activation f, const panel *p,
                        double total[][WIDTH])
{
    enum { STEP = WIDTH + LANES };
    const int sums = number_of_sums(kind);
    const long float_rows = sums > 2 ? 2 * FLOAT_ROWS : FLOAT_ROWS; /* adding five sums is expensive */
    const int four_rows = kind < POOLED && p->width > LONG_ROW;     /* fewer loads and stores of sums */
    float scratch[3][WIDTH], sum[MAX_SUMS * STEP];
    const norm_vectors v = broadcast_norm(1, scratch, j, p);
    for (int k = 0; k < sums; k++) memset(total[k], 0, p->width * sizeof **total);

    const long rows = p->rows + (p->tail > 0);
    for (long top = 0; top < rows; top += float_rows) {
        for (int k = 0; k < sums; k++) memset(sum + k * STEP, 0, p->width * sizeof *sum);
        long r = top, i = p->start + top * p->stride;
        for (; four_rows && r + 4 <= min(top + float_rows, p->rows); r += 4, i += 4 * p->stride)
            add(T, j, kind, f, 1, i, 4, p->width, p->stride, v, sum, STEP);
        for (; r < min(top + float_rows, rows); r++, i += p->stride)
            add(T, j, kind, f, 1, i, 1, r < p->rows ? p->width : p->tail, 0, v, sum, STEP);
        for (int k = 0; k < sums; k++)
            for (long c = 0; c < p->width; c++) total[k][c] += sum[k * STEP + c];
    }
    for (int k = 0; k < sums; k++)
        for (long c = p->width - 1; c >= p->columns; c--) /* joined rows */
            total[k][c - p->columns] += total[k][c];
}

/* Contiguous: the sums of the single column, in LANES accumulators each. */
INLINE void sum_lanes(type T, const job *j, sum_kind kind, activation f, const panel *p,
                      double total[][WIDTH])
{
    const int sums = number_of_sums(kind);
    float scratch[3][WIDTH];
    const norm_vectors v = broadcast_norm(0, scratch, j, p);
    for (int k = 0; k < sums; k++) total[k][0] = 0;

    const long end = p->start + p->rows * p->width + p->tail;
    for (long top = p->start; top < end; top += FLOAT_ROWS * LANES) {
        float sum[MAX_SUMS * LANES] = {0};
        long i = top, bottom = min(top + FLOAT_ROWS * LANES, end);
        for (; kind < POOLED && i + 4 * LANES <= bottom; i += 4 * LANES)
            add(T, j, kind, f, 0, i, 4, LANES, LANES, v, sum, LANES);
        for (; i + LANES <= bottom; i += LANES)
            add(T, j, kind, f, 0, i, 1, LANES, 0, v, sum, LANES);
        add(T, j, kind, f, 0, i, 1, bottom - i, 0, v, sum, LANES);
        for (int k = 0; k < sums; k++) {
#pragma GCC unroll 8
            for (int half = LANES / 2; half > 0; half /= 2)
#pragma omp simd
                for (int lane = 0; lane < half; lane++)
                    sum[k * LANES + lane] += sum[k * LANES + lane + half];
            total[k][0] += sum[k * LANES];
        }
    }
}

INLINE void sum_panel(type T, const job *j, sum_kind kind, activation f, int inc, const panel *p)
{
    const int sums = number_of_sums(kind);
    double total[MAX_SUMS][WIDTH];
    if (inc)
        sum_columns(T, j, kind, f, p, total);
    else
        sum_lanes(T, j, kind, f, p, total);
    for (int k = 0; k < sums; k++)
        for (long c = 0; c < p->columns; c++)
            if (j->parts == 1)
                j->sums[k][p->vector + c] = total[k][c];
            else
                j->partial[(p->part * sums + k) * j->map.columns + p->left + c] = total[k][c];
}

/* ------------------------------------------------------------------------------------- the maps */

/* Does `work` for every row of a panel, whose numbers are start .. start + width - 1 of a map. */
#define FOR_EACH_ROW(p, work)                                                                         \
    for (long r = 0; r <= (p)->rows; r++) {                                                           \
        const long start = (p)->start + r * (p)->stride;                                              \
        const long width = r < (p)->rows ? (p)->width : (p)->tail;                                    \
        work;                                                                                         \
    }

INLINE void affine_row(type T, const job *j, int add, int inc, long start, long width, const float *p,
                       const float *A, const float *D)
{
    const float floor = j->relu ? 0 : -INFINITY;
#pragma omp simd
    for (long n = 0; n < width; n++) {
        long i = start + n, c = inc * n;
        float y = A[c] * (load(T, j->x, i) - p[c]) + D[c];
        if (add) y += load(T, j->shortcut, i);
        store(T, j->out, i, y < floor ? floor : y); /* NaN stays NaN */
    }
}

INLINE void affine_panel(type T, const job *j, int add, int inc, const panel *p)
{
    float scratch[3][WIDTH];
    const float *pivot = broadcast(inc, scratch[0], channel_vector(j->pivot, j, p), 0, p);
    const float *A = broadcast(inc, scratch[1], image_vector(j->A, p), 0, p);
    const float *D = broadcast(inc, scratch[2], image_vector(j->D, p), 0, p);
    FOR_EACH_ROW(p, affine_row(T, j, add, inc, start, width, pivot, A, D);
                 if (j->bits) store_mask(T, j->out, j->bits, start, width))
}

INLINE void grad_affine_row(type T, const job *j, int use_x, int inc, long start, long width,
                            const float *p, const float *A, const float *E, const float *K)
{
#pragma omp simd
    for (long n = 0; n < width; n++) {
        long i = start + n, c = inc * n;
        float dx = A[c] * load(T, j->dy, i) + E[c];
        if (use_x) dx -= K[c] * (load(T, j->x, i) - p[c]);
        store(T, j->out, i, dx);
    }
}

INLINE void grad_affine_panel(type T, const job *j, int use_x, int inc, const panel *p)
{
    float scratch[4][WIDTH];
    const float *pivot = broadcast(inc, scratch[0], channel_vector(j->pivot, j, p), 0, p);
    const float *A = broadcast(inc, scratch[1], image_vector(j->A, p), 0, p);
    const float *E = broadcast(inc, scratch[2], image_vector(j->E, p), 0, p);
    const float *K = broadcast(inc, scratch[3], channel_vector(j->K, j, p), 0, p);
    FOR_EACH_ROW(p, grad_affine_row(T, j, use_x, inc, start, width, pivot, A, E, K))
}

INLINE void activate_row(type T, const job *j, activation f, int inc, long start, long width,
                         norm_vectors v, const float *S)
{
    float scratch[2][WIDTH + PAD];
    const float *x = load_floats(T, j->x, start, width, scratch[0]);
    float *y = output_floats(T, j->out, start, scratch[1]);
#pragma omp simd
    for (long i = 0; i < width; i++) {
        long c = inc * i;
        y[i] = S[c] * activate(f, v.a[c] * (x[i] - v.p[c]) + v.b[c]).value;
    }
    store_floats(T, j->out, start, width, y);
}

INLINE void activate_panel(type T, const job *j, activation f, int inc, const panel *p)
{
    float scratch[4][WIDTH];
    const norm_vectors v = broadcast_norm(inc, scratch, j, p);
    const float *S = broadcast(inc, scratch[3], image_vector(j->S, p), 1, p);
    FOR_EACH_ROW(p, activate_row(T, j, f, inc, start, width, v, S))
}

INLINE void grad_activate_row(type T, const job *j, activation f, int use_stats, int inc, long start,
                              long width, norm_vectors v, const float *A, const float *E,
                              const float *K, const float *L)
{
    float scratch[3][NARROW + PAD];
    const float *x = load_floats(T, j->x, start, width, scratch[0]);
    const float *dy = load_floats(T, j->dy, start, width, scratch[1]);
    float *dx = output_floats(T, j->out, start, scratch[2]);
#pragma omp simd
    for (long i = 0; i < width; i++) {
        long c = inc * i;
        float centred = x[i] - v.p[c];
        float du = backward(activate(f, v.a[c] * centred + v.b[c]), A[c] * dy[i] + E[c]);
        dx[i] = use_stats ? du - L[c] - K[c] * centred : du;
    }
    store_floats(T, j->out, start, width, dx);
}

INLINE void grad_activate_panel(type T, const job *j, activation f, int use_stats, int inc,
                                const panel *p)
{
    float scratch[7][WIDTH];
    const norm_vectors v = broadcast_norm(inc, scratch, j, p);
    const float *A = broadcast(inc, scratch[3], image_vector(j->A, p), 1, p);
    const float *E = broadcast(inc, scratch[4], image_vector(j->E, p), 0, p);
    const float *K = broadcast(inc, scratch[5], channel_vector(j->K, j, p), 0, p);
    const float *L = broadcast(inc, scratch[6], channel_vector(j->L, j, p), 0, p);
    FOR_EACH_ROW(p, grad_activate_row(T, j, f, use_stats, inc, start, width, v, A, E, K, L))
}

/* A call in which the type, the activation or a flag is a constant. */
#define WITH_TYPE(j, call)                                                                            \
    switch ((j)->map.T) {                                                                             \
    case FLOAT32: { const type T = FLOAT32; call; break; }                                            \
    case BFLOAT16: { const type T = BFLOAT16; call; break; }                                          \
    case FLOAT16: { const type T = FLOAT16; call; break; }                                            \
    }
#define WITH_ACTIVATION(j, call)                                                                      \
    switch ((j)->f) {                                                                                 \
    case RELU: { const activation f = RELU; call; break; }                                            \
    case RELU6: { const activation f = RELU6; call; break; }                                          \
    case SILU: { const activation f = SILU; call; break; }                                            \
    case HARDSWISH: { const activation f = HARDSWISH; call; break; }                                  \
    default: break; /* no pass has another */                                                         \
    }

/* -------------------------------------------------------------------------- the layers of a gate */

/* Output r of a layer before its function, w_r v_b + bias_r, for one input v_b or, with `by_four`, for four
 * of them, which reads the weights once. */
INLINE void dot(const layer *l, long r, int by_four, const float *v, float *out)
{
    const long C = l->inputs;
    const float *w = l->weight + r * C, bias = l->bias ? l->bias[r] : 0;
    float sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
    for (long c = 0; c < C; c++) {
        sum0 += w[c] * v[c];
        if (by_four) sum1 += w[c] * v[C + c], sum2 += w[c] * v[2 * C + c], sum3 += w[c] * v[3 * C + c];
    }
    const float sums[4] = {sum0, sum1, sum2, sum3};
    for (int b = 0; b < (by_four ? 4 : 1); b++) out[b * l->outputs + r] = sums[b] + bias;
}

/* The outputs from `first` to before `last` of a layer. */
INLINE void layer_part(const layer *l, long first, long last, long B, const float *v, float *out)
{
    for (long r = first; r < last; r++) {
        long b = 0;
        for (; b + 4 <= B; b += 4) dot(l, r, 1, v + b * l->inputs, out + b * l->outputs);
        for (; b < B; b++) dot(l, r, 0, v + b * l->inputs, out + b * l->outputs);
    }
    for (long b = 0; b < B; b++) {
        float *u = out + b * l->outputs;
        WITH_FUNCTION(l->f, for (long r = first; r < last; r++) u[r] = apply(f, u[r]))
    }
}

/* ---------------------------------------------- the passes, compiled for every instruction set
 *
 * Everything above is inlined here with constant types and flags, so that each combination compiles to
 * a loop without branches. */

typedef void item_function(const job *, long image, long part, long block);
typedef void layer_function(const layer *, long first, long last, long B, const float *v, float *out);

typedef struct {
    const char *name;
    int vector_bits;
    item_function *moments, *affine, *grad_scale, *grad_affine;
    item_function *pooled, *activate, *grad_pooled, *grad_activate;
    layer_function *layer;
} instruction_set;

#define COMPILE_FOR(isa, size_of_vector, target)                                                      \
    target static void moments_##isa(const job *j, long image, long part, long block)                 \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_TYPE(j, WITH(inc, j->map.columns > 1, sum_panel(T, j, MOMENTS, RELU, inc, &p)))          \
    }                                                                                                 \
    target static void affine_##isa(const job *j, long image, long part, long block)                  \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_TYPE(j, WITH(add, j->shortcut, WITH(inc, j->map.columns > 1,                             \
            affine_panel(T, j, add, inc, &p))))                                                       \
    }                                                                                                 \
    target static void grad_scale_##isa(const job *j, long image, long part, long block)              \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_TYPE(j, WITH(inc, j->map.columns > 1,                                                    \
            if (j->y) sum_panel(T, j, GRAD_SCALE_Y, RELU, inc, &p);                                   \
            else if (j->bits) sum_panel(T, j, GRAD_SCALE_BITS, RELU, inc, &p);                        \
            else sum_panel(T, j, GRAD_SCALE, RELU, inc, &p)))                                         \
    }                                                                                                 \
    target static void grad_affine_##isa(const job *j, long image, long part, long block)             \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_TYPE(j, WITH(use_x, j->K, WITH(inc, j->map.columns > 1,                                  \
            grad_affine_panel(T, j, use_x, inc, &p))))                                                \
    }                                                                                                 \
    target static void pooled_##isa(const job *j, long image, long part, long block)                  \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_ACTIVATION(j, WITH(inc, j->map.columns > 1,                                              \
            sum_panel(j->map.T, j, POOLED, f, inc, &p)))                                              \
    }                                                                                                 \
    target static void activate_##isa(const job *j, long image, long part, long block)                \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_ACTIVATION(j, WITH(inc, j->map.columns > 1,                                              \
            activate_panel(j->map.T, j, f, inc, &p)))                                                 \
    }                                                                                                 \
    target static void grad_pooled_##isa(const job *j, long image, long part, long block)             \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_ACTIVATION(j, WITH(se, j->sums[2], WITH(inc, j->map.columns > 1,                         \
            sum_panel(j->map.T, j, se ? GRAD_POOLED_SE : GRAD_POOLED, f, inc, &p))))                  \
    }                                                                                                 \
    target static void grad_activate_##isa(const job *j, long image, long part, long block)           \
    {                                                                                                 \
        panel p = panel_of(j, image, part, block);                                                    \
        WITH_ACTIVATION(j, WITH(use_stats, j->K, WITH(inc, j->map.columns > 1,                        \
            grad_activate_panel(j->map.T, j, f, use_stats, inc, &p))))                                \
    }                                                                                                 \
    target static void layer_##isa(const layer *l, long first, long last, long B, const float *v,     \
                                   float *out)                                                        \
    {                                                                                                 \
        layer_part(l, first, last, B, v, out);                                                        \
    }                                                                                                 \
    static const instruction_set isa = {                                                              \
        #isa,         size_of_vector,   moments_##isa, affine_##isa,   grad_scale_##isa,              \
        grad_affine_##isa, pooled_##isa,     activate_##isa, grad_pooled_##isa,                       \
        grad_activate_##isa, layer_##isa,                                                             \
    };

#if defined __x86_64__ && defined __GNUC__
COMPILE_FOR(avx512, 512, AVX512)
COMPILE_FOR(avx2, 256, AVX2)
#endif
COMPILE_FOR(baseline, 128, )

/* The instruction sets of this machine, fastest first. */
static int find_instruction_sets(const instruction_set *found[3])
{
    int n = 0;
#if defined __x86_64__ && defined __GNUC__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found[n++] = &avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[n++] = &avx2;
#endif
    found[n++] = &baseline;
    return n;
}

static const instruction_set *in_use = &baseline;

/* ----------------------------------------------------------------------------- running a job */

static job plan(layout map, long width, long min_rows)
{
    const long columns = max(1, map.columns), rows = max(1, map.rows);
    /* Blocks and parts start at words of a mask. */
    long block_columns = round_up_to_word(ceil_div(columns, ceil_div(columns, width)));
    long blocks = ceil_div(columns, block_columns);
    long parts = min(ITEMS / (map.images * blocks + 1), rows * columns / blocks / MIN_ITEM);
    long part_rows = round_up_to_word(ceil_div(rows, max(1, min(parts, rows / min_rows))));
    return (job){
        .map = map,
        .blocks = blocks,
        .block_columns = block_columns,
        .parts = ceil_div(rows, part_rows),
        .part_rows = part_rows,
        .joined = columns == 1 ? min(part_rows, width) : max(1, JOINED / columns),
    };
}

static void run(item_function *item, const job *j, int threads)
{
    if (j->map.images * j->map.rows * j->map.columns < MIN_PARALLEL) threads = 1;
#pragma omp parallel for collapse(3) schedule(static) num_threads(threads) if (threads > 1)
    for (long image = 0; image < j->map.images; image++)
        for (long part = 0; part < j->parts; part++)
            for (long block = 0; block < j->blocks; block++) item(j, image, part, block);
}

static int run_sums(item_function *item, job j, int sums, int threads)
{
    if (j.parts == 1) {
        run(item, &j, threads);
        return 0;
    }
    const long columns = j.map.columns;
    j.partial = malloc(j.map.images * j.parts * sums * columns * sizeof *j.partial);
    if (!j.partial) return 1;
    run(item, &j, threads);
    for (long image = 0; image < j.map.images; image++)
        for (int k = 0; k < sums; k++) {
            double *total = j.partial + (image * j.parts * sums + k) * columns, *more = total;
            for (long part = 1; part < j.parts; part++) {
                more += sums * columns;
                for (long c = 0; c < columns; c++) total[c] += more[c];
            }
            for (long c = 0; c < columns; c++) j.sums[k][image * columns + c] = total[c];
        }
    free(j.partial);
    return 0;
}

/* In a large array that is new from the system, each 4 KB page costs a page fault, which takes longer
 * than filling the page. This advises the kernel to use pages of 2 MB. */
static void advise_large_pages(void *array, const layout *map)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 1 << 21, bytes = map->images * map->rows * map->columns * size_of[map->T];
    const uintptr_t first = ((uintptr_t)array + page - 1) / page * page;
    const uintptr_t last = ((uintptr_t)array + bytes) / page * page;
    if (bytes >= MIN_LARGE) madvise((void *)first, last - first, MADV_HUGEPAGE);
#else
    (void)array, (void)map;
#endif
}

/* --------------------------------------------------------------------------- exported functions */

/* A checksum of the sources: the loader refuses a library built from other sources. */
unsigned senet_source(void) { return SENET_SOURCE; }

/* Uses the instruction set of this name, or the fastest for NULL. Returns its name, or NULL if it does
 * not run here. */
const char *senet_instruction_set(const char *name)
{
    const instruction_set *found[3];
    int n = find_instruction_sets(found);
    for (int k = 0; k < n; k++)
        if (!name || !strcmp(name, found[k]->name)) return (in_use = found[k])->name;
    return NULL;
}

int senet_vector_bits(void) { return in_use->vector_bits; }

/* `by_image`, `by_position` and `by_channel` are strides; every `step`-th position is added. */
INLINE void add_positions(type T, const void *x, float *pivot, long images, long by_image, long step,
                          long positions, long by_position, long channels, long by_channel)
{
    for (long b = 0; b < images; b++)
        for (long n = step / 2; n < positions; n += step)
            for (long c = 0; c < channels; c++)
                pivot[c] += load(T, x, b * by_image + n * by_position + c * by_channel);
}

void senet_pivot(const void *x, float *pivot, LAYOUT)
{
    const job j = {.map = AS_LAYOUT};
    const long samples = min(images * columns / channels, 4), step = max(rows / 8, 1);
    const long size = rows * channels, count = samples * ceil_div(rows - step / 2, step);
    memset(pivot, 0, channels * sizeof *pivot);
    if (columns == 1) /* contiguous */
        WITH_TYPE(&j, add_positions(T, x, pivot, samples, size, step, rows, 1, channels, rows))
    else
        WITH_TYPE(&j, add_positions(T, x, pivot, samples, size, step, rows, channels, channels, 1))
    for (long c = 0; c < channels; c++) pivot[c] /= count;
}

int senet_moments(const void *x, const float *pivot, float *sums, float *squares, LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, WIDTH, 4 * FLOAT_ROWS);
    j.x = x, j.pivot = pivot, j.sums[0] = sums, j.sums[1] = squares;
    return run_sums(in_use->moments, j, 2, threads);
}

void senet_affine(const void *x, const float *pivot, const float *A, const float *D,
                  const void *shortcut, int relu, void *y, uint8_t *bits, LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, WIDTH, 1);
    j.x = x, j.pivot = pivot, j.A = A, j.D = D, j.shortcut = shortcut, j.relu = relu;
    j.out = y, j.bits = bits;
    advise_large_pages(y, &j.map);
    run(in_use->affine, &j, threads);
}

int senet_grad_scale(const void *dy, const void *y, uint8_t *bits, const void *x, const float *pivot,
                     void *g, float *S1, float *S2, LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, WIDTH, 4 * FLOAT_ROWS);
    j.dy = dy, j.y = y, j.bits = bits, j.x = x, j.pivot = pivot;
    j.out = g, j.sums[0] = S1, j.sums[1] = S2;
    if (g) advise_large_pages(g, &j.map);
    return run_sums(in_use->grad_scale, j, 2, threads);
}

void senet_grad_affine(const void *g, const void *x, const float *pivot, const float *A,
                       const float *E, const float *K, void *dx, LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, WIDTH, 1);
    j.dy = g, j.x = x, j.pivot = pivot, j.A = A, j.E = E, j.K = K, j.out = dx;
    advise_large_pages(dx, &j.map);
    run(in_use->grad_affine, &j, threads);
}

int senet_pooled(const void *x, const float *pivot, const float *a, const float *b, int f, float *sums,
                 LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, WIDTH, 4 * FLOAT_ROWS);
    j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.f = f, j.sums[0] = sums;
    return run_sums(in_use->pooled, j, 1, threads);
}

void senet_activate(const void *x, const float *pivot, const float *a, const float *b, const float *S,
                    int f, void *y, LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, WIDTH, 1);
    j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.S = S, j.f = f, j.out = y;
    advise_large_pages(y, &j.map);
    run(in_use->activate, &j, threads);
}

int senet_grad_pooled(const void *dy, const void *x, const float *pivot, const float *a, const float *b,
                      int f, float *const *sums, int number, LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, NARROW, 4 * FLOAT_ROWS);
    j.dy = dy, j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.f = f;
    memcpy(j.sums, sums, number * sizeof *sums);
    return run_sums(in_use->grad_pooled, j, number, threads);
}

void senet_grad_activate(const void *dy, const void *x, const float *pivot, const float *a,
                         const float *b, int f, const float *A, const float *E, const float *K,
                         const float *L, void *dx, LAYOUT, int threads)
{
    job j = plan(AS_LAYOUT, NARROW, 1);
    j.dy = dy, j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.f = f;
    j.A = A, j.E = E, j.K = K, j.L = L, j.out = dx;
    advise_large_pages(dx, &j.map);
    run(in_use->grad_activate, &j, threads);
}

void senet_layer(const layer *l, long B, const float *v, float *out, int threads)
{
    if (B * l->inputs * l->outputs < MIN_PARALLEL) threads = 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long r = 0; r < l->outputs; r += LAYER_PART)
        in_use->layer(l, r, min(r + LAYER_PART, l->outputs), B, v, out);
}
