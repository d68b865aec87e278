/* The four streaming passes on the CPU, in C and OpenMP. The contract is senet/ops/passes.py:
 *
 *     moments       sum (x - p)  and  sum (x - p)^2
 *     affine        y = relu(A (x - p) + D + shortcut)
 *     grad_moments  sum g  and  sum g (x - p),  with g = dy where y > 0, else 0
 *     grad_affine   dx = A g + E - K (x - p)  and  dshortcut = g
 *
 * A call fills in a `job`. run() deals its items out to the threads, and each item is a `panel` of the
 * maps that is walked row by row; each number of a map is read once and written once. The walks are
 * plain loops that compilers turn into vector instructions, compiled for several sets of these.
 *
 * Sums are taken in float over short stretches, and the stretches are added in double. How a map is
 * cut depends on its shape alone: results do not depend on the number of threads.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sys/mman.h>
#endif

#define INLINE static inline __attribute__((always_inline))

/* Chosen by measurement; results are right for any. */
enum {
    WIDTH = 1024,       /* columns of a panel at most: its vectors stay in the first cache */
    JOINED = 128,       /* rows of the map are joined up to about this width */
    LANES = 16,         /* sums that a single column is dealt out to */
    STRETCH = 16,       /* rows that are summed in float, before they are added in double */
    AHEAD = 2048,       /* numbers from those that are worked on to those that are fetched */
    ITEMS = 256,        /* items that a map is cut into, if it is large enough, */
    SMALLEST = 1 << 14, /* that an item keeps this many numbers */
    PARALLEL = 1 << 16, /* numbers of a map that are worth more than one thread */
    LARGE = 1 << 22,    /* bytes of an array that are worth large pages */
};

INLINE long smaller(long a, long b) { return a < b ? a : b; }
INLINE long larger(long a, long b) { return a > b ? a : b; }
INLINE long rounded_up(long a, long b) { return (a + b - 1) / b; }

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
    const float *pivot, *A, *D, *E, *K;
    int relu;
    void *out, *dshortcut;
    float *u, *uv;                  /* the sums, [B, C] */
    double *partial_u, *partial_uv; /* of each part, [images, parts, columns], if there are several */
} job;

/* What one item works on: `rows` rows of `width` numbers, `stride` apart, and then a last row of
 * `tail`. Where an image has few columns, several of its rows are joined in one row of the panel, and
 * where it has a single column, all of them that fit. */
typedef struct {
    long start;   /* the first number, in a map */
    long vector;  /* the first column, in a [B, C] array */
    long partial; /* the first column, in the partial sums */
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
        .partial = (image * j->parts + part) * map.columns + left,
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
 * joined there, or, without `each`, the one number of the single column. Zero where there are none. */
INLINE const float *spread(int each, float *wide, const float *v, const panel *p)
{
    static const float zero = 0;
    if (!each) return v ? v : &zero;
    for (long c = 0; c < p->width; c += p->columns)
        if (v)
            memcpy(wide + c, v, p->columns * sizeof *v);
        else
            memset(wide + c, 0, p->columns * sizeof *v);
    return wide;
}

/* ------------------------------------------------------------- moments and grad_moments: the sums
 *
 * Both are sum u and sum u v with v = x - p, where u is v itself forward, and g backward. */

typedef enum { FORWARD, BACKWARD, BACKWARD_THROUGH_RELU } way;

INLINE float gradient(type T, const job *j, int through_relu, long i)
{
    float dy = load(T, j->dy, i);
    return !through_relu || load(T, j->y, i) > 0 ? dy : 0;
}

/* Asks for the numbers of a map that will be read a while from now: where several maps are read side
 * by side, and several rows of each, the processor does not foresee it. */
INLINE void fetch(type T, const void *map, long start, long numbers)
{
    const char *first = (const char *)map + (start + AHEAD) * size_of[T];
    for (long k = 0; k < numbers * size_of[T]; k += 64) __builtin_prefetch(first + k);
}

/* Adds `rows` rows of `width` numbers to the sums of their columns: several at once, so that the sums
 * are loaded and stored less often. */
INLINE void add_rows(type T, const job *j, way w, int each, long start, int rows, long width,
                     long stride, const float *p, float *sum_u, float *sum_uv)
{
    fetch(T, j->x, start, rows * width);
    if (w != FORWARD) fetch(T, j->dy, start, rows * width);
    if (w == BACKWARD_THROUGH_RELU) fetch(T, j->y, start, rows * width);
#pragma omp simd
    for (long c = 0; c < width; c++)
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            long i = start + r * stride + c;
            float v = load(T, j->x, i) - p[each * c];
            float u = w == FORWARD ? v : gradient(T, j, w == BACKWARD_THROUGH_RELU, i);
            sum_u[c] += u;
            sum_uv[c] += u * v;
        }
}

