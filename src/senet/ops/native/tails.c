/* The halves of a tail, each in one call: the passes of passes.c, and the algebra between them on [C]
 * and [B, C] arrays. The formulas and names are those of senet/ops/tail.py, activated.py and norm.py,
 * which state the same in Python and are tested against this.
 *
 * With b an image, c a channel and n one of the N positions of a map, M = B N:
 *
 *     senet_norm            mu, sigma, a, beta of a batch norm, and m = mean_n (x - mu)
 *     senet_norm_scale      y = relu(s a (x - mu) + s beta + shortcut)
 *     senet_grad_norm_scale     g, ds = a S2 + beta S1, and the links A = s a, s S1 and s S2
 *     senet_grad_norm_squeeze   dx, dgamma = T2 / sigma, dbeta = T1
 *
 * and with an activation between norm and squeeze, senet_grad_act_scale, whose links are s, s S1, s S2,
 * C1 and C2, and senet_grad_act_squeeze. In inference, senet_gated_tail is a whole tail with SE. All
 * return 1 if there is no memory, else 0.
 */

#include <math.h>
#include <stdlib.h>

#include "inline.h"
#include "passes.h"

/* The batch size B and the positions N of maps of a layout. */
#define BATCH (channels ? images * columns / channels : 0)
#define POSITIONS rows

/* A batch norm as an affine map, u = a (x - mu) + beta; each is [C]. */
typedef struct {
    float *mu, *var, *sigma, *a, *beta;
} affine_map;

/* The formula of PyTorch's batch norm for running statistics: infinite ones stay infinite. */
static float tracked(float running, double batch, double momentum)
{
    return (1 - momentum) * running + momentum * batch;
}

/* The statistics of the batch, in one reading pass: mu, var and m. */
static int batch_statistics(const void *x, affine_map of, float *m, LAYOUT, int threads)
{
    const long B = BATCH, N = POSITIONS, C = channels;
    const double M = (double)B * N;
    float *squares = malloc((B + 1) * C * sizeof *squares), *pivot = squares + B * C;
    if (!squares) return 1;
    senet_pivot(x, pivot, LAYOUT_ARGS);
    if (senet_moments(x, pivot, m, squares, LAYOUT_ARGS, threads)) return free(squares), 1;
    for (long c = 0; c < C; c++) {
        double total = 0, square = 0;
        for (long b = 0; b < B; b++) total += m[b * C + c], square += squares[b * C + c];
        const double shift = total / M, var = square / M - shift * shift;
        of.mu[c] = pivot[c] + shift;
        of.var[c] = var < 0 ? 0 : var; /* NaN stays NaN */
        pivot[c] = of.mu[c] - pivot[c];
    }
    for (long b = 0; b < B; b++)
        for (long c = 0; c < C; c++) m[b * C + c] = m[b * C + c] / N - pivot[c];
    free(squares);
    return 0;
}

/* With `learns` the norm uses the statistics of the batch, and updates the running statistics if there
 * are any; without, it uses the running statistics. Writes the five `vectors` of an affine_map; m,
 * [B, C], which may be NULL without `learns` and z; and z, [B, C], unless it is NULL. */
int senet_norm(const void *x, const float *gamma, const float *beta, float *running_mean,
               float *running_var, double momentum, double eps, int learns, float *vectors, float *m,
               float *z, LAYOUT, int threads)
{
    const long B = BATCH, N = POSITIONS, C = channels;
    const affine_map of = {vectors, vectors + C, vectors + 2 * C, vectors + 3 * C, vectors + 4 * C};
    if (learns) {
        if (batch_statistics(x, of, m, LAYOUT_ARGS, threads)) return 1;
        const double M = (double)B * N;
        for (long c = 0; running_mean && c < C; c++) {
            running_mean[c] = tracked(running_mean[c], of.mu[c], momentum);
            running_var[c] = tracked(running_var[c], of.var[c] * (M / (M - 1)), momentum);
        }
    } else {
        for (long c = 0; c < C; c++) of.mu[c] = running_mean[c], of.var[c] = running_var[c];
    }
    for (long c = 0; c < C; c++) {
        of.sigma[c] = sqrtf(of.var[c] + (float)eps);
        of.a[c] = (gamma ? gamma[c] : 1) / of.sigma[c];
        of.beta[c] = beta ? beta[c] : 0;
    }
    if (!z) return 0;
    if (!learns) { /* until z is computed, it holds the unused sums of squares */
        if (senet_moments(x, of.mu, m, z, LAYOUT_ARGS, threads)) return 1;
        for (long i = 0; i < B * C; i++) m[i] /= N;
    }
    for (long b = 0; b < B; b++)
        for (long c = 0; c < C; c++) z[b * C + c] = of.a[c] * m[b * C + c] + of.beta[c];
    return 0;
}

