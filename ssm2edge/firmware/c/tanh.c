/* Hyperbolic tangent: x P(x^2) / Q(x^2) for |x| <= 9 (minimax, 2e-8); beyond, 1 to the last digit. */
static inline float tanh_of(float x) {
  x = x < -9.0f ? -9.0f : x;
  x = x > 9.0f ? 9.0f : x;
  const float s = x * x;
  const float p = 1.0f + s * (0.13381028f + s * (0.0034955912f + s * (2.0609129e-5f + s * 1.33547209e-8f)));
  const float q = 1.0f + s * (0.46714345f + s * (0.025876993f + s * (3.2856397e-4f + s * 7.776584e-7f)));
  return x * p / q;
}
