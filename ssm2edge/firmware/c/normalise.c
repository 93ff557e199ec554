/* y = (x - mean) / sqrt(variance + epsilon) * scale + shift; scale and shift advance by step. */
static void normalise(const float *restrict x, const float *restrict scale, const float *restrict shift, float *restrict y,
                      int size, int step, float epsilon) {
  float part[8] = {0}, rest[8] = {0}, mean = 0.0f, left = 0.0f, variance = 0.0f;
  const int whole = size - size % 8;
  for (int k = 0; k < whole; k += 8)
    for (int r = 0; r < 8; ++r) part[r] += x[k + r];
  for (int k = whole; k < size; ++k) mean += x[k];
  for (int r = 0; r < 8; ++r) mean += part[r];
  mean /= (float)size;
  for (int r = 0; r < 8; ++r) part[r] = 0.0f;
  for (int k = 0; k < whole; k += 8)
    for (int r = 0; r < 8; ++r) part[r] += (x[k + r] - mean) * (x[k + r] - mean), rest[r] += x[k + r] - mean;
  for (int k = whole; k < size; ++k) variance += (x[k] - mean) * (x[k] - mean), left += x[k] - mean;
  for (int r = 0; r < 8; ++r) variance += part[r], left += rest[r];
  /* What rounding left of the mean: large beside the deviations where these are small. */
  left /= (float)size;
  const float factor = 1.0f / sqrtf(variance / (float)size + epsilon);
  if (step == 0)
    for (int k = 0; k < size; ++k) y[k] = (x[k] - mean - left) * factor * scale[0] + (shift ? shift[0] : 0.0f);
  else if (shift)
    for (int k = 0; k < size; ++k) y[k] = (x[k] - mean - left) * factor * scale[k] + shift[k];
  else
    for (int k = 0; k < size; ++k) y[k] = (x[k] - mean - left) * factor * scale[k];
}