int senet_norm_scale(const void *x, const float *mu, const float *a, const float *beta, const float *s,
                     const void *shortcut, int relu, void *y, uint8_t *bits, LAYOUT, int threads)
{
    const long B = BATCH, C = channels;
    float *A = malloc(2 * B * C * sizeof *A), *D = A + B * C;
    if (!A) return 1;
    for (long b = 0; b < B; b++)
        for (long c = 0; c < C; c++) {
            const float gate = s ? s[b * C + c] : 1;
            A[b * C + c] = gate * a[c], D[b * C + c] = gate * beta[c];
        }
    senet_affine(x, mu, A, D, shortcut, relu, y, bits, LAYOUT_ARGS, threads);
    free(A);
    return 0;
}

/* `links` are A, s S1 and s S2, each [B, C]. */
int senet_grad_norm_scale(const void *dy, const void *y, uint8_t *bits, const void *x, const float *mu,
                          const float *a, const float *beta, const float *s, void *g, float *ds,
                          float *links, LAYOUT, int threads)
{
    const long C = channels, BC = BATCH * C;
    float *A = links, *S1 = links + BC, *S2 = links + 2 * BC;
    if (senet_grad_scale(dy, y, bits, x, mu, g, S1, S2, LAYOUT_ARGS, threads)) return 1;
    for (long i = 0; i < BC; i += C)
        for (long c = 0; c < C; c++) {
            A[i + c] = s ? s[i + c] * a[c] : a[c];
            if (!s) continue;
            ds[i + c] = a[c] * S2[i + c] + beta[c] * S1[i + c];
            S1[i + c] *= s[i + c], S2[i + c] *= s[i + c];
        }
    return 0;
}

/* T1 and T2 of each channel. With dz, the sums include the gradients through the squeeze: dz C1 and
 * dz C2, where C1 and C2 are [B, C], and C1 is 1 if it is NULL. */
static void sum_over_batch(const float *sS1, const float *sS2, const float *dz, const float *C1,
                           const float *C2, float *T1, float *T2, long B, long C)
{
    for (long c = 0; c < C; c++) {
        double t1 = 0, t2 = 0;
        for (long i = c; i < B * C; i += C) {
            t1 += sS1[i], t2 += sS2[i];
            if (dz) t1 += dz[i] * (C1 ? C1[i] : 1), t2 += dz[i] * C2[i];
        }
        T1[c] = t1, T2[c] = t2;
    }
}

/* With `learns`, mu and sigma depend on the batch. dgamma and dbeta are always written, dx unless it is
 * NULL. */
int senet_grad_norm_squeeze(const void *g, const void *x, const float *mu, const float *sigma,
                            const float *a, const float *m, const float *links, const float *dz,
                            int learns, void *dx, float *dgamma, float *dbeta, LAYOUT, int threads)
{
    const long B = BATCH, N = POSITIONS, C = channels, BC = B * C;
    const float M = (float)B * N, *A = links, *sS1 = links + BC, *sS2 = links + 2 * BC;
    float *T1 = dbeta, *T2 = dgamma;
    sum_over_batch(sS1, sS2, dz, NULL, m, T1, T2, B, C);
    if (dx) {
        float *E = malloc((BC + C) * sizeof *E), *K = E + BC;
        if (!E) return 1;
        for (long i = 0; i < BC; i += C)
            for (long c = 0; c < C; c++)
                E[i + c] = a[c] * ((dz ? dz[i + c] / N : 0) - (learns ? T1[c] / M : 0));
        for (long c = 0; c < C; c++) K[c] = a[c] * T2[c] / (sigma[c] * sigma[c] * M);
        senet_grad_affine(g, learns ? x : NULL, mu, A, learns || dz ? E : NULL, learns ? K : NULL, dx,
                          LAYOUT_ARGS, threads);
        free(E);
    }
    for (long c = 0; c < C; c++) dgamma[c] = T2[c] / sigma[c];
    return 0;
}