/* Channels last: the sums of each column. */
INLINE void sum_columns(type T, const job *j, way w, const panel *p, const float *pivot, double *U,
                        double *UV)
{
    float wide[WIDTH], u[WIDTH], uv[WIDTH];
    pivot = spread(1, wide, pivot, p);
    memset(U, 0, p->width * sizeof *U);
    memset(UV, 0, p->width * sizeof *UV);

    const long rows = p->rows + (p->tail > 0);
    for (long top = 0; top < rows; top += STRETCH) {
        memset(u, 0, p->width * sizeof *u);
        memset(uv, 0, p->width * sizeof *uv);
        long r = top, i = p->start + top * p->stride;
        for (; r + 4 <= smaller(top + STRETCH, p->rows); r += 4, i += 4 * p->stride)
            add_rows(T, j, w, 1, i, 4, p->width, p->stride, pivot, u, uv);
        for (; r < smaller(top + STRETCH, rows); r++, i += p->stride)
            add_rows(T, j, w, 1, i, 1, r < p->rows ? p->width : p->tail, 0, pivot, u, uv);
        for (long c = 0; c < p->width; c++) {
            U[c] += u[c];
            UV[c] += uv[c];
        }
    }
    for (long c = p->width - 1; c >= p->columns; c--) { /* rows that were joined */
        U[c - p->columns] += U[c];
        UV[c - p->columns] += UV[c];
    }
}

/* Contiguous: the sums of the one column, whose numbers are dealt out to LANES sums. */
INLINE void sum_lanes(type T, const job *j, way w, const panel *p, const float *pivot, double *U,
                      double *UV)
{
    pivot = spread(0, NULL, pivot, p);
    *U = *UV = 0;

    const long end = p->start + p->rows * p->width + p->tail;
    for (long top = p->start; top < end; top += STRETCH * LANES) {
        float u[LANES] = {0}, uv[LANES] = {0};
        long i = top, bottom = smaller(top + STRETCH * LANES, end);
        for (; i + 4 * LANES <= bottom; i += 4 * LANES)
            add_rows(T, j, w, 0, i, 4, LANES, LANES, pivot, u, uv);
        for (; i + LANES <= bottom; i += LANES)
            add_rows(T, j, w, 0, i, 1, LANES, 0, pivot, u, uv);
        add_rows(T, j, w, 0, i, 1, bottom - i, 0, pivot, u, uv);
#pragma GCC unroll 8
        for (int half = LANES / 2; half > 0; half /= 2)
#pragma omp simd
            for (int lane = 0; lane < half; lane++) {
                u[lane] += u[lane + half];
                uv[lane] += uv[lane + half];
            }
        *U += u[0];
        *UV += uv[0];
    }
}

INLINE void sum_panel(type T, const job *j, way w, int each, const panel *p)
{
    const float *pivot = of_channel(j->pivot, j, p);
    double U[WIDTH], UV[WIDTH];
    if (each)
        sum_columns(T, j, w, p, pivot, U, UV);
    else
        sum_lanes(T, j, w, p, pivot, U, UV);
    for (long c = 0; c < p->columns; c++)
        if (j->parts == 1) {
            j->u[p->vector + c] = U[c];
            j->uv[p->vector + c] = UV[c];
        } else {
            j->partial_u[p->partial + c] = U[c];
            j->partial_uv[p->partial + c] = UV[c];
        }
}

