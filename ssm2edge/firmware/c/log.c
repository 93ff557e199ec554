/* ln x of a positive normal number: x = 2^n (1 + f) with 1 + f next to 1, and a polynomial in f (minimax, 6e-9). */
static inline float log_of(float x) {
  uint32_t bits;
  float m;
  memcpy(&bits, &x, sizeof bits);
  const int32_t n = (int32_t)(bits - 0x3f3504f3u) >> 23; /* 0x3f3504f3 is the root of one half */
  bits -= (uint32_t)n << 23;
  memcpy(&m, &bits, sizeof m);
  const float f = m - 1.0f, e = (float)n;
  const float q = 0.3333333f + f * (-0.25000823f + f * (0.20001227f + f * (-0.16623357f + f * (0.1420176f + f * (-0.1316019f
    + f * (0.12761569f + f * -0.07634466f))))));
  return e * 0.693359375f + (f - (0.5f * f * f - (f * f * f * q - e * 2.12194440e-4f)));
}
