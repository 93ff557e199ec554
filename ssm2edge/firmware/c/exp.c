/* e^x: x = n ln 2 + r, a polynomial in r for |r| <= ln 2 / 2 (minimax, 3e-9), and n added to the exponent. */
static inline float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float shifted = x * 1.442695041f + 12582912.0f; /* 1.5 * 2^23 leaves no digits behind the point */
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
  const float q = 0.49999994f + r * (0.1666652f + r * (0.041668393f + r * (0.008368781f + r * 0.0013814465f)));
  uint32_t bits;
  float power;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127u) << 23;
  memcpy(&power, &bits, sizeof power);
  return (1.0f + (r + r * r * q)) * power;
}
