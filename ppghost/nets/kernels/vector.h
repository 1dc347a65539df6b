/* Vectors of floats, as wide as this compilation's instruction set allows. */
#ifndef PPGHOST_VECTOR_H
#define PPGHOST_VECTOR_H

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define LANES (VECTOR_BYTES / (int)sizeof(float))
#define INLINE static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef float LooseVector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

INLINE Vector load(const float *p) { return *(const LooseVector *)p; }
INLINE void store(float *p, Vector v) { *(LooseVector *)p = v; }

INLINE void copy_row(float *to, const float *from, int count)
{
    for (int j = 0; j < count; j++)
        to[j] = from[j];
}

#endif
