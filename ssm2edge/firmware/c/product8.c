/* y = x W S + b, W integers of 8 bits, rows by columns, S a step for each column. */
#define COLUMNS(width)                                                                                   \
  for (; j + (width) <= columns; j += (width)) {                                                         \
    const int8_t *restrict v = w + j;                                                                    \
    float sum[(width)];                                                                                  \
    for (int r = 0; r < (width); ++r) sum[r] = 0.0f;                                                     \
    for (int k = 0; k < rows; ++k, v += columns)                                                         \
      for (int r = 0; r < (width); ++r) sum[r] += x[k] * (float)v[r];                                    \
    for (int r = 0; r < (width); ++r) y[j + r] = sum[r] * s[j + r] + (b ? b[j + r] : 0.0f);              \
  }
static void product8(const float *restrict x, const int8_t *restrict w, const float *restrict s, const float *restrict b,
                     float *restrict y, int rows, int columns) {
  int j = 0;
#if defined(__AVX__) || defined(__ARM_NEON)
  COLUMNS(64)
  /* Columns that are left over are done beside some that are done already: a few alone would wait for their sums. */
  if (columns >= 32) {
    COLUMNS(32)
    if (j < columns) {
      j = columns - 32;
      COLUMNS(32)
    }
  }
#endif
  COLUMNS(16)
  COLUMNS(4)
  COLUMNS(1)
}
#undef COLUMNS