/* `links` are s, s S1, s S2 and, with SE, C1 and C2, each [B, C]. */
int senet_grad_act_scale(const void *dy, const void *x, const float *mu, const float *a,
                         const float *beta, const float *s, int f, float *ds, float *links, LAYOUT,
                         int threads)
{
    const long BC = BATCH * channels;
    float *gate = links, *S1 = links + BC, *S2 = links + 2 * BC;
    float *sums[5] = {S1, S2, ds, links + 3 * BC, links + 4 * BC};
    if (senet_grad_pooled(dy, x, mu, a, beta, f, sums, s ? 5 : 2, LAYOUT_ARGS, threads)) return 1;
    for (long i = 0; i < BC; i++) {
        gate[i] = s ? s[i] : 1;
        S1[i] *= gate[i], S2[i] *= gate[i];
    }
    return 0;
}

int senet_grad_act_squeeze(const void *dy, const void *x, const float *mu, const float *sigma,
                           const float *a, const float *beta, const float *links, const float *dz, int f,
                           int learns, void *dx, float *dgamma, float *dbeta, LAYOUT, int threads)
{
    const long B = BATCH, N = POSITIONS, C = channels, BC = B * C;
    const float M = (float)B * N, *s = links, *sS1 = links + BC, *sS2 = links + 2 * BC;
    float *scratch = malloc((3 * BC + 2 * C) * sizeof *scratch);
    if (!scratch) return 1;
    float *A = scratch, *E = A + BC, *e = E + BC, *L = e + BC, *K = L + C;
    float *T1 = dbeta, *T2 = dgamma;
    for (long i = 0; dz && i < BC; i++) e[i] = dz[i] / N;
    sum_over_batch(sS1, sS2, dz ? e : NULL, links + 3 * BC, links + 4 * BC, T1, T2, B, C);
    if (dx) {
        for (long i = 0; i < BC; i += C)
            for (long c = 0; c < C; c++) {
                A[i + c] = a[c] * s[i + c];
                E[i + c] = dz ? a[c] * e[i + c] : 0;
            }
        for (long c = 0; c < C; c++) {
            L[c] = a[c] * T1[c] / M;
            K[c] = a[c] * T2[c] / (sigma[c] * sigma[c] * M);
        }
        senet_grad_activate(dy, x, mu, a, beta, f, A, dz ? E : NULL, learns ? K : NULL,
                            learns ? L : NULL, dx, LAYOUT_ARGS, threads);
    }
    for (long c = 0; c < C; c++) dgamma[c] = T2[c] / sigma[c];
    free(scratch);
    return 0;
}

/* s = gate(W2 f(W1 z + b1) + b2), or without W1 gate(W2 z + b2); `hidden` is scratch, [B, R]. */
static void excite(const float *z, const float *w1, const float *b1, const float *w2, const float *b2,
                   long R, int f, int gate, float *hidden, float *s, long B, long C, long outputs,
                   int threads)
{
    const layer first = {.weight = w1, .bias = b1, .inputs = C, .outputs = R, .f = f};
    const layer second = {
        .weight = w2, .bias = b2, .inputs = w1 ? R : C, .outputs = outputs, .f = gate};
    if (w1) senet_layer(&first, B, z, hidden, threads);
    senet_layer(&second, B, w1 ? hidden : z, s, threads);
}

