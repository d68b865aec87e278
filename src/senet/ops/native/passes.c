/* The streaming passes on the CPU, in C and OpenMP. The contract is senet/ops/passes.py:
 *
 *     moments        sum (x - p)  and  sum (x - p)^2
 *     affine         y = relu(A (x - p) + D + shortcut), and the mask of the ReLU
 *     grad_scale     g = dy where the mask lets it through, else 0;  sum g  and  sum g (x - p)
 *     grad_affine    dx = A g + E - K (x - p)
 *
 * and where an activation f stands between norm and SE, with u = a (x - p) + b:
 *
 *     pooled         sum f(u)
 *     activate       y = S f(u)
 *     grad_pooled    sum g  and  sum g (x - p),  with g = dy f'(u);
 *                    and sum dy f(u),  sum f'(u)  and  sum f'(u) (x - p)
 *     grad_activate  dx = f'(u) (A dy + E) - L - K (x - p)
 *
 * Where an activation is flat no gradient passes, were it infinite: it is selected, not multiplied by 0.
 *
 * A call fills in a `job`. run() deals its items out to the threads, and each item is a `panel` of the
 * maps that is walked row by row; each number of a map is read once and written once. The walks are
 * plain loops that compilers turn into vector instructions, compiled for several sets of these.
 *
 * Sums are taken in float over short stretches, and the stretches are added in double. How a map is
 * cut depends on its shape alone: results do not depend on the number of threads. Every pass walks
 * memory forwards, whole rows at a time: the processor foresees that, and is not told what to fetch.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "passes.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#define INLINE static inline __attribute__((always_inline))

/* Chosen by measurement; results are right for any. */
enum {
    WIDTH = 2048,       /* columns of a panel at most: its vectors stay in the nearest caches, */
    NARROW = 1024,      /* also where a pass has many of them */
    PAD = 272,          /* numbers between rooms, or all would share the same few places there */
    LONG = 1024,        /* columns of rows that are summed four at a time */
    SUMS = 5,           /* that a pass takes at most */
    JOINED = 128,       /* rows of the map are joined up to about this width */
    LANES = 16,         /* sums that a single column is dealt out to */
    WORD = 16,          /* numbers whose bits of a mask are written and read at once */
    STRETCH = 16,       /* rows that are summed in float, before they are added in double */
    ITEMS = 256,        /* items that a map is cut into, if it is large enough, */
    SMALLEST = 1 << 14, /* that an item keeps this many numbers */
    PARALLEL = 1 << 16, /* numbers of a map that are worth more than one thread */
    LARGE = 1 << 22,    /* bytes of an array that are worth large pages */
};

INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE long larger(long a, long b) { return a > b ? a : b; }
INLINE long rounded_up(long a, long b) { return (a + b - 1) / b; }
INLINE long in_words(long numbers) { return rounded_up(numbers, WORD) * WORD; }

/* ------------------------------------------------------------------ numbers of a map <-> float */

typedef enum { FLOAT32, BFLOAT16, FLOAT16 } type;

static const long size_of[] = {4, 2, 2};

INLINE float as_float(uint32_t bits)
{
    union { uint32_t bits; float value; } u = {.bits = bits};
    return u.value;
}

INLINE uint32_t as_bits(float value)
{
    union { float value; uint32_t bits; } u = {.value = value};
    return u.bits;
}

/* bfloat16 is the upper half of a float. */
INLINE float from_bfloat16(uint16_t h) { return as_float((uint32_t)h << 16); }

INLINE uint16_t to_bfloat16(float value)
{
    uint32_t bits = as_bits(value);
    uint32_t to_nearest_even = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 /* NaN */ : to_nearest_even;
}

/* float16 has 5 bits of exponent about 15 where float has 8 about 127, and 13 bits less of fraction. */
INLINE float from_float16(uint16_t h)
{
    uint32_t magnitude = h & 0x7fff, sign = (uint32_t)(h & 0x8000) << 16;
    float value = as_float(magnitude << 13) * 0x1p112f; /* right for subnormals, too */
    uint32_t infinity_or_nan = magnitude >= 0x7c00 ? 0x7f800000 : 0;
    return as_float(as_bits(value) | infinity_or_nan | sign);
}

INLINE uint16_t to_float16(float value)
{
    uint32_t bits = as_bits(value), magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
    /* The last bit of 0.5f is worth 2^-24, as is that of a subnormal: adding 0.5f rounds to it. */
    uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - as_bits(0.5f);
    uint32_t h = magnitude < 0x38800000 /* 2^-14 */ ? subnormal : normal;
    h = magnitude >= 0x477ff000 /* 65520 */ ? 0x7c00 /* infinity */ : h;
    h = magnitude > 0x7f800000 ? 0x7e00 /* NaN */ : h;
    return sign | h;
}