/* -------------------------------------------------------------- affine and grad_affine: the maps */

INLINE void affine_row(type T, const job *j, int add, int each, long start, long width, const float *p,
                       const float *A, const float *D)
{
    const float floor = j->relu ? 0 : -INFINITY;
    fetch(T, j->x, start, width);
    if (add) fetch(T, j->shortcut, start, width);
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
    const float *pivot = spread(each, wide[0], of_channel(j->pivot, j, p), p);
    const float *A = spread(each, wide[1], of_image(j->A, p), p);
    const float *D = spread(each, wide[2], of_image(j->D, p), p);
    for (long r = 0; r <= p->rows; r++)
        affine_row(T, j, add, each, p->start + r * p->stride, r < p->rows ? p->width : p->tail, pivot,
                   A, D);
}

INLINE void grad_affine_row(type T, const job *j, int relu, int use_x, int both, int each, long start,
                            long width, const float *p, const float *A, const float *E, const float *K)
{
    fetch(T, j->dy, start, width);
    if (relu) fetch(T, j->y, start, width);
    if (use_x) fetch(T, j->x, start, width);
#pragma omp simd
    for (long n = 0; n < width; n++) {
        long i = start + n, c = each * n;
        float g = gradient(T, j, relu, i);
        float dx = A[c] * g + E[c];
        if (use_x) dx -= K[c] * (load(T, j->x, i) - p[c]);
        store(T, j->out, i, dx);
        if (both) store(T, j->dshortcut, i, g);
    }
}

INLINE void grad_affine_panel(type T, const job *j, int relu, int use_x, int both, int each,
                              const panel *p)
{
    float wide[4][WIDTH];
    const float *pivot = spread(each, wide[0], of_channel(j->pivot, j, p), p);
    const float *A = spread(each, wide[1], of_image(j->A, p), p);
    const float *E = spread(each, wide[2], of_image(j->E, p), p);
    const float *K = spread(each, wide[3], of_channel(j->K, j, p), p);
    for (long r = 0; r <= p->rows; r++)
        grad_affine_row(T, j, relu, use_x, both, each, p->start + r * p->stride,
                        r < p->rows ? p->width : p->tail, pivot, A, E, K);
}

/* ---------------------------------------------- the passes, compiled for every instruction set
 *
 * All of the above is inlined here, its type and its flags constant, so that each combination becomes
 * a loop without branches. */

#define WITH_TYPE(j, call)                                                                            \
    switch ((j)->map.T) {                                                                             \
    case FLOAT32: { const type T = FLOAT32; call; break; }                                            \
    case BFLOAT16: { const type T = BFLOAT16; call; break; }                                          \
    case FLOAT16: { const type T = FLOAT16; call; break; }                                            \
    }
#define WITH(flag, value, call)                                                                       \
    if (value) { const int flag = 1; call; } else { const int flag = 0; call; }

typedef void item_function(const job *, long image, long part, long block);

typedef struct {
    const char *name;
    item_function *moments, *affine, *grad_moments, *grad_affine;
} instruction_set;