/* z, [B, C]: the mean of x - mu over space, or of x without mu; `unused` is scratch, [B, C]. */
static int centred_mean(const void *x, const float *mu, float *z, float *unused, LAYOUT, int threads)
{
    const long N = POSITIONS, BC = BATCH * channels;
    if (T == FLOAT32 && columns == channels) return senet_mean(x, mu, z, BATCH, N, channels, T, threads);
    if (senet_moments(x, mu, z, unused, LAYOUT_ARGS, threads)) return 1;
    for (long i = 0; i < BC; i++) z[i] /= N;
    return 0;
}

/* A whole tail in inference: y = relu(s v + shortcut), with v = u, or v = f(u) for an activation `inner`
 * >= 0. u is x, or a batch norm of x by running statistics. s are the gates that one or two layers
 * compute from z, the mean of v over space. `mean` is the mean of x, [B, C], or NULL if unknown. */
int senet_gated_tail(const void *x, const float *mean, const float *mu, const float *var,
                     const float *gamma, const float *beta, double eps, int inner, const float *w1,
                     const float *b1, const float *w2, const float *b2, long R, int f, int gate,
                     const void *shortcut, int relu, void *y, LAYOUT, int threads)
{
    const long B = BATCH, N = POSITIONS, C = channels, BC = B * C;
    float *scratch = malloc((2 * C + 4 * BC + B * R) * sizeof *scratch);
    if (!scratch) return 1;
    float *a = scratch, *b = a + C, *z = b + C, *s = z + BC, *A = s + BC, *D = A + BC;
    for (long c = 0; c < C; c++) {
        a[c] = var ? (gamma ? gamma[c] : 1) / sqrtf(var[c] + (float)eps) : 1;
        b[c] = var && beta ? beta[c] : 0;
    }
    int failed = 0;
    if (inner >= 0)
        failed = senet_pooled(x, mu, a, b, inner, z, LAYOUT_ARGS, threads);
    else if (!mean)
        failed = centred_mean(x, mu, z, D, LAYOUT_ARGS, threads);
    if (failed) return free(scratch), 1;
    for (long i = 0; i < BC; i += C)
        for (long c = 0; c < C; c++)
            if (inner >= 0)
                z[i + c] /= N;
            else
                z[i + c] = a[c] * (mean ? mean[i + c] - (mu ? mu[c] : 0) : z[i + c]) + b[c];
    excite(z, w1, b1, w2, b2, R, f, gate, D + BC, s, B, C, C, threads);
    if (inner >= 0) {
        senet_activate(x, mu, a, b, s, inner, y, LAYOUT_ARGS, threads);
    } else {
        for (long i = 0; i < BC; i += C)
            for (long c = 0; c < C; c++) A[i + c] = s[i + c] * a[c], D[i + c] = s[i + c] * b[c];
        senet_affine(x, mu, A, D, shortcut, relu, y, NULL, LAYOUT_ARGS, threads);
    }
    free(scratch);
    return 0;
}

/* The gates s, [B, outputs], of a squeeze z, [B, C], by the layers of senet_gated_tail. */
int senet_excite(const float *z, const float *w1, const float *b1, const float *w2, const float *b2,
                 long R, int f, int gate, long outputs, float *s, LAYOUT, int threads)
{
    const long B = BATCH;
    float *hidden = malloc(B * R * sizeof *hidden);
    if (!hidden) return 1;
    (void)rows, (void)T;
    excite(z, w1, b1, w2, b2, R, f, gate, hidden, s, B, channels, outputs, threads);
    free(hidden);
    return 0;
}

/* W mean_n h + bias, [B, outputs]: the mean after a pointwise convolution, before it runs. */
int senet_mean_after(const void *h, const float *weight, const float *bias, long outputs, float *out,
                     LAYOUT, int threads)
{
    const long B = BATCH;
    float *z = malloc(2 * B * channels * sizeof *z);
    if (!z) return 1;
    const int failed = centred_mean(h, NULL, z, z + B * channels, LAYOUT_ARGS, threads);
    const layer l = {
        .weight = weight, .bias = bias, .inputs = channels, .outputs = outputs, .f = IDENTITY};
    if (!failed) senet_layer(&l, B, z, out, threads);
    free(z);
    return failed;
}
