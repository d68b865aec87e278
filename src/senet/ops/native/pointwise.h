/* The kernel of pointwise.c, included there for each instruction set and type of number with
 *
 *     ISA, TARGET      its name, and the attribute of functions that use it
 *     T                the type of the numbers of maps and weights
 *     LANES            the floats of a vector
 *     VECTORS, ROWS    the tile whose sums stay in registers: VECTORS vectors of ROWS rows
 *
 * With BFLOAT16 an instruction adds two products to each sum: W is packed for pairs of channels.
 */

#define NAMED(function, isa) function##_##isa
#define NAMED_FOR(function, isa) NAMED(function, isa)
#define FOR_ISA(function) NAMED_FOR(function, ISA)
#define vector FOR_ISA(vector)
#define number FOR_ISA(number)
#define STEP FOR_ISA(step)

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#ifdef PAIRS
typedef uint16_t number;
enum { STEP = 2 };
#define EVERYWHERE(h) ((vector)_mm512_set1_epi32(*(const pair *)(h)))
#define ADD_PRODUCT(sum, h, w) ((vector)_mm512_dpbf16_ps((__m512)(sum), (__m512bh)(h), (__m512bh)(w)))
#else
typedef float number;
enum { STEP = 1 };
#define EVERYWHERE(h) (*(h))
#define ADD_PRODUCT(sum, h, w) ((sum) + (h) * (w))
#endif

/* sums[r][c] = sum_k h[r][k] w[k][c] for a tile. `rows` is a constant where this is inlined. */
TARGET INLINE void FOR_ISA(multiply)(const number *h, long K, int rows, const number *w,
                                     float (*sums)[COLUMNS])
{
    vector tile[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) tile[r][v] = (vector){0};
    for (long k = 0; k < K; k += STEP) {
        vector weight[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
            weight[v] = *(const vector *)(w + k * COLUMNS + v * LANES * STEP);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const __auto_type channels = EVERYWHERE(h + r * K + k);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++)
                tile[r][v] = ADD_PRODUCT(tile[r][v], channels, weight[v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) *(vector *)(sums[r] + v * LANES) = tile[r][v];
}

/* The COLUMNS channels from c on, at the positions from `first` to before `last`. */
TARGET static void FOR_ISA(convolve)(const job *j, long first, long last, long c)
{
    const long K = j->layer->inputs;
    const number *all = j->h, *w = (const number *)j->layer->weight + c * K;
    for (long n = first, rows; n < last; n += rows) {
        const number *h = all + n * K;
        float sums[ROWS][COLUMNS];
        rows = ceil_div(last - n, ceil_div(last - n, ROWS));
        fetch(T, j, n, rows, c);
        for (int v = 0; v < COLUMNS; v += VECTORS * LANES)
            switch (rows) {
            case 1: FOR_ISA(multiply)(h, K, 1, w + v * STEP, (void *)(sums[0] + v)); break;
            case 2: FOR_ISA(multiply)(h, K, 2, w + v * STEP, (void *)(sums[0] + v)); break;
            case 3: FOR_ISA(multiply)(h, K, 3, w + v * STEP, (void *)(sums[0] + v)); break;
            case 4: FOR_ISA(multiply)(h, K, 4, w + v * STEP, (void *)(sums[0] + v)); break;
#if ROWS > 4
            case 5: FOR_ISA(multiply)(h, K, 5, w + v * STEP, (void *)(sums[0] + v)); break;
            case 6: FOR_ISA(multiply)(h, K, 6, w + v * STEP, (void *)(sums[0] + v)); break;
#endif
            }
        finish(T, j, n, rows, c, sums);
    }
}

/* The sums of h - pivot over some positions from `first` on; without a pivot, of h. */
TARGET static void FOR_ISA(sum)(const void *h, long first, const float *pivot, long positions, long K,
                                float *sums)
{
    for (long k = 0; k < K; k++) sums[k] = 0;
    for (long n = first; n < first + positions; n++)
        if (pivot)
            for (long k = 0; k < K; k++) sums[k] += load(T, h, n * K + k) - pivot[k];
        else
            for (long k = 0; k < K; k++) sums[k] += load(T, h, n * K + k);
}

/* The channels of h at some positions, each times the gate of its image, in `out`. */
TARGET static void FOR_ISA(scale)(const job *j, long first, long last, void *out)
{
    const long K = j->layer->inputs;
    for (long n = first; n < last; n++) {
        const float *s = j->of_inputs + n / j->N * K;
        for (long k = 0; k < K; k++) store(T, out, (n - first) * K + k, s[k] * load(T, j->h, n * K + k));
    }
}

static const kernel ISA = {FOR_ISA(convolve), FOR_ISA(sum), FOR_ISA(scale)};

#undef NAMED
#undef NAMED_FOR
#undef FOR_ISA
#undef vector
#undef number
#undef STEP
#undef EVERYWHERE
#undef ADD_PRODUCT
#undef ISA
#undef T
#undef TARGET
#undef LANES
#undef VECTORS
#undef ROWS
