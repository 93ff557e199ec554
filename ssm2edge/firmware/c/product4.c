/* y = x W + b, W rows by columns: integers of 4 bits above -8, two neighbours of a row in a byte, the first in its low half, times
   a step for each column and group of rows. */
#define COLUMNS(width)                                                                                   \
  for (; j + (width) <= columns; j += (width)) {                                                         \
    float sum[(width)];                                                                                  \
    for (int r = 0; r < (width); ++r) sum[r] = b ? b[j + r] : 0.0f;                                      \
    for (int first = 0; first < rows; first += group) {                                                  \
      const float *restrict t = s + first / group * columns + j;                                         \
      float part[(width)];                                                                               \
      for (int r = 0; r < (width); ++r) part[r] = 0.0f;                                                  \
      for (int k = first; k < first + group; ++k) {                                                      \
        const uint8_t *restrict v = w + (k * columns + j) / 2;                                           \
        for (int r = 0; r < (width) / 2; ++r) {                                                          \
          part[2 * r] += x[k] * (float)((v[r] & 15) - 8);                                                \
          part[2 * r + 1] += x[k] * (float)((v[r] >> 4) - 8);                                            \
        }                                                                                                \
      }                                                                                                  \
      for (int r = 0; r < (width); ++r) sum[r] += part[r] * t[r];                                        \
    }                                                                                                    \
    for (int r = 0; r < (width); ++r) y[j + r] = sum[r];                                                 \
  }
static void product4(const float *restrict x, const uint8_t *restrict w, const float *restrict s, const float *restrict b,
                     float *restrict y, int rows, int columns, int group) {
  int j = 0;
  COLUMNS(16)
  COLUMNS(2)
}
#undef COLUMNS