#define COMPILE_FOR(isa, target)                                                                      \
    target static void moments_##isa(const job *j, long image, long part, long block)                 \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(each, j->map.columns > 1, sum_panel(T, j, FORWARD, each, &p)))              \
    }                                                                                                 \
    target static void affine_##isa(const job *j, long image, long part, long block)                  \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(add, j->shortcut, WITH(each, j->map.columns > 1,                            \
            affine_panel(T, j, add, each, &p))))                                                      \
    }                                                                                                 \
    target static void grad_moments_##isa(const job *j, long image, long part, long block)            \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(relu, j->y, WITH(each, j->map.columns > 1,                                  \
            sum_panel(T, j, relu ? BACKWARD_THROUGH_RELU : BACKWARD, each, &p))))                     \
    }                                                                                                 \
    target static void grad_affine_##isa(const job *j, long image, long part, long block)             \
    {                                                                                                 \
        panel p = cut(j, image, part, block);                                                         \
        WITH_TYPE(j, WITH(relu, j->y, WITH(use_x, j->K, WITH(both, relu && j->dshortcut,              \
            WITH(each, j->map.columns > 1,                                                            \
                grad_affine_panel(T, j, relu, use_x, both, each, &p))))))                             \
    }                                                                                                 \
    static const instruction_set isa = {#isa, moments_##isa, affine_##isa, grad_moments_##isa,        \
                                        grad_affine_##isa};

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

static job plan(layout map, long fewest_rows)
{
    const long columns = larger(1, map.columns), rows = larger(1, map.rows);
    long block_columns = rounded_up(columns, rounded_up(columns, WIDTH));
    long blocks = rounded_up(columns, block_columns);
    long parts = smaller(ITEMS / (map.images * blocks + 1), rows * columns / blocks / SMALLEST);
    long part_rows = rounded_up(rows, larger(1, smaller(parts, rows / fewest_rows)));
    return (job){
        .map = map,
        .blocks = blocks,
        .block_columns = block_columns,
        .parts = rounded_up(rows, part_rows),
        .part_rows = part_rows,
        .joined = columns == 1 ? smaller(part_rows, WIDTH) : larger(1, JOINED / columns),
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

static int run_sums(item_function *item, job j, int threads)
{
    if (j.parts == 1) {
        run(item, &j, threads);
        return 0;
    }
    const long columns = j.map.columns, sums = j.map.images * j.parts * columns;
    double *partial = malloc(2 * sums * sizeof *partial);
    if (!partial) return 1;
    j.partial_u = partial;
    j.partial_uv = partial + sums;
    run(item, &j, threads);
    for (long image = 0; image < j.map.images; image++)
        for (long c = 0; c < columns; c++) {
            double u = 0, uv = 0;
            for (long part = 0; part < j.parts; part++) {
                u += j.partial_u[(image * j.parts + part) * columns + c];
                uv += j.partial_uv[(image * j.parts + part) * columns + c];
            }
            j.u[image * columns + c] = u;
            j.uv[image * columns + c] = uv;
        }
    free(partial);
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

#define LAYOUT long images, long rows, long columns, long channels, int T
#define THE_LAYOUT (layout){images, rows, columns, channels, T}

/* A checksum of this file: a library that was built from another one is not to be called. */
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

/* The sums return 1 where there is no memory for those of the parts. */
int senet_moments(const void *x, const float *pivot, float *sums, float *squares, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, 4 * STRETCH);
    j.x = x, j.pivot = pivot, j.u = sums, j.uv = squares;
    return run_sums(in_use->moments, j, threads);
}

void senet_affine(const void *x, const float *pivot, const float *A, const float *D,
                  const void *shortcut, int relu, void *y, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, 1);
    j.x = x, j.pivot = pivot, j.A = A, j.D = D, j.shortcut = shortcut, j.relu = relu, j.out = y;
    expect_large_pages(y, &j.map);
    run(in_use->affine, &j, threads);
}

int senet_grad_moments(const void *dy, const void *y, const void *x, const float *pivot, float *S1,
                       float *S2, LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, 4 * STRETCH);
    j.dy = dy, j.y = y, j.x = x, j.pivot = pivot, j.u = S1, j.uv = S2;
    return run_sums(in_use->grad_moments, j, threads);
}

void senet_grad_affine(const void *dy, const void *y, const void *x, const float *pivot,
                       const float *A, const float *E, const float *K, void *dx, void *dshortcut,
                       LAYOUT, int threads)
{
    job j = plan(THE_LAYOUT, 1);
    j.dy = dy, j.y = y, j.x = x, j.pivot = pivot, j.A = A, j.E = E, j.K = K;
    j.out = dx, j.dshortcut = dshortcut;
    expect_large_pages(dx, &j.map);
    if (dshortcut) expect_large_pages(dshortcut, &j.map);
    run(in_use->grad_affine, &j, threads);
}