INLINE float load(type T, const void *map, long i)
{
    return T == FLOAT32    ? ((const float *)map)[i]
           : T == BFLOAT16 ? from_bfloat16(((const uint16_t *)map)[i])
                           : from_float16(((const uint16_t *)map)[i]);
}

INLINE void store(type T, void *map, long i, float value)
{
    if (T == FLOAT32) ((float *)map)[i] = value;
    if (T == BFLOAT16) ((uint16_t *)map)[i] = to_bfloat16(value);
    if (T == FLOAT16) ((uint16_t *)map)[i] = to_float16(value);
}

/* ---------------------------------------------------------------------------------- activations */

typedef enum { RELU, RELU6, SILU, HARDSWISH } activation;

/* u, or the end that it is beyond, least <= -0 or most >= 0; for NaN one of them. Floats are ordered as
 * their bits are, the negative ones backwards, and integers have a minimum of one instruction. */
INLINE float between(float least, float u, float most)
{
    uint32_t bits = as_bits(u);
    bits = bits < as_bits(least) ? bits : as_bits(least);
    return as_float((int32_t)bits < (int32_t)as_bits(most) ? bits : as_bits(most));
}

/* 1 / (1 + e^-u), with e^-u = 2^n e^r, where n is a whole number and |r| <= ln(2) / 2. There e^r is
 * within 5e-9 of this polynomial, whose greatest relative error is the least of any with as many terms.
 * Below -89 the result is 0, above 17 it is 1, and of NaN one of these. */
INLINE float sigmoid(float u)
{
    const float many = 0x1.8p23f - 64; /* of this size floats are whole numbers */
    float v = -between(-100, u, 40);
    float shifted = v * 0x1.715476p0f /* 1 / ln(2) */ + many, n = shifted - many;
    float r = v - n * 0x1.62ep-1f - n * 0x1.0bfbe8p-15f; /* ln(2) in two parts: the first is exact */
    float p = 0x1.6a2352p-10f;
    p = p * r + 0x1.123a6cp-7f;
    p = p * r + 0x1.5558f4p-5f;
    p = p * r + 0x1.55549p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = p * r + 1;
    p = p * r + 1;
    p = as_float(as_bits(p) + (as_bits(shifted) << 23)); /* p 2^(n - 64), which cannot overflow, */
    return 1 / (1 + p * 0x1p64f);                        /* where this may */
}

/* f(u) and f'(u), and whether f is flat there. At the corners, and for NaN, as PyTorch has it. */
typedef struct {
    float value, slope;
    int flat;
} activated;

INLINE activated activate(activation f, float u)
{
    if (f == RELU) return (activated){u < 0 ? 0 : u, 1, u <= 0};
    if (f == RELU6) return (activated){u < 0 ? 0 : u > 6 ? 6 : u, 1, !(u > 0 && u < 6)};
    if (f == HARDSWISH)
        return (activated){u * (between(-0.0f, u + 3, 6) * (1 / 6.0f)),
                           u >= 3 ? 1 : (u + 1.5f) * (1 / 3.0f), u <= -3};
    float s = sigmoid(u), v = u * s;
    return (activated){v, s + v * (1 - s), 0};
}

/* f'(u) times a gradient. */
INLINE float back_through(activated f, float gradient) { return f.flat ? 0 : f.slope * gradient; }

/* ------------------------------------------------------------------------------ jobs and panels */

/* How the maps of a call lie: `images` blocks of `rows` x `columns` numbers. Channels-last maps have
 * an image for each b, a row for each position and a column for each channel. Contiguous ones have an
 * image for each (b, c), a row for each position and a single column. Either way, column c of image i
 * is number (i columns + c) of a [B, C] array, and of a [C] array that modulo `channels`. */
typedef struct {
    long images, rows, columns, channels;
    type T;
} layout;

typedef struct {
    layout map;
    long parts, part_rows, blocks, block_columns; /* how an image is cut into items */
    long joined;                                  /* rows of the map in one row of a panel */

    const void *dy, *y, *x, *shortcut;
    uint8_t *bits; /* of the mask of a ReLU, one for each number of a map */
    const float *pivot, *a, *b, *A, *D, *E, *K, *L, *S;
    int relu;
    activation f;
    void *out;
    float *sums[SUMS]; /* each [B, C] */
    double *partial;   /* of each part, [images, parts, sums, columns], if there are several */
} job;

/* What one item works on: `rows` rows of `width` numbers, `stride` apart, and then a last row of
 * `tail`. Where an image has few columns, several of its rows are joined in one row of the panel, and
 * where it has a single column, all of them that fit. */
