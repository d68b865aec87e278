/* What the kernels of passes.c and pointwise.c share: instruction sets, the numbers of a map, and the
 * activations. */

#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* Compiles a function for these instructions; find_instruction_sets() in passes.c asks for the same. */
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define AVX512_BFLOAT16                                                                               \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")))
#define AVX2 __attribute__((target("avx2,fma")))

INLINE long min(long a, long b) { return a < b ? a : b; }
INLINE long max(long a, long b) { return a > b ? a : b; }
INLINE long ceil_div(long a, long b) { return (a + b - 1) / b; }

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

/* The types of a map's numbers. */
typedef enum { FLOAT32, BFLOAT16, FLOAT16 } type;

static const long size_of[] = {4, 2, 2};

/* bfloat16 is the upper half of a float. */
INLINE float from_bfloat16(uint16_t h) { return as_float((uint32_t)h << 16); }

INLINE uint16_t to_bfloat16(float value)
{
    uint32_t bits = as_bits(value);
    uint32_t to_nearest_even = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 /* NaN */ : to_nearest_even;
}

/* float16 has 5 exponent bits with bias 15, float has 8 with bias 127 and 13 more fraction bits. */
INLINE float from_float16(uint16_t h)
{
    uint32_t magnitude = h & 0x7fff, sign = (uint32_t)(h & 0x8000) << 16;
    float value = as_float(magnitude << 13) * 0x1p112f; /* also correct for subnormals */
    uint32_t infinity_or_nan = magnitude >= 0x7c00 ? 0x7f800000 : 0;
    return as_float(as_bits(value) | infinity_or_nan | sign);
}

INLINE uint16_t to_float16(float value)
{
    uint32_t bits = as_bits(value), magnitude = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    uint32_t normal = (magnitude + 0xfff + (magnitude >> 13 & 1) - (112u << 23)) >> 13;
    /* The last bit of 0.5f, like that of a subnormal, is 2^-24: adding 0.5f rounds to it. */
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

/* The passes have the first four; layers and pointwise convolutions have all. */
typedef enum { RELU, RELU6, SILU, HARDSWISH, SIGMOID, HARDSIGMOID, IDENTITY } activation;

/* u clamped to [low, high], where low <= -0 and high >= 0; for NaN, one of the bounds. Floats order as
 * their bits do, negative ones in reverse, and the minimum of integers is one instruction. */
INLINE float clamp(float low, float u, float high)
{
    uint32_t bits = as_bits(u);
    bits = bits < as_bits(low) ? bits : as_bits(low);
    return as_float((int32_t)bits < (int32_t)as_bits(high) ? bits : as_bits(high));
}

/* 1 / (1 + e^-u), with e^-u = 2^n e^r for an integer n and |r| <= ln(2) / 2. There e^r is within 5e-9
 * of this minimax polynomial (in relative error). The result is 0 below -89, 1 above 17, and one of
 * these for NaN. */
INLINE float sigmoid(float u)
{
    const float magic = 0x1.8p23f - 64; /* floats of this size are integers */
    float v = -clamp(-100, u, 40);
    float shifted = v * 0x1.715476p0f /* 1 / ln(2) */ + magic, n = shifted - magic;
    float r = v - n * 0x1.62ep-1f - n * 0x1.0bfbe8p-15f; /* ln(2) in two parts; the first is exact */
    float p = 0x1.6a2352p-10f;
    p = p * r + 0x1.123a6cp-7f;
    p = p * r + 0x1.5558f4p-5f;
    p = p * r + 0x1.55549p-3f;
    p = p * r + 0x1.fffffcp-2f;
    p = p * r + 1;
    p = p * r + 1;
    p = as_float(as_bits(p) + (as_bits(shifted) << 23)); /* p 2^(n - 64) cannot overflow; */
    return 1 / (1 + p * 0x1p64f);                        /* p 2^n may */
}

/* f(u), f'(u) and whether f is flat at u. As in PyTorch at the corners and for NaN. */
typedef struct {
    float value, slope;
    int flat;
} activated;

INLINE activated activate(activation f, float u)
{
    if (f == IDENTITY) return (activated){u, 1, 0};
    if (f == RELU) return (activated){u < 0 ? 0 : u, 1, u <= 0};
    if (f == RELU6) return (activated){u < 0 ? 0 : u > 6 ? 6 : u, 1, !(u > 0 && u < 6)};
    if (f == HARDSWISH)
        return (activated){u * (clamp(-0.0f, u + 3, 6) * (1 / 6.0f)),
                           u >= 3 ? 1 : (u + 1.5f) * (1 / 3.0f), u <= -3};
    float s = sigmoid(u), v = u * s;
    return (activated){v, s + v * (1 - s), 0};
}

/* f(u), for the functions of gates too. NaN stays NaN. */
INLINE float apply(activation f, float u)
{
    if (f != SIGMOID && f != HARDSIGMOID) return activate(f, u).value;
    float s = f == SIGMOID ? sigmoid(u) : clamp(-0.0f, u + 3, 6) * (1 / 6.0f);
    return u != u ? u : s;
}

/* A call in which the function `f` is a constant. */
#define WITH_FUNCTION(value, call)                                                                    \
    switch (value) {                                                                                  \
    case RELU: { const activation f = RELU; call; break; }                                            \
    case RELU6: { const activation f = RELU6; call; break; }                                          \
    case SILU: { const activation f = SILU; call; break; }                                            \
    case HARDSWISH: { const activation f = HARDSWISH; call; break; }                                  \
    case SIGMOID: { const activation f = SIGMOID; call; break; }                                      \
    case HARDSIGMOID: { const activation f = HARDSIGMOID; call; break; }                              \
    default: { const activation f = IDENTITY; call; }                                                 \
    }

/* A call in which a flag is a constant. */
#define WITH(flag, value, call)                                                                       \
    if (value) { const int flag = 1; call; } else { const int flag = 0; call; }
