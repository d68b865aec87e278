/* The functions of passes.c that tails.c and the loader call. The contract is senet/ops/passes.py. */

#include <stdint.h>

/* The size of the vectors in use: 512, 256, or 128 for the baseline of the processor. */
int senet_vector_bits(void);

/* The layout of all maps of a call (`layout` in passes.c), as parameters and as arguments. */
#define LAYOUT long images, long rows, long columns, long channels, int T
#define AS_LAYOUT (layout){images, rows, columns, channels, T}
#define LAYOUT_ARGS images, rows, columns, channels, T

/* A number near the mean of each channel: the mean of some positions of a few of the B images. Sums of
 * squares about it do not cancel. The positions are spread over the image, since values at its border
 * differ from the others because of the padding of convolutions. */
void senet_pivot(const void *x, float *pivot, LAYOUT);

/* The functions that sum return 1 if there is no memory for the partial sums, else 0. */
int senet_moments(const void *x, const float *pivot, float *sums, float *squares, LAYOUT, int threads);

/* Writes the mask of the ReLU to `bits`, unless it is NULL. */
void senet_affine(const void *x, const float *pivot, const float *A, const float *D,
                  const void *shortcut, int relu, void *y, uint8_t *bits, LAYOUT, int threads);

/* After a ReLU, given by its output y or by its mask in bits, writes `g`; without one, g is dy. */
int senet_grad_scale(const void *dy, const void *y, uint8_t *bits, const void *x, const float *pivot,
                     void *g, float *S1, float *S2, LAYOUT, int threads);

void senet_grad_affine(const void *g, const void *x, const float *pivot, const float *A,
                       const float *E, const float *K, void *dx, LAYOUT, int threads);

int senet_pooled(const void *x, const float *pivot, const float *a, const float *b, int f, float *sums,
                 LAYOUT, int threads);

void senet_activate(const void *x, const float *pivot, const float *a, const float *b, const float *S,
                    int f, void *y, LAYOUT, int threads);

/* `sums` are two arrays, or five with SE. */
int senet_grad_pooled(const void *dy, const void *x, const float *pivot, const float *a, const float *b,
                      int f, float *const *sums, int number, LAYOUT, int threads);

void senet_grad_activate(const void *dy, const void *x, const float *pivot, const float *a,
                         const float *b, int f, const float *A, const float *E, const float *K,
                         const float *L, void *dx, LAYOUT, int threads);

/* A layer f(W v + bias). W is [outputs, inputs]. */
typedef struct {
    const float *weight, *bias;
    long inputs, outputs;
    int f; /* `activation` of inline.h */
} layer;

/* Computes `out`, [B, outputs], from v, [B, inputs]. */
void senet_layer(const layer *l, long B, const float *v, float *out, int threads);

/* z, [B, C]: the mean of x - pivot over the positions of channels-last maps, or of x without a pivot;
 * faster than senet_moments, for types with a kernel. Returns 1 if there is no memory, else 0:
 * pointwise.c. */
int senet_mean(const void *x, const float *pivot, float *z, long B, long N, long C, int T, int threads);