typedef struct {
    long start;  /* the first number, in a map */
    long vector; /* the first column, in a [B, C] array */
    long part;   /* which one of all images */
    long left;   /* the first column, in the image */
    long columns;
    long rows, width, stride, tail;
} panel;

INLINE panel cut(const job *j, long image, long part, long block)
{
    layout map = j->map;
    long top = part * j->part_rows, left = block * j->block_columns;
    long rows = smaller(j->part_rows, map.rows - top);
    long columns = smaller(j->block_columns, map.columns - left);
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

/* From a [B, C] array the numbers of the panel's columns, from a [C] array those of its channels. */
INLINE const float *of_image(const float *v, const panel *p) { return v ? v + p->vector : NULL; }

INLINE const float *of_channel(const float *v, const job *j, const panel *p)
{
    return v ? v + p->vector % j->map.channels : NULL;
}

/* The numbers `v` of the columns as the panel's rows need them: once for each row of the map that is
 * joined there, or, without `each`, the one number of the single column. Where there are none, all are
 * `otherwise`. */
INLINE const float *spread(int each, float *wide, const float *v, float otherwise, const panel *p)
{
    if (!v)
        for (long c = 0; c < (each ? p->width : 1); c++) wide[c] = otherwise;
    else if (each)
        for (long c = 0; c < p->width; c += p->columns) memcpy(wide + c, v, p->columns * sizeof *v);
    else
        return v;
    return wide;
}

/* What a column needs: p, and for an activation a and b. */
typedef struct {
    const float *p, *a, *b;
} constants;

INLINE constants spread_constants(int each, float wide[][WIDTH], const job *j, const panel *p)
{
    return (constants){
        .p = spread(each, wide[0], of_channel(j->pivot, j, p), 0, p),
        .a = j->a ? spread(each, wide[1], of_channel(j->a, j, p), 1, p) : NULL,
        .b = j->b ? spread(each, wide[2], of_channel(j->b, j, p), 0, p) : NULL,
    };
}

/* Numbers of a map as floats: themselves, or converted into `room`. Where there is more to compute than
 * to load, loops are compiled for floats only. */
INLINE const float *floats(type T, const void *map, long start, long numbers, float *room)
{
    if (T == FLOAT32) return (const float *)map + start;
    if (T == BFLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) room[k] = load(BFLOAT16, map, start + k);
    if (T == FLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) room[k] = load(FLOAT16, map, start + k);
    return room;
}

/* Where the floats that become numbers of a map are to be written; settle() then makes them that. */
INLINE float *draft(type T, void *map, long start, float *room)
{
    return T == FLOAT32 ? (float *)map + start : room;
}

INLINE void settle(type T, void *map, long start, long numbers, const float *room)
{
    if (T == BFLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) store(BFLOAT16, map, start + k, room[k]);
    if (T == FLOAT16)
#pragma omp simd
        for (long k = 0; k < numbers; k++) store(FLOAT16, map, start + k, room[k]);
}

/* Copies number i of a map, or writes 0 where the condition does not hold. */
INLINE void copy_if(type T, void *to, const void *from, long i, int condition)
{
    if (T == FLOAT32)
        ((float *)to)[i] = condition ? ((const float *)from)[i] : 0;
    else
        ((uint16_t *)to)[i] = condition ? ((const uint16_t *)from)[i] : 0;
}

/* ----------------------------------------------------------------------------- the mask in bits
 *
 * Bit i % 8 of byte i / 8 says whether the ReLU let number i of the map through. It is written and read
 * in words, the lower byte first; no word belongs to two rows, or to two items. */

/* Whether y, which a ReLU made, is neither 0 nor -0: NaN is let through. */
INLINE int is_let_through(type T, const void *y, long i)
{
    return T == FLOAT32 ? ((const uint32_t *)y)[i] << 1 != 0
                        : (uint16_t)(((const uint16_t *)y)[i] << 1) != 0;
}

INLINE void keep_mask(type T, const void *y, uint8_t *bits, long start, long numbers)
{
    for (long i = start; i < start + numbers; i += WORD) {
        uint32_t all = 0;
#pragma omp simd reduction(| : all)
        for (int k = 0; k < WORD; k++) all |= is_let_through(T, y, i + k) ? 1u << k : 0;
        const uint16_t word = all;
        memcpy(bits + i / 8, &word, sizeof word);
    }
}

INLINE uint16_t mask_from(const uint8_t *bits, long i)
{
    uint16_t word;
    memcpy(&word, bits + i / 8, sizeof word);
    return word;
}

/* ------------------------------------------------------------------------------------- the sums */

typedef enum {
    MOMENTS,
    GRAD_SCALE,
    GRAD_SCALE_Y,    /* behind a ReLU whose output is y, */
    GRAD_SCALE_BITS, /* or whose mask is kept in bits */
    POOLED,
    GRAD_POOLED,
    GRAD_POOLED_SE,
} way;

INLINE int number_of_sums(way w) { return w == POOLED ? 1 : w == GRAD_POOLED_SE ? 5 : 2; }

/* Adds `rows` rows of `width` numbers to the sums of their columns. Sum k of column c is
 * sum[k step + c]. Behind a ReLU writes g, too. */
INLINE void add_rows(type T, const job *j, way w, int each, long start, int rows, long width,
                     long stride, const float *p, float *sum, const long step)
{
    const long piece = w == GRAD_SCALE_BITS ? WORD : larger(1, width);
    for (long left = 0; left < width; left += piece) {
        uint16_t mask[4] = {0};
        if (w == GRAD_SCALE_BITS)
            for (int r = 0; r < rows; r++) mask[r] = mask_from(j->bits, start + r * stride + left);
#pragma omp simd
        for (long k = 0; k < piece; k++)
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                long c = left + k, i = start + r * stride + c;
                float v = load(T, j->x, i) - p[each * c];
                float u = w == MOMENTS ? v : load(T, j->dy, i);
                if (w == GRAD_SCALE_Y || w == GRAD_SCALE_BITS) {
                    int through = w == GRAD_SCALE_Y ? !(load(T, j->y, i) <= 0) : mask[r] & 1 << k;
                    u = through ? u : 0;
                    copy_if(T, j->out, j->dy, i, through);
                }
                sum[c] += u;
                sum[step + c] += u * v;
            }
    }
}

