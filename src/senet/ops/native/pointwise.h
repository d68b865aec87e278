/* The kernel of pointwise.c, included there for each instruction set with
 *
 *     ISA, TARGET      its name, and the attribute of functions that use it
 *     LANES            the numbers of a vector
 *     VECTORS, ROWS    the tile whose sums stay in registers: VECTORS vectors of ROWS rows
 */

#define NAMED(function, isa) function##_##isa
#define NAMED_FOR(function, isa) NAMED(function, isa)
#define FOR_ISA(function) NAMED_FOR(function, ISA)
#define vector FOR_ISA(vector)

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* sums[r][c] = sum_k h[r][k] w[k][c] for a tile. `rows` is a constant where this is inlined. */
INLINE void FOR_ISA(multiply)(const float *h, long K, int rows, const float *w, float (*sums)[COLUMNS])
{
    vector tile[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) tile[r][v] = (vector){0};
    for (long k = 0; k < K; k++) {
        vector weight[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) weight[v] = *(const vector *)(w + k * COLUMNS + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const float number = h[r * K + k];
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; v++) tile[r][v] += number * weight[v];
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
    const float *w = j->layer->weight + c * K;
    for (long n = first, rows; n < last; n += rows) {
        float sums[ROWS][COLUMNS];
        rows = ceil_div(last - n, ceil_div(last - n, ROWS));
        fetch(j, n, rows, c);
        for (int v = 0; v < COLUMNS; v += VECTORS * LANES)
            switch (rows) {
            case 1: FOR_ISA(multiply)(j->h + n * K, K, 1, w + v, (void *)(sums[0] + v)); break;
            case 2: FOR_ISA(multiply)(j->h + n * K, K, 2, w + v, (void *)(sums[0] + v)); break;
            case 3: FOR_ISA(multiply)(j->h + n * K, K, 3, w + v, (void *)(sums[0] + v)); break;
            case 4: FOR_ISA(multiply)(j->h + n * K, K, 4, w + v, (void *)(sums[0] + v)); break;
#if ROWS > 4
            case 5: FOR_ISA(multiply)(j->h + n * K, K, 5, w + v, (void *)(sums[0] + v)); break;
            case 6: FOR_ISA(multiply)(j->h + n * K, K, 6, w + v, (void *)(sums[0] + v)); break;
#endif
            }
        finish(j, n, rows, c, sums);
    }
}

/* The sums of h - pivot over some positions; without a pivot, of h. */
TARGET static void FOR_ISA(sum)(const float *h, const float *pivot, long positions, long K, float *sums)
{
    for (long k = 0; k < K; k++) sums[k] = 0;
    for (long n = 0; n < positions; n++)
        if (pivot)
            for (long k = 0; k < K; k++) sums[k] += h[n * K + k] - pivot[k];
        else
            for (long k = 0; k < K; k++) sums[k] += h[n * K + k];
}

/* The channels of h at some positions, each times the gate of its image, in `out`. */
TARGET static void FOR_ISA(scale)(const job *j, long first, long last, float *out)
{
    const long K = j->layer->inputs;
    for (long n = first; n < last; n++, out += K) {
        const float *h = j->h + n * K, *s = j->of_inputs + n / j->N * K;
        for (long k = 0; k < K; k++) out[k] = s[k] * h[k];
    }
}

static const kernel ISA = {FOR_ISA(convolve), FOR_ISA(sum), FOR_ISA(scale)};

#undef NAMED
#undef NAMED_FOR
#undef FOR_ISA
#undef vector
#undef ISA
#undef TARGET
#undef LANES
#undef VECTORS
#undef ROWS
