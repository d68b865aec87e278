/* What tails.c, and the loader, call of passes.c. The contract is senet/ops/passes.py. */

#include <stdint.h>

/* How maps lie, as C walks them: `layout` in passes.c. */
#define LAYOUT long images, long rows, long columns, long channels, int T
#define THE_LAYOUT (layout){images, rows, columns, channels, T}
#define SAME_LAYOUT images, rows, columns, channels, T

/* A number near the mean of each channel: the mean of some positions of a few of the B images. About it
 * sums of squares do not cancel. The positions are spread over the image: at its border the padding of
 * a convolution makes values unlike the others. */
void senet_pivot(const void *x, float *pivot, LAYOUT);

/* The sums return 1 where there is no memory for those of the parts. */
int senet_moments(const void *x, const float *pivot, float *sums, float *squares, LAYOUT, int threads);

/* With `bits` keeps the mask of the ReLU there. */
void senet_affine(const void *x, const float *pivot, const float *A, const float *D,
                  const void *shortcut, int relu, void *y, uint8_t *bits, LAYOUT, int threads);

/* Behind a ReLU, of which there is either the output or the mask in bits, writes `g`; else g is dy. */
int senet_grad_scale(const void *dy, const void *y, uint8_t *bits, const void *x, const float *pivot,
                     void *g, float *S1, float *S2, LAYOUT, int threads);

void senet_grad_affine(const void *g, const void *x, const float *pivot, const float *A,
                       const float *E, const float *K, void *dx, LAYOUT, int threads);

int senet_pooled(const void *x, const float *pivot, const float *a, const float *b, int f, float *sums,
                 LAYOUT, int threads);

void senet_activate(const void *x, const float *pivot, const float *a, const float *b, const float *S,
                    int f, void *y, LAYOUT, int threads);

/* `sums` are two arrays, or five where there is SE. */
int senet_grad_pooled(const void *dy, const void *x, const float *pivot, const float *a, const float *b,
                      int f, float *const *sums, int number, LAYOUT, int threads);

void senet_grad_activate(const void *dy, const void *x, const float *pivot, const float *a,
                         const float *b, int f, const float *A, const float *E, const float *K,
                         const float *L, void *dx, LAYOUT, int threads);

/* A layer of a gate: f(W v + bias), or gate(W v + bias) where there is a gate. W is [outputs, inputs]. */
typedef struct {
    const float *weight, *bias;
    long inputs, outputs;
    int f, gate; /* `activation` and `gate` in passes.c */
} layer;

/* From v, [B, inputs], to `out`, [B, outputs]. */
void senet_layer(const layer *l, long B, const float *v, float *out, int threads);