/* The same through an activation, where a row by itself is work enough. */
INLINE void add_activated(type T, const job *j, way w, activation f, int each, long start, long width,
                          constants v, float *sum, const long step)
{
    float room[2][WIDTH + PAD];
    const float *x = floats(T, j->x, start, width, room[0]);
    const float *dy = w == POOLED ? NULL : floats(T, j->dy, start, width, room[1]);
#pragma omp simd
    for (long i = 0; i < width; i++) {
        long c = each * i;
        float centred = x[i] - v.p[c];
        activated out = activate(f, v.a[c] * centred + v.b[c]);
        if (w == POOLED) {
            sum[i] += out.value;
        } else {
            float g = back_through(out, dy[i]), slope = back_through(out, 1);
            sum[i] += g;
            sum[step + i] += g * centred;
            if (w == GRAD_POOLED_SE) {
                sum[2 * step + i] += dy[i] * out.value;
                sum[3 * step + i] += slope;
                sum[4 * step + i] += slope * centred;
            }
        }
    }
}

INLINE void add(type T, const job *j, way w, activation f, int each, long start, int rows, long width,
                long stride, constants v, float *sum, const long step)
{
    if (w < POOLED)
        add_rows(T, j, w, each, start, rows, width, stride, v.p, sum, step);
    else
        add_activated(T, j, w, f, each, start, width, v, sum, step);
}

/* Channels last: the sums of each column. Sum k of column c is total[k][c]. */
INLINE void sum_columns(type T, const job *j, way w, activation f, const panel *p,
                        double total[][WIDTH])
{
    enum { STEP = WIDTH + LANES };
    const int sums = number_of_sums(w);
    const long stretch = sums > 2 ? 2 * STRETCH : STRETCH; /* adding up five sums takes its time */
    const int at_once = w < POOLED && p->width > LONG;     /* sums are loaded and stored less often */
    float wide[3][WIDTH], sum[SUMS * STEP];
    const constants v = spread_constants(1, wide, j, p);
    for (int k = 0; k < sums; k++) memset(total[k], 0, p->width * sizeof **total);

    const long rows = p->rows + (p->tail > 0);
    for (long top = 0; top < rows; top += stretch) {
        for (int k = 0; k < sums; k++) memset(sum + k * STEP, 0, p->width * sizeof *sum);
        long r = top, i = p->start + top * p->stride;
        for (; at_once && r + 4 <= smaller(top + stretch, p->rows); r += 4, i += 4 * p->stride)
            add(T, j, w, f, 1, i, 4, p->width, p->stride, v, sum, STEP);
        for (; r < smaller(top + stretch, rows); r++, i += p->stride)
            add(T, j, w, f, 1, i, 1, r < p->rows ? p->width : p->tail, 0, v, sum, STEP);
        for (int k = 0; k < sums; k++)
            for (long c = 0; c < p->width; c++) total[k][c] += sum[k * STEP + c];
    }
    for (int k = 0; k < sums; k++)
        for (long c = p->width - 1; c >= p->columns; c--) /* rows that were joined */
            total[k][c - p->columns] += total[k][c];
}

/* Contiguous: the sums of the one column, whose numbers are dealt out to LANES sums. */
INLINE void sum_lanes(type T, const job *j, way w, activation f, const panel *p,
                      double total[][WIDTH])
{
    const int sums = number_of_sums(w);
    float wide[3][WIDTH];
    const constants v = spread_constants(0, wide, j, p);
    for (int k = 0; k < sums; k++) total[k][0] = 0;

    const long end = p->start + p->rows * p->width + p->tail;
    for (long top = p->start; top < end; top += STRETCH * LANES) {
        float sum[SUMS * LANES] = {0};
        long i = top, bottom = smaller(top + STRETCH * LANES, end);
        for (; w < POOLED && i + 4 * LANES <= bottom; i += 4 * LANES)
            add(T, j, w, f, 0, i, 4, LANES, LANES, v, sum, LANES);
        for (; i + LANES <= bottom; i += LANES)
            add(T, j, w, f, 0, i, 1, LANES, 0, v, sum, LANES);
        add(T, j, w, f, 0, i, 1, bottom - i, 0, v, sum, LANES);
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

INLINE void sum_panel(type T, const job *j, way w, activation f, int each, const panel *p)
{
    const int sums = number_of_sums(w);
    double total[SUMS][WIDTH];
    if (each)
        sum_columns(T, j, w, f, p, total);
    else
        sum_lanes(T, j, w, f, p, total);
    for (int k = 0; k < sums; k++)
        for (long c = 0; c < p->columns; c++)
            if (j->parts == 1)
                j->sums[k][p->vector + c] = total[k][c];
            else
                j->partial[(p->part * sums + k) * j->map.columns + p->left + c] = total[k][c];
}

/* ------------------------------------------------------------------------------------- the maps */

INLINE void affine_row(type T, const job *j, int add, int each, long start, long width, const float *p,
                       const float *A, const float *D)
{
    const float floor = j->relu ? 0 : -INFINITY;
#pragma omp simd
    for (long n = 0; n < width; n++) {
        long i = start + n, c = each * n;
        float y = A[c] * (load(T, j->x, i) - p[c]) + D[c];
        if (add) y += load(T, j->shortcut, i);
        store(T, j->out, i, y < floor ? floor : y); /* NaN is not smaller: it stays NaN */
    }
}

INLINE void affine_panel(type T, const job *j, int add, int each, const panel *p)
{
    float wide[3][WIDTH];
    const float *pivot = spread(each, wide[0], of_channel(j->pivot, j, p), 0, p);
    const float *A = spread(each, wide[1], of_image(j->A, p), 0, p);
    const float *D = spread(each, wide[2], of_image(j->D, p), 0, p);
    for (long r = 0; r <= p->rows; r++) {
        const long start = p->start + r * p->stride, width = r < p->rows ? p->width : p->tail;
        affine_row(T, j, add, each, start, width, pivot, A, D);
        if (j->bits) keep_mask(T, j->out, j->bits, start, width);
    }
}

INLINE void grad_affine_row(type T, const job *j, int use_x, int each, long start, long width,
                            const float *p, const float *A, const float *E, const float *K)
{
#pragma omp simd
    for (long n = 0; n < width; n++) {
        long i = start + n, c = each * n;
        float dx = A[c] * load(T, j->dy, i) + E[c];
        if (use_x) dx -= K[c] * (load(T, j->x, i) - p[c]);
        store(T, j->out, i, dx);
    }
}

INLINE void grad_affine_panel(type T, const job *j, int use_x, int each, const panel *p)
{
    float wide[4][WIDTH];
    const float *pivot = spread(each, wide[0], of_channel(j->pivot, j, p), 0, p);
    const float *A = spread(each, wide[1], of_image(j->A, p), 0, p);
    const float *E = spread(each, wide[2], of_image(j->E, p), 0, p);
    const float *K = spread(each, wide[3], of_channel(j->K, j, p), 0, p);
    for (long r = 0; r <= p->rows; r++)
        grad_affine_row(T, j, use_x, each, p->start + r * p->stride, r < p->rows ? p->width : p->tail,
                        pivot, A, E, K);
}

INLINE void activate_row(type T, const job *j, activation f, int each, long start, long width,
                         constants v, const float *S)
{
    float room[2][WIDTH + PAD];
    const float *x = floats(T, j->x, start, width, room[0]);
    float *y = draft(T, j->out, start, room[1]);
#pragma omp simd
    for (long i = 0; i < width; i++) {
        long c = each * i;
        y[i] = S[c] * activate(f, v.a[c] * (x[i] - v.p[c]) + v.b[c]).value;
    }
    settle(T, j->out, start, width, y);
}

INLINE void activate_panel(type T, const job *j, activation f, int each, const panel *p)
{
    float wide[4][WIDTH];
    const constants v = spread_constants(each, wide, j, p);
    const float *S = spread(each, wide[3], of_image(j->S, p), 1, p);
    for (long r = 0; r <= p->rows; r++)
        activate_row(T, j, f, each, p->start + r * p->stride, r < p->rows ? p->width : p->tail, v, S);
}

INLINE void grad_activate_row(type T, const job *j, activation f, int learn, int each, long start,
                              long width, constants v, const float *A, const float *E,
                              const float *K, const float *L)
{
    float room[3][NARROW + PAD];
    const float *x = floats(T, j->x, start, width, room[0]);
    const float *dy = floats(T, j->dy, start, width, room[1]);
    float *dx = draft(T, j->out, start, room[2]);
#pragma omp simd
    for (long i = 0; i < width; i++) {
        long c = each * i;
        float centred = x[i] - v.p[c];
        float du = back_through(activate(f, v.a[c] * centred + v.b[c]), A[c] * dy[i] + E[c]);
        dx[i] = learn ? du - L[c] - K[c] * centred : du;
    }
    settle(T, j->out, start, width, dx);
}

INLINE void grad_activate_panel(type T, const job *j, activation f, int learn, int each,
                                const panel *p)
{
    float wide[7][WIDTH];
    const constants v = spread_constants(each, wide, j, p);
    const float *A = spread(each, wide[3], of_image(j->A, p), 1, p);
    const float *E = spread(each, wide[4], of_image(j->E, p), 0, p);
    const float *K = spread(each, wide[5], of_channel(j->K, j, p), 0, p);
    const float *L = spread(each, wide[6], of_channel(j->L, j, p), 0, p);
    for (long r = 0; r <= p->rows; r++)
        grad_activate_row(T, j, f, learn, each, p->start + r * p->stride,
                          r < p->rows ? p->width : p->tail, v, A, E, K, L);
}

/* A call with a type, an activation or a flag that is a constant in it. */
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
    }
#define WITH(flag, value, call)                                                                       \
    if (value) { const int flag = 1; call; } else { const int flag = 0; call; }

/* -------------------------------------------------------------------------- the layers of a gate */

typedef enum { AS_IT_IS, SIGMOID, HARDSIGMOID } gate;

/* NaN stays NaN. */
INLINE float gated(gate g, float u)
{
    if (u != u || g == AS_IT_IS) return u;
    return g == SIGMOID ? sigmoid(u) : between(-0.0f, u + 3, 6) * (1 / 6.0f);
}

/* Output r of a layer, w_r v_b + bias_r, for one of its inputs v_b or, `several`, for four of them: its
 * weights are read once for all. */
INLINE void dot(const layer *l, long r, int several, const float *v, float *out)
{
    const long C = l->inputs;
    const float *w = l->weight + r * C;
    float sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
#pragma omp simd reduction(+ : sum0, sum1, sum2, sum3)
    for (long c = 0; c < C; c++) {
        sum0 += w[c] * v[c];
        if (several) sum1 += w[c] * v[C + c], sum2 += w[c] * v[2 * C + c], sum3 += w[c] * v[3 * C + c];
    }
    const float sums[4] = {sum0, sum1, sum2, sum3};
    for (int b = 0; b < (several ? 4 : 1); b++) {
        const float u = sums[b] + (l->bias ? l->bias[r] : 0);
        float *s = out + b * l->outputs + r;
        if (l->gate)
            *s = gated(l->gate, u);
        else
            WITH_ACTIVATION(l, *s = activate(f, u).value)
    }
}

INLINE void layer_row(const layer *l, long r, long B, const float *v, float *out)
{
    long b = 0;
    for (; b + 4 <= B; b += 4) dot(l, r, 1, v + b * l->inputs, out + b * l->outputs);
    for (; b < B; b++) dot(l, r, 0, v + b * l->inputs, out + b * l->outputs);
}

/* ---------------------------------------------- the passes, compiled for every instruction set
 *
 * All of the above is inlined here, its type and its flags constant, so that each combination becomes
 * a loop without branches. */

typedef void item_function(const job *, long image, long part, long block);
typedef void layer_function(const layer *, long r, long B, const float *v, float *out);

typedef struct {
    const char *name;
    item_function *moments, *affine, *grad_scale, *grad_affine;
    item_function *pooled, *activate, *grad_pooled, *grad_activate;
    layer_function *layer;
} instruction_set;

#define COMPILE_FOR(isa, target)                                                                      \
    target static void moments_##isa(const job *j, long image, long part, long block)                 \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(each, j->map.columns > 1, sum_panel(T, j, MOMENTS, RELU, each, &p)))        \
    }                                                                                                 \
    target static void affine_##isa(const job *j, long image, long part, long block)                  \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(add, j->shortcut, WITH(each, j->map.columns > 1,                            \
            affine_panel(T, j, add, each, &p))))                                                      \
    }                                                                                                 \
    target static void grad_scale_##isa(const job *j, long image, long part, long block)              \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(each, j->map.columns > 1,                                                   \
            if (j->y) sum_panel(T, j, GRAD_SCALE_Y, RELU, each, &p);                                  \
            else if (j->bits) sum_panel(T, j, GRAD_SCALE_BITS, RELU, each, &p);                       \
            else sum_panel(T, j, GRAD_SCALE, RELU, each, &p)))                                        \
    }                                                                                                 \
    target static void grad_affine_##isa(const job *j, long image, long part, long block)             \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(use_x, j->K, WITH(each, j->map.columns > 1,                                 \
            grad_affine_panel(T, j, use_x, each, &p))))                                               \
    }                                                                                                 \
    target static void pooled_##isa(const job *j, long image, long part, long block)                  \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_ACTIVATION(j, WITH(each, j->map.columns > 1,                                             \
            sum_panel(j->map.T, j, POOLED, f, each, &p)))                                             \
    }                                                                                                 \
    target static void activate_##isa(const job *j, long image, long part, long block)                \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_ACTIVATION(j, WITH(each, j->map.columns > 1,                                             \
            activate_panel(j->map.T, j, f, each, &p)))                                                \
    }                                                                                                 \
    target static void grad_pooled_##isa(const job *j, long image, long part, long block)             \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_ACTIVATION(j, WITH(se, j->sums[2], WITH(each, j->map.columns > 1,                        \
            sum_panel(j->map.T, j, se ? GRAD_POOLED_SE : GRAD_POOLED, f, each, &p))))                 \
    }                                                                                                 \
    target static void grad_activate_##isa(const job *j, long image, long part, long block)           \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_ACTIVATION(j, WITH(learn, j->K, WITH(each, j->map.columns > 1,                           \
            grad_activate_panel(j->map.T, j, f, learn, each, &p))))                                   \
    }                                                                                                 \
    target static void layer_##isa(const layer *l, long r, long B, const float *v, float *out)        \
    {                                                                                                 \
        layer_row(l, r, B, v, out);                                                                   \
    }                                                                                                 \
    static const instruction_set isa = {                                                              \
        #isa,         moments_##isa,  affine_##isa,      grad_scale_##isa,    grad_affine_##isa,      \
        pooled_##isa, activate_##isa, grad_pooled_##isa, grad_activate_##isa, layer_##isa,            \
    };

#if defined __x86_64__ && defined __GNUC__
COMPILE_FOR(avx512, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))))
COMPILE_FOR(avx2, __attribute__((target("avx2,fma"))))
#endif
COMPILE_FOR(baseline, )

/* Those that run on this machine, the fastest first. */
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

static job plan(layout map, long width, long fewest_rows)
{
    const long columns = larger(1, map.columns), rows = larger(1, map.rows);
    /* Cuts lie between the words of a mask. */
    long block_columns = in_words(rounded_up(columns, rounded_up(columns, width)));
    long blocks = rounded_up(columns, block_columns);
    long parts = smaller(ITEMS / (map.images * blocks + 1), rows * columns / blocks / SMALLEST);
    long part_rows = in_words(rounded_up(rows, larger(1, smaller(parts, rows / fewest_rows))));
    return (job){
        .map = map,
        .blocks = blocks,
        .block_columns = block_columns,
        .parts = rounded_up(rows, part_rows),
        .part_rows = part_rows,
        .joined = columns == 1 ? smaller(part_rows, width) : larger(1, JOINED / columns),
    };
}

static void run(item_function *item, const job *j, int threads)
{
    if (j->map.images * j->map.rows * j->map.columns < PARALLEL) threads = 1;
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

/* Where a large array is fresh from the system, every 4 KB of it cost a page fault, which takes longer
 * than a pass takes to fill them. This asks for pages of 2 MB: advice, which is often not needed. */
static void expect_large_pages(void *array, const layout *map)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 1 << 21, bytes = map->images * map->rows * map->columns * size_of[map->T];
    const uintptr_t first = ((uintptr_t)array + page - 1) / page * page;
    const uintptr_t last = ((uintptr_t)array + bytes) / page * page;
    if (bytes >= LARGE) madvise((void *)first, last - first, MADV_HUGEPAGE);
#else
    (void)array, (void)map;
#endif
}

/* ------------------------------------------------------------------------ what the loader calls */

/* A checksum of the sources: a library that was built from others is not to be called. */
unsigned senet_source(void) { return SENET_SOURCE; }

/* Use the instruction set of this name, or with NULL the fastest; returns its name, or NULL where it
 * does not run. */
const char *senet_instruction_set(const char *name)
{
    const instruction_set *found[3];
    int n = find_instruction_sets(found);
    for (int k = 0; k < n; k++)
        if (!name || !strcmp(name, found[k]->name)) return (in_use = found[k])->name;
    return NULL;
}

/* From one image to the next it is `by_image` numbers, and so on. */
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
    const job j = {.map = THE_LAYOUT};
    const long few = smaller(images * columns / channels, 4), step = larger(rows / 8, 1);
    const long size = rows * channels, count = few * rounded_up(rows - step / 2, step);
    memset(pivot, 0, channels * sizeof *pivot);
    if (columns == 1) /* contiguous */
        WITH_TYPE(&j, add_positions(T, x, pivot, few, size, step, rows, 1, channels, rows))
    else
        WITH_TYPE(&j, add_positions(T, x, pivot, few, size, step, rows, channels, channels, 1))
    for (long c = 0; c < channels; c++) pivot[c] /= count;
}

int senet_moments(const void *x, const float *pivot, float *sums, float *squares, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, WIDTH, 4 * STRETCH);
    j.x = x, j.pivot = pivot, j.sums[0] = sums, j.sums[1] = squares;
    return run_sums(in_use->moments, j, 2, threads);
}

void senet_affine(const void *x, const float *pivot, const float *A, const float *D,
                  const void *shortcut, int relu, void *y, uint8_t *bits, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, WIDTH, 1);
    j.x = x, j.pivot = pivot, j.A = A, j.D = D, j.shortcut = shortcut, j.relu = relu;
    j.out = y, j.bits = bits;
    expect_large_pages(y, &j.map);
    run(in_use->affine, &j, threads);
}

int senet_grad_scale(const void *dy, const void *y, uint8_t *bits, const void *x, const float *pivot,
                     void *g, float *S1, float *S2, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, WIDTH, 4 * STRETCH);
    j.dy = dy, j.y = y, j.bits = bits, j.x = x, j.pivot = pivot;
    j.out = g, j.sums[0] = S1, j.sums[1] = S2;
    if (g) expect_large_pages(g, &j.map);
    return run_sums(in_use->grad_scale, j, 2, threads);
}

void senet_grad_affine(const void *g, const void *x, const float *pivot, const float *A,
                       const float *E, const float *K, void *dx, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, WIDTH, 1);
    j.dy = g, j.x = x, j.pivot = pivot, j.A = A, j.E = E, j.K = K, j.out = dx;
    expect_large_pages(dx, &j.map);
    run(in_use->grad_affine, &j, threads);
}

int senet_pooled(const void *x, const float *pivot, const float *a, const float *b, int f, float *sums,
                 LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, WIDTH, 4 * STRETCH);
    j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.f = f, j.sums[0] = sums;
    return run_sums(in_use->pooled, j, 1, threads);
}

void senet_activate(const void *x, const float *pivot, const float *a, const float *b, const float *S,
                    int f, void *y, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, WIDTH, 1);
    j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.S = S, j.f = f, j.out = y;
    expect_large_pages(y, &j.map);
    run(in_use->activate, &j, threads);
}

int senet_grad_pooled(const void *dy, const void *x, const float *pivot, const float *a, const float *b,
                      int f, float *const *sums, int number, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, NARROW, 4 * STRETCH);
    j.dy = dy, j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.f = f;
    memcpy(j.sums, sums, number * sizeof *sums);
    return run_sums(in_use->grad_pooled, j, number, threads);
}

void senet_grad_activate(const void *dy, const void *x, const float *pivot, const float *a,
                         const float *b, int f, const float *A, const float *E, const float *K,
                         const float *L, void *dx, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, NARROW, 1);
    j.dy = dy, j.x = x, j.pivot = pivot, j.a = a, j.b = b, j.f = f;
    j.A = A, j.E = E, j.K = K, j.L = L, j.out = dx;
    expect_large_pages(dx, &j.map);
    run(in_use->grad_activate, &j, threads);
}

void senet_layer(const layer *l, long B, const float *v, float *out, int threads)
{
    if (B * l->inputs * l->outputs < PARALLEL) threads = 1;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (long r = 0; r < l->outputs; r++) in_use->layer(l, r, B, v, out);
}
